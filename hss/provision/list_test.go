package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// SIMs that were put in before there was a list of IMSIs are listed soon after the start, without a command.
func TestListIsMadeAtTheStart(t *testing.T) {
	server := redistest.Start(t)
	before := openStore(t, server.Address, kek)
	keys := aka.Credentials{K: aka.KeyOf(make([]byte, 16)), OPc: aka.KeyOf(make([]byte, 16))}
	require.NoError(t, before.Add(t.Context(), imsi1, subscriber.Profile{}, keys, 0, time.Now()))
	raw := redis.NewClient(&redis.Options{Addr: server.Address})
	defer func() { _ = raw.Close() }()
	require.EqualValues(t, 2, raw.Del(t.Context(), "imsi-lists", "imsi-blocks").Val())

	after := openStore(t, server.Address, kek)
	_, err := after.Search(t.Context(), store.Match{}, 10)
	require.ErrorIs(t, err, store.ErrNotListed)
	require.ErrorContains(t, refusal("SIM", err), "hss job list")
	v, err := New(DefaultConfig(), after, &told{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) })
	defer running.Wait()
	defer stop()
	require.Eventually(t, func() bool {
		all, err := after.Search(t.Context(), store.Match{}, 10)
		return err == nil && len(all) == 1
	}, patience, patienceStep)
}

// Of SIMs that are given one MSISDN at once, by whichever instance and way, one has it.
func TestRaceForAnMSISDN(t *testing.T) {
	b := newBed(t)
	other, err := New(DefaultConfig(), openStore(t, b.redis.Address, kek), b.told, b.service.log)
	require.NoError(t, err)
	ctx := As(t.Context(), Actor{Name: "racer", Role: Admin})
	for round := range 20 {
		msisdn := fmt.Sprintf("88212%03d", round)
		var group sync.WaitGroup
		var given atomic.Int64
		for i, v := range []*Service{b.service, other, b.service, other} {
			imsi := fmt.Sprintf("99970%04d%06d", round, i)
			if i > 1 { // is there, and is changed
				ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi, ""))
			}
			group.Go(func() {
				var err error
				switch i {
				case 0:
					_, err = v.add(ctx, NewSIM{IMSI: Verbatim(imsi), K: kHex, OPc: opcHex, Profile: subscriber.Profile{MSISDN: identity.MSISDN(msisdn)}})
				case 1:
					var result ImportResult
					result, err = v.importRows(ctx, strings.NewReader("imsi,k,opc,msisdn\n"+imsi+","+kHex+","+opcHex+","+msisdn+"\n"), ImportOptions{})
					if err == nil && result.Added == 0 {
						err = errors.New(result.Errors[0].Reason)
					}
				default:
					_, err = v.patch(ctx, identity.IMSI(imsi), []byte(`{"msisdn":"`+msisdn+`"}`), "")
				}
				if err == nil {
					given.Add(1)
				} else {
					assert.Contains(t, err.Error(), "msisdn: "+msisdn+" is ")
				}
			})
		}
		group.Wait()
		holders := ok[[]subscriber.Subscriber](b, http.MethodGet, "/sims?msisdn="+msisdn, "")
		require.Len(t, holders, 1)
		require.EqualValues(t, 1, given.Load())
	}
}

// An MSISDN that was being given to a SIM when the process was killed may be given to that SIM at once, to others a minute later.
func TestMSISDNReservedByAProcessThatIsNoMore(t *testing.T) {
	b := newBed(t)
	got, _, err := b.store.Reserve(t.Context(), store.ByMSISDN, store.Wanted{Name: "88212", IMSI: imsi1})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, got)
	b.refused(409, "msisdn: 88212 is being given to another SIM", http.MethodPost, "/sims", newSIM(imsi2, `,"msisdn":"88212"`))
	rows := "imsi,k,opc,msisdn\n" + imsi2 + "," + kHex + "," + opcHex + ",88212\n"
	require.Contains(t, ok[ImportResult](b, http.MethodPost, "/import", rows).Errors[0].Reason, "is being given to another SIM")
	require.Equal(t, 1, ok[ImportResult](b, http.MethodPost, "/import", strings.Replace(rows, imsi2, imsi1, 1)).Added)
	require.Contains(t, ok[ImportResult](b, http.MethodPost, "/import", rows).Errors[0].Reason, "is that of IMSI "+imsi1)
}

// A job is begun once at a time, and a change that changes nothing begins none.
func TestJobsAreBegunOnce(t *testing.T) {
	j := newJobs()
	counts := func() map[string]int64 { return nil }
	_, err := j.begin("repair", counts, func(context.Context) error { return errors.New("broken") })
	require.NoError(t, err)
	_, err = j.begin("repair", counts, nil)
	require.ErrorContains(t, err, "repair goes on since")
	require.EqualError(t, j.do(t.Context(), <-j.begun), "broken")
	require.Equal(t, "broken", j.list()[0].Failure)
	_, err = j.begin("repair", counts, nil)
	require.NoError(t, err)

	b := newBed(t)
	const meter = `{"apns":[{"name":"meters"}]}`
	for range 3 {
		ok[Template](b, http.MethodPut, "/templates/meter", meter)
		ok[subscriber.APN](b, http.MethodPut, "/apns/meters", `{"name":"meters","qci":6}`)
	}
	require.Len(t, ok[[]Job](b, http.MethodGet, "/jobs", ""), 1, "for the APN, which stood for its defaults before")
}

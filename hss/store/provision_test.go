package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

func imsiNumber(i int) identity.IMSI { return identity.IMSI(fmt.Sprintf("99970%010d", i)) }

func withCard(msisdn, iccid string) subscriber.Profile {
	return subscriber.Profile{MSISDN: identity.MSISDN(msisdn), Card: subscriber.Card{ICCID: iccid}, APNs: []subscriber.APN{{Name: "internet"}}}
}

func TestFindByNames(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		find := func(by Name, name string) []identity.IMSI {
			t.Helper()
			all, err := s.Find(ctx, by, name)
			require.NoError(t, err)
			return all
		}
		const iccid = "8988211000000000001"
		require.NoError(t, s.Add(ctx, imsiNumber(1), withCard("882120000001", iccid), keys, 0, epoch))
		require.NoError(t, s.Add(ctx, imsiNumber(2), withCard("882120000002", iccid), keys, 0, epoch))
		require.Equal(t, []identity.IMSI{imsiNumber(1), imsiNumber(2)}, find(ByICCID, iccid), "two IMSIs on one card")
		require.Equal(t, []identity.IMSI{imsiNumber(2)}, find(ByMSISDN, "882120000002"))
		require.Empty(t, find(ByMSISDN, "1"))

		r, err := s.Load(ctx, imsiNumber(2))
		require.NoError(t, err)
		next := r.Stored
		next.MSISDN = "882120000009"
		_, _, err = s.Change(ctx, imsiNumber(2), r.Revision, r.Stored, next)
		require.NoError(t, err)
		require.Empty(t, find(ByMSISDN, "882120000002"))
		require.Equal(t, []identity.IMSI{imsiNumber(2)}, find(ByMSISDN, "882120000009"))
		_, _, err = s.Change(ctx, imsiNumber(2), r.Revision, r.Stored, next)
		require.ErrorIs(t, err, ErrChanged)
		_, _, err = s.Change(ctx, imsiNumber(3), "1", r.Stored, next)
		require.ErrorIs(t, err, ErrUnknown)

		_, _, err = s.Remove(ctx, imsiNumber(1))
		require.NoError(t, err)
		require.Equal(t, []identity.IMSI{imsiNumber(2)}, find(ByICCID, iccid))
		require.Empty(t, find(ByMSISDN, "882120000001"))
	})
}

func TestRepairFindsWhatACrashLeftOut(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		for i := range 5 {
			require.NoError(t, s.Add(ctx, imsiNumber(i), withCard(fmt.Sprint(882120000000+i), "8988211000000000001"), keys, 0, epoch))
			require.NoError(t, register(ctx, s, imsiNumber(i), "1", subscriber.MME, subscriber.Registration{Host: "MME1.example"}))
		}
		at, err := s.AtNode(ctx, "mme1.EXAMPLE")
		require.NoError(t, err)
		require.Len(t, at, 5)
		indexes, err := s.redis.Keys(ctx, indexPrefix+"*").Result()
		require.NoError(t, err)
		require.NoError(t, s.redis.Del(ctx, indexes...).Err())
		all, err := s.Find(ctx, ByICCID, "8988211000000000001")
		require.NoError(t, err)
		require.Empty(t, all)
		require.NoError(t, s.redis.HSet(ctx, nameKey(ByMSISDN, "1"), "1", string(imsiNumber(77))).Err(), "of no SIM")
		require.NoError(t, s.redis.HSet(ctx, nameKey(ByMSISDN, "2"), "2", string(imsiNumber(1))).Err(), "not this SIM's")
		require.NoError(t, s.redis.SAdd(ctx, nodeKey("mme9", imsiNumber(1)), string(imsiNumber(1))).Err())

		var r Repaired
		require.NoError(t, s.Repair(ctx, &r))
		require.EqualValues(t, 5, r.Seen.Load())
		require.EqualValues(t, 15, r.Added.Load())
		require.EqualValues(t, 3, r.Removed.Load())
		all, err = s.Find(ctx, ByICCID, "8988211000000000001")
		require.NoError(t, err)
		require.Len(t, all, 5)
		at, err = s.AtNode(ctx, "mme1.example")
		require.NoError(t, err)
		require.Len(t, at, 5)
		at, err = s.AtNode(ctx, "mme9")
		require.NoError(t, err)
		require.Empty(t, at)
		var again Repaired
		require.NoError(t, s.Repair(ctx, &again))
		require.Zero(t, again.Added.Load()+again.Removed.Load())
	})
}

func TestTemplatesReachEverySIM(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.PutTemplate(ctx, "meter", subscriber.Profile{APNs: []subscriber.APN{{Name: "meters"}}, PLMNs: []string{"001-01"}}))
		require.NoError(t, s.PutAPN(ctx, subscriber.APN{Name: "meters", QCI: 7}))
		require.NoError(t, s.Add(ctx, imsi, subscriber.Profile{Template: "meter"}, keys, 0, epoch))
		requireQCI := func(want uint8) {
			t.Helper()
			sub, _, err := s.Get(ctx, imsi)
			require.NoError(t, err)
			require.Equal(t, want, sub.Profile.APNs[0].QCI)
			a, err := s.Advance(ctx, imsi, "mme1", 1, nil, epoch)
			require.NoError(t, err)
			require.Equal(t, sub.Profile.Admission(), a.Admission)
		}
		requireQCI(7)
		require.NoError(t, s.PutAPN(ctx, subscriber.APN{Name: "meters", QCI: 8}))
		requireQCI(8)
		require.ErrorIs(t, s.RemoveTemplate(ctx, "meter"), ErrInUse)
		require.ErrorIs(t, s.RemoveTemplate(ctx, "other"), ErrUnknown)
		require.NoError(t, s.RemoveAPN(ctx, "meters"))
		require.ErrorIs(t, s.RemoveAPN(ctx, "meters"), ErrUnknown)
		requireQCI(9)

		require.NoError(t, s.redis.Del(ctx, templatesKey).Err())
		s.forgetTemplates()
		_, _, err := s.Get(ctx, imsi)
		require.ErrorContains(t, err, `no "meter"`)
	})
}

func TestSearch(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		const sims = 2500
		var all []New
		for _, i := range rand.Perm(sims) {
			p := subscriber.Profile{Status: subscriber.Active, Card: subscriber.Card{Batch: fmt.Sprint("b", i%10)}, APNs: []subscriber.APN{{Name: "internet"}}}
			if i%100 == 0 {
				p.Status = subscriber.Suspended
			}
			all = append(all, New{IMSI: imsiNumber(i), Profile: p, Keys: keys})
		}
		results, err := s.AddMany(ctx, all, epoch)
		require.NoError(t, err)
		require.Len(t, results, sims)
		require.Equal(t, sims, countNil(results))
		results, err = s.AddMany(ctx, all[:10], epoch)
		require.NoError(t, err)
		for _, r := range results {
			require.ErrorIs(t, r, ErrExists)
		}
		require.NoError(t, register(ctx, s, imsiNumber(42), "1", subscriber.SGSN, subscriber.Registration{Host: "sgsn1"}))

		imsis := func(m Match, limit int) (all []identity.IMSI) {
			t.Helper()
			found, err := s.Search(ctx, m, limit)
			require.NoError(t, err)
			for _, r := range found {
				all = append(all, r.IMSI)
			}
			return all
		}
		var walked []identity.IMSI
		for after := identity.IMSI(""); ; {
			page := imsis(Match{After: after}, 700)
			if len(page) == 0 {
				break
			}
			walked = append(walked, page...)
			after = page[len(page)-1]
		}
		require.Len(t, walked, sims)
		require.True(t, slices.IsSorted(walked))
		require.Equal(t, []identity.IMSI{imsiNumber(0), imsiNumber(100), imsiNumber(200)}, imsis(Match{Status: subscriber.Suspended}, 3))
		require.Equal(t, []identity.IMSI{imsiNumber(300), imsiNumber(400)}, imsis(Match{Status: subscriber.Suspended, After: imsiNumber(200)}, 2))
		require.Len(t, imsis(Match{Batch: "b3"}, sims), sims/10)
		require.Len(t, imsis(Match{APN: "internet", Prefix: "9997000000000"}, sims), 100)
		require.Empty(t, imsis(Match{Template: "x"}, 1))
		require.Equal(t, []identity.IMSI{imsiNumber(42)}, imsis(Match{Node: "SGSN1"}, 10))
	})
}

func countNil(all []error) (n int) {
	for _, err := range all {
		if err == nil {
			n++
		}
	}
	return n
}

func TestRotate(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Address)
	ctx := context.Background()
	var all []New
	for i := range 1200 {
		all = append(all, New{IMSI: imsiNumber(i), Keys: keys})
	}
	_, err := s.AddMany(ctx, all, epoch)
	require.NoError(t, err)
	next, err := ParseKeyring("k2 " + strings.Repeat("ef", 32) + "\n" + kek)
	require.NoError(t, err)
	s.keyring = next

	stop, cancel := context.WithCancel(ctx)
	var first Rotation
	require.Error(t, s.Each(stop, "", func(page []Record) error { // interrupted after its first page
		if err := s.resealMany(stop, []identity.IMSI{page[0].IMSI}, &first); err != nil {
			return err
		}
		cancel()
		return stop.Err()
	}))
	require.EqualValues(t, 1, first.Resealed.Load())
	count, err := s.KEKs(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"k1": 1199, "k2": 1}, count)

	var rest Rotation
	require.NoError(t, s.Rotate(ctx, &rest))
	require.EqualValues(t, 1199, rest.Resealed.Load())
	require.EqualValues(t, 1200, rest.Seen.Load())
	count, err = s.KEKs(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"k2": 1200}, count)
	only, err := ParseKeyring("k2 " + strings.Repeat("ef", 32))
	require.NoError(t, err)
	s.keyring = only // the old one is not needed any more
	got, err := s.CredentialsMany(ctx, []identity.IMSI{imsiNumber(7), imsiNumber(9999)})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.True(t, got[imsiNumber(7)] == keys)
}

func TestChangesAreKeptUntilTaken(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		c := subscriber.Change{IMSI: imsi, At: epoch, Before: subscriber.Subscriber{IMSI: imsi, MME: subscriber.Registration{Host: "mme1"}}}
		id, err := s.NoteChange(ctx, c)
		require.NoError(t, err)
		all, err := s.Changes(ctx, epoch, 10)
		require.NoError(t, err)
		require.Empty(t, all, "too young")
		all, err = s.Changes(ctx, epoch.Add(time.Second), 10)
		require.NoError(t, err)
		require.Equal(t, map[string]subscriber.Change{id: c}, all)
		require.True(t, c.Removed() && c.Before.Registered())
		require.NoError(t, s.DropChange(ctx, id))
		all, err = s.Changes(ctx, epoch.Add(time.Second), 10)
		require.NoError(t, err)
		require.Empty(t, all)
	})
}

// sims returns SIMs with all that most have.
func sims(n int) []New {
	all := make([]New, n)
	for i := range all {
		var octets [16]byte
		octets[0], octets[1] = byte(i), byte(i>>8)
		k := aka.Credentials{Algorithm: aka.Milenage, K: aka.KeyOf(octets[:]), OPc: aka.KeyOf(octets[:])}
		all[i] = New{IMSI: imsiNumber(i), Keys: k, Profile: subscriber.Profile{
			Card:   subscriber.Card{ICCID: fmt.Sprint(8988211000000000000 + i), Batch: "2026-11", Added: epoch, StatusAt: epoch, Activated: epoch},
			MSISDN: identity.MSISDN(fmt.Sprint(882120000000 + i)), Status: subscriber.Active,
			AMBR:  subscriber.Bitrates{Uplink: 50_000_000, Downlink: 50_000_000},
			APNs:  []subscriber.APN{{Name: "internet"}, {Name: "meters.example", QCI: 8}},
			PLMNs: []string{"001-01", "262-02"}, IMEILock: subscriber.IMEILock{IMEIs: []string{"35609204079300"}},
		}}
	}
	return all
}

// attach has a SIM be given a vector and registered.
func attach(s *Store, imsi identity.IMSI) error {
	const host = "mme1.epc.mnc001.mcc001.3gppnetwork.org"
	ctx := context.Background()
	if _, err := s.Advance(ctx, imsi, host, 1, nil, epoch); err != nil {
		return err
	}
	return register(ctx, s, imsi, "1", subscriber.MME, subscriber.Registration{
		Host: host, Realm: "epc.mnc001.mcc001.3gppnetwork.org", PLMN: "001-01", RAT: subscriber.EUTRAN, IMEI: "35609204079300", At: epoch,
	})
}

// TestSIMsAreSmallInRedis holds the budget of a record. BenchmarkLoad measures all that a SIM costs, the indexes too,
// which are packed well only when there are many.
func TestSIMsAreSmallInRedis(t *testing.T) {
	const n, budget = 500, 600
	s := open(t, redistest.Start(t).Address)
	ctx := context.Background()
	all := sims(n)
	_, err := s.AddMany(ctx, all, epoch)
	require.NoError(t, err)
	octets := int64(0)
	for _, sim := range all {
		require.NoError(t, attach(s, sim.IMSI))
		used, err := s.redis.MemoryUsage(ctx, key(sim.IMSI), 0).Result()
		require.NoError(t, err)
		octets += used
	}
	t.Logf("%d octets a record", octets/n)
	require.LessOrEqual(t, octets/n, int64(budget))
}

// BenchmarkLoad puts b.N SIMs in and attaches one in ten; run it with -benchtime 1000000x.
func BenchmarkLoad(b *testing.B) {
	s := open(b, redistest.Start(b).Address)
	used := func() (n int64) {
		info, err := s.redis.Info(context.Background(), "memory").Result()
		require.NoError(b, err)
		_, rest, _ := strings.Cut(info, "used_memory:")
		_, err = fmt.Sscan(rest, &n)
		require.NoError(b, err)
		return n
	}
	all := sims(b.N)
	before := used()
	b.ResetTimer()
	_, err := s.AddMany(context.Background(), all, epoch)
	require.NoError(b, err)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sims/s")
	resting := used()
	var group errgroup.Group
	group.SetLimit(32)
	attached := max(1, b.N/10)
	for _, sim := range all[:attached] {
		group.Go(func() error { return attach(s, sim.IMSI) })
	}
	require.NoError(b, group.Wait())
	b.ReportMetric(float64(resting-before)/float64(b.N), "B/sim-resting")
	b.ReportMetric(float64(resting-before)/float64(b.N)+float64(used()-resting)/float64(attached), "B/sim-attached")
}

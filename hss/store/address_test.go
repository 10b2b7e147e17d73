package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

func static(apn identity.APN, addresses ...string) subscriber.Profile {
	a := subscriber.APN{Name: apn}
	for _, text := range addresses {
		if ip := netip.MustParseAddr(text); ip.Is4() {
			a.StaticIPv4 = ip
		} else {
			a.StaticIPv6 = ip
		}
	}
	return subscriber.Profile{APNs: []subscriber.APN{a}}
}

func requireTaken(t *testing.T, err error, by identity.IMSI) {
	t.Helper()
	var taken *TakenError
	require.ErrorAs(t, err, &taken)
	require.Equal(t, by, taken.By)
}

func TestStaticAddressIsOneSIMs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		one, two, three := imsiNumber(1), imsiNumber(2), imsiNumber(3)
		add := func(imsi identity.IMSI, p subscriber.Profile) error { return s.Add(ctx, imsi, p, keys, 0, epoch) }
		change := func(imsi identity.IMSI, next subscriber.Profile) error {
			r, err := s.Load(ctx, imsi)
			require.NoError(t, err)
			_, _, err = s.Change(ctx, imsi, r.Revision, r.Stored, next)
			return err
		}
		require.NoError(t, add(one, static("internet", "10.0.0.1", "2001:db8::1")))
		requireTaken(t, add(two, static("internet", "10.0.0.1")), one)
		requireTaken(t, add(two, static("internet", "2001:db8::2")), one) // of one /64
		require.NoError(t, add(two, static("meters", "10.0.0.1", "2001:db8::1")), "another network")
		requireTaken(t, change(two, static("internet", "10.0.0.1")), one)
		require.NoError(t, change(one, static("internet", "10.0.0.9")))
		require.NoError(t, change(two, static("internet", "10.0.0.1", "2001:db8::2")), "given up by the change")
		require.NoError(t, change(two, static("internet", "10.0.0.1", "2001:db8::3")), "its own /64")
		errs, err := s.AddMany(ctx, []New{
			{IMSI: three, Profile: static("internet", "10.0.0.1"), Keys: keys},
			{IMSI: imsiNumber(4), Profile: static("internet", "10.0.0.4"), Keys: keys},
			{IMSI: imsiNumber(5), Profile: static("internet", "10.0.0.4"), Keys: keys},
		}, epoch)
		require.NoError(t, err)
		requireTaken(t, errs[0], two)
		require.NoError(t, errs[1])
		requireTaken(t, errs[2], imsiNumber(4))
		_, err = s.Load(ctx, three)
		require.ErrorIs(t, err, ErrUnknown, "what is refused is not there")
		_, _, err = s.Remove(ctx, two)
		require.NoError(t, err)
		require.NoError(t, add(three, static("internet", "10.0.0.1")), "given up by the removal")
		holders, err := s.AddressHolders(ctx, []Address{{"internet", netip.MustParseAddr("10.0.0.1")}, {"internet", netip.MustParseAddr("10.0.0.2")}})
		require.NoError(t, err)
		require.Equal(t, map[Address]identity.IMSI{{"internet", netip.MustParseAddr("10.0.0.1")}: three}, holders)
	})
}

// Many instances give one address to as many SIMs at once, as new ones, in bulk and by a change: one gets it, and its record
// has it.
func TestRaceForAStaticAddress(t *testing.T) {
	address := redistest.Start(t).Address
	const racers = 24
	var stores []*Store
	for range 4 {
		stores = append(stores, open(t, address))
	}
	ctx := context.Background()
	for round := range 20 {
		imsi := func(i int) identity.IMSI { return imsiNumber(round*racers + i) }
		for i := 0; i < racers; i += 3 {
			require.NoError(t, stores[0].Add(ctx, imsi(i), static("internet"), keys, 0, epoch))
		}
		want := static("internet", fmt.Sprintf("10.0.0.%d", round))
		var won atomic.Int64
		var wg sync.WaitGroup
		for i := range racers {
			s := stores[i%len(stores)]
			wg.Go(func() {
				var err error
				switch i % 3 {
				case 0:
					r, loadErr := s.Load(ctx, imsi(i))
					require.NoError(t, loadErr)
					_, _, err = s.Change(ctx, imsi(i), r.Revision, r.Stored, want)
				case 1:
					err = s.Add(ctx, imsi(i), want, keys, 0, epoch)
				default:
					var errs []error
					errs, err = s.AddMany(ctx, []New{{IMSI: imsi(i), Profile: want, Keys: keys}}, epoch)
					err = errors.Join(err, errs[0])
				}
				if err == nil {
					won.Add(1)
					return
				}
				var taken *TakenError
				require.ErrorAs(t, err, &taken)
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
	}
	holders := map[netip.Addr]int{}
	require.NoError(t, stores[0].Each(ctx, "", func(page []Record) error {
		for _, r := range page {
			for _, a := range AddressesOf(r.Stored) {
				holders[a.IP]++
			}
		}
		return nil
	}))
	require.Len(t, holders, 20)
	for ip, n := range holders {
		require.Equal(t, 1, n, ip)
	}
}

// What a crash has left between the address and the record: it counts for a while, and then whoever wants it has it.
func TestAddressThatNoRecordConfirms(t *testing.T) {
	s := open(t, redistest.Start(t).Address)
	ctx := context.Background()
	a := Address{"internet", netip.MustParseAddr("10.0.0.1")}
	written := func(imsi identity.IMSI, at time.Time) {
		require.NoError(t, s.redis.HSet(ctx, a.key(), a.String(), fmt.Sprintf("%s %d", imsi, at.UnixMilli())).Err())
	}
	add := func() error { return s.Add(ctx, imsiNumber(1), static("internet", "10.0.0.1"), keys, 0, epoch) }
	written(imsiNumber(2), time.Now())
	requireTaken(t, add(), imsiNumber(2)) // a change that may go on
	written(imsiNumber(2), time.Now().Add(-occupiedFor))
	require.NoError(t, add())
	requireTaken(t, s.Add(ctx, imsiNumber(2), static("internet", "10.0.0.1"), keys, 0, epoch), imsiNumber(1))

	read, err := s.occupants(ctx, []Address{a})
	require.NoError(t, err)
	written(imsiNumber(1), time.Now().Add(time.Second)) // by a later change of the same SIM
	s.vacate(ctx, imsiNumber(1), []Address{a}, read)
	require.EqualValues(t, 1, s.redis.Exists(ctx, a.key()).Val(), "what another has written stays")
}

func TestRepairOfAddresses(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		for i := range 3 {
			require.NoError(t, s.Add(ctx, imsiNumber(i), static("internet", fmt.Sprintf("10.0.0.%d", i)), keys, 0, epoch))
		}
		forget := func() {
			names, err := s.redis.Keys(ctx, addressPrefix+"*").Result()
			require.NoError(t, err)
			require.NoError(t, s.redis.Del(ctx, names...).Err())
		}
		forget() // as before there was such an index
		stale := Address{"internet", netip.MustParseAddr("10.0.0.200")}
		fresh := Address{"internet", netip.MustParseAddr("10.0.0.201")}
		require.NoError(t, s.redis.HSet(ctx, stale.key(), stale.String(), string(imsiNumber(1))+" 0").Err())
		require.NoError(t, s.redis.HSet(ctx, fresh.key(), fresh.String(), fmt.Sprintf("%s %d", imsiNumber(1), time.Now().UnixMilli())).Err())
		r := new(Repaired)
		require.NoError(t, s.Repair(ctx, r))
		require.Equal(t, []int64{3, 3, 1, 0}, []int64{r.Seen.Load(), r.Added.Load(), r.Removed.Load(), r.Conflicts.Load()})
		requireTaken(t, s.Add(ctx, imsiNumber(7), static("internet", "10.0.0.2"), keys, 0, epoch), imsiNumber(2))

		forget()
		require.NoError(t, s.Add(ctx, imsiNumber(7), static("internet", "10.0.0.2"), keys, 0, epoch), "nothing says that it is taken")
		r = new(Repaired)
		require.NoError(t, s.Repair(ctx, r))
		require.Equal(t, []int64{2, 0, 1}, []int64{r.Added.Load(), r.Removed.Load(), r.Conflicts.Load()})
	})
}

// BenchmarkLoadWithAddresses is BenchmarkLoad for SIMs with a static address each: what that costs.
func BenchmarkLoadWithAddresses(b *testing.B) {
	s := open(b, redistest.Start(b).Address)
	all := sims(b.N)
	for i := range all {
		p := all[i].Profile
		p.APNs = append([]subscriber.APN(nil), p.APNs...)
		p.APNs[0].StaticIPv4 = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		all[i].Profile = p
	}
	b.ResetTimer()
	results, err := s.AddMany(context.Background(), all, epoch)
	require.NoError(b, err)
	require.NoError(b, errors.Join(results...))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sims/s")
}

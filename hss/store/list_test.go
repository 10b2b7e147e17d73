package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

func imsisOf(records []Record) []identity.IMSI {
	all := make([]identity.IMSI, len(records))
	for i, r := range records {
		all[i] = r.IMSI
	}
	return all
}

// Pages of a list, put together, are the SIMs in the order of their IMSIs, of whatever length these are.
func TestPagesAreTheSIMsInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		r := rand.New(rand.NewPCG(1, 2))
		want := map[identity.IMSI]bool{}
		for _, fixed := range []identity.IMSI{"999700", "9997001", "99970000000", "9997000000000", "99970000000000", "99970000000001", "999700000000000", "999700000000005", "999700000000050"} {
			want[fixed] = true
		}
		for len(want) < 700 {
			n := 6 + r.IntN(10)
			want[identity.IMSI(fmt.Sprintf("9997%0*d", n-4, r.Int64N(int64(1e11)))[:n])] = true
		}
		var news []New
		for i := range want {
			news = append(news, New{IMSI: i, Profile: profile, Keys: keys})
		}
		results, err := s.AddMany(ctx, news, epoch)
		require.NoError(t, err)
		require.Equal(t, len(news), countNil(results))
		for _, n := range news[:100] {
			_, _, err := s.Remove(ctx, n.IMSI)
			require.NoError(t, err)
			delete(want, n.IMSI)
		}
		for _, prefix := range []string{"", "9", "9997", "99970", "999700000000", "9997000000000", "99970000000000", "999700000000000", "31"} {
			for _, m := range []Match{{Prefix: prefix}, {Prefix: prefix, Status: subscriber.Active}} {
				var expected, got []identity.IMSI
				for i := range want {
					if strings.HasPrefix(string(i), prefix) {
						expected = append(expected, i)
					}
				}
				slices.Sort(expected)
				for {
					page, err := s.Search(ctx, m, 29)
					require.NoError(t, err)
					require.LessOrEqual(t, len(page), 29)
					if len(page) == 0 {
						break
					}
					got = append(got, imsisOf(page)...)
					m.After = page[len(page)-1].IMSI
				}
				require.Equal(t, expected, got, "prefix %q", prefix)
			}
		}
		none, err := s.Search(ctx, Match{Status: subscriber.Suspended}, 7)
		require.NoError(t, err)
		require.Empty(t, none)
	})
}

// A page costs Redis as much with many SIMs as with few: no command that walks through the keys.
func TestAPageOfAListDoesNotScan(t *testing.T) {
	s := open(t, redistest.Start(t).Address)
	ctx := context.Background()
	_, err := s.AddMany(ctx, sims(5000), epoch)
	require.NoError(t, err)
	require.NoError(t, s.redis.ConfigResetStat(ctx).Err())
	page, err := s.Search(ctx, Match{Prefix: string(imsiNumber(0))[:8], After: imsiNumber(2500)}, 10)
	require.NoError(t, err)
	require.Len(t, page, 10)
	require.Equal(t, imsiNumber(2501), page[0].IMSI)
	info, err := s.redis.Info(ctx, "commandstats").Result()
	require.NoError(t, err)
	calls := 0
	for line := range strings.Lines(info) {
		_, rest, ok := strings.Cut(line, ":calls=")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(rest[:strings.IndexByte(rest, ',')])
		require.NoError(t, err)
		calls += n
	}
	require.NotContains(t, info, "cmdstat_scan:")
	require.NotContains(t, info, "cmdstat_keys:")
	require.Less(t, calls, 50, info)
}

func TestSIMsOfOlderVersionsAreListedOnceRepaired(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		putVersion1(t, s, imsi)
		_, err := s.Search(ctx, Match{}, 10)
		require.ErrorIs(t, err, ErrNotListed)
		require.NoError(t, s.Add(ctx, "999700000000002", profile, keys, 0, epoch))
		_, err = s.Search(ctx, Match{}, 10)
		require.ErrorIs(t, err, ErrNotListed, "one that is listed does not make the list complete")
		var r Repaired
		require.NoError(t, s.Repair(ctx, &r))
		all, err := s.Search(ctx, Match{}, 10)
		require.NoError(t, err)
		require.Equal(t, []identity.IMSI{imsi, "999700000000002"}, imsisOf(all))
	})
}

// A page of a rare status costs as little: it reads no SIM of another.
func TestAPageOfARareStatusReadsNoOthers(t *testing.T) {
	s := open(t, redistest.Start(t).Address)
	ctx := context.Background()
	all := sims(5000)
	for _, i := range []int{7, 1234, 4999} {
		all[i].Profile.Status = subscriber.Suspended
	}
	_, err := s.AddMany(ctx, all, epoch)
	require.NoError(t, err)
	require.NoError(t, s.redis.ConfigResetStat(ctx).Err())
	search := func(m Match, limit int) []identity.IMSI {
		t.Helper()
		page, err := s.Search(ctx, m, limit)
		require.NoError(t, err)
		return imsisOf(page)
	}
	require.Equal(t, []identity.IMSI{all[7].IMSI, all[1234].IMSI}, search(Match{Status: subscriber.Suspended}, 2))
	require.Equal(t, []identity.IMSI{all[4999].IMSI}, search(Match{Status: subscriber.Suspended, After: all[1234].IMSI}, 2))
	require.Empty(t, search(Match{Status: subscriber.Terminated}, 10))
	require.Empty(t, search(Match{Status: subscriber.Suspended, Batch: "none"}, 10))
	info, err := s.redis.Info(ctx, "commandstats").Result()
	require.NoError(t, err)
	require.Regexp(t, `cmdstat_get:calls=\d,`, info, "a handful of records")
	require.Len(t, search(Match{Status: subscriber.Active}, 10_000), 4997)

	// A template that gives SIMs a status makes the lists say too little: records are looked at then.
	plain := profile
	plain.Status, plain.Template = "", "waiting"
	require.NoError(t, s.PutTemplate(ctx, "waiting", subscriber.Profile{Status: subscriber.Provisioned}))
	require.NoError(t, s.Add(ctx, imsiNumber(9000), plain, keys, 0, epoch))
	require.Equal(t, []identity.IMSI{imsiNumber(9000)}, search(Match{Status: subscriber.Provisioned}, 10))
}

// The lists by status follow the status, and a repair puts them right.
func TestListsFollowTheStatus(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		require.NoError(t, s.Add(ctx, imsiNumber(2), profile, keys, 0, epoch))
		to := func(status subscriber.Status) {
			r, err := s.Load(ctx, imsi)
			require.NoError(t, err)
			next := r.Stored
			next.Status = status
			_, _, err = s.Change(ctx, imsi, r.Revision, r.Stored, next)
			require.NoError(t, err)
		}
		requireListed := func(status subscriber.Status, want ...identity.IMSI) {
			t.Helper()
			all, err := s.Search(ctx, Match{Status: status}, 10)
			require.NoError(t, err)
			require.ElementsMatch(t, want, imsisOf(all), "%s", status)
		}
		for _, status := range []subscriber.Status{subscriber.Suspended, subscriber.Active, subscriber.Terminated} {
			to(status)
			for _, other := range subscriber.Statuses() {
				var want []identity.IMSI
				if other == status {
					want = append(want, imsi)
				}
				if other == subscriber.Active {
					want = append(want, imsiNumber(2))
				}
				requireListed(other, want...)
			}
		}
		_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error { // as a crash between record and lists leaves it
			listOf(subscriber.Profile{Status: subscriber.Terminated}).delist(ctx, pipe, imsi)
			listOf(subscriber.Profile{}).enlist(ctx, pipe, imsi)
			return nil
		})
		require.NoError(t, err)
		requireListed(subscriber.Terminated)
		var r Repaired
		require.NoError(t, s.Repair(ctx, &r))
		require.EqualValues(t, []int64{1, 1}, []int64{r.Added.Load(), r.Removed.Load()})
		requireListed(subscriber.Terminated, imsi)
		members, err := s.members(ctx, listOf(subscriber.Profile{}), []string{blockOf(imsi)})
		require.NoError(t, err)
		require.NotContains(t, members, imsi)
		_, _, err = s.Remove(ctx, imsi)
		require.NoError(t, err)
		members, err = s.members(ctx, list(subscriber.Terminated), []string{blockOf(imsi)})
		require.NoError(t, err)
		require.Empty(t, members)
	})
}

func TestRepairOfTheList(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		for i := range 5 {
			require.NoError(t, s.Add(ctx, imsiNumber(i), profile, keys, 0, epoch))
		}
		require.NoError(t, s.redis.SRem(ctx, everySIM.blockKey(blockOf(imsiNumber(1))), memberOf(imsiNumber(1))).Err(), "a crash before the entry")
		gone := identity.IMSI("310410000000001")
		_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error { everySIM.enlist(ctx, pipe, gone); return nil })
		require.NoError(t, err, "a crash after the record was removed")
		require.NoError(t, s.redis.SAdd(ctx, everySIM.blockKey(blockOf(gone)), "77").Err(), "no member of ours")
		require.NoError(t, s.redis.ZAdd(ctx, everySIM.blocksKey(), redis.Z{Member: "9999999999999"}).Err(), "empty")
		var r Repaired
		require.NoError(t, s.Repair(ctx, &r))
		require.EqualValues(t, 1, r.Added.Load())
		require.EqualValues(t, 1, r.Removed.Load())
		require.NoError(t, s.redis.ZRem(ctx, everySIM.blocksKey(), blockOf(imsiNumber(0))).Err(), "Redis has lost it")
		require.NoError(t, s.Repair(ctx, &r))
		all, err := s.Search(ctx, Match{}, 10)
		require.NoError(t, err)
		require.Equal(t, []identity.IMSI{imsiNumber(0), imsiNumber(1), imsiNumber(2), imsiNumber(3), imsiNumber(4)}, imsisOf(all))
		blocks, err := s.redis.ZRange(ctx, everySIM.blocksKey(), 0, -1).Result()
		require.NoError(t, err)
		require.NotContains(t, blocks, "9999999999999")
	})
}

// A record that comes between the look at it and the removal of its entry keeps the entry.
func TestRepairRestoresWhatIsConfirmedMeanwhile(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		other := imsiNumber(2)
		var r Repaired
		require.NoError(t, s.dropStale(ctx, []string{string(imsi), string(other)}, &r, staleness{
			confirmed: func(Record) bool { return true },
			drop: func(ctx context.Context, pipe redis.Pipeliner, record Record) {
				if record.IMSI == imsi {
					require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
				}
				everySIM.delist(ctx, pipe, record.IMSI)
			},
			restore: func(ctx context.Context, pipe redis.Pipeliner, record Record) {
				everySIM.enlist(ctx, pipe, record.IMSI)
			},
		}))
		require.EqualValues(t, 1, r.Removed.Load(), "the other")
		all, err := s.Search(ctx, Match{}, 10)
		require.NoError(t, err)
		require.Equal(t, []identity.IMSI{imsi}, imsisOf(all))
	})
}

// Several repairs run beside each other and beside changes; when all have ended every SIM is found by what its record says.
func TestRepairsBesideEachOtherAndChangesLoseNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, stop := context.WithCancel(context.Background())
		const writers, rounds, repairs = 8, 10, 3
		var changing, repairing sync.WaitGroup
		for range repairs {
			repairing.Go(func() {
				for ctx.Err() == nil {
					var r Repaired
					if err := s.Repair(context.Background(), &r); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for w := range writers {
			changing.Go(func() {
				if err := churn(s, imsiNumber(w), w, rounds); err != nil {
					t.Error(err)
				}
			})
		}
		changing.Wait()
		stop()
		repairing.Wait()
		all, err := s.Search(context.Background(), Match{}, 100)
		require.NoError(t, err)
		require.Len(t, all, writers)
		for _, r := range all {
			found, err := s.Find(context.Background(), ByMSISDN, string(r.Stored.MSISDN))
			require.NoError(t, err)
			require.Equal(t, []identity.IMSI{r.IMSI}, found)
			at, err := s.AtNode(context.Background(), r.MME.Host)
			require.NoError(t, err)
			require.Contains(t, at, r.IMSI)
		}
	})
}

// churn adds, renames, moves and removes one SIM, and leaves it there.
func churn(s *Store, imsi identity.IMSI, who, rounds int) error {
	ctx := context.Background()
	for i := range rounds {
		p := profile
		p.MSISDN = identity.MSISDN(fmt.Sprintf("88212%02d%d", who, i%2))
		if err := s.Add(ctx, imsi, p, keys, 0, epoch); err != nil {
			return err
		}
		next := p
		next.MSISDN = identity.MSISDN(fmt.Sprintf("88212%02d%d", who, (i+1)%2))
		if _, _, err := s.Change(ctx, imsi, "1", p, next); err != nil {
			return err
		}
		if _, _, err := s.Change(ctx, imsi, "2", next, p); err != nil {
			return err
		}
		for _, host := range []string{"mme1.example", "mme2.example", "mme1.example"} {
			if err := register(ctx, s, imsi, "3", subscriber.MME, subscriber.Registration{Host: host}); err != nil {
				return err
			}
		}
		if i == rounds-1 {
			return nil
		}
		if _, _, err := s.Remove(ctx, imsi); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkPage reads pages of 100 SIMs out of 10,000, or as many as XEPC_SIMS says.
func BenchmarkPage(b *testing.B) {
	n := 10_000
	if text := os.Getenv("XEPC_SIMS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(b, err)
	}
	s := open(b, redistest.Start(b).Address)
	_, err := s.AddMany(context.Background(), sims(n), epoch)
	require.NoError(b, err)
	for b.Loop() {
		page, err := s.Search(context.Background(), Match{Prefix: string(imsiNumber(0))[:6], After: imsiNumber(rand.IntN(n - 200))}, 100)
		require.NoError(b, err)
		require.Len(b, page, 100)
	}
}

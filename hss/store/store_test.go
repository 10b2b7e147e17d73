package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

const imsi identity.IMSI = "999700000000001"

var (
	keys    = aka.Credentials{Algorithm: aka.Milenage, K: aka.KeyOf([]byte("0123456789abcdef")), OPc: aka.KeyOf([]byte("fedcba9876543210"))}
	profile = subscriber.Profile{MSISDN: "882120000001", APNs: []subscriber.APN{{Name: "internet"}}}.WithDefaults()
	epoch   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	kek     = "k1 " + strings.Repeat("ab", 32)
)

func open(t testing.TB, address string) *Store {
	t.Helper()
	keyring, err := ParseKeyring(kek)
	require.NoError(t, err)
	cfg := DefaultConfig()
	if address != "" {
		cfg.Addresses = []string{address}
	}
	s, err := Open(cfg, keyring, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// onBoth runs a test on a real Redis and on the embedded one.
func onBoth(t *testing.T, f func(*testing.T, *Store)) {
	t.Run("redis", func(t *testing.T) {
		f(t, open(t, redistest.Start(t).Address))
	})
	t.Run("embedded", func(t *testing.T) { f(t, open(t, "")) })
}

// register makes a node the SIM's, whoever holds it.
func register(ctx context.Context, s *Store, imsi identity.IMSI, rev Revision, side subscriber.Side, r subscriber.Registration) error {
	sub, _, err := s.Get(ctx, imsi)
	if err != nil {
		return err
	}
	return s.Register(ctx, sub, rev, Swap{Side: side, Next: r})
}

// Who writes what it has made of a part that it has read writes nothing when the part is another by now: a rotation does not
// put old keys into a SIM that was made anew, nor an edit an old registration.
func TestPartsAreReplacedAsTheyWereRead(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		require.NoError(t, register(ctx, s, imsi, "1", subscriber.MME, subscriber.Registration{Host: "mme1", Realm: "visited", PLMN: "001-01", At: epoch}))
		before, err := s.stored(ctx, imsi)
		require.NoError(t, err)
		n, err := s.reseal.Run(ctx, s.redis, []string{key(imsi)}, before.sealed+"x", "other keys").Int()
		require.NoError(t, err)
		require.Zero(t, n)
		answer, err := s.batcher.do(call{script: s.edit, keys: []string{key(imsi)}, args: []any{"mme", before.mme + " ", `{"h":"mme2"}`}})
		require.NoError(t, err)
		require.Equal(t, []string{"changed"}, answer)
		after, err := s.stored(ctx, imsi)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}

func TestRecord(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.Ping(ctx))
		_, _, err := s.Get(ctx, imsi)
		require.ErrorIs(t, err, ErrUnknown)
		_, err = s.Credentials(ctx, imsi)
		require.ErrorIs(t, err, ErrUnknown)
		_, err = s.Advance(ctx, imsi, "mme1", 1, nil, epoch)
		require.ErrorIs(t, err, ErrUnknown)
		_, _, err = s.Remove(ctx, imsi)
		require.ErrorIs(t, err, ErrUnknown)
		_, _, err = s.Purge(ctx, imsi, "mme1", "", subscriber.MME)
		require.ErrorIs(t, err, ErrUnknown)
		err = s.Register(ctx, subscriber.Subscriber{IMSI: imsi}, "1", Swap{Side: subscriber.MME, Next: subscriber.Registration{Host: "mme1"}})
		require.ErrorIs(t, err, ErrUnknown)

		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		require.ErrorIs(t, s.Add(ctx, imsi, profile, keys, 0, epoch), ErrExists)
		got, _, err := s.Get(ctx, imsi)
		require.NoError(t, err)
		require.Equal(t, subscriber.Subscriber{IMSI: imsi, Profile: profile}, got)
		c, err := s.Credentials(ctx, imsi)
		require.NoError(t, err)
		require.True(t, c == keys)
		raw, err := s.redis.Get(ctx, key(imsi)).Result()
		require.NoError(t, err)
		require.NotContains(t, raw, string(keys.K.Octets()[:4]))
		require.NotContains(t, raw, string(keys.OPc.Octets()[:4]))

		for i := 2; i <= 5; i++ {
			require.NoError(t, s.Add(ctx, identity.IMSI(fmt.Sprintf("99970000000000%d", i)), profile, keys, 0, epoch))
		}
		all, err := s.Search(ctx, Match{}, 100)
		require.NoError(t, err)
		require.Len(t, all, 5)
		require.Equal(t, imsi, all[0].IMSI)
		some, err := s.Search(ctx, Match{Prefix: "999700000000004"}, 100)
		require.NoError(t, err)
		require.Len(t, some, 1)
		few, err := s.Search(ctx, Match{Prefix: "99970"}, 2)
		require.NoError(t, err)
		require.Len(t, few, 2)

		_, _, err = s.Remove(ctx, imsi)
		require.NoError(t, err)
		_, _, err = s.Get(ctx, imsi)
		require.ErrorIs(t, err, ErrUnknown)
	})
}

func seqOf(t *testing.T, s *Store, node string, count int, sim *uint64, now time.Time) subscriber.Counter {
	t.Helper()
	a, err := s.Advance(context.Background(), imsi, node, count, sim, now)
	require.NoError(t, err)
	require.Equal(t, profile.Admission(), a.Admission)
	require.True(t, a.Keys == keys)
	require.Equal(t, count, a.Counter.Count)
	return a.Counter
}

// Each of several requests that go together gets what it asks for, and what is wrong with one costs no other anything.
func TestAdvanceAll(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		const other, unknown, full = identity.IMSI("999700000000002"), identity.IMSI("999700000000099"), identity.IMSI("999700000000003")
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		next := profile
		next.MSISDN = ""
		require.NoError(t, s.Add(ctx, other, next, keys, 100, epoch))
		require.NoError(t, s.Add(ctx, full, next, keys, aka.MaxSEQ-1, epoch))
		sim := uint64(5000)
		all := s.AdvanceAll(ctx, []Ask{
			{IMSI: imsi, Node: "mme1", Count: 2},
			{IMSI: unknown, Node: "mme1", Count: 1},
			{IMSI: other, Node: "mme2", Count: 1},
			{IMSI: imsi, Node: "mme1", Count: 1},
			{IMSI: full, Node: "mme1", Count: 3},
			{IMSI: imsi, Node: "mme2", Count: 1, SIMSEQ: &sim},
		}, epoch)
		var seqs []uint64
		for i, want := range []error{nil, ErrUnknown, nil, nil, ErrUsedUp, nil} {
			if want != nil {
				require.ErrorIs(t, all[i].Err, want, i)
				continue
			}
			require.NoError(t, all[i].Err, i)
			require.True(t, all[i].Keys == keys)
			seqs = append(seqs, all[i].Counter.SEQ)
		}
		require.Equal(t, []uint64{1, 101, 3, 5001}, seqs)
		require.Empty(t, s.AdvanceAll(ctx, nil, epoch))
		for i, c := range s.CredentialsOf(ctx, []identity.IMSI{other, unknown, imsi}) {
			require.Equal(t, i == 1, errors.Is(c.Err, ErrUnknown), "%v", c.Err)
			require.Equal(t, i != 1, c.Credentials == keys)
		}
	})
}

func TestSequenceNumbers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		add := func(seq uint64) {
			_ = s.redis.Del(ctx, key(imsi)).Err()
			require.NoError(t, s.Add(ctx, imsi, profile, keys, seq, epoch))
		}
		sim := func(v uint64) *uint64 { return &v }

		add(100)
		require.EqualValues(t, 101, seqOf(t, s, "mme1", 3, nil, epoch).SEQ)
		require.EqualValues(t, 104, seqOf(t, s, "mme1", 1, nil, epoch).SEQ, "above all three")
		require.EqualValues(t, 110, seqOf(t, s, "mme1", 1, nil, epoch.Add(time.Second)).SEQ, "the clock is ahead: 100 and ten units")
		require.EqualValues(t, 111, seqOf(t, s, "mme1", 1, nil, epoch).SEQ, "a clock that goes back changes nothing")
		require.EqualValues(t, 501, seqOf(t, s, "mme1", 1, sim(500), epoch).SEQ, "the SIM is ahead")
		require.EqualValues(t, 502, seqOf(t, s, "mme1", 1, sim(300), epoch).SEQ, "the SIM is behind and will accept the next")
		require.EqualValues(t, 511, seqOf(t, s, "mme1", 1, sim(510), epoch.Add(time.Second)).SEQ)
		require.EqualValues(t, 520, seqOf(t, s, "mme1", 1, nil, epoch.Add(2*time.Second)).SEQ, "the clock counts from the SIM's SEQ now")

		add(1000 + subscriber.Delta)
		require.EqualValues(t, 1001+subscriber.Delta, seqOf(t, s, "mme1", 1, sim(1001), epoch).SEQ, "the largest jump that a SIM accepts")
		require.EqualValues(t, 8, seqOf(t, s, "mme1", 1, sim(7), epoch).SEQ, "one more than the largest jump: back to the SIM's")

		add(aka.MaxSEQ - 1)
		require.EqualValues(t, uint64(aka.MaxSEQ), seqOf(t, s, "mme1", 1, nil, epoch).SEQ)
		_, err := s.Advance(ctx, imsi, "mme1", 1, nil, epoch)
		require.ErrorIs(t, err, ErrUsedUp)
	})
}

func TestEachNodeHasAnINDOfItsOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		require.NoError(t, s.Add(context.Background(), imsi, profile, keys, 0, epoch))
		inds := map[uint8]string{}
		for i := range aka.INDs {
			node := fmt.Sprintf("mme%d", i)
			c := seqOf(t, s, node, 1, nil, epoch)
			require.NotContains(t, inds, c.IND)
			inds[c.IND] = node
			require.Equal(t, c.IND, seqOf(t, s, strings.ToUpper(node), 1, nil, epoch).IND, "the same node")
		}
		c := seqOf(t, s, "one more", 1, nil, epoch)
		require.EqualValues(t, 0, c.IND, "the oldest node's")
		require.EqualValues(t, 1, seqOf(t, s, "mme0", 1, nil, epoch).IND)
	})
}

func TestNoSequenceNumberIsGivenTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		require.NoError(t, s.Add(context.Background(), imsi, profile, keys, 0, epoch))
		const clients, each, count = 64, 20, 3
		var mu sync.Mutex
		seen := map[uint64]bool{}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range each {
					a, err := s.Advance(context.Background(), imsi, fmt.Sprintf("mme%d", i%3), count, nil, epoch)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for n := range uint64(count) {
						if seen[a.Counter.SEQ+n] {
							t.Errorf("SEQ %d twice", a.Counter.SEQ+n)
						}
						seen[a.Counter.SEQ+n] = true
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(t, seen, clients*each*count)
	})
}

// A node that has yet to answer our CLR about a SIM is not registered meanwhile, unless that is forced: the CLR would reach the
// holder. One whose CLR comes too late, since the SIM is another's by then, is not kept.
func TestNoCLRForTheHolder(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		swap := func(host string, force bool) error {
			sub, rev, err := s.Get(ctx, imsi)
			require.NoError(t, err)
			w := Swap{Side: subscriber.MME, Next: subscriber.Registration{Host: host, Realm: "visited", PLMN: "001-01", At: epoch}, Force: force}
			for _, q := range sub.Displacement(w.Side, w.Next, false, false) {
				w.Requests = append(w.Requests, NewPending(q, epoch))
			}
			return s.Register(ctx, sub, rev, w)
		}
		cancel := func(host string) Pending {
			return NewPending(subscriber.Request{
				Kind: subscriber.Cancel, IMSI: imsi, Side: subscriber.MME, Host: host, Cancellation: subscriber.MMEUpdate,
			}, epoch)
		}
		require.NoError(t, swap("mme1", false))
		require.NoError(t, swap("mme2", false))
		waits := func(host string) bool {
			_, ok, err := s.Take(cancel(host).Name())
			require.NoError(t, err)
			return ok
		}
		require.True(t, waits("mme1"))
		require.ErrorIs(t, swap("mme1", false), ErrPending)
		require.True(t, waits("mme1"))
		require.NoError(t, swap("MME1", true))
		require.False(t, waits("mme1"), "it holds the registration")
		require.True(t, waits("mme2"))

		kept, err := s.Keep(ctx, cancel("mme3"))
		require.NoError(t, err)
		require.False(t, kept, "the SIM is at mme1")
		require.False(t, waits("mme3"))
		sub, _, err := s.Get(ctx, imsi)
		require.NoError(t, err)
		require.Equal(t, "MME1", sub.MME.Host, "its registration stands")
		kept, err = s.Keep(ctx, cancel("mme1"))
		require.NoError(t, err)
		require.True(t, kept)
		sub, _, err = s.Get(ctx, imsi)
		require.NoError(t, err)
		require.True(t, sub.MME.IsZero())
	})
}

func TestRegistrationIsSwappedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		_, rev, err := s.Get(ctx, imsi)
		require.NoError(t, err)
		require.ErrorIs(t, register(ctx, s, imsi, "0", subscriber.MME, subscriber.Registration{Host: "mme0"}), ErrChanged)

		const nodes = 32
		var mu sync.Mutex
		displaced := map[string]int{}
		var wg sync.WaitGroup
		for i := range nodes {
			wg.Go(func() {
				for {
					before, _, err := s.Get(ctx, imsi)
					if err != nil {
						t.Error(err)
						return
					}
					err = s.Register(ctx, before, rev, Swap{Side: subscriber.MME, Next: subscriber.Registration{Host: fmt.Sprintf("mme%d", i), At: epoch}})
					if errors.Is(err, ErrChanged) {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					displaced[before.MME.Host]++
					mu.Unlock()
					return
				}
			})
		}
		wg.Wait()
		sub, _, err := s.Get(ctx, imsi)
		require.NoError(t, err)
		require.Len(t, displaced, nodes, "each but the last once, and nobody once")
		require.NotContains(t, displaced, sub.MME.Host)
		require.True(t, sub.SGSN.IsZero())

		last := sub.MME
		mme, sgsn, err := s.Purge(ctx, imsi, "mme-other", "", subscriber.MME, subscriber.SGSN)
		require.NoError(t, err)
		require.False(t, mme || sgsn)
		mme, sgsn, err = s.Purge(ctx, imsi, strings.ToUpper(last.Host), "", subscriber.MME, subscriber.SGSN)
		require.NoError(t, err)
		require.True(t, mme)
		require.False(t, sgsn)
		sub, _, err = s.Get(ctx, imsi)
		require.NoError(t, err)
		last.Purged = true
		require.Equal(t, last, sub.MME)
		gone, _, err := s.Remove(ctx, imsi)
		require.NoError(t, err)
		require.Equal(t, last, gone)
	})
}

func TestRedisAwayAndBack(t *testing.T) {
	for name, address := range map[string]func(*redistest.Server) string{
		"TCP":         func(r *redistest.Server) string { return r.Address },
		"unix socket": func(r *redistest.Server) string { return r.Socket },
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			testAwayAndBack(t, server, open(t, address(server)))
		})
	}
}

func testAwayAndBack(t *testing.T, server *redistest.Server, s *Store) {
	ctx := context.Background()
	require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
	before := seqOf(t, s, "mme1", 1, nil, epoch)
	server.Kill()
	_, err := s.Advance(ctx, imsi, "mme1", 1, nil, epoch)
	require.ErrorIs(t, err, ErrUnavailable)
	_, _, err = s.Get(ctx, imsi)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, s.Ping(ctx), ErrUnavailable)
	server.Resume(t)
	require.Eventually(t, func() bool { return s.Ping(ctx) == nil }, 20*time.Second, 10*time.Millisecond)
	require.Greater(t, seqOf(t, s, "mme1", 1, nil, epoch).SEQ, before.SEQ)
}

func TestAddressesOfRedis(t *testing.T) {
	for _, c := range []struct {
		cfg   Config
		fault string
	}{
		{Config{Addresses: []string{"10.40.0.10:6379"}}, ""},
		{Config{Addresses: []string{"/run/redis/redis.sock"}}, ""},
		{Config{Addresses: []string{"redis.sock"}}, `addresses[0]: "redis.sock" is not host:port`},
		{Config{Addresses: []string{"10.40.0.10:6379", "/run/redis/redis.sock"}}, `addresses[1]: "/run/redis/redis.sock" is not host:port`},
		{Config{Addresses: []string{"/run/redis/redis.sock"}, MasterName: "hss"}, `addresses[0]: "/run/redis/redis.sock" is not host:port`},
	} {
		c.cfg.Within = time.Second
		if c.fault == "" {
			require.NoError(t, c.cfg.Validate())
			continue
		}
		require.ErrorContains(t, c.cfg.Validate(), c.fault)
	}
}

func TestSeal(t *testing.T) {
	r, err := ParseKeyring("# comment\n\n" + kek + "\nk0 " + strings.Repeat("cd", 32) + "\n")
	require.NoError(t, err)
	sealed := string(r.seal(imsi, keys))
	require.NotEqual(t, sealed, string(r.seal(imsi, keys)), "a nonce each")
	got, err := r.open(imsi, sealed)
	require.NoError(t, err)
	require.True(t, got == keys)
	_, err = r.open("999700000000002", sealed)
	require.ErrorContains(t, err, "do not open")
	for i := range sealed {
		bad := append([]byte(nil), sealed...)
		bad[i] ^= 1
		_, err := r.open(imsi, string(bad))
		require.Error(t, err, "octet %d changed", i)
		_, err = r.open(imsi, sealed[:i])
		require.Error(t, err, "cut to %d", i)
	}
	rotated, err := ParseKeyring("k2 " + strings.Repeat("ef", 32) + "\n" + kek)
	require.NoError(t, err)
	_, err = rotated.open(imsi, sealed)
	require.NoError(t, err, "an older KEK still opens")
	other, err := ParseKeyring("k9 " + strings.Repeat("ab", 32))
	require.NoError(t, err)
	_, err = other.open(imsi, sealed)
	require.ErrorContains(t, err, `KEK "k1"`)
}

func TestLoadKeyring(t *testing.T) {
	_, err := LoadKeyring(KEKConfig{})
	require.ErrorIs(t, err, ErrNoKEK)
	file := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(file, []byte(GenerateKEK("k7")), 0o600))
	r, err := LoadKeyring(KEKConfig{File: file})
	require.NoError(t, err)
	require.Equal(t, "k7", r.active)
	t.Setenv("HSS_KEK_TEST", kek)
	_, err = LoadKeyring(KEKConfig{Env: "HSS_KEK_TEST"})
	require.NoError(t, err)
	for _, bad := range []string{"k1", "k1 ab", kek + "\n" + kek, strings.Repeat("k", 33) + kek[2:], "k1 " + strings.Repeat("zz", 32)} {
		_, err := ParseKeyring(bad)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "abab")
	}
	cfg := DefaultConfig()
	cfg.Addresses = []string{"127.0.0.1:1"}
	_, err = Open(cfg, nil, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrNoKEK, "a real Redis needs a KEK")
}

func TestClockUnits(t *testing.T) {
	require.EqualValues(t, 10, clock(epoch.Add(time.Second))-clock(epoch))
	require.Less(t, float64(aka.MaxSEQ), math.Pow(2, 53), "Lua's numbers hold every SEQ")
}

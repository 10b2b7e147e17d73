package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// The octets are put together by hand from the layout in layout.go.
const recordHex = `02 0000000001f4 00ffffffff9c 01 01 00000003 02 000d 0009 0000
	aabbccdd 00000000 0102 7b226d223a22383832313222 7d 7b2268223a226d227d`

func octetsOf(t testing.TB, text string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	require.NoError(t, err)
	return string(b)
}

func TestRecordLayout(t *testing.T) {
	want := stored{
		seq: 500, lead: -100, next: 1, nodes: "\xaa\xbb\xcc\xdd", revision: 3, sealed: "\x01\x02", profile: `{"m":"88212"}`, mme: `{"h":"m"}`,
	}
	text := octetsOf(t, recordHex)
	got, err := parseStored(text)
	require.NoError(t, err)
	require.Equal(t, want, got)
	b, err := want.encode()
	require.NoError(t, err)
	require.Equal(t, text, string(b))
	for n := range len(text) {
		_, err := parseStored(text[:n])
		require.ErrorIs(t, err, errLayout, "cut to %d", n)
	}
	for _, bad := range []string{text + "x", "\x03" + text[1:], ""} {
		_, err := parseStored(bad)
		require.ErrorIs(t, err, errLayout)
	}
	for _, bad := range []stored{{profile: strings.Repeat("x", maxPart+1)}, {sealed: strings.Repeat("x", 256)}, {seq: aka.MaxSEQ + 1}} {
		_, err := bad.encode()
		require.Error(t, err)
	}
}

func FuzzParseStored(f *testing.F) {
	f.Add(octetsOf(f, recordHex))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseStored(text)
		if err != nil || r.seq > aka.MaxSEQ {
			return
		}
		b, err := r.encode()
		require.NoError(t, err)
		again, err := parseStored(string(b))
		require.NoError(t, err)
		require.Equal(t, r, again)
		require.Len(t, b, len(text))
	})
}

// A node's tag is one of the table only where one begins, and only as far as the table goes.
func TestPlaceOfANodeIsThatOfAWholeTag(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		tag := nodeTag("mme1")
		across := "ab" + string(tag[:]) + "cd" // the last half of one and the first half of the next
		for _, row := range []struct {
			name, nodes string
			want        uint8
		}{
			{"the first", string(tag[:]) + "abcd", 0},
			{"behind what looks like it", across + string(tag[:]), 2},
			{"a new one, since what looks like it is not", across, 2},
			{"a new one, since what is the same stands behind the table", "abcdefgh" + "ijkl", 3},
		} {
			r := newStored(s.keyring.seal(imsi, keys), []byte("{}"+string(tag[:])), 0, epoch)
			r.nodes, r.next = row.nodes, byte(len(row.nodes)/tagOctets)
			octets, err := r.encode()
			require.NoError(t, err)
			require.NoError(t, s.redis.Set(ctx, key(imsi), octets, 0).Err())
			c := &call{keys: []string{key(imsi)}, run: run{node: "mme1", count: 1, sim: noSIMSEQ, now: clock(epoch)}}
			s.sendCalls([]*call{c})
			require.NoError(t, c.err)
			require.Equal(t, aka.NewSQN(1, row.want), c.run.sqn, row.name)
			text, err := s.redis.Get(ctx, key(imsi)).Result()
			require.NoError(t, err)
			after, err := parseStored(text)
			require.NoError(t, err, row.name)
			require.Equal(t, string(tag[:]), after.nodes[tagOctets*row.want:][:tagOctets], row.name)
			require.Equal(t, r.profile, after.profile, row.name)
		}
	})
}

// The script's codec reads and writes what ours does: a change through it leaves all other parts as they were.
func TestScriptsKeepWhatTheyDoNotChange(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		text := octetsOf(t, recordHex)
		require.NoError(t, s.redis.Set(ctx, key(imsi), text, 0).Err())
		answer, err := s.run(ctx, s.change, imsi, "3", `{"m":"88212"}`)
		require.NoError(t, err)
		require.Equal(t, []string{`{"h":"m"}`, ""}, answer)
		after, err := s.redis.Get(ctx, key(imsi)).Result()
		require.NoError(t, err)
		require.Equal(t, strings.Replace(text, "\x00\x00\x00\x03", "\x00\x00\x00\x04", 1), after)
	})
}

func TestRegistrationComesBackAsItWasStored(t *testing.T) {
	full := subscriber.Registration{
		Host: "mme1.epc.mnc001.mcc001.3gppnetwork.org", Realm: "epc.mnc001.mcc001.3gppnetwork.org", PLMN: "001-01", RAT: subscriber.EUTRAN,
		IMEI: "3534900698733190", SMS: "49170", Features: 7, Features2: 1 << 17, At: epoch.Add(1234 * time.Millisecond), Purged: true, Reachable: epoch,
	}
	hub := full
	hub.Realm = "hub.example"
	noRealm := full
	noRealm.Realm = ""
	for _, r := range []subscriber.Registration{{}, full, hub, noRealm, {Host: "mme1"}} {
		text, err := encodeRegistration(r)
		require.NoError(t, err)
		got, err := decodeRegistration(text)
		require.NoError(t, err)
		require.Equal(t, r, got, text)
		old, err := json.Marshal(r)
		require.NoError(t, err)
		got, err = decodeRegistration(string(old))
		require.NoError(t, err)
		require.Equal(t, r, got, "of version 1: %s", old)
	}
	text, err := encodeRegistration(full)
	require.NoError(t, err)
	require.NotContains(t, text, `"r"`, "the realm is in the host's name")
}

// putVersion1 puts a SIM in as version 1 had it, with what its scripts wrote.
func putVersion1(t *testing.T, s *Store, imsi identity.IMSI, nodes ...string) {
	t.Helper()
	p, err := encodeProfile(profile)
	require.NoError(t, err)
	mme, err := json.Marshal(subscriber.Registration{Host: "MME1.example", Realm: "example", PLMN: "001-01", At: epoch})
	require.NoError(t, err)
	h := []any{
		"v", "1", "rev", "7", "profile", p, "key", s.keyring.seal(imsi, keys), "seq", "500", "seq0", "100", "t0", clock(epoch) - 300,
		"mme", mme, "nodes", len(nodes),
	}
	for i, node := range nodes {
		if i+aka.INDs < len(nodes) {
			continue // its IND is another's by now
		}
		h = append(h, fmt.Sprintf("n:%d", i%aka.INDs), node, "i:"+node, i%aka.INDs)
	}
	require.NoError(t, s.redis.HSet(context.Background(), key(imsi), h...).Err())
}

func TestRecordsOfVersion1AreUpgraded(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		afresh := func(nodes ...string) {
			t.Helper()
			require.NoError(t, s.redis.Del(ctx, key(imsi)).Err())
			putVersion1(t, s, imsi, nodes...)
		}
		afresh("mme0.example", "mme1.example")
		c := seqOf(t, s, "mme1.example", 2, nil, epoch)
		require.Equal(t, subscriber.Counter{SEQ: 501, IND: 1, Count: 2}, c)
		require.EqualValues(t, 503, seqOf(t, s, "mme0.example", 1, nil, epoch).SEQ)
		require.EqualValues(t, 900, seqOf(t, s, "mme0.example", 1, nil, epoch.Add(50*time.Second)).SEQ, "the clock counts as before: 100 and 300 and 500 units")
		require.EqualValues(t, 2, seqOf(t, s, "mme9.example", 1, nil, epoch).IND)
		r, err := s.Load(ctx, imsi)
		require.NoError(t, err)
		require.Equal(t, Revision("7"), r.Revision)
		require.Equal(t, subscriber.Registration{Host: "MME1.example", Realm: "example", PLMN: "001-01", At: epoch}, r.MME)

		var many []string
		for i := range aka.INDs + 3 {
			many = append(many, fmt.Sprintf("mme%d.example", i))
		}
		afresh(many...)
		require.EqualValues(t, 2, seqOf(t, s, many[aka.INDs+2], 1, nil, epoch).IND)
		require.EqualValues(t, 3, seqOf(t, s, many[3], 1, nil, epoch).IND)
		require.EqualValues(t, 3, seqOf(t, s, "new.example", 1, nil, epoch).IND, "the oldest node's")

		for name, step := range map[string]func() error{
			"load": func() error { _, err := s.Load(ctx, imsi); return err },
			"load many": func() error {
				all, err := s.LoadMany(ctx, []identity.IMSI{"999700000000009", imsi})
				require.Len(t, all, 1)
				return err
			},
			"credentials": func() error { c, err := s.Credentials(ctx, imsi); require.True(t, c == keys); return err },
			"add": func() error {
				require.ErrorIs(t, s.Add(ctx, imsi, profile, keys, 0, epoch), ErrExists)
				return nil
			},
			"change": func() error { _, _, err := s.Change(ctx, imsi, "7", profile, profile); return err },
			"register": func() error {
				return register(ctx, s, imsi, "7", subscriber.MME, subscriber.Registration{Host: "mme2.example", At: epoch})
			},
			"purge": func() error {
				mme, sgsn, err := s.Purge(ctx, imsi, "mme1.example", "", subscriber.MME, subscriber.SGSN)
				require.True(t, mme)
				require.False(t, sgsn)
				r, errLoad := s.Load(ctx, imsi)
				require.NoError(t, errLoad)
				require.True(t, r.MME.Purged)
				return err
			},
			"edit": func() error {
				return s.EditRegistration(ctx, imsi, subscriber.MME, "mme1.example", func(r subscriber.Registration) subscriber.Registration { return r })
			},
			"reseal": func() error {
				var r Rotation
				err := s.resealMany(ctx, []identity.IMSI{imsi}, &r)
				require.EqualValues(t, 1, r.Resealed.Load())
				return err
			},
			"remove": func() error { _, _, err := s.Remove(ctx, imsi); return err },
		} {
			afresh("mme1.example")
			require.NoError(t, step(), name)
		}
	})
}

// One record that nobody can read costs nobody else a vector, though they share a call to Redis.
func TestBrokenRecordsHurtOnlyThemselves(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		broken := map[identity.IMSI]func(key string) error{
			"999700000000002": func(k string) error { return s.redis.Set(ctx, k, "\x03 of the future, and long enough", 0).Err() },
			"999700000000003": func(k string) error { return s.redis.Set(ctx, k, "\x02", 0).Err() },
			"999700000000004": func(k string) error { return s.redis.HSet(ctx, k, "v", "1").Err() },
			"999700000000005": func(k string) error { return s.redis.HSet(ctx, k, "v", "3").Err() },
			"999700000000006": func(k string) error { return s.redis.SAdd(ctx, k, "x").Err() },
		}
		var calls []*call
		add := func(of identity.IMSI) *call {
			c := &call{keys: []string{key(of)}, run: run{node: "mme1", count: 1, sim: noSIMSEQ, now: clock(epoch)}}
			calls = append(calls, c)
			return c
		}
		first := add(imsi)
		for of, spoil := range broken {
			require.NoError(t, spoil(key(of)))
			add(of)
		}
		unknown, last := add("999700000000099"), add(imsi)
		s.sendCalls(calls)
		for _, c := range calls {
			require.NoError(t, c.err, c.keys)
		}
		require.Equal(t, aka.NewSQN(1, 0), first.run.sqn)
		require.Equal(t, aka.NewSQN(2, 0), last.run.sqn, "the same SIM again in the same call")
		require.EqualValues(t, runUnknown, unknown.run.state)
		for of := range broken {
			_, err := s.Advance(ctx, of, "mme1", 1, nil, epoch)
			require.ErrorIs(t, err, errLayout)
			require.NotErrorIs(t, err, ErrUnavailable)
			_, err = s.Load(ctx, of)
			require.Error(t, err)
			require.NotErrorIs(t, err, ErrUnknown)
		}
		require.NoError(t, s.redis.Set(ctx, key(imsi), strings.Repeat("\xff", headOctets), 0).Err())
		_, err := s.Advance(ctx, imsi, "mme1", 1, nil, epoch)
		require.ErrorIs(t, err, errLayout)
	})
}

// Many SIMs at once, several times each: the runs of one call are as apart as those of many.
func TestRunsOfOneCallAreApart(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		const sims, each = 150, 4
		for i := range sims {
			require.NoError(t, s.Add(ctx, imsiNumber(i), profile, keys, uint64(1000*i), epoch))
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[identity.IMSI]map[uint64]bool{}
		for i := range sims * each {
			wg.Go(func() {
				of := imsiNumber(i % sims)
				a, err := s.Advance(ctx, of, "mme1", 2, nil, epoch)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if seen[of] == nil {
					seen[of] = map[uint64]bool{}
				}
				seen[of][a.Counter.SEQ] = true
			})
		}
		wg.Wait()
		for i := range sims {
			for k := range uint64(each) {
				require.Contains(t, seen[imsiNumber(i)], uint64(1000*i)+1+2*k)
			}
		}
	})
}

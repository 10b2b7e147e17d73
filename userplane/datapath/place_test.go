package datapath

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// sparse are as many UEs as there are slots, in every way that leaves blocks of addresses nearly empty: a dozen in each /24
// and each /56, the same addresses in two network instances, and prefixes of other lengths.
func sparse(slots int) (entries []session.Entry) {
	const inBlock = denseHosts + 4
	for n := 0; len(entries) < slots; n++ {
		for host := range inBlock {
			v4 := session.UE(netip.AddrFrom4([4]byte{172, 20, byte(n), byte(100 + host)}))
			v6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 9, byte(n), byte(100 + host)}), 64)
			for _, key := range []session.Key{
				{Direction: session.Downlink, Instance: "internet", UE: v4},
				{Direction: session.Downlink, Instance: "corp", UE: v4},
				{Direction: session.Downlink, Instance: "internet", UE: v6},
				{Direction: session.Downlink, Instance: "corp", UE: v6},
			} {
				entries = append(entries, with(downlinkOf(1), func(e *session.Entry) {
					e.Key, e.RemoteTEID = key, pfcp.TEID(0x5000_0000+len(entries))
					e.Origin.SEID = pfcp.SEID(1 + len(entries))
				}))
			}
		}
		routed := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 10, byte(n)}), 56)
		entries = append(entries, with(downlinkOf(1), func(e *session.Entry) {
			e.Key.UE, e.RemoteTEID, e.Origin.SEID = routed, pfcp.TEID(0x5000_0000+len(entries)), pfcp.SEID(1+len(entries))
		}))
	}
	return entries[:slots]
}

// TestNoPatternOfAddressesWastesSlots fills all slots, whatever the addresses, finds each by a packet, and empties them.
func TestNoPatternOfAddressesWastesSlots(t *testing.T) {
	for name, pattern := range map[string]func(slots int) []session.Entry{
		"blocks nearly empty": sparse,
		"all of one last octet": func(slots int) (entries []session.Entry) {
			for n := range slots {
				entries = append(entries, lonely(n))
			}
			return entries
		},
	} {
		t.Run(name, func(t *testing.T) { fillAndEmpty(t, pattern) })
	}
}

func fillAndEmpty(t *testing.T, pattern func(slots int) []session.Entry) {
	w := newWorldWith(t, func(c *Config) { c.Routes, c.AddressBlocks = 1024, eagerBlocks+1 })
	entries := pattern(w.cfg.AddressBlocks * blockSize)
	for n, e := range entries {
		require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{e}}), n)
	}
	more := downlinkOf(200)
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: []session.Entry{more}}), ErrTableFull)
	require.NoError(t, w.d.Resolve())
	allFound := func() {
		t.Helper()
		require.Len(t, w.onlyEntries(), len(entries))
		for _, e := range entries {
			frame, port := packetFor(t, e)
			if e.Key.Instance == "corp" {
				copy(frame, otherMAC)
				port = "core1"
			}
			verdict, out := w.run(port, frame, 0)
			require.EqualValues(t, xdpRedirect, verdict, e.Key)
			require.Equal(t, uint32(e.RemoteTEID), binary.BigEndian.Uint32(out[14+20+8+4:]), e.Key)
		}
	}
	allFound()

	// So does the next process.
	require.NoError(t, w.d.Close())
	w.open()
	repairs, err := w.d.Reconcile(slices.Values(entries))
	require.NoError(t, err)
	require.Zero(t, repairs)
	allFound()

	// Whose slot a stray had gets another, and every slot that is let go of can be used again.
	for n := 0; n < len(entries); n += 3 {
		require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{entries[n].Key}}))
	}
	for n := 0; n < len(entries); n += 3 {
		require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{entries[n]}}), n)
	}
	require.NoError(t, w.d.Resolve())
	allFound()

	for _, e := range entries {
		require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{e.Key}}))
	}
	require.Empty(t, w.onlyEntries())
	require.Empty(t, w.d.singlesIn)
	require.Zero(t, w.d.singles.Len())
	require.Empty(t, w.d.routes)
	for range w.d.tables.hosts.all {
		require.Fail(t, "a UE is left")
	}
	w.apply(more)
}

// TestSlotsAreAccountedForAlike has UEs come, go and move at random, dense and alone in their /24s, and opens the data path anew: what
// it learns from the tables is what it knew.
func TestSlotsAreAccountedForAlike(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.AddressBlocks = eagerBlocks + 1 })
	r := rand.New(rand.NewPCG(7, 8))
	live := map[session.Key]session.Entry{}
	for range 2000 {
		a := [4]byte{10, 1, byte(r.IntN(12)), byte(r.IntN(120))}
		if r.IntN(3) == 0 {
			a = [4]byte{10, byte(2 + r.IntN(2)), byte(r.IntN(256)), 7}
		}
		e := with(downlinkOf(1), func(e *session.Entry) {
			e.Key.UE, e.Origin.SEID = session.UE(netip.AddrFrom4(a)), pfcp.SEID(1+r.IntN(1<<20))
		})
		_, there := live[e.Key]
		switch {
		case there && r.IntN(20) == 0: // to another session
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{e.Key}, Puts: []session.Entry{e}}))
			live[e.Key] = e
		case there:
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{e.Key}}))
			delete(live, e.Key)
		default:
			require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{e}}))
			live[e.Key] = e
		}
	}
	alone := 0
	for _, n := range w.d.singlesIn {
		alone += n
	}
	require.Equal(t, w.d.singles.Len(), alone)
	refs, singles, in := w.d.blockPool.refs, w.d.singles, w.d.singlesIn
	require.NoError(t, w.d.Close())
	w.open()
	require.Equal(t, refs, w.d.blockPool.refs)
	require.Equal(t, singles, w.d.singles)
	require.Equal(t, in, w.d.singlesIn)
	repairs, err := w.d.Reconcile(maps.Values(live))
	require.NoError(t, err)
	require.Zero(t, repairs)

	for key := range live {
		require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{key}}))
	}
	require.Zero(t, w.d.singles.Len())
	require.Empty(t, w.d.singlesIn)
	require.Equal(t, make([]uint32, len(refs)), w.d.blockPool.refs)
}

// lonely is a UE in a /24 of its own.
func lonely(n int) session.Entry {
	return with(downlinkOf(1), func(e *session.Entry) {
		e.Key.UE = session.UE(netip.AddrFrom4([4]byte{10, byte(100 + n>>8), byte(n), 7}))
		e.Origin.SEID = pfcp.SEID(1 + n)
	})
}

// TestSlotsOfLonelyUEsStayTogether has few of them come and go more often than there are slots: they are few pages of memory.
func TestSlotsOfLonelyUEsStayTogether(t *testing.T) {
	w := newWorld(t)
	const few, rounds = 50, 2000
	for n := range rounds {
		w.apply(lonely(n))
		if n >= few {
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{lonely(n - few).Key}}))
		}
		if n%10 == 0 {
			require.NoError(t, w.d.grace.settle()) // as Run does
		}
	}
	slots := len(w.d.tables.downlink.slots)
	require.Greater(t, rounds, slots)
	for at, e := range w.d.tables.entries {
		if w.d.tables.blocks.find(blockKey(1, e.Key.UE)) == nil {
			require.Greater(t, int(at.index), slots-2*few, e.Key)
		}
	}
}

// TestDirectoriesGrowUnderTraffic has a directory grow to its end while packets look UEs up in it: none finds nobody.
func TestDirectoriesGrowUnderTraffic(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.AddressBlocks = 64 })
	const first, all = 100, 14_000
	var frames [][]byte
	var port string
	for n := range first {
		w.apply(lonely(n))
		var frame []byte
		frame, port = packetFor(t, lonely(n))
		frames = append(frames, frame)
	}
	require.NoError(t, w.d.Resolve())
	done := make(chan error, 1)
	go func() {
		for n := first; n < all; n++ {
			if err := w.d.Apply(session.Changes{Puts: []session.Entry{lonely(n)}}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	w.enter()
	for n, growing := 0, true; growing; n++ {
		frame := frames[n%first]
		verdict, err := w.d.objects.Pgwu.Run(&ebpf.RunOptions{
			Data: frame, Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(w.ifindex[port])},
		})
		require.NoError(t, err)
		require.EqualValues(t, xdpRedirect, verdict, "packet %d", n)
		select {
		case err := <-done:
			require.NoError(t, err)
			growing = false
		default:
		}
	}
	require.EqualValues(t, maxGenerations, w.d.tables.hosts.used())
	require.Len(t, w.onlyEntries(), all)
}

// TestTheLastSlotsAreFound leaves few slots of many, wherever they are: the next that come get just these, though they rest,
// and are refused when there is none.
func TestTheLastSlotsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		slots int
		entry func(n int) session.Entry
	}{
		"of UE addresses": {1024, lonely},
		"of TEIDs that all name one slot": {256, func(n int) session.Entry {
			return with(uplinkOf(1), func(e *session.Entry) {
				e.Key.Local, e.Key.TEID, e.Origin.SEID = slice2, pfcp.TEID(256+n*256), pfcp.SEID(1+n)
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			put := func(n int) error { return w.d.Apply(session.Changes{Puts: []session.Entry{c.entry(n)}}) }
			for n := range c.slots {
				require.NoError(t, put(n), n)
			}
			require.ErrorIs(t, put(c.slots), ErrTableFull)
			var left []session.Key
			for n := 3; n < c.slots; n += 50 {
				left = append(left, c.entry(n).Key)
			}
			require.NoError(t, w.d.Apply(session.Changes{Deletes: left}))
			for n := range left {
				require.NoError(t, put(c.slots+n), n)
			}
			require.ErrorIs(t, put(2*c.slots), ErrTableFull)
			require.NoError(t, w.d.Close())
			w.open()
			require.ErrorIs(t, put(2*c.slots), ErrTableFull, "the next process knows")
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{c.entry(c.slots).Key}}))
			require.NoError(t, put(2*c.slots))
		})
	}
}

package datapath

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// entries is what the maps hold, in the order of the tables.
func (w *world) entries() []EntryState {
	return slices.Collect(w.d.Reader().Entries())
}

func (w *world) onlyEntries() []session.Entry {
	var all []session.Entry
	for _, e := range w.entries() {
		all = append(all, e.Entry)
	}
	return all
}

func TestApplyThenReadBack(t *testing.T) {
	w := newWorld(t)
	want := []session.Entry{
		with(uplinkOf(5), func(e *session.Entry) { e.MBR = 2000 }),
		with(uplinkOf(6), func(e *session.Entry) { e.Action, e.GateClosed = session.ActionDrop, true }),
		with(uplinkOf(7), func(e *session.Entry) { e.Sources = nil; e.Origin.QERID = pfcp.Some(pfcp.QERID(0)) }),
		with(uplinkOf(5), func(e *session.Entry) { e.Key.Local, e.Instance = slice2, "corp" }),
		downlinkOf(5),
		with(downlinkOf(9), func(e *session.Entry) {
			e.Action, e.Remote, e.Local, e.RemoteTEID = session.ActionNoHeader, netip.Addr{}, netip.Addr{}, 0
		}),
		with(downlinkOf(5), func(e *session.Entry) { e.Key.Instance, e.Local = "corp", slice2 }),
	}
	w.apply(want...)
	require.ElementsMatch(t, want, w.onlyEntries())

	other, err := OpenReader(w.cfg.PinDir)
	require.NoError(t, err)
	require.Equal(t, w.entries(), slices.Collect(other.Entries()))
	require.NoError(t, other.Close())

	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{
		want[0].Key, want[4].Key, downlinkOf(77).Key, {Direction: session.Uplink, Local: sgw, TEID: 1},
	}}))
	require.ElementsMatch(t, append(want[1:4:4], want[5:]...), w.onlyEntries())
}

func TestUsageSurvivesModification(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5), downlinkOf(5))
	keys := []session.Key{uplinkOf(5).Key, downlinkOf(5).Key}
	for range 3 {
		w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 100)), 0)
	}
	w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
	w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 1, 10)), 0) // dropped: not counted
	want := []session.Usage{{Packets: 3, Octets: 3 * 128}, {Packets: 1, Octets: 38}}
	usage, err := w.d.Usage(keys)
	require.NoError(t, err)
	require.Equal(t, want, usage)

	moved := with(downlinkOf(5), func(e *session.Entry) { e.Remote, e.RemoteTEID = nextTo(sgw), 0x99 })
	w.apply(uplinkOf(5), moved)
	usage, err = w.d.Usage(keys)
	require.NoError(t, err)
	require.Equal(t, want, usage)

	_, out := w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
	require.Equal(t, spacedHex(encapsulated(t, nextTo(sgw), 0x99, 1, inner(t, server, ue(5), 63, 10))), spacedHex(out))

	require.NoError(t, w.d.Apply(session.Changes{Deletes: keys}))
	_, err = w.d.Usage(keys)
	require.ErrorIs(t, err, ErrNoEntry)
	w.apply(uplinkOf(5)) // the slot is used again: from zero
	usage, err = w.d.Usage(keys[:1])
	require.NoError(t, err)
	require.Equal(t, []session.Usage{{}}, usage)
}

// TestAdopt closes and opens the data path again, as a restarted daemon does.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5), downlinkOf(5), downlinkOf(6))
	frame := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 100))
	w.run("access0", frame, 0)
	before, reasons := w.entries(), w.reasons()
	require.NoError(t, w.d.Close())

	reader, err := OpenReader(w.cfg.PinDir)
	require.NoError(t, err)
	require.Equal(t, before, slices.Collect(reader.Entries()))
	hops, err := reader.NextHops()
	require.NoError(t, err)
	require.Contains(t, hops, NextHop{
		Address: netip.MustParseAddr("10.50.1.1"), Instance: "internet", Resolved: true, Port: "core0",
		MAC: coreGW.String(), MTU: accessMTU,
	})
	require.Contains(t, hops, NextHop{
		Address: sgw, Local: slice1, Resolved: true, Port: "access0", MAC: accessGW.String(), MTU: accessMTU,
	})
	require.NoError(t, reader.Close())

	w.cfg.Instances = append([]Instance{{Name: "new", Gateway: netip.MustParseAddr("10.51.1.1")}}, w.cfg.Instances...)
	w.open()
	require.Equal(t, before, w.entries())
	require.Equal(t, reasons, w.reasons())
	verdict, out := w.run("access0", frame, 0)
	require.EqualValues(t, xdpRedirect, verdict)
	require.Equal(t, spacedHex(plain(t, coreMAC, coreGW, inner(t, ue(5), server, 63, 100))), spacedHex(out))
	usage, err := w.d.Usage([]session.Key{uplinkOf(5).Key})
	require.NoError(t, err)
	require.EqualValues(t, 2, usage[0].Packets)

	// References were counted anew: the peer and the block go when their last entries do.
	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{downlinkOf(5).Key, downlinkOf(6).Key}}))
	require.Zero(t, slices.Max(w.d.blockPool.refs))
	require.Zero(t, slices.Max(w.d.peerPool.refs[1:]))
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5))
	_, err := Open(w.cfg, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "another daemon")
	require.NoError(t, w.d.Close())

	for name, change := range map[string]func(*Config){
		"more blocks":    func(c *Config) { c.AddressBlocks = 8 },
		"more instances": func(c *Config) { c.MaxInstances = 8 },
		"a larger slice": func(c *Config) {
			c.Slices = []Slice{{Address: slice1, TEIDs: 2 * sliceSlots}, c.Slices[1], c.Slices[2]}
		},
		"another address": func(c *Config) { c.Slices = []Slice{c.Slices[0], {Address: sgw, TEIDs: 200}, c.Slices[2]} },
	} {
		cfg := w.cfg
		change(&cfg)
		_, err := Open(cfg, slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, ErrLayout, name)
	}
	missing := w.cfg
	missing.Ports = []Port{{Name: "nowhere", Side: SideAccess}}
	_, err = Open(missing, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "nowhere")

	_, err = OpenReader(filepath.Join(filepath.Dir(w.cfg.PinDir), "none"))
	require.ErrorIs(t, err, ErrNotPinned)
	w.open() // nothing of this did harm
	require.Len(t, w.entries(), 1)
}

// TestUnfinished opens over what a daemon left that died while it made the maps.
func TestUnfinished(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.objects.About.Put(uint32(0), pgwuAbout{}))
	require.NoError(t, w.d.Close())
	require.NoError(t, os.Remove(filepath.Join(w.cfg.PinDir, pgwuMapUplink)))
	w.open()
	w.apply(uplinkOf(5))
}

// TestPortComesBack removes an interface while nobody runs, and makes it anew.
func TestPortComesBack(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5))
	require.NoError(t, w.d.Close())
	l, err := netlink.LinkByName("core0")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkDel(l))
	w.port("core0", coreMAC, "10.50.1.2/24", "10.50.1.1", coreGW)
	w.open()
	verdict, _ := w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 100)), 0)
	require.EqualValues(t, xdpRedirect, verdict)
	for _, port := range []string{"access0", "core0", "core1"} {
		device, err := netlink.LinkByName(port)
		require.NoError(t, err)
		info, err := w.d.objects.Pgwu.Info()
		require.NoError(t, err)
		id, _ := info.ID()
		require.EqualValues(t, id, programOn(device), port)
	}
	pins, err := filepath.Glob(filepath.Join(w.cfg.PinDir, portPin+"*"))
	require.NoError(t, err)
	require.Len(t, pins, 3, "the link of the interface that is gone is gone too")

	w.cfg.Ports = w.cfg.Ports[:2]
	require.NoError(t, w.d.Close())
	w.open()
	other, err := netlink.LinkByName("core1")
	require.NoError(t, err)
	require.Zero(t, programOn(other), "no port any more")
}

// TestGeneric attaches in generic mode, as for a NIC whose driver has no native XDP.
func TestGeneric(t *testing.T) {
	const attachedGeneric = 2 // XDP_ATTACHED_SKB of linux/if_link.h
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	require.NoError(t, Remove(w.cfg.PinDir))
	w.cfg.Generic = true
	w.open()
	l, err := netlink.LinkByName("access0")
	require.NoError(t, err)
	require.EqualValues(t, attachedGeneric, l.Attrs().Xdp.AttachMode)
}

// TestChangeUnderTraffic changes an entry as fast as it can while packets use it: each goes the old way or the new one,
// never half and half, or finds no session while there is none.
func TestChangeUnderTraffic(t *testing.T) {
	w := newWorld(t)
	ways := []session.Entry{
		downlinkOf(5), with(downlinkOf(5), func(e *session.Entry) { e.Remote, e.RemoteTEID, e.Local = nextTo(sgw), 0x22220005, slice2 }),
	}
	w.apply(ways[0])
	w.apply(ways[1])
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			changes := session.Changes{Puts: []session.Entry{ways[n%2]}}
			if n%1000 == 999 { // also one that rests before it comes back
				changes = session.Changes{Deletes: []session.Key{ways[0].Key}}
			}
			if err := w.d.Apply(changes); err != nil {
				done <- err
				return
			}
		}
	}()
	frame := plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10))
	seen := map[string]int{}
	for n := 0; n < 5000 || len(seen) < 3 && n < 1_000_000; n++ { // while a slot rests there is no session: wait for one
		verdict, out := w.run("core0", frame, 0)
		if verdict == xdpDrop {
			seen["none"]++
			continue
		}
		seen[spacedHex(out[14+12:14+20])+" "+spacedHex(out[14+32:14+36])]++
	}
	close(stop)
	require.NoError(t, <-done)
	delete(seen, "none")
	require.Len(t, seen, 2, "%v", seen)
	require.NotZero(t, seen["0a 1e 01 01 0a 0a 00 02 11 11 00 05"])
	require.NotZero(t, seen["0a 1e 01 02 0a 0a 00 03 22 22 00 05"])
}

// TestApplyAllOrNothing has every kind of refused put stand after good ones.
func TestApplyAllOrNothing(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5), downlinkOf(5), uplinkOf(12))
	for name, row := range map[string]struct {
		put  session.Entry
		want error
	}{
		"another session's TEID":     {with(uplinkOf(5), func(e *session.Entry) { e.Origin.SEID = 99 }), ErrSlotTaken},
		"another session's UE":       {with(downlinkOf(5), func(e *session.Entry) { e.Origin.SEID = 99 }), ErrSlotTaken},
		"the same key twice":         {uplinkOf(6), ErrSlotTaken},
		"no such slice":              {with(uplinkOf(7), func(e *session.Entry) { e.Key.Local = sgw }), ErrUnknownSlice},
		"no such instance":           {with(uplinkOf(7), func(e *session.Entry) { e.Instance = "x" }), ErrUnknownInstance},
		"no such UE instance":        {with(downlinkOf(7), func(e *session.Entry) { e.Key.Instance = "x" }), ErrUnknownInstance},
		"a UE prefix with host bits": {with(downlinkOf(7), func(e *session.Entry) { e.Key.UE = netip.PrefixFrom(ue(7), 24) }), ErrInvalid},
		"a duplicate":                {with(uplinkOf(7), func(e *session.Entry) { e.Copies = []session.Copy{{}} }), ErrInvalid},
		"an IPv6 peer":               {with(downlinkOf(7), func(e *session.Entry) { e.Remote = netip.IPv6LinkLocalAllNodes() }), ErrInvalid},
		"forwarding without peer":    {with(downlinkOf(7), func(e *session.Entry) { e.Remote = netip.Addr{} }), ErrInvalid},
		"TEID 0":                     {with(uplinkOf(7), func(e *session.Entry) { e.Key.TEID = 0 }), ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			before, blocks := w.entries(), w.blockCount()
			other := with(downlinkOf(6), func(e *session.Entry) {
				e.Key.UE, e.Remote = session.UE(netip.MustParseAddr("172.16.200.6")), nextTo(nextTo(sgw))
			})
			err := w.d.Apply(session.Changes{
				Puts: []session.Entry{
					with(uplinkOf(5), func(e *session.Entry) { e.GateClosed = true }), uplinkOf(6), downlinkOf(6), other, row.put,
				},
				Deletes: []session.Key{uplinkOf(12).Key},
			})
			require.ErrorIs(t, err, row.want)
			require.Equal(t, before, w.entries())
			require.Equal(t, blocks, w.blockCount())
			require.EqualValues(t, 1, w.d.blockPool.refs[0])
			require.EqualValues(t, []uint32{1, 0, 0, 0, 0, 0, 0, 0}, w.d.peerPool.refs[1:])
		})
	}
}

// sliceGeneration changes a TEID but not its slot.
const sliceGeneration = 1 << 20

func (w *world) blockCount() (n int) {
	for range w.d.tables.blocks.all {
		n++
	}
	return n
}

func nextTo(a netip.Addr) netip.Addr { return a.Next() }

func TestTableFull(t *testing.T) {
	w := newWorld(t)
	in24 := func(block, host int) session.Entry {
		return with(downlinkOf(host), func(e *session.Entry) {
			e.Key.UE = session.UE(netip.AddrFrom4([4]byte{172, 17, byte(block), byte(host)}))
		})
	}
	w.apply(in24(0, 1), in24(1, 1), in24(2, 1), in24(3, 1))
	w.apply(in24(4, 1)) // finds a slot in a block of others
	require.Equal(t, 4, w.blockCount())
	w.apply(in24(0, 2))

	// A block without entries gives its place, and the one idle for longest first.
	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{in24(2, 1).Key}}))
	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{in24(1, 1).Key}}))
	w.apply(in24(5, 1))
	require.Nil(t, w.d.tables.blocks.find(blockKey(w.d.tables.numbers["internet"], in24(2, 1).Key.UE)))
	require.NotNil(t, w.d.tables.blocks.find(blockKey(w.d.tables.numbers["internet"], in24(1, 1).Key.UE)))
	require.Len(t, w.entries(), 5)

	// Peers likewise; eight fit.
	remote := sgw
	for n := range 7 {
		remote = nextTo(remote)
		w.apply(with(in24(4, 10+n), func(e *session.Entry) { e.Remote = remote }))
	}
	ninth := with(in24(4, 20), func(e *session.Entry) { e.Remote = nextTo(remote) })
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: []session.Entry{ninth}}), ErrTableFull)
	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{in24(4, 11).Key}}))
	w.apply(ninth)
	_, out := w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ninth.Key.UE.Addr(), 64, 10)), 0)
	require.Equal(t, spacedHex(encapsulated(t, nextTo(remote), ninth.RemoteTEID, 0, inner(t, server, ninth.Key.UE.Addr(), 63, 10))), spacedHex(out))
}

// TestGrace has a place used again only after a barrier.
func TestGrace(t *testing.T) {
	w := newWorld(t)
	barriers := 0
	w.d.grace.barrier = func() error { barriers++; return nil }
	w.apply(uplinkOf(5), uplinkOf(6))
	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{uplinkOf(5).Key}}))
	require.Zero(t, barriers)
	w.apply(uplinkOf(7))
	require.Zero(t, barriers, "another slot need not wait")
	w.apply(uplinkOf(5))
	require.Equal(t, 1, barriers)
	require.Empty(t, w.d.grace.resting)

	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{uplinkOf(5).Key, uplinkOf(6).Key}}))
	require.True(t, w.d.grace.begin())
	w.d.grace.end(nil)
	w.apply(uplinkOf(5), uplinkOf(6))
	require.Equal(t, 1, barriers, "the one waited for elsewhere is enough")

	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{uplinkOf(5).Key}}))
	broken := errors.New("broken")
	w.d.grace.barrier = func() error { return broken }
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: []session.Entry{uplinkOf(5)}}), broken)
	require.Len(t, w.entries(), 2)
}

func TestReconcile(t *testing.T) {
	w := newWorld(t)
	right, changed, unwanted := uplinkOf(5), downlinkOf(5), uplinkOf(6)
	w.apply(right, changed, unwanted, downlinkOf(6), with(uplinkOf(7), func(e *session.Entry) { e.Key.TEID += sliceGeneration }))
	w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 100)), 0)
	w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)

	want := []session.Entry{
		right, with(changed, func(e *session.Entry) { e.RemoteTEID, e.Origin.SEID = 0x77, 50 }),
		uplinkOf(7), downlinkOf(8),
	}
	repairs, err := w.d.Reconcile(slices.Values(want))
	require.NoError(t, err)
	require.Equal(t, Repairs{Added: 2, Changed: 1, Removed: 3}, repairs)
	require.ElementsMatch(t, want, w.onlyEntries())
	usage, err := w.d.Usage([]session.Key{right.Key, changed.Key, uplinkOf(7).Key})
	require.NoError(t, err)
	require.Equal(t, []session.Usage{{Packets: 1, Octets: 128}, {Packets: 1, Octets: 38}, {}}, usage)

	repairs, err = w.d.Reconcile(slices.Values(want))
	require.NoError(t, err)
	require.Zero(t, repairs)
	_, err = w.d.Reconcile(slices.Values([]session.Entry{uplinkOf(7), uplinkOf(7)}))
	require.ErrorIs(t, err, ErrSlotTaken)
	repairs, err = w.d.Reconcile(iter.Seq[session.Entry](func(func(session.Entry) bool) {}))
	require.NoError(t, err)
	require.Equal(t, Repairs{Removed: 4}, repairs)
}

func TestValidateListsAllFaults(t *testing.T) {
	cfg := Default()
	cfg.AddressBlocks, cfg.Peers, cfg.MaxInstances, cfg.Burst = 0, 1<<20, 0, 0
	cfg.Ports = []Port{{Name: ""}, {Name: "a", Side: SideCore, Instance: "x"}, {Name: "a", Side: 9}}
	cfg.Slices = []Slice{{}, {Address: slice1}, {Address: slice1, TEIDs: maxTableSlots}, {Address: slice3}, {Address6: slice1}}
	cfg.Instances = []Instance{{}, {Name: "a", Gateway: slice1}, {Name: "a", Gateway: slice1}, {Name: "b", Gateway: slice3}, {Name: "c", Gateway6: slice1}}
	err := cfg.Validate()
	for _, key := range []string{
		"pin_dir", "address_blocks", "peers", "max_instances", "burst", "ports[0].name", "ports[0].side",
		"ports[1].instance", "ports[2].name", "ports[2].side", "slices[0].address", "slices[1].teids",
		"slices[2].address", "slices[3].address", "slices[4].address6", "instances[3].gateway", "instances[4].gateway6", "instances[0].name", "instances[0].gateway", "instances[2].name",
	} {
		require.ErrorContains(t, err, key+":")
	}
}

// TestDirectory fills a directory to what it is made for and finds every key.
func TestDirectory(t *testing.T) {
	buckets := directoryBuckets(4096)
	d := directory{table: table[pgwuBucket]{slots: make([]pgwuBucket, buckets)}}
	require.EqualValues(t, 1366, buckets)
	r, keys, moved := random(1), map[uint64]bool{}, 0
	for len(keys) < 4096 {
		key := uint64(1+r.Uint32N(200))<<32 | uint64(r.Uint32N(1<<24))
		if keys[key] {
			continue
		}
		keys[key] = true
		require.NoError(t, d.insert(key, uint32(key), 0, func() error { moved++; return nil }), "%d keys", len(keys))
	}
	n := 0
	for cell := range d.all {
		require.True(t, keys[cell.Key])
		n++
	}
	require.Len(t, keys, n)
	t.Log("waits for programs:", moved)
	for key := range keys {
		require.EqualValues(t, uint32(key), d.find(key).Value, fmt.Sprintf("%#x", key))
		d.remove(key)
		require.Nil(t, d.find(key))
	}
}

// TestDirectoryGrows fills one that grows. While a doubling waits for programs, every key is found by the former number of
// generations and by the new one; and whenever a process dies, the next one finds each key once.
func TestDirectoryGrows(t *testing.T) {
	const most = 20_000
	var grown uint32
	growing := func(slots []pgwuBucket, grown *uint32) *directory {
		d := &directory{table: table[pgwuBucket]{slots: slots}}
		d.growBy(grown)
		return d
	}
	d := growing(make([]pgwuBucket, growingBuckets(most)), &grown)
	r, keys, doublings := random(2), map[uint64]bool{}, 0
	found := func(d *directory, generations uint32) {
		t.Helper()
		by := growing(d.slots, &generations)
		for key := range keys {
			cell := by.find(key)
			require.NotNil(t, cell, "%#x by %d generations", key, generations+1)
			require.EqualValues(t, uint32(key), cell.Value)
		}
	}
	before := grown
	settle := func() error {
		found(d, grown)
		if grown == before {
			return nil // a key goes from its second bucket to its first
		}
		doublings++
		found(d, before)
		for _, generations := range []uint32{before, grown} { // killed before or after the number was stored
			next := growing(slices.Clone(d.slots), &generations)
			next.adopt()
			require.Equal(t, len(keys), next.keys)
			found(next, generations)
		}
		before = grown
		return nil
	}
	for len(keys) < most {
		key := uint64(1+r.Uint32N(3))<<32 | uint64(r.Uint32N(1<<16))*263
		if keys[key] {
			continue
		}
		require.NoError(t, d.insert(key, uint32(key), 0, settle), "%d keys", len(keys))
		keys[key] = true
	}
	require.Equal(t, 6, doublings, "all 64 generations")
	found(d, grown)
	n := 0
	for range d.all {
		n++
	}
	require.Equal(t, most, n)
	for key := range keys {
		d.remove(key)
		require.Nil(t, d.find(key))
	}
	require.Zero(t, d.keys)

	failing := func() error { return errors.ErrUnsupported }
	small := growing(make([]pgwuBucket, growingBuckets(1000)), new(uint32))
	clear(keys)
	for n := uint64(1); ; n++ {
		if err := small.insert(n, uint32(n), 0, failing); err != nil {
			require.ErrorIs(t, err, errors.ErrUnsupported)
			found(small, 0)
			found(small, 1)
			require.NoError(t, small.insert(n, uint32(n), 0, func() error { return nil }))
			keys[n] = true
			found(small, *small.grown)
			return
		}
		keys[n] = true
	}
}

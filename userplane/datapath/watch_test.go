package datapath

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// TestWatches has entries tell, once, at the packet that reaches their watch, also when the count is beyond 32 bits.
func TestWatches(t *testing.T) {
	w := newWorld(t)
	events := make(chan Event, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx, func(e Event) { events <- e }) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	up := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 72)) // 100 octets inside
	down := plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 72))
	watched := func(octets uint64) func(*session.Entry) { return func(e *session.Entry) { e.Watch = octets } }
	told := Event{Kind: EventWatch, SEID: 5}
	next := func() {
		t.Helper()
		select {
		case e := <-events:
			require.Equal(t, told, e)
		case <-time.After(patience):
			require.Fail(t, "no event")
		}
	}
	watches := func() (all []uint64) {
		for e := range w.d.Reader().Entries() {
			all = append(all, e.Watch)
		}
		return all
	}
	send := func(packets int) {
		for range packets {
			w.run("access0", up, 0)
			w.run("core0", down, 0)
		}
	}
	entry := with(uplinkOf(5), watched(300))
	filtered := with(downlinkOf(5), func(e *session.Entry) {
		dnsOnly(&e.Rule)
		e.More = []session.Rule{downlinkOf(5).Rule}
		e.Watch = 401
	})
	w.apply(entry, filtered)
	require.Equal(t, []uint64{300, 401}, watches())
	require.Empty(t, w.d.Exceeded())
	send(2)
	require.Empty(t, events)
	send(1)
	next() // up
	send(1)
	require.Empty(t, events, "400 of 401")
	send(1)
	next() // down
	send(3)
	require.Empty(t, events, "each is told once")
	require.Equal(t, []uint64{0, 0}, watches())
	for range sweepParts {
		w.d.Exceeded()
	}
	w.d.sweep = 0
	require.Equal(t, []Event{told, told}, w.d.Exceeded(), "what the ring would have lost")

	// A watch that is told is no difference to repair; another one is.
	want := []session.Entry{entry, filtered}
	repairs, err := w.d.Reconcile(sliceOf(want))
	require.NoError(t, err)
	require.Zero(t, repairs)
	want[0].Watch = 1 << 33
	repairs, err = w.d.Reconcile(sliceOf(want))
	require.NoError(t, err)
	require.Equal(t, Repairs{Changed: 1}, repairs)

	// The 32 bits that are compared go round.
	e, _, err := w.d.find(entry.Key)
	require.NoError(t, err)
	w.d.tables.entry(e).Usage.Octets = 1<<32 - 150
	w.apply(with(entry, watched(1<<32+100)))
	require.EqualValues(t, 1<<32+100, watches()[0])
	send(2)
	require.Empty(t, events)
	send(1)
	next()
	w.d.tables.entry(e).Usage.Octets = 1<<32 - 150
	w.apply(with(entry, watched(1<<32))) // as 32 bits it would be none
	send(1)
	require.Empty(t, events)
	send(1)
	next()
}

func sliceOf(all []session.Entry) func(func(session.Entry) bool) {
	return func(yield func(session.Entry) bool) {
		for _, e := range all {
			if !yield(e) {
				return
			}
		}
	}
}

// TestAFullRingLosesNoWatch has packets tell again until there is room.
func TestAFullRingLosesNoWatch(t *testing.T) {
	w := newWorld(t)
	w.apply(with(uplinkOf(5), func(e *session.Entry) { e.Watch = 1 }))
	unknown := tunnel(t, slice1, 0x7bffffff, inner(t, ue(5), server, 64, 1))
	for range 64 * 1024 / 64 {
		w.run("access0", unknown, 0)
	}
	up := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 72))
	w.run("access0", up, 0)
	require.Empty(t, w.d.Exceeded(), "not told yet")
	ctx, cancel := context.WithCancel(t.Context())
	done, told := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		done <- w.d.Run(ctx, func(e Event) {
			if e.Kind == EventWatch {
				told <- struct{}{}
			}
		})
	}()
	require.Eventually(t, func() bool {
		w.run("access0", up, 0)
		return len(told) > 0
	}, patience, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

// TestACelledEntryCountsInCellsOnly changes an entry to cells and back while it is in use: neither count has the other's
// packets.
func TestACelledEntryCountsInCellsOnly(t *testing.T) {
	w := newWorld(t)
	cell := session.CellID{SEID: 5, URRID: 1}
	up := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 72))
	down := plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 72))
	celled := func(e *session.Entry) { e.Celled, e.Cells = true, []session.CellID{cell} }
	counts := func() (entries [2]uint64, cells [2]uint64) {
		usage, err := w.d.Usage([]session.Key{uplinkOf(5).Key, downlinkOf(5).Key})
		require.NoError(t, err)
		volumes, err := w.d.Volumes([]session.CellID{cell})
		require.NoError(t, err)
		return [2]uint64{usage[0].Octets, usage[1].Octets}, [2]uint64{volumes[0].UplinkOctets, volumes[0].DownlinkOctets}
	}
	shown := func() (all []uint64) {
		for e := range w.d.Reader().Entries() {
			u, ok := e.UsageOf(func(*session.Rule) bool { return true })
			require.True(t, ok)
			all = append(all, u.Octets)
		}
		return all
	}
	send := func(packets int) {
		for range packets {
			w.run("access0", up, 0)
			verdict, _ := w.run("core0", down, 0)
			require.EqualValues(t, xdpRedirect, verdict)
		}
	}
	require.NoError(t, w.d.Apply(session.Changes{
		Cells: []session.Cell{{ID: cell}}, Puts: []session.Entry{uplinkOf(5), with(downlinkOf(5), celled)},
	}))
	require.NoError(t, w.d.Resolve())
	send(1)
	entries, cells := counts()
	require.Equal(t, [2]uint64{100, 0}, entries)
	require.Equal(t, [2]uint64{0, 100}, cells)
	w.apply(with(uplinkOf(5), celled), downlinkOf(5))
	send(2)
	entries, cells = counts()
	require.Equal(t, [2]uint64{100, 200}, entries)
	require.Equal(t, [2]uint64{200, 100}, cells)
	require.Equal(t, uint64(300), shown()[0])
	w.apply(uplinkOf(5), with(downlinkOf(5), celled))
	send(1)
	require.NoError(t, w.d.Close())
	w.open()
	send(1)
	entries, cells = counts()
	require.Equal(t, [2]uint64{300, 200}, entries)
	require.Equal(t, [2]uint64{200, 300}, cells)
	for e := range w.d.Reader().Entries() {
		require.Equal(t, e.Key.Direction == session.Downlink, e.Celled)
		require.Equal(t, pfcp.SEID(5), e.Origin.SEID)
	}
}

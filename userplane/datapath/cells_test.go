package datapath

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// TestCells has both directions of a session and a linked URR count in cells, with a threshold and a quota.
func TestCells(t *testing.T) {
	w := newWorld(t)
	events := make(chan Event, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx, func(e Event) { events <- e }) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	total, linked := session.CellID{SEID: 5, URRID: 1}, session.CellID{SEID: 5, URRID: 2}
	counts := func(e *session.Entry) { e.Cells = []session.CellID{total, linked} }
	limits := session.VolumeLimits{TotalThreshold: 250, TotalQuota: 400}
	require.NoError(t, w.d.Apply(session.Changes{
		Cells: []session.Cell{{ID: total, Limits: limits}, {ID: linked}},
		Puts:  []session.Entry{with(uplinkOf(5), counts), with(downlinkOf(5), counts)},
	}))
	up := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 72)) // 100 octets inside
	down := plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 72))
	send := func(port string, frame []byte) map[string]uint64 {
		before := w.reasons()
		w.run(port, frame, 0)
		return difference(before, w.reasons())
	}
	next := func() Event {
		select {
		case e := <-events:
			return e
		case <-time.After(patience):
			require.Fail(t, "no event")
			return Event{}
		}
	}
	forwarded := map[string]uint64{"uplink_forwarded": 1}
	require.Equal(t, forwarded, send("access0", up))
	require.Equal(t, map[string]uint64{"downlink_forwarded": 1}, send("core0", down))
	require.Empty(t, w.d.Exceeded())
	require.Equal(t, forwarded, send("access0", up))
	threshold := Event{Kind: EventThreshold, SEID: 5, Cell: total, Limit: LimitTotal}
	require.Equal(t, threshold, next())
	require.Equal(t, []Event{threshold}, w.d.Exceeded(), "what the ring would have lost")
	require.Equal(t, forwarded, send("access0", up))
	require.Equal(t, map[string]uint64{"quota_exhausted": 1}, send("access0", up))
	require.Equal(t, map[string]uint64{"quota_exhausted": 1}, send("core0", down))
	quota := Event{Kind: EventQuota, SEID: 5, Cell: total, Limit: LimitTotal}
	require.Equal(t, quota, next())
	require.Empty(t, events, "each is told once")

	volumes, err := w.d.Volumes([]session.CellID{total, linked})
	require.NoError(t, err)
	want := session.Volume{UplinkOctets: 300, DownlinkOctets: 100, UplinkPackets: 3, DownlinkPackets: 1}
	require.Equal(t, []session.Volume{want, want}, volumes)

	// New limits, in the same count; what is read continues over a restart.
	require.NoError(t, w.d.Apply(session.Changes{Cells: []session.Cell{{
		ID: total, Limits: session.VolumeLimits{UplinkThreshold: 350, TotalQuota: 10_000},
	}}}))
	require.Equal(t, forwarded, send("access0", up))
	require.Equal(t, Event{Kind: EventThreshold, SEID: 5, Cell: total, Limit: LimitUplink}, next())
	cancel()
	require.NoError(t, <-done)
	done <- nil
	require.NoError(t, w.d.Close())
	w.open()
	require.Equal(t, forwarded, send("access0", up))
	volumes, err = w.d.Volumes([]session.CellID{total})
	require.NoError(t, err)
	require.EqualValues(t, 500, volumes[0].UplinkOctets)
	require.Equal(t, []Event{{Kind: EventThreshold, SEID: 5, Cell: total, Limit: LimitUplink}}, w.d.Exceeded())

	require.NoError(t, w.d.Apply(session.Changes{Cells: []session.Cell{{ID: total}}})) // no limits any more
	require.Empty(t, w.d.Exceeded())
	require.Zero(t, w.d.limits.taken)
	require.NoError(t, w.d.Apply(session.Changes{
		Deletes: []session.Key{uplinkOf(5).Key, downlinkOf(5).Key}, Removes: []session.CellID{total},
	}))
	require.Equal(t, 1, w.d.KeepCells(slices.Values([]session.CellID(nil))))
	_, err = w.d.Volumes([]session.CellID{linked})
	require.ErrorIs(t, err, ErrNoEntry)
	require.Zero(t, w.d.cells.taken+w.d.rules.taken+w.d.sets[0].taken)
}

// TestWhatDroppedPacketsCountIn has a FAR, a gate and a policer drop: cells that measure before QoS enforcement have what the
// last two drop, those for dropped packets what the FAR does, and any other nothing.
func TestWhatDroppedPacketsCountIn(t *testing.T) {
	before, after := session.CellID{SEID: 5, URRID: 1}, session.CellID{SEID: 5, URRID: 2}
	dropped := session.CellID{SEID: 5, URRID: 1, Dropped: true}
	drop := func(e *session.Entry) { e.Action, e.Cells = session.ActionDrop, []session.CellID{dropped} }
	celled := func(cells ...session.CellID) func(*session.Entry) {
		return func(e *session.Entry) { e.Celled, e.Cells = true, cells }
	}
	closed := func(e *session.Entry) { e.GateClosed = true }
	const rate = 8 // kbit/s: a packet a second, also on a machine that runs for some seconds only, since buckets fill from its start
	slow := func(e *session.Entry) { e.MBR = rate }
	shared := func(e *session.Entry) {
		e.Meters = []session.Meter{{ID: session.MeterID{SEID: 5, QERID: 2, Direction: e.Key.Direction}, MBR: rate}}
	}
	inSet := func(e *session.Entry) { // one that takes nothing comes first
		rule := e.Rule
		e.Filters = []session.Filter{{Protocol: pfcp.Some(uint8(99))}}
		e.More = []session.Rule{rule}
	}
	const sent = 5
	for name, row := range map[string]struct {
		change []func(*session.Entry)
		reason string
		passes bool // the first packet does
		cell   session.CellID
		counts bool // every packet; else what passes
	}{
		"a FAR":                              {[]func(*session.Entry){drop}, "far_drop", false, dropped, true},
		"a FAR, in a rule set":               {[]func(*session.Entry){drop, inSet}, "far_drop", false, dropped, true},
		"a FAR, before QoS":                  {[]func(*session.Entry){drop, celled(before)}, "far_drop", false, before, false},
		"a gate, before QoS":                 {[]func(*session.Entry){celled(before), closed}, "gate_closed", false, before, true},
		"a gate, before QoS, in a rule set":  {[]func(*session.Entry){celled(after, before), closed, inSet}, "gate_closed", false, before, true},
		"a gate, after QoS":                  {[]func(*session.Entry){celled(after), closed}, "gate_closed", false, after, false},
		"a policer, before QoS":              {[]func(*session.Entry){celled(before), slow}, "mbr_exceeded", true, before, true},
		"a policer, before QoS, of two URRs": {[]func(*session.Entry){celled(after, before), slow}, "mbr_exceeded", true, before, true},
		"a policer, after QoS, of two URRs":  {[]func(*session.Entry){celled(after, before), slow}, "mbr_exceeded", true, after, false},
		"a policer that rules share":         {[]func(*session.Entry){celled(before), shared}, "mbr_exceeded", true, before, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			up, down := uplinkOf(5), downlinkOf(5)
			for _, f := range row.change {
				up, down = with(up, f), with(down, f)
			}
			require.NoError(t, w.d.Apply(session.Changes{
				Cells: []session.Cell{{ID: before, BeforeQoS: true}, {ID: after}, {ID: dropped}}, Puts: []session.Entry{up, down},
			}))
			reasons := w.reasons()
			for range sent {
				w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 1000)), 0)
				w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 500)), 0)
			}
			counted := difference(reasons, w.reasons())
			ups, downs := counted["uplink_forwarded"], counted["downlink_forwarded"]
			require.Equal(t, row.passes, ups > 0, "%v", counted)
			require.Equal(t, row.passes, downs > 0, "%v", counted)
			require.EqualValues(t, 2*sent-ups-downs, counted[row.reason], "%v", counted)
			if row.counts {
				ups, downs = sent, sent
			}
			want := session.Volume{
				UplinkPackets: ups, UplinkOctets: ups * 1028, DownlinkPackets: downs, DownlinkOctets: downs * 528,
			}
			volumes, err := w.d.Volumes([]session.CellID{row.cell})
			require.NoError(t, err)
			require.Equal(t, want, volumes[0])

			require.NoError(t, w.d.Close()) // a restart takes them for what they are
			w.open()
			volumes, err = w.d.Volumes([]session.CellID{row.cell})
			require.NoError(t, err)
			require.Equal(t, want, volumes[0])
		})
	}
}

// TestWhatIsDroppedBetweenUEs: a packet that turns is dropped by the rules of either UE, and counts there.
func TestWhatIsDroppedBetweenUEs(t *testing.T) {
	w := newWorld(t)
	w.reopen(func(c *Config) { c.Instances[0].UEToUE = true })
	sender, receiver := session.CellID{SEID: 5, URRID: 1}, session.CellID{SEID: 6, URRID: 1}
	at := func(e session.Entry, id session.CellID, change func(*session.Entry)) session.Entry {
		return with(with(e, func(e *session.Entry) { e.Celled, e.Cells = true, []session.CellID{id} }), change)
	}
	open := func(*session.Entry) {}
	closed := func(e *session.Entry) { e.GateClosed = true }
	slow := func(e *session.Entry) { e.MBR = 1 }
	var sum [2]uint64
	for _, row := range []struct {
		up, down func(*session.Entry)
		reason   string
		counts   [2]uint64 // of four packets
	}{
		{open, open, "downlink_forwarded", [2]uint64{4, 4}},
		{open, closed, "gate_closed", [2]uint64{0, 4}},
		{open, slow, "mbr_exceeded", [2]uint64{1, 4}},
		{slow, open, "mbr_exceeded", [2]uint64{4, 1}},
	} {
		require.NoError(t, w.d.Apply(session.Changes{
			Cells: []session.Cell{{ID: sender, BeforeQoS: true}, {ID: receiver, BeforeQoS: true}},
			Puts:  []session.Entry{at(uplinkOf(5), sender, row.up), at(downlinkOf(6), receiver, row.down)},
		}))
		reasons := w.reasons()
		for range 4 {
			w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), ue(6), 64, 1000)), 0)
		}
		require.NotZero(t, difference(reasons, w.reasons())[row.reason])
		volumes, err := w.d.Volumes([]session.CellID{sender, receiver})
		require.NoError(t, err)
		sum[0], sum[1] = sum[0]+row.counts[0], sum[1]+row.counts[1]
		require.Equal(t, sum, [2]uint64{volumes[0].UplinkPackets, volumes[1].DownlinkPackets}, row.reason)
	}
}

// TestSharedMeters has two bearers share an AMBR, and a packet pay all of its meters or none.
func TestSharedMeters(t *testing.T) {
	w := newWorld(t)
	const octets = 1028
	ambr := session.Meter{ID: session.MeterID{Owner: 1, Correlation: 9, Direction: session.Uplink}, MBR: 1}
	wide := session.Meter{ID: session.MeterID{SEID: 5, QERID: 2, Direction: session.Uplink}, MBR: 1_000_000}
	w.apply(
		with(uplinkOf(5), func(e *session.Entry) { e.Meters = []session.Meter{wide, ambr} }),
		with(uplinkOf(6), func(e *session.Entry) { e.Meters = []session.Meter{ambr} }))
	passes := func(n int) bool {
		verdict, _ := w.run("access0", tunnel(t, slice1, teid(n), inner(t, ue(n), server, 64, octets-28)), 0)
		return verdict == xdpRedirect
	}
	require.Len(t, w.d.meterIndex, 2)
	// A new bucket was filled since the machine came up, which may be seconds ago: this one, for longer.
	w.d.tables.meters.slots[w.d.meterIndex[ambr.ID].index].Meter.Last -= uint64(time.Minute)
	require.True(t, passes(5), "a whole packet passes even a slow policer")
	require.False(t, passes(6), "which the other session has used up")
	tokens := &w.d.tables.meters.slots[w.d.meterIndex[wide.ID].index].Meter
	before := tokens.Tokens
	require.False(t, passes(5))
	require.GreaterOrEqual(t, tokens.Tokens, before, "nobody is charged for what does not pass")

	// A new rate counts for all who share it; the meter goes with the last of them.
	faster := ambr
	faster.MBR = 1_000_000
	w.apply(with(uplinkOf(6), func(e *session.Entry) { e.Meters = []session.Meter{faster} }))
	w.d.tables.meters.slots[w.d.meterIndex[ambr.ID].index].Meter.Last -= uint64(time.Second)
	require.True(t, passes(5))
	require.True(t, passes(6))
	require.NoError(t, w.d.Close())
	w.open()
	require.Equal(t, 2, w.d.meterIndex[ambr.ID].refs)
	w.apply(uplinkOf(5))
	require.Len(t, w.d.meterIndex, 1)
	require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{uplinkOf(6).Key}}))
	require.Empty(t, w.d.meterIndex)
	require.Zero(t, w.d.meters.taken+w.d.rules.taken+w.d.sets[0].taken)
}

// TestRefusedSetsLeaveNothing has a put fail after it took rules, cells, meters, peers and routes.
func TestRefusedSetsLeaveNothing(t *testing.T) {
	w := newWorld(t)
	bad := with(downlinkOf(6), func(e *session.Entry) { e.Key.Instance = "x" })
	good := with(downlinkOf(5), func(e *session.Entry) {
		dnsOnly(&e.Rule)
		e.Cells = []session.CellID{{SEID: 5, URRID: 1}}
		e.Meters = []session.Meter{{ID: session.MeterID{SEID: 5}, MBR: 7}}
		e.Key.UE = ue6
	})
	err := w.d.Apply(session.Changes{
		Cells: []session.Cell{{ID: session.CellID{SEID: 5, URRID: pfcp.URRID(1)}, Limits: session.VolumeLimits{TotalQuota: 9}}},
		Puts:  []session.Entry{good, bad},
	})
	require.ErrorIs(t, err, ErrUnknownInstance)
	require.Zero(t, w.d.cells.taken+w.d.limits.taken+w.d.meters.taken+w.d.rules.taken+w.d.sets[0].taken)
	require.Empty(t, w.d.cellIndex)
	require.Empty(t, w.d.meterIndex)
	require.Empty(t, w.d.singlesIn)
	require.Empty(t, w.entries())
	w.apply(good)
	require.Len(t, w.entries(), 1)
}

// TestFieldsOutliveTheirWord changes an entry twice while a program that saw its first word may still run: that one counts where
// its word says.
func TestFieldsOutliveTheirWord(t *testing.T) {
	w := newWorld(t)
	counts := func(e *session.Entry) { e.Cells = []session.CellID{{SEID: 5, URRID: 1}} }
	filtered := func(e *session.Entry) { dnsOnly(&e.Rule) }
	w.apply(with(uplinkOf(5), counts))
	at, _, err := w.d.find(uplinkOf(5).Key)
	require.NoError(t, err)
	cell, prefix := w.d.tables.entry(at).Cell, w.d.tables.entry(at).Prefix
	require.NotZero(t, cell)
	for range 2 {
		w.apply(with(uplinkOf(5), filtered))
		require.Equal(t, cell, w.d.tables.entry(at).Cell)
		require.Equal(t, prefix, w.d.tables.entry(at).Prefix)
	}
	w.apply(uplinkOf(5)) // a word that looks beside itself again: when nobody looks there any more
	require.Zero(t, w.d.tables.entry(at).Cell)
	require.False(t, w.d.grace.rests(fieldsOf(at)))
}

// TestABucketGoesOnWhereItsQERIs moves a QER's limit from a rule of its own to a shared one and back: it is never full anew.
func TestABucketGoesOnWhereItsQERIs(t *testing.T) {
	w := newWorld(t)
	id := session.MeterID{SEID: 5, QERID: 1, Direction: session.Uplink}
	const owed, rate = -7_000_000_000, 1000
	own := with(uplinkOf(5), func(e *session.Entry) { e.MBR, e.Origin.QERID = rate, pfcp.Some(id.QERID) })
	filtered := with(own, func(e *session.Entry) { dnsOnly(&e.Rule) })
	shared := with(uplinkOf(5), func(e *session.Entry) { e.Meters = []session.Meter{{ID: id, MBR: rate}} })
	w.apply(own)
	at, _, err := w.d.find(own.Key)
	require.NoError(t, err)
	bucket := func() *pgwuMeter {
		t.Helper()
		buckets := w.d.bucketsOf(at, session.Uplink)
		require.Len(t, buckets, 1)
		return buckets.of(id)
	}
	for _, next := range []session.Entry{shared, own, filtered, shared, filtered, own} {
		bucket().Tokens, bucket().Last = owed, 77
		// Another bearer that shares the limit, and comes first.
		other := with(shared, func(e *session.Entry) { e.Key = uplinkOf(6).Key })
		if len(next.Meters) > 0 {
			w.apply(other, next)
		} else {
			require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{next}, Deletes: []session.Key{other.Key}}))
		}
		require.EqualValues(t, owed, bucket().Tokens)
		require.EqualValues(t, 77, bucket().Last)
	}
	// A lower rate takes what its bucket would not hold.
	bucket().Tokens = 1 << 50
	w.apply(with(own, func(e *session.Entry) { e.MBR = rate / 2 }))
	require.Equal(t, w.d.depth(rate/2), bucket().Tokens)
}

package datapath

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/userplane/session"
)

// asleep and waking are an entry whose FAR buffers, and while its packets are given back.
func asleep(e *session.Entry) { e.Action = session.ActionBuffer }
func waking(e *session.Entry) { e.Action = session.ActionDrain }

// TestDraining follows the order of an idle UE's packets: those that were buffered first, new ones behind them, and no
// packet is forwarded at once before all others have left.
func TestDraining(t *testing.T) {
	for name, shape := range map[string]func(*session.Entry){
		"a plain rule": func(*session.Entry) {},
		"a rule of a set": func(e *session.Entry) {
			e.Filters = []session.Filter{{LocalPorts: []session.Ports{{First: 5000, Last: 5000}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			entry := func(change ...func(*session.Entry)) session.Entry {
				e := with(downlinkOf(5), shape)
				for _, f := range change {
					f(&e)
				}
				return e
			}
			at, seid := place{}, entry().Origin.SEID
			send := func(port string, number, ttl int) (reason string) {
				before := w.reasons()
				w.ifindex["injector"] = w.d.injector.far
				frame := plain(t, coreGW, coreMAC, inner(t, server, ue(5), uint8(ttl), number))
				if port == "injector" {
					frame = tagWith(frame, uint16(w.d.tables.numbers["internet"]))
				}
				w.run(port, frame, 0)
				for r := range difference(before, w.reasons()) {
					reason = r
				}
				return reason
			}
			parked := func(number int) session.Turn {
				e := w.parked()
				require.Equal(t, EventBuffered, e.Kind)
				require.Equal(t, seid, e.SEID)
				require.Equal(t, entry().Origin.PDRID, e.Origin.PDRID)
				require.Equal(t, spacedHex(inner(t, server, ue(5), 64, number)), spacedHex(e.Packet))
				at = placeOf(e.Turn)
				return e.Turn
			}
			w.apply(entry(asleep))
			require.Equal(t, "buffered", send("core0", 1, 64))
			first := parked(1)
			require.Zero(t, first&turnGated)
			require.Equal(t, "buffered", send("injector", 2, 64), "nothing leaves while it sleeps")
			parked(2)
			require.True(t, w.d.Drained(seid), "nothing drains")

			w.apply(entry(waking))
			require.False(t, w.d.Drained(seid))
			require.Equal(t, []any{seid}, []any{w.d.fences[0]})
			require.Equal(t, "buffered", send("core0", 3, 64), "behind those of before")
			third := parked(3)
			require.NotZero(t, third&turnGated)
			require.Equal(t, "downlink_forwarded", send("injector", 1, 64))
			require.EqualValues(t, 1, w.d.tables.gate(at).Passed)
			require.Equal(t, "buffered", send("core0", 4, 64))
			fourth := parked(4)

			require.False(t, w.d.Release(seid), "two wait")
			require.Equal(t, "downlink_forwarded", send("injector", 3, 64))
			w.d.Forget(third)
			require.Equal(t, "buffered", send("core0", 5, 64), "behind the fourth")
			fifth := parked(5)
			w.d.Forget(fourth)
			require.False(t, w.d.Drained(seid))
			w.d.Forget(fifth)
			require.True(t, w.d.Drained(seid))
			require.Equal(t, "downlink_forwarded", send("core0", 6, 64), "at once")

			w.apply(entry())
			require.Equal(t, "downlink_forwarded", send("core0", 7, 64))
			require.Empty(t, w.d.drains)
			require.Empty(t, w.d.gateUsers)

			// It falls asleep in the middle, and wakes again; what is late is forgiven.
			w.apply(entry(asleep))
			w.apply(entry(waking))
			require.Equal(t, "buffered", send("core0", 8, 64))
			late := parked(8)
			w.apply(entry(asleep))
			require.Equal(t, "buffered", send("core0", 9, 64))
			require.Zero(t, parked(9)&turnGated)
			w.apply(entry(waking))
			require.False(t, w.d.Drained(seid))
			require.Equal(t, "buffered", send("core0", 10, 64))
			tenth := parked(10)
			require.False(t, w.d.Release(seid))
			w.d.Forget(late)
			require.False(t, w.d.Drained(seid), "it is of the time before")
			w.d.Forget(tenth)
			require.True(t, w.d.Drained(seid))
			require.Equal(t, "downlink_forwarded", send("core0", 11, 64))

			// What a daemon left that was killed meanwhile, the next puts right.
			w.apply(entry(asleep))
			w.apply(entry(waking))
			require.Equal(t, "buffered", send("core0", 12, 64))
			parked(12)
			require.NoError(t, w.d.Close())
			w.open()
			require.Equal(t, "buffered", send("core0", 13, 64), "it is not the data path's to know that nobody is left")
			parked(13)
			repairs, err := w.d.Reconcile(func(yield func(session.Entry) bool) { yield(entry()) })
			require.NoError(t, err)
			require.Equal(t, Repairs{Changed: 1}, repairs)
			require.NoError(t, w.d.Resolve())
			require.Equal(t, "downlink_forwarded", send("core0", 14, 64))

			w.apply(entry(asleep))
			w.apply(entry(waking))
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{entry().Key}}))
			require.Empty(t, w.d.drains)
			require.True(t, w.d.Drained(seid))
		})
	}
}

// TestUEToAnIdleUE: what one UE sends to another of the node is the sender's traffic, and waits for the receiver.
func TestUEToAnIdleUE(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	w.cfg.Instances[0].UEToUE = true
	w.open()
	w.apply(uplinkOf(5), with(downlinkOf(6), asleep), with(uplinkOf(7), func(e *session.Entry) { e.GateClosed = true }))
	before := w.reasons()
	packet := inner(t, ue(5), ue(6), 64, 30)
	verdict, _ := w.run("access0", tunnel(t, slice1, teid(5), packet), 0)
	require.EqualValues(t, xdpDrop, verdict)
	require.Equal(t, map[string]uint64{"buffered": 1}, difference(before, w.reasons()))
	e := w.parked()
	require.Equal(t, downlinkOf(6).Origin.SEID, e.SEID, "the receiver's")
	require.Equal(t, spacedHex(packet), spacedHex(e.Packet))
	usage, err := w.d.Usage([]session.Key{uplinkOf(5).Key, downlinkOf(6).Key})
	require.NoError(t, err)
	require.Equal(t, []session.Usage{{Packets: 1, Octets: 58}, {}}, usage)
}

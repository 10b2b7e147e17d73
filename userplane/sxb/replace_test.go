package sxb

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// A control plane that establishes a session under an F-SEID in use has lost the old one: it gets the new one in its
// place, nothing of the old one stays, and what it had counted is reported.
func TestASessionUnderAnFSEIDInUseReplacesTheOldOne(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.70.1", "pgwc.example")
	other := newControlPlane(t, w, "127.77.70.2", "other.example")
	cp.setup()
	other.setup()
	seid, teid := cp.establish(77, bearer("172.16.1.1")...)
	other.establish(77, bearer("172.16.1.9")...)
	w.dp.count(uplinkKey(teid), 3, 300)
	w.dp.count(downlinkKey("172.16.1.1"), 1, 50)

	again, second := cp.establish(77, bearer("172.16.1.2")...)
	require.Equal(t, seid, again)
	require.NotEqual(t, teid, second, "its TEID rests")
	r := cp.reported()
	require.EqualValues(t, 77, r.SEID())
	require.Zero(t, requireReport(t, r.UsageReport[0], pfcp.TriggerTermination, 350))
	require.Len(t, w.dp.snapshot(), 4)
	require.NotContains(t, w.dp.snapshot(), uplinkKey(teid))
	require.NotContains(t, w.dp.snapshot(), downlinkKey("172.16.1.1"))
	require.EqualValues(t, 1, w.edge.Peers()[0].Sessions)
	require.EqualValues(t, 1, w.edge.Stats().Replaced)
	w.consistent()

	// It goes on counting, under the next UR-SEQN.
	w.dp.count(uplinkKey(second), 1, 7)
	require.Eventually(t, func() bool { return len(w.sessionAt(seid).Unconfirmed) == 0 }, patience, tick/1000)
	d := cp.delete(seid)
	require.EqualValues(t, 1, requireReport(t, d.UsageReport[0], pfcp.TriggerTermination, 7))
	require.Len(t, w.sessions(), 1)
	w.consistent()
	again, _ = cp.establish(77, bearer("172.16.1.1")...)
	require.NotEqual(t, seid, again, "the F-SEID is free again")
}

// The entry of the UE's address stays, and goes on with what it counted for nobody.
func TestAReplacementCountsOnlyItsOwnTraffic(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.75.1", "pgwc.example")
	cp.setup()
	rules := bearer("172.16.1.1")
	for i := range rules[:2] {
		rules[i] = without(rules[i], ie.URRID)
	}
	seid, _ := cp.establish(77, rules[:5]...)
	w.dp.count(downlinkKey("172.16.1.1"), 5, 500)
	again, _ := cp.establish(77, bearer("172.16.1.1")...)
	require.Equal(t, seid, again)
	w.consistent()
	w.dp.count(downlinkKey("172.16.1.1"), 1, 7)
	requireUsage(t, cp.delete(seid).UsageReport, 0, 7)
}

// without is a grouped IE without those of a type.
func without(group *ie.IE, kind uint16) *ie.IE {
	left := slices.DeleteFunc(slices.Clone(group.ChildIEs), func(i *ie.IE) bool { return i.Type == kind })
	return ie.NewGroupedIE(group.Type, left...)
}

// What the old session was about to give back, or kept, goes with it.
func TestAReplacementOfASessionThatDrains(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.76.1", "smf.example")
	cp.setup()
	seid, _ := cp.establish(77, bearer("172.16.1.1")...)
	w.dp.mute()
	for _, action := range []uint8{4, 2} {
		require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(action))).Cause))
	}
	require.True(t, isDraining(w.dp.snapshot()[downlinkKey("172.16.1.1")]))
	again, _ := cp.establish(77, bearer("172.16.1.1")...)
	require.Equal(t, seid, again)
	require.False(t, isDraining(w.dp.snapshot()[downlinkKey("172.16.1.1")]))
	w.consistent()
}

func (w *world) sessionAt(seid uint64) session.Session {
	for _, s := range w.sessions() {
		if s.SEID == pfcp.SEID(seid) {
			return s
		}
	}
	return session.Session{}
}

// Open5GS restores every session with its old F-TEID and UE address whenever an association is set up anew, also when
// we have lost nothing.
func TestARestoredSessionTakesItsOwnTEIDAndAddressAgain(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.71.1", "smf.example")
	cp.setup()
	_, teid := cp.establish(77, bearer("172.16.1.1")...)
	rules := bearer("172.16.1.1")
	rules[0] = ie.NewCreatePDR(
		ie.NewPDRID(1), ie.NewPrecedence(100),
		ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, teid, slice.AsSlice(), nil, 0)),
		ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1),
	)
	cp.establish(77, append(rules, ie.NewPFCPSEReqFlags(0x01))...)
	require.Len(t, w.dp.snapshot(), 2)
	require.Contains(t, w.dp.snapshot(), uplinkKey(teid))
	require.Equal(t, 1, w.edge.Stats().Slots[0].Live)
	w.consistent()
}

func TestAReplacementThatIsRefusedLeavesTheOldSession(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards = 3 })
	cp := newControlPlane(t, w, "127.77.72.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, bearer("172.16.1.1")...)
	w.dp.count(uplinkKey(teid), 1, 10)
	before := w.dp.snapshot()
	refused := func(want pfcp.Cause, rules ...*ie.IE) {
		t.Helper()
		cp.refused(want, 77, rules...)
		require.Equal(t, before, w.dp.snapshot())
		require.EqualValues(t, 1, w.edge.Peers()[0].Sessions)
		w.consistent()
	}
	refused(pfcp.CauseRuleCreationFailure, bearer("172.16.1.2")[:3]...) // no FAR 2
	for fail := range 2 {                                               // the old one's stop, then the new one's entries
		puts := 0
		w.dp.hook(func(c session.Changes) error {
			if len(c.Puts) > 0 {
				if puts++; puts == fail+1 {
					return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("table full")}
				}
			}
			return nil
		})
		refused(pfcp.CauseNoResourcesAvailable, bearer("172.16.1.2")...)
	}
	puts := 0
	w.dp.hook(func(c session.Changes) error { // stopped, and then there is no room to let it go on either
		if puts++; puts > 1 {
			return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("table full")}
		}
		return nil
	})
	cp.refused(pfcp.CauseNoResourcesAvailable, 77, bearer("172.16.1.2")...)
	w.dp.hook(nil)
	require.Eventually(t, func() bool { return w.dp.snapshot()[uplinkKey(teid)].Action == session.ActionForward }, patience, tick/100)
	require.Equal(t, before, w.dp.snapshot())
	w.dp.hook(func(session.Changes) error { panic("a fault") })
	cp.refused(pfcp.CauseSystemFailure, 77, bearer("172.16.1.2")...)
	w.dp.hook(nil)
	require.Equal(t, before, w.dp.snapshot())
	w.consistent()
	requireUsage(t, cp.delete(seid).UsageReport, 10, 0)
}

// Killed between the record and the data path, the new session is there and the old one's usage is not lost; killed
// before the record, the old one is as it was and the duplicate replaces it.
func TestKilledWhileASessionIsReplaced(t *testing.T) {
	for name, at := range map[string]int{"before the record": 1, "after the record": 2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, impatient, func(c *Config) { c.Shards = 1 })
			cp := newControlPlane(t, w, "127.77.73.1", "pgwc.example")
			cp.setup()
			seid, teid := cp.establish(77, bearer("172.16.1.1")...)
			w.dp.count(uplinkKey(teid), 1, 10)
			changes, reached, end := 0, make(chan struct{}), make(chan struct{})
			w.dp.hook(func(session.Changes) error {
				if changes++; changes == at {
					close(reached)
					<-end
					return errKilled
				}
				return nil
			})
			request := cp.establishment(cp.next(), 77, bearer("172.16.1.2")...)
			cp.send(cp.encode(request))
			<-reached
			killStuck(w, end)
			w.start()
			w.consistent()
			octets, m := cp.ask(request)
			octets = bytes.Clone(octets)
			require.EqualValues(t, seid, made(t, m))
			require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.1.2"))
			require.Len(t, w.dp.snapshot(), 2)
			r := cp.reported()
			require.Zero(t, requireReport(t, r.UsageReport[0], pfcp.TriggerTermination, 10))
			repeated, _ := cp.ask(request)
			require.Equal(t, octets, repeated)
			w.consistent()
		})
	}
}

func TestManyEstablishmentsOfOneFSEIDAtOnceLeaveOneSession(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.74.1", "pgwc.example")
	cp.setup()
	const n = 100
	for range n {
		cp.send(cp.encode(cp.establishment(cp.next(), 77, bearer("172.16.1.1")...)))
	}
	for range n {
		_, m := cp.receive(message.MsgTypeSessionEstablishmentResponse)
		require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionEstablishmentResponse).Cause))
	}
	require.Len(t, w.sessions(), 1)
	require.EqualValues(t, 1, w.edge.Peers()[0].Sessions)
	w.consistent()
}

// A control plane that replaces a session for ever and confirms no report does not make it grow for ever.
func TestReportsOfReplacedSessionsAreBounded(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Endpoint.N1 = 0 })
	cp := newControlPlane(t, w, "127.77.75.1", "pgwc.example")
	cp.setup()
	for range 100 {
		cp.establish(77, bearer("172.16.1.1")...)
	}
	require.Len(t, w.sessions()[0].Unconfirmed, 64)
	require.EqualValues(t, 99-64, w.edge.Stats().Dropped)
	w.consistent()
}

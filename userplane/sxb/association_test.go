package sxb

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestAssociationSetupSaysExactlyWhatIsTrue(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.20.1", "pgwc.example")
	r := cp.setup()
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	features, err := r.UPFunctionFeatures.UPFunctionFeatures()
	require.NoError(t, err)
	require.Equal(t, []byte{0xb6, 0x2f, 0x30, 0x2c}, features[:4], "DDND, DLBD, FTUP, PFDM, TREU, UDBC, EMPU, PDIU, FRRT, QUOAC, MTE, MNOP, VTIME, NORP and IP6PL, and nothing else")
	node, err := r.NodeID.NodeID()
	require.NoError(t, err)
	require.Equal(t, "pgwu1.example", node)
	stamp, err := r.RecoveryTimeStamp.RecoveryTimeStamp()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), stamp, time.Minute)
	require.Len(t, w.edge.Peers(), 1)
}

func TestHeartbeatsAreAnsweredForAnybody(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.21.1", "pgwc.example")
	for _, stamp := range []*ie.IE{ie.NewRecoveryTimeStamp(time.Now()), nil} { // without: eUPF#629
		request := message.NewHeartbeatRequest(cp.next(), stamp, nil)
		_, m := cp.ask(request)
		require.NotNil(t, m.(*message.HeartbeatResponse).RecoveryTimeStamp)
	}
}

func TestWithoutAssociationThereIsCause72AndAnAttemptOfOurs(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.22.1", "smf.example")
	cp.refused(pfcp.CauseNoEstablishedAssociation, 77, bearer("172.16.1.7")...)
	_, m := cp.receive(message.MsgTypeAssociationSetupRequest) // Open5GS would never (open5gs#3467)
	cp.send(cp.encode(message.NewAssociationSetupResponse(m.Sequence(), cp.nodeID(), ie.NewCause(ie.CauseRequestAccepted),
		ie.NewRecoveryTimeStamp(cp.rts), ie.NewCPFunctionFeatures(0))))
	require.Eventually(t, func() bool { return len(w.edge.Peers()) == 1 }, patience, tick/100)
	cp.establish(77, bearer("172.16.1.7")...)
	w.consistent()
}

func TestWeSetTheAssociationUpWhereToldTo(t *testing.T) {
	addr := mustAddr("127.77.23.1")
	w := newWorld(t, func(c *Config) {
		c.Peers = []Peer{{Address: addr, Port: testPort, Initiate: true}}
		c.SetupRetry = time.Millisecond
		c.Endpoint.T1, c.Endpoint.N1 = 50*time.Millisecond, 0
	})
	cp := newControlPlane(t, w, addr.String(), "pgwc.example")
	_, m := cp.receive(message.MsgTypeAssociationSetupRequest)
	features, err := m.(*message.AssociationSetupRequest).UPFunctionFeatures.UPFunctionFeatures()
	require.NoError(t, err)
	require.Equal(t, byte(0xb6), features[0])
}

func TestAnotherRecoveryTimeStampRemovesTheControlPlanesSessions(t *testing.T) {
	w := newWorld(t)
	one := newControlPlane(t, w, "127.77.24.1", "one.example")
	two := newControlPlane(t, w, "127.77.24.2", "two.example")
	one.setup()
	two.setup()
	ue := mustAddr("172.16.2.0")
	for i := range 20 {
		ue = ue.Next()
		one.establish(uint64(100+i), bearer(ue.String())...)
	}
	old, _ := one.establish(200, bearer("172.16.1.1")...)
	kept, _ := two.establish(1, bearer("172.16.1.2")...)
	one.setup() // the same stamp: nothing was lost
	require.Len(t, w.sessions(), 22)

	one.rts = one.rts.Add(time.Second)
	require.Equal(t, pfcp.CauseAccepted, cause(t, one.setup().Cause))
	require.Len(t, w.sessions(), 1, "gone before the answer")
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, one.delete(old).Cause))
	require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.1.2"))
	w.consistent()
	one.establish(1, bearer("172.16.1.1")...) // its UE attaches again
	require.Equal(t, pfcp.CauseAccepted, cause(t, two.delete(kept).Cause))
	w.consistent()
}

func TestAControlPlaneThatMovesKeepsItsSessions(t *testing.T) {
	w := newWorld(t, lossy)
	here := newControlPlane(t, w, "127.77.25.1", "pgwc.example")
	here.setup()
	seid, _ := here.establish(1, bearer("172.16.1.1")...)
	there := newControlPlane(t, w, "127.77.25.2", "PGWC.example")
	require.Eventually(t, func() bool { // when the old address does not answer any more
		return cause(t, there.setup().Cause) == pfcp.CauseAccepted
	}, patience, tick/100)
	require.Equal(t, pfcp.CauseAccepted, cause(t, there.delete(seid).Cause))
}

// Two control planes with one Node ID, as two installations from one template have: the second one neither takes the sessions
// of the first over nor ends them.
func TestANodeIDIsOneControlPlanes(t *testing.T) {
	w := newWorld(t)
	one := newControlPlane(t, w, "127.77.94.1", "smf.localdomain")
	two := newControlPlane(t, w, "127.77.94.2", "SMF.localdomain")
	two.rts = one.rts.Add(time.Hour)
	one.setup()
	seid, _ := one.establish(1, bearer("172.16.1.1")...)
	for range 2 {
		require.Equal(t, pfcp.CauseRejected, cause(t, two.setup().Cause))
		_, m := one.receive(message.MsgTypeHeartbeatRequest) // is it still there?
		one.send(one.encode(message.NewHeartbeatResponse(m.Sequence(), ie.NewRecoveryTimeStamp(one.rts))))
		require.Eventually(t, func() bool {
			asking := make(chan bool, 1)
			w.edge.keeper.tell(func() { asking <- len(w.edge.keeper.asking) > 0 })
			return !<-asking
		}, patience, time.Millisecond)
	}
	require.Equal(t, one.addr, w.edge.Peers()[0].Address)
	require.Equal(t, pfcp.CauseAccepted, cause(t, one.modify(seid, ie.NewUpdateQER(ie.NewQERID(1), ie.NewMBR(1, 1))).Cause))
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, two.delete(seid).Cause))
	w.consistent()
}

// The control plane associates again, with the Recovery Time Stamp of before: after an outage most have their sessions still.
// Of others a setting says that they have none, and TS 29.244 6.2.6.2.2 that only those stay that they ask for.
func TestAnAssociationIsSetUpAgain(t *testing.T) {
	forgets := mustAddr("127.77.95.2")
	w := newWorld(t, func(c *Config) {
		c.Peers = []Peer{{Address: forgets, Port: testPort, EndAtSetup: true}}
	})
	open5gs := newControlPlane(t, w, "127.77.95.1", "open5gs.example")
	free5gc := newControlPlane(t, w, forgets.String(), "free5gc.example")
	retain := func(c *controlPlane, from string) *message.AssociationSetupResponse {
		_, m := c.ask(message.NewAssociationSetupRequest(c.next(), c.nodeID(), ie.NewRecoveryTimeStamp(c.rts),
			ie.NewPFCPSessionRetentionInformation(ie.NewCPPFCPEntityIPAddress(mustAddr(from).AsSlice(), nil))))
		r := m.(*message.AssociationSetupResponse)
		require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
		return r
	}
	for i, c := range []*controlPlane{open5gs, free5gc} {
		require.Nil(t, retain(c, c.addr.String()).PFCPASRspFlags, "there was no association whose sessions could be retained")
		ue := bearer("172.16.1." + string(rune('1'+i)))
		c.establish(1, ue...)
		require.NotNil(t, retain(c, c.addr.String()).PFCPASRspFlags)
		require.Len(t, w.sessions(), i+1)
		require.Nil(t, c.setup().PFCPASRspFlags)
		require.Len(t, w.sessions(), 1, "the second one's are gone")
		w.consistent()
	}
	require.NotNil(t, retain(open5gs, "10.9.9.9").PFCPASRspFlags)
	require.Empty(t, w.sessions(), "it asked for those of another of its entities only")
	w.consistent()
}

func TestAssociationReleaseIsAnsweredAndRemovesTheSessions(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.26.1", "pgwc.example")
	stranger := newControlPlane(t, w, "127.77.26.2", "pgwc.example")
	cp.setup()
	cp.establish(1, bearer("172.16.1.1")...)
	_, m := stranger.ask(message.NewAssociationReleaseRequest(stranger.next(), stranger.nodeID()))
	require.Equal(t, pfcp.CauseNoEstablishedAssociation, cause(t, m.(*message.AssociationReleaseResponse).Cause))
	require.Len(t, w.sessions(), 1)

	_, m = cp.ask(message.NewAssociationReleaseRequest(cp.next(), ie.NewNodeID("", "", w.up.String()))) // pfcpsim
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.AssociationReleaseResponse).Cause))
	require.Empty(t, w.sessions())
	require.Empty(t, w.edge.Peers())
	w.consistent()
	cp.refused(pfcp.CauseNoEstablishedAssociation, 2, bearer("172.16.1.1")...)
}

func TestTheStampInAHeartbeatCountsOnlyWhereToldTo(t *testing.T) {
	strict := mustAddr("127.77.27.2")
	w := newWorld(t, func(c *Config) {
		c.Peers = []Peer{{Address: strict, Port: testPort, RestartOnHeartbeat: true}}
	})
	sim := newControlPlane(t, w, "127.77.27.1", "pfcpsim.example")
	cp := newControlPlane(t, w, strict.String(), "pgwc.example")
	sim.setup()
	cp.setup()
	sim.establish(1, bearer("172.16.1.1")...)
	cp.establish(1, bearer("172.16.1.2")...)
	sim.heartbeat(ie.NewRecoveryTimeStamp(sim.rts.Add(5 * time.Second)))
	cp.heartbeat(ie.NewRecoveryTimeStamp(cp.rts))
	require.Len(t, w.sessions(), 2)
	cp.heartbeat(ie.NewRecoveryTimeStamp(cp.rts.Add(5 * time.Second)))
	require.Eventually(t, func() bool { return len(w.sessions()) == 1 }, patience, tick/100)
	require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.1.1"))
	require.Eventually(t, func() bool { return len(w.edge.Peers()) == 2 }, patience, tick/100)
}

func lossy(c *Config) {
	c.HeartbeatInterval = 50 * time.Millisecond
	c.Endpoint.T1, c.Endpoint.N1 = 20*time.Millisecond, 1
}

func TestALostControlPlanesSessionsStay(t *testing.T) {
	w := newWorld(t, lossy)
	cp := newControlPlane(t, w, "127.77.28.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	require.Eventually(t, func() bool { return w.edge.Peers()[0].State == "lost" }, patience, tick/100)
	require.Len(t, w.sessions(), 1)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
	require.Eventually(t, func() bool { // it is back: a heartbeat of ours, now answered, or the deletion, has told
		_, m := cp.receive(message.MsgTypeHeartbeatRequest)
		cp.send(cp.encode(message.NewHeartbeatResponse(m.Sequence(), ie.NewRecoveryTimeStamp(cp.rts))))
		return w.edge.Peers()[0].State == "associated"
	}, patience, tick/100)
}

func TestALostControlPlanesSessionsGoWhereToldTo(t *testing.T) {
	w := newWorld(t, lossy, func(c *Config) { c.ReleaseLost = time.Millisecond })
	cp := newControlPlane(t, w, "127.77.29.1", "pgwc.example")
	cp.setup()
	cp.establish(1, bearer("172.16.1.1")...)
	require.Eventually(t, func() bool { return len(w.edge.Peers()) == 0 && len(w.sessions()) == 0 }, patience, tick/100)
	w.consistent()
}

func TestALostControlPlaneWithoutSessionsMakesRoom(t *testing.T) {
	w := newWorld(t, lossy, func(c *Config) { c.MaxPeers = 1 })
	newControlPlane(t, w, "127.77.31.1", "made-up.example").setup()
	real := newControlPlane(t, w, "127.77.31.2", "pgwc.example")
	require.Eventually(t, func() bool { return w.edge.Peers()[0].State == "lost" }, patience, tick/100)
	require.Equal(t, pfcp.CauseAccepted, cause(t, real.setup().Cause))
	require.Equal(t, "pgwc.example", w.edge.Peers()[0].NodeID)
}

func TestWhoMayAssociate(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.AllowUnlisted, c.MaxPeers = false, 1
		c.Peers = []Peer{{Address: mustAddr("127.77.30.1")}, {Address: mustAddr("127.77.30.2")}}
	})
	require.Equal(t, pfcp.CauseRejected, cause(t, newControlPlane(t, w, "127.77.30.9", "nine.example").setup().Cause))
	require.Equal(t, pfcp.CauseAccepted, cause(t, newControlPlane(t, w, "127.77.30.1", "127.77.30.1").setup().Cause))
	require.Equal(t, pfcp.CauseNoResourcesAvailable, cause(t, newControlPlane(t, w, "127.77.30.2", "two.example").setup().Cause))
}

// pfcpsim ignores our heartbeats: while a peer's own messages arrive there are none of ours.
func TestNoHeartbeatOfOursWhileThePeersArrive(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.93.1", "pfcpsim")
	cp.setup()
	cp.heartbeat()
	a := w.edge.directory.Load().at(cp.addr)
	heard := time.Unix(0, a.heard.Load())
	asks := func(after time.Duration) bool {
		answer := make(chan bool, 1)
		w.edge.keeper.tell(func() {
			w.edge.keeper.watch(a, heard.Add(after))
			answer <- w.edge.keeper.asking[a.id]
		})
		return <-answer
	}
	require.False(t, asks(w.edge.cfg.HeartbeatInterval-1))
	require.True(t, asks(w.edge.cfg.HeartbeatInterval))
	cp.receive(message.MsgTypeHeartbeatRequest)
}

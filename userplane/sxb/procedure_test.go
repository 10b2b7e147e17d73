package sxb

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
)

// confirm answers a request of the UP function as a control plane does.
func (c *controlPlane) confirm(m message.Message, with ...*ie.IE) {
	c.t.Helper()
	with = append([]*ie.IE{ie.NewCause(ie.CauseRequestAccepted)}, with...)
	node := []*ie.IE{c.nodeID(), with[0]}
	switch r := m.(type) {
	case *message.SessionReportRequest:
		c.send(c.encode(message.NewSessionReportResponse(0, 0, 0, r.Sequence(), 0, with...)))
	case *message.NodeReportRequest:
		c.send(c.encode(message.NewNodeReportResponse(r.Sequence(), node[0], node[1], nil)))
	case *message.AssociationUpdateRequest:
		c.send(c.encode(message.NewAssociationUpdateResponse(r.Sequence(), node...)))
	default:
		c.t.Fatalf("no answer to %T", m)
	}
}

// reported waits for a Session Report Request and confirms it.
func (c *controlPlane) reported() *message.SessionReportRequest {
	c.t.Helper()
	_, m := c.receive(message.MsgTypeSessionReportRequest)
	c.confirm(m)
	return m.(*message.SessionReportRequest)
}

func TestAnAssociationUpdateIsTaken(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.50.1", "pgwc.example")
	update := func(with ...*ie.IE) pfcp.Cause {
		_, m := cp.ask(message.NewAssociationUpdateRequest(cp.next(), append([]*ie.IE{cp.nodeID()}, with...)...))
		return cause(t, m.(*message.AssociationUpdateResponse).Cause)
	}
	require.Equal(t, pfcp.CauseNoEstablishedAssociation, update())
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	require.Equal(t, pfcp.CauseAccepted, update(ie.NewPFCPAUReqFlags(1)), "it prepares a release")
	require.Equal(t, pfcp.CauseAccepted, update(ie.NewCPFunctionFeatures(pfcp.CPFeatureLOAD)))
	require.Len(t, w.sessions(), 1)

	// Now that it takes load control information, it gets it: once for each change.
	r := cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2)))
	load, err := r.LoadControlInformation.LoadControlInformation()
	require.NoError(t, err)
	require.NotEmpty(t, load)
	require.Nil(t, cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2))).LoadControlInformation)
	w.kill()
	w.start()
	require.EqualValues(t, pfcp.CPFeatureLOAD, w.edge.directory.Load().at(cp.addr).features, "it outlives the process")
}

func TestAControlPlaneThatIsAskedToReleaseGetsItsTime(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.51.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	require.ErrorIs(t, w.edge.Release(77, time.Minute), ErrNoAssociation)
	require.NoError(t, w.edge.Release(w.edge.Peers()[0].Number, time.Hour))
	_, m := cp.receive(message.MsgTypeAssociationUpdateRequest)
	asked := m.(*message.AssociationUpdateRequest)
	require.True(t, asked.PFCPAssociationReleaseRequest.HasSARR())
	period, err := asked.GracefulReleasePeriod.GracefulReleasePeriod()
	require.NoError(t, err)
	require.Equal(t, time.Hour, period)
	cp.confirm(m)
	require.Equal(t, "releasing", w.edge.Peers()[0].State)
	cp.refused(pfcp.CauseRejected, 2, bearer("172.16.1.2")...)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
	_, m = cp.ask(message.NewAssociationReleaseRequest(cp.next(), cp.nodeID()))
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.AssociationReleaseResponse).Cause))
	require.Empty(t, w.edge.Peers())
	w.consistent()
}

func TestAControlPlaneThatDoesNotReleaseInTimeIsReleased(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.52.1", "pgwc.example")
	other := newControlPlane(t, w, "127.77.52.2", "other.example")
	cp.setup()
	other.setup()
	cp.establish(1, bearer("172.16.1.1")...)
	other.establish(1, bearer("172.16.1.2")...)
	require.NoError(t, w.edge.Release(w.edge.Peers()[0].Number, 0))
	require.Eventually(t, func() bool { return len(w.edge.Peers()) == 1 && len(w.sessions()) == 1 }, patience, tick/100)
	w.consistent()
}

func TestSetsOfSessionsAreDeleted(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.53.1", "pgwc.example")
	other := newControlPlane(t, w, "127.77.53.2", "other.example")
	cp.setup()
	other.setup()
	in := func(set ...uint16) *ie.IE { return ie.NewFQCSID("10.10.0.9", set...) }
	cp.establish(1, append(bearer("172.16.1.1"), in(1))...)
	cp.establish(2, append(bearer("172.16.1.2"), in(2, 3))...)
	cp.establish(3, bearer("172.16.1.3")...)
	other.establish(4, append(bearer("172.16.1.4"), in(1))...)
	remove := func(sets ...*ie.IE) pfcp.Cause {
		_, m := cp.ask(message.NewSessionSetDeletionRequest(cp.next(), cp.nodeID(), nil, sets...))
		return cause(t, m.(*message.SessionSetDeletionResponse).Cause)
	}
	require.Equal(t, pfcp.CauseConditionalIEMissing, remove())
	require.Equal(t, pfcp.CauseAccepted, remove(in(9)))
	require.Len(t, w.sessions(), 4)
	w.kill() // the sets are durable
	w.start()
	require.Equal(t, pfcp.CauseAccepted, remove(in(1, 3)))
	require.Len(t, w.sessions(), 2)
	require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.1.3"))
	require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.1.4"), "another control plane's set of the same name")
	w.consistent()
	cp.establish(5, bearer("172.16.1.1")...)
}

func TestSessionsAreRetainedWhereAskedTo(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.54.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	cp.rts = cp.rts.Add(time.Minute)
	_, m := cp.ask(message.NewAssociationSetupRequest(cp.next(), cp.nodeID(), ie.NewRecoveryTimeStamp(cp.rts),
		ie.NewPFCPSessionRetentionInformation(ie.NewCPPFCPEntityIPAddress(cp.addr.AsSlice(), nil))))
	r := m.(*message.AssociationSetupResponse)
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.NotNil(t, r.PFCPASRspFlags)
	require.Len(t, w.sessions(), 1)

	cp.rts = cp.rts.Add(time.Minute)
	_, _ = cp.ask(message.NewAssociationSetupRequest(cp.next(), cp.nodeID(), ie.NewRecoveryTimeStamp(cp.rts),
		ie.NewPFCPSessionRetentionInformation(ie.NewCPPFCPEntityIPAddress(mustAddr("10.9.9.9").AsSlice(), nil))))
	require.Empty(t, w.sessions(), "it asked for those of another entity")
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, cp.delete(seid).Cause))
	w.consistent()
}

func TestPathsThatFailAreReportedToWhomeverUsesThem(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.55.1", "pgwc.example")
	other := newControlPlane(t, w, "127.77.55.2", "other.example")
	cp.setup()
	other.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	path := Path{Local: slice, Remote: remote}
	require.Equal(t, []Path{path}, w.edge.Paths(context.Background()))
	for _, failed := range []bool{true, false} {
		w.edge.PathChanged(context.Background(), path, failed)
		_, m := cp.receive(message.MsgTypeNodeReportRequest)
		r := m.(*message.NodeReportRequest)
		require.Equal(t, failed, r.NodeReportType.HasUPFR())
		require.Equal(t, failed, r.UserPlanePathFailureReport != nil)
		require.Equal(t, !failed, r.UserPlanePathRecoveryReport != nil)
		cp.confirm(m)
	}
	require.EqualValues(t, 2, w.edge.Stats().NodeReports, "the other has no session there")
	cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(
		ie.NewOuterHeaderCreation(0x0100, 0xbb, "10.10.0.3", "", 0, 0, 0))))
	require.Equal(t, []Path{{Local: slice, Remote: mustAddr("10.10.0.3")}}, w.edge.Paths(context.Background()))
	cp.delete(seid)
	require.Empty(t, w.edge.Paths(context.Background()))
}

func TestAnErrorIndicationIsReportedOnce(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.56.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, bearer("172.16.1.1")...)
	w.edge.ErrorIndication(remote, 0xbb) // that nobody sends to
	w.edge.ErrorIndication(mustAddr("10.10.0.9"), 0xaa)
	w.edge.ErrorIndication(remote, 0xaa)
	w.edge.ErrorIndication(remote, 0xaa)
	r := cp.reported()
	require.True(t, r.ReportType.HasERIR())
	require.EqualValues(t, 77, r.SEID())
	fteid, err := r.ErrorIndicationReport.FTEID()
	require.NoError(t, err)
	require.EqualValues(t, 0xaa, fteid.TEID)
	require.Equal(t, remote.String(), fteid.IPv4Address.String())
	cp.delete(seid)
	w.edge.ErrorIndication(remote, 0xaa)
	require.Empty(t, w.sessions())
	require.EqualValues(t, 1, w.edge.Stats().Reports)
}

// An SGW that has restarted gives a TEID of before to another UE: both sessions send to it, and it knows neither when it restarts
// again. Each control plane hears of its own.
func TestAnErrorIndicationIsReportedForEverySessionThatSendsThere(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards = 1 })
	var seids []uint64
	cps := []*controlPlane{newControlPlane(t, w, "127.77.97.1", "one.example"), newControlPlane(t, w, "127.77.97.2", "two.example")}
	for i, cp := range cps {
		cp.setup()
		seid, _ := cp.establish(77, bearer("172.16.1."+string(rune('1'+i)))...)
		seids = append(seids, seid)
	}
	w.edge.ErrorIndication(remote, 0xaa)
	for _, cp := range cps {
		require.True(t, cp.reported().ReportType.HasERIR())
	}
	cps[0].delete(seids[0])
	seid, _ := cps[0].establish(78, bearer("172.16.1.1")...)
	cps[1].delete(seids[1])
	w.edge.ErrorIndication(remote, 0xaa)
	require.True(t, cps[0].reported().ReportType.HasERIR())
	cps[0].delete(seid)
	sh := w.edge.shards[0]
	empty := make(chan bool)
	sh.commands <- func() { empty <- len(sh.remotes)+len(sh.sharers)+len(sh.uses) == 0 }
	require.True(t, <-empty)
}

func TestAnotherVersionIsAnsweredSo(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.57.1", "pgwc.example")
	cp.send([]byte{0x40, 1, 0, 4, 0, 0, 7, 0})
	b, _ := cp.receive(message.MsgTypeVersionNotSupportedResponse)
	require.Equal(t, []byte{0x20, 11, 0, 4, 0, 0, 7, 0}, b)
}

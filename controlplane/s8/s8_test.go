package s8

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

const imsi = "999700000000001"

func TestAttachModifyDetach(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	m := g.attach(imsi)
	require.Equal(t, "172.16.1.1", m.PAA.MustIPAddress())
	require.Equal(t, uint8(7), m.PGWS5S8FTEIDC.MustInterfaceType())
	require.Equal(t, "127.0.0.1", m.PGWS5S8FTEIDC.MustIPAddress())
	require.Equal(t, uint32(50000), m.AMBR.MustAggregateMaximumBitRateUp())
	require.Equal(t, uint8(0), m.APNRestriction.MustAPNRestriction())
	require.Equal(t, uint8(7), m.Recovery.MustRecovery())
	pco := m.PCO.MustProtocolConfigurationOptions().ProtocolOrContainers
	require.Equal(t, []byte{10, 60, 0, 53}, pco[0].Contents)
	require.Equal(t, []byte{0x05, 0x78}, pco[1].Contents)
	require.Equal(t, "10.30.1.1", m.BearerContextsCreated[0].ChildIEs[2].MustIPAddress())
	require.Equal(t, uint8(5), m.BearerContextsCreated[0].ChildIEs[2].MustInterfaceType())

	up.set(func(u *userPlane) {
		require.Len(t, u.sessions, 1)
		for _, req := range u.sessions {
			require.Equal(t, pfcp.Some(pfcp.BitRate{Uplink: 50000, Downlink: 100000}), req.CreateQERs[0].MBR)
			require.Equal(t, pfcp.NetworkInstance("internet"), req.CreatePDRs[1].PDI.NetworkInstance.Value)
			downlink := req.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value
			require.Equal(t, pfcp.OuterHeaderCreation{Description: 0x0100, TEID: 0x92, IPv4: netip.MustParseAddr("10.10.0.2")}, downlink)
		}
	})

	teid := m.PGWS5S8FTEIDC.MustTEID()
	requireCause(t, 16, g.modify(teid, ie.NewRATType(8), ie.NewServingNetwork("262", "01")).Cause)
	list, err := s.Sessions(context.Background(), Filter{APN: "internet"})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "nb-iot", list[0].RAT)
	require.Equal(t, "262-01", list[0].ServingNetwork)
	require.Equal(t, "3534900698733190", list[0].MEI)
	require.Equal(t, "active", list[0].Phase)

	moved := g.modify(teid,
		ie.NewFullyQualifiedTEID(6, 0xa1, "10.10.0.3", ""),
		g.bearer(ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 0xa2, "10.10.0.3", "").WithInstance(1)))
	requireCause(t, 16, moved.Cause)
	require.Equal(t, uint32(0xa1), moved.TEID(), "answered to the TEID of the new SGW")
	require.Equal(t, "436641234567", moved.MSISDN.MustMSISDN())
	up.set(func(u *userPlane) {
		require.Len(t, u.modified, 1)
		change := u.modified[0].UpdateFARs[0].ForwardingParameters.Value
		require.Equal(t, pfcp.TEID(0xa2), change.OuterHeaderCreation.Value.TEID)
		require.True(t, change.SendEndMarker)
	})

	deleted := g.delete(teid)
	requireCause(t, 16, deleted.Cause)
	require.Equal(t, uint32(0xa1), deleted.TEID())
	require.Zero(t, up.count())
	require.Zero(t, taken(s))
	again := g.delete(teid)
	requireCause(t, 64, again.Cause)
	require.Zero(t, again.TEID(), "no PDN connection stands behind it")

	stats := s.Stats()
	require.Equal(t, uint64(1), stats.Answers[Answer{gtpc.TypeCreateSessionRequest, gtpc.CauseRequestAccepted}])
	require.Equal(t, uint64(1), stats.Answers[Answer{gtpc.TypeDeleteSessionRequest, gtpc.CauseContextNotFound}])
	require.Empty(t, stats.Sessions)
}

func TestSessionsGoToTheNodeWithFewest(t *testing.T) {
	s, _ := server(t, nil)
	g := newGateway(t, s, "")
	for n := range 4 {
		g.attach(fmt.Sprintf("99970000000000%d", n))
	}
	require.Equal(t, map[string]int{"pgwu1": 2, "pgwu2": 2}, s.NodeLoad())
	require.Equal(t, map[Population]int{{"internet", "pgwu1"}: 2, {"internet", "pgwu2"}: 2}, s.Stats().Sessions)
}

func TestPDNTypes(t *testing.T) {
	s, _ := server(t, nil)
	g := newGateway(t, s, "")
	dual := g.create(imsi, ie.NewPDNType(3), ie.NewPDNAddressAllocationDual("0.0.0.0", "::", 0))
	requireCause(t, 18, dual.Cause)
	require.Equal(t, "172.16.1.1", dual.PAA.MustIPAddress())
	require.Len(t, dual.PAA.Payload, 5, "an IPv4 PAA")
	requireCause(t, 83, g.create("999700000000002", ie.NewPDNType(2), ie.NewPDNAddressAllocationIPv6("::", 0)).Cause)
	require.Equal(t, 1, taken(s))
}

func TestAPNs(t *testing.T) {
	s, _ := server(t, nil)
	g := newGateway(t, s, "")
	requireCause(t, 78, g.create(imsi, ie.NewAccessPointName("unknown")).Cause)
	requireCause(t, 93, g.create(imsi, ie.NewAccessPointName("closed")).Cause)
	requireCause(t, 16, g.create(imsi, ie.NewAccessPointName("InterNet.mnc070.mcc999.gprs")).Cause)
	require.Equal(t, 1, taken(s))
}

func TestAnExhaustedPool(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	teids := []uint32{}
	for n := range 12 {
		teids = append(teids, g.attach(fmt.Sprintf("9997000000000%02d", n)).PGWS5S8FTEIDC.MustTEID())
	}
	requireCause(t, 84, g.create("999700000000099").Cause)
	g.delete(teids[0])
	requireCause(t, 84, g.create("999700000000099").Cause)
	require.Equal(t, 11, up.count(), "the others are undisturbed, and the address rests")
	require.Equal(t, 11, taken(s))
}

func TestNoPGWU(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	up.set(func(u *userPlane) { u.down["pgwu1"] = true })
	require.Equal(t, "172.16.2.1", g.attach(imsi).PAA.MustIPAddress(), "the other one serves")
	up.set(func(u *userPlane) { u.down["pgwu2"] = true })
	requireCause(t, 73, g.create("999700000000002").Cause)
}

func TestStaticAddresses(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	static := ie.NewPDNAddressAllocation("172.17.1.3")
	m := g.attach(imsi, static)
	require.Equal(t, "172.17.1.3", m.PAA.MustIPAddress())
	requireCause(t, 73, g.create("999700000000002", static).Cause)
	require.Equal(t, "172.17.1.3", g.attach(imsi, static).PAA.MustIPAddress(), "its own SIM gets it again at once")

	outside := g.create("999700000000002", ie.NewPDNAddressAllocation("172.16.1.3"))
	requireCause(t, 69, outside.Cause)
	offending, err := outside.Cause.OffendingIE()
	require.NoError(t, err)
	require.Equal(t, ie.PDNAddressAllocation, offending.Type)

	up.set(func(u *userPlane) { u.down["pgwu1"] = true })
	requireCause(t, 73, g.create("999700000000002", ie.NewPDNAddressAllocation("172.17.1.4")).Cause)
	require.Equal(t, 1, taken(s))
}

func TestCreateSessionWithoutAnIE(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	rows := []struct {
		name      string
		without   *ie.IE
		cause     uint8
		offending uint8
		instance  uint8
	}{
		{"RAT type", ie.New(ie.RATType, 0, nil), 70, ie.RATType, 0},
		{"APN", ie.New(ie.AccessPointName, 0, nil), 70, ie.AccessPointName, 0},
		{"bearer context", ie.New(ie.BearerContext, 0, nil), 70, ie.BearerContext, 0},
		{"IMSI", ie.New(ie.IMSI, 0, nil), 103, ie.IMSI, 0},
		{"PAA", ie.New(ie.PDNAddressAllocation, 0, nil), 103, ie.PDNAddressAllocation, 0},
		{"APN-AMBR", ie.New(ie.AggregateMaximumBitRate, 0, nil), 103, ie.AggregateMaximumBitRate, 0},
		{"bearer's EBI", g.bearer(ie.NewFullyQualifiedTEID(4, 1, "10.10.0.2", "").WithInstance(2), ie.NewBearerQoS(1, 2, 1, 9, 0, 0, 0, 0)), 70, ie.EPSBearerID, 0},
		{"bearer's QoS", g.bearer(ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 1, "10.10.0.2", "").WithInstance(2)), 70, ie.BearerQoS, 0},
		{"bearer's F-TEID", g.bearer(ie.NewEPSBearerID(5), ie.NewBearerQoS(1, 2, 1, 9, 0, 0, 0, 0)), 103, ie.FullyQualifiedTEID, 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := g.create(imsi, row.without)
			requireCause(t, row.cause, m.Cause)
			offending, err := m.Cause.OffendingIE()
			require.NoError(t, err)
			require.Equal(t, row.offending, offending.Type)
			require.Equal(t, row.instance, offending.Instance())
		})
	}
	t.Run("sender F-TEID", func(t *testing.T) {
		g.sequence++
		g.send(message.NewCreateSessionRequest(0, g.sequence, g.createIEs(imsi, ie.New(ie.FullyQualifiedTEID, 0, nil))...))
		m, err := message.ParseCreateSessionResponse(g.receive())
		require.NoError(t, err)
		requireCause(t, 70, m.Cause)
		require.Zero(t, m.TEID(), "there is none to answer to")
	})
	require.Zero(t, up.count())
	require.Zero(t, taken(s))
	require.Equal(t, uint64(6), s.Stats().Answers[Answer{gtpc.TypeCreateSessionRequest, gtpc.CauseMandatoryIEMissing}])
}

func TestDuplicates(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	hold := make(chan struct{})
	up.set(func(u *userPlane) { u.hold = hold })
	g.sequence++
	request := g.send(message.NewCreateSessionRequest(0, g.sequence, g.createIEs(imsi)...))
	g.sendOctets(request)
	g.sendOctets(request)
	echo := g.send(message.NewEchoRequest(g.sequence+1, ie.NewRecovery(1)))
	require.NotEqual(t, request, echo)
	require.Equal(t, byte(message.MsgTypeEchoResponse), g.receive()[1], "all three have been read")
	close(hold)
	answer := g.receive()
	g.sendOctets(request)
	require.Equal(t, answer, g.receive())
	require.Equal(t, 1, up.count())
	require.Equal(t, 1, taken(s))
	require.Equal(t, uint64(3), s.Stats().GTPC.Duplicates)
}

func TestAPGWUThatRefusesOrIsSilent(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	for err, cause := range map[error]uint8{
		&pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable}: 73,
		&pfcp.Error{Cause: pfcp.CauseRuleCreationFailure}:  72,
		sxb.ErrNotAssociated:                               72,
	} {
		up.set(func(u *userPlane) { u.fail = err })
		requireCause(t, cause, g.create(imsi).Cause)
		require.Zero(t, taken(s), "%v: the address leaked", err)
	}
	up.set(func(u *userPlane) { u.fail = nil })
	teid := g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	up.set(func(u *userPlane) { u.fail = pfcp.ErrTimeout })
	requireCause(t, 72, g.modify(teid, g.bearer(ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 0xa2, "10.10.0.3", "").WithInstance(1))).Cause)
	require.Equal(t, 1, taken(s), "the session is as it was")
}

// TestAnEstablishmentThatThePGWUDidNotAnswer: the session may be there, and another with its address be refused.
func TestAnEstablishmentThatThePGWUDidNotAnswer(t *testing.T) {
	s, up := server(t, func(c *Config) { c.AbandonWait = waitStep })
	g := newGateway(t, s, "")
	up.set(func(u *userPlane) { u.fail = pfcp.ErrTimeout })
	requireCause(t, 72, g.create(imsi).Cause)
	require.Equal(t, 1, taken(s))
	up.set(func(u *userPlane) { u.fail, u.asked = &pfcp.Error{Cause: pfcp.CauseRuleCreationFailure}, 0 })
	require.Eventually(t, func() bool {
		enough := false
		up.set(func(u *userPlane) { enough = u.asked > 3 })
		return enough
	}, waitLimit, waitStep)
	require.Equal(t, 1, taken(s), "refused: it has the address still")
	require.Equal(t, 1, s.Stats().Abandoned)

	up.set(func(u *userPlane) { u.fail = nil })
	require.Eventually(t, func() bool { return taken(s) == 0 && s.Stats().Abandoned == 0 }, waitLimit, waitStep)
	require.Zero(t, up.count(), "what was established to find out is deleted")
	require.Equal(t, map[string]int{"pgwu1": 0}, s.NodeLoad())

	up.set(func(u *userPlane) { u.fail = pfcp.ErrTimeout })
	requireCause(t, 72, g.create(imsi).Cause)
	s.NodeEvent(sxb.NodeRestarted{Node: "pgwu1"})
	require.Zero(t, taken(s), "a PGW-U that restarted has no session")
	up.set(func(u *userPlane) { u.fail = nil })
	g.attach(imsi)
	require.Eventually(t, func() bool { return up.count() == 1 && taken(s) == 1 }, waitLimit, waitStep)
}

func TestADeletionThatThePGWUDidNotAnswerIsTriedAgain(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	teid := g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	up.set(func(u *userPlane) { u.fail = pfcp.ErrTimeout })
	requireCause(t, 16, g.delete(teid).Cause)
	require.Equal(t, 1, taken(s), "its rules may still be there")
	require.Equal(t, 1, s.Stats().Abandoned)

	up.set(func(u *userPlane) { u.fail = nil })
	s.NodeEvent(sxb.NodeUp{Node: "pgwu1"})
	require.Eventually(t, func() bool { return taken(s) == 0 && s.Stats().Abandoned == 0 }, waitLimit, waitStep)
	require.Zero(t, up.count())

	teid = g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	up.set(func(u *userPlane) { u.fail = pfcp.ErrTimeout })
	requireCause(t, 16, g.delete(teid).Cause)
	s.NodeEvent(sxb.NodeRestarted{Node: "pgwu1"})
	require.Zero(t, taken(s), "a PGW-U that restarted has no rules")
}

func TestASecondAttachReplacesTheFirst(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	first := g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	second := g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	require.NotEqual(t, first, second)
	require.Equal(t, 1, up.count())
	require.Equal(t, 1, taken(s))
	requireCause(t, 64, g.delete(first).Cause)
	requireCause(t, 16, g.delete(second).Cause)
	require.Zero(t, taken(s))
}

func TestARestartedPGWUEndsItsSessions(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "127.81.0.2")
	g.attach(imsi)              // pgwu1
	g.attach("999700000000002") // pgwu2
	up.set(func(u *userPlane) { clear(u.sessions) })
	s.NodeEvent(sxb.NodeRestarted{Node: "pgwu1"})
	request, err := message.ParseDeleteBearerRequest(g.receive())
	require.NoError(t, err)
	require.Equal(t, uint32(0x91), request.TEID())
	require.Equal(t, uint8(5), request.LinkedEBI.MustEPSBearerID())
	requireCause(t, 8, request.Cause)
	g.send(message.NewDeleteBearerResponse(0, request.SequenceNumber, ie.NewCause(16, 0, 0, 0, nil)))
	require.Eventually(t, func() bool { return s.Stats().Ended == 1 }, waitLimit, waitStep)
	require.Equal(t, map[string]int{"pgwu1": 0, "pgwu2": 1}, s.NodeLoad())
}

func TestARestartedSGWLosesItsSessions(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "127.81.0.3")
	g.attach(imsi)
	g.recovery++
	g.attach("999700000000002")
	require.Eventually(t, func() bool { return up.count() == 1 && taken(s) == 1 }, waitLimit, waitStep)
	list, err := s.Sessions(context.Background(), Filter{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "999700000000002", list[0].IMSI, "the request that showed the restart is served")
}

// TestARequestThatFoundNoRoomIsTakenWhenItIsSentAgain: T3 of the SGW is what spreads the load, so the request that
// was dropped must not be taken for one in progress.
func TestARequestThatFoundNoRoomIsTakenWhenItIsSentAgain(t *testing.T) {
	s, _ := server(t, func(c *Config) { c.Shards, c.MaxWaiting = 1, 1 })
	block, blocked := make(chan struct{}), make(chan struct{})
	s.shards[0].inbox.put(func(*shard) { close(blocked); <-block })
	<-blocked
	s.shards[0].inbox.put(func(*shard) {})
	g := newGateway(t, s, "")
	request := g.send(message.NewCreateSessionRequest(0, 1, g.createIEs(imsi)...))
	require.Eventually(t, func() bool { return s.Stats().Overloads == 1 }, waitLimit, waitStep)
	close(block)
	require.Eventually(t, func() bool { return s.Stats().Waiting == 0 }, waitLimit, waitStep)
	g.sendOctets(request)
	m, err := message.ParseCreateSessionResponse(g.receive())
	require.NoError(t, err)
	requireCause(t, 16, m.Cause)
}

// TestRequestsOfAnSGWThatRestartedAreForgotten: nobody waits for their answers, and they must not pile up.
func TestRequestsOfAnSGWThatRestartedAreForgotten(t *testing.T) {
	s, up := server(t, func(c *Config) { c.Shards = 1 })
	hold := make(chan struct{})
	up.set(func(u *userPlane) { u.hold = hold })
	g := newGateway(t, s, "127.81.0.4")
	for range 3 {
		g.sequence++
		g.send(message.NewCreateSessionRequest(0, g.sequence, g.createIEs(imsi)...))
	}
	g.recovery++
	g.send(message.NewEchoRequest(4, ie.NewRecovery(g.recovery)))
	g.receive()
	close(hold)
	require.Eventually(t, func() bool { return up.count() == 0 && taken(s) == 0 }, waitLimit, waitStep)
	left := make(chan int)
	require.Eventually(t, func() bool {
		s.shards[0].inbox.put(func(sh *shard) { left <- len(sh.refs) + len(sh.states) + len(sh.peers) })
		return <-left == 0
	}, waitLimit, waitStep)
}

func TestUnknownTEIDs(t *testing.T) {
	s, _ := server(t, nil)
	g := newGateway(t, s, "")
	for _, teid := range []uint32{0, 1, 0x01000001, 0xffffffff} {
		requireCause(t, 64, g.delete(teid).Cause)
		m := g.modify(teid, ie.NewRATType(6))
		requireCause(t, 64, m.Cause)
		require.Zero(t, m.TEID())
	}
}

func TestTooManySessions(t *testing.T) {
	s, _ := server(t, func(c *Config) { c.MaxSessions = 1 })
	g := newGateway(t, s, "")
	g.attach(imsi)
	requireCause(t, 73, g.create("999700000000002").Cause)
}

func TestAPanicCostsItsRequestOnly(t *testing.T) {
	panics := true
	s, _ := server(t, func(c *Config) {
		authorize := c.Authorize
		c.Authorize = func(subject session.Subject) (session.Profile, *gtpc.Error) {
			if panics {
				panics = false
				panic("a bug")
			}
			return authorize(subject)
		}
	})
	g := newGateway(t, s, "")
	requireCause(t, 72, g.create(imsi).Cause)
	g.attach(imsi)
	require.Equal(t, uint64(1), s.Stats().Panics)
}

func TestGarbageDisturbsNobody(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "")
	teid := g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	bad := newGateway(t, s, "")
	request, err := message.NewCreateSessionRequest(0, 1, g.createIEs("999700000000002")...).Marshal()
	require.NoError(t, err)
	for n := range request {
		bad.sendOctets(request[:n])
		b := append([]byte{}, request...)
		_, _ = rand.Read(b[n:])
		b[1] = 1 // an Echo Request of random IEs: nothing else may come of it
		bad.sendOctets(b)
	}
	requireCause(t, 16, g.delete(teid).Cause)
	require.Zero(t, up.count())
	require.Zero(t, taken(s))
	require.Zero(t, s.Stats().GTPC.Panics)
}

// The SGW does not know the tunnel any more: the PGW-U says so, the connection ends on both sides, and the UE comes again.
func TestAnErrorIndicationEndsTheConnection(t *testing.T) {
	s, up := server(t, nil)
	g := newGateway(t, s, "127.81.0.7")
	g.attach(imsi)
	var seid pfcp.SEID
	var remote pfcp.OuterHeaderCreation
	up.set(func(u *userPlane) {
		for _, req := range u.sessions {
			seid, remote = req.FSEID.SEID, req.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value
		}
	})
	report := func(node string, seid pfcp.SEID, m *pfcp.SessionReportRequest) (cause pfcp.Cause, upSEID pfcp.SEID) {
		done := make(chan struct{})
		s.NodeEvent(sxb.SessionReport{Node: node, SEID: seid, Report: m, Answer: func(c pfcp.Cause, up pfcp.SEID) {
			cause, upSEID = c, up
			close(done)
		}})
		<-done
		return cause, upSEID
	}
	lost := &pfcp.SessionReportRequest{
		ReportType: pfcp.ReportErrorIndication, ErrorIndications: []pfcp.FTEID{{TEID: remote.TEID, IPv4: remote.IPv4}},
	}
	cause, _ := report("pgwu1", seid+1, lost)
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause)
	cause, _ = report("pgwu2", seid, lost)
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause, "it is another PGW-U's session")
	cause, upSEID := report("pgwu1", seid, &pfcp.SessionReportRequest{
		ReportType: pfcp.ReportUsage, UsageReports: []pfcp.UsageReport{{URRID: 1}},
	})
	require.Equal(t, pfcp.CauseAccepted, cause)
	require.NotZero(t, upSEID)
	require.Equal(t, 1, taken(s))

	cause, _ = report("pgwu1", seid, lost)
	require.Equal(t, pfcp.CauseAccepted, cause)
	request, err := message.ParseDeleteBearerRequest(g.receive())
	require.NoError(t, err)
	require.Equal(t, uint8(5), request.LinkedEBI.MustEPSBearerID())
	requireCause(t, 8, request.Cause)
	g.send(message.NewDeleteBearerResponse(0, request.SequenceNumber, ie.NewCause(16, 0, 0, 0, nil)))
	require.Eventually(t, func() bool { return taken(s) == 0 && up.count() == 0 }, waitLimit, waitStep)
	require.Equal(t, map[string]uint64{"unknown_session": 2, "usage": 1, "error_indication": 1}, s.Stats().Reports)
	cause, _ = report("pgwu1", seid, lost)
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause)
}

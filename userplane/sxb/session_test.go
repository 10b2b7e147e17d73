package sxb

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

func downlinkKey(ue string) session.Key {
	return session.Key{Direction: session.Downlink, Instance: "internet", UE: session.UE(mustAddr(ue))}
}

func uplinkKey(teid uint32) session.Key {
	return session.Key{Direction: session.Uplink, Local: slice, TEID: pfcp.TEID(teid)}
}

func TestTheLifeOfASession(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.1.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, bearer("172.16.1.7")...)
	table := w.dp.snapshot()
	require.Len(t, table, 2)
	require.EqualValues(t, 5000, table[uplinkKey(teid)].MBR)
	require.EqualValues(t, 10000, table[downlinkKey("172.16.1.7")].MBR)
	require.EqualValues(t, 0xaa, table[downlinkKey("172.16.1.7")].RemoteTEID)
	w.consistent()

	r := cp.modify(seid,
		ie.NewFSEID(78, cp.addr.AsSlice(), nil),
		ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(
			ie.NewOuterHeaderCreation(0x0100, 0xbb, "10.10.0.3", "", 0, 0, 0),
			ie.NewPFCPSMReqFlags(0),
		)),
	)
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.EqualValues(t, 78, r.SEID(), "the CP function's SEID has changed")
	require.EqualValues(t, 0xbb, w.dp.snapshot()[downlinkKey("172.16.1.7")].RemoteTEID)
	w.consistent()

	w.dp.count(uplinkKey(teid), 3, 300)
	w.dp.count(downlinkKey("172.16.1.7"), 2, 2000)
	r = cp.modify(seid, ie.NewQueryURR(ie.NewURRID(1)))
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	requireUsage(t, r.UsageReport, 300, 2000)

	w.dp.count(uplinkKey(teid), 1, 40)
	d := cp.delete(seid)
	require.Equal(t, pfcp.CauseAccepted, cause(t, d.Cause))
	require.EqualValues(t, 78, d.SEID())
	requireUsage(t, d.UsageReport, 40, 0)
	require.Empty(t, w.dp.snapshot())
	w.consistent()

	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, cp.delete(seid).Cause))
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, cp.modify(seid).Cause))
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, cp.modify(0).Cause))
}

func requireUsage(t *testing.T, reports []*ie.IE, uplink, downlink uint64) {
	t.Helper()
	require.Len(t, reports, 1)
	volume, err := reports[0].VolumeMeasurement()
	require.NoError(t, err)
	require.Equal(t, uplink, volume.UplinkVolume)
	require.Equal(t, downlink, volume.DownlinkVolume)
	require.Equal(t, uplink+downlink, volume.TotalVolume)
}

// A retransmission must not create a second session, whose deletion would kill the data path of both.
func TestTheSameRequestTwiceMakesOneSession(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.2.1", "pgwc.example")
	cp.setup()
	request := cp.establishment(cp.next(), 77, bearer("172.16.1.7")...)
	first, m := cp.ask(request)
	first = bytes.Clone(first)
	again, _ := cp.ask(request)
	require.Equal(t, first, again)
	require.Len(t, w.sessions(), 1)

	fseid, err := m.(*message.SessionEstablishmentResponse).UPFSEID.FSEID()
	require.NoError(t, err)
	deletion := message.NewSessionDeletionRequest(0, 0, fseid.SEID, cp.next(), 0)
	first, _ = cp.ask(deletion)
	first = bytes.Clone(first)
	again, m = cp.ask(deletion)
	require.Equal(t, first, again)
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionDeletionResponse).Cause))
	w.consistent()
}

func TestARefusedRequestLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.3.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	before, slots := w.dp.snapshot(), w.edge.Stats().Slots
	unchanged := func() {
		t.Helper()
		require.Equal(t, before, w.dp.snapshot())
		require.Equal(t, slots, w.edge.Stats().Slots)
		w.consistent()
	}

	// In the core: a filter that is not served, in the last rule.
	filter := ie.NewCreatePDR(
		ie.NewPDRID(3), ie.NewPrecedence(1),
		ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore),
			ie.NewSDFFilter("deny out 17 from 192.0.2.1 53 to assigned", "", "", "", 0),
		),
		ie.NewFARID(2),
	)
	r := cp.refused(pfcp.CauseRuleCreationFailure, 2, append(bearer("172.16.1.2"), filter)...)
	require.NotNil(t, r.FailedRuleID)
	unchanged()

	// In the data path: the UE address is another session's.
	cp.refused(pfcp.CauseSystemFailure, 2, bearer("172.16.1.1")...)
	unchanged()

	// In the data path: tables full.
	w.dp.hook(func(c session.Changes) error {
		if len(c.Puts) == 0 {
			return nil
		}
		return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("table full")}
	})
	cp.refused(pfcp.CauseNoResourcesAvailable, 2, bearer("172.16.1.2")...)
	unchanged()
	update := ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(0x01))
	require.Equal(t, pfcp.CauseNoResourcesAvailable, cause(t, cp.modify(seid, update).Cause))
	unchanged()
	w.dp.hook(nil)

	// A modification, each wrong in its last part.
	for name, rules := range map[string][]*ie.IE{
		"Remove FAR of one that is not there": {update, ie.NewRemoveFAR(ie.NewFARID(99))}, // eUPF#635
		"Remove PDR of one that is not there": {update, ie.NewRemovePDR(ie.NewPDRID(99))},
		"Update QER of one that is not there": {update, ie.NewUpdateQER(ie.NewQERID(99))},
		"a new PDR whose FAR is not there": {
			update, ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(1), ie.NewPDI(
				ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x05, 0, nil, nil, 0),
			), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(99)),
		},
	} {
		require.Equal(t, pfcp.CauseRuleCreationFailure, cause(t, cp.modify(seid, rules...).Cause), name)
		unchanged()
	}
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, update).Cause), "the session is as good as new")

	// A deletion needs no room: not even for entries that drop while the last counts are read.
	w.dp.hook(func(c session.Changes) error {
		if len(c.Puts) == 0 {
			return nil
		}
		return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("table full")}
	})
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
	require.Empty(t, w.dp.snapshot())
	w.consistent()
}

// Octets that other user planes fell over.
func TestMessagesThatLie(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.4.1", "pgwc.example")
	cp.setup()
	pdi := func(with ...*ie.IE) []*ie.IE {
		rules := bearer("172.16.1.7")
		rules[0] = ie.NewCreatePDR(
			ie.NewPDRID(1), ie.NewPrecedence(100), ie.NewPDI(with...), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1),
		)
		return rules
	}
	access := ie.NewSourceInterface(ie.SrcInterfaceAccess)
	for name, rules := range map[string][]*ie.IE{
		"F-TEID with V4 and no address":             pdi(access, ie.New(ie.FTEID, []byte{0x01, 0, 0, 0, 1})), // eUPF#630
		"F-TEID with V6 and half an address":        pdi(access, ie.New(ie.FTEID, []byte{0x02, 0, 0, 0, 1, 1, 2, 3})),
		"a PDI without Source Interface":            pdi(ie.NewFTEID(0x05, 0, nil, nil, 0)),                              // eUPF#631
		"an SDF filter whose length exceeds the IE": pdi(access, ie.New(ie.SDFFilter, []byte{0x01, 0, 0xff, 0xff, 'p'})), // eUPF#638
		"an empty PDI": pdi(),
		"Outer Header Creation that promises an address": append(bearer("172.16.1.7")[:3], ie.NewCreateFAR(
			ie.NewFARID(2), ie.NewApplyAction(2), ie.NewForwardingParameters(
				ie.NewDestinationInterface(ie.DstInterfaceAccess), ie.New(ie.OuterHeaderCreation, []byte{0x01, 0x00, 0, 0, 0, 1}),
			),
		)),
		"a Create PDR without PDR ID": {ie.NewCreatePDR(ie.NewPrecedence(1))},
	} {
		t.Run(name, func(t *testing.T) {
			_, m := cp.ask(cp.establishment(cp.next(), 77, rules...))
			got := cause(t, m.(*message.SessionEstablishmentResponse).Cause)
			require.Contains(t, []pfcp.Cause{
				pfcp.CauseMandatoryIEMissing, pfcp.CauseMandatoryIEIncorrect, pfcp.CauseInvalidLength, pfcp.CauseConditionalIEMissing,
			}, got)
			require.Empty(t, w.dp.snapshot())
		})
	}
	w.consistent()
	cp.establish(77, bearer("172.16.1.7")...)
}

func TestNoiseDisturbsNobody(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.5.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, bearer("172.16.1.7")...)
	table := w.dp.snapshot()
	hostile := newControlPlane(t, w, "127.77.5.2", "hostile.example")
	r := rand.New(rand.NewPCG(1, 2))
	whole := hostile.encode(hostile.establishment(1, 5, bearer("172.16.1.8")...))
	for i := range 3000 {
		b := bytes.Clone(whole)
		if i%2 == 0 {
			b = b[:r.IntN(len(b))]
		}
		for range r.IntN(8) {
			if len(b) > 4 {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
		}
		if i%3 == 0 {
			for j := range b {
				b[j] = byte(r.Uint32())
			}
		}
		hostile.send(b)
	}
	require.NotNil(t, cp.heartbeat())
	require.Equal(t, table, w.dp.snapshot())
	require.Zero(t, w.edge.Stats().Endpoint.Panics)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
}

func TestControlPlanesDoNotReachEachOthersSessions(t *testing.T) {
	w := newWorld(t)
	one := newControlPlane(t, w, "127.77.6.1", "one.example")
	two := newControlPlane(t, w, "127.77.6.2", "two.example")
	stranger := newControlPlane(t, w, "127.77.6.3", "one.example")
	one.setup()
	two.setup()
	seid, _ := one.establish(77, bearer("172.16.1.7")...)
	drop := ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(0x01))
	for _, other := range []*controlPlane{two, stranger} {
		require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, other.modify(seid, drop).Cause))
		require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, other.delete(seid).Cause))
	}
	stranger.refused(pfcp.CauseNoEstablishedAssociation, 78, bearer("172.16.1.8")...)
	w.consistent()
	require.Equal(t, pfcp.CauseAccepted, cause(t, one.delete(seid).Cause))
}

func TestSessionsPerControlPlaneAreCapped(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxSessionsPerPeer = 2 })
	one := newControlPlane(t, w, "127.77.7.1", "one.example")
	two := newControlPlane(t, w, "127.77.7.2", "two.example")
	one.setup()
	two.setup()
	seid, _ := one.establish(1, bearer("172.16.1.1")...)
	one.establish(2, bearer("172.16.1.2")...)
	one.refused(pfcp.CauseNoResourcesAvailable, 3, bearer("172.16.1.3")...)
	two.establish(3, bearer("172.16.1.3")...)
	one.delete(seid)
	one.establish(4, bearer("172.16.1.4")...)
	w.consistent()
}

func TestSlotsRunOut(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Slices = []Slice{{Address: slice, Slots: 2}} })
	cp := newControlPlane(t, w, "127.77.8.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	cp.establish(2, bearer("172.16.1.2")...)
	cp.refused(pfcp.CauseNoResourcesAvailable, 3, bearer("172.16.1.3")...)
	cp.delete(seid)
	cp.refused(pfcp.CauseNoResourcesAvailable, 3, bearer("172.16.1.3")...) // it rests
	w.consistent()
}

func TestFTEIDsThatTheControlPlaneChooses(t *testing.T) {
	chosen := func(ue string, teid uint32) []*ie.IE {
		rules := bearer(ue)
		rules[0] = ie.NewCreatePDR(
			ie.NewPDRID(1), ie.NewPrecedence(100),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, teid, slice.AsSlice(), nil, 0)),
			ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1),
		)
		return rules
	}
	w := newWorld(t, func(c *Config) {
		c.Peers = []Peer{{Address: mustAddr("127.77.9.2"), Port: testPort, AcceptCPFTEID: true}}
	})
	strict := newControlPlane(t, w, "127.77.9.1", "one.example")
	free := newControlPlane(t, w, "127.77.9.2", "two.example")
	strict.setup()
	free.setup()
	strict.refused(pfcp.CauseInvalidFTEIDAllocation, 1, chosen("172.16.1.1", 0x12345678)...)
	free.establish(1, chosen("172.16.1.1", 0x12345678)...)
	require.Contains(t, w.dp.snapshot(), uplinkKey(0x12345678))
	free.refused(pfcp.CauseRuleCreationFailure, 2, chosen("172.16.1.2", 0x12345678)...)
	free.establish(2, chosen("172.16.1.2", 0x92345678)...) // of the same slot
	require.Contains(t, w.dp.snapshot(), uplinkKey(0x92345678))

	// Restoration is the standard's own case: TS 29.244 5.22.
	restoration := append(chosen("172.16.1.3", 0x12345679), ie.NewPFCPSEReqFlags(0x01))
	strict.establish(3, restoration...)
	require.Contains(t, w.dp.snapshot(), uplinkKey(0x12345679))
	strict.refused(pfcp.CauseRuleCreationFailure, 4, restoration...)
	w.consistent()
}

func TestAFaultOfOursCostsOneRequest(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.11.1", "pgwc.example")
	cp.setup()
	w.dp.hook(func(session.Changes) error { panic("a fault") })
	cp.refused(pfcp.CauseSystemFailure, 1, bearer("172.16.1.1")...)
	w.dp.hook(nil)
	w.consistent()
	require.Zero(t, w.edge.Peers()[0].Sessions)
	cp.establish(2, bearer("172.16.1.2")...)
	require.EqualValues(t, 1, w.edge.Stats().Panics)
}

func TestAnUnservedMessageIsRefused(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.10.1", "pgwc.example")
	_, m := cp.ask(message.NewNodeReportRequest(cp.next(), cp.nodeID(), ie.NewNodeReportType(1)))
	require.Equal(t, pfcp.CauseServiceNotSupported, cause(t, m.(*message.NodeReportResponse).Cause))
}

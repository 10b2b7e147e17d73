package sxb

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Sessions in the shapes in which control planes make them, and what they ask next. What they send is written down
// here with go-pfcp, as read from their sources.

func forward(far uint32, to uint8, with ...*ie.IE) *ie.IE {
	return ie.NewCreateFAR(ie.NewFARID(far), ie.NewApplyAction(0x02, 0),
		ie.NewForwardingParameters(append([]*ie.IE{ie.NewDestinationInterface(to)}, with...)...))
}

func outer(teid uint32, addr string) *ie.IE {
	return ie.NewOuterHeaderCreation(0x0100, teid, addr, "", 0, 0, 0)
}

// open5gs is its EPC default bearer: 4 PDRs and 3 FARs, also for an IPv4-only session.
func open5gs(ue string) []*ie.IE {
	internet := ie.NewNetworkInstance("internet")
	removal := ie.NewOuterHeaderRemoval(6, 0)
	fteid := func() *ie.IE { return ie.NewFTEID(0x0f, 0, nil, nil, 5) } // CHOOSE, V4 and V6, CHOOSE ID 5
	return []*ie.IE{
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(65535), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), internet, ie.NewUEIPAddress(0x06, ue, "", 0, 0),
		), ie.NewFARID(1), ie.NewURRID(1), ie.NewQERID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(65535), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), fteid(), internet, ie.NewUEIPAddress(0x02, ue, "", 0, 0),
		), removal, ie.NewFARID(2), ie.NewURRID(1), ie.NewQERID(1)),
		ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(65535), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCPFunction), ie.NewFTEID(0x07, 0, nil, nil, 0),
		), removal, ie.NewFARID(1)),
		ie.NewCreatePDR(ie.NewPDRID(4), ie.NewPrecedence(255), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), fteid(), internet,
			ie.NewSDFFilter("permit out 58 from ff02::2/128 to assigned", "", "", "", 0),
		), removal, ie.NewFARID(3)),
		forward(1, ie.DstInterfaceAccess, outer(0xaa, remote.String())),
		forward(2, ie.DstInterfaceCore, internet),
		forward(3, ie.DstInterfaceCPFunction, outer(0xcc, "10.40.2.2")),
		ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x02, 0),
			ie.NewVolumeThreshold(0x01, 1<<20, 0, 0)),
		ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(1000, 1000)),
		ie.NewCreateBAR(ie.NewBARID(1)),
		ie.NewPDNType(1), ie.NewUserID(0x01, "999700000000001", "", "", ""), ie.NewAPNDNN("internet"),
	}
}

func TestOpen5GS(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.80.1", "smf.localdomain")
	cp.setup()
	seid, _ := cp.establish(1, open5gs("172.16.1.1")...)
	require.Len(t, w.dp.snapshot(), 3, "uplink, downlink, and from the control plane")
	var up session.Entry
	for key, e := range w.dp.snapshot() {
		if key.Direction == session.Uplink {
			up = e
		}
	}
	require.EqualValues(t, 4, up.Origin.PDRID, "router solicitations first")
	require.Len(t, up.More, 1)
	require.EqualValues(t, 2, up.More[0].Origin.PDRID)

	// Handover, with the end marker asked for inside the parameters, and without a CP F-SEID.
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(1), ie.NewApplyAction(2, 0),
		ie.NewUpdateForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess), ie.NewNetworkInstance("internet"),
			outer(0xbb, "10.10.0.3"), ie.NewPFCPSMReqFlags(0x02)))).Cause))
	require.EqualValues(t, 0xbb, w.dp.snapshot()[downlinkKey("172.16.1.1")].RemoteTEID)
	require.Equal(t, []session.Tunnel{{Local: slice, Remote: remote, TEID: 0xaa}}, w.dp.marked())

	// Idle: nothing but BUFF and NOCP and a BAR ID.
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid,
		ie.NewUpdateFAR(ie.NewFARID(1), ie.NewApplyAction(0x0c, 0), ie.NewBARID(1))).Cause))
	require.Equal(t, session.ActionBuffer, w.dp.snapshot()[downlinkKey("172.16.1.1")].Action)

	// A new PDI with only the source interface and filters keeps the key.
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewPDI(
		ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewSDFFilter("permit out 6 from 192.0.2.1 80 to assigned", "", "", "", 3),
	))).Cause))
	require.Len(t, w.dp.snapshot()[downlinkKey("172.16.1.1")].Filters, 1)
	w.consistent()
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
	w.consistent()
}

func TestFree5GC(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Unlisted.AcceptCPFTEID = true })
	cp := newControlPlane(t, w, "127.77.81.1", "127.77.81.1")
	cp.setup()
	ue := ie.NewUEIPAddress(0x02, "172.16.1.1", "", 0, 0)
	rules := []*ie.IE{
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(255), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, 0x77, slice.AsSlice(), nil, 0), ie.NewNetworkInstance("internet"), ue,
		), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewQERID(1), ie.NewQERID(2)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(255), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"), ue,
		), ie.NewFARID(2), ie.NewQERID(1), ie.NewQERID(2)),
		forward(1, ie.DstInterfaceCore, ie.NewNetworkInstance("internet")),
		forward(2, ie.DstInterfaceAccess), // the access side is not known yet
		ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewQFI(9)),
		ie.NewCreateQER(ie.NewQERID(2), ie.NewGateStatus(0, 0), ie.NewMBR(1000, 2000), ie.NewQFI(0)),
		ie.NewCreateBAR(ie.NewBARID(1), ie.NewDownlinkDataNotificationDelay(0)),
		ie.NewPDNType(1),
	}
	// From v3.3 on: one URR before QoS enforcement and one after it, with packets.
	for id, information := range map[uint32]uint8{1: 0x11, 2: 0x10} {
		rules = append(rules, ie.NewCreateURR(
			ie.NewURRID(id), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x03, 0), ie.NewMeasurementInformation(information),
			ie.NewMeasurementPeriod(time.Hour), ie.NewVolumeThreshold(7, 1000, 1000, 1000)))
	}
	for i := range 2 {
		rules[i].Add(ie.NewURRID(1), ie.NewURRID(2))
	}
	seid, _ := cp.establish(1, rules...)
	require.True(t, w.dp.cellsPut()[session.CellID{SEID: pfcp.SEID(seid), URRID: 1}].BeforeQoS)
	require.False(t, w.dp.cellsPut()[session.CellID{SEID: pfcp.SEID(seid), URRID: 2}].BeforeQoS)
	down := func() session.Entry { return w.dp.snapshot()[downlinkKey("172.16.1.1")] }
	require.Equal(t, session.ActionNoHeader, down().Action, "never plain IP to the access side")
	require.Contains(t, w.dp.snapshot(), uplinkKey(0x77))
	r := cp.modify(seid, ie.NewFSEID(1, cp.addr.AsSlice(), nil), ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2, 0),
		ie.NewUpdateForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess), outer(0xaa, remote.String()), ie.NewPFCPSMReqFlags(0))))
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.Equal(t, session.ActionForward, down().Action)
	require.Equal(t, pfcp.Some(uint8(9)), down().QFI)
	require.EqualValues(t, 2000, down().MBR)

	// An Update QER is applied (free5gc#1010).
	cp.modify(seid, ie.NewUpdateQER(ie.NewQERID(2), ie.NewMBR(1000, 77)))
	require.EqualValues(t, 77, down().MBR)
	w.consistent()
}

func TestOMEC(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.82.1", "smf.omec")
	cp.setup()
	none := ie.New(ie.NetworkInstance, nil) // always present, of length zero when unset
	seid, teid := cp.establish(1,
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(255), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x04, 0, nil, nil, 0), none, ie.New(ie.SDFFilter, nil),
		), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewQERID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(255), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), none, ie.NewUEIPAddress(0x02, "172.16.1.1", "", 0, 0),
		), ie.NewFARID(2), ie.NewQERID(1)),
		forward(1, ie.DstInterfaceSGiLANN6LAN, none),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(0x0c)),
		ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(1000, 2000), ie.NewQFI(9)),
	)
	table := w.dp.snapshot()
	require.Equal(t, session.ActionBuffer, table[downlinkKey("172.16.1.1")].Action)
	require.EqualValues(t, "internet", table[uplinkKey(teid)].Instance)
	require.Equal(t, "172.16.1.1/32", table[uplinkKey(teid)].Sources[0].String(), "the session's own address is checked")
	cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2), ie.NewUpdateForwardingParameters(
		ie.NewDestinationInterface(ie.DstInterfaceAccess), none, outer(0xaa, remote.String()))))
	require.Equal(t, session.ActionForward, w.dp.settled(t)[downlinkKey("172.16.1.1")].Action)
	w.consistent()

	// Its deletion brings IEs that have no business there.
	_, m := cp.ask(message.NewSessionDeletionRequest(0, 0, seid, cp.next(), 0, ie.NewFSEID(1, cp.addr.AsSlice(), nil), ie.NewPDNType(1)))
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionDeletionResponse).Cause))
	w.consistent()
}

func TestPfcpsim(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Unlisted.AcceptCPFTEID = true })
	cp := newControlPlane(t, w, "127.77.83.1", "pfcpsim")
	cp.setup()
	seid, _ := cp.establish(1,
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, 0x55, slice.AsSlice(), nil, 0),
			ie.NewSDFFilter("permit out udp from any to assigned 81-81", "", "", "", 1),
		), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewQERID(0), ie.NewQERID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(0x02, "172.16.1.1", "", 0, 0),
		), ie.NewFARID(2), ie.NewQERID(0), ie.NewQERID(1)),
		forward(1, ie.DstInterfaceCore),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(0x01), ie.NewForwardingParameters(
			ie.NewDestinationInterface(ie.DstInterfaceAccess), outer(0, "0.0.0.0"))),
		ie.NewCreateQER(ie.NewQERID(0), ie.NewGateStatus(0, 0), ie.NewMBR(50, 60)),
		ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(5, 6)),
	)
	up := w.dp.snapshot()[uplinkKey(0x55)]
	require.Equal(t, []session.Ports{{First: 81, Last: 81}}, up.Filters[0].LocalPorts)
	require.EqualValues(t, 50, up.MBR, "QER 0 is the session's")
	require.Len(t, up.Meters, 1)
	require.Equal(t, session.ActionDrop, w.dp.snapshot()[downlinkKey("172.16.1.1")].Action)

	// Remove PDR wraps a Create PDR.
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid,
		ie.NewRemovePDR(ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100)))).Cause))
	require.Len(t, w.dp.snapshot(), 1)
	w.consistent()
}

func TestErGW(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.84.1", "topon.sx.prox01.node.epc.mnc001.mcc001.3gppnetwork.org")
	cp.setup()
	// A session of the node right after the association: no UE, no PDN type.
	cp.establish(1,
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCPFunction), ie.NewFTEID(0x05, 0, nil, nil, 0), ie.NewNetworkInstance("internet"),
		), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1)),
		forward(1, ie.DstInterfaceAccess, ie.NewNetworkInstance("internet")),
	)
	w.consistent()
	rules := append(bearer("172.16.1.1"),
		ie.NewCreatePDR(ie.NewPDRID(9), ie.NewPrecedence(65000), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x05, 0, nil, nil, 0),
			ie.NewSDFFilter("permit out ip from any to any", "", "", "", 0),
		), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(9), ie.NewURRID(9)),
		ie.NewCreateFAR(ie.NewFARID(9), ie.NewApplyAction(0x01)),
		ie.NewCreateURR(ie.NewURRID(9), ie.NewMeasurementMethod(0, 1, 1), ie.NewReportingTriggers(0x10, 0x02), ie.NewTimeQuota(60*time.Second)),
		ie.New(32770|0x8000, []byte{0x48, 0xf9, 1, 2}), // a vendor's
		ie.NewUserPlaneInactivityTimer(time.Hour),
	)
	seid, _ := cp.establish(2, rules...)
	r := cp.modify(seid, ie.NewQueryURR(ie.NewURRID(1)), ie.NewQueryURR(ie.NewURRID(9)))
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.Len(t, r.UsageReport, 2)
	w.consistent()

	// What the rule of lowest precedence drops is the start of traffic that is asked for.
	dropped := session.CellID{SEID: pfcp.SEID(seid), URRID: 9, Dropped: true}
	w.dp.mu.Lock()
	w.dp.cells[dropped] = session.Volume{UplinkOctets: 80, UplinkPackets: 1}
	w.dp.mu.Unlock()
	_, m := cp.receive(message.MsgTypeSessionReportRequest)
	reports := m.(*message.SessionReportRequest).UsageReport
	require.Len(t, reports, 1)
	trigger, err := reports[0].UsageReportTrigger()
	require.NoError(t, err)
	require.EqualValues(t, 0x10, trigger[0], "START, TS 29.244 8.2.41")
}

func TestOAI(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.85.1", "127.77.85.1")
	cp.setup()
	ue := ie.NewUEIPAddress(0x02, "172.16.1.1", "", 0, 0)
	// Only the uplink at first.
	seid, teid := cp.establish(1,
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(0), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x0d, 0, nil, nil, 42), ie.NewNetworkInstance("internet"), ue, ie.NewQFI(9),
			ie.NewTGPPInterfaceType(11),
		), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewURRID(1)),
		forward(1, ie.DstInterfaceCore, ie.NewNetworkInstance("internet")),
		ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x01, 0), ie.NewMeasurementPeriod(10*time.Second)),
	)
	require.Equal(t, []uint8{9}, w.dp.snapshot()[uplinkKey(teid)].QFIs)
	r := cp.modify(seid,
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(0), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), ue), ie.NewFARID(2)),
		forward(2, ie.DstInterfaceAccess, outer(0xaa, remote.String())))
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.1.1"))
	w.consistent()
}

// Rates above 4.29 Gbit/s wrapped elsewhere; so did the shared QER 0 of somebody else's session.
func TestLargeRatesAndForeignQERs(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.86.1", "pgwc.example")
	cp.setup()
	rules := bearer("172.16.1.1")
	rules[4] = ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(10_000_000, 1<<40-1))
	_, teid := cp.establish(1, rules...)
	require.EqualValues(t, 10_000_000, w.dp.snapshot()[uplinkKey(teid)].MBR)
	require.EqualValues(t, uint64(1<<40-1), w.dp.snapshot()[downlinkKey("172.16.1.1")].MBR)

	plain := bearer("172.16.1.2")
	plain[1] = ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), ie.NewPDI(
		ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(0x06, "172.16.1.2", "", 0, 0)), ie.NewFARID(2))
	cp.establish(2, plain...)
	require.Zero(t, w.dp.snapshot()[downlinkKey("172.16.1.2")].MBR, "a PDR without QER is not limited by anybody else's")
}

// An address pool that leaked was empty after 252 sessions elsewhere: addresses and TEIDs come back.
func TestAThousandSessionsOfOneAddress(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Rest = time.Nanosecond })
	cp := newControlPlane(t, w, "127.77.87.1", "pgwc.example")
	cp.setup()
	for i := range 1000 {
		seid, _ := cp.establish(uint64(i+1), bearer("172.16.1.1")...)
		require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
	}
	w.consistent()
}

// Unbounded rules exhausted the memory of others (free5gc#818, #819).
func TestRulesWithoutEndAreRefused(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.88.1", "pgwc.example")
	cp.setup()
	rules := bearer("172.16.1.1")
	for i := range 40 {
		rules = append(rules, ie.NewCreateURR(ie.NewURRID(uint32(i+2)), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0)))
	}
	cp.refused(pfcp.CauseNoResourcesAvailable, 1, rules...)
	filters := []*ie.IE{ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(0x06, "172.16.1.1", "", 0, 0)}
	for range 33 {
		filters = append(filters, ie.NewSDFFilter("permit out 17 from any to assigned", "", "", "", 0))
	}
	rules = bearer("172.16.1.1")
	rules[1] = ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), ie.NewPDI(filters...), ie.NewFARID(2))
	cp.refused(pfcp.CauseNoResourcesAvailable, 1, rules...)
	w.consistent()
}

func TestGuaranteedBitRatesAreAdmittedUpToTheCapacity(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.GBRCapacity = pfcp.BitRate{Uplink: 100, Downlink: 100} })
	cp := newControlPlane(t, w, "127.77.89.1", "pgwc.example")
	cp.setup()
	with := func(ue string, up, down uint64) []*ie.IE {
		rules := bearer(ue)
		rules[4] = ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(500, 500), ie.NewGBR(up, down))
		return rules
	}
	seid, _ := cp.establish(1, with("172.16.1.1", 60, 60)...)
	cp.refused(pfcp.CauseNoResourcesAvailable, 2, with("172.16.1.2", 10, 41)...)
	cp.establish(2, with("172.16.1.2", 40, 40)...)
	raise := ie.NewUpdateQER(ie.NewQERID(1), ie.NewGBR(61, 60))
	require.Equal(t, pfcp.CauseNoResourcesAvailable, cause(t, cp.modify(seid, raise).Cause))
	w.kill()
	w.start()
	cp.refused(pfcp.CauseNoResourcesAvailable, 3, with("172.16.1.3", 1, 1)...)
	cp.delete(seid)
	cp.establish(3, with("172.16.1.3", 60, 60)...)
	w.consistent()
}

// A UE that is set to buffer gets its packets in order after the modification to forward; limits hold; the
// notification goes out once.
func TestPacketsToAnIdleUEWait(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.91.1", "smf.example")
	cp.setup()
	seid, _ := cp.establish(77, append(bearer("172.16.1.1"), ie.NewCreateBAR(ie.NewBARID(1), ie.NewSuggestedBufferingPacketsCount(3)))...)
	packet := func(payload string) session.Parked {
		b := make([]byte, 20, 40)
		b[0] = 0x45
		copy(b[16:], mustAddr("172.16.1.1").AsSlice())
		return session.Parked{Origin: session.Origin{PDRID: 2, FARID: 2}, Packet: append(b, payload...)}
	}
	idle := func() {
		r := cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(0x0c), ie.NewBARID(1)))
		require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	}
	active := func(with ...*ie.IE) []string {
		cp.modify(seid, append(with, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(0x02)))...)
		w.dp.mu.Lock()
		defer w.dp.mu.Unlock()
		got := w.dp.injected
		w.dp.injected = nil
		return got
	}
	idle()
	for _, payload := range []string{"one", "two", "three", "too many"} {
		w.edge.Buffered(pfcp.SEID(seid), packet(payload))
	}
	r := cp.reported()
	require.True(t, r.ReportType.HasDLDR())
	pdr, err := r.DownlinkDataReport.PDRID()
	require.NoError(t, err)
	require.EqualValues(t, 2, pdr)
	require.Equal(t, []string{"internet one", "internet two", "internet three"}, active())
	require.EqualValues(t, 1, w.edge.Stats().BufferFull)
	require.EqualValues(t, 1, w.edge.Stats().Reports)

	idle()
	w.edge.Buffered(pfcp.SEID(seid), packet("unwanted"))
	cp.reported()
	require.Empty(t, active(ie.NewPFCPSMReqFlags(0x01)), "DROBU")
	w.edge.Buffered(pfcp.SEID(seid), packet("late"))
	require.Eventually(t, func() bool { return w.edge.Stats().BufferReturned == 4 }, patience, time.Millisecond)
	require.Equal(t, []string{"internet late"}, active())
	require.EqualValues(t, 1, w.edge.Stats().BufferDropped)
	w.consistent()
}

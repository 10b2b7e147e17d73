package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
)

// change modifies a session.
func (s *site) change(seid uint64, rules ...*ie.IE) *message.SessionModificationResponse {
	s.t.Helper()
	return s.ask(message.NewSessionModificationRequest(0, 0, seid, s.next(), 0, rules...)).(*message.SessionModificationResponse)
}

// uplinkPDR is a PDR for some of the packets from the UE in the tunnel that the session has.
func uplinkPDR(id uint16, precedence, teid uint32, what []*ie.IE, more ...*ie.IE) *ie.IE {
	return ie.NewCreatePDR(append([]*ie.IE{
		ie.NewPDRID(id), ie.NewPrecedence(precedence), ie.NewOuterHeaderRemoval(0, 0), ie.NewPDI(append([]*ie.IE{
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, teid, sliceAddr.AsSlice(), nil, 0),
			ie.NewUEIPAddress(2, ueAddr.String(), "", 0, 0),
		}, what...)...),
	}, more...)...)
}

// TestRulesChangeUnderTraffic has the rules of a session change in every way that names, filters and gates can, and sees what
// becomes of the same packets.
func TestRulesChangeUnderTraffic(t *testing.T) {
	s := newSite(t)
	s.configure("data_path:", `predefined_rules: [{name: no-sink, filters: ["permit out 17 from any 7778 to assigned"], action: drop}]
data_path:`)
	s.listen(s.core, sink) // takes what comes, and says nothing
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	up := func(want string, layer ...gopacket.SerializableLayer) {
		t.Helper()
		b := gopacket.NewSerializeBuffer()
		ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ueAddr.AsSlice(), DstIP: serverAddr.Addr().AsSlice()}
		udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(sink.Port())}
		all := []gopacket.SerializableLayer{ip, udp, gopacket.Payload("filler")}
		for _, l := range layer {
			switch l := l.(type) {
			case *layers.IPv4:
				ip.TOS = l.TOS
				if l.Protocol != 0 {
					ip.Protocol, all = l.Protocol, []gopacket.SerializableLayer{ip, gopacket.Payload(l.Payload)}
				}
			case *layers.UDP:
				udp.DstPort = l.DstPort
			}
		}
		require.NoError(t, udp.SetNetworkLayerForChecksum(ip))
		require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
		before := s.reasonCounts()
		_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, b.Bytes()), netip.AddrPortFrom(sliceAddr, 2152))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return s.since(before)[want] == 1 }, patience, time.Millisecond, "%s", want)
	}
	ok := func(rules ...*ie.IE) {
		t.Helper()
		s.accepted(s.change(seid, rules...).Cause)
	}
	const passes, dropped = "uplink_forwarded", "far_drop"
	dropFAR := ie.NewCreateFAR(ie.NewFARID(9), ie.NewApplyAction(1))
	dropping := ie.NewFARID(9)
	remove := func(id uint16) *ie.IE { return ie.NewRemovePDR(ie.NewPDRID(id)) }
	other := &layers.UDP{DstPort: 7779}
	up(passes)

	// A predefined rule brings filter and action; then the PDR has a FAR of its own instead.
	ok(uplinkPDR(3, 10, teid, nil, ie.NewActivatePredefinedRules("no-sink")))
	up(dropped)
	up(passes, other)
	refused := s.change(seid, ie.NewUpdatePDR(ie.NewPDRID(3), ie.NewDeactivatePredefinedRules("no-sink")))
	require.NotEqual(t, pfcp.CauseAccepted, causeOf(t, refused.Cause), "a PDR without FAR")
	up(dropped)
	ok(ie.NewUpdatePDR(ie.NewPDRID(3), ie.NewDeactivatePredefinedRules("no-sink"), ie.NewFARID(1)))
	up(passes)
	ok(ie.NewUpdatePDR(ie.NewPDRID(3), ie.NewActivatePredefinedRules("no-sink")), dropFAR)
	up(passes) // by its own FAR
	ok(ie.NewUpdatePDR(ie.NewPDRID(3), dropping))
	up(dropped)
	up(passes, other)
	ok(remove(3))
	up(passes)

	// An application, whose PFDs change.
	provision := func(flows ...string) {
		t.Helper()
		app := []*ie.IE{ie.NewApplicationID("video")}
		for _, flow := range flows {
			app = append(app, ie.NewPFDContext(ie.NewPFDContents(flow, "", "", "", "", nil, nil, nil)))
		}
		s.accepted(s.ask(message.NewPFDManagementRequest(s.next(), ie.NewApplicationIDsPFDs(app...))).(*message.PFDManagementResponse).Cause)
	}
	provision("permit out 17 from any 7778 to assigned")
	ok(uplinkPDR(4, 10, teid, []*ie.IE{ie.NewApplicationID("video")}, dropping))
	up(dropped)
	provision("permit out 17 from any 7779-7780 to assigned")
	up(passes)
	up(dropped, other)
	provision()
	up(passes)
	up(passes, other)
	ok(remove(4))

	// ToS with its mask, the SPI of IPsec, and a filter that another PDR names by its id.
	ok(uplinkPDR(5, 10, teid, []*ie.IE{ie.NewSDFFilter("permit out ip from any to assigned", "\xb8\xfc", "", "", 0)}, dropping))
	up(passes)
	up(dropped, &layers.IPv4{TOS: 0xb8})
	up(dropped, &layers.IPv4{TOS: 0xb8 | 3})
	up(passes, &layers.IPv4{TOS: 0x98})
	esp := func(spi uint32) *layers.IPv4 {
		return &layers.IPv4{Protocol: layers.IPProtocolESP, BaseLayer: layers.BaseLayer{Payload: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, spi), 1)}}
	}
	ok(remove(5), uplinkPDR(5, 10, teid, []*ie.IE{ie.NewSDFFilter("permit out 50 from any to assigned", "", "\x00\x01\x02\x03", "", 0)}, dropping))
	up(passes, &layers.IPv4{TOS: 0xb8})
	up(dropped, esp(0x010203))
	up(passes, esp(0x010204))
	const named = 7781
	ok(remove(5),
		uplinkPDR(5, 10, teid, []*ie.IE{ie.NewSDFFilter("permit out 17 from any 7781 to assigned", "", "", "", 77)}, dropping),
		ie.NewCreatePDR(ie.NewPDRID(6), ie.NewPrecedence(10), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
			ie.NewNetworkInstance("internet"), ie.NewUEIPAddress(6, ueAddr.String(), "", 0, 0), ie.NewSDFFilter("", "", "", "", 77)), dropping))
	down := func(want string, from int) {
		t.Helper()
		before := s.reasonCounts()
		s.in(s.core, func() {
			conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: serverAddr.Addr().AsSlice(), Port: from}, &net.UDPAddr{IP: ueAddr.AsSlice(), Port: 4000})
			require.NoError(t, err)
			_, err = conn.Write([]byte("filler"))
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		})
		require.Eventually(t, func() bool { return s.since(before)[want] == 1 }, patience, time.Millisecond, "%s", want)
	}
	up(dropped, &layers.UDP{DstPort: named})
	down(dropped, named)
	down("downlink_forwarded", 7779)
	require.EqualValues(t, 4, s.counted("xepc_pgwu_table_used", "table", "rules"), "two behind the TEID, two behind the address")
	ok(remove(5)) // the reference keeps what it named
	up(passes, &layers.UDP{DstPort: named})
	down(dropped, named)
	ok(remove(6))
	down("downlink_forwarded", named)

	// The same id removed and created in one message; what is refused has changed nothing.
	ok(remove(1), uplinkPDR(1, 100, teid, nil, ie.NewFARID(1), ie.NewURRID(1)))
	up(passes)
	for name, rules := range map[string][]*ie.IE{
		"update of a PDR that is not there": {ie.NewUpdatePDR(ie.NewPDRID(99), ie.NewPrecedence(1))},
		"update of a FAR that is not there": {ie.NewUpdateFAR(ie.NewFARID(1), ie.NewApplyAction(1)), ie.NewUpdateFAR(ie.NewFARID(99), ie.NewApplyAction(1))},
		"create of a PDR that is there":     {uplinkPDR(1, 1, teid, nil, dropping)},
		"removal of a FAR in use":           {ie.NewRemoveFAR(ie.NewFARID(1))},
	} {
		r := s.change(seid, rules...)
		require.Equal(t, pfcp.CauseRuleCreationFailure, causeOf(t, r.Cause), name)
		require.NotNil(t, r.FailedRuleID, name)
		up(passes)
	}

	// Of several QERs each gate must be open, in its direction.
	ok(ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(1_000_000, 1_000_000)), ie.NewCreateQER(ie.NewQERID(2), ie.NewGateStatus(1, 0)),
		ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewQERID(1), ie.NewQERID(2)), ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewQERID(1), ie.NewQERID(2)))
	up("gate_closed")
	down("downlink_forwarded", 7779)
	ok(ie.NewUpdateQER(ie.NewQERID(2), ie.NewGateStatus(0, 1)))
	up(passes)
	down("gate_closed", 7779)
}

// TestHeadersTowardsTheAccessSide looks at the outer headers of packets to the UE: a PDU Session Container with a QFI is there
// as long as a QER of the PDR has one, and the marking is that of the FAR.
func TestHeadersTowardsTheAccessSide(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	raw, err := s.gtpu.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) }))
	require.NoError(t, err)
	header := func() (tos byte, gtp []byte) {
		t.Helper()
		s.send(teid, 1)
		b, oob := make([]byte, 2048), make([]byte, 256)
		require.NoError(t, s.gtpu.SetReadDeadline(time.Now().Add(patience)))
		n, control, _, _, err := s.gtpu.ReadMsgUDPAddrPort(b, oob)
		require.NoError(t, err)
		messages, err := unix.ParseSocketControlMessage(oob[:control])
		require.NoError(t, err)
		return messages[0].Data[0], b[:n-packetOctets]
	}
	ok := func(rules ...*ie.IE) {
		t.Helper()
		s.accepted(s.change(seid, rules...).Cause)
	}
	plain := binary.BigEndian.AppendUint32([]byte{0x30, 0xff, 0, packetOctets}, remoteTEID)
	withQFI := func(qfi byte) []byte {
		b := binary.BigEndian.AppendUint32([]byte{0x34, 0xff, 0, packetOctets + 8}, remoteTEID)
		return append(b, 0, 0, 0, 0x85, 1, 0, qfi, 0) // TS 38.415 5.5.2.1
	}
	check := func(tos byte, want []byte) {
		t.Helper()
		gotTOS, got := header()
		require.Equal(t, tos, gotTOS)
		require.Equal(t, want, got)
	}
	check(0, plain)
	ok(ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewQFI(9)), ie.NewCreateQER(ie.NewQERID(2), ie.NewGateStatus(0, 0), ie.NewMBR(1_000_000, 1_000_000)),
		ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewQERID(1)), ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewQERID(2), ie.NewQERID(1)))
	check(0, withQFI(9))
	ok(ie.NewUpdateQER(ie.NewQERID(1), ie.NewQFI(63)),
		ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(ie.NewTransportLevelMarking(0xb8fc))))
	check(0xb8, withQFI(63))
	ok(ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewQERID(2)))
	check(0xb8, plain)
	ok(ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(ie.New(ie.TransportLevelMarking, nil))))
	check(0, plain)
}

package main

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/gtpu"
)

// since is what was counted more by each reason.
func (s *site) since(before map[string]float64) map[string]float64 {
	s.t.Helper()
	counts := map[string]float64{}
	for reason, packets := range s.reasonCounts() {
		if packets != before[reason] {
			counts[reason] = packets - before[reason]
		}
	}
	return counts
}

func (s *site) reasonCounts() map[string]float64 {
	s.t.Helper()
	rows, _ := s.rows("reason", "list")
	counts := map[string]float64{}
	for _, r := range rows {
		counts[r["reason"].(string)] = r["packets"].(float64)
	}
	delete(counts, "not_ipv4") // ARP and neighbour discovery of the kernels
	delete(counts, "not_ours")
	return counts
}

// TestGTPUOfAUEIsPayload has a UE send and receive what looks like GTP-U of the node itself, with a TEID that is in use: it goes
// where its outer addresses say, and never into a tunnel, also when it is sent to the slice.
func TestGTPUOfAUEIsPayload(t *testing.T) {
	s := newSite(t)
	s.in(s.core, func() { // which sends what comes for the slice back to the node, without telling the UE a shorter way
		route(t, sliceAddr.String()+"/32", "10.50.1.2")
		for _, port := range []string{"all", "core0p"} {
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+port+"/send_redirects", []byte("0"), 0))
		}
	})
	s.start()
	s.setup()
	_, teid := s.establish()
	s.warmUp(teid)
	server := netip.AddrPortFrom(serverAddr.Addr(), 2152)
	at := s.listen(s.core, server)
	ue := netip.AddrPortFrom(ueAddr, 2152)
	slice := netip.AddrPortFrom(sliceAddr, 2152)
	nested := packet(teid, 99) // taken for a G-PDU, it would come back as an echo
	forged, err := gtpu.ErrorIndication{TEID: remoteTEID, Peer: sgwAddr}.Encode()
	require.NoError(t, err)
	up := func(to netip.AddrPort, payload []byte) {
		t.Helper()
		_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, innerUDP(t, ue, to, payload)), slice)
		require.NoError(t, err)
	}
	counted := func(before, want map[string]float64) {
		t.Helper()
		require.Eventually(t, func() bool { return len(s.since(before)) >= len(want) }, patience, time.Millisecond)
		require.Equal(t, want, s.since(before))
	}
	b := make([]byte, 2048)
	for _, payload := range [][]byte{nested, forged} {
		before := s.reasonCounts()
		up(server, payload)
		require.NoError(t, at.SetReadDeadline(time.Now().Add(patience)))
		n, from, err := at.ReadFromUDPAddrPort(b)
		require.NoError(t, err)
		require.Equal(t, ue, from)
		require.Equal(t, payload, b[:n])
		counted(before, map[string]float64{"uplink_forwarded": 1})

		before = s.reasonCounts()
		_, err = at.WriteToUDPAddrPort(payload, ue)
		require.NoError(t, err)
		require.NoError(t, s.gtpu.SetReadDeadline(time.Now().Add(patience)))
		n, err = s.gtpu.Read(b)
		require.NoError(t, err)
		g := gopacket.NewPacket(b[:n], layers.LayerTypeGTPv1U, gopacket.NoCopy).Layer(layers.LayerTypeGTPv1U).(*layers.GTPv1U)
		require.EqualValues(t, remoteTEID, g.TEID)
		require.Equal(t, payload, g.LayerPayload()[28:])
		counted(before, map[string]float64{"downlink_forwarded": 1})

		before = s.reasonCounts()
		up(slice, payload)
		counted(before, map[string]float64{"uplink_forwarded": 1, "wrong_side": 1})
	}
	require.Zero(t, s.outcome("error_indication_received"))
	require.Zero(t, s.outcome("g_pdu"))
	_, echoed := s.receive(50 * time.Millisecond)
	require.False(t, echoed)
}

// TestRouterSolicitation has a UE solicit a router: the solicitation goes through a tunnel to the control plane, which answers
// with an advertisement through a tunnel of its own (TS 29.244 5.3, as Open5GS installs it), both octet by octet as they came.
// Whatever else the UE sends goes to its network.
func TestRouterSolicitation(t *testing.T) {
	const solicitTEID = 0xcc01
	s := newSite(t)
	beyond := newNamespace(t)
	s.link("access1", "10.20.12.2/24", beyond, "10.20.12.1/24")
	s.in(beyond, func() { route(t, sliceAddr.String()+"/32", "10.20.12.2") })
	smf := s.listen(beyond, netip.MustParseAddrPort("10.20.12.1:2152"))
	s.configure("{name: access0}", "{name: access0}, {name: access1}")
	s.start()
	s.setup()
	internet, prefix := ie.NewNetworkInstance("internet"), net.ParseIP("2001:db8:1:7::")
	choose := func() *ie.IE { return ie.NewFTEID(0x0d, 0, nil, nil, 5) } // CHOOSE, V4, CHOOSE ID 5
	ipv6 := func(flags uint8) *ie.IE { return ie.NewUEIPAddress(flags, "", prefix.String(), 0, 0) }
	tunnel := func(id uint16, to uint8, teid uint32, address string) *ie.IE {
		return ie.NewCreateFAR(ie.NewFARID(uint32(id)), ie.NewApplyAction(2), ie.NewForwardingParameters(
			ie.NewDestinationInterface(to), ie.NewOuterHeaderCreation(0x0100, teid, address, "", 0, 0, 0)))
	}
	removal := ie.NewOuterHeaderRemoval(6, 0)
	r := s.ask(message.NewSessionEstablishmentRequest(0, 0, 0, s.next(), 0,
		ie.NewNodeID("", "", "pgwc.example"), ie.NewFSEID(77, sgwAddr.AsSlice(), nil),
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(65535),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), internet, ipv6(5)), ie.NewFARID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(65535),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), choose(), internet, ipv6(1)), removal, ie.NewFARID(2)),
		ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(65535),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCPFunction), ie.NewFTEID(0x05, 0, nil, nil, 0)), removal, ie.NewFARID(1)),
		ie.NewCreatePDR(ie.NewPDRID(4), ie.NewPrecedence(255),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), choose(), internet,
				ie.NewSDFFilter("permit out 58 from ff02::2/128 to assigned", "", "", "", 0)), removal, ie.NewFARID(3)),
		tunnel(1, ie.DstInterfaceAccess, remoteTEID, sgwAddr.String()),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), internet)),
		tunnel(3, ie.DstInterfaceCPFunction, solicitTEID, "10.20.12.1"),
	)).(*message.SessionEstablishmentResponse)
	s.accepted(r.Cause)
	teids := map[uint16]uint32{}
	for _, created := range r.CreatedPDR {
		id, err := created.PDRID()
		require.NoError(t, err)
		fteid, err := created.FTEID()
		require.NoError(t, err)
		teids[id] = fteid.TEID
	}
	require.Equal(t, teids[2], teids[4], "one CHOOSE ID, one F-TEID")

	icmp := func(from, to string, kind uint8, body gopacket.SerializableLayer) []byte {
		ip := &layers.IPv6{
			Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to),
		}
		header := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
		require.NoError(t, header.SetNetworkLayerForChecksum(ip))
		b := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, header, body))
		return b.Bytes()
	}
	solicitation := icmp("fe80::7", "ff02::2", layers.ICMPv6TypeRouterSolicitation, &layers.ICMPv6RouterSolicitation{})
	advertisement := icmp("fe80::1", "fe80::7", layers.ICMPv6TypeRouterAdvertisement, &layers.ICMPv6RouterAdvertisement{
		HopLimit: 64, RouterLifetime: 65535, Options: layers.ICMPv6Options{{
			Type: layers.ICMPv6OptPrefixInfo,
			Data: append([]byte{64, 0x40, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0}, prefix...),
		}},
	})
	slice := netip.AddrPortFrom(sliceAddr, 2152)
	exchange := func(from, to *net.UDPConn, at, toTEID uint32, packet []byte) bool {
		_, err := from.WriteToUDPAddrPort(gpdu(at, packet), slice)
		require.NoError(t, err)
		b := make([]byte, 2048)
		require.NoError(t, to.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		n, sender, err := to.ReadFromUDPAddrPort(b)
		if err != nil {
			return false // a neighbour may not be known yet
		}
		require.Equal(t, slice, sender)
		require.Equal(t, gpdu(toTEID, packet), b[:n])
		return true
	}
	eventually := func(from, to *net.UDPConn, at, toTEID uint32, packet []byte) {
		t.Helper()
		for deadline := time.Now().Add(patience); !exchange(from, to, at, toTEID, packet); {
			require.True(t, time.Now().Before(deadline), "%v", s.reasonCounts())
		}
	}
	eventually(s.gtpu, smf, teids[4], solicitTEID, solicitation)
	eventually(smf, s.gtpu, teids[3], remoteTEID, advertisement)

	before := s.reasonCounts()
	for _, other := range [][]byte{
		icmp("2001:db8:1:7::7", "2001:db8:60::1", layers.ICMPv6TypeEchoRequest, &layers.ICMPv6Echo{Identifier: 1}),
		icmp("2001:db8:1:7::7", "ff02::1", layers.ICMPv6TypeEchoRequest, &layers.ICMPv6Echo{Identifier: 1}),
	} {
		require.False(t, exchange(s.gtpu, smf, teids[4], 0, other))
	}
	require.Equal(t, map[string]float64{"uplink_forwarded": 2}, s.since(before))
}

package main

import (
	"encoding/binary"
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

	"github.com/xepc/xepc/pkg/pfcp"
)

// TestPrefixesBehindUEs has a UE with a delegated /56 and routes of both families behind it (TS 29.244 5.14, 5.16), and others
// that claim parts of that; and a filter for a flow label.
func TestPrefixesBehindUEs(t *testing.T) {
	s := newSite(t)
	s.configure("gateway: 10.50.1.1}", `gateway: 10.50.1.1, gateway6: "2001:db8:50::1"}`)
	address6 := func(port, addr string) {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+port+"/accept_dad", []byte("0"), 0))
		address(t, port, addr)
	}
	s.in(s.pgwu, func() { address6("core0", "2001:db8:50::2/64") })
	s.in(s.core, func() {
		address6("core0p", "2001:db8:50::1/64")
		for _, prefix := range []string{"2001:db8:1:100::/56", "2001:db8:7000::/36"} {
			route(t, prefix, "2001:db8:50::2")
		}
		route(t, "192.168.0.0/16", "10.50.1.2")
	})
	server6 := netip.MustParseAddrPort("[2001:db8:50::1]:7777")
	var at *net.UDPConn
	s.in(s.core, func() {
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the kernel makes the address's route in the background
			var err error
			if at, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(server6)); err == nil {
				return
			}
			require.True(t, time.Now().Before(deadline), "%v", err)
		}
	})
	t.Cleanup(func() { _ = at.Close() })
	s.start()
	s.setup()
	establish := func(cpSEID uint64, teid uint32, v4, v6 string, bits uint8, routes ...*ie.IE) *message.SessionEstablishmentResponse {
		flags := uint8(0)
		if v4 != "" {
			flags |= 2
		}
		if v6 != "" {
			flags |= 1
		}
		if bits > 0 {
			flags |= 8
		}
		pdi := func(side uint8, more ...*ie.IE) *ie.IE {
			return ie.NewPDI(append(append([]*ie.IE{ie.NewSourceInterface(side), ie.NewUEIPAddress(flags, v4, v6, bits, 0)}, more...), routes...)...)
		}
		return s.ask(message.NewSessionEstablishmentRequest(0, 0, 0, s.next(), 0,
			ie.NewNodeID("", "", "pgwc.example"), ie.NewFSEID(cpSEID, sgwAddr.AsSlice(), nil),
			ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), pdi(ie.SrcInterfaceAccess, ie.NewFTEID(0x05, 0, nil, nil, 0)),
				ie.NewOuterHeaderRemoval(6, 0), ie.NewFARID(1)),
			ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), pdi(ie.SrcInterfaceCore, ie.NewNetworkInstance("internet")), ie.NewFARID(2)),
			ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance("internet"))),
			ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
				ie.NewOuterHeaderCreation(0x0100, teid, sgwAddr.String(), "", 0, 0, 0))),
		)).(*message.SessionEstablishmentResponse)
	}
	made := func(r *message.SessionEstablishmentResponse) (seid uint64, teid uint32) {
		t.Helper()
		s.accepted(r.Cause)
		fseid, err := r.UPFSEID.FSEID()
		require.NoError(t, err)
		fteid, err := r.CreatedPDR[0].FTEID()
		require.NoError(t, err)
		return fseid.SEID, fteid.TEID
	}
	// reaches sends from an address behind the UE to the server and back, and returns the tunnel that the answer came in.
	number, label := uint32(0), uint32(0)
	reaches := func(teid uint32, from string) (back uint32, ok bool) {
		t.Helper()
		number++
		payload := binary.BigEndian.AppendUint32(nil, number)
		ue := netip.AddrPortFrom(netip.MustParseAddr(from), 4000)
		var inner []byte
		if ue.Addr().Is4() {
			inner = innerUDP(t, ue, serverAddr, payload)
		} else {
			ip := &layers.IPv6{Version: 6, FlowLabel: label, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: ue.Addr().AsSlice(), DstIP: server6.Addr().AsSlice()}
			udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(server6.Port())}
			require.NoError(t, udp.SetNetworkLayerForChecksum(ip))
			b := gopacket.NewSerializeBuffer()
			require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload)))
			inner = b.Bytes()
		}
		_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, inner), netip.AddrPortFrom(sliceAddr, 2152))
		require.NoError(t, err)
		b := make([]byte, 2048)
		if ue.Addr().Is6() {
			require.NoError(t, at.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
			for got := uint32(0); got != number; {
				n, to, err := at.ReadFromUDPAddrPort(b)
				if err != nil {
					return 0, false
				}
				got = binary.BigEndian.Uint32(b[n-4:])
				_, err = at.WriteToUDPAddrPort(b[:n], to)
				require.NoError(t, err)
			}
		}
		require.NoError(t, s.gtpu.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		for {
			n, err := s.gtpu.Read(b)
			if err != nil {
				return 0, false
			}
			if b[1] == 0xff && binary.BigEndian.Uint32(b[n-4:]) == number { // an answer may be late
				return binary.BigEndian.Uint32(b[4:]), true
			}
		}
	}
	eventually := func(teid, want uint32, from string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			got, ok := reaches(teid, from)
			if ok {
				require.Equal(t, want, got, from)
				return
			}
			require.True(t, time.Now().Before(deadline), "%s: %v", from, s.reasonCounts())
		}
	}
	never := func(teid uint32, from string) {
		t.Helper()
		before := s.reasonCounts()
		_, ok := reaches(teid, from)
		require.False(t, ok, from)
		require.EqualValues(t, 1, s.since(before)["source_mismatch"]+s.since(before)["no_rule"], "%s: %v", from, s.since(before))
	}
	lan4, lan6 := ie.NewFramedRoute("192.168.7.0/24 0.0.0.0 1"), ie.NewFramedIPv6Route("2001:db8:7000::/48 :: 1")
	seid, teid := made(establish(1, 0x1001, "172.16.1.7", "2001:db8:1:100::", 8, lan4, lan6))
	for _, from := range []string{"172.16.1.7", "192.168.7.9", "2001:db8:1:100::7", "2001:db8:1:1ff::7", "2001:db8:7000:1::1"} {
		eventually(teid, 0x1001, from)
	}
	for _, from := range []string{"172.16.1.8", "192.168.8.9", "2001:db8:1:200::7", "2001:db8:1::7", "2001:db8:7001::1"} {
		never(teid, from)
	}

	// What another UE has already is nobody else's; what is longer takes its part, as routes do.
	for name, r := range map[string]*message.SessionEstablishmentResponse{
		"the same /56":      establish(2, 0x1002, "", "2001:db8:1:100::", 8),
		"the same route":    establish(3, 0x1003, "172.16.1.8", "", 0, lan4),
		"the same route, 6": establish(4, 0x1004, "", "2001:db8:1:200::", 0, lan6),
	} {
		require.Equal(t, pfcp.CauseRuleCreationFailure, causeOf(t, r.Cause), name)
	}
	eventually(teid, 0x1001, "192.168.7.9")
	other, otherTEID := made(establish(5, 0x1005, "172.16.1.8", "", 0, ie.NewFramedRoute("192.168.7.128/25"), ie.NewFramedRoute("192.168.0.0/16"), lan6))
	never(otherTEID, "2001:db8:7000:1::1") // it has no IPv6
	eventually(otherTEID, 0x1005, "192.168.7.200")
	eventually(otherTEID, 0x1005, "192.168.99.1")
	eventually(teid, 0x1001, "192.168.7.9")
	s.accepted(s.ask(message.NewSessionDeletionRequest(0, 0, other, s.next(), 0)).(*message.SessionDeletionResponse).Cause)
	eventually(teid, 0x1001, "192.168.7.200")

	// The prefix is given back, and another has it.
	s.accepted(s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse).Cause)
	seid, teid = made(establish(6, 0x1006, "", "2001:db8:1:1ab::", 0))
	eventually(teid, 0x1006, "2001:db8:1:1ab::9")
	never(teid, "2001:db8:1:1ac::9")

	// A flow of it, by its label, is dropped.
	s.accepted(s.change(seid, ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(10), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess),
		ie.NewFTEID(0x01, teid, sliceAddr.AsSlice(), nil, 0), ie.NewSDFFilter("permit out ip from any to assigned", "", "", "\x01\x23\x45", 0)),
		ie.NewOuterHeaderRemoval(6, 0), ie.NewFARID(3)), ie.NewCreateFAR(ie.NewFARID(3), ie.NewApplyAction(1))).Cause)
	label = 0x12345
	before := s.reasonCounts()
	_, ok := reaches(teid, "2001:db8:1:1ab::9")
	require.False(t, ok)
	require.EqualValues(t, 1, s.since(before)["far_drop"])
	label = 0x12344
	eventually(teid, 0x1006, "2001:db8:1:1ab::9")
}

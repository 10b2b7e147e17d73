package main

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// onItsLastHop is a packet of a UE that the node may not forward.
func onItsLastHop(t *testing.T, ue, to netip.Addr) []byte {
	t.Helper()
	udp, b := &layers.UDP{SrcPort: 4000, DstPort: 33434}, gopacket.NewSerializeBuffer()
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolUDP, SrcIP: ue.AsSlice(), DstIP: to.AsSlice()}
	if ue.Is4() {
		ip = &layers.IPv4{Version: 4, IHL: 5, TTL: 1, Protocol: layers.IPProtocolUDP, SrcIP: ue.AsSlice(), DstIP: to.AsSlice()}
	}
	require.NoError(t, udp.SetNetworkLayerForChecksum(ip))
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload("filler")))
	return b.Bytes()
}

// exceededFrom is whom a "time exceeded" is from; the zero address if the packet is none.
func exceededFrom(packet []byte) (from netip.Addr) {
	if len(packet) >= 28 && packet[0]>>4 == 4 && packet[9] == 1 && packet[20] == layers.ICMPv4TypeTimeExceeded {
		from = netip.AddrFrom4([4]byte(packet[12:16]))
	}
	if len(packet) >= 48 && packet[0]>>4 == 6 && packet[6] == 58 && packet[40] == layers.ICMPv6TypeTimeExceeded {
		from = netip.AddrFrom16([16]byte(packet[8:24]))
	}
	return from
}

// TestTheNodesAddressesChange gives the ports of a node that runs other addresses, of both families: its tunnels over both go
// on by the new ways, and a UE hears of "time exceeded" from an address that the node has.
func TestTheNodesAddressesChange(t *testing.T) {
	s := newSite(t)
	s.also6()
	s.link("access1", "10.20.21.2/24", s.sgw, "10.20.21.1/24") // towards the UE: a veth does not take back what it has brought
	s.configure("{name: access0}", "{name: access0}, {name: access1}")
	s.configure("gateway: 10.50.1.1}", `gateway: 10.50.1.1, gateway6: "2001:db8:50::1"}`)
	give := func(ns netns.NsHandle, port, addr string) {
		s.in(ns, func() {
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+port+"/accept_dad", []byte("0"), 0))
			address(t, port, addr)
		})
	}
	take := func(port, addr string) {
		s.in(s.pgwu, func() {
			l, err := netlink.LinkByName(port)
			require.NoError(t, err)
			a, err := netlink.ParseAddr(addr)
			require.NoError(t, err)
			require.NoError(t, netlink.AddrDel(l, a))
		})
	}
	give(s.pgwu, "core0", "2001:db8:50::2/64")
	give(s.core, "core0p", "2001:db8:50::1/64")
	give(s.pgwu, "access1", "2001:db8:21::2/64")
	give(s.sgw, "access1p", "2001:db8:21::1/64")
	peer := netip.MustParseAddr("10.20.21.1")
	conn := s.listen(s.sgw, netip.AddrPortFrom(peer, 2152))
	s.start()
	s.setup()
	ue := ie.NewUEIPAddress(3, ueAddr.String(), "2001:db8:1:1::", 0, 0)
	r := s.ask(message.NewSessionEstablishmentRequest(0, 0, 0, s.next(), 0,
		ie.NewNodeID("", "", "pgwc.example"), ie.NewFSEID(1, sgwAddr.AsSlice(), nil),
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess),
			ie.NewFTEID(0x07, 0, nil, nil, 0), ue), ie.NewOuterHeaderRemoval(6, 0), ie.NewFARID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
			ie.NewNetworkInstance("internet"), ue), ie.NewFARID(2)),
		ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(forward), ie.NewForwardingParameters(
			ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance("internet"))),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(forward), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
			ie.NewOuterHeaderCreation(0x0100, remoteTEID, peer.String(), "", 0, 0, 0))),
	)).(*message.SessionEstablishmentResponse)
	s.accepted(r.Cause)
	fteid, err := r.CreatedPDR[0].FTEID()
	require.NoError(t, err)
	fseid, err := r.UPFSEID.FSEID()
	require.NoError(t, err)

	// exceeded has packets of both families expire until the UE is told from these addresses.
	exceeded := func(from4, from6 string) {
		t.Helper()
		for _, row := range []struct{ ue, to, from netip.Addr }{
			{ueAddr, serverAddr.Addr(), netip.MustParseAddr(from4)},
			{netip.MustParseAddr("2001:db8:1:1::7"), netip.MustParseAddr("2001:db8:50::1"), netip.MustParseAddr(from6)},
		} {
			b := make([]byte, 2048)
			for got, deadline := (netip.Addr{}), time.Now().Add(patience); got != row.from; {
				require.True(t, time.Now().Before(deadline), "%v, from %v last: %v", row.from, got, s.reasonCounts())
				_, err := s.gtpu.WriteToUDPAddrPort(gpdu(fteid.TEID, onItsLastHop(t, row.ue, row.to)), netip.AddrPortFrom(sliceAddr, 2152))
				require.NoError(t, err)
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
				if n, err := conn.Read(b); err == nil {
					got = exceededFrom(b[8:n])
				}
			}
		}
	}
	exceeded("10.50.1.2", "2001:db8:50::2")
	take("core0", "10.50.1.2/24")
	take("core0", "2001:db8:50::2/64")
	give(s.pgwu, "core0", "10.50.1.9/24")
	give(s.pgwu, "core0", "2001:db8:50::9/64")
	exceeded("10.50.1.9", "2001:db8:50::9")

	// renumber moves the network between the node and the SGW, whose own address stays behind a router.
	quiet := func() {
		b := make([]byte, 2048)
		for {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}
	renumber := func(old, now, router, remote string) {
		take("access1", old)
		give(s.sgw, "access1p", router+now[len(now)-3:])
		give(s.pgwu, "access1", now)
		s.in(s.pgwu, func() { route(t, remote, router) })
		quiet()
		exceeded("10.50.1.9", "2001:db8:50::9")
	}
	renumber("10.20.21.2/24", "10.20.22.2/24", "10.20.22.1", peer.String()+"/32")
	conn = s.listen6(netip.MustParseAddrPort("[2001:db8:21::1]:2152"))
	s.accepted(s.change(fseid.SEID, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(
		ie.NewOuterHeaderCreation(0x0200, remoteTEID, "", "2001:db8:21::1", 0, 0, 0)))).Cause)
	exceeded("10.50.1.9", "2001:db8:50::9")
	renumber("2001:db8:21::2/64", "2001:db8:22::2/64", "2001:db8:22::1", "2001:db8:21::1/128")
}

package datapath

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

var (
	ue7     = netip.MustParsePrefix("2001:db8:1:7::/64")
	ue7Host = netip.MustParseAddr("2001:db8:1:7::77")
)

// tooBig is the ICMP message about a packet for which there are mtu octets: RFC 1191 4, RFC 4443 3.2.
func tooBig(t testing.TB, local netip.Addr, packet []byte, mtu int) []byte {
	if packet[0]>>4 == 6 {
		return icmpError(t, local, packet, 2, 0, max(mtu, 1280))
	}
	return icmpError(t, local, packet, 3, 4, mtu)
}

// expired is the one about a packet without a hop left: RFC 792, RFC 4443 3.3.
func expired(t testing.TB, local netip.Addr, packet []byte) []byte {
	if packet[0]>>4 == 6 {
		return icmpError(t, local, packet, 3, 0, 0)
	}
	return icmpError(t, local, packet, 11, 0, 0)
}

// icmpError quotes as much of the packet as there is room for: RFC 1812 4.3.2.3, RFC 4443 2.4 c.
func icmpError(t testing.TB, local netip.Addr, packet []byte, typ, code uint8, mtu int) []byte {
	if packet[0]>>4 == 6 {
		ip := ipv6(local, netip.AddrFrom16([16]byte(packet[8:])), layers.IPProtocolICMPv6)
		ip.TrafficClass, ip.FlowLabel = 0, 0
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
		_ = icmp.SetNetworkLayerForChecksum(ip)
		quote := slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(mtu)), packet[:min(len(packet), 1280-48)])
		return serialize(t, ip, icmp, gopacket.Payload(quote))
	}
	ip := ipv4(local, netip.AddrFrom4([4]byte(packet[12:])), layers.IPProtocolICMPv4)
	ip.Id, ip.Flags = 0, layers.IPv4DontFragment
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Seq: uint16(mtu)}
	return serialize(t, ip, icmp, gopacket.Payload(packet[:min(len(packet), 576-28)]))
}

// large is a packet of that many octets that must not be fragmented.
func large(t testing.TB, from, to netip.Addr, octets int, change ...func(*layers.IPv4)) []byte {
	if from.Is6() {
		return serialize(t, ipv6(from, to, layers.IPProtocolTCP), pattern(octets-40))
	}
	ip := ipv4(from, to, layers.IPProtocolTCP)
	ip.Flags = layers.IPv4DontFragment
	for _, f := range change {
		f(ip)
	}
	return serialize(t, ip, pattern(octets-20))
}

// tooBigEntries are sessions whose packets do not fit.
func tooBigEntries() []session.Entry {
	return []session.Entry{
		uplinkOf(60), downlinkOf(60), // both ways over IPv4
		with(uplinkOf(61), func(e *session.Entry) { e.Sources = []netip.Prefix{session.UE(ue(61)), ue7} }),
		with(downlinkOf(61), over6), with(downlinkOf(61), func(e *session.Entry) { over6(e); e.Key.UE = ue7 }),
		uplinkOf(62), // of which nothing leads back
		uplinkOf(63), with(downlinkOf(63), func(e *session.Entry) { e.GateClosed = true }),
		uplinkOf(64), with(downlinkOf(64), func(e *session.Entry) { // ICMP has a bearer of its own
			icmp := e.Rule
			icmp.Filters, icmp.RemoteTEID = []session.Filter{{Protocol: pfcp.Some(uint8(1))}}, 0x6464
			e.Rule, e.More = icmp, []session.Rule{e.Rule}
		}),
	}
}

func tooBigRows(t testing.TB) []packetRow {
	over := accessMTU + 1
	six := func(next layers.IPProtocol, from netip.Addr, payload ...byte) []byte {
		return serialize(t, ipv6(from, ue7Host, next), gopacket.Payload(append(payload, make([]byte, accessMTU-56-40+1)...)))
	}
	toUE7 := func(name string, packet []byte, told bool) packetRow {
		row := packetRow{name: name, port: "core0", frame: plain6(t, coreGW6, coreMAC, packet), reason: "too_big", verdict: xdpDrop}
		if told {
			row.reason, row.verdict = "too_big_answered", xdpTx
			row.out = plain6(t, coreMAC, coreGW6, tooBig(t, nodeCore6, packet, accessMTU-56))
		}
		return row
	}
	return []packetRow{
		toUE7("an IPv6 packet that does not fit behind an outer IPv6 header: the sender is told", large(t, server6, ue7Host, accessMTU-56+1), true),
		toUE7("ICMPv6 Echo that does not fit", six(layers.IPProtocolICMPv6, server6, 128), true),
		toUE7("no ICMPv6 error about an ICMPv6 error", six(layers.IPProtocolICMPv6, server6, 1), false),
		toUE7("no ICMPv6 error about a redirect", six(layers.IPProtocolICMPv6, server6, 137), false),
		toUE7("an ICMPv6 error behind destination options", six(layers.IPProtocolIPv6Destination, server6, 58, 0, 1, 4, 0, 0, 0, 0, 3), false),
		toUE7("UDP behind destination options", six(layers.IPProtocolIPv6Destination, server6, 17, 0, 1, 4, 0, 0, 0, 0, 3), true),
		toUE7("a later fragment of ICMPv6", six(layers.IPProtocolIPv6Fragment, server6, 58, 0, 1, 0, 0, 0, 0, 0, 128), false),
		toUE7("a later fragment of UDP", six(layers.IPProtocolIPv6Fragment, server6, 17, 0, 1, 0, 0, 0, 0, 0), true),
		toUE7("the first fragment of an ICMPv6 Echo", six(layers.IPProtocolIPv6Fragment, server6, 58, 0, 0, 1, 0, 0, 0, 0, 128), true),
		toUE7("extension headers without end", six(layers.IPProtocolIPv6Destination, server6), false),
		toUE7("from a multicast address", six(layers.IPProtocolUDP, netip.MustParseAddr("ff0e::1")), false),
		toUE7("from a link-local address", six(layers.IPProtocolUDP, netip.MustParseAddr("fe80::1")), false),
		toUE7("from no address", six(layers.IPProtocolUDP, netip.IPv6Unspecified()), false),
		{
			name: "an IPv4 packet that does not fit behind an outer IPv6 header: the sender is told", port: "core0",
			frame:  plain(t, coreGW, coreMAC, large(t, server, ue(61), accessMTU-56+1)),
			reason: "too_big_answered", verdict: xdpTx,
			out: plain(t, coreMAC, coreGW, tooBig(t, nodeCore, large(t, server, ue(61), accessMTU-56+1), accessMTU-56)),
		},
		{
			name: "padding is not quoted", port: "core0",
			frame:  append(plain(t, coreGW, coreMAC, large(t, server, ue(60), accessMTU-36+1)), 1, 2, 3),
			reason: "too_big_answered", verdict: xdpTx,
			out: plain(t, coreMAC, coreGW, tooBig(t, nodeCore, large(t, server, ue(60), accessMTU-36+1), accessMTU-36)),
		},
		{
			name: "a packet that does not fit the link to the network: the UE is told", port: "access0",
			frame: tunnel(t, slice1, teid(60), large(t, ue(60), server, over)), reason: "too_big_told_ue", verdict: xdpTx,
			out: encapsulated(t, sgw, remoteTEID(60), 0, tooBig(t, nodeCore, large(t, ue(60), server, over), accessMTU)),
		},
		{
			name: "it may be fragmented: the slow path sends it in fragments", port: "access0",
			frame:  tunnel(t, slice1, teid(60), large(t, ue(60), server, over, func(ip *layers.IPv4) { ip.Flags = 0 })),
			reason: "fragmented", verdict: xdpDrop,
			out: plain(t, accessGW, accessMAC, tunnel(t, slice1, teid(60), large(t, ue(60), server, over, func(ip *layers.IPv4) { ip.Flags, ip.TTL = 0, 63 }))[14:]),
			after: func(w *world) {
				all := w.handed()
				e := all[len(all)-1]
				require.Equal(t, EventRouted, e.Kind)
				require.Equal(t, Exit{
					Device: w.ifindex["core0"], Header: slices.Concat([]byte(coreGW), []byte(coreMAC), []byte{8, 0}), MTU: accessMTU,
				}, e.Exit)
				require.Equal(t, spacedHex(large(t, ue(60), server, over, func(ip *layers.IPv4) { ip.Flags, ip.TTL = 0, 63 })), spacedHex(e.Packet))
			},
		},
		{
			name: "more than the slow path takes of it", port: "access0",
			frame:  tunnel(t, slice1, teid(60), large(t, ue(60), server, 2049, func(ip *layers.IPv4) { ip.Flags = 0 })),
			reason: "too_big", verdict: xdpDrop,
		},
		{
			name: "the UE is told through a tunnel over IPv6", port: "access0",
			frame: tunnel6(t, slice1v6, teid(61), large(t, ue(61), server, over)), reason: "too_big_told_ue", verdict: xdpTx,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(61), tooBig(t, nodeCore, large(t, ue(61), server, over), accessMTU)),
		},
		{
			name: "a UE is told of IPv6 that does not fit", port: "access0",
			frame: tunnel6(t, slice1v6, teid(61), large(t, ue7Host, server6, over)), reason: "too_big_told_ue", verdict: xdpTx,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(61), tooBig(t, nodeCore6, large(t, ue7Host, server6, over), accessMTU)),
		},
		{
			name: "the UE is told by the bearer that takes ICMP", port: "access0",
			frame: tunnel(t, slice1, teid(64), large(t, ue(64), server, over)), reason: "too_big_told_ue", verdict: xdpTx,
			out: encapsulated(t, sgw, 0x6464, 0, tooBig(t, nodeCore, large(t, ue(64), server, over), accessMTU)),
		},
		{
			name: "behind a tunnel's header with long extensions the UE is told", port: "access0",
			frame:  tunnel(t, slice1, teid(60), large(t, ue(60), server, over), longExtensions(t, 45)),
			reason: "too_big_told_ue", verdict: xdpTx,
			out: encapsulated(t, sgw, remoteTEID(60), 0, tooBig(t, nodeCore, large(t, ue(60), server, over), accessMTU)),
		},
		{
			name: "behind one that is longer still it is not", port: "access0",
			frame:  tunnel(t, slice1, teid(60), large(t, ue(60), server, over), longExtensions(t, 70)),
			reason: "too_big", verdict: xdpDrop,
		},
		{
			name: "a UE to which nothing leads back is not told", port: "access0",
			frame: tunnel(t, slice1, teid(62), large(t, ue(62), server, over)), reason: "too_big", verdict: xdpDrop,
		},
		{
			name: "as many as this node may tell in a second have been told", port: "core0",
			before: func(w *world) { w.reopen(func(c *Config) { c.ICMPRate = 0 }) },
			after:  func(w *world) { w.reopen(func(c *Config) { c.ICMPRate = 1_000_000 }) },
			frame:  plain(t, coreGW, coreMAC, large(t, server, ue(60), accessMTU-36+1)), reason: "too_big_limited", verdict: xdpDrop,
		},
	}
}

// ttlRows are packets without a hop left. They need tooBigEntries.
func ttlRows(t testing.TB) []packetRow {
	last := func(from, to netip.Addr, octets int) []byte {
		packet := large(t, from, to, octets, func(ip *layers.IPv4) { ip.TTL, ip.Flags = 1, 0 })
		if from.Is6() {
			packet[7] = 1
		}
		return packet
	}
	ping := func(from, to netip.Addr, typ uint8) []byte {
		ip := ipv4(from, to, layers.IPProtocolICMPv4)
		ip.TTL = 1
		return serialize(t, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0)}, pattern(31))
	}
	answered := func(name string, packet []byte) packetRow {
		frame, local := plain, nodeCore
		if packet[0]>>4 == 6 {
			frame, local = plain6, nodeCore6
		}
		return packetRow{
			name: name, port: "core0", frame: append(frame(t, coreGW, coreMAC, packet), 1, 2, 3), reason: "ttl_expired_answered", verdict: xdpTx,
			out: frame(t, coreMAC, coreGW, expired(t, local, packet)),
		}
	}
	return []packetRow{
		answered("the last hop of a packet to a UE: its sender is told, and gets it back whole", last(server, ue(60), 61)),
		answered("the last hop of a large one: as much of it as there is room for", last(server, ue(60), 1400)),
		answered("the last hop of one that the message just has room for", last(server, ue(60), 576-28)),
		answered("the last hop of an Echo", ping(server, ue(60), 8)),
		answered("the last hop of an IPv6 packet to a UE", last(server6, ue7Host, 61)),
		answered("the last hop of an IPv6 packet that is larger than the message", last(server6, ue7Host, 1400)),
		{
			name: "the last hop of an ICMP error: nobody is told", port: "core0",
			frame: plain(t, coreGW, coreMAC, ping(server, ue(60), 11)), reason: "ttl_expired", verdict: xdpDrop,
		},
		{
			name: "the last hop of a later fragment: nobody is told", port: "core0",
			frame:  plain(t, coreGW, coreMAC, large(t, server, ue(60), 100, func(ip *layers.IPv4) { ip.TTL, ip.Flags, ip.FragOffset = 1, 0, 9 })),
			reason: "ttl_expired", verdict: xdpDrop,
		},
		{
			name: "the last hop of a UE's packet: it is told", port: "access0",
			frame: tunnel(t, slice1, teid(60), last(ue(60), server, 61)), reason: "ttl_expired_told_ue", verdict: xdpTx,
			out: encapsulated(t, sgw, remoteTEID(60), 0, expired(t, nodeCore, last(ue(60), server, 61))),
		},
		{
			name: "the last hop of a UE's large packet, in a tunnel over IPv6", port: "access0",
			frame: tunnel6(t, slice1v6, teid(61), last(ue(61), server, 1400)), reason: "ttl_expired_told_ue", verdict: xdpTx,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(61), expired(t, nodeCore, last(ue(61), server, 1400))),
		},
		{
			name: "the last hop of a UE's IPv6 packet", port: "access0",
			frame: tunnel6(t, slice1v6, teid(61), last(ue7Host, server6, 73)), reason: "ttl_expired_told_ue", verdict: xdpTx,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(61), expired(t, nodeCore6, last(ue7Host, server6, 73))),
		},
		{
			name: "the last hop of a packet of a UE to which nothing leads back", port: "access0",
			frame: tunnel(t, slice1, teid(62), last(ue(62), server, 61)), reason: "ttl_expired", verdict: xdpDrop,
		},
		{
			name: "the last hop, when as many as this node may tell in a second have been told", port: "core0",
			before: func(w *world) { w.reopen(func(c *Config) { c.ICMPRate = 0 }) },
			after:  func(w *world) { w.reopen(func(c *Config) { c.ICMPRate = 1_000_000 }) },
			frame:  plain(t, coreGW, coreMAC, last(server, ue(60), 61)), reason: "ttl_expired_limited", verdict: xdpDrop,
		},
	}
}

// longExtensions puts an extension header of so many words of four octets into a GTP-U header.
func longExtensions(_ testing.TB, words int) func(*layers.IPv4, *layers.GTPv1U) {
	return func(_ *layers.IPv4, g *layers.GTPv1U) {
		g.ExtensionHeaderFlag = true
		g.GTPExtensionHeaders = []layers.GTPExtensionHeader{{Type: 0x40, Content: make([]byte, 4*words-2)}}
	}
}

func (w *world) reopen(change func(*Config)) {
	w.t.Helper()
	w.enter()
	require.NoError(w.t, w.d.Close())
	change(&w.cfg)
	w.open()
}

// Nothing of a message to a UE is charged to it, and a closed gate holds it back.
func TestTellingAUEIsFree(t *testing.T) {
	w := newWorld(t)
	w.apply(tooBigEntries()...)
	keys := []session.Key{uplinkOf(60).Key, downlinkOf(60).Key}
	verdict, _ := w.run("access0", tunnel(t, slice1, teid(60), large(t, ue(60), server, accessMTU+1)), 0)
	require.EqualValues(t, xdpTx, verdict)
	usage, err := w.d.Usage(keys)
	require.NoError(t, err)
	require.Equal(t, []session.Usage{{}, {}}, usage)

	before := w.reasons()
	verdict, _ = w.run("access0", tunnel(t, slice1, teid(63), large(t, ue(63), server, accessMTU+1)), 0)
	require.EqualValues(t, xdpDrop, verdict)
	require.Equal(t, map[string]uint64{"too_big": 1}, difference(before, w.reasons()))
}

// From UE to UE, what counts is the tunnel of the other, and the first is told through its own.
func TestTooBigFromUEToUE(t *testing.T) {
	w := newWorld(t)
	w.reopen(func(c *Config) { c.Instances[0].UEToUE = true })
	w.apply(tooBigEntries()...)
	packet := large(t, ue(60), ue(61), accessMTU-56+1)
	verdict, out := w.run("access0", tunnel(t, slice1, teid(60), packet), 0)
	require.EqualValues(t, xdpTx, verdict)
	require.Equal(t, spacedHex(encapsulated(t, sgw, remoteTEID(60), 0, tooBig(t, nodeCore, packet, accessMTU-56))), spacedHex(out))
}

// No more than the rate, and as many at once, are told; the rest is counted apart.
func TestTellingIsLimited(t *testing.T) {
	w := newWorld(t)
	w.reopen(func(c *Config) { c.ICMPRate = 5 })
	w.apply(downlinkOf(60))
	frame := plain(t, coreGW, coreMAC, large(t, server, ue(60), accessMTU-36+1))
	before := w.reasons()
	const sent = 2000
	for range sent {
		w.run("core0", frame, 0)
	}
	counts := difference(before, w.reasons())
	require.EqualValues(t, sent, counts["too_big_answered"]+counts["too_big_limited"])
	require.GreaterOrEqual(t, counts["too_big_answered"], uint64(5))
	require.NotZero(t, counts["too_big_limited"])
}

// TestTooBigOnAVLAN: the answer has the tag that the packet had.
func TestTooBigOnAVLAN(t *testing.T) {
	w := newWorld(t)
	w.apply(tooBigEntries()...)
	require.NoError(t, w.d.tables.ports.insert(portKey(w.ifindex["core0"], 100), w.d.tables.numbers["internet"], uint32(SideCore), membarrier))
	for _, packet := range [][]byte{large(t, server, ue(61), accessMTU-56+1), large(t, server6, ue7Host, accessMTU-56+1)} {
		frame, local := plain, nodeCore
		if packet[0]>>4 == 6 {
			frame, local = plain6, nodeCore6
		}
		verdict, out := w.run("core0", tagWith(frame(t, coreGW, coreMAC, packet), 100), 0)
		require.EqualValues(t, xdpTx, verdict)
		require.Equal(t, spacedHex(tagWith(frame(t, coreMAC, coreGW, tooBig(t, local, packet, accessMTU-56)), 100)), spacedHex(out))
	}
}

// A link so small that IPv6 is told the least that it may be.
func TestTooBigNeverSaysLessThanIPv6Needs(t *testing.T) {
	w := newWorld(t)
	w.apply(tooBigEntries()...)
	index := w.d.peerHop(w.d.peerIndex[peerKey{slice1v6, sgw6, 0, noQFI}])
	next := &w.d.tables.nextHops.slots[index]
	hop := next.Hops[next.Active&1]
	for _, mtu := range []uint16{1300, 30} {
		hop.Mtu = mtu
		require.NoError(t, w.d.hops.store(index, hop))
		packet := large(t, server6, ue7Host, 1281)
		before := w.reasons()
		verdict, out := w.run("core0", plain6(t, coreGW6, coreMAC, packet), 0)
		if mtu == 1300 {
			require.EqualValues(t, xdpTx, verdict)
			require.Equal(t, spacedHex(plain6(t, coreMAC, coreGW6, tooBig(t, nodeCore6, packet, 1280))), spacedHex(out))
		} else {
			require.Equal(t, map[string]uint64{"too_big": 1}, difference(before, w.reasons()))
		}
		before = w.reasons()
		w.run("core0", plain6(t, coreGW6, coreMAC, large(t, server6, ue7Host, 1280)), 0)
		require.Equal(t, map[string]uint64{"too_big": 1}, difference(before, w.reasons()), "it cannot become smaller")
	}
}

// TestMessagesComeFromTheAddressOfNow has a core port's addresses change: what the node tells a UE comes from the first that is
// there.
func TestMessagesComeFromTheAddressOfNow(t *testing.T) {
	w := newWorld(t)
	w.apply(tooBigEntries()...)
	core, err := netlink.LinkByName("core0")
	require.NoError(t, err)
	packet := large(t, ue(60), server, accessMTU+1)
	change := func(change func(netlink.Link, *netlink.Addr) error, address string) {
		t.Helper()
		a, err := netlink.ParseAddr(address)
		require.NoError(t, err)
		require.NoError(t, change(core, a))
		require.NoError(t, w.d.Resolve())
	}
	told := func(from netip.Addr) {
		t.Helper()
		verdict, out := w.run("access0", tunnel(t, slice1, teid(60), packet), 0)
		require.EqualValues(t, xdpTx, verdict)
		require.Equal(t, spacedHex(encapsulated(t, sgw, remoteTEID(60), 0, tooBig(t, from, packet, accessMTU))), spacedHex(out))
	}
	told(nodeCore)
	change(netlink.AddrAdd, "10.50.7.2/24")
	told(nodeCore)
	change(netlink.AddrDel, "10.50.1.2/24")
	change(netlink.AddrAdd, "10.50.1.9/24") // the gateway's network again
	told(netip.MustParseAddr("10.50.7.2"))
	change(netlink.AddrDel, "10.50.7.2/24")
	told(netip.MustParseAddr("10.50.1.9"))
}

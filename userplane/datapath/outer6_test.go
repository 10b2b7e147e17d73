package datapath

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// outer6Entries are sessions whose tunnels are over IPv6. Uplink entries of slice1 are reached by both its addresses.
func outer6Entries() []session.Entry {
	return []session.Entry{
		with(uplinkOf(50), func(e *session.Entry) { e.Key.Local = slice3 }),
		with(downlinkOf(50), over6), with(downlinkOf(51), over6),
		with(downlinkOf(52), func(e *session.Entry) { over6(e); e.QFI = pfcp.Some(uint8(9)) }),
		with(downlinkOf(53), func(e *session.Entry) { over6(e); e.Local = slice3; e.Marking = pfcp.Some(uint16(0xb8fc)) }),
		with(downlinkOf(54), func(e *session.Entry) { over6(e); e.Key.UE = other6 }),
		with(uplinkOf(55), func(e *session.Entry) {
			e.Instance, e.Sources = "corp", []netip.Prefix{session.UE(ue(55)), ue6}
		}),
	}
}

// over6 is a tunnel over IPv6.
func over6(e *session.Entry) { e.Local, e.Remote = slice1v6, sgw6 }

// sameHash is another address whose key in the directory is that of a.
func sameHash(a netip.Addr) netip.Addr {
	octets := a.As16()
	low := binary.BigEndian.Uint64(octets[8:])
	binary.BigEndian.PutUint64(octets[8:], low+1)
	binary.BigEndian.PutUint64(octets[:], binary.BigEndian.Uint64(octets[:])^low*31^(low+1)*31)
	return netip.AddrFrom16(octets)
}

const atUDP6 = 14 + 40 // of a frame over IPv6

func outer6Rows(t testing.TB) []packetRow {
	up := func(n, payload int) []byte { return inner(t, ue(n), server, 64, payload) }
	sent := func(n, payload int) []byte { return plain(t, coreMAC, coreGW, inner(t, ue(n), server, 63, payload)) }
	down := func(n, payload int) []byte { return plain(t, coreGW, coreMAC, inner(t, server, ue(n), 64, payload)) }
	ue6Other := netip.MustParseAddr("2001:db8:1:6::77")
	container := func(ip *layers.IPv6, g *layers.GTPv1U) {
		g.ExtensionHeaderFlag = true
		g.GTPExtensionHeaders = []layers.GTPExtensionHeader{{Type: 0x85, Content: []byte{0, 9}}}
	}
	next := func(protocol layers.IPProtocol, b ...byte) func(*layers.IPv6, *layers.GTPv1U) {
		return func(ip *layers.IPv6, _ *layers.GTPv1U) { ip.NextHeader = protocol }
	}
	return []packetRow{
		{
			name: "a G-PDU over IPv6 to the other address of a slice", port: "access0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 100)), reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 100),
		},
		{
			name: "a G-PDU to a slice that has only IPv6", port: "access0",
			frame: tunnel6(t, slice3, teid(50), up(50, 33)), reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(50, 33),
		},
		{
			name: "IPv6 in IPv6, to the IPv6 gateway", port: "access0",
			frame:  tunnel6(t, slice1v6, teid(33), inner6(t, ue6Host, server6, 64, 20)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain6(t, coreMAC, coreGW6, inner6(t, ue6Host, server6, 63, 20)),
		},
		{
			name: "a network instance without IPv6 gateway sends IPv6 to the other one", port: "access0",
			frame:  tunnel(t, slice1, teid(55), inner6(t, ue6Host, server6, 64, 20)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain6(t, otherMAC, otherGW, inner6(t, ue6Host, server6, 63, 20)),
		},
		{
			name: "no UDP checksum, which RFC 6935 permits", port: "access0",
			frame:  patched(tunnel6(t, slice1v6, teid(5), up(5, 10)), atUDP6+6, 0, 0),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 10),
		},
		{
			name: "a wrong UDP checksum is not looked at", port: "access0",
			frame:  patched(tunnel6(t, slice1v6, teid(5), up(5, 10)), atUDP6+6, 0x12, 0x34),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 10),
		},
		{
			name: "extension headers of GTP-U over IPv6", port: "access0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10), container), reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 10),
		},
		{
			name: "what follows the outer packet is cut off", port: "access0",
			frame:  append(tunnel6(t, slice1v6, teid(5), up(5, 1)), 8, 8),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 1),
		},
		{
			name: "a TEID that nobody has, over IPv6", port: "access0",
			frame: tunnel6(t, slice1v6, teid(99), up(5, 10)), reason: "unknown_teid", verdict: xdpDrop,
		},
		{
			name: "a TEID of another slice, over IPv6", port: "access0",
			frame: tunnel6(t, slice3, teid(5), up(5, 10)), reason: "unknown_teid", verdict: xdpDrop,
		},
		{
			name: "an address with the hash of a slice's", port: "access0",
			frame: tunnel6(t, sameHash(slice1v6), teid(5), up(5, 10)), reason: "not_a_slice", verdict: xdpPass,
		},
		{
			name: "an Echo Request over IPv6", port: "access0",
			frame: tunnel6(t, slice1v6, 0, nil, func(_ *layers.IPv6, g *layers.GTPv1U) {
				g.MessageType, g.SequenceNumberFlag = 1, true
			}),
			reason: "gtpu_signalling", verdict: xdpPass,
		},
		{
			name: "a fragment of an outer IPv6 packet", port: "access0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10), next(layers.IPProtocolIPv6Fragment)), reason: "outer_fragment", verdict: xdpPass,
		},
		{
			name: "a fragment of an outer IPv6 packet from the core side", port: "core0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10), next(layers.IPProtocolIPv6Fragment)), reason: "wrong_side", verdict: xdpDrop,
		},
		{
			name: "destination options outside", port: "access0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10), next(layers.IPProtocolIPv6Destination)), reason: "outer_extension", verdict: xdpPass,
		},
		{
			name: "hop-by-hop options outside, from the core side", port: "core0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10), next(layers.IPProtocolIPv6HopByHop)), reason: "wrong_side", verdict: xdpDrop,
		},
		{
			name: "a routing header to another address", port: "access0",
			frame: tunnel6(t, server6, teid(5), up(5, 10), next(layers.IPProtocolIPv6Routing)), reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "ICMPv6 to a slice", port: "access0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10), next(layers.IPProtocolICMPv6)), reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "a G-PDU over IPv6 from the core side", port: "core0",
			frame: tunnel6(t, slice1v6, teid(5), up(5, 10)), reason: "wrong_side", verdict: xdpDrop,
		},
		{
			name: "a payload length beyond the frame", port: "access0",
			frame: patched(tunnel6(t, slice1v6, teid(5), up(5, 10)), 14+4, 4, 0), reason: "malformed_outer", verdict: xdpDrop,
		},
		{
			name: "a UDP length beyond the IPv6 payload", port: "access0",
			frame: patched(tunnel6(t, slice1v6, teid(5), up(5, 10)), atUDP6+4, 4, 0), reason: "malformed_outer", verdict: xdpDrop,
		},
		{
			name: "a GTP-U length beyond the datagram over IPv6", port: "access0",
			frame: patched(tunnel6(t, slice1v6, teid(5), up(5, 10)), atUDP6+8+2, 4, 0), reason: "malformed_gtpu", verdict: xdpDrop,
		},
		{
			name: "a packet to a UE by a tunnel over IPv6", port: "core0",
			frame: down(50, 100), reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(50), inner(t, server, ue(50), 63, 100)),
		},
		{
			name: "the largest packet that fits behind an outer IPv6 header", port: "core0",
			frame: down(51, accessMTU-56-28), reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(51), inner(t, server, ue(51), 63, accessMTU-56-28)),
		},
		{
			name: "one octet too many behind an outer IPv6 header", port: "core0",
			frame: down(51, accessMTU-56-28+1), reason: "fragmented", verdict: xdpDrop,
			out: plain(t, coreGW, coreMAC, inner(t, server, ue(51), 63, accessMTU-56-28+1)),
			after: func(w *world) {
				e := w.handed()[0]
				require.Equal(t, session.Tunnel{Local: slice1v6, Remote: sgw6, TEID: remoteTEID(51)}, e.Tunnel)
				require.Equal(t, spacedHex(inner(t, server, ue(51), 63, accessMTU-56-28+1)), spacedHex(e.Packet))
			},
		},
		{
			name: "a QFI over IPv6", port: "core0",
			frame: down(52, 31), reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(52), inner(t, server, ue(52), 63, 31), container),
		},
		{
			name: "a mark on the outer IPv6 header, and the other slice", port: "core0",
			frame: down(53, 30), reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated6(t, slice3, sgw6, remoteTEID(53), inner(t, server, ue(53), 63, 30), func(ip *layers.IPv6, _ *layers.GTPv1U) {
				ip.TrafficClass = 0xb8
			}),
		},
		{
			name: "IPv6 to a UE in IPv6", port: "core0",
			frame:  plain6(t, coreGW6, coreMAC, inner6(t, server6, ue6Other, 64, 21)),
			reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated6(t, slice1v6, sgw6, remoteTEID(54), inner6(t, server6, ue6Other, 63, 21)),
		},
	}
}

// sendDown sends a packet of that many octets of payload to UE 50, and returns the frame that leaves.
func (w *world) sendDown(payload gopacket.Payload) []byte {
	ip := ipv4(server, ue(50), 253) // for experiments, RFC 3692: tshark looks no deeper
	verdict, out := w.run("core0", plain(w.t, coreGW, coreMAC, serialize(w.t, ip, payload)), 0)
	require.EqualValues(w.t, xdpRedirect, verdict)
	return out
}

// TestChecksumOverIPv6 adds up G-PDUs of every length around all that the program adds up in one piece, with contents that
// carry. (tshark is the witness in testbed/e2e, the kernel in TestLiveIPv6.)
func TestChecksumOverIPv6(t *testing.T) {
	w := newWorld(t)
	w.apply(outer6Entries()...)
	r := random(6)
	for n := 0; n <= accessMTU-56-20; n += 1 + n/200*7 {
		payload := make(gopacket.Payload, n)
		for i := range payload {
			payload[i] = byte(r.Uint32()) | 0xf0*byte(n&1)
		}
		out := w.sendDown(payload)
		require.NotZero(t, binary.BigEndian.Uint16(out[atUDP6+6:]))
		require.EqualValues(t, 0xffff, sumOfUDP6(out[14:]), "%d octets", n)
	}
}

// sumOfUDP6 is the ones' complement sum over a UDP datagram in an IPv6 packet and its pseudo-header, RFC 8200 8.1: 0xffff if
// its checksum is right.
func sumOfUDP6(packet []byte) uint16 {
	const udp = 17
	covered := slices.Concat(packet[8:40], []byte{0, 0, packet[4], packet[5], 0, 0, 0, udp}, packet[40:], make([]byte, len(packet)&1))
	var sum uint64
	for i := 0; i < len(covered); i += 2 {
		sum += uint64(covered[i])<<8 | uint64(covered[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// A checksum that comes out as 0 is sent as 0xffff (RFC 8200 8.1), since 0 says that there is none.
func TestAChecksumOf0OverIPv6(t *testing.T) {
	w := newWorld(t)
	w.apply(outer6Entries()...)
	payload := make(gopacket.Payload, 20)
	sum := func(b []byte) uint16 { return binary.BigEndian.Uint16(b[atUDP6+6:]) }
	// The checksum of the inner datagram makes up for what its payload adds; what UDP does not sum up does not.
	ip := ipv4(server, ue(50), layers.IPProtocolUDP)
	packet := func(word uint16) []byte {
		p := serialize(t, ip, udp(4000, 5000, ip), payload)
		binary.BigEndian.PutUint16(p[28:], word) // and the checksum inside is wrong, which is not our business
		_, out := w.run("core0", plain(t, coreGW, coreMAC, p), 0)
		return out
	}
	out := packet(sum(packet(0)))
	require.EqualValues(t, 0xffff, sum(out))
}

// Both ends set to send no checksum.
func TestNoChecksumOverIPv6(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	w.cfg.ZeroChecksum6 = true
	w.open()
	w.apply(outer6Entries()...)
	want := encapsulated6(t, slice1v6, sgw6, remoteTEID(50), inner(t, server, ue(50), 63, 30))
	_, out := w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(50), 64, 30)), 0)
	require.Equal(t, spacedHex(patched(want, atUDP6+6, 0, 0)), spacedHex(out))
}

// A slice may gain, change and lose the IPv6 address beside its IPv4 address while its sessions live.
func TestASliceGetsAnIPv6Address(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5), with(downlinkOf(50), over6))
	frame := func(to netip.Addr) []byte { return tunnel6(t, to, teid(5), inner(t, ue(5), server, 64, 10)) }
	other := netip.MustParseAddr("2001:db8:30::9")
	for _, address := range []netip.Addr{other, {}, slice1v6} {
		require.NoError(t, w.d.Close())
		w.cfg.Slices[0].Address6 = address
		w.open()
		require.Len(t, w.entries(), 2)
		for _, a := range []netip.Addr{slice1v6, other} {
			verdict, _ := w.run("access0", frame(a), 0)
			require.Equal(t, a == address, verdict == xdpRedirect, "%v with %v", a, address)
		}
		verdict, _ := w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 10)), 0)
		require.EqualValues(t, xdpRedirect, verdict)
	}
	require.NoError(t, w.d.Close())
	cfg := w.cfg
	cfg.Slices = append(cfg.Slices[:2:2], Slice{Address6: other, TEIDs: 64})
	_, err := Open(cfg, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrLayout, "the only address of a slice is its name")
	cfg.Slices = append(cfg.Slices[:2:2], Slice{Address6: sameHash(slice1v6), TEIDs: 64})
	require.NoError(t, Remove(cfg.PinDir))
	_, err = Open(cfg, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrTableFull)
	require.NoError(t, Remove(cfg.PinDir))
	w.open()
}

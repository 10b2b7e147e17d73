package datapath

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/userplane/session"
)

// packetRow is one frame and what becomes of it.
type packetRow struct {
	name    string
	port    string
	frame   []byte
	meta    int // octets of metadata before the frame, which take headroom
	before  func(*world)
	after   func(*world)
	reason  string
	verdict uint32
	out     []byte // nil: the frame as it came
}

func uplinkRows(t testing.TB) []packetRow {
	up := func(n, payload int) []byte { return inner(t, ue(n), server, 64, payload) }
	sent := func(n, payload int) []byte {
		return plain(t, coreMAC, coreGW, inner(t, ue(n), server, 63, payload))
	}
	options := ipv4(ue(5), server, layers.IPProtocolUDP)
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	withOptions := serialize(t, options, udp(1, 2, options), pattern(9))
	options.TTL = 63
	withOptionsSent := serialize(t, options, udp(1, 2, options), pattern(9))
	extension := func(next uint8, content ...byte) layers.GTPExtensionHeader {
		return layers.GTPExtensionHeader{Type: next, Content: content}
	}
	return []packetRow{
		{
			name: "a G-PDU loses its outer header and one hop", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 100)), reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 100),
		},
		{
			name: "a G-PDU with a sequence number only", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 30), func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.SequenceNumberFlag, g.SequenceNumber = true, 77
			}),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 30),
		},
		{
			name: "a G-PDU with an N-PDU number only", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 30), func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.NPDUFlag, g.NPDU = true, 5
			}),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 30),
		},
		{
			name: "chained extension headers of different lengths are skipped", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 30), func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.ExtensionHeaderFlag = true
				g.GTPExtensionHeaders = []layers.GTPExtensionHeader{
					extension(0x85, 0x10, 0x09), extension(0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
				}
			}),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 30),
		},
		{
			name: "IP options outside and inside", port: "access0",
			frame: tunnel(t, slice1, teid(5), withOptions, func(ip *layers.IPv4, _ *layers.GTPv1U) {
				ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
			}),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, withOptionsSent),
		},
		{
			name: "what follows the inner packet is cut off", port: "access0",
			frame:  append(tunnel(t, slice1, teid(5), append(up(5, 1), 9, 9, 9)), 8, 8),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: sent(5, 1),
		},
		{
			name: "another slice of the node, another network instance", port: "access0",
			frame:  tunnel(t, slice2, teid(20), inner(t, ue(20), server, 64, 8)),
			reason: "uplink_forwarded", verdict: xdpRedirect,
			out: plain(t, otherMAC, otherGW, inner(t, ue(20), server, 63, 8)),
		},
		{
			name: "GTP-U inside a UE's own traffic is only payload", port: "access0",
			frame:  tunnel(t, slice1, teid(5), gtpInside(t, 64)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, gtpInside(t, 63)),
		},
		{
			name: "a TEID that nobody has", port: "access0",
			frame: tunnel(t, slice1, teid(99), up(5, 10)), reason: "unknown_teid", verdict: xdpDrop,
		},
		{
			name: "the right slot with a stale generation", port: "access0",
			frame: tunnel(t, slice1, teid(5)+0x01000000, up(5, 10)), reason: "unknown_teid", verdict: xdpDrop,
		},
		{
			name: "TEID 0 is nobody's, although free slots hold 0", port: "access0",
			frame: tunnel(t, slice1, 0, up(5, 10)), reason: "unknown_teid", verdict: xdpDrop,
		},
		{
			name: "a right TEID at the address of another slice", port: "access0",
			frame: tunnel(t, slice2, teid(5), up(5, 10)), reason: "unknown_teid", verdict: xdpDrop,
		},
		{
			name: "a right TEID at an address of the node that is no slice", port: "access0",
			frame: tunnel(t, nodeAddr, teid(5), up(5, 10)), reason: "not_a_slice", verdict: xdpPass,
		},
		{
			name: "another UE's source address", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(6, 10)), reason: "source_mismatch", verdict: xdpDrop,
		},
		{
			name: "a FAR that drops", port: "access0",
			frame: tunnel(t, slice1, teid(6), up(6, 10)), reason: "far_drop", verdict: xdpDrop,
		},
		{
			name: "a closed gate", port: "access0",
			frame: tunnel(t, slice1, teid(7), up(7, 10)), reason: "gate_closed", verdict: xdpDrop,
		},
		{
			name: "a gateway without route", port: "access0",
			frame: tunnel(t, slice1, teid(8), up(8, 10)), reason: "next_hop_unresolved", verdict: xdpDrop,
		},
		{
			name: "the second packet at once through a very slow policer", port: "access0",
			before: func(w *world) { w.run("access0", tunnel(t, slice1, teid(10), up(10, 1000)), 0) },
			frame:  tunnel(t, slice1, teid(10), up(10, 1000)), reason: "mbr_exceeded", verdict: xdpDrop,
		},
		{
			name: "neither IPv4 nor IPv6 inside", port: "access0",
			frame:  tunnel(t, slice1, teid(5), append([]byte{0x50}, make([]byte, 39)...)),
			reason: "inner_not_ipv4", verdict: xdpDrop,
		},
		{
			name: "IPv6 from a UE that has none", port: "access0",
			frame:  tunnel(t, slice1, teid(5), append([]byte{0x60}, make([]byte, 39)...)),
			reason: "source_mismatch", verdict: xdpDrop,
		},
		{
			name: "nothing inside", port: "access0",
			frame: tunnel(t, slice1, teid(5), nil), reason: "malformed_inner", verdict: xdpDrop,
		},
		{
			name: "an inner packet longer than the G-PDU", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10)), 14+36+2, 0, 39), reason: "malformed_inner", verdict: xdpDrop,
		},
		{
			name: "an inner header length below 20", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10)), 14+36, 0x44), reason: "malformed_inner", verdict: xdpDrop,
		},
		{
			name: "an extension header of length 0", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10), func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.ExtensionHeaderFlag = true
				g.GTPExtensionHeaders = []layers.GTPExtensionHeader{extension(0x85, 0x10, 0x09)}
			}), 14+36+4, 0),
			reason: "malformed_gtpu", verdict: xdpDrop,
		},
		{
			name: "extension headers without end", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 10), func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.ExtensionHeaderFlag = true
				for range 9 {
					g.GTPExtensionHeaders = append(g.GTPExtensionHeaders, extension(0x85, 0x10, 0x09))
				}
			}),
			reason: "malformed_gtpu", verdict: xdpDrop,
		},
		{
			name: "a GTP-U length beyond the datagram", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10)), 14+28+2, 4, 0), reason: "malformed_gtpu", verdict: xdpDrop,
		},
		{
			name: "a UDP length beyond the packet", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10)), 14+20+4, 4, 0), reason: "malformed_outer", verdict: xdpDrop,
		},
		{
			name: "a UDP length below its header", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10)), 14+20+4, 0, 7), reason: "malformed_outer", verdict: xdpDrop,
		},
		{
			name: "an outer header length below 20", port: "access0",
			frame: patched(tunnel(t, slice1, teid(5), up(5, 10)), 14, 0x44), reason: "malformed_outer", verdict: xdpDrop,
		},
		{
			name: "an Echo Request", port: "access0",
			frame: tunnel(t, slice1, 0, nil, func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.MessageType, g.SequenceNumberFlag = 1, true
			}),
			reason: "gtpu_signalling", verdict: xdpPass,
		},
		{
			name: "GTP version 0", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 10), func(_ *layers.IPv4, g *layers.GTPv1U) {
				g.Version = 0
			}),
			reason: "gtpu_signalling", verdict: xdpPass,
		},
		{
			name: "the first fragment of an outer packet", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 16), func(ip *layers.IPv4, _ *layers.GTPv1U) {
				ip.Flags = layers.IPv4MoreFragments
			}),
			reason: "outer_fragment", verdict: xdpPass,
		},
		{
			name: "a later fragment of an outer packet", port: "access0",
			frame: tunnel(t, slice1, teid(5), up(5, 16), func(ip *layers.IPv4, _ *layers.GTPv1U) {
				ip.FragOffset = 100
			}),
			reason: "outer_fragment", verdict: xdpPass,
		},
		{
			name: "PFCP to the node", port: "access0",
			frame: udpTo(t, nodeAddr.String(), 8805), reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "address 0.0.0.0 is no slice, although free cells hold 0", port: "access0",
			frame: udpTo(t, "0.0.0.0", gtpuPort), reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "another UDP port of a slice", port: "access0",
			frame: udpTo(t, slice1.String(), 9999), reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "ARP", port: "access0", frame: arpRequest(t), reason: "not_ipv4", verdict: xdpPass,
		},
		{
			name: "a VLAN tag", port: "access0", frame: tagged(t, 0x8100), reason: "unexpected_vlan", verdict: xdpDrop,
		},
		{
			name: "a service VLAN tag", port: "core0", frame: tagged(t, 0x88a8), reason: "unexpected_vlan", verdict: xdpDrop,
		},
		{
			name: "a G-PDU to a slice from the core side", port: "core0",
			frame: tunnel(t, slice1, teid(5), up(5, 10)), reason: "wrong_side", verdict: xdpDrop,
		},
		{
			name: "a fragment to a slice from the core side", port: "core0",
			frame: tunnel(t, slice1, teid(5), up(5, 16), func(ip *layers.IPv4, _ *layers.GTPv1U) {
				ip.FragOffset = 100
			}),
			reason: "wrong_side", verdict: xdpDrop,
		},
		{
			name: "the port of the next hop is gone", port: "access0",
			before: func(w *world) { require.NoError(t, w.d.objects.TxPorts.Delete(uint32(w.ifindex["core0"]))) },
			after: func(w *world) {
				i := uint32(w.ifindex["core0"])
				require.NoError(t, w.d.objects.TxPorts.Put(i, i))
			},
			frame:  tunnel(t, slice1, teid(5), up(5, 10)),
			reason: "port_gone", verdict: xdpDrop, out: sent(5, 10),
		},
	}
}

func downlinkRows(t testing.TB) []packetRow {
	down := func(n, payload int) []byte {
		return plain(t, coreGW, coreMAC, inner(t, server, ue(n), 64, payload))
	}
	sent := func(n, packets, payload int) []byte {
		return encapsulated(t, sgw, remoteTEID(n), packets, inner(t, server, ue(n), 63, payload))
	}
	fragment := func(ttl uint8) []byte {
		ip := ipv4(server, ue(25), layers.IPProtocolUDP)
		ip.FragOffset, ip.TTL = 100, ttl
		return serialize(t, ip, pattern(40))
	}
	large := func(protocol layers.IPProtocol, payload ...gopacket.SerializableLayer) []byte {
		ip := ipv4(server, ue(23), protocol)
		ip.Flags = layers.IPv4DontFragment
		return serialize(t, append([]gopacket.SerializableLayer{ip}, payload...)...)
	}
	unfragmentable := large(layers.IPProtocolTCP, pattern(accessMTU-36-20+1))
	icmpError := large(layers.IPProtocolICMPv4,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, pattern(accessMTU-36-28+1))
	return []packetRow{
		{
			name: "a packet to a UE gets its outer header and loses one hop", port: "core0",
			frame: down(21, 100), reason: "downlink_forwarded", verdict: xdpRedirect, out: sent(21, 0, 100),
		},
		{
			name: "the next packet of the same UE has the next identification", port: "core0",
			frame: down(21, 77), reason: "downlink_forwarded", verdict: xdpRedirect, out: sent(21, 1, 77),
		},
		{
			name: "Ethernet padding stays out of the tunnel", port: "core0",
			frame:  append(down(22, 0), make([]byte, 60-14-28)...),
			reason: "downlink_forwarded", verdict: xdpRedirect, out: sent(22, 0, 0),
		},
		{
			name: "the largest packet that fits", port: "core0",
			frame: down(23, accessMTU-36-28), reason: "downlink_forwarded", verdict: xdpRedirect,
			out: sent(23, 0, accessMTU-36-28),
		},
		{
			name: "a fragment of an inner packet is a packet", port: "core0",
			frame:  plain(t, coreGW, coreMAC, fragment(64)),
			reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated(t, sgw, remoteTEID(25), 0, fragment(63)),
		},
		{
			name: "the same UE address in another network instance is another UE", port: "core1",
			frame: down(24, 9), reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated(t, sgw, remoteTEID(124), 0, inner(t, server, ue(24), 63, 9)),
		},
		{
			name: "one octet too many: the slow path sends it in fragments", port: "core0",
			frame: down(23, accessMTU-36-28+1), reason: "fragmented", verdict: xdpDrop,
			out: plain(t, coreGW, coreMAC, inner(t, server, ue(23), 63, accessMTU-36-28+1)),
			after: func(w *world) {
				e := w.handed()[0]
				require.Equal(t, EventFragment, e.Kind)
				require.Equal(t, session.Tunnel{Local: slice1, Remote: sgw, TEID: remoteTEID(23)}, e.Tunnel)
				require.Equal(t, spacedHex(inner(t, server, ue(23), 63, accessMTU-36-28+1)), spacedHex(e.Packet))
			},
		},
		{
			name: "more than the slow path takes", port: "core0",
			frame: down(23, 2048-28+1), reason: "too_big", verdict: xdpDrop,
		},
		{
			name: "one octet too many, and fragments forbidden: the sender is told", port: "core0",
			frame: plain(t, coreGW, coreMAC, unfragmentable), reason: "too_big_answered", verdict: xdpTx,
			out: plain(t, coreMAC, coreGW, tooBig(t, nodeCore, unfragmentable, accessMTU-36)),
		},
		{
			name: "no ICMP error about an ICMP error", port: "core0",
			frame: plain(t, coreGW, coreMAC, icmpError), reason: "too_big", verdict: xdpDrop,
		},
		{
			name: "an address beside the UEs'", port: "core0", frame: down(99, 10), reason: "no_session", verdict: xdpDrop,
		},
		{
			name: "a UE of another network instance", port: "core1", frame: down(21, 10), reason: "no_session", verdict: xdpDrop,
		},
		{
			name: "an address that is none of the UEs'", port: "core0",
			frame:  plain(t, coreGW, coreMAC, inner(t, server, nodeAddr, 64, 10)),
			reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "a packet to a UE from the access side", port: "access0", frame: down(21, 10), reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "an interface that is no port", port: "lo0", frame: down(21, 10), reason: "unknown_port", verdict: xdpPass,
			before: func(w *world) {
				w.d.tables.ports.remove(portKey(w.ifindex["core1"], 0))
				w.ifindex["lo0"] = w.ifindex["core1"]
			},
			after: func(w *world) {
				require.NoError(t, w.d.tables.ports.insert(portKey(w.ifindex["core1"], 0), w.d.tables.numbers["corp"], uint32(SideCore), membarrier))
			},
		},
		{
			name: "a FAR that drops", port: "core0", frame: down(6, 10), reason: "far_drop", verdict: xdpDrop,
		},
		{
			name: "a closed gate", port: "core0", frame: down(7, 10), reason: "gate_closed", verdict: xdpDrop,
		},
		{
			name: "a peer without route", port: "core0", frame: down(8, 10), reason: "next_hop_unresolved", verdict: xdpDrop,
		},
		{
			name: "a FAR that forwards to access without outer header", port: "core0",
			frame: down(9, 10), reason: "no_outer_header", verdict: xdpDrop,
		},
		{
			name: "the second packet at once through a very slow policer", port: "core0",
			before: func(w *world) { w.run("core0", down(10, 1000), 0) },
			frame:  down(10, 1000), reason: "mbr_exceeded", verdict: xdpDrop,
		},
		{
			name: "no room before the packet", port: "core0", meta: 200,
			frame: down(26, 10), reason: "no_headroom", verdict: xdpDrop,
			out: plain(t, coreGW, coreMAC, inner(t, server, ue(26), 63, 10)),
		},
		{
			name: "a total length beyond the frame", port: "core0",
			frame: patched(down(21, 10), 14+2, 0, 200), reason: "malformed_outer", verdict: xdpDrop,
		},
	}
}

// packetEntries are the sessions that the rows speak of.
func packetEntries() []session.Entry {
	drop := func(e *session.Entry) { e.Action = session.ActionDrop }
	closed := func(e *session.Entry) { e.GateClosed = true }
	slow := func(e *session.Entry) { e.MBR = 1 }
	entries := []session.Entry{
		uplinkOf(5), downlinkOf(5),
		with(uplinkOf(6), drop), with(downlinkOf(6), drop),
		with(uplinkOf(7), closed), with(downlinkOf(7), closed),
		with(uplinkOf(8), func(e *session.Entry) { e.Instance = "lost" }),
		with(downlinkOf(8), func(e *session.Entry) { e.Remote = lostSGW }),
		with(downlinkOf(9), func(e *session.Entry) {
			e.Action = session.ActionNoHeader
			e.Remote, e.Local, e.RemoteTEID = session.Entry{}.Remote, session.Entry{}.Local, 0
		}),
		with(uplinkOf(10), slow), with(downlinkOf(10), slow),
		with(uplinkOf(20), func(e *session.Entry) { e.Key.Local, e.Instance = slice2, "corp" }),
		with(downlinkOf(24), func(e *session.Entry) { e.Key.Instance, e.RemoteTEID, e.Origin.SEID = "corp", remoteTEID(124), 124 }),
	}
	for _, n := range []int{21, 22, 23, 24, 25, 26} {
		entries = append(entries, downlinkOf(n))
	}
	return entries
}

// TestPackets sends frames through the program and checks verdict, frame and reason; and that every reason of the
// enum is the result of at least one row.
func TestPackets(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.Peers = 8 })
	require.NoError(t, w.d.Apply(session.Changes{Cells: []session.Cell{{
		ID: session.CellID{SEID: 31, URRID: 1}, Limits: session.VolumeLimits{TotalQuota: 1},
	}}}))
	w.apply(slices.Concat(packetEntries(), ruleEntries(), outer6Entries(), specialEntries(), tooBigEntries(), answered())...)
	missing := w.reasons()
	for _, row := range slices.Concat(uplinkRows(t), downlinkRows(t), urlRows(t), ruleRows(t), outer6Rows(t), specialRows(t), tooBigRows(t), ttlRows(t)) {
		t.Run(row.name, func(t *testing.T) {
			if row.before != nil {
				row.before(w)
			}
			if row.meta > maxMetadata && !w.takesMetadata(row.meta) {
				t.Logf("this kernel cannot fill the headroom: it refuses %d octets of metadata", row.meta)
				return
			}
			before := w.reasons()
			verdict, out := w.run(row.port, row.frame, row.meta)
			after := w.reasons()
			if row.after != nil {
				row.after(w)
			}
			require.Equal(t, map[string]uint64{row.reason: 1}, difference(before, after))
			require.Equal(t, row.verdict, verdict)
			want := row.out
			if want == nil {
				want = row.frame
			}
			require.Equal(t, spacedHex(want), spacedHex(out))
		})
		delete(missing, row.reason)
	}
	require.Empty(t, missing, "reasons that no row expects")
}

// TestTruncated cuts frames of both directions anywhere: none is forwarded, each is counted as malformed.
func TestTruncated(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5), downlinkOf(5))
	frames := map[string][]byte{
		"access0": tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 20), func(_ *layers.IPv4, g *layers.GTPv1U) {
			g.ExtensionHeaderFlag = true
			g.GTPExtensionHeaders = []layers.GTPExtensionHeader{{Type: 0x85, Content: []byte{0x10, 9}}}
		}),
		"core0": plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 20)),
	}
	for port, frame := range frames {
		for n := 14; n < len(frame); n++ {
			before := w.reasons()
			verdict, _ := w.run(port, frame[:n], 0)
			require.EqualValues(t, xdpDrop, verdict, "%s: %d octets", port, n)
			require.Equal(t, map[string]uint64{"malformed_outer": 1}, difference(before, w.reasons()), "%s: %d octets", port, n)
		}
	}
	// The same with lengths that agree with the cut, so that the inner layers see it.
	whole := frames["access0"]
	for n := 14 + 28; n < len(whole); n++ {
		cut := append([]byte(nil), whole[:n]...)
		patch16(cut, 14+2, n-14)
		patch16(cut, 14+20+4, n-14-20)
		if n >= 14+36 {
			patch16(cut, 14+28+2, n-14-36)
		}
		before := w.reasons()
		verdict, _ := w.run("access0", cut, 0)
		require.EqualValues(t, xdpDrop, verdict, "%d octets", n)
		for reason, count := range difference(before, w.reasons()) {
			require.True(t, strings.HasPrefix(reason, "malformed_") && count == 1, "%d octets: %s", n, reason)
		}
	}
}

func difference(before, after map[string]uint64) map[string]uint64 {
	changed := map[string]uint64{}
	for name, count := range after {
		if count != before[name] {
			changed[name] = count - before[name]
		}
	}
	return changed
}

func patched(frame []byte, at int, octets ...byte) []byte {
	copy(frame[at:], octets)
	return frame
}

func patch16(frame []byte, at, value int) { frame[at], frame[at+1] = byte(value>>8), byte(value) }

func udpTo(t testing.TB, to string, port uint16) []byte {
	ip := ipv4(sgw, session.Entry{}.Remote, layers.IPProtocolUDP)
	ip.DstIP = net.ParseIP(to).To4()
	return serialize(t, ethernet(accessGW, accessMAC), ip, udp(4000, port, ip), pattern(20))
}

// gtpInside is a UE's own packet to port 2152 of the server.
func gtpInside(t testing.TB, ttl uint8) []byte {
	ip := ipv4(ue(5), server, layers.IPProtocolUDP)
	ip.TTL = ttl
	gtp := &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(teid(6))}
	return serialize(t, ip, udp(2152, 2152, ip), gtp, pattern(30))
}

func arpRequest(t testing.TB) []byte {
	eth := ethernet(accessGW, accessMAC)
	eth.EthernetType = layers.EthernetTypeARP
	return serialize(t, eth, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: 1, SourceHwAddress: accessGW, SourceProtAddress: []byte{10, 20, 11, 1},
		DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 20, 11, 2},
	})
}

func tagged(t testing.TB, ethertype uint16) []byte {
	eth := ethernet(accessGW, accessMAC)
	eth.EthernetType = layers.EthernetType(ethertype)
	return serialize(t, eth, &layers.Dot1Q{VLANIdentifier: 100, Type: layers.EthernetTypeIPv4},
		gopacket.Payload(inner(t, server, ue(5), 64, 10)))
}

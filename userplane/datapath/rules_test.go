package datapath

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

var (
	ue6     = netip.MustParsePrefix("2001:db8:1:5::/64")
	ue6Host = netip.MustParseAddr("2001:db8:1:5::77")
	other6  = netip.MustParsePrefix("2001:db8:1:6::/64")
	server6 = netip.MustParseAddr("2001:db8:ffff::10")
	framed4 = netip.MustParsePrefix("192.168.40.0/22")
)

func dnsOnly(r *session.Rule) {
	r.Filters = []session.Filter{{Protocol: pfcp.Some(uint8(17)), RemotePorts: []session.Ports{{First: 53, Last: 53}}}}
}

// ruleEntries are sessions whose keys have more than one plain rule.
func ruleEntries() []session.Entry {
	dedicated := func(e session.Entry) session.Entry { // DNS by another tunnel, the rest by the default bearer
		dns := e.Rule
		dnsOnly(&dns)
		dns.RemoteTEID, dns.Origin.PDRID = 0x3333, 3
		return session.Entry{Key: e.Key, Rule: dns, More: []session.Rule{e.Rule}}
	}
	return []session.Entry{
		with(uplinkOf(30), func(e *session.Entry) { dnsOnly(&e.Rule) }),
		with(uplinkOf(31), func(e *session.Entry) { e.Cells = []session.CellID{{SEID: 31, URRID: 1}} }),
		with(downlinkOf(32), func(e *session.Entry) { e.Action, e.Notify = session.ActionBuffer, true }),
		with(downlinkOf(33), func(e *session.Entry) { e.Key.UE = ue6 }),
		with(uplinkOf(33), func(e *session.Entry) { e.Sources = []netip.Prefix{session.UE(ue(33)), ue6} }),
		dedicated(downlinkOf(34)),
		with(downlinkOf(35), func(e *session.Entry) { e.Routes = []netip.Prefix{framed4} }),
		with(uplinkOf(35), func(e *session.Entry) { e.Sources = []netip.Prefix{session.UE(ue(35)), framed4} }),
		with(uplinkOf(36), func(e *session.Entry) { e.Key.TEID = teid(5) + 0x01100000 }), // the slot of another
		with(downlinkOf(37), func(e *session.Entry) { e.QFI = pfcp.Some(uint8(9)) }),
		with(downlinkOf(38), func(e *session.Entry) { e.Marking = pfcp.Some(uint16(0xb8fc)) }),
		with(uplinkOf(39), func(e *session.Entry) { e.Marking = pfcp.Some(uint16(0xb8fc)) }),
		with(uplinkOf(40), func(e *session.Entry) { e.QFIs = []uint8{5} }),
		downlinkOf(41),
	}
}

func ipv6(from, to netip.Addr, next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: next, FlowLabel: 0x12345, TrafficClass: 0x28,
		SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
	}
}

func inner6(t testing.TB, from, to netip.Addr, hops uint8, payload int) []byte {
	ip := ipv6(from, to, layers.IPProtocolUDP)
	ip.HopLimit = hops
	u := &layers.UDP{SrcPort: 4000, DstPort: 5000}
	_ = u.SetNetworkLayerForChecksum(ip)
	return serialize(t, ip, u, pattern(payload))
}

func plain6(t testing.TB, from, to net.HardwareAddr, packet []byte) []byte {
	return patched(plain(t, from, to, packet), 12, 0x86, 0xdd)
}

func dnsTo(t testing.TB, from, to netip.Addr, source, destination uint16, ttl uint8) []byte {
	ip := ipv4(from, to, layers.IPProtocolUDP)
	ip.TTL = ttl
	return serialize(t, ip, udp(source, destination, ip), pattern(20))
}

func ruleRows(t testing.TB) []packetRow {
	framedHost := netip.MustParseAddr("192.168.41.9")
	marked := func(packet []byte, tos byte) []byte {
		packet = slices.Clone(packet)
		packet[1] = tos
		packet[10], packet[11] = 0, 0
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(packet[i:]))
		}
		binary.BigEndian.PutUint16(packet[10:], ^uint16(sum%0xffff))
		return packet
	}
	withQFI := func(g *layers.GTPv1U, qfi byte) {
		g.ExtensionHeaderFlag = true
		g.GTPExtensionHeaders = []layers.GTPExtensionHeader{{Type: 0x85, Content: []byte{0x10, qfi}}}
	}
	container := []byte{0, 0, 0, 0x85, 1, 0, 9, 0} // TS 38.415 5.5.2.1: DL PDU SESSION INFORMATION, QFI 9
	qfi := func() []byte {
		packet := inner(t, server, ue(37), 63, 30)
		ip := ipv4(slice1, sgw, layers.IPProtocolUDP)
		ip.Id = uint16(uint32(remoteTEID(37)) * 40503 & 0xffff)
		u := &layers.UDP{SrcPort: 2152, DstPort: 2152, Length: uint16(16 + 8 + len(packet))}
		gtp := slices.Concat([]byte{0x34, 255, 0, byte(8 + len(packet))},
			binary.BigEndian.AppendUint32(nil, uint32(remoteTEID(37))), container, packet)
		rest := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(rest, gopacket.SerializeOptions{}, u, gopacket.Payload(gtp)))
		return plain(t, accessMAC, accessGW, serialize(t, ip, gopacket.Payload(rest.Bytes())))
	}
	outerMarked := func() []byte {
		frame := encapsulated(t, sgw, remoteTEID(38), 0, inner(t, server, ue(38), 63, 30))
		return slices.Concat(frame[:14], marked(frame[14:34], 0xb8), frame[34:])
	}
	return []packetRow{
		{
			name: "a packet that no filter lets through", port: "access0",
			frame: tunnel(t, slice1, teid(30), inner(t, ue(30), server, 64, 10)), reason: "no_rule", verdict: xdpDrop,
		},
		{
			name: "one that a filter lets through", port: "access0",
			frame:  tunnel(t, slice1, teid(30), dnsTo(t, ue(30), server, 4000, 53, 64)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, dnsTo(t, ue(30), server, 4000, 53, 63)),
		},
		{
			name: "the same from another's address", port: "access0",
			frame: tunnel(t, slice1, teid(30), dnsTo(t, ue(31), server, 4000, 53, 64)), reason: "no_rule", verdict: xdpDrop,
		},
		{
			name: "a fragment has no ports", port: "access0",
			frame:  tunnel(t, slice1, teid(30), patched(dnsTo(t, ue(30), server, 4000, 53, 64), 6, 0, 5)),
			reason: "no_rule", verdict: xdpDrop,
		},
		{
			name: "a quota that is used up", port: "access0",
			before: func(w *world) { w.run("access0", tunnel(t, slice1, teid(31), inner(t, ue(31), server, 64, 10)), 0) },
			frame:  tunnel(t, slice1, teid(31), inner(t, ue(31), server, 64, 10)), reason: "quota_exhausted", verdict: xdpDrop,
		},
		{
			name: "a UE that is asleep", port: "core0",
			frame: plain(t, coreGW, coreMAC, inner(t, server, ue(32), 64, 10)), reason: "buffered", verdict: xdpDrop,
		},
		{
			name: "a UE that is asleep, when nobody reads the ring", port: "core0",
			before: func(w *world) {
				for range w.d.objects.Parking.MaxEntries() / 2048 {
					w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(32), 64, 10)), 0)
				}
			},
			frame: plain(t, coreGW, coreMAC, inner(t, server, ue(32), 64, 10)), reason: "buffer_full", verdict: xdpDrop,
		},
		{
			name: "IPv6 to a UE", port: "core0", frame: plain6(t, coreGW, coreMAC, inner6(t, server6, ue6Host, 64, 20)),
			reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated(t, sgw, remoteTEID(33), 0, inner6(t, server6, ue6Host, 63, 20)),
		},
		{
			name: "IPv6 from a UE", port: "access0", frame: tunnel(t, slice1, teid(33), inner6(t, ue6Host, server6, 64, 20)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain6(t, coreMAC, coreGW6, inner6(t, ue6Host, server6, 63, 20)),
		},
		{
			name: "IPv4 of the same UE", port: "access0", frame: tunnel(t, slice1, teid(33), inner(t, ue(33), server, 64, 20)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, inner(t, ue(33), server, 63, 20)),
		},
		{
			name: "IPv6 from another's prefix", port: "access0", frame: tunnel(t, slice1, teid(33), inner6(t, server6, server6, 64, 20)),
			reason: "source_mismatch", verdict: xdpDrop,
		},
		{
			name: "IPv6 to nobody", port: "core0", frame: plain6(t, coreGW, coreMAC, inner6(t, server6, server6, 64, 20)),
			reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "IPv6 in another network instance", port: "core1", frame: plain6(t, otherGW, otherMAC, inner6(t, server6, ue6Host, 64, 20)),
			reason: "not_ours", verdict: xdpPass,
		},
		{
			name: "the dedicated bearer's packets", port: "core0",
			frame:  plain(t, coreGW, coreMAC, dnsTo(t, server, ue(34), 53, 4000, 64)),
			reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated(t, sgw, 0x3333, 0, dnsTo(t, server, ue(34), 53, 4000, 63)),
		},
		{
			name: "the default bearer's packets", port: "core0",
			frame:  plain(t, coreGW, coreMAC, dnsTo(t, server, ue(34), 54, 4000, 64)),
			reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated(t, sgw, remoteTEID(34), 1, dnsTo(t, server, ue(34), 54, 4000, 63)),
		},
		{
			name: "a framed route", port: "core0", frame: plain(t, coreGW, coreMAC, inner(t, server, framedHost, 64, 9)),
			reason: "downlink_forwarded", verdict: xdpRedirect,
			out: encapsulated(t, sgw, remoteTEID(35), 0, inner(t, server, framedHost, 63, 9)),
		},
		{
			name: "from a framed route", port: "access0", frame: tunnel(t, slice1, teid(35), inner(t, framedHost, server, 64, 9)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, inner(t, framedHost, server, 63, 9)),
		},
		{
			name: "a TEID whose slot another has", port: "access0",
			frame:  tunnel(t, slice1, teid(5)+0x01100000, inner(t, ue(36), server, 64, 9)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, inner(t, ue(36), server, 63, 9)),
		},
		{
			name: "a QFI to send", port: "core0", frame: plain(t, coreGW, coreMAC, inner(t, server, ue(37), 64, 30)),
			reason: "downlink_forwarded", verdict: xdpRedirect, out: qfi(),
		},
		{
			name: "a mark on the outer header", port: "core0", frame: plain(t, coreGW, coreMAC, inner(t, server, ue(38), 64, 30)),
			reason: "downlink_forwarded", verdict: xdpRedirect, out: outerMarked(),
		},
		{
			name: "a mark on the packet itself, whose last two bits stay", port: "access0",
			frame:  tunnel(t, slice1, teid(39), marked(inner(t, ue(39), server, 64, 30), 0x03)),
			reason: "uplink_forwarded", verdict: xdpRedirect,
			out: plain(t, coreMAC, coreGW, marked(inner(t, ue(39), server, 63, 30), 0xbb)),
		},
		{
			name: "the QFI that a rule asks for", port: "access0",
			frame: tunnel(t, slice1, teid(40), inner(t, ue(40), server, 64, 30), func(_ *layers.IPv4, g *layers.GTPv1U) {
				withQFI(g, 5)
			}),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, inner(t, ue(40), server, 63, 30)),
		},
		{
			name: "another QFI", port: "access0",
			frame: tunnel(t, slice1, teid(40), inner(t, ue(40), server, 64, 30), func(_ *layers.IPv4, g *layers.GTPv1U) {
				withQFI(g, 6)
			}),
			reason: "no_rule", verdict: xdpDrop,
		},
		{
			name: "an entry that names a peer which is not there", port: "core0",
			before: func(w *world) {
				at, _, err := w.d.find(downlinkOf(41).Key)
				require.NoError(w.t, err)
				w.d.tables.entry(at).Word.To = 0xffff
			},
			frame: plain(t, coreGW, coreMAC, inner(t, server, ue(41), 64, 30)), reason: "no_resources", verdict: xdpDrop,
		},
	}
}

// TestRandomTables holds program and model against each other over random sessions: addresses and prefixes of both
// families, TEIDs of any generation, several rules with filters behind a key.
func TestRandomTables(t *testing.T) {
	w := newWorld(t)
	r := random(7)
	var held []session.Entry
	for range 150 {
		var next []session.Entry
		for n := range 6 {
			next = append(next, randomUplink(r, n), randomDownlink(r, n))
		}
		next = distinct(next)
		changes := session.Changes{Puts: next}
		for _, e := range held {
			stays := slices.ContainsFunc(next, func(o session.Entry) bool { return o.Key == e.Key })
			if !stays || len(e.Routes) > 0 {
				changes.Deletes = append(changes.Deletes, e.Key)
			}
		}
		// A framed route goes before another has it.
		require.NoError(t, w.d.Apply(session.Changes{Deletes: changes.Deletes}))
		require.NoError(t, w.d.Apply(session.Changes{Puts: changes.Puts}))
		require.NoError(t, w.d.Resolve())
		require.Len(t, w.entries(), len(next))
		repairs, err := w.d.Reconcile(slices.Values(next))
		require.NoError(t, err)
		require.Zero(t, repairs, "what is there is what it compiles to")
		m := newModel(next)
		for _, e := range w.entries() {
			m.packets[e.Key] = int(e.Packets)
			for _, r := range e.Rules {
				u, ok := e.UsageOf(func(o *session.Rule) bool { return o.Origin.PDRID == r.Origin.PDRID })
				require.True(t, ok)
				m.rules[ruleOf(e.Entry, r)] = int(u.Packets)
			}
		}
		m.blocks = map[uint64]bool{}
		for cell := range w.d.tables.blocks.all {
			m.blocks[cell.Key] = true
		}
		for range 40 {
			e := next[r.IntN(len(next))]
			frame, port := randomFrame(t, r, e)
			w.compare(t, m, port, frame)
		}
		for _, e := range w.entries() {
			for _, r := range e.Rules {
				u, _ := e.UsageOf(func(o *session.Rule) bool { return o.Origin.PDRID == r.Origin.PDRID })
				require.EqualValues(t, m.rules[ruleOf(e.Entry, r)], u.Packets, ruleOf(e.Entry, r))
			}
		}
		held = next
	}
}

func distinct(entries []session.Entry) (all []session.Entry) {
	var prefixes []netip.Prefix
	for _, e := range entries {
		if slices.ContainsFunc(all, func(o session.Entry) bool { return o.Key == e.Key }) {
			continue
		}
		if len(e.Routes) > 0 && slices.Contains(prefixes, e.Routes[0]) {
			e.Routes = nil
		}
		prefixes = append(prefixes, e.Routes...)
		all = append(all, e)
	}
	return all
}

func randomUplink(r *rand.Rand, n int) session.Entry {
	e := uplinkOf(n + 1)
	e.Origin.SEID = 1
	e.Key.TEID = pfcp.TEID(r.Uint32N(4)<<20 | r.Uint32N(8) | 0x1000)
	e.Sources = nil
	if r.IntN(3) == 0 {
		e.Key.Local = slice3
	}
	if r.IntN(2) == 0 {
		e.Sources = append(e.Sources, session.UE(ue(n)))
	}
	if r.IntN(2) == 0 {
		e.Sources = append(e.Sources, ue6)
	}
	addSpecials(r, &e)
	addRules(r, &e)
	return e
}

func randomDownlink(r *rand.Rand, n int) session.Entry {
	e := downlinkOf(n + 1)
	e.Origin.SEID = 1
	if r.IntN(2) == 0 {
		e.Local, e.Remote = slice1v6, sgw6
	}
	if r.IntN(6) == 0 {
		e.Copies = []session.Copy{{Tunnel: session.Tunnel{Local: e.Local, Remote: e.Remote, TEID: 0x6600}}}
	}
	switch r.IntN(5) {
	case 4:
		e.Key = session.Key{Direction: session.Downlink, Local: slice1, TEID: pfcp.TEID(r.Uint32N(8) | 0x2000)}
		e.Copies = nil
	case 0:
		e.Key.UE = session.UE(netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(40)), byte(r.IntN(4))}))
	case 1:
		e.Key.UE = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 0, byte(r.IntN(4))}), 64)
	case 2:
		e.Key.UE = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 2, byte(r.IntN(3))}), 56)
	}
	if e.Key.UE.Addr().Is4() && r.IntN(3) == 0 {
		e.Routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(r.IntN(4) * 4), 0}), 22)}
	}
	addRules(r, &e)
	return e
}

// addSpecials has some rules redirect, duplicate, or go to the control plane.
func addSpecials(r *rand.Rand, e *session.Entry) {
	switch r.IntN(5) {
	case 0:
		e.Redirect = session.Redirect{IPv4: portal, IPv6: portal6}
		if r.IntN(3) == 0 {
			e.Redirect.IPv6 = netip.Addr{}
		}
	case 1:
		e.Instance, e.Remote, e.RemoteTEID, e.Local = "", sgw, cpTEID, slice1
		if r.IntN(2) == 0 {
			e.Remote, e.Local = sgw6, slice1v6
		}
		e.KeepHeader = r.IntN(2) == 0
	}
	for n := range r.IntN(2) * r.IntN(session.MaxCopies+1) {
		e.Copies = append(e.Copies, session.Copy{Tunnel: session.Tunnel{Local: slice1, Remote: sgw, TEID: pfcp.TEID(0x5500 + n)}})
	}
}

// addRules gives an entry up to three rules with filters before its own.
func addRules(r *rand.Rand, e *session.Entry) {
	last := e.Rule
	all := []session.Rule{last}
	for n := range r.IntN(3) {
		rule := last
		rule.Origin.PDRID = pfcp.PDRID(10 + n)
		if r.IntN(2) == 0 {
			rule.Copies = nil
		}
		if e.Key.Direction == session.Uplink && !rule.Remote.IsValid() && r.IntN(2) == 0 {
			rule.Redirect = session.Redirect{}
		}
		rule.RemoteTEID += pfcp.TEID(1 + r.IntN(100))
		rule.Action = []session.Action{session.ActionForward, session.ActionForward, session.ActionDrop}[r.IntN(3)]
		for range 1 + r.IntN(3) {
			rule.Filters = append(rule.Filters, randomFilter(r))
		}
		all = append([]session.Rule{rule}, all...)
	}
	e.Rule, e.More = all[0], all[1:]
	if len(e.More) == 0 {
		e.More = nil
	}
}

func randomFilter(r *rand.Rand) (f session.Filter) {
	maybe := func() bool { return r.IntN(3) == 0 }
	if maybe() {
		f.Protocol = pfcp.Some([]uint8{17, 6, 50}[r.IntN(3)])
	}
	if maybe() {
		f.Remote = []netip.Prefix{
			netip.MustParsePrefix("10.60.0.0/16"), session.UE(server), netip.MustParsePrefix("2001:db8:ffff::/48"),
			session.UE(server6), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("2001:db8:ffff::10/127").Masked(),
		}[r.IntN(6)]
	}
	if maybe() {
		f.RemotePorts = []session.Ports{{First: 5000, Last: 5000}, {First: 53, Last: uint16(53 + r.IntN(2))}}
	}
	if maybe() {
		f.LocalPorts = []session.Ports{{First: 4000, Last: uint16(4000 + r.IntN(2))}}
	}
	if maybe() {
		f.ToS, f.ToSMask = uint8(r.IntN(4))<<3, 0xfc
	}
	if r.IntN(8) == 0 {
		f.FlowLabel = pfcp.Some(uint32(0x12345))
	}
	if r.IntN(8) == 0 {
		f.SPI = pfcp.Some(uint32(0x0fa01388)) // what ports 4000 and 5000 look like
	}
	return f
}

// randomFrame is one for, or nearly for, that entry.
func randomFrame(t testing.TB, r *rand.Rand, e session.Entry) (frame []byte, port string) {
	ports := [][2]uint16{{4000, 5000}, {4000, 53}, {4001, 54}, {9, 9}}[r.IntN(4)]
	protocol := []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolESP}[r.IntN(3)]
	header := binary.BigEndian.AppendUint16(nil, ports[0])
	header = binary.BigEndian.AppendUint16(header, ports[1])
	packet4 := func(from, to netip.Addr) []byte {
		ip := ipv4(from, to, protocol)
		ip.TOS = uint8(r.IntN(4)) << 3
		return serialize(t, ip, gopacket.Payload(header), pattern(r.IntN(30)))
	}
	packet6 := func(from, to netip.Addr) []byte {
		ip := ipv6(from, to, protocol)
		ip.TrafficClass = uint8(r.IntN(4)) << 3
		payload := slices.Concat(header, pattern(r.IntN(30)))
		if r.IntN(3) == 0 { // destination options, or a fragment header
			ip.NextHeader = []layers.IPProtocol{60, 44}[r.IntN(2)]
			payload = slices.Concat([]byte{byte(protocol), 0, 0, byte(r.IntN(2) * 8), 0, 0, 0, 0}, payload)
		}
		return serialize(t, ip, gopacket.Payload(payload))
	}
	if byTEID(e.Key) {
		packet := packet4(ue(r.IntN(7)), server)
		if r.IntN(2) == 0 {
			packet = packet6(ue6Host, server6)
		}
		id := e.Key.TEID + pfcp.TEID(r.Uint32N(2)<<20*r.Uint32N(2))
		if e.Key.Local.Is6() {
			return tunnel6(t, e.Key.Local, id, packet), "access0"
		}
		if r.IntN(2) == 0 {
			return tunnel6(t, slice1v6, id, packet), "access0"
		}
		return tunnel(t, slice1, id, packet), "access0"
	}
	ports[0], ports[1] = ports[1], ports[0]
	header = binary.BigEndian.AppendUint16(header[:0], ports[0])
	header = binary.BigEndian.AppendUint16(header, ports[1])
	to := e.Key.UE.Addr()
	if len(e.Routes) > 0 && r.IntN(2) == 0 {
		to = e.Routes[0].Addr().Next()
	}
	if r.IntN(8) == 0 {
		to = to.Next()
	}
	if to.Is4() {
		return plain(t, coreGW, coreMAC, packet4(server, to)), "core0"
	}
	return plain6(t, coreGW, coreMAC, packet6(server6, to)), "core0"
}

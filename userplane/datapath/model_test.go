package datapath

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// model is the data path as a slow, obviously right function: it shares no code and no layout with the program. It
// knows no policing, since that depends on the clock.
type model struct {
	t       testing.TB
	entries map[session.Key]session.Entry
	packets map[session.Key]int
	rules   map[string]int   // packets of each rule: see ruleOf
	copies  int              // made or lost
	macs    net.HardwareAddr // of the frame: destination, source
	octets  int              // of the frame
	blocks  map[uint64]bool  // nil: every /24 in which a UE is
}

type exit struct{ local, remote net.HardwareAddr }

var (
	modelSides     = map[string]Side{"access0": SideAccess, "core0": SideCore, "core1": SideCore}
	modelInstances = map[string]pfcp.NetworkInstance{"core0": "internet", "core1": "corp"}
	modelSlices    = map[netip.Addr]netip.Addr{slice1: slice1, slice1v6: slice1, slice2: slice2, slice3: slice3}
	modelGateways  = map[pfcp.NetworkInstance]exit{"internet": {coreMAC, coreGW}, "corp": {otherMAC, otherGW}}
	modelGateways6 = map[pfcp.NetworkInstance]exit{"internet": {coreMAC, coreGW6}, "corp": {otherMAC, otherGW}}
	modelOverhead  = map[netip.Addr]int{sgw: 36, sgw6: 56} // of those that there is a route to
)

func newModel(entries []session.Entry) *model {
	m := &model{entries: map[session.Key]session.Entry{}, packets: map[session.Key]int{}, rules: map[string]int{}}
	for _, e := range entries {
		m.entries[e.Key] = e
	}
	return m
}

// ip is a parsed IPv4 or IPv6 packet; ok is false when it is malformed.
type ip struct {
	version, header, total, ttl, protocol, tos int
	label                                      uint32
	fragment, later                            bool // later: not the first
	source, destination                        netip.Addr
	packet, payload                            []byte
}

func parseIP(b []byte) (p ip, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return p, false
	}
	p.version, p.header, p.total = 4, int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if p.header < 20 || p.total < p.header || p.total > len(b) {
		return p, false
	}
	p.tos, p.ttl, p.protocol = int(b[1]), int(b[8]), int(b[9])
	p.fragment, p.later = binary.BigEndian.Uint16(b[6:])&0x3fff != 0, binary.BigEndian.Uint16(b[6:])&0x1fff != 0
	p.source, p.destination = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	p.packet, p.payload = b[:p.total], b[p.header:p.total]
	return p, true
}

func parseIP6(b []byte) (p ip, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return p, false
	}
	p.version, p.header, p.total = 6, 40, 40+int(binary.BigEndian.Uint16(b[4:]))
	if p.total > len(b) {
		return p, false
	}
	first := binary.BigEndian.Uint32(b)
	p.tos, p.label, p.protocol, p.ttl = int(first>>20&0xff), first&0xfffff, int(b[6]), int(b[7])
	p.source, p.destination = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	p.packet, p.payload = b[:p.total], b[40:p.total]
	return p, true
}

// routed is the packet after one hop: TTL down by one, and the checksum with it (RFC 1624).
func (p ip) routed() []byte {
	out := append([]byte(nil), p.packet...)
	if p.version == 6 {
		out[7]--
		return out
	}
	out[8]--
	sum := uint32(^binary.BigEndian.Uint16(out[10:])) + 0xfeff
	sum = sum&0xffff + sum>>16
	check := ^uint16(sum)
	binary.BigEndian.PutUint16(out[10:], check)
	return out
}

// choose returns the first rule of an entry that takes the packet; nil: none. rest is what the frame holds from the
// packet on: the program reads ports also beyond the end of an inner packet that is shorter than it should be.
func choose(e session.Entry, p ip, rest []byte) *session.Rule {
	for _, r := range e.Rules {
		from := p.source
		if len(r.Sources) > 0 && !containsAny(r.Sources, from) {
			continue
		}
		if len(r.Filters) == 0 {
			return r
		}
		for _, f := range r.Filters {
			if modelMatch(f, e.Key.Direction, p, rest) {
				return r
			}
		}
	}
	return nil
}

func containsAny(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func modelMatch(f session.Filter, d session.Direction, p ip, rest []byte) bool {
	remote, local := p.source, p.destination
	if d == session.Uplink {
		remote, local = local, remote
	}
	protocol, offset, has := p.upper(rest)
	payload, later := rest[offset:], !has
	switch {
	case f.Protocol.Present && int(f.Protocol.Value) != protocol,
		f.Remote.IsValid() && !f.Remote.Contains(remote), f.Local.IsValid() && !f.Local.Contains(local),
		(uint8(p.tos)^f.ToS)&f.ToSMask != 0, f.FlowLabel.Present && (p.version != 6 || p.label != f.FlowLabel.Value):
		return false
	}
	if len(f.RemotePorts)+len(f.LocalPorts) > 0 {
		hasPorts := protocol == 6 || protocol == 17 || protocol == 33 || protocol == 132 || protocol == 136
		if later || !hasPorts || len(payload) < 4 {
			return false
		}
		from, to := binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])
		if d == session.Uplink {
			from, to = to, from
		}
		if !inRanges(f.RemotePorts, from) || !inRanges(f.LocalPorts, to) {
			return false
		}
	}
	if f.SPI.Present {
		at := map[int]int{50: 0, 51: 4}
		offset, known := at[protocol]
		if later || !known || len(payload) < offset+4 || binary.BigEndian.Uint32(payload[offset:]) != f.SPI.Value {
			return false
		}
	}
	return true
}

func inRanges(ranges []session.Ports, port uint16) bool {
	for _, r := range ranges {
		if port >= r.First && port <= r.Last {
			return true
		}
	}
	return len(ranges) == 0
}

// forward returns the reason and, when the packet is forwarded, the frame.
func (m *model) forward(t testing.TB, port string, frame []byte) (reason string, out []byte) {
	m.t, m.macs, m.octets = t, frame[:12], len(frame)
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x8100, 0x88a8:
		if len(frame) < 18 {
			return "malformed_outer", nil
		}
		return "unexpected_vlan", nil
	case 0x0800:
		return m.ipv4(t, port, frame)
	case 0x86dd:
		return m.ipv6(t, port, frame)
	}
	return "not_ipv4", nil
}

func (m *model) ipv4(t testing.TB, port string, frame []byte) (reason string, out []byte) {
	p, ok := parseIP(frame[14:])
	if !ok {
		return "malformed_outer", nil
	}
	if modelSides[port] == SideCore {
		if e, found := m.byUE(modelInstances[port], p.destination); found {
			return m.downlink(t, port, e, p, frame[14:])
		}
		if m.isUEBlock(modelInstances[port], p.destination) {
			return "no_session", nil
		}
	}
	_, ours := modelSlices[p.destination]
	switch {
	case p.protocol != 17, !ours && p.fragment:
		return "not_ours", nil
	case p.fragment && modelSides[port] == SideCore:
		return "wrong_side", nil
	case p.fragment:
		return "outer_fragment", nil
	}
	return m.udp(port, p, ours)
}

func (m *model) ipv6(t testing.TB, port string, frame []byte) (reason string, out []byte) {
	p, ok := parseIP6(frame[14:])
	if !ok {
		return "malformed_outer", nil
	}
	if modelSides[port] == SideCore {
		if e, found := m.byUE(modelInstances[port], p.destination); found {
			return m.downlink(t, port, e, p, frame[14:])
		}
	}
	_, ours := modelSlices[p.destination]
	extension := map[int]string{0: "outer_extension", 43: "outer_extension", 44: "outer_fragment", 60: "outer_extension"}[p.protocol]
	switch {
	case p.protocol == 17:
		return m.udp(port, p, ours)
	case !ours || extension == "":
		return "not_ours", nil
	case modelSides[port] == SideCore:
		return "wrong_side", nil
	}
	return extension, nil
}

// byUE finds the entry of an address, that with the longest prefix.
func (m *model) byUE(instance pfcp.NetworkInstance, a netip.Addr) (found session.Entry, ok bool) {
	best := -1
	for key, e := range m.entries {
		if byTEID(key) || key.Instance != instance {
			continue
		}
		for _, p := range append([]netip.Prefix{key.UE}, e.Routes...) {
			direct := p == key.UE && (p.Addr().Is4() || p.Bits() == 64)
			if p.Contains(a) && p.Bits() > best && (direct || !isOwn(instance, a)) {
				found, ok, best = e, true, p.Bits()
			}
		}
	}
	return found, ok
}

// isOwn says of an address that it is the node's, or goes to all on the link.
func isOwn(instance pfcp.NetworkInstance, a netip.Addr) bool {
	local := map[pfcp.NetworkInstance][]netip.Addr{"internet": {nodeCore, nodeCore6}, "corp": {otherCore, otherCore6}}[instance]
	if a.Is4() {
		return a.As4()[0] >= 224 || slices.Contains(local, a)
	}
	return a.IsMulticast() || a.IsLinkLocalUnicast() || slices.Contains(local, a)
}

func (m *model) isUEBlock(instance pfcp.NetworkInstance, a netip.Addr) bool {
	if isOwn(instance, a) {
		return false
	}
	if m.blocks != nil {
		return m.blocks[blockKey(1, session.UE(a))]
	}
	for key := range m.entries {
		if key.Direction == session.Downlink && key.Instance == instance && key.UE.Addr().Is4() {
			if b, _ := key.UE.Addr().Prefix(24); b.Contains(a) {
				return true
			}
		}
	}
	return false
}

func (m *model) udp(port string, p ip, ours bool) (reason string, out []byte) {
	u := p.payload
	whole := len(u) >= 8
	length := 0
	if whole {
		length = int(binary.BigEndian.Uint16(u[4:]))
	}
	switch {
	case !whole || length < 8 || length > len(u):
		if ours {
			return "malformed_outer", nil
		}
		return "not_ours", nil
	case binary.BigEndian.Uint16(u[2:]) != 2152:
		return "not_ours", nil
	case ours && modelSides[port] == SideCore:
		return "wrong_side", nil
	}
	return m.gtpu(p, u[8:length], ours, u[8:])
}

// gtpu: g is the datagram's payload. The program looks at the first octets of an incomplete header too: rest is what
// there is in the frame.
func (m *model) gtpu(p ip, g []byte, ours bool, rest []byte) (reason string, out []byte) {
	isGPDU := len(rest) >= 8 && rest[0]>>4 == 3 && rest[1] == 255
	switch {
	case !ours && isGPDU:
		return "not_a_slice", nil
	case !ours:
		return "not_ours", nil
	case len(rest) < 8:
		return "malformed_gtpu", nil
	case !isGPDU:
		return "gtpu_signalling", nil
	}
	if len(g) < 8 || int(binary.BigEndian.Uint16(g[2:]))+8 > len(g) {
		return "malformed_gtpu", nil
	}
	declared := int(binary.BigEndian.Uint16(g[2:]))
	payload := g[8 : 8+declared]
	if g[0]&7 != 0 {
		if len(payload) < 4 {
			return "malformed_gtpu", nil
		}
		next := payload[3]
		payload = payload[4:]
		for n := 0; g[0]&4 != 0 && next != 0; n++ {
			if n == 8 || len(payload) == 0 || payload[0] == 0 || len(payload) < int(payload[0])*4 {
				return "malformed_gtpu", nil
			}
			size := int(payload[0]) * 4
			next, payload = payload[size-1], payload[size:]
		}
	}
	return m.uplink(p, pfcp.TEID(binary.BigEndian.Uint32(g[4:])), payload, rest[len(g)-len(payload)-(len(g)-8-declared):])
}

func (m *model) uplink(outer ip, id pfcp.TEID, payload, rest []byte) (reason string, out []byte) {
	e, known := m.byTEID(modelSlices[outer.destination], id)
	if !known {
		return "unknown_teid", nil
	}
	if len(payload) == 0 {
		return "malformed_inner", nil
	}
	var p ip
	var ok bool
	switch payload[0] >> 4 {
	case 4:
		p, ok = parseIP(payload)
	case 6:
		p, ok = parseIP6(payload)
	default:
		return "inner_not_ipv4", nil
	}
	if !ok {
		return "malformed_inner", nil
	}
	r := choose(e, p, rest)
	if r == nil {
		return modelMismatch(e), nil
	}
	if reason := modelFlags(r); reason != "" {
		m.copyDropped(r)
		return reason, nil
	}
	if r.Remote.IsValid() {
		return m.relay(e, r, outer, p)
	}
	return m.toNetwork(e, r, p, rest)
}

// toNetwork sends what came from a tunnel to the gateway of its network instance.
func (m *model) toNetwork(e session.Entry, r *session.Rule, p ip, rest []byte) (reason string, out []byte) {
	gateway, resolved := modelGateways[r.Instance]
	if p.version == 6 {
		gateway, resolved = modelGateways6[r.Instance]
	}
	switch {
	case p.ttl <= 1:
		return m.tellUE("ttl_expired", r.Instance, p, m.octets-len(rest))
	case !resolved:
		return "next_hop_unresolved", nil
	case p.total > accessMTU && !modelMayFragment(p):
		return m.tellUE("too_big", r.Instance, p, m.octets-len(rest))
	}
	m.copies += len(r.Copies)
	if r.Redirect != (session.Redirect{}) {
		var ok bool
		if p, ok = p.redirected(r.Redirect, rest); !ok {
			return "no_redirect", nil
		}
	}
	m.count(e, r)
	if p.total > accessMTU {
		return "fragmented", p.routed()
	}
	return "uplink_forwarded", framed(p, gateway.local, gateway.remote, p.routed())
}

func (m *model) byTEID(slice netip.Addr, id pfcp.TEID) (e session.Entry, ok bool) {
	for _, d := range []session.Direction{session.Uplink, session.Downlink} {
		if e, ok = m.entries[session.Key{Direction: d, Local: slice, TEID: id}]; ok {
			return e, ok
		}
	}
	return e, false
}

// ruleOf names a rule of an entry.
func ruleOf(e session.Entry, r *session.Rule) string {
	return fmt.Sprintf("%v PDR %d", e.Key, r.Origin.PDRID)
}

func (m *model) count(e session.Entry, r *session.Rule) {
	m.packets[e.Key]++
	m.rules[ruleOf(e, r)]++
}

// copyDropped: a packet that a FAR drops is copied, unless it would not have come so far.
func (m *model) copyDropped(r *session.Rule) {
	if r.Action == session.ActionDrop && !r.GateClosed {
		m.copies += len(r.Copies)
	}
}

// relay sends what came from a tunnel into another, between UE and control plane.
func (m *model) relay(e session.Entry, r *session.Rule, outer, p ip) (reason string, out []byte) {
	packet := p.packet
	if r.KeepHeader {
		packet = outer.packet
	}
	overhead, resolved := modelOverhead[r.Remote]
	switch {
	case !resolved:
		return "next_hop_unresolved", nil
	case len(packet)+overhead > accessMTU:
		return "too_big", nil
	}
	m.copies += len(r.Copies)
	n := m.packets[e.Key]
	m.count(e, r)
	return [...]string{"uplink_forwarded", "downlink_forwarded"}[e.Key.Direction], m.encapsulated(r, n, packet)
}

// redirected is the packet with another destination; false when there is none of its family. rest is what the frame
// holds from the packet on.
func (p ip) redirected(to session.Redirect, rest []byte) (ip, bool) {
	a := to.IPv4
	if p.version == 6 {
		a = to.IPv6
	}
	if !a.IsValid() {
		return p, false
	}
	whole := append([]byte(nil), rest...) // checksums beyond the packet's end are mended, and then cut off
	at := map[int]int{4: 16, 6: 24}[p.version]
	old := append([]byte(nil), whole[at:at+a.BitLen()/8]...)
	copy(whole[at:], a.AsSlice())
	if p.version == 4 {
		adjust(whole[10:], old, a.AsSlice())
	}
	protocol, offset, has := p.upper(whole)
	if check, known := map[int]int{6: 16, 17: 6, 33: 6, 136: 6, 58: 2}[protocol]; has && known && (protocol != 58 || p.version == 6) {
		size := map[int]int{6: 20, 58: 4}[protocol]
		none := protocol == 17 && len(whole) >= offset+8 && whole[offset+check] == 0 && whole[offset+check+1] == 0
		if len(whole) >= offset+max(size, map[bool]int{true: 8}[size == 0]) && !none {
			adjust(whole[offset+check:], old, a.AsSlice())
			if protocol == 17 && whole[offset+check] == 0 && whole[offset+check+1] == 0 {
				whole[offset+check], whole[offset+check+1] = 0xff, 0xff
			}
		}
	}
	p.packet = whole[:p.total]
	return p, true
}

// adjust mends a checksum for octets that changed, RFC 1624 equation 3.
func adjust(check, old, next []byte) {
	sum := uint64(^binary.BigEndian.Uint16(check))
	for i := 0; i < len(old); i += 2 {
		sum += uint64(^binary.BigEndian.Uint16(old[i:])) + uint64(binary.BigEndian.Uint16(next[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(check, ^uint16(sum))
}

// upper is where the upper layer's header begins; has is false when there is none here, as in a later fragment.
func (p ip) upper(rest []byte) (protocol, offset int, has bool) {
	protocol, offset = p.protocol, p.header
	if p.version == 4 {
		return protocol, offset, !p.later
	}
	for range 4 { // hop-by-hop, routing, fragment, destination options
		if protocol != 0 && protocol != 43 && protocol != 44 && protocol != 60 {
			break
		}
		if len(rest) < offset+8 {
			return protocol, offset, false
		}
		header, size := rest[offset:], 8
		later := protocol == 44 && binary.BigEndian.Uint16(header[2:])&0xfff8 != 0
		if protocol != 44 {
			size = 8 + 8*int(header[1])
		}
		protocol = int(header[0])
		if later || len(header) < size {
			return protocol, offset, false
		}
		offset += size
	}
	return protocol, offset, true
}

// modelMismatch is why no rule takes a packet: a single rule without filters only looks at the source.
func modelMismatch(e session.Entry) string {
	if len(e.More)+len(e.Filters) == 0 && len(e.Sources) <= 2 {
		return "source_mismatch"
	}
	return "no_rule"
}

func framed(p ip, from, to net.HardwareAddr, packet []byte) []byte {
	out := plain(nil, from, to, packet)
	if p.version == 6 {
		out[12], out[13] = 0x86, 0xdd
	}
	return out
}

func (m *model) downlink(t testing.TB, port string, e session.Entry, p ip, rest []byte) (reason string, out []byte) {
	r := choose(e, p, rest)
	if r == nil {
		return "no_rule", nil
	}
	if reason := modelFlags(r); reason != "" {
		m.copyDropped(r)
		return reason, nil
	}
	overhead, resolved := modelOverhead[r.Remote]
	if r.QFI.Present {
		overhead += 8
	}
	switch {
	case p.ttl <= 1:
		return m.tellNetwork("ttl_expired", port, p, 0)
	case !resolved:
		return "next_hop_unresolved", nil
	case p.total+overhead > accessMTU && !modelMayFragment(p):
		return m.tellNetwork("too_big", port, p, accessMTU-overhead)
	}
	n := m.packets[e.Key]
	m.copies += len(r.Copies)
	m.count(e, r)
	if p.total+overhead > accessMTU {
		return "fragmented", p.routed()
	}
	return "downlink_forwarded", m.encapsulated(r, n, p.routed())
}

// encapsulated is a packet in the tunnel of a rule, the n-th of the rule's entry.
func (m *model) encapsulated(r *session.Rule, n int, packet []byte) []byte {
	if r.Remote.Is6() {
		return encapsulated6(m.t, r.Local, r.Remote, r.RemoteTEID, packet, modelOuter(r))
	}
	return encapsulated(m.t, r.Remote, r.RemoteTEID, n, packet)
}

// modelMayFragment says whether a packet may leave in fragments, of its outer packet if it has one.
func modelMayFragment(p ip) bool {
	const room = 2048 // of what the slow path is handed
	return p.version == 4 && binary.BigEndian.Uint16(p.packet[6:])&0x4000 == 0 && p.total <= room
}

// modelOuter is what a rule says of the outer header.
func modelOuter(r *session.Rule) func(*layers.IPv6, *layers.GTPv1U) {
	return func(ip *layers.IPv6, g *layers.GTPv1U) {
		ip.TrafficClass = uint8(r.Marking.Value>>8) & uint8(r.Marking.Value)
		if r.QFI.Present {
			g.ExtensionHeaderFlag = true
			g.GTPExtensionHeaders = []layers.GTPExtensionHeader{{Type: 0x85, Content: []byte{0, r.QFI.Value}}}
		}
	}
}

func modelFlags(e *session.Rule) string {
	switch {
	case e.Action == session.ActionDrop:
		return "far_drop"
	case e.GateClosed:
		return "gate_closed"
	case e.Action == session.ActionNoHeader:
		return "no_outer_header"
	}
	return ""
}

// compare sends a frame through the program and through the model.
func (w *world) compare(t testing.TB, m *model, port string, frame []byte) {
	t.Helper()
	w.t = t
	before, copies, made := w.reasons(), w.copies(), m.copies
	reason, out := m.forward(t, port, frame)
	verdict, got := w.run(port, frame, 0)
	counted := difference(before, w.reasons())
	require.Equal(t, copies+m.copies-made, w.copies(), "copies of %s: % x", port, frame)
	if reason == "source_mismatch" && counted["no_rule"] == 1 {
		reason = "no_rule" // the rule changed while it was in use, and stands in a set since
	}
	require.Equal(t, map[string]uint64{reason: 1}, counted, "%s: % x", port, frame)
	handed := w.handed()
	require.LessOrEqual(t, len(handed), m.copies-made+1)
	if reason == "fragmented" {
		require.EqualValues(t, xdpDrop, verdict)
		last := handed[len(handed)-1]
		require.Equal(t, map[string]EventKind{"access0": EventRouted, "core0": EventFragment, "core1": EventFragment}[port], last.Kind)
		require.Equal(t, spacedHex(out), spacedHex(last.Packet))
		return
	}
	if out != nil {
		back := port == "access0" && out[4] == accessGW[4] || strings.HasPrefix(reason, "too_big") || strings.HasPrefix(reason, "ttl_expired")
		require.EqualValues(t, map[bool]int{true: xdpTx, false: xdpRedirect}[back], verdict)
		require.Equal(t, spacedHex(out), spacedHex(got), "%s: % x", port, frame)
		return
	}
	require.Contains(t, []uint32{xdpPass, xdpDrop}, verdict)
	if reason == "too_big" || reason == "ttl_expired" { // no message came of it, perhaps only in the end
		return
	}
	require.Equal(t, spacedHex(frame), spacedHex(got), "a packet that is not forwarded is not touched")
}

// copies is how many the program has made or lost.
func (w *world) copies() int {
	w.t.Helper()
	counts, err := w.d.Reader().Copies()
	require.NoError(w.t, err)
	return int(counts.Made + counts.Lost)
}

// modelEntries are packetEntries without policers.
func modelEntries() (entries []session.Entry) {
	for _, e := range slices.Concat(packetEntries(), outer6Entries(), specialEntries(), tooBigEntries()) {
		if e.MBR == 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// seedFrames are the frames of the packet tests.
func seedFrames(t testing.TB) (frames [][]byte) {
	for _, row := range slices.Concat(uplinkRows(t), downlinkRows(t), outer6Rows(t), specialRows(t), tooBigRows(t), ttlRows(t)) {
		frames = append(frames, row.frame)
	}
	return frames
}

var modelPorts = []string{"access0", "core0", "core1"}

// TestModel sends mutated frames through the program and the model, which must agree on reason and octets.
func TestModel(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.Peers = 8 })
	w.apply(modelEntries()...)
	m, r, seeds := newModel(modelEntries()), random(2), seedFrames(t)
	for range 20_000 {
		w.compare(t, m, modelPorts[r.IntN(len(modelPorts))], mutate(r, seeds[r.IntN(len(seeds))]))
	}
}

// mutate changes a frame in the ways that parsers fear: cut, grown, and with octets and lengths of all values. Every
// other time it leaves the Ethernet header alone, so that more than that is tried.
func mutate(r *rand.Rand, frame []byte) []byte {
	frame = append([]byte(nil), frame...)
	for range r.IntN(4) {
		at := 14 * r.IntN(2)
		at += r.IntN(max(1, min(len(frame), 120)-at))
		switch r.IntN(6) {
		case 0:
			frame[min(at, len(frame)-1)] = byte(r.Uint32())
		case 1:
			frame[min(at, len(frame)-1)] ^= 1 << r.IntN(8)
		case 2:
			frame = frame[:max(14, r.IntN(len(frame)+1))]
		case 3:
			frame = append(frame, make([]byte, r.IntN(40))...)
		case 4:
			frame[min(at, len(frame)-1)] += byte(r.IntN(9)) - 4
		case 5:
			lengths := []int{16, 18, 38, 44, 52, 58, 64, 72}
			if l := lengths[r.IntN(len(lengths))]; l+2 <= len(frame) {
				patch16(frame, l, len(frame)-l+r.IntN(9)-4)
			}
		}
	}
	return frame
}

// FuzzFrames compares program and model on whatever the fuzzer thinks of.
func FuzzFrames(f *testing.F) {
	for _, frame := range seedFrames(f) {
		for port := range modelPorts {
			f.Add(uint8(port), frame)
		}
	}
	w := newWorldWith(f, func(c *Config) { c.Peers = 8 })
	w.apply(modelEntries()...)
	m := newModel(modelEntries())
	f.Fuzz(func(t *testing.T, port uint8, frame []byte) {
		if len(frame) < 14 || len(frame) > 3000 {
			return // the kernel's test runner takes no others
		}
		w.compare(t, m, modelPorts[int(port)%len(modelPorts)], frame)
	})
}

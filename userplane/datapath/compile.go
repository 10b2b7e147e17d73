package datapath

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// compiled is an entry as the maps will have it, but for the numbers of peers, cells and meters.
type compiled struct {
	key     uint32 // as it stands in the packet: TEID or UE address, or enum ue_key
	prefix  uint64 // network order in memory: see struct entry
	plain   bool   // one rule that needs no set
	rules   []compiledRule
	filters []pgwuFilter // of a set; Rule is an index of rules
	origin  pgwuOrigin
}

// compiledRule is a rule likewise.
type compiledRule struct {
	flags    uint16
	value    uint32 // source or remote TEID, as it stands in the packet
	peer     peerKey
	instance pfcp.NetworkInstance // without ENTRY_TUNNEL
	rate     uint32               // kbit/s; of its own policer
	meters   []session.Meter
	cells    []session.CellID
	tos      uint8
	tosMask  uint8
	redirect session.Redirect
	copies   []copyTo
	origin   pgwuOrigin
}

// copyTo is a tunnel that gets a copy.
type copyTo struct {
	teid uint32 // as it stands in the packet
	peer peerKey
}

// isSpecial says whether the rule wants something beside sending the packet.
func (c *compiledRule) isSpecial() bool { return c.redirect != session.Redirect{} || len(c.copies) > 0 }

// compile refuses what the program cannot do, with ErrUnsupported.
func compile(e session.Entry) (compiled, error) { return compileAs(e, true) }

// compileAs: a rule that needs no set may have one all the same.
func compileAs(e session.Entry, plain bool) (compiled, error) {
	c := compiled{origin: originOf(e.Origin)}
	if err := c.setKey(e); err != nil {
		return c, err
	}
	for i, r := range e.Rules {
		rule, err := compileRule(e.Key, r)
		if err != nil {
			return c, fmt.Errorf("rule %d: %w", i, err)
		}
		c.rules = append(c.rules, rule)
	}
	if plain && c.setPlain(e) {
		return c, nil
	}
	all := c.rules
	c.rules = nil
	for i, r := range e.Rules {
		own := &all[i]
		own.flags &^= flagCheckSource
		if len(own.meters) > maxRuleMeters || len(own.cells) > maxRuleCells {
			return c, fmt.Errorf("%w: rule %d has %d meters and %d cells, at most %d and %d", ErrUnsupported,
				i, len(own.meters), len(own.cells), maxRuleMeters, maxRuleCells)
		}
		filters, err := expand(r, e.Key.Direction)
		if err != nil {
			return c, fmt.Errorf("rule %d: %w", i, err)
		}
		if len(filters) == 0 {
			continue // no packet matches it
		}
		for _, f := range filters {
			f.Rule = uint32(len(c.rules))
			c.filters = append(c.filters, f)
		}
		c.rules = append(c.rules, *own)
	}
	if len(c.filters) > maxFilters {
		return c, fmt.Errorf("%w: %d filters, at most %d", ErrUnsupported, len(c.filters), maxFilters)
	}
	return c, nil
}

const (
	flagCheckSource = uint16(pgwuEntryFlagENTRY_CHECK_SOURCE)
	flagTunnel      = uint16(pgwuEntryFlagENTRY_TUNNEL)
	flagSet         = uint16(pgwuEntryFlagENTRY_SET)

	maxFilters    = 32 // SET_LARGE of bpf/layout.h
	maxRuleMeters = 4
	maxRuleCells  = 6
	maxRuleCopies = 4

	keyPrefix6 = uint32(pgwuUeKeyUE_PREFIX6)
	keyRouted  = uint32(pgwuUeKeyUE_ROUTED)
)

// setKey settles what identifies the entry in its slot.
func (c *compiled) setKey(e session.Entry) error {
	if e.Key.Direction > session.Downlink {
		return fmt.Errorf("%w: direction %d", ErrUnsupported, e.Key.Direction)
	}
	if byTEID(e.Key) {
		if e.Key.TEID == 0 {
			return fmt.Errorf("%w: TEID 0", ErrUnsupported)
		}
		c.key = teidOnWire(e.Key.TEID)
		return nil
	}
	if !e.Key.UE.IsValid() || e.Key.UE.Addr().IsUnspecified() || e.Key.UE.Masked() != e.Key.UE {
		return fmt.Errorf("%w: UE address %v", ErrUnsupported, e.Key.UE)
	}
	c.key = wireKey(e.Key)
	if c.key == keyPrefix6 {
		c.prefix = upperHalf(e.Key.UE.Addr())
	}
	return nil
}

// byTEID says whether the key is looked up by F-TEID.
func byTEID(key session.Key) bool { return key.Direction == session.Uplink || key.TEID != 0 }

// setPlain makes the entry one without set, if it can be.
func (c *compiled) setPlain(e session.Entry) bool {
	r := &c.rules[0]
	if len(e.More)+len(e.Filters)+len(e.QFIs)+len(r.meters) > 0 || len(r.cells) > 1 || r.tosMask != 0 || r.isSpecial() {
		return false
	}
	if byTEID(e.Key) && e.Key.Direction == session.Uplink {
		if r.flags&flagTunnel != 0 || !c.setSources(e.Sources) {
			return false // the program takes a plain entry with a tunnel for one of the CP function
		}
	} else if len(e.Sources) > 0 || e.Key.TEID != 0 && r.flags&flagTunnel == 0 {
		return false
	}
	c.plain = true
	return true
}

// setSources puts the sources to check into a plain entry: one IPv4 address, one IPv6 /64, or both.
func (c *compiled) setSources(sources []netip.Prefix) bool {
	var source uint32
	var prefix uint64
	for _, s := range sources {
		switch {
		case isHost4(s) && source == 0 && !s.Addr().IsUnspecified():
			source = onWire(s.Addr())
		case s.Addr().Is6() && s.Bits() == 64 && prefix == 0 && upperHalf(s.Addr()) != 0:
			prefix = upperHalf(s.Addr())
		default:
			return false
		}
	}
	if len(sources) > 0 {
		c.rules[0].flags |= flagCheckSource
		c.rules[0].value, c.prefix = source, prefix
	}
	return true
}

func compileRule(key session.Key, r *session.Rule) (compiledRule, error) {
	c := compiledRule{
		flags:    uint16(pgwuEntryFlagENTRY_VALID),
		rate:     uint32(min(r.MBR, math.MaxUint32)), // 4.29 Tbit/s: no port is faster
		meters:   r.Meters,
		cells:    r.Cells,
		instance: r.Instance,
		origin:   originOf(r.Origin),
	}
	if r.GateClosed {
		c.flags |= uint16(pgwuEntryFlagENTRY_GATE_CLOSED)
	}
	if c.redirect = r.Redirect; c.redirect != (session.Redirect{}) {
		c.flags |= uint16(pgwuEntryFlagENTRY_REDIRECT)
	}
	for _, to := range r.Copies {
		peer := peerKey{local: to.Local, remote: to.Remote, tos: to.ToS, qfi: noQFI}
		if err := peer.check(); err != nil {
			return c, err
		}
		c.copies = append(c.copies, copyTo{teidOnWire(to.TEID), peer})
	}
	switch r.Action {
	case session.ActionForward:
		if key.Direction == session.Downlink && !r.Remote.IsValid() {
			return c, fmt.Errorf("%w: forwarding to access without tunnel", ErrUnsupported)
		}
	case session.ActionDrop:
		c.flags |= uint16(pgwuEntryFlagENTRY_DROP)
	case session.ActionNoHeader:
		c.flags |= uint16(pgwuEntryFlagENTRY_NO_HEADER)
	case session.ActionBuffer:
		c.flags |= uint16(pgwuEntryFlagENTRY_BUFFER)
	default:
		return c, fmt.Errorf("%w: action %d", ErrUnsupported, r.Action)
	}
	return c, c.setWay(key, r)
}

// setWay settles whether the packet leaves by a tunnel.
func (c *compiledRule) setWay(key session.Key, r *session.Rule) error {
	mark, mask := uint8(r.Marking.Value>>8), uint8(r.Marking.Value)
	if !r.Remote.IsValid() {
		if r.Marking.Present {
			c.tos, c.tosMask = mark, mask
		}
		return nil
	}
	c.flags |= flagTunnel
	if r.KeepHeader {
		c.flags |= uint16(pgwuEntryFlagENTRY_WHOLE)
	}
	c.value = teidOnWire(r.RemoteTEID)
	c.peer = peerKey{local: r.Local, remote: r.Remote, qfi: noQFI}
	if err := c.peer.check(); err != nil {
		return err
	}
	if r.Marking.Present {
		c.peer.tos = mark & mask
	}
	if r.QFI.Present {
		c.peer.qfi = r.QFI.Value & 0x3f
	}
	return nil
}

// expand turns the filters of a rule into those of the program, which have one range of ports, one source and one QFI
// each.
func expand(r *session.Rule, d session.Direction) ([]pgwuFilter, error) {
	filters := r.Filters
	if len(filters) == 0 {
		filters = []session.Filter{{}}
	}
	var all []pgwuFilter
	for _, f := range filters {
		base, ok := filterOf(f)
		if !ok {
			continue
		}
		for _, locals := range localsOf(f.Local, r.Sources, d) {
			at := base
			if !setPrefix(&at, &at.Local, &at.LocalBits, &at.LocalShift, locals) {
				continue // of the other family than the remote end
			}
			for _, remotePorts := range rangesOf(f.RemotePorts) {
				for _, localPorts := range rangesOf(f.LocalPorts) {
					at.RemoteFirst, at.RemoteMore = remotePorts.First, remotePorts.Last-remotePorts.First
					at.LocalFirst, at.LocalMore = localPorts.First, localPorts.Last-localPorts.First
					all = append(all, withQFIs(at, r.QFIs)...)
					if len(all) > maxFilters {
						return nil, fmt.Errorf("%w: more than %d filters", ErrUnsupported, maxFilters)
					}
				}
			}
		}
	}
	return all, nil
}

func withQFIs(f pgwuFilter, qfis []uint8) []pgwuFilter {
	if len(qfis) == 0 {
		return []pgwuFilter{f}
	}
	var all []pgwuFilter
	for _, qfi := range qfis {
		at := f
		demand(&at, uint32(qfi)<<pgwuTraitTRAIT_QFI_SHIFT, 0xff<<pgwuTraitTRAIT_QFI_SHIFT)
		all = append(all, at)
	}
	return all
}

// localsOf are the UE's ends that a filter allows: of an uplink packet its own and the rule's sources at once.
func localsOf(local netip.Prefix, sources []netip.Prefix, d session.Direction) []netip.Prefix {
	if d == session.Downlink || len(sources) == 0 {
		return []netip.Prefix{local}
	}
	if !local.IsValid() {
		return sources
	}
	var both []netip.Prefix
	for _, s := range sources {
		switch {
		case !s.Overlaps(local):
		case s.Bits() > local.Bits():
			both = append(both, s)
		default:
			both = append(both, local)
		}
	}
	return both
}

func rangesOf(ports []session.Ports) []session.Ports {
	if len(ports) == 0 {
		return []session.Ports{{First: 0, Last: math.MaxUint16}}
	}
	return ports
}

// demand has a filter look at those bits of the packet's traits.
func demand(f *pgwuFilter, traits, mask uint32) {
	f.Traits |= traits
	f.Mask |= mask
}

// filterOf is what filters that come of f have in common; false when no packet matches: an IPv4 address with a flow label.
func filterOf(f session.Filter) (pgwuFilter, bool) {
	c := pgwuFilter{RemoteShift: 64, LocalShift: 64}
	demand(&c, uint32(f.ToS&f.ToSMask)<<pgwuTraitTRAIT_TOS_SHIFT, uint32(f.ToSMask)<<pgwuTraitTRAIT_TOS_SHIFT)
	if f.Protocol.Present {
		demand(&c, uint32(f.Protocol.Value)<<pgwuTraitTRAIT_PROTOCOL_SHIFT, 0xff<<pgwuTraitTRAIT_PROTOCOL_SHIFT)
	}
	if len(f.RemotePorts)+len(f.LocalPorts) > 0 {
		demand(&c, uint32(pgwuTraitTRAIT_PORTS), uint32(pgwuTraitTRAIT_PORTS))
	}
	if f.SPI.Present {
		demand(&c, uint32(pgwuTraitTRAIT_SPI), uint32(pgwuTraitTRAIT_SPI))
		c.Spi = f.SPI.Value
	}
	if f.FlowLabel.Present {
		demand(&c, traitIPv6, traitIPv6|uint32(pgwuTraitTRAIT_FLOW_LABEL))
		c.FlowLabel = f.FlowLabel.Value
	}
	return c, setPrefix(&c, &c.Remote, &c.RemoteBits, &c.RemoteShift, f.Remote)
}

const traitIPv6 = uint32(pgwuTraitTRAIT_IPV6)

// setPrefix has a filter look at an address, and so at its family; false when it wants the other one already.
func setPrefix(f *pgwuFilter, words *[2]uint64, bits, shift *uint8, p netip.Prefix) bool {
	if !p.IsValid() {
		return true
	}
	family := uint32(0)
	if p.Addr().Is6() {
		family = traitIPv6
	}
	if f.Mask&traitIPv6 != 0 && f.Traits&traitIPv6 != family {
		return false
	}
	demand(f, family, traitIPv6)
	*words, *bits, *shift = addressWords(p.Masked().Addr()), uint8(p.Bits()), uint8(64-min(p.Bits(), 64))
	if p.Bits() > 64 {
		f.Mask |= uint32(pgwuTraitTRAIT_LONG)
	}
	return true
}

// addressWords is an address as struct filter has it.
func addressWords(a netip.Addr) [2]uint64 {
	if a.Is4() {
		octets := a.As4()
		return [2]uint64{uint64(binary.BigEndian.Uint32(octets[:])) << 32, 0}
	}
	octets := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(octets[:8]), binary.BigEndian.Uint64(octets[8:])}
}

func originOf(o session.Origin) pgwuOrigin {
	c := pgwuOrigin{
		Seid: uint64(o.SEID), PdrId: uint16(o.PDRID), FarId: uint32(o.FARID),
		QerId: uint32(o.QERID.Value), UrrId: uint32(o.URRID.Value), Precedence: uint32(o.Precedence),
	}
	if o.QERID.Present {
		c.HasQer = 1
	}
	if o.URRID.Present {
		c.HasUrr = 1
	}
	return c
}

func (c *pgwuOrigin) session() session.Origin {
	o := session.Origin{
		SEID: pfcp.SEID(c.Seid), PDRID: pfcp.PDRID(c.PdrId), FARID: pfcp.FARID(c.FarId),
		Precedence: pfcp.Precedence(c.Precedence),
	}
	if c.HasQer != 0 {
		o.QERID = pfcp.Some(pfcp.QERID(c.QerId))
	}
	if c.HasUrr != 0 {
		o.URRID = pfcp.Some(pfcp.URRID(c.UrrId))
	}
	return o
}

func actionOf(flags uint16) session.Action {
	switch {
	case flags&uint16(pgwuEntryFlagENTRY_DROP) != 0:
		return session.ActionDrop
	case flags&uint16(pgwuEntryFlagENTRY_NO_HEADER) != 0:
		return session.ActionNoHeader
	case flags&uint16(pgwuEntryFlagENTRY_BUFFER) != 0:
		return session.ActionBuffer
	default:
		return session.ActionForward
	}
}

// pseudoChecksum is the ones' complement sum of the pseudo-header of a UDP datagram over IPv6 without its length, in the
// byte order of the packet.
func pseudoChecksum(local, remote netip.Addr) uint16 {
	const udp = 17
	l, r := local.As16(), remote.As16()
	return sumOf(append(append(l[:], r[:]...), 0, udp))
}

// outerChecksum is the ones' complement sum of the outer IPv4 header that bpf/gtpu.h writes, with total length,
// identification and checksum 0, in the byte order of the packet.
func outerChecksum(local, remote netip.Addr, tos uint8) uint16 {
	const ttl, udp = 64, 17
	header := make([]byte, 20)
	header[0], header[1], header[8], header[9] = 0x45, tos, ttl, udp
	l, r := local.As4(), remote.As4()
	copy(header[12:], l[:])
	copy(header[16:], r[:])
	return sumOf(header)
}

// sumOf is the ones' complement sum of an even number of octets, in the byte order of the packet.
func sumOf(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.NativeEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

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
	key     uint32 // with prefix: whose it is, see struct entry
	prefix  uint64
	plain   bool // one rule that needs no set
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

// flagsAnswer: the slow path answers.
const flagsAnswer = uint16(pgwuEntryFlagENTRY_BUFFER) | uint16(pgwuEntryFlagENTRY_REDIRECT)

// copyTo is a tunnel that gets a copy.
type copyTo struct {
	teid uint32 // as it stands in the packet
	peer peerKey
}

// isSpecial says whether the rule wants something beside sending the packet.
func (c *compiledRule) isSpecial() bool { return c.redirect != session.Redirect{} || len(c.copies) > 0 }

// compile refuses what session.Compile never makes, with ErrInvalid.
func (t *tables) compile(e session.Entry) (compiled, error) { return t.compileAs(e, true) }

// compileAs: a rule that needs no set may have one all the same.
func (t *tables) compileAs(e session.Entry, plain bool) (compiled, error) {
	c := compiled{origin: originOf(e.Origin)}
	if err := checkKey(e.Key); err != nil {
		return c, err
	}
	c.key, c.prefix = t.identity(e.Key)
	for i, r := range e.Rules {
		rule, err := compileRule(e.Key, r)
		if err != nil {
			return c, fmt.Errorf("rule %d: %w", i, err)
		}
		if e.Celled {
			rule.flags |= flagCelled
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
		if len(own.meters) > session.MaxMeters || len(own.cells) > session.MaxCells || len(own.copies) > session.MaxCopies {
			return c, fmt.Errorf("%w: rule %d has %d meters, %d cells and %d copies", ErrInvalid, i, len(own.meters), len(own.cells), len(own.copies))
		}
		matches := r.Matches(e.Key.Direction)
		if len(matches) == 0 {
			continue // no packet matches it
		}
		for i := range matches {
			f := filterOf(&matches[i])
			f.Rule = uint32(len(c.rules))
			c.filters = append(c.filters, f)
		}
		c.rules = append(c.rules, *own)
	}
	if len(c.filters) > session.MaxMatches {
		return c, fmt.Errorf("%w: %d filters", ErrInvalid, len(c.filters))
	}
	return c, nil
}

// The program's tables are made for as much as session.Compile lets pass.
var (
	_ = [1]struct{}{}[len(pgwuRule{}.Meters)-session.MaxMeters]
	_ = [1]struct{}{}[len(pgwuRule{}.Cells)-session.MaxCells]
	_ = [1]struct{}{}[len(pgwuSpecial{}.Copies)-session.MaxCopies]
	_ = [1]struct{}{}[len(pgwuSetLarge{}.Filters)-session.MaxMatches]
)

const (
	flagCheckSource = uint16(pgwuEntryFlagENTRY_CHECK_SOURCE)
	flagTunnel      = uint16(pgwuEntryFlagENTRY_TUNNEL)
	flagSet         = uint16(pgwuEntryFlagENTRY_SET)
	flagCelled      = uint16(pgwuEntryFlagENTRY_CELLED)

	keyPrefix6 = uint32(pgwuUeKeyUE_PREFIX6) // the number of the network instance stands above it
	keyRouted  = uint32(pgwuUeKeyUE_ROUTED)
)

// checkKey refuses what no entry has for a key.
func checkKey(key session.Key) error {
	switch {
	case key.Direction > session.Downlink:
		return fmt.Errorf("%w: direction %d", ErrInvalid, key.Direction)
	case byTEID(key):
		if key.TEID == 0 {
			return fmt.Errorf("%w: TEID 0", ErrInvalid)
		}
	case !key.UE.IsValid() || key.UE.Addr().IsUnspecified() || key.UE.Masked() != key.UE:
		return fmt.Errorf("%w: UE address %v", ErrInvalid, key.UE)
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
	case session.ActionForward, session.ActionDrain:
		if r.Action == session.ActionDrain {
			c.flags |= uint16(pgwuEntryFlagENTRY_BUFFER) | uint16(pgwuEntryFlagENTRY_DRAINING)
		}
		if key.Direction == session.Downlink && !r.Remote.IsValid() {
			return c, fmt.Errorf("%w: forwarding to access without tunnel", ErrInvalid)
		}
	case session.ActionDrop:
		c.flags |= uint16(pgwuEntryFlagENTRY_DROP)
	case session.ActionNoHeader:
		c.flags |= uint16(pgwuEntryFlagENTRY_NO_HEADER)
	case session.ActionAnswer:
		c.flags |= flagsAnswer
	case session.ActionBuffer:
		c.flags |= uint16(pgwuEntryFlagENTRY_BUFFER)
	default:
		return c, fmt.Errorf("%w: action %d", ErrInvalid, r.Action)
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

// filterOf is a match as the program has it.
func filterOf(m *session.Match) pgwuFilter {
	c := pgwuFilter{
		RemoteFirst: m.Remotes.First, RemoteMore: m.Remotes.Last - m.Remotes.First,
		LocalFirst: m.Locals.First, LocalMore: m.Locals.Last - m.Locals.First,
		RemoteShift: 64, LocalShift: 64,
	}
	demand(&c, uint32(m.ToS&m.ToSMask)<<pgwuTraitTRAIT_TOS_SHIFT, uint32(m.ToSMask)<<pgwuTraitTRAIT_TOS_SHIFT)
	if m.Protocol.Present {
		demand(&c, uint32(m.Protocol.Value)<<pgwuTraitTRAIT_PROTOCOL_SHIFT, 0xff<<pgwuTraitTRAIT_PROTOCOL_SHIFT)
	}
	if m.HasPorts {
		demand(&c, uint32(pgwuTraitTRAIT_PORTS), uint32(pgwuTraitTRAIT_PORTS))
	}
	if m.SPI.Present {
		demand(&c, uint32(pgwuTraitTRAIT_SPI), uint32(pgwuTraitTRAIT_SPI))
		c.Spi = m.SPI.Value
	}
	if m.FlowLabel.Present {
		demand(&c, traitIPv6, traitIPv6|uint32(pgwuTraitTRAIT_FLOW_LABEL))
		c.FlowLabel = m.FlowLabel.Value
	}
	if m.QFI.Present {
		demand(&c, uint32(m.QFI.Value)<<pgwuTraitTRAIT_QFI_SHIFT, 0xff<<pgwuTraitTRAIT_QFI_SHIFT)
	}
	setPrefix(&c, &c.Remote, &c.RemoteBits, &c.RemoteShift, m.Remote)
	setPrefix(&c, &c.Local, &c.LocalBits, &c.LocalShift, m.Local)
	return c
}

// demand has a filter look at those bits of the packet's traits.
func demand(f *pgwuFilter, traits, mask uint32) {
	f.Traits |= traits
	f.Mask |= mask
}

const traitIPv6 = uint32(pgwuTraitTRAIT_IPV6)

// setPrefix has a filter look at an address, and so at its family.
func setPrefix(f *pgwuFilter, words *[2]uint64, bits, shift *uint8, p netip.Prefix) {
	if !p.IsValid() {
		return
	}
	family := uint32(0)
	if p.Addr().Is6() {
		family = traitIPv6
	}
	demand(f, family, traitIPv6)
	*words, *bits, *shift = addressWords(p.Masked().Addr()), uint8(p.Bits()), uint8(64-min(p.Bits(), 64))
	if p.Bits() > 64 {
		f.Mask |= uint32(pgwuTraitTRAIT_LONG)
	}
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
	case flags&uint16(pgwuEntryFlagENTRY_DRAINING) != 0:
		return session.ActionDrain
	case flags&flagsAnswer == flagsAnswer:
		return session.ActionAnswer
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

// outerLength is how many octets bpf/gtpu.h writes before an inner packet: IP, UDP, GTP-U, and the PDU Session Container.
func outerLength(key peerKey) uint16 {
	const ipv4, ipv6, udpAndGTPU, container = 20, 40, 8 + 8, 8
	length := uint16(ipv4 + udpAndGTPU)
	if key.remote.Is6() {
		length = ipv6 + udpAndGTPU
	}
	if key.qfi != noQFI {
		length += container
	}
	return length
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

package diameter

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

// Bits of an AVP's flags, RFC 6733 4.1.
const (
	flagVendor    = 1 << 7
	flagMandatory = 1 << 6
)

// usualAVPs is how many AVPs a request of S6a has at most, mostly.
const usualAVPs = 16

// maxDepth bounds how deep groups may nest; S6a's deepest tree has 5 levels.
const maxDepth = 8

// maxAVPs bounds how many AVPs a message may have, those in groups included: an empty one is 8 octets on the wire and 72 in
// memory. The largest message of S6a has some 200.
const maxAVPs = 2048

const codeFailedAVP = 279 // RFC 6733 7.5

// AVP is one attribute-value pair. Of a Grouped AVP Members are set, of any other Data.
type AVP struct {
	Code, Vendor uint32
	Mandatory    bool
	Def          *AVPDef // nil when the dictionary does not know it
	Data         []byte  // network order; of a received AVP part of the message's buffer, not to be changed
	Members      []AVP
}

func newAVP(def *AVPDef) AVP {
	return AVP{Code: def.Code, Vendor: def.Vendor, Mandatory: def.Mandatory, Def: def}
}

func (def *AVPDef) mustBe(types ...Type) {
	for _, t := range types {
		if def.Type == t {
			return
		}
	}
	panic(fmt.Sprintf("diameter: AVP %s is of another type", def.Name))
}

// Unsigned makes an AVP of type Unsigned32, Integer32 or Enumerated. Another type is a programming error, as with
// Text, Octets, Address and Group.
func (def *AVPDef) Unsigned(v uint32) AVP {
	def.mustBe(datatype.Unsigned32Type, datatype.Integer32Type, datatype.EnumeratedType)
	a := newAVP(def)
	a.Data = binary.BigEndian.AppendUint32(nil, v)
	return a
}

// Text makes an AVP of type UTF8String or DiameterIdentity.
func (def *AVPDef) Text(s string) AVP {
	def.mustBe(datatype.UTF8StringType, datatype.DiameterIdentityType)
	a := newAVP(def)
	a.Data = []byte(s)
	return a
}

// Octets makes an AVP of type OctetString. It keeps b.
func (def *AVPDef) Octets(b []byte) AVP {
	def.mustBe(datatype.OctetStringType)
	a := newAVP(def)
	a.Data = b
	return a
}

// Address makes an AVP of type Address, RFC 6733 4.3.1: family 1 is IPv4, 2 IPv6.
func (def *AVPDef) Address(ip netip.Addr) AVP {
	def.mustBe(datatype.AddressType)
	a := newAVP(def)
	ip = ip.Unmap()
	family := uint16(2)
	if ip.Is4() {
		family = 1
	}
	a.Data = append(binary.BigEndian.AppendUint16(nil, family), ip.AsSlice()...)
	return a
}

// Group makes a Grouped AVP.
func (def *AVPDef) Group(members ...AVP) AVP {
	def.mustBe(datatype.GroupedType)
	a := newAVP(def)
	a.Members = members
	return a
}

// Encoded makes a Grouped AVP of members that have been encoded, by AVP.Append. It keeps b, and has no Members.
func (def *AVPDef) Encoded(b []byte) AVP {
	def.mustBe(datatype.GroupedType)
	a := newAVP(def)
	a.Data = b
	return a
}

// Is says whether a is an AVP of that definition.
func (a AVP) Is(def *AVPDef) bool { return a.Code == def.Code && a.Vendor == def.Vendor }

// Unsigned returns the value of an AVP of four octets, else 0. A parsed AVP of a four-octet type has four.
func (a AVP) Unsigned() uint32 {
	if len(a.Data) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(a.Data)
}

// Text returns the value as text.
func (a AVP) Text() string { return string(a.Data) }

// Address returns the value of an Address AVP; the zero Addr when its family is not IP.
func (a AVP) Address() netip.Addr {
	if len(a.Data) < 2 {
		return netip.Addr{}
	}
	ip, ok := netip.AddrFromSlice(a.Data[2:])
	family := binary.BigEndian.Uint16(a.Data)
	if !ok || ip.Is4() != (family == 1) || ip.Is6() != (family == 2) {
		return netip.Addr{}
	}
	return ip
}

// First returns the first AVP of that definition among avps, not looking into groups.
func First(avps []AVP, def *AVPDef) (AVP, bool) {
	for i := range avps {
		if avps[i].Is(def) {
			return avps[i], true
		}
	}
	return AVP{}, false
}

// name returns the AVP's name for messages to people.
func (a AVP) name() string {
	if a.Def != nil {
		return a.Def.Name
	}
	return fmt.Sprintf("AVP %d of vendor %d", a.Code, a.Vendor)
}

func (a AVP) headerLen() int {
	if a.Vendor != 0 {
		return 12
	}
	return 8
}

// length returns the AVP's length without what fills it up to a multiple of 4.
func (a AVP) length() int {
	n := a.headerLen() + len(a.Data)
	for i := range a.Members {
		n += padded(a.Members[i].length())
	}
	return n
}

func padded(n int) int { return (n + 3) &^ 3 }

// Append appends the AVP's octets to b, with what fills it up to a multiple of 4.
func (a AVP) Append(b []byte) []byte {
	n := a.length()
	var flags byte
	if a.Vendor != 0 {
		flags |= flagVendor
	}
	if a.Mandatory {
		flags |= flagMandatory
	}
	b = binary.BigEndian.AppendUint32(b, a.Code)
	b = binary.BigEndian.AppendUint32(b, uint32(flags)<<24|uint32(n))
	if a.Vendor != 0 {
		b = binary.BigEndian.AppendUint32(b, a.Vendor)
	}
	b = append(b, a.Data...)
	for i := range a.Members {
		b = a.Members[i].Append(b)
	}
	return append(b, "\x00\x00\x00"[:padded(n)-n]...)
}

// parseAVPs reads AVPs up to the end of b, at most *left of them. On an error, an *Error that names the AVP to blame, what was read before
// it is returned too.
func (d *Dictionary) parseAVPs(b []byte, depth int, left *int) ([]AVP, error) {
	var avps []AVP
	if depth == 1 {
		avps = make([]AVP, 0, usualAVPs)
	}
	for len(b) > 0 {
		a, rest, err := d.parseAVP(b, depth, left)
		if err != nil {
			return avps, err
		}
		avps, b = append(avps, a), rest
	}
	return avps, nil
}

func (d *Dictionary) parseAVP(b []byte, depth int, left *int) (AVP, []byte, error) {
	if len(b) < 8 {
		return AVP{}, nil, &Error{Code: InvalidAVPLength, Err: fmt.Errorf("%d octets where an AVP should begin", len(b))}
	}
	a := AVP{Code: binary.BigEndian.Uint32(b), Mandatory: b[4]&flagMandatory != 0}
	header, n := 8, int(binary.BigEndian.Uint32(b[4:])&0xffffff)
	if b[4]&flagVendor != 0 {
		header = 12
		if len(b) >= header {
			a.Vendor = binary.BigEndian.Uint32(b[8:])
		}
	}
	a.Def = d.avps[avpKey{a.Code, a.Vendor}]
	if n < header || padded(n) > len(b) {
		return AVP{}, nil, a.badLength(fmt.Errorf("%s: length %d with %d octets left", a.name(), n, len(b)))
	}
	if *left--; *left < 0 {
		return AVP{}, nil, &Error{Code: AVPOccursTooManyTimes, Failed: []AVP{a}, Err: fmt.Errorf("more than %d AVPs", maxAVPs)}
	}
	a.Data = b[header:n:n]
	if a.Def != nil {
		if err := a.checkLength(); err != nil {
			return AVP{}, nil, a.badLength(fmt.Errorf("%s: %w", a.name(), err))
		}
		if a.Def.Type == datatype.DiameterIdentityType && !isIdentityText(a.Data) {
			return AVP{}, nil, &Error{Code: InvalidAVPValue, Failed: []AVP{a}, Err: fmt.Errorf("%s: %q is no domain name", a.name(), a.Data)}
		}
	}
	if a.Def != nil && a.Def.Type == datatype.GroupedType {
		if depth == maxDepth {
			return AVP{}, nil, a.badLength(fmt.Errorf("%s: groups nest deeper than %d", a.name(), maxDepth))
		}
		members, err := d.parseAVPs(a.Data, depth+1, left)
		if err != nil && a.Code != codeFailedAVP { // which holds what was wrong
			return AVP{}, nil, err
		}
		a.Members, a.Data = members, nil
	}
	return a, b[padded(n):], nil
}

// checkLength says whether the data is as long as the type asks for.
func (a AVP) checkLength() error {
	if want := a.Def.fixedLength(); want != 0 && len(a.Data) != want {
		return fmt.Errorf("%d octets of data, want %d", len(a.Data), want)
	}
	switch a.Def.Type {
	case datatype.AddressType:
		if len(a.Data) < 2 {
			return fmt.Errorf("%d octets of data, want at least 2", len(a.Data))
		}
		want := map[uint16]int{1: 6, 2: 18}[binary.BigEndian.Uint16(a.Data)]
		if want != 0 && len(a.Data) != want {
			return fmt.Errorf("%d octets of data, want %d", len(a.Data), want)
		}
	case datatype.DiameterIdentityType:
		if len(a.Data) == 0 || len(a.Data) > maxIdentity {
			return fmt.Errorf("%d octets of data, want 1 to %d", len(a.Data), maxIdentity)
		}
	default: // any length will do, or fixedLength knows it
	}
	return nil
}

// isIdentityText says whether all are characters of domain names. Whoever compares names without case may rely on ASCII then.
func isIdentityText(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// maxIdentity bounds a DiameterIdentity, which is a domain name (RFC 1035 2.3.4).
const maxIdentity = 255

func (def *AVPDef) fixedLength() int {
	switch def.Type {
	case datatype.Unsigned32Type, datatype.Integer32Type, datatype.EnumeratedType, datatype.Float32Type, datatype.TimeType:
		return 4
	case datatype.Unsigned64Type, datatype.Integer64Type, datatype.Float64Type:
		return 8
	default:
		return 0
	}
}

// badLength is the Error for a, whose Failed-AVP carries its header and zeros of the least length, RFC 6733 7.1.5.
func (a AVP) badLength(err error) error {
	failed := AVP{Code: a.Code, Vendor: a.Vendor, Mandatory: a.Mandatory, Def: a.Def}
	if a.Def != nil {
		failed = a.Def.example()
	}
	return &Error{Code: InvalidAVPLength, Failed: []AVP{failed}, Err: err}
}

// example is an AVP of that definition with the least data of its type, all zero: what Failed-AVP holds for a missing
// AVP, RFC 6733 7.1.5.
func (def *AVPDef) example() AVP {
	a := newAVP(def)
	n := def.fixedLength()
	switch def.Type {
	case datatype.AddressType:
		n = 2 + 4
	case datatype.DiameterIdentityType:
		n = 1
	default: // fixedLength knows it
	}
	a.Data = make([]byte, n)
	if def.Type == datatype.AddressType {
		a.Data[1] = 1 // family IPv4
	}
	return a
}

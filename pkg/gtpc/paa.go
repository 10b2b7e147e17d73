package gtpc

import (
	"fmt"
	"net/netip"
)

// PDNType is the PDN Type IE (type 99), TS 29.274 8.34, and the type field of the PAA: 3 bits.
type PDNType uint8

// Values of PDNType.
const (
	PDNTypeIPv4     PDNType = 1
	PDNTypeIPv6     PDNType = 2
	PDNTypeIPv4v6   PDNType = 3
	PDNTypeNonIP    PDNType = 4
	PDNTypeEthernet PDNType = 5
)

// String returns the glossary's word.
func (t PDNType) String() string {
	switch t {
	case PDNTypeIPv4:
		return "ipv4"
	case PDNTypeIPv6:
		return "ipv6"
	case PDNTypeIPv4v6:
		return "ipv4v6"
	case PDNTypeNonIP:
		return "non-ip"
	case PDNTypeEthernet:
		return "ethernet"
	}
	return fmt.Sprintf("pdn-type(%d)", uint8(t))
}

func decodePDNType(v []byte) (PDNType, error) {
	if len(v) < 1 {
		return 0, errIEShort
	}
	t := PDNType(v[0] & 0x07)
	if t < PDNTypeIPv4 || t > PDNTypeEthernet {
		return 0, fmt.Errorf("PDN type %d", t)
	}
	return t, nil
}

// PAA is the PDN Address Allocation IE (type 79), TS 29.274 8.14. In a request an unspecified address (all zero)
// asks for a dynamic one, any other is a static address of the subscription.
type PAA struct {
	Type             PDNType
	IPv4             netip.Addr // zero unless the type has IPv4
	IPv6             netip.Addr // zero unless the type has IPv6
	IPv6PrefixLength uint8
}

func decodePAA(v []byte) (PAA, error) {
	if len(v) < 1 {
		return PAA{}, errIEShort
	}
	t, err := decodePDNType(v)
	if err != nil {
		return PAA{}, err
	}
	p, rest := PAA{Type: t}, v[1:]
	if t == PDNTypeIPv6 || t == PDNTypeIPv4v6 {
		if len(rest) < 17 {
			return PAA{}, errIEShort
		}
		p.IPv6PrefixLength = rest[0]
		p.IPv6 = netip.AddrFrom16([16]byte(rest[1:17]))
		if p.IPv6PrefixLength > 128 {
			return PAA{}, fmt.Errorf("IPv6 prefix length %d", p.IPv6PrefixLength)
		}
		rest = rest[17:]
	}
	if t == PDNTypeIPv4 || t == PDNTypeIPv4v6 {
		if len(rest) < 4 {
			return PAA{}, errIEShort
		}
		p.IPv4 = netip.AddrFrom4([4]byte(rest[:4]))
	}
	return p, nil
}

func (p PAA) append(b []byte) []byte {
	v := []byte{byte(p.Type)}
	if p.IPv6.IsValid() {
		v = append(v, p.IPv6PrefixLength)
		v = append(v, p.IPv6.AsSlice()...)
	}
	if p.IPv4.IsValid() {
		v = append(v, p.IPv4.AsSlice()...)
	}
	return appendIE(b, IEKey{Type: iePAA}, v)
}

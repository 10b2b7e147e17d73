package gtpc

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// InterfaceType is the Interface Type of an F-TEID, TS 29.274 8.22: 6 bits.
type InterfaceType uint8

// Interface types of S5/S8, TS 29.274 8.22.
const (
	InterfaceS5S8SGWGTPU InterfaceType = 4
	InterfaceS5S8PGWGTPU InterfaceType = 5
	InterfaceS5S8SGWGTPC InterfaceType = 6
	InterfaceS5S8PGWGTPC InterfaceType = 7
)

// FTEID is the F-TEID IE (type 87), TS 29.274 8.22.
type FTEID struct {
	Interface  InterfaceType
	TEID       TEID
	IPv4, IPv6 netip.Addr // zero when absent; at least one is set
}

// Addr is the address that packets go to: IPv4 if there is one.
func (f FTEID) Addr() netip.Addr {
	if f.IPv4.IsValid() {
		return f.IPv4
	}
	return f.IPv6
}

func decodeFTEID(v []byte) (FTEID, error) {
	if len(v) < 5 {
		return FTEID{}, errIEShort
	}
	f := FTEID{Interface: InterfaceType(v[0] & 0x3f), TEID: TEID(binary.BigEndian.Uint32(v[1:]))}
	rest := v[5:]
	if v[0]&0x80 != 0 {
		if len(rest) < 4 {
			return FTEID{}, errIEShort
		}
		f.IPv4 = netip.AddrFrom4([4]byte(rest[:4]))
		rest = rest[4:]
	}
	if v[0]&0x40 != 0 {
		if len(rest) < 16 {
			return FTEID{}, errIEShort
		}
		f.IPv6 = netip.AddrFrom16([16]byte(rest[:16]))
	}
	switch {
	case !f.Addr().IsValid():
		return FTEID{}, errors.New("F-TEID without an address")
	case f.Addr().IsUnspecified(), f.Addr().IsMulticast():
		return FTEID{}, errors.New("F-TEID with an address that names no host")
	case f.TEID == 0:
		return FTEID{}, errors.New("F-TEID with TEID 0")
	}
	return f, nil
}

func (f FTEID) append(b []byte, instance uint8) []byte {
	v := make([]byte, 5, 25)
	v[0] = byte(f.Interface & 0x3f)
	binary.BigEndian.PutUint32(v[1:], uint32(f.TEID))
	if f.IPv4.IsValid() {
		v[0] |= 0x80
		v = append(v, f.IPv4.AsSlice()...)
	}
	if f.IPv6.IsValid() {
		v[0] |= 0x40
		v = append(v, f.IPv6.AsSlice()...)
	}
	return appendIE(b, IEKey{Type: ieFTEID, Instance: instance}, v)
}

package gtpu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/xepc/xepc/pkg/inet"
)

// Errors of Datagram.
var (
	errFamilies = errors.New("ends of a datagram are of two families, or none")
	errTooLong  = errors.New("does not fit into one IP packet")
)

// Datagram is the IP packet that carries a GTP-U message from one entity to another, TS 29.281 4.4: over IPv4 without
// options, over either without a UDP checksum (RFC 6935).
func Datagram(from, to netip.AddrPort, message []byte) ([]byte, error) {
	const udpHeader, udp, ttl = 8, 17, 64
	length := udpHeader + len(message)
	if from.Addr().Is4() != to.Addr().Is4() || !from.IsValid() || !to.IsValid() {
		return nil, fmt.Errorf("%w: %v and %v", errFamilies, from, to)
	}
	var b []byte
	if from.Addr().Is4() {
		const header = 20
		if header+length > 0xffff {
			return nil, fmt.Errorf("%w: %d octets over IPv4", errTooLong, len(message))
		}
		b = make([]byte, header, header+length)
		b[0], b[8], b[9] = 0x45, ttl, udp
		binary.BigEndian.PutUint16(b[2:], uint16(header+length))
		copy(b[12:], from.Addr().AsSlice())
		copy(b[16:], to.Addr().AsSlice())
		binary.BigEndian.PutUint16(b[10:], inet.Checksum(b))
	} else {
		const header = 40
		if length > 0xffff {
			return nil, fmt.Errorf("%w: %d octets over IPv6", errTooLong, len(message))
		}
		b = make([]byte, header, header+length)
		b[0], b[6], b[7] = 0x60, udp, ttl
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		copy(b[8:], from.Addr().AsSlice())
		copy(b[24:], to.Addr().AsSlice())
	}
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 0, 0)
	return append(b, message...), nil
}

// Package inet has what the headers of IP and of what it carries share.
package inet

import "encoding/binary"

// Checksum is the Internet checksum, RFC 1071, of parts one after another, each but the last of an even number of octets.
// Of a header whose own checksum is 0 it is that checksum; with it, it is 0.
func Checksum(parts ...[]byte) uint16 {
	var sum uint64
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint64(binary.BigEndian.Uint16(b))
		}
		if len(b) > 0 {
			sum += uint64(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

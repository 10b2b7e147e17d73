// Package portal answers packets of a UE that a FAR redirects to a URL, TS 29.244 8.2.20, as a server that knows
// nothing but that URL: any connection is taken, any HTTP request is answered with it, and what is not HTTP is reset. It
// keeps no state, so that nothing that a UE sends can use memory up: where a connection is can be told from the number
// that its next segment acknowledges. Pure: no socket, no clock.
package portal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/netip"
	"net/url"

	"github.com/xepc/xepc/pkg/inet"
)

// MaxURL is how long a URL may be: the answer is one segment of less than any IPv6 link takes.
const MaxURL = 1000

// CheckURL says why packets cannot be redirected to it.
func CheckURL(text string) error {
	if len(text) > MaxURL {
		return fmt.Errorf("a URL of %d octets: at most %d", len(text), MaxURL)
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' { // a header field of HTTP ends at a line's end
			return fmt.Errorf("octet %d of the URL is %#x", i, text[i])
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%q is no URL of a web site", text)
	}
	return nil
}

// What we chose for connections.
const (
	window         = 4096 // octets of a request; the first segment decides
	maxSegment4    = 1360 // what a UE may send in one segment: less than any path to it takes
	maxSegment6    = 1220
	hopLimit       = 64
	ipv4Header     = 20
	ipv6Header     = 40
	tcpHeader      = 20
	maxSegmentSize = 4 // octets of the option
)

// Flags of TCP, RFC 9293 3.1.
const (
	fin uint8 = 1 << iota
	syn
	rst
	psh
	ack
)

const protocolTCP = 6

// segment is a TCP segment with the addresses of its packet.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    uint8
	payload  []byte
}

// Portal makes the numbers of connections hard to guess.
type Portal struct{ seed maphash.Seed }

// New is a portal whose connections no other portal takes over.
func New() Portal { return Portal{maphash.MakeSeed()} }

// Answer is the packet that answers a packet from a UE; nil: there is nothing to say. to has passed CheckURL.
func (p Portal) Answer(packet []byte, to string) []byte {
	s, ok := parse(packet)
	if !ok || s.flags&rst != 0 {
		return nil
	}
	first := p.first(&s)
	if s.flags&(syn|ack) == syn {
		return s.answer(syn|ack, first, s.seq+1, nil)
	}
	if s.flags&(syn|ack) != ack {
		return nil
	}
	said := response(to)
	next := s.seq + uint32(len(s.payload)) + uint32(s.flags&fin)
	switch got := s.ack - (first + 1); {
	case got == 0: // nothing yet
		switch {
		case isHTTP(s.payload):
			return s.answer(psh|fin|ack, s.ack, next, said)
		case len(s.payload) > 0 && s.payload[0] == handshakeTLS, s.flags&fin != 0:
			return s.answer(rst, s.ack, 0, nil)
		}
		return nil // the end of the handshake, or a later segment of the request
	case got <= uint32(len(said)): // a part of the answer: the rest is on its way
		return nil
	case got == uint32(len(said))+1: // all of it, and that it was all
		if next != s.seq {
			return s.answer(ack, s.ack, next, nil)
		}
		return nil
	}
	return s.answer(rst, s.ack, 0, nil) // a connection from before
}

// handshakeTLS begins a record of the TLS handshake, RFC 8446 5.1: somebody who would not believe us anyway.
const handshakeTLS = 22

// isHTTP says whether a request begins here, RFC 9112 3.
func isHTTP(b []byte) bool {
	for _, method := range []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH "} {
		if bytes.HasPrefix(b, []byte(method)) {
			return true
		}
	}
	return false
}

// response sends somebody elsewhere for this once, RFC 9110 15.4.3.
func response(to string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", to)
}

// first is our first sequence number in the connection of a segment.
func (p Portal) first(s *segment) uint32 {
	return uint32(maphash.Comparable(p.seed, [2]netip.AddrPort{s.from, s.to}))
}

// parse reads a whole TCP segment that came as it was sent.
func parse(b []byte) (s segment, ok bool) {
	var from, to netip.Addr
	var header, total int
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		header, total = int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
		const fragment = 0x3fff // offset, or more to come
		if header < ipv4Header || b[9] != protocolTCP || binary.BigEndian.Uint16(b[6:])&fragment != 0 {
			return s, false
		}
		from, to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		header, total = ipv6Header, ipv6Header+int(binary.BigEndian.Uint16(b[4:]))
		if b[6] != protocolTCP {
			return s, false
		}
		from, to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	default:
		return s, false
	}
	if total > len(b) || total < header+tcpHeader {
		return s, false
	}
	tcp := b[header:total]
	data := int(tcp[12]>>4) * 4
	if data < tcpHeader || data > len(tcp) || checksum(from, to, tcp) != 0 {
		return s, false
	}
	return segment{
		from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)), to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
		seq: binary.BigEndian.Uint32(tcp[4:]), ack: binary.BigEndian.Uint32(tcp[8:]), flags: tcp[13], payload: tcp[data:],
	}, true
}

// answer is a packet to the sender of a segment.
func (s *segment) answer(flags uint8, seq, acknowledged uint32, payload []byte) []byte {
	ipv4 := s.from.Addr().Is4()
	header, options := ipv6Header, 0
	if ipv4 {
		header = ipv4Header
	}
	if flags&syn != 0 {
		options = maxSegmentSize
	}
	b := make([]byte, header+tcpHeader+options, header+tcpHeader+options+len(payload))
	b = append(b, payload...)
	tcp := b[header:]
	binary.BigEndian.PutUint16(tcp, s.to.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.from.Port())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], acknowledged)
	tcp[12], tcp[13] = uint8(tcpHeader+options)/4<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], window)
	if options > 0 {
		size := uint16(maxSegment6)
		if ipv4 {
			size = maxSegment4
		}
		tcp[20], tcp[21] = 2, maxSegmentSize // RFC 9293 3.2
		binary.BigEndian.PutUint16(tcp[22:], size)
	}
	from, to := s.to.Addr(), s.from.Addr()
	binary.BigEndian.PutUint16(tcp[16:], checksum(from, to, tcp))
	if ipv4 {
		b[0], b[8], b[9] = 4<<4|ipv4Header/4, hopLimit, protocolTCP
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], 0x4000) // do not fragment: so it needs no identification, RFC 6864 4
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:ipv4Header]))
		return b
	}
	b[0], b[6], b[7] = 6<<4, protocolTCP, hopLimit
	binary.BigEndian.PutUint16(b[4:], uint16(len(tcp)))
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	return b
}

// checksum is that of TCP, RFC 9293 3.1; 0 over a segment with its checksum.
func checksum(from, to netip.Addr, tcp []byte) uint16 {
	pseudo := []byte{0, protocolTCP, byte(len(tcp) >> 8), byte(len(tcp))}
	return inet.Checksum(from.AsSlice(), to.AsSlice(), pseudo, tcp)
}

package mme

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// What RFC 6733 fixes.
const (
	headerLength = 20
	maxMessage   = 64 << 10 // we choose to read no more

	flagRequest    = 0x80 // command flags, RFC 6733 3
	flagProxiable  = 0x40
	flagError      = 0x20
	flagRetransmit = 0x10 // T: perhaps sent before

	flagVendor    = 0x80 // AVP flags, RFC 6733 4.1
	flagMandatory = 0x40
)

var errFormat = errors.New("malformed Diameter message")

// message is a Diameter message, RFC 6733 3.
type message struct {
	Flags       uint8
	Command     uint32 // 24 bits
	Application uint32
	HopByHop    uint32
	EndToEnd    uint32
	AVPs        []avp
}

func (m message) request() bool { return m.Flags&flagRequest != 0 }

// answer begins the answer to a request: the same identifiers, the P flag kept.
func (m message) answer(avps ...avp) message {
	m.Flags &= flagProxiable
	m.AVPs = avps
	return m
}

// avp is an attribute-value pair, RFC 6733 4.1.
type avp struct {
	Code      uint32
	Vendor    uint32 // 0: none
	Mandatory bool
	Data      []byte
}

// marshal codes the message.
func (m message) marshal() []byte {
	b := make([]byte, headerLength, 256)
	for _, a := range m.AVPs {
		b = a.append(b)
	}
	binary.BigEndian.PutUint32(b[0:], 1<<24|uint32(len(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(m.Flags)<<24|m.Command)
	binary.BigEndian.PutUint32(b[8:], m.Application)
	binary.BigEndian.PutUint32(b[12:], m.HopByHop)
	binary.BigEndian.PutUint32(b[16:], m.EndToEnd)
	return b
}

func (a avp) append(b []byte) []byte {
	length, flags := 8, uint32(0)
	if a.Mandatory {
		flags |= flagMandatory
	}
	if a.Vendor != 0 {
		length, flags = 12, flags|flagVendor
	}
	b = binary.BigEndian.AppendUint32(b, a.Code)
	b = binary.BigEndian.AppendUint32(b, flags<<24|uint32(length+len(a.Data)))
	if a.Vendor != 0 {
		b = binary.BigEndian.AppendUint32(b, a.Vendor)
	}
	b = append(b, a.Data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseMessage reads one whole message; b holds exactly that.
func parseMessage(b []byte) (message, error) {
	if len(b) < headerLength || b[0] != 1 || int(binary.BigEndian.Uint32(b)&0xffffff) != len(b) || len(b)%4 != 0 {
		return message{}, fmt.Errorf("%w: header", errFormat)
	}
	avps, err := parseAVPs(b[headerLength:])
	if err != nil {
		return message{}, err
	}
	return message{
		Flags:       b[4],
		Command:     binary.BigEndian.Uint32(b[4:]) & 0xffffff,
		Application: binary.BigEndian.Uint32(b[8:]),
		HopByHop:    binary.BigEndian.Uint32(b[12:]),
		EndToEnd:    binary.BigEndian.Uint32(b[16:]),
		AVPs:        avps,
	}, nil
}

// parseAVPs reads a sequence of AVPs to its last octet. Their data alias b.
func parseAVPs(b []byte) ([]avp, error) {
	var avps []avp
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: %d octets left where an AVP begins", errFormat, len(b))
		}
		a := avp{Code: binary.BigEndian.Uint32(b), Mandatory: b[4]&flagMandatory != 0}
		length, header := int(binary.BigEndian.Uint32(b[4:])&0xffffff), 8
		padded := (length + 3) &^ 3
		if b[4]&flagVendor != 0 {
			header = 12
		}
		if length < header || padded > len(b) {
			return nil, fmt.Errorf("%w: AVP %d has length %d, %d octets are left", errFormat, a.Code, length, len(b))
		}
		if header == 12 {
			a.Vendor = binary.BigEndian.Uint32(b[8:])
		}
		a.Data = b[header:length]
		avps = append(avps, a)
		b = b[padded:]
	}
	return avps, nil
}

// readMessage reads one message from a stream. It looks at the length before it makes room for the message.
func readMessage(r io.Reader) (message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return message{}, err
	}
	length := binary.BigEndian.Uint32(head[:]) & 0xffffff
	if head[0] != 1 || length < headerLength || length > maxMessage {
		return message{}, fmt.Errorf("%w: version %d, length %d", errFormat, head[0], length)
	}
	b := make([]byte, length)
	copy(b, head[:])
	if _, err := io.ReadFull(r, b[4:]); err != nil {
		return message{}, fmt.Errorf("read Diameter message: %w", err)
	}
	return parseMessage(b)
}

// find gives the first AVP of that vendor and code.
func find(avps []avp, vendor, code uint32) (avp, bool) {
	for _, a := range avps {
		if a.Code == code && a.Vendor == vendor {
			return a, true
		}
	}
	return avp{}, false
}

// need gives the AVP, or an error that names it.
func need(avps []avp, vendor, code uint32) (avp, error) {
	a, ok := find(avps, vendor, code)
	if !ok {
		return avp{}, fmt.Errorf("%w: no AVP %d (vendor %d)", errFormat, code, vendor)
	}
	return a, nil
}

// needGroup gives the AVPs inside a grouped AVP that must be there.
func needGroup(avps []avp, vendor, code uint32) ([]avp, error) {
	a, err := need(avps, vendor, code)
	if err != nil {
		return nil, err
	}
	return parseAVPs(a.Data)
}

// needUint32 gives the value of an Unsigned32 or Enumerated AVP that must be there.
func needUint32(avps []avp, vendor, code uint32) (uint32, error) {
	a, err := need(avps, vendor, code)
	if err != nil {
		return 0, err
	}
	if len(a.Data) != 4 {
		return 0, fmt.Errorf("%w: AVP %d has %d octets, not 4", errFormat, code, len(a.Data))
	}
	return binary.BigEndian.Uint32(a.Data), nil
}

// base makes a mandatory AVP of the base protocol.
func base(code uint32, data []byte) avp { return avp{Code: code, Mandatory: true, Data: data} }

// of3GPP makes a mandatory AVP of 3GPP.
func of3GPP(code uint32, data []byte) avp {
	return avp{Code: code, Vendor: vendor3GPP, Mandatory: true, Data: data}
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func group(avps ...avp) (b []byte) {
	for _, a := range avps {
		b = a.append(b)
	}
	return b
}

// address codes the derived type Address, RFC 6733 4.3.1: the address family, 1 for IPv4 and 2 for IPv6, goes first.
func address(a netip.Addr) []byte {
	family := byte(1)
	if a.Is6() {
		family = 2
	}
	return append([]byte{0, family}, a.AsSlice()...)
}

// Package gtpu owns GTP-U (TS 29.281) as the slow path speaks it: the header with its optional fields and
// extension headers, and the signalling messages Echo, Error Indication, Supported Extension Headers
// Notification and End Marker. It opens no socket, and the packets of users are not its business: those are
// the data path's.
package gtpu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MessageType is octet 2 of the header, TS 29.281 6.1.
type MessageType uint8

// Message types of the standard.
const (
	TypeEchoRequest                           MessageType = 1
	TypeEchoResponse                          MessageType = 2
	TypeErrorIndication                       MessageType = 26
	TypeSupportedExtensionHeadersNotification MessageType = 31
	TypeTunnelStatus                          MessageType = 253
	TypeEndMarker                             MessageType = 254
	TypeGPDU                                  MessageType = 255
)

// Port is the UDP port of GTP-U, TS 29.281 4.4.2.1: where requests go, and where what is no answer comes from.
const Port = 2152

// ExtensionType is the Next Extension Header Type, TS 29.281 5.2.1. Its upper two bits say who must comprehend
// it.
type ExtensionType uint8

// Extension header types of the standard that this package names.
const (
	ExtensionNone                ExtensionType = 0x00
	ExtensionUDPPort             ExtensionType = 0x40
	ExtensionPDUSessionContainer ExtensionType = 0x85
	ExtensionPDCPPDUNumber       ExtensionType = 0xc0
)

// RequiredByEndpoint says whether an endpoint that does not comprehend the extension header must say so with a
// Supported Extension Headers Notification: both upper bits set, or only bit 8, TS 29.281 5.2.1-2.
func (t ExtensionType) RequiredByEndpoint() bool { return t&0x80 != 0 }

// String returns the standard's words for the types of this package.
func (t MessageType) String() string {
	switch t {
	case TypeEchoRequest:
		return "echo request"
	case TypeEchoResponse:
		return "echo response"
	case TypeErrorIndication:
		return "error indication"
	case TypeSupportedExtensionHeadersNotification:
		return "supported extension headers notification"
	case TypeTunnelStatus:
		return "tunnel status"
	case TypeEndMarker:
		return "end marker"
	case TypeGPDU:
		return "g-pdu"
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

// Errors of Parse.
var (
	ErrShort     = errors.New("cut short")
	ErrVersion   = errors.New("version is not 1")            // TS 29.281 5.1
	ErrPrime     = errors.New("protocol type is not GTP")    // PT 0 is GTP'
	ErrExtension = errors.New("malformed extension headers") // length 0, or beyond the message
)

// flags of octet 1, TS 29.281 5.1.
const (
	flagN         = 1 << 0 // N-PDU Number
	flagS         = 1 << 1 // Sequence Number
	flagE         = 1 << 2 // Extension Header
	flagPT        = 1 << 4
	version1      = 1 << 5
	headerSize    = 8
	optionalSize  = 4
	maxExtensions = 16 // ours: more than any sender chains
)

// Header is the GTP-U header, TS 29.281 5.1, and its chain of extension headers.
type Header struct {
	Type        MessageType
	TEID        uint32
	HasSequence bool
	Sequence    uint16
	HasNPDU     bool
	NPDU        uint8
	Extensions  []Extension
}

// Extension is an extension header, TS 29.281 5.2.1.
type Extension struct {
	Type    ExtensionType
	Content []byte // 4n-2 octets: without its length and the next type; aliases the message
}

// Parse decodes the header of the message in b and returns what follows it, as long as the header says; octets
// beyond that length are ignored. The header is returned as far as it is known beside an error: with ErrVersion
// and ErrPrime nothing of it is.
func Parse(b []byte) (Header, []byte, error) {
	if len(b) < headerSize {
		return Header{}, nil, fmt.Errorf("header: %w", ErrShort)
	}
	flags := b[0]
	if flags>>5 != 1 {
		return Header{}, nil, fmt.Errorf("version %d: %w", flags>>5, ErrVersion)
	}
	if flags&flagPT == 0 {
		return Header{}, nil, ErrPrime
	}
	h := Header{Type: MessageType(b[1]), TEID: binary.BigEndian.Uint32(b[4:])}
	length := int(binary.BigEndian.Uint16(b[2:]))
	rest := b[headerSize:]
	if length > len(rest) {
		return h, nil, fmt.Errorf("length %d, %d octets follow the header: %w", length, len(rest), ErrShort)
	}
	rest = rest[:length]
	if flags&(flagN|flagS|flagE) == 0 {
		return h, rest, nil
	}
	if len(rest) < optionalSize {
		return h, nil, fmt.Errorf("optional fields: %w", ErrShort)
	}
	if flags&flagS != 0 {
		h.HasSequence, h.Sequence = true, binary.BigEndian.Uint16(rest)
	}
	if flags&flagN != 0 {
		h.HasNPDU, h.NPDU = true, rest[2]
	}
	next := ExtensionType(rest[3])
	rest = rest[optionalSize:]
	if flags&flagE == 0 { // the octet is there, but says nothing
		return h, rest, nil
	}
	return parseExtensions(h, next, rest)
}

func parseExtensions(h Header, next ExtensionType, rest []byte) (Header, []byte, error) {
	for next != ExtensionNone {
		if len(h.Extensions) == maxExtensions {
			return h, nil, fmt.Errorf("more than %d: %w", maxExtensions, ErrExtension)
		}
		if len(rest) == 0 {
			return h, nil, fmt.Errorf("extension header %#x: %w", uint8(next), ErrShort)
		}
		size := int(rest[0]) * 4 // units of 4 octets
		if size == 0 {
			return h, nil, fmt.Errorf("extension header %#x of length 0: %w", uint8(next), ErrExtension)
		}
		if size > len(rest) {
			return h, nil, fmt.Errorf("extension header %#x: %w", uint8(next), ErrShort)
		}
		h.Extensions = append(h.Extensions, Extension{Type: next, Content: rest[1 : size-1]})
		next = ExtensionType(rest[size-1])
		rest = rest[size:]
	}
	return h, rest, nil
}

// Append encodes a message: the header h with the payload behind it. It fails when the whole is longer than the
// length field can say, or an extension's content is not 4n-2 octets.
func Append(b []byte, h Header, payload []byte) ([]byte, error) {
	begin := len(b)
	flags := byte(version1 | flagPT)
	if h.HasNPDU {
		flags |= flagN
	}
	if h.HasSequence {
		flags |= flagS
	}
	if len(h.Extensions) > 0 {
		flags |= flagE
	}
	b = append(b, flags, byte(h.Type), 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.TEID)
	if flags&(flagN|flagS|flagE) != 0 {
		b = binary.BigEndian.AppendUint16(b, h.Sequence)
		b = append(b, h.NPDU)
		for _, x := range h.Extensions {
			if len(x.Content)%4 != 2 || len(x.Content) > 255*4-2 {
				return nil, fmt.Errorf("content of %d octets: %w", len(x.Content), ErrExtension)
			}
			b = append(b, byte(x.Type), byte((len(x.Content)+2)/4))
			b = append(b, x.Content...)
		}
		b = append(b, byte(ExtensionNone))
	}
	b = append(b, payload...)
	length := len(b) - begin - headerSize
	if length > 0xffff {
		return nil, fmt.Errorf("a message of %d octets does not fit its length field", length)
	}
	binary.BigEndian.PutUint16(b[begin+2:], uint16(length))
	return b, nil
}

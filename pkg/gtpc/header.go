// Package gtpc owns GTP-C as a PGW speaks it on S5/S8: the typed GTPv2-C messages (TS 29.274), their one-pass
// decoder and encoder, and under them one UDP socket with the transport of TS 29.274 7.6 and the paths of
// TS 23.007. It knows neither PDN connections nor policy, and it never speaks GTP-U.
//
// Decoding is "parse, don't validate": a request that is handed over without Err has every IE that its clause
// demands, each of them whole, so that no reader checks again. Nothing parsed aliases the receive buffer.
package gtpc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// TEID is a tunnel endpoint id, TS 29.274 8.22; 0 is never allocated.
type TEID uint32

// Sequence is a sequence number, TS 29.274 5.5.1: 24 bits.
type Sequence uint32

// EBI is an EPS bearer id, TS 29.274 8.8: 4 bits, 5 to 15 on S5/S8.
type EBI uint8

// MessageType is octet 2 of the header, TS 29.274 6.1 table 6.1-1.
type MessageType uint8

// Message types that this package has a struct for.
const (
	TypeEchoRequest                   MessageType = 1
	TypeEchoResponse                  MessageType = 2
	TypeVersionNotSupportedIndication MessageType = 3
	TypeCreateSessionRequest          MessageType = 32
	TypeCreateSessionResponse         MessageType = 33
	TypeModifyBearerRequest           MessageType = 34
	TypeModifyBearerResponse          MessageType = 35
	TypeDeleteSessionRequest          MessageType = 36
	TypeDeleteSessionResponse         MessageType = 37
	TypeDeleteBearerRequest           MessageType = 99
	TypeDeleteBearerResponse          MessageType = 100
)

// String returns the standard's words in the form that metrics and logs use.
func (t MessageType) String() string {
	switch t {
	case TypeEchoRequest:
		return "echo_request"
	case TypeEchoResponse:
		return "echo_response"
	case TypeVersionNotSupportedIndication:
		return "version_not_supported_indication"
	case TypeCreateSessionRequest:
		return "create_session_request"
	case TypeCreateSessionResponse:
		return "create_session_response"
	case TypeModifyBearerRequest:
		return "modify_bearer_request"
	case TypeModifyBearerResponse:
		return "modify_bearer_response"
	case TypeDeleteSessionRequest:
		return "delete_session_request"
	case TypeDeleteSessionResponse:
		return "delete_session_response"
	case TypeDeleteBearerRequest:
		return "delete_bearer_request"
	case TypeDeleteBearerResponse:
		return "delete_bearer_response"
	}
	return fmt.Sprintf("type_%d", uint8(t))
}

// Header is the GTPv2-C header, TS 29.274 5.1. TEID is that of the receiver: 0 in an initial Create Session
// Request, and in messages that have no TEID field (Echo and Version Not Supported, 5.5.1).
type Header struct {
	Type     MessageType
	TEID     TEID
	Sequence Sequence
}

const (
	version2    = 2
	flagTEID    = 0x08 // T, octet 1 bit 4
	flagPiggy   = 0x10 // P, octet 1 bit 5
	shortHeader = 8    // octets of a header without TEID
	longHeader  = 12   // octets of a header with TEID
)

// errShortHeader: the datagram does not hold a GTPv2-C header; it is dropped without an answer, TS 29.274 7.7.3.
var errShortHeader = errors.New("datagram is shorter than a GTPv2-C header")

// errLength: the header's length and the datagram's disagree; a request is answered with cause 67,
// TS 29.274 7.7.3.
var errLength = errors.New("message length and datagram length disagree")

// parseHeader reads the header of the first GTPv2-C message in b and returns the message's IEs and the octets
// after it. Those are a piggybacked message when the P flag says so (TS 29.274 5.5.1), else an error. With
// errLength the header is valid.
func parseHeader(b []byte) (h Header, ies, piggybacked []byte, err error) {
	if len(b) < shortHeader || b[0]>>5 != version2 {
		return Header{}, nil, nil, errShortHeader
	}
	size := shortHeader
	h.Type = MessageType(b[1])
	if b[0]&flagTEID != 0 {
		size = longHeader
		if len(b) < size {
			return Header{}, nil, nil, errShortHeader
		}
		h.TEID = TEID(binary.BigEndian.Uint32(b[4:]))
	}
	h.Sequence = Sequence(binary.BigEndian.Uint32(b[size-4:]) >> 8)

	end := 4 + int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case end < size, end > len(b):
		return h, nil, nil, errLength
	case end < len(b) && b[0]&flagPiggy == 0:
		return h, nil, nil, errLength
	}
	return h, b[size:end], b[end:], nil
}

// appendMessage appends header and IEs of a message. TEID is left out where TS 29.274 5.5.1 has none.
func appendMessage(b []byte, h Header, m Outgoing) ([]byte, error) {
	start := len(b)
	switch h.Type {
	case TypeEchoRequest, TypeEchoResponse, TypeVersionNotSupportedIndication:
		b = append(b, version2<<5, byte(h.Type), 0, 0)
	default:
		b = append(b, version2<<5|flagTEID, byte(h.Type), 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(h.TEID))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(h.Sequence)<<8)
	b = m.appendIEs(b)
	length := len(b) - start - 4
	if length > 0xffff {
		return nil, fmt.Errorf("%v of %d octets does not fit a message", h.Type, length)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(length))
	return b, nil
}

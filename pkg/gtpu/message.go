package gtpu

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Information element types, TS 29.281 8.1. Types below 128 are TV, of a length that the type fixes; the others
// are TLV.
const (
	ieRecovery            = 14  // 8.2: one octet
	ieTEIDDataI           = 16  // 8.3: four octets
	ieGTPUPeerAddress     = 133 // 8.4: four or sixteen octets
	ieExtensionHeaderList = 141 // 8.5
)

// EchoRequest encodes an Echo Request, TS 29.281 7.2.1. The sequence number is mandatory in it.
func EchoRequest(sequence uint16) []byte {
	b, _ := Append(nil, Header{Type: TypeEchoRequest, HasSequence: true, Sequence: sequence}, nil) // cannot fail
	return b
}

// EchoResponse encodes the answer to an Echo Request, TS 29.281 7.2.2: with its sequence number, and a Recovery
// IE, whose restart counter the sender sets to 0 and the receiver ignores.
func EchoResponse(request Header) []byte {
	b, _ := Append(nil, Header{Type: TypeEchoResponse, HasSequence: true, Sequence: request.Sequence}, []byte{ieRecovery, 0})
	return b
}

// ErrorIndication is the message of TS 29.281 7.3.1: a G-PDU arrived for a TEID that is not known at its
// destination.
type ErrorIndication struct {
	TEID uint32     // TEID Data I: of the G-PDU
	Peer netip.Addr // GTP-U Peer Address: the destination of the G-PDU
}

// Encode encodes the message. Its header has TEID 0, and the S flag set with sequence number 0, as TS 29.281 5.1
// asks.
func (e ErrorIndication) Encode() ([]byte, error) {
	address := e.Peer.Unmap().AsSlice()
	if len(address) == 0 {
		return nil, fmt.Errorf("error indication for TEID %#x: no peer address", e.TEID)
	}
	p := make([]byte, 0, 5+3+16)
	p = append(p, ieTEIDDataI)
	p = binary.BigEndian.AppendUint32(p, e.TEID)
	p = append(p, ieGTPUPeerAddress, 0, byte(len(address)))
	p = append(p, address...)
	return Append(nil, Header{Type: TypeErrorIndication, HasSequence: true}, p)
}

// ParseErrorIndication decodes what follows the header of an Error Indication. Both IEs are mandatory; others
// are ignored.
func ParseErrorIndication(payload []byte) (ErrorIndication, error) {
	var e ErrorIndication
	var haveTEID bool
	err := walk(payload, func(ie uint8, v []byte) error {
		switch ie {
		case ieTEIDDataI:
			e.TEID, haveTEID = binary.BigEndian.Uint32(v), true
		case ieGTPUPeerAddress:
			a, ok := netip.AddrFromSlice(v)
			if !ok {
				return fmt.Errorf("GTP-U peer address of %d octets", len(v))
			}
			e.Peer = a
		}
		return nil
	})
	if err != nil {
		return ErrorIndication{}, err
	}
	if !haveTEID || !e.Peer.IsValid() {
		return ErrorIndication{}, fmt.Errorf("error indication without its mandatory IEs: %w", ErrShort)
	}
	return e, nil
}

// SupportedExtensionHeadersNotification encodes the message of TS 29.281 7.2.3: the extension headers that the
// sender comprehends. The list may be empty.
func SupportedExtensionHeadersNotification(supported []ExtensionType) ([]byte, error) {
	if len(supported) > 255 {
		return nil, fmt.Errorf("%d extension header types in one list", len(supported))
	}
	p := []byte{ieExtensionHeaderList, byte(len(supported))} // 8.5: the length has one octet
	for _, t := range supported {
		p = append(p, byte(t))
	}
	return Append(nil, Header{Type: TypeSupportedExtensionHeadersNotification, HasSequence: true}, p)
}

// EndMarker encodes an End Marker, TS 29.281 7.3.2, for the tunnel that the old path's packets went through.
func EndMarker(teid uint32) []byte {
	b, _ := Append(nil, Header{Type: TypeEndMarker, TEID: teid}, nil) // cannot fail
	return b
}

// walk calls f for each IE. A TV type that the standard does not know has no known length, and ends the walk
// with an error.
func walk(b []byte, f func(ie uint8, v []byte) error) error {
	for len(b) > 0 {
		ie := b[0]
		var head, size int
		switch {
		case ie == ieRecovery:
			head, size = 1, 1
		case ie == ieTEIDDataI:
			head, size = 1, 4
		case ie < 128:
			return fmt.Errorf("unknown IE of type %d and no length", ie)
		case ie == ieExtensionHeaderList:
			if len(b) < 2 {
				return fmt.Errorf("IE of type %d: %w", ie, ErrShort)
			}
			head, size = 2, int(b[1])
		default:
			if len(b) < 3 {
				return fmt.Errorf("IE of type %d: %w", ie, ErrShort)
			}
			head, size = 3, int(binary.BigEndian.Uint16(b[1:]))
		}
		if len(b) < head+size {
			return fmt.Errorf("IE of type %d: %w", ie, ErrShort)
		}
		if err := f(ie, b[head:head+size]); err != nil {
			return err
		}
		b = b[head+size:]
	}
	return nil
}

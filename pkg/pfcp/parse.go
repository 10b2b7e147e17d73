package pfcp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of Parse that are not answered with a Cause. Every other error of Parse is an *Error.
var (
	ErrHeader  = errors.New("header cut short")      // silently discarded, TS 29.244 7.6.3
	ErrVersion = errors.New("version not supported") // answered with Version Not Supported, 7.6.2
	ErrUnknown = errors.New("unknown message type")  // silently discarded, 7.6.4
)

// The header, TS 29.244 7.2.2.
const (
	headerVersion   = 1 << 5 // octet 1, bits 8 to 6
	headerFO        = 1 << 2 // a further message follows in the datagram
	headerS         = 1 << 0 // the SEID is there
	headerSize      = 8      // octets, without SEID
	headerSizeSEID  = 16     // octets, with SEID
	headerLengthEnd = 4      // Message Length counts from here
	maxSequence     = 1<<24 - 1
)

// Parse decodes the message in b. b holds it whole and nothing else; only where the FO flag announces a further
// message (which needs BUNDL, a feature that we do not announce) are octets after it ignored. The message priority
// (MP) is ignored.
//
// The header is returned as far as it is known, also beside an error, so that the edge can answer; the message is
// nil beside an error. An *Error names the Cause and the offending IE; a message of the standard that has no
// struct here is one with CauseServiceNotSupported. The message shares no memory with b.
func Parse(b []byte) (Header, Message, error) {
	h, body, err := parseHeader(b)
	if err != nil {
		return h, nil, err
	}
	m, fault := new(decoder).parseMessage(h, body)
	if fault != nil {
		return h, nil, fault
	}
	return h, m, nil
}

// parseHeader returns the header and the octets of the IEs.
func parseHeader(b []byte) (Header, []byte, error) {
	if len(b) < headerSize {
		return Header{}, nil, ErrHeader
	}
	h := Header{Type: MessageType(b[1])}
	size, flags := headerSize, b[0]
	if flags&headerS != 0 {
		size = headerSizeSEID
	}
	if len(b) < size {
		return h, nil, ErrHeader
	}
	if size == headerSizeSEID {
		h.SEID = SEID(binary.BigEndian.Uint64(b[4:]))
	}
	h.Sequence = Sequence(binary.BigEndian.Uint32(b[size-4:]) >> 8)
	if flags>>5 != headerVersion>>5 {
		return h, nil, ErrVersion
	}
	if _, ok := messageNames[h.Type]; !ok {
		return h, nil, ErrUnknown
	}
	end := headerLengthEnd + int(binary.BigEndian.Uint16(b[2:]))
	if end < size || end > len(b) || end < len(b) && flags&headerFO == 0 {
		err := fmt.Errorf("message length is %d octets of a datagram of %d", end, len(b))
		return h, nil, &Error{Cause: CauseInvalidLength, Err: err}
	}
	if h.Type.session() && size != headerSizeSEID {
		return h, nil, &Error{Cause: CauseMandatoryIEIncorrect, Err: errors.New("no SEID in the header")}
	}
	return h, b[size:end], nil
}

// parseMessage decodes the IEs of a message.
func (d *decoder) parseMessage(h Header, b []byte) (Message, *Error) {
	switch h.Type {
	case TypeHeartbeatRequest:
		return parseHeartbeatRequest(b)
	case TypeHeartbeatResponse:
		return parseHeartbeatResponse(b)
	case TypeAssociationSetupRequest:
		return parseAssociationSetupRequest(b)
	case TypeAssociationSetupResponse:
		return parseAssociationSetupResponse(b)
	case TypeAssociationReleaseRequest:
		return parseAssociationReleaseRequest(b)
	case TypeAssociationReleaseResponse:
		return parseAssociationReleaseResponse(b)
	case TypeVersionNotSupportedResponse:
		return &VersionNotSupportedResponse{}, nil
	case TypeSessionEstablishmentRequest:
		return d.parseSessionEstablishmentRequest(b)
	case TypeSessionEstablishmentResponse:
		return parseSessionEstablishmentResponse(b)
	case TypeSessionModificationRequest:
		return d.parseSessionModificationRequest(b)
	case TypeSessionModificationResponse:
		return parseSessionModificationResponse(b)
	case TypeSessionDeletionRequest:
		return parseSessionDeletionRequest(b)
	case TypeSessionDeletionResponse:
		return parseSessionDeletionResponse(b)
	case TypePFDManagementRequest:
		return parsePFDManagementRequest(b)
	case TypePFDManagementResponse:
		return parsePFDManagementResponse(b)
	case TypeAssociationUpdateRequest:
		return parseAssociationUpdateRequest(b)
	case TypeAssociationUpdateResponse:
		return parseAssociationUpdateResponse(b)
	case TypeNodeReportRequest:
		return parseNodeReportRequest(b)
	case TypeNodeReportResponse:
		return parseNodeReportResponse(b)
	case TypeSessionSetDeletionRequest:
		return parseSessionSetDeletionRequest(b)
	case TypeSessionSetDeletionResponse:
		return parseSessionSetDeletionResponse(b)
	case TypeSessionReportRequest:
		return parseSessionReportRequest(b)
	case TypeSessionReportResponse:
		return parseSessionReportResponse(b)
	default:
		return nil, &Error{Cause: CauseServiceNotSupported, Err: errors.New(h.Type.String())}
	}
}

// Marshal encodes a message under its header. Header.Type is ignored: the message knows its own. Header.SEID goes
// only into the messages of a session. It fails, with what is wrong, on a message that no peer could read: an
// address of the wrong family, a name that is too long, a message beyond 64 KiB.
func Marshal(h Header, m Message) ([]byte, error) {
	return Append(nil, h, m)
}

// Append is Marshal onto the end of b, which it returns as it was beside an error.
func Append(b []byte, h Header, m Message) ([]byte, error) {
	w := writer{b: b}
	if err := w.message(h, m); err != nil {
		return b, err
	}
	return w.b, nil
}

// message appends a message with its header.
func (w *writer) message(h Header, m Message) error {
	e, ok := m.(encodable)
	if !ok {
		return fmt.Errorf("%T has no encoding", m)
	}
	if h.Sequence > maxSequence {
		return fmt.Errorf("sequence number %#x is above 24 bits", h.Sequence)
	}
	start, typ := len(w.b), m.Type()
	if typ.session() {
		w.b = append(w.b, headerVersion|headerS, uint8(typ), 0, 0)
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(h.SEID))
	} else {
		w.b = append(w.b, headerVersion, uint8(typ), 0, 0)
	}
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(h.Sequence)<<8)
	e.appendIEs(w)
	length := len(w.b) - start - headerLengthEnd
	if w.err == nil && length > 0xffff {
		w.err = fmt.Errorf("message of %d octets", length)
	}
	if w.err != nil {
		return fmt.Errorf("encode %v: %w", typ, w.err)
	}
	binary.BigEndian.PutUint16(w.b[start+2:], uint16(length))
	return nil
}

// encodable is a message that we send.
type encodable interface {
	Message
	appendIEs(*writer)
}

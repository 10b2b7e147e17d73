package pfcp

import "errors"

// Errors of Parse that are not answered with a Cause. Every other error of Parse is an *Error.
var (
	ErrHeader  = errors.New("header cut short")              // silently discarded, TS 29.244 7.6.4
	ErrVersion = errors.New("version not supported")         // answered with Version Not Supported, 7.6.3
	ErrUnknown = errors.New("unknown or unassigned message") // silently discarded, 7.6.5
)

// Parse decodes the one message in b.
//
// The header is returned as far as it is known, also beside an error, so that the edge can answer; the message is
// nil beside an error. An *Error names the Cause and the offending IE; a message of the standard that has no
// struct here is one with CauseServiceNotSupported.
func Parse(b []byte) (Header, Message, error) {
	return Header{}, nil, ErrUnknown
}

// Marshal encodes a message under its header. Header.Type is ignored: the message knows its own. Header.SEID goes
// only into the messages of a session.
func Marshal(h Header, m Message) ([]byte, error) {
	return Append(nil, h, m)
}

// Append is Marshal onto the end of b.
func Append(b []byte, h Header, m Message) ([]byte, error) {
	return nil, ErrUnknown
}

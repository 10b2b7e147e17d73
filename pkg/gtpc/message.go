package gtpc

// Message is a GTPv2-C message without its header: one of the structs of this package, by pointer.
type Message interface {
	Type() MessageType
}

// Outgoing is a message that this package can encode.
type Outgoing interface {
	Message
	appendIEs(b []byte) []byte
}

// response is the type of the response to a request, TS 29.274 table 6.1-1; 0 when it is none that we answer.
func (t MessageType) response() MessageType {
	switch t {
	case TypeEchoRequest, TypeCreateSessionRequest, TypeModifyBearerRequest, TypeDeleteSessionRequest,
		TypeDeleteBearerRequest:
		return t + 1
	default:
		return 0
	}
}

// rejection is a response that carries nothing but its Cause: all that a receiver looks at when the cause refuses.
type rejection struct {
	kind MessageType
	CauseIE
}

// Reject is the response that refuses a request of type request: the Cause IE with the offending IE, no more.
func Reject(request MessageType, e *Error) Outgoing {
	return &rejection{kind: request.response(), CauseIE: CauseIE{Cause: e.Cause, Offending: e.Offending}}
}

func (r *rejection) Type() MessageType         { return r.kind }
func (r *rejection) appendIEs(b []byte) []byte { return r.append(b) }

// incoming is what parse returns of a message.
type incoming struct {
	message Message
	sender  TEID       // of the Sender F-TEID for Control Plane, 0 when there is none: answers go to it
	restart Opt[uint8] // of the Recovery IE
}

// parse decodes the IEs of a message of type t. On an error of the peer's making (an *Error) the message is as
// complete as it could be read and serves only to address the answer. known is false for a type that this package
// does not read.
func parse(t MessageType, ies []byte) (in incoming, known bool, err error) {
	switch t {
	case TypeEchoRequest, TypeEchoResponse:
		in, err = parseEcho(t, ies)
	case TypeCreateSessionRequest:
		in, err = parseCreateSessionRequest(ies)
	case TypeModifyBearerRequest:
		in, err = parseModifyBearerRequest(ies)
	case TypeDeleteSessionRequest:
		in, err = parseDeleteSessionRequest(ies)
	case TypeDeleteBearerResponse:
		in, err = parseDeleteBearerResponse(ies)
	default:
		return incoming{}, false, nil
	}
	return in, true, err
}

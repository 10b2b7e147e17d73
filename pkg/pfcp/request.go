package pfcp

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// ErrAnswered is what Respond returns for a request that was answered before.
var ErrAnswered = errors.New("request was answered already")

// Request is a request of a peer.
type Request struct {
	Peer    netip.AddrPort
	Header  Header
	Message Message // nil when Err is set

	// Err is why the request could not be parsed. The handler need not do anything about it: when it returns
	// without having answered, the endpoint answers with the cause and the offending IE, under the SEID of the
	// CP F-SEID if there is one, else 0.
	Err error

	endpoint *Endpoint
	key      cacheKey // of its answer; zero for a heartbeat, whose answer is not kept
	seid     SEID     // of the CP F-SEID in a request that could not be parsed
	answered atomic.Bool
}

// beginRequest returns the request, or nil when it is a duplicate, after answering it again if it was answered.
// Heartbeats are not told apart: answering one twice does no harm.
func (e *Endpoint) beginRequest(peer netip.AddrPort, h Header, b []byte) *Request {
	r := &Request{Peer: peer, Header: h, endpoint: e}
	if h.Type == TypeHeartbeatRequest {
		return r
	}
	r.key = cacheKey{peer: peer, sequence: h.Sequence, request: maphash.Bytes(e.seed, b)}
	now := time.Now()
	e.mu.Lock()
	response, isNew := e.responses.begin(now, r.key)
	e.mu.Unlock()
	if isNew {
		return r
	}
	e.stats.duplicates.Add(1)
	if response != nil {
		e.send(response, peer)
	}
	return nil
}

// parseRequest sets the message of r, or its error. header is the error of its header.
func (e *Endpoint) parseRequest(d *decoder, r *Request, body []byte, header error) {
	fault, _ := errors.AsType[*Error](header)
	if fault == nil {
		r.Message, fault = d.parseMessage(r.Header, body)
	}
	if fault == nil {
		return
	}
	r.Message, r.Err = nil, fault
	if r.Header.Type == TypeSessionEstablishmentRequest {
		r.seid = peekSEID(body)
	}
	e.countParseError(fault)
}

func (e *Endpoint) countParseError(fault *Error) {
	e.stats.parseErrors[fault.Cause].Add(1)
}

// peekSEID finds the SEID of the CP F-SEID in an establishment that cannot be parsed; 0 when there is none.
func peekSEID(b []byte) SEID {
	for w := walk(b, &once); w.next(); {
		if w.typ == IEFSEID {
			w.take(1)
			return SEID(w.u64())
		}
	}
	return 0
}

// Respond sends the answer and keeps its octets for duplicates of the request. seid is the peer's SEID for this
// session, 0 when it is not known; messages without a session ignore it.
//
// It fails when m is not the answer to this request or cannot be encoded, and with ErrAnswered. That the network
// lost the answer, or took it, is not known to it.
func (r *Request) Respond(seid SEID, m Message) error {
	b, err := r.Encode(seid, m)
	if err != nil {
		return err
	}
	return r.RespondWith(b)
}

// Encode makes the octets of the answer, for RespondWith. It fails when m is not the answer to this request or cannot be
// encoded.
func (r *Request) Encode(seid SEID, m Message) ([]byte, error) {
	if want, _ := r.Header.Type.Response(); m.Type() != want {
		return nil, fmt.Errorf("%v in answer to %v", m.Type(), r.Header.Type)
	}
	return r.endpoint.marshal(Header{SEID: seid, Sequence: r.Header.Sequence}, m)
}

// RespondWith is Respond with what Encode made, which nobody changes any more. It fails with ErrAnswered.
func (r *Request) RespondWith(b []byte) error {
	if r.answered.Swap(true) {
		return ErrAnswered
	}
	e := r.endpoint
	if r.key.peer.IsValid() {
		e.mu.Lock()
		e.responses.answer(r.key, b)
		e.mu.Unlock()
	}
	e.send(b, r.Peer)
	return nil
}

// Release gives the memory of Message back for requests to come, and sets Message to nil: the handler, or whoever it
// handed the request to, may call it when it needs neither Message nor the lists of rules to create and to update in
// it any more. The rules themselves may have been copied from the lists, and what they hold (ids, filters, texts)
// stays as it is, as does every other list. Without it the garbage collector does the work.
func (r *Request) Release() {
	r.endpoint.released.put(r.Message)
	r.Message = nil
}

// Refuse answers with the response of the request's type that carries the cause, the offending IE and the failed
// rule of err; an err that is no *Error is CauseSystemFailure. A heartbeat cannot be refused: it is answered.
func (r *Request) Refuse(seid SEID, err error) error {
	fault, ok := errors.AsType[*Error](err)
	if !ok {
		fault = &Error{Cause: CauseSystemFailure}
	}
	return r.Respond(seid, r.endpoint.refusal(r.Header.Type, fault))
}

// refuse is Refuse unless the request was answered.
func (r *Request) refuse(err error) {
	if r.answered.Load() {
		return
	}
	if err := r.Refuse(r.seid, err); err != nil && !errors.Is(err, ErrAnswered) {
		r.endpoint.log.Error("PFCP refusal not sent", "err", err)
	}
}

// refusal returns the response that refuses a request of type t.
func (e *Endpoint) refusal(t MessageType, fault *Error) Message {
	node, offending := e.cfg.NodeID, Opt[uint16]{}
	if fault.Offending != 0 {
		offending = Some(fault.Offending)
	}
	switch t {
	case TypeHeartbeatRequest:
		return &HeartbeatResponse{RecoveryTimeStamp: Some(e.cfg.RecoveryTimeStamp)}
	case TypeAssociationSetupRequest:
		return &AssociationSetupResponse{
			NodeID: node, Cause: fault.Cause, RecoveryTimeStamp: e.cfg.RecoveryTimeStamp,
		}
	case TypeAssociationReleaseRequest:
		return &AssociationReleaseResponse{NodeID: node, Cause: fault.Cause}
	case TypeSessionEstablishmentRequest:
		return &SessionEstablishmentResponse{
			NodeID: node, Cause: fault.Cause, Offending: offending, FailedRuleID: fault.FailedRule,
			Overload: fault.Overload,
		}
	case TypeSessionModificationRequest:
		return &SessionModificationResponse{
			Cause: fault.Cause, Offending: offending, FailedRuleID: fault.FailedRule, Overload: fault.Overload,
		}
	case TypeSessionDeletionRequest:
		return &SessionDeletionResponse{Cause: fault.Cause, Offending: offending, Overload: fault.Overload}
	case TypeSessionReportRequest:
		return &SessionReportResponse{Cause: fault.Cause, Offending: offending}
	case TypePFDManagementRequest:
		return &PFDManagementResponse{Cause: fault.Cause, Offending: offending, NodeID: Some(node)}
	case TypeAssociationUpdateRequest:
		return &AssociationUpdateResponse{NodeID: node, Cause: fault.Cause}
	case TypeNodeReportRequest:
		return &NodeReportResponse{NodeID: node, Cause: fault.Cause, Offending: offending}
	default: // TypeSessionSetDeletionRequest
		return &SessionSetDeletionResponse{NodeID: node, Cause: fault.Cause, Offending: offending}
	}
}

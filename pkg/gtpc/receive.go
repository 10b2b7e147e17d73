package gtpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"
)

// Request is a request of a peer.
type Request struct {
	Peer    netip.AddrPort
	Header  Header
	Message Message // incomplete when Err is set

	// Err is why the request could not be parsed, nil for a good one. The handler need not do anything about it:
	// when it returns without having answered, the endpoint answers with the cause and the offending IE.
	Err error

	endpoint *Endpoint
	key      servedKey
	sender   TEID // of the Sender F-TEID: where an answer goes that no session stands behind
}

// receive handles one datagram.
func (e *Endpoint) receive(from netip.AddrPort, datagram []byte, handle func(*Request)) {
	if !e.allowed(from.Addr()) {
		e.stats.add(&e.stats.ForeignPeers)
		return
	}
	if len(datagram) > 0 && datagram[0]>>5 != version2 {
		e.otherVersion(from, datagram)
		return
	}
	for range 2 { // a message, and at most one piggybacked on it (TS 29.274 5.5.1)
		h, ies, rest, err := parseHeader(datagram)
		if errors.Is(err, errShortHeader) {
			e.stats.add(&e.stats.ShortHeaders)
			return
		}
		e.stats.received(h.Type)
		if err != nil {
			err = &Error{Cause: CauseInvalidLength, Err: err}
		}
		e.message(from, h, ies, err, handle)
		if len(rest) == 0 {
			return
		}
		datagram = rest
	}
}

func (e *Endpoint) allowed(peer netip.Addr) bool {
	return len(e.cfg.Peers) == 0 || slices.ContainsFunc(e.cfg.Peers, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// otherVersion counts and answers a datagram that is not GTPv2: TS 29.274 7.7.2, and TS 29.060 11.1.1 for one of
// GTPv1. Version Not Supported itself is never answered.
func (e *Endpoint) otherVersion(from netip.AddrPort, datagram []byte) {
	if len(datagram) < shortHeader {
		e.stats.add(&e.stats.ShortHeaders)
		return
	}
	version := datagram[0] >> 5
	e.stats.add(&e.stats.OtherVersions[version])
	if MessageType(datagram[1]) == TypeVersionNotSupportedIndication {
		return
	}
	h := Header{Type: TypeVersionNotSupportedIndication}
	if version == 1 && datagram[0]&0x02 != 0 && len(datagram) >= 10 {
		h.Sequence = Sequence(binary.BigEndian.Uint16(datagram[8:])) // TS 29.060 6: present with the S flag
	}
	if octets, err := appendMessage(nil, h, &VersionNotSupportedIndication{}); err == nil {
		e.send(from, octets)
	}
}

// message handles one GTPv2 message. err is what is wrong with its header.
func (e *Endpoint) message(from netip.AddrPort, h Header, ies []byte, err error, handle func(*Request)) {
	key := e.transactions.key(from, h, ies)
	defer func() {
		if p := recover(); p != nil {
			e.stats.add(&e.stats.Panics)
			e.cfg.Log.Error("panic in a GTP-C message", slog.Any("panic", p), slog.String("type", h.Type.String()),
				slog.String("stack", string(debug.Stack())))
			r := &Request{Peer: from, Header: h, endpoint: e, key: key}
			r.rejectUnlessAnswered(&Error{Cause: CauseSystemFailure, Err: fmt.Errorf("panic: %v", p)})
		}
	}()

	switch h.Type {
	case TypeEchoRequest, TypeCreateSessionRequest, TypeModifyBearerRequest, TypeDeleteSessionRequest:
		e.request(from, key, h, ies, err, handle)
	case TypeEchoResponse, TypeDeleteBearerResponse, TypeVersionNotSupportedIndication:
		e.response(from, h, ies, err)
	default:
		e.stats.add(&e.stats.UnknownMessages) // silently discarded, TS 29.274 7.7.4
	}
}

func (e *Endpoint) request(
	from netip.AddrPort, key servedKey, h Header, ies []byte, err error, handle func(*Request),
) {
	if h.Type == TypeEchoRequest {
		e.answerEcho(from, h, ies, err)
		return
	}
	e.mu.Lock()
	v, answer := e.transactions.arrive(from.Addr(), key, time.Now())
	e.mu.Unlock()
	switch v {
	case resend:
		e.stats.add(&e.stats.Duplicates)
		e.send(from, answer)
		return
	case inProgress:
		e.stats.add(&e.stats.Duplicates)
		return
	case overload:
		e.stats.add(&e.stats.Overloads)
		return
	case deliver:
	}

	in, _, parseErr := parse(h.Type, ies)
	if err == nil {
		err = parseErr
	}
	if fault := (*Error)(nil); errors.As(err, &fault) {
		e.stats.parseError(fault.Cause)
	} else {
		e.notePeer(from.Addr(), in.restart)
	}
	r := &Request{Peer: from, Header: h, Message: in.message, Err: err, endpoint: e, key: key, sender: in.sender}
	handle(r)
	if err != nil {
		r.rejectUnlessAnswered(err)
	}
}

// answerEcho answers an Echo Request whatever is wrong with it, so that a path lives; it is not remembered, as
// its answer is always the same.
func (e *Endpoint) answerEcho(from netip.AddrPort, h Header, ies []byte, err error) {
	if in, _, parseErr := parse(h.Type, ies); err == nil && parseErr == nil {
		e.notePeer(from.Addr(), in.restart)
	} else {
		e.stats.parseError(CauseInvalidLength)
	}
	answer := &EchoResponse{Recovery: Some(e.cfg.RestartCounter)}
	if octets, err := appendMessage(nil, Header{Type: TypeEchoResponse, Sequence: h.Sequence}, answer); err == nil {
		e.send(from, octets)
	}
}

// notePeer compares the restart counter that a peer's message carries with the one known.
func (e *Endpoint) notePeer(peer netip.Addr, counter Opt[uint8]) {
	if !counter.Present {
		return
	}
	e.mu.Lock()
	restarted := e.paths.recovery(peer, counter.Value, time.Now())
	e.mu.Unlock()
	if restarted {
		e.cfg.Path(PathEvent{Peer: peer, Kind: PeerRestarted})
	}
}

func (e *Endpoint) response(from netip.AddrPort, h Header, ies []byte, err error) {
	e.mu.Lock()
	c := e.transactions.response(from, h)
	e.mu.Unlock()
	if c == nil {
		e.stats.add(&e.stats.Unsolicited)
		return
	}
	if h.Type == TypeVersionNotSupportedIndication {
		c.done(h, nil, ErrVersionNotSupported)
		return
	}
	in, _, parseErr := parse(h.Type, ies)
	if err == nil {
		err = parseErr
	}
	if fault := (*Error)(nil); errors.As(err, &fault) {
		e.stats.parseError(fault.Cause)
		c.done(h, nil, err)
		return
	}
	e.notePeer(from.Addr(), in.restart)
	c.done(h, in.message, nil)
}

// ReplyTEID is the TEID that the request itself asks its answer to carry: that of its Sender F-TEID, 0 without.
func (r *Request) ReplyTEID() TEID { return r.sender }

// Respond sends the answer and keeps its octets for duplicates of the request. teid is the peer's, 0 when it is
// not known (TS 29.274 5.5.2). It fails when m does not fit the request or cannot be encoded, and when the request
// was answered before. That the network lost the answer, or took it, is not known to it.
func (r *Request) Respond(teid TEID, m Outgoing) error {
	if m.Type() != r.Header.Type.response() {
		return fmt.Errorf("%v does not answer %v", m.Type(), r.Header.Type)
	}
	octets, err := appendMessage(nil, Header{Type: m.Type(), TEID: teid, Sequence: r.Header.Sequence}, m)
	if err != nil {
		return err
	}
	e := r.endpoint
	e.mu.Lock()
	err = e.transactions.answer(r.Peer.Addr(), r.key, octets)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	e.send(r.Peer, octets)
	return nil
}

// Drop forgets a request for which there is no room now: it is not answered, and its retransmission is handed over
// like a new one.
func (r *Request) Drop() {
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	r.endpoint.transactions.drop(r.Peer.Addr(), r.key)
}

// rejectUnlessAnswered refuses the request with the cause of err.
func (r *Request) rejectUnlessAnswered(err error) {
	fault := &Error{Cause: CauseSystemFailure}
	errors.As(err, &fault)
	if r.Header.Type.response() == 0 {
		return
	}
	if err := r.Respond(r.sender, Reject(r.Header.Type, fault)); err != nil && !errors.Is(err, errAnswered) {
		r.endpoint.cfg.Log.Error("GTP-C request not refused", slog.Any("error", err))
	}
}

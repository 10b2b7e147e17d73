package pfcp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"
)

// Errors that a Call ends with.
var (
	ErrTimeout = errors.New("no answer")              // after N1 retransmissions
	ErrClosed  = errors.New("endpoint closed")        // Run has ended
	ErrBusy    = errors.New("too many calls pending") // MaxPending
)

// EndpointConfig is what an Endpoint is made with.
type EndpointConfig struct {
	Listen            netip.AddrPort    // UDP; port 0: any
	NodeID            NodeID            // in answers that the endpoint gives itself; zero: the listen address
	RecoveryTimeStamp RecoveryTimeStamp // in answers that the endpoint gives itself
	T1                time.Duration     // wait before a request is sent again, TS 29.244 6.4
	N1                int               // retransmissions before a request has failed, TS 29.244 6.4
	ResponseLifetime  time.Duration     // how long a response is kept for duplicates; above the peers' T1 x (N1+1)
	MaxCached         int               // responses kept, of all peers
	MaxPeers          int               // peers that have responses kept
	MaxPending        int               // our own requests without an answer yet
	ReadBuffer        int               // octets, SO_RCVBUF
	Readers           int               // goroutines that read and decode; above 1, requests may overtake each other
	Log               *slog.Logger      // nil: silent
}

// DefaultEndpointConfig returns the values that suit both roles; Listen, NodeID and RecoveryTimeStamp are the
// caller's.
func DefaultEndpointConfig() EndpointConfig {
	return EndpointConfig{
		T1:               3 * time.Second,
		N1:               3,
		ResponseLifetime: 15 * time.Second,
		MaxCached:        1 << 18,
		MaxPeers:         256,
		MaxPending:       1 << 16,
		ReadBuffer:       4 << 20,
		Readers:          1,
	}
}

// Endpoint is one UDP socket with the reliable transport of TS 29.244 6.4 on it: requests are sent again until
// they are answered, and the duplicate of a request that was answered gets the same octets again. It answers by
// itself what cannot be parsed. It knows no association and no session.
type Endpoint struct {
	cfg EndpointConfig
}

// Listen opens the socket. Requests can be sent at once; what arrives is read by Run.
func Listen(cfg EndpointConfig) (*Endpoint, error) {
	return nil, errors.ErrUnsupported
}

// Run reads until ctx ends, closes the socket, and fails the calls that are pending with ErrClosed.
//
// handle gets every request once (heartbeats: each time). It is called from a reader goroutine and must not
// block; it may answer there or later, from anywhere. A panic in it is counted and answered with
// CauseSystemFailure.
func (e *Endpoint) Run(ctx context.Context, handle func(*Request)) error {
	return errors.ErrUnsupported
}

// Addr is the local address, with the port that the kernel chose when none was given.
func (e *Endpoint) Addr() netip.AddrPort { return netip.AddrPort{} }

// Request is a request of a peer.
type Request struct {
	Peer    netip.AddrPort
	Header  Header
	Message Message // nil when Err is set

	// Err is why the request could not be parsed. The handler need not do anything about it: when it returns
	// without having answered, the endpoint answers with the cause and the offending IE, under the SEID of the
	// CP F-SEID if there is one, else 0.
	Err error
}

// Respond sends the answer and keeps its octets for duplicates of the request. seid is the peer's SEID for this
// session, 0 when it is not known; messages without a session ignore it.
//
// It fails when m does not fit the request or cannot be encoded, and when the request was answered before. That
// the network lost the answer, or took it, is not known to it.
func (r *Request) Respond(seid SEID, m Message) error { return errors.ErrUnsupported }

// Call sends a request and returns at once. done is called exactly once, never from within Call: with the
// response, or with an error (ErrTimeout, ErrClosed, ErrBusy, one of encoding, or an *Error for a response that
// does not parse). It is called from a goroutine of the endpoint and must not block. seid is the peer's SEID, 0
// in an establishment and in messages without a session.
func (e *Endpoint) Call(peer netip.AddrPort, seid SEID, m Message, done func(Header, Message, error)) {
}

// Stats returns a copy of the counters.
func (e *Endpoint) Stats() Stats { return Stats{} }

// Stats counts what happened since Listen.
type Stats struct {
	Received            map[MessageType]uint64 // datagrams by type, before anything else is checked
	ParseErrors         map[Cause]uint64       // of requests and responses
	ShortHeaders        uint64                 // datagrams without a whole header
	VersionNotSupported uint64
	UnknownMessages     uint64
	Duplicates          uint64 // requests received again
	Evicted             uint64 // responses dropped before their time, for want of room
	Panics              uint64 // of the handler or the decoder
	Sent                uint64 // datagrams, retransmissions among them
	SendErrors          uint64
	Retransmissions     uint64
	Timeouts            uint64
	Unsolicited         uint64 // responses that nobody waits for, or from another address than asked
	Pending             int    // our requests without an answer now
	Cached              int    // responses kept now
}

package pfcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
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
	MaxPending        int               // our own requests without an answer yet; twice as many of several peers
	ReadBuffer        int               // octets, SO_RCVBUF
	Readers           int               // goroutines that read and decode; above 1, requests may overtake each other
	OneByOne          bool              // no UDP_SEGMENT, no UDP_GRO: under load, too, a capture shows every message
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

// Validate returns all that is wrong with c.
func (c EndpointConfig) Validate() error {
	var faults []error
	positive := func(name string, v int64) {
		if v <= 0 {
			faults = append(faults, fmt.Errorf("%s: %d is not above 0", name, v))
		}
	}
	if !c.Listen.Addr().IsValid() {
		faults = append(faults, errors.New("listen: no address"))
	}
	positive("t1", int64(c.T1))
	if c.N1 < 0 {
		faults = append(faults, fmt.Errorf("n1: %d is below 0", c.N1))
	}
	positive("response lifetime", int64(c.ResponseLifetime))
	positive("max cached", int64(c.MaxCached))
	positive("max peers", int64(c.MaxPeers))
	positive("max pending", int64(c.MaxPending))
	if c.MaxPending > maxSequence/4 {
		faults = append(faults, fmt.Errorf("max pending: %d is too many for 24-bit sequence numbers", c.MaxPending))
	}
	positive("read buffer", int64(c.ReadBuffer))
	positive("readers", int64(c.Readers))
	return errors.Join(faults...)
}

// Endpoint is one UDP socket with the reliable transport of TS 29.244 6.4 on it: requests are sent again until
// they are answered, and the duplicate of a request that was answered gets the same octets again. It answers by
// itself what cannot be parsed. It knows no association and no session.
type Endpoint struct {
	cfg  EndpointConfig
	log  *slog.Logger
	conn *net.UDPConn
	addr netip.AddrPort
	in   batchConn
	out  *outbox
	wake chan struct{} // tells the clock that there is something to do before it planned to
	seed maphash.Seed  // of the hashes that tell requests apart

	stats    counters
	writers  sync.Pool // *writer, each with its buffer
	released released  // requests to use again

	mu        sync.Mutex
	responses *responseCache
	calls     calls
	planned   time.Time // when the clock wakes next
	closed    bool
}

// counters are what Stats is made of.
type counters struct {
	received    [256]atomic.Uint64 // by message type
	parseErrors [256]atomic.Uint64 // by cause

	shortHeaders, versionNotSupported, unknownMessages, duplicates, panics atomic.Uint64
	sent, sendErrors, retransmissions, timeouts, unsolicited               atomic.Uint64
}

// Listen opens the socket. Requests can be sent at once; what arrives is read by Run. An endpoint that is not
// run must be closed.
func Listen(cfg EndpointConfig) (*Endpoint, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("PFCP endpoint: %w", err)
	}
	network := "udp4"
	if cfg.Listen.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return nil, fmt.Errorf("PFCP endpoint: %w", err)
	}
	if err := setReadBuffer(conn, cfg.ReadBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("PFCP endpoint: read buffer: %w", err), conn.Close())
	}
	if !cfg.OneByOne {
		if err := joinDatagrams(conn); err != nil {
			return nil, errors.Join(fmt.Errorf("PFCP endpoint: %w", err), conn.Close())
		}
	}
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	e := &Endpoint{
		cfg:       cfg,
		log:       cfg.Log,
		conn:      conn,
		addr:      netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()),
		in:        newBatchConn(conn, addr.Addr().Unmap()),
		seed:      maphash.MakeSeed(),
		writers:   sync.Pool{New: func() any { return new(writer) }},
		wake:      make(chan struct{}, 1),
		responses: newResponseCache(cfg.MaxCached, cfg.MaxPeers, cfg.ResponseLifetime),
		calls:     newCalls(Sequence(rand.Uint32N(maxSequence + 1))),
	}
	e.out = newOutbox(e.in, cfg.OneByOne, e.countSent)
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.cfg.NodeID == (NodeID{}) {
		e.cfg.NodeID.Addr = e.addr.Addr()
	}
	return e, nil
}

// setReadBuffer asks for n octets, beyond the system's limit where we may.
func setReadBuffer(conn *net.UDPConn, n int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var force error
	err = raw.Control(func(fd uintptr) {
		force = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
	})
	if err == nil && force != nil {
		err = conn.SetReadBuffer(n)
	}
	return err
}

// Run reads until ctx ends, closes the socket, and fails the calls that are pending with ErrClosed.
//
// handle gets every request once (heartbeats: each time). It is called from a reader goroutine and must not
// block; it may answer there or later, from anywhere. A panic in it is counted and answered with
// CauseSystemFailure.
func (e *Endpoint) Run(ctx context.Context, handle func(*Request)) error {
	g, ctx := errgroup.WithContext(ctx)
	for range e.cfg.Readers {
		g.Go(func() error { return e.read(ctx, handle) })
	}
	g.Go(func() error { return e.clock(ctx) })
	g.Go(func() error { // what is put before ctx ends goes out
		return errors.Join(e.out.run(ctx), e.conn.Close())
	})
	err := g.Wait()
	e.end()
	return err
}

// Close closes an endpoint that is not run.
func (e *Endpoint) Close() error {
	err := e.conn.Close()
	e.end()
	return err
}

// Addr is the local address, with the port that the kernel chose when none was given.
func (e *Endpoint) Addr() netip.AddrPort { return e.addr }

// read hands what arrives to receive.
func (e *Endpoint) read(ctx context.Context, handle func(*Request)) error {
	in, d := newInbox(e.in), newDecoder(&e.released)
	for {
		held := false
		err := in.read(func(peer netip.AddrPort, b []byte) {
			if !held {
				e.out.hold()
				held = true
			}
			e.receive(d, peer, b, handle)
		})
		if held {
			e.out.release()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// receive takes one datagram. Whatever goes wrong in it ends here.
func (e *Endpoint) receive(d *decoder, peer netip.AddrPort, b []byte, handle func(*Request)) {
	var r *Request
	defer func() {
		if fault := recover(); fault != nil {
			e.panicked(peer, fault)
			if r != nil {
				r.refuse(&Error{Cause: CauseSystemFailure})
			}
		}
	}()
	h, body, err := parseHeader(b)
	if e.countReceived(h, err); err != nil && !e.answerable(peer, h, err) {
		return
	}
	if _, isRequest := h.Type.Response(); !isRequest {
		e.receiveResponse(d, peer, h, body, err)
		return
	}
	if r = e.beginRequest(peer, h, b); r == nil {
		return
	}
	e.parseRequest(d, r, body, err)
	handle(r)
	if r.Err != nil {
		r.refuse(r.Err)
	}
}

// countReceived counts a datagram.
func (e *Endpoint) countReceived(h Header, err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrHeader):
		e.stats.shortHeaders.Add(1)
		return
	case errors.Is(err, ErrVersion):
		e.stats.versionNotSupported.Add(1)
	case errors.Is(err, ErrUnknown):
		e.stats.unknownMessages.Add(1)
	}
	e.stats.received[h.Type].Add(1)
}

// answerable says whether what parseHeader found wrong leaves a message to go on with. Another version is
// answered here, unless it is an answer itself.
func (e *Endpoint) answerable(peer netip.AddrPort, h Header, err error) bool {
	switch {
	case errors.Is(err, ErrHeader), errors.Is(err, ErrUnknown):
		return false
	case !errors.Is(err, ErrVersion):
		return true
	}
	_, known := messageNames[h.Type]
	if _, isRequest := h.Type.Response(); known && !isRequest {
		return true
	}
	if b, err := e.marshal(Header{Sequence: h.Sequence}, &VersionNotSupportedResponse{}); err == nil {
		e.send(b, peer)
	}
	return false
}

// send has a datagram written. Nobody may change b any more.
func (e *Endpoint) send(b []byte, peer netip.AddrPort) { e.out.put(datagram{octets: b, peer: peer}) }

// Hold has what is sent gathered until Release, so that it goes out by few calls of the kernel. It is for whoever answers many
// requests one right after the other.
func (e *Endpoint) Hold() { e.out.hold() }

// Release is described at Hold.
func (e *Endpoint) Release() { e.out.release() }

func (e *Endpoint) countSent(sent, failed int) {
	e.stats.sent.Add(uint64(sent))
	e.stats.sendErrors.Add(uint64(failed))
}

// marshal is Marshal by way of a buffer that is used again, so that what it returns is not longer than the message.
func (e *Endpoint) marshal(h Header, m Message) ([]byte, error) {
	w := e.writers.Get().(*writer)
	defer e.writers.Put(w)
	w.b, w.err = w.b[:0], nil
	if err := w.message(h, m); err != nil {
		return nil, err
	}
	return bytes.Clone(w.b), nil
}

// panicked counts a panic, and logs it while they are few: their 1st, 2nd, 4th, 8th and so on.
func (e *Endpoint) panicked(peer netip.AddrPort, fault any) {
	n := e.stats.panics.Add(1)
	if bits.OnesCount64(n) == 1 {
		e.log.Error("panic while handling a PFCP message", slog.Any("panic", fault), slog.String("peer", peer.String()),
			slog.Uint64("count", n), slog.String("stack", string(debug.Stack())))
	}
}

// Stats counts what happened since Listen.
type Stats struct {
	Received            map[MessageType]uint64 // datagrams by type, before anything else is checked
	ParseErrors         map[Cause]uint64       // of requests and responses
	ShortHeaders        uint64                 // datagrams without a whole header
	VersionNotSupported uint64
	UnknownMessages     uint64
	Duplicates          uint64 // requests received again
	Evicted             uint64 // responses dropped before their time, for want of room
	Panics              uint64 // of the decoder, of the handler and of what Call was given
	Sent                uint64 // datagrams, retransmissions among them
	SendErrors          uint64
	Retransmissions     uint64
	Timeouts            uint64
	Unsolicited         uint64 // responses that nobody waits for, or from another address than asked
	Pending             int    // our requests without an answer now
	Cached              int    // responses kept now
}

// Stats returns a copy of the counters.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Stats{
		ShortHeaders:        e.stats.shortHeaders.Load(),
		VersionNotSupported: e.stats.versionNotSupported.Load(),
		UnknownMessages:     e.stats.unknownMessages.Load(),
		Duplicates:          e.stats.duplicates.Load(),
		Panics:              e.stats.panics.Load(),
		Sent:                e.stats.sent.Load(),
		SendErrors:          e.stats.sendErrors.Load(),
		Retransmissions:     e.stats.retransmissions.Load(),
		Timeouts:            e.stats.timeouts.Load(),
		Unsolicited:         e.stats.unsolicited.Load(),
	}
	s.Received = make(map[MessageType]uint64)
	for i := range e.stats.received {
		if n := e.stats.received[i].Load(); n != 0 {
			s.Received[MessageType(i)] = n
		}
	}
	s.ParseErrors = make(map[Cause]uint64)
	for i := range e.stats.parseErrors {
		if n := e.stats.parseErrors[i].Load(); n != 0 {
			s.ParseErrors[Cause(i)] = n
		}
	}
	s.Evicted = e.responses.evicted
	s.Pending = len(e.calls.pending)
	s.Cached = e.responses.entries
	return s
}

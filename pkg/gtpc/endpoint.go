package gtpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Port is the UDP port of GTP-C, TS 29.274 4.2.1.
const Port = 2123

// EndpointConfig is what an Endpoint is made with.
type EndpointConfig struct {
	Listen           netip.AddrPort // UDP; port 0: any
	RestartCounter   uint8          // in the Recovery IE of Echo messages, TS 23.007 18
	T3               time.Duration  // wait before a request is sent again, TS 29.274 7.6
	N3               int            // retransmissions before a request has failed, TS 29.274 7.6
	ResponseLifetime time.Duration  // how long a request is remembered; above the peers' T3 x (N3+1)
	EchoInterval     time.Duration  // between our Echo Requests to a peer with sessions; at least 60 s (7.1.1)
	Peers            []netip.Prefix // addresses that are listened to; none: all
	MaxCached        int            // requests remembered, of all peers
	MaxCachedPerPeer int            // requests remembered, of one address
	MaxPeers         int            // addresses that have requests or a path remembered
	MaxPending       int            // our own requests without an answer yet
	ReadBuffer       int            // octets, SO_RCVBUF
	Log              *slog.Logger   // nil: silent

	// Path hears of the peers whose restart or silence is noticed. A restart is told before the request that
	// showed it is handed over. It is called from a goroutine of the endpoint and must not block; nil: nobody.
	Path func(PathEvent)
}

// DefaultEndpointConfig returns the values that suit a PGW; Listen and RestartCounter are the caller's.
func DefaultEndpointConfig() EndpointConfig {
	return EndpointConfig{
		T3:               3 * time.Second,
		N3:               3,
		ResponseLifetime: 30 * time.Second,
		EchoInterval:     60 * time.Second,
		MaxCached:        1 << 18,
		MaxCachedPerPeer: 1 << 16,
		MaxPeers:         1024,
		MaxPending:       1 << 16,
		ReadBuffer:       4 << 20,
	}
}

// Endpoint is the UDP socket of GTP-C with the transport of TS 29.274 7.6 on it: requests are sent again until
// they are answered, and the duplicate of an answered request gets the same octets again. It answers Echo, other
// versions and what cannot be parsed by itself. It knows no session. All its methods are safe for concurrent use.
type Endpoint struct {
	cfg   EndpointConfig
	conn  *net.UDPConn
	stats counters

	mu           sync.Mutex // guards what follows
	transactions *transactions
	paths        *paths
	closed       bool
}

// Listen opens the socket. Requests can be sent at once; what arrives is read by Run.
func Listen(cfg EndpointConfig) (*Endpoint, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return nil, fmt.Errorf("opening the GTP-C socket: %w", err)
	}
	if cfg.ReadBuffer > 0 {
		if err := conn.SetReadBuffer(cfg.ReadBuffer); err != nil {
			return nil, errors.Join(fmt.Errorf("setting the receive buffer of the GTP-C socket: %w", err), conn.Close())
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Path == nil {
		cfg.Path = func(PathEvent) {}
	}
	return &Endpoint{
		cfg: cfg, conn: conn, stats: newCounters(),
		transactions: newTransactions(cfg), paths: newPaths(cfg),
	}, nil
}

// Addr is the local address, with the port that the kernel chose when none was given.
func (e *Endpoint) Addr() netip.AddrPort {
	addr := e.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Close closes an endpoint that is not run.
func (e *Endpoint) Close() error { return e.conn.Close() }

// Run reads until ctx ends, closes the socket, and fails the calls that are pending with ErrClosed.
//
// handle gets every request once. It is called from the one reader goroutine, in the order of arrival, and must
// not block; it may answer there or later, from anywhere. A panic in it is counted and answered with
// CauseSystemFailure.
func (e *Endpoint) Run(ctx context.Context, handle func(*Request)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.read(ctx, handle) })
	group.Go(func() error {
		e.keepTime(ctx)
		return e.conn.Close()
	})
	err := group.Wait()

	e.mu.Lock()
	e.closed = true
	abandoned := e.transactions.close()
	e.mu.Unlock()
	for _, c := range abandoned {
		c.done(Header{}, nil, ErrClosed)
	}
	return err
}

func (e *Endpoint) read(ctx context.Context, handle func(*Request)) error {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := e.conn.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil:
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			e.receive(from, buffer[:n], handle)
		case errors.Is(err, net.ErrClosed):
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("reading from the GTP-C socket: %w", err)
		default:
			e.stats.add(&e.stats.ReceiveErrors) // such as an ICMP error that an earlier datagram met
		}
	}
}

// timeGrain is how often the endpoint looks at its timers.
const timeGrain = 100 * time.Millisecond

func (e *Endpoint) keepTime(ctx context.Context) {
	ticker := time.NewTicker(min(timeGrain, max(e.cfg.T3/4, time.Millisecond)))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			e.tick(now)
		}
	}
}

func (e *Endpoint) tick(now time.Time) {
	e.mu.Lock()
	again, failed := e.transactions.tick(now)
	e.transactions.sweep(now)
	echoes := e.paths.echoes(now)
	e.mu.Unlock()

	for _, c := range again {
		e.stats.add(&e.stats.Retransmissions)
		e.send(c.peer, c.octets)
	}
	for _, c := range failed {
		e.stats.add(&e.stats.Timeouts)
		c.done(Header{}, nil, ErrTimeout)
	}
	for _, peer := range echoes {
		e.echo(peer)
	}
}

// echo sends an Echo Request to a peer and follows what comes of it, TS 23.007 20.
func (e *Endpoint) echo(peer netip.Addr) {
	request := &EchoRequest{Recovery: Some(e.cfg.RestartCounter)}
	e.Call(netip.AddrPortFrom(peer, Port), 0, request, func(_ Header, _ Message, err error) {
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrBusy) {
			return
		}
		e.mu.Lock()
		kind, changed := e.paths.echoed(peer, err == nil)
		e.mu.Unlock()
		if changed {
			e.cfg.Path(PathEvent{Peer: peer, Kind: kind})
		}
	})
}

// Hold says that n more sessions (fewer, when negative) use the path to a peer. Echo Requests go to peers that
// have any.
func (e *Endpoint) Hold(peer netip.Addr, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.paths.hold(peer, n, time.Now())
}

// Call sends a request and returns at once. done is called exactly once: with the response, or with an error
// (ErrTimeout, ErrClosed, ErrBusy, ErrVersionNotSupported, one of encoding, or an *Error for a response that does
// not parse). It must not block. teid is the peer's TEID, which Echo ignores.
func (e *Endpoint) Call(peer netip.AddrPort, teid TEID, m Outgoing, done func(Header, Message, error)) {
	e.mu.Lock()
	var octets []byte
	err := error(ErrClosed)
	if !e.closed {
		octets, err = e.transactions.call(peer, m.Type(), time.Now(), func(s Sequence) ([]byte, error) {
			return appendMessage(nil, Header{Type: m.Type(), TEID: teid, Sequence: s}, m)
		}, done)
	}
	e.mu.Unlock()
	if err != nil {
		done(Header{}, nil, err)
		return
	}
	e.send(peer, octets)
}

func (e *Endpoint) send(to netip.AddrPort, octets []byte) {
	if _, err := e.conn.WriteToUDPAddrPort(octets, to); err != nil {
		e.stats.add(&e.stats.SendErrors)
		e.cfg.Log.Debug("GTP-C datagram not sent", slog.String("peer", to.String()), slog.Any("error", err))
		return
	}
	e.stats.add(&e.stats.Sent)
}

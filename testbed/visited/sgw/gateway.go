// Package sgw is a host operator's SGW, simulated: GTPv2-C on S8 with T3 and N3, and GTP-U between UEs and PGW-Us.
// It codes both protocols by itself (TS 29.274, TS 29.281), so that the PGW does not meet its own codecs. It never
// touches a network device: a UE gives it packets and takes them.
package sgw

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says where the SGW is.
type Config struct {
	Address netip.Addr // of S8-C and S8-U
	User6   netip.Addr // of S8-U instead, IPv6; zero: none
	// Listen opens a UDP socket, in the network namespace where the SGW is.
	Listen func(ctx context.Context, network, address string) (net.PacketConn, error)
	T3     time.Duration // until a request is repeated, TS 29.274 7.6; 0: 1 s
	N3     int           // repetitions; 0: 3
	Log    *slog.Logger
}

// Gateway is a simulated SGW. Its methods may be called from several goroutines while Run runs.
type Gateway struct {
	config   Config
	control  *net.UDPConn
	user     *net.UDPConn
	recovery uint8 // restart counter, TS 23.007

	mu       sync.Mutex
	sequence uint32 // 24 bits
	pending  map[uint32]chan message
	sessions map[uint32]*Session // by S8-C TEID
	peers    map[netip.AddrPort]uint8

	// tunnels are sessions by S8-U TEID; the packet path reads them without the lock.
	tunnels sync.Map
	counts  [countKinds]counter
}

// New opens the SGW's sockets.
func New(ctx context.Context, config Config) (*Gateway, error) {
	if config.T3 == 0 {
		config.T3 = time.Second
	}
	if config.N3 == 0 {
		config.N3 = 3
	}
	g := &Gateway{
		config: config, recovery: uint8(rand.Uint32()), sequence: rand.Uint32() & 0x7fffff,
		pending: map[uint32]chan message{}, sessions: map[uint32]*Session{}, peers: map[netip.AddrPort]uint8{},
	}
	var err error
	if g.control, err = g.listen(ctx, config.Address, portControl); err != nil {
		return nil, err
	}
	if g.user, err = g.listen(ctx, g.userAddress(), portUser); err != nil {
		_ = g.control.Close()
		return nil, err
	}
	// Bursts of a transfer wait here; the kernel's limit may make it less.
	_ = g.user.SetReadBuffer(4 << 20)
	return g, nil
}

// userAddress is that of S8-U.
func (g *Gateway) userAddress() netip.Addr {
	if g.config.User6.IsValid() {
		return g.config.User6
	}
	return g.config.Address
}

func (g *Gateway) listen(ctx context.Context, at netip.Addr, port uint16) (*net.UDPConn, error) {
	network := "udp4"
	if at.Is6() {
		network = "udp6"
	}
	address := netip.AddrPortFrom(at, port).String()
	conn, err := g.config.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("listen on %s: got a %T", address, conn)
	}
	return udp, nil
}

// Run serves both sockets until ctx ends, and closes them.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.serveControl() })
	group.Go(func() error { return g.serveUser() })
	group.Go(func() error {
		<-ctx.Done()
		return errors.Join(g.control.Close(), g.user.Close())
	})
	return group.Wait()
}

// Address is the SGW's.
func (g *Gateway) Address() netip.Addr { return g.config.Address }

// newTEID gives a TEID that is not in use, never 0.
func (g *Gateway) newTEID() uint32 {
	for {
		teid := rand.Uint32()
		_, used := g.tunnels.Load(teid)
		g.mu.Lock()
		_, known := g.sessions[teid]
		g.mu.Unlock()
		if teid != 0 && !used && !known {
			return teid
		}
	}
}

func (g *Gateway) add(s *Session) {
	g.mu.Lock()
	g.sessions[s.Local.TEID] = s
	g.mu.Unlock()
	g.tunnels.Store(s.LocalUser.TEID, s)
}

func (g *Gateway) remove(s *Session) {
	g.mu.Lock()
	delete(g.sessions, s.Local.TEID)
	g.mu.Unlock()
	g.tunnels.Delete(s.LocalUser.TEID)
}

// Sessions counts the sessions that the SGW has.
func (g *Gateway) Sessions() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sessions)
}

// Restarts gives the restart counter that a PGW-C has last told, TS 23.007 18.
func (g *Gateway) Restarts(pgw netip.AddrPort) (counter uint8, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	counter, known = g.peers[pgw]
	return counter, known
}

// Echo asks a PGW-C whether it is there, TS 29.274 7.1.1, and gives its restart counter.
func (g *Gateway) Echo(ctx context.Context, pgw netip.AddrPort) (restarts uint8, err error) {
	response, err := g.request(ctx, pgw, message{Type: echoRequest, IEs: []element{{Type: IERecovery, Value: []byte{g.recovery}}}})
	if err != nil {
		return 0, fmt.Errorf("echo to %s: %w", pgw, err)
	}
	e, err := need(response.IEs, IERecovery, 0, 1)
	if err != nil {
		return 0, fmt.Errorf("echo to %s: %w", pgw, err)
	}
	return e.Value[0], nil
}

// request sends a request and waits for its response, repeating it N3 times T3 apart, TS 29.274 7.6.
func (g *Gateway) request(ctx context.Context, to netip.AddrPort, m message) (message, error) {
	wait := make(chan message, 1)
	g.mu.Lock()
	g.sequence = (g.sequence + 1) & 0x7fffff // the highest bit marks a command's answer, 7.6
	m.Sequence = g.sequence
	g.pending[m.Sequence] = wait
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.pending, m.Sequence)
		g.mu.Unlock()
	}()

	octets := m.marshal()
	timer := time.NewTicker(g.config.T3)
	defer timer.Stop()
	for range g.config.N3 + 1 {
		if _, err := g.control.WriteToUDPAddrPort(octets, to); err != nil {
			return message{}, fmt.Errorf("send message %d: %w", m.Type, err)
		}
		select {
		case response := <-wait:
			return response, nil
		case <-ctx.Done():
			return message{}, fmt.Errorf("no response to message %d: %w", m.Type, context.Cause(ctx))
		case <-timer.C:
		}
	}
	return message{}, fmt.Errorf("no response to message %d after %d attempts, %s apart", m.Type, g.config.N3+1, g.config.T3)
}

func (g *Gateway) serveControl() error {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := g.control.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read S8-C: %w", err)
		}
		// The IEs outlive the read: each datagram gets octets of its own.
		m, err := parseMessage(append([]byte(nil), b[:n]...))
		if err != nil {
			g.config.Log.Warn("S8-C message refused", "peer", from, "err", err)
			continue
		}
		g.handle(from, m)
	}
}

func (g *Gateway) handle(from netip.AddrPort, m message) {
	if e, ok := find(m.IEs, IERecovery, 0); ok && len(e.Value) == 1 {
		g.mu.Lock()
		g.peers[from] = e.Value[0]
		g.mu.Unlock()
	}
	switch m.Type {
	case echoRequest:
		g.respond(from, message{Type: echoResponse, Sequence: m.Sequence, IEs: []element{
			{Type: IERecovery, Value: []byte{g.recovery}},
		}})
	case deleteBearerRequest:
		g.respond(from, g.deleteBearer(m))
	case echoResponse, createSessionResponse, modifyBearerResponse, deleteSessionResponse:
		g.mu.Lock()
		wait, ok := g.pending[m.Sequence]
		delete(g.pending, m.Sequence)
		g.mu.Unlock()
		if ok {
			wait <- m
		}
	default:
		g.config.Log.Warn("S8-C message not handled", "peer", from, "type", m.Type)
	}
}

func (g *Gateway) respond(to netip.AddrPort, m message) {
	if _, err := g.control.WriteToUDPAddrPort(m.marshal(), to); err != nil && !errors.Is(err, net.ErrClosed) {
		g.config.Log.Warn("S8-C response not sent", "peer", to, "err", err)
	}
}

// deleteBearer drops the session that the PGW-C gives up, TS 29.274 7.2.9.2. Its linked EBI names the default
// bearer, and with that the whole PDN connection.
func (g *Gateway) deleteBearer(m message) message {
	g.mu.Lock()
	s, ok := g.sessions[m.TEID]
	g.mu.Unlock()
	response := message{Type: deleteBearerResponse, Sequence: m.Sequence}
	if !ok {
		response.IEs = []element{{Type: IECause, Value: []byte{causeContextNotFound, 0}}}
		return response
	}
	g.remove(s)
	response.TEID = s.Remote.TEID
	response.IEs = []element{{Type: IECause, Value: []byte{causeAccepted, 0}}}
	if linked, ok := find(m.IEs, IEEBI, 0); ok {
		response.IEs = append(response.IEs, linked)
	}
	return response
}

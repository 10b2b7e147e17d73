package diameter

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Node is our end of the Diameter network: listeners, connections and the table of open peers.
type Node struct {
	cfg     Config
	log     *slog.Logger
	apps    map[uint32]Application
	stateID uint32 // Origin-State-Id, RFC 6733 8.16
	stats   *stats

	tls       *tls.Config // nil without TLS
	listeners []listener
	sessions  atomic.Uint64 // low part of the next Session-Id
	endToEnd  atomic.Uint32 // next End-to-End id

	warnings   warnings      // about strangers
	greeting   chan struct{} // holds one for each connection that greet works on
	seen       seen
	duplicates *duplicates

	mu        sync.Mutex
	stopping  bool
	peers     map[string]*conn    // open peers by Origin-Host in lower case
	attempts  map[string]*attempt // connections that we are about to open, by the same
	lost      map[string]bool     // peers whose last connection ended without a DPR, by the same
	strangers []net.Conn          // connections that await a CER, oldest first
}

type listener struct {
	net.Listener
	transport string
}

// New returns a node that serves the applications. stateID is its Origin-State-Id, which must rise from one start to
// the next.
func New(cfg Config, log *slog.Logger, stateID uint32, apps ...Application) *Node {
	n := &Node{
		cfg: cfg, log: log, stateID: stateID, apps: map[uint32]Application{},
		greeting: make(chan struct{}, 2*cfg.MaxStrangers), // those that were pushed out take a moment to go
		stats:    newStats(), peers: map[string]*conn{}, attempts: map[string]*attempt{}, lost: map[string]bool{}, duplicates: newDuplicates(),
	}
	for _, a := range apps {
		n.apps[a.ID] = a
	}
	n.endToEnd.Store(stateID<<20 | rand.Uint32()>>12) // RFC 6733 3
	return n
}

// Listen opens the listeners. A kernel without SCTP is logged and not an error unless no other transport is asked for.
func (n *Node) Listen() error {
	if len(n.cfg.Peers) == 0 {
		n.log.Warn("no Diameter peer is allowed: every connection will be refused", "key", "peers")
	}
	for _, transport := range n.cfg.Transports {
		for _, address := range n.cfg.Listen {
			err := n.listen(transport, address)
			if transport == "sctp" && errors.Is(err, syscall.EPROTONOSUPPORT) && slices.Contains(n.cfg.Transports, "tcp") {
				n.log.Warn("this kernel has no SCTP: only TCP is served", "address", address, "err", err)
				continue
			}
			if err != nil {
				n.closeListeners()
				return fmt.Errorf("listening for %s on %s: %w: is the address of this host, and the port free?", transport, address, err)
			}
		}
	}
	if n.cfg.needsTLS() {
		if err := n.listenTLS(); err != nil {
			n.closeListeners()
			return err
		}
	}
	return nil
}

// listenTLS reads the certificates and opens the listeners of TLS.
func (n *Node) listenTLS() (err error) {
	if n.tls, err = n.cfg.TLS.load(); err != nil {
		return err
	}
	for _, address := range n.cfg.TLS.Listen {
		if err := n.listen("tls", address); err != nil {
			return fmt.Errorf("listening for tls on %s: %w: is the address of this host, and the port free?", address, err)
		}
	}
	return nil
}

func (n *Node) listen(transport, address string) error {
	var l net.Listener
	var err error
	switch transport {
	case "sctp":
		l, err = listenSCTP(address)
	case "tls":
		l, err = tls.Listen("tcp", address, n.tls)
	default:
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return err
	}
	n.log.Info("listening for Diameter", "transport", transport, "address", l.Addr().String())
	n.listeners = append(n.listeners, listener{l, transport})
	return nil
}

func (n *Node) closeListeners() {
	for _, l := range n.listeners {
		_ = l.Close()
	}
}

// Addresses returns the addresses that Listen has opened.
func (n *Node) Addresses() []string {
	all := make([]string, len(n.listeners))
	for i, l := range n.listeners {
		all[i] = l.Addr().String()
	}
	return all
}

// Run serves until ctx ends, then takes leave of every peer (DPR) and closes.
func (n *Node) Run(ctx context.Context) error {
	group := new(errgroup.Group)
	for _, l := range n.listeners {
		group.Go(func() error { return n.accept(ctx, group, l) })
	}
	for _, p := range n.cfg.Peers {
		if p.Connect != "" {
			group.Go(func() error {
				n.keepConnected(ctx, p)
				return nil
			})
		}
	}
	<-ctx.Done()
	n.closeListeners()
	n.takeLeave(context.WithoutCancel(ctx))
	return group.Wait()
}

// accept hands each connection to a goroutine of its own in group. Connections outlive ctx until takeLeave ends them.
func (n *Node) accept(ctx context.Context, group *errgroup.Group, l listener) error {
	life := context.WithoutCancel(ctx)
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if err != nil {
			n.log.Warn("accepting a connection", "transport", l.transport, "err", err)
			select {
			case <-time.After(100 * time.Millisecond): // out of descriptors: others must be closed first
			case <-ctx.Done():
			}
			continue
		}
		if err := n.admit(nc); err != nil { // here, so that strangers are in the order in which they came
			_ = nc.Close()
			n.log.Log(ctx, n.warnings.level(time.Now()), "connection refused", "address", nc.RemoteAddr().String(), "err", err)
			continue
		}
		n.greeting <- struct{}{} // a place is free soon: those that were pushed out are closed
		group.Go(func() error {
			n.serve(life, nc, l.transport)
			return nil
		})
	}
}

// serve owns one connection from accept to close.
func (n *Node) serve(ctx context.Context, nc net.Conn, transport string) {
	defer func() { _ = nc.Close() }()
	remote := remoteAddress(nc)
	log := n.log.With("address", remote.String(), "transport", transport)
	defer func() {
		if p := recover(); p != nil { // whatever a message does to us, it does to its own connection only
			n.stats.panicked()
			n.dismiss(nc)
			log.Error("connection panicked", "panic", p)
		}
	}()
	c, err := n.greet(nc, transport)
	if err != nil {
		n.dismiss(nc)
		log.Log(ctx, n.warnings.level(time.Now()), "connection refused", "err", err)
		return
	}
	log = log.With("peer", c.peer.Host)
	log.Info("peer open")
	err = c.run(ctx)
	n.leave(c)
	log.Info("peer closed", "reason", err)
}

// admit counts a connection among the strangers, if it comes from an address that some peer may have. When there are
// too many strangers, the oldest is closed: an honest peer sends its CER at once, so that it is not the one that a
// flood pushes out.
func (n *Node) admit(nc net.Conn) error {
	if !n.cfg.knownAddress(remoteAddress(nc).Addr()) {
		n.stats.refused("address")
		return errors.New("no peer may come from this address")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return errStopping
	}
	n.strangers = append(n.strangers, nc)
	if len(n.strangers) > n.cfg.MaxStrangers {
		n.stats.refused("strangers")
		_ = n.strangers[0].Close()
		n.strangers = slices.Delete(n.strangers, 0, 1)
	}
	return nil
}

// refused counts a stranger that is to be closed, unless it was pushed out and counted so.
func (n *Node) refused(nc net.Conn, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.strangers, nc) {
		n.stats.refused(reason)
		n.notStranger(nc)
	}
}

func (n *Node) dismiss(nc net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notStranger(nc)
}

func (n *Node) notStranger(nc net.Conn) {
	n.strangers = slices.DeleteFunc(n.strangers, func(s net.Conn) bool { return s == nc })
}

var (
	errReplaced = errors.New("the peer has connected anew")
	errStopping = errors.New("we are stopping")
)

// enter moves c from the strangers to the open peers; an older connection of the same peer is closed.
func (n *Node) enter(c *conn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.enterLocked(c)
}

func (n *Node) enterLocked(c *conn) error {
	if n.stopping {
		return &Error{Code: TooBusy, Err: errStopping}
	}
	old := n.peers[c.key]
	if old == nil && len(n.peers) >= n.cfg.MaxPeers {
		return &Error{Code: TooBusy, Err: fmt.Errorf("%d peers are open, max_peers", len(n.peers))}
	}
	if old != nil {
		old.close(errReplaced)
	}
	if old != nil || n.lost[c.key] {
		c.reopen()
		delete(n.lost, c.key)
	}
	n.peers[c.key] = c
	n.notStranger(c.nc)
	return nil
}

// leave takes a connection that has ended out of the table.
func (n *Node) leave(c *conn) {
	cause := c.err()
	if cause != nil {
		n.stats.ended(c.config.label(), endOf(cause))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.peers[c.key] != c {
		return
	}
	delete(n.peers, c.key)
	if errors.Is(cause, errPeerLeft) || errors.Is(cause, errWeLeft) {
		return
	}
	if len(n.lost) >= maxSeen { // a wildcard allows any number of names
		clear(n.lost)
	}
	n.lost[c.key] = true
}

func (n *Node) lookup(host string) *conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[strings.ToLower(host)]
}

func (n *Node) open() []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*conn, 0, len(n.peers))
	for _, c := range n.peers {
		all = append(all, c)
	}
	return all
}

// takeLeave closes the strangers, sends every peer a DPR and waits until all have gone, or AnswerWithin has passed.
func (n *Node) takeLeave(ctx context.Context) {
	n.mu.Lock()
	n.stopping = true
	for _, s := range n.strangers {
		_ = s.Close()
	}
	n.mu.Unlock()
	group := new(errgroup.Group)
	for _, c := range n.open() {
		group.Go(func() error {
			c.takeLeave(ctx, n.cfg.AnswerWithin)
			return nil
		})
	}
	_ = group.Wait() // takeLeave has no error
}

// PeerStatus is a row of the table of peers.
type PeerStatus struct {
	Peer

	Since    time.Time `json:"since"`
	State    string    `json:"state"`    // okay, suspect or reopen, RFC 3539 3.4.1
	Received uint64    `json:"received"` // messages
	Sent     uint64    `json:"sent"`     // messages
}

// Peers returns the open peers by name.
func (n *Node) Peers() []PeerStatus {
	all := []PeerStatus{}
	for _, c := range n.open() {
		all = append(all, c.status())
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Host, b.Host) })
	return all
}

func remoteAddress(nc net.Conn) netip.AddrPort {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

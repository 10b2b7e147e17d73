package diameter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	writeQueue   = 64       // answers that wait for the writer; those to a group are one
	writeBatch   = 32 << 10 // octets that go out in one write
	maxPending   = 1024     // own requests without an answer on one connection
	dpaFarewell  = 2 * time.Second
	ticksPerTw   = 20
	fewestMillis = 5
)

// conn is an open connection to a peer. One goroutine reads, one writes, up to Workers work on requests (work.go).
type conn struct {
	node   *Node
	log    *slog.Logger
	peer   Peer
	config PeerConfig // the entry by which it is allowed
	limit  bucket
	key    string // the peer's name in lower case
	ours   bool   // we have connected
	nc     net.Conn
	r      *bufio.Reader

	jobs  chan []Request
	crew  int             // workers there are; only the reader looks at it
	spawn func([]Request) // starts a worker with its first job
	group []Request       // of one command, to be handled together with what follows; the reader's alone
	out   chan [][]byte
	ended chan struct{} // closed by close
	since time.Time

	received, sent atomic.Uint64
	hopByHop       atomic.Uint32

	mu       sync.Mutex
	cause    error // why the connection ended; set once
	dog      watchdog
	pending  map[uint32]chan<- Message // own requests by hop-by-hop id
	draining bool                      // one side takes leave: no new requests, and the peer may close
	inWork   int                       // requests with the workers
	idle     chan struct{}             // closed when draining and nothing is in work
}

// newConn makes the connection of a peer that is allowed by that entry of the configuration.
func newConn(n *Node, nc net.Conn, r *bufio.Reader, p Peer, config PeerConfig) *conn {
	c := &conn{
		node: n, log: n.log.With("peer", p.Host), peer: p, config: config, key: strings.ToLower(p.Host), nc: nc, r: r,
		jobs: make(chan []Request), out: make(chan [][]byte, writeQueue), ended: make(chan struct{}),
		idle: make(chan struct{}), since: time.Now(), pending: map[uint32]chan<- Message{}, dog: watchdog{interval: n.cfg.Watchdog},
	}
	c.limit = newBucket(c.config.Rate, c.since)
	c.hopByHop.Store(rand.Uint32())
	c.dog.up(c.since, c.jitter(), false)
	return c
}

// reopen begins the watchdog as of a peer that was lost.
func (c *conn) reopen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dog.up(c.since, c.jitter(), true)
}

// isOkay says that requests of ours should go over this connection.
func (c *conn) isOkay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dog.state == watchdogOkay
}

func (c *conn) jitter() time.Duration {
	most := min(maxJitter, c.node.cfg.Watchdog/3)
	return time.Duration(rand.Int64N(int64(2*most)+1)) - most
}

// run serves the connection until it ends, and returns why.
func (c *conn) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group := new(errgroup.Group)
	part := func(f func(context.Context) error) {
		group.Go(func() error {
			c.close(c.guard(ctx, f))
			return nil
		})
	}
	part(c.write)
	group.Go(func() error { // whoever closes the connection ends all its parts
		<-c.ended
		cancel()
		return nil
	})
	c.spawn = func(first []Request) {
		group.Go(func() error {
			c.work(ctx, first)
			return nil
		})
	}
	part(c.read)
	_ = group.Wait() // the parts report through close
	return c.err()
}

// guard turns a panic in a part into the end of this one connection.
func (c *conn) guard(ctx context.Context, part func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.node.stats.panicked()
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return part(ctx)
}

// close ends the connection for that cause. Only the first call counts.
func (c *conn) close(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	close(c.ended)
	_ = c.nc.Close()
}

func (c *conn) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

var (
	errPeerLeft   = errors.New("the peer took leave with a DPR")
	errPeerClosed = errors.New("the peer closed the connection")
	errWeLeft     = errors.New("we took leave with a DPR")
	errWatchdog   = errors.New("the peer answers no watchdog")
	errDeaf       = errors.New("the peer does not read")
)

// endOf names why a connection ended, for metrics.
func endOf(cause error) string {
	for reason, err := range map[string]error{
		"dpr_received": errPeerLeft, "dpr_sent": errWeLeft, "closed": errPeerClosed, "replaced": errReplaced,
		"watchdog": errWatchdog, "not_reading": errDeaf, "malformed": errFraming,
	} {
		if errors.Is(cause, err) {
			return reason
		}
	}
	return "lost"
}

// read reads messages until the connection ends.
func (c *conn) read(ctx context.Context) error {
	for {
		if !c.another() {
			if err := c.assignGroup(ctx); err != nil {
				return err
			}
		}
		b, err := readFrame(c.r, maxMessage)
		if err != nil {
			return c.readError(err)
		}
		c.received.Add(1)
		m, err := Standard.Parse(b)
		dwa := !m.Request && m.Command == CommandDeviceWatchdog
		c.mu.Lock()
		c.dog.received(time.Now(), c.jitter(), dwa)
		c.mu.Unlock()
		if !m.Request {
			c.deliver(m, err)
			continue
		}
		if err := c.request(ctx, m, err); err != nil {
			return err
		}
	}
}

func (c *conn) readError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, errFraming):
		c.node.stats.malformed(c.config.label())
	case c.draining:
		return errPeerLeft
	case errors.Is(err, io.EOF):
		return errPeerClosed
	}
	return err
}

// request answers what can be answered at once and hands the rest to a worker. broken is the error of parsing m.
func (c *conn) request(ctx context.Context, m Message, broken error) error {
	if m.Error {
		return c.refuse(m, &Error{Code: InvalidHeaderBits, Err: errors.New("a request with the E bit")})
	}
	if m.Application == ApplicationBase {
		return c.base(m, broken)
	}
	if !c.limit.take(time.Now()) {
		return c.refuse(m, &Error{Code: TooBusy, Err: errors.New("more requests than the peer's rate")})
	}
	if err := c.checkOrigin(m); err != nil {
		return c.refuse(m, err)
	}
	if err := c.node.route(m); err != nil {
		return c.refuse(m, err)
	}
	if m.Retransmitted {
		if b := c.node.duplicates.get(m, time.Now()); b != nil {
			c.node.stats.duplicate()
			return c.enqueue(b)
		}
	}
	if broken == nil {
		broken = Standard.Check(m)
	}
	if broken != nil {
		return c.refuse(m, broken)
	}
	if !c.begin() {
		return c.refuse(m, &Error{Code: TooBusy, Err: errStopping})
	}
	return c.hand(ctx, Request{Message: m, From: c.peer})
}

// base answers a request of the base protocol.
func (c *conn) base(m Message, broken error) error {
	def := Standard.Command(ApplicationBase, m.Command)
	if def == nil {
		return c.refuse(m, &Error{Code: CommandUnsupported, Err: fmt.Errorf("command %d of the base protocol", m.Command)})
	}
	if broken == nil {
		broken = def.checkRequest(m)
	}
	if broken != nil {
		return c.refuse(m, broken)
	}
	switch m.Command {
	case CommandDeviceWatchdog: // RFC 6733 5.5
		return c.reply(m, []AVP{OriginStateID.Unsigned(c.node.stateID)}, nil)
	case CommandDisconnectPeer: // RFC 6733 5.4: the one that sent the DPR closes
		c.drain()
		if err := c.reply(m, nil, nil); err != nil {
			return err
		}
		return c.nc.SetReadDeadline(time.Now().Add(dpaFarewell))
	default: // a second CER: RFC 6733 5.6 does not foresee it in the open state
		return c.refuse(m, &Error{Code: UnableToComply, Err: errors.New("a CER on an open connection")})
	}
}

func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining && c.inWork == 0 {
		close(c.idle)
	}
	c.draining = true
}

// write writes what is queued, several messages at once when they are there, and runs the watchdog.
func (c *conn) write(ctx context.Context) error {
	tick := time.NewTicker(max(c.node.cfg.Watchdog/ticksPerTw, fewestMillis*time.Millisecond))
	defer tick.Stop()
	batch := make([]byte, 0, writeBatch)
	err := c.tick(time.Now()) // in REOPEN with a DWR
	if err != nil {
		return err
	}
	for {
		select {
		case answers := <-c.out:
			runtime.Gosched() // workers that can go on do so first, and their answers go out with these
			if batch, err = c.putAll(batch[:0], answers); err != nil {
				return err
			}
		case now := <-tick.C:
			if err := c.tick(now); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// putAll writes messages and what else waits in the queue, in batches. SCTP keeps messages apart: one a write (RFC 6733 2.1.1).
func (c *conn) putAll(batch []byte, messages [][]byte) ([]byte, error) {
	for {
		for _, b := range messages {
			batch = append(batch, b...)
			if c.peer.Transport != "sctp" && len(batch) < writeBatch {
				continue
			}
			if err := c.put(batch); err != nil {
				return batch, err
			}
			batch = batch[:0]
		}
		select {
		case messages = <-c.out:
			continue
		default:
		}
		if len(batch) == 0 {
			return batch, nil
		}
		return batch, c.put(batch)
	}
}

func (c *conn) put(b []byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.node.cfg.WriteWithin)); err != nil {
		return fmt.Errorf("setting a deadline: %w", err)
	}
	if _, err := c.nc.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		return errDeaf
	} else if err != nil {
		return fmt.Errorf("writing to the peer: %w", err)
	}
	return nil
}

func (c *conn) tick(now time.Time) error {
	c.mu.Lock()
	action := c.dog.tick(now, c.jitter())
	c.mu.Unlock()
	switch action {
	case watchdogSend:
		dwr := c.ownRequest(CommandDeviceWatchdog, OriginStateID.Unsigned(c.node.stateID))
		c.sent.Add(1)
		return c.put(dwr.Append(nil))
	case watchdogClose:
		return errWatchdog
	default:
		return nil
	}
}

// ownRequest makes a request of the base protocol.
func (c *conn) ownRequest(command uint32, avps ...AVP) Message {
	return Message{
		Header: Header{Request: true, Command: command, HopByHop: c.hopByHop.Add(1), EndToEnd: c.node.endToEnd.Add(1)},
		AVPs:   append([]AVP{OriginHost.Text(c.node.cfg.Identity), OriginRealm.Text(c.node.cfg.Realm)}, avps...),
	}
}

func (c *conn) status() PeerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return PeerStatus{Peer: c.peer, Since: c.since, State: c.dog.state.String(), Received: c.received.Load(), Sent: c.sent.Load()}
}

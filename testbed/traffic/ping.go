// Package traffic makes traffic through a network and measures what becomes of it: ping, HTTP transfers whose
// octets are compared, and captures. It opens its sockets where it is told and never configures a network.
package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/xepc/xepc/pkg/inet"
	"github.com/xepc/xepc/testbed/topology"
)

// ICMP, RFC 792.
const (
	icmpEchoReply   = 0
	icmpEcho        = 8
	icmpHeader      = 8
	echoPayload     = 56              // octets, as ping has it
	payloadSequence = icmpHeader      // our own 32-bit sequence number: ICMP's wraps after 65,536
	maxEchoes       = 1 << 22         // of one Pinger: bounds its memory
	pingGrace       = 3 * time.Second // we wait so long for the last answers
)

// PingResult counts echoes.
type PingResult struct {
	Sent, Received int
	Lost           []int // sequence numbers from 0, in order
	Slowest        time.Duration
	Mean           time.Duration
	// Gap is the longest time between two answers that followed each other.
	Gap time.Duration
}

// String is a line as ping prints it.
func (r PingResult) String() string {
	return fmt.Sprintf("%d sent, %d received, mean %s, slowest %s", r.Sent, r.Received,
		r.Mean.Round(time.Microsecond), r.Slowest.Round(time.Microsecond))
}

// Pinger sends echo requests at an interval until it is stopped.
type Pinger struct {
	conn   net.PacketConn
	id     uint16
	to     *net.IPAddr
	stop   context.CancelFunc
	sender chan error
	reader chan error

	mu       sync.Mutex
	sent     []time.Time
	answered []time.Duration // round trip; 0: no answer yet
	last     time.Time
	gap      time.Duration
	missing  int
	changed  chan struct{} // has a token when an answer has come
}

// StartPing begins to ping from a namespace. It runs until Stop, or until ctx ends.
func StartPing(ctx context.Context, ns *topology.Namespace, from, to netip.Addr, interval time.Duration) (*Pinger, error) {
	return startPing(ctx, ns, from, to, maxEchoes, interval)
}

func startPing(ctx context.Context, ns *topology.Namespace, from, to netip.Addr, n int, interval time.Duration) (*Pinger, error) {
	conn, err := ns.ListenPacket(ctx, "ip4:icmp", from.String())
	if err != nil {
		return nil, fmt.Errorf("ping from %s: %w", from, err)
	}
	ctx, stop := context.WithCancel(ctx)
	p := &Pinger{
		conn: conn, id: uint16(time.Now().UnixNano()), to: &net.IPAddr{IP: to.AsSlice()}, stop: stop,
		sender: make(chan error, 1), reader: make(chan error, 1), changed: make(chan struct{}, 1),
	}
	go func() { p.sender <- p.send(ctx, n, interval) }()
	go func() { p.reader <- p.read() }()
	return p, nil
}

// send sends n echo requests, one an interval. A send that fails counts as sent: a packet that the UE's own network
// refused is lost to the user all the same.
func (p *Pinger) send(ctx context.Context, n int, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for sequence := range n {
		if sequence > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
		}
		p.mu.Lock()
		p.sent = append(p.sent, time.Now())
		p.answered = append(p.answered, 0)
		p.missing++
		p.mu.Unlock()
		_, _ = p.conn.WriteTo(p.request(sequence), p.to)
	}
	return nil
}

func (p *Pinger) request(sequence int) []byte {
	b := make([]byte, icmpHeader+echoPayload)
	b[0] = icmpEcho
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], uint16(sequence))
	binary.BigEndian.PutUint32(b[payloadSequence:], uint32(sequence))
	binary.BigEndian.PutUint16(b[2:], inet.Checksum(b))
	return b
}

func (p *Pinger) read() error {
	b := make([]byte, 2048)
	for {
		n, _, err := p.conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		if n < icmpHeader+4 || b[0] != icmpEchoReply || binary.BigEndian.Uint16(b[4:]) != p.id {
			continue
		}
		p.answer(int(binary.BigEndian.Uint32(b[payloadSequence:])), time.Now())
	}
}

func (p *Pinger) answer(sequence int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sequence >= len(p.sent) || p.answered[sequence] != 0 {
		return
	}
	p.answered[sequence] = max(now.Sub(p.sent[sequence]), 1)
	p.missing--
	if !p.last.IsZero() {
		p.gap = max(p.gap, now.Sub(p.last))
	}
	p.last = now
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Received counts the answers so far.
func (p *Pinger) Received() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent) - p.missing
}

// Wait returns when n more answers have come than had when it was called, or ctx ends.
func (p *Pinger) Wait(ctx context.Context, n int) error {
	for goal := p.Received() + n; p.Received() < goal; {
		select {
		case <-p.changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d echo replies: %w", n, context.Cause(ctx))
		}
	}
	return nil
}

// Stop sends no more, waits a while for the last answers, and counts.
func (p *Pinger) Stop() (PingResult, error) { return p.end(pingGrace) }

// Break ends at once: what has no answer yet counts as lost.
func (p *Pinger) Break() (PingResult, error) { return p.end(0) }

func (p *Pinger) end(wait time.Duration) (PingResult, error) {
	p.stop()
	err := <-p.sender
	grace := time.NewTimer(wait)
	defer grace.Stop()
	for p.outstanding() > 0 {
		select {
		case <-p.changed:
			continue
		case <-grace.C:
		}
		break
	}
	err = errors.Join(err, p.conn.Close(), <-p.reader)
	return p.result(), err
}

func (p *Pinger) outstanding() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missing
}

func (p *Pinger) result() PingResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := PingResult{Sent: len(p.sent), Received: len(p.sent) - p.missing, Gap: p.gap}
	var sum time.Duration
	for sequence, rtt := range p.answered {
		if rtt == 0 {
			r.Lost = append(r.Lost, sequence)
		}
		sum += rtt
		r.Slowest = max(r.Slowest, rtt)
	}
	if r.Received > 0 {
		r.Mean = sum / time.Duration(r.Received)
	}
	return r
}

// Ping sends n echo requests, an interval apart, and waits for their answers.
func Ping(ctx context.Context, ns *topology.Namespace, from, to netip.Addr, n int, interval time.Duration) (PingResult, error) {
	p, err := startPing(ctx, ns, from, to, n, interval)
	if err != nil {
		return PingResult{}, err
	}
	err = <-p.sender
	p.sender <- err // for Stop
	return p.Stop()
}

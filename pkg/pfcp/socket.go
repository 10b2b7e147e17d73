package pfcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// What we chose for the socket.
const (
	batchSize   = 64      // datagrams read or written by one call of the kernel
	maxDatagram = 1 << 16 // octets
	maxQueued   = 1 << 14 // datagrams that wait to be written; those beyond are lost
)

// batchConn is a socket of either family: recvmmsg and sendmmsg.
type batchConn interface {
	ReadBatch(batch []ipv4.Message, flags int) (int, error)
	WriteBatch(batch []ipv4.Message, flags int) (int, error)
}

func newBatchConn(conn *net.UDPConn, local netip.Addr) batchConn {
	if local.Is4() {
		return ipv4.NewPacketConn(conn)
	}
	return ipv6.NewPacketConn(conn)
}

// inbox is what one reader reads into.
type inbox struct {
	conn     batchConn
	messages []ipv4.Message
}

func newInbox(conn batchConn) *inbox {
	b := &inbox{conn: conn, messages: make([]ipv4.Message, batchSize)}
	for i := range b.messages {
		b.messages[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	return b
}

// read waits for datagrams and passes each to take, which must not keep its octets.
func (b *inbox) read(take func(peer netip.AddrPort, octets []byte)) error {
	n, err := b.conn.ReadBatch(b.messages, 0)
	if err != nil {
		return fmt.Errorf("read PFCP: %w", err)
	}
	for i := range b.messages[:n] {
		m := &b.messages[i]
		if from, ok := m.Addr.(*net.UDPAddr); ok {
			peer := from.AddrPort()
			take(netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), m.Buffers[0][:m.N])
		}
	}
	return nil
}

// datagram is one that waits to be written. Nobody changes its octets any more.
type datagram struct {
	octets []byte
	peer   netip.AddrPort
}

// outbox gathers datagrams, so that those that come close together are written by one call. Its goroutine writes
// them; before and after it, each is written at once.
type outbox struct {
	conn   batchConn
	wake   chan struct{}
	result func(sent, failed int)

	mu      sync.Mutex
	queue   []datagram
	held    int  // readers in the middle of a batch: what is answered meanwhile goes out together
	running bool // there is a goroutine

	writing  sync.Mutex // guards what is below
	spare    []datagram
	messages []ipv4.Message
	addrs    []net.UDPAddr
}

func newOutbox(conn batchConn, result func(sent, failed int)) *outbox {
	o := &outbox{
		conn: conn, wake: make(chan struct{}, 1), result: result,
		messages: make([]ipv4.Message, batchSize), addrs: make([]net.UDPAddr, batchSize),
	}
	for i := range o.messages {
		o.addrs[i].IP = make(net.IP, 0, net.IPv6len)
		o.messages[i].Addr, o.messages[i].Buffers = &o.addrs[i], make([][]byte, 1)
	}
	return o
}

// put has a datagram written. That this fails is only counted: to the protocol it is a lost one.
func (o *outbox) put(d datagram) {
	o.mu.Lock()
	full := len(o.queue) >= maxQueued
	if !full {
		o.queue = append(o.queue, d)
	}
	now, wake := !o.running, len(o.queue) == 1 && o.held == 0
	o.mu.Unlock()
	switch {
	case full:
		o.result(0, 1)
	case now:
		o.flush()
	case wake:
		o.poke()
	}
}

// hold begins a time in which datagrams are only gathered; release ends it.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held++
}

func (o *outbox) release() {
	o.mu.Lock()
	o.held--
	wake := o.held == 0 && len(o.queue) > 0
	o.mu.Unlock()
	if wake {
		o.poke()
	}
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default: // it will wake already
	}
}

// run writes what is put until ctx ends.
func (o *outbox) run(ctx context.Context) error {
	o.setRunning(true)
	defer o.flush()
	defer o.setRunning(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
			o.flush()
		}
	}
}

func (o *outbox) setRunning(running bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running = running
}

// flush writes what has been put.
func (o *outbox) flush() {
	o.writing.Lock()
	defer o.writing.Unlock()
	o.mu.Lock()
	waiting := o.queue
	o.queue = o.spare[:0]
	o.mu.Unlock()
	for rest := waiting; len(rest) > 0; {
		rest = rest[o.write(rest):]
	}
	clear(waiting)
	o.spare = waiting
}

// write writes the first of waiting and returns how many it is done with, at least one: when it fails, with that one.
func (o *outbox) write(waiting []datagram) int {
	waiting = waiting[:min(len(waiting), batchSize)]
	for i, d := range waiting {
		to := &o.addrs[i]
		address := d.peer.Addr()
		to.IP = append(to.IP[:0], address.AsSlice()...)
		to.Port, to.Zone = int(d.peer.Port()), address.Zone()
		o.messages[i].Buffers[0] = d.octets
	}
	n, err := o.conn.WriteBatch(o.messages[:len(waiting)], 0)
	for i := range waiting {
		o.messages[i].Buffers[0] = nil
	}
	if err != nil || n < 1 {
		o.result(0, 1)
		return 1
	}
	o.result(n, 0)
	return n
}

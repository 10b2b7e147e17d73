package pfcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

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
	held    int  // who will release soon: what is put meanwhile goes out together
	running bool // there is a goroutine

	writing  sync.Mutex // guards what is below
	spare    []datagram
	messages []ipv4.Message
	addrs    []net.UDPAddr
	apart    bool // datagrams do not share messages
}

func newOutbox(conn batchConn, apart bool, result func(sent, failed int)) *outbox {
	o := &outbox{
		conn: conn, apart: apart, wake: make(chan struct{}, 1), result: result,
		messages: make([]ipv4.Message, batchSize), addrs: make([]net.UDPAddr, batchSize),
	}
	for i := range o.messages {
		o.addrs[i].IP = make(net.IP, 0, net.IPv6len)
		o.messages[i].Addr = &o.addrs[i]
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
	now, wake := !o.running, len(o.queue) == 1 && o.held == 0 || len(o.queue) == maxHeld
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

// hold begins a time in which datagrams are only gathered; release ends it, and writes what anybody has put.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held++
}

func (o *outbox) release() {
	o.mu.Lock()
	o.held--
	waiting := len(o.queue) > 0
	o.mu.Unlock()
	if !waiting {
		return
	}
	if o.writing.TryLock() { // it is quicker than to wake the goroutine
		defer o.writing.Unlock()
		o.flushLocked()
	} else {
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
	o.flushLocked()
}

func (o *outbox) flushLocked() {
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

// write writes the first of waiting and returns how many it is done with, at least one. Consecutive ones to one peer
// and of one size, of which the last may be shorter, share a message.
func (o *outbox) write(waiting []datagram) int {
	messages := 0
	for rest := waiting; len(rest) > 0 && messages < batchSize; messages++ {
		n := o.together(rest)
		o.fill(messages, rest[:n])
		rest = rest[n:]
	}
	n, err := o.conn.WriteBatch(o.messages[:messages], 0)
	done := 0
	for i := range messages {
		m := &o.messages[i]
		if err == nil && i < n {
			done += len(m.Buffers)
		}
		clear(m.Buffers)
	}
	if done > 0 {
		o.result(done, 0)
		return done
	}
	if len(o.messages[0].Buffers) == 1 {
		o.result(0, 1)
		return 1
	}
	return o.writeApart(waiting[:len(o.messages[0].Buffers)], err)
}

// writeApart writes datagrams that could not be written together. A device that cannot is not asked again.
func (o *outbox) writeApart(waiting []datagram, err error) int {
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOPROTOOPT) {
		o.apart = true
	}
	was := o.apart
	o.apart = true
	defer func() { o.apart = was }()
	done := 0
	for done < len(waiting) {
		done += o.write(waiting[done:])
	}
	return done
}

// together counts the first of waiting that can share a message.
func (o *outbox) together(waiting []datagram) int {
	first, n := waiting[0], 1
	if o.apart || len(first.octets) > maxSegment || len(first.octets) == 0 {
		return 1
	}
	for n < min(len(waiting), maxSegments, (maxDatagram-1-maxSegment)/len(first.octets)) {
		next := waiting[n]
		if next.peer != first.peer || len(next.octets) > len(first.octets) {
			break
		}
		n++
		if len(next.octets) < len(first.octets) {
			break
		}
	}
	if n < minSegments {
		return 1
	}
	return n
}

// fill makes message i of datagrams.
func (o *outbox) fill(i int, datagrams []datagram) {
	m, to := &o.messages[i], &o.addrs[i]
	address := datagrams[0].peer.Addr()
	to.IP = append(to.IP[:0], address.AsSlice()...)
	to.Port, to.Zone = int(datagrams[0].peer.Port()), address.Zone()
	m.Buffers, m.OOB = m.Buffers[:0], m.OOB[:0]
	for _, d := range datagrams {
		m.Buffers = append(m.Buffers, d.octets)
	}
	if len(datagrams) > 1 {
		m.OOB = appendSegmentSize(m.OOB, len(datagrams[0].octets))
	}
}

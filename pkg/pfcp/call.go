package pfcp

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Errors that a Call ends with.
var (
	ErrTimeout = errors.New("no answer")              // after N1 retransmissions
	ErrClosed  = errors.New("endpoint closed")        // Run has ended
	ErrBusy    = errors.New("too many calls pending") // MaxPending
)

// call is a request of ours that waits for its answer.
type call struct {
	peer     netip.AddrPort
	want     MessageType
	sequence Sequence
	octets   []byte
	left     int // retransmissions
	deadline time.Time
	at       *list.Element // in calls.waiting
	done     func(Header, Message, error)
}

// calls are the requests of ours that wait for their answers. The wait is the same for all, so that waiting,
// which holds *call, is in the order of the deadlines.
type calls struct {
	pending map[Sequence]*call
	of      map[netip.AddrPort]int // how many of them, by peer
	waiting *list.List
	next    Sequence
	later   []func() // told by the clock
}

func newCalls(first Sequence) calls {
	return calls{pending: make(map[Sequence]*call), of: make(map[netip.AddrPort]int), waiting: list.New(), next: first}
}

// sequence returns a number that no pending call has. There are always some: Validate bounds MaxPending.
func (c *calls) sequence() Sequence {
	for {
		s := c.next
		c.next = (c.next + 1) & maxSequence
		if _, used := c.pending[s]; !used {
			return s
		}
	}
}

// full says whether a peer gets no further call. Peers that answer nothing may have taken all of most; up to as many again
// are for the others, an eighth of most for each.
func (c *calls) full(peer netip.AddrPort, most int) bool {
	return len(c.pending) >= most && (c.of[peer] >= (most+7)/8 || len(c.pending) >= 2*most)
}

// setSequence writes the sequence number into the header of an encoded message.
func setSequence(b []byte, s Sequence) {
	at := headerSize - 4
	if b[0]&headerS != 0 {
		at = headerSizeSEID - 4
	}
	binary.BigEndian.PutUint32(b[at:], uint32(s)<<8)
}

// Call sends a request and returns at once. done is called exactly once, never from within Call: with the
// response, or with an error (ErrTimeout, ErrClosed, ErrBusy, ErrVersion, one of encoding, or an *Error for a
// response that does not parse). It is called from a goroutine of the endpoint and must not block. seid is the
// peer's SEID, 0 in an establishment and in messages without a session.
//
// Before Run, a request is sent but its answer waits in the socket.
func (e *Endpoint) Call(peer netip.AddrPort, seid SEID, m Message, done func(Header, Message, error)) {
	want, ok := m.Type().Response()
	b, err := e.marshal(Header{SEID: seid}, m)
	if err == nil && !ok {
		err = fmt.Errorf("%v is no request", m.Type())
	}
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	if err == nil {
		err = e.begin(&call{peer: peer, want: want, octets: b, left: e.cfg.N1, done: done})
	}
	if err != nil {
		e.Later(func() { done(Header{}, nil, err) })
		return
	}
	e.send(b, peer)
}

// begin gives the call its number and its deadline.
func (e *Endpoint) begin(c *call) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if e.calls.full(c.peer, e.cfg.MaxPending) {
		return ErrBusy
	}
	c.sequence = e.calls.sequence()
	setSequence(c.octets, c.sequence)
	c.deadline = time.Now().Add(e.cfg.T1)
	c.at = e.calls.waiting.PushBack(c)
	e.calls.pending[c.sequence] = c
	e.calls.of[c.peer]++
	if c.deadline.Before(e.planned) {
		e.planned = c.deadline
		e.poke()
	}
	return nil
}

// poke wakes the clock.
func (e *Endpoint) poke() {
	select {
	case e.wake <- struct{}{}:
	default: // it will wake already
	}
}

// Later has a goroutine of the endpoint call f soon, and returns at once. It is for whoever wraps Call and has to
// keep its promise that nothing is told from within. f must not block.
func (e *Endpoint) Later(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		time.AfterFunc(0, func() { e.tell(f) })
		return
	}
	e.calls.later = append(e.calls.later, f)
	e.poke()
}

// receiveResponse ends the call that a response answers. header is the error of its header. What comes from
// another address than was asked, or has another type, is not the answer.
func (e *Endpoint) receiveResponse(d *decoder, peer netip.AddrPort, h Header, body []byte, header error) {
	e.mu.Lock()
	c, ok := e.calls.pending[h.Sequence]
	if !ok || c.peer != peer || h.Type != c.want && h.Type != TypeVersionNotSupportedResponse {
		e.mu.Unlock()
		e.stats.unsolicited.Add(1)
		return
	}
	e.calls.remove(c)
	e.mu.Unlock()

	if header == nil && h.Type == TypeVersionNotSupportedResponse {
		header = ErrVersion
	}
	if header != nil {
		if fault, ok := errors.AsType[*Error](header); ok {
			e.countParseError(fault)
		}
		c.done(h, nil, header)
		return
	}
	m, fault := d.parseMessage(h, body)
	if fault != nil {
		e.countParseError(fault)
		c.done(h, nil, fault)
		return
	}
	c.done(h, m, nil)
}

// remove ends a call.
func (c *calls) remove(ended *call) {
	delete(c.pending, ended.sequence)
	c.waiting.Remove(ended.at)
	if c.of[ended.peer]--; c.of[ended.peer] == 0 {
		delete(c.of, ended.peer)
	}
}

// clock sends again, times out and sweeps until ctx ends.
func (e *Endpoint) clock(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-timer.C:
		}
		timer.Reset(e.tick(time.Now()))
	}
}

// tick does what is due and returns how long there is nothing to do.
func (e *Endpoint) tick(now time.Time) time.Duration {
	e.mu.Lock()
	e.responses.sweepAt(now)
	again, ended := e.calls.due(now, e.cfg.T1)
	e.stats.timeouts.Add(uint64(len(ended)))
	ended = append(ended, e.calls.later...)
	e.calls.later = nil
	e.stats.retransmissions.Add(uint64(len(again)))
	wait := e.cfg.ResponseLifetime
	if first := e.calls.waiting.Front(); first != nil {
		wait = min(wait, first.Value.(*call).deadline.Sub(now))
	}
	e.planned = now.Add(wait)
	e.mu.Unlock()

	for _, c := range again {
		e.send(c.octets, c.peer)
	}
	for _, done := range ended {
		e.tell(done)
	}
	return max(wait, 0)
}

// due takes the calls whose deadline has passed: those to send again, and what tells of those that have failed.
func (c *calls) due(now time.Time, t1 time.Duration) (again []*call, ended []func()) {
	for at := c.waiting.Front(); at != nil; at = c.waiting.Front() {
		first := at.Value.(*call)
		if now.Before(first.deadline) {
			break
		}
		if first.left == 0 {
			c.remove(first)
			ended = append(ended, func() { first.done(Header{}, nil, ErrTimeout) })
			continue
		}
		first.left--
		first.deadline = now.Add(t1)
		c.waiting.MoveToBack(at)
		again = append(again, first)
	}
	return again, ended
}

// tell calls done; a panic in it ends here.
func (e *Endpoint) tell(done func()) {
	defer func() {
		if fault := recover(); fault != nil {
			e.panicked(netip.AddrPort{}, fault)
		}
	}()
	done()
}

// end fails whatever is pending.
func (e *Endpoint) end() {
	e.mu.Lock()
	e.closed = true
	ended := e.calls.later
	e.calls.later = nil
	for _, c := range e.calls.pending {
		e.calls.remove(c)
		ended = append(ended, func() { c.done(Header{}, nil, ErrClosed) })
	}
	e.mu.Unlock()
	for _, done := range ended {
		e.tell(done)
	}
}

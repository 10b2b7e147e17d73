package datapath

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Draining. When the rule of an entry forwards again, its entry first drains (session.ActionDrain): packets that come
// from the network still go to the slow path, and those that the slow path gives back are forwarded. The entry's gate
// counts the ones that had to wait and the ones that have left; when as many have left as waited, new packets are
// forwarded at once. One more waits from the beginning, for all that came before: Release lets it go, when everything
// that was handed over before has been given back. So no packet overtakes another of its UE, and from when the gate is
// open nothing changes any more by making the entry forward.

// drain is an entry that drains.
type drain struct {
	seid pfcp.SEID
	held bool // the one that waits from the beginning still does
}

const (
	// A Turn is the slot of the packet's entry, and above it:
	turnByTEID     = session.Turn(1) << 30 // that is of uplink, not of downlink
	turnGated      = session.Turn(1) << 31 // the packet counts in its gate
	turnGeneration = 32                    // bits below those of that gate's generation

	passPatience = 20 * time.Millisecond // for a packet given back to be seen by the program
)

// gateOf is the index of an entry's gate, as in bpf/slowpath.h.
func (t *tables) gateOf(at place) uint32 { return at.index & uint32(len(t.gates.slots)-1) }

func (t *tables) gate(at place) *pgwuGate { return &t.gates.slots[t.gateOf(at)] }

// placeOf is where the entry of a parked packet is.
func placeOf(turn session.Turn) place {
	at := place{placeDownlink, uint32(turn & (turnByTEID - 1))}
	if turn&turnByTEID != 0 {
		at.kind = placeUplink
	}
	return at
}

func isDraining(e session.Entry) bool {
	for _, r := range e.Rules {
		if r.Action == session.ActionDrain {
			return true
		}
	}
	return false
}

// beginDrain is before an entry is written that drains from now on.
func (d *Datapath) beginDrain(at place, seid pfcp.SEID) {
	if d.drains[at] != nil {
		return
	}
	index, gate := d.tables.gateOf(at), d.tables.gate(at)
	if d.gateUsers[index] == 0 { // the counts begin anew: packets that are late from before are nobody's
		atomic.AddUint32(&gate.Generation, 1)
		atomic.StoreUint64(&gate.Returned, atomic.LoadUint64(&gate.Parked))
	}
	d.gateUsers[index]++
	atomic.AddUint64(&gate.Parked, 1)
	d.drains[at] = &drain{seid: seid, held: true}
	d.fences = append(d.fences, seid)
	notify(d.endsKick)
}

// endDrain is after an entry was written that does not drain.
func (d *Datapath) endDrain(at place) {
	drain := d.drains[at]
	if drain == nil {
		return
	}
	index := d.tables.gateOf(at)
	if drain.held {
		atomic.AddUint64(&d.tables.gate(at).Returned, 1)
	}
	delete(d.drains, at)
	if d.gateUsers[index]--; d.gateUsers[index] == 0 {
		delete(d.gateUsers, index)
	}
}

// Release is called when everything that came before EventFence has been given back: new packets of the session are
// forwarded as soon as none waits before them. It returns what Drained does.
func (d *Datapath) Release(seid pfcp.SEID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, drain := range d.drains {
		if drain.seid == seid && drain.held {
			drain.held = false
			atomic.AddUint64(&d.tables.gate(at).Returned, 1)
		}
	}
	return d.drained(seid)
}

// Drained says whether new packets of a session are forwarded at once: to make its entries forward changes nothing.
func (d *Datapath) Drained(seid pfcp.SEID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drained(seid)
}

func (d *Datapath) drained(seid pfcp.SEID) bool {
	for at, drain := range d.drains {
		gate := d.tables.gate(at)
		if drain.seid == seid && (drain.held || int64(atomic.LoadUint64(&gate.Returned)-atomic.LoadUint64(&gate.Parked)) < 0) {
			return false
		}
	}
	return true
}

// Return has the program take a packet that it parked, as if it had come from its network instance now. While its entry
// drains, that is the packet's turn: Return comes back when the program has seen it. Whatever becomes of it, nobody waits
// for it any more.
func (d *Datapath) Return(instance pfcp.NetworkInstance, p session.Parked) error {
	defer d.Forget(p.Turn)
	at := placeOf(p.Turn)
	gate := d.tables.gate(at)
	d.mu.Lock()
	waits := d.drains[at] != nil
	d.mu.Unlock()
	before := atomic.LoadUint64(&gate.Passed)
	if err := d.Inject(instance, p.Packet); err != nil || !waits {
		return err
	}
	for began := time.Now(); atomic.LoadUint64(&gate.Passed) == before; {
		passed := time.Since(began)
		if passed > passPatience {
			return fmt.Errorf("%w: the program has not seen it", ErrNoEntry)
		}
		if passed > passPatience/100 { // mostly it is there when the write is done
			time.Sleep(passPatience / 100)
		}
	}
	return nil
}

// Forget is told of a parked packet that is not given back now: nobody waits for it any more.
func (d *Datapath) Forget(turn session.Turn) {
	gate := d.tables.gate(placeOf(turn))
	if turn&turnGated != 0 && atomic.LoadUint32(&gate.Generation) == uint32(turn>>turnGeneration) {
		atomic.AddUint64(&gate.Returned, 1)
	}
}

// fence has readParked tell of fences behind all that is in the ring now.
func (d *Datapath) fence(seids []pfcp.SEID) {
	if len(seids) == 0 {
		return
	}
	d.mu.Lock()
	d.flushing = append(d.flushing, seids...)
	reader := d.parking
	d.mu.Unlock()
	if reader != nil {
		_ = reader.Flush() // closed: nobody waits any more
	}
}

func (d *Datapath) takeFlushing() []pfcp.SEID {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.flushing
	d.flushing = nil
	return taken
}

// readParked hands over the packets that rules buffer.
func (d *Datapath) readParked(ctx context.Context, onEvent func(Event)) error {
	reader, err := ringbuf.NewReader(d.objects.Parking)
	if err != nil {
		return fmt.Errorf("read parked packets: %w", err)
	}
	d.mu.Lock()
	d.parking = reader
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = reader.Close() })
	defer stop()
	defer func() { _ = reader.Close() }()
	var record ringbuf.Record
	var fences []pfcp.SEID // flushed since before the ring was last looked at
	for {
		fences = append(fences, d.takeFlushing()...)
		err := reader.ReadInto(&record)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, ringbuf.ErrFlushed):
			for _, seid := range fences {
				onEvent(Event{Kind: EventFence, SEID: seid})
			}
			if fences = d.takeFlushing(); len(fences) > 0 { // their own flush may have been this one
				_ = reader.Flush()
			}
			continue
		case err != nil:
			return fmt.Errorf("read parked packets: %w", err)
		}
		if event, ok := d.tables.decodeParked(record.RawSample); ok {
			onEvent(event)
		}
	}
}

func (t *tables) decodeParked(sample []byte) (e Event, ok bool) {
	var head pgwuParkHead
	packet, ok := behind(sample, &head)
	if !ok || int(head.Octets) > len(packet) {
		return e, false
	}
	packet = slices.Clone(packet[:head.Octets])
	at := place{placeDownlink, head.Slot}
	slots := len(t.downlink.slots)
	if head.ByTeid != 0 {
		at.kind, slots = placeUplink, len(t.uplink.slots)
	}
	if int(head.Slot) >= slots || int(head.Rule) >= len(t.rules.slots) {
		return e, false
	}
	e = Event{Kind: EventBuffered, Parked: session.Parked{Packet: packet, Turn: session.Turn(head.Slot), Origin: t.origin(at).session()}}
	if head.ByTeid != 0 {
		e.Turn |= turnByTEID
	}
	if head.Gated != 0 {
		e.Turn |= turnGated | session.Turn(head.Generation)<<turnGeneration
	}
	if head.Rule != 0 { // its place may be another rule's by now
		account := t.rules.slots[head.Rule].Account
		if of := t.accountOrigins.slots[account].session(); of.SEID == e.Origin.SEID {
			e.Origin = of
		}
	}
	e.SEID = e.Origin.SEID
	return e, true
}

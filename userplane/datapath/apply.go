package datapath

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"

	"github.com/xepc/xepc/userplane/session"
)

// noPeer is the peer index of a downlink entry without outer header: peer 0 is never given out.
const noPeer = 0

// peerKey names a tunnel's two ends.
type peerKey struct{ local, remote netip.Addr }

// put is one entry ready to be written.
type put struct {
	at       place
	compiled compiled
	next     uint16 // number of the network instance, or peer
	source   uint32
	teid     uint32
	fresh    bool // the place was free
}

// plan is a change of which nothing can fail any more; until then, undo takes back what it reserved.
type plan struct {
	puts    []put
	deletes []place
	taken   map[place]bool // of puts
	undo    []func()
}

// Apply makes all of changes or nothing: ErrTableFull, ErrSlotTaken, ErrUnknownSlice, ErrUnknownInstance,
// ErrUnsupported. Puts are in the kernel before deletes; a put of a key that is there keeps its counters; the
// delete of a key that is not there is nothing. A put over an entry of another session is ErrSlotTaken.
func (d *Datapath) Apply(changes session.Changes) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.grace.settleIfLarge(); err != nil {
		return err
	}
	p, err := d.plan(changes, false)
	if err != nil {
		return err
	}
	d.commit(p)
	return nil
}

// plan finds or reserves all that changes need. overwrite: an entry of another session may be replaced.
func (d *Datapath) plan(changes session.Changes, overwrite bool) (*plan, error) {
	p := &plan{taken: map[place]bool{}}
	for _, e := range changes.Puts {
		if err := d.planPut(p, e, overwrite); err != nil {
			for i := range p.undo {
				p.undo[len(p.undo)-1-i]()
			}
			return nil, fmt.Errorf("put %s: %w", describe(e.Key), err)
		}
	}
	for _, key := range changes.Deletes {
		at, ok, err := d.tables.locate(key)
		switch {
		case errors.Is(err, ErrUnknownSlice), errors.Is(err, ErrUnknownInstance), errors.Is(err, ErrUnsupported):
			continue // then it cannot be there
		case ok && d.tables.keyAt(at) == wireKey(key) && !p.taken[at]:
			p.deletes = append(p.deletes, at)
		}
	}
	return p, nil
}

func (d *Datapath) planPut(p *plan, e session.Entry, overwrite bool) error {
	c, err := compile(e)
	if err != nil {
		return err
	}
	at, err := d.reserve(p, e.Key)
	if err != nil {
		return err
	}
	if p.taken[at] {
		return fmt.Errorf("%w: twice in one change", ErrSlotTaken)
	}
	next := put{at: at, compiled: c}
	switch held := d.tables.keyAt(at); {
	case held == 0:
		next.fresh = true
	case held != c.key:
		return ErrSlotTaken
	case d.tables.origin(at).Seid != c.origin.Seid && !overwrite:
		return fmt.Errorf("%w: session %#x has it", ErrSlotTaken, d.tables.origin(at).Seid)
	}
	if next.fresh && d.grace.rests(at) {
		if err := d.grace.settle(); err != nil {
			return err
		}
	}
	if e.Key.Direction == session.Uplink {
		err = d.planUplink(&next, e)
	} else {
		err = d.planDownlink(p, &next, e)
	}
	if err != nil {
		return err
	}
	p.taken[at] = true
	p.puts = append(p.puts, next)
	return nil
}

func (d *Datapath) planUplink(next *put, e session.Entry) error {
	number, known := d.tables.numbers[e.Instance]
	if !known && e.Action == session.ActionForward {
		return fmt.Errorf("%w: %q", ErrUnknownInstance, e.Instance)
	}
	next.next = uint16(number)
	next.source = onWire(sourceOf(e))
	return nil
}

func (d *Datapath) planDownlink(p *plan, next *put, e session.Entry) error {
	next.teid = teidOnWire(e.RemoteTEID)
	if !needsPeer(e) {
		next.next = noPeer
		return nil
	}
	index, err := d.peer(peerKey{e.Local, e.Remote})
	if err != nil {
		return err
	}
	next.next = uint16(index)
	d.peerPool.hold(index)
	p.undo = append(p.undo, func() { d.peerPool.release(index) })
	return nil
}

// reserve returns the place of key, and makes and holds a block for its /24 when there is none.
func (d *Datapath) reserve(p *plan, key session.Key) (place, error) {
	at, ok, err := d.tables.locate(key)
	if err != nil || key.Direction == session.Uplink {
		return at, err
	}
	if !ok {
		if err := d.makeBlock(p, blockKey(d.tables.numbers[key.Instance], key.UE.Addr())); err != nil {
			return at, err
		}
		if at, _, err = d.tables.locate(key); err != nil {
			return at, err
		}
	}
	block := at.index / blockSize // the entry's own reference: commit keeps it for a fresh one only
	d.blockPool.hold(block)
	p.undo = append(p.undo, func() { d.blockPool.release(block) })
	return at, nil
}

// makeBlock gives a /24 its slots. The directory says so at once: the block is empty.
func (d *Datapath) makeBlock(p *plan, key uint64) error {
	block, reused, ok := d.blockPool.take()
	if !ok {
		return fmt.Errorf("%w: all %d address blocks hold sessions", ErrTableFull, len(d.blockPool.refs))
	}
	if reused {
		d.tables.blocks.remove(d.blockKeys[block])
		d.blockKeys[block] = 0
		d.grace.rest(place{placeBlock, block})
		if err := d.grace.settle(); err != nil {
			d.blockPool.idleIfFree(block)
			return err
		}
	}
	if err := d.tables.blocks.insert(key, block*blockSize, 0, d.grace.barrier); err != nil {
		d.blockPool.idleIfFree(block)
		return err
	}
	d.blockKeys[block] = key
	p.undo = append(p.undo, func() {
		d.tables.blocks.remove(key)
		d.blockKeys[block] = 0
		d.grace.rest(place{placeBlock, block})
		_ = d.grace.settle() // before the cell is used again
		d.blockPool.idleIfFree(block)
	})
	return nil
}

// peer returns the index of a tunnel's ends, and makes it when it is new.
func (d *Datapath) peer(key peerKey) (uint32, error) {
	if index, ok := d.peerIndex[key]; ok {
		return index, nil
	}
	index, reused, ok := d.peerPool.take()
	if !ok {
		return 0, fmt.Errorf("%w: all %d peers have sessions", ErrTableFull, len(d.peerPool.refs))
	}
	if reused {
		d.hops.forget(d.peerHop(index))
		delete(d.peerIndex, d.peerKeys[index])
		d.peerKeys[index] = peerKey{}
		d.grace.rest(place{placePeer, index})
		if err := d.grace.settle(); err != nil {
			d.peerPool.idleIfFree(index)
			return 0, err
		}
	}
	d.tables.peers.slots[index] = pgwuPeer{
		Local: onWire(key.local), Remote: onWire(key.remote), NextHop: d.peerHop(index),
		Checksum: outerChecksum(key.local, key.remote, 0),
	}
	d.peerIndex[key], d.peerKeys[index] = index, key
	d.peerPool.idleIfFree(index)
	d.hops.want(d.peerHop(index), key.remote)
	d.hops.resolveNow(d.peerHop(index))
	return index, nil
}

// peerHop is the next hop of a peer: they stand after those of the network instances.
func (d *Datapath) peerHop(peer uint32) uint32 { return d.tables.about.Instances + peer }

// commit writes; the mapped tables make it a matter of stores.
func (d *Datapath) commit(p *plan) {
	for i := range p.puts {
		d.write(&p.puts[i])
	}
	for _, at := range p.deletes {
		d.clear(at)
	}
}

// write stores an entry: everything else first, the key last. plan holds the references of a fresh one; of an
// existing one the references of what it was are let go.
func (d *Datapath) write(w *put) {
	t, slot := d.tables, w.at.index
	if w.fresh {
		*t.usage(w.at) = pgwuUsage{}
		*t.meter(w.at) = pgwuMeter{}
	} else if w.at.kind == placeDownlink {
		d.blockPool.release(slot / blockSize)
		d.releasePeer(loadWord(&t.downlink.slots[slot].Word).Peer)
	}
	*t.origin(w.at) = w.compiled.origin
	atomic.StoreUint32(&t.meter(w.at).Rate, w.compiled.rate)
	if w.at.kind == placeUplink {
		storeWord(&t.uplink.slots[slot].Word, pgwuUplinkWord{Source: w.source, NextHop: w.next, Flags: w.compiled.flags})
		atomic.StoreUint32(&t.uplink.slots[slot].Teid, w.compiled.key)
		return
	}
	storeWord(&t.downlink.slots[slot].Word, pgwuDownlinkWord{RemoteTeid: w.teid, Peer: w.next, Flags: w.compiled.flags})
	atomic.StoreUint32(&t.downlink.slots[slot].Ue, w.compiled.key)
}

// clear makes a place free: the key first. What it counted stays readable until the place is used again.
func (d *Datapath) clear(at place) {
	t := d.tables
	if at.kind == placeUplink {
		atomic.StoreUint32(&t.uplink.slots[at.index].Teid, 0)
		storeWord(&t.uplink.slots[at.index].Word, pgwuUplinkWord{})
	} else {
		peer := loadWord(&t.downlink.slots[at.index].Word).Peer
		atomic.StoreUint32(&t.downlink.slots[at.index].Ue, 0)
		storeWord(&t.downlink.slots[at.index].Word, pgwuDownlinkWord{})
		d.releasePeer(peer)
		d.blockPool.release(at.index / blockSize)
	}
	d.grace.rest(at)
}

func (d *Datapath) releasePeer(peer uint16) {
	if peer != noPeer {
		d.peerPool.release(uint32(peer))
	}
}

// Usage is what the entries of keys have counted, in their order. ErrNoEntry when one is not there.
func (d *Datapath) Usage(keys []session.Key) ([]session.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	usages := make([]session.Usage, len(keys))
	for i, key := range keys {
		at, ok, err := d.tables.locate(key)
		if err != nil {
			return nil, err
		}
		if !ok || d.tables.keyAt(at) != wireKey(key) {
			return nil, fmt.Errorf("%w: %s", ErrNoEntry, describe(key))
		}
		usages[i] = d.tables.usageAt(at)
	}
	return usages, nil
}

// Reconcile makes the tables equal to want: what is missing is added, what differs is rewritten with its counters
// kept, what nobody wants is removed; entries that are right are not touched.
func (d *Datapath) Reconcile(want iter.Seq[session.Entry]) (Repairs, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var repairs Repairs
	wanted := map[place]bool{}
	for e := range want {
		at, ok, err := d.tables.locate(e.Key)
		if err != nil {
			return repairs, fmt.Errorf("%s: %w", describe(e.Key), err)
		}
		held := uint32(0)
		if ok {
			held = d.tables.keyAt(at)
		}
		switch {
		case held == wireKey(e.Key) && d.equal(at, e):
			wanted[at] = true
			continue
		case held == wireKey(e.Key):
			repairs.Changed++
		case held != 0 && wanted[at]:
			return repairs, fmt.Errorf("%s: %w", describe(e.Key), ErrSlotTaken)
		case held != 0: // a TEID that nobody wants, in the slot of one that somebody does
			d.clear(at)
			repairs.Removed++
			repairs.Added++
		default:
			repairs.Added++
		}
		p, err := d.plan(session.Changes{Puts: []session.Entry{e}}, true)
		if err != nil {
			return repairs, err
		}
		d.commit(p)
		wanted[p.puts[0].at] = true
	}
	var unwanted []place
	for at := range d.tables.entries {
		if !wanted[at] {
			unwanted = append(unwanted, at)
		}
	}
	for _, at := range unwanted {
		d.clear(at)
		repairs.Removed++
	}
	return repairs, d.grace.settleIfLarge()
}

// equal says whether the place holds just what e compiles to.
func (d *Datapath) equal(at place, e session.Entry) bool {
	c, err := compile(e)
	if err != nil || *d.tables.origin(at) != c.origin || atomic.LoadUint32(&d.tables.meter(at).Rate) != c.rate {
		return false
	}
	if at.kind == placeUplink {
		w := loadWord(&d.tables.uplink.slots[at.index].Word)
		return w == pgwuUplinkWord{
			Source: onWire(sourceOf(e)), NextHop: uint16(d.tables.numbers[e.Instance]), Flags: c.flags,
		}
	}
	peer := uint32(noPeer)
	if needsPeer(e) {
		known := false
		if peer, known = d.peerIndex[peerKey{e.Local, e.Remote}]; !known {
			return false
		}
	}
	w := loadWord(&d.tables.downlink.slots[at.index].Word)
	return w == pgwuDownlinkWord{RemoteTeid: teidOnWire(e.RemoteTEID), Peer: uint16(peer), Flags: c.flags}
}

// sourceOf is the address that an uplink entry checks; zero: none.
func sourceOf(e session.Entry) netip.Addr {
	if len(e.Sources) == 0 {
		return netip.Addr{}
	}
	return e.Sources[0].Addr()
}

func describe(key session.Key) string {
	if key.Direction == session.Uplink {
		return fmt.Sprintf("uplink TEID %#x at %v", uint32(key.TEID), key.Local)
	}
	return fmt.Sprintf("downlink %v in %q", key.UE, key.Instance)
}

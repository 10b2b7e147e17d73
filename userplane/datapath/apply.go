package datapath

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// noPeer is no tunnel's end: peer 0 is never given out.
const noPeer = 0

// noQFI is a peer's that gets no PDU Session Container, NO_QFI of bpf/layout.h.
const noQFI = 0xff

// peerKey names a tunnel's two ends, and how packets are marked on the way.
type peerKey struct {
	local, remote netip.Addr
	tos, qfi      uint8
}

// check refuses a tunnel that cannot be.
func (k peerKey) check() error {
	if !k.local.IsValid() || !k.remote.IsValid() || k.local.Is4() != k.remote.Is4() {
		return fmt.Errorf("%w: tunnel from %v to %v", ErrInvalid, k.local, k.remote)
	}
	return nil
}

// put is one entry ready to be written.
type put struct {
	at     place
	key    uint32
	word   pgwuWord
	cell   uint32
	prefix uint64
	rate   uint32
	watch  uint32
	origin pgwuOrigin
	fresh  bool       // the place was free
	bucket *pgwuMeter // of before, with which its own goes on; nil: it is the same, or there was none
	drains bool
	stale  []route
}

// plan is a change of which nothing can fail any more; until then, undo takes back what it reserved.
type plan struct {
	puts     []put
	deletes  []place
	limits   []cellLimits
	rates    []meterRate
	leaving  leaving
	moves    []move
	moving   map[route]bool // of moves
	arriving []route        // by which packets are led from now on
	accounts []accountState
	buckets  []bucketMove
	taken    set[place] // of puts
	keys     set[session.Key]
	undo     []func()

	newMeters map[uint32]bool // shared ones that nobody had before
}

type meterRate struct{ index, rate uint32 }

func (p *plan) rollBack() {
	for i := range p.undo {
		p.undo[len(p.undo)-1-i]()
	}
}

// PutError is an entry that could not be put.
type PutError struct {
	Key session.Key
	PDR pfcp.PDRID // of its first rule
	Err error
}

func (e *PutError) Error() string { return fmt.Sprintf("put %s: %v", describe(e.Key), e.Err) }

func (e *PutError) Unwrap() error { return e.Err }

// Apply makes all of changes or nothing: ErrTableFull, ErrSlotTaken, ErrUnknownSlice, ErrUnknownInstance,
// ErrInvalid; what could not be put, in a *PutError. Puts are in the kernel before deletes; a put of a key that is there
// keeps its counters; the delete of a key that is not there is nothing. A put over an entry of another session is
// ErrSlotTaken, unless the same changes delete it: then the key moves, and counts anew. A framed route moves likewise from
// an entry that is deleted, or put without it.
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
	for _, id := range changes.Removes {
		d.dropCell(id)
	}
	d.markEnds(changes.EndMarkers)
	return nil
}

// plan finds or reserves all that changes need. overwrite: an entry of another session may be replaced.
func (d *Datapath) plan(changes session.Changes, overwrite bool) (*plan, error) {
	p := &plan{leaving: d.leave(changes)}
	p.leaving.any = overwrite
	for _, c := range changes.Cells {
		if err := d.planCell(p, c); err != nil {
			p.rollBack()
			return nil, err
		}
	}
	for _, e := range changes.Puts {
		if err := d.planPut(p, e, overwrite); err != nil {
			p.rollBack()
			return nil, &PutError{Key: e.Key, PDR: e.Origin.PDRID, Err: err}
		}
	}
	for _, key := range changes.Deletes {
		at, ok, err := d.find(key)
		switch {
		case errors.Is(err, ErrUnknownSlice), errors.Is(err, ErrUnknownInstance), errors.Is(err, ErrInvalid):
			continue // then it cannot be there
		case ok && !p.taken.has(at):
			p.deletes = append(p.deletes, at)
		}
	}
	return p, nil
}

func (d *Datapath) planPut(p *plan, e session.Entry, overwrite bool) error {
	c, err := d.tables.compile(e)
	if err != nil {
		return err
	}
	if !p.keys.add(e.Key) {
		return fmt.Errorf("%w: twice in one change", ErrSlotTaken)
	}
	at, ok, err := d.find(e.Key)
	if err != nil {
		return err
	}
	beside := ok && p.leaving.entries[at] && d.tables.origin(at).Seid != c.origin.Seid
	next := put{key: c.key, origin: c.origin, watch: watchOf(e.Watch), fresh: !ok || beside, drains: isDraining(e)}
	if next.fresh {
		reserve := d.reserve
		if beside { // another session takes the key over: what is counted begins anew
			reserve = d.reserveBeside
		}
		if at, err = reserve(p, e.Key); err != nil {
			return err
		}
		if !byTEID(e.Key) {
			p.arriving = append(p.arriving, route{d.tables.numbers[e.Key.Instance], e.Key.UE})
		}
	} else if held := d.tables.origin(at).Seid; held != c.origin.Seid && !overwrite {
		return fmt.Errorf("%w: session %#x has it", ErrSlotTaken, held)
	}
	next.at = at
	first := len(p.accounts)
	if err := d.planRules(p, &next, e, c); err != nil {
		return err
	}
	d.planBuckets(p, &next, e.Key.Direction, p.accounts[first:])
	if err := d.planRoutes(p, &next, e); err != nil {
		return err
	}
	p.taken.add(at)
	p.puts = append(p.puts, next)
	return nil
}

// planRules makes the word of a put, and the set that it may lead to. An entry in use changes by one store of its
// word; when more of it would change, it leads to a set from now on.
func (d *Datapath) planRules(p *plan, next *put, e session.Entry, c compiled) (err error) {
	old := d.tables.entry(next.at)
	inUse := !next.fresh && loadWord(&old.Word).Flags&flagSet == 0
	same := true
	if c.plain {
		if len(c.rules[0].cells) > 0 {
			if next.cell, err = d.cell(p, c.rules[0].cells[0]); err != nil {
				return err
			}
		}
		same = !next.fresh && old.Cell == next.cell && old.Prefix == c.prefix
		if inUse && !same {
			if c, err = d.tables.compileAs(e, false); err != nil {
				return err
			}
		}
	}
	if c.plain {
		if next.word, err = d.wordOf(p, &c.rules[0]); err != nil {
			return err
		}
		next.prefix, next.rate = c.prefix, c.rules[0].rate
		return d.settleFields(next, same)
	}
	next.word, err = d.putSet(p, &c, next.at, next.fresh)
	if byTEID(e.Key) && e.Key.Direction == session.Downlink {
		next.word.Flags |= flagTunnel // tells the program the direction
	}
	next.cell, next.prefix = 0, c.prefix
	if !next.fresh { // for programs that saw the word of before, or one from before that
		next.cell, next.prefix = old.Cell, old.Prefix
	}
	return err
}

// settleFields waits for programs that may still read what is beside the word of an entry that leads to a set, before
// that changes.
func (d *Datapath) settleFields(next *put, same bool) error {
	if same || next.fresh || !d.grace.rests(fieldsOf(next.at)) {
		return nil
	}
	return d.grace.settle()
}

func fieldsOf(at place) place {
	if at.kind == placeUplink {
		return place{placeUplinkFields, at.index}
	}
	return place{placeDownlinkFields, at.index}
}

// planRoutes has the framed routes of an entry lead to it.
func (d *Datapath) planRoutes(p *plan, next *put, e session.Entry) error {
	if len(e.Routes) == 0 && len(d.framed[next.at.index]) == 0 || next.at.kind != placeDownlink {
		return nil
	}
	for _, prefix := range e.Routes {
		if prefix.Masked() != prefix {
			return fmt.Errorf("%w: route %v", ErrInvalid, prefix)
		}
		r := route{d.tables.numbers[e.Key.Instance], prefix}
		if slot, ok := d.routes[r]; ok && slot == next.at.index {
			continue
		}
		if err := d.leadTo(p, r, next.at.index); err != nil {
			return err
		}
	}
	next.stale = d.stale(next.at, &e)
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
	raw := pgwuPeer{Tos: key.tos, Qfi: key.qfi, Outer: outerLength(key)}
	if key.remote.Is4() {
		raw.Local, raw.Remote = onWire(key.local), onWire(key.remote)
		raw.Checksum = outerChecksum(key.local, key.remote, key.tos)
	} else {
		raw.Local6, raw.Remote6 = halves(key.local), halves(key.remote)
		raw.Checksum = pseudoChecksum(key.local, key.remote)
	}
	d.tables.peers.slots[index] = raw
	d.peerIndex[key], d.peerKeys[index] = index, key
	d.peerPool.idleIfFree(index)
	d.hops.want(d.peerHop(index), target{address: key.remote, source: key.local})
	d.hops.resolveNow(d.peerHop(index))
	return index, nil
}

// peerOf is the inverse: whose a peer is. Its remote is not valid when it is nobody's.
func peerOf(raw *pgwuPeer) peerKey {
	key := peerKey{tos: raw.Tos, qfi: raw.Qfi}
	switch {
	case raw.Remote != 0:
		key.local, key.remote = fromWire(raw.Local), fromWire(raw.Remote)
	case raw.Remote6 != [2]uint64{}:
		key.local, key.remote = fromHalves(raw.Local6), fromHalves(raw.Remote6)
	}
	return key
}

// peerHop is the next hop of a peer: they stand after those of the network instances.
func (d *Datapath) peerHop(peer uint32) uint32 { return d.tables.peersHops() + peer }

func (t *tables) peersHops() uint32 { return 2 * t.about.Instances }

// commit writes; the mapped tables make it a matter of stores.
func (d *Datapath) commit(p *plan) {
	for _, c := range p.limits {
		d.storeLimits(c)
	}
	for _, r := range p.rates {
		d.setRate(&d.tables.meters.slots[r.index].Meter, r.rate)
	}
	for i := range p.accounts {
		d.storeAccount(&p.accounts[i])
	}
	for _, m := range p.buckets {
		d.moveBucket(m)
	}
	for i := range p.puts {
		if p.puts[i].drains {
			d.beginDrain(p.puts[i].at, pfcp.SEID(p.puts[i].origin.Seid))
		}
		d.write(&p.puts[i])
		if !p.puts[i].drains {
			d.endDrain(p.puts[i].at)
		}
	}
	d.turnOver(p)
	for i := range p.puts {
		for _, r := range p.puts[i].stale {
			if !p.moving[r] {
				d.removeRoute(r)
			}
		}
	}
	for _, at := range p.deletes {
		d.clear(at)
	}
}

// write stores an entry: everything else first, the key last. plan holds the references of what is new; those of what
// it was are let go.
func (d *Datapath) write(w *put) {
	e := d.tables.entry(w.at)
	old := loadWord(&e.Word)
	if w.fresh {
		e.Usage, e.Meter = pgwuUsage{}, pgwuMeter{}
	}
	*d.tables.origin(w.at) = w.origin
	e.Cell, e.Prefix = w.cell, w.prefix
	if old.Flags&flagSet != 0 && w.word.Flags&flagSet == 0 && !w.fresh {
		if account, ok := d.tables.accountsOf(old)[w.origin.PdrId]; ok {
			e.Meter = d.tables.accounts.slots[account].Meter
		}
	}
	if w.word.Flags&flagSet == 0 {
		d.setRate(&e.Meter, w.rate)
	}
	if w.bucket != nil {
		d.moveBucket(bucketMove{&e.Meter, w.bucket})
	}
	atomic.StoreUint32(&e.Meter.Watch, w.watch)
	storeWord(&e.Word, w.word)
	d.storeKey(w.at, w.key)
	if !w.fresh {
		d.releaseWord(old)
		if old.Flags&flagSet == 0 && w.word.Flags&flagSet != 0 {
			d.grace.rest(fieldsOf(w.at))
		}
	}
}

// clear makes a place free: the key first. What it counted stays readable until the place is used again.
func (d *Datapath) clear(at place) {
	e := d.tables.entry(at)
	key, w := e.Key, loadWord(&e.Word)
	if key == 0 { // it was named twice
		return
	}
	d.storeKey(at, 0)
	storeWord(&e.Word, pgwuWord{})
	d.endDrain(at)
	d.releaseWord(w)
	d.vacate(at, key)
	d.grace.rest(at)
}

// Usage is what the entries of keys have counted, in their order. ErrNoEntry when one is not there.
func (d *Datapath) Usage(keys []session.Key) ([]session.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	usages := make([]session.Usage, len(keys))
	for i, key := range keys {
		at, ok, err := d.find(key)
		if err != nil {
			return nil, err
		}
		if !ok {
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
	wanted := d.newMarks()
	for e := range want {
		at, ok, err := d.find(e.Key)
		if err != nil {
			return repairs, fmt.Errorf("%s: %w", describe(e.Key), err)
		}
		switch {
		case ok && wanted.has(at):
			return repairs, fmt.Errorf("%s: %w: twice", describe(e.Key), ErrSlotTaken)
		case ok && d.equal(at, e):
			wanted.set(at)
			continue
		case ok:
			repairs.Changed++
		default:
			repairs.Added++
		}
		p, err := d.plan(session.Changes{Puts: []session.Entry{e}}, true)
		if err != nil {
			return repairs, err
		}
		d.commit(p)
		wanted.set(p.puts[0].at)
	}
	var unwanted []place
	for at := range d.tables.entries {
		if !wanted.has(at) {
			unwanted = append(unwanted, at)
		}
	}
	if repairs != (Repairs{}) && len(unwanted) > 0 { // programs may be on their way to what others have taken over
		if err := d.grace.barrier(); err != nil {
			return repairs, err
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
	raw := d.tables.entry(at)
	w := loadWord(&raw.Word)
	c, err := d.tables.compileAs(e, w.Flags&flagSet == 0)
	if err != nil || *d.tables.origin(at) != c.origin || !d.equalRoutes(at, e) || !equalWatch(raw, e.Watch) {
		return false
	}
	if w.Flags&flagSet != 0 {
		return d.equalSet(w, &c)
	}
	r := &c.rules[0]
	return c.plain && d.equalWord(w, r) && raw.Prefix == c.prefix && atomic.LoadUint32(&raw.Meter.Rate) == r.rate &&
		d.equalCells([]uint32{raw.Cell}, r.cells)
}

func (d *Datapath) equalRoutes(at place, e session.Entry) bool {
	if at.kind != placeDownlink {
		return true
	}
	n := len(e.Routes)
	if isRouted(e.Key) {
		n++
	}
	for _, prefix := range e.Routes {
		if slot, ok := d.routes[route{d.tables.numbers[e.Key.Instance], prefix}]; !ok || slot != at.index {
			return false
		}
	}
	return len(d.framed[at.index]) == n
}

func (d *Datapath) equalWord(w pgwuWord, r *compiledRule) bool {
	want := pgwuWord{Value: r.value, To: uint16(d.tables.numbers[r.instance]), Flags: r.flags}
	if r.flags&flagTunnel != 0 {
		index, known := d.peerIndex[r.peer]
		if !known {
			return false
		}
		want.To = uint16(index)
	}
	return w == want
}

// equalCells compares indices, of which 0 is none, with ids.
func (d *Datapath) equalCells(indices []uint32, ids []session.CellID) bool {
	n := 0
	for _, index := range indices {
		if index == 0 {
			continue
		}
		if n == len(ids) || d.tables.cellID(index) != ids[n] {
			return false
		}
		n++
	}
	return n == len(ids)
}

func (d *Datapath) equalSet(w pgwuWord, c *compiled) bool {
	filters := d.tables.set(w)
	rules := d.tables.rulesOf(filters)
	if len(filters) != len(c.filters) || len(rules) != len(c.rules) {
		return false
	}
	for i, f := range filters {
		f.Rule = uint32(slices.Index(rules, f.Rule))
		if f != c.filters[i] {
			return false
		}
	}
	for i, index := range rules {
		raw, r := &d.tables.rules.slots[index], &c.rules[i]
		if !d.equalSpecial(raw.Special, r) {
			return false
		}
		account := &d.tables.accounts.slots[raw.Account]
		if atomic.LoadUint32(&account.Meter.Rate) != r.rate || d.tables.accountOrigins.slots[raw.Account] != r.origin {
			return false
		}
		if !d.equalWord(raw.Word, r) || raw.Tos != r.tos || raw.TosMask != r.tosMask || !d.equalCells(raw.Cells[:], r.cells) {
			return false
		}
		for n, meter := range raw.Meters {
			switch {
			case meter == 0 && n >= len(r.meters):
			case meter == 0 || n >= len(r.meters) || d.tables.meterID(meter) != r.meters[n].ID,
				uint64(d.tables.meters.slots[meter].Meter.Rate) != r.meters[n].MBR:
				return false
			}
		}
	}
	return true
}

func describe(key session.Key) string {
	if byTEID(key) {
		return fmt.Sprintf("uplink TEID %#x at %v", uint32(key.TEID), key.Local)
	}
	return fmt.Sprintf("downlink %v in %q", key.UE, key.Instance)
}

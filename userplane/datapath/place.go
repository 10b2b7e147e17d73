package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// route is a prefix that is found by its length, in one network instance.
type route struct {
	instance uint32
	prefix   netip.Prefix
}

// raw is the route as the map has it.
func (r route) raw() pgwuRouteKey {
	key := pgwuRouteKey{Bits: uint32(32 + r.prefix.Bits()), Address: r.prefix.Addr().As16()}
	if r.prefix.Addr().Is4() {
		key.Bits += 96
	}
	var octets [4]byte
	binary.BigEndian.PutUint32(octets[:], r.instance)
	key.Instance = binary.NativeEndian.Uint32(octets[:])
	return key
}

func routeOf(key pgwuRouteKey) route {
	var octets [4]byte
	binary.NativeEndian.PutUint32(octets[:], key.Instance)
	a, bits := netip.AddrFrom16(key.Address), int(key.Bits)-32
	if a.Is4In6() {
		a, bits = a.Unmap(), bits-96
	}
	return route{binary.BigEndian.Uint32(octets[:]), netip.PrefixFrom(a, bits)}
}

// loadRoutes reads all routes: the slot of each.
func (t *tables) loadRoutes() map[route]uint32 {
	routes := map[route]uint32{}
	var key pgwuRouteKey
	var slot uint32
	for entries := t.routeMap.Iterate(); entries.Next(&key, &slot); {
		routes[routeOf(key)] = slot
	}
	return routes
}

// find returns where the entry of key is; ok is false when it is nowhere.
func (d *Datapath) find(key session.Key) (at place, ok bool, err error) {
	if byTEID(key) {
		slice := d.tables.service(key.Local)
		if slice == nil {
			return at, false, fmt.Errorf("%w: %v", ErrUnknownSlice, key.Local)
		}
		at = place{placeUplink, slice.Base + uint32(key.TEID)&slice.Mask}
		if d.tables.holds(at, key) {
			return at, true, nil
		}
		if cell := d.tables.teids.find(teidKey(slice.Base, key.TEID)); cell != nil {
			return place{placeUplink, cell.Value}, true, nil
		}
		return at, false, nil
	}
	number, known := d.tables.numbers[key.Instance]
	if !known {
		return at, false, fmt.Errorf("%w: %q", ErrUnknownInstance, key.Instance)
	}
	if isRouted(key) {
		slot, ok := d.routes[route{number, key.UE}]
		at = place{placeDownlink, slot}
		return at, ok && d.tables.holds(at, key), nil // else it is a framed route of another entry
	}
	if block := d.tables.blocks.find(blockKey(number, key.UE)); block != nil {
		at = place{placeDownlink, block.Value + lastOctet(key.UE)}
		if d.tables.holds(at, key) {
			return at, true, nil
		}
	}
	if cell := d.tables.hosts.find(hostKey(number, key.UE)); cell != nil {
		return place{placeDownlink, cell.Value}, true, nil
	}
	return at, false, nil
}

// reserve returns the place of an entry that is not there yet, makes what leads to it, and adds to p what undoes that.
func (d *Datapath) reserve(p *plan, key session.Key) (place, error) {
	switch {
	case byTEID(key):
		return d.reserveTEID(p, key)
	case isRouted(key):
		return d.reserveRouted(p, key)
	}
	return d.reserveUE(p, key)
}

// reserveTEID takes the slot that the TEID names, or another of the slice through the directory.
func (d *Datapath) reserveTEID(p *plan, key session.Key) (place, error) {
	slice := d.tables.service(key.Local)
	at := place{placeUplink, slice.Base + uint32(key.TEID)&slice.Mask}
	if d.isFree(p, at) {
		return at, d.occupy(p, at)
	}
	at, err := d.reserveStray(p, key)
	if err != nil {
		return at, err
	}
	dirKey := teidKey(slice.Base, key.TEID)
	if err := d.tables.teids.insert(dirKey, at.index, 0, d.grace.barrier); err != nil {
		return at, err
	}
	p.undo = append(p.undo, func() { d.tables.teids.remove(dirKey) })
	return at, nil
}

const (
	eagerBlocks = 4  // address blocks that are made for a single address; beyond them,
	eagerPart   = 64 // or that part of all,
	denseHosts  = 8  // an address block is made when a /24, or a /56 of IPv6, has that many UEs
)

// reserveUE takes the slot that an address has in the block of its /24 or /56, which is made where it is worth it, or any other.
func (d *Datapath) reserveUE(p *plan, key session.Key) (at place, err error) {
	number := d.tables.numbers[key.Instance]
	block, err := d.blockOf(p, blockKey(number, key.UE))
	if err != nil {
		return at, err
	}
	if block != nil {
		at = place{placeDownlink, block.Value + lastOctet(key.UE)}
		if d.isFree(p, at) {
			d.countUE(p, at, key)
			return at, d.occupy(p, at)
		}
	}
	return d.reserveHost(p, key)
}

// blockOf is the block of that key; nil: it has none.
func (d *Datapath) blockOf(p *plan, key uint64) (*pgwuCell, error) {
	if block := d.tables.blocks.find(key); block != nil {
		return block, nil
	}
	if d.blockPool.held >= max(eagerBlocks, len(d.blockPool.refs)/eagerPart) && d.singlesIn[key] < denseHosts {
		return nil, nil
	}
	if err := d.makeBlock(p, key); err != nil && !errors.Is(err, ErrTableFull) {
		return nil, err
	}
	return d.tables.blocks.find(key), nil
}

// reserveHost takes a slot that the directory of hosts leads to.
func (d *Datapath) reserveHost(p *plan, key session.Key) (place, error) {
	at, err := d.reserveStray(p, key)
	if err != nil {
		return at, err
	}
	d.countUE(p, at, key)
	dirKey := hostKey(d.tables.numbers[key.Instance], key.UE)
	if err := d.tables.hosts.insert(dirKey, at.index, 0, d.grace.barrier); err != nil {
		return at, err
	}
	p.undo = append(p.undo, func() { d.tables.hosts.remove(dirKey) })
	return at, nil
}

func (d *Datapath) reserveRouted(p *plan, key session.Key) (place, error) {
	at, err := d.reserveStray(p, key)
	if err != nil {
		return at, err
	}
	d.countUE(p, at, key)
	return at, d.leadTo(p, route{d.tables.numbers[key.Instance], key.UE}, at.index)
}

// isFree says whether a slot has no entry, and gets none by the plan; it may rest.
func (d *Datapath) isFree(p *plan, at place) bool { return d.tables.keyAt(at) == 0 && !p.taken.has(at) }

// reserveStray takes a slot for an entry that cannot have the one that its key names; one for a UE is among singles then.
func (d *Datapath) reserveStray(p *plan, key session.Key) (place, error) {
	at, ok := d.freeSlot(key)
	if !ok { // but perhaps some that rest
		if err := d.grace.settle(); err != nil {
			return at, err
		}
		if at, ok = d.freeSlot(key); !ok {
			return at, fmt.Errorf("%w: all slots of %v are in use", ErrTableFull, at.kind)
		}
	}
	if err := d.occupy(p, at); err != nil {
		return at, err
	}
	if !byTEID(key) && !isRouted(key) {
		d.singles.Add(at.index)
	}
	return at, nil
}

// freeSlot is the highest slot that is free. From the top, since address blocks and the TEIDs that we choose begin at the bottom.
func (d *Datapath) freeSlot(key session.Key) (at place, ok bool) {
	at, first := place{placeDownlink, uint32(len(d.tables.downlink.slots)) - 1}, uint32(0)
	if byTEID(key) {
		slice := d.tables.service(key.Local)
		at, first = place{placeUplink, slice.Base + slice.Mask}, slice.Base
	}
	at.index, ok = d.free[at.kind].UpTo(at.index)
	return at, ok && at.index >= first
}

// occupy takes a slot, when programs are done that saw what it held, until the plan is undone or its entry goes.
func (d *Datapath) occupy(p *plan, at place) error {
	if d.grace.rests(at) {
		if err := d.grace.settle(); err != nil {
			return err
		}
	}
	d.free[at.kind].Remove(at.index)
	p.undo = append(p.undo, func() { d.free[at.kind].Add(at.index) })
	return nil
}

// rested makes a slot free that had an entry.
func (d *Datapath) rested(at place) {
	if int(at.kind) < len(d.free) {
		d.free[at.kind].Add(at.index)
	}
}

// countUE takes an entry into account, until the plan is undone or vacate.
func (d *Datapath) countUE(p *plan, at place, key session.Key) {
	number := d.tables.numbers[key.Instance]
	d.count(at, number, key.UE, isRouted(key))
	p.undo = append(p.undo, func() { d.discount(at, number, key.UE, isRouted(key)) })
}

// count takes an entry into account: its block is held, or it is one outside of its block. discount undoes that. ue matters
// unless it is routed.
func (d *Datapath) count(at place, number uint32, ue netip.Prefix, routed bool) {
	switch {
	case routed:
	case d.singles.Has(at.index):
		d.singlesIn[blockKey(number, ue)]++
	default:
		d.blockPool.hold(at.index / blockSize)
	}
}

func (d *Datapath) discount(at place, number uint32, ue netip.Prefix, routed bool) {
	switch {
	case routed:
	case !d.singles.Has(at.index):
		d.blockPool.release(at.index / blockSize)
	default:
		d.singles.Remove(at.index)
		block := blockKey(number, ue)
		if d.singlesIn[block]--; d.singlesIn[block] == 0 {
			delete(d.singlesIn, block)
		}
	}
}

// addRoute has a prefix lead to a slot of downlink.
func (d *Datapath) addRoute(p *plan, r route, slot uint32) error {
	if err := d.objects.Routes.Update(r.raw(), slot, ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("%w: route %v: %w", ErrTableFull, r.prefix, err)
	}
	d.routes[r] = slot
	d.framed[slot] = append(d.framed[slot], r)
	p.undo = append(p.undo, func() { d.removeRoute(r) })
	return nil
}

func (d *Datapath) removeRoute(r route) {
	slot := d.routes[r]
	delete(d.routes, r)
	if err := d.objects.Routes.Delete(r.raw()); err != nil {
		d.log.Warn("route not removed", "prefix", r.prefix, "err", err)
	}
	d.unframe(slot, r)
}

// makeBlock gives a /24, or a /56 of IPv6, its slots. The directory says so at once: the block is empty.
func (d *Datapath) makeBlock(p *plan, key uint64) error {
	block, reused, ok := d.blockPool.take()
	if !ok {
		return fmt.Errorf("%w: all %d address blocks hold sessions", ErrTableFull, len(d.blockPool.refs))
	}
	if err := d.emptyBlock(block, reused); err != nil {
		return err
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

// emptyBlock ends what a block was before.
func (d *Datapath) emptyBlock(block uint32, reused bool) error {
	if !reused {
		return nil
	}
	d.tables.blocks.remove(d.blockKeys[block])
	d.blockKeys[block] = 0
	d.grace.rest(place{placeBlock, block})
	if err := d.grace.settle(); err != nil {
		d.blockPool.idleIfFree(block)
		return err
	}
	return nil
}

// vacate undoes what leads to an entry that is gone, whose key was that.
func (d *Datapath) vacate(at place, key uint32) {
	if at.kind == placeUplink {
		d.vacateTEID(at, key)
		return
	}
	for _, r := range append([]route(nil), d.framed[at.index]...) {
		d.removeRoute(r)
	}
	number, ue, ok := d.tables.ueAt(at, key)
	if ok {
		if cell := d.tables.hosts.find(hostKey(number, ue)); cell != nil && cell.Value == at.index {
			d.tables.hosts.remove(cell.Key)
		}
	}
	d.discount(at, number, ue, !ok)
}

func (d *Datapath) vacateTEID(at place, key uint32) {
	for slice := range d.tables.allServices {
		if at.index < slice.Base || at.index > slice.Base+slice.Mask {
			continue
		}
		teid := teidOnWire(pfcp.TEID(key))
		dirKey := teidKey(slice.Base, pfcp.TEID(teid))
		if cell := d.tables.teids.find(dirKey); cell != nil && cell.Value == at.index {
			d.tables.teids.remove(dirKey)
		}
		return
	}
}

// storeKey makes an entry findable, or free with 0.
func (d *Datapath) storeKey(at place, key uint32) { atomic.StoreUint32(&d.tables.entry(at).Key, key) }

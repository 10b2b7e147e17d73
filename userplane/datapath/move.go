package datapath

import (
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/xepc/xepc/userplane/session"
)

// Framed routes, UE addresses and F-TEIDs may move from one entry to another in one change. What leads to them is turned
// over when the new entry is there, and the old one goes when no program can be on its way to it any more: at no time does
// a packet find neither.

// leaving is what a change takes away, so that another entry of it may have it.
type leaving struct {
	entries map[place]bool // deleted
	routes  map[route]bool // of entries that are deleted, or put without them
	any     bool           // whatever stands in the way may be taken
}

// leave looks at what changes take away.
func (d *Datapath) leave(changes session.Changes) leaving {
	l := leaving{}
	if len(changes.Puts) == 0 {
		return l // nothing can take it over
	}
	for _, key := range changes.Deletes {
		at, ok, err := d.find(key)
		if err != nil || !ok {
			continue
		}
		if l.entries == nil {
			l.entries = map[place]bool{}
		}
		l.entries[at] = true
		if at.kind == placeDownlink {
			l.addRoutes(d.framed[at.index])
		}
	}
	for i := range changes.Puts {
		e := &changes.Puts[i]
		if byTEID(e.Key) || len(d.framed) == 0 {
			continue
		}
		if at, ok, err := d.find(e.Key); err == nil && ok && !l.entries[at] {
			l.addRoutes(d.stale(at, e))
		}
	}
	return l
}

func (l *leaving) addRoutes(routes []route) {
	for _, r := range routes {
		if l.routes == nil {
			l.routes = map[route]bool{}
		}
		l.routes[r] = true
	}
}

// stale are the routes that lead to a place, and that its entry is not to have any more.
func (d *Datapath) stale(at place, e *session.Entry) (stale []route) {
	if at.kind != placeDownlink || len(d.framed[at.index]) == 0 {
		return nil
	}
	wanted := d.wantedRoutes(e)
	for _, r := range d.framed[at.index] {
		if !wanted[r] {
			stale = append(stale, r)
		}
	}
	return stale
}

// wantedRoutes are the prefixes by which an entry is found.
func (d *Datapath) wantedRoutes(e *session.Entry) map[route]bool {
	number := d.tables.numbers[e.Key.Instance]
	wanted := map[route]bool{}
	if isRouted(e.Key) {
		wanted[route{number, e.Key.UE}] = true
	}
	for _, prefix := range e.Routes {
		wanted[route{number, prefix}] = true
	}
	return wanted
}

// leadTo has a prefix lead to a slot of downlink: at once, or when the change is made if it is another entry's that
// leaves it.
func (d *Datapath) leadTo(p *plan, r route, slot uint32) error {
	p.arriving = append(p.arriving, r)
	if _, taken := d.routes[r]; !taken {
		return d.addRoute(p, r, slot)
	}
	if p.moving[r] || !p.leaving.routes[r] && !p.leaving.any {
		return fmt.Errorf("%w: prefix %v", ErrSlotTaken, r.prefix)
	}
	if p.moving == nil {
		p.moving = map[route]bool{}
	}
	p.moving[r] = true
	p.moves = append(p.moves, move{route: r, to: slot})
	return nil
}

// move is something that leads to a slot, and will lead to another.
type move struct {
	route     route // when directory is nil
	directory *directory
	key       uint64
	to        uint32
}

// turnOver carries moves out. It waits for the programs that may be on their way by what was before, if that is to go.
func (d *Datapath) turnOver(p *plan) {
	for _, m := range p.moves {
		if m.directory == nil {
			d.moveRoute(m.route, m.to)
			continue
		}
		if cell := m.directory.find(m.key); cell != nil {
			atomic.StoreUint32(&cell.Value, m.to)
		}
	}
	if (len(p.moves) == 0 || len(p.deletes) == 0) && !p.relieves() {
		return
	}
	if err := d.grace.barrier(); err != nil {
		d.log.Error("entries go although programs may be on their way to them", "entries", len(p.deletes), "err", err)
	}
}

// relieves says whether packets that a route leads from now will be led by something else that the change brings. Routes are
// what programs look at last: one that did not find the new may be about to look for the old.
func (p *plan) relieves() bool {
	for old := range p.leaving.routes {
		for _, r := range p.arriving {
			if !p.moving[old] && r.instance == old.instance && r.prefix.Overlaps(old.prefix) {
				return true
			}
		}
	}
	return false
}

// moveRoute has a prefix lead to another slot.
func (d *Datapath) moveRoute(r route, slot uint32) {
	err := d.objects.Routes.Update(r.raw(), slot, ebpf.UpdateExist)
	if err != nil { // a full trie of an older kernel replaces nothing
		_ = d.objects.Routes.Delete(r.raw())
		err = d.objects.Routes.Update(r.raw(), slot, ebpf.UpdateAny)
	}
	if err != nil {
		d.log.Error("route not moved", "prefix", r.prefix, "err", err)
	}
	d.unframe(d.routes[r], r)
	d.routes[r] = slot
	d.framed[slot] = append(d.framed[slot], r)
}

// unframe forgets that a prefix leads to a slot.
func (d *Datapath) unframe(slot uint32, r route) {
	var left []route
	for _, other := range d.framed[slot] {
		if other != r {
			left = append(left, other)
		}
	}
	if d.framed[slot] = left; len(left) == 0 {
		delete(d.framed, slot)
	}
}

// reserveBeside returns another place for an entry whose key has one, and sees to it that the key leads there when the
// change is made.
func (d *Datapath) reserveBeside(p *plan, key session.Key) (at place, err error) {
	if byTEID(key) {
		dirKey := teidKey(d.tables.service(key.Local).Base, key.TEID)
		if d.tables.teids.find(dirKey) == nil {
			return d.reserveTEID(p, key)
		}
		if at, err = d.reserveStray(p, key); err == nil {
			p.moves = append(p.moves, move{directory: &d.tables.teids, key: dirKey, to: at.index})
		}
		return at, err
	}
	if isRouted(key) {
		return d.reserveRouted(p, key)
	}
	dirKey := hostKey(d.tables.numbers[key.Instance], key.UE)
	if d.tables.hosts.find(dirKey) == nil {
		return d.reserveHost(p, key)
	}
	if at, err = d.reserveStray(p, key); err == nil {
		d.countUE(p, at, key)
		p.moves = append(p.moves, move{directory: &d.tables.hosts, key: dirKey, to: at.index})
	}
	return at, err
}

package sxb

import (
	"net/netip"
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Bounds of what is kept for UEs that are idle; ours. Config has those that can be set.
const (
	parkedQueue = 1024        // packets on their way to a shard
	drainLimit  = time.Second // then the entries forward, and packets that still wait may be overtaken
)

// buffer holds the packets of a session whose FARs buffer, in the order in which they came.
type buffer struct {
	packets []session.Parked
	kept    map[pfcp.FARID]int
	told    map[pfcp.FARID]bool // the control plane was, or will be
}

// draining is a session of which FARs forward again while packets of before are being given back: see
// session.ActionDrain.
type draining struct {
	fars  []pfcp.FARID
	since time.Time
}

// handed is what the data path hands to a shard, in its order.
type handed struct {
	seid  pfcp.SEID
	fence bool // all from before the session drained were handed over
	session.Parked
}

// Buffered takes a packet whose rule buffers, drains or answers, TS 29.244 5.2.3 and 8.2.20; it is the callee's from now
// on. The first one of a FAR that buffers is told to its control plane, where the FAR asks for that. It never waits.
func (e *Edge) Buffered(seid pfcp.SEID, p session.Parked) {
	if !e.hand(handed{seid: seid, Parked: p}) {
		e.stats.bufferFull.Add(1)
		e.dp.Forget(p.Turn)
	}
}

// Fence is told that all packets from before a session drained were handed over. It never waits.
func (e *Edge) Fence(seid pfcp.SEID) {
	if !e.hand(handed{seid: seid, fence: true}) {
		e.stats.lostEvents.Add(1) // the drain ends when its time is over
	}
}

func (e *Edge) hand(h handed) bool {
	select {
	case e.shard(h.seid).parked <- h:
		return true
	default:
		return false
	}
}

func (sh *shard) take(h *handed) {
	if h.fence {
		if sh.e.dp.Release(h.seid) {
			sh.drained(h.seid)
		}
		return
	}
	s, ok := sh.sessions.get(h.seid)
	if !ok {
		sh.lose(&h.Parked)
		return
	}
	table, err := sh.table(s)
	if err != nil {
		sh.lose(&h.Parked)
		return
	}
	if rule := uplinkRule(table, h.Origin.PDRID); rule != nil {
		sh.e.dp.Forget(h.Turn)
		sh.sendElsewhere(&s, table, rule, h.Packet)
		return
	}
	entry, rule := ruleFor(table, &h.Parked)
	switch {
	case entry == nil:
		sh.lose(&h.Parked)
	case rule != nil && rule.Action == session.ActionBuffer:
		sh.e.dp.Forget(h.Turn)
		sh.put(&s, rule, &h.Parked)
	default: // it is its turn; or it came before the rule changed, and arrives after: the program decides
		sh.giveBack(h.seid, entry, &h.Parked)
	}
}

// put keeps a packet of a rule that buffers.
func (sh *shard) put(s *session.Session, rule *session.Rule, p *session.Parked) {
	b := sh.buffered[s.SEID]
	if b == nil {
		b = &buffer{kept: map[pfcp.FARID]int{}, told: map[pfcp.FARID]bool{}}
		sh.buffered[s.SEID] = b
	}
	far := rule.Origin.FARID
	if rule.Notify && !b.told[far] {
		b.told[far] = true
		sh.notify(s, rule.Origin, time.Now())
	}
	if b.kept[far] >= sh.room(s, far) || sh.held >= max(sh.e.cfg.Buffered/len(sh.e.shards), 1) {
		sh.e.stats.bufferFull.Add(1)
		return
	}
	p.Origin.FARID = far
	b.packets = append(b.packets, *p)
	b.kept[far]++
	sh.held++
}

// ruleFor finds the entry that a packet belongs to, and in it the rule that took the packet, by its PDR. No rule: it is
// gone since.
func ruleFor(table session.Table, p *session.Parked) (*session.Entry, *session.Rule) {
	e := entryTo(table, p.Packet)
	if e == nil {
		return nil, nil
	}
	for _, r := range e.Rules {
		if r.Origin.PDRID == p.Origin.PDRID {
			return e, r
		}
	}
	return e, nil
}

// entryTo finds the entry that an IP packet to a UE belongs to; nil: there is none.
func entryTo(table session.Table, packet []byte) *session.Entry {
	var to netip.Addr
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		to = netip.AddrFrom4([4]byte(packet[16:20]))
	case len(packet) >= 40 && packet[0]>>4 == 6:
		to = netip.AddrFrom16([16]byte(packet[24:40]))
	default:
		return nil
	}
	for i := range table {
		e := &table[i]
		if e.Key.Direction != session.Downlink || !e.Key.UE.IsValid() {
			continue
		}
		if e.Key.UE.Contains(to) {
			return e
		}
		for _, route := range e.Routes {
			if route.Contains(to) {
				return e
			}
		}
	}
	return nil
}

// drainsAfter are the FARs of which packets are being given back, or will be, when old has become next: those that
// forward again, and those that still drain.
func (sh *shard) drainsAfter(old, next *session.Session) (fars []pfcp.FARID) {
	var still []pfcp.FARID
	if d := sh.draining[next.SEID]; d != nil {
		still = d.fars
	}
	for i := range next.FARs {
		f := &next.FARs[i]
		if f.Action&pfcp.ActionForward == 0 {
			continue
		}
		was := slices.IndexFunc(old.FARs, func(o session.FAR) bool { return o.ID == f.ID })
		if slices.Contains(still, f.ID) || was >= 0 && old.FARs[was].Action&pfcp.ActionBuffer != 0 {
			fars = append(fars, f.ID)
		}
	}
	return fars
}

// drain makes the rules of a table drain that would forward by those FARs.
func drain(table session.Table, fars []pfcp.FARID) {
	if len(fars) == 0 {
		return
	}
	for i := range table {
		for _, r := range table[i].Rules {
			if r.Action == session.ActionForward && table[i].Key.Direction == session.Downlink && slices.Contains(fars, r.Origin.FARID) {
				r.Action = session.ActionDrain
			}
		}
	}
}

// look sees to what is buffered of a session that has changed: what forwards now is given back, in its order and through
// the same rules as every packet; what does not wait any more, or what the control plane wants dropped, is thrown away.
func (sh *shard) look(next *session.Session, fars []pfcp.FARID, discard bool) {
	switch d := sh.draining[next.SEID]; {
	case len(fars) == 0:
		delete(sh.draining, next.SEID)
	case d == nil:
		sh.draining[next.SEID] = &draining{fars: fars, since: time.Now()}
	default:
		d.fars = fars
	}
	b := sh.buffered[next.SEID]
	if b == nil {
		return
	}
	delete(sh.buffered, next.SEID)
	sh.held -= len(b.packets)
	if discard {
		sh.e.stats.bufferDropped.Add(uint64(len(b.packets)))
		b.packets = nil
	}
	table, err := sh.table(*next)
	if err != nil {
		return
	}
	left := &buffer{kept: map[pfcp.FARID]int{}, told: map[pfcp.FARID]bool{}}
	for i := range b.packets {
		p := &b.packets[i]
		entry, rule := ruleFor(table, p)
		switch {
		case entry == nil:
			sh.lose(p)
		case rule != nil && rule.Action == session.ActionBuffer:
			left.packets = append(left.packets, *p)
			left.kept[rule.Origin.FARID]++
			sh.held++
		default:
			sh.giveBack(next.SEID, entry, p)
		}
	}
	for i := range table {
		for _, r := range table[i].Rules {
			if r.Action == session.ActionBuffer && b.told[r.Origin.FARID] {
				left.told[r.Origin.FARID] = true
			}
		}
	}
	if len(left.packets)+len(left.told) > 0 {
		sh.buffered[next.SEID] = left
	}
}

// giveBack has the data path take a packet, whose turn it is.
func (sh *shard) giveBack(seid pfcp.SEID, e *session.Entry, p *session.Parked) {
	if err := sh.e.dp.Return(e.Key.Instance, *p); err != nil {
		sh.e.stats.bufferLost.Add(1)
		sh.e.log.Debug("buffered packet lost", "seid", uint64(seid), "err", err)
		return
	}
	sh.e.stats.bufferReturned.Add(1)
	if sh.draining[seid] != nil && sh.e.dp.Drained(seid) {
		sh.drained(seid)
	}
}

// lose is of a packet that is nobody's any more.
func (sh *shard) lose(p *session.Parked) {
	sh.e.dp.Forget(p.Turn)
	sh.e.stats.bufferLost.Add(1)
}

// drained makes the entries of a session forward that drain.
func (sh *shard) drained(seid pfcp.SEID) {
	if sh.paused[seid] != nil { // its entries are stopped
		sh.when(seid, func() { sh.drained(seid) })
		return
	}
	d := sh.draining[seid]
	if d == nil {
		return
	}
	delete(sh.draining, seid)
	s, ok := sh.sessions.get(seid)
	if !ok {
		return
	}
	after, err := sh.table(s)
	if err != nil {
		return
	}
	before, err := sh.table(s)
	if err != nil {
		return
	}
	drain(before, d.fars)
	if err := sh.e.dp.Apply(session.Diff(before, after)); err != nil {
		sh.e.log.Error("a session's packets still go through the slow path", "seid", uint64(seid), "err", err)
	}
}

// hurry ends what drains for too long: packets come in faster than they can be given back, or word of the end was lost.
func (sh *shard) hurry(now time.Time) {
	for seid, d := range sh.draining {
		if now.Sub(d.since) >= drainLimit {
			sh.e.stats.drainCut.Add(1)
			sh.drained(seid)
		}
	}
}

// forget throws away what is kept of a session, and says how many packets that are.
func (sh *shard) forget(seid pfcp.SEID) (packets uint64) {
	sh.forgetNotice(seid)
	if b := sh.buffered[seid]; b != nil {
		packets = uint64(len(b.packets))
		sh.held -= len(b.packets)
		delete(sh.buffered, seid)
	}
	return packets
}

// end leaves entries that drain forwarding, since nobody will give packets back, and says how many packets are lost with
// this process.
func (sh *shard) end() (lost int) {
	for seid := range sh.draining {
		sh.drained(seid)
	}
	for {
		select {
		case h := <-sh.parked:
			if !h.fence {
				sh.lose(&h.Parked)
				lost++
			}
		default:
			sh.e.stats.bufferLost.Add(uint64(sh.held))
			return lost + sh.held
		}
	}
}

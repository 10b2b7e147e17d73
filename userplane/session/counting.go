package session

import (
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// This file settles what a URR counts in. An entry whose rules have the same URRs (most have one rule) counts for all of
// them, and each URR adds up its entries: nothing beside the entry is touched for them. Where that will not do, the entry
// is celled: its rules count in the cells of their URRs instead. That is so when only some of the rules have a URR, or
// when a URR has a volume quota, which holds for all its entries together and to the packet. A URR with a volume
// threshold is in cells everywhere or nowhere, so that its cell or its entries can tell when it is reached.
//
// A URR that measures before QoS enforcement is in cells, which count what gates and policers drop, too.
//
// What FARs drop is no usage. But it is traffic, whose start and stop a URR may have to tell: then it has a cell of its own
// for it, which rules that drop count in, whether the entry is celled or not.
//
// The entry's own count stands still while it is celled. So nothing is lost at the change, whenever the data path makes
// it: what came before stands in the entry, what comes after in the cells, and the URR has both.

// rest is the cell of all rules without URRs in celled entries. Bit 31 is not for control planes, TS 29.244 8.2.54.
const rest = pfcp.URRID(1 << 31)

// Counts is what was counted until now.
type Counts struct {
	Of      Table    // the entries that were read
	Entries []Usage  // in the order of Of
	Cells   []Volume // in the order of CellIDs
}

// entry is what the entry of a key has counted; 0 when there was none.
func (c *Counts) entry(key *Key) Usage {
	if at, ok := c.Of.search(key); ok {
		return c.Entries[at]
	}
	return Usage{}
}

// SetWatches sets at which counts the entries of a table tell, which the session compiles to but for that.
func (s Session) SetWatches(t Table) {
	n := 0
	for i := range t {
		t[i].Watch = 0
		if s.counting(&t[i]) {
			if n < len(s.Watches) {
				t[i].Watch = s.Watches[n]
			}
			n++
		}
	}
}

// celled settles which entries are celled, and with which cells. One makes others so, by a URR with a volume threshold.
func (c *compiler) celled(t Table) {
	if len(c.s.URRs) == 0 {
		return
	}
	needs := make([]bool, len(c.s.URRs))
	for i := range c.s.URRs {
		needs[i] = c.s.URRs[i].hasVolumeQuota() || c.s.URRs[i].informed(pfcp.MeasureBeforeQoS)
	}
	for again := true; again; {
		again = false
		for i := range t {
			e := &t[i]
			if e.Celled || !c.s.wantsCells(e, needs) {
				continue
			}
			e.Celled, again = true, true
			c.cell(e, needs)
		}
	}
	if c.s.Detects() {
		c.dropped(t)
	}
}

// dropped has the rules that drop count for the URRs that start and stop with what they drop, and for none else.
func (c *compiler) dropped(t Table) {
	for i := range t {
		for _, r := range t[i].Rules {
			p, ok := find(c.s.PDRs, r.Origin.PDRID, idOfPDR)
			if !ok || r.Action != ActionDrop || !c.s.drops(&c.s.PDRs[p]) {
				continue
			}
			var cells []CellID
			for _, id := range c.s.PDRs[p].urrs() {
				if u, ok := find(c.s.URRs, id, idOfURR); ok && c.s.URRs[u].detects() {
					cells = append(cells, CellID{c.s.SEID, id, true})
				}
			}
			if len(cells) > 0 {
				r.Cells = cells
			}
		}
	}
}

// drops says whether the PDR's own FAR drops; a spent quota may have it drop for a while, which is not meant here.
func (s *Session) drops(p *PDR) bool {
	if at, ok := find(s.FARs, p.FARID, idOfFAR); ok {
		return s.FARs[at].Action&pfcp.ActionDrop != 0
	}
	far := p.predefinedFAR()
	return far != nil && far.Action&pfcp.ActionDrop != 0
}

// detects says whether the start or the stop of its traffic makes a difference to the URR.
func (u *URR) detects() bool {
	return u.Triggers&(pfcp.ReportStartOfTraffic|pfcp.ReportStopOfTraffic) != 0 || u.Method&pfcp.MeasureEvent != 0
}

// Detects says whether the start or the stop of traffic makes a difference to a URR of the session.
func (s *Session) Detects() bool {
	return slices.ContainsFunc(s.URRs, func(u URR) bool { return u.detects() })
}

// wantsCells says whether an entry is to be celled: for URRs that need cells, or since its rules have not all the same
// URRs.
func (s *Session) wantsCells(e *Entry, needs []bool) bool {
	first := s.urrsOf(&e.Rule)
	for _, r := range e.Rules {
		own := s.urrsOf(r)
		for _, id := range own {
			if at, ok := find(s.URRs, id, idOfURR); ok && needs[at] || !slices.Contains(first, id) {
				return true
			}
		}
		for _, id := range first {
			if !slices.Contains(own, id) {
				return true
			}
		}
	}
	return false
}

// cell has the rules of an entry count in cells.
func (c *compiler) cell(e *Entry, needs []bool) {
	for _, r := range e.Rules {
		r.Cells = nil
		for _, id := range c.s.urrsOf(r) {
			at, ok := find(c.s.URRs, id, idOfURR)
			if !ok {
				continue
			}
			u := &c.s.URRs[at]
			needs[at] = needs[at] || u.Triggers&pfcp.ReportVolumeThreshold != 0
			if id := (CellID{SEID: c.s.SEID, URRID: u.ID}); !slices.Contains(r.Cells, id) {
				r.Cells = append(r.Cells, id)
			}
		}
		if len(r.Cells) == 0 {
			r.Cells = []CellID{{SEID: c.s.SEID, URRID: rest}}
		}
	}
}

// urrsOf are the URRs of a rule's PDR, all of which the session has if it compiles.
func (s *Session) urrsOf(r *Rule) []pfcp.URRID {
	if p, ok := find(s.PDRs, r.Origin.PDRID, idOfPDR); ok {
		return s.PDRs[p].urrs()
	}
	return nil
}

// counting says whether an entry counts for URRs.
func (s *Session) counting(e *Entry) bool { return !e.Celled && len(s.urrsOf(&e.Rule)) > 0 }

// counts says whether an entry counts for the URR at that place.
func (s *Session) counts(e *Entry, at int) bool {
	return !e.Celled && slices.Contains(s.urrsOf(&e.Rule), s.URRs[at].ID)
}

func (u *URR) hasVolumeQuota() bool {
	return u.Parameters.VolumeQuota != pfcp.Volume{} || u.Parameters.SubsequentVolumeQuota != pfcp.Volume{}
}

// countOn has u take the cells of an old URR of the same id over, which count on.
func (u *URR) countOn(old *URR) {
	u.Celled, u.Counted, u.Drops, u.Dropped = old.Celled, old.Counted, old.Drops, old.Dropped
}

// CellIDs are the usage cells of the session: those of URRs that count or have counted in one, as long as they live.
func (s Session) CellIDs() []CellID {
	var all []CellID
	for i := range s.URRs {
		if s.URRs[i].Celled {
			all = append(all, CellID{SEID: s.SEID, URRID: s.URRs[i].ID})
		}
		if s.URRs[i].Drops {
			all = append(all, CellID{s.SEID, s.URRs[i].ID, true})
		}
	}
	if s.Rest {
		all = append(all, CellID{SEID: s.SEID, URRID: rest})
	}
	return all
}

// Cells are the usage cells with the counts at which the data path is to act. Counting does not change them: only
// reports, quotas and rules do.
func (s Session) Cells() []Cell {
	var all []Cell
	for i := range s.URRs {
		u := &s.URRs[i]
		if u.Celled {
			all = append(all, Cell{CellID{SEID: s.SEID, URRID: u.ID}, u.limits(), u.informed(pfcp.MeasureBeforeQoS)})
		}
		if u.Drops {
			all = append(all, Cell{ID: CellID{s.SEID, u.ID, true}})
		}
	}
	if s.Rest {
		all = append(all, Cell{ID: CellID{SEID: s.SEID, URRID: rest}})
	}
	return all
}

// Settle brings the session up to what was counted until now, by the entries that it compiles to, so that afterwards
// rules may change or be reported. What counts less than it did was made anew (the maps were lost), and counts from 0.
func (s Session) Settle(counts Counts, now Time) Session {
	next := s
	next.URRs = slices.Clone(s.URRs)
	next.Packets = 0
	for _, u := range counts.Entries {
		next.Packets += u.Packets
	}
	next.LastPacket = min(s.LastPacket, now)
	cells, seen := counts.Cells, false
	for i := range next.URRs {
		u := &next.URRs[i]
		u.turnBack(now)
		moved := since(&u.Entries, s.entriesOf(i, counts.Of, &counts))
		if u.Celled {
			moved = moved.plus(since(&u.Counted, cells[0]))
			cells = cells[1:]
		}
		dropped := Volume{}
		if u.Drops {
			dropped = since(&u.Dropped, cells[0])
			cells = cells[1:]
		}
		seen = seen || moved != Volume{}
		u.advance(moved, dropped != Volume{}, now)
	}
	if s.Rest {
		next.Packets += cells[0].UplinkPackets + cells[0].DownlinkPackets
	}
	if seen || next.Packets != s.Packets {
		next.LastPacket, next.Inactive = now, false
	}
	return next
}

// since is what has come to what was counted, which then is counted.
func since(counted *Volume, now Volume) Volume {
	moved, ok := now.minus(*counted)
	if !ok {
		moved = now
	}
	*counted = now
	return moved
}

// entriesOf is what a URR's entries of a table have counted.
func (s *Session) entriesOf(at int, t Table, counts *Counts) (v Volume) {
	for i := range t {
		key := &t[i].Key
		if s.counts(&t[i], at) || slices.Contains(s.URRs[at].Frozen, *key) {
			u := counts.entry(key)
			v.count(key.Direction, u.Packets, u.Octets)
		}
	}
	return v
}

// Recount has the session's URRs count in what its rules compile to now, and the entries of after tell when they are to.
// old is the session with the rules of before, settled with counts; a new session has none.
func (s Session) Recount(old Session, after Table, counts Counts) Session {
	next := s
	next.URRs = slices.Clone(s.URRs)
	for i := range next.URRs {
		u := &next.URRs[i]
		u.Frozen = nil
		u.Drops = u.Drops || u.detects() && slices.ContainsFunc(s.PDRs, func(p PDR) bool {
			return slices.Contains(p.urrs(), u.ID) && s.drops(&p)
		})
		was, known := find(old.URRs, u.ID, idOfURR)
		for n := range after {
			e := &after[n]
			if !e.Celled {
				continue
			}
			for _, r := range e.Rules {
				u.Celled = u.Celled || slices.Contains(r.Cells, CellID{SEID: s.SEID, URRID: u.ID})
				next.Rest = next.Rest || slices.Contains(r.Cells, CellID{SEID: s.SEID, URRID: rest})
			}
			b := counts.Of.Find(e.Key)
			if b != nil && known && (old.counts(b, was) || slices.Contains(old.URRs[was].Frozen, e.Key)) {
				u.Frozen = append(u.Frozen, e.Key)
			}
		}
		u.Entries = next.entriesOf(i, after, &counts)
	}
	next = next.Watch(after, counts)
	next.SetWatches(after)
	return next
}

// Gone are the entries that counted for URRs and are no more.
func (s Session) Gone(before, after Table) (gone Table) {
	for i := range before {
		if _, stays := after.search(&before[i].Key); !stays && s.counting(&before[i]) {
			gone = append(gone, before[i])
		}
	}
	return gone
}

// Late adds what entries that are gone have counted since they were settled, as of old: to the URRs that live on, and
// to the last reports of the others.
func (s Session) Late(old Session, settled, now Counts, final []pfcp.UsageReport) Session {
	next := s
	next.URRs = slices.Clone(s.URRs)
	for i := range now.Of {
		e := &now.Of[i]
		was, u := settled.entry(&e.Key), now.Entries[i]
		var moved Volume
		moved.count(e.Key.Direction, u.Packets-was.Packets, u.Octets-was.Octets)
		for _, id := range old.urrsOf(&e.Rule) {
			if r := lastOf(final, id); r != nil {
				add(r, moved)
			} else if i, ok := find(next.URRs, id, idOfURR); ok {
				next.URRs[i].Now.Volume = next.URRs[i].Now.Volume.plus(moved)
			}
		}
	}
	return next
}

// Leaving is the cell of a URR that was removed, and what it had counted when the last report was made.
type Leaving struct {
	URRID   pfcp.URRID
	Counted Volume
}

// Leave says of cells that are to be removed what they had counted when s was settled, which LateCells wants to know.
func (s Session) Leave(removes []CellID) (leaving []Leaving) {
	for _, id := range removes {
		if at, ok := find(s.URRs, id.URRID, idOfURR); ok && !id.Dropped {
			leaving = append(leaving, Leaving{id.URRID, s.URRs[at].Counted})
		}
	}
	return leaving
}

// LeavingIDs are the cells that leave.
func (s Session) LeavingIDs() (ids []CellID) {
	for _, l := range s.Leaving {
		ids = append(ids, CellID{SEID: s.SEID, URRID: l.URRID})
	}
	return ids
}

// LateCells adds what the cells that leave have counted since to the last reports of their URRs.
func (s Session) LateCells(now []Volume, final []pfcp.UsageReport) {
	for n, l := range s.Leaving {
		if r := lastOf(final, l.URRID); r != nil {
			add(r, since(&l.Counted, now[n]))
		}
	}
}

// lastOf is the last report of a URR; nil: there is none.
func lastOf(reports []pfcp.UsageReport, id pfcp.URRID) (last *pfcp.UsageReport) {
	for i := range reports {
		if reports[i].URRID == id {
			last = &reports[i]
		}
	}
	return last
}

func add(r *pfcp.UsageReport, v Volume) {
	if !r.Volume.Present {
		return
	}
	c := &r.Volume.Value
	c.TotalOctets += v.UplinkOctets + v.DownlinkOctets
	c.UplinkOctets, c.DownlinkOctets = c.UplinkOctets+v.UplinkOctets, c.DownlinkOctets+v.DownlinkOctets
	if !c.OctetsOnly {
		c.TotalPackets += v.UplinkPackets + v.DownlinkPackets
		c.UplinkPackets, c.DownlinkPackets = c.UplinkPackets+v.UplinkPackets, c.DownlinkPackets+v.DownlinkPackets
	}
}

package datapath

import (
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/xepc/xepc/userplane/session"
)

// cellHasLimits is bit 63 of a cell's octets, CELL_HAS_LIMITS of bpf/usage.h.
const cellHasLimits = uint64(1) << 63

// cell returns the index of a cell, which is made when it is new.
func (d *Datapath) cell(p *plan, id session.CellID) (uint32, error) {
	if index, ok := d.cellIndex[id]; ok {
		return index, nil
	}
	index, err := d.cells.take(d.grace)
	if err != nil {
		return 0, err
	}
	d.tables.cells.slots[index] = pgwuUsageCell{}
	d.tables.cellOrigins.slots[index] = pgwuCellOrigin{Seid: uint64(id.SEID), UrrId: uint32(id.URRID), Drops: dropsOf(session.Cell{ID: id})}
	d.cellIndex[id] = index
	p.undo = append(p.undo, func() { d.dropCell(id) })
	return index, nil
}

// dropsOf says which packets a cell counts although they are dropped.
func dropsOf(c session.Cell) (drops uint32) {
	if c.ID.Dropped {
		drops |= uint32(pgwuCellDropsCELL_FAR_DROPS)
	}
	if c.BeforeQoS {
		drops |= uint32(pgwuCellDropsCELL_QOS_DROPS)
	}
	return drops
}

// dropCell makes a cell free. Rules that still count in it do so in vain.
func (d *Datapath) dropCell(id session.CellID) {
	index, ok := d.cellIndex[id]
	if !ok {
		return
	}
	delete(d.cellIndex, id)
	d.setLimits(index, 0)
	d.tables.cellOrigins.slots[index] = pgwuCellOrigin{}
	d.cells.give(d.grace, index)
}

// planCell makes a cell, and takes an element for the limits that it has for the first time.
func (d *Datapath) planCell(p *plan, c session.Cell) error {
	index, err := d.cell(p, c.ID)
	if err != nil {
		return err
	}
	at := cellLimits{cell: index, drops: dropsOf(c), limits: c.Limits}
	if c.Limits != (session.VolumeLimits{}) {
		if at.index = d.tables.cellOrigins.slots[index].Limits; at.index == 0 {
			if at.index, err = d.limits.take(d.grace); err != nil {
				return err
			}
			fresh := at.index
			p.undo = append(p.undo, func() { d.limits.give(d.grace, fresh) })
		}
	}
	p.limits = append(p.limits, at)
	return nil
}

// cellLimits is what a cell's limits will be.
type cellLimits struct {
	cell, index uint32 // index of limits; 0: none
	drops       uint32 // enum cell_drops
	limits      session.VolumeLimits
}

// storeLimits writes limits, and what the cell counts. Each is one store; what was told of is told of again when it is reached again.
func (d *Datapath) storeLimits(c cellLimits) {
	atomic.StoreUint32(&d.tables.cellOrigins.slots[c.cell].Drops, c.drops)
	if c.index == 0 {
		d.setLimits(c.cell, 0)
		return
	}
	l := &d.tables.limits.slots[c.index]
	l.Cell = c.cell
	for i, v := range [3]uint64{c.limits.UplinkThreshold, c.limits.DownlinkThreshold, c.limits.TotalThreshold} {
		atomic.StoreUint64(&l.Thresholds[i], v)
	}
	for i, v := range [3]uint64{c.limits.UplinkQuota, c.limits.DownlinkQuota, c.limits.TotalQuota} {
		atomic.StoreUint64(&l.Quotas[i], v)
	}
	atomic.StoreUint32(&l.Raised, 0)
	d.setLimits(c.cell, c.index)
}

// setLimits has a cell look at that element of limits; 0: at none.
func (d *Datapath) setLimits(cell, index uint32) {
	origin := &d.tables.cellOrigins.slots[cell]
	old := origin.Limits
	atomic.StoreUint32(&origin.Limits, index)
	for i := range d.tables.cells.slots[cell].Octets {
		octets := &d.tables.cells.slots[cell].Octets[i]
		if index != 0 {
			atomic.OrUint64(octets, cellHasLimits)
		} else {
			atomic.AndUint64(octets, ^cellHasLimits)
		}
	}
	if old != 0 && old != index {
		d.tables.limits.slots[old].Cell = 0
		d.limits.give(d.grace, old)
	}
}

// Volumes is what the cells have counted since they were made, in the order of ids. ErrNoEntry when one is not there.
func (d *Datapath) Volumes(ids []session.CellID) ([]session.Volume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	volumes := make([]session.Volume, len(ids))
	for i, id := range ids {
		index, ok := d.cellIndex[id]
		if !ok {
			return nil, fmt.Errorf("%w: usage cell of URR %d of session %#x", ErrNoEntry, id.URRID, uint64(id.SEID))
		}
		volumes[i] = d.tables.volume(index)
	}
	return volumes, nil
}

func (t *tables) volume(index uint32) session.Volume {
	c := &t.cells.slots[index]
	octets := func(i int) uint64 { return atomic.LoadUint64(&c.Octets[i]) &^ cellHasLimits }
	return session.Volume{
		UplinkOctets: octets(0), DownlinkOctets: octets(1),
		UplinkPackets: atomic.LoadUint64(&c.Packets[0]), DownlinkPackets: atomic.LoadUint64(&c.Packets[1]),
	}
}

// KeepCells removes every cell but those, at start: what a daemon left that was killed between two steps.
func (d *Datapath) KeepCells(want iter.Seq[session.CellID]) (removed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := map[session.CellID]bool{}
	for id := range want {
		wanted[id] = true
	}
	for id := range d.cellIndex {
		if !wanted[id] {
			d.dropCell(id)
			removed++
		}
	}
	return removed
}

// Exceeded yields the cells that have reached a limit and the entries that have reached their watch, with which events
// would tell: at start and at intervals, it finds what got lost. A cell is yielded until its limits are set anew, an entry
// until its watch is. The first call looks at every entry, each further one at a sixteenth.
func (d *Datapath) Exceeded() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.watched()
	for i := range d.tables.limits.slots {
		l := &d.tables.limits.slots[i]
		if l.Cell == 0 {
			continue
		}
		v := d.tables.volume(l.Cell)
		counts := [3]uint64{v.UplinkOctets, v.DownlinkOctets, v.UplinkOctets + v.DownlinkOctets}
		for n, count := range counts {
			if l.Thresholds[n] != 0 && count >= l.Thresholds[n] {
				events = append(events, d.tables.cellEvent(EventThreshold, l.Cell, Limit(n)))
			}
			if l.Quotas[n] != 0 && count >= l.Quotas[n] {
				events = append(events, d.tables.cellEvent(EventQuota, l.Cell, Limit(n)))
			}
		}
	}
	return events
}

func (t *tables) cellEvent(kind EventKind, cell uint32, limit Limit) Event {
	id := t.cellID(cell)
	return Event{Kind: kind, SEID: id.SEID, Cell: id, Limit: limit}
}

// adoptCells learns which cells and limits are in use.
func (d *Datapath) adoptCells() {
	d.cells.adopt(func(i uint32) bool {
		id := d.tables.cellID(i)
		if id == (session.CellID{}) {
			return false
		}
		d.cellIndex[id] = i
		return true
	})
	d.limits.adopt(func(i uint32) bool {
		cell := d.tables.limits.slots[i].Cell
		return cell != 0 && d.tables.cellOrigins.slots[cell].Limits == i
	})
}

package datapath

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/xepc/xepc/userplane/session"
)

// As in bpf/layout.h.
const (
	setSmall, setMedium, setLarge = 2, 8, 32
	setClassShift                 = 28
)

// sharedMeter is a meter of the rules that name its id.
type sharedMeter struct {
	index uint32
	refs  int
}

// putSet writes a new rule set and returns its number. All it takes, undo gives back.
func (d *Datapath) putSet(p *plan, c *compiled) (uint32, error) {
	indices := make([]uint32, len(c.rules))
	for i := range c.rules {
		index, err := d.putRule(p, &c.rules[i])
		if err != nil {
			return 0, fmt.Errorf("rule %d: %w", i, err)
		}
		indices[i] = index
	}
	class := uint32(0)
	switch n := len(c.filters); {
	case n > setMedium:
		class = 2
	case n > setSmall:
		class = 1
	}
	index, err := d.sets[class].take(d.grace)
	if err != nil {
		return 0, err
	}
	p.undo = append(p.undo, func() { d.sets[class].give(d.grace, index) })
	var count *uint32
	var filters []pgwuFilter
	switch class {
	case 0:
		count, filters = &d.tables.small.slots[index].Count, d.tables.small.slots[index].Filters[:]
	case 1:
		count, filters = &d.tables.medium.slots[index].Count, d.tables.medium.slots[index].Filters[:]
	default:
		count, filters = &d.tables.large.slots[index].Count, d.tables.large.slots[index].Filters[:]
	}
	*count = uint32(len(c.filters))
	for i, f := range c.filters {
		f.Rule = indices[f.Rule]
		filters[i] = f
	}
	return class<<setClassShift | index, nil
}

func (d *Datapath) putRule(p *plan, c *compiledRule) (uint32, error) {
	var raw pgwuRule
	var err error
	if raw.Word, err = d.wordOf(p, c); err != nil {
		return 0, err
	}
	raw.Tos, raw.TosMask = c.tos, c.tosMask
	for i, id := range c.cells {
		if raw.Cells[i], err = d.cell(p, id); err != nil {
			return 0, err
		}
	}
	for i, m := range c.meters {
		if raw.Meters[i], err = d.holdMeter(p, m); err != nil {
			return 0, err
		}
	}
	index, err := d.rules.take(d.grace)
	if err != nil {
		return 0, err
	}
	p.undo = append(p.undo, func() { d.rules.give(d.grace, index) })
	d.tables.rules.slots[index] = raw
	return index, nil
}

// wordOf is the word of a rule, with its peer held.
func (d *Datapath) wordOf(p *plan, c *compiledRule) (pgwuWord, error) {
	w := pgwuWord{Value: c.value, Flags: c.flags}
	if c.flags&flagTunnel == 0 {
		number, known := d.tables.numbers[c.instance]
		if !known && actionOf(c.flags) == session.ActionForward {
			return w, fmt.Errorf("%w: %q", ErrUnknownInstance, c.instance)
		}
		w.To = uint16(number)
		return w, nil
	}
	index, err := d.peer(c.peer)
	if err != nil {
		return w, err
	}
	d.peerPool.hold(index)
	p.undo = append(p.undo, func() { d.peerPool.release(index) })
	w.To = uint16(index)
	return w, nil
}

// releaseWord lets go of what the word of an entry or a rule held.
func (d *Datapath) releaseWord(w pgwuWord) {
	switch {
	case w.Flags&flagSet != 0:
		d.releaseSet(w.Value)
	case w.Flags&flagTunnel != 0:
		d.peerPool.release(uint32(w.To))
	}
}

func (d *Datapath) releaseSet(number uint32) {
	for _, index := range d.tables.rulesOf(d.tables.set(number)) {
		raw := &d.tables.rules.slots[index]
		for _, meter := range raw.Meters {
			if meter != 0 {
				d.releaseMeter(meter)
			}
		}
		d.releaseWord(raw.Word)
		d.rules.give(d.grace, index)
	}
	d.sets[number>>setClassShift].give(d.grace, number&(1<<setClassShift-1))
}

// holdMeter returns the meter of that id, made when it is new, with the rate that m says.
func (d *Datapath) holdMeter(p *plan, m session.Meter) (uint32, error) {
	rate := uint32(min(m.MBR, math.MaxUint32))
	if s := d.meterIndex[m.ID]; s != nil {
		s.refs++
		p.rates = append(p.rates, meterRate{s.index, rate})
		p.undo = append(p.undo, func() { d.releaseMeter(s.index) })
		return s.index, nil
	}
	index, err := d.meters.take(d.grace)
	if err != nil {
		return 0, err
	}
	d.tables.meters.slots[index] = pgwuSharedMeter{Meter: pgwuMeter{Rate: rate}}
	d.tables.meterOrigins.slots[index] = pgwuMeterOrigin{
		Seid: uint64(m.ID.SEID), QerId: uint32(m.ID.QERID), Owner: m.ID.Owner, Correlation: m.ID.Correlation,
		Direction: uint32(m.ID.Direction),
	}
	d.meterIndex[m.ID] = &sharedMeter{index, 1}
	p.undo = append(p.undo, func() { d.releaseMeter(index) })
	return index, nil
}

func (d *Datapath) releaseMeter(index uint32) {
	id := d.tables.meterID(index)
	s := d.meterIndex[id]
	if s == nil || s.index != index {
		return
	}
	if s.refs--; s.refs == 0 {
		delete(d.meterIndex, id)
		d.meters.give(d.grace, index)
	}
}

func (d *Datapath) setRate(r meterRate) {
	atomic.StoreUint32(&d.tables.meters.slots[r.index].Meter.Rate, r.rate)
}

// adoptSets learns from the entries which sets, rules and meters are in use.
func (d *Datapath) adoptSets() {
	rules, meters := map[uint32]bool{}, map[uint32]int{}
	sets := [3]map[uint32]bool{{}, {}, {}}
	for at := range d.tables.entries {
		w := loadWord(&d.tables.entry(at).Word)
		if w.Flags&flagSet == 0 {
			continue
		}
		sets[w.Value>>setClassShift][w.Value&(1<<setClassShift-1)] = true
		for _, index := range d.tables.rulesOf(d.tables.set(w.Value)) {
			rules[index] = true
			raw := &d.tables.rules.slots[index]
			if raw.Word.Flags&flagTunnel != 0 {
				d.peerPool.hold(uint32(raw.Word.To))
			}
			for _, meter := range raw.Meters {
				if meter != 0 {
					meters[meter]++
				}
			}
		}
	}
	d.rules.adopt(func(i uint32) bool { return rules[i] })
	d.meters.adopt(func(i uint32) bool { return meters[i] > 0 })
	for class := range sets {
		d.sets[class].adopt(func(i uint32) bool { return sets[class][i] })
	}
	for index, refs := range meters {
		d.meterIndex[d.tables.meterID(index)] = &sharedMeter{index, refs}
	}
}

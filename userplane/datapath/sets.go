package datapath

import (
	"fmt"
	"math"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// As in bpf/layout.h.
const (
	setSmall, setMedium, setLarge = 2, 8, session.MaxMatches
	setClassShift                 = 28
)

// sharedMeter is a meter of the rules that name its id.
type sharedMeter struct {
	index uint32
	refs  int
}

// putSet writes a new rule set and returns the word that leads to it. Its rules go on with what those of the same PDRs
// have counted, at the place where it is to be. All it takes, undo gives back.
func (d *Datapath) putSet(p *plan, c *compiled, at place, fresh bool) (pgwuWord, error) {
	word := pgwuWord{Flags: uint16(pgwuEntryFlagENTRY_VALID) | flagSet, To: uint16(len(c.filters))}
	held := map[uint16]uint32{} // accounts by PDR
	var plain *pgwuOrigin
	if old := loadWord(&d.tables.entry(at).Word); !fresh {
		if old.Flags&flagSet == 0 {
			plain = d.tables.origin(at)
		} else {
			held = d.tables.accountsOf(old)
		}
	}
	indices := make([]uint32, len(c.rules))
	for i := range c.rules {
		index, err := d.putRule(p, &c.rules[i], held)
		if err != nil {
			return word, fmt.Errorf("rule %d: %w", i, err)
		}
		indices[i] = index
		if plain != nil && plain.PdrId == c.rules[i].origin.PdrId {
			p.accounts[len(p.accounts)-1].from, p.accounts[len(p.accounts)-1].carries = at, true
		}
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
		return word, err
	}
	p.undo = append(p.undo, func() { d.sets[class].give(d.grace, index) })
	word.Value = class<<setClassShift | index
	filters := d.tables.set(word)
	for i, f := range c.filters {
		f.Rule = indices[f.Rule]
		filters[i] = f
	}
	return word, nil
}

// accountsOf are the accounts of a set's rules, by PDR.
func (t *tables) accountsOf(w pgwuWord) map[uint16]uint32 {
	held := map[uint16]uint32{}
	for _, index := range t.rulesOf(t.set(w)) {
		account := t.rules.slots[index].Account
		held[t.accountOrigins.slots[account].PdrId] = account
	}
	return held
}

// accountState is what an account will be.
type accountState struct {
	index   uint32
	rate    uint32
	origin  pgwuOrigin
	from    place // of an entry that had a plain rule of the PDR: the account goes on with what it has counted
	carries bool
}

// account holds the account of a rule: that of held, or a new one, which it adds there.
func (d *Datapath) account(p *plan, c *compiledRule, held map[uint16]uint32) (uint32, error) {
	index, ok := held[c.origin.PdrId]
	if !ok {
		var err error
		if index, err = d.accounts.take(d.grace); err != nil {
			return 0, err
		}
		d.tables.accounts.slots[index] = pgwuAccount{}
		held[c.origin.PdrId] = index
	}
	d.accountRefs[index]++
	p.undo = append(p.undo, func() { d.releaseAccount(index) })
	p.accounts = append(p.accounts, accountState{index: index, rate: c.rate, origin: c.origin})
	return index, nil
}

func (d *Datapath) releaseAccount(index uint32) {
	if d.accountRefs[index]--; d.accountRefs[index] == 0 {
		delete(d.accountRefs, index)
		d.accounts.give(d.grace, index)
	}
}

func (d *Datapath) storeAccount(a *accountState) {
	account := &d.tables.accounts.slots[a.index]
	if a.carries {
		e := d.tables.entry(a.from)
		account.Usage, account.Meter = e.Usage, e.Meter
	}
	d.setRate(&account.Meter, a.rate)
	d.tables.accountOrigins.slots[a.index] = a.origin
}

func (d *Datapath) putRule(p *plan, c *compiledRule, held map[uint16]uint32) (uint32, error) {
	var raw pgwuRule
	var err error
	if raw.Word, err = d.wordOf(p, c); err != nil {
		return 0, err
	}
	raw.Tos, raw.TosMask = c.tos, c.tosMask
	if raw.Account, err = d.account(p, c, held); err != nil {
		return 0, err
	}
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
	if c.isSpecial() {
		if raw.Special, err = d.putSpecial(p, c); err != nil {
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

// putSpecial writes what a rule wants beside sending the packet.
func (d *Datapath) putSpecial(p *plan, c *compiledRule) (uint32, error) {
	var raw pgwuSpecial
	raw.Redirect4 = onWire(c.redirect.IPv4)
	if c.redirect.IPv6.IsValid() {
		raw.Redirect6 = halves(c.redirect.IPv6)
	}
	for i, to := range c.copies {
		peer, err := d.holdPeer(p, to.peer)
		if err != nil {
			return 0, err
		}
		raw.Copies[i] = pgwuWord{Value: to.teid, To: peer, Flags: uint16(pgwuEntryFlagENTRY_VALID) | flagTunnel}
	}
	index, err := d.specials.take(d.grace)
	if err != nil {
		return 0, err
	}
	p.undo = append(p.undo, func() { d.specials.give(d.grace, index) })
	d.tables.specials.slots[index] = raw
	return index, nil
}

func (d *Datapath) equalSpecial(index uint32, c *compiledRule) bool {
	if index == 0 || !c.isSpecial() {
		return index == 0 && !c.isSpecial()
	}
	r := session.Rule{}
	d.tables.decodeSpecial(index, &r)
	return r.Redirect == c.redirect && slices.EqualFunc(r.Copies, c.copies, func(have session.Copy, want copyTo) bool {
		return have.Tunnel == session.Tunnel{Local: want.peer.local, Remote: want.peer.remote, TEID: pfcp.TEID(teidOnWire(pfcp.TEID(want.teid)))} &&
			have.ToS == want.peer.tos
	})
}

func (d *Datapath) releaseSpecial(index uint32) {
	if index == 0 {
		return
	}
	for _, to := range d.tables.specials.slots[index].Copies {
		d.releaseWord(to)
	}
	d.specials.give(d.grace, index)
}

// holdPeer is the index of a tunnel's ends, held until undo or releaseWord.
func (d *Datapath) holdPeer(p *plan, key peerKey) (uint16, error) {
	index, err := d.peer(key)
	if err != nil {
		return 0, err
	}
	d.peerPool.hold(index)
	p.undo = append(p.undo, func() { d.peerPool.release(index) })
	return uint16(index), nil
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
	var err error
	w.To, err = d.holdPeer(p, c.peer)
	return w, err
}

// releaseWord lets go of what the word of an entry or a rule held.
func (d *Datapath) releaseWord(w pgwuWord) {
	switch {
	case w.Flags&flagSet != 0:
		d.releaseSet(w)
	case w.Flags&flagTunnel != 0:
		d.peerPool.release(uint32(w.To))
	}
}

func (d *Datapath) releaseSet(w pgwuWord) {
	for _, index := range d.tables.rulesOf(d.tables.set(w)) {
		raw := &d.tables.rules.slots[index]
		for _, meter := range raw.Meters {
			if meter != 0 {
				d.releaseMeter(meter)
			}
		}
		d.releaseAccount(raw.Account)
		d.releaseSpecial(raw.Special)
		d.releaseWord(raw.Word)
		d.rules.give(d.grace, index)
	}
	d.sets[w.Value>>setClassShift].give(d.grace, w.Value&(1<<setClassShift-1))
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
	if p.newMeters == nil {
		p.newMeters = map[uint32]bool{}
	}
	p.newMeters[index] = true
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

// adoptSets learns from the entries which sets, rules and meters are in use.
func (d *Datapath) adoptSets() {
	rules, specials, meters := map[uint32]bool{}, map[uint32]bool{}, map[uint32]int{}
	sets := [3]map[uint32]bool{{}, {}, {}}
	for at := range d.tables.entries {
		w := loadWord(&d.tables.entry(at).Word)
		if w.Flags&flagSet == 0 {
			continue
		}
		sets[w.Value>>setClassShift][w.Value&(1<<setClassShift-1)] = true
		for _, index := range d.tables.rulesOf(d.tables.set(w)) {
			rules[index] = true
			raw := &d.tables.rules.slots[index]
			d.accountRefs[raw.Account]++
			words := append([]pgwuWord{raw.Word}, d.tables.specials.slots[raw.Special].Copies[:]...)
			for _, w := range words {
				if w.Flags&flagTunnel != 0 {
					d.peerPool.hold(uint32(w.To))
				}
			}
			if raw.Special != 0 {
				specials[raw.Special] = true
			}
			for _, meter := range raw.Meters {
				if meter != 0 {
					meters[meter]++
				}
			}
		}
	}
	d.rules.adopt(func(i uint32) bool { return rules[i] })
	d.specials.adopt(func(i uint32) bool { return specials[i] })
	d.accounts.adopt(func(i uint32) bool { return d.accountRefs[i] > 0 })
	d.meters.adopt(func(i uint32) bool { return meters[i] > 0 })
	for class := range sets {
		d.sets[class].adopt(func(i uint32) bool { return sets[class][i] })
	}
	for index, refs := range meters {
		d.meterIndex[d.tables.meterID(index)] = &sharedMeter{index, refs}
	}
}

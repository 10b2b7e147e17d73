package sxb

import (
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// modification is a Session Modification Request that is being served.
type modification struct {
	r *pfcp.Request
	m *pfcp.SessionModificationRequest
	s session.Session
	a *association
	l *lease

	before, after session.Table
	settled, next session.Session // s with what it has counted, and what it becomes
	counts        session.Counts  // that it is settled with
	gone          session.Table   // entries that count for URRs and are no more
	stopped, made bool
	promised      bool // the next session's bit rates
	asked, final  []pfcp.UsageReport
	answer        *pfcp.SessionModificationResponse
}

// modify answers a Session Modification Request, TS 29.244 6.3.3.
func (sh *shard) modify(r *pfcp.Request, m *pfcp.SessionModificationRequest) {
	sh.commitOf(r.Header.SEID)
	s, a, err := sh.owned(r)
	if err != nil {
		sh.e.refuse(r, 0, err)
		return
	}
	if sh.waitsFor(s.SEID, r, func(sh *shard) { sh.modify(r, m) }) {
		return
	}
	x := &modification{r: r, m: m, s: s, a: a}
	x.l = &lease{t: sh.e.teids, a: sh.e.addresses, of: a, rules: sh.e.cfg.Predefined, slice: s.Slice, mayClaim: a.setting.AcceptCPFTEID, now: time.Now()}
	sh.try(r, s.CP.SEID, func() error { return sh.beginModification(x) }, func() { sh.undoModification(x) })
}

// beginModification works out the next session. When entries go that count, their last packets are waited for.
func (sh *shard) beginModification(x *modification) (err error) {
	s, m := &x.s, x.m
	if x.before, err = sh.table(*s); err != nil {
		return err
	}
	x.settled = *s
	touched := s.Touches(m) && (s.Observes() || len(m.CreateURRs) > 0)
	if touched {
		if x.settled, x.counts, err = sh.settle(*s, x.before, x.l.now); err != nil {
			return err
		}
	}
	query := m.QueryURRs
	if m.QueryAll {
		query = s.URRIDs()
	}
	now := session.At(x.l.now)
	x.settled, x.asked = x.settled.Report(query, session.TriggerImmediate, m.QueryReference, now)
	x.settled, x.final = x.settled.Report(m.RemoveURRs, session.TriggerTermination, pfcp.Opt[uint32]{}, now)
	next, created, err := x.settled.Modify(m, sh.e.cfg.Limits, x.l, now)
	if err != nil {
		return err
	}
	x.next = next
	if x.after, err = next.Compile(sh.e.cfg.Instances); err != nil {
		return err
	}
	if err := sh.e.gbr.swap(s.GBR(), next.GBR()); err != nil {
		return err
	}
	x.promised = true
	x.answer = &pfcp.SessionModificationResponse{
		Cause: pfcp.CauseAccepted, CreatedPDRs: created.PDRs, CreatedTrafficEndpoints: created.Endpoints, Load: sh.e.loadFor(x.a), Overload: sh.e.overloadFor(x.a, x.l.now),
	}
	if !touched {
		return sh.commitModification(x)
	}
	if x.gone = x.settled.Gone(x.before, x.after); len(x.gone) == 0 {
		x.next = recount(x.next, x.after, x.settled, x.counts)
		return sh.commitModification(x)
	}
	if err := sh.e.dp.Apply(session.Changes{Puts: stopped(x.gone)}); err != nil {
		return err
	}
	x.stopped = true
	sh.pause(s.SEID, x.r, func() {
		sh.try(x.r, s.CP.SEID, func() error { return sh.endEntries(x) }, func() { sh.undoModification(x) })
	})
	return nil
}

// endEntries reads what entries that are to go have counted since they were settled. It is for the URRs that live on, and
// for the last reports of the others.
func (sh *shard) endEntries(x *modification) error {
	if !sh.sessions.has(x.s.SEID) { // its association has gone meanwhile
		return &pfcp.Error{Cause: pfcp.CauseSessionContextNotFound}
	}
	late, err := sh.counts(x.gone)
	if err != nil {
		return err
	}
	x.next = recount(x.next.Late(x.settled, x.counts, late, x.final), x.after, x.settled, x.counts)
	return sh.commitModification(x)
}

// commitModification has the next session become the session.
func (sh *shard) commitModification(x *modification) error {
	drain(x.after, sh.drainsAfter(&x.s, &x.next))
	changes := session.Diff(x.before, x.after)
	changes.DiffCells(x.s.Cells(), x.next.Cells())
	changes.EndMarkers = x.s.EndMarkers(x.m)
	x.answer.UsageReports = append(x.asked, x.final...)
	removes := changes.Removes
	changes.Removes = nil
	x.next.Leaving = x.settled.Leave(removes)
	return sh.commit(commit{
		r: x.r, cp: x.next.CP.SEID, before: &x.s, next: &x.next, changes: changes, now: x.l.now,
		undo: func() { sh.undoModification(x) }, done: func(c *commit) { sh.endModification(x, c, removes) },
	}, x.answer)
}

// endModification makes the next session the session. When usage cells go, the last packets that count in them are
// waited for before the answer leaves.
func (sh *shard) endModification(x *modification, c *commit, removes []session.CellID) {
	x.made = true
	if err := sh.keep(&x.s, &x.next, c.form, x.l.now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(x.s.SEID), "err", err)
	}
	if rearms(x.m) {
		sh.rearm(x.s.SEID)
	}
	sh.look(&x.next, sh.drainsAfter(&x.s, &x.next), x.m.DropBuffered)
	sh.letGo(&x.s, &x.next, x.l.now)
	if len(removes) == 0 {
		sh.accept(x.r, c.answer)
		return
	}
	first := c.answer
	sh.pause(x.s.SEID, x.r, func() { sh.endCells(x, removes, first) })
}

// undoModification leaves the session as it was, unless it is made.
func (sh *shard) undoModification(x *modification) {
	if x.made {
		return
	}
	x.l.undo()
	x.a.unsaid()
	if x.promised {
		sh.e.gbr.set(x.next.GBR(), x.s.GBR())
	}
	if x.stopped && sh.sessions.has(x.s.SEID) {
		sh.resume(x.s, x.before)
	}
}

// letGo gives back what a session held and does not hold any more; next is nil for one that is gone.
func (sh *shard) letGo(old, next *session.Session, now time.Time) {
	var held []session.FTEID
	if next != nil {
		held = next.FTEIDs()
	}
	sh.e.teids.release(slices.DeleteFunc(old.FTEIDs(), func(f session.FTEID) bool { return slices.Contains(held, f) }), now)
	addresses := gone(old, next)
	sh.e.addresses.release(addresses, now)
	sh.restOver(addresses, now)
}

// endCells removes cells that no rule counts in any more, and answers. What they have counted since the last reports were made
// goes into these, and into the record. Killed before that, the next process does it: see endLeaving. first is the answer that
// was recorded without.
func (sh *shard) endCells(x *modification, removes []session.CellID, first []byte) {
	answer := func(octets []byte) {
		if err := sh.e.dp.Apply(session.Changes{Removes: removes}); err != nil {
			sh.e.log.Error("usage cells of removed URRs stay in the data path", "seid", uint64(x.s.SEID), "err", err)
		}
		sh.accept(x.r, octets)
	}
	if len(x.next.Leaving) == 0 || !sh.sessions.has(x.s.SEID) {
		answer(first)
		return
	}
	volumes, err := sh.e.dp.Volumes(x.next.LeavingIDs())
	if err == nil {
		x.next.LateCells(volumes, x.final)
		x.next.Leaving = nil
		x.answer.UsageReports = append(x.asked, x.final...)
		err = sh.commit(commit{
			r: x.r, cp: x.next.CP.SEID, before: &x.next, next: &x.next, now: x.l.now, undo: func() {},
			done: func(c *commit) {
				if err := sh.keep(&x.next, &x.next, c.form, x.l.now); err != nil {
					sh.e.log.Error("session not kept", "seid", uint64(x.s.SEID), "err", err)
				}
				answer(c.answer)
			},
		}, x.answer)
	}
	if err != nil {
		sh.e.log.Error("last counts of removed URRs are in no answer", "seid", uint64(x.s.SEID), "err", err)
		answer(first)
	}
}

// recount has the URRs of a session with other rules than old, which was settled with counts, count in its own, which
// are those of table.
func recount(
	s session.Session, table session.Table, old session.Session, counts session.Counts,
) session.Session {
	if len(s.URRs) == 0 {
		return s
	}
	return s.Recount(old, table, counts)
}

// counts reads what entries have counted.
func (sh *shard) counts(table session.Table) (c session.Counts, err error) {
	keys := make([]session.Key, len(table))
	for i := range table {
		keys[i] = table[i].Key
	}
	c.Of = table
	c.Entries, err = sh.e.dp.Usage(keys)
	return c, err
}

// settle brings the session up to what its entries and cells have counted until now.
func (sh *shard) settle(s session.Session, table session.Table, now time.Time) (session.Session, session.Counts, error) {
	counts, err := sh.counts(table)
	if err != nil {
		return s, counts, err
	}
	if cells := s.CellIDs(); len(cells) > 0 {
		if counts.Cells, err = sh.e.dp.Volumes(cells); err != nil {
			return s, counts, err
		}
	}
	return s.Settle(counts, session.At(now)), counts, nil
}

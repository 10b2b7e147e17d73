package sxb

import (
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// modify answers a Session Modification Request, TS 29.244 6.3.3.
func (sh *shard) modify(r *pfcp.Request, m *pfcp.SessionModificationRequest) {
	s, a, err := sh.owned(r)
	if err != nil {
		sh.e.refuse(r, 0, err)
		return
	}
	l := &lease{t: sh.e.teids, a: sh.e.addresses, of: a, rules: sh.e.cfg.Predefined, slice: s.Slice, mayClaim: a.setting.AcceptCPFTEID, now: time.Now()}
	made := false
	defer func() { // also when our own code panics
		if !made {
			l.undo()
			a.unsaid()
		}
	}()
	next, err := sh.nextSession(r, m, s, a, l)
	if err != nil {
		sh.e.refuse(r, s.CP.SEID, err)
		return
	}
	made = true
	if err := sh.keep(&s, &next, true, l.now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(s.SEID), "err", err)
	}
	if rearms(m) {
		sh.rearm(s.SEID)
	}
	sh.look(&next, sh.drainsAfter(&s, &next), m.DropBuffered)
	sh.letGo(&s, &next, l.now)
	sh.accept(r)
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

func (sh *shard) nextSession(
	r *pfcp.Request, m *pfcp.SessionModificationRequest, s session.Session, a *association, l *lease,
) (session.Session, error) {
	before, err := sh.table(s)
	if err != nil {
		return s, err
	}
	settled, touched := s, session.Touches(m) && (s.Observes() || len(m.CreateURRs) > 0)
	var counts session.Counts
	if touched {
		if settled, counts, err = sh.settle(s, before, l.now); err != nil {
			return s, err
		}
	}
	query := m.QueryURRs
	if m.QueryAll {
		query = s.URRIDs()
	}
	now := session.At(l.now)
	settled, asked := settled.Report(query, session.TriggerImmediate, m.QueryReference, now)
	settled, final := settled.Report(m.RemoveURRs, session.TriggerTermination, pfcp.Opt[uint32]{}, now)
	next, created, err := settled.Modify(m, sh.e.cfg.Limits, l, now)
	if err != nil {
		return s, err
	}
	after, err := next.Compile(sh.e.cfg.Instances)
	if err != nil {
		return s, err
	}
	if err := sh.e.gbr.swap(s.GBR(), next.GBR()); err != nil {
		return s, err
	}
	refused := func(err error) (session.Session, error) {
		sh.e.gbr.set(next.GBR(), s.GBR())
		return s, err
	}
	var gone session.Table
	if touched {
		if gone = settled.Gone(before, after); len(gone) > 0 {
			if next, err = sh.endEntries(settled, next, counts, gone, final); err != nil {
				return refused(sh.resume(s, before, err))
			}
		}
		next = recount(next, after, settled, counts)
	}
	drain(after, sh.drainsAfter(&s, &next))
	changes := session.Diff(before, after)
	changes.DiffCells(s.Cells(), next.Cells())
	changes.EndMarkers = s.EndMarkers(m)
	answer := &pfcp.SessionModificationResponse{
		Cause: pfcp.CauseAccepted, CreatedPDRs: created.PDRs, CreatedTrafficEndpoints: created.Endpoints, UsageReports: append(asked, final...), Load: sh.e.loadFor(a), Overload: sh.e.overloadFor(a, l.now),
	}
	removes := changes.Removes
	changes.Removes = nil
	if err := sh.commit(r, &s, &next, changes, next.CP.SEID, answer); err != nil {
		if len(gone) > 0 {
			err = sh.resume(s, before, err)
		}
		return refused(err)
	}
	if len(removes) > 0 && sh.endCells(settled, removes, final) {
		answer.UsageReports = append(asked, final...)
		if err := sh.write(r, &next, &next, next.CP.SEID, answer); err != nil {
			sh.e.log.Error("last counts of removed URRs are in no record", "seid", uint64(s.SEID), "err", err)
		}
	}
	return next, nil
}

// endCells removes cells that no rule counts in any more. What they have counted since they were settled goes into the
// last reports; changed says that there was something.
func (sh *shard) endCells(settled session.Session, removes []session.CellID, final []pfcp.UsageReport) (changed bool) {
	volumes, err := sh.e.dp.Volumes(removes)
	if err == nil {
		changed = settled.LateCells(removes, volumes, final)
		err = sh.e.dp.Apply(session.Changes{Removes: removes})
	}
	if err != nil {
		sh.e.log.Error("usage cells of removed URRs stay in the data path", "seid", uint64(settled.SEID), "err", err)
	}
	return changed
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

// endEntries has entries that are to go forward no more, and reads what they have counted since they were settled. It
// is for the URRs that live on, and for the last reports of the others.
func (sh *shard) endEntries(
	settled, next session.Session, counts session.Counts, gone session.Table, final []pfcp.UsageReport,
) (session.Session, error) {
	if err := sh.e.dp.Apply(session.Changes{Puts: stopped(gone)}); err != nil {
		return next, err
	}
	late, err := sh.counts(gone)
	if err != nil {
		return next, err
	}
	return next.Late(settled, counts, late, final), nil
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

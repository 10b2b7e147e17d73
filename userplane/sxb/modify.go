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
		}
	}()
	next, answer, err := sh.nextSession(r, m, s, a, l)
	if err != nil {
		sh.e.refuse(r, s.CP.SEID, err)
		return
	}
	made = true
	if err := sh.keep(&s, &next, true, l.now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(s.SEID), "err", err)
	}
	sh.look(&next, m.DropBuffered)
	sh.letGo(&s, &next, l.now)
	sh.e.answer(r, next.CP.SEID, answer, pfcp.CauseAccepted)
}

// look sees to what is buffered of a session that has changed.
func (sh *shard) look(next *session.Session, discard bool) {
	if len(sh.buffered) == 0 || sh.buffered[next.SEID] == nil {
		return
	}
	if table, err := sh.table(*next); err == nil {
		sh.unbuffer(next, table, discard)
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

func (sh *shard) nextSession(
	r *pfcp.Request, m *pfcp.SessionModificationRequest, s session.Session, a *association, l *lease,
) (session.Session, *pfcp.SessionModificationResponse, error) {
	before, err := sh.table(s)
	if err != nil {
		return s, nil, err
	}
	settled := s
	if session.Touches(m) && s.Observes() {
		if settled, err = sh.settle(s, before, l.now); err != nil {
			return s, nil, err
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
		return s, nil, err
	}
	after, err := next.Compile(sh.e.cfg.Instances)
	if err != nil {
		return s, nil, err
	}
	changes := session.Diff(before, after)
	changes.DiffCells(s.Cells(), next.Cells())
	changes.EndMarkers = s.EndMarkers(m)
	answer := &pfcp.SessionModificationResponse{
		Cause: pfcp.CauseAccepted, CreatedPDRs: created.PDRs, CreatedTrafficEndpoints: created.Endpoints, UsageReports: append(asked, final...), Load: sh.e.loadFor(a),
	}
	if err := sh.e.gbr.swap(s.GBR(), next.GBR()); err != nil {
		return s, nil, err
	}
	if err := sh.commit(r, &s, &next, changes, next.CP.SEID, answer); err != nil {
		sh.e.gbr.set(next.GBR(), s.GBR())
		return s, nil, err
	}
	return next, answer, nil
}

// settle brings the session up to what its cells, and with an inactivity timer its entries, have counted until now.
func (sh *shard) settle(s session.Session, table session.Table, now time.Time) (session.Session, error) {
	counts, err := sh.e.dp.Volumes(s.CellIDs())
	if err != nil {
		return s, err
	}
	var packets uint64
	if s.InactivityTimer != 0 {
		keys := make([]session.Key, 0, len(table))
		for key := range table {
			keys = append(keys, key)
		}
		usages, err := sh.e.dp.Usage(keys)
		if err != nil {
			return s, err
		}
		for _, u := range usages {
			packets += u.Packets
		}
	}
	return s.Settle(counts, packets, session.At(now)), nil
}

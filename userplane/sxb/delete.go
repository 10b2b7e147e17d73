package sxb

import (
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// delete answers a Session Deletion Request, TS 29.244 6.3.4, with the last usage reports: it stops the packets, waits
// for those that programs have in hand, reads what was counted, makes the deletion durable with its answer, and removes
// the entries. Killed before the record, the next process forwards the packets again, and the duplicate of the request
// ends the session with the same counts or later ones.
func (sh *shard) delete(r *pfcp.Request) {
	sh.commitOf(r.Header.SEID)
	s, a, err := sh.owned(r)
	if err != nil {
		sh.e.refuse(r, 0, err)
		return
	}
	if sh.waitsFor(s.SEID, r, func(sh *shard) { sh.delete(r) }) {
		return
	}
	table, err := sh.table(s)
	if err != nil {
		sh.e.refuse(r, s.CP.SEID, err)
		return
	}
	end := func() {
		if !sh.sessions.has(s.SEID) { // its association has gone meanwhile
			sh.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseSessionContextNotFound})
			return
		}
		undo := func() {
			a.unsaid()
			sh.resume(s, table)
		}
		sh.try(r, s.CP.SEID, func() error { return sh.endSession(r, &s, a, table, undo) }, undo)
	}
	if !s.Observes() {
		end()
		return
	}
	if err := sh.e.dp.Apply(session.Changes{Puts: stopped(table)}); err != nil {
		// There is no room for entries that drop. What passes until they are gone is not in the last reports.
		sh.e.log.Warn("session is deleted while packets pass", "seid", uint64(s.SEID), "err", err)
	}
	sh.pause(s.SEID, r, end)
}

// endSession makes the last usage reports of a session that has been stopped, and lets go of it.
func (sh *shard) endSession(r *pfcp.Request, s *session.Session, a *association, table session.Table, undo func()) (err error) {
	ended, now := *s, time.Now()
	if s.Observes() {
		if ended, _, err = sh.settle(*s, table, now); err != nil {
			return err
		}
	}
	_, reports := ended.Report(ended.URRIDs(), session.TriggerTermination, pfcp.Opt[uint32]{}, session.At(now))
	if !sh.onTheWay(s.SEID, now) { // what nobody confirmed goes with the last reports
		reports = append(slices.Clone(s.Unconfirmed), reports...)
	}
	answer := &pfcp.SessionDeletionResponse{Cause: pfcp.CauseAccepted, UsageReports: reports, Load: sh.e.loadFor(a), Overload: sh.e.overloadFor(a, now)}
	return sh.commit(commit{r: r, cp: s.CP.SEID, before: s, now: now, undo: undo, done: func(c *commit) {
		changes := session.Diff(table, nil)
		changes.DiffCells(s.Cells(), nil)
		if err := sh.e.dp.Apply(changes); err != nil {
			// The session is gone all the same; its entries drop packets, and the next start removes them.
			sh.e.log.Error("entries of a deleted session stay in the data path", "seid", uint64(s.SEID), "err", err)
		}
		sh.drop(s)
		a.sessions.Add(-1)
		sh.letGo(s, nil, now)
		sh.bury(s.SEID, now)
		sh.accept(r, c.answer)
	}}, answer)
}

// stopped are a session's entries that drop, so that they count no more.
func stopped(table session.Table) session.Table {
	all := slices.Clone(table)
	for i := range all {
		all[i].More = slices.Clone(all[i].More)
		for _, r := range all[i].Rules {
			r.Action = session.ActionDrop
		}
	}
	return all
}

// resume forwards the packets again of a session that was stopped, but could not be ended or changed.
func (sh *shard) resume(s session.Session, table session.Table) {
	if !s.Observes() {
		return
	}
	if err := sh.e.dp.Apply(session.Diff(nil, table)); err != nil {
		sh.e.log.Error("a session that was not changed forwards no packets until there is room", "seid", uint64(s.SEID), "err", err)
		sh.stuck[s.SEID] = struct{}{}
	}
}

// resumeStuck tries again what resume could not do: what made room for the stop may have been taken meanwhile.
func (sh *shard) resumeStuck() {
	for seid := range sh.stuck {
		if sh.paused[seid] != nil {
			continue
		}
		s, ok := sh.sessions.get(seid)
		if ok {
			table, err := sh.table(s)
			if err != nil || sh.e.dp.Apply(session.Diff(nil, table)) != nil {
				continue
			}
			sh.e.log.Info("session forwards packets again", "seid", uint64(seid))
		}
		delete(sh.stuck, seid)
	}
}

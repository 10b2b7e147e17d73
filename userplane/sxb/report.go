package sxb

import (
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// duePortion is how many sessions a shard looks at when their deadlines have come, between two requests of others.
const duePortion = 64

// expire looks at the sessions whose deadlines have come.
func (sh *shard) expire(now time.Time) {
	for range duePortion {
		seid, ok := sh.timers.due(session.At(now))
		if !ok {
			return
		}
		if s, ok := sh.sessions.get(seid); ok {
			sh.tick(s, now)
		}
	}
}

// tick brings a session up to a time: what it has counted, reports that are due, quotas that are spent, inactivity.
// The journal has what the control plane hears of before it hears it; what is only counted can be counted again.
func (sh *shard) tick(s session.Session, now time.Time) {
	if p := sh.paused[s.SEID]; p != nil {
		p.due = true
		return
	}
	table, err := sh.table(s)
	if err != nil {
		sh.e.log.Error("session does not compile any more", "seid", uint64(s.SEID), "err", err)
		return
	}
	next := s
	var counts session.Counts
	if s.Observes() {
		if next, counts, err = sh.settle(s, table, now); err != nil {
			sh.e.log.Error("session's counts not read", "seid", uint64(s.SEID), "err", err)
			sh.timers.set(s.SEID, session.At(now.Add(sh.e.cfg.ReportRetry)))
			return
		}
	}
	next, inactive := next.Tick(session.At(now))
	next = next.Rewatch(s, table, counts)
	after, err := sh.table(next)
	if err != nil {
		sh.e.log.Error("session does not compile any more", "seid", uint64(s.SEID), "err", err)
		return
	}
	changes := session.Diff(table, after)
	changes.DiffCells(s.Cells(), next.Cells())
	var form []byte
	if !changes.Empty() || inactive || len(next.Unconfirmed) != len(s.Unconfirmed) {
		if form, err = sh.record(&next); err != nil {
			sh.e.log.Error("report not made", "seid", uint64(s.SEID), "err", err)
			sh.timers.set(s.SEID, session.At(now.Add(sh.e.cfg.ReportRetry)))
			return
		}
		if err := sh.e.dp.Apply(changes); err != nil {
			sh.e.log.Error("a spent quota is not enforced", "seid", uint64(s.SEID), "err", err)
		}
	}
	if err := sh.keep(&s, &next, form, now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(s.SEID), "err", err)
	}
	if inactive {
		sh.tell(&next, &pfcp.SessionReportRequest{ReportType: pfcp.ReportInactivity})
	}
	sh.sendReports(&next, now)
}

// LimitReached is told of a session of which a cell has reached a threshold or a quota, or an entry its watch. It never
// waits: what is lost here is told again.
func (e *Edge) LimitReached(seid pfcp.SEID) {
	sh := e.shard(seid)
	select {
	case sh.commands <- func() {
		if s, ok := sh.sessions.get(seid); ok && len(s.Unconfirmed) == 0 {
			e.protect(func() { sh.tick(s, time.Now()) })
		} else if ok && !sh.onTheWay(seid, time.Now()) {
			sh.timers.set(seid, session.At(time.Now()))
		}
	}:
	default:
		e.stats.lostEvents.Add(1)
	}
}

// patience is how long a request of ours is on its way at most.
func (e *Edge) patience() time.Duration {
	return e.cfg.Endpoint.T1*time.Duration(e.cfg.Endpoint.N1+1) + time.Second
}

// sendReports sends what the control plane has not confirmed, TS 29.244 6.3.5, unless that is on its way. At most
// one such request of a session is.
func (sh *shard) sendReports(s *session.Session, now time.Time) {
	if len(s.Unconfirmed) == 0 || sh.onTheWay(s.SEID, now) {
		return
	}
	sh.asked[s.SEID] = now.Add(sh.e.patience())
	seid, reports := s.SEID, s.Unconfirmed
	sh.call(s, &pfcp.SessionReportRequest{ReportType: pfcp.ReportUsage, UsageReports: reports}, func(m pfcp.Message, err error) {
		sh.reported(seid, reports, m, err)
	})
	sh.timers.set(s.SEID, session.At(now.Add(sh.e.patience()+sh.e.cfg.ReportRetry)))
}

func (sh *shard) onTheWay(seid pfcp.SEID, now time.Time) bool {
	until, ok := sh.asked[seid]
	return ok && now.Before(until)
}

// call sends a request about a session to its control plane; done is called by the shard.
func (sh *shard) call(s *session.Session, m *pfcp.SessionReportRequest, done func(pfcp.Message, error)) {
	a := sh.e.directory.Load().byID[s.Owner]
	if a == nil {
		return
	}
	m.Load, m.Overload = sh.e.loadFor(a), sh.e.overloadFor(a, time.Now())
	peer := a.peer()
	if s.CP.IPv4.IsValid() {
		peer = netip.AddrPortFrom(s.CP.IPv4, peer.Port())
	}
	sh.e.stats.reports.Add(1)
	seid := s.SEID
	sh.e.endpoint.Call(peer, s.CP.SEID, m, func(_ pfcp.Header, answer pfcp.Message, err error) {
		select {
		case sh.commands <- func() { sh.when(seid, func() { done(answer, err) }) }:
		default: // sent again later
			sh.e.stats.lostEvents.Add(1)
		}
	})
}

// tell sends what is told once and not repeated.
func (sh *shard) tell(s *session.Session, m *pfcp.SessionReportRequest) {
	seid := s.SEID
	sh.call(s, m, func(answer pfcp.Message, err error) { sh.told(seid, answer, err) })
}

// told takes the answer to a report. It returns false when there was none, or the control plane could not take it then.
func (sh *shard) told(seid pfcp.SEID, answer pfcp.Message, err error) bool {
	response, ok := answer.(*pfcp.SessionReportResponse)
	if err != nil || !ok {
		sh.e.stats.unanswered.Add(1)
		sh.e.log.Debug("report not answered", "seid", uint64(seid), "err", err)
		return false
	}
	switch response.Cause {
	case pfcp.CauseAccepted:
	case pfcp.CausePFCPEntityInCongestion, pfcp.CauseNoResourcesAvailable, pfcp.CauseSystemFailure: // it may later
		sh.e.stats.unanswered.Add(1)
		sh.e.log.Debug("report not taken", "seid", uint64(seid), "cause", response.Cause.String())
		return false
	case pfcp.CauseSessionContextNotFound: // forgotten: nobody would ever delete it
		sh.e.unwanted("session removed: its control plane does not know it", seid, response.Cause)
		sh.purge([]pfcp.SEID{seid})
		return true
	default:
		sh.e.unwanted("report refused by the control plane", seid, response.Cause)
	}
	sh.barsUpdated(seid, response, time.Now())
	s, ok := sh.sessions.get(seid)
	if ok && response.FSEID.Present && response.FSEID.Value != s.CP {
		next := s
		next.CP = response.FSEID.Value
		if form, err := sh.record(&next); err == nil {
			_ = sh.keep(&s, &next, form, time.Now())
		}
	}
	return true
}

// unwanted counts a report that was refused, and logs it while they are few: one that has lost its sessions refuses all.
func (e *Edge) unwanted(what string, seid pfcp.SEID, cause pfcp.Cause) {
	say, n := e.log.Debug, e.stats.unwanted.Add(1)
	if few(n) {
		say = e.log.Warn
	}
	say(what, "seid", uint64(seid), "cause", cause.String(), "count", n)
}

// reported takes the answer to usage reports. The control plane has them, be it that it refuses them, unless it could not
// take them then.
func (sh *shard) reported(seid pfcp.SEID, reports []pfcp.UsageReport, answer pfcp.Message, err error) {
	now := time.Now()
	delete(sh.asked, seid)
	answered := sh.told(seid, answer, err)
	s, ok := sh.sessions.get(seid)
	if !ok {
		if !answered {
			sh.e.log.Warn("usage reports of a session that is gone were not answered", "seid", uint64(seid), "reports", len(reports))
		}
		return
	}
	if !answered {
		sh.timers.set(seid, session.At(now.Add(sh.e.cfg.ReportRetry)))
		return
	}
	next := s.Confirm(reports)
	if _, err := sh.record(&next); err != nil {
		sh.e.log.Error("confirmation not recorded: the reports are sent again after a restart", "seid", uint64(seid), "err", err)
	}
	if err := sh.keep(&s, &next, nil, now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(seid), "err", err)
	}
	sh.tick(next, now) // what came due meanwhile
}

// ErrorIndication is told of an Error Indication from a GTP-U peer: it does not know a TEID that we send to. Its
// control plane hears of it, TS 29.244 6.3.5 and TS 23.007 22. It never waits.
func (e *Edge) ErrorIndication(remote netip.Addr, teid pfcp.TEID) {
	at := remoteEnd{remote, teid}
	for _, sh := range e.shards {
		select {
		case sh.commands <- func() { sh.indicated(at) }:
		default:
			e.stats.lostEvents.Add(1)
		}
	}
}

// indicationRest is how long a session's further Error Indications are not told after one was.
const indicationRest = 5 * time.Second

func (sh *shard) indicated(at remoteEnd) {
	h := sh.hash(at)
	for _, seid := range append([]pfcp.SEID{sh.remotes[h]}, sh.sharers[h]...) {
		if s, ok := sh.sessions.get(seid); ok && sendsTo(&s, at) {
			sh.tellIndication(&s, at)
		}
	}
}

func (sh *shard) tellIndication(s *session.Session, at remoteEnd) {
	now := time.Now()
	if last, ok := sh.indications[s.SEID]; ok && now.Sub(last) < indicationRest {
		return
	}
	if len(sh.indications) > 1<<12 {
		clear(sh.indications)
	}
	sh.indications[s.SEID] = now
	remote := pfcp.FTEID{TEID: at.teid}
	if at.addr.Is4() {
		remote.IPv4 = at.addr
	} else {
		remote.IPv6 = at.addr
	}
	sh.tell(s, &pfcp.SessionReportRequest{ReportType: pfcp.ReportErrorIndication, ErrorIndications: []pfcp.FTEID{remote}})
}

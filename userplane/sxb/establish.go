package sxb

import (
	"errors"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// askEstablish hands a Session Establishment Request to the shard that is to own the session: the one that owns the
// session of the same CP F-SEID, if there is one.
func (e *Edge) askEstablish(r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, now time.Time) {
	seid := pfcp.SEID(e.seid.Add(1))
	a := e.directory.Load().find(m.NodeID, r.Peer.Addr())
	if a == nil {
		e.refuse(r, m.FSEID.SEID, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation})
		e.keeper.wantsSession(r.Peer.Addr())
		return
	}
	holder := e.fseids.reserve(a.id, m.FSEID, seid)
	owner := e.shard(holder)
	for e.shard(seid) != owner {
		seid = pfcp.SEID(e.seid.Add(1))
	}
	if !owner.ask(r, now, func(sh *shard) { sh.establish(r, m, a.id, seid, holder) }) && holder == seid {
		e.fseids.release(a.id, m.FSEID, seid)
	}
}

// establish answers a Session Establishment Request, TS 29.244 6.3.2. holder has, or has had, the CP F-SEID: if it is
// a session of the same association, the new one takes its place, SEID included. owner is the association when the
// request came.
func (sh *shard) establish(r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, owner uint32, seid, holder pfcp.SEID) {
	old, replaces := sh.sessions.get(holder)
	replaces = replaces && old.Owner == owner && old.CP == m.FSEID
	if replaces {
		seid = holder
	} else {
		sh.e.fseids.set(owner, m.FSEID, seid)
	}
	made := false
	defer func() { // also when our own code panics
		if !made && !replaces {
			sh.e.fseids.release(owner, m.FSEID, seid)
		}
	}()
	var err error
	if replaces {
		err = sh.makeSession(r, m, seid, owner, &old)
	} else {
		err = sh.makeSession(r, m, seid, owner, nil)
	}
	if made = err == nil; !made {
		sh.e.refuse(r, m.FSEID.SEID, err)
	}
}

// admit returns the association of a request if it may establish a session, and counts one that is new.
func (sh *shard) admit(r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, owner uint32, isNew bool) (*association, error) {
	a := sh.e.directory.Load().find(m.NodeID, r.Peer.Addr())
	switch {
	case a == nil || a.id != owner:
		return nil, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation}
	case a.draining.Load() != 0:
		return nil, &pfcp.Error{Cause: pfcp.CauseRejected, Err: errors.New("the association is to be released")}
	case isNew && a.sessions.Add(1) > int64(sh.e.cfg.MaxSessionsPerPeer):
		a.sessions.Add(-1)
		return nil, &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("as many sessions as max_sessions_per_peer allows"),
		}
	}
	return a, nil
}

// makeSession makes a session and answers; old, if not nil, is the one whose place it takes.
func (sh *shard) makeSession(
	r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, seid pfcp.SEID, owner uint32, old *session.Session,
) error {
	a, err := sh.admit(r, m, owner, old == nil)
	if err != nil {
		return err
	}
	l := &lease{
		t: sh.e.teids, a: sh.e.addresses, of: a, rules: sh.e.cfg.Predefined, slice: sh.e.teids.emptiest(session.FamiliesOf(m)),
		mayClaim: m.Restoration || a.setting.AcceptCPFTEID, now: time.Now(),
	}
	if old != nil {
		l.held, l.owned = old.FTEIDs(), old.Addresses
	}
	made := false
	defer func() { // also when our own code panics
		if made {
			return
		}
		l.undo()
		a.unsaid()
		if old == nil {
			a.sessions.Add(-1)
		}
	}()
	s, err := sh.newSession(r, m, seid, a, old, l)
	if err != nil {
		return err
	}
	made = true
	if err := sh.keep(old, &s, true, l.now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(s.SEID), "err", err)
	}
	if old != nil {
		sh.e.stats.replaced.Add(1)
		sh.e.log.Debug("session replaced: its control plane established another under the same F-SEID",
			"peer", a.node.String(), "seid", uint64(seid))
		sh.look(&s, nil, true)
		sh.letGo(old, &s, l.now)
	}
	sh.accept(r)
	sh.sendReports(&s, l.now)
	return nil
}

// newSession makes the session that a request asks for, durable and forwarding.
func (sh *shard) newSession(
	r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, seid pfcp.SEID, a *association, old *session.Session, l *lease,
) (session.Session, error) {
	s, created, err := session.Establish(m, seid, l.slice, sh.e.cfg.Limits, l, session.At(l.now))
	if err != nil {
		return s, err
	}
	s.Owner = a.id
	table, err := s.Compile(sh.e.cfg.Instances)
	if err != nil {
		return s, err
	}
	answer := &pfcp.SessionEstablishmentResponse{
		NodeID: sh.e.cfg.NodeID, Cause: pfcp.CauseAccepted,
		FSEID:       pfcp.Some(pfcp.FSEID{SEID: seid, IPv4: sh.e.fseid}),
		CreatedPDRs: created.PDRs, CreatedTrafficEndpoints: created.Endpoints, Load: sh.e.loadFor(a), Overload: sh.e.overloadFor(a, l.now),
	}
	if old != nil {
		return sh.replace(r, *old, s, table, answer, l.now)
	}
	s = recount(s, table, session.Session{}, session.Counts{})
	changes := session.Diff(nil, table)
	changes.DiffCells(nil, s.Cells())
	if err := sh.e.gbr.swap(pfcp.BitRate{}, s.GBR()); err != nil {
		return s, err
	}
	if err := sh.commit(r, nil, &s, changes, s.CP.SEID, answer); err != nil {
		sh.e.gbr.set(s.GBR(), pfcp.BitRate{})
		return s, err
	}
	return s, nil
}

// replace puts a session in the place of another in one change. What the old one has counted becomes reports of the
// new one, in the same record: they are sent until they are confirmed.
func (sh *shard) replace(
	r *pfcp.Request, old, next session.Session, table session.Table, answer pfcp.Message, now time.Time,
) (session.Session, error) {
	before, err := sh.table(old)
	if err != nil {
		return next, err
	}
	if err := sh.e.gbr.swap(old.GBR(), next.GBR()); err != nil {
		return next, err
	}
	settled, forwarding := old, before
	var counts session.Counts
	if old.Observes() {
		forwarding = stopped(before)
		if err := sh.e.dp.Apply(session.Diff(before, forwarding)); err != nil {
			sh.e.gbr.set(next.GBR(), old.GBR())
			return next, err
		}
	}
	if old.Observes() || len(next.URRs) > 0 { // an entry that stays goes on with its count
		if settled, counts, err = sh.settle(old, before, now); err != nil {
			sh.e.gbr.set(next.GBR(), old.GBR())
			return next, sh.resume(old, before, err)
		}
	}
	next, dropped := next.Succeed(settled, session.At(now))
	if dropped > 0 {
		sh.e.stats.dropped.Add(uint64(dropped))
		sh.e.log.Error("usage reports dropped: the control plane confirms none, and replaces the session", "seid", uint64(old.SEID), "reports", dropped)
	}
	next = recount(next, table, settled, counts)
	changes := session.Diff(forwarding, table)
	changes.DiffCells(old.Cells(), next.Cells())
	if err := sh.commit(r, &old, &next, changes, next.CP.SEID, answer); err != nil {
		sh.e.gbr.set(next.GBR(), old.GBR())
		return next, sh.resume(old, before, err)
	}
	return next, nil
}

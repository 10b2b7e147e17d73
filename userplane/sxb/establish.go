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

// establishment is a Session Establishment Request that is being served.
type establishment struct {
	r     *pfcp.Request
	m     *pfcp.SessionEstablishmentRequest
	seid  pfcp.SEID
	owner uint32           // the association when the request came
	old   *session.Session // whose place it takes; nil: nobody's
	a     *association     // nil until it is admitted
	l     *lease

	next                   session.Session
	before, stopped, table session.Table // what the data path had, has when the old session is stopped, and is to have
	held, promised, made   bool          // the old session is stopped; the next session's bit rates; it is a session
	answer                 *pfcp.SessionEstablishmentResponse
}

// establish answers a Session Establishment Request, TS 29.244 6.3.2. holder has, or has had, the CP F-SEID: if it is
// a session of the same association, the new one takes its place, SEID included. owner is the association when the
// request came.
func (sh *shard) establish(r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, owner uint32, seid, holder pfcp.SEID) {
	sh.commitOf(holder)
	if sh.waitsFor(holder, r, func(sh *shard) { sh.establish(r, m, owner, seid, holder) }) {
		return
	}
	x := &establishment{r: r, m: m, seid: seid, owner: owner}
	if old, ok := sh.sessions.get(holder); ok && old.Owner == owner && old.CP == m.FSEID {
		x.old, x.seid = &old, holder
	} else {
		sh.e.fseids.set(owner, m.FSEID, seid)
	}
	sh.tryToEstablish(x, sh.beginSession)
}

func (sh *shard) tryToEstablish(x *establishment, do func(*establishment) error) {
	sh.try(x.r, x.m.FSEID.SEID, func() error { return do(x) }, func() { sh.undoEstablishment(x) })
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

// beginSession works out the session.
func (sh *shard) beginSession(x *establishment) (err error) {
	r, m := x.r, x.m
	if x.a, err = sh.admit(r, m, x.owner, x.old == nil); err != nil {
		return err
	}
	x.l = &lease{
		t: sh.e.teids, a: sh.e.addresses, of: x.a, rules: sh.e.cfg.Predefined, slice: sh.e.teids.emptiest(session.FamiliesOf(m)),
		mayClaim: m.Restoration || x.a.setting.AcceptCPFTEID, now: time.Now(),
	}
	if x.old != nil {
		x.l.held, x.l.owned = x.old.FTEIDs(), x.old.Addresses
	}
	next, created, err := session.Establish(m, x.seid, x.l.slice, sh.e.cfg.Limits, x.l, session.At(x.l.now))
	if err != nil {
		return err
	}
	next.Owner = x.a.id
	x.next = next
	if x.table, err = next.Compile(sh.e.cfg.Instances); err != nil {
		return err
	}
	x.answer = &pfcp.SessionEstablishmentResponse{
		NodeID: sh.e.cfg.NodeID, Cause: pfcp.CauseAccepted,
		FSEID:       pfcp.Some(pfcp.FSEID{SEID: x.seid, IPv4: sh.e.fseid}),
		CreatedPDRs: created.PDRs, CreatedTrafficEndpoints: created.Endpoints, Load: sh.e.loadFor(x.a), Overload: sh.e.overloadFor(x.a, x.l.now),
	}
	var guaranteed pfcp.BitRate
	if x.old != nil {
		guaranteed = x.old.GBR()
	}
	if err := sh.e.gbr.swap(guaranteed, next.GBR()); err != nil {
		return err
	}
	x.promised = true
	if x.old != nil {
		return sh.beginReplacement(x)
	}
	x.next = recount(x.next, x.table, session.Session{}, session.Counts{})
	changes := session.Diff(nil, x.table)
	changes.DiffCells(nil, x.next.Cells())
	return sh.commitSession(x, changes)
}

// commitSession has the session become durable and forwarding.
func (sh *shard) commitSession(x *establishment, changes session.Changes) error {
	return sh.commit(commit{
		r: x.r, cp: x.next.CP.SEID, before: x.old, next: &x.next, changes: changes, now: x.l.now,
		undo: func() { sh.undoEstablishment(x) }, done: func(c *commit) { sh.endEstablishment(x, c) },
	}, x.answer)
}

// endEstablishment takes the session over, and answers.
func (sh *shard) endEstablishment(x *establishment, c *commit) {
	x.made = true
	if err := sh.keep(x.old, &x.next, c.form, x.l.now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(x.seid), "err", err)
	}
	if x.old != nil {
		sh.e.stats.replaced.Add(1)
		sh.e.log.Debug("session replaced: its control plane established another under the same F-SEID",
			"peer", x.a.node.String(), "seid", uint64(x.seid))
		sh.look(&x.next, nil, true)
		sh.letGo(x.old, &x.next, x.l.now)
	}
	sh.accept(x.r, c.answer)
	sh.sendReports(&x.next, x.l.now)
}

// beginReplacement stops the session whose place the new one takes. When it counts, its last packets are waited for.
func (sh *shard) beginReplacement(x *establishment) (err error) {
	if x.before, err = sh.table(*x.old); err != nil {
		return err
	}
	x.stopped = x.before
	if !x.old.Observes() {
		return sh.replace(x)
	}
	x.stopped = stopped(x.before)
	if err := sh.e.dp.Apply(session.Diff(x.before, x.stopped)); err != nil {
		return err
	}
	x.held = true
	sh.pause(x.seid, x.r, func() { sh.tryToEstablish(x, sh.replace) })
	return nil
}

// replace puts a session in the place of another in one change. What the old one has counted becomes reports of the
// new one, in the same record: they are sent until they are confirmed.
func (sh *shard) replace(x *establishment) (err error) {
	if !sh.sessions.has(x.seid) { // its association has gone meanwhile
		return &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation}
	}
	settled, counts := *x.old, session.Counts{}
	if x.old.Observes() || len(x.next.URRs) > 0 { // an entry that stays goes on with its count
		if settled, counts, err = sh.settle(*x.old, x.before, x.l.now); err != nil {
			return err
		}
	}
	next, dropped := x.next.Succeed(settled, session.At(x.l.now))
	if dropped > 0 {
		sh.e.stats.dropped.Add(uint64(dropped))
		sh.e.log.Error("usage reports dropped: the control plane confirms none, and replaces the session", "seid", uint64(x.seid), "reports", dropped)
	}
	x.next = recount(next, x.table, settled, counts)
	changes := session.Diff(x.stopped, x.table)
	changes.DiffCells(x.old.Cells(), x.next.Cells())
	return sh.commitSession(x, changes)
}

// undoEstablishment leaves all as it was before the request, unless the session is made.
func (sh *shard) undoEstablishment(x *establishment) {
	if x.made {
		return
	}
	if x.promised {
		var guaranteed pfcp.BitRate
		if x.old != nil {
			guaranteed = x.old.GBR()
		}
		sh.e.gbr.set(x.next.GBR(), guaranteed)
	}
	if x.l != nil {
		x.l.undo()
		x.a.unsaid()
	}
	if x.old == nil {
		if x.a != nil {
			x.a.sessions.Add(-1)
		}
		sh.e.fseids.release(x.owner, x.m.FSEID, x.seid)
	}
	if x.held && sh.sessions.has(x.seid) {
		sh.resume(*x.old, x.before)
	}
}

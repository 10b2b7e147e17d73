package sxb

import (
	"errors"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// establish answers a Session Establishment Request, TS 29.244 6.3.2.
func (sh *shard) establish(r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, seid pfcp.SEID) {
	a := sh.e.directory.Load().find(m.NodeID, r.Peer.Addr())
	if a == nil {
		sh.e.refuse(r, m.FSEID.SEID, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation})
		sh.e.keeper.wantsSession(r.Peer.Addr())
		return
	}
	if a.draining.Load() != 0 {
		sh.e.refuse(r, m.FSEID.SEID, &pfcp.Error{
			Cause: pfcp.CauseRejected, Err: errors.New("the association is to be released"),
		})
		return
	}
	if a.sessions.Add(1) > int64(sh.e.cfg.MaxSessionsPerPeer) {
		a.sessions.Add(-1)
		sh.e.refuse(r, m.FSEID.SEID, &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("as many sessions as max_sessions_per_peer allows"),
		})
		return
	}
	l := &lease{
		t: sh.e.teids, slice: sh.e.teids.emptiest(), mayClaim: m.Restoration || a.setting.AcceptCPFTEID, now: time.Now(),
	}
	answer, err := sh.makeSession(r, m, seid, a, l)
	if err != nil {
		l.undo()
		a.sessions.Add(-1)
		sh.e.refuse(r, m.FSEID.SEID, err)
		return
	}
	sh.e.answer(r, m.FSEID.SEID, answer, pfcp.CauseAccepted)
}

func (sh *shard) makeSession(
	r *pfcp.Request, m *pfcp.SessionEstablishmentRequest, seid pfcp.SEID, a *association, l *lease,
) (*pfcp.SessionEstablishmentResponse, error) {
	s, created, err := session.Establish(m, seid, l.slice, sh.e.cfg.Limits, l, session.At(l.now))
	if err != nil {
		return nil, err
	}
	s.Owner = a.id
	table, err := s.Compile(sh.e.cfg.Instances)
	if err != nil {
		return nil, err
	}
	answer := &pfcp.SessionEstablishmentResponse{
		NodeID: sh.e.cfg.NodeID, Cause: pfcp.CauseAccepted,
		FSEID:       pfcp.Some(pfcp.FSEID{SEID: seid, IPv4: sh.e.fseid}),
		CreatedPDRs: created.PDRs, CreatedTrafficEndpoints: created.Endpoints, Load: sh.e.loadFor(a),
	}
	changes := session.Diff(nil, table)
	changes.DiffCells(nil, s.Cells())
	if err := sh.e.gbr.swap(pfcp.BitRate{}, s.GBR()); err != nil {
		return nil, err
	}
	if err := sh.commit(r, nil, &s, changes, s.CP.SEID, answer); err != nil {
		sh.e.gbr.set(s.GBR(), pfcp.BitRate{})
		return nil, err
	}
	return answer, sh.keep(nil, &s, true, l.now)
}

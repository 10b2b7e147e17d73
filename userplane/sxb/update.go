package sxb

import (
	"errors"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// update answers an Association Update Request, TS 29.244 6.2.7. That the control plane prepares a release (PARPS)
// needs nothing here: its sessions go on until it deletes them.
func (k *keeper) update(r *pfcp.Request, m *pfcp.AssociationUpdateRequest) {
	a := k.e.directory.Load().find(m.NodeID, r.Peer.Addr())
	if a == nil {
		k.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation})
		return
	}
	if m.ReleasePrepared {
		k.e.log.Info("control plane prepares a release", "peer", a.node.String(), "sessions", a.sessions.Load())
	}
	if m.CPFunctionFeatures.Present && m.CPFunctionFeatures.Value != a.features {
		next := *a
		next.features = m.CPFunctionFeatures.Value
		if err := k.publish(&next, "updated"); err != nil {
			k.e.refuse(r, 0, err)
			return
		}
	}
	k.e.answer(r, 0, &pfcp.AssociationUpdateResponse{NodeID: k.e.cfg.NodeID, Cause: pfcp.CauseAccepted}, pfcp.CauseAccepted)
}

// ErrNoAssociation is what Release returns for a peer that there is no association with.
var ErrNoAssociation = errors.New("no association with this control plane")

// Release asks a control plane to end the association, TS 29.244 6.2.7.3: it has period to delete or move its
// sessions and to release, or the next longer one that the IE can say. After that they go. From now on it gets no new ones.
func (e *Edge) Release(number uint32, period time.Duration) error {
	if e.directory.Load().byID[number] == nil {
		return ErrNoAssociation
	}
	e.keeper.tell(func() { e.keeper.drain(number, period) })
	return nil
}

func (k *keeper) drain(number uint32, period time.Duration) {
	a := k.e.directory.Load().byID[number]
	if a == nil || a.draining.Load() != 0 {
		return
	}
	timer := pfcp.TimerOf(period)
	if told, ends := timer.Duration(); ends {
		period = told
	}
	a.draining.Store(time.Now().Add(period).UnixNano())
	k.e.log.Info("association is to be released", "peer", a.node.String(), "sessions", a.sessions.Load(), "within", period)
	request := &pfcp.AssociationUpdateRequest{
		NodeID: k.e.cfg.NodeID, ReleaseRequested: true, GracefulReleasePeriod: pfcp.Some(timer),
	}
	k.e.endpoint.Call(a.peer(), 0, request, func(_ pfcp.Header, m pfcp.Message, err error) {
		r, ok := m.(*pfcp.AssociationUpdateResponse)
		if err != nil || !ok || r.Cause != pfcp.CauseAccepted {
			k.e.log.Warn("control plane does not take the request to release", "peer", a.node.String(), "err", err)
		}
	})
}

// drained dissolves an association whose time has passed.
func (k *keeper) drained(a *association, now time.Time) bool {
	until := a.draining.Load()
	if until == 0 || now.UnixNano() < until {
		return false
	}
	k.e.log.Warn("association released: the control plane did not in time", "peer", a.node.String(), "sessions", a.sessions.Load())
	k.dissolve(a, func() {})
	return true
}

// deleteSet answers a Session Set Deletion Request, TS 29.244 6.2.10: the sessions of its sets go, and nobody else's.
func (k *keeper) deleteSet(r *pfcp.Request, m *pfcp.SessionSetDeletionRequest) {
	a := k.e.directory.Load().find(m.NodeID, r.Peer.Addr())
	if a == nil {
		k.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation})
		return
	}
	if len(m.FQCSIDs) == 0 {
		k.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEFQCSID})
		return
	}
	k.e.removeFrom(a, inSets(m.FQCSIDs), func() {
		k.e.answer(r, 0, &pfcp.SessionSetDeletionResponse{NodeID: k.e.cfg.NodeID, Cause: pfcp.CauseAccepted}, pfcp.CauseAccepted)
	})
}

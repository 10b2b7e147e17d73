package sxb

import (
	"errors"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// handle takes the requests of peers, in a reader goroutine. What could not be parsed, and what has no struct (a
// session report, an association update), the endpoint has answered.
func (s *Sxb) handle(r *pfcp.Request) {
	n := s.byAddress[r.Peer.Addr()]
	switch m := r.Message.(type) {
	case *pfcp.HeartbeatRequest:
		s.respond(r, &pfcp.HeartbeatResponse{RecoveryTimeStamp: pfcp.Some(s.cfg.RecoveryTimeStamp)})
		if n != nil && s.room() {
			s.post(func(now time.Time) { s.tell(n.heartbeatRequested(now, m)) })
		}
	case *pfcp.AssociationSetupRequest:
		s.fromNode(n, r, pfcp.CauseRejected, func(now time.Time) {
			events := n.setupRequested(now, m)
			s.respond(r, &pfcp.AssociationSetupResponse{
				NodeID: s.cfg.NodeID, Cause: pfcp.CauseAccepted, RecoveryTimeStamp: s.cfg.RecoveryTimeStamp,
				CPFunctionFeatures: pfcp.Some(uint8(0)),
			})
			s.tell(events)
		})
	case *pfcp.AssociationReleaseRequest:
		s.fromNode(n, r, pfcp.CauseNoEstablishedAssociation, func(now time.Time) {
			events, ok := n.released(now)
			cause := pfcp.CauseAccepted
			if !ok {
				cause = pfcp.CauseNoEstablishedAssociation
			}
			s.respond(r, &pfcp.AssociationReleaseResponse{NodeID: s.cfg.NodeID, Cause: cause})
			s.tell(events)
		})
	case nil:
	default: // a session request: that is for a UP function
		s.refuse(r, pfcp.CauseServiceNotSupported)
	}
}

// fromNode has the loop take a request of a configured node; others are refused with cause.
func (s *Sxb) fromNode(n *node, r *pfcp.Request, cause pfcp.Cause, take func(now time.Time)) {
	switch {
	case n == nil:
		s.mu.Lock()
		s.unknownPeers++
		s.mu.Unlock()
		s.log.Debug("PFCP peer is not configured", "peer", r.Peer.String(), "type", r.Header.Type.String())
		s.refuse(r, cause)
	case !s.room():
		s.refuse(r, pfcp.CausePFCPEntityInCongestion)
	default:
		s.post(take)
	}
}

// room says whether the loop keeps up.
func (s *Sxb) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mail) < maxMail
}

func (s *Sxb) respond(r *pfcp.Request, m pfcp.Message) {
	if err := r.Respond(0, m); err != nil {
		s.log.Error("PFCP response not sent", "peer", r.Peer.String(), "err", err)
	}
}

func (s *Sxb) refuse(r *pfcp.Request, cause pfcp.Cause) {
	err := r.Refuse(0, &pfcp.Error{Cause: cause})
	if err != nil && !errors.Is(err, pfcp.ErrAnswered) {
		s.log.Error("PFCP refusal not sent", "peer", r.Peer.String(), "err", err)
	}
}

package sxb

import (
	"cmp"
	"errors"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// handle takes the requests of peers, in a reader goroutine. What could not be parsed the endpoint has answered.
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
	case *pfcp.AssociationUpdateRequest:
		s.fromNode(n, r, pfcp.CauseNoEstablishedAssociation, func(now time.Time) {
			cause := pfcp.CauseAccepted
			if !n.updated(now, m) {
				cause = pfcp.CauseNoEstablishedAssociation
			} else if m.ReleaseRequested {
				s.log.Warn("user plane node wants its association released", "node", n.cfg.Name, "by", n.releaseBy)
			}
			s.respond(r, &pfcp.AssociationUpdateResponse{NodeID: s.cfg.NodeID, Cause: cause})
		})
	case *pfcp.NodeReportRequest:
		s.fromNode(n, r, pfcp.CauseNoEstablishedAssociation, func(time.Time) { s.nodeReported(n, r, m) })
	case *pfcp.SessionReportRequest:
		s.fromNode(n, r, pfcp.CauseNoEstablishedAssociation, func(time.Time) {
			s.events(SessionReport{Node: n.cfg.Name, SEID: r.Header.SEID, Report: m, Answer: func(cause pfcp.Cause, seid pfcp.SEID) {
				if err := r.Respond(seid, &pfcp.SessionReportResponse{Cause: cause}); err != nil {
					s.log.Error("PFCP response not sent", "peer", r.Peer.String(), "err", err)
				}
			}})
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

// nodeReported takes a Node Report, TS 29.244 6.2.9: what becomes of a path's sessions is for Error Indications and the
// SGW's restart counter to say, so the report is for people.
func (s *Sxb) nodeReported(n *node, r *pfcp.Request, m *pfcp.NodeReportRequest) {
	cause := pfcp.CauseAccepted
	if !n.associated {
		cause = pfcp.CauseNoEstablishedAssociation
	}
	for _, p := range m.PathFailures {
		s.log.Warn("user plane path has failed", "node", n.cfg.Name, "remote", cmp.Or(p.IPv4, p.IPv6).String())
	}
	for _, p := range m.PathRecoveries {
		s.log.Info("user plane path has recovered", "node", n.cfg.Name, "remote", cmp.Or(p.IPv4, p.IPv6).String())
	}
	s.respond(r, &pfcp.NodeReportResponse{NodeID: s.cfg.NodeID, Cause: cause})
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

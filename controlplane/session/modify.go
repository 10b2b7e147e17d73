package session

import (
	"errors"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// modify starts a Modify Bearer: a new SGW moves the downlink, anything else is stored.
func modify(s State, r ModifyBearer) (State, []Action) {
	if s.Phase != PhaseActive || s.Connection.Local != r.Local {
		return s, []Action{AnswerRefused{Ref: r.Ref, Err: &gtpc.Error{Cause: gtpc.CauseContextNotFound, Err: errNotFound}}}
	}
	next, known, unknown := s.Connection.changed(r)
	if len(known) == 0 && len(unknown) > 0 {
		return s, []Action{AnswerRefused{Ref: r.Ref, TEID: next.Remote.TEID, Err: &gtpc.Error{
			Cause: gtpc.CauseContextNotFound, Err: errors.New("no such bearer"),
		}}}
	}
	s.pending, s.Next = r, next
	if next.Default().Remote == s.Connection.Default().Remote {
		return modified(s)
	}
	s.Phase = PhaseModifying
	return s, []Action{ModifyRules{Node: next.Node, UPSEID: next.UPSEID, Request: downlinkChange(next)}}
}

// changed is the connection as the request wants it, with the bearers of the request that it has and has not.
func (c Connection) changed(r ModifyBearer) (next Connection, known, unknown []gtpc.EBI) {
	if r.MEI != "" {
		c.MEI = r.MEI
	}
	if r.RAT.Present {
		c.RAT = r.RAT.Value
	}
	if r.ServingNetwork.Present {
		c.ServingNetwork = r.ServingNetwork
	}
	if r.UserLocation != nil {
		c.UserLocation = r.UserLocation
	}
	if r.UETimeZone != nil {
		c.UETimeZone = r.UETimeZone
	}
	if r.Remote.Present {
		c.Remote = r.Remote.Value
	}
	bearers := make([]Bearer, len(c.Bearers))
	copy(bearers, c.Bearers)
	c.Bearers = bearers
	for _, want := range r.Bearers {
		found := false
		for i := range bearers {
			if bearers[i].EBI == want.EBI {
				found = true
				if want.Remote.Present {
					bearers[i].Remote = want.Remote.Value
				}
			}
		}
		if found {
			known = append(known, want.EBI)
		} else {
			unknown = append(unknown, want.EBI)
		}
	}
	return c, known, unknown
}

// modified commits the change: the rules are in, or needed no change.
func modified(s State) (State, []Action) {
	r, _ := s.pending.(ModifyBearer)
	_, known, unknown := s.Connection.changed(r)
	cause := gtpc.CauseRequestAccepted
	if len(unknown) > 0 {
		cause = gtpc.CauseRequestAcceptedPartially
	}
	newSGW := s.Connection.Remote != s.Next.Remote
	s.Phase, s.Connection, s.Next = PhaseActive, s.Next, Connection{}
	return settle(s, []Action{
		Put{Connection: s.Connection},
		AnswerModified{
			Ref: r.Ref, Cause: cause, Connection: s.Connection, NewSGW: newSGW, Bearers: known, Unknown: unknown,
		},
	})
}

// notModified leaves the connection as it was, unless its PGW-U no longer has it: then it is gone, and cause 64
// makes the SGW and the MME drop it too.
func notModified(s State, err error) (State, []Action) {
	r, _ := s.pending.(ModifyBearer)
	remote := s.Next.Remote.TEID
	s.Next = Connection{}
	if unknownSession(err) {
		return gone(s, []Action{AnswerRefused{
			Ref: r.Ref, TEID: remote, Err: &gtpc.Error{Cause: gtpc.CauseContextNotFound, Err: err},
		}})
	}
	s.Phase = PhaseActive
	return settle(s, []Action{AnswerRefused{
		Ref: r.Ref, TEID: remote, Err: &gtpc.Error{Cause: CauseFor(err), Err: err},
	}})
}

// unknownSession says whether the PGW-U refused because it does not have the session.
func unknownSession(err error) bool {
	fault := (*pfcp.Error)(nil)
	return errors.As(err, &fault) && fault.Cause == pfcp.CauseSessionContextNotFound
}

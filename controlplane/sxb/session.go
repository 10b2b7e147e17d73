package sxb

import (
	"errors"
	"fmt"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Errors of session requests that never left.
var (
	ErrUnknownNode   = errors.New("no such node")
	ErrNotAssociated = errors.New("node is not associated")
)

// The three requests of a session return at once; done is called exactly once, later, from a goroutine of the
// edge, and must not block. Its error is a *pfcp.Error when the node refused (then the response is there too) or
// its response makes no sense, and else ErrUnknownNode, ErrNotAssociated or an error of pfcp.Endpoint.Call: after
// pfcp.ErrTimeout it is unknown whether the node has acted.

// Establish sends a Session Establishment Request, TS 29.244 7.5.2. The Node ID, and an F-SEID's address that is
// not set, are filled in; req is not changed. The response has the UP F-SEID.
func (s *Sxb) Establish(
	node string, req *pfcp.SessionEstablishmentRequest, done func(*pfcp.SessionEstablishmentResponse, error),
) {
	m := *req
	m.NodeID, m.FSEID = s.cfg.NodeID, s.localFSEID(req.FSEID)
	call(s, node, 0, &m, done, func(m *pfcp.SessionEstablishmentResponse) error {
		return refusal(m.Cause, m.Offending, m.FailedRuleID)
	})
}

// Modify sends a Session Modification Request, TS 29.244 7.5.4, to the session with the SEID that the node chose.
func (s *Sxb) Modify(
	node string, upSEID pfcp.SEID, req *pfcp.SessionModificationRequest,
	done func(*pfcp.SessionModificationResponse, error),
) {
	m := *req
	if m.FSEID.Present {
		m.FSEID.Value = s.localFSEID(m.FSEID.Value)
	}
	call(s, node, upSEID, &m, done, func(m *pfcp.SessionModificationResponse) error {
		return refusal(m.Cause, m.Offending, m.FailedRuleID)
	})
}

// Delete sends a Session Deletion Request, TS 29.244 7.5.6, to the session with the SEID that the node chose.
func (s *Sxb) Delete(node string, upSEID pfcp.SEID, done func(*pfcp.SessionDeletionResponse, error)) {
	call(s, node, upSEID, &pfcp.SessionDeletionRequest{}, done, func(m *pfcp.SessionDeletionResponse) error {
		return refusal(m.Cause, m.Offending, pfcp.Opt[pfcp.FailedRuleID]{})
	})
}

// localFSEID fills in our address.
func (s *Sxb) localFSEID(f pfcp.FSEID) pfcp.FSEID {
	if f.IPv4.IsValid() || f.IPv6.IsValid() {
		return f
	}
	if addr := s.endpoint.Addr().Addr(); addr.Is4() {
		f.IPv4 = addr
	} else {
		f.IPv6 = addr
	}
	return f
}

// call sends a session request to a node that is associated. verdict is the response's cause as an error.
func call[M pfcp.Message](
	s *Sxb, name string, seid pfcp.SEID, req pfcp.Message, done func(M, error), verdict func(M) error,
) {
	var none M
	status, ok := s.node(name)
	switch {
	case !ok:
		s.endpoint.Later(func() { done(none, fmt.Errorf("%w: %q", ErrUnknownNode, name)) })
		return
	case status.State != StateAssociated:
		s.endpoint.Later(func() { done(none, fmt.Errorf("%w: %s is %v", ErrNotAssociated, name, status.State)) })
		return
	}
	s.endpoint.Call(status.Address, seid, req, func(_ pfcp.Header, m pfcp.Message, err error) {
		if err != nil {
			done(none, err)
			return
		}
		response, ok := m.(M)
		if !ok { // the endpoint has checked the type already
			done(none, fmt.Errorf("%v in answer to %v", m.Type(), req.Type()))
			return
		}
		err = verdict(response)
		if fault, ok := errors.AsType[*pfcp.Error](err); ok && fault.Cause == pfcp.CauseNoEstablishedAssociation {
			s.associationUnknown(name)
		}
		done(response, err)
	})
}

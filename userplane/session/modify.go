package session

import (
	"fmt"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Modify makes the session that a Session Modification Request turns s into, TS 29.244 7.5.4, and what the control
// plane is told about new PDRs. s stays as it was. Reports are not its business: see Report and Final. The errors are
// *pfcp.Error.
//
// The order is that of the standard's tables: remove, create, update, so that an id may be removed and created in
// one request.
func (s Session) Modify(
	req *pfcp.SessionModificationRequest, limits Limits, teids TEIDs, now Time,
) (Session, []pfcp.CreatedPDR, error) {
	next := s
	next.Modified++
	if req.FSEID.Present {
		next.CP = req.FSEID.Value
	}
	if len(req.FQCSIDs) > 0 {
		next.FQCSIDs = req.FQCSIDs
	}
	if req.InactivityTimer.Present {
		next.InactivityTimer, next.LastPacket, next.Inactive = req.InactivityTimer.Value, now, false
	}
	if err := next.removeRules(req); err != nil {
		return s, nil, err
	}
	m := maker{teids: teids, held: s.FTEIDs(), now: now}
	if err := limits.check(Session{ // before anything of the request's size is made
		PDRs: make([]PDR, len(req.CreatePDRs)), FARs: make([]FAR, len(req.CreateFARs)),
		QERs: make([]QER, len(req.CreateQERs)), URRs: make([]URR, len(req.CreateURRs)),
	}); err != nil {
		return s, nil, err
	}
	if err := next.create(&m, req.CreatePDRs, req.CreateFARs, req.CreateQERs, req.CreateURRs); err != nil {
		return s, nil, err
	}
	if err := limits.check(next); err != nil {
		return s, nil, err
	}
	if err := next.updateFARs(req.UpdateFARs); err != nil {
		return s, nil, err
	}
	if err := next.updateQERs(req.UpdateQERs); err != nil {
		return s, nil, err
	}
	if err := next.updateURRs(req.UpdateURRs, now); err != nil {
		return s, nil, err
	}
	if err := next.updatePDRs(&m, req.UpdatePDRs); err != nil {
		return s, nil, err
	}
	for _, id := range req.QueryURRs {
		if _, ok := find(next.URRs, id, idOfURR); !ok {
			if _, ok = find(s.URRs, id, idOfURR); !ok {
				return s, nil, refuse(pfcp.RuleURR, uint32(id), pfcp.IEURRID, "no such URR to query")
			}
		}
	}
	return next, m.created, nil
}

// removeRules takes rules away. The rules that a removed one was named by are looked at by Compile.
func (s *Session) removeRules(req *pfcp.SessionModificationRequest) error {
	const unknown = "no such rule to remove"
	var ok bool
	for _, id := range req.RemovePDRs {
		if s.PDRs, ok = remove(s.PDRs, id, idOfPDR); !ok {
			return refuse(pfcp.RulePDR, uint32(id), pfcp.IEPDRID, unknown)
		}
	}
	for _, id := range req.RemoveFARs {
		if s.FARs, ok = remove(s.FARs, id, idOfFAR); !ok {
			return refuse(pfcp.RuleFAR, uint32(id), pfcp.IEFARID, unknown)
		}
	}
	for _, id := range req.RemoveQERs {
		if s.QERs, ok = remove(s.QERs, id, idOfQER); !ok {
			return refuse(pfcp.RuleQER, uint32(id), pfcp.IEQERID, unknown)
		}
	}
	for _, id := range req.RemoveURRs {
		if s.URRs, ok = remove(s.URRs, id, idOfURR); !ok {
			return refuse(pfcp.RuleURR, uint32(id), pfcp.IEURRID, unknown)
		}
	}
	return nil
}

func (s *Session) updateFARs(updates []pfcp.UpdateFAR) error {
	if len(updates) == 0 {
		return nil
	}
	s.FARs = slices.Clone(s.FARs)
	for i := range updates {
		u := &updates[i]
		at, ok := find(s.FARs, u.ID, idOfFAR)
		if !ok {
			return refuse(pfcp.RuleFAR, uint32(u.ID), pfcp.IEFARID, "no such FAR to update")
		}
		f := &s.FARs[at]
		if u.ApplyAction.Present {
			f.Action = u.ApplyAction.Value
		}
		f.set(u.ForwardingParameters)
	}
	return nil
}

func (s *Session) updateQERs(updates []pfcp.UpdateQER) error {
	if len(updates) == 0 {
		return nil
	}
	s.QERs = slices.Clone(s.QERs)
	for i := range updates {
		at, ok := find(s.QERs, updates[i].ID, idOfQER)
		if !ok {
			return refuse(pfcp.RuleQER, uint32(updates[i].ID), pfcp.IEQERID, "no such QER to update")
		}
		s.QERs[at].set(&updates[i])
	}
	return nil
}

func (s *Session) updateURRs(updates []pfcp.UpdateURR, now Time) error {
	if len(updates) == 0 {
		return nil
	}
	s.URRs = slices.Clone(s.URRs)
	for i := range updates {
		at, ok := find(s.URRs, updates[i].ID, idOfURR)
		if !ok {
			return refuse(pfcp.RuleURR, uint32(updates[i].ID), pfcp.IEURRID, "no such URR to update")
		}
		s.URRs[at].set(&updates[i], now)
	}
	return nil
}

func (s *Session) updatePDRs(m *maker, updates []pfcp.UpdatePDR) error {
	if len(updates) == 0 {
		return nil
	}
	s.PDRs = slices.Clone(s.PDRs)
	for i := range updates {
		at, ok := find(s.PDRs, updates[i].ID, idOfPDR)
		if !ok {
			return refuse(pfcp.RulePDR, uint32(updates[i].ID), pfcp.IEPDRID, "no such PDR to update")
		}
		next, err := m.update(s.PDRs[at], &updates[i])
		if err != nil {
			return err
		}
		s.PDRs[at] = next
	}
	return nil
}

// update changes a PDR. A new PDI replaces the old one, else a filter could never be removed; but one that lacks
// the key without which it could match nothing keeps the old key: Open5GS sends only Source Interface and filters.
func (m *maker) update(p PDR, u *pfcp.UpdatePDR) (PDR, error) {
	if len(u.ActivatePredefinedRules) > 0 || len(u.DeactivatePredefinedRules) > 0 {
		return p, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEActivatePredefinedRules, "there are no predefined rules")
	}
	if u.Precedence.Present {
		p.Precedence = u.Precedence.Value
	}
	if u.OuterHeaderRemoval.Present {
		p.Removal = u.OuterHeaderRemoval
	}
	if u.FARID.Present {
		p.FARID = u.FARID.Value
	}
	if u.QERIDs.Present {
		p.QERIDs = slices.Clone(u.QERIDs.Value)
	}
	if u.URRIDs.Present {
		p.URRIDs = slices.Clone(u.URRIDs.Value)
	}
	if !u.PDI.Present {
		return p, nil
	}
	if f := u.PDI.Value.FTEID; f.Present && f.Value.Choose {
		return p, blame(&pfcp.Error{
			Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID,
			Err: fmt.Errorf("CHOOSE in an Update PDR: there is no IE to tell the outcome"),
		}, pfcp.RulePDR, uint32(p.ID))
	}
	old := p
	if err := m.pdi(&p, &u.PDI.Value); err != nil {
		return old, err
	}
	if p.Direction() == old.Direction() {
		if p.TEID == 0 {
			p.Local, p.TEID = old.Local, old.TEID
		}
		if !p.UE.IsValid() && p.Direction() == Downlink {
			p.UE = old.UE
		}
	}
	return p, nil
}

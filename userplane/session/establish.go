package session

import (
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Establish makes the session that a Session Establishment Request asks for, TS 29.244 7.5.2, and what it is told
// about its PDRs. Slice is the GTP-U service address of downlink packets unless an F-TEID of the request names
// another. The errors are *pfcp.Error; the F-TEIDs that teids gave out meanwhile are the caller's to take back.
func Establish(
	req *pfcp.SessionEstablishmentRequest, seid pfcp.SEID, slice netip.Addr, limits Limits, teids TEIDs, now Time,
) (Session, []pfcp.CreatedPDR, error) {
	s := Session{
		SEID: seid, CP: req.FSEID, Slice: slice, FQCSIDs: req.FQCSIDs,
		InactivityTimer: req.InactivityTimer.Value, LastPacket: now,
	}
	if err := limits.check(Session{
		PDRs: make([]PDR, len(req.CreatePDRs)), FARs: make([]FAR, len(req.CreateFARs)),
		QERs: make([]QER, len(req.CreateQERs)), URRs: make([]URR, len(req.CreateURRs)),
	}); err != nil {
		return Session{}, nil, err
	}
	m := maker{teids: teids, now: now}
	if err := s.create(&m, req.CreatePDRs, req.CreateFARs, req.CreateQERs, req.CreateURRs); err != nil {
		return Session{}, nil, err
	}
	for _, p := range s.PDRs {
		if p.Local.IsValid() {
			s.Slice = p.Local
			break
		}
	}
	return s, m.created, nil
}

// create adds the rules of an establishment or a modification to s, whose lists are its own.
func (s *Session) create(
	m *maker, pdrs []pfcp.CreatePDR, fars []pfcp.CreateFAR, qers []pfcp.CreateQER, urrs []pfcp.CreateURR,
) error {
	const twice = "the id is in use"
	var ok bool
	for i := range fars {
		if s.FARs, ok = insert(s.FARs, makeFAR(&fars[i]), idOfFAR); !ok {
			return refuse(pfcp.RuleFAR, uint32(fars[i].ID), pfcp.IEFARID, twice)
		}
	}
	for i := range qers {
		if s.QERs, ok = insert(s.QERs, makeQER(&qers[i]), idOfQER); !ok {
			return refuse(pfcp.RuleQER, uint32(qers[i].ID), pfcp.IEQERID, twice)
		}
	}
	for i := range urrs {
		if s.URRs, ok = insert(s.URRs, makeURR(&urrs[i], m.now), idOfURR); !ok {
			return refuse(pfcp.RuleURR, uint32(urrs[i].ID), pfcp.IEURRID, twice)
		}
	}
	for i := range pdrs {
		p, err := m.pdr(&pdrs[i])
		if err != nil {
			return err
		}
		if s.PDRs, ok = insert(s.PDRs, p, idOfPDR); !ok {
			return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEPDRID, twice)
		}
	}
	return nil
}

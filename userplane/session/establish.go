package session

import (
	"fmt"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Establish makes the session that a Session Establishment Request asks for, TS 29.244 7.5.2, and what it is told
// about its PDRs. Slice names the GTP-U service of downlink packets unless an F-TEID of the request names
// another. The errors are *pfcp.Error; what grants gave out meanwhile is the caller's to take back.
func Establish(
	req *pfcp.SessionEstablishmentRequest, seid pfcp.SEID, slice netip.Addr, limits Limits, grants Grants, now Time,
) (Session, Created, error) {
	s := Session{
		SEID: seid, CP: req.FSEID, FQCSIDs: req.FQCSIDs,
		InactivityTimer: req.InactivityTimer.Value, LastPacket: now,
	}
	c := creates{
		pdrs: req.CreatePDRs, fars: req.CreateFARs, qers: req.CreateQERs, urrs: req.CreateURRs, bars: req.CreateBARs,
		endpoints: req.CreateTrafficEndpoints,
	}
	if err := limits.check(c.size()); err != nil {
		return Session{}, Created{}, err
	}
	m := maker{grants: grants, now: now, limits: limits}
	if err := s.create(&m, c); err != nil {
		return Session{}, Created{}, err
	}
	if err := s.settleAddresses(&m); err != nil {
		return Session{}, Created{}, err
	}
	for _, f := range s.FTEIDs() {
		slice = f.Local
		break
	}
	s.Slice, s.Slice6 = slice, grants.Slice(slice).IPv6
	return s, m.told, nil
}

// Created is what the control plane is told about new rules.
type Created struct {
	PDRs      []pfcp.CreatedPDR
	Endpoints []pfcp.CreatedTrafficEndpoint
}

// creates are the rules that a request makes.
type creates struct {
	pdrs      []pfcp.CreatePDR
	fars      []pfcp.CreateFAR
	qers      []pfcp.CreateQER
	urrs      []pfcp.CreateURR
	bars      []pfcp.BAR
	endpoints []pfcp.TrafficEndpoint
}

// size is how many they are, for Limits before anything of the request's size is made.
func (c *creates) size() size {
	return size{len(c.pdrs), len(c.fars), len(c.qers), len(c.urrs), len(c.bars), len(c.endpoints)}
}

// create adds the rules of an establishment or a modification to s, whose lists are its own.
func (s *Session) create(m *maker, c creates) error {
	const twice = "the id is in use"
	s.PDRs, s.FARs, s.QERs = room(s.PDRs, len(c.pdrs)), room(s.FARs, len(c.fars)), room(s.QERs, len(c.qers))
	s.URRs, s.BARs = room(s.URRs, len(c.urrs)), room(s.BARs, len(c.bars))
	s.Endpoints = room(s.Endpoints, len(c.endpoints))
	var ok bool
	for i := range c.fars {
		if s.FARs, ok = insert(s.FARs, makeFAR(&c.fars[i]), idOfFAR); !ok {
			return refuse(pfcp.RuleFAR, uint32(c.fars[i].ID), pfcp.IEFARID, twice)
		}
	}
	for i := range c.qers {
		if s.QERs, ok = insert(s.QERs, makeQER(&c.qers[i]), idOfQER); !ok {
			return refuse(pfcp.RuleQER, uint32(c.qers[i].ID), pfcp.IEQERID, twice)
		}
	}
	for i := range c.urrs {
		if s.URRs, ok = insert(s.URRs, makeURR(&c.urrs[i], m.now), idOfURR); !ok {
			return refuse(pfcp.RuleURR, uint32(c.urrs[i].ID), pfcp.IEURRID, twice)
		}
	}
	for _, b := range c.bars {
		if s.BARs, ok = insert(s.BARs, BAR{b.ID, b.NotificationDelay, b.SuggestedPacketsCount}, idOfBAR); !ok {
			return refuse(pfcp.RuleBAR, uint32(b.ID), pfcp.IEBARID, twice)
		}
	}
	m.fars = s.FARs
	if err := s.createEndpoints(m, c.endpoints); err != nil {
		return err
	}
	m.endpoints = s.Endpoints
	for i := range c.pdrs {
		p, err := m.pdr(&c.pdrs[i])
		if err != nil {
			return err
		}
		if s.PDRs, ok = insert(s.PDRs, p, idOfPDR); !ok {
			return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEPDRID, twice)
		}
	}
	return nil
}

func (s *Session) createEndpoints(m *maker, all []pfcp.TrafficEndpoint) error {
	for i := range all {
		t := &all[i]
		e, err := m.endpoint(t, t.NetworkInstance.Value, nil)
		if err != nil {
			return err
		}
		var ok bool
		if s.Endpoints, ok = insert(s.Endpoints, e, idOfEndpoint); !ok {
			return &pfcp.Error{
				Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IETrafficEndpointID,
				Err: fmt.Errorf("traffic endpoint %d: the id is in use", t.ID),
			}
		}
		told := pfcp.CreatedTrafficEndpoint{ID: e.ID}
		if t.FTEID.Present && t.FTEID.Value.Choose {
			told.FTEID = pfcp.Some(m.tell(&t.FTEID.Value, FTEID{e.Local, e.TEID}))
		}
		if chosen(t.UEIPAddress) {
			told.UEIPAddress = pfcp.Some(asUEIPAddress(e.UE, e.UE6))
		}
		if told.FTEID.Present || told.UEIPAddress.Present {
			m.told.Endpoints = append(m.told.Endpoints, told)
		}
	}
	return nil
}

package session

import (
	"errors"
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
	req *pfcp.SessionModificationRequest, limits Limits, grants Grants, now Time,
) (Session, Created, error) {
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
		return s, Created{}, err
	}
	c := creates{
		pdrs: req.CreatePDRs, fars: req.CreateFARs, qers: req.CreateQERs, urrs: req.CreateURRs, bars: req.CreateBARs,
		endpoints: req.CreateTrafficEndpoints,
	}
	if err := limits.check(c.size()); err != nil {
		return s, Created{}, err
	}
	m := maker{grants: grants, held: s.FTEIDs(), addresses: s.Addresses, now: now, limits: limits}
	if err := next.create(&m, c); err != nil {
		return s, Created{}, err
	}
	for i := range req.CreateURRs { // one that was removed in the same request: its cells count on
		if old, ok := find(s.URRs, req.CreateURRs[i].ID, idOfURR); ok {
			at, _ := find(next.URRs, req.CreateURRs[i].ID, idOfURR)
			next.URRs[at].countOn(&s.URRs[old])
		}
	}
	if err := limits.check(next.size()); err != nil {
		return s, Created{}, err
	}
	if err := next.updateFARs(req.UpdateFARs); err != nil {
		return s, Created{}, err
	}
	if err := next.updateQERs(req.UpdateQERs); err != nil {
		return s, Created{}, err
	}
	if err := next.updateURRs(req.UpdateURRs, now); err != nil {
		return s, Created{}, err
	}
	if err := next.updateBARs(req.UpdateBARs); err != nil {
		return s, Created{}, err
	}
	if err := next.updateEndpoints(&m, req.UpdateTrafficEndpoints); err != nil {
		return s, Created{}, err
	}
	if err := next.updatePDRs(&m, req.UpdatePDRs); err != nil {
		return s, Created{}, err
	}
	if err := next.settleAddresses(&m); err != nil {
		return s, Created{}, err
	}
	next.keepFilters(&s)
	for _, id := range req.QueryURRs {
		if _, ok := find(next.URRs, id, idOfURR); !ok {
			if _, ok = find(s.URRs, id, idOfURR); !ok {
				return s, Created{}, refuse(pfcp.RuleURR, uint32(id), pfcp.IEURRID, "no such URR to query")
			}
		}
	}
	return next, m.told, nil
}

// removeRules takes rules away. A PDR whose FAR is gone is looked at by Compile.
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
	for _, id := range req.RemoveBARs {
		if s.BARs, ok = remove(s.BARs, id, idOfBAR); !ok {
			return refuse(pfcp.RuleBAR, uint32(id), pfcp.IEBARID, unknown)
		}
	}
	for _, id := range req.RemoveTrafficEndpoints {
		if s.Endpoints, ok = remove(s.Endpoints, id, idOfEndpoint); !ok {
			return noEndpoint(id)
		}
	}
	if len(req.RemoveQERs)+len(req.RemoveURRs)+len(req.RemoveTrafficEndpoints) > 0 {
		s.unname(req)
	}
	return nil
}

// unname takes QERs and URRs that are removed, and not made anew, out of the PDRs that name them, TS 29.244 6.3.3.3. PDRs of a
// traffic endpoint go with it, 7.5.4.1: some control planes remove bearers so.
func (s *Session) unname(req *pfcp.SessionModificationRequest) {
	endpoint := gone(req.RemoveTrafficEndpoints, req.CreateTrafficEndpoints, func(c *pfcp.TrafficEndpoint) pfcp.TrafficEndpointID { return c.ID })
	qer := gone(req.RemoveQERs, req.CreateQERs, func(c *pfcp.CreateQER) pfcp.QERID { return c.ID })
	urr := gone(req.RemoveURRs, req.CreateURRs, func(c *pfcp.CreateURR) pfcp.URRID { return c.ID })
	s.PDRs = without(s.PDRs, func(p PDR) bool { return slices.ContainsFunc(p.Endpoints, endpoint) })
	for i := range s.PDRs {
		s.PDRs[i].QERIDs, s.PDRs[i].URRIDs = without(s.PDRs[i].QERIDs, qer), without(s.PDRs[i].URRIDs, urr)
	}
}

// gone tells which ids are removed and not created.
func gone[ID comparable, T any](removed []ID, created []T, of func(*T) ID) func(ID) bool {
	return func(id ID) bool {
		for i := range created {
			if of(&created[i]) == id {
				return false
			}
		}
		return slices.Contains(removed, id)
	}
}

// without is a list without those that are gone.
func without[T any](list []T, gone func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), gone)
}

func noEndpoint(id pfcp.TrafficEndpointID) error {
	return &pfcp.Error{
		Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IETrafficEndpointID,
		Err: fmt.Errorf("there is no traffic endpoint %d", id),
	}
}

func (s *Session) updateBARs(updates []pfcp.BAR) error {
	for _, u := range updates {
		at, ok := find(s.BARs, u.ID, idOfBAR)
		if !ok {
			return refuse(pfcp.RuleBAR, uint32(u.ID), pfcp.IEBARID, "no such BAR to update")
		}
		s.BARs = slices.Clone(s.BARs)
		b := &s.BARs[at]
		if u.NotificationDelay.Present || u.Removed.Has(pfcp.IEDownlinkDataNotificationDelay) {
			b.Delay = u.NotificationDelay
		}
		if u.SuggestedPacketsCount.Present || u.Removed.Has(pfcp.IESuggestedBufferingPacketsCount) {
			b.Count = u.SuggestedPacketsCount
		}
	}
	return nil
}

func (s *Session) updateEndpoints(m *maker, updates []pfcp.TrafficEndpoint) error {
	for i := range updates {
		u := &updates[i]
		at, ok := find(s.Endpoints, u.ID, idOfEndpoint)
		if !ok {
			return noEndpoint(u.ID)
		}
		if u.FTEID.Present && u.FTEID.Value.Choose {
			return &pfcp.Error{Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID}
		}
		if chosen(u.UEIPAddress) {
			return &pfcp.Error{
				Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IEUEIPAddress, Err: errors.New(noneToTell),
			}
		}
		with, err := m.endpoint(u, "", nil)
		if err != nil {
			return err
		}
		s.Endpoints = slices.Clone(s.Endpoints)
		e := &s.Endpoints[at]
		if u.FTEID.Present {
			e.Local, e.TEID = with.Local, with.TEID
		}
		if u.NetworkInstance.Present {
			e.Instance = with.Instance
		}
		if u.UEIPAddress.Present || u.Removed.Has(pfcp.IEUEIPAddress) {
			e.UE, e.UE6 = with.UE, with.UE6
		}
		if len(with.Routes) > 0 || u.Removed.Has(pfcp.IEFramedRoute) || u.Removed.Has(pfcp.IEFramedIPv6Route) {
			e.Routes = with.Routes
		}
		if len(with.QFIs) > 0 || u.Removed.Has(pfcp.IEQFI) {
			e.QFIs = with.QFIs
		}
	}
	m.endpoints = s.Endpoints
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
		if u.BARID.Present || u.Removed.Has(pfcp.IEBARID) {
			f.BARID = u.BARID
		}
		if u.Removed.Has(pfcp.IEUpdateForwardingParameters) {
			*f = FAR{ID: f.ID, Action: f.Action, Duplicates: f.Duplicates, BARID: f.BARID}
		}
		if u.Removed.Has(pfcp.IEUpdateDuplicatingParameters) {
			f.Duplicates = nil
		}
		f.set(u.ForwardingParameters)
		f.duplicate(u.Duplicating)
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

const noneToTell = "CHOOSE in an update: there is no IE to tell the outcome"

// update changes a PDR. A new PDI replaces the old one, else a filter could never be removed; but one that lacks
// the key without which it could match nothing keeps the old key: Open5GS sends only Source Interface and filters.
func (m *maker) update(p PDR, u *pfcp.UpdatePDR) (PDR, error) {
	if err := m.activate(&p, u.ActivatePredefinedRules, u.DeactivatePredefinedRules); err != nil {
		return p, err
	}
	if u.Precedence.Present {
		p.Precedence = u.Precedence.Value
	}
	if u.OuterHeaderRemoval.Present || u.Removed.Has(pfcp.IEOuterHeaderRemoval) {
		p.Removal = u.OuterHeaderRemoval
	}
	if u.FARID.Present {
		p.FARID = u.FARID.Value
	}
	if u.QERIDs.Present || u.Removed.Has(pfcp.IEQERID) {
		p.QERIDs = slices.Clone(u.QERIDs.Value)
	}
	if u.URRIDs.Present || u.Removed.Has(pfcp.IEURRID) {
		p.URRIDs = slices.Clone(u.URRIDs.Value)
	}
	if !u.PDI.Present {
		return p, nil
	}
	if f := u.PDI.Value.FTEID; f.Present && f.Value.Choose {
		return p, blame(&pfcp.Error{
			Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID,
			Err: errors.New(noneToTell),
		}, pfcp.RulePDR, uint32(p.ID))
	}
	if chosen(u.PDI.Value.UEIPAddress) {
		return p, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEUEIPAddress, noneToTell)
	}
	old := p
	if err := m.pdi(&p, &u.PDI.Value, nil); err != nil {
		return old, err
	}
	if p.Direction() == old.Direction() && !p.keyed() {
		p.keep(&old, &u.PDI.Value)
	}
	return p, nil
}

// keyed says whether a PDR has what its packets are looked up by.
func (p *PDR) keyed() bool {
	if p.Direction() == Uplink || p.Source == pfcp.InterfaceCPFunction {
		return p.TEID != 0 || len(p.Endpoints) > 0
	}
	return p.UE.IsValid() || p.UE6.IsValid() || len(p.Endpoints) > 0
}

// keep takes over what a PDR was looked up by, and what belongs to that, as far as the new PDI does not say it: a UE
// address is one of a network instance, and must not end in another customer's.
func (p *PDR) keep(old *PDR, given *pfcp.PDI) {
	p.Endpoints = old.Endpoints
	if p.TEID == 0 {
		p.Local, p.TEID = old.Local, old.TEID
	}
	if !given.NetworkInstance.Present {
		p.Instance = old.Instance
	}
	if !p.UE.IsValid() && !p.UE6.IsValid() {
		p.UE, p.UE6 = old.UE, old.UE6
	}
	if len(p.Routes) == 0 {
		p.Routes = old.Routes
	}
}

// EndMarkers are the tunnels that get one: those that a FAR sent to before a request that asks for it, if it sends
// elsewhere from now on, TS 29.244 5.2.3 and 8.2.31.
func (s Session) EndMarkers(req *pfcp.SessionModificationRequest) []Tunnel {
	var all []Tunnel
	for i := range req.UpdateFARs {
		u := &req.UpdateFARs[i]
		at, ok := find(s.FARs, u.ID, idOfFAR)
		if !ok || !u.ForwardingParameters.Value.SendEndMarker || !s.FARs[at].Outer.Present {
			continue
		}
		old, next := &s.FARs[at], s.FARs[at]
		next.set(u.ForwardingParameters)
		c := compiler{s: &s}
		if t, err := c.tunnel(old, old.Outer.Value); err == nil && next.Outer != old.Outer {
			all = append(all, t)
		}
	}
	return all
}

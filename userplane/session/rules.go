package session

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/portal"
)

// maker turns the rules of one request into ours. It remembers which CHOOSE ID got which F-TEID: PDRs of one
// request that name the same one share it, TS 29.244 8.2.3.
type maker struct {
	grants Grants
	held   []FTEID // of the session before the request
	chosen map[uint8]FTEID
	told   Created
	now    Time

	limits    Limits
	endpoints []Endpoint // of the session, those of the request among them
	fars      []FAR      // likewise
	addresses []Address  // that the session has of pools, or gets
}

// pdr makes a PDR. What the data path cannot do is refused here, with the IE to blame.
func (m *maker) pdr(c *pfcp.CreatePDR) (PDR, error) {
	p := PDR{
		ID: c.ID, Precedence: c.Precedence, Removal: c.OuterHeaderRemoval, FARID: c.FARID.Value,
		QERIDs: slices.Clone(c.QERIDs), URRIDs: slices.Clone(c.URRIDs),
	}
	if err := m.activate(&p, c.ActivatePredefinedRules, nil); err != nil {
		return PDR{}, err
	}
	if !c.FARID.Present && p.predefinedFAR() == nil {
		return PDR{}, blame(&pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEFARID,
			Err: fmt.Errorf("a PDR without FAR and without predefined rules"),
		}, pfcp.RulePDR, uint32(c.ID))
	}
	if err := m.pdi(&p, &c.PDI, c.AddressPools); err != nil {
		return PDR{}, err
	}
	told := pfcp.CreatedPDR{ID: c.ID}
	if f := c.PDI.FTEID; f.Present && f.Value.Choose {
		told.FTEID = pfcp.Some(m.tell(&f.Value, FTEID{p.Local, p.TEID}))
	}
	if chosen(c.PDI.UEIPAddress) {
		told.UEIPAddress = pfcp.Some(asUEIPAddress(p.UE, p.UE6))
	}
	if told.FTEID.Present || told.UEIPAddress.Present {
		m.told.PDRs = append(m.told.PDRs, told)
	}
	return p, nil
}

// pdi flattens a PDI into p; UE addresses to choose come from one of pools, if it names some.
func (m *maker) pdi(p *PDR, i *pfcp.PDI, pools []string) error {
	fault := func(ie uint16, format string, args ...any) error {
		return refuse(pfcp.RulePDR, uint32(p.ID), ie, format, args...)
	}
	switch i.SourceInterface {
	case pfcp.InterfaceAccess, pfcp.InterfaceCore, pfcp.InterfaceSGiLAN, pfcp.InterfaceCPFunction:
	default:
		return fault(pfcp.IESourceInterface, "source interface %v is not served", i.SourceInterface)
	}
	if err := m.application(p, i); err != nil {
		return err
	}
	p.Source, p.QFIs, p.Filters = i.SourceInterface, slices.Clone(i.QFI), nil
	if len(i.SDFFilters) > m.limits.Filters {
		return &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Offending: pfcp.IESDFFilter,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: uint32(p.ID)}),
			Err:        fmt.Errorf("%d SDF filters: at most %d", len(i.SDFFilters), m.limits.Filters),
		}
	}
	for n := range i.SDFFilters {
		f, err := makeSDF(&i.SDFFilters[n])
		if err != nil {
			return fault(pfcp.IESDFFilter, "%w", err)
		}
		p.Filters = append(p.Filters, f)
	}
	p.Endpoints = slices.Clone(i.TrafficEndpointIDs)
	for _, id := range p.Endpoints {
		if !slices.ContainsFunc(m.endpoints, func(e Endpoint) bool { return e.ID == id }) {
			return fault(pfcp.IETrafficEndpointID, "there is no traffic endpoint %d", id)
		}
	}
	e, err := m.endpoint(&pfcp.TrafficEndpoint{
		FTEID: i.FTEID, NetworkInstance: i.NetworkInstance, UEIPAddress: i.UEIPAddress, FramedRoutes: i.FramedRoutes,
	}, m.network(p, i), pools)
	if err != nil {
		return blame(err, pfcp.RulePDR, uint32(p.ID))
	}
	if i.FTEID.Present && p.Direction() == Downlink && p.Source != pfcp.InterfaceCPFunction {
		return fault(pfcp.IEFTEID, "tunnels on the core side are not served")
	}
	p.Local, p.TEID, p.Instance, p.UE, p.UE6, p.Routes = e.Local, e.TEID, e.Instance, e.UE, e.UE6, e.Routes
	return nil
}

// endpoint makes a traffic endpoint, or what stands in its place in a PDI; UE addresses to choose are those of a
// network instance, and of one of pools if it names some. The errors name no rule.
func (m *maker) endpoint(t *pfcp.TrafficEndpoint, network pfcp.NetworkInstance, pools []string) (e Endpoint, err error) {
	fault := func(ie uint16, format string, args ...any) (Endpoint, error) {
		return Endpoint{}, &pfcp.Error{Cause: pfcp.CauseRuleCreationFailure, Offending: ie, Err: fmt.Errorf(format, args...)}
	}
	e = Endpoint{ID: t.ID, Instance: t.NetworkInstance.Value, QFIs: slices.Clone(t.QFI)}
	if ue := t.UEIPAddress; ue.Present {
		v := ue.Value
		if v.IPv4.IsValid() && (v.IPv4.IsUnspecified() || v.IPv4.IsMulticast()) {
			return fault(pfcp.IEUEIPAddress, "UE address %v", v.IPv4)
		}
		e.UE = v.IPv4
		if v.IPv6.IsValid() {
			if e.UE6, err = v.IPv6.Prefix(prefixLength(&v)); err != nil || e.UE6.Bits() == 0 || e.UE6.Addr().IsUnspecified() || e.UE6.Addr().IsMulticast() {
				return fault(pfcp.IEUEIPAddress, "UE prefix %v/%d", v.IPv6, prefixLength(&v))
			}
		}
		if err := m.choose(&e, &v, network, pools); err != nil {
			return Endpoint{}, err
		}
	}
	for _, routes := range [][]string{t.FramedRoutes.IPv4, t.FramedRoutes.IPv6} {
		for _, text := range routes {
			route, err := parseRoute(text)
			if err != nil {
				return fault(pfcp.IEFramedRoute, "%w", err)
			}
			e.Routes = append(e.Routes, route)
		}
	}
	if len(e.Routes) > maxRoutes {
		return fault(pfcp.IEFramedRoute, "%d framed routes: at most %d", len(e.Routes), maxRoutes)
	}
	if t.FTEID.Present {
		f, err := m.fteid(&t.FTEID.Value)
		if err != nil {
			return Endpoint{}, err
		}
		e.Local, e.TEID = f.Local, f.TEID
	}
	return e, nil
}

// maxRoutes bounds the framed routes of a PDR; ours.
const maxRoutes = 16

// parseRoute reads a framed route, RFC 2865 5.22 and RFC 3162 2.5: a prefix; what follows (gateway, metrics) says
// nothing here. An IPv4 address without length has that of its class.
func parseRoute(text string) (netip.Prefix, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return netip.Prefix{}, fmt.Errorf("framed route %q", text)
	}
	if route, err := netip.ParsePrefix(words[0]); err == nil {
		return route.Masked(), nil
	}
	a, err := netip.ParseAddr(words[0])
	if err != nil || !a.Is4() {
		return netip.Prefix{}, fmt.Errorf("framed route %q", text)
	}
	length := 24
	switch first := a.As4()[0]; {
	case first < 128:
		length = 8
	case first < 192:
		length = 16
	}
	return netip.PrefixFrom(a, length).Masked(), nil
}

func (m *maker) fteid(f *pfcp.FTEID) (FTEID, error) {
	fault := func(format string, args ...any) (FTEID, error) {
		return FTEID{}, &pfcp.Error{
			Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID, Err: fmt.Errorf(format, args...),
		}
	}
	if !f.Choose {
		slice := m.grants.Slice(Slice{f.IPv4, f.IPv6}.Name())
		own := FTEID{Local: slice.Name(), TEID: f.TEID}
		switch {
		case f.TEID == 0:
			return fault("F-TEID with TEID 0")
		case f.IPv6.IsValid() && f.IPv6 != slice.IPv6:
			return fault("F-TEID with the addresses %v and %v, which are not of one slice", f.IPv4, f.IPv6)
		}
		if slices.Contains(m.held, own) {
			return own, nil // two PDRs of a session may share one
		}
		if err := m.grants.Claim(own); err != nil {
			return FTEID{}, err
		}
		m.held = append(m.held, own)
		return own, nil
	}
	own, shared := m.chosen[f.ChooseID.Value]
	if !f.ChooseID.Present || !shared {
		var err error
		if own, err = m.grants.Choose(); err != nil {
			return FTEID{}, err
		}
		m.held = append(m.held, own)
	}
	switch slice := m.grants.Slice(own.Local); {
	case f.ChooseIPv4 && !f.ChooseIPv6 && !slice.IPv4.IsValid(), f.ChooseIPv6 && !f.ChooseIPv4 && !slice.IPv6.IsValid():
		return fault("the slice %v has no address of the family that is to be chosen", slice.Name())
	}
	if f.ChooseID.Present {
		if m.chosen == nil {
			m.chosen = map[uint8]FTEID{}
		}
		m.chosen[f.ChooseID.Value] = own
	}
	return own, nil
}

// tell is an F-TEID that was chosen, with the addresses that were asked for and the slice has, TS 29.244 8.2.3. CHOOSE
// with neither V4 nor V6 means IPv4 where there is one; with both, the families that we have.
func (m *maker) tell(asked *pfcp.FTEID, own FTEID) pfcp.FTEID {
	slice := m.grants.Slice(own.Local)
	f := pfcp.FTEID{TEID: own.TEID}
	if asked.ChooseIPv4 || !asked.ChooseIPv6 {
		f.IPv4 = slice.IPv4
	}
	if asked.ChooseIPv6 || !f.IPv4.IsValid() {
		f.IPv6 = slice.IPv6
	}
	return f
}

func makeFAR(c *pfcp.CreateFAR) FAR {
	f := FAR{ID: c.ID, Action: c.ApplyAction, BARID: c.BARID}
	f.set(c.ForwardingParameters)
	f.duplicate(c.Duplicating)
	return f
}

// set replaces those forwarding parameters that are present, and takes away those that came with no length.
func (f *FAR) set(with pfcp.Opt[pfcp.ForwardingParameters]) {
	if !with.Present {
		return
	}
	f.Parameters = true
	v := with.Value
	if v.DestinationInterface.Present {
		f.Destination = v.DestinationInterface
	}
	if v.NetworkInstance.Present {
		f.Instance = v.NetworkInstance.Value
	}
	if v.OuterHeaderCreation.Present || v.Removed.Has(pfcp.IEOuterHeaderCreation) {
		f.Outer = v.OuterHeaderCreation
	}
	if v.TransportLevelMarking.Present || v.Removed.Has(pfcp.IETransportLevelMarking) {
		f.Marking = v.TransportLevelMarking
	}
	if v.Removed.Has(pfcp.IERedirectInformation) {
		f.Redirect, f.URL = Redirect{}, ""
	} else if v.Redirect.Present {
		f.redirect(v.Redirect.Value)
	}
	switch {
	case v.ForwardingPolicy.Present && !v.Removed.Has(pfcp.IEForwardingPolicy):
		f.Unserved = pfcp.IEForwardingPolicy
	case len(v.HeaderEnrichments) > 0:
		f.Unserved = pfcp.IEHeaderEnrichment
	}
}

// redirect takes a redirection to addresses or to a URL, TS 29.244 8.2.20. One to a SIP URI is for somebody who speaks SIP:
// it is not served.
func (f *FAR) redirect(r pfcp.RedirectInformation) {
	var to Redirect
	served, portalURL := false, ""
	switch r.Type {
	case pfcp.RedirectIPv4:
		to.IPv4, served = redirectTo(r.Server, netip.Addr.Is4)
	case pfcp.RedirectIPv6:
		to.IPv6, served = redirectTo(r.Server, netip.Addr.Is6)
	case pfcp.RedirectIPv4v6:
		var other bool
		to.IPv4, served = redirectTo(r.Server, netip.Addr.Is4)
		to.IPv6, other = redirectTo(r.Other, netip.Addr.Is6)
		served = served && other
	case pfcp.RedirectURL:
		portalURL, served = r.Server, portal.CheckURL(r.Server) == nil
	case pfcp.RedirectSIPURI:
	}
	if f.Redirect, f.URL = to, portalURL; !served {
		f.Redirect, f.URL, f.Unserved = Redirect{}, "", pfcp.IERedirectInformation
	} else if f.Unserved == pfcp.IERedirectInformation {
		f.Unserved = 0
	}
}

// redirectTo reads the address of a redirect server.
func redirectTo(text string, family func(netip.Addr) bool) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || !family(a) || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a, true
}

// duplicate replaces what gets copies. An update of one changes what it says; of several it cannot say which it means,
// so that all are meant anew.
func (f *FAR) duplicate(with []pfcp.DuplicatingParameters) {
	if len(with) == 0 {
		return
	}
	var old Duplicate
	if len(f.Duplicates) == 1 && len(with) == 1 {
		old = f.Duplicates[0]
	}
	f.Duplicates = nil
	for i := range with {
		d := old
		if outer := with[i].OuterHeaderCreation; outer.Present || with[i].Removed.Has(pfcp.IEOuterHeaderCreation) {
			d.Outer = outer.Value
		}
		if mark := with[i].TransportLevelMarking; mark.Present || with[i].Removed.Has(pfcp.IETransportLevelMarking) {
			d.Marking = mark
		}
		if with[i].ForwardingPolicy.Present {
			f.Unserved = pfcp.IEForwardingPolicy
		}
		f.Duplicates = append(f.Duplicates, d)
	}
}

func makeQER(c *pfcp.CreateQER) QER {
	return QER{ID: c.ID, Gate: c.GateStatus, MBR: c.MBR, GBR: c.GBR, Correlation: c.CorrelationID, QFI: c.QFI}
}

func (q *QER) set(u *pfcp.UpdateQER) {
	if u.GateStatus.Present {
		q.Gate = u.GateStatus.Value
	}
	if u.MBR.Present || u.Removed.Has(pfcp.IEMBR) {
		q.MBR = u.MBR
	}
	if u.GBR.Present || u.Removed.Has(pfcp.IEGBR) {
		q.GBR = u.GBR
	}
	if u.CorrelationID.Present || u.Removed.Has(pfcp.IEQERCorrelationID) {
		q.Correlation = u.CorrelationID
	}
	if u.QFI.Present || u.Removed.Has(pfcp.IEQFI) {
		q.QFI = u.QFI
	}
}

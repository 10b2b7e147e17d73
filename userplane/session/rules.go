package session

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/xepc/xepc/pkg/pfcp"
)

// maker turns the rules of one request into ours. It remembers which CHOOSE ID got which F-TEID: PDRs of one
// request that name the same one share it, TS 29.244 8.2.3.
type maker struct {
	teids   TEIDs
	held    []FTEID // of the session before the request
	chosen  map[uint8]FTEID
	created []pfcp.CreatedPDR
	now     Time
}

// pdr makes a PDR. What the data path cannot do is refused here, with the IE to blame.
func (m *maker) pdr(c *pfcp.CreatePDR) (PDR, error) {
	p := PDR{
		ID: c.ID, Precedence: c.Precedence, Removal: c.OuterHeaderRemoval, FARID: c.FARID.Value,
		QERIDs: slices.Clone(c.QERIDs), URRIDs: slices.Clone(c.URRIDs),
	}
	if len(c.ActivatePredefinedRules) > 0 {
		return PDR{}, refuse(pfcp.RulePDR, uint32(c.ID), pfcp.IEActivatePredefinedRules, "there are no predefined rules: %q", c.ActivatePredefinedRules)
	}
	if !c.FARID.Present {
		return PDR{}, blame(&pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEFARID,
			Err: fmt.Errorf("a PDR without FAR and without predefined rules"),
		}, pfcp.RulePDR, uint32(c.ID))
	}
	if err := m.pdi(&p, &c.PDI); err != nil {
		return PDR{}, err
	}
	if f := c.PDI.FTEID; f.Present && f.Value.Choose {
		m.created = append(m.created, pfcp.CreatedPDR{
			ID: c.ID, FTEID: pfcp.Some(pfcp.FTEID{TEID: p.TEID, IPv4: p.Local}),
		})
	}
	return p, nil
}

// pdi flattens a PDI into p.
func (m *maker) pdi(p *PDR, i *pfcp.PDI) error {
	fault := func(ie uint16, format string, args ...any) error {
		return refuse(pfcp.RulePDR, uint32(p.ID), ie, format, args...)
	}
	switch i.SourceInterface {
	case pfcp.InterfaceAccess, pfcp.InterfaceCore, pfcp.InterfaceSGiLAN:
	default:
		return fault(pfcp.IESourceInterface, "source interface %v is not served", i.SourceInterface)
	}
	p.Source, p.Instance, p.UE = i.SourceInterface, i.NetworkInstance.Value, netip.Addr{}
	for _, f := range i.SDFFilters {
		if !matchesAll(f) {
			return fault(pfcp.IESDFFilter, "SDF filters are not served: %q", f.FlowDescription)
		}
	}
	switch {
	case len(i.QFI) > 0:
		return fault(pfcp.IEQFI, "matching the QFI is not served")
	case len(i.TrafficEndpointIDs) > 0:
		return fault(pfcp.IETrafficEndpointID, "traffic endpoints are not served")
	case i.ApplicationID.Present:
		return fault(pfcp.IEApplicationID, "application detection is not served: %q", i.ApplicationID.Value)
	case len(i.FramedRoutes.IPv4) > 0:
		return fault(pfcp.IEFramedRoute, "framed routes are not served")
	case len(i.FramedRoutes.IPv6) > 0:
		return fault(pfcp.IEFramedIPv6Route, "framed routes are not served")
	}
	if ue := i.UEIPAddress; ue.Present {
		switch v := ue.Value; {
		case v.ChooseIPv4 || v.ChooseIPv6:
			return fault(pfcp.IEUEIPAddress, "UE addresses are not allocated here")
		case v.IPv6.IsValid():
			return fault(pfcp.IEUEIPAddress, "IPv6 UE addresses are not served")
		case v.IPv4.IsValid():
			p.UE = v.IPv4
		}
	}
	if p.Direction() == Downlink && i.FTEID.Present {
		return fault(pfcp.IEFTEID, "tunnels on the core side are not served")
	}
	p.Local, p.TEID = netip.Addr{}, 0
	if !i.FTEID.Present {
		return nil
	}
	f, err := m.fteid(&i.FTEID.Value)
	if err != nil {
		return blame(err, pfcp.RulePDR, uint32(p.ID))
	}
	p.Local, p.TEID = f.Local, f.TEID
	return nil
}

func (m *maker) fteid(f *pfcp.FTEID) (FTEID, error) {
	if !f.Choose {
		own := FTEID{Local: f.IPv4, TEID: f.TEID}
		if !f.IPv4.IsValid() || f.TEID == 0 {
			return FTEID{}, &pfcp.Error{
				Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID,
				Err: fmt.Errorf("F-TEID without IPv4 address or with TEID 0"),
			}
		}
		if slices.Contains(m.held, own) {
			return own, nil // two PDRs of a session may share one
		}
		if err := m.teids.Claim(own); err != nil {
			return FTEID{}, err
		}
		m.held = append(m.held, own)
		return own, nil
	}
	// CHOOSE with neither V4 nor V6 means IPv4; with both, the families that we have.
	if f.ChooseIPv6 && !f.ChooseIPv4 {
		return FTEID{}, &pfcp.Error{
			Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID,
			Err: fmt.Errorf("no GTP-U over IPv6"),
		}
	}
	if f.ChooseID.Present {
		if own, ok := m.chosen[f.ChooseID.Value]; ok {
			return own, nil
		}
	}
	own, err := m.teids.Choose()
	if err != nil {
		return FTEID{}, err
	}
	m.held = append(m.held, own)
	if f.ChooseID.Present {
		if m.chosen == nil {
			m.chosen = map[uint8]FTEID{}
		}
		m.chosen[f.ChooseID.Value] = own
	}
	return own, nil
}

// matchesAll says whether an SDF filter lets every packet match: it is empty, as OMEC and pfcpsim send it, or
// permits ip from any to any (or to "assigned", the UE itself).
func matchesAll(f pfcp.SDFFilter) bool {
	if f.ToSTrafficClass.Present || f.SPI.Present || f.FlowLabel.Present {
		return false
	}
	words := strings.Fields(strings.ToLower(f.FlowDescription))
	if len(words) == 0 {
		return !f.FilterID.Present // an id alone refers to another filter
	}
	if len(words) != 7 {
		return false
	}
	any := func(s string) bool { return s == "any" || s == "assigned" }
	return words[0] == "permit" && (words[1] == "out" || words[1] == "in") && words[2] == "ip" &&
		words[3] == "from" && any(words[4]) && words[5] == "to" && any(words[6])
}

func makeFAR(c *pfcp.CreateFAR) FAR {
	f := FAR{ID: c.ID, Action: c.ApplyAction}
	f.set(c.ForwardingParameters)
	return f
}

// set replaces those forwarding parameters that are present. An end marker that is asked for is not sent: EMPU is
// not announced, so nobody may count on it.
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
	if v.OuterHeaderCreation.Present {
		f.Outer = v.OuterHeaderCreation
	}
	if v.TransportLevelMarking.Present {
		f.Marking = v.TransportLevelMarking
	}
	switch {
	case v.TrafficEndpointID.Present:
		f.Unserved = pfcp.IETrafficEndpointID
	case v.Redirect.Present:
		f.Unserved = pfcp.IERedirectInformation
	case v.ForwardingPolicy.Present:
		f.Unserved = pfcp.IEForwardingPolicy
	case len(v.HeaderEnrichments) > 0:
		f.Unserved = pfcp.IEHeaderEnrichment
	}
}

func makeQER(c *pfcp.CreateQER) QER {
	return QER{ID: c.ID, Gate: c.GateStatus, MBR: c.MBR, GBR: c.GBR, Correlation: c.CorrelationID, QFI: c.QFI}
}

func (q *QER) set(u *pfcp.UpdateQER) {
	if u.GateStatus.Present {
		q.Gate = u.GateStatus.Value
	}
	if u.MBR.Present {
		q.MBR = u.MBR
	}
	if u.GBR.Present {
		q.GBR = u.GBR
	}
	if u.CorrelationID.Present {
		q.Correlation = u.CorrelationID
	}
	if u.QFI.Present {
		q.QFI = u.QFI
	}
}

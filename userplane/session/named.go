package session

import (
	"errors"
	"hash/fnv"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Rules that a control plane only names: predefined ones, and applications whose packet flow descriptions (PFDs) it
// has provisioned. What a name meant when the rule was made stays with the rule, so that a session compiles by itself
// alone; Rename brings it up to date.

// Predefined is a rule of the node's configuration that a PDR activates by its name, TS 29.244 5.19. It has what is
// not a session's own: what to detect, and what to do unless the PDR says so itself.
type Predefined struct {
	Name    string
	Filters []Filter // any of them will do; empty: every packet of the PDR's PDI
	// Action is what becomes of the packets of a PDR without FAR: ActionForward, from the UE only and to Instance, or
	// ActionDrop. Absent: the PDR must have a FAR.
	Action   pfcp.Opt[Action]
	Instance pfcp.NetworkInstance
	MBR      pfcp.BitRate // kbit/s, of the packets of the PDR; 0: not limited
	URRIDs   []pfcp.URRID // of the session, to count in beside those of the PDR
}

// predefinedID marks ids of rules that are predefined in the UP function, TS 29.244 8.2.74 and 8.2.75.
const predefinedID = 1 << 31

// id is that of the FAR and the QER of a predefined rule: the same in every session and every process.
func (d *Predefined) id() uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.Name))
	return h.Sum32() | predefinedID
}

// SameID says whether two predefined rules cannot be told apart in a session.
func (d *Predefined) SameID(other *Predefined) bool { return d.id() == other.id() }

// far is the FAR of a PDR that has none of its own; nil when it has no predefined one either.
func (p *PDR) predefinedFAR() *FAR {
	for i := range p.Predefined {
		d := &p.Predefined[i]
		if !d.Action.Present {
			continue
		}
		f := &FAR{ID: pfcp.FARID(d.id()), Action: pfcp.ActionDrop}
		if d.Action.Value == ActionForward {
			f.Action, f.Parameters = pfcp.ActionForward, true
			f.Destination, f.Instance = pfcp.Some(pfcp.InterfaceCore), d.Instance
		}
		return f
	}
	return nil
}

// urrs are the URRs that a PDR's packets count in.
func (p *PDR) urrs() []pfcp.URRID {
	all := p.URRIDs
	for i := range p.Predefined {
		for _, id := range p.Predefined[i].URRIDs {
			if !slices.Contains(all, id) {
				all = append(slices.Clip(all), id)
			}
		}
	}
	return all
}

// detects says whether a PDR has anything to detect: of an application without PFDs there is no packet.
func (p *PDR) detects() bool { return p.Application == "" || len(p.PFDs) > 0 }

// given are the filters that a PDR has by names, beside its own; all says that one of them is every packet.
func (p *PDR) given() (filters []Filter, all bool) {
	filters = p.PFDs
	for i := range p.Predefined {
		all = all || len(p.Predefined[i].Filters) == 0
		filters = append(slices.Clip(filters), p.Predefined[i].Filters...)
	}
	return filters, all
}

// maxPredefined bounds the predefined rules of a PDR; ours.
const maxPredefined = 8

// activate adds predefined rules to a PDR, and takes others away. What is active is not activated again.
func (m *maker) activate(p *PDR, names, without []string) error {
	fault := func(ie uint16, format string, args ...any) error {
		return refuse(pfcp.RulePDR, uint32(p.ID), ie, format, args...)
	}
	at := func(name string) int {
		return slices.IndexFunc(p.Predefined, func(d Predefined) bool { return d.Name == name })
	}
	for _, name := range without {
		i := at(name)
		if i < 0 {
			return fault(pfcp.IEDeactivatePredefinedRules, "predefined rule %q is not active", name)
		}
		p.Predefined = append(slices.Clone(p.Predefined[:i]), p.Predefined[i+1:]...)
	}
	for _, name := range names {
		if at(name) >= 0 {
			continue
		}
		d, ok := m.grants.Predefined(name)
		if !ok {
			return fault(pfcp.IEActivatePredefinedRules, "there is no predefined rule %q", name)
		}
		p.Predefined = append(slices.Clip(p.Predefined), d)
	}
	if len(p.Predefined) > maxPredefined {
		return fault(pfcp.IEActivatePredefinedRules, "%d predefined rules: at most %d", len(p.Predefined), maxPredefined)
	}
	if len(p.Predefined) == 0 {
		p.Predefined = nil
	}
	return nil
}

// application gives a PDR the filters of an application.
func (m *maker) application(p *PDR, i *pfcp.PDI) error {
	p.Application, p.PFDs = "", nil
	if !i.ApplicationID.Present {
		return nil
	}
	fault := func(format string, args ...any) error {
		return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEApplicationID, format, args...)
	}
	if len(i.SDFFilters) > 0 {
		return fault("an application id beside SDF filters")
	}
	filters, ok := m.grants.Application(i.ApplicationID.Value)
	if !ok {
		return fault("no PFDs of application %q were provisioned", i.ApplicationID.Value)
	}
	if len(filters) > m.limits.Filters {
		return fault("%d PFDs: at most %d filters of a PDR", len(filters), m.limits.Filters)
	}
	p.Application, p.PFDs = i.ApplicationID.Value, filters
	return nil
}

// Rename returns the session with the PFDs that its applications have now. changed says whether there is any
// difference.
func (s Session) Rename(application func(string) ([]Filter, bool)) (next Session, changed bool) {
	next = s
	for i := range s.PDRs {
		p := &s.PDRs[i]
		if p.Application == "" {
			continue
		}
		filters, _ := application(p.Application)
		if slices.EqualFunc(filters, p.PFDs, Filter.Equal) {
			continue
		}
		if !changed {
			next.PDRs, changed = slices.Clone(s.PDRs), true
		}
		next.PDRs[i].PFDs = filters
	}
	return next, changed
}

// keepFilters gives SDF filters that refer to one which is not there any more what that one said, TS 29.244 8.2.5.
func (s *Session) keepFilters(before *Session) {
	now, was := compiler{s: s}, compiler{s: before}
	for i := range s.PDRs {
		for j := range s.PDRs[i].Filters {
			f := &s.PDRs[i].Filters[j]
			if !f.Refers || now.named(f.ID.Value) != nil {
				continue
			}
			if old := was.named(f.ID.Value); old != nil {
				s.PDRs = slices.Clone(s.PDRs)
				s.PDRs[i].Filters = slices.Clone(s.PDRs[i].Filters)
				s.PDRs[i].Filters[j] = *old
			}
		}
	}
}

// ParsePFD reads the flow descriptions of a PFD Contents IE, TS 29.244 8.2.39. Whatever else a PFD may say (URLs,
// domain names, an operator's own) is not what a packet's headers show: such a PFD is refused.
func ParsePFD(c *pfcp.PFDContents) ([]Filter, error) {
	if c.URL != "" || c.DomainName != "" || c.Custom != "" || c.DomainNameProtocol != "" ||
		len(c.AdditionalURLs)+len(c.AdditionalDomainNames) > 0 {
		return nil, errors.New("only flow descriptions are detected")
	}
	var all []Filter
	for _, text := range append([]string{c.FlowDescription}, c.AdditionalFlowDescriptions...) {
		if text == "" {
			continue
		}
		f, err := ParseFlowDescription(text)
		if err != nil {
			return nil, err
		}
		if f.without(families{true, true}).all() {
			return nil, errors.New("a flow description of every packet")
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, errors.New("a PFD without a flow description")
	}
	return all, nil
}

// detected says in reports of a start or a stop of traffic which application it was, TS 29.244 5.4.12 and 7.5.8.3.
func (s *Session) detected(reports []pfcp.UsageReport) {
	for i := range reports {
		r := &reports[i]
		if r.Trigger&(pfcp.TriggerStartOfTraffic|pfcp.TriggerStopOfTraffic) == 0 {
			continue
		}
		for j := range s.PDRs {
			if p := &s.PDRs[j]; p.Application != "" && slices.Contains(p.urrs(), r.URRID) {
				r.Application = p.Application
				break
			}
		}
	}
}

package session

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
)

// What the rules of a key may have; the data path's tables are made for as much.
const (
	MaxMatches = 32 // of all rules of a key
	MaxMeters  = 4  // that a rule shares with others
	MaxCells   = 6  // that a rule counts in
	MaxCopies  = 4  // of a rule
)

// Match is one way to match a rule: a filter with one range of ports at each end, one of the rule's sources and one of
// its QFIs.
type Match struct {
	Filter                // without ports
	Remotes, Locals Ports // all of them when nothing is said
	HasPorts        bool  // whether a packet without ports does not match
	QFI             pfcp.Opt[uint8]
}

// Matches multiplies a rule's filters out, in their order. Of an uplink rule the UE's end is in what the filter says and in
// a source of the rule's at once. A rule that no packet matches has none.
func (r *Rule) Matches(d Direction) (all []Match) {
	filters := r.Filters
	if len(filters) == 0 {
		filters = []Filter{{}}
	}
	for i := range filters {
		f := &filters[i]
		for _, local := range locals(f.Local, r.Sources, d) {
			if f.excludes(local) {
				continue
			}
			m := Match{Filter: *f, HasPorts: len(f.RemotePorts)+len(f.LocalPorts) > 0}
			m.Local, m.RemotePorts, m.LocalPorts = local, nil, nil
			for _, m.Remotes = range ranges(f.RemotePorts) {
				for _, m.Locals = range ranges(f.LocalPorts) {
					all = append(all, m.withQFIs(r.QFIs)...)
				}
			}
		}
	}
	return all
}

// excludes says whether no packet can be of all the families that the filter, with that local end, is of.
func (f *Filter) excludes(local netip.Prefix) bool {
	is4 := f.Remote.IsValid() && f.Remote.Addr().Is4() || local.IsValid() && local.Addr().Is4()
	is6 := f.Remote.IsValid() && f.Remote.Addr().Is6() || local.IsValid() && local.Addr().Is6() || f.FlowLabel.Present
	return is4 && is6
}

func (m Match) withQFIs(qfis []uint8) []Match {
	if len(qfis) == 0 {
		return []Match{m}
	}
	all := make([]Match, len(qfis))
	for i, qfi := range qfis {
		all[i] = m
		all[i].QFI = pfcp.Some(qfi)
	}
	return all
}

// locals are the UE's ends that a filter allows.
func locals(local netip.Prefix, sources []netip.Prefix, d Direction) []netip.Prefix {
	if d == Downlink || len(sources) == 0 {
		return []netip.Prefix{local}
	}
	if !local.IsValid() {
		return sources
	}
	var both []netip.Prefix
	for _, s := range sources {
		switch {
		case !s.Overlaps(local):
		case s.Bits() > local.Bits():
			both = append(both, s)
		default:
			both = append(both, local)
		}
	}
	return both
}

func ranges(ports []Ports) []Ports {
	if len(ports) == 0 {
		return []Ports{{First: 0, Last: math.MaxUint16}}
	}
	return ports
}

// matches is how many there are, without making those of the common rule.
func (r *Rule) matches(d Direction) int {
	switch {
	case len(r.Filters)+len(r.QFIs) > 0:
		return len(r.Matches(d))
	case d == Downlink:
		return 1
	}
	return max(1, len(r.Sources))
}

// fits refuses what is more than the data path has room for in one place, and blames the PDR that is too much.
func (t Table) fits() error {
	for i := range t {
		if err := t[i].fits(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Entry) fits() error {
	sum := 0
	for _, r := range e.Rules {
		sum += r.matches(e.Key.Direction)
		for _, c := range [3]struct {
			ie        uint16
			what      string
			have, cap int
		}{
			{pfcp.IESDFFilter, "filters of one F-TEID or UE address, each range of ports, source and QFI by itself", sum, MaxMatches},
			{pfcp.IEQERID, "limits that PDRs share", len(r.Meters), MaxMeters},
			{pfcp.IEURRID, "URRs of a PDR", len(r.Cells), MaxCells},
		} {
			if c.have > c.cap {
				return &pfcp.Error{
					Cause: pfcp.CauseNoResourcesAvailable, Offending: c.ie,
					FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: uint32(r.Origin.PDRID)}),
					Err:        fmt.Errorf("%d %s: at most %d", c.have, c.what, c.cap),
				}
			}
		}
	}
	return nil
}

package session

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/xepc/xepc/pkg/pfcp"
)

// SDF is an SDF filter of a PDI, TS 29.244 8.2.5. One that has an id but says nothing else refers to the filter of
// another PDR that has the same id.
type SDF struct {
	ID     pfcp.Opt[uint32]
	Refers bool
	Filter Filter
}

// Bounds of what a filter may hold; ours.
const (
	maxPorts       = 16  // ranges in a list
	maxDescription = 512 // octets
)

// protocols that some control planes name; the standard wants numbers, and ip for any.
var protocols = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "icmpv6": 58, "sctp": 132}

// makeSDF reads an SDF Filter IE. An empty one, as OMEC and pfcpsim send it, matches every packet.
func makeSDF(i *pfcp.SDFFilter) (SDF, error) {
	f := SDF{ID: i.FilterID}
	empty := strings.TrimSpace(i.FlowDescription) == "" && !i.ToSTrafficClass.Present && !i.SPI.Present && !i.FlowLabel.Present
	f.Refers = empty && i.FilterID.Present
	if strings.TrimSpace(i.FlowDescription) != "" {
		var err error
		if f.Filter, err = ParseFlowDescription(i.FlowDescription); err != nil {
			return SDF{}, err
		}
	}
	if v := i.ToSTrafficClass; v.Present {
		f.Filter.ToS, f.Filter.ToSMask = uint8(v.Value>>8)&uint8(v.Value), uint8(v.Value)
	}
	f.Filter.SPI, f.Filter.FlowLabel = i.SPI, i.FlowLabel
	return f, nil
}

// ParseFlowDescription reads a Flow Description: an IPFilterRule, RFC 6733 4.3.1, as far as TS 29.212 5.4.2 and
// TS 29.244 8.2.5 let it go.
//
//	permit out|in PROTOCOL from ADDRESS [PORTS] to ADDRESS [PORTS]
//
// A protocol is a number, or ip for any. An address is any, assigned (the UE's), or IPv4 or IPv6 with or without a
// prefix length; ports are a list of numbers and ranges. A rule is written as for the packets to the UE: what it
// comes from is the remote end, also in a PDR for the packets from the UE. With in it is the other way round.
func ParseFlowDescription(s string) (Filter, error) {
	fail := func(format string, args ...any) (Filter, error) {
		return Filter{}, fmt.Errorf("flow description %.80q: %s", s, fmt.Sprintf(format, args...))
	}
	if len(s) > maxDescription {
		return fail("longer than %d octets", maxDescription)
	}
	words := strings.Fields(strings.ToLower(s))
	if len(words) < 7 || words[3] != "from" {
		return fail("not of the form permit out PROTOCOL from ADDRESS to ADDRESS")
	}
	if words[0] != "permit" {
		return fail("%q: only permit is served", words[0])
	}
	if words[1] != "out" && words[1] != "in" {
		return fail("%q is no direction", words[1])
	}
	var f Filter
	if words[2] != "ip" {
		number, err := strconv.ParseUint(words[2], 10, 8)
		if named, ok := protocols[words[2]]; ok {
			number, err = uint64(named), nil
		}
		if err != nil {
			return fail("%q is no protocol", words[2])
		}
		f.Protocol = pfcp.Some(uint8(number))
	}
	from, rest, err := parseEnd(words[4:])
	if err != nil {
		return fail("from: %v", err)
	}
	if len(rest) < 2 || rest[0] != "to" {
		return fail("to and an address are missing")
	}
	to, rest, err := parseEnd(rest[1:])
	if err != nil {
		return fail("to: %v", err)
	}
	if len(rest) > 0 {
		return fail("option %q is not served", rest[0])
	}
	if from.prefix.IsValid() && to.prefix.IsValid() && from.prefix.Addr().Is4() != to.prefix.Addr().Is4() {
		return fail("addresses of two families")
	}
	if words[1] == "in" || from.assigned && !to.assigned {
		from, to = to, from
	}
	f.Remote, f.RemotePorts = from.prefix, from.ports
	f.Local, f.LocalPorts = to.prefix, to.ports
	return f, nil
}

type end struct {
	prefix   netip.Prefix
	ports    []Ports
	assigned bool
}

// parseEnd reads an address and, if they follow, ports.
func parseEnd(words []string) (e end, rest []string, err error) {
	switch word := words[0]; {
	case word == "any":
	case word == "assigned":
		e.assigned = true
	case strings.HasPrefix(word, "!"):
		return e, nil, fmt.Errorf("%q: what is not an address is not served", word)
	case strings.Contains(word, "/"):
		if e.prefix, err = netip.ParsePrefix(word); err != nil {
			return e, nil, fmt.Errorf("%q is no prefix", word)
		}
		e.prefix = e.prefix.Masked()
	default:
		a, err := netip.ParseAddr(word)
		if err != nil || a.Zone() != "" {
			return e, nil, fmt.Errorf("%q is no address", word)
		}
		e.prefix = netip.PrefixFrom(a, a.BitLen())
	}
	words = words[1:]
	if len(words) == 0 || words[0] == "to" || words[0][0] < '0' || words[0][0] > '9' {
		return e, words, nil
	}
	e.ports, err = parsePorts(words[0])
	return e, words[1:], err
}

func parsePorts(list string) ([]Ports, error) {
	var all []Ports
	for _, one := range strings.Split(list, ",") {
		low, high, isRange := strings.Cut(one, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err != nil || err2 != nil || last < first {
			return nil, fmt.Errorf("%q is no port and no range of ports", one)
		}
		all = append(all, Ports{uint16(first), uint16(last)})
	}
	if len(all) > maxPorts {
		return nil, fmt.Errorf("more than %d ranges of ports", maxPorts)
	}
	if slices.Contains(all, Ports{0, 65535}) {
		return nil, nil
	}
	return all, nil
}

// all says whether a filter lets every packet match.
func (f Filter) all() bool { return f.Equal(Filter{}) }

// without leaves out what a filter says of no more than a family (0.0.0.0/0 or ::/0), of those that drop has.
func (f Filter) without(drop families) Filter {
	for _, p := range [2]*netip.Prefix{&f.Remote, &f.Local} {
		if p.IsValid() && p.Bits() == 0 && (p.Addr().Is4() && drop.ipv4 || p.Addr().Is6() && drop.ipv6) {
			*p = netip.Prefix{}
		}
	}
	return f
}

type families struct{ ipv4, ipv6 bool }

package subscriber

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/identity"
)

// Serving is what the nodes that serve a SIM are told beside its APNs. What is left out is up to the serving network.
type Serving struct {
	UsageType    *uint32       `json:"usage_type,omitempty"   yaml:"usage_type"   maximum:"255" doc:"UE-Usage-Type, by which a network picks a dedicated core network (TS 29.272 7.3.202): 128 to 255 are as agreed with the host"`
	RFSP         uint32        `json:"rfsp,omitempty"         yaml:"rfsp"         maximum:"256" doc:"RAT-Frequency-Selection-Priority-ID, 1 to 256, as agreed with the host (TS 29.272 7.3.46)"`
	Restrictions []Restriction `json:"restrictions,omitempty" yaml:"restrictions" enum:"gan,non-3gpp,enhanced-coverage,nr-secondary,unlicensed,nr,5gc" doc:"what the SIM may not use beside the RATs that it may not (TS 29.272 7.3.31, 7.3.230)"`
	Zones        []Zones       `json:"zones,omitempty"        yaml:"zones"        doc:"regional subscription: where in a network the SIM may be; in networks that are not named, everywhere"`
	Trace        *Trace        `json:"trace,omitempty"        yaml:"trace"        doc:"has the serving nodes trace the SIM"`
	ResetIDs     []string      `json:"reset_ids,omitempty"    yaml:"reset_ids"    doc:"names of what the SIM's data depends on: hss reset may name them (TS 29.272 7.3.184)"`
}

// Restriction is something that a SIM may not use.
type Restriction string

// Restriction values.
const (
	NoGAN              Restriction = "gan"
	NoNon3GPP          Restriction = "non-3gpp" // handover to access that is not 3GPP's
	NoEnhancedCoverage Restriction = "enhanced-coverage"
	NoSecondaryNR      Restriction = "nr-secondary" // NR beside E-UTRAN
	NoUnlicensed       Restriction = "unlicensed"   // unlicensed spectrum as secondary RAT
	NoNR               Restriction = "nr"           // NR in the 5G system
	No5GC              Restriction = "5gc"          // the core of the 5G system
)

// Restrictions are all there are.
func Restrictions() []Restriction {
	return []Restriction{NoGAN, NoNon3GPP, NoEnhancedCoverage, NoSecondaryNR, NoUnlicensed, NoNR, No5GC}
}

// Zones are the zones of one network where a SIM may be, TS 23.003 4.4.
type Zones struct {
	PLMN  string   `json:"plmn"  yaml:"plmn"  doc:"MCC-MNC"`
	Codes []string `json:"codes" yaml:"codes" doc:"zone codes of that network, 4 hexadecimal digits each, at most 10"`
}

// Trace is Trace-Data, TS 29.272 7.3.63. The octets of the lists are those of TS 32.422 5.
type Trace struct {
	PLMN       string     `json:"plmn"                 yaml:"plmn"       doc:"MCC-MNC of the Trace-Reference: ours"`
	ID         string     `json:"id"                   yaml:"id"         doc:"Trace ID, 6 hexadecimal digits"`
	Depth      uint8      `json:"depth,omitempty"      yaml:"depth"      maximum:"8" doc:"0 minimum, 1 medium, 2 maximum; 3 to 5 the same without vendor specific extensions; 6 to 8 those only"`
	Nodes      string     `json:"nodes"                yaml:"nodes"      doc:"Trace-NE-Type-List, hexadecimal"`
	Interfaces string     `json:"interfaces,omitempty" yaml:"interfaces" doc:"Trace-Interface-List, hexadecimal; none: all"`
	Events     string     `json:"events"               yaml:"events"     doc:"Trace-Event-List, hexadecimal"`
	OMC        string     `json:"omc,omitempty"        yaml:"omc"        doc:"OMC-Id, hexadecimal"`
	Collector  netip.Addr `json:"collector"            yaml:"collector"  doc:"address to which the nodes send what they have traced"`
}

const (
	maxZoneNetworks = 50
	maxZones        = 10 // TS 29.272 7.3.52
	maxResetIDs     = 10 // what we chose; bounds a record and a message
	maxResetID      = 40 // octets; the same
	maxTraceOctets  = 32 // of a list
)

// IsZero says that all is up to the serving network.
func (s Serving) IsZero() bool {
	return s.UsageType == nil && s.RFSP == 0 && len(s.Restrictions)+len(s.Zones)+len(s.ResetIDs) == 0 && s.Trace == nil
}

// over fills what s leaves out from base.
func (s Serving) over(base Serving) Serving {
	return Serving{
		UsageType:    cmp.Or(s.UsageType, base.UsageType),
		RFSP:         cmp.Or(s.RFSP, base.RFSP),
		Restrictions: list(s.Restrictions, base.Restrictions),
		Zones:        list(s.Zones, base.Zones),
		Trace:        cmp.Or(s.Trace, base.Trace),
		ResetIDs:     list(s.ResetIDs, base.ResetIDs),
	}
}

// list is own, or base when it has nothing.
func list[T any](own, base []T) []T {
	if len(own) == 0 {
		return base
	}
	return own
}

// ZonesIn are the codes of the zones of a network, MCC-MNC; none: everywhere.
func (s Serving) ZonesIn(plmn string) []string {
	for _, z := range s.Zones {
		if z.PLMN == plmn {
			return z.Codes
		}
	}
	return nil
}

// Validate lists every fault, each beginning with its key.
func (s Serving) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.UsageType != nil && *s.UsageType > 255 {
		fault("usage_type: %d, at most 255", *s.UsageType)
	}
	if s.RFSP > 256 {
		fault("rfsp: %d, at most 256", s.RFSP)
	}
	for i, r := range s.Restrictions {
		if !slices.Contains(Restrictions(), r) {
			fault("restrictions[%d]: %q, want one of %v", i, r, Restrictions())
		}
	}
	if len(s.Zones) > maxZoneNetworks {
		fault("zones: %d networks, at most %d", len(s.Zones), maxZoneNetworks)
	}
	for i, z := range s.Zones {
		if err := z.validate(); err != nil {
			fault("zones[%d].%w", i, err)
		}
		if slices.ContainsFunc(s.Zones[:i], func(o Zones) bool { return o.PLMN == z.PLMN }) {
			fault("zones[%d].plmn: %s stands twice", i, z.PLMN)
		}
	}
	if s.Trace != nil {
		faults = append(faults, under("trace", s.Trace.validate())...)
	}
	faults = append(faults, faultsOf(ValidateResetIDs(s.ResetIDs))...)
	return errors.Join(faults...)
}

func (z Zones) validate() error {
	if p, err := identity.ParsePLMN(z.PLMN); err != nil || p.String() != z.PLMN {
		return fmt.Errorf("plmn: %q, want MCC-MNC", z.PLMN)
	}
	if len(z.Codes) == 0 || len(z.Codes) > maxZones {
		return fmt.Errorf("codes: %d, want 1 to %d", len(z.Codes), maxZones)
	}
	for _, c := range z.Codes {
		if !isHex4(c) {
			return fmt.Errorf("codes: %q, want 4 hexadecimal digits", c)
		}
	}
	return nil
}

func (t Trace) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, err := identity.ParsePLMN(t.PLMN); err != nil {
		fault("plmn: %w", err)
	}
	for _, f := range []struct {
		key, value string
		least      int
		most       int
	}{
		{"id", t.ID, 3, 3},
		{"nodes", t.Nodes, 1, maxTraceOctets},
		{"interfaces", t.Interfaces, 0, maxTraceOctets},
		{"events", t.Events, 1, maxTraceOctets},
		{"omc", t.OMC, 0, maxTraceOctets},
	} {
		if b, err := hex.DecodeString(f.value); err != nil || len(b) < f.least || len(b) > f.most {
			fault("%s: %q, want %d to %d octets in hexadecimal", f.key, f.value, f.least, f.most)
		}
	}
	if t.Depth > 8 {
		fault("depth: %d, at most 8", t.Depth)
	}
	if !t.Collector.IsValid() {
		fault("collector: missing")
	}
	return errors.Join(faults...)
}

// ValidateResetIDs lists what is wrong with names of resources.
func ValidateResetIDs(ids []string) error {
	var faults []error
	if len(ids) > maxResetIDs {
		faults = append(faults, fmt.Errorf("reset_ids: %d, at most %d", len(ids), maxResetIDs))
	}
	for i, id := range ids {
		if id == "" || len(id) > maxResetID || slices.Contains(ids[:i], id) {
			faults = append(faults, fmt.Errorf("reset_ids[%d]: %q, want 1 to %d octets, once", i, id, maxResetID))
		}
	}
	return errors.Join(faults...)
}

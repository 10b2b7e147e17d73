package subscriber

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/identity"
)

// PDNType is the PDN-Type of an APN, TS 29.272 7.3.62.
type PDNType string

// PDNType values.
const (
	IPv4   PDNType = "ipv4"
	IPv6   PDNType = "ipv6"
	IPv4v6 PDNType = "ipv4v6"
)

// RAT is a radio access technology by its name in RAT-Type, TS 29.212 5.3.31.
type RAT string

// RAT values that a profile may name.
const (
	EUTRAN        RAT = "eutran"
	EUTRANNBIoT   RAT = "nb-iot"
	LTEM          RAT = "lte-m"
	UTRAN         RAT = "utran"
	GERAN         RAT = "geran"
	HSPAEvolution RAT = "hspa-evolution"
)

// RATs are all that a profile may name.
func RATs() []RAT { return []RAT{EUTRAN, EUTRANNBIoT, LTEM, UTRAN, GERAN, HSPAEvolution} }

// Bitrates are maximum bit rates in bit/s.
type Bitrates struct {
	Uplink   uint64 `json:"uplink,omitempty"   yaml:"uplink"`
	Downlink uint64 `json:"downlink,omitempty" yaml:"downlink"`
}

// ARP is the allocation and retention priority, TS 29.212 5.3.32.
type ARP struct {
	Priority   uint8 `json:"priority,omitempty"   yaml:"priority"   maximum:"15" doc:"1 (highest) to 15"`
	Capability bool  `json:"capability,omitempty" yaml:"capability" doc:"may pre-empt others"`
	Vulnerable bool  `json:"vulnerable,omitempty" yaml:"vulnerable" doc:"may be pre-empted"`
}

// APN is one APN that the SIM may use, APN-Configuration of TS 29.272 7.3.35. What is left out comes from the APN's
// template, else from the defaults.
type APN struct {
	Name       identity.APN `json:"name"                 yaml:"name"`
	PDNType    PDNType      `json:"pdn_type,omitempty"   yaml:"pdn_type"    enum:"ipv4,ipv6,ipv4v6"`
	QCI        uint8        `json:"qci,omitempty"        yaml:"qci"         maximum:"9" doc:"1 to 9, TS 23.203 table 6.1.7"`
	ARP        ARP          `json:"arp,omitzero"         yaml:"arp"`
	AMBR       Bitrates     `json:"ambr,omitzero"        yaml:"ambr"        doc:"bit/s of this APN"`
	StaticIPv4 netip.Addr   `json:"static_ipv4,omitzero" yaml:"static_ipv4" doc:"left out: from the PGW's pool"`
	StaticIPv6 netip.Addr   `json:"static_ipv6,omitzero" yaml:"static_ipv6" doc:"the /64's address; left out: from the PGW's pool"`
	Charging   string       `json:"charging,omitempty"   yaml:"charging"    doc:"3GPP-Charging-Characteristics, 4 hexadecimal digits"`

	OIReplacement string  `json:"oi_replacement,omitempty" yaml:"oi_replacement" doc:"APN-OI-Replacement of this APN, above the SIM's"`
	Gateway       Gateway `json:"pgw,omitzero"             yaml:"pgw"            doc:"the PDN-GW that is fixed for this APN; left out: the serving network picks one by DNS"`
}

// Profile is what the operator has decided about a SIM. As stored it has only what is the SIM's own; Templates.Resolve
// fills the rest.
type Profile struct {
	Card     Card            `json:"card,omitzero"      yaml:"card"`
	Template string          `json:"template,omitempty" yaml:"template"  doc:"name of the template from which comes what this profile leaves out"`
	MSISDN   identity.MSISDN `json:"msisdn,omitempty"   yaml:"msisdn"`
	Status   Status          `json:"status,omitempty"   yaml:"status"    enum:"provisioned,active,suspended,terminated"`
	AMBR     Bitrates        `json:"ambr,omitzero"      yaml:"ambr"      doc:"bit/s of the UE over all its APNs"`
	APNs     []APN           `json:"apns,omitempty"     yaml:"apns"      doc:"the first is the default; none: no EPS subscription"`
	PLMNs    []string        `json:"plmns,omitempty"    yaml:"plmns"     doc:"networks where it may attach, as MCC-MNC; none: everywhere"`
	RATs     []RAT           `json:"rats,omitempty"     yaml:"rats"      doc:"over which it may attach; none: all"`
	Charging string          `json:"charging,omitempty" yaml:"charging"  doc:"3GPP-Charging-Characteristics of the SIM, 4 hexadecimal digits"`
	Barring  []Barring       `json:"barring,omitempty"   yaml:"barring"   enum:"all,hplmn_apn,vplmn_apn,hplmn_1,hplmn_2,hplmn_3,hplmn_4" doc:"Operator-Determined-Barring and HPLMN-ODB, TS 29.272 7.3.30 and 7.3.22; none: service is granted"`
	AMF      string          `json:"amf,omitempty"      yaml:"amf"       doc:"authentication management field of vectors, 4 hexadecimal digits; the separation bit is set or cleared as the vector's kind wants"`
	IMEILock IMEILock        `json:"imei_lock,omitzero" yaml:"imei_lock"`
	IoT      IoT             `json:"iot,omitzero"       yaml:"iot"`
	Serving  Serving         `json:"serving,omitzero"   yaml:"serving"`

	OIReplacement string `json:"oi_replacement,omitempty" yaml:"oi_replacement" doc:"APN-OI-Replacement, TS 29.272 7.3.32: the domain in which serving nodes look for the PGW, …mncNNN.mccNNN.gprs; none: that of the IMSI"`
}

// Defaults of a profile.
const (
	defaultAMBR     uint64 = 100_000_000 // bit/s, each way
	defaultQCI      uint8  = 9           // TS 23.203 table 6.1.7: non-GBR, default bearer of most
	defaultPriority uint8  = 8
	maxPLMNs               = 200 // bounds a record
	maxAPNs                = 50  // TS 29.272 has no bound; context identifiers are 1 to 50 (TS 23.008 2.13.3)
)

// WithDefaults returns p with its zero values filled: status, rates, and each APN's type and QoS.
func (p Profile) WithDefaults() Profile {
	if p.Status == "" {
		p.Status = Active
	}
	p.AMBR = p.AMBR.withDefault()
	p.APNs = slices.Clone(p.APNs)
	for i := range p.APNs {
		a := &p.APNs[i]
		if a.PDNType == "" {
			a.PDNType = IPv4
			if a.StaticIPv6.IsValid() {
				a.PDNType = IPv4v6
			}
		}
		if a.QCI == 0 {
			a.QCI = defaultQCI
		}
		if a.ARP == (ARP{}) {
			a.ARP = ARP{Priority: defaultPriority}
		}
		a.AMBR = a.AMBR.withDefault()
	}
	return p
}

func (b Bitrates) withDefault() Bitrates {
	if b.Uplink == 0 {
		b.Uplink = defaultAMBR
	}
	if b.Downlink == 0 {
		b.Downlink = defaultAMBR
	}
	return b
}

// Validate lists every fault, each beginning with its key.
func (p Profile) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if p.MSISDN != "" {
		if _, err := identity.ParseMSISDN(string(p.MSISDN)); err != nil {
			fault("msisdn: %w", err)
		}
	}
	if err := p.Card.Validate(); err != nil {
		faults = append(faults, under("card", err)...)
	}
	if !slices.Contains(Statuses(), p.Status) {
		fault("status: %q, want one of %v", p.Status, Statuses())
	}
	if err := p.IMEILock.Validate(); err != nil {
		faults = append(faults, under("imei_lock", err)...)
	}
	faults = append(faults, under("iot", p.IoT.Validate())...)
	faults = append(faults, under("serving", p.Serving.Validate())...)
	faults = append(faults, faultsOf(validateBarring(p.Barring))...)
	faults = append(faults, faultsOf(validateOI(p.OIReplacement))...)
	if p.Charging != "" && !isHex4(p.Charging) {
		fault("charging: %q, want 4 hexadecimal digits", p.Charging)
	}
	if p.AMF != "" && !isHex4(p.AMF) {
		fault("amf: %q, want 4 hexadecimal digits", p.AMF)
	}
	if len(p.PLMNs) > maxPLMNs {
		fault("plmns: %d, at most %d", len(p.PLMNs), maxPLMNs)
	}
	if len(p.APNs) > maxAPNs {
		fault("apns: %d, at most %d", len(p.APNs), maxAPNs)
	}
	seen := map[identity.APN]bool{}
	for i, a := range p.APNs {
		if err := a.validate(); err != nil {
			fault("apns[%d].%w", i, err)
		}
		if seen[a.Name] {
			fault("apns[%d].name: %q stands twice", i, a.Name)
		}
		seen[a.Name] = true
	}
	for i, s := range p.PLMNs {
		if _, err := identity.ParsePLMN(s); err != nil {
			fault("plmns[%d]: %w", i, err)
		}
	}
	for i, r := range p.RATs {
		if !slices.Contains(RATs(), r) {
			fault("rats[%d]: %q, want one of %v", i, r, RATs())
		}
	}
	return errors.Join(faults...)
}

// HasAPN says whether the SIM may use that APN, in lower case.
func (p Profile) HasAPN(name string) bool {
	return slices.ContainsFunc(p.APNs, func(a APN) bool { return string(a.Name) == name })
}

// faultsOf are the errors that were joined in err; none when it is nil.
func faultsOf(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// under puts the name of a part before each of its faults.
func under(part string, err error) []error {
	faults := faultsOf(err)
	all := make([]error, len(faults))
	for i, f := range faults {
		all[i] = fmt.Errorf("%s.%w", part, f)
	}
	return all
}

func (a APN) validate() error {
	parsed, err := identity.ParseAPN(string(a.Name))
	switch {
	case err != nil:
		return fmt.Errorf("name: %w", err)
	case parsed != a.Name:
		return fmt.Errorf("name: %q, want %q", a.Name, parsed)
	case a.PDNType != IPv4 && a.PDNType != IPv6 && a.PDNType != IPv4v6:
		return fmt.Errorf("pdn_type: %q, want %s, %s or %s", a.PDNType, IPv4, IPv6, IPv4v6)
	case a.QCI < 1 || a.QCI > 9:
		return fmt.Errorf("qci: %d, want 1 to 9", a.QCI)
	case a.ARP.Priority < 1 || a.ARP.Priority > 15:
		return fmt.Errorf("arp.priority: %d, want 1 to 15", a.ARP.Priority)
	case a.StaticIPv4.IsValid() && !a.StaticIPv4.Is4():
		return fmt.Errorf("static_ipv4: %v is no IPv4 address", a.StaticIPv4)
	case a.StaticIPv4.IsValid() && a.PDNType == IPv6:
		return fmt.Errorf("static_ipv4: given, but pdn_type is %s", a.PDNType)
	case a.StaticIPv6.IsValid() && (!a.StaticIPv6.Is6() || a.StaticIPv6.Is4In6()):
		return fmt.Errorf("static_ipv6: %v is no IPv6 address", a.StaticIPv6)
	case a.StaticIPv6.IsValid() && a.PDNType == IPv4:
		return fmt.Errorf("static_ipv6: given, but pdn_type is %s", a.PDNType)
	case a.Charging != "" && !isHex4(a.Charging):
		return fmt.Errorf("charging: %q, want 4 hexadecimal digits", a.Charging)
	}
	if a.Gateway.Network != "" {
		return errors.New("pgw.network: is of a PGW that a node has notified")
	}
	if err := a.Gateway.Validate(); err != nil {
		return fmt.Errorf("pgw.%w", err)
	}
	return validateOI(a.OIReplacement)
}

func isHex4(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(s) == 4
}

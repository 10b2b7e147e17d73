package subscriber

import (
	"errors"
	"fmt"
	"slices"

	"github.com/xepc/xepc/pkg/identity"
)

// Templates are what SIMs have in common: profiles by the name that SIMs refer to, and APNs by their own name.
type Templates struct {
	Profiles map[string]Profile
	APNs     map[identity.APN]APN
}

// Resolve returns p with what it leaves out: from its template, from the templates of its APNs, and last from the
// defaults. It fails when the template does not exist: a SIM that lost it must not get more than it should.
func (t Templates) Resolve(p Profile) (Profile, error) {
	if p.Template != "" {
		base, err := t.base(p.Template)
		if err != nil {
			return p, err
		}
		p = p.over(base)
	}
	p.APNs = slices.Clone(p.APNs)
	for i, a := range p.APNs {
		p.APNs[i] = a.over(t.APNs[a.Name])
	}
	return p.WithDefaults(), nil
}

func (t Templates) base(name string) (Profile, error) {
	p, ok := t.Profiles[name]
	if !ok {
		return p, fmt.Errorf("template: there is no %q", name)
	}
	return p, nil
}

// over fills what p leaves out from base. A list that p has replaces base's.
func (p Profile) over(base Profile) Profile {
	if p.Status == "" {
		p.Status = base.Status
	}
	p.AMBR = p.AMBR.over(base.AMBR)
	if len(p.APNs) == 0 {
		p.APNs = base.APNs
	}
	if len(p.PLMNs) == 0 {
		p.PLMNs = base.PLMNs
	}
	if len(p.RATs) == 0 {
		p.RATs = base.RATs
	}
	if p.Charging == "" {
		p.Charging = base.Charging
	}
	if len(p.Barring) == 0 {
		p.Barring = base.Barring
	}
	if p.OIReplacement == "" {
		p.OIReplacement = base.OIReplacement
	}
	if p.AMF == "" {
		p.AMF = base.AMF
	}
	if p.IMEILock.IsZero() {
		p.IMEILock = base.IMEILock
	} else if p.IMEILock.onlyDevices() { // bound by hand or learned: the rules stay the template's
		devices := p.IMEILock.IMEIs
		p.IMEILock = base.IMEILock
		p.IMEILock.IMEIs = devices
	}
	p.IoT = p.IoT.over(base.IoT)
	p.Serving = p.Serving.over(base.Serving)
	return p
}

func (l IMEILock) onlyDevices() bool { return len(l.TACs) == 0 && !l.Learn && l.Absent == "" }

func (b Bitrates) over(base Bitrates) Bitrates {
	if b.Uplink == 0 {
		b.Uplink = base.Uplink
	}
	if b.Downlink == 0 {
		b.Downlink = base.Downlink
	}
	return b
}

func (a APN) over(base APN) APN {
	if a.PDNType == "" {
		a.PDNType = base.PDNType
	}
	if a.QCI == 0 {
		a.QCI = base.QCI
	}
	if a.ARP == (ARP{}) {
		a.ARP = base.ARP
	}
	a.AMBR = a.AMBR.over(base.AMBR)
	if a.Charging == "" {
		a.Charging = base.Charging
	}
	if a.OIReplacement == "" {
		a.OIReplacement = base.OIReplacement
	}
	if a.Gateway == (Gateway{}) {
		a.Gateway = base.Gateway
	}
	return a
}

const maxTemplateName = 40

// ValidateTemplate lists every fault of a template for profiles: what belongs to one SIM only is one.
func (t Templates) ValidateTemplate(name string, p Profile) error {
	var faults []error
	if err := templateName(name); err != nil {
		faults = append(faults, err)
	}
	if p.MSISDN != "" || !p.Card.IsZero() {
		faults = append(faults, errors.New("msisdn, card: are a SIM's own, not a template's"))
	}
	if p.Template != "" {
		faults = append(faults, errors.New("template: a template has none itself"))
	}
	for i, a := range p.APNs {
		if a.StaticIPv4.IsValid() || a.StaticIPv6.IsValid() {
			faults = append(faults, fmt.Errorf("apns[%d]: a static address is a SIM's own, not a template's", i))
		}
	}
	if len(p.IMEILock.IMEIs) > 0 {
		faults = append(faults, errors.New("imei_lock.imeis: are a SIM's own, not a template's"))
	}
	whole, err := t.Resolve(p)
	return errors.Join(append(faults, err, whole.Validate())...)
}

// ValidateAPNTemplate lists every fault of a template for an APN.
func ValidateAPNTemplate(a APN) error {
	if a.StaticIPv4.IsValid() || a.StaticIPv6.IsValid() {
		return errors.New("static_ipv4, static_ipv6: are a SIM's own, not a template's")
	}
	return Profile{APNs: []APN{a}}.WithDefaults().Validate()
}

func templateName(name string) error {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return fmt.Errorf("name: %q, want lower case letters, digits and any of . _ -", name)
		}
	}
	if name == "" || len(name) > maxTemplateName {
		return fmt.Errorf("name: %q, want 1 to %d characters", name, maxTemplateName)
	}
	return nil
}

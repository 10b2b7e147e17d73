package subscriber

import (
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// Admission is the part of a profile that authentication asks for.
type Admission struct {
	Status Status
	PLMNs  []string // as in Profile
	AMF    string   // as in Profile
	HasAPN bool
}

// Admission returns the part of p that authentication asks for.
func (p Profile) Admission() Admission {
	return Admission{Status: p.Status, PLMNs: p.PLMNs, AMF: p.AMF, HasAPN: len(p.APNs) > 0}
}

// Admit returns a with what it leaves out, as Resolve does with a whole profile of that template.
func (t Templates) Admit(a Admission, template string) (Admission, error) {
	if template != "" {
		base, err := t.base(template)
		if err != nil {
			return a, err
		}
		a = a.over(base.Admission())
	}
	if a.Status == "" {
		a.Status = Active
	}
	return a, nil
}

// over fills what a leaves out from base, as Profile.over does.
func (a Admission) over(base Admission) Admission {
	if a.Status == "" {
		a.Status = base.Status
	}
	if len(a.PLMNs) == 0 {
		a.PLMNs = base.PLMNs
	}
	if a.AMF == "" {
		a.AMF = base.AMF
	}
	a.HasAPN = a.HasAPN || base.HasAPN
	return a
}

// MayAuthenticate says whether vectors may go to that network; the error is a *Refusal. An E-UTRAN vector is for
// subscribers with an APN only.
func (a Admission) MayAuthenticate(plmn identity.PLMN, eutran bool) error {
	switch {
	case a.Status != Active:
		return refusal(Reason(a.Status), "the SIM is %s", a.Status)
	case !a.allows(plmn):
		return refusal(ReasonCarrier, "network %v is not among the SIM's", plmn)
	case eutran && !a.HasAPN:
		return refusal(ReasonNoAPN, "the SIM has no APN")
	}
	return nil
}

// allows compares the whole PLMN: 001-01 does not allow 001-010.
func (a Admission) allows(plmn identity.PLMN) bool {
	return len(a.PLMNs) == 0 || slices.ContainsFunc(a.PLMNs, plmn.Is)
}

// AMFOf returns the AMF of a vector: eps sets the separation bit, TS 33.102 annex H.
func (a Admission) AMFOf(eps bool) uint16 {
	var amf uint16
	if b, err := hex.DecodeString(a.AMF); err == nil && len(b) == 2 {
		amf = binary.BigEndian.Uint16(b)
	}
	if eps {
		return amf | aka.SeparationBit
	}
	return amf &^ aka.SeparationBit
}

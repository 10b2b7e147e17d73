package subscriber

import (
	"fmt"
	"slices"

	"github.com/xepc/xepc/pkg/identity"
)

// Reason is which rule has refused a request. The edge gives it the cause that the host's network is told.
type Reason string

// Reasons.
const (
	ReasonProvisioned Reason = "provisioned" // the states
	ReasonSuspended   Reason = "suspended"
	ReasonTerminated  Reason = "terminated"
	ReasonCarrier     Reason = "carrier" // the visited network is not among the SIM's
	ReasonIMEI        Reason = "imei"    // the SIM is in another device than it may be
	ReasonNoAPN       Reason = "no_apn"
	ReasonRAT         Reason = "rat"
)

// Reasons are those whose cause can be chosen: the others have one of their own in TS 29.272.
func Reasons() []Reason {
	return []Reason{ReasonProvisioned, ReasonSuspended, ReasonTerminated, ReasonCarrier, ReasonIMEI}
}

// refusal is the error of a rule with its usual cause. Devices remember causes: plain 5004 (EMM cause 11) puts the network
// on the SIM's forbidden list, so it is for forbidden networks only; 5001 (EMM cause 8) makes many treat the SIM as dead
// until a power cycle, so it is for SIMs that are.
func refusal(reason Reason, format string, args ...any) *Refusal {
	r := &Refusal{Reason: reason, Cause: RoamingNotAllowed, Err: fmt.Errorf(format, args...)}
	switch reason {
	case ReasonProvisioned, ReasonSuspended, ReasonIMEI:
		r.Diagnostic = ODBAllAPN
	case ReasonTerminated:
		r.Cause = UserUnknown
	case ReasonCarrier:
	case ReasonNoAPN:
		r.Cause = UnknownEPSSubscription
	case ReasonRAT:
		r.Cause = RATNotAllowed
	}
	return r
}

// MayAuthenticate says whether vectors may go to that network; the error is a *Refusal. An E-UTRAN vector is for
// subscribers with an APN only.
func (p Profile) MayAuthenticate(plmn identity.PLMN, eutran bool) error {
	switch {
	case p.Status != Active:
		return refusal(Reason(p.Status), "the SIM is %s", p.Status)
	case !p.allows(plmn):
		return refusal(ReasonCarrier, "network %v is not among the SIM's", plmn)
	case eutran && len(p.APNs) == 0:
		return refusal(ReasonNoAPN, "the SIM has no APN")
	}
	return nil
}

// MayRegister says whether the SIM may register there over that RAT in that device ("" when the network does not name
// it); the error is a *Refusal. Without one, the verdict says whether the device is to be bound to the SIM.
func (p Profile) MayRegister(plmn identity.PLMN, rat RAT, imei string) (Verdict, error) {
	if err := p.MayAuthenticate(plmn, true); err != nil {
		return DeviceRefused, err
	}
	if len(p.RATs) > 0 && !slices.Contains(p.RATs, rat) {
		return DeviceRefused, refusal(ReasonRAT, "RAT %q is not among the SIM's", rat)
	}
	return p.MayUse(imei)
}

// MayUse says whether the SIM may be in that device; the error is a *Refusal.
func (p Profile) MayUse(imei string) (Verdict, error) {
	verdict := p.IMEILock.Check(imei)
	if verdict == DeviceRefused {
		return verdict, refusal(ReasonIMEI, "the SIM is locked to other devices")
	}
	return verdict, nil
}

// MayStay says whether the SIM may stay where it is registered; the error is a *Refusal.
func (p Profile) MayStay(r Registration) error {
	plmn, err := identity.ParsePLMN(r.PLMN)
	if err != nil {
		return refusal(ReasonCarrier, "the registration names no network: %v", err)
	}
	_, err = p.MayRegister(plmn, r.RAT, r.IMEI)
	return err
}

// allows compares the whole PLMN: 001-01 does not allow 001-010.
func (p Profile) allows(plmn identity.PLMN) bool {
	return len(p.PLMNs) == 0 || slices.ContainsFunc(p.PLMNs, func(s string) bool {
		allowed, err := identity.ParsePLMN(s)
		return err == nil && allowed == plmn
	})
}

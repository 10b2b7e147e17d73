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
	ReasonBarred      Reason = "barred" // the node would not enforce what is barred
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
	case ReasonCarrier, ReasonBarred:
	case ReasonNoAPN:
		r.Cause = UnknownEPSSubscription
	case ReasonRAT:
		r.Cause = RATNotAllowed
	}
	return r
}

// MayRegister says whether the SIM may register in that network as r has it: over its RAT, in its device ("" when the network
// does not name it), at a node that can do what its node can. The error is a *Refusal. Without one, the verdict says
// whether the device is to be bound to the SIM.
func (p Profile) MayRegister(plmn identity.PLMN, r Registration) (Verdict, error) {
	if err := p.Admission().MayAuthenticate(plmn, true); err != nil {
		return DeviceRefused, err
	}
	if len(p.RATs) > 0 && !slices.Contains(p.RATs, r.RAT) {
		return DeviceRefused, refusal(ReasonRAT, "RAT %q is not among the SIM's", r.RAT)
	}
	if err := p.barred(r.Features); err != nil {
		return DeviceRefused, err
	}
	return p.MayUse(r.IMEI)
}

// MayBeIn says whether the SIM may be in that network.
func (p Profile) MayBeIn(plmn identity.PLMN) bool { return p.Admission().allows(plmn) }

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
	_, err = p.MayRegister(plmn, r)
	return err
}

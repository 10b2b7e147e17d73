package subscriber

import (
	"fmt"
	"strings"
	"time"

	"github.com/xepc/xepc/pkg/identity"
)

// Side tells the two registrations of a subscriber apart.
type Side string

// Side values.
const (
	MME  Side = "mme"  // over S6a
	SGSN Side = "sgsn" // over S6d
)

// Other is the other side.
func (s Side) Other() Side {
	if s == MME {
		return SGSN
	}
	return MME
}

// Registration is where a SIM is registered on one side.
type Registration struct {
	Host   string    `json:"host"` // Origin-Host of the node
	Realm  string    `json:"realm"`
	PLMN   string    `json:"plmn"` // Visited-PLMN-Id as MCC-MNC
	RAT    RAT       `json:"rat,omitempty"`
	IMEI   string    `json:"imei,omitempty"`
	SMS    string    `json:"sms,omitempty"` // E.164 number of the MME that takes SMS for the SIM
	At     time.Time `json:"at"`
	Purged bool      `json:"purged,omitempty"` // the node has dropped the subscriber (PUR)

	Features  uint32 `json:"features,omitempty"`   // of Feature-List 1 that both the node and we support, TS 29.272 7.3.10
	Features2 uint32 `json:"features_2,omitempty"` // of Feature-List 2

	Reachable time.Time `json:"reachable,omitzero"` // when the node last said that the device can be reached (NOR)
}

// NodeLocation is what a serving node says of where a SIM is.
type NodeLocation struct {
	Host        string        `json:"host"`
	Side        Side          `json:"side"`
	State       string        `json:"state,omitempty"`
	Cell        string        `json:"cell,omitempty" doc:"E-UTRAN-Cell-Global-Identity or Cell-Global-Identity, hexadecimal"`
	Area        string        `json:"area,omitempty" doc:"Tracking-Area-Identity or Routing-Area-Identity, hexadecimal"`
	Age         time.Duration `json:"age,omitempty"  doc:"of the location, ns; 0: current or unknown"`
	Unsupported bool          `json:"not_supported,omitempty" doc:"the node does not answer such questions"`
}

// IsZero says that there is no registration.
func (r Registration) IsZero() bool { return r.Host == "" }

// at says whether the registration is that node's, by Origin-Host.
func (r Registration) at(host string) bool { return r.Host != "" && strings.EqualFold(r.Host, host) }

// Subscriber is a SIM without its keys.
type Subscriber struct {
	IMSI    identity.IMSI `json:"imsi"`
	Profile Profile       `json:"profile"`
	MME     Registration  `json:"mme,omitzero"`
	SGSN    Registration  `json:"sgsn,omitzero"`
}

// At is the registration on that side.
func (s Subscriber) At(side Side) Registration {
	if side == SGSN {
		return s.SGSN
	}
	return s.MME
}

// Cause is why a node is refused, TS 29.272 7.4.3 and 7.4.4: the values are those of Experimental-Result-Code.
type Cause uint32

// Causes.
const (
	AuthenticationDataUnavailable Cause = 4181
	UserUnknown                   Cause = 5001
	RoamingNotAllowed             Cause = 5004
	UnknownEPSSubscription        Cause = 5420
	RATNotAllowed                 Cause = 5421
	EquipmentUnknown              Cause = 5422
	UnknownServingNode            Cause = 5423
)

// Diagnostic is the Error-Diagnostic of a refusal, TS 29.272 7.3.128; 0 is not sent, since we never send
// GPRS_DATA_SUBSCRIBED.
type Diagnostic uint32

// Diagnostics go with RoamingNotAllowed when it is not the network that is forbidden, so that the device does not put it
// on its list of forbidden ones.
const (
	ODBAllAPN   Diagnostic = 2
	ODBHPLMNAPN Diagnostic = 3
	ODBVPLMNAPN Diagnostic = 4
)

// Refusal is the error of a request that the node is refused.
type Refusal struct {
	Reason     Reason // of a rule; "" when the cause follows from the standard alone
	Cause      Cause
	Diagnostic Diagnostic
	Err        error // local detail: logged, never sent
}

// Error returns the cause and the local detail.
func (r *Refusal) Error() string { return fmt.Sprintf("cause %d: %v", r.Cause, r.Err) }

// Unwrap returns the local detail.
func (r *Refusal) Unwrap() error { return r.Err }

// Displaced says whether the node of an old registration must be told that the SIM is now at next: not the node itself
// when it registers again, and not one that has purged the SIM.
func (r Registration) Displaced(next Registration) bool {
	return !r.IsZero() && !r.Purged && !r.at(next.Host)
}

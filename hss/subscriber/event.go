package subscriber

import (
	"time"

	"github.com/xepc/xepc/pkg/identity"
)

// Event is one thing that a serving node did about a SIM, or was refused: a line of the session log.
type Event struct {
	At     time.Time     `json:"at"`
	IMSI   identity.IMSI `json:"imsi"`
	What   What          `json:"what"`
	Cause  Cause         `json:"cause,omitempty"  doc:"of a refusal: Experimental-Result-Code of TS 29.272 7.4, or Result-Code"`
	Why    string        `json:"why,omitempty"    doc:"of a refusal, in words"`
	Node   string        `json:"node,omitempty"   doc:"Origin-Host"`
	PLMN   string        `json:"plmn,omitempty"   doc:"Visited-PLMN-Id as MCC-MNC"`
	RAT    RAT           `json:"rat,omitempty"`
	IMEI   string        `json:"imei,omitempty"`
	Detail string        `json:"detail,omitempty"`
}

// What names an event.
type What string

// What values.
const (
	Authenticated What = "authenticated" // vectors went out
	Attached      What = "attach"        // the SIM came to a node
	Updated       What = "update"        // the node that has the SIM registered it again
	Detached      What = "detach"        // the node purged the SIM
	Cancelled     What = "cancel"        // we told the node to drop the SIM
	Refused       What = "refused"
)

package subscriber

import (
	"time"

	"github.com/xepc/xepc/pkg/identity"
)

// Change is what the operator has changed about a SIM, for the nodes that serve it. Before is as it was, with the
// registrations at that time, and After as it is to be; both have what templates add. After is zero when the SIM was
// removed. What is there by the time a change is told may be newer than After.
type Change struct {
	IMSI   identity.IMSI `json:"imsi"`
	At     time.Time     `json:"at"`
	Before Subscriber    `json:"before"`
	After  Subscriber    `json:"after,omitzero"`

	Reattach bool `json:"reattach,omitempty"` // of a cancellation: the device is to attach again at once
}

// Removed says that the SIM is gone.
func (c Change) Removed() bool { return c.After.IMSI == "" }

// IsZero says that there is no subscriber.
func (s Subscriber) IsZero() bool { return s.IMSI == "" }

// Registered says that a node serves the SIM, as far as we know.
func (s Subscriber) Registered() bool {
	return !s.MME.IsZero() && !s.MME.Purged || !s.SGSN.IsZero() && !s.SGSN.Purged
}

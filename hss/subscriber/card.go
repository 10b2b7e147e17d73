package subscriber

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Card is the SIM as a thing: what is printed on it or was ordered with it, and when what happened to it. Several
// subscribers (IMSIs) may be on one card; they name the same ICCID.
type Card struct {
	ICCID string `json:"iccid,omitempty" yaml:"iccid" doc:"ITU-T E.118: 18 to 20 digits"`
	EID   string `json:"eid,omitempty"   yaml:"eid"   doc:"eUICC: 32 digits, SGP.02 2.2.2"`
	Batch string `json:"batch,omitempty" yaml:"batch" doc:"order or production lot; the operator's own word"`

	Added     time.Time `json:"added,omitzero"     yaml:"added"     doc:"when the record was made"`
	StatusAt  time.Time `json:"status_at,omitzero" yaml:"status_at" doc:"when the status was last set"`
	Activated time.Time `json:"activated,omitzero" yaml:"activated" doc:"when it was first active"`
}

// IsZero says that nothing is known of the card.
func (c Card) IsZero() bool { return c == Card{} }

const (
	maxBatch  = 40 // characters; bounds a record
	eidDigits = 32 // SGP.02 2.2.2
)

// Validate lists every fault, each beginning with its key.
func (c Card) Validate() error {
	var faults []error
	if c.ICCID != "" && (len(c.ICCID) < 18 || len(c.ICCID) > 20 || !isDigits(c.ICCID)) {
		faults = append(faults, fmt.Errorf("iccid: %q, want 18 to 20 digits", c.ICCID))
	}
	if c.EID != "" && (len(c.EID) != eidDigits || !isDigits(c.EID)) {
		faults = append(faults, fmt.Errorf("eid: %q, want %d digits", c.EID, eidDigits))
	}
	if len(c.Batch) > maxBatch || strings.ContainsFunc(c.Batch, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		faults = append(faults, fmt.Errorf("batch: %q, want at most %d printable characters", c.Batch, maxBatch))
	}
	return errors.Join(faults...)
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// Status says whether a SIM gets service.
type Status string

// Status values.
const (
	Provisioned Status = "provisioned" // known, and not yet in use: every AIR and ULR is refused
	Active      Status = "active"
	Suspended   Status = "suspended"  // every AIR and ULR is refused, until resumed
	Terminated  Status = "terminated" // every AIR and ULR is refused, for good
)

// Statuses are all there are, in the order of a SIM's life.
func Statuses() []Status { return []Status{Provisioned, Active, Suspended, Terminated} }

// May says whether a SIM may go from s to next: nothing leads back to provisioned, and nothing out of terminated.
func (s Status) May(next Status) bool {
	switch s {
	case Provisioned:
		return next == Active || next == Terminated
	case Active:
		return next == Suspended || next == Terminated
	case Suspended:
		return next == Active || next == Terminated
	case Terminated:
	}
	return false
}

// WithStatus returns p in another state, with the dates that go with it. It does not ask May.
func (p Profile) WithStatus(next Status, now time.Time) Profile {
	now = now.UTC().Truncate(time.Second)
	p.Status, p.Card.StatusAt = next, now
	if next == Active && p.Card.Activated.IsZero() {
		p.Card.Activated = now
	}
	return p
}

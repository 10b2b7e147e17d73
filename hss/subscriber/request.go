package subscriber

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xepc/xepc/pkg/identity"
)

// RequestKind is a request that we send to a serving node.
type RequestKind string

// RequestKind values, TS 29.272 7.2.
const (
	Cancel RequestKind = "clr"
	Insert RequestKind = "idr"
	Delete RequestKind = "dsr"
	Reset  RequestKind = "rsr"
)

// Cancellation is the Cancellation-Type, TS 29.272 7.3.24.
type Cancellation uint32

// Cancellation values.
const (
	MMEUpdate              Cancellation = 0
	SGSNUpdate             Cancellation = 1
	SubscriptionWithdrawal Cancellation = 2
	InitialAttach          Cancellation = 4
)

// Part is a part of the subscription that an Insert carries, or that a Delete withdraws. The edge that writes the messages
// has their names, but for those of APNs.
type Part string

// AllAPNs is the part that all APNs are; a single one is AllAPNs with a colon and its context identifier.
const AllAPNs Part = "apns"

// OneAPN is the part of the APN at that place, counted from 1: its Context-Identifier.
func OneAPN(context uint32) Part { return Part(fmt.Sprintf("%s:%d", AllAPNs, context)) }

// Context is the place of the one APN that the part is.
func (p Part) Context() (uint32, bool) {
	var id uint32
	n, err := fmt.Sscanf(string(p), string(AllAPNs)+":%d", &id)
	return id, n == 1 && err == nil && id > 0
}

// Request is something that a node has yet to be told about a SIM. What it says about the profile is read when it is
// sent, so that a node never hears of an old state after a new one.
type Request struct {
	Kind         RequestKind   `json:"kind"`
	IMSI         identity.IMSI `json:"imsi,omitempty"` // none in a Reset
	Side         Side          `json:"side,omitempty"`
	Host         string        `json:"host"`
	Realm        string        `json:"realm"`
	Cancellation Cancellation  `json:"cancellation,omitempty"`
	Reattach     bool          `json:"reattach,omitempty"` // of a Cancel: the device is to attach again at once
	Parts        []Part        `json:"parts,omitempty"`    // of an Insert; of a Delete those that are withdrawn
	Contexts     []uint32      `json:"contexts,omitempty"` // of a Delete: Context-Identifiers
	Trace        *Trace        `json:"trace,omitempty"`    // of a Delete that ends it
	Scope        Scope         `json:"scope,omitzero"`     // of a Reset
}

// Scope are the SIMs that a Reset is about, TS 29.272 5.2.4.1: those whose IMSI begins so and, when it names resources, that
// depend on one of them. A node that knows no Reset-ID takes all whose IMSI begins so. The zero Scope are all SIMs.
type Scope struct {
	IMSIs    []string `json:"imsis,omitempty"     doc:"what the IMSIs begin with: MCC, MNC and more digits; none: all"`
	ResetIDs []string `json:"reset_ids,omitempty" doc:"names of resources, as SIMs have them in serving.reset_ids"`
}

// IsZero says that all SIMs are meant.
func (s Scope) IsZero() bool { return len(s.IMSIs)+len(s.ResetIDs) == 0 }

const (
	maxBeginnings  = 100 // bounds a message
	leastBeginning = 5   // digits: MCC and MNC
	mostBeginning  = 15
)

// Validate lists every fault, each beginning with its key.
func (s Scope) Validate() error {
	var faults []error
	if len(s.IMSIs) > maxBeginnings {
		faults = append(faults, fmt.Errorf("imsis: %d, at most %d", len(s.IMSIs), maxBeginnings))
	}
	for i, d := range s.IMSIs {
		if len(d) < leastBeginning || len(d) > mostBeginning || !isDigits(d) {
			faults = append(faults, fmt.Errorf("imsis[%d]: %q, want %d to %d digits", i, d, leastBeginning, mostBeginning))
		}
	}
	return errors.Join(append(faults, ValidateResetIDs(s.ResetIDs))...)
}

// ID names the request among those about its SIM: the same thing to be told to the same node has the same name, so that
// it waits once only.
func (r Request) ID() string {
	id := fmt.Sprintf("%s:%s:%s", r.Kind, r.Side, strings.ToLower(r.Host))
	for _, p := range r.Parts {
		id += "+" + string(p)
	}
	for _, c := range r.Contexts {
		id += fmt.Sprintf("-%d", c)
	}
	for _, beginning := range r.Scope.IMSIs {
		id += "+" + beginning
	}
	for _, resource := range r.Scope.ResetIDs {
		id += "+" + strconv.Quote(resource)
	}
	return id
}

// request makes a request to the node of a registration.
func (r Registration) request(kind RequestKind, imsi identity.IMSI, side Side) Request {
	return Request{Kind: kind, IMSI: imsi, Side: side, Host: r.Host, Realm: r.Realm}
}

// serves says that the node of the registration has the subscriber, as far as we know.
func (r Registration) serves() bool { return !r.IsZero() && !r.Purged }

// Sides are the registrations of a subscriber that a node serves.
func (s Subscriber) Sides() map[Side]Registration {
	all := map[Side]Registration{}
	for side, r := range map[Side]Registration{MME: s.MME, SGSN: s.SGSN} {
		if r.serves() {
			all[side] = r
		}
	}
	return all
}

// Displacement are the Cancels that follow when next takes the place of a registration on that side: one to the node
// before, unless it is the same or has purged the SIM, and one to the node of the other side when that ends too
// (TS 29.272 5.2.1.1.3).
func (s Subscriber) Displacement(side Side, next Registration, single, initial bool) []Request {
	var all []Request
	if before := s.At(side); before.Displaced(next) {
		r := before.request(Cancel, s.IMSI, side)
		r.Cancellation = MMEUpdate
		if side == SGSN {
			r.Cancellation = SGSNUpdate
		}
		all = append(all, r)
	}
	if other := s.At(side.Other()); s.EndsOther(side, next, single, initial) && other.Displaced(next) {
		r := other.request(Cancel, s.IMSI, side.Other())
		r.Cancellation = SGSNUpdate
		if initial {
			r.Cancellation = InitialAttach
		}
		all = append(all, r)
	}
	return all
}

// EndsOther says whether next, on that side, ends the registration on the other: with Initial-Attach-Indicator always, with
// Single-Registration-Indication, which an SGSN does not set, the SGSN's (TS 29.272 7.3.7). A combined node keeps both.
func (s Subscriber) EndsOther(side Side, next Registration, single, initial bool) bool {
	other := s.At(side.Other())
	return (initial || single && side == MME) && !other.IsZero() && !other.at(next.Host)
}

// Rules are how a change is judged: whether a SIM may no longer be where it is registered, and which parts of what that node
// is told are different, to be inserted and to be withdrawn.
type Rules struct {
	Cancels func(Subscriber, Registration) bool
	Differ  func(before, after Profile, at Registration) (insert, withdraw []Part)
}

// Requests are what the nodes that serve the SIM are to be told of a change: a Cancel where it may not stay, else the
// smallest message that does it.
func (c Change) Requests(rules Rules) []Request {
	var all []Request
	for side, r := range c.Before.Sides() {
		if c.Removed() || rules.Cancels(c.After, r) {
			q := r.request(Cancel, c.IMSI, side)
			q.Cancellation, q.Reattach = SubscriptionWithdrawal, c.Reattach
			all = append(all, q)
			continue
		}
		insert, withdraw := r.request(Insert, c.IMSI, side), r.request(Delete, c.IMSI, side)
		insert.Parts, withdraw.Parts = rules.Differ(c.Before.Profile, c.After.Profile, r)
		apns, gone := apnChanges(c.Before.Profile.APNs, c.After.Profile.APNs)
		insert.Parts, withdraw.Contexts = append(insert.Parts, apns...), gone
		if c.After.Profile.Serving.Trace == nil {
			withdraw.Trace = c.Before.Profile.Serving.Trace
		}
		if len(insert.Parts) > 0 {
			all = append(all, insert)
		}
		if len(withdraw.Parts)+len(withdraw.Contexts) > 0 {
			all = append(all, withdraw)
		}
	}
	slices.SortFunc(all, func(a, b Request) int { return strings.Compare(a.ID(), b.ID()) })
	return all
}

// apnChanges are the APNs that have changed, and the context identifiers that are gone. An APN is known to the node by its
// place; when places have moved, it is sent them all.
func apnChanges(was, is []APN) (parts []Part, gone []uint32) {
	for i := range min(len(was), len(is)) {
		if was[i].Name != is[i].Name {
			return []Part{AllAPNs}, nil
		}
	}
	for i, a := range is {
		if i >= len(was) || was[i] != a {
			parts = append(parts, OneAPN(uint32(i+1)))
		}
	}
	for i := len(is); i < len(was); i++ {
		gone = append(gone, uint32(i+1))
	}
	return parts, gone
}

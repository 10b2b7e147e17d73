package subscriber

import (
	"fmt"
	"reflect"
	"slices"
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

// Part is a part of the subscription that an Insert carries, or that a Delete withdraws.
type Part string

// Parts. A single APN is AllAPNs with a colon and its context identifier. Those of AMBR, access and barring are never
// withdrawn: there is a value for none.
const (
	PartMSISDN      Part = "msisdn"
	PartAMBR        Part = "ambr"
	PartAccess      Part = "access"
	PartBarring     Part = "barring"
	PartCharging    Part = "charging"
	PartOI          Part = "oi_replacement"
	PartPeriodicTAU Part = "periodic_tau"
	PartActiveTime  Part = "active_time"
	PartDLBuffering Part = "dl_buffering"
	PartEDRX        Part = "edrx"
	AllAPNs         Part = "apns"
)

// Has says whether there is something to be sent of that part; else it is withdrawn.
func (p Profile) Has(part Part) bool {
	switch part {
	case PartMSISDN:
		return p.MSISDN != ""
	case PartCharging:
		return p.Charging != ""
	case PartOI:
		return p.OIReplacement != ""
	case PartPeriodicTAU:
		return p.IoT.PeriodicTAU != 0
	case PartActiveTime:
		return p.IoT.ActiveTime != nil
	case PartDLBuffering:
		return p.IoT.DLBuffering != nil
	case PartEDRX:
		return len(p.IoT.EDRX) > 0
	default:
		return true
	}
}

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
	Parts        []Part        `json:"parts,omitempty"`    // of an Insert; of a Delete those that are withdrawn
	Contexts     []uint32      `json:"contexts,omitempty"` // of a Delete: Context-Identifiers
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
// before, unless it is the same or has purged the SIM, and with a single registration or an initial attach at an MME one
// to the SGSN too (TS 29.272 5.2.1.1.3).
func (s Subscriber) Displacement(side Side, next Registration, single, initial bool) []Request {
	var all []Request
	before, update := s.MME, MMEUpdate
	if side == SGSN {
		before, update = s.SGSN, SGSNUpdate
	}
	if before.Displaced(next) {
		r := before.request(Cancel, s.IMSI, side)
		r.Cancellation = update
		all = append(all, r)
	}
	if s.DropsSGSN(side, next, single, initial) && s.SGSN.Displaced(next) {
		r := s.SGSN.request(Cancel, s.IMSI, SGSN)
		r.Cancellation = SGSNUpdate
		if initial {
			r.Cancellation = InitialAttach
		}
		all = append(all, r)
	}
	return all
}

// DropsSGSN says whether a registration at an MME ends the one at the SGSN.
func (s Subscriber) DropsSGSN(side Side, next Registration, single, initial bool) bool {
	return side == MME && (single || initial) && !s.SGSN.IsZero() && !s.SGSN.at(next.Host)
}

// Requests are what the nodes that serve the SIM are to be told of a change: a Cancel where it may not stay, else the
// smallest message that does it.
func (c Change) Requests(cancels func(Subscriber, Registration) bool) []Request {
	var all []Request
	for side, r := range c.Before.Sides() {
		if c.Removed() || cancels(c.After, r) {
			q := r.request(Cancel, c.IMSI, side)
			q.Cancellation = SubscriptionWithdrawal
			all = append(all, q)
			continue
		}
		parts, gone := c.parts()
		insert, withdraw := r.request(Insert, c.IMSI, side), r.request(Delete, c.IMSI, side)
		withdraw.Contexts = gone
		for _, p := range parts {
			if c.After.Profile.Has(p) {
				insert.Parts = append(insert.Parts, p)
			} else {
				withdraw.Parts = append(withdraw.Parts, p)
			}
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

// parts are those of the subscription that have changed, and the context identifiers that are gone. An APN is known to
// the node by its place; when places have moved, it is sent them all.
func (c Change) parts() (parts []Part, gone []uint32) {
	before, after := c.Before.Profile, c.After.Profile
	for _, p := range []struct {
		part    Part
		changed bool
	}{
		{PartMSISDN, before.MSISDN != after.MSISDN},
		{PartAMBR, before.AMBR != after.AMBR},
		{PartAccess, !slices.Equal(before.RATs, after.RATs)},
		{PartBarring, BarringBits(before.Barring) != BarringBits(after.Barring)},
		{PartCharging, before.Charging != after.Charging},
		{PartOI, before.OIReplacement != after.OIReplacement},
		{PartPeriodicTAU, before.IoT.PeriodicTAU != after.IoT.PeriodicTAU},
		{PartActiveTime, !reflect.DeepEqual(before.IoT.ActiveTime, after.IoT.ActiveTime)},
		{PartDLBuffering, !reflect.DeepEqual(before.IoT.DLBuffering, after.IoT.DLBuffering)},
		{PartEDRX, !slices.EqualFunc(before.IoT.EDRX, after.IoT.EDRX, func(a, b EDRX) bool { return reflect.DeepEqual(a, b) })},
	} {
		if p.changed {
			parts = append(parts, p.part)
		}
	}
	was, is := before.APNs, after.APNs
	for i := range min(len(was), len(is)) {
		if was[i].Name != is[i].Name {
			return append(parts, AllAPNs), nil
		}
	}
	for i, a := range is {
		if i >= len(was) || !reflect.DeepEqual(was[i], a) {
			parts = append(parts, OneAPN(uint32(i+1)))
		}
	}
	for i := len(is); i < len(was); i++ {
		gone = append(gone, uint32(i+1))
	}
	return parts, gone
}

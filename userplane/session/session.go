package session

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Session is a PFCP session, TS 29.244 5.2: what a CP function has asked for, as data. It is a value that nobody
// changes: a request makes the next one, which shares the rules that stay the same. Each list is in the order of
// its ids.
type Session struct {
	SEID      pfcp.SEID  // ours, never reused
	CP        pfcp.FSEID // the CP function's
	Owner     uint32     // the association that it belongs to, as the edge numbers them
	Slice     netip.Addr // the GTP-U service address that its F-TEIDs are named by: Slice.Name
	Slice6    netip.Addr // the slice's IPv6 address; zero when it has none
	PDRs      []PDR
	FARs      []FAR
	QERs      []QER
	URRs      []URR
	BARs      []BAR
	Endpoints []Endpoint
	Addresses []Address // of this node's pools, that the session has
	Modified  uint32    // modifications accepted since the establishment

	FQCSIDs         []pfcp.FQCSID      // sets that the session shares the fate of
	InactivityTimer uint32             // User Plane Inactivity Timer, seconds; 0: none
	LastPacket      Time               // as the session's settlements saw it; first its establishment
	Packets         uint64             // that all entries had counted at the last one
	Watches         []uint64           // octets at which the entries that count for URRs tell, in the order of their keys
	Rest            bool               // there is a cell for rules without URRs
	Inactive        bool               // as the control plane was told
	Unconfirmed     []pfcp.UsageReport // reports that the control plane has not confirmed
	Leaving         []Leaving          // cells whose last packets are in no report yet
}

// PDR is a packet detection rule, TS 29.244 5.2.1, with its PDI flattened into it.
type PDR struct {
	ID         pfcp.PDRID
	Precedence pfcp.Precedence
	Source     pfcp.Interface           // decides the direction, and nothing else does
	Local      netip.Addr               // F-TEID: the slice's name; zero when the PDI has none
	TEID       pfcp.TEID                // F-TEID
	Instance   pfcp.NetworkInstance     // of the PDI; "" when absent or of length zero
	UE         netip.Addr               // IPv4; zero when the PDI has none
	UE6        netip.Prefix             // IPv6; zero when the PDI has none
	Routes     []netip.Prefix           // framed routes
	Filters    []SDF                    // any of them will do; empty: every packet
	QFIs       []uint8                  // of the packet's PDU Session Container; empty: any
	Endpoints  []pfcp.TrafficEndpointID // instead of F-TEID, instance, UE addresses and routes of its own
	Removal    pfcp.Opt[pfcp.OuterHeaderRemoval]
	FARID      pfcp.FARID
	QERIDs     []pfcp.QERID
	URRIDs     []pfcp.URRID

	Application string   // "": none; the packets are those that a PFD describes
	PFDs        []Filter // of the application
	Predefined  []Predefined
}

// Direction is that of the packets that the PDR matches: from the access side they go up.
func (p PDR) Direction() Direction {
	if p.Source == pfcp.InterfaceAccess {
		return Uplink
	}
	return Downlink
}

// FAR is a forwarding action rule, TS 29.244 5.2.1, with its forwarding parameters flattened into it.
type FAR struct {
	ID          pfcp.FARID
	Action      pfcp.ApplyAction
	Parameters  bool // whether Forwarding Parameters ever came
	Destination pfcp.Opt[pfcp.Interface]
	Instance    pfcp.NetworkInstance // "" when absent or of length zero
	Outer       pfcp.Opt[pfcp.OuterHeaderCreation]
	Marking     pfcp.Opt[uint16]
	Redirect    Redirect
	URL         string // where HTTP is redirected to, instead of Redirect; "": nowhere
	Duplicates  []Duplicate
	BARID       pfcp.Opt[pfcp.BARID]
	Unserved    uint16 // type of an IE that asks for what is not done here; 0: none
}

// Duplicate is what Duplicating Parameters say, TS 29.244 7.5.2.3.
type Duplicate struct {
	Outer   pfcp.OuterHeaderCreation
	Marking pfcp.Opt[uint16]
}

// QER is a QoS enforcement rule, TS 29.244 5.2.1.
type QER struct {
	ID          pfcp.QERID
	Gate        pfcp.GateStatus
	MBR         pfcp.Opt[pfcp.BitRate]
	GBR         pfcp.Opt[pfcp.BitRate]
	Correlation pfcp.Opt[uint32]
	QFI         pfcp.Opt[uint8]
}

// BAR is a buffering action rule, TS 29.244 7.5.2.6.
type BAR struct {
	ID    pfcp.BARID
	Delay pfcp.Opt[uint8] // of the notification, in 50 ms
	Count pfcp.Opt[uint8] // suggested number of packets to buffer
}

// Endpoint is a traffic endpoint, TS 29.244 7.5.2.7: what PDRs that name it have in common.
type Endpoint struct {
	ID       pfcp.TrafficEndpointID
	Local    netip.Addr
	TEID     pfcp.TEID
	Instance pfcp.NetworkInstance
	UE       netip.Addr
	UE6      netip.Prefix
	Routes   []netip.Prefix
	QFIs     []uint8
}

// Address is a UE address of one of the node's pools: an IPv4 /32, or an IPv6 prefix.
type Address struct {
	Pool string
	UE   netip.Prefix
}

// FTEID is one that the session holds.
type FTEID struct {
	Local netip.Addr // the name of the slice
	TEID  pfcp.TEID
}

// Slice is the addresses of a GTP-U service, of which there is at least one: both lead to the same TEIDs.
type Slice struct{ IPv4, IPv6 netip.Addr }

// Name is the address that stands for a slice wherever one does: the IPv4 address, unless there is none.
func (s Slice) Name() netip.Addr {
	if s.IPv4.IsValid() {
		return s.IPv4
	}
	return s.IPv6
}

// FTEIDs returns every F-TEID that the session holds, each once.
func (s Session) FTEIDs() []FTEID {
	var all []FTEID
	add := func(f FTEID) {
		if f.TEID != 0 && !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	for i := range s.PDRs {
		add(FTEID{s.PDRs[i].Local, s.PDRs[i].TEID})
	}
	for i := range s.Endpoints {
		add(FTEID{s.Endpoints[i].Local, s.Endpoints[i].TEID})
	}
	return all
}

// UE returns the session's IPv4 UE address: that of its first PDR or traffic endpoint that names one. It is zero when
// none does.
func (s Session) UE() netip.Addr {
	for i := range s.PDRs {
		if s.PDRs[i].UE.IsValid() {
			return s.PDRs[i].UE
		}
	}
	for i := range s.Endpoints {
		if s.Endpoints[i].UE.IsValid() {
			return s.Endpoints[i].UE
		}
	}
	return netip.Addr{}
}

// UE6 returns the session's IPv6 UE prefix likewise.
func (s Session) UE6() netip.Prefix {
	for i := range s.PDRs {
		if s.PDRs[i].UE6.IsValid() {
			return s.PDRs[i].UE6
		}
	}
	for i := range s.Endpoints {
		if s.Endpoints[i].UE6.IsValid() {
			return s.Endpoints[i].UE6
		}
	}
	return netip.Prefix{}
}

// Limits bound a session; beyond them a request is refused with CauseNoResourcesAvailable.
type Limits struct {
	PDRs, FARs, QERs, URRs int
	Filters                int // SDF filters of one PDR
}

// DefaultLimits are far above what control planes make, and far below what would hurt.
func DefaultLimits() Limits { return Limits{PDRs: 32, FARs: 32, QERs: 32, URRs: 32, Filters: 32} }

// size is how many rules of each kind there are.
type size struct{ pdrs, fars, qers, urrs, bars, endpoints int }

func (s *Session) size() size {
	return size{len(s.PDRs), len(s.FARs), len(s.QERs), len(s.URRs), len(s.BARs), len(s.Endpoints)}
}

func (l Limits) check(s size) error {
	for _, c := range [...]struct {
		noun      string
		have, cap int
	}{
		{"PDRs", s.pdrs, l.PDRs},
		{"FARs", s.fars, l.FARs},
		{"QERs", s.qers, l.QERs},
		{"URRs", s.urrs, l.URRs},
		{"BARs", s.bars, l.FARs},
		{"traffic endpoints", s.endpoints, l.PDRs},
	} {
		if c.have > c.cap {
			return &pfcp.Error{
				Cause: pfcp.CauseNoResourcesAvailable,
				Err:   fmt.Errorf("%d %s: at most %d", c.have, c.noun, c.cap),
			}
		}
	}
	return nil
}

// Grants gives out what a request needs of the node: F-TEIDs and UE addresses. What it gave to a request that is
// refused in the end, its owner takes back. Its errors are *pfcp.Error without a failed rule.
type Grants interface {
	// Slice returns the slice that has this address; for one that is no slice's, a slice of nothing else.
	Slice(netip.Addr) Slice
	// Choose allocates an F-TEID.
	Choose() (FTEID, error)
	// Claim takes the F-TEID that the control plane chose, or restores.
	Claim(FTEID) error
	// Pool finds the pool that UE addresses of a network instance come from; identity, if not empty, names it.
	Pool(instance pfcp.NetworkInstance, identity string, ipv6 bool) (string, error)
	// Take allocates a UE address of a pool.
	Take(pool string, ipv6 bool) (netip.Prefix, error)
	// Hold takes a UE address that the control plane brings, if it is of a pool of the network instance: that pool, or
	// "" if it is of none.
	Hold(instance pfcp.NetworkInstance, ue netip.Prefix) (string, error)
	// Application returns the PFDs of an application, false when there is none of this id.
	Application(id string) ([]Filter, bool)
	// Predefined returns a predefined rule that this control plane may activate.
	Predefined(name string) (Predefined, bool)
}

// refuse makes the error for a rule that cannot be made or changed.
func refuse(kind pfcp.RuleKind, id uint32, ie uint16, format string, args ...any) *pfcp.Error {
	return &pfcp.Error{
		Cause: pfcp.CauseRuleCreationFailure, Offending: ie,
		FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: kind, ID: id}),
		Err:        fmt.Errorf(format, args...),
	}
}

// blame adds the failed rule to an error that does not name one.
func blame(err error, kind pfcp.RuleKind, id uint32) error {
	var e *pfcp.Error
	if !errors.As(err, &e) {
		return refuse(kind, id, 0, "%w", err)
	}
	with := *e
	if !with.FailedRule.Present {
		with.FailedRule = pfcp.Some(pfcp.FailedRuleID{Kind: kind, ID: id})
	}
	return &with
}

// The lists of a session are short and sorted by id.

func find[T any, ID ~uint8 | ~uint16 | ~uint32](list []T, id ID, of func(*T) ID) (int, bool) {
	from, to := 0, len(list)
	for from < to {
		at := int(uint(from+to) / 2)
		if of(&list[at]) < id {
			from = at + 1
		} else {
			to = at
		}
	}
	return from, from < len(list) && of(&list[from]) == id
}

// room is a copy of a list with room for so many more; for none, it is the list.
func room[T any](list []T, more int) []T {
	if more == 0 {
		return list
	}
	return append(make([]T, 0, len(list)+more), list...)
}

// insert adds to a list that room has made.
func insert[T any, ID ~uint8 | ~uint16 | ~uint32](list []T, t T, of func(*T) ID) ([]T, bool) {
	i, found := find(list, of(&t), of)
	if found {
		return list, false
	}
	return slices.Insert(list, i, t), true
}

// remove returns a new list and leaves the old one alone.
func remove[T any, ID ~uint8 | ~uint16 | ~uint32](list []T, id ID, of func(*T) ID) ([]T, bool) {
	i, found := find(list, id, of)
	if !found {
		return list, false
	}
	return append(slices.Clone(list[:i]), list[i+1:]...), true
}

func idOfBAR(b *BAR) pfcp.BARID { return b.ID }

func idOfEndpoint(e *Endpoint) pfcp.TrafficEndpointID { return e.ID }

func idOfPDR(p *PDR) pfcp.PDRID { return p.ID }
func idOfFAR(f *FAR) pfcp.FARID { return f.ID }
func idOfQER(q *QER) pfcp.QERID { return q.ID }
func idOfURR(u *URR) pfcp.URRID { return u.ID }

// GBR is the sum of the bit rates that the session's QERs guarantee, kbit/s.
func (s Session) GBR() (sum pfcp.BitRate) {
	for i := range s.QERs {
		sum.Uplink += s.QERs[i].GBR.Value.Uplink
		sum.Downlink += s.QERs[i].GBR.Value.Downlink
	}
	return sum
}

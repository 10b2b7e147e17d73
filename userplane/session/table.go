// Package session owns what a PFCP session is at the UP function: its rules as data, the next session that a
// request makes of it, and the data-path entries that they compile to. It is pure: no socket, no map, no clock.
package session

import (
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Direction of a packet: from the UE is uplink, to the UE is downlink. It is that of the PDR's source interface:
// what comes from access goes up, what comes from anywhere else goes down.
type Direction uint8

// Values of Direction.
const (
	Uplink Direction = iota
	Downlink
)

// Key names one entry of the data path. A key with a TEID is looked up by F-TEID, so Local and TEID; that is every
// uplink key, and the downlink key of a PDR whose source is the CP function. Any other is looked up by network
// instance and UE address, so Instance and UE. The other fields are zero. A Key is comparable, and used as a map key.
type Key struct {
	Direction Direction
	Local     netip.Addr           // the outer destination address, which names the slice
	TEID      pfcp.TEID            // of the F-TEID
	Instance  pfcp.NetworkInstance // of the port and VLAN that the packet came in by
	UE        netip.Prefix         // of the inner destination: an IPv4 /32, an IPv6 /64 or what else the UE has
}

// Action is what happens to a packet that matched a rule.
type Action uint8

// Values of Action.
const (
	ActionForward  Action = iota
	ActionDrop            // the FAR says DROP
	ActionNoHeader        // FORW towards access without Outer Header Creation: dropped under its own reason
	ActionBuffer          // the FAR says BUFF: the packet goes to the slow path, which gives it back later
	ActionDrain           // FORW again: those that the slow path has go first, in their order, and new ones wait behind them
	ActionAnswer          // FORW to a URL: the slow path answers TCP in the place of the network
)

// Entry is what the data path does with the packets of one key: the rules of the PDRs that match by it, in the order
// of their precedence. A packet is taken by the first that it matches; a rule without filters matches every packet
// whose source it allows. Most entries are a single rule without filters.
type Entry struct {
	Key  Key
	Rule        // the first
	More []Rule // the others

	// Routes are further destinations that lead here, besides Key.UE: framed routes, TS 29.244 8.2.109. Longest
	// prefix first.
	Routes []netip.Prefix

	Celled bool   // the rules count in Cells, and the entry's own count stands still
	Watch  uint64 // octets of the entry's own count at which to tell, once; 0: never
}

// Rule is a PDR with its FAR, QERs and URRs resolved.
type Rule struct {
	// Filters are the PDI's SDF filters: any of them will do. Empty: every packet.
	Filters []Filter
	// QFIs are those of the PDU Session Container that match, TS 38.415 5.5.3.3. Empty: any, and none.
	QFIs []uint8
	// Sources are what the inner source address of an uplink packet must be in. Empty: not checked.
	Sources []netip.Prefix

	Action Action
	Notify bool // NOCP: the first packet raises an event

	// To a network, when Remote is zero: the instance names the next hops, by the node's configuration.
	Instance pfcp.NetworkInstance
	// To a tunnel: the outer header to create.
	Remote     netip.Addr
	RemoteTEID pfcp.TEID
	Local      netip.Addr // the slice's address of the same family: outer source
	QFI        pfcp.Opt[uint8]
	// Marking is the Transport Level Marking: ToS or Traffic Class in the high octet, mask in the low one,
	// TS 29.244 8.2.12. It marks the outer header, or the packet itself when there is none.
	Marking pfcp.Opt[uint16]
	// KeepHeader forwards a tunnelled packet with the GTP-U header that it came with as the inner packet: no Outer
	// Header Removal was asked for.
	KeepHeader bool
	// Redirect replaces the destination of a packet to a network. Zero: none.
	Redirect Redirect
	// Copies are the tunnels that get a duplicate of a packet as it came, TS 29.244 5.2.3: of one that is forwarded, and
	// of one that the FAR drops. One that is buffered gets its duplicates when it is forwarded.
	Copies []Copy

	GateClosed bool
	MBR        uint64  // kbit/s of the one QER whose limit is this rule's alone; 0: not limited by it
	Meters     []Meter // limits that it shares. A packet passes when all allow it, and only then counts in any
	// Cells are those of its URRs where several rules share the entry, or a URR has a quota. Any other needs none: what
	// the entry counts is what its URRs count, and the packet touches no other memory for it. A rule whose FAR drops has
	// those of its URRs that start and stop with dropped packets, too.
	Cells []CellID

	Origin Origin
}

// Tunnel is the remote end of one, with our address.
type Tunnel struct {
	Local, Remote netip.Addr
	TEID          pfcp.TEID
}

// Copy is where a duplicate goes.
type Copy struct {
	Tunnel
	ToS uint8 // of the outer header
}

// Redirect is where packets go instead of their destination, by family, TS 29.244 8.2.20. A packet of a family that it has
// no address of is dropped.
type Redirect struct{ IPv4, IPv6 netip.Addr }

// Parked is a packet whose rule buffers, drains or answers, as the data path hands it over.
type Parked struct {
	Origin Origin // of its rule
	Packet []byte // the inner IP packet
	Turn   Turn
}

// Turn is a parked packet's place in the order of those that wait for others. The data path gives it and gets it back.
type Turn uint64

// Filter is an SDF filter, TS 29.244 8.2.5, seen from the UE: remote is the far end, whatever the direction of the
// packet. A zero field matches everything.
type Filter struct {
	Protocol      pfcp.Opt[uint8] // RFC 791; of IPv6 the last header
	Remote, Local netip.Prefix
	RemotePorts   []Ports // any of them
	LocalPorts    []Ports
	ToS, ToSMask  uint8
	SPI           pfcp.Opt[uint32] // of AH or ESP
	FlowLabel     pfcp.Opt[uint32] // of IPv6, 20 bits
}

// Ports is a range, both ends included.
type Ports struct{ First, Last uint16 }

// MeterID names a limit that several rules share: a QER of a session in one direction, or a QER Correlation ID of a
// control plane, which joins sessions.
type MeterID struct {
	SEID        pfcp.SEID // 0 with Correlation
	QERID       pfcp.QERID
	Owner       uint32 // association, with Correlation
	Correlation uint32 // TS 29.244 8.2.10; 0: none
	Direction   Direction
}

// Meter is a shared limit. The rate is that of the last put which named it; it is gone with the last rule.
type Meter struct {
	ID  MeterID
	MBR uint64 // kbit/s
}

// CellID names a cell that a URR counts in.
type CellID struct {
	SEID    pfcp.SEID
	URRID   pfcp.URRID
	Dropped bool // it counts what FARs drop, and nothing else
}

// VolumeLimits are counts of a cell that matter. Each is absolute, in the cell's own count of octets since it was made; 0 is
// none. Reaching a threshold raises one event; a packet that would begin at or beyond a quota is dropped, the first
// one with an event.
type VolumeLimits struct {
	TotalThreshold, UplinkThreshold, DownlinkThreshold uint64
	TotalQuota, UplinkQuota, DownlinkQuota             uint64
}

// Cell is a usage cell with its limits.
type Cell struct {
	ID        CellID
	Limits    VolumeLimits
	BeforeQoS bool // it counts what gates and policers drop, too
}

// Origin says which rules an entry came from. The data path only stores it, for the tables that people read.
type Origin struct {
	SEID       pfcp.SEID // the UP function's
	PDRID      pfcp.PDRID
	FARID      pfcp.FARID
	QERID      pfcp.Opt[pfcp.QERID]
	URRID      pfcp.Opt[pfcp.URRID]
	Precedence pfcp.Precedence
}

// Table is what one session compiles to, in the order of the keys, of which there is each once.
type Table []Entry

// TableOf is a table of entries that are in no order.
func TableOf(entries ...Entry) Table {
	slices.SortFunc(entries, func(a, b Entry) int { return a.Key.compare(&b.Key) })
	return entries
}

// search finds where the entry of a key stands, or would.
func (t Table) search(key *Key) (at int, ok bool) {
	from, to := 0, len(t)
	for from < to {
		at := int(uint(from+to) / 2)
		switch order := t[at].Key.compare(key); {
		case order < 0:
			from = at + 1
		case order > 0:
			to = at
		default:
			return at, true
		}
	}
	return from, false
}

// Find returns the entry of a key, which is the table's; nil when there is none.
func (t Table) Find(key Key) *Entry {
	at, ok := t.search(&key)
	if !ok {
		return nil
	}
	return &t[at]
}

// Changes turn one table into another. The data path takes cells first, then puts, then deletes, so that a change
// leaves no hole in service; a put of a key that exists keeps that entry's counters. Keys and framed routes may move between
// sessions: the key is among both, and counts anew.
type Changes struct {
	Cells   []Cell // made, or given other limits
	Puts    []Entry
	Deletes []Key
	Removes []CellID // no rule counts in them any more; read them first

	// EndMarkers go out after the last packet that the rules of before sent, TS 29.281 7.3.2.
	EndMarkers []Tunnel
}

// Usage is what an entry has counted since it was made, while it was not celled. It only rises.
type Usage struct {
	Packets uint64
	Octets  uint64 // of inner IP packets, from the first octet of the inner IP header
}

// UE is the key's prefix of one address: a /32 or /128.
func UE(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// Rules yields the rules in the order of their precedence, and where each stands.
func (e *Entry) Rules(yield func(int, *Rule) bool) {
	if !yield(0, &e.Rule) {
		return
	}
	for i := range e.More {
		if !yield(i+1, &e.More[i]) {
			return
		}
	}
}

// Equal says whether two entries are the same.
func (e *Entry) Equal(other *Entry) bool {
	if e.Key != other.Key || !e.Rule.Equal(&other.Rule) || len(e.More) != len(other.More) {
		return false
	}
	for i := range e.More {
		if !e.More[i].Equal(&other.More[i]) {
			return false
		}
	}
	return slices.Equal(e.Routes, other.Routes) && e.Celled == other.Celled && e.Watch == other.Watch
}

// Equal says whether two rules are the same.
func (r *Rule) Equal(other *Rule) bool {
	return r.Action == other.Action && r.Notify == other.Notify && r.Instance == other.Instance &&
		r.Remote == other.Remote && r.RemoteTEID == other.RemoteTEID && r.Local == other.Local &&
		r.QFI == other.QFI && r.Marking == other.Marking && r.KeepHeader == other.KeepHeader &&
		r.Redirect == other.Redirect && r.GateClosed == other.GateClosed && r.MBR == other.MBR &&
		r.Origin == other.Origin && slices.Equal(r.QFIs, other.QFIs) && slices.Equal(r.Sources, other.Sources) &&
		slices.Equal(r.Copies, other.Copies) && slices.Equal(r.Meters, other.Meters) &&
		slices.Equal(r.Cells, other.Cells) && slices.EqualFunc(r.Filters, other.Filters, Filter.Equal)
}

// Equal says whether two filters are the same.
func (f Filter) Equal(other Filter) bool {
	return f.Protocol == other.Protocol && f.Remote == other.Remote && f.Local == other.Local &&
		f.ToS == other.ToS && f.ToSMask == other.ToSMask && f.SPI == other.SPI && f.FlowLabel == other.FlowLabel &&
		slices.Equal(f.RemotePorts, other.RemotePorts) && slices.Equal(f.LocalPorts, other.LocalPorts)
}

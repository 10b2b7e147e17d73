// Package session owns what a PFCP session is at the UP function: its rules as data, the next session that a
// request makes of it, and the data-path entries that they compile to. It is pure: no socket, no map, no clock.
package session

import (
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Direction of a packet: from the UE is uplink, to the UE is downlink.
type Direction uint8

// Values of Direction.
const (
	Uplink Direction = iota
	Downlink
)

// Key names one entry of the data path.
//
// Uplink: the F-TEID, so Local and TEID. Downlink: the network instance and the UE's address, so Instance and UE.
// The other fields are zero. A Key is comparable, and used as a map key.
type Key struct {
	Direction Direction
	Local     netip.Addr           // uplink: the outer destination address, which names the slice
	TEID      pfcp.TEID            // uplink
	Instance  pfcp.NetworkInstance // downlink: of the port and VLAN that the packet came in by
	UE        netip.Addr           // downlink: the inner destination address
}

// Action is what happens to a packet that matched an entry.
type Action uint8

// Values of Action.
const (
	ActionForward  Action = iota
	ActionDrop            // the FAR says DROP
	ActionNoHeader        // FORW towards access without Outer Header Creation: dropped under its own reason
)

// Entry is what the data path does with the packets of one direction of one bearer: a PDR with its FAR, QER
// and URR resolved.
type Entry struct {
	Key    Key
	Action Action

	// Uplink: the inner source must be this address (source check); zero: not checked.
	Source netip.Addr
	// Uplink: where the inner packet goes. It names the next hop, by the node's configuration.
	Instance pfcp.NetworkInstance

	// Downlink: the outer header to create.
	Remote     netip.Addr
	RemoteTEID pfcp.TEID
	Local      netip.Addr // the slice's address: outer source

	GateClosed bool
	MBR        uint64 // kbit/s in this direction; 0: not limited

	Origin Origin
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

// Table is what one session compiles to.
type Table map[Key]Entry

// Changes turn one table into another. The data path makes the puts before the deletes, so that a change leaves
// no hole in service; a put of a key that exists keeps that entry's counters.
type Changes struct {
	Puts    []Entry
	Deletes []Key
}

// Usage is what an entry has counted since it was made. It only rises.
type Usage struct {
	Packets uint64
	Octets  uint64 // of inner IP packets, from the first octet of the inner IP header
}

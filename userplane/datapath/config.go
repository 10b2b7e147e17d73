package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Side says what a port faces; a port may face both.
type Side uint8

// Values of Side.
const (
	SideAccess Side = 1 << iota // towards the SGW: G-PDUs to our slices are taken here only
	SideCore                    // towards a network instance: packets to UE addresses are taken here only
)

// Port is a network interface that the program is attached to, or one VLAN of it. An interface may be several ports.
type Port struct {
	Name     string
	VLAN     uint16 // 1..4094; 0: untagged packets. The kernel's VLAN device of it has the node's addresses and routes
	Side     Side
	Instance pfcp.NetworkInstance // of a core port: whose UE addresses arrive here
}

// Slice is a GTP-U service with the TEIDs behind its addresses. Keys of entries have its name.
type Slice struct {
	Address  netip.Addr // IPv4; zero: only IPv6
	Address6 netip.Addr // IPv6; zero: only IPv4
	TEIDs    int        // slots: rounded up to a power of two; active sessions and those whose TEIDs rest
}

func (s Slice) name() netip.Addr { return session.Slice{IPv4: s.Address, IPv6: s.Address6}.Name() }

// Instance is a network instance: where its uplink packets go.
type Instance struct {
	Name     pfcp.NetworkInstance
	Gateway  netip.Addr // next hop of every uplink IPv4 packet; zero: as for IPv6. Resolved by netlink
	Gateway6 netip.Addr // of every IPv6 packet; zero: as for IPv4
	Table    uint32     // instead of both: the kernel's route table whose default routes, as they are now, lead there
	UEToUE   bool       // packets from a UE to another of this node go there at once, by the rules of both
}

// Config sizes and places the data path. Sizes are fixed when the maps are made: with other sizes the pinned maps
// cannot be adopted, and Open says so.
type Config struct {
	PinDir    string // on a bpffs; /sys/fs/bpf/xepc/<node> by convention
	Ports     []Port
	Slices    []Slice
	Instances []Instance

	AddressBlocks int // UE /24s that may hold sessions at a time; 96 octets an address
	Peers         int // pairs of slice and remote GTP-U address
	MaxInstances  int
	Rules         int  // of keys that have several, or one with SDF filters or shared limits
	Cells         int  // usage cells: URRs that need one
	Limits        int  // of them with thresholds or quotas
	Meters        int  // QERs shared by rules, by direction
	Routes        int  // framed routes, and IPv6 prefixes of UEs that are no /64
	Generic       bool // attach in generic (skb) mode: slow, for NICs without native XDP

	// MSS is what TCP SYNs may offer over IPv4, in either direction, octets; over IPv6 20 less. 0: they are left alone.
	// What fits an access MTU of 1500 is 1424.
	MSS uint16

	// ZeroChecksum6 leaves out the UDP checksum of what is sent over IPv6 (RFC 6935): only for SGWs that are known to take it.
	ZeroChecksum6 bool

	ICMPRate uint32 // "too big" messages a second on each CPU; 0: none
	URLRate  uint32 // packets a second that each CPU hands over to be answered, of FARs that redirect to a URL; 0: none

	Burst uint32 // ms of the MBR that a policer lets through at once
}

// Default is a data path without ports, sized for 65,536 sessions.
func Default() Config {
	c := Config{MaxInstances: 256, ICMPRate: 100, URLRate: 2000, Burst: 250}
	c.SizeFor(65536)
	return c
}

// SizeFor sizes the tables for that many sessions, with what they commonly need: each has a UE address and a URR with a
// volume threshold, few have several bearers, SDF filters, shared limits or quotas. With a power of two of TEIDs, all maps
// together take at most 300 octets a session, from 16,384 of them on; few sessions take more, for what every node has.
func (c *Config) SizeFor(sessions int) {
	const few = 256
	blocks := (sessions + blockSize - 1) / blockSize
	c.AddressBlocks = blocks + blocks*denseHosts/blockSize + max(eagerBlocks, blocks/eagerPart)
	c.Rules, c.Cells, c.Limits = max(sessions/32, few), max(sessions/32, few), max(sessions/32, few)
	c.Meters, c.Routes = max(sessions/32, few), max(sessions/64, few)
	c.Peers = min(max(sessions/32, few), 4096)
}

// ring is the size of the ring of packets to the slow path, and of that of copies, octets: a power of two.
func (c Config) ring() uint32 {
	octets := uint32(1 << 17)
	for _, s := range c.Slices {
		octets = max(octets, 8<<slotBits(s.TEIDs))
	}
	return min(octets, 1<<20)
}

// Limits of Config.
const (
	maxTableSlots = 1 << 26 // 4 GiB of entries
	maxPeers      = 1 << 16 // an entry's peer index has 16 bits
	maxPorts      = 64
	maxSlices     = 256
	maxInstances  = tagAccess - 1 // a VLAN tag is their number where packets are injected
	maxNameLength = 100           // octets of a network instance's name, TS 23.003 9.1
	maxBurst      = 2000          // ms: half of it times the highest rate is below 2^63, see bpf/policing.h
)

// Validate lists every fault of c, each naming its key.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.PinDir == "" {
		fault("pin_dir", "missing")
	}
	if c.AddressBlocks < 1 || c.AddressBlocks > maxTableSlots/blockSize {
		fault("address_blocks", "%d is not in 1..%d", c.AddressBlocks, maxTableSlots/blockSize)
	}
	if c.Peers < 1 || c.Peers > maxPeers {
		fault("peers", "%d is not in 1..%d", c.Peers, maxPeers)
	}
	if c.MaxInstances < max(1, len(c.Instances)) || c.MaxInstances > maxInstances {
		fault("max_instances", "%d is not in %d..%d", c.MaxInstances, max(1, len(c.Instances)), maxInstances)
	}
	for key, n := range map[string]int{
		"rules": c.Rules, "cells": c.Cells, "limits": c.Limits, "meters": c.Meters, "routes": c.Routes,
	} {
		if n < 1 || n > maxTableSlots {
			fault(key, "%d is not in 1..%d", n, maxTableSlots)
		}
	}
	if c.Burst < 1 || c.Burst > maxBurst {
		fault("burst", "%d ms is not in 1..%d", c.Burst, maxBurst)
	}
	for key, rate := range map[string]uint32{"icmp_rate": c.ICMPRate, "url_rate": c.URLRate} {
		if rate > 1_000_000 {
			fault(key, "%d is above 1000000", rate)
		}
	}
	if c.MSS != 0 && (c.MSS < 536 || c.MSS > 65000) {
		fault("mss", "%d is not in 536..65000", c.MSS)
	}
	c.validateInstances(fault)
	c.validatePorts(fault)
	c.validateSlices(fault)
	return errors.Join(faults...)
}

// is6: an IPv6 address without zone that is no IPv4 address in disguise.
func is6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

func (c Config) validateInstances(fault func(key, format string, args ...any)) {
	seen := map[pfcp.NetworkInstance]bool{}
	for i, in := range c.Instances {
		key := fmt.Sprintf("instances[%d]", i)
		switch {
		case in.Name == "" || len(in.Name) > maxNameLength:
			fault(key+".name", "%d octets are not in 1..%d", len(in.Name), maxNameLength)
		case seen[in.Name]:
			fault(key+".name", "%q stands twice", in.Name)
		}
		seen[in.Name] = true
		switch {
		case in.Table != 0 && (in.Gateway.IsValid() || in.Gateway6.IsValid()):
			fault(key+".table", "stands beside a gateway: it is the table's default routes that say where packets go")
		case in.Table == unix.RT_TABLE_LOCAL:
			fault(key+".table", "%d is the kernel's table of its own addresses", in.Table)
		case in.Table != 0:
		case !in.Gateway.IsValid() && !in.Gateway6.IsValid():
			fault(key+".gateway", "neither gateway nor gateway6 nor table")
		case in.Gateway.IsValid() && !in.Gateway.Is4():
			fault(key+".gateway", "%v is not an IPv4 address", in.Gateway)
		case in.Gateway6.IsValid() && !is6(in.Gateway6):
			fault(key+".gateway6", "%v is not an IPv6 address", in.Gateway6)
		}
	}
}

func (c Config) validatePorts(fault func(key, format string, args ...any)) {
	type vlan struct {
		name string
		id   uint16
	}
	known, seen := map[pfcp.NetworkInstance]bool{}, map[vlan]bool{}
	for _, in := range c.Instances {
		known[in.Name] = true
	}
	if len(c.Ports) > maxPorts {
		fault("ports", "%d are more than %d", len(c.Ports), maxPorts)
	}
	for i, p := range c.Ports {
		key := fmt.Sprintf("ports[%d]", i)
		switch {
		case p.Name == "":
			fault(key+".name", "missing")
		case seen[vlan{p.Name, p.VLAN}]:
			fault(key+".name", "%q stands twice", p.Name)
		case p.VLAN > 4094:
			fault(key+".vlan", "%d is not in 0..4094", p.VLAN)
		}
		seen[vlan{p.Name, p.VLAN}] = true
		if p.Side == 0 || p.Side&^(SideAccess|SideCore) != 0 {
			fault(key+".side", "%d is neither access nor core", p.Side)
		}
		if p.Side&SideCore != 0 && !known[p.Instance] {
			fault(key+".instance", "%q is not in instances", p.Instance)
		}
	}
}

func (c Config) validateSlices(fault func(key, format string, args ...any)) {
	seen, slots := map[netip.Addr]bool{}, 0
	if len(c.Slices) == 0 || len(c.Slices) > maxSlices {
		fault("slices", "%d are not in 1..%d", len(c.Slices), maxSlices)
	}
	for i, s := range c.Slices {
		key := fmt.Sprintf("slices[%d]", i)
		switch {
		case !s.name().IsValid():
			fault(key+".address", "neither address nor address6")
		case s.Address.IsValid() && !s.Address.Is4():
			fault(key+".address", "%v is not an IPv4 address", s.Address)
		case s.Address6.IsValid() && (!is6(s.Address6) || s.Address6.IsLinkLocalUnicast()):
			fault(key+".address6", "%v is not an IPv6 address that others reach", s.Address6)
		case seen[s.Address]:
			fault(key+".address", "%v stands twice", s.Address)
		case seen[s.Address6]:
			fault(key+".address6", "%v stands twice", s.Address6)
		}
		seen[s.Address], seen[s.Address6] = s.Address.IsValid(), s.Address6.IsValid()
		if s.TEIDs < 1 || s.TEIDs > maxTableSlots {
			fault(key+".teids", "%d is not in 1..%d", s.TEIDs, maxTableSlots)
			continue
		}
		slots += 1 << slotBits(s.TEIDs)
	}
	if slots > maxTableSlots {
		fault("slices", "%d TEIDs in all are more than %d", slots, maxTableSlots)
	}
}

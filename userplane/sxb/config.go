package sxb

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/fteid"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/uepool"
)

// Config is what the edge is made with.
type Config struct {
	NodeID   pfcp.NodeID
	Endpoint pfcp.EndpointConfig // NodeID and RecoveryTimeStamp are set by Open

	Slices    []Slice
	Rest      time.Duration // of a released TEID's slot before it is used again
	Instances session.Instances
	Limits    session.Limits // of one session

	AddressPools []AddressPool // that UE addresses are given out of
	AddressRest  time.Duration // of a released UE address before it is given out again

	Predefined []PredefinedRule // that PDRs may activate by their names

	GBRCapacity pfcp.BitRate // that sessions may be guaranteed in all, kbit/s; 0: without end

	MaxPeers           int // associations
	MaxSessionsPerPeer int
	Shards             int // goroutines that own sessions
	Queue              int // requests that may wait for a shard
	Buffered           int // packets that are kept for idle UEs in all
	BufferedPerFAR     int // and of one FAR; a BAR may suggest fewer

	Peers         []Peer // what is set for single control planes
	AllowUnlisted bool   // associations with control planes that Peers does not name
	Unlisted      Peer   // the settings of those; Address is ignored

	HeartbeatInterval time.Duration // silence of a peer before we ask
	SetupRetry        time.Duration // between attempts to associate with a peer that has Initiate set
	ReleaseLost       time.Duration // after this long without sign of life a peer's sessions go; 0: they stay
	ReportRetry       time.Duration // between attempts to have usage reports confirmed
	Poll              time.Duration // how often what a session's packets do is looked at, where a URR depends on it
	ReplayLifetime    time.Duration // how long the answer of a request given before a restart answers its duplicate
}

// Slice is a GTP-U service with the TEIDs behind its addresses.
type Slice struct {
	Address  netip.Addr // IPv4; zero: only IPv6
	Address6 netip.Addr // IPv6; zero: only IPv4
	Slots    int        // a power of two
}

func (s Slice) addresses() session.Slice { return session.Slice{IPv4: s.Address, IPv6: s.Address6} }

// Peer holds the settings of one control plane.
type Peer struct {
	Address            netip.Addr
	Port               uint16 // where it takes requests
	Initiate           bool   // we set the association up; otherwise we wait for it to
	AssociateOnUnknown bool   // we try to when it asks for a session without one: Open5GS never would
	AcceptCPFTEID      bool   // it may choose F-TEIDs although we announce FTUP; the standard's cause is 71
	RestartOnHeartbeat bool   // another Recovery Time Stamp in a heartbeat means a restart; pfcpsim's changes all the time
	EndAtSetup         bool   // an Association Setup Request ends its sessions, also with the Recovery Time Stamp of before
}

// Port is where PFCP entities take requests, TS 29.244 6.4 and 7.2.
const Port = 8805

// DefaultConfig returns what suits a node of one slice; NodeID, Endpoint.Listen, Slices and Instances are the
// caller's.
func DefaultConfig() Config {
	return Config{
		Endpoint:           pfcp.DefaultEndpointConfig(),
		Rest:               fteid.Rest,
		AddressRest:        uepool.Rest,
		Limits:             session.DefaultLimits(),
		MaxPeers:           64,
		MaxSessionsPerPeer: 1 << 20,
		Shards:             4,
		Queue:              4096,
		Buffered:           32768,
		BufferedPerFAR:     64,
		AllowUnlisted:      true,
		Unlisted:           Peer{Port: Port, AssociateOnUnknown: true},
		HeartbeatInterval:  10 * time.Second,
		SetupRetry:         5 * time.Second,
		ReportRetry:        10 * time.Second,
		Poll:               time.Second,
		ReplayLifetime:     30 * time.Second,
	}
}

// Validate lists every fault, each beginning with the name of what is wrong.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.NodeID == (pfcp.NodeID{}) {
		fault("node_id", "missing")
	}
	if a := c.Endpoint.Listen.Addr(); !a.Is4() || a.IsUnspecified() {
		fault("address", "%v is no IPv4 address of this host: it goes into every F-SEID", a)
	}
	if len(c.Slices) == 0 {
		fault("slices", "none")
	}
	for i, s := range c.Slices {
		if !s.addresses().Name().IsValid() {
			fault(fmt.Sprintf("slices[%d]", i), "no address")
		}
		if _, err := fteid.New(s.Slots, c.Rest, 0, time.Time{}); err != nil {
			fault(fmt.Sprintf("slices[%d]", i), "%v", err)
		}
	}
	c.validatePools(fault)
	c.validatePredefined(fault)
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"max_peers", int64(c.MaxPeers)},
		{"max_sessions_per_peer", int64(c.MaxSessionsPerPeer)},
		{"shards", int64(c.Shards)},
		{"queue", int64(c.Queue)},
		{"buffered_packets", int64(c.Buffered)},
		{"buffered_packets_per_far", int64(c.BufferedPerFAR)},
		{"heartbeat_interval", int64(c.HeartbeatInterval)},
		{"setup_retry", int64(c.SetupRetry)},
		{"report_retry", int64(c.ReportRetry)},
		{"usage_poll", int64(c.Poll)},
		{"replay_lifetime", int64(c.ReplayLifetime)},
	} {
		if n.value <= 0 {
			fault(n.key, "must be above 0")
		}
	}
	return errors.Join(faults...)
}

// validatePools checks the pools of UE addresses: each has a name of its own, and no address is in two of a network
// instance.
func (c Config) validatePools(fault func(key, format string, args ...any)) {
	for i, p := range c.AddressPools {
		key := fmt.Sprintf("ue_pools[%d]", i)
		if p.Name == "" {
			fault(key+".name", "missing")
		}
		if !slices.Contains(c.Instances.Known, p.Instance) {
			fault(key+".network_instance", "%q is not in network_instances", p.Instance)
		}
		if !p.IPv4.IsValid() && !p.IPv6.IsValid() {
			fault(key, "neither ipv4 nor ipv6")
		}
		if p.IPv4.IsValid() && !p.IPv4.Addr().Is4() {
			fault(key+".ipv4", "%v", p.IPv4)
		}
		if p.IPv6.IsValid() && !p.IPv6.Addr().Is6() {
			fault(key+".ipv6", "%v", p.IPv6)
		}
		if _, err := newAddresses([]AddressPool{p}, c.Instances, c.AddressRest); err != nil {
			fault(key, "%v", err)
		}
		for j, other := range c.AddressPools[:i] {
			if other.Name == p.Name {
				fault(key+".name", "%q is that of ue_pools[%d]", p.Name, j)
			}
			if other.Instance == p.Instance && (other.IPv4.Overlaps(p.IPv4) || other.IPv6.Overlaps(p.IPv6)) {
				fault(key, "has addresses of ue_pools[%d]", j)
			}
		}
	}
}

// validatePredefined checks the predefined rules.
func (c Config) validatePredefined(fault func(key, format string, args ...any)) {
	for i := range c.Predefined {
		d, key := &c.Predefined[i].Predefined, fmt.Sprintf("predefined_rules[%d]", i)
		if d.Name == "" {
			fault(key+".name", "missing")
		}
		if len(d.Filters) > c.Limits.Filters {
			fault(key+".filters", "%d: a PDR has at most %d", len(d.Filters), c.Limits.Filters)
		}
		if _, ok := c.Instances.Resolve(d.Instance); d.Action == pfcp.Some(session.ActionForward) && !ok {
			fault(key+".network_instance", "%q is not in network_instances", d.Instance)
		}
		for j := range c.Predefined[:i] {
			if d.SameID(&c.Predefined[j].Predefined) {
				fault(key+".name", "%q is the same as, or cannot be told from that of predefined_rules[%d]", d.Name, j)
			}
		}
	}
}

// features is what UP Function Features says.
func (c Config) features() pfcp.UPFunctionFeatures {
	f := Features
	if len(c.AddressPools) > 0 {
		f |= pfcp.FeatureUEIP
	}
	if len(c.Predefined) > 0 {
		f |= pfcp.FeatureADPDP
	}
	return f
}

// setting returns what is configured for the control plane at addr, and whether it may associate.
func (c *Config) setting(addr netip.Addr) (Peer, bool) {
	for _, p := range c.Peers {
		if p.Address == addr {
			if p.Port == 0 {
				p.Port = Port
			}
			return p, true
		}
	}
	p := c.Unlisted
	p.Address, p.Initiate = addr, false
	if p.Port == 0 {
		p.Port = Port
	}
	return p, c.AllowUnlisted
}

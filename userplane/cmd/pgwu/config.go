package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/fteid"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/slowpath"
	"github.com/xepc/xepc/userplane/sxb"
)

// Config is the configuration of the PGW-U; docs/pgwu.md explains every key.
type Config struct {
	node.Config `yaml:",inline"`

	NodeID   string     `yaml:"node_id"`   // an IPv4 address or an FQDN
	StateDir string     `yaml:"state_dir"` // of the journal; on tmpfs
	PinDir   string     `yaml:"pin_dir"`   // of the data path's maps; on a bpffs
	PFCP     PFCPConfig `yaml:"pfcp"`

	ControlPlanes []ControlPlane `yaml:"control_planes"` // settings of single control planes

	Ports            []Port     `yaml:"ports"`
	Slices           []Slice    `yaml:"slices"`
	NetworkInstances []Instance `yaml:"network_instances"`
	UEPools          []UEPool   `yaml:"ue_pools"` // of UE addresses that control planes leave to us

	UEAddressRest time.Duration `yaml:"ue_address_rest"` // of a released UE address before it is given out again

	PredefinedRules []PredefinedRule `yaml:"predefined_rules"` // that control planes activate by their names

	DefaultNetworkInstance string `yaml:"default_network_instance"` // of a rule that names none; "": the only one configured
	UnknownNetworkInstance string `yaml:"unknown_network_instance"` // refuse, or default

	GTPU            GTPUConfig      `yaml:"gtpu"`
	DataPath        DataPathConfig  `yaml:"data_path"`
	RulesPerSession PerSessionRules `yaml:"rules_per_session"`
}

// PFCPConfig is about Sxb as a whole.
type PFCPConfig struct {
	Address            string        `yaml:"address"`          // IPv4, or IPv4:port; it goes into every F-SEID
	T1                 time.Duration `yaml:"t1"`               // before a request is sent again
	N1                 int           `yaml:"n1"`               // retransmissions
	Readers            int           `yaml:"readers"`          // goroutines that read the socket
	Shards             int           `yaml:"shards"`           // goroutines that own sessions
	Queue              int           `yaml:"queue"`            // requests that may wait for a shard
	Buffered           int           `yaml:"buffered_packets"` // kept for idle UEs in all
	BufferedPerFAR     int           `yaml:"buffered_packets_per_far"`
	HeartbeatInterval  time.Duration `yaml:"heartbeat_interval"`    // silence before we send one
	UsagePoll          time.Duration `yaml:"usage_poll"`            // how often counters are read where a URR depends on them
	ReportRetry        time.Duration `yaml:"report_retry"`          // between attempts to have usage reports confirmed
	SetupRetry         time.Duration `yaml:"setup_retry"`           // between attempts to associate
	ReleaseLostAfter   time.Duration `yaml:"release_lost_after"`    // 0s: sessions of a lost control plane stay
	GBRUplink          uint64        `yaml:"gbr_uplink"`            // kbit/s that may be guaranteed in all; 0: without end
	GBRDownlink        uint64        `yaml:"gbr_downlink"`          // likewise
	MaxPeers           int           `yaml:"max_peers"`             // associations
	MaxSessionsPerPeer int           `yaml:"max_sessions_per_peer"` // beyond: cause 75
	AllowUnlisted      bool          `yaml:"allow_unlisted"`        // control planes that control_planes does not name
	Unlisted           PeerConfig    `yaml:"unlisted"`              // their settings
}

// PeerConfig is what can be set for a control plane.
type PeerConfig struct {
	AssociateOnUnknown bool `yaml:"associate_on_unknown"` // set an association up when it asks for a session without one
	AcceptCPFTEID      bool `yaml:"accept_cp_fteid"`      // it may choose F-TEIDs; else cause 71
	RestartOnHeartbeat bool `yaml:"restart_on_heartbeat"` // another Recovery Time Stamp in a heartbeat is a restart
	EndAtSetup         bool `yaml:"end_at_setup"`         // an Association Setup Request ends its sessions, with whatever stamp
}

// ControlPlane is a control plane with settings of its own.
type ControlPlane struct {
	Address    string `yaml:"address"`
	Port       uint16 `yaml:"port"`     // where it takes requests; 0: 8805
	Initiate   bool   `yaml:"initiate"` // we set the association up
	PeerConfig `yaml:",inline"`
}

// Port is a network interface.
type Port struct {
	Name            string `yaml:"name"`
	VLAN            int    `yaml:"vlan"`             // of it, by its tag; 0: untagged packets
	NetworkInstance string `yaml:"network_instance"` // makes it a core port
	Access          bool   `yaml:"access"`           // a core port that is an access port too
}

// Slice is a GTP-U service address.
type Slice struct {
	Address  string `yaml:"address"`  // IPv4
	Address6 string `yaml:"address6"` // IPv6, beside it or alone
	Sessions int    `yaml:"sessions"` // TEIDs: live ones and those that rest
}

// Instance is a network instance.
type Instance struct {
	Name     string `yaml:"name"`
	Gateway  string `yaml:"gateway"`  // next hop of its uplink packets: IPv4
	Gateway6 string `yaml:"gateway6"` // next hop of its uplink IPv6 packets; "": gateway
	Table    int    `yaml:"table"`    // of the kernel, whose default routes are the next hops, instead of both; 0: none
	UEToUE   bool   `yaml:"ue_to_ue"` // packets between two of its UEs turn in the program
}

// UEPool is a pool of UE addresses.
type UEPool struct {
	Name            string `yaml:"name"` // UE IP address Pool Identity
	NetworkInstance string `yaml:"network_instance"`
	IPv4            string `yaml:"ipv4"` // prefix; "": none
	IPv6            string `yaml:"ipv6"` // prefix, of which /64s are given out; "": none
}

// PredefinedRule is a rule that a PDR activates by its name.
type PredefinedRule struct {
	Name            string   `yaml:"name"`
	Filters         []string `yaml:"filters"`          // flow descriptions; none: every packet
	Action          string   `yaml:"action"`           // forward (from the UE) or drop, for PDRs without FAR; "": none
	NetworkInstance string   `yaml:"network_instance"` // to forward to; "": the default
	MBRUplink       uint64   `yaml:"mbr_uplink"`       // kbit/s; 0: not limited
	MBRDownlink     uint64   `yaml:"mbr_downlink"`     // kbit/s; 0: not limited
	URRs            []uint32 `yaml:"urrs"`             // of the session, to count in
	ControlPlanes   []string `yaml:"control_planes"`   // addresses that may activate it; none: all
}

// GTPUConfig is about GTP-U signalling and TEIDs.
type GTPUConfig struct {
	TEIDRest            time.Duration `yaml:"teid_rest"`              // of a released TEID's slot before its reuse
	IndicationsPerPeer  int           `yaml:"indications_per_peer"`   // Error Indications a second
	IndicationHold      time.Duration `yaml:"indication_hold"`        // none for so long after a start that lost sessions
	IndicationQueue     int           `yaml:"indication_queue"`       // unknown TEIDs that may wait
	IndicationPeerLimit int           `yaml:"indication_peers_known"` // peers that are remembered for the rate
	ReassemblyQueue     int           `yaml:"reassembly_queue"`       // G-PDUs put together from fragments that may wait
	EchoInterval        time.Duration `yaml:"echo_interval"`          // of Echo Requests to peers that sessions send to; 0s: none
	EchoT3              time.Duration `yaml:"echo_t3"`                // before an Echo Request is sent again
	EchoN3              int           `yaml:"echo_n3"`                // Echo Requests before a path has failed
	ZeroChecksumIPv6    bool          `yaml:"zero_checksum_ipv6"`     // G-PDUs over IPv6 leave without UDP checksum, RFC 6935
}

// DataPathConfig sizes the maps; 0: by the sessions of the slices. Sizes are fixed while the maps live.
type DataPathConfig struct {
	AddressBlocks int           `yaml:"address_blocks"` // UE /24s that may hold sessions at a time
	Peers         int           `yaml:"peers"`          // pairs of slice and remote GTP-U address
	MaxInstances  int           `yaml:"max_instances"`
	Rules         int           `yaml:"rules"`     // of UEs or TEIDs that have several, or one with filters or shared limits
	Cells         int           `yaml:"cells"`     // URRs that need one
	Limits        int           `yaml:"limits"`    // URRs with volume thresholds or quotas
	Meters        int           `yaml:"meters"`    // QERs that several rules share, by direction
	Routes        int           `yaml:"routes"`    // framed routes, and IPv6 prefixes of UEs that are no /64
	Burst         time.Duration `yaml:"burst"`     // of an MBR's rate that passes at once
	MSS           int           `yaml:"mss"`       // that TCP may offer over IPv4, octets; over IPv6 20 less. 0: left alone
	ICMPRate      int           `yaml:"icmp_rate"` // "too big" messages a second on each CPU; 0: none
	URLRate       int           `yaml:"url_rate"`  // packets a second that each CPU hands over, redirected to a URL; 0: none
	Generic       bool          `yaml:"generic"`   // XDP in the kernel's generic mode: slow
}

// PerSessionRules caps the rules of one session; beyond: cause 75.
type PerSessionRules struct {
	PDRs int `yaml:"pdrs"`
	FARs int `yaml:"fars"`
	QERs int `yaml:"qers"`
	URRs int `yaml:"urrs"`

	Filters int `yaml:"filters"` // SDF filters of one PDR
}

func defaultConfig() *Config {
	edge, slow, dp, limits := sxb.DefaultConfig(), slowpath.DefaultConfig(), datapath.Default(), session.DefaultLimits()
	return &Config{
		Config:   node.DefaultConfig(nodeName),
		StateDir: "/run/xepc/pgwu",
		PinDir:   "/sys/fs/bpf/xepc/pgwu",
		PFCP: PFCPConfig{
			T1: edge.Endpoint.T1, N1: edge.Endpoint.N1, Readers: edge.Endpoint.Readers, Shards: edge.Shards,
			Queue: edge.Queue, Buffered: edge.Buffered, BufferedPerFAR: edge.BufferedPerFAR, HeartbeatInterval: edge.HeartbeatInterval, SetupRetry: edge.SetupRetry,
			UsagePoll: edge.Poll, ReportRetry: edge.ReportRetry,
			MaxPeers: edge.MaxPeers, MaxSessionsPerPeer: edge.MaxSessionsPerPeer, AllowUnlisted: edge.AllowUnlisted,
			Unlisted: PeerConfig{AssociateOnUnknown: edge.Unlisted.AssociateOnUnknown},
		},
		UnknownNetworkInstance: unknownRefuse, UEAddressRest: edge.AddressRest,
		GTPU: GTPUConfig{
			TEIDRest: fteid.Rest, IndicationsPerPeer: slow.PerPeer, IndicationQueue: slow.Queue,
			IndicationPeerLimit: slow.Peers, EchoInterval: slow.Supervision.Interval, EchoT3: slow.Supervision.T3,
			EchoN3: slow.Supervision.N3, ReassemblyQueue: slow.InjectQueue,
		},
		DataPath: DataPathConfig{
			MaxInstances: dp.MaxInstances,
			Burst:        time.Duration(dp.Burst) * time.Millisecond, ICMPRate: int(dp.ICMPRate), URLRate: int(dp.URLRate),
		},
		RulesPerSession: PerSessionRules{PDRs: limits.PDRs, FARs: limits.FARs, QERs: limits.QERs, URRs: limits.URRs, Filters: limits.Filters},
	}
}

// Values of unknown_network_instance.
const (
	unknownRefuse  = "refuse"
	unknownDefault = "default"
)

// faults collects what is wrong, each with its key.
type faults []error

func (f *faults) add(key, format string, args ...any) {
	*f = append(*f, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

// under adds faults of a part, with the part's keys put into the words of the file. Of a key whose value was faulty already the
// part has none, or another one in its place, so that what it says of it is left out.
func (f *faults) under(prefix string, err error, words ...string) {
	if err == nil {
		return
	}
	rename := strings.NewReplacer(words...)
	for line := range strings.Lines(err.Error()) {
		line = rename.Replace(prefix + strings.TrimSuffix(line, "\n"))
		if key, _, _ := strings.Cut(line, ": "); !f.has(key) {
			*f = append(*f, errors.New(line))
		}
	}
}

// has says whether a fault of a key, or of a part of it, is listed.
func (f *faults) has(key string) bool {
	return slices.ContainsFunc(*f, func(err error) bool {
		rest, ok := strings.CutPrefix(err.Error(), key)
		return ok && (rest == "" || strings.ContainsRune(":.[", rune(rest[0])))
	})
}

// Validate lists every fault, each beginning with its key.
func (c *Config) Validate() error {
	var f faults
	f.under("", c.Config.Validate())
	if c.NodeID == "" {
		f.add("node_id", "missing")
	}
	if c.StateDir == "" {
		f.add("state_dir", "missing")
	}
	if a, err := c.pfcpAddress(); c.PFCP.Address == "" {
		f.add("pfcp.address", "missing")
	} else if err != nil || !a.Addr().Is4() {
		f.add("pfcp.address", "%q is neither IPv4 nor IPv4:port", c.PFCP.Address)
	}
	for i, p := range c.ControlPlanes {
		f.address(fmt.Sprintf("control_planes[%d].address", i), p.Address)
	}
	for i, s := range c.Slices {
		f.addresses(fmt.Sprintf("slices[%d].address", i), s.Address, s.Address6)
		if s.Sessions > fteid.MaxSlots {
			f.add(fmt.Sprintf("slices[%d].sessions", i), "%d is above %d", s.Sessions, fteid.MaxSlots)
		}
	}
	for i, n := range c.NetworkInstances {
		if n.Table < 0 || int64(n.Table) > math.MaxUint32 {
			f.add(fmt.Sprintf("network_instances[%d].table", i), "%d is not in 0..%d", n.Table, int64(math.MaxUint32))
		}
		if n.Table == 0 || n.Gateway != "" || n.Gateway6 != "" {
			f.addresses(fmt.Sprintf("network_instances[%d].gateway", i), n.Gateway, n.Gateway6)
		}
	}
	for i, p := range c.UEPools {
		for key, text := range map[string]string{"ipv4": p.IPv4, "ipv6": p.IPv6} {
			if _, err := netip.ParsePrefix(text); err != nil && text != "" {
				f.add(fmt.Sprintf("ue_pools[%d].%s", i, key), "%q is no prefix", text)
			}
		}
	}
	for i, r := range c.PredefinedRules {
		if _, err := r.rule(); err != nil {
			f.under(fmt.Sprintf("predefined_rules[%d].", i), err)
		}
	}
	for i, p := range c.Ports {
		if p.VLAN < 0 || p.VLAN > 4094 {
			f.add(fmt.Sprintf("ports[%d].vlan", i), "%d is not in 0..4094", p.VLAN)
		}
	}
	c.validateNames(&f)
	c.validateNumbers(&f)
	f.under("", c.dataPath().Validate(), "instances[", "network_instances[", ".teids", ".sessions", ".instance:", ".network_instance:",
		"address_blocks:", "data_path.address_blocks:", "peers:", "data_path.peers:", "rules:", "data_path.rules:", "cells:", "data_path.cells:",
		"limits:", "data_path.limits:", "meters:", "data_path.meters:", "routes:", "data_path.routes:", "max_instances:", "data_path.max_instances:",
		"burst:", "data_path.burst:", "icmp_rate:", "data_path.icmp_rate:", "url_rate:", "data_path.url_rate:", "mss:", "data_path.mss:", "in instances", "in network_instances")
	f.under("pfcp.", c.edge().Validate(), "pfcp.ue_pools[", "ue_pools[", "pfcp.predefined_rules[", "predefined_rules[",
		"pfcp.slices", "slices", "pfcp.node_id", "node_id")
	return errors.Join(f...)
}

// address checks that a value is an IPv4 address.
func (f *faults) address(key, value string) {
	if a, err := netip.ParseAddr(value); value == "" {
		f.add(key, "missing")
	} else if err != nil || !a.Is4() {
		f.add(key, "%q is not an IPv4 address", value)
	}
}

// addresses checks a pair of keys, the second of which ends in 6, that hold an address of each family, or of one.
func (f *faults) addresses(key, value, value6 string) {
	if value != "" || value6 == "" {
		f.address(key, value)
	}
	if a, err := netip.ParseAddr(value6); value6 != "" && (err != nil || !a.Is6()) {
		f.add(key+"6", "%q is not an IPv6 address", value6)
	}
}

func (c *Config) validateNames(f *faults) {
	if len(c.Ports) == 0 {
		f.add("ports", "none: the data path would see no packet")
	}
	if len(c.Ports) > 0 && !slices.ContainsFunc(c.Ports, func(p Port) bool { return p.NetworkInstance == "" || p.Access }) {
		f.add("ports", "none is an access port: no tunnel could end here")
	}
	for i, n := range c.NetworkInstances {
		if !slices.ContainsFunc(c.Ports, func(p Port) bool { return strings.EqualFold(p.NetworkInstance, n.Name) }) {
			f.add(fmt.Sprintf("network_instances[%d].name", i), "%q has no port: no packet to its UEs could come in", n.Name)
		}
	}
	seen := map[string]bool{}
	for i, p := range c.ControlPlanes {
		if seen[p.Address] {
			f.add(fmt.Sprintf("control_planes[%d].address", i), "%s stands twice", p.Address)
		}
		seen[p.Address] = true
	}
	if d := c.DefaultNetworkInstance; d != "" && !c.knows(d) {
		f.add("default_network_instance", "%q is not in network_instances", d)
	}
	if u := c.UnknownNetworkInstance; u != unknownRefuse && u != unknownDefault {
		f.add("unknown_network_instance", "%q, want %s or %s", u, unknownRefuse, unknownDefault)
	}
}

func (c *Config) validateNumbers(f *faults) {
	for _, n := range []struct {
		key          string
		value, least int64
	}{
		{"pfcp.t1", int64(c.PFCP.T1), 1},
		{"pfcp.n1", int64(c.PFCP.N1), 0},
		{"pfcp.readers", int64(c.PFCP.Readers), 1},
		{"pfcp.release_lost_after", int64(c.PFCP.ReleaseLostAfter), 0},
		{"gtpu.teid_rest", int64(c.GTPU.TEIDRest), 0},
		{"ue_address_rest", int64(c.UEAddressRest), 0},
		{"gtpu.indications_per_peer", int64(c.GTPU.IndicationsPerPeer), 1},
		{"gtpu.indication_hold", int64(c.GTPU.IndicationHold), 0},
		{"gtpu.indication_queue", int64(c.GTPU.IndicationQueue), 1},
		{"gtpu.indication_peers_known", int64(c.GTPU.IndicationPeerLimit), 1},
		{"gtpu.reassembly_queue", int64(c.GTPU.ReassemblyQueue), 1},
		{"gtpu.echo_interval", int64(c.GTPU.EchoInterval), 0},
		{"gtpu.echo_t3", int64(c.GTPU.EchoT3), 1},
		{"gtpu.echo_n3", int64(c.GTPU.EchoN3), 1},
		{"data_path.icmp_rate", int64(c.DataPath.ICMPRate), 0},
		{"data_path.url_rate", int64(c.DataPath.URLRate), 0},
		{"data_path.mss", int64(c.DataPath.MSS), 0},
		{"rules_per_session.pdrs", int64(c.RulesPerSession.PDRs), 1},
		{"rules_per_session.fars", int64(c.RulesPerSession.FARs), 1},
		{"rules_per_session.qers", int64(c.RulesPerSession.QERs), 0},
		{"rules_per_session.filters", int64(c.RulesPerSession.Filters), 0},
		{"rules_per_session.urrs", int64(c.RulesPerSession.URRs), 0},
	} {
		if n.value < n.least {
			f.add(n.key, "%d is below %d", n.value, n.least)
		}
	}
}

func (c *Config) knows(instance string) bool {
	for _, n := range c.NetworkInstances {
		if strings.EqualFold(n.Name, instance) {
			return true
		}
	}
	return false
}

// pfcpAddress is where the edge takes requests: port 8805 unless the file says otherwise.
func (c *Config) pfcpAddress() (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(c.PFCP.Address); err == nil {
		return a, nil
	}
	a, err := netip.ParseAddr(c.PFCP.Address)
	return netip.AddrPortFrom(a, sxb.Port), err
}

func instanceName(s string) pfcp.NetworkInstance { return pfcp.NetworkInstance(strings.ToLower(s)) }

// parse reads an address that Validate has seen.
func parse(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

func (c *Config) instances() session.Instances {
	in := session.Instances{
		Default: instanceName(c.DefaultNetworkInstance), UnknownIsDefault: c.UnknownNetworkInstance == unknownDefault,
	}
	for _, n := range c.NetworkInstances {
		in.Known = append(in.Known, instanceName(n.Name))
	}
	if in.Default == "" && len(in.Known) == 1 {
		in.Default = in.Known[0]
	}
	return in
}

// edge is the configuration of the PFCP edge.
func (c *Config) edge() sxb.Config {
	e := sxb.DefaultConfig()
	e.NodeID = pfcp.NodeID{FQDN: c.NodeID}
	if a, err := netip.ParseAddr(c.NodeID); err == nil {
		e.NodeID = pfcp.NodeID{Addr: a}
	}
	e.Endpoint.Listen, _ = c.pfcpAddress() // Validate has seen it
	e.Endpoint.T1, e.Endpoint.N1, e.Endpoint.Readers = c.PFCP.T1, c.PFCP.N1, c.PFCP.Readers
	for _, s := range c.Slices {
		e.Slices = append(e.Slices, sxb.Slice{Address: parse(s.Address), Address6: parse(s.Address6), Slots: 1 << datapath.SlotBits(s.Sessions)})
	}
	e.Rest, e.Instances, e.Limits = c.GTPU.TEIDRest, c.instances(), session.Limits(c.RulesPerSession)
	for _, r := range c.PredefinedRules {
		rule, _ := r.rule() // Validate has seen it
		e.Predefined = append(e.Predefined, rule)
	}
	e.AddressRest = c.UEAddressRest
	for _, p := range c.UEPools {
		pool := sxb.AddressPool{Name: p.Name, Instance: instanceName(p.NetworkInstance)}
		pool.IPv4, _ = netip.ParsePrefix(p.IPv4) // Validate has seen them
		pool.IPv6, _ = netip.ParsePrefix(p.IPv6)
		e.AddressPools = append(e.AddressPools, pool)
	}
	e.MaxPeers, e.MaxSessionsPerPeer, e.Shards, e.Queue = c.PFCP.MaxPeers, c.PFCP.MaxSessionsPerPeer, c.PFCP.Shards, c.PFCP.Queue
	e.AllowUnlisted, e.Unlisted = c.PFCP.AllowUnlisted, c.PFCP.Unlisted.peer()
	for _, p := range c.ControlPlanes {
		peer := p.peer()
		peer.Address, peer.Port, peer.Initiate = parse(p.Address), cmp.Or(p.Port, sxb.Port), p.Initiate
		e.Peers = append(e.Peers, peer)
	}
	e.HeartbeatInterval, e.SetupRetry, e.ReleaseLost = c.PFCP.HeartbeatInterval, c.PFCP.SetupRetry, c.PFCP.ReleaseLostAfter
	e.Buffered, e.BufferedPerFAR = c.PFCP.Buffered, c.PFCP.BufferedPerFAR
	e.GBRCapacity = pfcp.BitRate{Uplink: c.PFCP.GBRUplink, Downlink: c.PFCP.GBRDownlink}
	e.Poll, e.ReportRetry = c.PFCP.UsagePoll, c.PFCP.ReportRetry
	return e
}

func (p PeerConfig) peer() sxb.Peer {
	return sxb.Peer{
		Port: sxb.Port, AssociateOnUnknown: p.AssociateOnUnknown, AcceptCPFTEID: p.AcceptCPFTEID,
		RestartOnHeartbeat: p.RestartOnHeartbeat, EndAtSetup: p.EndAtSetup,
	}
}

// rule is the rule as the edge has it.
func (r PredefinedRule) rule() (sxb.PredefinedRule, error) {
	var faults []error
	d := sxb.PredefinedRule{Predefined: session.Predefined{
		Name: r.Name, Instance: instanceName(r.NetworkInstance),
		MBR: pfcp.BitRate{Uplink: r.MBRUplink, Downlink: r.MBRDownlink},
	}}
	for i, text := range r.Filters {
		filter, err := session.ParseFlowDescription(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("filters[%d]: %w", i, err))
		}
		d.Filters = append(d.Filters, filter)
	}
	switch r.Action {
	case "":
	case "forward":
		d.Action = pfcp.Some(session.ActionForward)
	case "drop":
		d.Action = pfcp.Some(session.ActionDrop)
	default:
		faults = append(faults, fmt.Errorf("action: %q is neither forward nor drop", r.Action))
	}
	for _, id := range r.URRs {
		d.URRIDs = append(d.URRIDs, pfcp.URRID(id))
	}
	for i, text := range r.ControlPlanes {
		a, err := netip.ParseAddr(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("control_planes[%d]: %q is no address", i, text))
		}
		d.ControlPlanes = append(d.ControlPlanes, a)
	}
	return d, errors.Join(faults...)
}

// sessions are those of all slices.
func (c *Config) sessions() (sum int) {
	for _, s := range c.Slices {
		sum += min(max(s.Sessions, 0), fteid.MaxSlots) // Validate tells of more
	}
	return sum
}

// dataPath is the configuration of the data path.
func (c *Config) dataPath() datapath.Config {
	d := datapath.Default()
	d.PinDir, d.Generic = c.PinDir, c.DataPath.Generic
	d.MaxInstances = c.DataPath.MaxInstances
	d.SizeFor(c.sessions())
	for _, size := range []struct {
		of    *int
		given int
	}{
		{&d.AddressBlocks, c.DataPath.AddressBlocks},
		{&d.Peers, c.DataPath.Peers},
		{&d.Rules, c.DataPath.Rules},
		{&d.Cells, c.DataPath.Cells},
		{&d.Limits, c.DataPath.Limits},
		{&d.Meters, c.DataPath.Meters},
		{&d.Routes, c.DataPath.Routes},
	} {
		if size.given != 0 {
			*size.of = size.given
		}
	}
	d.ZeroChecksum6, d.ICMPRate = c.GTPU.ZeroChecksumIPv6, uint32(max(c.DataPath.ICMPRate, 0))
	d.URLRate = uint32(max(c.DataPath.URLRate, 0))
	d.MSS = uint16(min(max(c.DataPath.MSS, 0), math.MaxUint16))
	d.Burst = uint32(min(c.DataPath.Burst.Milliseconds(), 1<<31))
	for _, p := range c.Ports {
		port := datapath.Port{Name: p.Name, VLAN: uint16(p.VLAN), Side: datapath.SideAccess, Instance: instanceName(p.NetworkInstance)}
		if p.NetworkInstance != "" {
			port.Side = datapath.SideCore
			if p.Access {
				port.Side |= datapath.SideAccess
			}
		}
		d.Ports = append(d.Ports, port)
	}
	for _, s := range c.Slices {
		d.Slices = append(d.Slices, datapath.Slice{Address: parse(s.Address), Address6: parse(s.Address6), TEIDs: s.Sessions})
	}
	for _, n := range c.NetworkInstances {
		d.Instances = append(d.Instances, datapath.Instance{
			Name: instanceName(n.Name), Gateway: parse(n.Gateway), Gateway6: parse(n.Gateway6), Table: uint32(n.Table), UEToUE: n.UEToUE,
		})
	}
	return d
}

// slowPath is the configuration of the slow path, but for when it may begin to indicate errors.
func (c *Config) slowPath() slowpath.Config {
	s := slowpath.DefaultConfig()
	s.Supervision.Interval, s.Supervision.T3, s.Supervision.N3 = c.GTPU.EchoInterval, c.GTPU.EchoT3, c.GTPU.EchoN3
	s.PerPeer, s.Queue, s.Peers = c.GTPU.IndicationsPerPeer, c.GTPU.IndicationQueue, c.GTPU.IndicationPeerLimit
	s.InjectQueue = c.GTPU.ReassemblyQueue
	for _, slice := range c.Slices {
		for _, a := range []string{slice.Address, slice.Address6} {
			if a != "" {
				s.Slices = append(s.Slices, parse(a))
			}
		}
	}
	return s
}

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xepc/xepc/controlplane/ippool"
	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
)

// Config is the configuration of the PGW-C; docs/pgwc.md explains every key.
type Config struct {
	node.Config `yaml:",inline"`

	S8          S8Config      `yaml:"s8"`
	PFCP        PFCPConfig    `yaml:"pfcp"`
	StateDir    string        `yaml:"state_dir"`    // folder of the generation of session state
	Instance    uint8         `yaml:"instance"`     // of this PGW-C among those of a network: in its TEIDs and SEIDs
	MaxSessions int           `yaml:"max_sessions"` // PDN connections
	AddressRest time.Duration `yaml:"address_rest"` // of a released UE address, before it is given out again
	Nodes       []NodeConfig  `yaml:"nodes"`
	Pools       []PoolConfig  `yaml:"pools"`
	APNs        []APNConfig   `yaml:"apns"`
}

// S8Config is the GTPv2-C side.
type S8Config struct {
	Address      netip.AddrPort `yaml:"address"`         // one address: it stands in our F-TEIDs; port 2123
	Peers        []netip.Prefix `yaml:"peers,omitempty"` // addresses that are listened to; none: all
	T3           time.Duration  `yaml:"t3"`              // wait before a request of ours is sent again, TS 29.274 7.6
	N3           int            `yaml:"n3"`              // how often it is sent again
	EchoInterval time.Duration  `yaml:"echo_interval"`   // between Echo Requests to an SGW with sessions; at least 60s
}

// PFCPConfig is the Sxb side.
type PFCPConfig struct {
	Address           netip.AddrPort `yaml:"address"`            // one address: it stands in our F-SEIDs; port 8805
	NodeID            string         `yaml:"node_id"`            // an address or an FQDN; "": the address
	T1                time.Duration  `yaml:"t1"`                 // wait before a request is sent again, TS 29.244 6.4
	N1                int            `yaml:"n1"`                 // how often it is sent again
	HeartbeatInterval time.Duration  `yaml:"heartbeat_interval"` // between Heartbeat Requests to a PGW-U
	StartWait         time.Duration  `yaml:"start_wait"`         // most that the start waits for the PGW-Us
}

// NodeConfig is a PGW-U.
type NodeConfig struct {
	Name    string         `yaml:"name"`
	Address netip.AddrPort `yaml:"address"` // of its PFCP
}

// PoolConfig is a pool of UE addresses.
type PoolConfig struct {
	Name   string        `yaml:"name"`
	Chunks []ChunkConfig `yaml:"chunks"`
}

// ChunkConfig is a prefix of UE addresses that one PGW-U serves.
type ChunkConfig struct {
	Prefix netip.Prefix `yaml:"prefix"`
	Node   string       `yaml:"node"`
	Static bool         `yaml:"static,omitempty"` // only for UEs whose subscription names the address
}

// APNConfig is an APN, or that part of a shared one that some SIMs or networks may use.
type APNConfig struct {
	Name            string       `yaml:"name"`
	NetworkInstance string       `yaml:"network_instance"`
	Pool            string       `yaml:"pool"`
	DNS             []netip.Addr `yaml:"dns,omitempty"`
	MTU             uint16       `yaml:"mtu,omitempty"`           // octets; 0: not told
	AMBRUplink      uint32       `yaml:"ambr_uplink,omitempty"`   // kbit/s, the most that is granted; 0: what is asked for
	AMBRDownlink    uint32       `yaml:"ambr_downlink,omitempty"` // kbit/s
	IMSIPrefixes    []string     `yaml:"imsi_prefixes,omitempty"` // SIMs admitted; none: all
	PLMNs           []string     `yaml:"plmns,omitempty"`         // serving networks admitted, MCC-MNC; none: all
}

func defaultConfig() *Config {
	s8Defaults, pfcpDefaults := gtpc.DefaultEndpointConfig(), sxb.DefaultConfig()
	return &Config{
		Config:      node.DefaultConfig(nodeName),
		S8:          S8Config{T3: s8Defaults.T3, N3: s8Defaults.N3, EchoInterval: s8Defaults.EchoInterval},
		StateDir:    "/var/lib/xepc/pgwc",
		MaxSessions: s8.DefaultConfig().MaxSessions,
		AddressRest: time.Minute,
		PFCP: PFCPConfig{
			T1: time.Second, N1: pfcpDefaults.N1, // an SGW waits about 12 s: it must hear of a silent PGW-U before
			HeartbeatInterval: pfcpDefaults.HeartbeatInterval, StartWait: 3 * time.Second,
		},
	}
}

// Validate lists every fault, each beginning with its key.
func (c *Config) Validate() error {
	faults := []error{c.Config.Validate()}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	oneAddress := func(key string, a netip.AddrPort) {
		if !a.IsValid() || a.Addr().IsUnspecified() {
			fault("%s: %v, want one address of this host and a port, as in 192.0.2.1:2123: peers are told it", key, a)
		}
	}
	oneAddress("s8.address", c.S8.Address)
	oneAddress("pfcp.address", c.PFCP.Address)
	above := func(key string, d time.Duration) {
		if d <= 0 {
			fault("%s: %v, want more than 0", key, d)
		}
	}
	above("s8.t3", c.S8.T3)
	above("pfcp.t1", c.PFCP.T1)
	above("pfcp.heartbeat_interval", c.PFCP.HeartbeatInterval)
	if c.S8.EchoInterval < time.Minute {
		fault("s8.echo_interval: %v, at least 60s (TS 29.274 7.1.1)", c.S8.EchoInterval)
	}
	if c.S8.N3 < 0 {
		fault("s8.n3: %d, want 0 or more", c.S8.N3)
	}
	if c.PFCP.N1 < 0 {
		fault("pfcp.n1: %d, want 0 or more", c.PFCP.N1)
	}
	if c.PFCP.StartWait < 0 || c.AddressRest < 0 {
		fault("pfcp.start_wait, address_rest: want 0 or more")
	}
	if c.StateDir == "" {
		fault("state_dir: missing: the restart counter must survive the process")
	}
	if c.MaxSessions < 1 || c.MaxSessions > 1<<23 {
		fault("max_sessions: %d, want 1 to %d", c.MaxSessions, 1<<23)
	}
	return errors.Join(append(faults, c.validateNodes(), c.validatePools(), c.validateAPNs())...)
}

func (c *Config) validateNodes() error {
	var faults []error
	if len(c.Nodes) == 0 {
		faults = append(faults, errors.New("nodes: none: without a PGW-U no session can be set up"))
	}
	seen := map[string]bool{}
	for i, n := range c.Nodes {
		switch {
		case n.Name == "":
			faults = append(faults, fmt.Errorf("nodes[%d].name: missing", i))
		case seen[n.Name]:
			faults = append(faults, fmt.Errorf("nodes[%d].name: a second node of the name %q", i, n.Name))
		}
		seen[n.Name] = true
		if !n.Address.IsValid() || n.Address.Addr().IsUnspecified() {
			faults = append(faults, fmt.Errorf("nodes[%d].address: %v is no address to send to", i, n.Address))
		}
	}
	return errors.Join(faults...)
}

func (c *Config) validatePools() error {
	var faults []error
	for i, p := range c.Pools {
		if p.Name == "" {
			faults = append(faults, fmt.Errorf("pools[%d].name: missing", i))
		}
		for j, chunk := range p.Chunks {
			if !slices.ContainsFunc(c.Nodes, func(n NodeConfig) bool { return n.Name == chunk.Node }) {
				faults = append(faults, fmt.Errorf("pools[%d].chunks[%d].node: %q is none of nodes", i, j, chunk.Node))
			}
		}
	}
	if _, err := c.ippools(); err != nil {
		faults = append(faults, fmt.Errorf("pools: %w", err))
	}
	return errors.Join(faults...)
}

func (c *Config) validateAPNs() error {
	var faults []error
	if len(c.APNs) == 0 {
		faults = append(faults, errors.New("apns: none: every Create Session Request would be refused"))
	}
	for i, a := range c.APNs {
		fault := func(key, format string, args ...any) {
			faults = append(faults, fmt.Errorf("apns[%d].%s: %w", i, key, fmt.Errorf(format, args...)))
		}
		if _, err := identity.ParseAPN(a.Name); err != nil {
			fault("name", "%w", err)
		}
		if a.NetworkInstance == "" {
			fault("network_instance", "missing")
		}
		if c.pool(a.Pool) == nil {
			fault("pool", "%q is none of pools", a.Pool)
		}
		for _, server := range a.DNS {
			if !server.Is4() {
				fault("dns", "%v is no IPv4 address", server)
			}
		}
		if a.MTU != 0 && a.MTU < 576 {
			fault("mtu", "%d, want 0 or at least 576 (RFC 791)", a.MTU)
		}
		for _, prefix := range a.IMSIPrefixes {
			if !decimal(prefix) || len(prefix) > 15 {
				fault("imsi_prefixes", "%q is not 1 to 15 decimal digits", prefix)
			}
		}
		for _, p := range a.PLMNs {
			if _, err := identity.ParsePLMN(p); err != nil {
				fault("plmns", "%w", err)
			}
		}
	}
	return errors.Join(append(faults, c.validateOverlaps())...)
}

// validateOverlaps: UE addresses are unique inside a network instance, so pools of one must not overlap.
func (c *Config) validateOverlaps() error {
	var faults []error
	for i, a := range c.APNs {
		for _, b := range c.APNs[:i] {
			p, q := c.pool(a.Pool), c.pool(b.Pool)
			if p == nil || q == nil || p == q || a.instance() != b.instance() {
				continue
			}
			for _, x := range p.Chunks {
				for _, y := range q.Chunks {
					if x.Prefix.IsValid() && y.Prefix.IsValid() && x.Prefix.Overlaps(y.Prefix) {
						faults = append(faults, fmt.Errorf("apns[%d].pool: %v of pool %q overlaps %v of pool %q in network instance %q",
							i, x.Prefix, p.Name, y.Prefix, q.Name, a.NetworkInstance))
					}
				}
			}
		}
	}
	return errors.Join(faults...)
}

// instance is the network instance as PFCP compares it: without regard to case.
func (a APNConfig) instance() pfcp.NetworkInstance {
	return pfcp.NetworkInstance(strings.ToLower(a.NetworkInstance))
}

func (c *Config) pool(name string) *PoolConfig {
	for i := range c.Pools {
		if c.Pools[i].Name == name {
			return &c.Pools[i]
		}
	}
	return nil
}

func decimal(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}

// ippools makes the pools of the configuration, all addresses free.
func (c *Config) ippools() (*ippool.Pools, error) {
	var pools []ippool.Pool
	for _, p := range c.Pools {
		pool := ippool.Pool{Name: p.Name}
		for _, chunk := range p.Chunks {
			pool.Chunks = append(pool.Chunks, ippool.Chunk(chunk))
		}
		pools = append(pools, pool)
	}
	return ippool.New(pools, c.AddressRest)
}

// table is the local authorization of a valid configuration.
func (c *Config) table() session.Table {
	var table session.Table
	for _, a := range c.APNs {
		name, _ := identity.ParseAPN(a.Name)
		rule := session.Rule{
			APN: name, IMSIPrefixes: a.IMSIPrefixes,
			Profile: session.Profile{
				NetworkInstance: a.instance(), Pool: a.Pool, DNS: a.DNS, MTU: a.MTU,
				AMBR: gtpc.AMBR{Uplink: a.AMBRUplink, Downlink: a.AMBRDownlink},
			},
		}
		for _, p := range a.PLMNs {
			plmn, _ := identity.ParsePLMN(p)
			rule.PLMNs = append(rule.PLMNs, plmn)
		}
		table = append(table, rule)
	}
	return table
}

// instances says which network instances a PGW-U serves: those of the APNs whose pools have chunks of it.
func (c *Config) instances() map[string][]pfcp.NetworkInstance {
	all := map[string][]pfcp.NetworkInstance{}
	for _, a := range c.APNs {
		instance := a.instance()
		for _, chunk := range c.pool(a.Pool).Chunks {
			if !slices.Contains(all[chunk.Node], instance) {
				all[chunk.Node] = append(all[chunk.Node], instance)
			}
		}
	}
	return all
}

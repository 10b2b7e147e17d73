package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xepc/xepc/controlplane/ippool"
	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

// Ports that an address has which is written without one: TS 29.274 4.2.1 and TS 29.244 6.6.
const (
	portGTPC = gtpc.Port
	portPFCP = 8805
)

// settings are what a Config without faults says, in the types that the node works with.
type settings struct {
	s8, pfcp  netip.AddrPort
	peers     []netip.Prefix
	nodeID    pfcp.NodeID
	nodes     []sxb.NodeConfig
	pools     []ippool.Pool
	table     session.Table
	instances map[string][]pfcp.NetworkInstance // by node, those that it serves
}

// parser collects the faults of a configuration.
type parser struct{ faults []error }

func (p *parser) fault(key, format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

// parse returns the settings, or every fault of c, each beginning with its key.
func (c *Config) parse() (settings, error) {
	p := &parser{}
	s := settings{
		s8:     p.socket("s8.address", c.S8.Address, portGTPC),
		pfcp:   p.socket("pfcp.address", c.PFCP.Address, portPFCP),
		nodeID: p.nodeID("pfcp.node_id", c.PFCP.NodeID),
	}
	for i, text := range c.S8.Peers {
		s.peers = append(s.peers, p.prefix(fmt.Sprintf("s8.peers[%d]", i), text))
	}
	p.limits(c)
	s.nodes = p.nodes(c.Nodes)
	s.pools = p.pools(c)
	s.table = p.table(c.APNs, s.pools)
	p.overlaps(s)
	s.instances = s.serves()
	return s, errors.Join(p.faults...)
}

// socket reads an address of one host, with or without a port. Peers are told ours, so it cannot be a wildcard.
func (p *parser) socket(key, text string, port uint16) netip.AddrPort {
	socket, err := netip.ParseAddrPort(text)
	if addr, plain := netip.ParseAddr(text); err != nil && plain == nil {
		socket, err = netip.AddrPortFrom(addr, port), nil
	}
	switch {
	case text == "":
		p.fault(key, "missing: want an IP address, or IP:port")
	case err != nil:
		p.fault(key, "%q, want an IP address, or IP:port", text)
	case socket.Addr().IsUnspecified():
		p.fault(key, "%q, want the address of one host: it stands in messages to peers", text)
	}
	return socket
}

func (p *parser) prefix(key, text string) netip.Prefix {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		p.fault(key, "%q, want a prefix as 192.0.2.0/24", text)
	}
	return prefix
}

func (p *parser) nodeID(key, text string) pfcp.NodeID {
	if text == "" {
		return pfcp.NodeID{} // the address of the socket
	}
	id, err := pfcp.ParseNodeID(text)
	if err != nil {
		p.fault(key, "%q: %w", text, err)
	}
	return id
}

// atLeast wants a number or a duration of 0 or more (least is 0), or of more than 0 (least is 1).
func atLeast[N int | time.Duration](p *parser, key string, n, least N) {
	if n < least {
		p.fault(key, "%v, want %s", n, [...]string{"0 or more", "more than 0"}[least])
	}
}

func (p *parser) limits(c *Config) {
	atLeast(p, "s8.t3", c.S8.T3, 1)
	atLeast(p, "s8.n3", c.S8.N3, 0)
	atLeast(p, "pfcp.t1", c.PFCP.T1, 1)
	atLeast(p, "pfcp.n1", c.PFCP.N1, 0)
	atLeast(p, "pfcp.heartbeat_interval", c.PFCP.HeartbeatInterval, 1)
	atLeast(p, "pfcp.start_wait", c.PFCP.StartWait, 0)
	atLeast(p, "address_rest", c.AddressRest, 0)
	if c.S8.EchoInterval < time.Minute {
		p.fault("s8.echo_interval", "%v, at least 60s (TS 29.274 7.1.1)", c.S8.EchoInterval)
	}
	if c.StateDir == "" {
		p.fault("state_dir", "missing: the restart counter must survive the process")
	}
	if c.MaxSessions < 1 || c.MaxSessions > 1<<23 {
		p.fault("max_sessions", "%d, want 1 to %d", c.MaxSessions, 1<<23)
	}
}

func (p *parser) nodes(configs []NodeConfig) []sxb.NodeConfig {
	if len(configs) == 0 {
		p.fault("nodes", "none: without a PGW-U no session can be set up")
	}
	var nodes []sxb.NodeConfig
	for i, c := range configs {
		key := fmt.Sprintf("nodes[%d]", i)
		n := sxb.NodeConfig{Name: c.Name, Address: p.socket(key+".address", c.Address, portPFCP)}
		for _, o := range nodes {
			if o.Name == n.Name {
				p.fault(key+".name", "a second node of the name %q", n.Name)
			}
			if o.Address.Addr() == n.Address.Addr() && n.Address.IsValid() { // it may send from any port
				p.fault(key+".address", "a second node at %v", n.Address.Addr())
			}
		}
		if n.Name == "" {
			p.fault(key+".name", "missing")
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func (p *parser) pools(c *Config) []ippool.Pool {
	var pools []ippool.Pool
	for i, config := range c.Pools {
		if config.Name == "" {
			p.fault(fmt.Sprintf("pools[%d].name", i), "missing")
		}
		pool := ippool.Pool{Name: config.Name}
		for j, chunk := range config.Chunks {
			key := fmt.Sprintf("pools[%d].chunks[%d]", i, j)
			if !slices.ContainsFunc(c.Nodes, func(n NodeConfig) bool { return n.Name == chunk.Node }) {
				p.fault(key+".node", "%q is none of nodes", chunk.Node)
			}
			if prefix := p.prefix(key+".prefix", chunk.Prefix); prefix.IsValid() {
				pool.Chunks = append(pool.Chunks, ippool.Chunk{Prefix: prefix, Node: chunk.Node, Static: chunk.Static})
			}
		}
		pools = append(pools, pool)
	}
	if _, err := ippool.New(pools, c.AddressRest); err != nil {
		p.fault("pools", "%w", err)
	}
	return pools
}

func (p *parser) table(apns []APNConfig, pools []ippool.Pool) session.Table {
	if len(apns) == 0 {
		p.fault("apns", "none: every Create Session Request would be refused")
	}
	var table session.Table
	for i, a := range apns {
		key := fmt.Sprintf("apns[%d]", i)
		r := p.rule(key, a, pools)
		for j, before := range table { // the first that admits a SIM counts
			if before.APN == r.APN && len(before.IMSIPrefixes) == 0 && len(before.PLMNs) == 0 {
				p.fault(key, "never reached: apns[%d] admits every SIM to %q; put it last", j, r.APN)
			}
		}
		table = append(table, r)
	}
	return table
}

func (p *parser) rule(key string, a APNConfig, pools []ippool.Pool) session.Rule {
	name, err := identity.ParseAPN(a.Name)
	if err != nil {
		p.fault(key+".name", "%w", err)
	}
	if a.NetworkInstance == "" {
		p.fault(key+".network_instance", "missing")
	}
	if !slices.ContainsFunc(pools, func(pool ippool.Pool) bool { return pool.Name == a.Pool }) {
		p.fault(key+".pool", "%q is none of pools", a.Pool)
	}
	if a.MTU != 0 && a.MTU < 576 {
		p.fault(key+".mtu", "%d, want 0 or at least 576 (RFC 791)", a.MTU)
	}
	r := session.Rule{APN: name, IMSIPrefixes: a.IMSIPrefixes, Profile: session.Profile{
		NetworkInstance: pfcp.NetworkInstance(strings.ToLower(a.NetworkInstance)), // compared without regard to case
		Pool:            a.Pool,
		MTU:             a.MTU,
		AMBR:            gtpc.AMBR{Uplink: a.AMBRUplink, Downlink: a.AMBRDownlink},
	}}
	for _, text := range a.DNS {
		server, err := netip.ParseAddr(text)
		if err != nil || !server.Is4() {
			p.fault(key+".dns", "%q is no IPv4 address", text)
		}
		r.Profile.DNS = append(r.Profile.DNS, server)
	}
	for _, prefix := range a.IMSIPrefixes {
		if strings.Trim(prefix, "0123456789") != "" || prefix == "" || len(prefix) > 15 {
			p.fault(key+".imsi_prefixes", "%q is not 1 to 15 decimal digits", prefix)
		}
	}
	for _, text := range a.PLMNs {
		plmn, err := identity.ParsePLMN(text)
		if err != nil {
			p.fault(key+".plmns", "%w", err)
		}
		r.PLMNs = append(r.PLMNs, plmn)
	}
	return r
}

// overlaps: UE addresses are unique inside a network instance, so pools of one must not overlap.
func (p *parser) overlaps(s settings) {
	for i, a := range s.table {
		for _, b := range s.table[:i] {
			if a.Profile.Pool == b.Profile.Pool || a.Profile.NetworkInstance != b.Profile.NetworkInstance {
				continue
			}
			for _, x := range s.chunks(a.Profile.Pool) {
				for _, y := range s.chunks(b.Profile.Pool) {
					if x.Prefix.Overlaps(y.Prefix) {
						p.fault(fmt.Sprintf("apns[%d].pool", i), "%v of pool %q overlaps %v of pool %q in network instance %q",
							x.Prefix, a.Profile.Pool, y.Prefix, b.Profile.Pool, a.Profile.NetworkInstance)
					}
				}
			}
		}
	}
}

func (s settings) chunks(pool string) []ippool.Chunk {
	for _, p := range s.pools {
		if p.Name == pool {
			return p.Chunks
		}
	}
	return nil
}

// serves says which network instances a PGW-U serves: those of the APNs whose pools have chunks of it.
func (s settings) serves() map[string][]pfcp.NetworkInstance {
	all := map[string][]pfcp.NetworkInstance{}
	for _, r := range s.table {
		instance := r.Profile.NetworkInstance
		for _, chunk := range s.chunks(r.Profile.Pool) {
			if !slices.Contains(all[chunk.Node], instance) {
				all[chunk.Node] = append(all[chunk.Node], instance)
			}
		}
	}
	return all
}

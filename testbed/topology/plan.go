// Package topology owns the testbed's network: namespaces, the veth pairs between them, addresses and routes. It
// makes them through netlink, runs code and opens sockets inside them, and removes them all. It never knows what
// runs there.
package topology

import (
	"fmt"
	"net/netip"
)

// Names of the namespaces, without the prefix. There is also one per PGW-U and one per UE: see PGWU and UE.
const (
	IPX     = "ipx"     // router between the visited network and ours: S6a, S8, GTP-U
	Control = "control" // router between our own nodes: PFCP; Redis on its loopback
	Core    = "core"    // next hop of SGi, with the web server on its loopback
	Visited = "visited" // the host operator's MME and SGWs
	HSS     = "hss"
	PGWC    = "pgwc"
)

// PGWU names the namespace of the n-th PGW-U, from 1.
func PGWU(n int) string { return fmt.Sprintf("pgwu%d", n) }

// UE names the namespace of the n-th UE, from 1.
func UE(n int) string { return fmt.Sprintf("ue%d", n) }

// Most that the addresses have room for.
const (
	MaxPGWUs = 200
	MaxUEs   = 250
)

// Ports of a PGW-U: XDP programs go on these.
const (
	AccessPort = "access0"
	CorePort   = "core0"
)

// Addresses, as docs/architecture.md draws them.
var (
	// SGW is S8-C and S8-U of the first SGW, and the MME's end of S6a.
	SGW = addr(10, 10, 0, 2)
	// OtherSGW is the SGW that a UE moves to.
	OtherSGW = addr(10, 10, 0, 3)
	// HSSAddress is S6a of the HSS.
	HSSAddress = addr(10, 20, 1, 2)
	// PGWCAddress is S8-C of the PGW-C, PGWCPFCP its end of Sxb.
	PGWCAddress = addr(10, 20, 2, 2)
	PGWCPFCP    = addr(10, 40, 2, 2)
	// Redis is where Redis listens, on the loopback of control.
	Redis = addr(10, 40, 0, 10)
	// Web is the web server's address, on the loopback of core.
	Web = addr(10, 60, 0, 10)
)

// GTPU is the GTP-U service address of the n-th PGW-U, the address of its slice.
func GTPU(n int) netip.Addr { return addr(10, 30, n, 1) }

// The S8-U path has IPv6 too. SGW6 and OtherSGW6 are S8-U of the SGWs.
var (
	SGW6      = addr6(0x10, 0, 2)
	OtherSGW6 = addr6(0x10, 0, 3)
)

// GTPU6 is the IPv6 address of the slice of the n-th PGW-U.
func GTPU6(n int) netip.Addr { return addr6(0x30, n, 1) }

// PFCP is the n-th PGW-U's end of Sxb.
func PFCP(n int) netip.Addr { return addr(10, 40, 10+n, 2) }

// SGiGateway is the next hop of the n-th PGW-U towards core.
func SGiGateway(n int) netip.Addr { return addr(10, 50, n, 1) }

// Chunk is the part of the UE pool that the n-th PGW-U serves.
func Chunk(n int) netip.Prefix { return netip.PrefixFrom(addr(172, 16, n, 0), 24) }

// Plan is a network as data: what Build makes.
type Plan struct {
	Prefix     string   // of the namespaces' names on this host
	Namespaces []string // without the prefix
	Routers    []string // those that forward
	Links      []Link
	Loopbacks  []Loopback
	Routes     []Route
}

// Link is a veth pair.
type Link struct{ A, B End }

// End is one end of a link.
type End struct {
	Namespace string
	Port      string
	Addresses []netip.Prefix
	// FacesXDP says that the other end redirects packets to this one from an XDP program. Native XDP delivers them
	// only if this end polls too, which GRO makes it do.
	FacesXDP bool
}

// Loopback is a service address, reached through routes.
type Loopback struct {
	Namespace string
	Address   netip.Addr
}

// Route is a route in one namespace.
type Route struct {
	Namespace string
	To        netip.Prefix
	Via       netip.Addr
}

// Demo plans the network of docs/architecture.md with that many UEs and PGW-Us.
func Demo(prefix string, ues, pgwus int) (Plan, error) {
	if ues < 0 || ues > MaxUEs || pgwus < 1 || pgwus > MaxPGWUs {
		return Plan{}, fmt.Errorf("plan %d UEs and %d PGW-Us: there is room for 0 to %d and 1 to %d", ues, pgwus, MaxUEs, MaxPGWUs)
	}
	p := Plan{
		Prefix:     prefix,
		Namespaces: []string{IPX, Control, Core, Visited, HSS, PGWC},
		Routers:    []string{IPX, Control, Core},
		Loopbacks:  []Loopback{{Core, Web}, {Control, Redis}},
	}
	p.leaf(Visited, "ipx0", IPX, Visited, addr(10, 10, 0, 0), OtherSGW).also6(SGW6, addr6(0x10, 0, 1), OtherSGW6)
	p.leaf(HSS, "ipx0", IPX, HSS, addr(10, 20, 1, 0))
	p.leaf(PGWC, "ipx0", IPX, PGWC, addr(10, 20, 2, 0))
	p.leaf(HSS, "control0", Control, HSS, addr(10, 40, 1, 0))
	p.leaf(PGWC, "control0", Control, PGWC, addr(10, 40, 2, 0))
	p.route(Visited, anywhere, addr(10, 10, 0, 1))
	p.route(Visited, anywhere6, addr6(0x10, 0, 1))
	p.route(HSS, anywhere, addr(10, 20, 1, 1))
	p.route(HSS, controlNet, addr(10, 40, 1, 1))
	p.route(PGWC, anywhere, addr(10, 20, 2, 1))
	p.route(PGWC, controlNet, addr(10, 40, 2, 1))
	for n := 1; n <= pgwus; n++ {
		p.pgwu(n)
	}
	for n := 1; n <= ues; n++ {
		p.Namespaces = append(p.Namespaces, UE(n))
	}
	return p, nil
}

// pgwu adds one PGW-U with its three ports.
func (p *Plan) pgwu(n int) {
	name := PGWU(n)
	p.Namespaces = append(p.Namespaces, name)
	access, control, core := addr(10, 20, 10+n, 0), addr(10, 40, 10+n, 0), addr(10, 50, n, 0)
	p.leaf(name, AccessPort, IPX, name, access).also6(addr6(0x20, n, 2), addr6(0x20, n, 1)).B.FacesXDP = true
	p.leaf(name, "control0", Control, name, control)
	p.leaf(name, CorePort, Core, name, core).B.FacesXDP = true
	p.Loopbacks = append(p.Loopbacks, Loopback{name, GTPU(n)}, Loopback{name, GTPU6(n)})
	p.route(name, anywhere, host(access, 1))
	p.route(name, controlNet, host(control, 1))
	p.route(name, anywhere6, addr6(0x20, n, 1))
	p.route(IPX, netip.PrefixFrom(GTPU(n), 32), host(access, 2))
	p.route(IPX, netip.PrefixFrom(GTPU6(n), 128), addr6(0x20, n, 2))
	p.route(Core, Chunk(n), host(core, 2))
}

// leaf links a node to a router over a /24: the router is .1, the node .2, further addresses are the node's too.
func (p *Plan) leaf(node, port, router, routerPort string, net netip.Addr, more ...netip.Addr) *Link {
	l := Link{
		A: End{Namespace: node, Port: port, Addresses: []netip.Prefix{netip.PrefixFrom(host(net, 2), 24)}},
		B: End{Namespace: router, Port: routerPort, Addresses: []netip.Prefix{netip.PrefixFrom(host(net, 1), 24)}},
	}
	for _, a := range more {
		l.A.Addresses = append(l.A.Addresses, netip.PrefixFrom(a, 24))
	}
	p.Links = append(p.Links, l)
	return &p.Links[len(p.Links)-1]
}

// also6 gives both ends of a link IPv6 addresses in one /64, the node's end more if there are.
func (l *Link) also6(node, router netip.Addr, more ...netip.Addr) *Link {
	for _, a := range append([]netip.Addr{node}, more...) {
		l.A.Addresses = append(l.A.Addresses, netip.PrefixFrom(a, 64))
	}
	l.B.Addresses = append(l.B.Addresses, netip.PrefixFrom(router, 64))
	return l
}

func (p *Plan) route(namespace string, to netip.Prefix, via netip.Addr) {
	p.Routes = append(p.Routes, Route{namespace, to, via})
}

var (
	anywhere   = netip.MustParsePrefix("0.0.0.0/0")
	anywhere6  = netip.MustParsePrefix("2001:db8::/32")
	controlNet = netip.MustParsePrefix("10.40.0.0/16")
)

func addr(a, b, c, d int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)})
}

// addr6 is 2001:db8:a:b::d.
func addr6(a, b, d int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(a), 0, byte(b), 15: byte(d)})
}

func host(net netip.Addr, n byte) netip.Addr {
	a := net.As4()
	a[3] = n
	return netip.AddrFrom4(a)
}

package datapath

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hops keeps next hops resolved: for every wanted address the route and the neighbour, as netlink has them, go into
// the program's table. Its owner locks.
type hops struct {
	handle *netlink.Handle
	ports  map[int]bool // by interface index: packets may leave by it
	table  *table[pgwuNextHop]
	grace  *grace
	log    *slog.Logger

	wanted   map[uint32]target     // by index of the table
	states   map[uint32]string     // by index: what was logged last
	gateways map[uint32]netip.Addr // by index: the router of a default route; none for an address
	kick     chan struct{}         // there is a new one
}

func newHops(handle *netlink.Handle, t *table[pgwuNextHop], g *grace, log *slog.Logger) *hops {
	return &hops{
		handle: handle, ports: map[int]bool{}, table: t, grace: g, log: log,
		wanted: map[uint32]target{}, states: map[uint32]string{}, gateways: map[uint32]netip.Addr{}, kick: make(chan struct{}, 1),
	}
}

// target is what a next hop leads to: an address, or where a default route does.
type target struct {
	address netip.Addr
	source  netip.Addr // of what is sent there: the kernel's rules may look at it. Zero: any
	device  string     // by which it is to be reached; "": by any
	table   routeTable // its default route, instead of an address
}

// String names it in logs.
func (t target) String() string {
	if t.table.number != 0 {
		return t.table.String()
	}
	return t.address.String()
}

// want makes index the next hop to something; refresh resolves it.
func (h *hops) want(index uint32, to target) { h.wanted[index] = to }

// resolveNow resolves one next hop from what the kernel already knows, so that a tunnel to a new peer behind a known
// gateway loses no packet. What is not known yet, or could not be asked, Run resolves.
func (h *hops) resolveNow(index uint32) {
	s, err := h.snapshot(nil)
	if err == nil {
		err = h.update(s, index, h.wanted[index])
	}
	if err != nil {
		h.log.Warn("next hop not looked up at once", "err", err)
	}
	notify(h.kick)
}

// forget makes index resolve to nothing. It may be used for another address when programs are done with it.
func (h *hops) forget(index uint32) {
	delete(h.wanted, index)
	delete(h.states, index)
	delete(h.gateways, index)
	if err := h.store(index, pgwuHop{}); err != nil {
		h.log.Warn("next hop not cleared", "err", err)
	}
}

// snapshot is what netlink said at the beginning of one refresh.
type snapshot struct {
	links      map[int]netlink.Link
	addresses  map[string][2]netip.Addr // by interface: the first of each family that is not link-local
	neighbours map[neighbourKey]netlink.Neigh
	defaults   map[routeTable]defaultRoute
	ours       map[netip.Addr]bool // whether an address is one of this host's, of those that were asked for
}

type neighbourKey struct {
	ifindex int
	address netip.Addr
}

func (h *hops) snapshot(defaults map[routeTable]defaultRoute) (*snapshot, error) {
	s := &snapshot{
		links: map[int]netlink.Link{}, addresses: map[string][2]netip.Addr{}, neighbours: map[neighbourKey]netlink.Neigh{},
		defaults: defaults, ours: map[netip.Addr]bool{},
	}
	links, err := retryDump(h.handle.LinkList)
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		s.links[link.Attrs().Index] = link
	}
	for i, family := range families {
		addresses, err := retryDump(func() ([]netlink.Addr, error) { return h.handle.AddrList(nil, family) })
		if err != nil {
			return nil, err
		}
		for _, address := range addresses {
			if l, there := s.links[address.LinkIndex]; there {
				first := s.addresses[l.Attrs().Name]
				if a, ok := addrOf(address.IP); ok && !a.IsLinkLocalUnicast() && !first[i].IsValid() {
					first[i] = a
					s.addresses[l.Attrs().Name] = first
				}
			}
		}
		neighbours, err := retryDump(func() ([]netlink.Neigh, error) { return h.handle.NeighList(0, family) })
		if err != nil {
			return nil, err
		}
		for _, n := range neighbours {
			if a, ok := addrOf(n.IP); ok {
				s.neighbours[neighbourKey{n.LinkIndex, a}] = n
			}
		}
	}
	return s, nil
}

// families of IP, in netlink's words.
var families = []int{unix.AF_INET, unix.AF_INET6}

// addrOf is an address of netlink's.
func addrOf(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

// retryDump repeats a dump that changed while it was read.
func retryDump[T any](dump func() ([]T, error)) (rows []T, err error) {
	for range 5 {
		if rows, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return rows, err
		}
	}
	return rows, nil // the next refresh sees the rest
}

// refresh resolves every wanted next hop anew, and stores what changed.
func (h *hops) refresh(s *snapshot) error {
	for index, to := range h.wanted {
		if err := h.update(s, index, to); err != nil {
			return err
		}
	}
	return nil
}

// update resolves one next hop and stores it if it changed.
func (h *hops) update(s *snapshot, index uint32, to target) error {
	w, why := h.wayTo(s, to)
	var hop pgwuHop
	if why == "" {
		hop, why = h.resolve(s, w)
	}
	if err := h.store(index, hop); err != nil {
		return err
	}
	if to.table.number != 0 {
		if h.gateways[index] != w.via {
			delete(h.states, index) // another gateway is worth a line
		}
		h.gateways[index] = w.via
	}
	if h.states[index] != why {
		h.states[index] = why
		via := ""
		if w.via.IsValid() {
			via = w.via.String()
		}
		h.log.Info("next hop", "address", to.String(), "via", via, "state", why,
			"ifindex", hop.Ifindex, "mac", net.HardwareAddr(hop.RemoteMac[:]).String())
	}
	return nil
}

// keepGateways has the kernel resolve every gateway behind the ports before anybody asks for a peer behind it, so
// that the first packet of the first session finds its next hop.
func (h *hops) keepGateways() error {
	s, err := h.snapshot(nil)
	if err != nil {
		return err
	}
	for _, family := range families {
		routes, err := retryDump(func() ([]netlink.Route, error) { return h.handle.RouteList(nil, family) })
		if err != nil {
			return err
		}
		for i := range routes {
			if gateway, ok := gatewayOf(&routes[i]); ok && h.isExit(s, routes[i].LinkIndex) {
				h.keep(s, routes[i].LinkIndex, gateway)
			}
		}
	}
	return nil
}

// isExit says whether packets that leave by a link leave by a port.
func (h *hops) isExit(s *snapshot, ifindex int) bool {
	port, _ := portBelow(s.links[ifindex])
	return h.ports[port]
}

// keep has the kernel keep a neighbour fresh, unless it does so already.
func (h *hops) keep(s *snapshot, ifindex int, via netip.Addr) (n netlink.Neigh, known bool) {
	n, known = s.neighbours[neighbourKey{ifindex, via}]
	if !known || n.State&unix.NUD_PERMANENT == 0 && n.FlagsExt&netlink.NTF_EXT_MANAGED == 0 {
		h.manage(ifindex, via, n, known)
	}
	return n, known
}

// way is how a target is reached.
type way struct {
	ifindex int
	via     netip.Addr // the neighbour
	mtu     int        // of the route, octets; 0: that of the link
}

// wayTo finds how to reach a target; why says why not.
func (h *hops) wayTo(s *snapshot, to target) (w way, why string) {
	if to.table.number != 0 {
		route, ok := s.defaults[to.table]
		if !ok {
			return w, "no default route"
		}
		for _, other := range route.others {
			if other.via.IsValid() && h.isExit(s, other.ifindex) {
				h.keep(s, other.ifindex, other.via)
			}
		}
		return route.way, route.fault
	}
	options := &netlink.RouteGetOptions{Oif: to.device}
	if h.isOurs(s, to.source) && to.source.Is4() == to.address.Is4() {
		options.SrcAddr = to.source.AsSlice()
	}
	routes, err := h.handle.RouteGetWithOptions(to.address.AsSlice(), options)
	if err != nil || len(routes) == 0 {
		return w, "no route"
	}
	w = way{routes[0].LinkIndex, to.address, routes[0].MTU}
	if gateway, ok := gatewayOf(&routes[0]); ok {
		w.via = gateway
	}
	return w, ""
}

// isOurs says whether the host has an address: from others the kernel looks up no route.
func (h *hops) isOurs(s *snapshot, address netip.Addr) bool {
	if !address.IsValid() {
		return false
	}
	ours, asked := s.ours[address]
	if !asked {
		routes, err := h.handle.RouteGet(address.AsSlice())
		ours = err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
		s.ours[address] = ours
	}
	return ours
}

// resolve asks the kernel for the neighbour that a way leads to. A hop without interface index is not resolved, and why
// says so.
func (h *hops) resolve(s *snapshot, w way) (hop pgwuHop, why string) {
	link := s.links[w.ifindex]
	port, vlan := portBelow(link)
	if link == nil || !h.ports[port] {
		return hop, "the route leaves by an interface that is no port"
	}
	n, known := h.keep(s, w.ifindex, w.via)
	const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY
	if !known || n.State&valid == 0 || len(n.HardwareAddr) != len(hop.RemoteMac) ||
		len(link.Attrs().HardwareAddr) != len(hop.LocalMac) {
		return hop, "neighbour not resolved"
	}
	mtu := link.Attrs().MTU
	if w.mtu > 0 {
		mtu = min(mtu, w.mtu)
	}
	copy(hop.RemoteMac[:], n.HardwareAddr)
	copy(hop.LocalMac[:], link.Attrs().HardwareAddr)
	hop.Ifindex, hop.Vlan = uint32(port), vlan
	hop.Mtu = uint16(min(mtu, math.MaxUint16))
	return hop, "resolved"
}

// gatewayOf is the router that a route leads to, which may be of the other family (RFC 8950); false: none.
func gatewayOf(route *netlink.Route) (netip.Addr, bool) {
	if via, ok := route.Via.(*netlink.Via); ok {
		return addrOf(via.Addr)
	}
	gateway, ok := addrOf(route.Gw)
	return gateway, ok && !gateway.IsUnspecified()
}

// portBelow is the interface that a link's packets leave by, and the tag that they carry.
func portBelow(l netlink.Link) (ifindex int, vlan uint16) {
	if l == nil {
		return 0, 0
	}
	if v, ok := l.(*netlink.Vlan); ok && v.VlanProtocol != netlink.VLAN_PROTOCOL_8021AD {
		return v.Attrs().ParentIndex, uint16(v.VlanId)
	}
	return l.Attrs().Index, 0
}

// manage has the kernel resolve a neighbour and keep it fresh (NTF_EXT_MANAGED, Linux 5.16), also while no daemon
// runs: what XDP sends does not count as use. An older kernel resolves it this once, and refresh comes again.
func (h *hops) manage(ifindex int, via netip.Addr, now netlink.Neigh, known bool) {
	n := &netlink.Neigh{
		LinkIndex: ifindex, Family: unix.AF_INET, IP: via.AsSlice(), FlagsExt: netlink.NTF_EXT_MANAGED,
	}
	if via.Is6() {
		n.Family = unix.AF_INET6
	}
	if known && now.State&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) != 0 {
		n.State, n.HardwareAddr = unix.NUD_STALE, now.HardwareAddr // keeps what is known while it is asked
	}
	err := h.handle.NeighSet(n)
	if err != nil {
		n.FlagsExt, n.Flags = 0, netlink.NTF_USE
		err = h.handle.NeighSet(n)
	}
	if err != nil {
		h.log.Warn("neighbour not asked for", "address", via, "ifindex", ifindex, "err", err)
	}
}

// store makes hop the active one of index, if it is not: the inactive one is written when no program can still read
// it, and one store makes it active.
func (h *hops) store(index uint32, hop pgwuHop) error {
	next := &h.table.slots[index]
	active := atomic.LoadUint32(&next.Active) & 1
	if next.Hops[active] == hop {
		return nil
	}
	at := place{placeNextHop, index}
	if h.grace.rests(at) {
		if err := h.grace.settle(); err != nil {
			return err
		}
	}
	next.Hops[1-active] = hop
	atomic.StoreUint32(&next.Active, 1-active)
	h.grace.rest(at)
	return nil
}

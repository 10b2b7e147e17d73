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

	wanted map[uint32]target // by index of the table
	states map[uint32]string // by index: what was logged last
	kick   chan struct{}     // there is a new one
}

func newHops(handle *netlink.Handle, t *table[pgwuNextHop], g *grace, log *slog.Logger) *hops {
	return &hops{
		handle: handle, ports: map[int]bool{}, table: t, grace: g, log: log,
		wanted: map[uint32]target{}, states: map[uint32]string{}, kick: make(chan struct{}, 1),
	}
}

// target is what a next hop leads to.
type target struct {
	address netip.Addr
	device  string // by which it is to be reached; "": by any
}

// want makes index the next hop to address; refresh resolves it.
func (h *hops) want(index uint32, address netip.Addr, device string) {
	h.wanted[index] = target{address, device}
}

// resolveNow resolves one next hop from what the kernel already knows, so that a tunnel to a new peer behind a known
// gateway loses no packet. What is not known yet, or could not be asked, Run resolves.
func (h *hops) resolveNow(index uint32) {
	s, err := h.snapshot()
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
	if err := h.store(index, pgwuHop{}); err != nil {
		h.log.Warn("next hop not cleared", "err", err)
	}
}

// snapshot is what netlink said at the beginning of one refresh.
type snapshot struct {
	links      map[int]netlink.Link
	neighbours map[neighbourKey]netlink.Neigh
}

type neighbourKey struct {
	ifindex int
	address netip.Addr
}

func (h *hops) snapshot() (*snapshot, error) {
	s := &snapshot{links: map[int]netlink.Link{}, neighbours: map[neighbourKey]netlink.Neigh{}}
	links, err := retryDump(h.handle.LinkList)
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		s.links[link.Attrs().Index] = link
	}
	for _, family := range families {
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

// refresh resolves every wanted next hop anew and stores what changed.
func (h *hops) refresh() error {
	s, err := h.snapshot()
	if err != nil {
		return err
	}
	for index, to := range h.wanted {
		if err := h.update(s, index, to); err != nil {
			return err
		}
	}
	return nil
}

// update resolves one next hop and stores it if it changed.
func (h *hops) update(s *snapshot, index uint32, to target) error {
	hop, why := h.resolve(s, to)
	if err := h.store(index, hop); err != nil {
		return err
	}
	if h.states[index] != why {
		h.states[index] = why
		h.log.Info("next hop", "address", to.address, "state", why,
			"ifindex", hop.Ifindex, "mac", net.HardwareAddr(hop.RemoteMac[:]).String())
	}
	return nil
}

// keepGateways has the kernel resolve every gateway behind the ports before anybody asks for a peer behind it, so
// that the first packet of the first session finds its next hop.
func (h *hops) keepGateways() error {
	s, err := h.snapshot()
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

// resolve asks the kernel how to reach address. A hop without interface index is not resolved, and why says so.
func (h *hops) resolve(s *snapshot, to target) (hop pgwuHop, why string) {
	var options *netlink.RouteGetOptions
	if to.device != "" {
		options = &netlink.RouteGetOptions{Oif: to.device}
	}
	routes, err := h.handle.RouteGetWithOptions(to.address.AsSlice(), options)
	if err != nil || len(routes) == 0 {
		return hop, "no route"
	}
	route := routes[0]
	link := s.links[route.LinkIndex]
	port, vlan := portBelow(link)
	if link == nil || !h.ports[port] {
		return hop, "the route leaves by an interface that is no port"
	}
	via := to.address
	if gateway, ok := gatewayOf(&route); ok {
		via = gateway
	}
	n, known := h.keep(s, route.LinkIndex, via)
	const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY
	if !known || n.State&valid == 0 || len(n.HardwareAddr) != len(hop.RemoteMac) ||
		len(link.Attrs().HardwareAddr) != len(hop.LocalMac) {
		return hop, "neighbour not resolved"
	}
	mtu := link.Attrs().MTU
	if route.MTU > 0 {
		mtu = min(mtu, route.MTU)
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

package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// routeTable is one of the kernel's route tables, for one family.
type routeTable struct {
	number uint32 // 0: none
	family int    // of families
}

func (r routeTable) String() string {
	if r.family == unix.AF_INET6 {
		return fmt.Sprintf("IPv6 default of table %d", r.number)
	}
	return fmt.Sprintf("IPv4 default of table %d", r.number)
}

// defaultRoute is where a table's default route leads.
type defaultRoute struct {
	way
	fault  string // why packets cannot go there; "": they can
	others []way  // those that may take its place: of other metrics, or of the same route
}

// routeReader reads route tables from the kernel, one at a time and not all of them as netlink.Handle does. (No request
// looks an address up in one table: the kernel's rules would decide.)
type routeReader struct {
	socket nl.SocketHandle
}

func newRouteReader(ns netns.NsHandle) (*routeReader, error) {
	s, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		s.Close()
		return nil, fmt.Errorf("have netlink read single route tables: %w", err)
	}
	return &routeReader{nl.SocketHandle{Socket: s}}, nil
}

func (r *routeReader) close() { r.socket.Socket.Close() }

// defaultRoute is the default route of a table with the lowest metric; ok is false when it has none, or is not there.
func (r *routeReader) defaultRoute(table routeTable) (best defaultRoute, ok bool, err error) {
	for range 5 { // as retryDump
		metric := uint32(math.MaxUint32)
		best, ok = defaultRoute{}, false
		err = r.dump(table, func(m []byte) {
			route, at, is := parseDefault(m, table)
			switch {
			case !is:
			case !ok || at < metric:
				route.others = append(append(route.others, best.others...), best.way)
				best, metric, ok = route, at, true
			default:
				best.others = append(append(best.others, route.others...), route.way)
			}
		})
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.ENOENT): // the kernel makes a table with its first route
		return defaultRoute{}, false, nil
	case err != nil && !errors.Is(err, netlink.ErrDumpInterrupted):
		return defaultRoute{}, false, fmt.Errorf("read route table %d: %w", table.number, err)
	}
	return best, ok, nil
}

func (r *routeReader) dump(table routeTable, each func(m []byte)) error {
	request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: &r.socket}
	request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(table.family)}})
	request.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(table.number)))
	return request.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
		each(m)
		return true
	})
}

// parseDefault reads a route message; ok is false unless it is a default route of the table for any source and ToS. The
// kernel wrote it: what is cut short is no route.
func parseDefault(m []byte, table routeTable) (route defaultRoute, metric uint32, ok bool) {
	if len(m) < unix.SizeofRtMsg {
		return route, 0, false
	}
	msg := nl.DeserializeRtMsg(m)
	if int(msg.Family) != table.family || msg.Dst_len != 0 || msg.Src_len != 0 || msg.Tos != 0 || msg.Flags&unix.RTM_F_CLONED != 0 {
		return route, 0, false
	}
	attributes, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
	if err != nil {
		return route, 0, false
	}
	number := uint32(msg.Table)
	hop, hops := nextHopOf(int(msg.Flags), attributes), []byte(nil)
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.RTA_TABLE:
			number = word32(a.Value)
		case unix.RTA_PRIORITY:
			metric = word32(a.Value)
		case unix.RTA_OIF:
			hop.ifindex = int(word32(a.Value))
		case unix.RTA_METRICS:
			route.mtu = mtuOf(a.Value)
		case unix.RTA_MULTIPATH:
			hops = a.Value
		}
	}
	if number != table.number {
		return route, 0, false
	}
	if len(hops) > 0 {
		hop = firstAlive(hops)
	}
	route.ifindex, route.via, route.fault, route.others = hop.ifindex, hop.via, hop.fault, hop.others
	if msg.Type != unix.RTN_UNICAST {
		route.fault = "the default route refuses packets"
	}
	return route, metric, true
}

// nextHopOf reads what stands in a route as in each of its next hops.
func nextHopOf(flags int, attributes []syscall.NetlinkRouteAttr) (hop defaultRoute) {
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.RTA_GATEWAY:
			hop.via, _ = addrOf(a.Value)
		case unix.RTA_VIA: // a family, and an address of it
			if len(a.Value) > 2 {
				hop.via, _ = addrOf(a.Value[2:])
			}
		case unix.RTA_ENCAP:
			hop.fault = "the default route wants packets encapsulated"
		}
	}
	switch {
	case flags&unix.RTNH_F_DEAD != 0: // linkdown too, where net.ipv*.conf.*.ignore_routes_with_linkdown says so
		hop.fault = "the default route's link is down"
	case !hop.via.IsValid():
		hop.fault = "the default route has no gateway"
	}
	return hop
}

// firstAlive is the first of several next hops that packets can go to; else the first.
func firstAlive(hops []byte) (first defaultRoute) {
	var all []way
	for len(hops) >= unix.SizeofRtNexthop {
		nh := nl.DeserializeRtNexthop(hops)
		size := int(nh.RtNexthop.Len)
		if size < unix.SizeofRtNexthop || size > len(hops) {
			break
		}
		attributes, err := nl.ParseRouteAttr(hops[unix.SizeofRtNexthop:size])
		if err != nil {
			break
		}
		hop := nextHopOf(int(nh.Flags), attributes)
		hop.ifindex = int(nh.Ifindex)
		if len(all) == 0 || first.fault != "" && hop.fault == "" {
			first = hop
		}
		all = append(all, hop.way)
		hops = hops[min((size+3)&^3, len(hops)):]
	}
	first.others = all
	return first
}

// mtuOf finds the MTU among a route's metrics; 0: none.
func mtuOf(metrics []byte) int {
	attributes, err := nl.ParseRouteAttr(metrics)
	if err != nil {
		return 0
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.RTAX_MTU {
			return int(word32(a.Value))
		}
	}
	return 0
}

// word32 is an attribute of 32 bits; 0 if it is none.
func word32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// defaults reads the default routes that next hops lead to. It takes as long as the tables are, so whoever calls it holds
// no lock.
func (r *routeReader) defaults(tables []routeTable) (map[routeTable]defaultRoute, error) {
	found := map[routeTable]defaultRoute{}
	for _, table := range tables {
		route, ok, err := r.defaultRoute(table)
		if err != nil {
			return nil, err
		}
		if ok {
			found[table] = route
		}
	}
	return found, nil
}

package datapath

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/userplane/session"
)

const tableInternet, tableCorp = 100, 70000 // one of 8 bits, and one beyond

// newTableWorld is the world with a route table for each of two network instances. Neither is there yet.
func newTableWorld(t *testing.T) *world {
	w := newWorldWith(t, func(c *Config) {
		c.Instances[0] = Instance{Name: "internet", Table: tableInternet}
		c.Instances[1] = Instance{Name: "corp", Table: tableCorp}
	})
	w.apply(uplinkOf(5), with(uplinkOf(6), func(e *session.Entry) { e.Instance, e.Sources = "corp", uplinkOf(5).Sources }),
		with(uplinkOf(7), func(e *session.Entry) { e.Sources = []netip.Prefix{ue6} }))
	return w
}

// defaultVia is a default route of a table.
func (w *world) defaultVia(table int, port, gateway string, change ...func(*netlink.Route)) *netlink.Route {
	r := &netlink.Route{
		Table: table, LinkIndex: w.ifindex[port], Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Gw: net.ParseIP(gateway),
		Flags: int(netlink.FLAG_ONLINK),
	}
	if gateway != "" && r.Gw.To4() == nil {
		r.Dst, r.Flags = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, 0
	}
	for _, f := range change {
		f(r)
	}
	return r
}

func (w *world) neighbour(port, ip string, mac net.HardwareAddr) {
	w.t.Helper()
	require.NoError(w.t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: w.ifindex[port], IP: net.ParseIP(ip), State: unix.NUD_PERMANENT, HardwareAddr: mac,
	}))
}

// leaves sends a packet of UE n and looks where it goes; to nil: nowhere.
func (w *world) leaves(n int, from, to net.HardwareAddr) {
	w.t.Helper()
	require.NoError(w.t, w.d.Resolve())
	before := w.reasons()
	packet, routed := inner(w.t, ue(5), server, 64, 10), inner(w.t, ue(5), server, 63, 10)
	frame := plain
	if n == 7 {
		packet, routed, frame = inner6(w.t, ue6Host, server6, 64, 10), inner6(w.t, ue6Host, server6, 63, 10), plain6
	}
	_, out := w.run("access0", tunnel(w.t, slice1, teid(n), packet), 0)
	if to == nil {
		require.Equal(w.t, map[string]uint64{"next_hop_unresolved": 1}, difference(before, w.reasons()))
		return
	}
	require.Equal(w.t, map[string]uint64{"uplink_forwarded": 1}, difference(before, w.reasons()))
	require.Equal(w.t, spacedHex(frame(w.t, from, to, routed)), spacedHex(out))
}

// shown are the next hops of a network instance as people see them, IPv4 first.
func (w *world) shown(table uint32) (hops []NextHop) {
	w.t.Helper()
	all, err := w.d.Reader().NextHops()
	require.NoError(w.t, err)
	for _, h := range all {
		if h.Table == table {
			hops = append(hops, h)
		}
	}
	require.Len(w.t, hops, 2)
	return hops
}

// TestRouteTables has the next hops of two network instances follow the default routes of two tables, in which one gateway
// address means two routers.
func TestRouteTables(t *testing.T) {
	w := newTableWorld(t)
	corpGW := net.HardwareAddr{2, 0, 0, 0, 0xd, 9} // as internet's, on another port
	backup := net.HardwareAddr{2, 0, 0, 0, 0xc, 9}
	w.neighbour("core1", "10.50.1.1", corpGW)
	w.neighbour("core0", "10.50.1.9", backup)

	w.leaves(5, nil, nil) // no table yet
	w.leaves(6, nil, nil)
	require.Equal(t, NextHop{Instance: "internet", Table: tableInternet}, w.shown(tableInternet)[0])

	internet, corp := w.defaultVia(tableInternet, "core0", "10.50.1.1"), w.defaultVia(tableCorp, "core1", "10.50.1.1")
	require.NoError(t, netlink.RouteAdd(internet))
	w.leaves(5, coreMAC, coreGW)
	w.leaves(6, nil, nil)
	require.NoError(t, netlink.RouteAdd(corp))
	w.leaves(5, coreMAC, coreGW)
	w.leaves(6, otherMAC, corpGW)
	require.Equal(t, NextHop{
		Address: netip.MustParseAddr("10.50.1.1"), Instance: "corp", Table: tableCorp, Resolved: true, Port: "core1",
		MAC: corpGW.String(), MTU: accessMTU,
	}, w.shown(tableCorp)[0])

	// What is in other tables, or is no default route, means nothing.
	require.NoError(t, netlink.RouteAdd(w.defaultVia(unix.RT_TABLE_MAIN, "core1", "10.51.1.1")))
	require.NoError(t, netlink.RouteAdd(w.defaultVia(tableInternet, "core1", "10.51.1.1", func(r *netlink.Route) {
		r.Dst = &net.IPNet{IP: server.AsSlice(), Mask: net.CIDRMask(32, 32)}
	})))
	w.leaves(5, coreMAC, coreGW)

	// A route of a higher metric takes over when the first goes, and gives way when it is back.
	second := w.defaultVia(tableInternet, "core0", "10.50.1.9", func(r *netlink.Route) { r.Priority = 50 })
	require.NoError(t, netlink.RouteAdd(second))
	w.leaves(5, coreMAC, coreGW)
	require.NoError(t, netlink.RouteDel(internet))
	w.leaves(5, coreMAC, backup)
	require.NoError(t, netlink.RouteAdd(internet))
	w.leaves(5, coreMAC, coreGW)
	require.NoError(t, netlink.RouteReplace(w.defaultVia(tableInternet, "core0", "10.50.1.9")))
	w.leaves(5, coreMAC, backup)
	w.leaves(6, otherMAC, corpGW)

	// Refused by the better route, although there is another.
	refuses := w.defaultVia(tableInternet, "core0", "", func(r *netlink.Route) { r.Type, r.LinkIndex, r.Flags = unix.RTN_UNREACHABLE, 0, 0 })
	require.NoError(t, netlink.RouteReplace(refuses))
	w.leaves(5, nil, nil)
	require.NoError(t, netlink.RouteDel(refuses))
	w.leaves(5, coreMAC, backup) // the second
	require.NoError(t, netlink.RouteDel(second))
	w.leaves(5, nil, nil)
	require.False(t, w.shown(tableInternet)[0].Address.IsValid())

	// Without gateway, and by an interface that is no port.
	require.NoError(t, netlink.RouteAdd(w.defaultVia(tableInternet, "core0", "", func(r *netlink.Route) { r.Scope, r.Flags = netlink.SCOPE_LINK, 0 })))
	w.leaves(5, nil, nil)
	far, err := netlink.LinkByName("core1p")
	require.NoError(t, err)
	require.NoError(t, netlink.RouteReplace(w.defaultVia(tableInternet, "core1", "10.50.1.1", func(r *netlink.Route) { r.LinkIndex = far.Attrs().Index })))
	w.leaves(5, nil, nil)

	// Several next hops: the first; a smaller MTU; one of the other family (RFC 8950).
	require.NoError(t, netlink.RouteReplace(w.defaultVia(tableInternet, "", "", func(r *netlink.Route) {
		r.Flags, r.MTU = 0, 1000
		for _, gateway := range []string{"10.50.1.1", "10.50.1.9"} {
			r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: w.ifindex["core0"], Gw: net.ParseIP(gateway).To4(), Flags: int(netlink.FLAG_ONLINK)})
		}
	})))
	w.leaves(5, coreMAC, coreGW)
	require.Equal(t, 1000, w.shown(tableInternet)[0].MTU)
	require.NoError(t, netlink.RouteReplace(w.defaultVia(tableInternet, "core0", "", func(r *netlink.Route) {
		r.Flags, r.Via = 0, &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fe80::1")}
	})))
	w.leaves(5, coreMAC, coreGW6)

	// IPv6 has its own default route, or none.
	w.leaves(7, nil, nil)
	require.NoError(t, netlink.RouteAdd(w.defaultVia(tableInternet, "core0", "fe80::1")))
	w.leaves(7, coreMAC, coreGW6)
	require.Equal(t, netip.MustParseAddr("fe80::1"), w.shown(tableInternet)[1].Address)
	require.NoError(t, netlink.RouteReplace(w.defaultVia(tableInternet, "core1", "2001:db8:51::1")))
	w.leaves(7, otherMAC, otherGW)

	// A link that goes down takes its routes with it; IPv4 says so to nobody.
	core1, err := netlink.LinkByName("core1")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetDown(core1))
	w.leaves(6, nil, nil)
	w.leaves(7, nil, nil)
	require.NoError(t, netlink.LinkSetUp(core1))
	w.neighbour("core1", "10.50.1.1", corpGW)
	w.neighbour("core1", "10.51.1.1", otherGW)
	require.NoError(t, netlink.RouteAdd(corp))
	w.leaves(6, otherMAC, corpGW)

	// Another daemon, and one that finds gateways instead.
	require.NoError(t, w.d.Close())
	w.open()
	w.leaves(5, coreMAC, coreGW6)
	w.leaves(6, otherMAC, corpGW)
	require.NoError(t, w.d.Close())
	w.cfg.Instances[1] = Instance{Name: "corp", Gateway: netip.MustParseAddr("10.51.1.1")}
	w.open()
	w.leaves(6, otherMAC, otherGW)
}

// TestACarrierThatIsLost: a next hop of a route without carrier is passed over where the kernel passes over it.
func TestACarrierThatIsLost(t *testing.T) {
	w := newTableWorld(t)
	w.neighbour("core1", "10.50.1.1", otherGW)
	require.NoError(t, netlink.RouteAdd(w.defaultVia(tableInternet, "", "", func(r *netlink.Route) {
		r.Flags = 0
		for _, port := range []string{"core0", "core1"} {
			r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: w.ifindex[port], Gw: net.ParseIP("10.50.1.1").To4(), Flags: int(netlink.FLAG_ONLINK)})
		}
	})))
	w.leaves(5, coreMAC, coreGW)
	far, err := netlink.LinkByName("core0p")
	require.NoError(t, err)
	eventually := func(ok func() bool) { // on this thread, which is in the namespace
		t.Helper()
		for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
			require.True(t, time.Now().Before(deadline))
		}
	}
	port := func() string {
		require.NoError(t, w.d.Resolve())
		return w.shown(tableInternet)[0].Port
	}
	require.NoError(t, netlink.LinkSetDown(far))
	eventually(func() bool { // the kernel tells after a while
		l, err := netlink.LinkByName("core0")
		return err == nil && l.Attrs().OperState == netlink.OperLowerLayerDown
	})
	w.leaves(5, coreMAC, coreGW) // as the kernel would
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/conf/core0/ignore_routes_with_linkdown", []byte("1"), 0))
	eventually(func() bool { return port() == "core1" })
	w.leaves(5, otherMAC, otherGW)
	require.NoError(t, netlink.LinkSetUp(far))
	eventually(func() bool { return port() == "core0" })
	w.leaves(5, coreMAC, coreGW)
}

// TestBackupGatewaysAreKnown: who may take the place of a gateway is a neighbour that the kernel keeps fresh.
func TestBackupGatewaysAreKnown(t *testing.T) {
	w := newTableWorld(t)
	require.NoError(t, netlink.RouteAdd(w.defaultVia(tableInternet, "core0", "10.50.1.1")))
	for i, gateway := range []string{"10.50.1.7", "10.50.1.8"} {
		require.NoError(t, netlink.RouteAdd(w.defaultVia(tableInternet, "core0", gateway, func(r *netlink.Route) { r.Priority = 10 + i })))
	}
	require.NoError(t, w.d.Resolve())
	neighbours, err := netlink.NeighList(w.ifindex["core0"], unix.AF_INET)
	require.NoError(t, err)
	managed := []string{}
	for _, n := range neighbours {
		if n.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
			managed = append(managed, n.IP.String())
		}
	}
	require.ElementsMatch(t, []string{"10.50.1.7", "10.50.1.8"}, managed)
}

// TestRulesDecideAboutPeers: the way to a peer is the one that the kernel's rules say for packets from the slice, as it is
// for what the slice's socket sends.
func TestRulesDecideAboutPeers(t *testing.T) {
	w := newWorld(t)
	local, err := netlink.ParseAddr(slice1.String() + "/32")
	require.NoError(t, err)
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(lo, local))
	w.apply(with(downlinkOf(5), func(e *session.Entry) { e.Remote = lostSGW }), downlinkOf(6),
		with(downlinkOf(8), func(e *session.Entry) { e.Remote, e.Local = lostSGW, slice2 }))
	reason := func(n int) map[string]uint64 {
		t.Helper()
		require.NoError(t, w.d.Resolve())
		before := w.reasons()
		w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(n), 64, 10)), 0)
		return difference(before, w.reasons())
	}
	forwarded, unresolved := map[string]uint64{"downlink_forwarded": 1}, map[string]uint64{"next_hop_unresolved": 1}
	require.Equal(t, unresolved, reason(5))
	require.NoError(t, netlink.RouteAdd(w.defaultVia(300, "access0", "10.20.11.1")))
	require.Equal(t, unresolved, reason(5))
	rule := netlink.NewRule()
	rule.Src, rule.Table, rule.Priority = &net.IPNet{IP: slice1.AsSlice(), Mask: net.CIDRMask(32, 32)}, 300, 100
	require.NoError(t, netlink.RuleAdd(rule))
	require.Equal(t, forwarded, reason(5))
	require.Equal(t, forwarded, reason(6))
	require.Equal(t, unresolved, reason(8), "of another slice")
	require.NoError(t, netlink.RuleDel(rule))
	require.Equal(t, unresolved, reason(5))
	require.Equal(t, forwarded, reason(6))
}

func TestRouteMessagesThatAreNoDefaultRoutes(t *testing.T) {
	table := routeTable{tableInternet, unix.AF_INET}
	whole := []byte{
		unix.AF_INET, 0, 0, 0, tableInternet, 4, 0, unix.RTN_UNICAST, 0, 0, 0, 0,
		8, 0, unix.RTA_TABLE, 0, tableInternet, 0, 0, 0,
		8, 0, unix.RTA_PRIORITY, 0, 7, 0, 0, 0,
		8, 0, unix.RTA_GATEWAY, 0, 10, 50, 1, 1,
		8, 0, unix.RTA_OIF, 0, 3, 0, 0, 0,
	}
	route, metric, ok := parseDefault(whole, table)
	require.True(t, ok)
	require.Equal(t, defaultRoute{way: way{ifindex: 3, via: netip.MustParseAddr("10.50.1.1")}}, route)
	require.EqualValues(t, 7, metric)
	for name, change := range map[string]func(b []byte){
		"of another family":      func(b []byte) { b[0] = unix.AF_INET6 },
		"to a prefix":            func(b []byte) { b[1] = 8 },
		"from a prefix":          func(b []byte) { b[2] = 64 },
		"for a ToS":              func(b []byte) { b[3] = 0x10 },
		"of another table":       func(b []byte) { b[16] = 9 },
		"cloned":                 func(b []byte) { b[9] = unix.RTM_F_CLONED >> 8 },
		"an attribute too long":  func(b []byte) { b[12] = 200 },
		"an attribute too short": func(b []byte) { b[12] = 1 },
	} {
		b := append([]byte(nil), whole...)
		change(b)
		_, _, ok := parseDefault(b, table)
		require.False(t, ok, name)
	}
	for n := range whole { // never a panic; what is whole is read
		parseDefault(whole[:n], table)
	}
	require.Equal(t, "IPv4 default of table 100", table.String())
}

// BenchmarkDefaultRoute reads a table of 10,000 routes.
func BenchmarkDefaultRoute(b *testing.B) {
	w := newWorldWith(b, func(c *Config) { c.Instances[0] = Instance{Name: "internet", Table: tableInternet} })
	require.NoError(b, netlink.RouteAdd(w.defaultVia(tableInternet, "core0", "10.50.1.1")))
	for i := range 10_000 {
		require.NoError(b, netlink.RouteAdd(w.defaultVia(tableInternet, "core0", "10.50.1.1", func(r *netlink.Route) {
			r.Dst = &net.IPNet{IP: net.IPv4(11, byte(i>>16), byte(i>>8), byte(i)).To4(), Mask: net.CIDRMask(32, 32)}
		})))
	}
	for b.Loop() {
		route, ok, err := w.d.routeTables.defaultRoute(routeTable{tableInternet, unix.AF_INET})
		require.NoError(b, err)
		require.True(b, ok)
		require.Equal(b, w.ifindex["core0"], route.ifindex)
	}
}

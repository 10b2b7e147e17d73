package datapath

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/userplane/session"
)

// TestATunnelToANewPeerBehindAKnownGatewayLosesNothing applies the first session to a peer and sends at once: nobody
// runs the datapath, so only Apply can have resolved the next hop.
func TestATunnelToANewPeerBehindAKnownGatewayLosesNothing(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{downlinkOf(5)}}))
	before := w.reasons()
	w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
	require.Equal(t, map[string]uint64{"downlink_forwarded": 1}, difference(before, w.reasons()))
}

// TestGatewaysAreResolvedBeforeAnybodyAsks finds the gateways of the ports' routes among the neighbours that the kernel
// keeps, though no session names a peer behind them.
func TestGatewaysAreResolvedBeforeAnybodyAsks(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: w.ifindex["access0"], IP: net.ParseIP("10.20.11.1")}))
	require.NoError(t, w.d.hops.keepGateways())
	neighbours, err := netlink.NeighList(w.ifindex["access0"], unix.AF_INET)
	require.NoError(t, err)
	require.Len(t, neighbours, 1)
	require.EqualValues(t, netlink.NTF_EXT_MANAGED, neighbours[0].FlagsExt)
}

// TestNextHops changes routes and neighbours under a session and looks where its packets go.
func TestNextHops(t *testing.T) {
	w := newWorld(t)
	w.apply(downlinkOf(5), uplinkOf(5))
	packets := 0
	sent := func(from, to net.HardwareAddr) {
		t.Helper()
		require.NoError(t, w.d.Resolve())
		_, out := w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
		want := encapsulated(t, sgw, remoteTEID(5), packets, inner(t, server, ue(5), 63, 10))
		packets++
		require.Equal(t, spacedHex(append(append([]byte(to), from...), want[12:]...)), spacedHex(out))
	}
	unresolved := func() {
		t.Helper()
		require.NoError(t, w.d.Resolve())
		before := w.reasons()
		w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
		require.Equal(t, map[string]uint64{"next_hop_unresolved": 1}, difference(before, w.reasons()))
	}
	neighbour := func(port, ip string, mac net.HardwareAddr) *netlink.Neigh {
		return &netlink.Neigh{LinkIndex: w.ifindex[port], IP: net.ParseIP(ip), State: unix.NUD_PERMANENT, HardwareAddr: mac}
	}
	route := func(gateway string) *netlink.Route {
		return &netlink.Route{
			Dst: &net.IPNet{IP: net.IPv4(10, 10, 0, 0), Mask: net.CIDRMask(16, 32)}, Gw: net.ParseIP(gateway),
		}
	}
	sent(accessMAC, accessGW)

	other := net.HardwareAddr{2, 0, 0, 0, 0xa, 9}
	require.NoError(t, netlink.NeighSet(neighbour("access0", "10.20.11.1", other)))
	sent(accessMAC, other)
	require.NoError(t, netlink.NeighSet(neighbour("access0", "10.20.11.1", accessGW)))
	sent(accessMAC, accessGW)

	require.NoError(t, netlink.NeighDel(neighbour("access0", "10.20.11.1", accessGW)))
	unresolved() // and the kernel has been asked to keep the neighbour
	neighbours, err := netlink.NeighList(w.ifindex["access0"], unix.AF_INET)
	require.NoError(t, err)
	require.Len(t, neighbours, 1)
	require.EqualValues(t, netlink.NTF_EXT_MANAGED, neighbours[0].FlagsExt)
	require.NoError(t, netlink.NeighSet(neighbour("access0", "10.20.11.1", accessGW)))
	sent(accessMAC, accessGW)

	require.NoError(t, netlink.RouteReplace(route("10.51.1.1"))) // by another port
	sent(otherMAC, otherGW)
	require.NoError(t, netlink.RouteDel(route("10.51.1.1")))
	unresolved()
	require.NoError(t, netlink.RouteAdd(route("127.0.0.2"))) // by an interface that is no port
	unresolved()
	require.NoError(t, netlink.RouteReplace(route("10.20.11.1")))
	sent(accessMAC, accessGW)

	narrow := route("10.20.11.1")
	narrow.MTU = 60
	require.NoError(t, netlink.RouteReplace(narrow))
	require.NoError(t, w.d.Resolve())
	before := w.reasons()
	w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
	require.Equal(t, map[string]uint64{"fragmented": 1}, difference(before, w.reasons()))
	packets++
	require.NoError(t, netlink.RouteReplace(route("10.20.11.1")))
	sent(accessMAC, accessGW)

	// A hop that leaves by the port that the packet came in by.
	require.NoError(t, netlink.RouteReplace(route("10.50.1.1")))
	require.NoError(t, w.d.Resolve())
	verdict, _ := w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 10)), 0)
	require.EqualValues(t, xdpTx, verdict)
}

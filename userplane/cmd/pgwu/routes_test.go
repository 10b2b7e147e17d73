package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// farSGW is an SGW that only a route table of its own leads to.
var farSGW = netip.MustParseAddr("10.99.0.1")

// atCorp marks the numbers that the server of the second network gives back.
const atCorp = 1 << 31

// twoNetworks is a site with two networks that look the same: gateway, server and UE have one address each in both.
type twoNetworks struct {
	*site
	gtpu  *net.UDPConn
	teids map[string]uint32 // by network instance: of the session's uplink
}

// remoteTEIDs are those of the sessions' downlink.
var remoteTEIDs = map[string]uint32{"internet": 0x1001, "corp": 0x1002}

func newTwoNetworks(t *testing.T) *twoNetworks {
	s := &twoNetworks{site: newSite(t), teids: map[string]uint32{}}
	corp := newNamespace(t)
	s.link("core1", "10.50.1.2/24", corp, "10.50.1.1/24")
	s.in(corp, func() { route(t, "172.16.1.0/24", "10.50.1.2") })
	s.in(s.core, func() { address(t, "core0p", "10.50.1.3/24") })
	s.in(s.sgw, func() { address(t, "lo", farSGW.String()+"/32") })
	s.gtpu = s.listen(s.sgw, netip.AddrPortFrom(farSGW, 2152))
	server := s.listen(corp, serverAddr)
	var ended sync.WaitGroup
	ended.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			b[n-4] |= atCorp >> 24
			_, _ = server.WriteToUDPAddrPort(b[:n], from)
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		ended.Wait()
	})
	s.configure("{name: core0, network_instance: internet}", "{name: core0, network_instance: internet}, {name: core1, network_instance: corp}")
	s.configure("[{name: internet, gateway: 10.50.1.1}]", "[{name: internet, table: 100}, {name: corp, table: 200}]")
	s.configure("data_path:", "gtpu: {echo_interval: 1s}\ndata_path:")
	return s
}

// establishIn makes a session of the UE in a network instance, from the far SGW.
func (s *twoNetworks) establishIn(instance string) {
	t := s.t
	t.Helper()
	r := s.ask(message.NewSessionEstablishmentRequest(0, 0, 0, s.next(), 0,
		ie.NewNodeID("", "", "pgwc.example"), ie.NewFSEID(uint64(remoteTEIDs[instance]), sgwAddr.AsSlice(), nil),
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x05, 0, nil, nil, 0), ie.NewUEIPAddress(2, ueAddr.String(), "", 0, 0)),
			ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance(instance), ie.NewUEIPAddress(6, ueAddr.String(), "", 0, 0)),
			ie.NewFARID(2)),
		ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2),
			ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance(instance))),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2),
			ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
				ie.NewOuterHeaderCreation(0x0100, remoteTEIDs[instance], farSGW.String(), "", 0, 0, 0))),
	)).(*message.SessionEstablishmentResponse)
	s.accepted(r.Cause)
	fteid, err := r.CreatedPDR[0].FTEID()
	require.NoError(t, err)
	s.teids[instance] = fteid.TEID
}

// ping sends a packet of the UE in a network instance and waits for what that network's server, and no other, gives back.
func (s *twoNetworks) ping(instance string, number uint32, wait time.Duration) bool {
	t := s.t
	t.Helper()
	_, err := s.gtpu.WriteToUDPAddrPort(packet(s.teids[instance], number), netip.AddrPortFrom(sliceAddr, 2152))
	require.NoError(t, err)
	for deadline := time.Now().Add(wait); ; {
		b, ok := s.message(0xff, deadline)
		if !ok {
			return false
		}
		got := binary.BigEndian.Uint32(b[len(b)-4:])
		require.Equal(t, got&atCorp != 0, binary.BigEndian.Uint32(b[4:]) == remoteTEIDs["corp"], "a packet of one network came out as the other's")
		if binary.BigEndian.Uint32(b[4:]) == remoteTEIDs[instance] && got&^atCorp == number {
			return true
		}
	}
}

// message is the next GTP-U message of a type.
func (s *twoNetworks) message(kind byte, deadline time.Time) ([]byte, bool) {
	b := make([]byte, 2048)
	require.NoError(s.t, s.gtpu.SetReadDeadline(deadline))
	for {
		n, from, err := s.gtpu.ReadFromUDPAddrPort(b)
		if err != nil {
			return nil, false
		}
		require.Equal(s.t, sliceAddr, from.Addr())
		if b[1] == kind {
			return b[:n], true
		}
	}
}

// tableRoute is a route of a route table.
func (s *twoNetworks) tableRoute(table int, to, via, port string, metric int) *netlink.Route {
	l, err := netlink.LinkByName(port)
	require.NoError(s.t, err)
	_, dst, err := net.ParseCIDR(to)
	require.NoError(s.t, err)
	return &netlink.Route{
		Table: table, Dst: dst, Gw: net.ParseIP(via), LinkIndex: l.Attrs().Index, Priority: metric, Flags: int(netlink.FLAG_ONLINK),
	}
}

// nextHop waits until a network instance's IPv4 packets go to a gateway, as `pgwu nexthop list` says; "": nowhere.
func (s *twoNetworks) nextHop(table int, gateway string) {
	s.t.Helper()
	var now any
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		rows, _ := s.rows("nexthop", "list")
		for _, r := range rows {
			if r["table"] == float64(table) {
				now = r
				if r["address"] == gateway && r["resolved"] == (gateway != "") {
					return
				}
				break // the first is that of IPv4
			}
		}
		require.True(s.t, time.Now().Before(deadline), "%v", now)
	}
}

// TestNetworkInstancesWithRouteTables runs two networks with the same addresses side by side, by a route table each, and
// reaches their SGW by a third: the tables come late, change under traffic, and lose a link.
func TestNetworkInstancesWithRouteTables(t *testing.T) {
	s := newTwoNetworks(t)
	s.start()
	s.setup()
	s.establishIn("internet")
	s.establishIn("corp")
	s.nextHop(100, "")
	s.nextHop(200, "")
	for _, instance := range []string{"internet", "corp"} {
		require.False(t, s.ping(instance, 1, time.Millisecond))
	}
	require.Eventually(t, func() bool { return s.reason("next_hop_unresolved") == 2 }, patience, time.Millisecond)

	var internet, standby *netlink.Route
	s.in(s.pgwu, func() {
		rule := netlink.NewRule()
		rule.Src, rule.Table = &net.IPNet{IP: sliceAddr.AsSlice(), Mask: net.CIDRMask(32, 32)}, 300
		require.NoError(t, netlink.RuleAdd(rule))
		require.NoError(t, netlink.RouteAdd(s.tableRoute(300, "10.99.0.0/16", "10.20.11.1", "access0", 0)))
		internet, standby = s.tableRoute(100, "0.0.0.0/0", "10.50.1.1", "core0", 0), s.tableRoute(100, "0.0.0.0/0", "10.50.1.3", "core0", 9)
		for _, r := range []*netlink.Route{internet, standby, s.tableRoute(200, "0.0.0.0/0", "10.50.1.1", "core1", 0)} {
			require.NoError(t, netlink.RouteAdd(r))
		}
	})
	s.nextHop(100, "10.50.1.1")
	s.nextHop(200, "10.50.1.1")
	number := uint32(2)
	eventually := func(instance string) {
		t.Helper()
		for deadline := time.Now().Add(patience); !s.ping(instance, number, 50*time.Millisecond); number++ {
			require.True(t, time.Now().Before(deadline), instance)
		}
		number++
	}
	steady := func(instances ...string) {
		t.Helper()
		for range 20 {
			for _, instance := range instances {
				require.True(t, s.ping(instance, number, patience), "packet %d of %s was lost", number, instance)
				number++
			}
		}
	}
	eventually("internet")
	eventually("corp")

	// The gateway goes, is replaced and comes back, and no packet is lost.
	for range 5 {
		for _, step := range []struct {
			change  func() error
			gateway string
		}{
			{func() error { return netlink.RouteDel(internet) }, "10.50.1.3"},
			{func() error { return netlink.RouteAdd(internet) }, "10.50.1.1"},
			{func() error {
				return netlink.RouteReplace(s.tableRoute(100, "0.0.0.0/0", "10.50.1.3", "core0", 0))
			}, "10.50.1.3"},
			{func() error { return netlink.RouteReplace(internet) }, "10.50.1.1"},
		} {
			s.in(s.pgwu, func() { require.NoError(t, step.change()) })
			steady("internet", "corp")
			s.nextHop(100, step.gateway)
			steady("internet", "corp")
		}
	}
	require.EqualValues(t, 2, s.reason("next_hop_unresolved"))

	// What the node itself sends to the SGW takes the third table, too.
	_, err := s.gtpu.WriteToUDPAddrPort(packet(0x7f000001, number), netip.AddrPortFrom(sliceAddr, 2152))
	require.NoError(t, err)
	for _, kind := range []byte{26, 1} { // Error Indication, Echo Request
		_, ok := s.message(kind, time.Now().Add(patience))
		require.True(t, ok, kind)
	}

	// One network's link is down, and comes back; the other does not notice.
	s.in(s.pgwu, func() {
		core1, err := netlink.LinkByName("core1")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetDown(core1))
	})
	s.nextHop(200, "")
	require.False(t, s.ping("corp", number, time.Millisecond))
	steady("internet")
	s.in(s.pgwu, func() {
		core1, err := netlink.LinkByName("core1")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(core1))
		require.NoError(t, netlink.RouteAdd(s.tableRoute(200, "0.0.0.0/0", "10.50.1.1", "core1", 0)))
	})
	number++
	eventually("corp")
	steady("internet", "corp")
}

// TestAFramedRouteLeavesTheNodeItsAddress has a UE with a framed route that the network itself lies in: what the node has there,
// routing protocols for example, goes on.
func TestAFramedRouteLeavesTheNodeItsAddress(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	own := s.listen(s.pgwu, netip.MustParseAddrPort("10.50.1.2:179"))
	neighbour := s.listen(s.core, netip.MustParseAddrPort("10.50.1.1:179"))
	s.accepted(s.change(seid, ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewPDI(
		ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"),
		ie.NewUEIPAddress(6, ueAddr.String(), "", 0, 0), ie.NewFramedRoute("10.0.0.0/8"),
	))).Cause)
	before := s.reasonCounts()
	send := func(to string) {
		_, err := neighbour.WriteToUDPAddrPort([]byte("hello"), netip.MustParseAddrPort(to))
		require.NoError(t, err)
	}
	s.in(s.core, func() { route(t, "10.77.0.0/16", "10.50.1.2") })
	send("10.77.7.7:179") // behind the UE
	require.Eventually(t, func() bool { return s.since(before)["downlink_forwarded"] == 1 }, patience, time.Millisecond)
	send("10.50.1.2:179")
	require.NoError(t, own.SetReadDeadline(time.Now().Add(patience)))
	n, err := own.Read(make([]byte, 64))
	require.NoError(t, err)
	require.Equal(t, len("hello"), n)
}

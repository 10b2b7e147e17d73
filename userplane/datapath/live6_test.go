package datapath

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/session"
)

var (
	accessGateway6 = netip.MustParseAddr("2001:db8:20::1") // the SGW
	coreGateway6   = netip.MustParseAddr("2001:db8:50::1")
)

// newLive6 is three namespaces in a row as newLive's, with IPv6 outside, and inside towards the same server. Neighbours are
// found by neighbour discovery.
func newLive6(t *testing.T) *live {
	l := &live{t: t}
	l.node, l.sgw, l.net = anotherNamespace(t), anotherNamespace(t), anotherNamespace(t)
	l.in(l.node, func() {
		l.veth("access0", "accessp", l.sgw)
		l.veth("core0", "corep", l.net)
	})
	pass := passAll(t)
	for _, end := range []struct {
		ns        netns.NsHandle
		name      string
		addresses []string
	}{
		{l.node, "lo", []string{slice1v6.String() + "/128"}},
		{l.node, "access0", []string{"2001:db8:20::2/64"}},
		{l.node, "core0", []string{"10.50.1.2/24", "2001:db8:50::2/64"}},
		{l.sgw, "accessp", []string{"2001:db8:20::1/64"}},
		{l.net, "corep", []string{"10.50.1.1/24", "2001:db8:50::1/64"}},
		{l.net, "lo", []string{"10.60.0.10/32", server6.String() + "/128"}},
	} {
		l.in(end.ns, func() {
			for file, value := range map[string]string{"accept_dad": "0", "router_solicitations": "0", "ndisc_notify": "1", "disable_ipv6": "0"} {
				require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+end.name+"/"+file, []byte(value), 0))
			}
			for _, a := range end.addresses {
				l.up(end.name, a)
			}
		})
	}
	l.in(l.sgw, func() {
		l.receiveXDP("accessp", pass)
		l.route6("2001:db8:30::/48", "2001:db8:20::2")
		l.tunnel = l.listen6(accessGateway6, gtpuPort)
	})
	l.in(l.net, func() {
		l.receiveXDP("corep", pass)
		l.route6("2001:db8:1::/48", "2001:db8:50::2")
		l.checksums("corep")
		l.server = l.listen6(server6, 5000)
	})
	go l.echo()
	l.cfg = Default()
	l.cfg.PinDir = filepath.Join(testkit.BPFFS(t), "node")
	l.cfg.Slices = []Slice{{Address6: slice1v6, TEIDs: sliceSlots}}
	l.cfg.Instances = []Instance{{Name: "internet", Gateway6: coreGateway6}}
	l.cfg.Ports = []Port{{Name: "access0", Side: SideAccess}, {Name: "core0", Side: SideCore, Instance: "internet"}}
	t.Cleanup(func() { require.NoError(t, Remove(l.cfg.PinDir)) })
	return l
}

func (l *live) route6(to, via string) {
	_, network, err := net.ParseCIDR(to)
	require.NoError(l.t, err)
	require.NoError(l.t, netlink.RouteAdd(&netlink.Route{Dst: network, Gw: net.ParseIP(via)}))
}

// listen6 binds when the kernel has made the address's route, which it does in the background.
func (l *live) listen6(a netip.Addr, port uint16) (c *net.UDPConn) {
	for deadline := time.Now().Add(patience); ; {
		var err error
		if c, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port))); err == nil {
			break
		}
		require.True(l.t, time.Now().Before(deadline), "%v", err)
		time.Sleep(time.Millisecond)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// uplink6 is a G-PDU of UE n with a packet to the server.
func (l *live) uplink6(n int, payload []byte) []byte {
	ip := ipv6(ue6Host, server6, layers.IPProtocolUDP)
	return serialize(l.t, &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(teid(n))},
		ip, udp6(4000, 5000, ip), gopacket.Payload(payload))
}

// ping6 sends one packet of UE 5 through the tunnel and waits for the answer. The SGW's kernel is the witness: its socket
// takes only datagrams whose UDP checksum is there and right.
func (l *live) ping6(number uint32, wait time.Duration) bool {
	payload := binary.BigEndian.AppendUint32(nil, number)
	_, err := l.tunnel.WriteToUDPAddrPort(l.uplink6(5, payload), netip.AddrPortFrom(slice1v6, gtpuPort))
	require.NoError(l.t, err)
	buffer := make([]byte, 2000)
	require.NoError(l.t, l.tunnel.SetReadDeadline(time.Now().Add(wait)))
	for {
		size, from, err := l.tunnel.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return false
		}
		require.Equal(l.t, netip.AddrPortFrom(slice1v6, gtpuPort), from)
		answer := gopacket.NewPacket(buffer[:size], layers.LayerTypeGTPv1U, gopacket.Default)
		require.Nil(l.t, answer.ErrorLayer())
		require.EqualValues(l.t, remoteTEID(5), answer.Layer(layers.LayerTypeGTPv1U).(*layers.GTPv1U).TEID)
		got := answer.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		require.EqualValues(l.t, 63, got.HopLimit)
		// What has no UDP header is a fragment of the packet that did not fit.
		if datagram, whole := answer.Layer(layers.LayerTypeUDP).(*layers.UDP); whole && slices.Equal(datagram.Payload, payload) {
			return true
		}
	}
}

func (l *live) eventually6(number uint32) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !l.ping6(number, 50*time.Millisecond); {
		require.True(l.t, time.Now().Before(deadline), "no answer")
	}
}

// TestLiveIPv6 sends IPv6 in IPv6 through native XDP on veth ports: neighbours come and change, the daemon goes and comes
// back, packets that do not fit are answered, and what the transport network says of its MTU is believed.
func TestLiveIPv6(t *testing.T) {
	l := newLive6(t)
	events := make(chan Event, 100)
	onEvent := func(e Event) {
		select {
		case events <- e:
		default:
		}
	}
	d, stop := l.daemon(onEvent)
	up := with(uplinkOf(5), func(e *session.Entry) { e.Key.Local, e.Sources = slice1v6, []netip.Prefix{ue6} })
	down := with(downlinkOf(5), func(e *session.Entry) {
		e.Key.UE, e.Local, e.Remote = ue6, slice1v6, accessGateway6
	})
	require.NoError(t, d.Apply(session.Changes{Puts: []session.Entry{up, down}}))
	l.eventually6(0)

	number := uint32(1)
	steady := func(count int) {
		t.Helper()
		for range count {
			require.True(t, l.ping6(number, patience), "packet %d was lost", number)
			number++
		}
	}
	steady(50)

	// A sender without UDP checksums.
	raw, err := l.tunnel.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1))
	}))
	steady(50)

	_, err = l.tunnel.WriteToUDPAddrPort(l.uplink6(6, nil), netip.AddrPortFrom(slice1v6, gtpuPort))
	require.NoError(t, err)
	select {
	case e := <-events:
		require.Equal(t, Event{
			Kind: EventUnknownTEID, TEID: teid(6), Remote: accessGateway6, RemotePort: gtpuPort, Local: slice1v6,
		}, e)
	case <-time.After(patience):
		require.Fail(t, "no event")
	}

	// A packet that does not fit is answered, and the network's kernel believes it.
	require.Eventually(t, func() (told bool) {
		_, err := l.server.WriteToUDPAddrPort(make([]byte, 1500-48), netip.AddrPortFrom(ue6Host, 4000))
		require.NoError(t, err)
		l.in(l.net, func() {
			routes, err := netlink.RouteGet(ue6Host.AsSlice())
			require.NoError(t, err)
			told = routes[0].MTU == 1500-56
		})
		return told
	}, patience, 10*time.Millisecond)

	stop()
	steady(50) // nobody is there
	d, stop = l.daemon(onEvent)
	repairs, err := d.Reconcile(slices.Values([]session.Entry{up, down}))
	require.NoError(t, err)
	require.Zero(t, repairs)
	steady(50)

	// The SGW's router gets another MAC address; the neighbour tells, and the data path follows.
	l.in(l.sgw, func() {
		i, err := netlink.LinkByName("accessp")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetHardwareAddr(i, net.HardwareAddr{2, 0, 0, 9, 9, 9}))
	})
	l.eventually6(number)
	neighbours := l.managed()
	require.Contains(t, neighbours, accessGateway6)
	require.Contains(t, neighbours, coreGateway6)

	l.narrowPath(d)
	stop()
}

// managed are the IPv6 neighbours of the node that its kernel keeps fresh; on one that cannot, all that it knows.
func (l *live) managed() (all []netip.Addr) {
	l.in(l.node, func() {
		neighbours, err := netlink.NeighList(0, unix.AF_INET6)
		require.NoError(l.t, err)
		for _, n := range neighbours {
			if a, ok := addrOf(n.IP); ok && n.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
				all = append(all, a)
			}
		}
	})
	return all
}

// narrowPath has a router on the way to the SGW say that it carries 1,300 octets (RFC 8201). The GTP-U socket makes the kernel
// believe it, and the data path asks the kernel.
func (l *live) narrowPath(d *Datapath) {
	t := l.t
	l.in(l.node, func() { l.listen6(slice1v6, gtpuPort) })
	hop := func() NextHop {
		hops, err := d.Reader().NextHops()
		require.NoError(t, err)
		at := slices.IndexFunc(hops, func(n NextHop) bool { return n.Address == accessGateway6 })
		require.GreaterOrEqual(t, at, 0)
		return hops[at]
	}
	require.Equal(t, 1500, hop().MTU)
	outer := ipv6(slice1v6, accessGateway6, layers.IPProtocolUDP)
	quoted := serialize(t, outer, udp6(gtpuPort, gtpuPort, outer), pattern(1400))[:1280-48]
	ip := ipv6(accessGateway6, slice1v6, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
	require.NoError(t, icmp.SetNetworkLayerForChecksum(ip))
	message := serialize(t, icmp, gopacket.Payload(slices.Concat(binary.BigEndian.AppendUint32(nil, 1300), quoted)))
	// serialize computes the checksum with the pseudo-header of ip.
	l.in(l.sgw, func() {
		raw, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		require.NoError(t, err)
		defer func() { require.NoError(t, unix.Close(raw)) }()
		require.NoError(t, unix.Sendto(raw, message, 0, &unix.SockaddrInet6{Addr: slice1v6.As16()}))
	})
	require.Eventually(t, func() bool {
		require.NoError(t, d.Resolve())
		return hop().MTU == 1300
	}, patience, 10*time.Millisecond)
}

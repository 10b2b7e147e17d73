package datapath

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/session"
)

// live is three namespaces in a row:
//
//	SGW                              node                               network
//	10.20.11.1 accessp ---- access0 10.20.11.2, core0 10.50.1.2 ---- corep 10.50.1.1, server 10.60.0.10
//
// The SGW is a UDP socket on port 2152, the server one that answers on port 5000. No neighbour is known beforehand.
type live struct {
	t              *testing.T
	node, sgw, net netns.NsHandle
	cfg            Config
	tunnel, server *net.UDPConn
}

const (
	patience = 20 * time.Second // for what must come; nobody waits that long when it does
	gtpuPort = 2152

	attachedNative = 1 // XDP_ATTACHED_DRV of linux/if_link.h
)

var accessGateway, coreGateway = netip.MustParseAddr("10.20.11.1"), netip.MustParseAddr("10.50.1.1")

func newLive(t *testing.T) *live {
	l := &live{t: t}
	l.node, l.sgw, l.net = anotherNamespace(t), anotherNamespace(t), anotherNamespace(t)
	l.in(l.node, func() {
		l.veth("access0", "accessp", l.sgw)
		l.veth("core0", "corep", l.net)
		l.up("access0", "10.20.11.2/24")
		l.up("core0", "10.50.1.2/24")
	})
	pass := passAll(t)
	l.in(l.sgw, func() {
		l.up("accessp", "10.20.11.1/24")
		l.receiveXDP("accessp", pass)
		l.route(netip.PrefixFrom(slice1, 32), nodeAddr)
		l.tunnel = l.listen(accessGateway, gtpuPort)
	})
	l.in(l.net, func() {
		l.up("corep", "10.50.1.1/24")
		l.up("lo", "10.60.0.10/32")
		l.receiveXDP("corep", pass)
		l.route(netip.PrefixFrom(ue(0), 24), netip.MustParseAddr("10.50.1.2"))
		l.checksums("corep")
		l.server = l.listen(server, 5000)
	})
	go l.echo()
	l.cfg = Default()
	l.cfg.PinDir = filepath.Join(testkit.BPFFS(t), "node")
	l.cfg.Slices = []Slice{{Address: slice1, TEIDs: sliceSlots}}
	l.cfg.Instances = []Instance{{Name: "internet", Gateway: coreGateway}}
	l.cfg.Ports = []Port{{Name: "access0", Side: SideAccess}, {Name: "core0", Side: SideCore, Instance: "internet"}}
	t.Cleanup(func() { require.NoError(t, Remove(l.cfg.PinDir)) })
	return l
}

// checksums has the kernel write them for what an interface sends; else they are left to a NIC that never comes.
func (l *live) checksums(name string) {
	require.NoError(l.t, nic(name).turnOff([]string{"tx-checksum-ip-generic"}))
}

// anotherNamespace makes one whose kernel does not speak IPv6 by itself.
func anotherNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	ns := testkit.NewNamespace(t)
	testkit.In(t, ns, func() { testkit.DisableIPv6(t) })
	return ns
}

func (l *live) in(ns netns.NsHandle, f func()) {
	l.t.Helper()
	testkit.In(l.t, ns, f)
}

func (l *live) veth(name, peer string, where netns.NsHandle) {
	require.NoError(l.t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer, PeerNamespace: netlink.NsFd(where),
	}))
}

func (l *live) up(name, address string) {
	i, err := netlink.LinkByName(name)
	require.NoError(l.t, err)
	a, err := netlink.ParseAddr(address)
	require.NoError(l.t, err)
	require.NoError(l.t, netlink.AddrAdd(i, a))
	require.NoError(l.t, netlink.LinkSetUp(i))
}

func (l *live) route(to netip.Prefix, via netip.Addr) {
	require.NoError(l.t, netlink.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: via.AsSlice(),
	}))
}

func (l *live) listen(a netip.Addr, port uint16) *net.UDPConn {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// passAll is what the far end of a veth needs to get redirected frames.
func passAll(t *testing.T) *ebpf.Program {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}, License: "Dual BSD/GPL",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func (l *live) receiveXDP(name string, p *ebpf.Program) {
	i, err := netlink.LinkByName(name)
	require.NoError(l.t, err)
	attached, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: i.Attrs().Index, Flags: link.XDPDriverMode})
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = attached.Close() })
}

// echo is the server: it answers with what it got.
func (l *live) echo() {
	buffer := make([]byte, 2000)
	for {
		n, from, err := l.server.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		_, _ = l.server.WriteToUDPAddrPort(buffer[:n], from)
	}
}

// daemon opens the data path and runs it until the returned function is called.
func (l *live) daemon(events func(Event)) (*Datapath, func()) {
	var d *Datapath
	l.in(l.node, func() {
		var err error
		d, err = Open(l.cfg, slog.New(slog.DiscardHandler))
		require.NoError(l.t, err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, events) }()
	return d, func() {
		cancel()
		require.NoError(l.t, <-done)
		require.NoError(l.t, d.Close())
	}
}

// ping sends one packet of UE n through the tunnel and waits for the answer, which it checks. number makes it unique.
func (l *live) ping(n int, number uint32, wait time.Duration) bool {
	payload := binary.BigEndian.AppendUint32(nil, number)
	ip := ipv4(ue(n), server, layers.IPProtocolUDP)
	packet := serialize(l.t, &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(teid(n))},
		ip, udp(4000, 5000, ip), gopacket.Payload(payload))
	_, err := l.tunnel.WriteToUDPAddrPort(packet, netip.AddrPortFrom(slice1, gtpuPort))
	require.NoError(l.t, err)
	buffer := make([]byte, 2000)
	require.NoError(l.t, l.tunnel.SetReadDeadline(time.Now().Add(wait)))
	for {
		size, from, err := l.tunnel.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return false
		}
		require.Equal(l.t, netip.AddrPortFrom(slice1, gtpuPort), from)
		answer := gopacket.NewPacket(buffer[:size], layers.LayerTypeGTPv1U, gopacket.Default)
		require.Nil(l.t, answer.ErrorLayer())
		require.EqualValues(l.t, remoteTEID(n), answer.Layer(layers.LayerTypeGTPv1U).(*layers.GTPv1U).TEID)
		got := answer.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		require.Equal(l.t, ue(n).String(), got.DstIP.String())
		require.EqualValues(l.t, 63, got.TTL)
		datagram, whole := answer.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !whole {
			continue // a fragment of the packet that did not fit
		}
		require.NoError(l.t, datagram.SetNetworkLayerForChecksum(got))
		sum := datagram.Checksum
		require.Equal(l.t, spacedHex(serialize(l.t, got, datagram, gopacket.Payload(datagram.Payload))), spacedHex(buffer[8:size]))
		require.NotZero(l.t, sum)
		if slices.Equal(datagram.Payload, payload) {
			return true
		}
	}
}

// eventually repeats a ping until it is answered: neighbours take their time.
func (l *live) eventually(n int, number uint32) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !l.ping(n, number, 50*time.Millisecond); {
		require.True(l.t, time.Now().Before(deadline), "no answer")
	}
}

// TestLive sends traffic through native XDP on veth ports, while the daemon starts, works, dies and comes back.
func TestLive(t *testing.T) {
	l := newLive(t)
	events := make(chan Event, 100)
	onEvent := func(e Event) {
		select {
		case events <- e:
		default:
		}
	}
	d, stop := l.daemon(onEvent)
	up := uplinkOf(5)
	down := with(downlinkOf(5), func(e *session.Entry) { e.Remote = accessGateway })
	require.NoError(t, d.Apply(session.Changes{Puts: []session.Entry{up, down}}))
	l.eventually(5, 0)
	l.in(l.node, func() {
		for _, name := range []string{"access0", "core0"} {
			i, err := netlink.LinkByName(name)
			require.NoError(t, err)
			require.True(t, i.Attrs().Xdp.Attached)
			require.EqualValues(t, attachedNative, i.Attrs().Xdp.AttachMode, "native, not generic")
			active, err := nic(name).active()
			require.NoError(t, err)
			for _, feature := range slices.Concat(hidingTags, offeringTags) {
				require.Contains(t, active, feature)
				require.False(t, active[feature], "VLAN tags are visible")
			}
		}
	})

	number := uint32(1)
	steady := func(count int) {
		t.Helper()
		for range count {
			require.True(t, l.ping(5, number, patience), "packet %d was lost", number)
			number++
		}
	}
	before, err := d.Usage([]session.Key{up.Key, down.Key})
	require.NoError(t, err)
	steady(200)
	after, err := d.Usage([]session.Key{up.Key, down.Key})
	require.NoError(t, err)
	const octets = 20 + 8 + 4
	for i := range after {
		require.Equal(t, before[i].Packets+200, after[i].Packets)
		require.Equal(t, before[i].Octets+200*octets, after[i].Octets)
	}

	l.ping(6, 0, time.Millisecond) // a TEID that nobody has
	select {
	case e := <-events:
		require.Equal(t, Event{
			Kind: EventUnknownTEID, TEID: teid(6), Remote: accessGateway, RemotePort: gtpuPort, Local: slice1,
		}, e)
	case <-time.After(patience):
		require.Fail(t, "no event")
	}

	// A packet that does not fit is answered, and the network's kernel believes it.
	require.Eventually(t, func() (told bool) {
		_, err := l.server.WriteToUDPAddrPort(make([]byte, 1500-28), netip.AddrPortFrom(ue(5), 4000))
		require.NoError(t, err)
		l.in(l.net, func() {
			routes, err := netlink.RouteGet(ue(5).AsSlice())
			require.NoError(t, err)
			told = routes[0].MTU == 1500-36
		})
		return told
	}, patience, 10*time.Millisecond)

	stop()
	steady(100) // nobody is there
	restarts := make(chan func())
	go func() {
		_, stop := l.daemon(onEvent)
		restarts <- stop
	}()
	for restarted := false; !restarted; {
		steady(1)
		select {
		case stop = <-restarts:
			restarted = true
		default:
		}
	}
	steady(100)

	// The SGW's router gets another MAC address; the neighbour tells, and the data path follows.
	l.in(l.sgw, func() {
		i, err := netlink.LinkByName("accessp")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetHardwareAddr(i, net.HardwareAddr{2, 0, 0, 9, 9, 9}))
	})
	l.eventually(5, number)
	stop()
}

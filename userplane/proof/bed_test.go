package proof

import (
	"log/slog"
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

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/datapath/traffic"
	"github.com/xepc/xepc/userplane/session"
)

// The bed: a node with an access port and a core port in one network namespace, and behind each a sink, which is where
// traffic comes from, too.
//
//	accessp ---- access0 [ data path ] core0 ---- corep
var (
	slice     = netip.MustParseAddr("10.30.1.1")
	slice2    = netip.MustParseAddr("10.30.1.2")
	sgw       = netip.MustParseAddr("10.20.11.1")
	sgw2      = netip.MustParseAddr("10.20.11.3")
	slice6    = netip.MustParseAddr("2001:db8:30::1") // of slice, too
	sgw6      = netip.MustParseAddr("2001:db8:20::11")
	sgw26     = netip.MustParseAddr("2001:db8:20::13")
	server    = netip.MustParseAddr("10.60.0.10")
	gateway   = netip.MustParseAddr("10.50.1.1")
	gateway2  = netip.MustParseAddr("10.50.1.3")
	accessMAC = net.HardwareAddr{2, 0, 0, 0, 0xa, 1}
	sgwMAC    = net.HardwareAddr{2, 0, 0, 0, 0xa, 2}
	sgw2MAC   = net.HardwareAddr{2, 0, 0, 0, 0xa, 3}
	coreMAC   = net.HardwareAddr{2, 0, 0, 0, 0xc, 1}
	coreGW    = net.HardwareAddr{2, 0, 0, 0, 0xc, 2}
	coreGW2   = net.HardwareAddr{2, 0, 0, 0, 0xc, 3}
)

// outside is between a slice and its SGWs.
type outside struct {
	slice, sgw, sgw2 netip.Addr
}

var over4, over6 = outside{slice, sgw, sgw2}, outside{slice6, sgw6, sgw26}

// overOf is over what UE n's tunnels are: one by one.
func overOf(n int) outside {
	if n%2 == 1 {
		return over6
	}
	return over4
}

type bed struct {
	t            *testing.T
	ns           netns.NsHandle
	access, core end
	cfg          datapath.Config
	d            *datapath.Datapath
}

// end is one of the node's ports with what is behind it.
type end struct {
	t         testing.TB
	name      string
	port, far int // interface indices
	sink      *traffic.Sink
}

// newLinks makes the namespace, the ports and the sinks. The test's thread is in the namespace until it ends.
func newLinks(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, ns: testkit.EnterNamespace(t)}
	testkit.DisableIPv6(t) // else the kernel's own packets are counted too
	b.access = b.newEnd("access0", accessMAC, "10.20.11.2/24", map[netip.Addr]net.HardwareAddr{sgw: sgwMAC, sgw2: sgw2MAC})
	b.enableIPv6(b.access, map[netip.Addr]net.HardwareAddr{sgw6: sgwMAC, sgw26: sgw2MAC})
	b.core = b.newEnd("core0", coreMAC, "10.50.1.2/24", map[netip.Addr]net.HardwareAddr{gateway: coreGW, gateway2: coreGW2})
	return b
}

func (b *bed) newEnd(name string, mac net.HardwareAddr, address string, neighbours map[netip.Addr]net.HardwareAddr) (e end) {
	t := b.t
	t.Helper()
	var err error
	e.t, e.name = t, name
	e.port, e.far, err = traffic.AddPair(name, mac)
	require.NoError(t, err)
	l, err := netlink.LinkByIndex(e.port)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(address)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, a))
	for ip, mac := range neighbours {
		require.NoError(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: e.port, IP: ip.AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: mac,
		}))
	}
	e.sink, err = traffic.NewSink()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.sink.Close()) })
	require.NoError(t, e.sink.Attach(e.far))
	return e
}

// enableIPv6 lets a port reach neighbours by IPv6, without an address of its own there: so its kernel sends nothing.
func (b *bed) enableIPv6(e end, neighbours map[netip.Addr]net.HardwareAddr) {
	t := b.t
	t.Helper()
	for _, setting := range []struct{ file, value string }{{"addr_gen_mode", "1"}, {"disable_ipv6", "0"}} {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+e.name+"/"+setting.file, []byte(setting.value), 0))
	}
	_, network, err := net.ParseCIDR("2001:db8:20::/64")
	require.NoError(t, err)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: e.port, Dst: network}))
	for ip, mac := range neighbours {
		require.NoError(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: e.port, IP: ip.AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: mac,
		}))
	}
}

// ledger is what was counted at all places that a packet passes, since it was opened.
type ledger struct {
	t        testing.TB
	from, to *end
	read     func() map[string]uint64
	reasons  map[string]uint64
	seen     map[traffic.Sight]traffic.Count
	lost     [2]uint64
}

// open begins a ledger of what goes in by one end and comes out by the other. Without reasons it cannot be closed, only
// accounted: other traffic is counted under them too.
func open(t testing.TB, from, to *end, reasons func() map[string]uint64) *ledger {
	t.Helper()
	l := &ledger{t: t, from: from, to: to, read: reasons}
	if reasons != nil {
		l.reasons = reasons()
	}
	l.seen, l.lost = to.seen(), l.losses()
	return l
}

// losses is what the veths in the way have lost: towards the node, and away from it.
func (l *ledger) losses() (lost [2]uint64) {
	l.t.Helper()
	for i, hop := range [2][2]string{{l.from.name + "p", l.from.name}, {l.to.name, l.to.name + "p"}} {
		for _, end := range hop {
			n, err := traffic.Lost(end)
			require.NoError(l.t, err)
			lost[i] += n
		}
	}
	return lost
}

// balance is a closed ledger.
type balance struct {
	reasons  map[string]uint64
	seen     map[traffic.Sight]traffic.Count
	received traffic.Count
	lost     [2]uint64 // by the veths before the node, and behind it
}

// account closes the ledger as it stands, with what was counted by reason.
func (l *ledger) account(reasons map[string]uint64) balance {
	l.t.Helper()
	b := balance{reasons: reasons, seen: map[traffic.Sight]traffic.Count{}, lost: l.losses()}
	for i := range b.lost {
		b.lost[i] -= l.lost[i]
	}
	for s, n := range l.to.seen() {
		if n.Packets -= l.seen[s].Packets; n.Packets > 0 {
			n.Octets -= l.seen[s].Octets
			b.seen[s] = n
			b.received.Add(n)
		}
	}
	return b
}

// close waits until every packet that was sent is accounted for: counted under one reason or lost before the node; and if
// forwarded, received or lost behind it.
func (l *ledger) close(sent uint64) (b balance) {
	l.t.Helper()
	var all, forwarded uint64
	ok := func() bool {
		b = l.account(difference(l.reasons, l.read()))
		all, forwarded = 0, b.reasons["uplink_forwarded"]+b.reasons["downlink_forwarded"]
		for _, n := range b.reasons {
			all += n
		}
		return sent == all+b.lost[0] && forwarded == b.received.Packets+b.lost[1]
	}
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		require.True(l.t, time.Now().Before(deadline), "sent %d, lost %v, counted %d: %v, received %d", sent, b.lost, all, b.reasons, b.received.Packets)
	}
	return b
}

// seen is what has left by this end so far.
func (e *end) seen() map[traffic.Sight]traffic.Count {
	e.t.Helper()
	seen, err := e.sink.Sights()
	require.NoError(e.t, err)
	return seen
}

// newBed opens a data path between the ports.
func newBed(t *testing.T, change ...func(*datapath.Config)) *bed {
	t.Helper()
	b := newLinks(t)
	b.cfg = datapath.Default()
	b.cfg.PinDir = filepath.Join(testkit.BPFFS(t), "node")
	b.cfg.AddressBlocks, b.cfg.Peers, b.cfg.MaxInstances = 32, 64, 4
	b.cfg.Slices = []datapath.Slice{{Address: slice, Address6: slice6, TEIDs: 4096}, {Address: slice2, TEIDs: 256}}
	b.cfg.Instances = []datapath.Instance{{Name: "internet", Gateway: gateway}}
	b.cfg.Ports = []datapath.Port{
		{Name: "access0", Side: datapath.SideAccess}, {Name: "core0", Side: datapath.SideCore, Instance: "internet"},
	}
	for _, f := range change {
		f(&b.cfg)
	}
	b.open()
	t.Cleanup(func() {
		require.NoError(t, b.d.Close())
		require.NoError(t, datapath.Remove(b.cfg.PinDir))
	})
	return b
}

func (b *bed) open() {
	b.t.Helper()
	var err error
	b.d, err = datapath.Open(b.cfg, slog.New(slog.DiscardHandler))
	require.NoError(b.t, err)
}

func (b *bed) apply(c session.Changes) {
	b.t.Helper()
	require.NoError(b.t, b.d.Apply(c))
	require.NoError(b.t, b.d.Resolve())
}

// reasonsOf are the counts by name.
func reasonsOf(t testing.TB, r *datapath.Reader) map[string]uint64 {
	t.Helper()
	rows, err := r.Reasons()
	require.NoError(t, err)
	counts := map[string]uint64{}
	for _, row := range rows {
		counts[row.Name] = row.Packets
	}
	return counts
}

// difference is what is counted more: only what differs.
func difference(before, after map[string]uint64) map[string]uint64 {
	counts := map[string]uint64{}
	for name, n := range after {
		if n != before[name] {
			counts[name] = n - before[name]
		}
	}
	return counts
}

func (b *bed) reasons() map[string]uint64 { return reasonsOf(b.t, b.d.Reader()) }

// UE n, its TEIDs and its entries before a test changes them.
func ue(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 16, byte(1 + n/250), byte(1 + n%250)}) }

func teid(n int) pfcp.TEID { return pfcp.TEID(0x7a000000 | n) }

func remoteTEID(n int) pfcp.TEID { return pfcp.TEID(0x11110000 | n) }

func uplinkOf(n int) session.Entry {
	return session.Entry{
		Key: session.Key{Direction: session.Uplink, Local: slice, TEID: teid(n)},
		Rule: session.Rule{
			Sources: []netip.Prefix{session.UE(ue(n))}, Instance: "internet",
			Origin: session.Origin{SEID: pfcp.SEID(n + 1), PDRID: 1, FARID: 1},
		},
	}
}

func downlinkOf(n int) session.Entry {
	return session.Entry{
		Key: session.Key{Direction: session.Downlink, Instance: "internet", UE: session.UE(ue(n))},
		Rule: session.Rule{
			Remote: sgw, RemoteTEID: remoteTEID(n), Local: slice, Origin: session.Origin{SEID: pfcp.SEID(n + 1), PDRID: 2, FARID: 2},
		},
	}
}

func with(e session.Entry, change func(*session.Entry)) session.Entry {
	change(&e)
	return e
}

// Frames are built by gopacket, which knows nothing of the data path.

func serialize(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...))
	return slices.Clone(buffer.Bytes())
}

func ipv4(from, to netip.Addr) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
	}
}

func ipv6(from, to netip.Addr) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
}

func udp(from, to uint16, ip gopacket.NetworkLayer) *layers.UDP {
	u := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	_ = u.SetNetworkLayerForChecksum(ip)
	return u
}

// packet is an IPv4 packet of that many octets.
func packet(t testing.TB, from, to netip.AddrPort, octets int, tos uint8) []byte {
	ip := ipv4(from.Addr(), to.Addr())
	ip.TOS = tos
	return serialize(t, ip, udp(from.Port(), to.Port(), ip), gopacket.Payload(make([]byte, octets-28)))
}

func frame(from, to net.HardwareAddr, packet []byte) []byte {
	proto := []byte{8, 0}
	if packet[0]>>4 == 6 {
		proto = []byte{0x86, 0xdd}
	}
	return slices.Concat([]byte(to), []byte(from), proto, packet)
}

// tunnelled is a frame from the SGW with a G-PDU.
func tunnelled(t testing.TB, over outside, id pfcp.TEID, inner []byte) []byte {
	gtpu := &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(id)}
	if over.slice.Is4() {
		ip := ipv4(over.sgw, over.slice)
		return frame(sgwMAC, accessMAC, serialize(t, ip, udp(2152, 2152, ip), gtpu, gopacket.Payload(inner)))
	}
	ip := ipv6(over.sgw, over.slice)
	return frame(sgwMAC, accessMAC, serialize(t, ip, udp(2152, 2152, ip), gtpu, gopacket.Payload(inner)))
}

// leadToS marks the packets that lead.
const leadToS = 4

// flow is one whose frames are made by f, for a ToS.
func flow(octets int, f func(tos uint8) []byte) traffic.Flow {
	return traffic.Flow{Frame: f(0), Lead: f(leadToS), Count: octets}
}

// uplinkFlow are G-PDUs with packets of UE n of that many octets, of bearer 0.
func uplinkFlow(t testing.TB, over outside, id pfcp.TEID, n, octets int) traffic.Flow {
	return flow(octets, func(tos uint8) []byte {
		return tunnelled(t, over, id, packet(t, netip.AddrPortFrom(ue(n), 4000), netip.AddrPortFrom(server, port(0)), octets, tos))
	})
}

// downlinkFlow are packets of that many octets to UE n, for bearer b.
func downlinkFlow(t testing.TB, n, b, octets int) traffic.Flow {
	return flow(octets, func(tos uint8) []byte {
		return frame(coreGW, coreMAC, packet(t, netip.AddrPortFrom(server, port(b)), netip.AddrPortFrom(ue(n), 4000), octets, tos))
	})
}

func newGenerator(t testing.TB, flows ...traffic.Flow) *traffic.Generator {
	t.Helper()
	g, err := traffic.NewGenerator(flows...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

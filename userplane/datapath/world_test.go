package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/session"
)

// The world of the tests: one node with an access port and two core ports, each a veth whose other end nobody
// reads, and permanent neighbours behind them.
var (
	slice1     = netip.MustParseAddr("10.30.1.1")
	slice2     = netip.MustParseAddr("10.30.1.2")
	slice1v6   = netip.MustParseAddr("2001:db8:30::1") // of slice1, too
	slice3     = netip.MustParseAddr("2001:db8:30::3")
	sgw        = netip.MustParseAddr("10.10.0.2")
	sgw6       = netip.MustParseAddr("2001:db8:10::2")
	nodeCore6  = netip.MustParseAddr("2001:db8:50::2")
	otherCore6 = netip.MustParseAddr("2001:db8:51::2")
	lostSGW    = netip.MustParseAddr("192.0.2.9") // no route
	nodeAddr   = netip.MustParseAddr("10.20.11.2")
	nodeCore   = netip.MustParseAddr("10.50.1.2")
	otherCore  = netip.MustParseAddr("10.51.1.2")
	server     = netip.MustParseAddr("10.60.0.10")

	accessMAC  = net.HardwareAddr{2, 0, 0, 0, 0xa, 1}
	accessGW   = net.HardwareAddr{2, 0, 0, 0, 0xa, 2}
	accessGW6  = net.HardwareAddr{2, 0, 0, 0, 0xa, 6}
	coreMAC    = net.HardwareAddr{2, 0, 0, 0, 0xc, 1}
	coreGW     = net.HardwareAddr{2, 0, 0, 0, 0xc, 2}
	coreGW6    = net.HardwareAddr{2, 0, 0, 0, 0xc, 6}
	otherMAC   = net.HardwareAddr{2, 0, 0, 0, 0xd, 1}
	otherGW    = net.HardwareAddr{2, 0, 0, 0, 0xd, 2}
	accessMTU  = 1500
	sliceSlots = 1024
)

type world struct {
	t       testing.TB
	d       *Datapath
	cfg     Config
	ifindex map[string]int
	ns      netns.NsHandle
	ring    *ringbuf.Reader // of buffered packets
	sent    *ringbuf.Reader // of packets that the slow path is to send
}

// handed are the packets that the program has handed over to be sent, while nobody else reads them.
func (w *world) handed() (all []Event) {
	w.t.Helper()
	for {
		record, err := w.sent.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		require.NoError(w.t, err)
		e, ok := w.d.decodeCopy(record.RawSample)
		require.True(w.t, ok)
		all = append(all, e)
	}
}

// parked is the next packet that the program handed to the slow path, while nobody else reads them.
func (w *world) parked() Event {
	w.t.Helper()
	record, err := w.ring.Read()
	require.NoError(w.t, err)
	e, ok := w.d.tables.decodeParked(record.RawSample)
	require.True(w.t, ok)
	return e
}

// newWorld makes the namespace and opens the data path in it, on this test's locked thread.
func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, func(*Config) {})
}

// newWorldWith has its configuration changed.
func newWorldWith(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, ifindex: map[string]int{}}
	w.ns = testkit.EnterNamespace(t)
	testkit.DisableIPv6(t) // else the kernel's own packets are counted too
	w.port("access0", accessMAC, "10.20.11.2/24", "10.20.11.1", accessGW)
	w.port("core0", coreMAC, "10.50.1.2/24", "10.50.1.1", coreGW)
	w.port("core1", otherMAC, "10.51.1.2/24", "10.51.1.1", otherGW)
	w.port6("access0", "2001:db8:20::2/64", "2001:db8:20::1", accessGW6)
	w.port6("core0", "2001:db8:50::2/64", "fe80::1", coreGW6)
	w.port6("core1", "2001:db8:51::2/64", "2001:db8:51::1", otherGW)
	for to, via := range map[string]string{"10.10.0.0/16": "10.20.11.1", "2001:db8:10::/48": "2001:db8:20::1"} {
		_, network, err := net.ParseCIDR(to)
		require.NoError(t, err)
		require.NoError(t, netlink.RouteAdd(&netlink.Route{Dst: network, Gw: net.ParseIP(via)}))
	}
	w.cfg = Default()
	w.cfg.PinDir = filepath.Join(testkit.BPFFS(t), "node")
	w.cfg.AddressBlocks = 4
	w.cfg.Peers = 8
	w.cfg.ICMPRate, w.cfg.URLRate = 1_000_000, 1_000_000
	w.cfg.MaxInstances = 4
	w.cfg.Slices = []Slice{{Address: slice1, Address6: slice1v6, TEIDs: sliceSlots}, {Address: slice2, TEIDs: 200}, {Address6: slice3, TEIDs: 64}}
	w.cfg.Instances = []Instance{
		{Name: "internet", Gateway: netip.MustParseAddr("10.50.1.1"), Gateway6: netip.MustParseAddr("fe80::1")},
		{Name: "corp", Gateway: netip.MustParseAddr("10.51.1.1")},
		{Name: "lost", Gateway: netip.MustParseAddr("192.0.2.1")},
	}
	w.cfg.Ports = []Port{
		{Name: "access0", Side: SideAccess},
		{Name: "core0", Side: SideCore, Instance: "internet"},
		{Name: "core1", Side: SideCore, Instance: "corp"},
	}
	change(&w.cfg)
	w.open()
	t.Cleanup(func() {
		require.NoError(t, w.d.Close())
		require.NoError(t, Remove(w.cfg.PinDir))
	})
	return w
}

// open opens the data path with the headroom poisoned, so that an octet that nobody writes shows.
func (w *world) open() {
	w.t.Helper()
	d, err := open(w.cfg, slog.New(slog.DiscardHandler), func(v *pgwuVariableSpecs) error {
		return v.PoisonHeadroom.Set(true)
	})
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		w.t.Logf("the verifier's log: %+v", refused)
	}
	require.NoError(w.t, err)
	w.d = d
	for m, reader := range map[*ebpf.Map]**ringbuf.Reader{d.objects.Parking: &w.ring, d.objects.Copies: &w.sent} {
		ring, err := ringbuf.NewReader(m)
		require.NoError(w.t, err)
		ring.SetDeadline(time.Now())
		*reader = ring
		w.t.Cleanup(func() { require.NoError(w.t, ring.Close()) })
	}
}

func (w *world) port(name string, mac net.HardwareAddr, address, gateway string, gatewayMAC net.HardwareAddr) {
	t := w.t
	t.Helper()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac, MTU: accessMTU}, PeerName: name + "p",
	}
	require.NoError(t, netlink.LinkAdd(veth))
	for _, end := range []string{name, name + "p"} {
		l, err := netlink.LinkByName(end)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(l))
	}
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(address)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, a))
	require.NoError(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, IP: net.ParseIP(gateway), State: unix.NUD_PERMANENT, HardwareAddr: gatewayMAC,
	}))
	w.ifindex[name] = l.Attrs().Index
}

// port6 gives a port IPv6, which its other end does not have: else the kernel's own packets are counted too.
func (w *world) port6(name, address, gateway string, gatewayMAC net.HardwareAddr) {
	t := w.t
	t.Helper()
	for file, value := range map[string]string{"accept_dad": "0", "router_solicitations": "0", "disable_ipv6": "0"} {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/"+file, []byte(value), 0))
	}
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(address)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, a))
	require.NoError(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, IP: net.ParseIP(gateway), State: unix.NUD_PERMANENT, HardwareAddr: gatewayMAC,
	}))
}

// xdpMD is struct xdp_md of linux/bpf.h, the context of a test run.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

const xdpDrop, xdpPass, xdpTx, xdpRedirect = 1, 2, 3, 4

// maxMetadata is what the test runner of every kernel takes before a frame; newer ones take more, as drivers do.
const maxMetadata = 32

// run sends one frame through the program as if it came in by that port. meta octets of metadata stand before it.
func (w *world) run(port string, frame []byte, meta int) (verdict uint32, out []byte) {
	w.t.Helper()
	verdict, out, err := w.tryRun(port, frame, meta)
	require.NoError(w.t, err)
	return verdict, out
}

func (w *world) tryRun(port string, frame []byte, meta int) (verdict uint32, out []byte, err error) {
	w.t.Helper()
	w.enter()
	in := append(make([]byte, meta), frame...)
	context := xdpMD{Data: uint32(meta), DataEnd: uint32(len(in)), IngressIfindex: uint32(w.ifindex[port])}
	options := ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: context}
	verdict, err = w.d.objects.Pgwu.Run(&options)
	return verdict, options.DataOut[min(meta, len(options.DataOut)):], err
}

// takesMetadata says whether this kernel's test runner takes so much of it; a frame that is no packet costs nothing.
func (w *world) takesMetadata(octets int) bool {
	_, _, err := w.tryRun("core0", make([]byte, 64), octets)
	return !errors.Is(err, unix.EINVAL)
}

// enter moves the calling goroutine into the namespace for good: a subtest has a thread of its own, which ends with it.
func (w *world) enter() {
	runtime.LockOSThread()
	require.NoError(w.t, netns.Set(w.ns))
}

// reasons returns the counts by name.
func (w *world) reasons() map[string]uint64 {
	w.t.Helper()
	return reasonsOf(w.t, w.d)
}

func reasonsOf(t testing.TB, d *Datapath) map[string]uint64 {
	t.Helper()
	rows, err := d.Reader().Reasons()
	require.NoError(t, err)
	counts := map[string]uint64{}
	for _, row := range rows {
		counts[row.Name] = row.Packets
	}
	return counts
}

// ue is the address of UE n of the first pool, and teid the TEID of its uplink.
func ue(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 16, 1, byte(n)}) }

func teid(n int) pfcp.TEID { return pfcp.TEID(0x7a000000 | n) }

func remoteTEID(n int) pfcp.TEID { return pfcp.TEID(0x11110000 | n) }

// uplinkOf and downlinkOf are the entries of UE n before a test changes them.
func uplinkOf(n int) session.Entry {
	return session.Entry{
		Key: session.Key{Direction: session.Uplink, Local: slice1, TEID: teid(n)},
		Rule: session.Rule{
			Sources: []netip.Prefix{session.UE(ue(n))}, Instance: "internet",
			Origin: session.Origin{SEID: pfcp.SEID(n), PDRID: 1, FARID: 1, Precedence: 255, URRID: pfcp.Some(pfcp.URRID(7))},
		},
	}
}

func downlinkOf(n int) session.Entry {
	return session.Entry{
		Key: session.Key{Direction: session.Downlink, Instance: "internet", UE: session.UE(ue(n))},
		Rule: session.Rule{
			Remote: sgw, RemoteTEID: remoteTEID(n), Local: slice1,
			Origin: session.Origin{SEID: pfcp.SEID(n), PDRID: 2, FARID: 2, Precedence: 255, QERID: pfcp.Some(pfcp.QERID(0))},
		},
	}
}

func with(e session.Entry, change func(*session.Entry)) session.Entry {
	change(&e)
	return e
}

func (w *world) apply(puts ...session.Entry) {
	w.t.Helper()
	require.NoError(w.t, w.d.Apply(session.Changes{Puts: puts}))
	require.NoError(w.t, w.d.Resolve())
}

// Frames are built by gopacket, which knows nothing of this program.

func serialize(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	require.NoError(t, gopacket.SerializeLayers(buffer, options, parts...))
	return append([]byte(nil), buffer.Bytes()...)
}

func ethernet(from, to net.HardwareAddr) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
}

func ipv4(from, to netip.Addr, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: protocol, Id: 0x1234,
		SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
	}
}

func udp(from, to uint16, ip *layers.IPv4) *layers.UDP {
	u := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	_ = u.SetNetworkLayerForChecksum(ip)
	return u
}

// inner is an IPv4 packet between a UE and the server with that many octets of payload.
func inner(t testing.TB, from, to netip.Addr, ttl uint8, payload int) []byte {
	ip := ipv4(from, to, layers.IPProtocolUDP)
	ip.TTL = ttl
	return serialize(t, ip, udp(4000, 5000, ip), pattern(payload))
}

// pattern is a payload in which no octet is where another would do.
func pattern(n int) gopacket.Payload {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + 3)
	}
	return p
}

// tunnel is a G-PDU from the SGW to a slice with that payload.
func tunnel(t testing.TB, to netip.Addr, id pfcp.TEID, payload []byte, change ...func(*layers.IPv4, *layers.GTPv1U)) []byte {
	ip := ipv4(sgw, to, layers.IPProtocolUDP)
	gtp := &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(id)}
	for _, f := range change {
		f(ip, gtp)
	}
	return plain(t, accessGW, accessMAC, serialize(t, ip, udp(2152, 2152, ip), gtp, gopacket.Payload(payload)))
}

// plain is an Ethernet frame with that IP packet, without padding. (gopacket's Ethernet always pads.)
func plain(_ testing.TB, from, to net.HardwareAddr, packet []byte) []byte {
	return slices.Concat([]byte(to), []byte(from), []byte{8, 0}, packet)
}

// tunnel6 is likewise over IPv6, with the UDP checksum.
func tunnel6(t testing.TB, to netip.Addr, id pfcp.TEID, payload []byte, change ...func(*layers.IPv6, *layers.GTPv1U)) []byte {
	ip := ipv6(sgw6, to, layers.IPProtocolUDP)
	gtp := &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(id)}
	for _, f := range change {
		f(ip, gtp)
	}
	return plain6(t, accessGW6, accessMAC, serialize(t, ip, udp6(2152, 2152, ip), gtp, gopacket.Payload(payload)))
}

func udp6(from, to uint16, ip *layers.IPv6) *layers.UDP {
	u := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	_ = u.SetNetworkLayerForChecksum(ip)
	return u
}

// encapsulated6 is the frame that the program must send for a downlink packet over IPv6, octet by octet.
func encapsulated6(t testing.TB, from, to netip.Addr, id pfcp.TEID, packet []byte, change ...func(*layers.IPv6, *layers.GTPv1U)) []byte {
	ip := ipv6(from, to, layers.IPProtocolUDP)
	ip.TrafficClass, ip.FlowLabel = 0, uint32(id)*2654435761>>12
	gtp := &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(id)}
	for _, f := range change {
		f(ip, gtp)
	}
	return plain6(t, accessMAC, accessGW6, serialize(t, ip, udp6(2152, 2152, ip), gtp, gopacket.Payload(packet)))
}

// encapsulated is the frame that the program must send for a downlink packet, octet by octet.
func encapsulated(t testing.TB, to netip.Addr, id pfcp.TEID, packets int, packet []byte) []byte {
	if to.Is6() {
		return encapsulated6(t, slice1v6, to, id, packet)
	}
	ip := ipv4(slice1, to, layers.IPProtocolUDP)
	ip.Id = uint16(uint32(packets) + uint32(id)*40503)
	u := &layers.UDP{SrcPort: 2152, DstPort: 2152, Length: uint16(16 + len(packet))}
	gtp := &layers.GTPv1U{
		Version: 1, ProtocolType: 1, MessageType: 255, TEID: uint32(id), MessageLength: uint16(len(packet)),
	}
	rest := gopacket.NewSerializeBuffer() // without checksums: the UDP checksum is to be 0
	require.NoError(t, gopacket.SerializeLayers(rest, gopacket.SerializeOptions{}, u, gtp, gopacket.Payload(packet)))
	return plain(t, accessMAC, accessGW, serialize(t, ip, gopacket.Payload(rest.Bytes())))
}

func spacedHex(b []byte) string { return fmt.Sprintf("% x", b) }

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

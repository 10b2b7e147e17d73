package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/userplane/datapath"
)

type direction int

const (
	uplink direction = iota
	downlink
)

func (d direction) String() string { return [...]string{"uplink", "downlink"}[d] }

// kind is what the sessions of a bed are like.
type kind struct {
	teidStride, ueStride uint32 // between neighbours
	ipv6                 bool   // UEs have an IPv6 /64
	outer6               bool   // tunnels to the SGW are over IPv6
	filters              []int  // session n has that many SDF filters; nil: none has any
	access               bool   // what one access to a table costs is measured, too
}

var (
	dense     = kind{teidStride: 1, ueStride: 1, access: true}
	scattered = kind{teidStride: 0x9E3779B1, ueStride: 263} // TEIDs of all values, and an address in each /24 or so
	prefixes  = kind{teidStride: 1, ueStride: 1, ipv6: true}
	lonely    = kind{teidStride: 1, ueStride: 259, ipv6: true} // each in a /56 of its own
	tunnels6  = kind{teidStride: 1, ueStride: 1, outer6: true}
	filtered  = kind{teidStride: 1, ueStride: 1, filters: []int{2, 8, 32}}
)

type candidate = *ebpf.Program

var (
	slice        = netip.MustParseAddr("10.30.1.1")
	sgw          = netip.MustParseAddr("10.20.11.1")
	slice6       = netip.MustParseAddr("2001:db8:30::1") // of the same slice
	sgw6         = netip.MustParseAddr("2001:db8:20::1")
	gateway      = netip.MustParseAddr("10.50.1.1")
	firstAddress = netip.MustParseAddr("10.64.0.0")
	firstTEID    = uint32(0x5a000000)
	firstHalf    = uint64(0x20010db800000000) // of the IPv6 prefixes
)

const (
	innerOctets = 64
	batch       = 1000 // sessions in one Apply
	redirect    = 4    // XDP_REDIRECT
	window      = 2048 // packets: WINDOW of bpf/bench.bpf.c
)

// harnessStamps is the variable stamps of bpf/bench.bpf.c.
type harnessStamps [1024]uint64

// bed is the data path in a namespace, with its sessions, and the harness around it.
type bed struct {
	before, ns netns.NsHandle
	pins       string
	d          *datapath.Datapath
	kind       kind
	capacity   int
	datapath   candidate
	nothing    candidate
	harness    harnessObjects
	ports      [2]int // interface index of the ingress, by direction
	farEnds    [2]int // of the other ends of their veths
	links      []link.Link
	frames     [2][]byte // by direction
	frame6     []byte
	sent       [2]uint64 // through the data path, by direction
}

const bpffs = "/sys/fs/bpf"

// ownMounts gives the thread a mount namespace with a bpffs of its own: what is pinned there goes with the process, however that
// ends.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace (are you root?): %w", err)
	}
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("bpf", bpffs, "bpf", 0, ""))
}

// newBed leaves the thread in the namespace that it came from.
func newBed(k kind, sessions, capacity int) (b *bed, err error) {
	b = &bed{kind: k, capacity: capacity, before: -1, ns: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.before, err = netns.Get(); err != nil {
		return b, err
	}
	if b.ns, err = netns.New(); err != nil {
		return b, fmt.Errorf("make a network namespace (are you root?): %w", err)
	}
	if b.ports[uplink], b.farEnds[uplink], err = addPort("access0", "10.20.11.2/24", sgw); err != nil {
		return b, err
	}
	if b.ports[downlink], b.farEnds[downlink], err = addPort("core0", "10.50.1.2/24", gateway); err != nil {
		return b, err
	}
	if err = b.addIPv6(); err != nil {
		return b, err
	}
	if b.pins, err = os.MkdirTemp(bpffs, "bench"); err != nil {
		return b, err
	}
	if err := b.openDatapath(capacity); err != nil {
		return b, err
	}
	if err := b.addSessions(sessions); err != nil {
		return b, err
	}
	if err := b.loadHarness(); err != nil {
		return b, err
	}
	return b, netns.Set(b.before)
}

// enter brings the thread into the bed's namespace: the kernel looks there for the interfaces that packets come by.
func (b *bed) enter() error { return netns.Set(b.ns) }

// addPort makes a veth with one permanent neighbour behind it.
func addPort(name, address string, neighbour netip.Addr) (ifindex, far int, err error) {
	for _, family := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+family+"/disable_ipv6", []byte("1"), 0); err != nil {
			return 0, 0, err
		}
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}); err != nil {
		return 0, 0, fmt.Errorf("make %s: %w", name, err)
	}
	for _, end := range []string{name + "p", name} {
		l, err := netlink.LinkByName(end)
		if err != nil {
			return 0, 0, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return 0, 0, err
		}
		far, ifindex = ifindex, l.Attrs().Index
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return 0, 0, err
	}
	return ifindex, far, errors.Join(
		netlink.AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}, a),
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: ifindex, IP: neighbour.AsSlice(), State: unix.NUD_PERMANENT,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(ifindex)},
		}))
}

// addIPv6 gives the access port IPv6, and the SGW as a permanent neighbour.
func (b *bed) addIPv6() error {
	if !b.kind.outer6 {
		return nil
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/access0/disable_ipv6", []byte("0"), 0); err != nil {
		return err
	}
	a, err := netlink.ParseAddr("2001:db8:20::2/64")
	if err != nil {
		return err
	}
	a.Flags = unix.IFA_F_NODAD
	index := b.ports[uplink]
	return errors.Join(
		netlink.AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}, a),
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: index, IP: sgw6.AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
		}))
}

func (b *bed) openDatapath(capacity int) (err error) {
	cfg := datapath.Default()
	cfg.PinDir = b.pins
	cfg.SizeFor(capacity)
	cfg.Slices = []datapath.Slice{{Address: slice, Address6: slice6, TEIDs: capacity}}
	cfg.Instances = []datapath.Instance{{Name: "internet", Gateway: gateway}}
	cfg.Ports = []datapath.Port{
		{Name: "access0", Side: datapath.SideAccess}, {Name: "core0", Side: datapath.SideCore, Instance: "internet"},
	}
	if b.d, err = datapath.Open(cfg, slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("open the data path: %w", err)
	}
	l, err := link.LoadPinnedLink(filepath.Join(cfg.PinDir, fmt.Sprintf("port_%d", b.ports[uplink])), nil)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	info, err := l.Info()
	if err != nil {
		return err
	}
	b.datapath, err = ebpf.NewProgramFromID(info.Program)
	return err
}

func firstUE() uint32 {
	octets := firstAddress.As4()
	return binary.BigEndian.Uint32(octets[:])
}

// resolve waits for the next hops.
func (b *bed) resolve() error {
	hops, err := b.d.Reader().NextHops()
	for deadline := time.Now().Add(5 * time.Second); err == nil && !resolved(hops); {
		if time.Now().After(deadline) {
			return fmt.Errorf("next hops are not resolved: %v", hops)
		}
		if err := b.d.Resolve(); err != nil {
			return err
		}
		hops, err = b.d.Reader().NextHops()
	}
	return err
}

func resolved(hops []datapath.NextHop) bool {
	for _, h := range hops {
		if !h.Resolved {
			return false
		}
	}
	return true
}

func (b *bed) loadHarness() error {
	spec, err := loadHarness()
	if err != nil {
		return err
	}
	if b.frames[uplink], b.frames[downlink], err = frames(); err != nil {
		return err
	}
	const upHeaders, downHeaders, down6Headers = 14 + 36 + 20, 14 + 20, 14 + 40
	b.frame6 = frame6(b.frames[downlink])
	var parts harnessSpecs
	if err := spec.Assign(&parts); err != nil {
		return err
	}
	if err := errors.Join(
		parts.UplinkHeaders.Set([upHeaders]byte(b.frames[uplink])),
		parts.DownlinkHeaders.Set([downHeaders]byte(b.frames[downlink])),
		parts.Downlink6Headers.Set([down6Headers]byte(b.frame6)),
		parts.FrameLength.Set(uint32(14+innerOctets)),
		parts.Frame6Length.Set(uint32(len(b.frame6))),
		parts.FirstPrefix.Set(firstHalf),
		parts.TeidStride.Set(b.kind.teidStride),
		parts.UeStride.Set(b.kind.ueStride),
		parts.ExitPort.Set(uint32(b.ports[downlink])),
	); err != nil {
		return fmt.Errorf("set the harness up: %w", err)
	}
	if b.kind.access {
		spec.Maps["lines"].MaxEntries = uint32(b.capacity)
	}
	if err := spec.LoadAndAssign(&b.harness, nil); err != nil {
		return fmt.Errorf("load the harness: %w", err)
	}
	b.nothing = b.harness.Nothing
	exit := uint32(b.ports[downlink])
	return b.harness.Exits.Put(exit, exit)
}

// frames are the packets of both directions; the harness sets TEID and addresses.
func frames() (up, down []byte, err error) {
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	eth := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		EthernetType: layers.EthernetTypeIPv4,
	}
	ip := func(from, to netip.Addr) *layers.IPv4 {
		return &layers.IPv4{
			Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
		}
	}
	outer, inner := ip(sgw, slice), ip(gateway, firstAddress)
	payload := gopacket.Payload(make([]byte, innerOctets-20))
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, options, eth, inner, payload); err != nil {
		return nil, nil, err
	}
	down = append(down, buffer.Bytes()...)
	gtpu := &layers.GTPv1U{Version: 1, ProtocolType: 1, MessageType: 255, TEID: firstTEID}
	udp := &layers.UDP{SrcPort: 2152, DstPort: 2152}
	if err := udp.SetNetworkLayerForChecksum(outer); err != nil {
		return nil, nil, err
	}
	err = gopacket.SerializeLayers(buffer, options, eth, outer, udp, gtpu, ip(firstAddress, gateway), payload)
	return append(up, buffer.Bytes()...), down, err
}

// frame6 is a downlink frame of IPv6 with as many octets inside.
func frame6(down []byte) []byte {
	frame := append([]byte(nil), down[:12]...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, innerOctets-40, 17, 64)
	source := netip.MustParseAddr("2001:db8:ffff::1").As16()
	frame = append(append(frame, source[:]...), make([]byte, 16)...)
	return append(frame, make([]byte, innerOctets-40)...)
}

func (b *bed) floor(d direction) candidate {
	if d == uplink {
		return b.harness.FloorUplink
	}
	return b.harness.FloorDownlink
}

// measure runs packets through the wrapper and the program, and returns the ns of each: the median over windows, of
// which the first half warms the caches.
func (b *bed) measure(r *row, packets int) (float64, error) {
	d, program := r.direct, r.program
	windows := min(max(packets/window, 2), len(harnessStamps{})-1)
	packets = windows * window
	h := &b.harness
	if err := errors.Join(
		h.Candidate.Put(uint32(0), program), h.Sessions.Set(uint32(r.sessions)),
		h.FirstTeid.Set(firstTEID+uint32(r.first)*b.kind.teidStride), h.FirstUe.Set(firstUE()+uint32(r.first)*b.kind.ueStride),
		h.Packets.Set(uint64(0)),
	); err != nil {
		return 0, err
	}
	wrapper, frame := h.WrapUplink, b.frames[d]
	if d == downlink {
		wrapper = h.WrapDownlink
	}
	if d == downlink && b.kind.ipv6 {
		wrapper, frame = h.WrapDownlink6, b.frame6
	}
	context := struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }{
		DataEnd: uint32(len(frame)), Ingress: uint32(b.ports[d]),
	}
	verdict, err := wrapper.Run(&ebpf.RunOptions{Data: frame, Context: context, Repeat: uint32(packets + 1)})
	if err != nil {
		return 0, err
	}
	if verdict != redirect {
		return 0, fmt.Errorf("verdict %d: the packet was not forwarded", verdict)
	}
	if program == b.datapath {
		b.sent[d] += uint64(packets)
	}
	var stamps harnessStamps
	if err := h.Stamps.Get(&stamps); err != nil {
		return 0, err
	}
	var times []float64
	for i := windows / 2; i < windows; i++ {
		times = append(times, float64(stamps[i+1]-stamps[i])/window)
	}
	return median(times), nil
}

// check compares what was sent with what the entries counted: a benchmark of packets that were dropped is none.
func (b *bed) check() error {
	var counted [2]uint64
	for e := range b.d.Reader().Entries() {
		counted[e.Key.Direction] += e.Packets
	}
	for d, n := range b.sent {
		if counted[d] < n {
			return fmt.Errorf("%s: %d packets sent, %d forwarded", direction(d), n, counted[d])
		}
	}
	return nil
}

func (b *bed) close() error {
	var errs []error
	if b.ns.IsOpen() {
		errs = append(errs, b.enter())
	}
	for _, l := range b.links {
		errs = append(errs, l.Close())
	}
	if b.datapath != nil {
		errs = append(errs, b.datapath.Close())
	}
	if b.harness.WrapUplink != nil {
		errs = append(errs, b.harness.Close())
	}
	if b.d != nil {
		errs = append(errs, b.d.Close())
	}
	if b.pins != "" {
		errs = append(errs, datapath.Remove(b.pins))
	}
	if b.ns.IsOpen() {
		errs = append(errs, b.ns.Close())
	}
	if b.before.IsOpen() {
		errs = append(errs, netns.Set(b.before), b.before.Close())
	}
	return errors.Join(errs...)
}

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

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/session"
)

type direction int

const (
	uplink direction = iota
	downlink
)

func (d direction) String() string { return [...]string{"uplink", "downlink"}[d] }

type candidate = *ebpf.Program

var (
	slice     = netip.MustParseAddr("10.30.1.1")
	sgw       = netip.MustParseAddr("10.20.11.1")
	gateway   = netip.MustParseAddr("10.50.1.1")
	firstUE   = netip.MustParseAddr("10.64.0.0")
	firstTEID = uint32(0x5a000000)
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
	datapath   candidate
	nothing    candidate
	harness    harnessObjects
	ports      [2]int    // interface index of the ingress, by direction
	frames     [2][]byte // by direction
	sent       [2]uint64 // through the data path, by direction
}

func newBed(sessions, capacity int) (b *bed, err error) {
	b = &bed{before: -1, ns: -1}
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
	if b.ports[uplink], err = addPort("access0", "10.20.11.2/24", sgw); err != nil {
		return b, err
	}
	if b.ports[downlink], err = addPort("core0", "10.50.1.2/24", gateway); err != nil {
		return b, err
	}
	if b.pins, err = os.MkdirTemp("", "xepc-bench-"); err != nil {
		return b, err
	}
	if err := unix.Mount("bpf", b.pins, "bpf", 0, ""); err != nil {
		return b, fmt.Errorf("mount a bpffs: %w", err)
	}
	if err := b.openDatapath(capacity); err != nil {
		return b, err
	}
	if err := b.addSessions(sessions); err != nil {
		return b, err
	}
	return b, b.loadHarness()
}

// addPort makes a veth with one permanent neighbour behind it.
func addPort(name, address string, neighbour netip.Addr) (ifindex int, err error) {
	for _, family := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+family+"/disable_ipv6", []byte("1"), 0); err != nil {
			return 0, err
		}
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}); err != nil {
		return 0, fmt.Errorf("make %s: %w", name, err)
	}
	for _, end := range []string{name + "p", name} {
		l, err := netlink.LinkByName(end)
		if err != nil {
			return 0, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return 0, err
		}
		ifindex = l.Attrs().Index
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return 0, err
	}
	return ifindex, errors.Join(
		netlink.AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}, a),
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: ifindex, IP: neighbour.AsSlice(), State: unix.NUD_PERMANENT,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(ifindex)},
		}))
}

func (b *bed) openDatapath(capacity int) (err error) {
	cfg := datapath.Default()
	cfg.PinDir = filepath.Join(b.pins, "node")
	cfg.AddressBlocks = (capacity + 255) / 256
	cfg.Slices = []datapath.Slice{{Address: slice, TEIDs: capacity}}
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

// addSessions makes sessions with everything on: source check, an MBR that is never reached, usage.
func (b *bed) addSessions(count int) error {
	ue := firstUE
	var changes session.Changes
	for n := range count {
		changes.Puts = append(changes.Puts,
			session.Entry{
				Key: session.Key{Direction: session.Uplink, Local: slice, TEID: pfcp.TEID(firstTEID + uint32(n))},
				Rule: session.Rule{
					Sources: []netip.Prefix{session.UE(ue)}, Instance: "internet", MBR: 100_000_000,
					Origin: session.Origin{SEID: pfcp.SEID(n + 1)},
				},
			},
			session.Entry{
				Key: session.Key{Direction: session.Downlink, Instance: "internet", UE: session.UE(ue)},
				Rule: session.Rule{
					Remote: sgw, RemoteTEID: pfcp.TEID(n + 1), Local: slice, MBR: 100_000_000,
					Origin: session.Origin{SEID: pfcp.SEID(n + 1)},
				},
			})
		ue = ue.Next()
		if len(changes.Puts) >= 2*batch || n == count-1 {
			if err := b.d.Apply(changes); err != nil {
				return err
			}
			changes.Puts = changes.Puts[:0]
		}
	}
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
	const upHeaders, downHeaders = 14 + 36 + 20, 14 + 20
	var parts harnessSpecs
	if err := spec.Assign(&parts); err != nil {
		return err
	}
	ue := firstUE.As4()
	if err := errors.Join(
		parts.UplinkHeaders.Set([upHeaders]byte(b.frames[uplink])),
		parts.DownlinkHeaders.Set([downHeaders]byte(b.frames[downlink])),
		parts.FrameLength.Set(uint32(14+innerOctets)),
		parts.FirstTeid.Set(firstTEID),
		parts.FirstUe.Set(binary.BigEndian.Uint32(ue[:])),
		parts.ExitPort.Set(uint32(b.ports[downlink])),
	); err != nil {
		return fmt.Errorf("set the harness up: %w", err)
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
	outer, inner := ip(sgw, slice), ip(gateway, firstUE)
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
	err = gopacket.SerializeLayers(buffer, options, eth, outer, udp, gtpu, ip(firstUE, gateway), payload)
	return append(up, buffer.Bytes()...), down, err
}

func (b *bed) floor(d direction) candidate {
	if d == uplink {
		return b.harness.FloorUplink
	}
	return b.harness.FloorDownlink
}

// measure runs packets through the wrapper and the program, and returns the ns of each: the median over windows, of
// which the first half warms the caches.
func (b *bed) measure(d direction, program candidate, sessions, packets int) (float64, error) {
	windows := min(max(packets/window, 2), len(harnessStamps{})-1)
	packets = windows * window
	h := &b.harness
	if err := errors.Join(
		h.Candidate.Put(uint32(0), program), h.Sessions.Set(uint32(sessions)),
		h.Packets.Set(uint64(0)),
	); err != nil {
		return 0, err
	}
	wrapper, frame := h.WrapUplink, b.frames[d]
	if d == downlink {
		wrapper = h.WrapDownlink
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
		errs = append(errs, datapath.Remove(filepath.Join(b.pins, "node")), unix.Unmount(b.pins, unix.MNT_DETACH), os.Remove(b.pins))
	}
	if b.ns.IsOpen() {
		errs = append(errs, b.ns.Close())
	}
	if b.before.IsOpen() {
		errs = append(errs, netns.Set(b.before), b.before.Close())
	}
	return errors.Join(errs...)
}

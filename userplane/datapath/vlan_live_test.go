package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/datapath/traffic"
	"github.com/xepc/xepc/userplane/session"
)

// trunk is a node with real ports, of which the core port carries three networks: one without tag, and two with. UE 5 has
// the same address in each of them, and the gateways have. Where the kernel has no VLAN devices, ports and next hops of the VLANs are
// put into the tables by hand.
type trunk struct {
	t            *testing.T
	ns           netns.NsHandle
	d            *Datapath
	access, core end
}

// end is a port's other end.
type end struct {
	name string
	far  int
	sink *traffic.Sink
}

// networks are those of the trunk by tag, with the number of the session in each.
var networks = map[uint16]struct {
	instance pfcp.NetworkInstance
	n        int
	gateway  net.HardwareAddr
}{
	0:   {"plain", 5, coreGW},
	100: {"internet", 6, net.HardwareAddr{2, 0, 0, 0, 0xe, 1}},
	200: {"corp", 7, net.HardwareAddr{2, 0, 0, 0, 0xe, 2}},
}

func newTrunk(t *testing.T) *trunk {
	x := &trunk{t: t, ns: testkit.EnterNamespace(t)}
	testkit.DisableIPv6(t)
	x.access = x.end("access0", accessMAC, "10.20.11.2/24", "10.20.11.1", accessGW)
	x.core = x.end("core0", coreMAC, "10.50.1.2/24", "10.50.1.1", coreGW)
	_, sgws, err := net.ParseCIDR("10.10.0.0/16")
	require.NoError(t, err)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{Dst: sgws, Gw: net.ParseIP("10.20.11.1")}))
	for _, name := range []string{"access0", "core0"} {
		active, err := nic(name).active()
		require.NoError(t, err)
		for _, feature := range slices.Concat(hidingTags, offeringTags) {
			require.True(t, active[feature], "a veth begins with %s", feature)
		}
	}
	cfg := Default()
	cfg.PinDir = filepath.Join(testkit.BPFFS(t), "node")
	cfg.AddressBlocks, cfg.Peers, cfg.MaxInstances = 4, 8, 4
	cfg.Slices = []Slice{{Address: slice1, TEIDs: sliceSlots}}
	devices := x.vlanDevices()
	cfg.Ports = []Port{{Name: "access0", Side: SideAccess}}
	for tag, network := range networks {
		cfg.Instances = append(cfg.Instances, Instance{Name: network.instance, Gateway: coreGateway})
		if tag == 0 || devices {
			cfg.Ports = append(cfg.Ports, Port{Name: "core0", VLAN: tag, Side: SideCore, Instance: network.instance})
		}
	}
	x.d, err = Open(cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, x.d.Close())
		require.NoError(t, Remove(cfg.PinDir))
	})
	for _, name := range []string{"access0", "core0"} {
		active, err := nic(name).active()
		require.NoError(t, err)
		for _, feature := range slices.Concat(hidingTags, offeringTags) {
			require.False(t, active[feature], feature)
		}
	}
	core0, err := netlink.LinkByName("core0")
	require.NoError(t, err)
	for tag, network := range networks {
		if number := x.d.tables.numbers[network.instance]; tag != 0 && !devices {
			delete(x.d.hops.wanted, number)
			require.NoError(t, x.d.tables.ports.insert(portKey(core0.Attrs().Index, int(tag)), number, uint32(SideCore), membarrier))
			hop := pgwuHop{Ifindex: uint32(core0.Attrs().Index), Mtu: 1500, Vlan: tag}
			copy(hop.RemoteMac[:], network.gateway)
			copy(hop.LocalMac[:], coreMAC)
			require.NoError(t, x.d.hops.store(number, hop))
		}
		require.NoError(t, x.d.Apply(session.Changes{Puts: []session.Entry{
			with(uplinkOf(network.n), func(e *session.Entry) { e.Instance, e.Sources = network.instance, uplinkOf(5).Sources }),
			with(downlinkOf(5), func(e *session.Entry) {
				e.Key.Instance, e.RemoteTEID, e.Origin.SEID = network.instance, remoteTEID(network.n), pfcp.SEID(network.n)
			}),
		}}))
	}
	return x
}

// vlanDevices makes those of the core port, each with a gateway of the same address; false: this kernel has none.
func (x *trunk) vlanDevices() bool {
	t := x.t
	core0, err := netlink.LinkByName("core0")
	require.NoError(t, err)
	for tag, network := range networks {
		if tag == 0 {
			continue
		}
		vlan := &netlink.Vlan{
			LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("core0.%d", tag), ParentIndex: core0.Attrs().Index}, VlanId: int(tag),
			VlanProtocol: netlink.VLAN_PROTOCOL_8021Q,
		}
		err := netlink.LinkAdd(vlan)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return false
		}
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(vlan))
		a, err := netlink.ParseAddr("10.50.1.2/24")
		require.NoError(t, err)
		require.NoError(t, netlink.AddrAdd(vlan, a))
		require.NoError(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: vlan.Index, IP: coreGateway.AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: network.gateway,
		}))
	}
	return true
}

func (x *trunk) end(name string, mac net.HardwareAddr, address, gateway string, gatewayMAC net.HardwareAddr) end {
	t := x.t
	port, far, err := traffic.AddPair(name, mac)
	require.NoError(t, err)
	l, err := netlink.LinkByIndex(port)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(address)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, a))
	require.NoError(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: port, IP: net.ParseIP(gateway), State: unix.NUD_PERMANENT, HardwareAddr: gatewayMAC,
	}))
	sink, err := traffic.NewSink()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sink.Close()) })
	require.NoError(t, sink.Attach(far))
	return end{name + "p", far, sink}
}

func (x *trunk) reasons() map[string]uint64 { return reasonsOf(x.t, x.d) }

// lost is what all veths have lost.
func (x *trunk) lost() (all uint64) {
	for _, name := range []string{"access0", "access0p", "core0", "core0p"} {
		n, err := traffic.Lost(name)
		require.NoError(x.t, err)
		all += n
	}
	return all
}

// downlink is a packet to UE 5 as it comes from the network with that tag.
func downlink(t *testing.T, tag uint16) []byte {
	frame := plain(t, networks[tag].gateway, coreMAC, inner(t, server, ue(5), 64, 40))
	if tag == 0 {
		return frame
	}
	return tagWith(frame, tag)
}

// TestVLANsOfOnePort sends in both directions between one tunnel and three networks that are behind one port and have the same
// addresses: each packet reaches the session of its tag, or the tag of its session; other tags are dropped and counted.
func TestVLANsOfOnePort(t *testing.T) {
	x := newTrunk(t)
	var up, down []traffic.Flow
	flow := func(frame []byte) traffic.Flow { return traffic.Flow{Frame: frame, Count: 68} }
	for tag, network := range networks {
		up = append(up, flow(tunnel(t, slice1, teid(network.n), inner(t, ue(5), server, 64, 40))))
		down = append(down, flow(downlink(t, tag)))
	}
	stag := tagWith(downlink(t, 0), 100)
	stag[12], stag[13] = 0x88, 0xa8
	hostile := [][]byte{
		tagWith(downlink(t, 0), 300), tagWith(downlink(t, 0), 0), tagWith(downlink(t, 100), 200), stag, // one of a provider
	}
	for _, frame := range hostile {
		down = append(down, flow(frame))
	}
	down = append(down, flow(tagWith(downlink(t, 0), 5<<13|100))) // with a priority: it is the VLAN that counts

	const rounds = 1000 // of each flow
	before := x.reasons()
	var generators []*traffic.Generator
	var done []<-chan error
	for i, side := range []struct {
		flows []traffic.Flow
		from  int
	}{{up, x.access.far}, {down, x.core.far}} {
		g, err := traffic.NewGenerator(side.flows...)
		require.NoError(t, err)
		defer func() { require.NoError(t, g.Close()) }()
		generators = append(generators, g)
		done = append(done, traffic.OnCPU(x.ns, i, func() error {
			return g.Send(side.from, traffic.Load{Packets: uint64(rounds * len(side.flows)), Interval: 4 * time.Microsecond})
		}))
	}
	sent := uint64(0)
	for i, g := range generators {
		require.NoError(t, <-done[i])
		all, _, err := g.Sent()
		require.NoError(t, err)
		sent += all.Packets
	}
	require.EqualValues(t, rounds*(len(up)+len(down)), sent)

	var counts map[string]uint64
	var seen map[traffic.Sight]traffic.Count
	settled := func() bool {
		counts, seen = difference(before, x.reasons()), map[traffic.Sight]traffic.Count{}
		all, received := uint64(0), uint64(0)
		for _, n := range counts {
			all += n
		}
		for _, e := range []end{x.access, x.core} {
			sights, err := e.sink.Sights()
			require.NoError(t, err)
			for s, c := range sights {
				seen[s] = c
				received += c.Packets
			}
		}
		return sent+counts["uplink_forwarded"]+counts["downlink_forwarded"] == all+received+x.lost()
	}
	for deadline := time.Now().Add(patience); !settled(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%v", counts)
	}

	// What left: from each TEID by its own tag and router, to each TEID from its own tag, and nothing else.
	want := map[traffic.Sight]uint64{}
	for tag, network := range networks {
		want[traffic.Sight{
			Source: ue(5).As4(), Destination: server.As4(), QFI: 0xff, Version: 4, MAC: [6]byte(network.gateway), VLAN: tag,
		}] = rounds
		s := traffic.Sight{
			Local: slice1.As4(), Remote: sgw.As4(), Source: server.As4(), Destination: ue(5).As4(), QFI: 0xff, Version: 4, MAC: [6]byte(accessGW),
		}
		id := uint32(remoteTEID(network.n))
		s.TEID = [4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
		want[s] = rounds
		if tag == 100 {
			want[s] += rounds // those with a priority
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(seen)))
	lost := x.lost()
	for s, n := range want {
		require.LessOrEqual(t, seen[s].Packets, n)
		require.GreaterOrEqual(t, seen[s].Packets+lost, n)
	}
	require.LessOrEqual(t, counts["unexpected_vlan"], uint64(rounds*len(hostile)))
	require.GreaterOrEqual(t, counts["unexpected_vlan"]+lost, uint64(rounds*len(hostile)))
	delete(counts, "unexpected_vlan")
	delete(counts, "uplink_forwarded")
	delete(counts, "downlink_forwarded")
	require.Empty(t, counts)

	// Each session has counted its own, to the octet.
	for tag, network := range networks {
		keys := []session.Key{uplinkOf(network.n).Key, with(downlinkOf(5), func(e *session.Entry) { e.Key.Instance = network.instance }).Key}
		usage, err := x.d.Usage(keys)
		require.NoError(t, err)
		both := []uint64{rounds, rounds}
		if tag == 100 {
			both[1] += rounds // those with a priority
		}
		for i, rounds := range both {
			require.LessOrEqual(t, usage[i].Packets, rounds)
			require.GreaterOrEqual(t, usage[i].Packets+lost, rounds)
			require.Equal(t, 68*usage[i].Packets, usage[i].Octets)
		}
	}
}

// TestTagsThatTheKernelPushes has the kernel at the other end push tags beside the frame, where a NIC or a veth is to take them
// from. With its offloads off they are in the frame, and the program sees them.
func TestTagsThatTheKernelPushes(t *testing.T) {
	x := newTrunk(t)
	require.NoError(t, nic(x.core.name).turnOff(offeringTags))
	for _, row := range []struct {
		protocol netlink.VlanProtocol
		tag      uint16
		reason   string
	}{
		{netlink.VLAN_PROTOCOL_8021Q, 100, "downlink_forwarded"},
		{netlink.VLAN_PROTOCOL_8021Q, 300, "unexpected_vlan"},
		{netlink.VLAN_PROTOCOL_8021AD, 100, "unexpected_vlan"},
	} {
		device, remove := x.push(row.protocol, row.tag)
		socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		before := x.reasons()
		require.NoError(t, unix.Sendto(socket, downlink(t, 0), 0, &unix.SockaddrLinklayer{Ifindex: device}))
		for deadline := time.Now().Add(patience); len(difference(before, x.reasons())) == 0; time.Sleep(time.Millisecond) {
			require.True(t, time.Now().Before(deadline))
		}
		require.Equal(t, map[string]uint64{row.reason: 1}, difference(before, x.reasons()), "%v %d", row.protocol, row.tag)
		require.NoError(t, unix.Close(socket))
		remove()
	}
}

// push makes a device whose frames leave the core's far end with a tag: a VLAN device; or, on a kernel that has none, the far
// end itself with a program that pushes as it does (TCX: Linux 6.6).
func (x *trunk) push(protocol netlink.VlanProtocol, tag uint16) (device int, remove func()) {
	t := x.t
	t.Helper()
	vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "tagged", ParentIndex: x.core.far}, VlanId: int(tag), VlanProtocol: protocol}
	err := netlink.LinkAdd(vlan)
	if err == nil {
		require.NoError(t, netlink.LinkSetUp(vlan))
		return vlan.Index, func() { require.NoError(t, netlink.LinkDel(vlan)) }
	}
	require.ErrorIs(t, err, unix.EOPNOTSUPP)
	proto := uint16(protocol)
	push, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, int32(proto>>8|proto<<8)), asm.Mov.Imm(asm.R3, int32(tag)),
		asm.FnSkbVlanPush.Call(), asm.Mov.Imm(asm.R0, 0), asm.Return(),
	}})
	require.NoError(t, err)
	tc, err := link.AttachTCX(link.TCXOptions{Program: push, Interface: x.core.far, Attach: ebpf.AttachTCXEgress})
	require.NoError(t, err)
	return x.core.far, func() { require.NoError(t, errors.Join(tc.Close(), push.Close())) }
}

// fixed is an interface some of whose features cannot be changed: none that this kernel has hides tags for good.
type fixed struct {
	on, stubborn map[string]bool
	refused      error
}

func (f fixed) active() (map[string]bool, error) { return f.on, nil }

func (f fixed) turnOff(names []string) error {
	for _, name := range names {
		f.on[name] = f.stubborn[name]
	}
	return f.refused
}

func TestOffloadsThatHideTags(t *testing.T) {
	set := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, name := range names {
			m[name] = true
		}
		return m
	}
	all := []string{"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse", "tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"}
	for name, row := range map[string]struct {
		nic   fixed
		fault string
	}{
		"none":                         {fixed{on: set("rx-gro")}, ""},
		"all can be turned off":        {fixed{on: set(all...)}, ""},
		"802.1Q stays":                 {fixed{on: set(all...), stubborn: set("rx-vlan-hw-parse")}, "rx-vlan-hw-parse cannot be turned off"},
		"802.1ad stays":                {fixed{on: set(all...), stubborn: set("rx-vlan-stag-hw-parse")}, "rx-vlan-stag-hw-parse cannot be turned off"},
		"what stays is for the others": {fixed{on: set(all...), stubborn: set("tx-vlan-hw-insert"), refused: errors.New("no")}, ""},
		"the driver says why":          {fixed{on: set(all...), stubborn: set(all...), refused: os.ErrPermission}, "permission denied"},
	} {
		err := showTags(row.nic)
		if row.fault == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, row.fault, name)
	}
	_, err := nic("nowhere").active()
	require.Error(t, err)
	require.ErrorContains(t, showTags(nic("nowhere")), "read the offloads")
}

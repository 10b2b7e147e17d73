package datapath

import (
	"encoding/binary"
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

func tagWith(frame []byte, id uint16) []byte {
	header := binary.BigEndian.AppendUint16([]byte{0x81, 0}, id)
	return slices.Concat(frame[:12], header, frame[12:])
}

// TestVLANs has two network instances on VLANs of one port, in which a UE address means two UEs. Ports and next hops
// are put into the tables by hand: the kernel that runs this test need not have VLAN devices.
func TestVLANs(t *testing.T) {
	w := newWorld(t)
	gateways := map[uint16]net.HardwareAddr{100: {2, 0, 0, 0, 0xe, 1}, 200: {2, 0, 0, 0, 0xe, 2}}
	w.apply(uplinkOf(5), with(uplinkOf(6), func(e *session.Entry) { e.Instance, e.Sources = "corp", uplinkOf(5).Sources }),
		downlinkOf(5), with(downlinkOf(5), func(e *session.Entry) { e.Key.Instance, e.RemoteTEID = "corp", remoteTEID(6) }))
	for id, instance := range map[uint16]pfcp.NetworkInstance{100: "internet", 200: "corp"} {
		number := w.d.tables.numbers[instance]
		require.NoError(t, w.d.tables.ports.insert(portKey(w.ifindex["core0"], int(id)), number, uint32(SideCore), membarrier))
		hop := pgwuHop{Ifindex: uint32(w.ifindex["core0"]), Mtu: 1500, Vlan: id}
		copy(hop.RemoteMac[:], gateways[id])
		copy(hop.LocalMac[:], coreMAC)
		require.NoError(t, w.d.hops.store(number, hop))
	}
	for n, id := range map[int]uint16{5: 100, 6: 200} {
		verdict, out := w.run("access0", tunnel(t, slice1, teid(n), inner(t, ue(5), server, 64, 40)), 0)
		require.EqualValues(t, xdpRedirect, verdict)
		require.Equal(t, spacedHex(tagWith(plain(t, coreMAC, gateways[id], inner(t, ue(5), server, 63, 40)), id)), spacedHex(out))

		verdict, out = w.run("core0", tagWith(plain(t, gateways[id], coreMAC, inner(t, server, ue(5), 64, 40)), id), 0)
		require.EqualValues(t, xdpRedirect, verdict)
		require.Equal(t, spacedHex(encapsulated(t, sgw, remoteTEID(n), 0, inner(t, server, ue(5), 63, 40))), spacedHex(out))
	}
	frame := plain(t, coreGW, coreMAC, inner(t, server, ue(5), 64, 40))
	for name, row := range map[string]struct {
		frame  []byte
		reason string
	}{
		"a VLAN that is no port": {tagWith(frame, 300), "unexpected_vlan"},
		"two tags":               {tagWith(tagWith(frame, 100), 100), "unexpected_vlan"},
		"a priority tag":         {tagWith(frame, 0), "unexpected_vlan"},
		"ARP on a VLAN":          {tagWith(arpRequest(t), 100), "not_ipv4"},
		"cut in the tag":         {tagWith(frame, 100)[:17], "malformed_outer"},
	} {
		before := w.reasons()
		_, out := w.run("core0", row.frame, 0)
		require.Equal(t, map[string]uint64{row.reason: 1}, difference(before, w.reasons()), name)
		require.Equal(t, spacedHex(row.frame), spacedHex(out), name)
	}

	// A port without the kernel's VLAN device is a fault of the configuration, and says what to do.
	require.NoError(t, w.d.Close())
	bad := w.cfg
	bad.Ports = append(slices.Clone(w.cfg.Ports), Port{Name: "core0", VLAN: 300, Side: SideCore, Instance: "corp"})
	_, err := Open(bad, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "ip link add link core0 name core0.300 type vlan id 300")
	w.open()
	before := w.reasons()
	w.run("core0", tagWith(frame, 100), 0)
	require.Equal(t, map[string]uint64{"unexpected_vlan": 1}, difference(before, w.reasons()), "a port that is not configured")
}

func TestPortBelow(t *testing.T) {
	vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Index: 9, ParentIndex: 4}, VlanId: 77, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	for name, row := range map[string]struct {
		link    netlink.Link
		ifindex int
		vlan    uint16
	}{
		"an interface":    {&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: 4}}, 4, 0},
		"a VLAN of it":    {vlan, 4, 77},
		"no link at all":  {nil, 0, 0},
		"a dummy is self": {&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 3}}, 3, 0},
	} {
		ifindex, id := portBelow(row.link)
		require.Equal(t, row.ifindex, ifindex, name)
		require.Equal(t, row.vlan, id, name)
	}
}

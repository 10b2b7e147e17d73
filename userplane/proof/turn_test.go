package proof

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath/traffic"
)

// ue6 is the prefix of UE n, and host6 an address in it.
func ue6(n int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 1, 0, 0, byte(n)}) }

func host6(n int) netip.Addr {
	a := ue6(n).As16()
	a[12], a[15] = 0xac, byte(n)
	return netip.AddrFrom16(a)
}

// last32 is what a sight has of an address.
func last32(a netip.Addr) [4]byte {
	octets := a.As16()
	return [4]byte(octets[12:])
}

// between is a flow of G-PDUs from one UE to another, of that many octets inside.
func between(t testing.TB, over outside, id pfcp.TEID, from, to netip.Addr, octets int) traffic.Flow {
	return flow(octets, func(tos uint8) []byte {
		var inner []byte
		if from.Is4() {
			inner = packet(t, netip.AddrPortFrom(from, 4000), netip.AddrPortFrom(to, 4001), octets, tos)
		} else {
			ip := ipv6(from, to)
			ip.TrafficClass = tos
			inner = serialize(t, ip, udp(4000, 4001, ip), gopacket.Payload(make([]byte, octets-48)))
		}
		return tunnelled(t, over, id, inner)
	})
}

// TestUEsOfOneNodeReachEachOther sends between two UEs, one behind IPv4 and one behind IPv6, both ways, IPv4 and IPv6: each packet turns in one pass, from tunnel to
// tunnel, none is seen on the way to the network, and each is counted at both sessions, to the octet.
func TestUEsOfOneNodeReachEachOther(t *testing.T) {
	n := newNode(t, "gateway: "+gateway.String()+"}", "gateway: "+gateway.String()+", ue_to_ue: true}")
	var sessions [2]live
	for i := range sessions {
		r := &pfcp.SessionEstablishmentRequest{
			CreateURRs: []pfcp.CreateURR{{ID: 1, MeasurementMethod: pfcp.MeasureVolume}, {ID: 2, MeasurementMethod: pfcp.MeasureVolume}},
		}
		r.CreatePDRs, r.CreateFARs = bearer(overOf(i), i, 0, nil)
		for j := range r.CreatePDRs {
			r.CreatePDRs[j].URRIDs = []pfcp.URRID{1, 2}
			r.CreatePDRs[j].PDI.UEIPAddress = pfcp.Some(pfcp.UEIPAddress{IPv4: ue(i), IPv6: ue6(i)})
		}
		r.CreatePDRs[0].URRIDs = []pfcp.URRID{1} // URR 2 has what the UE gets
		sessions[i] = n.cp.establish(pfcp.SEID(i+1), r)
	}
	type way struct {
		from   int
		family int
	}
	octets := map[way]uint64{{0, 4}: 100, {0, 6}: 320, {1, 4}: 740, {1, 6}: 1400} // each has its own, so that sums tell
	var flows []traffic.Flow
	want := map[traffic.Sight]way{}
	for w, size := range octets {
		from, to := ue(w.from), ue(1-w.from)
		source, destination := from.As4(), to.As4()
		if w.family == 6 {
			from, to = host6(w.from), host6(1-w.from)
			source, destination = last32(from), last32(to)
		}
		flows = append(flows, between(t, overOf(w.from), sessions[w.from].teids[0], from, to, int(size)))
		id, over := uint32(remoteTEID(1-w.from)), overOf(1-w.from)
		want[traffic.Sight{
			Local: last32(over.slice), Remote: last32(over.sgw), TEID: [4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)},
			Source: source, Destination: destination, QFI: 0xff, Version: uint8(w.family), MAC: [6]byte(sgwMAC),
		}] = w
	}
	rounds := sized[uint64](2_000, 1_000_000)
	g := newGenerator(t, flows...)
	l, before := open(t, &n.access, &n.access, nil), n.reasons()
	core := n.core.seen()
	require.NoError(t, <-traffic.OnCPU(n.ns, 0, func() error {
		return g.Send(n.access.far, traffic.Load{Packets: rounds * uint64(len(flows)), Interval: 2 * interval})
	}))
	var b balance
	settled := func() bool {
		b = l.account(difference(before, n.reasons()))
		return rounds*uint64(len(flows)) == b.received.Packets+b.lost[0] // before the node, or behind it
	}
	for deadline := time.Now().Add(patience); !settled(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%+v", b)
	}
	forwarded := b.reasons["downlink_forwarded"]
	require.Equal(t, map[string]uint64{"downlink_forwarded": forwarded}, b.reasons, "once")
	require.Equal(t, core, n.core.seen(), "on the way to the network")
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(b.seen)))

	received := map[way]uint64{}
	for s, c := range b.seen {
		received[want[s]] = c.Octets
		require.Zero(t, c.Octets%octets[want[s]])
	}
	behind := forwarded - b.received.Packets // lost by the veth: counted, and whose it was nobody knows
	for i, s := range sessions {
		s.delete()
		sent, got := received[way{i, 4}]+received[way{i, 6}], received[way{1 - i, 4}]+received[way{1 - i, 6}]
		all, reports := n.cp.reported(s.own, 1)
		down, _ := n.cp.reported(s.own, 2)
		require.NotZero(t, reports)
		require.Zero(t, down.UplinkOctets)
		require.Equal(t, all.DownlinkOctets, down.DownlinkOctets)
		require.Equal(t, all.UplinkOctets+all.DownlinkOctets, all.TotalOctets)
		if behind == 0 {
			require.Equal(t, []uint64{sent, got}, []uint64{all.UplinkOctets, all.DownlinkOctets}, "UE %d", i)
		}
		t.Logf("UE %d: %d octets to the other, %d from it", i, all.UplinkOctets, all.DownlinkOctets)
	}
	t.Logf("%d packets, lost by veths %d: %v", forwarded, b.lost[0], b.reasons)
}

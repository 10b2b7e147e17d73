package datapath

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/userplane/session"
)

var (
	portal  = netip.MustParseAddr("10.60.9.80")
	portal6 = netip.MustParseAddr("2001:db8:ffff:9::80")
	ue43    = netip.MustParsePrefix("2001:db8:1:43::/64")
	host43  = netip.MustParseAddr("2001:db8:1:43::9")
)

const cpTEID = 0x44440000

// specialEntries are sessions with rules that redirect, duplicate, or tunnel from and to the control plane.
func specialEntries() []session.Entry {
	toCP := func(e *session.Entry) {
		e.Sources, e.Instance = nil, ""
		e.Remote, e.RemoteTEID, e.Local = sgw, cpTEID, slice1
	}
	copies := func(e *session.Entry) {
		e.Copies = []session.Copy{
			{Tunnel: session.Tunnel{Local: slice1, Remote: sgw, TEID: 0x55550001}},
			{Tunnel: session.Tunnel{Local: slice2, Remote: lostSGW, TEID: 0x55550002}, ToS: 0xb8},
		}
	}
	return []session.Entry{
		with(uplinkOf(42), func(e *session.Entry) { e.Redirect.IPv4 = portal }),
		with(uplinkOf(43), func(e *session.Entry) {
			e.Sources, e.Redirect = []netip.Prefix{session.UE(ue(43)), ue43}, session.Redirect{IPv4: portal, IPv6: portal6}
		}),
		with(uplinkOf(44), func(e *session.Entry) { toCP(e); e.KeepHeader = true }),
		with(uplinkOf(45), toCP),
		with(downlinkOf(46), func(e *session.Entry) {
			e.Key = session.Key{Direction: session.Downlink, Local: slice1, TEID: teid(46)}
		}),
		with(uplinkOf(47), copies),
		with(downlinkOf(47), func(e *session.Entry) { copies(e); e.Action = session.ActionDrop }),
		with(uplinkOf(48), func(e *session.Entry) { copies(e); e.GateClosed = true; e.Action = session.ActionDrop }),
		with(uplinkOf(49), func(e *session.Entry) { copies(e); e.Redirect.IPv4 = portal }),
	}
}

// transport is a packet from a UE with those parts behind its IP header, whose checksums somebody else computes.
func transport(t testing.TB, ip gopacket.NetworkLayer, protocol layers.IPProtocol, ttl uint8, parts ...gopacket.SerializableLayer) []byte {
	for _, part := range parts {
		if l, ok := part.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			require.NoError(t, l.SetNetworkLayerForChecksum(ip))
		}
	}
	var first gopacket.SerializableLayer
	switch ip := ip.(type) {
	case *layers.IPv4:
		ip.Protocol, ip.TTL, first = protocol, ttl, ip
	case *layers.IPv6:
		ip.NextHeader, ip.HopLimit, first = protocol, ttl, ip
	}
	return serialize(t, append([]gopacket.SerializableLayer{first}, parts...)...)
}

func specialRows(t testing.TB) []packetRow {
	type build func(to4, to6 netip.Addr, ttl uint8) []byte
	var rows []packetRow
	redirected := func(name string, b build) {
		packet, out := b(server, server6, 64), b(portal, portal6, 63)
		frame := plain(t, coreMAC, coreGW, out)
		if out[0]>>4 == 6 {
			frame = plain6(t, coreMAC, coreGW6, out)
		}
		rows = append(rows, packetRow{
			name: "a redirection of " + name, port: "access0", frame: tunnel(t, slice1, teid(43), packet),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: frame,
		})
	}
	payload := pattern(31)
	segment := func() *layers.TCP { return &layers.TCP{SrcPort: 4000, DstPort: 443, SYN: true, Window: 1000} }
	datagram := func() *layers.UDP { return &layers.UDP{SrcPort: 4000, DstPort: 53} }
	v4 := func(to netip.Addr) *layers.IPv4 { return ipv4(ue(43), to, 0) }
	v6 := func(to netip.Addr) *layers.IPv6 { return ipv6(host43, to, 0) }
	redirected("UDP", func(to, _ netip.Addr, ttl uint8) []byte {
		return transport(t, v4(to), layers.IPProtocolUDP, ttl, datagram(), payload)
	})
	redirected("UDP without checksum", func(to, _ netip.Addr, ttl uint8) []byte {
		return patched(transport(t, v4(to), layers.IPProtocolUDP, ttl, datagram(), payload), 26, 0, 0)
	})
	redirected("TCP", func(to, _ netip.Addr, ttl uint8) []byte {
		return transport(t, v4(to), layers.IPProtocolTCP, ttl, segment(), payload)
	})
	redirected("TCP behind options", func(to, _ netip.Addr, ttl uint8) []byte {
		ip := v4(to)
		ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		return transport(t, ip, layers.IPProtocolTCP, ttl, segment(), payload)
	})
	redirected("ICMP, whose checksum knows no addresses", func(to, _ netip.Addr, ttl uint8) []byte {
		return transport(t, v4(to), layers.IPProtocolICMPv4, ttl, &layers.ICMPv4{TypeCode: 8 << 8, Id: 7, Seq: 1}, payload)
	})
	redirected("a later fragment", func(to, _ netip.Addr, ttl uint8) []byte {
		ip := v4(to)
		ip.FragOffset = 5
		return transport(t, ip, layers.IPProtocolUDP, ttl, payload)
	})
	redirected("UDP over IPv6", func(_, to netip.Addr, ttl uint8) []byte {
		return transport(t, v6(to), layers.IPProtocolUDP, ttl, datagram(), payload)
	})
	redirected("TCP over IPv6", func(_, to netip.Addr, ttl uint8) []byte {
		return transport(t, v6(to), layers.IPProtocolTCP, ttl, segment(), payload)
	})
	redirected("ICMPv6", func(_, to netip.Addr, ttl uint8) []byte {
		return transport(t, v6(to), layers.IPProtocolICMPv6, ttl, &layers.ICMPv6{TypeCode: 128 << 8}, payload)
	})
	redirected("UDP behind destination options", func(_, to netip.Addr, ttl uint8) []byte {
		ip := v6(to)
		whole := transport(t, ip, layers.IPProtocolUDP, ttl, datagram(), payload)
		options := gopacket.Payload(slices.Concat([]byte{17, 0, 1, 4, 0, 0, 0, 0}, whole[40:]))
		return transport(t, v6(to), layers.IPProtocolIPv6Destination, ttl, options)
	})
	router := netip.MustParseAddr("ff02::2")
	solicitation := func(hops uint8) []byte {
		link := netip.MustParseAddr("fe80::77")
		return transport(t, ipv6(link, router, 0), layers.IPProtocolICMPv6, hops, &layers.ICMPv6{TypeCode: 133 << 8},
			gopacket.Payload(make([]byte, 4)))
	}
	whole := tunnel(t, slice1, teid(44), solicitation(255), func(_ *layers.IPv4, g *layers.GTPv1U) {
		g.SequenceNumberFlag, g.SequenceNumber = true, 77
	})
	long := tunnel(t, slice1, teid(44), inner(t, ue(44), server, 64, accessMTU-28-36-36+1))
	return append(rows, []packetRow{
		{
			name: "a redirection to no address of this family", port: "access0",
			frame: tunnel(t, slice1, teid(42), transport(t, ipv6(host43, server6, 0), layers.IPProtocolUDP, 64, datagram(), payload)),
			before: func(w *world) {
				w.apply(with(uplinkOf(42), func(e *session.Entry) { e.Sources, e.Redirect.IPv4 = nil, portal }))
			},
			reason: "no_redirect", verdict: xdpDrop,
		},
		{
			name: "to the control plane whole, with the header and the hop limit that it came with", port: "access0",
			frame: slices.Concat(whole, []byte{1, 2, 3}), reason: "uplink_forwarded", verdict: xdpTx,
			out: encapsulated(t, sgw, cpTEID, 0, whole[14:]),
		},
		{
			name: "to the control plane whole, on its last hop", port: "access0",
			frame:  tunnel(t, slice1, teid(44), solicitation(1)),
			reason: "uplink_forwarded", verdict: xdpTx, out: encapsulated(t, sgw, cpTEID, 1, tunnel(t, slice1, teid(44), solicitation(1))[14:]),
		},
		{
			name: "to the control plane whole, one octet too long", port: "access0", frame: long, reason: "too_big", verdict: xdpDrop,
		},
		{
			name: "to the control plane out of its tunnel", port: "access0", frame: tunnel(t, slice1, teid(45), solicitation(255)),
			reason: "uplink_forwarded", verdict: xdpTx, out: encapsulated(t, sgw, cpTEID, 0, solicitation(255)),
		},
		{
			name: "from the control plane", port: "access0", frame: tunnel(t, slice1, teid(46), solicitation(255)),
			reason: "downlink_forwarded", verdict: xdpTx, out: encapsulated(t, sgw, remoteTEID(46), 0, solicitation(255)),
		},
		{
			name: "a packet with copies goes its way", port: "access0",
			frame:  tunnel(t, slice1, teid(47), inner(t, ue(47), server, 64, 30)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, inner(t, ue(47), server, 63, 30)),
		},
		{
			name: "a packet with copies that is redirected", port: "access0",
			frame:  tunnel(t, slice1, teid(49), inner(t, ue(49), server, 64, 30)),
			reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, inner(t, ue(49), portal, 63, 30)),
		},
	}...)
}

// TestCopies has packets duplicated: those that are forwarded and those that a FAR drops, as they came, whatever else is
// done to them.
func TestCopies(t *testing.T) {
	w := newWorld(t)
	entries := specialEntries()
	w.apply(entries...)
	up := inner(t, ue(47), server, 64, 30)
	redirected := inner(t, ue(49), server, 64, 31)
	down := inner(t, server, ue(47), 64, 32)
	for frame, port := range map[string]string{
		string(tunnel(t, slice1, teid(47), up)):                              "access0",
		string(tunnel(t, slice1, teid(49), redirected)):                      "access0",
		string(plain(t, coreGW, coreMAC, down)):                              "core0",
		string(tunnel(t, slice1, teid(48), inner(t, ue(48), server, 64, 9))): "access0", // a gate would have stopped it
		string(tunnel(t, slice1, teid(47), inner(t, ue(5), server, 64, 9))):  "access0", // nobody's
	} {
		w.run(port, []byte(frame), 0)
	}
	counts, err := w.d.Reader().Copies()
	require.NoError(t, err)
	require.Equal(t, CopyCounts{Made: 6}, counts)

	events := make(chan Event, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.d.Run(ctx, func(e Event) {
			e.Packet = slices.Clone(e.Packet)
			events <- e
		})
	}()
	got := map[string][]Event{}
	for range 6 {
		select {
		case e := <-events:
			got[spacedHex(e.Packet)] = append(got[spacedHex(e.Packet)], e)
		case <-time.After(patience):
			require.Fail(t, "no copy")
		}
	}
	for _, packet := range [][]byte{up, redirected, down} {
		require.Equal(t, []Event{
			{Kind: EventCopy, Parked: session.Parked{Packet: packet}, Tunnel: entries[5].Copies[0].Tunnel},
			{Kind: EventCopy, Parked: session.Parked{Packet: packet}, Tunnel: entries[5].Copies[1].Tunnel, ToS: 0xb8},
		}, got[spacedHex(packet)])
	}
	cancel()
	require.NoError(t, <-done)

	// Nobody reads: copies are lost, packets are not.
	frame := tunnel(t, slice1, teid(47), up)
	packets := uint64(w.d.cfg.ring() / 512)
	for range packets {
		verdict, _ := w.run("access0", frame, 0)
		require.EqualValues(t, xdpRedirect, verdict)
	}
	after, err := w.d.Reader().Copies()
	require.NoError(t, err)
	require.EqualValues(t, 2*packets, after.Made-counts.Made+after.Lost)
	require.NotZero(t, after.Lost)
	require.Greater(t, after.Made, counts.Made+packets*3/4, "of short packets")
	usage, err := w.d.Usage([]session.Key{entries[5].Key})
	require.NoError(t, err)
	require.EqualValues(t, packets+1, usage[0].Packets, "copies count for nobody")

	// One that is longer than a record is lost, too.
	w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(47), 64, 2100)), 0)
	last, err := w.d.Reader().Copies()
	require.NoError(t, err)
	require.Equal(t, CopyCounts{Made: after.Made, Lost: after.Lost + 2}, last)
}

// TestSpecialRulesComeAndGo holds what they take against what there is, over changes, a refusal and a restart.
func TestSpecialRulesComeAndGo(t *testing.T) {
	w := newWorld(t)
	entries := specialEntries()
	w.apply(entries...)
	require.ElementsMatch(t, entries, w.specialEntries())
	require.Equal(t, 6, w.d.specials.taken)
	before := slices.Clone(w.d.peerPool.refs)

	five := with(entries[5], func(e *session.Entry) {
		e.Copies = slices.Repeat(e.Copies, 3)[:session.MaxCopies+1]
	})
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: []session.Entry{entries[0], five}}), ErrInvalid)
	require.Equal(t, before, w.d.peerPool.refs)
	require.Equal(t, 6, w.d.specials.taken)

	require.NoError(t, w.d.Close())
	w.open()
	require.Equal(t, before, w.d.peerPool.refs)
	require.Equal(t, 6, w.d.specials.taken)
	repairs, err := w.d.Reconcile(slices.Values(entries))
	require.NoError(t, err)
	require.Zero(t, repairs)
	entries[5].Copies = entries[5].Copies[:1]
	entries[1].Redirect.IPv6 = portal6.Next()
	repairs, err = w.d.Reconcile(slices.Values(entries))
	require.NoError(t, err)
	require.Equal(t, Repairs{Changed: 2}, repairs)
	require.ElementsMatch(t, entries, w.specialEntries())

	var keys []session.Key
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	require.NoError(t, w.d.Apply(session.Changes{Deletes: keys}))
	require.Zero(t, w.d.specials.taken)
	require.Zero(t, slices.Max(w.d.peerPool.refs[1:]))
}

// specialEntries are the entries as they were put: a rule without filters has one that matches its sources, in a set.
func (w *world) specialEntries() []session.Entry {
	entries := w.onlyEntries()
	for i := range entries {
		e := &entries[i]
		for _, f := range e.Filters {
			if f.Local.IsValid() && e.Key.Direction == session.Uplink {
				e.Sources = append(e.Sources, f.Local)
			}
		}
		e.Filters = nil
		if e.Action == session.ActionDrop && e.Key.Direction == session.Uplink {
			e.Instance = "internet"
		}
	}
	return entries
}

// BenchmarkCopies is what a copy costs the packet that it is of: of a packet that a FAR drops, since the test runner does
// not restore those that leave. How many copies the reader, which only counts, did not get in time is reported beside it.
func BenchmarkCopies(b *testing.B) {
	for _, copies := range []int{0, 1, 2} {
		for _, octets := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%d_of_%d_octets", copies, octets), func(b *testing.B) {
				w := newWorld(b)
				entry := with(specialEntries()[6], func(e *session.Entry) { e.Copies = e.Copies[:copies] })
				w.apply(entry)
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- w.d.Run(ctx, func(Event) {}) }()
				frame := plain(b, coreGW, coreMAC, inner(b, server, ue(47), 64, octets-28))
				context := xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(w.ifindex["core0"])}
				for b.Loop() {
					const packets = 100_000
					start := time.Now()
					_, err := w.d.objects.Pgwu.Run(&ebpf.RunOptions{Data: frame, Context: context, Repeat: packets})
					require.NoError(b, err)
					b.ReportMetric(float64(time.Since(start))/packets, "ns/packet")
				}
				counts, err := w.d.Reader().Copies()
				require.NoError(b, err)
				b.ReportMetric(float64(counts.Lost)/float64(max(counts.Made+counts.Lost, 1)), "lost")
				cancel()
				require.NoError(b, <-done)
			})
		}
	}
}

package datapath

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// answered are sessions whose packets from the UE are redirected to a URL: all of them, or those to one port.
func answered() []session.Entry {
	web := session.Filter{Protocol: pfcp.Some(uint8(6)), RemotePorts: []session.Ports{{First: 80, Last: 80}}}
	return []session.Entry{
		with(uplinkOf(50), func(e *session.Entry) {
			e.Sources, e.Action = []netip.Prefix{session.UE(ue(50)), ue43}, session.ActionAnswer
		}),
		with(uplinkOf(51), func(e *session.Entry) {
			rest := e.Rule
			e.Action, e.Filters, e.Origin.PDRID = session.ActionAnswer, []session.Filter{web}, 3
			e.More = []session.Rule{rest}
		}),
	}
}

// urlRows are packets that such a FAR takes: TCP is handed over, and what else it is is dropped.
func urlRows(t testing.TB) (rows []packetRow) {
	tcp := func(ip *layers.IPv4, port layers.TCPPort, ttl uint8) []byte {
		return transport(t, ip, layers.IPProtocolTCP, ttl, &layers.TCP{SrcPort: 4000, DstPort: port, SYN: true, Window: 1000}, pattern(20))
	}
	from := func(n int, change ...func(*layers.IPv4)) *layers.IPv4 {
		ip := ipv4(ue(n), server, 0)
		for _, f := range change {
			f(ip)
		}
		return ip
	}
	row := func(name string, n int, packet []byte, reason string) {
		rows = append(rows, packetRow{
			name: "redirected to a URL: " + name, port: "access0", frame: tunnel(t, slice1, teid(n), packet), reason: reason, verdict: xdpDrop,
		})
	}
	row("TCP", 50, tcp(from(50), 443, 64), "url_redirected")
	row("TCP behind options", 50, tcp(from(50, func(ip *layers.IPv4) {
		ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	}), 80, 64), "url_redirected")
	row("TCP over IPv6", 50, transport(t, ipv6(host43, server6, 0), layers.IPProtocolTCP, 64, &layers.TCP{DstPort: 80, SYN: true}), "url_redirected")
	row("a first fragment of TCP", 50, tcp(from(50, func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }), 80, 64), "no_redirect")
	row("a later fragment of TCP", 50, tcp(from(50, func(ip *layers.IPv4) { ip.FragOffset = 5 }), 80, 64), "no_redirect")
	row("UDP", 50, inner(t, ue(50), server, 64, 10), "no_redirect")
	row("UDP over IPv6", 50, transport(t, ipv6(host43, server6, 0), layers.IPProtocolUDP, 64, &layers.UDP{DstPort: 80}, pattern(8)), "no_redirect")
	row("TCP on its last hop", 50, tcp(from(50), 80, 1), "ttl_expired_told_ue")
	told := &rows[len(rows)-1]
	told.verdict, told.out = xdpTx, encapsulated6(t, slice1v6, sgw6, remoteTEID(50), expired(t, nodeCore, tcp(from(50), 80, 1)))
	row("TCP of another UE", 50, tcp(from(9), 80, 64), "source_mismatch")
	row("TCP to the port of a rule", 51, tcp(from(51), 80, 64), "url_redirected")
	row("TCP longer than can be handed over", 50,
		transport(t, from(50), layers.IPProtocolTCP, 64, &layers.TCP{DstPort: 80}, pattern(2100)), "buffer_full")
	return append(rows, packetRow{
		name: "redirected to a URL: TCP to another port", port: "access0", frame: tunnel(t, slice1, teid(51), tcp(from(51), 81, 64)),
		reason: "uplink_forwarded", verdict: xdpRedirect, out: plain(t, coreMAC, coreGW, tcp(from(51), 81, 63)),
	}, packetRow{
		name: "redirected to a URL: more than may be", port: "access0", frame: tunnel(t, slice1, teid(50), tcp(from(50), 443, 64)),
		before: func(w *world) { w.reopen(func(c *Config) { c.URLRate = 0 }) },
		after:  func(w *world) { w.reopen(func(c *Config) { c.URLRate = 1_000_000 }) },
		reason: "url_limited", verdict: xdpDrop,
	})
}

// What is handed over is what the UE sent, and counts for nobody.
func TestRedirectionToAURL(t *testing.T) {
	w := newWorld(t)
	w.apply(answered()...)
	var want []string
	for _, row := range urlRows(t) {
		if row.reason == "url_redirected" {
			w.run(row.port, row.frame, 0)
			want = append(want, spacedHex(row.frame[14+20+8+8:]))
		}
	}
	usage, err := w.d.Usage([]session.Key{uplinkOf(50).Key, uplinkOf(51).Key})
	require.NoError(t, err)
	require.Equal(t, make([]session.Usage, 2), usage)
	events := make(chan Event, len(want))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx, func(e Event) { events <- e }) }()
	for _, packet := range want {
		select {
		case e := <-events:
			require.Equal(t, EventBuffered, e.Kind)
			require.Equal(t, packet, spacedHex(e.Packet))
		case <-time.After(patience):
			require.Fail(t, "no packet")
		}
	}
	cancel()
	require.NoError(t, <-done)
}

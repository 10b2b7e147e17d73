package datapath

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/userplane/session"
)

// TestBufferedPackets has a packet to a sleeping UE handed over, and, when the UE is awake, injected: it leaves by the
// real port with its outer header. An end marker follows what the rules of before sent.
func TestBufferedPackets(t *testing.T) {
	l := newLive(t)
	events := make(chan Event, 100)
	d, stop := l.daemon(func(e Event) { events <- e })
	defer stop()
	next := func(kind EventKind) Event {
		for {
			select {
			case e := <-events:
				if e.Kind == kind {
					return e
				}
			case <-time.After(patience):
				require.Fail(t, "no event")
				return Event{}
			}
		}
	}
	awake := with(downlinkOf(5), func(e *session.Entry) { e.Remote = accessGateway })
	asleep := with(awake, func(e *session.Entry) { e.Action, e.Notify = session.ActionBuffer, true })
	require.NoError(t, d.Apply(session.Changes{Puts: []session.Entry{awake, uplinkOf(5)}}))
	l.eventually(5, 0) // neighbours are resolved
	require.NoError(t, d.Apply(session.Changes{Puts: []session.Entry{asleep}}))
	packet := inner(t, server, ue(5), 64, 100)
	l.in(l.node, func() { require.NoError(t, d.Inject("internet", packet)) })
	e := next(EventBuffered)
	require.Equal(t, spacedHex(packet), spacedHex(e.Packet))
	require.Equal(t, asleep.Origin.SEID, e.SEID)
	require.Equal(t, asleep.Origin.PDRID, e.Origin.PDRID)

	tunnel := session.Tunnel{Local: slice1, Remote: accessGateway, TEID: remoteTEID(5)}
	require.NoError(t, d.Apply(session.Changes{Puts: []session.Entry{awake}, EndMarkers: []session.Tunnel{tunnel}}))
	require.Equal(t, Event{Kind: EventEndMarker, Tunnel: tunnel}, next(EventEndMarker))
	before, err := d.Usage([]session.Key{awake.Key})
	require.NoError(t, err)
	l.in(l.node, func() { require.NoError(t, d.Inject("internet", e.Packet)) })
	buffer := make([]byte, 2000)
	require.NoError(t, l.tunnel.SetReadDeadline(time.Now().Add(patience)))
	for {
		n, _, err := l.tunnel.ReadFromUDPAddrPort(buffer)
		require.NoError(t, err)
		if n == 8+len(packet) {
			break
		}
	}
	require.Equal(t, spacedHex(inner(t, server, ue(5), 63, 100)), spacedHex(buffer[8:8+len(packet)]))
	after, err := d.Usage([]session.Key{awake.Key})
	require.NoError(t, err)
	require.Equal(t, before[0].Packets+1, after[0].Packets)
	require.ErrorIs(t, d.Inject("nowhere", packet), ErrNoPort)
}

// TestUEToUE sends from one UE to another of the same network instance, in one pass.
func TestUEToUE(t *testing.T) {
	w := newWorld(t)
	w.apply(uplinkOf(5), downlinkOf(6), with(uplinkOf(6), func(e *session.Entry) { e.GateClosed = true }),
		with(downlinkOf(7), func(e *session.Entry) { e.GateClosed = true }))
	frame := func(to int) []byte { return tunnel(t, slice1, teid(5), inner(t, ue(5), ue(to), 64, 30)) }
	verdict, out := w.run("access0", frame(6), 0)
	require.EqualValues(t, xdpRedirect, verdict, "by the gateway, which sends it back or not")
	require.Equal(t, spacedHex(plain(t, coreMAC, coreGW, inner(t, ue(5), ue(6), 63, 30))), spacedHex(out))

	require.NoError(t, w.d.Close())
	w.cfg.Instances[0].UEToUE = true
	w.open()
	before := w.reasons()
	verdict, out = w.run("access0", frame(6), 0)
	require.EqualValues(t, xdpTx, verdict)
	require.Equal(t, spacedHex(encapsulated(t, sgw, remoteTEID(6), 0, inner(t, ue(5), ue(6), 63, 30))), spacedHex(out))
	require.Equal(t, map[string]uint64{"downlink_forwarded": 1}, difference(before, w.reasons()))
	usage, err := w.d.Usage([]session.Key{uplinkOf(5).Key, downlinkOf(6).Key})
	require.NoError(t, err)
	require.Equal(t, []session.Usage{{Packets: 2, Octets: 2 * 58}, {Packets: 1, Octets: 58}}, usage)

	before = w.reasons()
	w.run("access0", frame(7), 0)
	require.Equal(t, map[string]uint64{"gate_closed": 1}, difference(before, w.reasons()))
	_, out = w.run("access0", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 30)), 0)
	require.Equal(t, spacedHex(plain(t, coreMAC, coreGW, inner(t, ue(5), server, 63, 30))), spacedHex(out))
}

// TestMSSClamp lowers what SYNs offer, with the checksum, and leaves everything else alone.
func TestMSSClamp(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	w.cfg.MSS = 1400
	w.open()
	w.apply(downlinkOf(5), with(downlinkOf(6), func(e *session.Entry) { e.Key.UE = ue6 }))
	segment := func(mss uint16, syn bool, ttl uint8, options ...layers.TCPOption) []byte {
		ip := ipv4(server, ue(5), layers.IPProtocolTCP)
		ip.TTL = ttl
		tcp := &layers.TCP{SrcPort: 80, DstPort: 4000, SYN: syn, Window: 1000}
		tcp.Options = append(options, layers.TCPOption{
			OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(mss >> 8), byte(mss)},
		})
		_ = tcp.SetNetworkLayerForChecksum(ip)
		return serialize(t, ip, tcp, gopacket.Payload("x"))
	}
	nop := layers.TCPOption{OptionType: layers.TCPOptionKindNop}
	for name, row := range map[string]struct{ in, out []byte }{
		"a SYN":                {segment(1460, true, 64), segment(1400, true, 63)},
		"one at an odd offset": {segment(1460, true, 64, nop), segment(1400, true, 63, nop)},
		"one that offers less": {segment(1300, true, 64), segment(1300, true, 63)},
		"no SYN":               {segment(1460, false, 64), segment(1460, false, 63)},
	} {
		usage, err := w.d.Usage([]session.Key{downlinkOf(5).Key})
		require.NoError(t, err)
		_, out := w.run("core0", plain(t, coreGW, coreMAC, row.in), 0)
		require.Equal(t, spacedHex(encapsulated(t, sgw, remoteTEID(5), int(usage[0].Packets), row.out)), spacedHex(out), name)
	}
	syn6 := func(mss uint16, hops uint8) []byte {
		ip := ipv6(server6, ue6Host, layers.IPProtocolTCP)
		ip.HopLimit = hops
		tcp := &layers.TCP{SrcPort: 80, DstPort: 4000, SYN: true, Options: []layers.TCPOption{{
			OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(mss >> 8), byte(mss)},
		}}}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		return serialize(t, ip, tcp)
	}
	_, out := w.run("core0", plain6(t, coreGW, coreMAC, syn6(1440, 64)), 0)
	require.Equal(t, spacedHex(encapsulated(t, sgw, remoteTEID(6), 0, syn6(1380, 63))), spacedHex(out))
}

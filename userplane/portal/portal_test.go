package portal

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

const topUp = "https://portal.example/top-up?from=ue"

// wire is a segment as a UE sends it, made by somebody else.
func wire(t testing.TB, from, to string, tcp layers.TCP, payload string) []byte {
	t.Helper()
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(a.Port()), layers.TCPPort(b.Port()), 64240
	var ip gopacket.NetworkLayer = &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice(),
	}
	if a.Addr().Is6() {
		ip = &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice(),
		}
	}
	require.NoError(t, tcp.SetNetworkLayerForChecksum(ip))
	buffer := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		ip.(gopacket.SerializableLayer), &tcp, gopacket.Payload(payload)))
	return buffer.Bytes()
}

// read is what somebody else reads in an answer, and says whether all of its checksums are right.
func read(t testing.TB, packet []byte) (*layers.TCP, gopacket.Packet) {
	t.Helper()
	first := layers.LayerTypeIPv4
	if packet[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(packet, first, gopacket.Default)
	require.Nil(t, p.ErrorLayer())
	tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	require.NoError(t, tcp.SetNetworkLayerForChecksum(p.NetworkLayer()))
	err, wrong := p.VerifyChecksums()
	require.NoError(t, err)
	require.Empty(t, wrong)
	return tcp, p
}

var ends = map[string][2]string{
	"IPv4": {"172.16.1.7:40000", "192.0.2.80:80"},
	"IPv6": {"[2001:db8:1:7::5]:40000", "[2001:db8::80]:8080"},
}

// A connection as browsers make it, with all that may be lost on the way.
func TestAConnection(t *testing.T) {
	for family, end := range ends {
		t.Run(family, func(t *testing.T) {
			p := New()
			say := func(tcp layers.TCP, payload string) (*layers.TCP, gopacket.Packet) {
				answer := p.Answer(wire(t, end[0], end[1], tcp, payload), topUp)
				if answer == nil {
					return nil, nil
				}
				return read(t, answer)
			}
			const isn = 0xfffffffe // it wraps
			got, packet := say(layers.TCP{Seq: isn, SYN: true}, "")
			require.True(t, got.SYN && got.ACK && !got.RST && !got.FIN)
			require.EqualValues(t, 0xffffffff, got.Ack)
			require.EqualValues(t, 40000, got.DstPort)
			require.Equal(t, netip.MustParseAddrPort(end[1]).Addr().String(), packet.NetworkLayer().NetworkFlow().Src().String())
			require.Equal(t, netip.MustParseAddrPort(end[0]).Addr().String(), packet.NetworkLayer().NetworkFlow().Dst().String())
			require.Len(t, got.Options, 1)
			require.Equal(t, layers.TCPOptionKind(layers.TCPOptionKindMSS), got.Options[0].OptionType)
			again, _ := say(layers.TCP{Seq: isn, SYN: true}, "")
			require.Equal(t, got.Seq, again.Seq, "ours was lost")

			ours, theirs := got.Seq+1, uint32(0xffffffff)
			got, _ = say(layers.TCP{Seq: theirs, Ack: ours, ACK: true}, "")
			require.Nil(t, got, "the handshake is done")
			const request = "GET /some/page HTTP/1.1\r\nHost: news.example\r\n\r\n"
			for range 2 { // the first answer is lost
				got, _ = say(layers.TCP{Seq: theirs, Ack: ours, ACK: true, PSH: true}, request)
				require.True(t, got.FIN && got.ACK && !got.SYN && !got.RST)
				require.Equal(t, ours, got.Seq)
				require.Equal(t, theirs+uint32(len(request)), got.Ack)
				require.Regexp(t, `^HTTP/1\.1 302 Found\r\n(?s:.*)\r\n\r\n$`, string(got.Payload))
				require.Contains(t, string(got.Payload), "\r\nLocation: "+topUp+"\r\n")
				require.Contains(t, string(got.Payload), "\r\nConnection: close\r\n")
			}
			said := uint32(len(got.Payload))
			theirs += uint32(len(request))
			got, _ = say(layers.TCP{Seq: theirs, Ack: ours + said, ACK: true}, "")
			require.Nil(t, got, "all but our FIN has arrived")
			got, _ = say(layers.TCP{Seq: theirs, Ack: ours + said + 1, ACK: true}, "")
			require.Nil(t, got)
			for range 2 {
				got, _ = say(layers.TCP{Seq: theirs, Ack: ours + said + 1, ACK: true, FIN: true}, "")
				require.True(t, got.ACK && !got.FIN && !got.RST)
				require.Equal(t, theirs+1, got.Ack)
				require.Equal(t, ours+said+1, got.Seq)
			}
		})
	}
}

// What is no connection to be redirected.
func TestOtherSegments(t *testing.T) {
	for family, end := range ends {
		t.Run(family, func(t *testing.T) {
			p := New()
			syn := wire(t, end[0], end[1], layers.TCP{Seq: 100, SYN: true}, "")
			got, _ := read(t, p.Answer(syn, topUp))
			ours := got.Seq + 1
			for name, row := range map[string]struct {
				tcp     layers.TCP
				payload string
				reset   bool // with the number that it acknowledges; else nothing is said
			}{
				"a TLS handshake":           {layers.TCP{Seq: 101, Ack: ours, ACK: true}, "\x16\x03\x01", true},
				"an end before any request": {layers.TCP{Seq: 101, Ack: ours, ACK: true, FIN: true}, "", true},
				"a connection from before":  {layers.TCP{Seq: 101, Ack: ours + 70000, ACK: true}, "GET / HTTP/1.1\r\n", true},
				"its keep-alive":            {layers.TCP{Seq: 100, Ack: ours - 5, ACK: true}, "", true},
				"the rest of a request":     {layers.TCP{Seq: 400, Ack: ours, ACK: true}, "ept: */*\r\n\r\n", false},
				"a reset":                   {layers.TCP{Seq: 101, Ack: ours + 70000, ACK: true, RST: true}, "", false},
				"no flags at all":           {layers.TCP{Seq: 101, Ack: ours}, "GET / HTTP/1.1\r\n", false},
				"SYN and ACK":               {layers.TCP{Seq: 101, Ack: ours, SYN: true, ACK: true}, "", false},
			} {
				answer := p.Answer(wire(t, end[0], end[1], row.tcp, row.payload), topUp)
				if !row.reset {
					require.Nil(t, answer, name)
					continue
				}
				got, _ := read(t, answer)
				require.True(t, got.RST && !got.SYN && !got.FIN, name)
				require.Equal(t, row.tcp.Ack, got.Seq, name)
				require.Empty(t, got.Payload, name)
			}
			other := New()
			stranger, _ := read(t, other.Answer(syn, topUp))
			require.NotEqual(t, ours-1, stranger.Seq, "who knows one portal's numbers does not know another's")
			for at := range syn { // a wrong octet anywhere is noticed, or is in no checksum of TCP
				broken := append([]byte(nil), syn...)
				broken[at] ^= 0x10
				if answer := p.Answer(broken, topUp); answer != nil {
					got, _ := read(t, answer)
					require.True(t, got.SYN && got.ACK, "octet %d", at)
				}
				require.Nil(t, p.Answer(syn[:at], topUp))
			}
		})
	}
}

func TestCheckURL(t *testing.T) {
	longest := "http://a/" + strings.Repeat("x", MaxURL-9)
	for _, good := range []string{"http://portal.example", topUp, "https://[2001:db8::1]:8443/x#y", longest} {
		require.NoError(t, CheckURL(good), good)
	}
	for _, bad := range []string{
		"", "portal.example", "/top-up", "ftp://portal.example/", "http://", "http:portal.example", "https://:443/", "javascript:alert(1)",
		"http://portal.example/ x", "http://portal.example/\r\nX: y", "http://portal.example/\x7f", "http://portal.example/é",
		"http://portal.example:port/", longest + "x", "http://[::1",
	} {
		require.Error(t, CheckURL(bad), bad)
	}
	got, packet := read(t, must(t, longest))
	require.Len(t, got.Payload, len(response(longest)))
	require.LessOrEqual(t, len(packet.Data()), 1280, "what every IPv6 link takes")
}

// must is the answer to a request over IPv6.
func must(t *testing.T, to string) []byte {
	t.Helper()
	p, end := New(), ends["IPv6"]
	got, _ := read(t, p.Answer(wire(t, end[0], end[1], layers.TCP{SYN: true}, ""), to))
	answer := p.Answer(wire(t, end[0], end[1], layers.TCP{Seq: 1, Ack: got.Seq + 1, ACK: true}, "GET / HTTP/1.1\r\n\r\n"), to)
	require.NotNil(t, answer)
	return answer
}

// FuzzAnswer: whatever a UE sends, the answer is whole, goes back to it, and is not longer than what is to be said.
func FuzzAnswer(f *testing.F) {
	for _, end := range ends {
		f.Add(wire(f, end[0], end[1], layers.TCP{SYN: true}, ""))
		f.Add(wire(f, end[0], end[1], layers.TCP{Seq: 1, Ack: 1, ACK: true}, "GET / HTTP/1.1\r\n\r\n"))
		f.Add(wire(f, end[0], end[1], layers.TCP{Seq: 1, ACK: true, FIN: true}, "\x16"))
	}
	p := New()
	f.Fuzz(func(t *testing.T, packet []byte) {
		answer := p.Answer(packet, topUp)
		if answer == nil {
			return
		}
		got, whole := read(t, answer)
		require.False(t, got.SYN && got.RST)
		require.LessOrEqual(t, len(got.Payload), len(response(topUp)))
		in, ok := parse(packet)
		require.True(t, ok)
		require.Equal(t, in.from.Addr().String(), whole.NetworkLayer().NetworkFlow().Dst().String())
		require.EqualValues(t, in.from.Port(), got.DstPort)
	})
}

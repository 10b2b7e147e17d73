package slowpath

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/pkg/gtpu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testPort = 12152
	patience = 10 * time.Second
)

var slice = netip.MustParseAddr("127.78.1.1")

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

// start runs a slow path whose slice is on loopback, and returns an SGW's socket.
func start(t *testing.T, sgw string, change ...func(*Config)) (*Slowpath, *net.UDPConn) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Slices, cfg.Port, cfg.Log = []netip.Addr{slice}, testPort, slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&cfg)
	}
	s, err := Listen(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(sgw), Port: testPort})
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, conn.Close())
	})
	return s, conn
}

func receive(t *testing.T, conn *net.UDPConn) []byte {
	t.Helper()
	b, from := receiveFrom(t, conn)
	require.Equal(t, netip.AddrPortFrom(slice, testPort), from)
	return b
}

func receiveFrom(t *testing.T, conn *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 1<<16)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	n, from, err := conn.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	return b[:n], from
}

func TestWhatArrives(t *testing.T) {
	s, conn := start(t, "127.78.1.2")
	for _, row := range []struct {
		name, octets, answer string
		outcome              Outcome
	}{
		{
			"an Echo Request", "32 01 00 04 00 00 00 00  ab cd 00 00",
			"32 02 00 06 00 00 00 00  ab cd 00 00  0e 00", EchoAnswered,
		},
		{
			"an Echo Request with a UDP Port extension header, which need not be comprehended",
			"36 01 00 08 00 00 00 00  ab ce 00 40  01 08 68 00",
			"32 02 00 06 00 00 00 00  ab ce 00 00  0e 00", EchoAnswered,
		},
		{
			"a PDCP PDU Number, which must be comprehended and is not", "34 01 00 08 00 00 00 00  00 00 00 c0  01 00 00 00",
			"32 1f 00 08 00 00 00 00  00 00 00 00  8d 02 85 40", ExtensionsNotified,
		},
		{"an Echo Response", "32 02 00 06 00 00 00 00  00 01 00 00  0e 00", "", EchoResponse},
		{"an Error Indication", "32 1a 00 10 00 00 00 00  00 00 00 00  10 00 00 00 aa  85 00 04 0a 0a 00 02", "", ErrorIndicationReceived},
		{"an Error Indication without address", "32 1a 00 09 00 00 00 00  00 00 00 00  10 00 00 00 aa", "", Malformed},
		{"an End Marker", "30 fe 00 00 00 00 10 01", "", EndMarker},
		{"a G-PDU", "30 ff 00 02 00 00 10 01  45 00", "", GPDU},
		{"a notification", "32 1f 00 06 00 00 00 00  00 00 00 00  8d 00", "", ExtensionsReceived},
		{"a message type of GTP-C", "30 10 00 00 00 00 00 00", "", UnknownType},
		{"nothing", "", "", Malformed},
		{"GTPv2", "48 01 00 04 00 00 00 00", "", Malformed},
		{"GTP prime", "20 01 00 00 00 00 00 00", "", Malformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := s.Counts()
			_, err := conn.WriteToUDPAddrPort(octets(t, row.octets), s.Addr(slice))
			require.NoError(t, err)
			if row.answer != "" {
				require.Equal(t, octets(t, row.answer), receive(t, conn))
			}
			require.Eventually(t, func() bool { return s.Counts()[row.outcome] == before[row.outcome]+1 }, patience, time.Millisecond)
		})
	}
}

func TestAnUnknownTEIDIsIndicatedToItsSender(t *testing.T) {
	s, conn := start(t, "127.78.1.3")
	s.UnknownTEID(slice, netip.MustParseAddr("127.78.1.3"), 0xdeadbeef)
	h, payload, err := gtpu.Parse(receive(t, conn))
	require.NoError(t, err)
	require.Equal(t, gtpu.TypeErrorIndication, h.Type)
	require.Zero(t, h.TEID)
	e, err := gtpu.ParseErrorIndication(payload)
	require.NoError(t, err)
	require.Equal(t, gtpu.ErrorIndication{TEID: 0xdeadbeef, Peer: slice}, e)
	require.Eventually(t, func() bool { return s.Counts()[ErrorIndicationSent] == 1 }, patience, time.Millisecond)
}

func TestErrorIndicationsAreNotSentToWhereTheyWouldDoHarm(t *testing.T) {
	s, err := Listen(Config{Slices: []netip.Addr{netip.MustParseAddr("127.78.2.1")}, Port: testPort, PerPeer: 2, Peers: 10, Queue: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	local := s.cfg.Slices[0]
	now := time.Now()
	for _, remote := range []string{"0.0.0.0", "224.0.0.1", "255.255.255.255", "2001:db8::1", local.String()} {
		require.Equal(t, ErrorIndicationUnlikely, s.indication(unknown{local, netip.MustParseAddr(remote), 1}, now), remote)
	}
	sgw := netip.MustParseAddr("127.78.2.2")
	require.Equal(t, ErrorIndicationUnlikely, s.indication(unknown{sgw, sgw, 1}, now), "not to one of our slices")
	for range 2 {
		require.Equal(t, ErrorIndicationSent, s.indication(unknown{local, sgw, 1}, now))
	}
	require.Equal(t, ErrorIndicationLimited, s.indication(unknown{local, sgw, 1}, now))
	require.Equal(t, ErrorIndicationSent, s.indication(unknown{local, netip.MustParseAddr("127.78.2.3"), 1}, now), "another peer")
	require.Equal(t, ErrorIndicationSent, s.indication(unknown{local, sgw, 1}, now.Add(500*time.Millisecond)))
	s.cfg.HoldUntil = now.Add(time.Minute)
	require.Equal(t, ErrorIndicationHeld, s.indication(unknown{local, sgw, 1}, now.Add(2*time.Second)))

	s.UnknownTEID(local, sgw, 1)
	s.UnknownTEID(local, sgw, 2)
	require.EqualValues(t, 1, s.Counts()[QueueFull])
}

func TestTheLimiterForgetsRatherThanGrows(t *testing.T) {
	l := limiter{perSecond: 1, peers: 4}
	now := time.Now()
	addr := netip.MustParseAddr("10.0.0.0")
	for range 100 {
		addr = addr.Next()
		require.True(t, l.allow(addr, now))
		require.LessOrEqual(t, len(l.buckets), 4)
	}
	require.False(t, l.allow(addr, now))
	require.False(t, l.allow(addr, now.Add(-time.Hour)), "a clock that steps back gives nothing")
}

func TestASliceMustBeAnAddressOfTheHost(t *testing.T) {
	_, err := Listen(Config{Slices: []netip.Addr{netip.MustParseAddr("192.0.2.77")}, Port: testPort})
	require.ErrorContains(t, err, "ip address add 192.0.2.77/32 dev lo")
}

func TestEveryOutcomeHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Outcomes() {
		require.NotEmpty(t, o.String())
		require.False(t, seen[o.String()], o.String())
		seen[o.String()] = true
	}
}

func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		"32 01 00 04 00 00 00 00  ab cd 00 00", "34 01 00 08 00 00 00 00  00 00 00 c0  01 00 00 00",
		"32 1a 00 10 00 00 00 00  00 00 00 00  10 00 00 00 aa  85 00 04 0a 0a 00 02",
	} {
		f.Add(octets(f, s))
	}
	s := &Slowpath{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	peer := netip.MustParseAddrPort("192.0.2.1:2152")
	f.Fuzz(func(t *testing.T, b []byte) {
		outcome, answer := s.receive(arrival{slice, peer, 1}, bytes.Clone(b))
		require.NotEqual(t, Panicked, outcome)
		if answer != nil {
			_, _, err := gtpu.Parse(answer)
			require.NoError(t, err)
		}
	})
}

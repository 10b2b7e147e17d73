package slowpath

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/gtpu"
)

// TestWholePacketsGoToTheDataPath has G-PDUs come to the socket, as the kernel has put them together, and looks at what
// the data path gets: the same message between the same ends, by the device that it came in by.
func TestWholePacketsGoToTheDataPath(t *testing.T) {
	type given struct {
		device int
		packet []byte
	}
	all := make(chan given, 10)
	answers := make(chan error, 10)
	s, conn := start(t, "127.78.1.9", func(c *Config) {
		c.Inject = func(device int, packet []byte) error {
			all <- given{device, packet}
			return <-answers
		}
	})
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	for _, row := range []struct {
		name, octets string
		answer       error
		outcome      Outcome
	}{
		{"one that the data path takes", "30 ff 00 02 00 00 10 01  45 00", nil, Reassembled},
		{"one with an extension header that endpoints must know", "34 ff 00 0a 00 00 10 01  00 00 00 c0  01 00 00 00  45 00", nil, Reassembled},
		{"one that came by no access port", "30 ff 00 02 00 00 10 01  45 00", ErrNotAccess, GPDU},
		{"one that is too long for it", "30 ff 00 02 00 00 10 01  45 00", errors.New("invalid argument"), ReassemblyRefused},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := s.Counts()
			answers <- row.answer
			_, err := conn.WriteToUDPAddrPort(octets(t, row.octets), s.Addr(slice))
			require.NoError(t, err)
			got := <-all
			want, err := gtpu.Datagram(conn.LocalAddr().(*net.UDPAddr).AddrPort(), netip.AddrPortFrom(slice, gtpu.Port), octets(t, row.octets))
			require.NoError(t, err)
			require.Equal(t, given{lo.Index, want}, got)
			require.Eventually(t, func() bool { return s.Counts()[row.outcome] == before[row.outcome]+1 }, patience, time.Millisecond)
		})
	}
}

func TestOnlySoManyWholePacketsWait(t *testing.T) {
	s, err := Listen(Config{
		Slices: []netip.Addr{netip.MustParseAddr("127.78.3.1")}, Port: testPort, InjectQueue: 2,
		Inject: func(int, []byte) error { return nil },
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	from := arrival{s.cfg.Slices[0], netip.MustParseAddrPort("127.78.3.2:2152"), 1}
	for want, outcome := range []Outcome{outcomes, outcomes, ReassemblyFull, ReassemblyFull} {
		got, answer := s.receive(from, octets(t, "30 ff 00 02 00 00 10 01  45 00"))
		require.Equal(t, outcome, got, want)
		require.Nil(t, answer)
	}
}

func TestWhatTheKernelTellsOfADatagram(t *testing.T) {
	for _, row := range []struct {
		name, octets string
		want         told
	}{
		{"IP_PKTINFO", "1c 00 00 00 00 00 00 00  00 00 00 00  08 00 00 00  07 00 00 00  0a 1e 01 01  0a 1e 01 01  00 00 00 00", told{device: 7}},
		{
			"IPV6_PKTINFO", "24 00 00 00 00 00 00 00  29 00 00 00  32 00 00 00  " +
				"20 01 0d b8 00 00 00 00  00 00 00 00 00 00 00 01  09 00 00 00  00 00 00 00", told{device: 9},
		},
		{"nothing", "", told{}},
		{"SO_RXQ_OVFL", "14 00 00 00 00 00 00 00  01 00 00 00  28 00 00 00  05 00 00 00  00 00 00 00", told{dropped: 5}},
		{"something else", "14 00 00 00 00 00 00 00  00 00 00 00  02 00 00 00  40 00 00 00  00 00 00 00", told{}},
		{"cut short", "1c 00 00 00 00 00 00 00  00 00 00 00", told{}},
	} {
		require.Equal(t, row.want, tellingOf(octets(t, row.octets)), row.name)
	}
}

// A socket that nobody reads for a while loses what has no room, and says how much.
func TestWhatTheSocketLosesIsCounted(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Slices, cfg.Port, cfg.Log = []netip.Addr{netip.MustParseAddr("127.78.4.1")}, testPort, slog.New(slog.DiscardHandler)
	s, err := Listen(cfg)
	require.NoError(t, err)
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.Addr(cfg.Slices[0])))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	const datagrams = 400
	large := make([]byte, 60_000) // of GTP version 0
	for range datagrams {
		_, err := conn.Write(large)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.Eventually(t, func() bool { // the next one that is read tells
		_, err := conn.Write(octets(t, "32 02 00 06 00 00 00 00  00 01 00 00  0e 00"))
		require.NoError(t, err)
		return s.Counts()[Malformed]+s.Counts()[SocketFull] == datagrams && s.Counts()[SocketFull] > 0
	}, patience, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

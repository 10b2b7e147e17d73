package slowpath

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/gtpu"
	"github.com/xepc/xepc/pkg/testkit"
)

var (
	slice6 = netip.MustParseAddr("2001:db8:30::1")
	sgw6   = netip.MustParseAddr("2001:db8:10::2")
)

// start6 runs a slow path with a slice of both families in a namespace of its own, and returns an SGW's socket.
func start6(t *testing.T, change ...func(*Config)) (*Slowpath, *net.UDPConn) {
	t.Helper()
	testkit.EnterNamespace(t)
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
	for _, a := range []string{slice6.String() + "/128", sgw6.String() + "/128"} {
		address, err := netlink.ParseAddr(a)
		require.NoError(t, err)
		address.Flags = unix.IFA_F_NODAD
		require.NoError(t, netlink.AddrAdd(lo, address))
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	require.NoError(t, err)
	defer handle.Close()
	for _, a := range []netip.Addr{slice6, sgw6} { // the kernel makes their routes in the background
		require.Eventually(t, func() bool {
			routes, err := handle.RouteGet(a.AsSlice())
			return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
		}, patience, patience/10_000)
	}
	cfg := DefaultConfig()
	cfg.Slices, cfg.Port, cfg.Log = []netip.Addr{slice, slice6}, testPort, slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&cfg)
	}
	s, err := Listen(cfg)
	require.NoError(t, err)
	conn, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(sgw6, testPort)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, conn.Close())
	})
	return s, conn
}

func receive6(t *testing.T, conn *net.UDPConn) []byte {
	t.Helper()
	b, from := receiveFrom(t, conn)
	require.Equal(t, netip.AddrPortFrom(slice6, testPort), from)
	return b
}

// All that is said to a peer over IPv4 is said over IPv6, by the slice's other address.
func TestSignallingOverIPv6(t *testing.T) {
	type indicated struct {
		remote netip.Addr
		teid   uint32
	}
	told := make(chan indicated, 1)
	s, conn := start6(t, func(c *Config) {
		c.ErrorIndication = func(remote netip.Addr, teid uint32) { told <- indicated{remote, teid} }
	})
	send := func(text string) {
		_, err := conn.WriteToUDPAddrPort(octets(t, text), s.Addr(slice6))
		require.NoError(t, err)
	}
	send("32 01 00 04 00 00 00 00  ab cd 00 00")
	require.Equal(t, octets(t, "32 02 00 06 00 00 00 00  ab cd 00 00  0e 00"), receive6(t, conn))

	send("34 01 00 08 00 00 00 00  00 00 00 c0  01 00 00 00")
	require.Equal(t, octets(t, "32 1f 00 08 00 00 00 00  00 00 00 00  8d 02 85 40"), receive6(t, conn))

	send("32 1a 00 1c 00 00 00 00  00 00 00 00  10 00 00 00 aa  85 00 10 20 01 0d b8 00 10 00 00 00 00 00 00 00 00 00 02")
	require.Equal(t, indicated{sgw6, 0xaa}, <-told)

	s.UnknownTEID(slice6, sgw6, 0xdeadbeef)
	h, payload, err := gtpu.Parse(receive6(t, conn))
	require.NoError(t, err)
	require.Equal(t, gtpu.TypeErrorIndication, h.Type)
	e, err := gtpu.ParseErrorIndication(payload)
	require.NoError(t, err)
	require.Equal(t, gtpu.ErrorIndication{TEID: 0xdeadbeef, Peer: slice6}, e)

	s.SendEndMarker(Path{slice6, sgw6}, 0xaabb)
	require.Equal(t, octets(t, "30 fe 00 00 00 00 aa bb"), receive6(t, conn))
}

// A sender that follows RFC 6935 leaves the checksum out: the kernel drops that unless the socket says otherwise.
func TestADatagramWithoutChecksumIsTaken(t *testing.T) {
	s, conn := start6(t)
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1)
	}))
	require.NoError(t, err)
	_, err = conn.WriteToUDPAddrPort(octets(t, "32 01 00 04 00 00 00 00  ab cd 00 00"), s.Addr(slice6))
	require.NoError(t, err)
	require.Equal(t, octets(t, "32 02 00 06 00 00 00 00  ab cd 00 00  0e 00"), receive6(t, conn))
}

func TestErrorIndicationsOverIPv6AreNotSentToWhereTheyWouldDoHarm(t *testing.T) {
	s, _ := start6(t)
	for _, remote := range []string{"::", "ff02::1", "fe80::1", "::ffff:10.0.0.1", "10.10.0.2", slice6.String(), slice.String()} {
		s.UnknownTEID(slice6, netip.MustParseAddr(remote), 1)
	}
	s.UnknownTEID(slice6, netip.Addr{}, 1)
	s.UnknownTEID(slice, sgw6, 1)
	require.Eventually(t, func() bool { return s.Counts()[ErrorIndicationUnlikely] == 9 }, patience, patience/1000)
	require.Zero(t, s.Counts()[ErrorIndicationSent])
}

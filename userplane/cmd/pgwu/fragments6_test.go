package main

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var (
	sgwAddr6   = netip.MustParseAddr("2001:db8:20::1")
	sliceAddr6 = netip.MustParseAddr("2001:db8:30::1")
)

// also6 gives the path between SGW and PGW-U IPv6, and the slice a second address, before the daemon starts.
func (s *site) also6() {
	s.t.Helper()
	address := func(t *testing.T, port, addr string) {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+port+"/accept_dad", []byte("0"), 0))
		address(t, port, addr)
	}
	s.in(s.pgwu, func() {
		address(s.t, "lo", sliceAddr6.String()+"/128")
		address(s.t, "access0", "2001:db8:20::2/64")
	})
	s.in(s.sgw, func() {
		address(s.t, "access0p", sgwAddr6.String()+"/64")
		route(s.t, sliceAddr6.String()+"/128", "2001:db8:20::2")
	})
	text, err := os.ReadFile(s.config)
	require.NoError(s.t, err)
	text = []byte(strings.Replace(string(text), "address: 10.30.1.1,", `address: 10.30.1.1, address6: "`+sliceAddr6.String()+`",`, 1))
	require.NoError(s.t, os.WriteFile(s.config, text, 0o600))
}

// listen6 is a socket of the SGW.
func (s *site) listen6(at netip.AddrPort) (conn *net.UDPConn) {
	s.t.Helper()
	s.in(s.sgw, func() {
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the kernel makes the address's route in the background
			var err error
			if conn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(at)); err == nil {
				return
			}
			require.True(s.t, time.Now().Before(deadline), "%v", err)
		}
	})
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// gtpu6 is the SGW's GTP-U socket over IPv6.
func (s *site) gtpu6() *net.UDPConn { return s.listen6(netip.AddrPortFrom(sgwAddr6, 2152)) }

// TestFragmentsOverIPv6: what the program passes to the kernel because of an IPv6 extension header, a fragment header or
// another, comes back by the socket and goes on as any packet. The session was made over IPv4; its slice has both addresses.
func TestFragmentsOverIPv6(t *testing.T) {
	s := newSite(t)
	s.also6()
	s.start()
	s.setup()
	_, teid := s.establish()
	s.warmUp(teid)
	at := s.listen(s.core, sink)
	conn, slice := s.gtpu6(), netip.AddrPortFrom(sliceAddr6, 2152)
	ue := netip.AddrPortFrom(ueAddr, 4000)
	send := func(octets int) {
		t.Helper()
		_, err := conn.WriteToUDPAddrPort(gpdu(teid, innerUDP(t, ue, sink, make([]byte, octets))), slice)
		require.NoError(t, err)
		b := make([]byte, 2048)
		require.NoError(t, at.SetReadDeadline(time.Now().Add(patience)))
		n, err := at.Read(b)
		require.NoError(t, err)
		require.Equal(t, octets, n)
	}
	fragments, forwarded := s.reason("outer_fragment"), s.reason("uplink_forwarded")
	const large, small, packets = 1472, 100, 20
	for range packets {
		send(large)
	}
	require.EqualValues(t, 2*packets, s.reason("outer_fragment")-fragments)
	require.EqualValues(t, packets, s.reason("uplink_forwarded")-forwarded)
	require.Eventually(t, func() bool { return s.outcome("reassembled") == packets }, patience, time.Millisecond)

	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	padding := "\x00\x00\x01\x04\x00\x00\x00\x00" // a destination options header with nothing in it
	require.NoError(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding)
	}))
	require.NoError(t, err)
	send(small)
	require.EqualValues(t, 1, s.reason("outer_extension"))
	require.EqualValues(t, packets+1, s.reason("uplink_forwarded")-forwarded)

	// Signalling over IPv6 is the slow path's, too.
	_, err = conn.WriteToUDPAddrPort([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0xab, 0xcd, 0, 0}, slice)
	require.NoError(t, err)
	b := make([]byte, 2048)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	n, from, err := conn.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	require.Equal(t, slice, from)
	require.Equal(t, []byte{0x32, 2, 0, 6, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 14, 0}, b[:n])
}

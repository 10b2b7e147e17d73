package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
	"golang.org/x/sys/unix"
)

// phone is a UE with a kernel of its own, whose packets travel by the site's tunnel.
func (s *site) phone(teid uint32) netns.NsHandle {
	s.t.Helper()
	ue := newNamespace(s.t)
	var device *os.File
	s.in(ue, func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		require.NoError(s.t, err)
		request, err := unix.NewIfreq("ue0")
		require.NoError(s.t, err)
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		require.NoError(s.t, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
		device = os.NewFile(uintptr(fd), "tun") // now that it can be polled
		address(s.t, "ue0", ueAddr.String()+"/32")
		l, err := netlink.LinkByName("ue0")
		require.NoError(s.t, err)
		require.NoError(s.t, netlink.LinkSetMTU(l, 1400))
		_, everywhere, err := net.ParseCIDR("0.0.0.0/0")
		require.NoError(s.t, err)
		require.NoError(s.t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: everywhere, Scope: netlink.SCOPE_LINK}))
	})
	require.NoError(s.t, s.gtpu.SetReadDeadline(time.Time{}))
	ended := make(chan struct{}, 2)
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := device.Read(b[8:])
			if err != nil {
				break
			}
			b[0], b[1] = 0x30, 0xff
			binary.BigEndian.PutUint16(b[2:], uint16(n))
			binary.BigEndian.PutUint32(b[4:], teid)
			_, _ = s.gtpu.WriteToUDPAddrPort(b[:8+n], netip.AddrPortFrom(sliceAddr, 2152))
		}
		ended <- struct{}{}
	}()
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := s.gtpu.Read(b)
			if err != nil {
				break
			}
			if n > 8 && b[1] == 0xff {
				_, _ = device.Write(b[8:n])
			}
		}
		ended <- struct{}{}
	}()
	s.t.Cleanup(func() {
		require.NoError(s.t, errors.Join(device.Close(), s.gtpu.SetReadDeadline(time.Now())))
		<-ended
		<-ended
	})
	return ue
}

// dial is a connection of the UE to the web server.
func (s *site) dial(ue netns.NsHandle, server netip.AddrPort) (conn net.Conn) {
	s.t.Helper()
	s.in(ue, func() {
		var err error
		conn, err = net.DialTimeout("tcp4", server.String(), patience)
		require.NoError(s.t, err)
	})
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// request makes one on a connection of its own, which the other side has closed in the end.
func (s *site) request(ue netns.NsHandle, server netip.AddrPort, method string, body string) *http.Response {
	s.t.Helper()
	conn := s.dial(ue, server)
	defer func() { require.NoError(s.t, conn.Close()) }()
	request, err := http.NewRequest(method, "http://"+server.String()+"/some/page", strings.NewReader(body))
	require.NoError(s.t, err)
	request.Close = true
	require.NoError(s.t, request.Write(conn))
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	require.NoError(s.t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(s.t, errors.Join(err, response.Body.Close()))
	_, err = reader.ReadByte()
	require.ErrorIs(s.t, err, io.EOF, "the server has closed")
	return response
}

// TestHTTPIsRedirectedToAURL has a UE, with the TCP of a kernel, be sent to a portal by an update of its FAR, and released
// again, TS 29.244 8.2.20.
func TestHTTPIsRedirectedToAURL(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	ue := s.phone(teid)
	server := netip.AddrPortFrom(serverAddr.Addr(), 80)
	var listener net.Listener
	s.in(s.core, func() {
		var err error
		listener, err = net.Listen("tcp4", server.String())
		require.NoError(t, err)
	})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the network") }), ReadHeaderTimeout: patience}
	done := make(chan error, 1)
	go func() { done <- web.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, web.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	const portal = "https://portal.example/top-up?from=ue"
	update := func(redirect *ie.IE) {
		t.Helper()
		m := s.ask(message.NewSessionModificationRequest(0, 0, seid, s.next(), 0,
			ie.NewUpdateFAR(ie.NewFARID(1), ie.NewUpdateForwardingParameters(redirect)))).(*message.SessionModificationResponse)
		s.accepted(m.Cause)
	}
	redirected := func() {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			response := s.request(ue, server, method, "")
			require.Equal(t, http.StatusFound, response.StatusCode)
			require.Equal(t, portal, response.Header.Get("Location"))
		}
	}
	octets := func(pdr float64) float64 {
		rows, _ := s.rows("pdr", "list")
		return float64(octetsOf(t, slices.DeleteFunc(rows, func(r map[string]any) bool { return r["pdr"].(float64) != pdr })))
	}

	require.Equal(t, http.StatusOK, s.request(ue, server, http.MethodGet, "").StatusCode)
	before := s.dial(ue, server)
	defer func() { _ = before.Close() }()

	update(ie.NewRedirectInformation(ie.RedirectAddrURL, portal))
	up, down, reasons := octets(1), octets(2), s.reasonCounts()
	redirected()
	require.Equal(t, http.StatusFound, s.request(ue, server, http.MethodPost, strings.Repeat("x", 3000)).StatusCode, "of several segments")
	require.Equal(t, up, octets(1), "nothing of it went to the network")
	require.Greater(t, octets(2), down, "the answers count as any packet to the UE")
	s.send(teid, 1)
	require.Eventually(t, func() bool { return s.since(reasons)["no_redirect"] == 1 }, patience, time.Millisecond, "UDP")
	counts := s.since(reasons)
	require.Zero(t, counts["uplink_forwarded"])
	require.GreaterOrEqual(t, counts["url_redirected"], float64(4*3))

	_, err := before.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	require.NoError(t, err)
	_, err = before.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "a connection from before does not hang")

	tls := s.dial(ue, netip.AddrPortFrom(server.Addr(), 443))
	defer func() { _ = tls.Close() }()
	_, err = tls.Write([]byte("\x16\x03\x01\x00\x05hello"))
	require.NoError(t, err)
	_, err = tls.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "nobody can answer for another's certificate")

	s.kill(syscall.SIGKILL)
	s.start()
	redirected()

	update(ie.New(ie.RedirectInformation, nil)) // of no length: there is none any more
	require.Equal(t, http.StatusOK, s.request(ue, server, http.MethodGet, "").StatusCode)
}

package sgw

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	gtpie "github.com/wmnsk/go-gtp/gtpv2/ie"
	gtpmessage "github.com/wmnsk/go-gtp/gtpv2/message"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/traffic"
	"github.com/xepc/xepc/testbed/visited/ue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network builds a small lab network; its ports are free, whatever else the host runs.
func network(t *testing.T) *topology.Network {
	t.Helper()
	plan, err := topology.Demo(fmt.Sprintf("s%d-", os.Getpid()), 1, 1)
	require.NoError(t, err)
	n, err := topology.Build(plan)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// gateway runs an SGW in a namespace until the test ends.
func gateway(t *testing.T, ns *topology.Namespace, address netip.Addr, t3 time.Duration) *Gateway {
	t.Helper()
	g, err := New(t.Context(), Config{
		Address: address, T3: t3, Log: slog.New(slog.DiscardHandler),
		Listen: ns.ListenPacket,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error { return g.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		require.NoError(t, group.Wait())
	})
	return g
}

// fakePGWC answers each datagram with what answer makes of it; nil: not at all.
func fakePGWC(t *testing.T, n *topology.Network, answer func(i int, request []byte) []byte) netip.AddrPort {
	t.Helper()
	conn, err := n.Namespace(topology.PGWC).ListenPacket(t.Context(), "udp4", "10.20.2.2:2123")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for i := 0; ; i++ {
			size, from, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if out := answer(i, append([]byte(nil), b[:size]...)); out != nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		<-done
	})
	return netip.AddrPortFrom(topology.PGWCAddress, portControl)
}

func TestRequestIsRepeatedWithTheSameOctetsUntilAnswered(t *testing.T) {
	n := network(t)
	requests := make(chan []byte, 100)
	pgw := fakePGWC(t, n, func(i int, request []byte) []byte {
		requests <- request
		if i < 2 {
			return nil
		}
		m, err := gtpmessage.Parse(request)
		if err != nil {
			return nil
		}
		out, _ := gtpmessage.NewEchoResponse(0, gtpie.NewRecovery(42)).Marshal()
		copy(out[4:7], []byte{byte(m.Sequence() >> 16), byte(m.Sequence() >> 8), byte(m.Sequence())})
		return out
	})
	g := gateway(t, n.Namespace(topology.Visited), topology.SGW, 20*time.Millisecond)
	restarts, err := g.Echo(t.Context(), pgw)
	require.NoError(t, err)
	require.EqualValues(t, 42, restarts)
	require.GreaterOrEqual(t, len(requests), 3)
	require.Equal(t, <-requests, <-requests)
	counter, known := g.Restarts(pgw)
	require.True(t, known)
	require.EqualValues(t, 42, counter)
}

func TestRequestIsGivenUpAfterN3(t *testing.T) {
	n := network(t)
	heard := make(chan struct{}, 100)
	pgw := fakePGWC(t, n, func(int, []byte) []byte { heard <- struct{}{}; return nil })
	g := gateway(t, n.Namespace(topology.Visited), topology.SGW, 10*time.Millisecond)
	c, _ := exampleRequest()
	_, err := g.CreateSession(t.Context(), pgw, c)
	require.ErrorContains(t, err, "after 4 attempts")
	require.Zero(t, g.Sessions())
	for range 4 {
		<-heard
	}
	require.Empty(t, heard)
}

func TestPGWCsRequestsAreAnswered(t *testing.T) {
	n := network(t)
	g := gateway(t, n.Namespace(topology.Visited), topology.SGW, time.Second)
	s := &Session{Local: FTEID{TEID: 0x77}, LocalUser: FTEID{TEID: 0x78}, Remote: FTEID{TEID: 0x99}}
	g.add(s)
	conn, err := n.Namespace(topology.PGWC).Dial(t.Context(), "udp4", "10.10.0.2:2123")
	require.NoError(t, err)
	defer conn.Close()
	ask := func(m gtpmessage.Message) gtpmessage.Message {
		t.Helper()
		octets, err := gtpmessage.Marshal(m)
		require.NoError(t, err)
		_, err = conn.Write(octets)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		b := make([]byte, 2000)
		size, err := conn.Read(b)
		require.NoError(t, err)
		answer, err := gtpmessage.Parse(b[:size])
		require.NoError(t, err)
		require.Equal(t, m.Sequence(), answer.Sequence())
		return answer
	}

	echo, ok := ask(gtpmessage.NewEchoRequest(11, gtpie.NewRecovery(1))).(*gtpmessage.EchoResponse)
	require.True(t, ok)
	require.NotNil(t, echo.Recovery)

	deleted, ok := ask(gtpmessage.NewDeleteBearerRequest(0x77, 12, gtpie.NewEPSBearerID(5))).(*gtpmessage.DeleteBearerResponse)
	require.True(t, ok)
	require.EqualValues(t, 0x99, deleted.TEID())
	require.Zero(t, g.Sessions())
	cause, err := deleted.Cause.Cause()
	require.NoError(t, err)
	require.EqualValues(t, causeAccepted, cause)

	again, ok := ask(gtpmessage.NewDeleteBearerRequest(0x77, 13, gtpie.NewEPSBearerID(5))).(*gtpmessage.DeleteBearerResponse)
	require.True(t, ok)
	cause, err = again.Cause.Cause()
	require.NoError(t, err)
	require.EqualValues(t, causeContextNotFound, cause)
}

// A second gateway stands in for the PGW-U; a TUN device in core takes what comes out of its tunnel.
func TestPacketsOfAUECrossTheTunnelBothWays(t *testing.T) {
	n := network(t)
	near := gateway(t, n.Namespace(topology.Visited), topology.SGW, time.Second)
	far := gateway(t, n.Namespace(topology.PGWU(1)), topology.GTPU(1), time.Second)
	address := netip.MustParseAddr("172.16.1.7")
	a := &Session{LocalUser: FTEID{0x11, topology.SGW}, RemoteUser: FTEID{0x22, topology.GTPU(1)}}
	b := &Session{LocalUser: FTEID{0x22, topology.GTPU(1)}, RemoteUser: FTEID{0x11, topology.SGW}}
	near.add(a)
	far.add(b)
	for _, end := range []struct {
		g       *Gateway
		s       *Session
		ns      string
		address netip.Addr
		mtu     int
	}{
		{near, a, topology.UE(1), address, 1400},
		{far, b, topology.PGWU(1), netip.MustParseAddr("172.16.1.254"), 1400},
	} {
		device, err := ue.Open(n.Namespace(end.ns), HeaderLength)
		require.NoError(t, err)
		var group errgroup.Group
		group.Go(device.Run)
		t.Cleanup(func() {
			require.NoError(t, device.Close())
			require.NoError(t, group.Wait())
			require.NoError(t, ue.RemoveResolvers(n.Namespace(end.ns).Name()))
		})
		device.Serve(func(frame []byte) { _ = end.g.Uplink(end.s, frame) })
		end.s.OnDownlink(device.Deliver)
		if end.ns == topology.UE(1) {
			require.NoError(t, device.Configure(end.address, end.mtu, nil))
			continue
		}
		configureFarEnd(t, n.Namespace(end.ns), end.address, address)
	}

	result, err := traffic.Ping(t.Context(), n.Namespace(topology.UE(1)), address, netip.MustParseAddr("172.16.1.254"), 5, 10*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 5, result.Received, "%s", result)

	server, err := traffic.StartWebServer(t.Context(), n.Namespace(topology.PGWU(1)), netip.MustParseAddrPort("172.16.1.254:80"))
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close()) }()
	client := traffic.NewClient(n.Namespace(topology.UE(1)))
	down, err := client.Download(t.Context(), netip.MustParseAddrPort("172.16.1.254:80"), 1, 20e6)
	require.NoError(t, err)
	up, err := client.Upload(t.Context(), netip.MustParseAddrPort("172.16.1.254:80"), 2, 20e6)
	require.NoError(t, err)
	t.Logf("down %s; up %s", down, up)
	require.Zero(t, near.Count(UnknownTEID)+near.Count(Malformed)+far.Count(UnknownTEID)+far.Count(Malformed))
}

// configureFarEnd gives the far TUN device its address and the route to the UE, and leaves the rest as it is.
func configureFarEnd(t *testing.T, ns *topology.Namespace, local, remote netip.Addr) {
	t.Helper()
	require.NoError(t, ns.WithNetlink(func(h *netlink.Handle) error {
		if err := topology.AddAddress(h, ue.Port, netip.PrefixFrom(local, 24)); err != nil {
			return err
		}
		link, err := h.LinkByName(ue.Port)
		if err != nil {
			return err
		}
		if err := h.LinkSetMTU(link, 1400); err != nil {
			return err
		}
		return h.LinkSetUp(link)
	}), remote)
}

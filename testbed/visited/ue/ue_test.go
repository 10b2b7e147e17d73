package ue_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/visited/ue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const room = 8

func open(t *testing.T) (*ue.Device, *topology.Namespace) {
	t.Helper()
	network, err := topology.Build(topology.Plan{Prefix: fmt.Sprintf("u%d-", os.Getpid()), Namespaces: []string{topology.UE(1)}})
	require.NoError(t, err)
	ns := network.Namespace(topology.UE(1))
	d, err := ue.Open(ns, room)
	require.NoError(t, err)
	var group errgroup.Group
	group.Go(d.Run)
	t.Cleanup(func() {
		require.NoError(t, d.Close())
		require.NoError(t, group.Wait())
		require.NoError(t, ue.RemoveResolvers(ns.Name()))
		require.NoError(t, network.Close())
	})
	return d, ns
}

func TestDeviceHasWhatTheNetworkAssigned(t *testing.T) {
	d, ns := open(t)
	address := netip.MustParseAddr("172.16.1.7")
	require.NoError(t, d.Configure(address, 1400, []netip.Addr{netip.MustParseAddr("10.60.0.10")}))
	look := func() (link netlink.Link, addresses []netlink.Addr, routes []netlink.Route) {
		require.NoError(t, ns.WithNetlink(func(h *netlink.Handle) (err error) {
			if link, err = h.LinkByName(ue.Port); err != nil {
				return err
			}
			if addresses, err = h.AddrList(link, netlink.FAMILY_V4); err != nil {
				return err
			}
			routes, err = h.RouteList(link, netlink.FAMILY_V4)
			return err
		}))
		return link, addresses, routes
	}
	link, addresses, routes := look()
	require.Equal(t, 1400, link.Attrs().MTU)
	require.Len(t, addresses, 1)
	require.Equal(t, "172.16.1.7/32", addresses[0].IPNet.String())
	require.Len(t, routes, 1)
	text, err := os.ReadFile(filepath.Join("/etc/netns", ns.Name(), "resolv.conf"))
	require.NoError(t, err)
	require.Equal(t, "nameserver 10.60.0.10\n", string(text))

	require.NoError(t, d.Unconfigure())
	link, addresses, _ = look()
	require.Zero(t, link.Attrs().Flags&net.FlagUp)
	require.Empty(t, addresses)
	require.NoDirExists(t, filepath.Join("/etc/netns", ns.Name()))
	require.NoError(t, d.Configure(address, 1400, nil), "it can attach again")
}

func TestPacketsGoToWhoServes(t *testing.T) {
	d, ns := open(t)
	require.NoError(t, d.Configure(netip.MustParseAddr("172.16.1.7"), 1400, nil))
	conn, err := ns.Dial(t.Context(), "udp4", "10.60.0.10:4000")
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	frames := make(chan []byte, 10)
	d.Serve(func(frame []byte) { frames <- append([]byte(nil), frame...) })
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	frame := <-frames
	require.Len(t, frame, room+20+8+5)
	require.Equal(t, byte(0x45), frame[room])
	require.Equal(t, "hello", string(frame[room+28:]))

	// The answer: addresses and ports swapped, the checksum of UDP left out.
	answer := append([]byte(nil), frame[room:]...)
	copy(answer[12:16], frame[room+16:room+20])
	copy(answer[16:20], frame[room+12:room+16])
	copy(answer[20:22], frame[room+22:room+24])
	copy(answer[22:24], frame[room+20:room+22])
	answer[26], answer[27] = 0, 0
	d.Deliver(answer)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	b := make([]byte, 10)
	n, err := conn.Read(b)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b[:n]))

	d.Serve(nil)
	_, err = conn.Write([]byte("nobody"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return d.Dropped.Load() == 1 }, 5*time.Second, time.Millisecond)
}

package datapath

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// injectors are the veths of slow paths in this namespace.
func injectors(t *testing.T, pinDir string) (found []int) {
	t.Helper()
	near, far := injectorNames(pinDir)
	links, err := netlink.LinkList()
	require.NoError(t, err)
	for _, l := range links {
		if name := l.Attrs().Name; name == near || name == far {
			found = append(found, l.Attrs().Index)
		}
	}
	return found
}

// TestTheInjectorLivesWithItsDaemon: it is there while the daemon is, with the program on it; what a killed daemon left
// behind the next replaces, and Remove removes.
func TestTheInjectorLivesWithItsDaemon(t *testing.T) {
	w := newWorld(t)
	first := injectors(t, w.cfg.PinDir)
	require.Len(t, first, 2)
	far, err := netlink.LinkByIndex(w.d.injector.far)
	require.NoError(t, err)
	require.True(t, far.Attrs().Xdp.Attached)
	near, err := netlink.LinkByIndex(w.d.injector.near)
	require.NoError(t, err)
	for _, end := range []netlink.Link{near, far} {
		require.NotZero(t, end.Attrs().RawFlags&unix.IFF_NOARP)
		require.NotZero(t, end.Attrs().RawFlags&unix.IFF_UP)
	}

	require.NoError(t, w.d.Close())
	require.Empty(t, injectors(t, w.cfg.PinDir))

	leave := func() { // as one that is killed leaves it
		t.Helper()
		near, far := injectorNames(w.cfg.PinDir)
		require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near, MTU: 1200}, PeerName: far}))
	}
	leave()
	w.open()
	again := injectors(t, w.cfg.PinDir)
	require.Len(t, again, 2)
	near, err = netlink.LinkByIndex(w.d.injector.near)
	require.NoError(t, err)
	require.Equal(t, injectMTU, near.Attrs().MTU)
	keys := 0
	for cell := range w.d.tables.ports.all {
		require.NotContains(t, first, int(uint32(cell.Key)), "no port of the daemon before")
		if int(uint32(cell.Key)) == w.d.injector.far {
			keys++
		}
	}
	require.Equal(t, 1+len(w.cfg.Instances), keys)

	// A daemon that cannot start leaves none.
	require.NoError(t, w.d.Close())
	bad := w.cfg
	bad.Ports = append([]Port{{Name: "gone0", Side: SideAccess}}, bad.Ports...)
	_, err = Open(bad, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "gone0")
	require.Empty(t, injectors(t, w.cfg.PinDir))

	leave()
	require.NoError(t, Remove(w.cfg.PinDir))
	require.Empty(t, injectors(t, w.cfg.PinDir))
	w.open()
}

func TestWhatCannotBeInjected(t *testing.T) {
	w := newWorld(t)
	require.ErrorIs(t, w.d.Inject("internet", nil), ErrInvalid)
	require.ErrorIs(t, w.d.Inject("internet", make([]byte, injectMTU+1)), ErrInvalid)
	require.ErrorIs(t, w.d.Inject("nowhere", make([]byte, 100)), ErrNoPort)
	require.ErrorIs(t, w.d.Arrived(w.ifindex["core0"], make([]byte, 100)), ErrNoPort)
	require.ErrorIs(t, w.d.Arrived(1, make([]byte, 100)), ErrNoPort)

	// What is injected leaves by rules or not at all: the kernel gets none of it.
	before := w.reasons()
	require.NoError(t, w.d.Arrived(w.ifindex["access0"], make([]byte, injectMTU)))
	require.NoError(t, w.d.Inject("internet", tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 30))[14:]))
	require.Eventually(t, func() bool {
		d := difference(before, w.reasons())
		return d["malformed_outer"] == 1 && d["wrong_side"] == 1 && len(d) == 2
	}, patience, patience/1000)
}

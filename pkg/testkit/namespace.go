package testkit

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NewNamespace makes a network namespace without a name, its loopback up.
func NewNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	ns := netns.None()
	keepPlace(t, func() {
		var err error
		ns, err = netns.New()
		require.NoError(t, err, "these tests need root")
		t.Cleanup(func() { require.NoError(t, ns.Close()) })
		SetUp(t, "lo")
	})
	return ns
}

// EnterNamespace moves the calling test's thread into a namespace of its own until the test ends.
func EnterNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, netns.Set(before))
		require.NoError(t, before.Close())
		runtime.UnlockOSThread()
	})
	ns := NewNamespace(t)
	require.NoError(t, netns.Set(ns))
	return ns
}

// In runs f on a thread in a namespace. f may call require.
func In(t testing.TB, ns netns.NsHandle, f func()) {
	t.Helper()
	keepPlace(t, func() {
		require.NoError(t, netns.Set(ns))
		f()
	})
}

// keepPlace runs f, which may leave the thread in another namespace.
func keepPlace(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := netns.Get()
	require.NoError(t, err)
	defer func() {
		require.NoError(t, netns.Set(before))
		require.NoError(t, before.Close())
	}()
	f()
}

// DisableIPv6 has the kernel send nothing of its own by the interfaces of the thread's namespace, those to come included.
func DisableIPv6(t testing.TB) {
	t.Helper()
	for _, conf := range []string{"all", "default"} {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/disable_ipv6", []byte("1"), 0))
	}
}

// SetUp brings an interface up.
func SetUp(t testing.TB, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(l))
}

// Mount mounts a file system of a kind, with its options, on a folder that it makes if need be.
func Mount(t testing.TB, kind, dir, options string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, unix.Mount(kind, dir, kind, 0, options))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}

// BPFFS is a folder where programs and maps can be pinned.
func BPFFS(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	Mount(t, "bpf", dir, "")
	return dir
}

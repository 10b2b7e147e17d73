package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Folder is where namespaces have names on a Linux host, as iproute2 expects them.
const Folder = "/run/netns"

// Namespace is a named network namespace that is held open. Its methods may be called from several goroutines.
type Namespace struct {
	name string // on this host, with the prefix

	mu     sync.RWMutex // Close waits for those who are entering
	handle netns.NsHandle
}

// Create makes a namespace. It fails when the name is taken.
func Create(name string) (*Namespace, error) {
	var handle netns.NsHandle
	err := onThread(func() (err error) {
		handle, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", name, err)
	}
	return &Namespace{name: name, handle: handle}, nil
}

// Remove takes away the name of a namespace. The namespace goes when the last process in it has ended and the last
// handle is closed. A name that is not there is no error.
func Remove(name string) error {
	path := filepath.Join(Folder, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// Name is the namespace's name on this host.
func (n *Namespace) Name() string { return n.name }

// Close lets go of the namespace; the name stays.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.handle.Close()
}

// Do runs fn on a thread that is inside the namespace, and waits for it. Sockets and processes that fn makes on its
// own goroutine belong to the namespace; goroutines that fn starts do not.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.name, err)
		}
		return fn()
	})
}

func (n *Namespace) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.handle.IsOpen() {
		return os.ErrClosed
	}
	return netns.Set(n.handle)
}

// onThread runs fn on a thread of its own, which ends with it: a thread whose namespace was changed must not be
// used for anything else.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// Dial opens a connection from inside the namespace. address must be a literal address: a name would be looked up
// outside.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen opens a stream listener inside the namespace.
func (n *Namespace) Listen(ctx context.Context, network, address string) (listener net.Listener, err error) {
	err = n.Do(func() error {
		var config net.ListenConfig
		listener, err = config.Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket opens a datagram socket inside the namespace.
func (n *Namespace) ListenPacket(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = n.Do(func() error {
		var config net.ListenConfig
		conn, err = config.ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// sysctl writes a setting of the namespace, by its path below /proc/sys/net.
func (n *Namespace) sysctl(path, value string) error {
	err := n.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys/net", path), []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("set net/%s in namespace %s: %w", path, n.name, err)
	}
	return nil
}

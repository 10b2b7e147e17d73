package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var (
	upAddress = netip.MustParseAddrPort("127.0.0.8:8805")
	cpAddress = netip.MustParseAddrPort("127.0.0.9:8805")
	slice     = netip.MustParseAddr("10.30.1.1")
	sgw       = netip.MustParseAddr("10.20.11.1")
	gateway   = netip.MustParseAddr("10.50.1.1")
)

// bed is a network namespace with the edge's process in it, and the client.
type bed struct {
	before, ns netns.NsHandle
	edge       *exec.Cmd
	orders     io.WriteCloser
	answers    *bufio.Scanner
	client     *client
}

func newBed(s settings) (b *bed, err error) {
	b = &bed{before: -1, ns: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.before, err = netns.Get(); err != nil {
		return b, err
	}
	if b.ns, err = netns.New(); err != nil {
		return b, fmt.Errorf("make a network namespace (are you root?): %w", err)
	}
	for name, at := range map[string]struct {
		address   string
		neighbour netip.Addr
	}{"access0": {"10.20.11.2/24", sgw}, "core0": {"10.50.1.2/24", gateway}} {
		if err := addPort(name, at.address, at.neighbour); err != nil {
			return b, err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return b, err
	}
	if err := ownMounts(); err != nil {
		return b, err
	}
	if err := b.start(s); err != nil {
		return b, err
	}
	b.client, err = newClient()
	return b, err
}

// folder is where the edge's process has its journal, and a bpffs in pins.
const folder = "/dev/shm"

// ownMounts gives the thread, and the edge's process, a mount namespace with a folder of its own, a tmpfs as the daemon wants it:
// what is there goes with the last process, however that ends.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	pins := filepath.Join(folder, "pins")
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", folder, "tmpfs", 0, ""),
		os.Mkdir(pins, 0o700),
	); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	if err := unix.Mount("bpf", pins, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount a bpffs: %w", err)
	}
	return nil
}

// addPort makes a veth with one permanent neighbour behind it.
func addPort(name, address string, neighbour netip.Addr) error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	index := 0
	for _, end := range []string{name + "p", name} {
		l, err := netlink.LinkByName(end)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return err
		}
		index = l.Attrs().Index
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	return errors.Join(
		netlink.AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}, a),
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: index, IP: neighbour.AsSlice(), State: unix.NUD_PERMANENT,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
		}))
}

// start runs the edge's process until it serves.
func (b *bed) start(s settings) error {
	if err := b.launch(s); err != nil {
		return err
	}
	_, err := b.answer()
	return err
}

// launch begins the edge's process, which inherits the namespace.
func (b *bed) launch(s settings) (err error) {
	b.edge = exec.Command("/proc/self/exe", "-serve", folder, "-cpuprofile", s.profile, "-sessions", strconv.Itoa(s.many),
		"-serial", strconv.Itoa(s.serial), "-rounds", strconv.Itoa(s.rounds), "-hold", strconv.Itoa(s.hold))
	b.edge.Stderr = os.Stderr
	if b.orders, err = b.edge.StdinPipe(); err != nil {
		return err
	}
	out, err := b.edge.StdoutPipe()
	if err != nil {
		return err
	}
	b.answers = bufio.NewScanner(out)
	return b.edge.Start()
}

func (b *bed) answer() (string, error) {
	if !b.answers.Scan() {
		return "", errors.Join(errors.New("the edge's process has ended"), b.answers.Err())
	}
	return b.answers.Text(), nil
}

// resident asks the edge's process for its memory in octets, after garbage collection, without mapped tables.
func (b *bed) resident() (int64, error) {
	if _, err := fmt.Fprintln(b.orders, "memory"); err != nil {
		return 0, err
	}
	line, err := b.answer()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

// memory is what a session takes, by so many of them.
func (b *bed) memory(sessions int) (float64, error) {
	few := b.client.life(1000) // what one session needs as much as many is there before
	for _, step := range []step{few[0], few[2]} {
		if _, err := b.client.measure(step, 100); err != nil {
			return 0, err
		}
	}
	before, err := b.resident()
	if err != nil {
		return 0, err
	}
	life := b.client.life(sessions)
	if _, err := b.client.measure(life[0], 100); err != nil {
		return 0, err
	}
	after, err := b.resident()
	if err != nil {
		return 0, err
	}
	_, err = b.client.measure(life[2], 100)
	return float64(after-before) / float64(sessions), err
}

func (b *bed) close() error {
	var errs []error
	if b.client != nil {
		errs = append(errs, b.client.conn.Close())
	}
	if b.edge != nil && b.edge.Process != nil {
		errs = append(errs, b.orders.Close(), b.edge.Wait()) // the end of its input ends it
	}
	if b.before.IsOpen() {
		errs = append(errs, netns.Set(b.before), b.before.Close())
	}
	if b.ns.IsOpen() {
		errs = append(errs, b.ns.Close())
	}
	return errors.Join(errs...)
}

package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
)

// ErrNoPort is returned when a packet could have come in by no port.
var ErrNoPort = errors.New("no port of this side")

// injector is the way of packets from the daemon into the program: a veth, to whose near end the daemon writes frames,
// and whose far end has the program as every port has. A VLAN tag says which port a frame stands for: the number of a
// network instance on its core side, or tagAccess. It lives as long as the daemon; one that a killed daemon left behind
// is removed by the next.
type injector struct {
	handle    *netlink.Handle
	near, far int // interface indices
	socket    int // AF_PACKET, bound to the near end
	link      link.Link
}

const (
	tagAccess = 4095

	// injectMTU is about what the kernel allows a veth with an XDP program that takes whole packets only, and more than
	// any port's MTU that this program is for.
	injectMTU = 3400

	linkHeader = 14 + 4 // Ethernet and VLAN
)

// injectorNames are those of the veth's ends: of their own for each node of a host.
func injectorNames(pinDir string) (near, far string) {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(filepath.Clean(pinDir)))
	stem := fmt.Sprintf("xepc%08x", sum.Sum32())
	return stem + "-i", stem + "-x"
}

// openInjector makes the veth anew.
func openInjector(pinDir string) (_ *injector, err error) {
	near, far := injectorNames(pinDir)
	i := &injector{socket: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make the veth %s for packets of the slow path: %w", near, err), i.close())
		}
	}()
	if i.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	if err := removeInjector(i.handle, pinDir); err != nil {
		return nil, err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near, MTU: injectMTU}, PeerName: far}
	if err := i.handle.LinkAdd(veth); err != nil {
		return nil, err
	}
	for name, index := range map[string]*int{near: &i.near, far: &i.far} {
		l, err := i.handle.LinkByName(name)
		if err != nil {
			return nil, err
		}
		*index = l.Attrs().Index
		noIPv6 := filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6") // it would send packets of its own
		if err := os.WriteFile(noIPv6, []byte("1"), 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := errors.Join(i.handle.LinkSetARPOff(l), i.handle.LinkSetUp(l)); err != nil {
			return nil, err
		}
	}
	if i.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil { // 0: it receives nothing
		return nil, err
	}
	return i, unix.Bind(i.socket, &unix.SockaddrLinklayer{Ifindex: i.near})
}

// removeInjector removes what a daemon left behind.
func removeInjector(handle *netlink.Handle, pinDir string) error {
	near, _ := injectorNames(pinDir)
	l, err := handle.LinkByName(near)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	return handle.LinkDel(l)
}

// attach has the program take what is written. Its link is not pinned: it ends with the daemon.
func (i *injector) attach(program *ebpf.Program, generic bool) (err error) {
	flags := link.XDPDriverMode
	if generic { // what one mode redirects the other's ports need not take
		flags = link.XDPGenericMode
	}
	if i.link, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: i.far, Flags: flags}); err != nil {
		return fmt.Errorf("attach the program to the slow path's veth: %w", err)
	}
	return nil
}

func (i *injector) close() error {
	var errs []error
	if i.link != nil {
		errs = append(errs, i.link.Close())
	}
	if i.socket >= 0 {
		errs = append(errs, unix.Close(i.socket))
	}
	if i.handle != nil {
		if i.near != 0 {
			if l, err := i.handle.LinkByIndex(i.near); err == nil {
				errs = append(errs, i.handle.LinkDel(l))
			}
		}
		i.handle.Close()
	}
	return errors.Join(errs...)
}

// write gives the program an IP packet as if it had come in by the port that the tag stands for.
func (i *injector) write(tag uint16, packet []byte) error {
	if len(packet) == 0 || len(packet) > injectMTU {
		return fmt.Errorf("%w: a packet of %d octets", ErrInvalid, len(packet))
	}
	frame := make([]byte, linkHeader, linkHeader+len(packet))
	frame[0], frame[6] = 2, 2 // locally administered; nobody looks at them
	binary.BigEndian.PutUint16(frame[12:], 0x8100)
	binary.BigEndian.PutUint16(frame[14:], tag)
	proto := uint16(0x0800)
	if packet[0]>>4 == 6 {
		proto = 0x86dd
	}
	binary.BigEndian.PutUint16(frame[16:], proto)
	if _, err := unix.Write(i.socket, append(frame, packet...)); err != nil {
		return fmt.Errorf("inject a packet of %d octets: %w", len(packet), err)
	}
	return nil
}

// openInjection makes the ports of the injector: one for the access side, and one for each network instance.
func (d *Datapath) openInjection() error {
	add := func(tag int, instance uint32, side Side) error {
		key := portKey(d.injector.far, tag)
		d.portKeys[key] = true
		return d.tables.ports.insert(key, instance, uint32(side), d.grace.barrier)
	}
	if err := add(tagAccess, 0, SideAccess); err != nil {
		return err
	}
	for number := range d.tables.names {
		if err := add(int(number), number, SideCore); err != nil {
			return err
		}
	}
	return d.injector.attach(d.objects.Pgwu, d.cfg.Generic)
}

// Inject has the program take an IP packet to a UE as if it had come from a network instance now. Rules, limits and
// counters are those of any other packet. So buffered packets go on.
func (d *Datapath) Inject(instance pfcp.NetworkInstance, packet []byte) error {
	d.mu.Lock()
	number, known := d.tables.numbers[instance]
	d.mu.Unlock()
	if !known {
		return fmt.Errorf("%w: %q", ErrNoPort, instance)
	}
	return d.injector.write(uint16(number), packet)
}

// Arrived has the program take an IP packet with a G-PDU that the kernel put together from fragments, as if it had come
// in whole. device is the network device that they came in by; ErrNoPort when it is none of the access side.
func (d *Datapath) Arrived(device int, packet []byte) error {
	d.mu.Lock()
	known := d.accessDevices[device]
	d.mu.Unlock()
	if !known {
		return fmt.Errorf("%w: device %d", ErrNoPort, device)
	}
	return d.injector.write(tagAccess, packet)
}

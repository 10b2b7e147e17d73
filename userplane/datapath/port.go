package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// portPin is the file of the link that holds the program on a port. (bpffs forbids dots, which interface names may
// have.)
const portPin = "port_"

// attach puts the program on an interface: by an atomic update of the pinned link, so that no packet passes without
// a program, or by a new link when there is none or its interface is gone. now is the id of the program that the
// interface has, 0 when it has none.
func attach(pinDir string, ifindex int, now uint32, program *ebpf.Program, generic bool) (link.Link, error) {
	pin := filepath.Join(pinDir, portPin+strconv.Itoa(ifindex))
	old, err := link.LoadPinnedLink(pin, nil)
	switch {
	case err == nil:
		if isOn(old, ifindex, now) {
			if err := old.Update(program); err != nil {
				return nil, errors.Join(fmt.Errorf("replace the program: %w", err), old.Close())
			}
			return old, nil
		}
		if err := errors.Join(old.Unpin(), old.Close()); err != nil {
			return nil, fmt.Errorf("let go of the link of a former interface: %w", err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("open the pinned link: %w", err)
	}
	flags := link.XDPDriverMode
	if generic {
		flags = link.XDPGenericMode
	}
	fresh, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: flags})
	if err != nil {
		return nil, fmt.Errorf("attach the XDP program (is another one there? does the driver have native XDP?): %w", err)
	}
	if err := fresh.Pin(pin); err != nil {
		return nil, errors.Join(fmt.Errorf("pin the link: %w", err), fresh.Close())
	}
	return fresh, nil
}

// isOn says whether a link is that interface's. Its number is not enough: interfaces of two namespaces may share it.
func isOn(l link.Link, ifindex int, now uint32) bool {
	info, err := l.Info()
	return err == nil && info.XDP() != nil && info.XDP().Ifindex == uint32(ifindex) && uint32(info.Program) == now
}

// programOn is the id of the XDP program that an interface has; 0: none.
func programOn(l netlink.Link) uint32 {
	if xdp := l.Attrs().Xdp; xdp != nil && xdp.Attached {
		return xdp.ProgId
	}
	return 0
}

// detach ends the link pinned in that file.
func detach(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("open %s: %w", pin, err)
	}
	if d, ok := l.(interface{ Detach() error }); ok {
		if err := d.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) {
			return errors.Join(fmt.Errorf("detach %s: %w", pin, err), l.Close())
		}
	}
	return errors.Join(l.Unpin(), l.Close())
}

// dropOtherPorts detaches the program from interfaces that are no ports any more.
func dropOtherPorts(pinDir string, keep map[int]bool) error {
	files, err := os.ReadDir(pinDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		number, isPort := strings.CutPrefix(file.Name(), portPin)
		if ifindex, err := strconv.Atoi(number); !isPort || err != nil || keep[ifindex] {
			continue
		}
		if err := detach(filepath.Join(pinDir, file.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Flags of ETHTOOL_GFLAGS and ETHTOOL_SFLAGS, linux/ethtool.h.
const (
	flagTXVLAN = 1 << 7
	flagRXVLAN = 1 << 8
)

// showTags turns off what would hide VLAN tags from the program, and verifies it: else the packets of one network
// would be taken for those of another.
func showTags(name string) error {
	flags, err := ethtoolFlags(name, unix.ETHTOOL_GFLAGS, 0)
	if err != nil {
		return fmt.Errorf("read the offloads: %w", err)
	}
	if flags&(flagTXVLAN|flagRXVLAN) == 0 {
		return nil
	}
	if _, err := ethtoolFlags(name, unix.ETHTOOL_SFLAGS, flags&^(flagTXVLAN|flagRXVLAN)); err != nil {
		return fmt.Errorf("turn rxvlan and txvlan off: %w", err)
	}
	if flags, err = ethtoolFlags(name, unix.ETHTOOL_GFLAGS, 0); err != nil {
		return fmt.Errorf("read the offloads: %w", err)
	}
	if flags&(flagTXVLAN|flagRXVLAN) != 0 {
		return fmt.Errorf("rxvlan or txvlan offload cannot be turned off: VLAN tags would be invisible to XDP: %w",
			unix.EOPNOTSUPP)
	}
	return nil
}

// ethtoolFlags does one ioctl with a struct ethtool_value.
func ethtoolFlags(name string, command, value uint32) (uint32, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(socket) }()
	argument := struct{ command, value uint32 }{command, value}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is a union of up to 24 octets
	}{data: unsafe.Pointer(&argument)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 0, errno
	}
	return argument.value, nil
}

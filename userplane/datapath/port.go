package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

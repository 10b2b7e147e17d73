// Package ue is a user equipment, simulated: a TUN device in a network namespace of its own, which is configured
// with what the network assigned, and the loop that carries its packets to whoever serves it. It never speaks to
// the network about itself: attach and detach are done for it.
package ue

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/testbed/topology"
)

// Port is the name of the TUN device.
const Port = "tun0"

const (
	queueLength = 4000 // packets that wait in the device: a burst of a transfer
	maxPacket   = 65535
	resolvers   = "/etc/netns" // where `ip netns exec` looks for a namespace's resolv.conf
)

// Device is a UE's TUN device.
type Device struct {
	ns   *topology.Namespace
	file *os.File
	send atomic.Pointer[func(frame []byte)]
	room int

	// Dropped counts uplink packets that came while nobody served the UE.
	Dropped atomic.Uint64
}

// Open makes the TUN device in the UE's namespace. room is how many octets whoever serves the UE wants in front of
// each packet.
func Open(ns *topology.Namespace, room int) (*Device, error) {
	d := &Device{ns: ns, room: room}
	err := ns.Do(func() (err error) {
		d.file, err = open()
		return err
	})
	if err == nil {
		err = ns.WithNetlink(func(h *netlink.Handle) error {
			link, err := h.LinkByName(Port)
			if err != nil {
				return err
			}
			return h.LinkSetTxQLen(link, queueLength)
		})
	}
	if err != nil {
		if d.file != nil {
			_ = d.file.Close()
		}
		return nil, fmt.Errorf("make TUN device in %s: %w", ns.Name(), err)
	}
	return d, nil
}

// open makes a TUN device without packet information in the namespace of the calling thread.
func open() (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	request, err := unix.NewIfreq(Port)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Configure brings the device up with the address, MTU (octets; 0: the device's own) and DNS servers that the
// network has assigned, and routes everything through it.
func (d *Device) Configure(address netip.Addr, mtu int, dns []netip.Addr) error {
	err := d.ns.WithNetlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(Port)
		if err != nil {
			return err
		}
		if mtu > 0 {
			if err := h.LinkSetMTU(link, mtu); err != nil {
				return fmt.Errorf("set MTU %d: %w", mtu, err)
			}
		}
		if err := topology.AddAddress(h, Port, netip.PrefixFrom(address, address.BitLen())); err != nil {
			return fmt.Errorf("add address %s: %w", address, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring up: %w", err)
		}
		_, everywhere, err := net.ParseCIDR("0.0.0.0/0")
		if err != nil {
			return err
		}
		return h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everywhere, Scope: netlink.SCOPE_LINK})
	})
	if err == nil {
		err = d.writeResolvers(dns)
	}
	if err != nil {
		return fmt.Errorf("configure %s in %s: %w", Port, d.ns.Name(), err)
	}
	return nil
}

// Unconfigure takes the device down and its address away.
func (d *Device) Unconfigure() error {
	err := d.ns.WithNetlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(Port)
		if err != nil {
			return err
		}
		addresses, err := h.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if err := h.AddrDel(link, &a); err != nil {
				return err
			}
		}
		return h.LinkSetDown(link)
	})
	if err != nil {
		return fmt.Errorf("unconfigure %s in %s: %w", Port, d.ns.Name(), err)
	}
	return RemoveResolvers(d.ns.Name())
}

// writeResolvers writes the resolv.conf that commands started with `ip netns exec` see.
func (d *Device) writeResolvers(dns []netip.Addr) error {
	if len(dns) == 0 {
		return nil
	}
	var text strings.Builder
	for _, a := range dns {
		fmt.Fprintf(&text, "nameserver %s\n", a)
	}
	folder := filepath.Join(resolvers, d.ns.Name())
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "resolv.conf"), []byte(text.String()), 0o644)
}

// RemoveResolvers removes what Configure has written outside the namespace of that name. Nothing there is no error.
func RemoveResolvers(namespace string) error {
	if err := os.RemoveAll(filepath.Join(resolvers, namespace)); err != nil {
		return fmt.Errorf("remove the resolvers of %s: %w", namespace, err)
	}
	// The folder goes with its last entry; while there are others it stays.
	_ = os.Remove(resolvers)
	return nil
}

// Serve says who carries the UE's packets from now on: send gets each with the room in front that Open was asked
// for, and must not keep it. nil: nobody.
func (d *Device) Serve(send func(frame []byte)) {
	if send == nil {
		d.send.Store(nil)
		return
	}
	d.send.Store(&send)
}

// Deliver hands a downlink packet to the UE. A packet that the device refuses, because it is down or the packet is
// no IP, is lost, as on a radio.
func (d *Device) Deliver(packet []byte) { _, _ = d.file.Write(packet) }

// Run carries uplink packets until Close.
func (d *Device) Run() error {
	frame := make([]byte, d.room+maxPacket)
	for {
		n, err := d.file.Read(frame[d.room:])
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read %s of %s: %w", Port, d.ns.Name(), err)
		}
		send := d.send.Load()
		if send == nil {
			d.Dropped.Add(1)
			continue
		}
		(*send)(frame[:d.room+n])
	}
}

// Close removes the device.
func (d *Device) Close() error { return d.file.Close() }

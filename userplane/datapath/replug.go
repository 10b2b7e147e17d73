package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// replug follows ports whose interface went, or came back as another: a network card that was reset, or a veth that was
// made anew. What fails is tried again with the next refresh; d.mu is held.
func (d *Datapath) replug(links map[int]netlink.Link) {
	for name, was := range d.plugged {
		if l, there := links[was]; there && l.Attrs().Name == name {
			continue
		}
		if was != 0 {
			d.log.Error("port is gone: nothing comes in or leaves by it until an interface of its name is back", "port", name, "ifindex", was)
			d.unplug(was)
			d.plugged[name] = 0
		}
		for ifindex, l := range links {
			if l.Attrs().Name != name {
				continue
			}
			if err := d.plug(name, l); err != nil {
				if d.unusable[name] != err.Error() { // once, not with every refresh
					d.log.Error("port is back, but of no use", "port", name, "err", err)
				}
				d.unusable[name] = err.Error()
				break
			}
			delete(d.unusable, name)
			d.plugged[name] = ifindex
			d.log.Info("port is back", "port", name, "ifindex", ifindex)
		}
	}
}

// plug makes an interface what the ports of its name are, and attaches the program.
func (d *Datapath) plug(name string, l netlink.Link) error {
	return d.inNamespace(func() error {
		for _, port := range d.cfg.Ports {
			if port.Name != name {
				continue
			}
			if err := d.addPort(port); err != nil {
				d.unplug(l.Attrs().Index)
				return err
			}
		}
		held, err := attach(d.cfg.PinDir, l.Attrs().Index, programOn(l), d.objects.Pgwu, d.cfg.Generic)
		if err != nil {
			d.unplug(l.Attrs().Index)
			return err
		}
		d.links[l.Attrs().Index] = held
		return nil
	})
}

// unplug forgets an interface.
func (d *Datapath) unplug(ifindex int) {
	delete(d.hops.ports, ifindex)
	_ = d.objects.TxPorts.Delete(uint32(ifindex)) // the kernel does so when an interface goes
	for cell := range d.tables.ports.all {
		if int(uint32(cell.Key)) == ifindex {
			delete(d.portKeys, cell.Key)
			d.tables.ports.remove(cell.Key)
		}
	}
	if held := d.links[ifindex]; held != nil {
		_ = held.Close()
		delete(d.links, ifindex)
	}
	pin := filepath.Join(d.cfg.PinDir, portPin+strconv.Itoa(ifindex))
	if err := detach(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.log.Warn("link of an interface that is gone stays", "ifindex", ifindex, "err", err)
	}
}

// inNamespace runs f on a thread in the network namespace that d was opened in.
func (d *Datapath) inNamespace(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, before.Close()) }()
	if before.Equal(d.ns) {
		return f()
	}
	if err := netns.Set(d.ns); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, netns.Set(before)) }()
	return f()
}

package datapath

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Open makes the maps and attaches the program, or adopts both from cfg.PinDir without losing a packet or a count.
// The ports are those of the calling thread's network namespace. It mounts a bpffs at /sys/fs/bpf when PinDir is below
// it and none is there. ErrLayout: what is pinned was made by a program with another layout, with other sizes or other
// slices; Remove it first, which ends the forwarding.
func Open(cfg Config, log *slog.Logger) (*Datapath, error) {
	return open(cfg, log, nil)
}

// open lets a test change the program's constants.
func open(cfg Config, log *slog.Logger, change func(*pgwuVariableSpecs) error) (_ *Datapath, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkMembarrier(); err != nil {
		return nil, err
	}
	if err := preparePinDir(cfg.PinDir); err != nil {
		return nil, err
	}
	lock, err := lockPinDir(cfg.PinDir)
	if err != nil {
		return nil, err
	}
	d := &Datapath{cfg: cfg, log: log, lock: lock, ns: netns.None(), grace: newGrace(), peerIndex: map[peerKey]uint32{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.load(change); err != nil {
		return nil, err
	}
	if d.tables, err = mapTables(&d.objects.pgwuMaps, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, err
	}
	if d.reader, err = newReader(d.tables, &d.objects.pgwuMaps); err != nil {
		return nil, err
	}
	if err := d.describe(); err != nil {
		return nil, err
	}
	d.adoptEntries()
	if err := d.connect(); err != nil {
		return nil, err
	}
	return d, nil
}

// load makes or adopts the maps and loads the program.
func (d *Datapath) load(change func(*pgwuVariableSpecs) error) error {
	if err := checkPinned(d.cfg); err != nil {
		return err
	}
	spec, err := loadPgwu()
	if err != nil {
		return fmt.Errorf("read the embedded program: %w", err)
	}
	var parts pgwuSpecs
	if err := spec.Assign(&parts); err != nil {
		return fmt.Errorf("read the embedded program: %w", err)
	}
	d.cfg.size(&parts.pgwuMapSpecs)
	if err := d.cfg.set(&parts); err != nil {
		return err
	}
	if change != nil {
		if err := change(&parts.pgwuVariableSpecs); err != nil {
			return err
		}
	}
	err = spec.LoadAndAssign(&d.objects, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: d.cfg.PinDir}})
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return fmt.Errorf("%w: %w", ErrLayout, err)
	}
	if err != nil {
		return fmt.Errorf("load the program: %w", err)
	}
	return nil
}

// checkPinned refuses maps of another layout, and removes those that were never finished: about is written when all
// others are, and nothing is attached before.
func checkPinned(cfg Config) error {
	about, err := ebpf.LoadPinnedMap(filepath.Join(cfg.PinDir, pgwuMapAbout), nil)
	if errors.Is(err, os.ErrNotExist) {
		return removePins(cfg.PinDir)
	}
	if err != nil {
		return fmt.Errorf("open the pinned maps: %w", err)
	}
	defer func() { _ = about.Close() }()
	var is pgwuAbout
	if err := about.Lookup(uint32(0), &is); err != nil {
		return fmt.Errorf("%w: %w", ErrLayout, err)
	}
	switch {
	case is.Layout == 0:
		return removePins(cfg.PinDir)
	case is.Layout != pgwuLayoutLAYOUT:
		return fmt.Errorf("%w: %d, not %d", ErrLayout, is.Layout, pgwuLayoutLAYOUT)
	case is.Instances != uint32(cfg.MaxInstances)+1:
		return fmt.Errorf("%w: max_instances is %d, not %d", ErrLayout, is.Instances-1, cfg.MaxInstances)
	}
	return nil
}

// size gives the maps the sizes of the configuration.
func (c Config) size(maps *pgwuMapSpecs) {
	teids := uint32(0)
	for _, s := range c.Slices {
		teids += 1 << slotBits(s.TEIDs)
	}
	maps.Uplink.MaxEntries, maps.UplinkOrigin.MaxEntries = teids, teids
	addresses := uint32(c.AddressBlocks) * blockSize
	maps.Downlink.MaxEntries, maps.DownlinkOrigin.MaxEntries = addresses, addresses
	maps.Slices.MaxEntries = directoryBuckets(len(c.Slices))
	maps.Blocks.MaxEntries = directoryBuckets(c.AddressBlocks)
	maps.Ports.MaxEntries = directoryBuckets(maxPorts)
	maps.Peers.MaxEntries = c.peers()
	maps.Instances.MaxEntries = uint32(c.MaxInstances) + 1
	maps.NextHops.MaxEntries = uint32(c.MaxInstances) + 1 + c.peers()
}

// peers is the size of the peer table: one more than configured, since index 0 means none.
func (c Config) peers() uint32 { return uint32(min(c.Peers+1, maxPeers)) }

// set gives the program its constants.
func (c Config) set(parts *pgwuSpecs) error {
	return errors.Join(
		parts.SlicesMask.Set(parts.Slices.MaxEntries-1),
		parts.BlocksMask.Set(parts.Blocks.MaxEntries-1),
		parts.PortsMask.Set(parts.Ports.MaxEntries-1),
		parts.HalfBurst.Set(uint64(c.Burst)*1_000_000/2),
	)
}

// describe writes, or checks, what the entries rest on: slices, network instances, and about.
func (d *Datapath) describe() error {
	if err := d.describeSlices(); err != nil {
		return err
	}
	for _, in := range d.cfg.Instances {
		if err := d.describeInstance(in); err != nil {
			return err
		}
	}
	if err := d.tables.loadInstances(); err != nil {
		return err
	}
	d.tables.about = pgwuAbout{Layout: pgwuLayoutLAYOUT, Instances: uint32(d.cfg.MaxInstances) + 1}
	if err := d.objects.About.Put(uint32(0), d.tables.about); err != nil {
		return fmt.Errorf("write the layout version: %w", err)
	}
	return nil
}

// describeSlices lays the slices out by address; a pinned layout must be the same.
func (d *Datapath) describeSlices() error {
	sorted := slices.SortedFunc(slices.Values(d.cfg.Slices), func(a, b Slice) int {
		return cmp.Or(b.TEIDs-a.TEIDs, a.Address.Compare(b.Address))
	})
	fresh, base, have := d.tables.about.Layout == 0, uint32(0), 0
	for range d.tables.slices.all {
		have++
	}
	if !fresh && have != len(sorted) {
		return fmt.Errorf("%w: %d slices, not %d", ErrLayout, have, len(sorted))
	}
	for _, s := range sorted {
		count := uint32(1) << slotBits(s.TEIDs)
		cell := d.tables.slices.find(sliceKey(s.Address))
		switch {
		case fresh:
			if err := d.tables.slices.insert(sliceKey(s.Address), base, count-1, d.grace.barrier); err != nil {
				return err
			}
		case cell == nil || cell.Value != base || cell.Aux != count-1:
			return fmt.Errorf("%w: slice %v was not there, or of another size", ErrLayout, s.Address)
		}
		base += count
	}
	return nil
}

// describeInstance gives a network instance its number, which it keeps as long as the maps live.
func (d *Datapath) describeInstance(in Instance) error {
	number, known := d.tables.numbers[in.Name]
	for candidate := uint32(1); !known && candidate <= uint32(d.cfg.MaxInstances); candidate++ {
		if _, used := d.tables.names[candidate]; !used {
			number, known = candidate, true
		}
	}
	if !known {
		return fmt.Errorf("%w: no number for network instance %q", ErrTableFull, in.Name)
	}
	raw := pgwuInstance{Gateway: onWire(in.Gateway), Length: uint8(len(in.Name))}
	copy(raw.Name[:], in.Name)
	raw.Local = d.tables.names[number].Local // until addPort looks it up
	if err := d.objects.Instances.Put(number, raw); err != nil {
		return fmt.Errorf("write network instance %q: %w", in.Name, err)
	}
	d.tables.names[number], d.tables.numbers[in.Name] = raw, number
	return nil
}

// adoptEntries learns from the tables which blocks and peers their entries hold, and clears what a daemon left half
// made.
func (d *Datapath) adoptEntries() {
	d.blockPool = newPool(d.cfg.AddressBlocks)
	d.blockKeys = make([]uint64, d.cfg.AddressBlocks)
	d.peerPool = newPool(len(d.tables.peers.slots))
	d.peerKeys = make([]peerKey, len(d.tables.peers.slots))
	d.peerPool.adopt(noPeer)
	d.peerPool.hold(noPeer)
	for cell := range d.tables.blocks.all {
		if d.tables.blocks.find(cell.Key) != cell { // it was being moved: the other one stays
			cell.Key = 0
			continue
		}
		block := cell.Value / blockSize
		d.blockPool.adopt(block)
		d.blockKeys[block] = cell.Key
	}
	for i, p := range d.tables.peers.slots {
		if p.Remote != 0 {
			key := peerKey{fromWire(p.Local), fromWire(p.Remote)}
			d.peerPool.adopt(uint32(i))
			d.peerIndex[key], d.peerKeys[i] = uint32(i), key
		}
	}
	for at := range d.tables.entries {
		if at.kind == placeDownlink {
			d.blockPool.hold(at.index / blockSize)
			if peer := loadWord(&d.tables.downlink.slots[at.index].Word).Peer; peer != noPeer {
				d.peerPool.hold(uint32(peer))
			}
		}
	}
	d.blockPool.settle()
	d.peerPool.settle()
}

// connect resolves next hops, tells the program its ports, and attaches it: in this order, so that the first packet
// finds all.
func (d *Datapath) connect() error {
	ns, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	d.ns = ns
	if d.netlink, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	d.hops = newHops(d.netlink, &d.tables.nextHops, d.grace, d.log)
	for _, port := range d.cfg.Ports {
		if err := d.addPort(port); err != nil {
			return fmt.Errorf("port %s: %w", port.Name, err)
		}
	}
	if err := d.hops.keepGateways(); err != nil {
		return fmt.Errorf("look for gateways: %w", err)
	}
	for number, in := range d.tables.names {
		d.hops.want(number, fromWire(in.Gateway))
	}
	for key, index := range d.peerIndex {
		d.hops.want(d.peerHop(index), key.remote)
	}
	if err := d.hops.refresh(); err != nil {
		return fmt.Errorf("resolve next hops: %w", err)
	}
	for cell := range d.tables.ports.all {
		if !d.hops.ports[int(uint32(cell.Key))] {
			d.tables.ports.remove(cell.Key)
			_ = d.objects.TxPorts.Delete(uint32(cell.Key))
		}
	}
	for ifindex := range d.hops.ports {
		device, err := d.netlink.LinkByIndex(ifindex)
		if err != nil {
			return fmt.Errorf("interface %d: %w", ifindex, err)
		}
		l, err := attach(d.cfg.PinDir, ifindex, programOn(device), d.objects.Pgwu, d.cfg.Generic)
		if err != nil {
			return fmt.Errorf("%s: %w", device.Attrs().Name, err)
		}
		d.links = append(d.links, l)
	}
	return dropOtherPorts(d.cfg.PinDir, d.hops.ports)
}

// addPort makes an interface one that packets come in and leave by.
func (d *Datapath) addPort(port Port) error {
	l, err := d.netlink.LinkByName(port.Name)
	if err != nil {
		return fmt.Errorf("find the interface: %w", err)
	}
	if err := showTags(port.Name); err != nil {
		return err
	}
	ifindex := l.Attrs().Index
	if err := d.objects.TxPorts.Put(uint32(ifindex), uint32(ifindex)); err != nil {
		return fmt.Errorf("make it an exit: %w", err)
	}
	d.hops.ports[ifindex] = true
	if err := d.addLocal(port, l); err != nil {
		return err
	}
	value, aux := d.tables.numbers[port.Instance], uint32(port.Side)
	if cell := d.tables.ports.find(portKey(ifindex)); cell != nil {
		if cell.Value == value && cell.Aux == aux {
			return nil
		}
		d.tables.ports.remove(portKey(ifindex))
		if err := d.grace.barrier(); err != nil {
			return err
		}
	}
	return d.tables.ports.insert(portKey(ifindex), value, aux, d.grace.barrier)
}

// addLocal gives the network instance of a core port that port's first address, to send ICMP messages from.
func (d *Datapath) addLocal(port Port, l netlink.Link) error {
	if port.Side&SideCore == 0 {
		return nil
	}
	addresses, err := d.netlink.AddrList(l, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list its addresses: %w", err)
	}
	if len(addresses) == 0 {
		return nil
	}
	address, _ := netip.AddrFromSlice(addresses[0].IP.To4())
	number := d.tables.numbers[port.Instance]
	in := d.tables.names[number]
	in.Local = onWire(address)
	d.tables.names[number] = in
	if err := d.objects.Instances.Put(number, in); err != nil {
		return fmt.Errorf("write the address of network instance %q: %w", port.Instance, err)
	}
	return nil
}

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
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/slots"
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
	visits := newVisitor()
	d := &Datapath{
		cfg: cfg, log: log, lock: lock, ns: netns.None(), visits: visits,
		endsKick: make(chan struct{}, 1), links: map[int]link.Link{}, portKeys: map[uint64]bool{}, plugged: map[string]int{},
		unusable: map[string]string{}, shown: map[uint32]pgwuInstance{},
		devices: map[Port]string{}, accessDevices: map[int]bool{}, drains: map[place]*drain{}, gateUsers: map[uint32]int{},
	}
	d.grace = newGrace(visits.wait, d.rested)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.injector, err = openInjector(cfg.PinDir); err != nil {
		return nil, err
	}
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
	if err := parts.Injector.Set(uint32(d.injector.far)); err != nil {
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
	maps.Slices.MaxEntries = directoryBuckets(2*len(c.Slices)) + 1
	maps.Services.MaxEntries = uint32(len(c.Slices))
	maps.Blocks.MaxEntries = 1 << slotBits(int(directoryBuckets(c.AddressBlocks)))
	maps.Ports.MaxEntries = directoryBuckets(maxPorts+c.MaxInstances+1) + 1 // those of the injector, too
	maps.Teids.MaxEntries = growingBuckets(int(teids) / 8 * 3)              // of TEIDs at random, so many share a slot
	maps.Hosts.MaxEntries = growingBuckets(int(addresses))
	maps.Routes.MaxEntries = uint32(c.Routes)
	maps.Rules.MaxEntries = uint32(c.Rules) + 1
	maps.Accounts.MaxEntries, maps.AccountOrigins.MaxEntries = uint32(c.Rules)+1, uint32(c.Rules)+1
	maps.Specials.MaxEntries = uint32(max(c.Rules/8, 64)) + 1
	maps.Copies.MaxEntries = c.ring()
	maps.SetsSmall.MaxEntries = uint32(c.Rules)/2 + 1
	maps.SetsMedium.MaxEntries = uint32(c.Rules)/8 + 1
	maps.SetsLarge.MaxEntries = uint32(c.Rules)/32 + 1
	maps.Cells.MaxEntries, maps.CellOrigins.MaxEntries = uint32(c.Cells)+1, uint32(c.Cells)+1
	maps.Limits.MaxEntries = uint32(c.Limits) + 1
	maps.Meters.MaxEntries, maps.MeterOrigins.MaxEntries = uint32(c.Meters)+1, uint32(c.Meters)+1
	maps.Parking.MaxEntries = c.ring()
	maps.Peers.MaxEntries = c.peers()
	maps.Instances.MaxEntries = uint32(c.MaxInstances) + 1
	maps.NextHops.MaxEntries = 2*(uint32(c.MaxInstances)+1) + c.peers()
}

// peers is the size of the peer table: one more than configured, since index 0 means none.
func (c Config) peers() uint32 { return uint32(min(c.Peers+1, maxPeers)) }

// set gives the program its constants.
func (c Config) set(parts *pgwuSpecs) error {
	teids, _ := generations(parts.Teids.MaxEntries)
	hosts, _ := generations(parts.Hosts.MaxEntries)
	return errors.Join(
		parts.SlicesBuckets.Set(parts.Slices.MaxEntries-1), // the last is the front
		parts.BlocksCells.Set(parts.Blocks.MaxEntries*uint32(bucketCells)-1),
		parts.TeidsBuckets.Set(teids),
		parts.HostsBuckets.Set(hosts),
		parts.PortsBuckets.Set(parts.Ports.MaxEntries-1),
		parts.ClampIpv4.Set(c.MSS),
		parts.ClampIpv6.Set(max(c.MSS, 20)-20),
		parts.HopsOfIpv6.Set(uint32(c.MaxInstances)+1), parts.PeersHops.Set(2*(uint32(c.MaxInstances)+1)),
		parts.IcmpRate.Set(c.ICMPRate), parts.UrlRate.Set(c.URLRate),
		parts.UeToUe.Set(slices.ContainsFunc(c.Instances, func(in Instance) bool { return in.UEToUE })),
		parts.ZeroChecksumIpv6.Set(c.ZeroChecksum6),
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
		return cmp.Or(b.TEIDs-a.TEIDs, a.name().Compare(b.name()))
	})
	fresh, base := d.tables.about.Layout == 0, uint32(0)
	for i, s := range sorted {
		count := uint32(1) << slotBits(s.TEIDs)
		next := pgwuService{Base: base, Mask: count - 1, Address: onWire(s.Address)}
		if s.Address6.IsValid() {
			next.Address6 = halves(s.Address6)
		}
		was := d.tables.services.slots[i]
		if same := was.Base == next.Base && was.Mask == next.Mask && was.addresses().Name() == s.name(); !fresh && !same {
			return fmt.Errorf("%w: slice %v was not there, or of another size", ErrLayout, s.name())
		}
		if err := d.describeSlice(uint32(i), was, next); err != nil {
			return err
		}
		base += count
	}
	return nil
}

// describeSlice has the addresses of a slice lead to its TEIDs. A slice whose name is IPv4 may gain, lose or change the
// IPv6 address beside it while it lives.
func (d *Datapath) describeSlice(number uint32, was, next pgwuService) error {
	if was == next {
		return nil
	}
	if was.Address6 != next.Address6 && was.Address6 != [2]uint64{} {
		d.tables.slices.remove(sliceKey(fromHalves(was.Address6)))
		if err := d.grace.barrier(); err != nil {
			return err
		}
	}
	d.tables.services.slots[number] = next
	if was.Address == 0 && next.Address != 0 {
		if err := d.tables.slices.insert(sliceKey(fromWire(next.Address)), next.Base, next.Mask, d.grace.barrier); err != nil {
			return err
		}
	}
	if was.Address6 != next.Address6 && next.Address6 != [2]uint64{} {
		key := sliceKey(fromHalves(next.Address6))
		if d.tables.slices.find(key) != nil {
			return fmt.Errorf("%w: the address %v and another of the slices' have the same hash: take one beside it",
				ErrTableFull, fromHalves(next.Address6))
		}
		return d.tables.slices.insert(key, number, 0, d.grace.barrier)
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
	raw := pgwuInstance{Gateway: onWire(in.Gateway), Length: uint8(len(in.Name)), Table: in.Table}
	if in.Gateway6.IsValid() {
		raw.Gateway6 = halves(in.Gateway6)
	}
	copy(raw.Name[:], in.Name)
	was := d.tables.names[number]
	raw.Local, raw.Local6 = was.Local, was.Local6 // until Resolve looks them up
	if err := d.objects.Instances.Put(number, raw); err != nil {
		return fmt.Errorf("write network instance %q: %w", in.Name, err)
	}
	d.tables.names[number], d.tables.numbers[in.Name] = raw, number
	turns := uint32(0)
	if in.UEToUE {
		turns = 1
	}
	atomic.StoreUint32(&d.tables.nextHops.slots[number].UeToUe, turns)
	return nil
}

// newIndices makes what this process remembers of the tables, empty.
func (d *Datapath) newIndices() {
	t := d.tables
	d.singles, d.singlesIn = slots.New(len(t.downlink.slots)), map[uint64]int{}
	d.routes, d.framed = map[route]uint32{}, map[uint32][]route{}
	d.meterIndex, d.cellIndex = map[session.MeterID]*sharedMeter{}, map[session.CellID]uint32{}
	d.peerIndex = map[peerKey]uint32{}
	d.rules = newSlab(placeRule, uint32(len(t.rules.slots)))
	d.specials = newSlab(placeSpecial, uint32(len(t.specials.slots)))
	d.accounts, d.accountRefs = newSlab(placeAccount, uint32(len(t.accounts.slots))), map[uint32]int{}
	d.sets = [3]*slab{
		newSlab(placeSetSmall, uint32(len(t.small.slots))), newSlab(placeSetMedium, uint32(len(t.medium.slots))),
		newSlab(placeSetLarge, uint32(len(t.large.slots))),
	}
	d.cells, d.limits = newSlab(placeCell, uint32(len(t.cells.slots))), newSlab(placeLimits, uint32(len(t.limits.slots)))
	d.meters = newSlab(placeMeter, uint32(len(t.meters.slots)))
}

// adoptUEs learns which slots of UE addresses are in use, and what leads to them.
func (d *Datapath) adoptUEs() {
	for cell := range d.tables.hosts.all {
		at := place{placeDownlink, cell.Value}
		if number, ue, ok := d.tables.ueAt(at, d.tables.keyAt(at)); !ok || hostKey(number, ue) != cell.Key {
			d.tables.hosts.remove(cell.Key)
		} else {
			d.singles.Add(at.index)
		}
	}
	for r, slot := range d.tables.loadRoutes() {
		d.routes[r] = slot
		d.framed[slot] = append(d.framed[slot], r)
	}
	for slot := range uint32(len(d.tables.downlink.slots)) {
		at := place{placeDownlink, slot}
		key := d.tables.keyAt(at)
		if number, ue, ok := d.tables.ueAt(at, key); key != 0 {
			d.count(at, number, ue, !ok)
		}
	}
}

// adoptFree learns which slots are free.
func (d *Datapath) adoptFree() {
	for kind := range placeKind(len(d.free)) {
		entries := len(d.tables.table(place{kind: kind}).slots)
		d.free[kind] = slots.New(entries)
		for slot := range uint32(entries) {
			if at := (place{kind, slot}); d.tables.keyAt(at) == 0 {
				d.free[kind].Add(slot)
			}
		}
	}
}

// adoptEntries learns from the tables which blocks and peers their entries hold, and clears what a daemon left half
// made.
func (d *Datapath) adoptEntries() {
	d.newIndices()
	d.blockPool = newPool(d.cfg.AddressBlocks)
	d.blockKeys = make([]uint64, d.cfg.AddressBlocks)
	d.peerPool = newPool(len(d.tables.peers.slots))
	d.peerKeys = make([]peerKey, len(d.tables.peers.slots))
	d.peerPool.adopt(noPeer)
	d.peerPool.hold(noPeer)
	d.tables.teids.adopt()
	d.tables.hosts.adopt()
	d.tables.blocks.adopt()
	for cell := range d.tables.blocks.all {
		block := cell.Value / blockSize
		d.blockPool.adopt(block)
		d.blockKeys[block] = cell.Key
	}
	d.adoptUEs()
	d.adoptFree()
	for i := range d.tables.peers.slots {
		if key := peerOf(&d.tables.peers.slots[i]); key.remote.IsValid() {
			d.peerPool.adopt(uint32(i))
			d.peerIndex[key], d.peerKeys[i] = uint32(i), key
		}
	}
	for at := range d.tables.entries {
		if w := loadWord(&d.tables.entry(at).Word); w.Flags&flagSet == 0 && w.Flags&flagTunnel != 0 && int(w.To) < len(d.peerKeys) {
			d.peerPool.hold(uint32(w.To))
		}
	}
	d.adoptSets()
	d.adoptCells()
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
	if d.routeTables, err = newRouteReader(ns); err != nil {
		return err
	}
	d.hops = newHops(d.netlink, &d.tables.nextHops, d.grace, d.log)
	for _, port := range d.cfg.Ports {
		if err := d.addPort(port); err != nil {
			return fmt.Errorf("port %s: %w", port.Name, err)
		}
	}
	for ifindex := range d.hops.ports {
		l, err := d.netlink.LinkByIndex(ifindex)
		if err != nil {
			return fmt.Errorf("interface %d: %w", ifindex, err)
		}
		d.plugged[l.Attrs().Name] = ifindex
	}
	if err := d.hops.keepGateways(); err != nil {
		return fmt.Errorf("look for gateways: %w", err)
	}
	for number, in := range d.tables.names {
		for i, index := range []uint32{number, d.tables.about.Instances + number} {
			d.hops.want(index, d.wayOut(in, families[i]))
		}
	}
	for key, index := range d.peerIndex {
		d.hops.want(d.peerHop(index), target{address: key.remote, source: key.local})
	}
	if err := d.Resolve(); err != nil {
		return fmt.Errorf("resolve next hops: %w", err)
	}
	if err := d.openInjection(); err != nil {
		return err
	}
	for cell := range d.tables.ports.all {
		if !d.portKeys[cell.Key] {
			d.tables.ports.remove(cell.Key)
		}
		if !d.hops.ports[int(uint32(cell.Key))] {
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
		d.links[ifindex] = l
	}
	return dropOtherPorts(d.cfg.PinDir, d.hops.ports)
}

// addPort makes an interface one that packets come in and leave by.
func (d *Datapath) addPort(port Port) error {
	l, err := d.netlink.LinkByName(port.Name)
	if err != nil {
		return fmt.Errorf("find the interface: %w", err)
	}
	if err := showTags(nic(port.Name)); err != nil {
		return err
	}
	if l.Type() == "veth" && port.VLAN != 0 {
		d.log.Warn("a veth shows VLAN tags where tx-vlan-hw-insert and tx-vlan-stag-hw-insert are off at its other end", "port", port.Name)
	}
	ifindex := l.Attrs().Index
	if err := d.objects.TxPorts.Put(uint32(ifindex), uint32(ifindex)); err != nil {
		return fmt.Errorf("make it an exit: %w", err)
	}
	d.hops.ports[ifindex] = true
	device, err := d.deviceFor(port, l)
	if err != nil {
		return err
	}
	key := portKey(ifindex, int(port.VLAN))
	d.portKeys[key] = true
	if port.Side&SideAccess != 0 {
		d.accessDevices[device.Attrs().Index] = true
	}
	value, aux := d.tables.numbers[port.Instance], uint32(port.Side)
	if cell := d.tables.ports.find(key); cell != nil {
		if cell.Value == value && cell.Aux == aux {
			return nil
		}
		d.tables.ports.remove(key)
		if err := d.grace.barrier(); err != nil {
			return err
		}
	}
	return d.tables.ports.insert(key, value, aux, d.grace.barrier)
}

// deviceFor is the kernel's device with the node's addresses on a port: the interface, or a VLAN device of it.
func (d *Datapath) deviceFor(port Port, l netlink.Link) (netlink.Link, error) {
	if port.VLAN == 0 {
		return l, nil
	}
	links, err := retryDump(d.netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, candidate := range links {
		if below, vlan := portBelow(candidate); below == l.Attrs().Index && vlan == port.VLAN {
			d.devices[port] = candidate.Attrs().Name
			return candidate, nil
		}
	}
	return nil, fmt.Errorf("there is no VLAN device: ip link add link %s name %s.%d type vlan id %d",
		port.Name, port.Name, port.VLAN, port.VLAN)
}

// wayOut is where packets of a family leave a network instance.
func (d *Datapath) wayOut(in pgwuInstance, family int) target {
	if in.Table != 0 {
		table := routeTable{in.Table, family}
		d.instanceTables = append(d.instanceTables, table)
		return target{table: table}
	}
	gateway, gateway6 := in.gateways()
	if family == unix.AF_INET6 {
		gateway = gateway6
	}
	return target{address: gateway, device: d.deviceOf(nameOf(in), gateway)}
}

// gateways are the configured next hops by family; one that is not set is that of the other family.
func (in pgwuInstance) gateways() (gateway, gateway6 netip.Addr) {
	gateway = fromWire(in.Gateway)
	if in.Gateway6 == [2]uint64{} {
		return gateway, gateway
	}
	gateway6 = fromHalves(in.Gateway6)
	if in.Gateway == 0 {
		gateway = gateway6
	}
	return gateway, gateway6
}

// deviceOf is the device by which a network instance's gateway is reached, when the instance has one VLAN: addresses of
// gateways may overlap. Else the kernel's routes decide, unless the address is link-local: then it is that of the first
// port.
func (d *Datapath) deviceOf(instance pfcp.NetworkInstance, gateway netip.Addr) (device string) {
	for _, port := range d.cfg.Ports {
		if port.Side&SideCore == 0 || port.Instance != instance {
			continue
		}
		if gateway.IsLinkLocalUnicast() {
			return cmp.Or(d.devices[port], port.Name)
		}
		if port.VLAN == 0 || device != "" {
			return ""
		}
		device = d.devices[port]
	}
	return device
}

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// tables are the maps as their readers use them: mapped into memory, with the names that stand in them.
type tables struct {
	uplink         table[pgwuUplinkEntry]
	downlink       table[pgwuDownlinkEntry]
	uplinkOrigin   table[pgwuOrigin]
	downlinkOrigin table[pgwuOrigin]
	slices         directory
	blocks         directory
	ports          directory
	peers          table[pgwuPeer]
	nextHops       table[pgwuNextHop]

	instanceMap *ebpf.Map
	about       pgwuAbout
	names       map[uint32]pgwuInstance         // by number
	numbers     map[pfcp.NetworkInstance]uint32 // by name
}

func mapTables(maps *pgwuMaps, protection int) (*tables, error) {
	t := &tables{instanceMap: maps.Instances}
	var errs [9]error
	t.uplink, errs[0] = mapTable[pgwuUplinkEntry](maps.Uplink, protection)
	t.downlink, errs[1] = mapTable[pgwuDownlinkEntry](maps.Downlink, protection)
	t.uplinkOrigin, errs[2] = mapTable[pgwuOrigin](maps.UplinkOrigin, protection)
	t.downlinkOrigin, errs[3] = mapTable[pgwuOrigin](maps.DownlinkOrigin, protection)
	t.slices.table, errs[4] = mapTable[pgwuBucket](maps.Slices, protection)
	t.blocks.table, errs[5] = mapTable[pgwuBucket](maps.Blocks, protection)
	t.ports.table, errs[6] = mapTable[pgwuBucket](maps.Ports, protection)
	t.peers, errs[7] = mapTable[pgwuPeer](maps.Peers, protection)
	t.nextHops, errs[8] = mapTable[pgwuNextHop](maps.NextHops, protection)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, t.unmap())
	}
	if err := maps.About.Lookup(uint32(0), &t.about); err != nil {
		return nil, errors.Join(fmt.Errorf("read %v: %w", maps.About, err), t.unmap())
	}
	if err := t.loadInstances(); err != nil {
		return nil, errors.Join(err, t.unmap())
	}
	return t, nil
}

func (t *tables) unmap() error {
	return errors.Join(t.uplink.unmap(), t.downlink.unmap(), t.uplinkOrigin.unmap(), t.downlinkOrigin.unmap(),
		t.slices.unmap(), t.blocks.unmap(), t.ports.unmap(), t.peers.unmap(), t.nextHops.unmap())
}

// loadInstances reads the numbers of the network instances anew.
func (t *tables) loadInstances() error {
	t.names, t.numbers = map[uint32]pgwuInstance{}, map[pfcp.NetworkInstance]uint32{}
	for number := uint32(1); number < t.instanceMap.MaxEntries(); number++ {
		var in pgwuInstance
		if err := t.instanceMap.Lookup(number, &in); err != nil {
			return fmt.Errorf("read network instance %d: %w", number, err)
		}
		if in.Length != 0 && int(in.Length) <= len(in.Name) {
			t.names[number] = in
			t.numbers[nameOf(in)] = number
		}
	}
	return nil
}

func nameOf(in pgwuInstance) pfcp.NetworkInstance {
	return pfcp.NetworkInstance(in.Name[:in.Length])
}

// locate returns where the entry of key is or would be. ok is false when its /24 has no block; whether the place
// holds this key, another or none is for the caller to see.
func (t *tables) locate(key session.Key) (at place, ok bool, err error) {
	switch key.Direction {
	case session.Uplink:
		slice := t.slices.find(sliceKey(key.Local))
		if !key.Local.Is4() || slice == nil {
			return at, false, fmt.Errorf("%w: %v", ErrUnknownSlice, key.Local)
		}
		return place{placeUplink, slice.Value + uint32(key.TEID)&slice.Aux}, true, nil
	case session.Downlink:
		number, known := t.numbers[key.Instance]
		if !known {
			return at, false, fmt.Errorf("%w: %q", ErrUnknownInstance, key.Instance)
		}
		if !isHost4(key.UE) {
			return at, false, fmt.Errorf("%w: UE address %v is not IPv4", ErrUnsupported, key.UE)
		}
		block := t.blocks.find(blockKey(number, key.UE.Addr()))
		if block == nil {
			return at, false, nil
		}
		return place{placeDownlink, block.Value + uint32(key.UE.Addr().As4()[3])}, true, nil
	default:
		return at, false, fmt.Errorf("%w: direction %d", ErrUnsupported, key.Direction)
	}
}

// keyAt is the key that a place holds, as it stands in packets; 0: free.
func (t *tables) keyAt(at place) uint32 {
	if at.kind == placeUplink {
		return atomic.LoadUint32(&t.uplink.slots[at.index].Teid)
	}
	return atomic.LoadUint32(&t.downlink.slots[at.index].Ue)
}

func (t *tables) usageAt(at place) session.Usage {
	u := t.usage(at)
	return session.Usage{Packets: atomic.LoadUint64(&u.Packets), Octets: atomic.LoadUint64(&u.Octets)}
}

func (t *tables) usage(at place) *pgwuUsage {
	if at.kind == placeUplink {
		return &t.uplink.slots[at.index].Usage
	}
	return &t.downlink.slots[at.index].Usage
}

func (t *tables) meter(at place) *pgwuMeter {
	if at.kind == placeUplink {
		return &t.uplink.slots[at.index].Meter
	}
	return &t.downlink.slots[at.index].Meter
}

func (t *tables) origin(at place) *pgwuOrigin {
	if at.kind == placeUplink {
		return &t.uplinkOrigin.slots[at.index]
	}
	return &t.downlinkOrigin.slots[at.index]
}

// wireKey is what keyAt returns when key's entry is there.
func wireKey(key session.Key) uint32 {
	if key.Direction == session.Uplink {
		return teidOnWire(key.TEID)
	}
	return onWire(key.UE.Addr())
}

// uplinkEntry decodes the slot of a slice that begins at slot base; ok is false when it is free.
func (t *tables) uplinkEntry(local netip.Addr, slot uint32) (e session.Entry, ok bool) {
	raw := &t.uplink.slots[slot]
	teid, w := atomic.LoadUint32(&raw.Teid), loadWord(&raw.Word)
	if teid == 0 || w.Flags&uint16(pgwuEntryFlagENTRY_VALID) == 0 {
		return e, false
	}
	e = session.Entry{
		Key: session.Key{Direction: session.Uplink, Local: local, TEID: pfcp.TEID(teidOnWire(pfcp.TEID(teid)))},
		Rule: session.Rule{
			Action:     actionOf(w.Flags),
			Instance:   nameOf(t.names[uint32(w.NextHop)]),
			GateClosed: w.Flags&uint16(pgwuEntryFlagENTRY_GATE_CLOSED) != 0,
			MBR:        uint64(atomic.LoadUint32(&raw.Meter.Rate)),
			Origin:     t.uplinkOrigin.slots[slot].session(),
		},
	}
	if w.Flags&uint16(pgwuEntryFlagENTRY_CHECK_SOURCE) != 0 {
		e.Sources = []netip.Prefix{session.UE(fromWire(w.Source))}
	}
	return e, true
}

// downlinkEntry decodes a slot of the block of that network instance; ok is false when it is free.
func (t *tables) downlinkEntry(instance, slot uint32) (e session.Entry, ok bool) {
	raw := &t.downlink.slots[slot]
	ue, w := atomic.LoadUint32(&raw.Ue), loadWord(&raw.Word)
	if ue == 0 || w.Flags&uint16(pgwuEntryFlagENTRY_VALID) == 0 {
		return e, false
	}
	e = session.Entry{
		Key: session.Key{
			Direction: session.Downlink, Instance: nameOf(t.names[instance]), UE: session.UE(fromWire(ue)),
		},
		Rule: session.Rule{
			Action:     actionOf(w.Flags),
			RemoteTEID: pfcp.TEID(teidOnWire(pfcp.TEID(w.RemoteTeid))),
			GateClosed: w.Flags&uint16(pgwuEntryFlagENTRY_GATE_CLOSED) != 0,
			MBR:        uint64(atomic.LoadUint32(&raw.Meter.Rate)),
			Origin:     t.downlinkOrigin.slots[slot].session(),
		},
	}
	if int(w.Peer) < len(t.peers.slots) && w.Peer != noPeer {
		p := t.peers.slots[w.Peer]
		e.Local, e.Remote = fromWire(p.Local), fromWire(p.Remote)
	}
	return e, true
}

// entries yields every entry and where it is, uplink before downlink.
func (t *tables) entries(yield func(place, session.Entry) bool) {
	for slice := range t.slices.all {
		local := fromWire(uint32(slice.Key))
		for slot := slice.Value; slot <= slice.Value+slice.Aux && int(slot) < len(t.uplink.slots); slot++ {
			if e, ok := t.uplinkEntry(local, slot); ok && !yield(place{placeUplink, slot}, e) {
				return
			}
		}
	}
	for block := range t.blocks.all {
		instance, _ := blockOf(block.Key, 0)
		for slot := block.Value; slot < block.Value+blockSize && int(slot) < len(t.downlink.slots); slot++ {
			if e, ok := t.downlinkEntry(instance, slot); ok && !yield(place{placeDownlink, slot}, e) {
				return
			}
		}
	}
}

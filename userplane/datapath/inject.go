package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// ErrNoPort is returned by Inject when the packet could have come in by no port.
var ErrNoPort = errors.New("no port of this side")

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES of linux/bpf.h (Linux 5.18): the kernel sends what the program wants sent.
const liveFrames = 1 << 1

// Inject has the program take an IP packet as if it had come in by a port: to a UE by the core side of a network
// instance, or a G-PDU by the access side. Rules, limits and counters are those of any other packet. So buffered packets
// go on, and those that the kernel reassembled. The caller is in the ports' network namespace.
func (d *Datapath) Inject(side Side, instance pfcp.NetworkInstance, packet []byte) error {
	ifindex, vlan, ok := d.portOf(side, instance)
	if !ok {
		return fmt.Errorf("%w: %d, %q", ErrNoPort, side, instance)
	}
	if len(packet) == 0 {
		return fmt.Errorf("%w: an empty packet", ErrUnsupported)
	}
	const ethernet, minimum = 14, 60
	frame := make([]byte, ethernet, max(len(packet)+ethernet+4, minimum))
	frame[0], frame[6] = 2, 2 // locally administered; nobody looks at them
	proto := uint16(0x0800)
	if packet[0]>>4 == 6 {
		proto = 0x86dd
	}
	if vlan != 0 {
		binary.BigEndian.PutUint16(frame[12:], 0x8100)
		frame = binary.BigEndian.AppendUint16(frame, vlan)
		frame = binary.BigEndian.AppendUint16(frame, proto)
	} else {
		binary.BigEndian.PutUint16(frame[12:], proto)
	}
	frame = append(frame, packet...)
	context := struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }{
		DataEnd: uint32(len(frame)), Ingress: ifindex,
	}
	if _, err := d.objects.Pgwu.Run(&ebpf.RunOptions{Data: frame, Context: context, Repeat: 1, Flags: liveFrames}); err != nil {
		return fmt.Errorf("inject a packet of %d octets: %w", len(packet), err)
	}
	return nil
}

// portOf is a port of that side, and of the core side one of that network instance.
func (d *Datapath) portOf(side Side, instance pfcp.NetworkInstance) (ifindex uint32, vlan uint16, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	number := d.tables.numbers[instance]
	for cell := range d.tables.ports.all {
		if cell.Aux&uint32(side) != 0 && (side == SideAccess || cell.Value == number) {
			return uint32(cell.Key), uint16(cell.Key >> 32), true
		}
	}
	return 0, 0, false
}

// readParked hands over the packets that rules buffer.
func (d *Datapath) readParked(ctx context.Context, onEvent func(Event)) error {
	reader, err := ringbuf.NewReader(d.objects.Parking)
	if err != nil {
		return fmt.Errorf("read buffered packets: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = reader.Close() })
	defer stop()
	defer func() { _ = reader.Close() }()
	var record ringbuf.Record
	for {
		if err := reader.ReadInto(&record); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read buffered packets: %w", err)
		}
		if event, ok := d.tables.decodeParked(record.RawSample); ok {
			onEvent(event)
		}
	}
}

func (t *tables) decodeParked(sample []byte) (e Event, ok bool) {
	var head pgwuParkHead
	const size = int(unsafe.Sizeof(head))
	if len(sample) < size {
		return e, false
	}
	if _, err := binary.Decode(sample[:size], binary.NativeEndian, &head); err != nil {
		return e, false
	}
	at := place{placeDownlink, head.Slot}
	slots := len(t.downlink.slots)
	if head.ByTeid != 0 {
		at.kind, slots = placeUplink, len(t.uplink.slots)
	}
	if int(head.Slot) >= slots || int(head.Octets) > len(sample)-size {
		return e, false
	}
	origin := t.origin(at).session()
	e = Event{
		Kind: EventBuffered, SEID: origin.SEID, Precedence: origin.Precedence, Direction: session.Downlink,
		Packet: slices.Clone(sample[size : size+int(head.Octets)]),
	}
	if head.ByTeid != 0 {
		e.Direction = session.Uplink
	}
	return e, true
}

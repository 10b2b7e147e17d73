package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// CopyCounts are duplicates that rules asked for, TS 29.244 5.2.3.
type CopyCounts struct {
	Made uint64 // and handed over
	Lost uint64 // the ring was full, or the packet longer than fits. The packet itself went its way
}

// Copies returns how many duplicates there were since the maps were made.
func (r *Reader) Copies() (CopyCounts, error) {
	var sums [pgwuCopyOutcomeCOPY_OUTCOMES]uint64
	for i := range sums {
		var perCPU []uint64
		if err := r.copies.Lookup(uint32(i), &perCPU); err != nil {
			return CopyCounts{}, fmt.Errorf("read the counts of copies: %w", err)
		}
		for _, n := range perCPU {
			sums[i] += n
		}
	}
	return CopyCounts{Made: sums[pgwuCopyOutcomeCOPY_MADE], Lost: sums[pgwuCopyOutcomeCOPY_LOST]}, nil
}

// readCopies hands over the duplicates that the program made, and packets that are to leave in fragments.
func (d *Datapath) readCopies(ctx context.Context, onEvent func(Event)) error {
	reader, err := ringbuf.NewReader(d.objects.Copies)
	if err != nil {
		return fmt.Errorf("read copies: %w", err)
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
			return fmt.Errorf("read copies: %w", err)
		}
		if event, ok := d.decodeCopy(record.RawSample); ok {
			onEvent(event)
		}
	}
}

// behind reads the head of a record of a ring, and is what follows it; false: the record is shorter than its head.
func behind[H any](sample []byte, head *H) (rest []byte, ok bool) {
	size, err := binary.Decode(sample, binary.NativeEndian, head)
	if err != nil {
		return nil, false
	}
	return sample[size:], true
}

// Exit is how an IP packet leaves by itself.
type Exit struct {
	Device int    // interface index; 0: it cannot leave now
	Header []byte // Ethernet, and the VLAN tag
	MTU    int    // octets of an IP packet
}

// exitTo is the exit to a next hop of IPv4 packets.
func (d *Datapath) exitTo(index uint32) Exit {
	d.mu.Lock()
	defer d.mu.Unlock()
	if int(index) >= len(d.tables.nextHops.slots) {
		return Exit{}
	}
	next := &d.tables.nextHops.slots[index]
	hop := next.Hops[atomic.LoadUint32(&next.Active)&1]
	header := append(hop.RemoteMac[:], hop.LocalMac[:]...)
	if hop.Vlan != 0 {
		header = binary.BigEndian.AppendUint16(append(header, 0x81, 0), hop.Vlan)
	}
	return Exit{Device: int(hop.Ifindex), Header: append(header, 8, 0), MTU: int(hop.Mtu)}
}

func (d *Datapath) decodeCopy(sample []byte) (e Event, ok bool) {
	var head pgwuCopyHead
	packet, ok := behind(sample, &head)
	if !ok || int(head.Octets) > len(packet) {
		return e, false
	}
	peer := peerOf(&pgwuPeer{Local: head.Local, Remote: head.Remote, Local6: head.Local6, Remote6: head.Remote6})
	e = Event{
		Kind: EventCopy, Parked: session.Parked{Packet: packet[:head.Octets]}, ToS: head.Tos,
		Tunnel: session.Tunnel{Local: peer.local, Remote: peer.remote, TEID: pfcp.TEID(teidOnWire(pfcp.TEID(head.Teid)))},
	}
	switch head.Kind {
	case pgwuCopyKindCOPY_DUPLICATE:
	case pgwuCopyKindCOPY_FRAGMENT:
		e.Kind = EventFragment
	case pgwuCopyKindCOPY_ROUTED:
		return Event{Kind: EventRouted, Parked: e.Parked, Exit: d.exitTo(head.Hop)}, true
	default:
		return e, false
	}
	if head.Qfi != noQFI {
		e.QFI = pfcp.Some(head.Qfi)
	}
	return e, true
}

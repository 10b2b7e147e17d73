package pfcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// What we chose for the socket.
const (
	batchSize   = 64      // messages read or written by one call of the kernel
	minAsked    = 4       // messages to read that the kernel is asked for when there is little to do
	maxDatagram = 1 << 16 // octets
	maxQueued   = 1 << 14 // datagrams that wait to be written; those beyond are lost
	maxHeld     = 256     // datagrams that wait for the end of the batch that is being read
	minSegments = 8       // datagrams that make it worth to write them in one message: a capture shows it as one packet
	maxSegments = 64      // the kernel takes no more, udp(7)
	maxSegment  = 1400    // octets of a datagram that shares a message: it must fit in any path
)

// batchConn is a socket of either family: recvmmsg and sendmmsg.
type batchConn interface {
	ReadBatch(batch []ipv4.Message, flags int) (int, error)
	WriteBatch(batch []ipv4.Message, flags int) (int, error)
}

func newBatchConn(conn *net.UDPConn, local netip.Addr) batchConn {
	if local.Is4() {
		return ipv4.NewPacketConn(conn)
	}
	return ipv6.NewPacketConn(conn)
}

// joinDatagrams has the kernel hand over datagrams of one peer and one size in one message (UDP_GRO, Linux 5.0). It
// may not know how.
func joinDatagrams(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) // without it they come one by one
	})
}

// inbox is what one reader reads into.
type inbox struct {
	conn     batchConn
	messages []ipv4.Message
	ask      int // for so many: each costs, whether it comes or not
}

func newInbox(conn batchConn) *inbox {
	b := &inbox{conn: conn, messages: make([]ipv4.Message, batchSize), ask: minAsked}
	for i := range b.messages {
		b.messages[i].Buffers = [][]byte{make([]byte, maxDatagram)}
		b.messages[i].OOB = make([]byte, unix.CmsgSpace(4))
	}
	return b
}

// read waits for datagrams and passes each to take, which must not keep its octets.
func (b *inbox) read(take func(peer netip.AddrPort, octets []byte)) error {
	n, err := b.conn.ReadBatch(b.messages[:b.ask], 0)
	if err != nil {
		return fmt.Errorf("read PFCP: %w", err)
	}
	b.ask = min(max(2*n, minAsked), batchSize)
	for i := range b.messages[:n] {
		m := &b.messages[i]
		from, ok := m.Addr.(*net.UDPAddr)
		if !ok {
			continue
		}
		peer := from.AddrPort()
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		octets, size := m.Buffers[0][:m.N], segmentSize(m.OOB[:m.NN])
		for size > 0 && len(octets) > size {
			take(peer, octets[:size:size])
			octets = octets[size:]
		}
		take(peer, octets)
	}
	return nil
}

// segmentSize returns the size of the datagrams in a message, but for the last one; 0 when it has only one.
func segmentSize(control []byte) int {
	data := unix.CmsgLen(0)
	if len(control) < data+4 {
		return 0
	}
	level, typ := control[data-8:], control[data-4:]
	if binary.NativeEndian.Uint32(level) != unix.SOL_UDP || binary.NativeEndian.Uint32(typ) != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint32(control[data:]))
}

// appendSegmentSize appends the control message that has the kernel cut a message into datagrams of size octets
// (UDP_SEGMENT, Linux 4.18).
func appendSegmentSize(control []byte, size int) []byte {
	control = append(control, make([]byte, unix.CmsgSpace(2))...)
	data := unix.CmsgLen(0)
	binary.NativeEndian.PutUint32(control[data-8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(control[data-4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[data:], uint16(size))
	if length := uint64(unix.CmsgLen(2)); unix.SizeofCmsghdr == 16 {
		binary.NativeEndian.PutUint64(control, length)
	} else {
		binary.NativeEndian.PutUint32(control, uint32(length))
	}
	return control
}

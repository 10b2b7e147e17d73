package slowpath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/gtpu"
)

// whole is a G-PDU that came to a socket: the data path passes them to the kernel as fragments only, which puts them
// together.
type whole struct {
	device int
	packet []byte
}

// takeWhole has a G-PDU wait for the data path. It never waits itself.
func (s *Slowpath) takeWhole(from arrival, message []byte) Outcome {
	if s.cfg.Inject == nil {
		return GPDU
	}
	packet, err := gtpu.Datagram(from.peer, netip.AddrPortFrom(from.slice, gtpu.Port), message)
	if err != nil {
		return ReassemblyRefused
	}
	select {
	case s.whole <- whole{from.device, packet}:
		return outcomes // counted when it is known
	default:
		return ReassemblyFull
	}
}

// inject gives the data path what waits, in its order.
func (s *Slowpath) inject(ctx context.Context) error {
	for {
		select {
		case w := <-s.whole:
			s.counts[s.give(w)].Add(1)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Slowpath) give(w whole) Outcome {
	err := s.cfg.Inject(w.device, w.packet)
	switch {
	case err == nil:
		return Reassembled
	case errors.Is(err, ErrNotAccess):
		return GPDU
	}
	s.cfg.Log.Debug("reassembled packet not taken", "octets", len(w.packet), "err", err)
	return ReassemblyRefused
}

// Of the sockets; ours.
const (
	controlOctets = 128     // hold what the kernel tells of a datagram, of either family
	socketOctets  = 4 << 20 // of memory for datagrams that wait; the kernel accounts some 4,600 for one of two fragments
)

// prepare gives a socket room, and has the kernel tell by which device each datagram came in and how many it dropped.
func prepare(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option, discover, never := unix.IPPROTO_IP, unix.IP_PKTINFO, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is6() {
		level, option, discover, never = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketOctets) != nil { // not root: what net.core.rmem_max allows
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, socketOctets)
		}
		set = errors.Join(set, unix.SetsockoptInt(int(fd), level, discover, never), // DF is clear: what is too long is cut
			unix.SetsockoptInt(int(fd), level, option, 1), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1))
	})
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("set its options: %w", err)
	}
	return nil
}

// told is what the kernel tells beside a datagram.
type told struct {
	device  int    // interface index that it came in by; 0: unknown
	dropped uint32 // datagrams that found no room since the socket is open
}

func tellingOf(control []byte) (t told) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return t
	}
	for _, m := range messages {
		level, kind := m.Header.Level, m.Header.Type
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			t.device = int(binary.NativeEndian.Uint32(m.Data)) // struct in_pktinfo begins with it
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			t.device = int(binary.NativeEndian.Uint32(m.Data[16:])) // struct in6_pktinfo ends with it
		case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(m.Data) >= 4:
			t.dropped = binary.NativeEndian.Uint32(m.Data)
		}
	}
	return t
}

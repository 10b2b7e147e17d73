package slowpath

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/inet"
)

// Exit is how a packet leaves without tunnel.
type Exit struct {
	Device int    // interface index; 0: it cannot leave
	Header []byte // Ethernet, and the VLAN tag
	MTU    int    // octets of an IP packet
}

// SendRouted sends a UE's IPv4 packet, which has been routed, in fragments that fit (RFC 791 3.2, RFC 1812 4.2.2.7). It is not
// called concurrently, and keeps nothing of packet.
func (s *Slowpath) SendRouted(to Exit, packet []byte) {
	outcome := RoutedInFragments
	if err := s.sendRouted(to, packet); err != nil {
		outcome = SendFailed
		s.cfg.Log.Debug("packet not sent in fragments", "octets", len(packet), "mtu", to.MTU, "err", err)
	}
	s.counts[outcome].Add(1)
}

func (s *Slowpath) sendRouted(to Exit, packet []byte) error {
	if to.Device == 0 {
		return errors.New("the next hop is not resolved any more")
	}
	fragments, err := fragment(packet, to.MTU)
	if err != nil {
		return err
	}
	socket, err := s.frames.SyscallConn()
	if err != nil {
		return err
	}
	for _, f := range fragments {
		frame, refused := slices.Concat(to.Header, f), error(nil)
		err := socket.Write(func(fd uintptr) bool {
			refused = unix.Sendto(int(fd), frame, 0, &unix.SockaddrLinklayer{Ifindex: to.Device})
			return !errors.Is(refused, unix.EAGAIN)
		})
		if err = cmp.Or(err, refused); err != nil {
			return fmt.Errorf("send a frame of %d octets: %w", len(frame), err)
		}
	}
	return nil
}

const (
	ipv4Header    = 20
	moreFragments = 0x2000
	dontFragment  = 0x4000
	offsetMask    = 0x1fff
)

// fragment cuts an IPv4 packet into fragments of at most mtu octets, in their order. It may be a fragment itself.
func fragment(packet []byte, mtu int) ([][]byte, error) {
	if len(packet) < ipv4Header || packet[0]>>4 != 4 {
		return nil, errors.New("no IPv4 packet")
	}
	size, total := int(packet[0]&0xf)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if size < ipv4Header || total < size || total != len(packet) {
		return nil, errors.New("no whole IPv4 packet")
	}
	flags := binary.BigEndian.Uint16(packet[6:])
	if flags&dontFragment != 0 {
		return nil, errors.New("it must not be fragmented")
	}
	header, data, offset := packet[:size], packet[size:], int(flags&offsetMask)
	later := laterHeader(header)
	var all [][]byte
	for len(data) > 0 {
		take := len(data)
		if len(header)+take > mtu {
			take = (mtu - len(header)) &^ 7
		}
		if take <= 0 || offset > offsetMask {
			return nil, fmt.Errorf("an MTU of %d octets leaves no room", mtu)
		}
		f := append(append(make([]byte, 0, len(header)+take), header...), data[:take]...)
		more := flags & moreFragments
		if take < len(data) {
			more = moreFragments
		}
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[6:], flags&^(moreFragments|offsetMask)|more|uint16(offset))
		f[10], f[11] = 0, 0
		binary.BigEndian.PutUint16(f[10:], inet.Checksum(f[:len(header)]))
		all = append(all, f)
		data, offset, header = data[take:], offset+take/8, later
	}
	return all, nil
}

// laterHeader is the header of all fragments but the first: of the options only those that are copied (RFC 791 3.1).
func laterHeader(header []byte) []byte {
	later := append([]byte(nil), header[:ipv4Header]...)
	for options := header[ipv4Header:]; len(options) > 0 && options[0] != 0; { // 0: end of options
		size := 1
		if options[0] != 1 { // 1: no operation
			if len(options) < 2 || int(options[1]) < 2 || int(options[1]) > len(options) {
				break
			}
			size = int(options[1])
		}
		if options[0]&0x80 != 0 {
			later = append(later, options[:size]...)
		}
		options = options[size:]
	}
	for len(later)%4 != 0 {
		later = append(later, 0)
	}
	later[0] = 4<<4 | byte(len(later)/4)
	return later
}

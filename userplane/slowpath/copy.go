package slowpath

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/gtpu"
)

// GPDUToSend says where a user's packet goes that the data path cannot send itself: a duplicate, TS 29.244 5.2.3, or one
// that does not fit into one outer packet.
type GPDUToSend struct {
	Path   Path
	TEID   uint32
	HasQFI bool  // it has a PDU Session Container, TS 38.415 5.5.2.1
	QFI    uint8 // of that
	ToS    uint8 // or Traffic Class of the outer header
	Copy   bool
}

// SendGPDU sends a user's packet into a tunnel. The kernel finds the way, and cuts the outer packet where it is too long for
// it. It is not called concurrently, and keeps nothing of packet.
func (s *Slowpath) SendGPDU(to GPDUToSend, packet []byte) {
	outcome := SendFailed
	if conn, ours := s.conns[to.Path.Local]; ours {
		h := gtpu.Header{Type: gtpu.TypeGPDU, TEID: to.TEID}
		if to.HasQFI {
			h.Extensions = []gtpu.Extension{{Type: gtpu.ExtensionPDUSessionContainer, Content: []byte{0, to.QFI}}}
		}
		b, err := gtpu.Append(s.copy[:0], h, packet)
		if err == nil {
			s.copy = b
			_, _, err = conn.WriteMsgUDPAddrPort(b, trafficClass(to.Path.Remote, to.ToS), netip.AddrPortFrom(to.Path.Remote, s.cfg.Port))
		}
		switch {
		case err != nil:
			s.cfg.Log.Debug("G-PDU not sent", "peer", to.Path.Remote.String(), "octets", len(packet), "err", err)
		case to.Copy:
			outcome = CopySent
		default:
			outcome = SentInFragments
		}
	}
	s.counts[outcome].Add(1)
}

// trafficClass is the control message that sets a packet's ToS or Traffic Class; nil for 0.
func trafficClass(to netip.Addr, tos uint8) []byte {
	if tos == 0 {
		return nil
	}
	level, kind := int32(unix.IPPROTO_IP), int32(unix.IP_TOS)
	if to.Is6() {
		level, kind = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	b := make([]byte, unix.CmsgSpace(4))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(4)))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	binary.NativeEndian.PutUint32(b[16:], uint32(tos))
	return b
}

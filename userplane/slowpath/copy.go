package slowpath

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/gtpu"
)

// SendCopy sends a duplicate of a user's packet into a tunnel, TS 29.244 5.2.3, with that ToS or Traffic Class outside.
// The kernel finds the way and fragments what is too long for it. It is not called concurrently, and keeps nothing of
// packet.
func (s *Slowpath) SendCopy(path Path, teid uint32, tos uint8, packet []byte) {
	outcome := SendFailed
	if conn, ours := s.conns[path.Local]; ours {
		b, err := gtpu.Append(s.copy[:0], gtpu.Header{Type: gtpu.TypeGPDU, TEID: teid}, packet)
		if err == nil {
			s.copy = b
			_, _, err = conn.WriteMsgUDPAddrPort(b, trafficClass(path.Remote, tos), netip.AddrPortFrom(path.Remote, s.cfg.Port))
		}
		if err == nil {
			outcome = CopySent
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

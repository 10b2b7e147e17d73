package slowpath

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestACopyIsMarkedOutside has the kernel tell the ToS of the packets that it received.
func TestACopyIsMarkedOutside(t *testing.T) {
	s, conn := start(t, "127.78.8.5")
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1))
	}))
	to := Path{slice, netip.MustParseAddr("127.78.8.5")}
	for _, tos := range []uint8{0xb8, 0, 0x28} {
		s.SendGPDU(GPDUToSend{Path: to, TEID: 0xaabb, ToS: tos, Copy: true}, octets(t, "45 00 01 02"))
		b, control := make([]byte, 64), make([]byte, 64)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		n, k, _, _, err := conn.ReadMsgUDPAddrPort(b, control)
		require.NoError(t, err)
		require.Equal(t, octets(t, "30 ff 00 04 00 00 aa bb 45 00 01 02"), b[:n])
		messages, err := unix.ParseSocketControlMessage(control[:k])
		require.NoError(t, err)
		require.Len(t, messages, 1)
		require.Equal(t, []byte{tos}, messages[0].Data)
	}
	s.SendGPDU(GPDUToSend{Path: Path{netip.MustParseAddr("127.78.7.9"), to.Remote}, TEID: 1, Copy: true}, nil)
	require.EqualValues(t, 3, s.Counts()[CopySent])
	require.EqualValues(t, 1, s.Counts()[SendFailed])
}

// TestALargePacketIsWholeAtTheOtherEnd: with a container where the tunnel has one.
func TestALargePacketIsWholeAtTheOtherEnd(t *testing.T) {
	s, conn := start(t, "127.78.8.7")
	to := GPDUToSend{Path: Path{slice, netip.MustParseAddr("127.78.8.7")}, TEID: 0xaabb}
	packet := bytes.Repeat([]byte{0x45}, 2048)
	s.SendGPDU(to, packet)
	require.Equal(t, append(octets(t, "30 ff 08 00 00 00 aa bb"), packet...), receive(t, conn))
	to.HasQFI, to.QFI = true, 9
	s.SendGPDU(to, packet)
	require.Equal(t, append(octets(t, "34 ff 08 08 00 00 aa bb  00 00 00 85  01 00 09 00"), packet...), receive(t, conn))
	require.EqualValues(t, 2, s.Counts()[SentInFragments])
	require.Zero(t, s.Counts()[CopySent])
}

func BenchmarkSendCopy(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Slices, cfg.Port, cfg.Log = []netip.Addr{slice}, testPort, slog.New(slog.DiscardHandler)
	s, err := Listen(cfg)
	require.NoError(b, err)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP("127.78.8.6"), Port: testPort})
	require.NoError(b, err)
	packet := make([]byte, 1400)
	for b.Loop() {
		s.SendGPDU(GPDUToSend{Path: Path{slice, netip.MustParseAddr("127.78.8.6")}, TEID: 1, Copy: true}, packet)
	}
	require.NoError(b, sink.Close())
	require.NoError(b, s.Close())
}

package diameter

import (
	"bufio"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// On a kernel without SCTP, TCP goes on; on one with it, a peer comes over SCTP.
func TestSCTP(t *testing.T) {
	cfg := testConfig()
	cfg.Transports = []string{"tcp", "sctp"}
	n, address := start(t, cfg, answerNothing)
	connect(t, address, mmeHost)
	if len(n.Addresses()) == 1 {
		require.NoDirExists(t, "/proc/net/sctp", "which a kernel with SCTP has")
		cfg.Transports = []string{"sctp"}
		require.ErrorIs(t, New(cfg, slog.New(slog.DiscardHandler), 1).Listen(), syscall.EPROTONOSUPPORT)
		return
	}
	require.EqualValues(t, diameterPPID, payloadProtocol(t, n.Addresses()[1]))
	c := dialSCTP(t, n.Addresses()[1])
	requireResult(t, c.ask(c.cerOf("mme2.visited.example")), Success)
	requireResult(t, c.ask(c.air()), Success)
	require.Equal(t, "sctp", n.lookup("mme2.visited.example").peer.Transport)
	const many = 100
	for range many { // each write is a message of SCTP's
		c.send(c.air())
	}
	for range many {
		requireResult(t, c.receive(), Success)
	}
	requireResult(t, c.ask(c.base(CommandDisconnectPeer, DisconnectCause.Unsigned(0))), Success)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return n.lookup("mme2.visited.example") == nil }, patience, time.Millisecond)
}

// payloadProtocol returns the payload protocol id that the CEA comes with.
func payloadProtocol(t *testing.T, address string) uint32 {
	t.Helper()
	const recvRcvInfo = 32 // SCTP_RECVRCVINFO, RFC 6458 8.1.29; struct sctp_rcvinfo has the id in octets 8 to 11
	fd := connectSCTP(t, address)
	defer unix.Close(fd)
	require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_SCTP, recvRcvInfo, 1))
	_, err := unix.Write(fd, (&client{Conn: noConn{}}).cerOf("mme3.visited.example").Append(nil))
	require.NoError(t, err)
	b, oob := make([]byte, maxMessage), make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(fd, b, oob, 0)
	require.NoError(t, err)
	infos, err := unix.ParseSocketControlMessage(oob[:n])
	require.NoError(t, err)
	require.Len(t, infos, 1)
	return binary.BigEndian.Uint32(infos[0].Data[8:])
}

func connectSCTP(t *testing.T, address string) int {
	t.Helper()
	ap, err := netip.ParseAddrPort(address)
	require.NoError(t, err)
	family, sa := sockaddr(ap)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	require.NoError(t, err)
	require.NoError(t, unix.Connect(fd, sa))
	return fd
}

func dialSCTP(t *testing.T, address string) *client {
	t.Helper()
	fd := connectSCTP(t, address)
	require.NoError(t, unix.SetNonblock(fd, true))
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close()
	nc, err := net.FileConn(f)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	return &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
}

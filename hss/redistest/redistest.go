// Package redistest runs a real redis-server for the tests of the HSS. It is used by tests only.
package redistest

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Server is a redis-server with an append-only file in a folder of the test's.
type Server struct {
	Address string // IP:port
	Socket  string // path of its unix socket

	dir string
	cmd *exec.Cmd
}

const patience = 20 * time.Second

// Start runs a server until the test ends, on a free port of a loopback address of this process's own: one of 127.0.0.1 may be a
// client's in the next moment.
func Start(t testing.TB) *Server {
	t.Helper()
	pid := os.Getpid()
	own := netip.AddrFrom4([4]byte{127, byte(64 + pid>>16%64), byte(pid >> 8), byte(1 + pid%254)})
	l, err := net.Listen("tcp", netip.AddrPortFrom(own, 0).String())
	require.NoError(t, err)
	s := &Server{Address: l.Addr().String(), dir: t.TempDir()}
	s.Socket = filepath.Join(s.dir, "redis.sock")
	require.NoError(t, l.Close())
	s.Resume(t)
	t.Cleanup(s.Kill)
	return s
}

// Kill ends the server as kill -9 does.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Resume starts the server again with the records of its append-only file.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Address)
	require.NoError(t, err)
	s.cmd = exec.Command("redis-server", "--bind", host, "--port", port, "--unixsocket", s.Socket, "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--logfile", filepath.Join(s.dir, "log"))
	require.NoError(t, s.cmd.Start(), "redis-server must be installed: make test does it")
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.Address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
}

// appendOnly is the part of the append-only file that grows.
func (s *Server) appendOnly(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "appendonlydir", "*.incr.aof"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// FileSize is how many octets Redis has written down.
func (s *Server) FileSize(t testing.TB) int64 {
	t.Helper()
	info, err := os.Stat(s.appendOnly(t))
	require.NoError(t, err)
	return info.Size()
}

// Truncate takes from a killed server what it has written beyond that size.
func (s *Server) Truncate(t testing.TB, size int64) {
	t.Helper()
	require.NoError(t, os.Truncate(s.appendOnly(t), size))
}

package datapath

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/testkit"
)

// As the kernel accounts it, with the sizes that follow from the sessions.
func TestAllMapsTakeAtMost300OctetsASession(t *testing.T) {
	testkit.EnterNamespace(t)
	testkit.DisableIPv6(t)
	for _, sessions := range []int{16384, 65536, 262144} {
		cfg := Default()
		cfg.SizeFor(sessions)
		cfg.Slices = []Slice{{Address: slice1, TEIDs: sessions}}
		cfg.PinDir = filepath.Join(testkit.BPFFS(t), "node")
		d, err := Open(cfg, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		octets, err := MapOctets(cfg.PinDir)
		require.NoError(t, err)
		require.LessOrEqual(t, octets, uint64(sessions)*300, "%d sessions: %d a session", sessions, octets/uint64(sessions))
		require.NoError(t, d.Close())
		require.NoError(t, Remove(cfg.PinDir))
	}
}

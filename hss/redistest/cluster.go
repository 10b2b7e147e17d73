package redistest

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// StartCluster runs a Cluster of three masters on free ports of 127.0.0.1 until the test ends, and returns their addresses.
func StartCluster(t testing.TB) []string {
	t.Helper()
	var addresses []string
	var masters []*redis.Client
	var buses []string
	for range clusterMasters {
		address, bus := free(t), free(t)
		host, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		_, busPort, err := net.SplitHostPort(bus)
		require.NoError(t, err)
		dir := t.TempDir()
		cmd := exec.Command("redis-server", "--bind", host, "--port", port, "--cluster-enabled", "yes", "--cluster-port", busPort,
			"--dir", dir, "--save", "", "--logfile", filepath.Join(dir, "log"))
		require.NoError(t, cmd.Start(), "redis-server must be installed: make test does it")
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		client := redis.NewClient(&redis.Options{Addr: address})
		t.Cleanup(func() { _ = client.Close() })
		require.Eventually(t, func() bool { return client.Ping(t.Context()).Err() == nil }, patience, 10*time.Millisecond)
		addresses, masters, buses = append(addresses, address), append(masters, client), append(buses, busPort)
	}
	for i, m := range masters {
		first, last := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		require.NoError(t, m.ClusterAddSlotsRange(t.Context(), first, last).Err())
		host, port, err := net.SplitHostPort(addresses[i])
		require.NoError(t, err)
		require.NoError(t, masters[0].Do(t.Context(), "CLUSTER", "MEET", host, port, buses[i]).Err())
	}
	require.Eventually(t, func() bool {
		for _, m := range masters {
			info, err := m.ClusterInfo(t.Context()).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", clusterMasters)) {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond)
	return addresses
}

// free returns an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

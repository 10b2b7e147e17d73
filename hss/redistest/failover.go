package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// failoverMillis is after how long a node that is silent counts as down, in milliseconds.
const failoverMillis = 500

// Group is redis-servers of which replicas take over when a master is killed.
type Group struct {
	Addresses  []string    // of the Sentinel, or of the Cluster's nodes
	Replicated func() bool // the replicas have all that the masters have
	KillOne    func()      // kills a master as kill -9 does
	TakenOver  func() bool // a replica has taken its place
}

// replicated says whether every replica of a master has acknowledged all that was written to it.
func replicated(t testing.TB, master *redis.Client) bool {
	text, err := master.Info(t.Context(), "replication").Result()
	if err != nil || !strings.Contains(text, "\nslave0:") {
		return false
	}
	_, rest, _ := strings.Cut(text, "master_repl_offset:")
	offset, _, _ := strings.Cut(rest, "\r\n")
	return strings.Count(text, ",offset="+offset+",") == strings.Count(text, "\nslave")
}

// MasterName is that of the group that the Sentinel watches.
const MasterName = "hss"

// instance runs a redis-server with these arguments until the test ends.
func instance(t testing.TB, address string, args ...string) (*exec.Cmd, *redis.Client) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	dir := t.TempDir()
	cmd := exec.Command("redis-server", append(args, "--bind", host, "--port", port, "--dir", dir, "--logfile", filepath.Join(dir, "log"))...)
	require.NoError(t, cmd.Start(), "redis-server must be installed: make test does it")
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := redis.NewClient(&redis.Options{Addr: address})
	t.Cleanup(func() { _ = client.Close() })
	require.Eventually(t, func() bool { return client.Ping(t.Context()).Err() == nil }, patience, 10*time.Millisecond)
	return cmd, client
}

// StartSentinel runs a master with two replicas and a Sentinel that watches them.
func StartSentinel(t testing.TB) Group {
	t.Helper()
	master := free(t)
	host, port, err := net.SplitHostPort(master)
	require.NoError(t, err)
	cmd, client := instance(t, master, "--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0")
	for range 2 {
		instance(t, free(t), "--save", "", "--replicaof", host, port, "--repl-diskless-sync-delay", "0")
	}
	require.Eventually(t, func() bool {
		info, err := client.Info(t.Context(), "replication").Result()
		return err == nil && strings.Count(info, "state=online") == 2
	}, patience, 10*time.Millisecond)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s %d\nsentinel failover-timeout %s 5000\n",
		MasterName, host, port, MasterName, failoverMillis, MasterName), 0o600))
	sentinel := free(t)
	_, watch := instance(t, sentinel, file, "--sentinel")
	require.Eventually(t, func() bool {
		text, err := watch.Info(t.Context(), "sentinel").Result()
		return err == nil && strings.Contains(text, "slaves=2")
	}, patience, 10*time.Millisecond)
	asked := redis.NewSentinelClient(&redis.Options{Addr: sentinel})
	t.Cleanup(func() { _ = asked.Close() })
	return Group{
		Addresses: []string{sentinel}, KillOne: func() { _ = cmd.Process.Kill() },
		Replicated: func() bool { return replicated(t, client) },
		TakenOver: func() bool {
			now, err := asked.GetMasterAddrByName(t.Context(), MasterName).Result()
			return err == nil && net.JoinHostPort(now[0], now[1]) != master
		},
	}
}

// StartClusterWithReplicas runs a Cluster of three masters with a replica each.
func StartClusterWithReplicas(t testing.TB) Group {
	t.Helper()
	type member struct {
		address, bus string
		cmd          *exec.Cmd
		client       *redis.Client
	}
	var all []member
	for range 2 * clusterMasters {
		m := member{address: free(t), bus: free(t)}
		_, bus, err := net.SplitHostPort(m.bus)
		require.NoError(t, err)
		m.bus = bus
		m.cmd, m.client = instance(t, m.address, "--save", "", "--cluster-enabled", "yes", "--cluster-port", bus,
			"--cluster-node-timeout", fmt.Sprint(failoverMillis), "--repl-diskless-sync-delay", "0")
		all = append(all, m)
	}
	info := func(m member, want ...string) bool {
		text, err := m.client.ClusterInfo(t.Context()).Result()
		for _, w := range want {
			if err != nil || !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}
	for i, m := range all {
		host, port, err := net.SplitHostPort(m.address)
		require.NoError(t, err)
		if i < clusterMasters {
			first, last := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
			require.NoError(t, m.client.ClusterAddSlotsRange(t.Context(), first, last).Err())
		}
		require.NoError(t, all[0].client.Do(t.Context(), "CLUSTER", "MEET", host, port, m.bus).Err())
	}
	everywhere := func(want ...string) func() bool {
		return func() bool {
			for _, m := range all {
				if !info(m, want...) {
					return false
				}
			}
			return true
		}
	}
	require.Eventually(t, everywhere("cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", len(all))), patience, 10*time.Millisecond)
	for i, m := range all[clusterMasters:] {
		id, err := all[i].client.ClusterMyID(t.Context()).Result()
		require.NoError(t, err)
		require.Eventually(t, func() bool { return m.client.ClusterReplicate(t.Context(), id).Err() == nil }, patience, 10*time.Millisecond)
		require.Eventually(t, func() bool {
			text, err := m.client.Info(t.Context(), "replication").Result()
			return err == nil && strings.Contains(text, "master_link_status:up")
		}, patience, 10*time.Millisecond)
	}
	g := Group{KillOne: func() { _ = all[0].cmd.Process.Kill() }, TakenOver: func() bool {
		text, err := all[clusterMasters].client.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(text, "role:master") && info(all[1], "cluster_state:ok")
	}, Replicated: func() bool {
		for _, m := range all[:clusterMasters] {
			if !replicated(t, m.client) {
				return false
			}
		}
		return true
	}}
	for _, m := range all {
		g.Addresses = append(g.Addresses, m.address)
	}
	return g
}

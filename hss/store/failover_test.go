package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/pkg/identity"
)

// A master is killed under load and a replica that may be behind takes over: no SEQ is given out twice. With Sentinel a
// number goes out only once a replica has it; in a Cluster the clock is above what was lost, as long as a SIM asks for
// less than ten vectors a second.
func TestNoSequenceNumberTwiceOverAFailover(t *testing.T) {
	t.Run("sentinel", func(t *testing.T) {
		g := redistest.StartSentinel(t)
		cfg := DefaultConfig()
		cfg.MasterName, cfg.Replicas = redistest.MasterName, 1
		failover(t, g, cfg, 20, 0)
	})
	t.Run("cluster", func(t *testing.T) {
		failover(t, redistest.StartClusterWithReplicas(t), DefaultConfig(), 64, 250*time.Millisecond)
	})
}

func failover(t *testing.T, g redistest.Group, cfg Config, sims int, pause time.Duration) {
	t.Helper()
	cfg.Addresses = g.Addresses
	keyring, err := ParseKeyring(kek)
	require.NoError(t, err)
	s, err := Open(cfg, keyring, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	imsiOf := func(i int) identity.IMSI { return identity.IMSI(fmt.Sprintf("9997000000%05d", i)) }
	for i := range sims {
		require.NoError(t, s.Add(t.Context(), imsiOf(i), profile, keys, 0, time.Now()))
	}
	// Replication is asynchronous: a SIM that was added at the moment of the failure would rightly be gone.
	require.Eventually(t, g.Replicated, 20*time.Second, 10*time.Millisecond)
	type number struct {
		imsi identity.IMSI
		seq  uint64
	}
	var mu sync.Mutex
	seen, again, failed, resumed := map[number]bool{}, 0, 0, map[identity.IMSI]bool{}
	killed := false
	var last error
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range sims {
		wg.Go(func() {
			for ctx.Err() == nil {
				a, err := s.Advance(ctx, imsiOf(i), "mme1", 1, nil, time.Now())
				mu.Lock()
				if err != nil {
					failed++
					last = err
				} else {
					n := number{imsiOf(i), a.Counter.SEQ}
					if seen[n] {
						again++
					}
					seen[n] = true
					resumed[n.imsi] = resumed[n.imsi] || killed && g.TakenOver()
				}
				mu.Unlock()
				select {
				case <-time.After(max(pause, 5*time.Millisecond)):
				case <-ctx.Done():
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	require.Eventually(t, func() bool { return count() >= 3*sims }, 20*time.Second, 10*time.Millisecond)
	g.KillOne()
	mu.Lock()
	killed = true
	mu.Unlock()
	defer func() {
		if t.Failed() {
			t.Logf("taken over: %v, the last error: %v", g.TakenOver(), last)
		}
	}()
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, ok := range resumed {
			if ok {
				n++
			}
		}
		return n == sims
	}, 20*time.Second, 50*time.Millisecond, "every SIM is served again")
	stop()
	wg.Wait()
	require.Zero(t, again, "SEQ given twice, of %d, with %d requests refused meanwhile", len(seen), failed)
}

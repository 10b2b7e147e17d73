package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/identity"
)

func TestCallsThatWaitAreSentTogether(t *testing.T) {
	const calls = 500
	var mu sync.Mutex
	var sizes []int
	flying, most := 0, 0
	gate := make(chan struct{})
	b := batcher{send: func(batch []*call) {
		mu.Lock()
		sizes = append(sizes, len(batch))
		flying++
		most = max(most, flying)
		mu.Unlock()
		<-gate
		for _, c := range batch {
			c.reply = []string{fmt.Sprint(c.args[0])}
		}
		mu.Lock()
		flying--
		mu.Unlock()
	}}
	var wg sync.WaitGroup
	run := func(i int) {
		wg.Go(func() {
			reply, err := b.do(call{args: []any{i}})
			if err != nil || len(reply) != 1 || reply[0] != fmt.Sprint(i) {
				t.Errorf("call %d: %v, %v", i, reply, err)
			}
		})
	}
	run(0)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(sizes) == 1
	}, 20*time.Second, time.Millisecond, "a call that is alone goes out at once")
	for i := 1; i < calls; i++ {
		run(i)
	}
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.waiting) == calls-1
	}, 20*time.Second, time.Millisecond)
	close(gate)
	wg.Wait()
	require.Equal(t, 1, most)
	require.Equal(t, []int{1, min(calls-1, maxBatch)}, sizes[:2])
	require.LessOrEqual(t, len(sizes), 1+(calls+maxBatch-1)/maxBatch)
	require.False(t, b.flying)
}

func TestPanicWhileSendingLeavesNobodyWaiting(t *testing.T) {
	b := batcher{send: func([]*call) { panic("a fault of ours") }}
	for range 3 {
		_, err := b.do(call{})
		require.ErrorContains(t, err, "a fault of ours")
	}
	require.False(t, b.flying)
}

func TestScriptsAreLoadedAgainWhenRedisHasLostThem(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		require.NoError(t, s.Add(ctx, imsi, profile, keys, 0, epoch))
		require.NoError(t, s.redis.ScriptFlush(ctx).Err())
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				_, err := s.Advance(ctx, imsi, fmt.Sprintf("mme%d", i%3), 1, nil, epoch)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		_, err := s.Advance(ctx, identity.IMSI("999700000000099"), "mme1", 1, nil, epoch)
		require.ErrorIs(t, err, ErrUnknown)
	})
}

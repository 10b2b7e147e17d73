package provision

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
)

// SIMs that were put in before there was a list of IMSIs are listed soon after the start, without a command.
func TestListIsMadeAtTheStart(t *testing.T) {
	server := redistest.Start(t)
	before := openStore(t, server.Address, kek)
	keys := aka.Credentials{K: aka.KeyOf(make([]byte, 16)), OPc: aka.KeyOf(make([]byte, 16))}
	require.NoError(t, before.Add(t.Context(), imsi1, subscriber.Profile{}, keys, 0, time.Now()))
	raw := redis.NewClient(&redis.Options{Addr: server.Address})
	defer func() { _ = raw.Close() }()
	require.EqualValues(t, 2, raw.Del(t.Context(), "imsi-lists", "imsi-blocks").Val())

	after := openStore(t, server.Address, kek)
	_, err := after.Search(t.Context(), store.Match{}, 10)
	require.ErrorIs(t, err, store.ErrNotListed)
	require.ErrorContains(t, refusal("SIM", err), "hss job list")
	v, err := New(DefaultConfig(), after, &told{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) })
	defer running.Wait()
	defer stop()
	require.Eventually(t, func() bool {
		all, err := after.Search(t.Context(), store.Match{}, 10)
		return err == nil && len(all) == 1
	}, patience, patienceStep)
}

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
)

// A Redis that answers and takes no writes is as good as away: peers are told so, the metric and the log say so, and the
// service comes back by itself.
func TestRedisThatTakesNoWrites(t *testing.T) {
	server := redistest.Start(t)
	d := newDaemon(t, server.Address)
	d.start()
	const imsi = "999700000000001"
	requireRun(t, "k: "+kHex+"\nop: "+opHex, "sim", "add", "--socket", d.socket, "--imsi", imsi, "--apn", "internet", "--keys-file", "-")
	keyring, err := store.ParseKeyring(store.GenerateKEK("k1"))
	require.NoError(t, err)
	records, err := store.Open(store.Config{Addresses: []string{server.Address}, Within: time.Second}, keyring, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer records.Close()
	up := func() float64 { return testutil.ToFloat64(redisUp(t.Context(), records)) }
	r := redis.NewClient(&redis.Options{Addr: server.Address})
	defer r.Close()
	for _, row := range []struct {
		name, says string
		ruin, mend []any
	}{
		{"is out of memory", "OOM", []any{"CONFIG", "SET", "maxmemory", "1mb"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		{"is a replica", "READONLY", []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}},
		{"lacks replicas", "NOREPLICAS", []any{"CONFIG", "SET", "min-replicas-to-write", "1"}, []any{"CONFIG", "SET", "min-replicas-to-write", "0"}},
	} {
		d.attach(imsi)
		require.InDelta(t, 1, up(), 0, row.name)
		require.NoError(t, r.Do(t.Context(), row.ruin...).Err())
		d.requireAIR(imsi, 4181)
		require.InDelta(t, 0, up(), 0, row.name)
		require.Eventually(t, func() bool {
			return regexp.MustCompile(`level=WARN msg="Redis takes no writes.*` + row.says).MatchString(d.log.String())
		}, patience, 10*time.Millisecond, row.name)
		before := strings.Count(d.log.String(), "Redis takes writes again")
		require.NoError(t, r.Do(t.Context(), row.mend...).Err())
		require.Eventually(t, func() bool {
			return strings.Count(d.log.String(), "Redis takes writes again") == before+1
		}, patience, 10*time.Millisecond, row.name)
	}
	d.attach(imsi)
}

// What the page shows of a configuration is one.
func TestConfigurationOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/hss.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.GreaterOrEqual(t, len(blocks), 2)
	var whole strings.Builder
	for _, b := range blocks {
		whole.WriteString(b[1])
	}
	file := filepath.Join(t.TempDir(), "hss.yaml")
	require.NoError(t, os.WriteFile(file, []byte(whole.String()), 0o600))
	requireRun(t, "", "config", "check", "-c", file)
}

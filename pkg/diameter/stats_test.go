package diameter

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// requestCount collects one counter of requests.
type requestCount struct {
	n   *Node
	key requestKey
}

func (r requestCount) Describe(ch chan<- *prometheus.Desc) { ch <- descRequests }

func (r requestCount) Collect(ch chan<- prometheus.Metric) {
	r.n.stats.mu.Lock()
	defer r.n.stats.mu.Unlock()
	k := r.key
	ch <- prometheus.MustNewConstMetric(descRequests, prometheus.CounterValue, float64(r.n.stats.requests[k]), k.direction, k.command, k.peer, k.result)
}

func TestCollectorIsSound(t *testing.T) {
	n, address := start(t, testConfig(), answerNothing)
	c := connect(t, address, mmeHost)
	c.ask(c.air())
	problems, err := testutil.CollectAndLint(n)
	require.NoError(t, err)
	require.Empty(t, problems)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(n))
	_, err = registry.Gather()
	require.NoError(t, err)
}

func TestNumberOfSeriesIsBounded(t *testing.T) {
	s := newStats()
	for i := range maxSeries + 10 {
		s.request("AIR", fmt.Sprintf("mme%d", i), "2001", 0)
	}
	require.Len(t, s.requests, maxSeries+1)
	require.EqualValues(t, 10, s.requests[requestKey{"received", "AIR", "other", "2001"}])
}

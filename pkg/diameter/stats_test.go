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
	k, v := r.key, uint64(0)
	if s := r.n.stats.requests[k]; s != nil {
		v = s.n
	}
	ch <- prometheus.MustNewConstMetric(descRequests, prometheus.CounterValue, float64(v), k.direction, k.command, k.peer, k.result)
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

// Whatever peers call themselves and answer, the series are those of the configuration and of what we know.
func TestNumberOfSeriesIsBounded(t *testing.T) {
	cfg := testConfig()
	cfg.Peers = append(cfg.Peers, PeerConfig{Host: "mme1.other.example"})
	n, address := start(t, cfg, answerNothing)
	for i := range 20 {
		c := connect(t, address, fmt.Sprintf("mme%d.visited.example", i))
		requireResult(t, c.ask(c.air()), Success)
		done := make(chan error, 1)
		go func() {
			_, err := n.Send(t.Context(), Outgoing{Host: c.host, Realm: mmeRealm, Application: s6a, Command: 317})
			done <- err
		}()
		clr := c.next()
		clr.Request = false
		clr.AVPs = []AVP{ResultCode.Unsigned(uint32(90_000 + i))}
		c.send(clr)
		require.Error(t, <-done)
		stranger := dial(t, address)
		requireResult(t, stranger.ask(stranger.cerOf(fmt.Sprintf("mme%d.strange.example", i))), UnknownPeer)
		_, err := c.Write(octets(t, "02 00 00 00 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02"))
		require.NoError(t, err)
		c.closed()
	}
	want := map[requestKey]uint64{
		{"received", "CER", "*.visited.example", "2001"}: 20, {"received", "CER", "stranger", "3010"}: 20,
		{"received", "AIR", "*.visited.example", "2001"}: 20, {"sent", "CLR", "*.visited.example", "other"}: 20,
	}
	got := map[requestKey]uint64{}
	n.stats.mu.Lock()
	for k, s := range n.stats.requests {
		got[k] = s.n
	}
	require.Equal(t, want, got)
	require.Equal(t, map[string]uint64{"*.visited.example": 20}, n.stats.frames)
	n.stats.mu.Unlock()
	require.Equal(t, 1, testutil.CollectAndCount(n.stats.took), "the handler ran for AIRs only")

	connect(t, address, "mme1.visited.example")
	connect(t, address, "mme2.visited.example")
	up, err := testutil.GatherAndCount(registryOf(t, n), "diameter_peer_up")
	require.NoError(t, err)
	require.Equal(t, 2, up, "one for each entry, of which one has nobody")
}

func registryOf(t *testing.T, c prometheus.Collector) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewRegistry()
	require.NoError(t, r.Register(c))
	return r
}

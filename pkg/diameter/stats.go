package diameter

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CommandName returns the command's abbreviation as the standard has it (AIR, AIA), or "unknown".
func CommandName(h Header) string {
	def := Standard.Command(h.Application, h.Command)
	switch {
	case def == nil:
		return "unknown"
	case h.Request:
		return def.Short + "R"
	}
	return def.Short + "A"
}

// durations are the upper bounds of the histogram's buckets, in seconds.
var durations = []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5}

type requestKey struct{ direction, command, peer, result string }

// stats counts; the collector reads.
type stats struct {
	mu       sync.Mutex
	requests map[requestKey]uint64
	refusals map[string]uint64 // connections, by reason
	frames   map[string]uint64 // framing errors, by peer
	took     *prometheus.HistogramVec
	stray    atomic.Uint64
	repeated atomic.Uint64
	panics   atomic.Uint64
}

func newStats() *stats {
	return &stats{
		requests: map[requestKey]uint64{}, refusals: map[string]uint64{}, frames: map[string]uint64{},
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "diameter_request_duration_seconds", Buckets: durations,
			Help: "Time from a request's start of work to its answer, by command.",
		}, []string{"command"}),
	}
}

// request counts one answered request; took is 0 when no handler ran.
func (s *stats) request(command, peer, result string, took time.Duration) {
	if took > 0 {
		s.took.WithLabelValues(command).Observe(took.Seconds())
	}
	s.count(requestKey{"received", command, peer, result})
}

func (s *stats) sentRequest(command, peer, result string) {
	s.count(requestKey{"sent", command, peer, result})
}

// maxSeries bounds the counters of requests: a wildcard in the peers' configuration allows any number of names.
const maxSeries = 10_000

func (s *stats) count(k requestKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.requests[k]; !known && len(s.requests) >= maxSeries {
		k.peer = "other"
	}
	s.requests[k]++
}

func (s *stats) refused(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[reason]++
}

func (s *stats) malformed(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames[peer]++
}

func (s *stats) strayAnswer() { s.stray.Add(1) }

func (s *stats) duplicate() { s.repeated.Add(1) }

func (s *stats) panicked() { s.panics.Add(1) }

// Metrics of a node.
var (
	descRequests = prometheus.NewDesc("diameter_requests_total",
		"Requests by direction, command, neighbour and result of the answer (none: no answer came).",
		[]string{"direction", "command", "peer", "result"}, nil)
	descRefused = prometheus.NewDesc("diameter_connections_refused_total",
		"Connections closed before they were open, by reason.", []string{"reason"}, nil)
	descMalformed = prometheus.NewDesc("diameter_malformed_total",
		"Connections closed because what the peer sent was no Diameter message.", []string{"peer"}, nil)
	descStray = prometheus.NewDesc("diameter_stray_answers_total",
		"Answers that nobody waited for.", nil, nil)
	descDuplicates = prometheus.NewDesc("diameter_duplicates_total",
		"Requests with the T bit that were answered as before.", nil, nil)
	descPanics = prometheus.NewDesc("diameter_handler_panics_total",
		"Requests answered 5012 because the handler panicked. Anything but 0 is a fault of ours.", nil, nil)
	descPeers = prometheus.NewDesc("diameter_peer_up",
		"1 for each open peer, 0 while it is suspect (RFC 3539).", []string{"peer", "transport"}, nil)
)

// Describe is part of prometheus.Collector.
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descRefused, descMalformed, descStray, descDuplicates, descPanics, descPeers} {
		ch <- d
	}
	n.stats.took.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := n.stats
	s.mu.Lock()
	for k, v := range s.requests {
		counter(descRequests, v, k.direction, k.command, k.peer, k.result)
	}
	for reason, v := range s.refusals {
		counter(descRefused, v, reason)
	}
	for peer, v := range s.frames {
		counter(descMalformed, v, peer)
	}
	s.mu.Unlock()
	counter(descStray, s.stray.Load())
	counter(descDuplicates, s.repeated.Load())
	counter(descPanics, s.panics.Load())
	for _, p := range n.Peers() {
		up := 1.0
		if p.State != "okay" {
			up = 0
		}
		ch <- prometheus.MustNewConstMetric(descPeers, prometheus.GaugeValue, up, p.Host, p.Transport)
	}
	s.took.Collect(ch)
}

package diameter

import (
	"slices"
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

// series is one counter of requests, and how long the handler took for those of ours to answer.
type series struct {
	n    uint64
	took prometheus.Observer // nil for requests that we have sent
}

// stats counts; the collector reads. Its labels are bounded by the configuration and by what we know: a peer is an entry of
// the configuration or a stranger, a result one of ours or of results.
type stats struct {
	mu       sync.Mutex
	requests map[requestKey]*series
	refusals map[string]uint64    // connections, by reason
	frames   map[string]uint64    // framing errors, by peer
	ends     map[[2]string]uint64 // of open connections, by peer and reason
	took     *prometheus.HistogramVec
	stray    atomic.Uint64
	repeated atomic.Uint64
	panics   atomic.Uint64
}

// stranger is the peer label of all who are not in the configuration.
const stranger = "stranger"

func newStats() *stats {
	return &stats{
		requests: map[requestKey]*series{}, refusals: map[string]uint64{}, frames: map[string]uint64{}, ends: map[[2]string]uint64{},
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "diameter_request_duration_seconds", Buckets: durations,
			Help: "Time from a received request's start of work to its answer, by command, neighbour and result of the answer.",
		}, []string{"command", "peer", "result"}),
	}
}

// request counts one answered request; took is 0 when no handler ran.
func (s *stats) request(command, peer, result string, took time.Duration) {
	k := requestKey{"received", command, peer, result}
	s.mu.Lock()
	r := s.of(k)
	if took > 0 && r.took == nil {
		r.took = s.took.WithLabelValues(command, peer, result)
	}
	observer := r.took
	s.mu.Unlock()
	if took > 0 {
		observer.Observe(took.Seconds())
	}
}

// of counts one more of a series and returns it. The caller holds mu.
func (s *stats) of(k requestKey) *series {
	r := s.requests[k]
	if r == nil {
		r = new(series)
		s.requests[k] = r
	}
	r.n++
	return r
}

func (s *stats) sentRequest(command, peer, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(requestKey{"sent", command, peer, result})
}

// results are those of RFC 6733 7.1 and TS 29.272 7.4 that a peer may answer and that have a series of their own.
var results = map[uint32][]uint32{
	0: {
		1001, 2001, 2002, 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008, 3009, 3010, 4001, 4002, 4003,
		5001, 5002, 5003, 5004, 5005, 5006, 5007, 5008, 5009, 5010, 5011, 5012, 5013, 5014, 5015, 5017,
	},
	Vendor3GPP: {4181, 4182, 5001, 5003, 5004, 5420, 5421, 5422, 5423},
}

// knownResult is the label of an answer that a peer has sent, which may say anything.
func knownResult(vendor, code uint32) string {
	if slices.Contains(results[vendor], code) {
		return resultLabel(vendor, code)
	}
	return "other"
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

func (s *stats) ended(peer, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[[2]string{peer, reason}]++
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
	descEnded = prometheus.NewDesc("diameter_connections_ended_total",
		"Connections of peers that have ended, by reason.", []string{"peer", "reason"}, nil)
	descStray = prometheus.NewDesc("diameter_stray_answers_total",
		"Answers that nobody waited for.", nil, nil)
	descDuplicates = prometheus.NewDesc("diameter_duplicates_total",
		"Requests with the T bit that were answered as before.", nil, nil)
	descPanics = prometheus.NewDesc("diameter_handler_panics_total",
		"Requests answered 5012 because the handler panicked. Anything but 0 is a fault of ours.", nil, nil)
	descPeers = prometheus.NewDesc("diameter_peer_up",
		"Open peers of each entry of the configuration that answer their watchdogs (RFC 3539): of a host 1 or 0.", []string{"peer"}, nil)
)

// Describe is part of prometheus.Collector.
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descRefused, descMalformed, descEnded, descStray, descDuplicates, descPanics, descPeers} {
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
		counter(descRequests, v.n, k.direction, k.command, k.peer, k.result)
	}
	for reason, v := range s.refusals {
		counter(descRefused, v, reason)
	}
	for peer, v := range s.frames {
		counter(descMalformed, v, peer)
	}
	for k, v := range s.ends {
		counter(descEnded, v, k[0], k[1])
	}
	s.mu.Unlock()
	counter(descStray, s.stray.Load())
	counter(descDuplicates, s.repeated.Load())
	counter(descPanics, s.panics.Load())
	up := map[string]int{}
	for _, p := range n.cfg.Peers {
		up[p.label()] = 0
	}
	for _, c := range n.open() {
		if c.isOkay() {
			up[c.config.label()]++
		}
	}
	for peer, v := range up {
		ch <- prometheus.MustNewConstMetric(descPeers, prometheus.GaugeValue, float64(v), peer)
	}
	s.took.Collect(ch)
}

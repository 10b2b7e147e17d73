package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
)

// collector shows the node's state when it is scraped. Labels are bounded: types, causes, and names of the
// configuration; never what names a subscriber.
type collector struct {
	node *pgwc
	desc map[string]*prometheus.Desc
}

// metrics are all metrics of the PGW-C, with their labels.
var metrics = []struct {
	name, help string
	labels     []string
}{
	{"answers_total", "Answers to SGWs by request and cause.", []string{"procedure", "cause"}},
	{"sessions", "PDN connections in service by APN and PGW-U.", []string{"apn", "node"}},
	{"node_up", "1 when the PGW-U is associated.", []string{"node"}},
	{"pool_addresses", "UE addresses by chunk and state: used, resting (released a short while ago) or free.", []string{"pool", "prefix", "node", "state"}},
	{"sessions_ended_total", "PDN connections that this node ended, by whether the SGW agreed.", []string{"result"}},
	{"sessions_abandoned", "PFCP sessions that may still be at a PGW-U which did not answer; their addresses are taken.", nil},
	{"restart_counter", "The GTP restart counter: it rises when sessions were lost.", nil},
	{"shard_inputs_total", "Inputs that the shards handled.", nil},
	{"shard_wait_seconds_total", "Time that those inputs waited for their shard: rising against their number, a shard is saturated.", nil},
	{"shard_inputs_waiting", "Inputs that wait for a shard now.", nil},
	{"shard_overloads_total", "Requests dropped because too many waited for a shard.", nil},
	{"panics_total", "Messages that made a handler panic; each was refused or dropped.", []string{"part"}},
	{"gtpc_received_total", "GTPv2-C messages received by type.", []string{"type"}},
	{"gtpc_other_versions_total", "GTP-C datagrams of other versions received, by version.", []string{"version"}},
	{"gtpc_parse_errors_total", "GTPv2-C messages that were refused as faulty, by cause.", []string{"cause"}},
	{"gtpc_dropped_total", "GTP-C datagrams dropped without an answer, by reason.", []string{"reason"}},
	{"gtpc_duplicates_total", "Requests received again: answered with the same octets, or in progress.", nil},
	{"gtpc_answers_evicted_total", "Answers forgotten before their time for want of room.", nil},
	{"gtpc_sent_total", "GTP-C datagrams sent, retransmissions among them.", nil},
	{"gtpc_socket_errors_total", "Datagrams that the socket did not send or receive.", []string{"direction"}},
	{"gtpc_retransmissions_total", "Requests to SGWs sent again.", nil},
	{"gtpc_timeouts_total", "Requests to SGWs that were never answered.", nil},
	{"gtpc_stale_restarts_total", "Restart counters of SGWs that came late and were discarded.", nil},
	{"gtpc_requests_pending", "Requests to SGWs without an answer now.", nil},
	{"gtpc_requests_remembered", "Requests of SGWs remembered now, for their duplicates.", nil},
	{"gtpc_paths", "SGWs with sessions now, by whether they answer Echo Requests.", []string{"state"}},
	{"gtpc_path_events_total", "Restarts, losses and returns of SGWs.", []string{"event"}},
	{"pfcp_session_reports_total", "Reports of PGW-Us about sessions, by what they say.", []string{"report"}},
	{"pfcp_received_total", "PFCP messages received by type.", []string{"type"}},
	{"pfcp_parse_errors_total", "PFCP messages that were faulty, by cause.", []string{"cause"}},
	{"pfcp_retransmissions_total", "Requests to PGW-Us sent again.", nil},
	{"pfcp_timeouts_total", "Requests to PGW-Us that were never answered.", nil},
	{"pfcp_requests_pending", "Requests to PGW-Us without an answer now.", nil},
	{"pfcp_unknown_peers_total", "Association requests from nodes that are not configured: refused.", nil},
}

func newCollector(p *pgwc) *collector {
	c := &collector{node: p, desc: make(map[string]*prometheus.Desc)}
	for _, m := range metrics {
		c.desc[m.name] = prometheus.NewDesc("xepc_pgwc_"+m.name, m.help, m.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range c.desc {
		descs <- d
	}
}

// scrape collects the values of one scrape.
type scrape struct {
	*collector
	out chan<- prometheus.Metric
}

func (s scrape) counter(name string, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.desc[name], prometheus.CounterValue, value, labels...)
}

func (s scrape) gauge(name string, value int, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.desc[name], prometheus.GaugeValue, float64(value), labels...)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := scrape{c, out}
	edge := c.node.s8.Stats()
	s.sessions(edge)
	s.gtpc(edge.GTPC)
	s.pfcp(c.node.up.Stats())
}

func (s scrape) sessions(stats s8.Stats) {
	for a, n := range stats.Answers {
		s.counter("answers_total", float64(n), a.Procedure.String(), a.Cause.String())
	}
	for p, n := range stats.Sessions {
		s.gauge("sessions", n, string(p.APN), p.Node)
	}
	for _, n := range s.node.up.Nodes() {
		up := 0
		if n.State == sxb.StateAssociated {
			up = 1
		}
		s.gauge("node_up", up, n.Name)
	}
	for _, u := range s.node.pools() {
		s.gauge("pool_addresses", u.Used, u.Pool, u.Prefix, u.Node, "used")
		s.gauge("pool_addresses", u.Resting, u.Pool, u.Prefix, u.Node, "resting")
		s.gauge("pool_addresses", u.Free, u.Pool, u.Prefix, u.Node, "free")
	}
	s.counter("sessions_ended_total", float64(stats.Ended), "agreed")
	s.counter("sessions_ended_total", float64(stats.EndedAlone), "unanswered")
	s.gauge("sessions_abandoned", stats.Abandoned)
	s.gauge("restart_counter", int(s.node.generation.RestartCounter))
	s.counter("shard_inputs_total", float64(stats.Inputs))
	s.counter("shard_wait_seconds_total", stats.Waited.Seconds())
	s.gauge("shard_inputs_waiting", stats.Waiting)
	s.counter("shard_overloads_total", float64(stats.Overloads))
	s.counter("panics_total", float64(stats.Panics), "shard")
	for kind, n := range stats.Reports {
		s.counter("pfcp_session_reports_total", float64(n), kind)
	}
	for kind, n := range stats.PathEvents {
		s.counter("gtpc_path_events_total", float64(n), kind.String())
	}
}

func (s scrape) gtpc(stats gtpc.Stats) {
	for t, n := range stats.Received {
		s.counter("gtpc_received_total", float64(n), t.String())
	}
	for version, n := range stats.OtherVersions {
		if n > 0 {
			s.counter("gtpc_other_versions_total", float64(n), strconv.Itoa(version))
		}
	}
	for cause, n := range stats.ParseErrors {
		s.counter("gtpc_parse_errors_total", float64(n), cause.String())
	}
	s.counter("gtpc_dropped_total", float64(stats.ForeignPeers), "foreign_peer")
	s.counter("gtpc_dropped_total", float64(stats.ShortHeaders), "short_header")
	s.counter("gtpc_dropped_total", float64(stats.UnknownMessages), "unknown_message")
	s.counter("gtpc_dropped_total", float64(stats.Overloads), "overload")
	s.counter("gtpc_dropped_total", float64(stats.Unsolicited), "unsolicited")
	s.counter("gtpc_duplicates_total", float64(stats.Duplicates))
	s.counter("gtpc_answers_evicted_total", float64(stats.Evicted))
	s.counter("panics_total", float64(stats.Panics), "gtpc")
	s.counter("gtpc_sent_total", float64(stats.Sent))
	s.counter("gtpc_socket_errors_total", float64(stats.SendErrors), "send")
	s.counter("gtpc_socket_errors_total", float64(stats.ReceiveErrors), "receive")
	s.counter("gtpc_retransmissions_total", float64(stats.Retransmissions))
	s.counter("gtpc_timeouts_total", float64(stats.Timeouts))
	s.counter("gtpc_stale_restarts_total", float64(stats.StaleRestarts))
	s.gauge("gtpc_requests_pending", stats.Pending)
	s.gauge("gtpc_requests_remembered", stats.Cached)
	s.gauge("gtpc_paths", stats.Paths-stats.PathsDown, "up")
	s.gauge("gtpc_paths", stats.PathsDown, "down")
}

func (s scrape) pfcp(stats sxb.Stats) {
	for t, n := range stats.Received {
		s.counter("pfcp_received_total", float64(n), t.String())
	}
	for cause, n := range stats.ParseErrors {
		s.counter("pfcp_parse_errors_total", float64(n), cause.String())
	}
	s.counter("panics_total", float64(stats.Panics), "pfcp")
	s.counter("pfcp_retransmissions_total", float64(stats.Retransmissions))
	s.counter("pfcp_timeouts_total", float64(stats.Timeouts))
	s.gauge("pfcp_requests_pending", stats.Pending)
	s.counter("pfcp_unknown_peers_total", float64(stats.UnknownPeers))
}

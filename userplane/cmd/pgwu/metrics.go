package main

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xepc/xepc/userplane/slowpath"
	"github.com/xepc/xepc/userplane/sxb"
)

// collector reads everything at scrape; docs/pgwu.md explains each metric.
type collector struct{ d *daemon }

func newCollector(d *daemon) prometheus.Collector { return collector{d} }

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("xepc_pgwu_"+name, help, labels, nil)
}

// The metrics, each described once. They are only read.
var (
	descPackets = metric("packets_total", "Packets by the reason why they left the data path the way they did.", "reason")
	descCopies  = metric("copies_total", "Duplicates of packets that FARs asked for, by outcome.", "outcome")
	descSlow    = metric("slowpath_total", "GTP-U signalling by its outcome in the slow path.", "outcome")
	descAnswers = metric("pfcp_responses_total", "PFCP requests answered, by procedure and cause.", "procedure", "cause")
	descWire    = metric("pfcp_received_total", "PFCP messages received, by type, duplicates among them.", "message")
	descFaults  = metric("pfcp_parse_errors_total", "PFCP messages that did not parse, by the cause that they got.", "cause")
	descOdd     = metric("pfcp_events_total", "What happened to PFCP datagrams beside the ordinary.", "event")
	descPeer    = metric("pfcp_peer_up", "1 while a control plane is associated and answers, 0 while it is lost.", "peer")
	descSession = metric("sessions", "PFCP sessions, by control plane.", "peer")
	descPurged  = metric("sessions_purged_total", "Sessions removed because their control plane restarted, released, stayed lost or does not know them any more.")
	descSlots   = metric("teid_slots", "TEID slots of a slice, by state.", "slice", "state")
	descUsed    = metric("table_used", "Elements of a table of the data path that are in use.", "table")
	descSize    = metric("table_size", "Elements that a table of the data path has.", "table")
	descPools   = metric("ue_addresses", "UE addresses of a pool of ours, by family and state.", "pool", "family", "state")
	descWait    = metric("shard_wait_seconds_total", "Time that requests waited for their session's shard, all together.")
	descWaits   = metric("shard_requests_total", "Requests that shards took.")
	descWaitMax = metric("shard_wait_max_seconds", "Longest wait for a shard since the last scrape.")
	descJournal = metric("journal_octets", "Octets of the journal, by whether they are up to date.", "state")
	descRepairs = metric("reconcile_repairs", "Entries that differed from the sessions at start, by what was done.", "repair")
	descStamp   = metric("recovery_time_stamp", "The Recovery Time Stamp announced: it changes only when sessions were lost.")
)

// Describe sends the descriptions.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descPackets, descCopies, descSlow, descAnswers, descWire, descFaults, descOdd, descPeer, descSession, descPurged, descSlots, descUsed, descSize, descPools,
		descWait, descWaits, descWaitMax, descJournal, descRepairs, descStamp,
	} {
		ch <- d
	}
}

// Collect reads and sends the values.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if reasons, err := c.d.dp.Reader().Reasons(); err == nil {
		for _, r := range reasons {
			counter(descPackets, float64(r.Packets), r.Name)
		}
	} else {
		ch <- prometheus.NewInvalidMetric(descPackets, err)
	}
	if copies, err := c.d.dp.Reader().Copies(); err == nil {
		counter(descCopies, float64(copies.Made), "made")
		counter(descCopies, float64(copies.Lost), "lost")
	} else {
		ch <- prometheus.NewInvalidMetric(descCopies, err)
	}
	slow := c.d.slow.Counts()
	for _, o := range slowpath.Outcomes() {
		counter(descSlow, float64(slow[o]), o.String())
	}
	s := c.d.edge.Stats()
	c.pfcp(s, counter)
	for _, p := range c.d.edge.Peers() {
		up := 1.0
		if p.State == "lost" {
			up = 0
		}
		gauge(descPeer, up, p.NodeID)
		gauge(descSession, float64(p.Sessions), p.NodeID)
	}
	size := c.d.journal.Size()
	gauge(descJournal, float64(size.Live), "live")
	gauge(descJournal, float64(size.Octets-size.Live), "outdated")
	gauge(descRepairs, float64(c.d.repairs.Added), "added")
	gauge(descRepairs, float64(c.d.repairs.Changed), "changed")
	gauge(descRepairs, float64(c.d.repairs.Removed), "removed")
	gauge(descStamp, float64(c.d.edge.RecoveryTimeStamp()))
	counter(descPurged, float64(s.Purged))
	counter(descWait, s.Waited.Seconds())
	counter(descWaits, float64(s.Requests))
	gauge(descWaitMax, s.LongestWait.Seconds())
	for _, slots := range s.Slots {
		gauge(descSlots, float64(slots.Free), slots.Slice.String(), "free")
		gauge(descSlots, float64(slots.Live), slots.Slice.String(), "live")
		gauge(descSlots, float64(slots.Resting), slots.Slice.String(), "resting")
	}
	for _, t := range c.d.dp.TableUses() {
		gauge(descUsed, float64(t.Used), t.Table)
		gauge(descSize, float64(t.Size), t.Table)
	}
	for _, p := range s.Pools {
		gauge(descPools, float64(p.Free), p.Pool, p.Family, "free")
		gauge(descPools, float64(p.Live), p.Pool, p.Family, "live")
		gauge(descPools, float64(p.Resting), p.Pool, p.Family, "resting")
	}
}

// label is the standard's words in the form of a label's value.
func label(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "_") }

func (c collector) pfcp(s sxb.Stats, counter func(*prometheus.Desc, float64, ...string)) {
	for _, n := range s.Causes {
		counter(descAnswers, float64(n.Count), label(strings.TrimSuffix(n.Request.String(), " Request")), label(n.Cause.String()))
	}
	for t, n := range s.Endpoint.Received {
		counter(descWire, float64(n), label(t.String()))
	}
	for cause, n := range s.Endpoint.ParseErrors {
		counter(descFaults, float64(n), label(cause.String()))
	}
	for event, n := range map[string]uint64{
		"short_header": s.Endpoint.ShortHeaders, "version_not_supported": s.Endpoint.VersionNotSupported,
		"unknown_message": s.Endpoint.UnknownMessages, "duplicate": s.Endpoint.Duplicates, "evicted": s.Endpoint.Evicted,
		"panic": s.Endpoint.Panics + s.Panics, "sent": s.Endpoint.Sent, "send_error": s.Endpoint.SendErrors,
		"retransmission": s.Endpoint.Retransmissions, "timeout": s.Endpoint.Timeouts, "unsolicited": s.Endpoint.Unsolicited,
		"replayed": s.Replayed, "recovery_change": s.RecoveryChanges, "lost_event": s.LostEvents, "report": s.Reports, "report_unanswered": s.Unanswered,
		"report_refused": s.Unwanted, "node_report": s.NodeReports, "buffer_full": s.BufferFull,
		"buffer_returned": s.BufferReturned, "buffer_dropped": s.BufferDropped, "buffer_lost": s.BufferLost, "buffer_expired": s.BufferExpired, "drain_cut": s.DrainCut, "url_answer": s.Answers, "url_answer_lost": s.AnswersLost,
		"ignored_ie":       s.Ignored,
		"session_replaced": s.Replaced, "report_dropped": s.Dropped, "pfds_not_applied": s.Unrenamed,
	} {
		counter(descOdd, float64(n), event)
	}
}

package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xepc/xepc/hss/store"
)

// audit writes down what was done or refused. What Redis being away keeps from being written goes to the log instead.
func (v *Service) audit(ctx context.Context, verb, object, detail string, err error) {
	who := actorOf(ctx)
	result := "done"
	if err != nil {
		result = err.Error()
	}
	v.stats.operations.WithLabelValues(verb, outcome(err)).Inc()
	a := store.Audit{
		At: v.now().UTC(), Who: who.Name, From: who.From, Verb: verb,
		Object: withoutKeys(object), Detail: clip(withoutKeys(detail)), Result: clip(withoutKeys(result)), // a key may have come in another's place
	}
	if err := v.store.NoteAudit(ctx, a); err != nil {
		v.log.Warn("an entry of the audit log is here only", "who", a.Who, "from", a.From, "verb", a.Verb, "result", a.Result, "err", err)
	}
}

func outcome(err error) string {
	if err == nil {
		return "done"
	}
	return "refused"
}

const maxDetail = 2000 // octets; bounds an audit entry

func clip(s string) string {
	if len(s) > maxDetail {
		return strings.ToValidUTF8(s[:maxDetail], "") + "…"
	}
	return s
}

// difference says what is different between two values as JSON has them, "" when nothing is.
func difference(before, after any) string {
	old, err := asMap(before)
	next, err2 := asMap(after)
	if err != nil || err2 != nil {
		return "unknown"
	}
	was, is := leaves(old), leaves(next)
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	var all []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if was[key] != is[key] {
			all = append(all, fmt.Sprintf("%s: %s → %s", key, orNone(was[key]), orNone(is[key])))
		}
	}
	return strings.Join(all, "; ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func leaves(m map[string]any) map[string]string {
	all := map[string]string{}
	var walk func(string, any)
	walk = func(key string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for k, v := range value {
				walk(strings.TrimPrefix(key+"."+k, "."), v)
			}
		case []any:
			for i, v := range value {
				walk(fmt.Sprintf("%s[%d]", key, i), v)
			}
		case float64:
			all[key] = fmt.Sprintf("%.0f", value)
		default:
			all[key] = fmt.Sprint(value)
		}
	}
	walk("", m)
	return all
}

type stats struct {
	operations *prometheus.CounterVec
	pushes     *prometheus.CounterVec
	rows       *prometheus.CounterVec
	requests   *prometheus.HistogramVec
}

// What became of a change that the serving nodes are to hear of.
const (
	toldDone  = "done"
	toldLater = "later"
)

func newStats() stats {
	return stats{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provision_operations_total", Help: "What was done or refused through provisioning, as the audit log has it.",
		}, []string{"verb", "result"}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provision_changes_told_total", Help: "Changes handed over for the serving nodes; later ones are tried again every 5 s.",
		}, []string{"result"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provision_import_rows_total", Help: "Rows of imports, by what became of them.",
		}, []string{"result"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "provision_request_duration_seconds", Help: "Time that requests of the REST API took.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"operation", "status"}),
	}
}

func (s stats) all() []prometheus.Collector {
	return []prometheus.Collector{s.operations, s.pushes, s.rows, s.requests}
}

// Describe is part of prometheus.Collector.
func (v *Service) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range v.stats.all() {
		c.Describe(ch)
	}
}

// Collect is part of prometheus.Collector.
func (v *Service) Collect(ch chan<- prometheus.Metric) {
	for _, c := range v.stats.all() {
		c.Collect(ch)
	}
}

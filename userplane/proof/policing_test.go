package proof

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/datapath/traffic"
)

// full says whether the proofs are to be of full size: make prove.
var full = os.Getenv("XEPC_PROVE") != ""

// sized is one of two figures.
func sized[T any](short, long T) T {
	if full {
		return long
	}
	return short
}

// cpus is from how many CPUs is sent at most.
func cpus() int { return min(2, runtime.NumCPU()) }

// limited is who shares a limit.
type limited int

const (
	alone       limited = iota // one bearer with a QER of its own
	twoBearers                 // of one session, which name one QER
	connections                // two sessions whose QERs have one QER Correlation ID
)

func (l limited) String() string {
	return [...]string{"one bearer", "two bearers", "two PDN connections"}[l]
}

// police establishes them, as UEs n and n+1, and returns the flows of a direction that must share the limit.
func (n *node) police(first int, who limited, mbr uint64, octets int) (up, down []traffic.Flow, end func()) {
	rate := pfcp.Some(pfcp.BitRate{Uplink: mbr, Downlink: mbr})
	var sessions []live
	establish := func(index, bearers int, qer pfcp.CreateQER) {
		r := &pfcp.SessionEstablishmentRequest{CreateQERs: []pfcp.CreateQER{qer}}
		for b := range bearers {
			pdrs, fars := bearer(over4, index, b, []pfcp.QERID{1})
			r.CreatePDRs, r.CreateFARs = append(r.CreatePDRs, pdrs...), append(r.CreateFARs, fars...)
		}
		s := n.cp.establish(pfcp.SEID(index), r)
		require.Len(n.t, s.teids, bearers)
		for b, id := range s.teids {
			up, down = append(up, uplinkFlow(n.t, over4, id, index, octets)), append(down, downlinkFlow(n.t, index, b, octets))
		}
		sessions = append(sessions, s)
	}
	switch who {
	case alone:
		establish(first, 1, pfcp.CreateQER{ID: 1, MBR: rate})
	case twoBearers:
		establish(first, 2, pfcp.CreateQER{ID: 1, MBR: rate})
	case connections:
		for i := range 2 {
			establish(first+i, 1, pfcp.CreateQER{ID: 1, MBR: rate, CorrelationID: pfcp.Some(uint32(first))})
		}
	}
	return up, down, func() {
		for _, s := range sessions {
			s.delete()
		}
	}
}

// offered is what generators sent into one end, and what became of it.
type offered struct {
	sent      traffic.Count // without what led
	delivered traffic.Count // of it
	span      time.Duration // between the first packet of it and the last
	idle      time.Duration // of the span, in which the machine let no generator run, beyond a gap that is allowed
	balance
}

// offer sends flows from one end to the other, from each of so many CPUs; first for lead, then for as long as it counts.
func (n *node) offer(from, to *end, flows []traffic.Flow, cpus int, lead, duration, gap time.Duration) (o offered) {
	n.t.Helper()
	generators := make([]*traffic.Generator, cpus)
	for i := range generators {
		generators[i] = newGenerator(n.t, flows...)
	}
	l := open(n.t, from, to, n.reasons)
	load := traffic.Load{Start: traffic.Now() + lead, LongestGap: gap}
	load.Stop = load.Start + duration
	done := make([]<-chan error, cpus)
	for i, g := range generators {
		done[i] = traffic.OnCPU(n.ns, i, func() error { return g.Send(from.far, load) })
	}
	var first, last time.Duration
	var led traffic.Count
	busy := []time.Duration{0} // by generator
	for i, g := range generators {
		require.NoError(n.t, <-done[i])
		sent, before, err := g.Sent()
		require.NoError(n.t, err)
		o.sent.Add(sent)
		led.Add(before)
		begin, end, idle, err := g.Span()
		require.NoError(n.t, err)
		if begin == 0 {
			continue // the machine never let it
		}
		if first == 0 || begin < first {
			first = begin
		}
		last, busy = max(last, end), append(busy, end-begin-idle)
	}
	o.idle = last - first - slices.Max(busy)
	o.span, o.balance = last-first, l.close(o.sent.Packets+led.Packets)
	for s, c := range o.seen {
		if s.InnerToS != leadToS {
			o.delivered.Add(c)
		}
	}
	return o
}

// pause is how long a sender does nothing between two batches before the machine is to blame.
const pause = 2 * time.Millisecond

// TestPolicedTraffic offers more than an MBR allows, from an empty bucket: at least 0.98 of MBR × time is delivered, and at most
// MBR × time and the configured burst. MBRs beyond 4.29 Gbit/s do not wrap. Time in which the machine lets no sender run does
// not count for the lower bound.
func TestPolicedTraffic(t *testing.T) {
	n := newNode(t)
	burst := time.Duration(datapath.Default().Burst) * time.Millisecond
	duration, drain := sized(300*time.Millisecond, 10*time.Second), sized(200*time.Millisecond, 500*time.Millisecond)
	type row struct {
		who    limited
		cpus   int
		octets int
		mbr    uint64 // kbit/s
	}
	cpus := cpus()
	rows := []row{
		{alone, 1, 64, 100_000}, {alone, cpus, 1400, 5_000_000}, {twoBearers, cpus, 64, 100_000}, {connections, cpus, 1400, 5_000_000},
	}
	if full {
		rows = nil
		for _, who := range []limited{alone, twoBearers, connections} {
			for n := 1; n <= cpus; n++ {
				for _, mbr := range []uint64{1000, 100_000, 500_000} {
					rows = append(rows, row{who, n, 64, mbr})
				}
				for _, mbr := range []uint64{1000, 100_000, 2_000_000, 5_000_000, 10_000_000} {
					rows = append(rows, row{who, n, 1400, mbr})
				}
			}
		}
	}
	t.Logf("%-20s %4s %6s %9s %8s %10s %10s %9s", "limit of", "CPUs", "octets", "MBR Mb/s", "", "offered/s", "MBR×T", "delivered")
	for i, r := range rows {
		up, down, end := n.police(1+2*i, r.who, r.mbr, r.octets)
		for direction, flows := range map[string][]traffic.Flow{"uplink": up, "downlink": down} {
			from, to := &n.access, &n.core
			if direction == "downlink" {
				from, to = to, from
			}
			o := n.offer(from, to, flows, r.cpus, drain, duration, pause)
			name := fmt.Sprintf("%v, %d CPUs, %d octets, %d kbit/s, %s", r.who, r.cpus, r.octets, r.mbr, direction)

			octets := float64(r.mbr) * 125 // a second
			require.NotZero(t, o.sent.Packets, "%s: nothing was sent", name)
			passed := float64(o.delivered.Octets + o.lost[1]*uint64(r.octets))
			reached := float64(o.sent.Octets - min(o.sent.Octets, o.lost[0]*uint64(r.octets)))
			t.Logf("%-20v %4d %6d %9.0f %8s %10.3g %10.3g %9.4f", r.who, r.cpus, r.octets, float64(r.mbr)/1000, direction,
				reached/o.span.Seconds(), octets*o.span.Seconds(), passed/(octets*o.span.Seconds()))
			require.LessOrEqual(t, passed, octets*(o.span+burst).Seconds(), "%s %+v", name, o)
			require.GreaterOrEqual(t, passed, 0.98*min(octets*(o.span-o.idle).Seconds(), reached), "%s %+v", name, o)
			require.Subset(t, []string{direction + "_forwarded", "mbr_exceeded"}, slices.Collect(maps.Keys(o.reasons)), name)
		}
		end()
	}
}

// Command bench measures the data path: nanoseconds per packet, net of the harness, beside a floor program that does
// no lookups, in the same run. It needs root; it works in a network namespace of its own. The last lines of stdout are
// for machines: BENCH <name> <value> ns/pkt ratio=<to the floor>.
package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 15, "interleaved rounds; the median counts")
	packets := flag.Int("packets", 300_000, "packets of each row in a round, at most 2 million; half of them warm the caches")
	sessions := flag.String("sessions", "1,1000,50000", "sessions picked from at random")
	capacity := flag.Int("capacity", 65_536, "sessions that the tables are made for")
	flag.Parse()
	counts, err := parseCounts(*sessions, *capacity)
	if err == nil {
		err = run(os.Stdout, *rounds, *packets, counts, *capacity)
	}
	if err != nil {
		slog.Error("bench", "err", err)
		os.Exit(1)
	}
}

func parseCounts(list string, capacity int) (counts []int, err error) {
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > capacity {
			return nil, fmt.Errorf("sessions: %q is not in 1..%d", word, capacity)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// row is one measured program: its gross time in each round.
type row struct {
	name     string
	program  candidate
	sessions int
	direct   direction
	gross    []float64 // ns per packet
}

// run measures all rows in turn, round by round, so that a disturbance falls on all of them.
func run(out io.Writer, rounds, packets int, counts []int, capacity int) error {
	runtime.LockOSThread() // the namespace is the thread's
	b, err := newBed(slices.Max(counts), capacity)
	if err != nil {
		return err
	}
	defer func() {
		if err := b.close(); err != nil {
			slog.Error("clean up", "err", err)
		}
	}()
	var rows []*row
	for _, d := range []direction{uplink, downlink} {
		rows = append(rows, &row{name: "harness_" + d.String(), program: b.nothing, sessions: 1, direct: d},
			&row{name: "floor_" + d.String(), program: b.floor(d), sessions: 1, direct: d})
		for _, n := range counts {
			rows = append(rows, &row{name: fmt.Sprintf("%s_%d", d, n), program: b.datapath, sessions: n, direct: d})
		}
	}
	for round := range rounds + 1 {
		for _, r := range rows {
			ns, err := b.measure(r.direct, r.program, r.sessions, packets)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if round > 0 { // the first warms up
				r.gross = append(r.gross, ns)
			}
		}
	}
	if err := b.check(); err != nil {
		return err
	}
	report(out, rows, rounds, packets)
	return nil
}

func report(out io.Writer, rows []*row, rounds, packets int) {
	fmt.Fprintf(out, "%s %s, %d CPUs; 64-octet inner packets; usage, policing, source check and reasons on\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprintf(out, "median of %d interleaved rounds of %d packets; net: without the harness\n\n", rounds, packets)
	fmt.Fprintf(out, "%-18s %10s %10s %10s %10s\n", "", "gross ns", "net ns", "net min", "x floor")
	nets, mins := map[string]float64{}, map[string]float64{}
	for _, r := range rows {
		harness := rows[slices.IndexFunc(rows, func(o *row) bool { return o.name == "harness_"+r.direct.String() })]
		net := make([]float64, len(r.gross))
		for i := range net {
			net[i] = r.gross[i] - harness.gross[i]
		}
		nets[r.name], mins[r.name] = median(net), slices.Min(net)
		fmt.Fprintf(out, "%-18s %10.1f %10.1f %10.1f %10.2f\n", r.name, median(r.gross), nets[r.name], mins[r.name],
			nets[r.name]/max(nets["floor_"+r.direct.String()], 0.1))
	}
	fmt.Fprintln(out)
	for _, r := range rows {
		if floor := nets["floor_"+r.direct.String()]; !strings.HasPrefix(r.name, "harness_") {
			fmt.Fprintf(out, "BENCH %s %.1f ns/pkt ratio=%.2f\n", r.name, nets[r.name], nets[r.name]/max(floor, 0.1))
		}
	}
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

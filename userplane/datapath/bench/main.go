// Command bench measures the data path: nanoseconds per packet, net of the harness, beside a floor program that does
// no lookups, in the same run. It needs root; it works in network namespaces of its own. All the sessions that it measures
// stand beside each other, a data path for each row of the table: of a million sessions each, 6 GB. The last lines of stdout are
// for machines: BENCH <name> <value> ns/pkt ratio=<to the floor>; with -json a JSON array after them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/xepc/xepc/userplane/datapath"
)

// options are what the command line says.
type options struct {
	rounds, packets int
	sessions        []int
	capacity        int
	only            []string // kinds of sessions
	json            bool
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 15, "interleaved rounds; the median counts")
	flag.IntVar(&o.packets, "packets", 300_000, "packets of each row in a round, at most 2 million; half of them warm the caches")
	sessions := flag.String("sessions", "1,1000,50000", "sessions that there are, and that packets are picked from at random")
	flag.IntVar(&o.capacity, "capacity", 65_536, "sessions that the tables are made for")
	only := flag.String("only", "dense", "what to measure, of dense, scattered, ipv6, ipv6_scattered, outer6, sdf, live; or all")
	flag.BoolVar(&o.json, "json", false, "a JSON array of the rows, too, as the last line")
	flag.Parse()
	var err error
	if *only == "all" {
		*only = "dense,scattered,ipv6,ipv6_scattered,outer6,sdf,live"
	}
	o.only = strings.Split(*only, ",")
	if o.sessions, err = parseCounts(*sessions, o.capacity); err == nil {
		err = run(os.Stdout, o)
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
	first    int // session
	sessions int
	direct   direction
	gross    []float64 // ns per packet
}

// Result is a row as machines read it.
type Result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Ratio float64 `json:"ratio,omitempty"` // to the floor of the same run; of live frames, to the plain redirect
}

// part is one bed and what is measured on it.
type part struct {
	name string
	bed  *bed
	rows []*row
	live []*liveRow
}

// visitRounds are those that a bed is measured in before the next one's turn comes, after one that does not count: the tables
// of the others have been in the caches.
const visitRounds = 3

// run builds all beds and then measures every row of every bed in turn, a few rounds at a time: so each row's rounds lie all over
// the run, a minute in which somebody else needs the machine falls on a few rounds of all rows, and the medians leave it out.
// The harness and the floor that a row is compared with are measured beside it in each round.
func run(out io.Writer, o options) (err error) {
	runtime.LockOSThread() // the namespaces are the thread's
	if err := ownMounts(); err != nil {
		return err
	}
	var parts []*part
	defer func() {
		for _, p := range parts {
			if e := p.bed.close(); e != nil {
				err = errors.Join(err, fmt.Errorf("clean up: %w", e))
			}
		}
	}()
	for _, name := range o.only {
		counts := o.sessions
		if name == "live" || name == "sdf" {
			counts = counts[:1] // of all the same
		}
		for _, sessions := range counts {
			p, err := newPart(name, sessions, o)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			parts = append(parts, p)
		}
	}
	runtime.GC() // not while it measures
	for done := 0; done < o.rounds; done += visitRounds {
		for _, p := range parts {
			for round := range min(o.rounds-done, visitRounds) + 1 {
				if err := p.measure(o.packets, round > 0); err != nil { // the first brings the tables into the caches
					return fmt.Errorf("%s: %w", p.name, err)
				}
			}
		}
	}
	_, _ = fmt.Fprintf(out, "%s %s, %d CPUs; 64-octet inner packets; usage, policing, source check and reasons on\n"+
		"median of %d interleaved rounds of %d packets; net: without the harness\n\n%-22s %10s %10s %10s %10s\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds, o.packets, "", "gross ns", "net ns", "net min", "x floor")
	var results []Result
	for _, p := range parts {
		of, err := p.report(out)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for _, r := range of { // the floors are the same for all kinds
			if !slices.ContainsFunc(results, func(other Result) bool { return other.Name == r.Name }) {
				results = append(results, r)
			}
		}
	}
	_, _ = fmt.Fprintln(out)
	for _, r := range results {
		ratio := ""
		if r.Ratio != 0 {
			ratio = fmt.Sprintf(" ratio=%.2f", r.Ratio)
		}
		_, _ = fmt.Fprintf(out, "BENCH %s %.*f %s%s\n", r.Name, decimals(r.Unit), r.Value, r.Unit, ratio)
	}
	if o.json {
		return json.NewEncoder(out).Encode(results)
	}
	return nil
}

// newPart builds the bed of a kind with that many sessions.
func newPart(name string, sessions int, o options) (p *part, err error) {
	p = &part{name: name}
	if name == "live" {
		p.bed, p.live, err = newLive()
		return p, err
	}
	kinds := map[string]kind{
		"dense": dense, "scattered": scattered, "ipv6": prefixes, "ipv6_scattered": lonely, "outer6": tunnels6, "sdf": filtered,
	}
	k, known := kinds[name]
	if !known {
		return nil, errors.New("no such kind of sessions")
	}
	if p.bed, err = newBed(k, max(sessions, len(k.filters)), o.capacity); err != nil {
		return nil, err
	}
	p.rows = p.bed.rows(name, sessions)
	return p, nil
}

// measure is one round.
func (p *part) measure(packets int, keep bool) error {
	if err := p.bed.enter(); err != nil {
		return err
	}
	if p.live != nil {
		return p.bed.measureLive(p.live, packets, keep)
	}
	for _, r := range p.rows {
		ns, err := p.bed.measure(r, packets)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if keep {
			r.gross = append(r.gross, ns)
		}
	}
	return nil
}

func (p *part) report(out io.Writer) ([]Result, error) {
	if p.live != nil {
		return reportLive(out, p.live)
	}
	if err := p.bed.check(); err != nil {
		return nil, err
	}
	results := report(out, p.rows)
	if p.name == "dense" {
		octets, err := datapath.MapOctets(p.bed.pins)
		if err != nil {
			return nil, err
		}
		results = append(results, Result{Name: "kernel_bytes_per_session", Value: float64(octets) / float64(p.bed.capacity), Unit: "B"})
	}
	return results, nil
}

// rows are those of a kind, with harness and floor for each direction.
func (b *bed) rows(kind string, n int) (rows []*row) {
	add := func(name string, d direction, program candidate, first, sessions int) {
		rows = append(rows, &row{name: name, program: program, first: first, sessions: sessions, direct: d})
	}
	begin := func(d direction) {
		add("harness_"+d.String(), d, b.nothing, 0, 1)
		add("floor_"+d.String(), d, b.floor(d), 0, 1)
	}
	prefix := map[string][2]string{
		"dense": {"uplink", "downlink"}, "scattered": {"uplink_cp_teid", "downlink_static"}, "ipv6": {"", "downlink_ipv6"},
		"ipv6_scattered": {"", "downlink_ipv6_scattered"}, "outer6": {"", "downlink_outer6"},
	}[kind]
	if kind == "sdf" {
		for _, d := range []direction{uplink, downlink} {
			begin(d)
			for n, filters := range b.kind.filters {
				add(fmt.Sprintf("%v_sdf_%d", d, filters), d, b.datapath, n, 1)
			}
		}
	}
	for _, d := range []direction{uplink, downlink} {
		if prefix[d] == "" {
			continue
		}
		begin(d)
		add(fmt.Sprintf("%s_%d", prefix[d], n), d, b.datapath, 0, n)
		if b.kind.access && d == uplink {
			add(fmt.Sprintf("access_%d", n), d, b.harness.Access, 0, n)
		}
	}
	return rows
}

func report(out io.Writer, rows []*row) (results []Result) {
	nets := map[string]float64{}
	for _, r := range rows {
		harness := rows[slices.IndexFunc(rows, func(o *row) bool { return o.name == "harness_"+r.direct.String() })]
		net := make([]float64, len(r.gross))
		for i := range net {
			net[i] = r.gross[i] - harness.gross[i]
		}
		nets[r.name] = median(net)
		floor := max(nets["floor_"+r.direct.String()], 0.1)
		_, _ = fmt.Fprintf(out, "%-22s %10.1f %10.1f %10.1f %10.2f\n", r.name, median(r.gross), nets[r.name], slices.Min(net), nets[r.name]/floor)
		if r.program != nil && !strings.HasPrefix(r.name, "harness_") {
			results = append(results, Result{Name: r.name, Value: nets[r.name], Unit: "ns/pkt", Ratio: nets[r.name] / floor})
		}
	}
	return results
}

// decimals are those that a unit's values are worth.
func decimals(unit string) int {
	if unit == "Mpps" {
		return 2
	}
	return 1
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

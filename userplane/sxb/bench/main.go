// Command bench measures the PFCP edge of the PGW-U: establishments, modifications and deletions a second over the
// wire, one after the other and with many in flight, and the memory that a session takes in the process. The edge
// runs in a process of its own with the real data path behind it, the client beside it on the same processors. It
// needs root; it works in a network namespace of its own. The last lines of stdout are for machines:
// BENCH <name> <value> per_s, and BENCH process_bytes_per_session <value> B; with -json a JSON array after them.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// settings are what the flags say; the edge's process gets the same.
type settings struct {
	rounds, serial, many int
	hold                 int // sessions; 0: the rates are measured
	inFlight             string
	profile              string
	json                 bool
	serve                string // the folder of the edge's process; "" in the client's
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 3, "rounds; the median counts")
	flag.IntVar(&s.serial, "serial", 5_000, "sessions of a round with one request in flight")
	flag.IntVar(&s.many, "sessions", 40_000, "sessions of a round with more")
	flag.IntVar(&s.hold, "hold", 0, "instead: hold that many sessions at once, and say what they take and how long a restart does")
	flag.StringVar(&s.inFlight, "in-flight", "1,100", "requests in flight")
	flag.BoolVar(&s.json, "json", false, "a JSON array of the rows, too, as the last line")
	flag.StringVar(&s.profile, "cpuprofile", "", "write a processor profile of the edge's process to this `FILE`")
	flag.StringVar(&s.serve, "serve", "", "be the edge's process, with its files in this `FOLDER`; the bench itself sets it")
	flag.Parse()
	var err error
	if s.serve != "" {
		err = serve(s, os.Stdin, os.Stdout)
	} else {
		err = run(s, os.Stdout)
	}
	if err != nil {
		slog.Error("bench", "err", err)
		os.Exit(1)
	}
}

// figures are the rates of one row, one for each round.
type figures struct {
	name  string
	rates []float64
}

func run(s settings, out io.Writer) error {
	runtime.LockOSThread() // the namespace is the thread's
	var flights []int
	for _, word := range strings.Split(s.inFlight, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 1000 {
			return fmt.Errorf("in-flight: %q is not in 1..1000", word)
		}
		flights = append(flights, n)
	}
	b, err := newBed(s)
	if err != nil {
		return err
	}
	defer func() {
		if err := b.close(); err != nil {
			slog.Error("clean up", "err", err)
		}
	}()
	if s.hold > 0 {
		return b.hold(s, out)
	}
	memory, err := b.memory(s.many)
	if err != nil {
		return err
	}
	rows := map[string]*figures{}
	var order []string
	for range s.rounds {
		for _, n := range flights {
			sessions := s.many
			if n == 1 {
				sessions = s.serial
			}
			for _, step := range b.client.life(sessions) {
				name := fmt.Sprintf("pfcp_%s_%d", step.name, n)
				if rows[name] == nil {
					rows[name] = &figures{name: name}
					order = append(order, name)
				}
				rate, err := b.client.measure(step, n)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				rows[name].rates = append(rows[name].rates, rate)
			}
		}
	}
	results, err := report(out, rows, order, memory)
	if err != nil || !s.json {
		return err
	}
	return json.NewEncoder(out).Encode(results)
}

// result is a row as machines read it.
type result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func report(out io.Writer, rows map[string]*figures, order []string, memory float64) ([]result, error) {
	var results []result
	for _, name := range order {
		rates := rows[name].rates
		slices.Sort(rates)
		median := rates[len(rates)/2]
		results = append(results, result{name, math.Round(median), "per_s"})
		if _, err := fmt.Fprintf(out, "%-20s %9.0f per second   (%.0f to %.0f)\n", name, median, rates[0], rates[len(rates)-1]); err != nil {
			return nil, err
		}
	}
	results = append(results, result{"process_bytes_per_session", math.Round(memory), "B"})
	if _, err := fmt.Fprintf(out, "%-20s %9.0f octets\n\n", "process, per session", memory); err != nil {
		return nil, err
	}
	for _, r := range results {
		if _, err := fmt.Fprintf(out, "BENCH %s %.0f %s\n", r.Name, r.Value, r.Unit); err != nil {
			return nil, err
		}
	}
	return results, nil
}

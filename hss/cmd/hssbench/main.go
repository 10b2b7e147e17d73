// Command hssbench measures the HSS: it starts a redis-server with an append-only file, the HSS's handlers over it and a
// handler that does nothing, and asks both in turn for vectors over TCP, 64 requests in flight, in a network namespace. The
// client is a process of its own, with go-diameter's codec. It is a tool of the project, not of an operator, and never touches
// a running HSS.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"time"
)

// settings are the flags.
type settings struct {
	sims    int           // records that are loaded
	rounds  int           // windows for each handler, in turn
	window  time.Duration // of one measurement
	profile string        // file of a CPU profile; "" none
	client  string        // address to ask, in the process that is the client
	host    string        // network namespace of the host, in the process that is apart from it
}

const (
	inFlight  = 64
	gcPercent = 400 // as hss serve sets it
)

func main() {
	var s settings
	flag.IntVar(&s.sims, "sims", 200_000, "SIMs to load")
	flag.IntVar(&s.rounds, "rounds", 9, "windows for each handler")
	flag.DurationVar(&s.window, "window", time.Second, "length of a window")
	flag.StringVar(&s.profile, "cpuprofile", "", "write a CPU profile of the HSS's windows here")
	flag.StringVar(&s.client, "client", "", "be the client of the node at this address, for hssbench itself")
	flag.StringVar(&s.host, apartFlag, "", "run here, in a network namespace that is not the host's, for hssbench itself")
	flag.Parse()
	if s.client != "" {
		if err := beClient(context.Background(), s); err != nil {
			fmt.Fprintln(os.Stderr, "hssbench: client:", err)
			os.Exit(1)
		}
		return
	}
	if s.host == "" {
		var exit *exec.ExitError
		switch err := apart(); {
		case errors.As(err, &exit): // it has said why
			os.Exit(1)
		case err != nil:
			fmt.Fprintln(os.Stderr, "hssbench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "hssbench:", err)
		os.Exit(1)
	}
}

// run loads, measures and prints.
func run(ctx context.Context, s settings) error {
	if err := prepare(s.host); err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	r, err := startRedis()
	if err != nil {
		return err
	}
	defer r.stop()
	b, err := newBench(ctx, r, s.sims)
	if err != nil {
		return err
	}
	defer b.close()
	fmt.Printf("%d SIMs loaded in %v, %.0f/s; first AIR answered %.1f ms after the start\n",
		s.sims, b.loading.Round(time.Millisecond), float64(s.sims)/b.loading.Seconds(), b.start.Seconds()*1000)
	fmt.Printf("a SIM takes %.0f B in Redis at rest, %.0f B at an MME and an SGSN, with %d SIMs\n", b.resting, b.attached, s.sims)
	var noop, hss []measurement
	for i := range s.rounds {
		n, err := b.measure(ctx, b.noop, s.window, "")
		if err != nil {
			return fmt.Errorf("handler that does nothing: %w", err)
		}
		profile := ""
		if i == s.rounds-1 {
			profile = s.profile
		}
		h, err := b.measure(ctx, b.hss, s.window, profile)
		if err != nil {
			return fmt.Errorf("HSS: %w", err)
		}
		noop, hss = append(noop, n), append(hss, h)
		fmt.Printf("round %d: ratio %.2f\n  no-op %v\n  HSS   %v\n", i+1, h.perSecond()/n.perSecond(), n, h)
	}
	ratios := make([]float64, s.rounds)
	rates, p99s := make([]float64, s.rounds), make([]float64, s.rounds)
	for i := range ratios {
		ratios[i], rates[i], p99s[i] = hss[i].perSecond()/noop[i].perSecond(), hss[i].perSecond(), hss[i].P99
	}
	fmt.Printf("BENCH air_64 %.0f per_s ratio=%.2f\n", median(rates), median(ratios))
	fmt.Printf("BENCH air_p99_64 %.2f ms\n", median(p99s))
	fmt.Printf("BENCH redis_bytes_per_sim %.0f B\n", b.attached)
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

package main

import (
	"fmt"
	"io"
	"strconv"
	"time"
)

// hold establishes sessions, changes all of them, kills the edge's process, starts the next, and deletes them, and says
// after each step what they take: kernel, process (after garbage collection, and the most that it had meanwhile) and
// journal.
func (b *bed) hold(s settings, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%d sessions; MiB\n\n%-12s %10s %10s %10s %10s %10s %10s\n", s.hold, "after", "", "maps", "process", "at most", "journal", "together"); err != nil {
		return err
	}
	peak := b.watch()
	life := b.client.life(s.hold)
	const inFlight = 100
	for _, step := range life[:2] {
		rate, err := b.client.measure(step, inFlight)
		if err == nil {
			err = b.tell(out, step.name, fmt.Sprintf("%.0f/s", rate), peak())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		peak = b.watch()
	}
	peak()
	if err := b.edge.Process.Kill(); err != nil {
		return err
	}
	_ = b.edge.Wait() // killed
	start := time.Now()
	if err := b.launch(s); err != nil {
		return err
	}
	peak = b.watch()
	if _, err := b.answer(); err != nil {
		return err
	}
	if err := b.tell(out, "restart", fmt.Sprintf("%.1f s", time.Since(start).Seconds()), peak()); err != nil {
		return err
	}
	peak = b.watch()
	rate, err := b.client.measure(life[2], inFlight)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return b.tell(out, "delete", fmt.Sprintf("%.0f/s", rate), peak())
}

// watch begins to look at what the edge's process has for itself; the function that it returns ends that, and returns the
// most that was seen, in octets.
func (b *bed) watch() (end func() int64) {
	process, stop, most := strconv.Itoa(b.edge.Process.Pid), make(chan struct{}), make(chan int64)
	go func() {
		clock := time.NewTicker(50 * time.Millisecond)
		defer clock.Stop()
		peak := int64(0)
		for {
			if now, err := residentOf(process); err == nil {
				peak = max(peak, now)
			}
			select {
			case <-clock.C:
			case <-stop:
				most <- peak
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-most
	}
}

// tell prints a row.
func (b *bed) tell(out io.Writer, after, figure string, peak int64) error {
	if _, err := fmt.Fprintln(b.orders, "sizes"); err != nil {
		return err
	}
	line, err := b.answer()
	if err != nil {
		return err
	}
	var settled, inJournal, maps float64
	if _, err := fmt.Sscan(line, &settled, &inJournal, &maps); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	const mib = 1 << 20
	most := float64(peak)
	_, err = fmt.Fprintf(out, "%-12s %10s %10.0f %10.0f %10.0f %10.0f %10.0f\n", after, figure,
		maps/mib, settled/mib, most/mib, inJournal/mib, (maps+most+inJournal)/mib)
	return err
}

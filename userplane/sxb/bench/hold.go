package main

import (
	"fmt"
	"io"
	"time"
)

// hold establishes sessions, changes all of them, kills the edge's process, starts the next, and deletes them, and says
// after each step what they take: kernel, process and journal.
func (b *bed) hold(s settings, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%d sessions; MiB\n\n%-12s %10s %10s %10s %10s %10s %10s\n", s.hold, "after", "", "maps", "process", "busy", "journal", "together"); err != nil {
		return err
	}
	life := b.client.life(s.hold)
	const inFlight = 100
	for _, step := range life[:2] {
		rate, err := b.client.measure(step, inFlight)
		if err == nil {
			err = b.tell(out, step.name, fmt.Sprintf("%.0f/s", rate))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := b.edge.Process.Kill(); err != nil {
		return err
	}
	_ = b.edge.Wait() // killed
	start := time.Now()
	if err := b.start(s); err != nil {
		return err
	}
	if err := b.tell(out, "restart", fmt.Sprintf("%.1f s", time.Since(start).Seconds())); err != nil {
		return err
	}
	rate, err := b.client.measure(life[2], inFlight)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return b.tell(out, "delete", fmt.Sprintf("%.0f/s", rate))
}

// tell prints a row.
func (b *bed) tell(out io.Writer, after, figure string) error {
	if _, err := fmt.Fprintln(b.orders, "sizes"); err != nil {
		return err
	}
	line, err := b.answer()
	if err != nil {
		return err
	}
	var busy, settled, inJournal, maps float64
	if _, err := fmt.Sscan(line, &busy, &settled, &inJournal, &maps); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	const mib = 1 << 20
	_, err = fmt.Fprintf(out, "%-12s %10s %10.0f %10.0f %10.0f %10.0f %10.0f\n", after, figure,
		maps/mib, settled/mib, busy/mib, inJournal/mib, (maps+busy+inJournal)/mib)
	return err
}

package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress prints a line for each step and remembers which ones failed.
type progress struct {
	w      io.Writer
	failed []string
}

const nameWidth = 44 // columns of a step's name

func (p *progress) section(format string, args ...any) {
	fmt.Fprintf(p.w, "\n%s\n", fmt.Sprintf(format, args...))
}

// step runs one step and prints how it went: name, duration, and a detail or the error.
func (p *progress) step(name string, run func() (detail string, err error)) error {
	fmt.Fprintf(p.w, "  … %-*s", nameWidth, name)
	start := time.Now()
	detail, err := run()
	took := fmt.Sprintf("%8.1f ms", float64(time.Since(start).Microseconds())/1000)
	if err != nil {
		p.failed = append(p.failed, name)
		fmt.Fprintf(p.w, "\r  ✗ %-*s%s  %s\n", nameWidth, name, took, indent(err.Error()))
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(p.w, "\r  ✓ %-*s%s  %s\n", nameWidth, name, took, detail)
	return nil
}

// indent sets the further lines of a text apart from the steps.
func indent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ")
}

// print prints a block of text, such as a table.
func (p *progress) print(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(p.w, "    %s", line)
	}
}

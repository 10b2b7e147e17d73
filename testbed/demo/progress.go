package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress prints a line for each step and remembers which ones failed.
type progress struct {
	w      io.Writer
	live   bool // a person watches: a step's name shows while it runs
	failed []string
}

const nameWidth = 44 // columns of a step's name

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if file, ok := w.(*os.File); ok {
		info, err := file.Stat()
		p.live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// print prints. Nobody can be told when that fails.
func (p *progress) print(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format, args...) }

func (p *progress) section(title string) { p.print("\n%s\n", title) }

// step runs one step and prints how it went: name, duration, and a detail or the error.
func (p *progress) step(name string, run func() (detail string, err error)) error {
	begin := ""
	if p.live {
		p.print("  … %s", name)
		begin = "\r"
	}
	start := time.Now()
	detail, err := run()
	took := fmt.Sprintf("%8.1f ms", float64(time.Since(start).Microseconds())/1000)
	if err != nil {
		p.failed = append(p.failed, name)
		p.print("%s  ✗ %-*s%s  %s\n", begin, nameWidth, name, took, indent(err.Error()))
		return fmt.Errorf("%s: %w", name, err)
	}
	p.print("%s  ✓ %-*s%s  %s\n", begin, nameWidth, name, took, detail)
	return nil
}

// indent sets the further lines of a text apart from the steps.
func indent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ")
}

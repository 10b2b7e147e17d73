// Package node owns what the three daemons have in common as processes: the log, named start-up steps, the admin API
// on a unix socket and its client, the metrics and health listener, graceful stop, and the exit codes of the command
// lines. It knows no protocol.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
)

// Config holds the keys that every node's configuration has, inlined into it.
type Config struct {
	AdminSocket string        `yaml:"admin_socket"` // path of the unix socket of the admin API
	Metrics     MetricsConfig `yaml:"metrics"`
	Log         LogConfig     `yaml:"log"`
}

// MetricsConfig says where /metrics, /healthz and /readyz are served.
type MetricsConfig struct {
	Address string `yaml:"address"` // IP:port over plain HTTP; "" serves none
}

// LogConfig says what is logged, and how.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// DefaultConfig returns the defaults of the node called name.
func DefaultConfig(name string) Config {
	return Config{
		AdminSocket: "/run/xepc/" + name + ".sock",
		Log:         LogConfig{Level: "info", Format: "text"},
	}
}

// Validate lists every fault, each beginning with its key.
func (c Config) Validate() error {
	var faults []error
	if c.AdminSocket == "" {
		faults = append(faults, errors.New("admin_socket: missing"))
	}
	if a := c.Metrics.Address; a != "" {
		if _, err := netip.ParseAddrPort(a); err != nil {
			faults = append(faults, fmt.Errorf("metrics.address: %q is not IP:port", a))
		}
	}
	if err := new(slog.Level).UnmarshalText([]byte(c.Log.Level)); err != nil {
		faults = append(faults, fmt.Errorf("log.level: %q, want debug, info, warn or error", c.Log.Level))
	}
	if f := c.Log.Format; f != "text" && f != "json" {
		faults = append(faults, fmt.Errorf("log.format: %q, want text or json", f))
	}
	return errors.Join(faults...)
}

func (c LogConfig) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{}
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(c.Level)) // Validate has seen it
	opts.Level = level
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// stopTimeout bounds a graceful stop: what has not ended by then is left to the end of the process.
const stopTimeout = 10 * time.Second

// Node is a daemon while it starts and runs. Its methods are for the set-up function given to Serve, and are not
// safe for concurrent use.
type Node struct {
	Log *slog.Logger

	group    *errgroup.Group
	running  context.Context // the errgroup's: ends when the node stops
	admin    *http.ServeMux
	registry *prometheus.Registry
	stops    []func(context.Context)
	ready    atomic.Bool
}

// Serve runs a node until ctx ends, SIGINT or SIGTERM arrives, or a part of it fails. It calls setUp, which does the
// start-up in named steps and hands over what runs; when setUp has returned nil the node is ready (/readyz). The log
// goes to w. The error is nil after an orderly stop, also one during the start-up. A second signal ends the process at
// once.
func Serve(ctx context.Context, name string, cfg Config, w io.Writer, setUp func(context.Context, *Node) error) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	group, running := errgroup.WithContext(ctx)
	n := &Node{
		Log: cfg.Log.logger(w).With("program", name), group: group, running: running,
		admin: http.NewServeMux(), registry: prometheus.NewRegistry(),
	}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	begin := time.Now()
	n.Log.Info("starting", "version", Version())
	err := n.start(cfg, setUp)
	switch {
	case err == nil:
		n.ready.Store(true)
		n.Log.Info("ready", "after", time.Since(begin).Round(time.Millisecond))
	case ctx.Err() != nil && errors.Is(err, context.Canceled): // stopped before it was ready
		err = nil
	}
	if err != nil {
		cancel()
	}
	<-running.Done()
	cancel() // from now on a signal is not caught
	n.ready.Store(false)
	n.Log.Info("stopping")
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	for i := len(n.stops) - 1; i >= 0; i-- {
		n.stops[i](stopping)
	}
	err = errors.Join(err, n.wait(stopping))
	n.Log.Info("stopped")
	return err
}

func (n *Node) start(cfg Config, setUp func(context.Context, *Node) error) error {
	if err := setUp(n.running, n); err != nil {
		return err
	}
	if err := n.Step("serve the admin API", func() error { return n.serveAdmin(cfg.AdminSocket) }); err != nil {
		return err
	}
	if cfg.Metrics.Address == "" {
		return nil
	}
	return n.Step("serve metrics and health", func() error { return n.serveMetrics(cfg.Metrics.Address) })
}

// wait returns when everything that Go started has ended, or stopping has.
func (n *Node) wait(stopping context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- n.group.Wait() }()
	select {
	case err := <-ended:
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	case <-stopping.Done():
		return fmt.Errorf("parts of the node still ran %v after the stop", stopTimeout)
	}
}

// Step runs one named step of the start-up and logs its begin, its end and how long it took. The error, which should
// say what to do, is returned with the step's name.
func (n *Node) Step(name string, f func() error) error {
	n.Log.Info("step begins", "step", name)
	begin := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("start-up step %q: %w", name, err)
	}
	n.Log.Info("step done", "step", name, "took", time.Since(begin).Round(time.Microsecond))
	return nil
}

// Go runs a part of the node until its context ends. When a part returns an error, the node stops with it.
func (n *Node) Go(name string, run func(context.Context) error) {
	n.group.Go(func() error {
		if err := run(n.running); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// OnStop registers what is to be done at a graceful stop, after the context of the parts has ended; last registered,
// first called. The context given ends after stopTimeout.
func (n *Node) OnStop(f func(context.Context)) { n.stops = append(n.stops, f) }

// Register adds a collector whose metrics /metrics shows.
func (n *Node) Register(c prometheus.Collector) { n.registry.MustRegister(c) }

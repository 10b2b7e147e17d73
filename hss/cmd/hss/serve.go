package main

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/s6a"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/node"
)

const metricPrefix = "xepc_hss_"

// gcPercent lets the heap, which is small, grow more between collections: at many requests a second the default collects
// dozens of times a second. GOGC in the environment stands above it.
const gcPercent = 400

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run the HSS until it is stopped", Flags: []cli.Flag{config.Flag(defaultFile)},
		Action: func(c *cli.Context) error {
			cfg := defaultConfig()
			if err := config.Load(c.String("config"), cfg); err != nil {
				return cli.Exit(err, node.ExitUsage)
			}
			return serve(c.Context, cfg, c.App)
		},
	}
}

// serve runs the HSS until ctx ends. The store is closed last, after the requests that use it.
func serve(ctx context.Context, cfg *Config, app *cli.App) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	var records *store.Store
	err := node.Serve(ctx, nodeName, cfg.Config, app.ErrWriter, func(ctx context.Context, n *node.Node) error {
		if err := n.Step("open the subscribers' records", func() (err error) {
			records, err = openRecords(ctx, cfg, n)
			return err
		}); err != nil {
			return err
		}
		edge := s6a.New(cfg.S6a, records, n.Log)
		sessions := store.NewSessionLog(records, cfg.Provision.SessionLogKeep, n.Log)
		n.Go("session log", sessions.Run)
		peers := diameter.New(cfg.Diameter, n.Log, uint32(time.Now().Unix()), s6a.Logged(edge.Application(), sessions), edge.S13())
		if err := n.Step("listen for Diameter peers", peers.Listen); err != nil {
			return err
		}
		n.Go("diameter", peers.Run)
		n.Go("requests of our own", func(ctx context.Context) error { return edge.Run(ctx, s6a.LoggedPeers{Peers: peers, Log: sessions}) })
		api, err := openProvisioning(cfg, n, records, edge, peers) //nolint:contextcheck // requests come with contexts of their own
		if err != nil {
			return err
		}
		for _, c := range []prometheus.Collector{peers, edge, api, redisUp(ctx, records), unsent(ctx, records), linesLost(sessions)} {
			n.Register(prometheus.WrapCollectorWithPrefix(metricPrefix, c))
		}
		return nil
	})
	if records != nil {
		err = errors.Join(err, records.Close())
	}
	return err
}

// openRecords opens the store. A Redis that is away does not keep the HSS from starting: it is asked again with every
// request, which is answered 4181 or 3004 until it is back.
func openRecords(ctx context.Context, cfg *Config, n *node.Node) (*store.Store, error) {
	keyring, err := store.LoadKeyring(cfg.KEK)
	if errors.Is(err, store.ErrNoKEK) && len(cfg.Redis.Addresses) == 0 {
		err = nil // an embedded Redis has a KEK that ends with it
	}
	if err != nil {
		return nil, err
	}
	records, err := store.Open(cfg.Redis, keyring, n.Log)
	if err != nil {
		return nil, err
	}
	if err := records.Ping(ctx); err != nil {
		n.Log.Warn("Redis does not answer: requests are refused until it does", "addresses", cfg.Redis.Addresses, "err", err)
	}
	return records, nil
}

func redisUp(ctx context.Context, s *store.Store) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "redis_up", Help: "1 when Redis has taken a write at this scrape: one that answers may be full, or a replica.",
	}, func() float64 {
		if _, err := s.Pulse(ctx); err != nil {
			return 0
		}
		return 1
	})
}

func unsent(ctx context.Context, s *store.Store) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "own_requests_unsent", Help: "CLR, IDR, DSR and RSR that were due a minute ago and that no instance could send; NaN when Redis does not say.",
	}, func() float64 {
		all, err := s.Unanswered(ctx, time.Now())
		if err != nil {
			return math.NaN()
		}
		total := 0
		for _, n := range all {
			total += n.Unsent
		}
		return float64(total)
	})
}

func linesLost(l *store.SessionLog) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "session_log_lost_total", Help: "Lines of the session log that were lost, for want of room or because Redis was away.",
	}, func() float64 { return float64(l.Dropped()) })
}

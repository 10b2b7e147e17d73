package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/controlplane/generation"
	"github.com/xepc/xepc/controlplane/ippool"
	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run the PGW-C until it is stopped", Flags: []cli.Flag{config.Flag(defaultFile)},
		Action: func(c *cli.Context) error {
			cfg := defaultConfig()
			if err := config.Load(c.String("config"), cfg); err != nil {
				return cli.Exit(err, node.ExitUsage)
			}
			return serve(c.Context, cfg, c.App)
		},
	}
}

// pgwc is the running node.
type pgwc struct {
	cfg        *Config
	settings   settings
	generation generation.Generation
	up         *sxb.Sxb
	s8         *s8.Server
	associated chan string // names of PGW-Us that came up while the node starts

	hadGeneration bool // before this process
}

// serve runs the PGW-C until ctx ends. Its sessions live in memory: a stop releases the associations, so that the
// PGW-Us drop them; the SGWs drop them when they see the next restart counter.
func serve(ctx context.Context, cfg *Config, app *cli.App) error {
	return node.Serve(ctx, nodeName, cfg.Config, app.ErrWriter, func(ctx context.Context, n *node.Node) error {
		p, err := newPGWC(cfg)
		if err != nil {
			return err
		}
		if err := n.Step("open the PFCP and S8 sockets", func() error { return p.open(n.Log) }); err != nil {
			return err
		}
		if err := n.Step("begin a generation of session state", func() error { return p.begin(n.Log) }); err != nil {
			return errors.Join(err, p.s8.Close(), p.up.Close())
		}
		n.Go("pfcp", p.up.Run)
		if err := n.Step("associate with the PGW-Us", func() error { return p.associate(ctx, n.Log) }); err != nil {
			return errors.Join(err, p.s8.Close())
		}
		n.Go("s8", p.s8.Run)
		n.Register(newCollector(p))
		p.handle(n)
		return nil
	})
}

func newPGWC(cfg *Config) (*pgwc, error) {
	s, err := cfg.parse()
	return &pgwc{cfg: cfg, settings: s, associated: make(chan string, 2*len(s.nodes))}, err
}

// begin makes the generation durable whose values the sockets will speak of. It comes after them: a start that cannot
// have them, another process or an address that is missing, has lost no session, and many of them would take the
// restart counter so far that SGWs held it for an old one.
func (p *pgwc) begin(log *slog.Logger) error {
	if err := p.generation.Keep(p.cfg.StateDir); err != nil {
		return err
	}
	values := []any{"restart_counter", p.generation.RestartCounter, "recovery_time_stamp", p.generation.RecoveryTimeStamp}
	if p.hadGeneration {
		log.Warn("the sessions of the process before are lost: SGWs and PGW-Us drop them when they see the new values", values...)
	} else {
		log.Info("first generation of session state", values...)
	}
	return nil
}

// open opens the sockets. Nothing is read from them, or sent, before they are run.
func (p *pgwc) open(log *slog.Logger) (err error) {
	if p.generation, p.hadGeneration, err = generation.Next(p.cfg.StateDir, time.Now()); err != nil {
		return err
	}
	up, err := sxb.New(p.sxbConfig(), log, p.nodeEvent)
	if err != nil {
		return err
	}
	pools, err := ippool.New(p.settings.pools, p.cfg.AddressRest)
	if err != nil {
		return errors.Join(err, up.Close())
	}
	edge := s8.DefaultConfig()
	edge.GTPC.Listen, edge.GTPC.RestartCounter = p.settings.s8, p.generation.RestartCounter
	edge.GTPC.T3, edge.GTPC.N3, edge.GTPC.EchoInterval = p.cfg.S8.T3, p.cfg.S8.N3, p.cfg.S8.EchoInterval
	edge.GTPC.Peers = p.settings.peers
	edge.Instance, edge.MaxSessions, edge.Shards = p.cfg.Instance, p.cfg.MaxSessions, powerOfTwo(runtime.GOMAXPROCS(0))
	edge.Authorize, edge.Pools, edge.Instances = p.settings.table.Authorize, pools, p.settings.instances
	edge.Log = log
	if p.s8, err = s8.New(edge, up); err != nil {
		return errors.Join(err, up.Close())
	}
	p.up = up
	return nil
}

func (p *pgwc) sxbConfig() sxb.Config {
	c := sxb.DefaultConfig()
	c.Listen, c.RecoveryTimeStamp = p.settings.pfcp, p.generation.RecoveryTimeStamp
	c.NodeID, c.Nodes = p.settings.nodeID, p.settings.nodes
	c.T1, c.N1, c.HeartbeatInterval = p.cfg.PFCP.T1, p.cfg.PFCP.N1, p.cfg.PFCP.HeartbeatInterval
	return c
}

// nodeEvent is called by sxb, which runs only after open has returned.
func (p *pgwc) nodeEvent(e sxb.Event) {
	p.s8.NodeEvent(e)
	if up, ok := e.(sxb.NodeUp); ok {
		select {
		case p.associated <- up.Node:
		default: // the start is long over
		}
	}
}

// associate waits for all PGW-Us, so that the first sessions spread over them, but not for long: one that is away
// comes when it comes.
func (p *pgwc) associate(ctx context.Context, log *slog.Logger) error {
	patience := time.NewTimer(p.cfg.PFCP.StartWait)
	defer patience.Stop()
	missing := map[string]bool{}
	for _, n := range p.settings.nodes {
		missing[n.Name] = true
	}
	for len(missing) > 0 {
		select {
		case name := <-p.associated:
			delete(missing, name)
		case <-patience.C:
			for name := range missing {
				log.Warn("PGW-U is not associated yet: it gets no sessions until it is", "pgwu", name)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// powerOfTwo is the least power of two that is not below n.
func powerOfTwo(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

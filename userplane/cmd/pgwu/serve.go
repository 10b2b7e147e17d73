package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/slowpath"
	"github.com/xepc/xepc/userplane/sxb"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run the PGW-U until it is stopped; packets are forwarded on after that",
		Flags: []cli.Flag{config.Flag(defaultFile)},
		Action: func(c *cli.Context) error {
			cfg := defaultConfig()
			if err := config.Load(c.String("config"), cfg); err != nil {
				return cli.Exit(err, node.ExitUsage)
			}
			return serve(c.Context, cfg, c.App)
		},
	}
}

// daemon is a PGW-U while it runs.
type daemon struct {
	cfg     *Config
	journal *journal.Journal
	state   *sxb.State
	fresh   string // why the journal's state is not that of the sessions
	dp      *datapath.Datapath
	edge    *sxb.Edge
	slow    *slowpath.Slowpath
	repairs datapath.Repairs
	started time.Time
}

// serve runs the PGW-U until ctx ends. Journal and data path are closed last, after the parts that use them.
func serve(ctx context.Context, cfg *Config, app *cli.App) error {
	d := &daemon{cfg: cfg, started: time.Now()}
	err := node.Serve(ctx, nodeName, cfg.Config, app.ErrWriter, func(_ context.Context, n *node.Node) error {
		defer sxb.SaveMemory()()
		for _, step := range []struct {
			name string
			do   func(*node.Node) error
		}{
			{"read the journal", d.openJournal},
			{"open the data path", d.openDataPath},
			{"restore the sessions, open the PFCP socket", d.openEdge},
			{"make the data path equal to the sessions", d.reconcile},
			{"open the GTP-U sockets", d.openSlowPath},
			{"leave word where the tables are", func(*node.Node) error {
				return where{PinDir: cfg.PinDir, StateDir: cfg.StateDir}.write(cfg.AdminSocket)
			}},
		} {
			if err := n.Step(step.name, func() error { return step.do(n) }); err != nil {
				return err
			}
		}
		d.run(n)
		return nil
	})
	return errors.Join(err, d.close())
}

func (d *daemon) openJournal(n *node.Node) error {
	boot, err := journal.BootID()
	if err != nil {
		return err
	}
	d.state = sxb.NewState()
	var found journal.Found
	d.journal, found, err = journal.Open(journal.Options{
		Dir: d.cfg.StateDir, Version: sxb.RecordVersion, BootID: boot,
	}, d.state.Load)
	if err != nil {
		return fmt.Errorf("%w: is state_dir %s on a tmpfs that has room, and used by no other node?", err, d.cfg.StateDir)
	}
	d.fresh = found.Fresh
	var fs unix.Statfs_t
	if unix.Statfs(d.cfg.StateDir, &fs) == nil && fs.Type != unix.TMPFS_MAGIC {
		n.Log.Warn("state_dir is not on a tmpfs: every request waits for its file system", "dir", d.cfg.StateDir)
	}
	n.Log.Info("journal", "dir", d.cfg.StateDir, "keys", found.Live, "torn", found.Torn, "fresh", found.Fresh)
	return nil
}

func (d *daemon) openDataPath(n *node.Node) (err error) {
	d.dp, err = datapath.Open(d.cfg.dataPath(), n.Log)
	if errors.Is(err, datapath.ErrLayout) {
		return fmt.Errorf("%w: the pinned maps were made with other sizes or by another version; "+
			"`pgwu datapath remove -c FILE` takes them away, which ends the forwarding", err)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: is it root, with all capabilities? it loads programs and changes interfaces", err)
	}
	return err
}

func (d *daemon) openEdge(n *node.Node) error {
	edge, restored, err := sxb.Open(d.cfg.edge(), dataPath{d.dp}, d.journal, d.state, d.fresh, time.Now(), n.Log)
	if err != nil {
		return err
	}
	d.edge, d.state = edge, nil
	if d.fresh == "" {
		d.fresh = restored.Fresh
	}
	n.Log.Info("sessions", "restored", restored.Sessions, "dropped", restored.Dropped, "entries", restored.Entries,
		"recovery", uint32(edge.RecoveryTimeStamp()), "kept", restored.Fresh == "")
	return nil
}

func (d *daemon) reconcile(n *node.Node) (err error) {
	if d.repairs, err = d.dp.Reconcile(d.edge.Entries()); err != nil {
		return fmt.Errorf("%w: to begin anew without sessions, remove state_dir %s", err, d.cfg.StateDir)
	}
	for cells := range slices.Chunk(slices.Collect(d.edge.Cells), 1024) {
		if err := d.dp.Apply(session.Changes{Cells: cells}); err != nil {
			return fmt.Errorf("limits of usage cells: %w", err)
		}
	}
	d.repairs.Removed += d.dp.KeepCells(func(yield func(session.CellID) bool) {
		for c := range d.edge.Cells {
			if !yield(c.ID) {
				return
			}
		}
	})
	n.Log.Info("data path reconciled", "added", d.repairs.Added, "changed", d.repairs.Changed, "removed", d.repairs.Removed)
	return nil
}

func (d *daemon) openSlowPath(n *node.Node) (err error) {
	cfg := d.cfg.slowPath()
	cfg.Log = n.Log
	cfg.Supervision.Paths = func(ctx context.Context) []slowpath.Path {
		var all []slowpath.Path
		for _, p := range d.edge.Paths(ctx) {
			all = append(all, slowpath.Path(p))
		}
		return all
	}
	cfg.Supervision.Changed = func(ctx context.Context, p slowpath.Path, failed bool) {
		d.edge.PathChanged(ctx, sxb.Path(p), failed)
	}
	cfg.Inject = func(device int, packet []byte) error {
		err := d.dp.Arrived(device, packet)
		if errors.Is(err, datapath.ErrNoPort) {
			return fmt.Errorf("%w: %w", slowpath.ErrNotAccess, err)
		}
		return err
	}
	cfg.ErrorIndication = func(remote netip.Addr, teid uint32) { d.edge.ErrorIndication(remote, pfcp.TEID(teid)) }
	if d.fresh != "" {
		cfg.HoldUntil = time.Now().Add(d.cfg.GTPU.IndicationHold)
	}
	d.slow, err = slowpath.Listen(cfg)
	return err
}

func (d *daemon) run(n *node.Node) {
	n.Go("PFCP", d.edge.Run)
	n.Go("GTP-U", d.slow.Run)
	n.Go("data path", func(ctx context.Context) error {
		return d.dp.Run(ctx, func(e datapath.Event) {
			switch e.Kind {
			case datapath.EventUnknownTEID:
				d.slow.UnknownTEID(e.Local, e.Remote, uint32(e.TEID))
			case datapath.EventThreshold, datapath.EventQuota, datapath.EventWatch:
				d.edge.LimitReached(e.SEID)
			case datapath.EventBuffered:
				d.edge.Buffered(e.SEID, e.Parked)
			case datapath.EventFence:
				d.edge.Fence(e.SEID)
			case datapath.EventCopy, datapath.EventFragment:
				d.slow.SendGPDU(slowpath.GPDUToSend{
					Path: slowpath.Path{Local: e.Tunnel.Local, Remote: e.Tunnel.Remote}, TEID: uint32(e.Tunnel.TEID),
					HasQFI: e.QFI.Present, QFI: e.QFI.Value, ToS: e.ToS, Copy: e.Kind == datapath.EventCopy,
				}, e.Packet)
			case datapath.EventRouted:
				d.slow.SendRouted(slowpath.Exit(e.Exit), e.Packet)
			case datapath.EventEndMarker:
				d.slow.SendEndMarker(slowpath.Path{Local: e.Tunnel.Local, Remote: e.Tunnel.Remote}, uint32(e.Tunnel.TEID))
			}
		})
	})
	n.Go("limits", d.sweepLimits)
	n.Register(newCollector(d))
	d.handleAdmin(n)
}

// sweepEvery is how often limits are looked for that were reached while the event got lost.
const sweepEvery = 5 * time.Second

func (d *daemon) sweepLimits(ctx context.Context) error {
	clock := time.NewTicker(sweepEvery)
	defer clock.Stop()
	for {
		for _, e := range d.dp.Exceeded() {
			d.edge.LimitReached(e.SEID)
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// close lets go of everything; the data path forwards on.
func (d *daemon) close() error {
	var errs []error
	if d.dp != nil {
		errs = append(errs, d.dp.Close())
	}
	if d.journal != nil {
		errs = append(errs, d.journal.Close())
	}
	return errors.Join(errs...)
}

// handleAdmin serves what the command line asks.
func (d *daemon) handleAdmin(n *node.Node) {
	filtered := func(rows func(tables) any) func(*http.Request) (any, error) {
		return func(r *http.Request) (any, error) {
			f, err := filterIn(r)
			if err != nil {
				return nil, err
			}
			return rows(liveTables(r.Context(), d.edge, d.dp, f)), nil
		}
	}
	n.Handle("GET /sessions", filtered(func(t tables) any { return t.sessionRows() }))
	n.Handle("GET /details", filtered(func(t tables) any { return t.details() }))
	n.Handle("GET /pdrs", filtered(func(t tables) any { return t.pdrRows() }))
	n.Handle("GET /fars", filtered(func(t tables) any { return t.farRows() }))
	n.Handle("GET /reasons", func(*http.Request) (any, error) { return reasonRows(d.dp.Reader()) })
	n.Handle("GET /peers", func(*http.Request) (any, error) { return d.edge.Peers(), nil })
	n.Handle("POST /peers/release", d.release)
	n.Handle("GET /nexthops", func(*http.Request) (any, error) { return nexthopRows(d.dp.Reader()) })
}

// dataPath gives the data path's errors the causes that a control plane is told.
type dataPath struct{ *datapath.Datapath }

// Apply makes all of the changes or nothing.
func (d dataPath) Apply(c session.Changes) error {
	return toldToPeers(d.Datapath.Apply(c))
}

// toldToPeers gives an error of the data path its cause, and the PDR to blame.
func toldToPeers(err error) error {
	e := &pfcp.Error{Err: err}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, datapath.ErrTableFull):
		e.Cause = pfcp.CauseNoResourcesAvailable
	case errors.Is(err, datapath.ErrSlotTaken), errors.Is(err, datapath.ErrInvalid),
		errors.Is(err, datapath.ErrUnknownInstance), errors.Is(err, datapath.ErrUnknownSlice):
		e.Cause = pfcp.CauseRuleCreationFailure
	default:
		return err
	}
	var put *datapath.PutError
	if errors.As(err, &put) {
		e.FailedRule = pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: uint32(put.PDR)})
	}
	return e
}

func datapathCommand() *cli.Command {
	return &cli.Command{
		Name: "datapath", Usage: "the XDP program and its pinned maps",
		Subcommands: []*cli.Command{{
			Name: "remove", Usage: "end the forwarding: detach the program, remove pinned maps and journal",
			Flags: []cli.Flag{config.Flag(defaultFile)},
			Action: func(c *cli.Context) error {
				cfg := defaultConfig()
				if err := config.Load(c.String("config"), cfg); err != nil {
					return cli.Exit(err, node.ExitUsage)
				}
				return removeDataPath(c, cfg)
			},
		}},
	}
}

// removeDataPath refuses while the daemon runs: the journal's lock tells.
func removeDataPath(c *cli.Context, cfg *Config) error {
	j, _, err := journal.Open(journal.Options{Dir: cfg.StateDir, Version: sxb.RecordVersion}, nil)
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("the daemon runs: stop it first (%w)", err)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(datapath.Remove(cfg.PinDir), j.Close(), os.RemoveAll(cfg.StateDir)); err != nil {
		return err
	}
	if err := os.Remove(wherePath(cfg.AdminSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "removed %s and %s\n", cfg.PinDir, cfg.StateDir)
	return err
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/sxb"
)

// serve is the edge's process: as the daemon has it, with the default configuration. It ends when its input does.
func serve(s settings, orders io.Reader, answers io.Writer) (err error) {
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slots := 1 << bits.Len(uint((s.many+s.serial)*(s.rounds+2))) // released TEIDs rest for longer than the bench runs
	if s.hold > 0 {
		slots = 1 << bits.Len(uint(s.hold-1))
	}
	dp, err := openDatapath(s, slots, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dp.Close()) }()
	restored := sxb.SaveMemory()
	state := sxb.NewState()
	j, found, err := journal.Open(journal.Options{
		Dir: filepath.Join(s.serve, "journal"), Version: sxb.RecordVersion, BootID: "bench",
	}, state.Load)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	cfg := sxb.DefaultConfig()
	cfg.NodeID = pfcp.NodeID{FQDN: "pgwu.bench"}
	cfg.Endpoint.Listen = upAddress
	cfg.Endpoint.ResponseLifetime = time.Second // nothing gets lost here; memory is looked at when they are gone
	cfg.Slices = []sxb.Slice{{Address: slice, Slots: slots}}
	cfg.Instances = session.Instances{Known: []pfcp.NetworkInstance{"internet"}, Default: "internet"}
	edge, _, err := sxb.Open(cfg, dp, j, state, found.Fresh, time.Now(), log)
	if err != nil {
		return err
	}
	if repairs, err := dp.Reconcile(edge.Entries()); err != nil || repairs != (datapath.Repairs{}) {
		return fmt.Errorf("the data path is not what the journal says: %+v %w", repairs, err)
	}
	restored()
	ctx, cancel := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return edge.Run(ctx) })
	running.Go(func() error { return dp.Run(ctx, func(datapath.Event) {}) })
	defer func() {
		cancel()
		err = errors.Join(err, running.Wait())
	}()
	return obey(s.serve, edge, orders, answers)
}

func openDatapath(s settings, slots int, log *slog.Logger) (*datapath.Datapath, error) {
	cfg := datapath.Default()
	cfg.PinDir = filepath.Join(s.serve, "pins", "node")
	cfg.SizeFor(max(s.hold, s.many+s.serial))
	cfg.Slices = []datapath.Slice{{Address: slice, TEIDs: slots}}
	cfg.Instances = []datapath.Instance{{Name: "internet", Gateway: gateway}}
	cfg.Ports = []datapath.Port{
		{Name: "access0", Side: datapath.SideAccess},
		{Name: "core0", Side: datapath.SideCore, Instance: "internet"},
	}
	return datapath.Open(cfg, log)
}

// obey answers what the client's process asks, one line for each.
func obey(folder string, edge *sxb.Edge, orders io.Reader, answers io.Writer) error {
	if _, err := fmt.Fprintln(answers, "ready"); err != nil {
		return err
	}
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		if lines.Text() == "sizes" {
			all, err := sizes(folder)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(answers, all...); err != nil {
				return err
			}
			continue
		}
		for edge.Stats().Endpoint.Cached > 0 { // answers kept for duplicates belong to no session
			time.Sleep(100 * time.Millisecond)
		}
		debug.FreeOSMemory()
		octets, err := resident()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(answers, octets); err != nil {
			return err
		}
	}
	return lines.Err()
}

// resident is the memory that is this process's alone, in octets.
func resident() (int64, error) { return residentOf("self") }

// residentOf is that of a process, RssAnon of proc(5).
func residentOf(process string) (int64, error) {
	b, err := os.ReadFile(filepath.Join("/proc", process, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no RssAnon in /proc/%s/status", process)
}

// sizes are, in octets, what the process has for itself after garbage collection, the journal, and all maps.
func sizes(folder string) ([]any, error) {
	debug.FreeOSMemory()
	settled, err := resident()
	if err != nil {
		return nil, err
	}
	var inJournal int64
	err = filepath.WalkDir(filepath.Join(folder, "journal"), func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			inJournal += info.Size()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	maps, err := datapath.MapOctets(filepath.Join(folder, "pins", "node"))
	return []any{settled, inJournal, maps}, err
}

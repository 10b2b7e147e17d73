// Package lab owns a whole network in namespaces: the real programs, a simulated visited network, UEs, Redis and a
// web server. It starts it, lets its user attach UEs, kill nodes and look, and removes it, also what an earlier run
// has left. It never judges what it sees: the demo and the tests do.
package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/traffic"
	"github.com/xepc/xepc/testbed/visited/mme"
	"github.com/xepc/xepc/testbed/visited/sgw"
	"github.com/xepc/xepc/testbed/visited/sim"
	"github.com/xepc/xepc/testbed/visited/ue"
)

// Options say what to build.
type Options struct {
	Prefix string // of the namespaces; DefaultPrefix when empty
	UEs    int
	PGWUs  int
	IPv6   bool   // S8-U is IPv6
	BinDir string // where hss, pgwc and pgwu are
	Log    *slog.Logger

	// Configure may change a node's configuration before it is written. node is hss, pgwc, pgwu1 and so on.
	Configure func(node string, config map[string]any)
	// Step runs one named part of Start; nil: it is just run. What run returns beside the error is for people.
	Step func(name string, run func() (detail string, err error)) error
}

// Lab is a running network.
type Lab struct {
	Network *topology.Network
	HSS     *Node
	PGWC    *Node
	PGWUs   []*Node // in order: PGWUs[0] is pgwu1
	UEs     []*UE   // in order: UEs[0] is ue1
	MME     *mme.MME
	SGW     *sgw.Gateway // where UEs attach
	Other   *sgw.Gateway // where they move to
	Redis   *miniredis.Miniredis

	options Options
	dir     string
	release func() error
	web     *traffic.WebServer
	stop    context.CancelFunc // ends what runs under group
	group   *errgroup.Group
}

// UE is a subscriber with a SIM and a device.
type UE struct {
	Name      string // ue1 …
	MSISDN    string
	Card      *sim.Card
	Namespace *topology.Namespace
	Device    *ue.Device

	Gateway *sgw.Gateway // where it is attached; nil: nowhere
	Session *sgw.Session
}

// Start claims the prefix, removes what an earlier run has left, and builds and starts everything. When it fails it
// removes what it has made; the logs stay, unless it was ctx that ended.
func Start(ctx context.Context, options Options) (_ *Lab, err error) {
	if options.Prefix == "" {
		options.Prefix = DefaultPrefix
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Step == nil {
		options.Step = func(_ string, run func() (string, error)) error { _, err := run(); return err }
	}
	for _, program := range []string{"hss", "pgwc", "pgwu"} {
		path, err := filepath.Abs(filepath.Join(options.BinDir, program))
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return nil, fmt.Errorf("find the programs: %w (make build puts them into bin/; --bin-dir says where else they are)", err)
		}
	}
	release, err := claim(options.Prefix)
	if err != nil {
		return nil, err
	}
	// What the lab runs outlives ctx: Close ends it, in order.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lab{options: options, dir: RunDir(options.Prefix), release: release, stop: stop, group: &errgroup.Group{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(ctx, ctx.Err() == nil))
		}
	}()
	for _, step := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"clean up after earlier runs", l.sweep},
		{"build the network", l.build},
		{"start Redis and the web server", l.startServers},
		{"start hss", func(ctx context.Context) (string, error) { return l.startNode(ctx, l.HSS) }},
		{"start the PGW-Us", l.startPGWUs},
		{"start pgwc", func(ctx context.Context) (string, error) { return l.startNode(ctx, l.PGWC) }},
		{"start MME and SGWs", func(ctx context.Context) (string, error) { return l.startVisited(ctx, running) }},
		{"make the SIMs", l.addSIMs},
	} {
		if err := options.Step(step.name, func() (string, error) { return step.run(ctx) }); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, context.Cause(ctx))
		}
	}
	return l, nil
}

// Dir is the run directory: configurations, logs, sockets and state.
func (l *Lab) Dir() string { return l.dir }

// logDir is where the logs are.
func (l *Lab) logDir() string { return LogDir(l.options.Prefix) }

func (l *Lab) sweep(ctx context.Context) (string, error) {
	found, err := sweep(ctx, l.options.Prefix)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "there was nothing", nil
	}
	return fmt.Sprintf("removed %v", found), nil
}

func (l *Lab) build(context.Context) (string, error) {
	plan, err := topology.Demo(l.options.Prefix, l.options.UEs, l.options.PGWUs)
	if err != nil {
		return "", err
	}
	if l.Network, err = topology.Build(plan); err != nil {
		return "", err
	}
	if err := os.MkdirAll(l.logDir(), 0o755); err != nil {
		return "", fmt.Errorf("make run directory: %w", err)
	}
	if err := mountBPF(l.dir); err != nil {
		return "", err
	}
	if err := l.makeNodes(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d namespaces, %d links; run directory %s", len(plan.Namespaces), len(plan.Links), l.dir), nil
}

// makeNodes writes the configurations, and the KEK of the HSS.
func (l *Lab) makeNodes() (err error) {
	if err := writeKEK(l.dir); err != nil {
		return err
	}
	if l.HSS, err = l.makeNode("hss", topology.HSS, "hss", hssConfig(l.dir)); err != nil {
		return err
	}
	if l.PGWC, err = l.makeNode("pgwc", topology.PGWC, "pgwc", pgwcConfig(l.dir, l.options.PGWUs)); err != nil {
		return err
	}
	for n := 1; n <= l.options.PGWUs; n++ {
		node, err := l.makeNode(topology.PGWU(n), topology.PGWU(n), "pgwu", pgwuConfig(l.dir, n))
		if err != nil {
			return err
		}
		l.PGWUs = append(l.PGWUs, node)
	}
	return nil
}

func (l *Lab) makeNode(name, namespace, program string, config map[string]any) (*Node, error) {
	if l.options.Configure != nil {
		l.options.Configure(name, config)
	}
	path, err := filepath.Abs(filepath.Join(l.options.BinDir, program))
	if err != nil {
		return nil, err
	}
	n := &Node{
		Name: name, Program: path, ns: l.Network.Namespace(namespace), runDir: l.dir,
		Config: filepath.Join(l.dir, name+".yaml"),
		Socket: filepath.Join(l.dir, name+".sock"),
		Log:    filepath.Join(l.logDir(), name+".log"),
	}
	return n, writeConfig(n.Config, config)
}

func (l *Lab) startServers(ctx context.Context) (string, error) {
	l.Redis = miniredis.NewMiniRedis()
	address := socket(topology.Redis, portRedis)
	if err := l.Network.Namespace(topology.Control).Do(func() error { return l.Redis.StartAddr(address) }); err != nil {
		l.Redis = nil
		return "", fmt.Errorf("start Redis: %w", err)
	}
	var err error
	l.web, err = traffic.StartWebServer(ctx, l.Network.Namespace(topology.Core), Web())
	return fmt.Sprintf("redis %s, web http://%s/", address, Web()), err
}

// Web is where the web server listens.
func Web() netip.AddrPort { return netip.AddrPortFrom(topology.Web, portHTTP) }

// PGWCS8 is where the PGW-C listens on S8.
func PGWCS8() netip.AddrPort { return netip.AddrPortFrom(topology.PGWCAddress, portS8) }

func (l *Lab) startNode(ctx context.Context, n *Node) (string, error) {
	if err := n.Start(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("process %d, log %s", n.PID(), n.Log), nil
}

func (l *Lab) startPGWUs(ctx context.Context) (string, error) {
	// Together: most of the time the kernel verifies and compiles their programs.
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range l.PGWUs {
		group.Go(func() error { return n.Start(ctx) })
	}
	err := group.Wait()
	return fmt.Sprintf("%d, logs %s", len(l.PGWUs), filepath.Join(l.logDir(), "pgwu*.log")), err
}

// startVisited starts the visited network and the UEs' devices. running is the context that they live under.
func (l *Lab) startVisited(ctx, running context.Context) (_ string, err error) {
	visited := l.Network.Namespace(topology.Visited)
	for _, at := range []struct {
		address, user6 netip.Addr
		gateway        **sgw.Gateway
	}{{topology.SGW, topology.SGW6, &l.SGW}, {topology.OtherSGW, topology.OtherSGW6, &l.Other}} {
		config := sgw.Config{Address: at.address, Listen: visited.ListenPacket, Log: l.options.Log}
		if l.options.IPv6 {
			config.User6 = at.user6
		}
		gateway, err := sgw.New(ctx, config)
		if err != nil {
			return "", fmt.Errorf("start SGW: %w", err)
		}
		*at.gateway = gateway
		l.group.Go(func() error { return gateway.Run(running) })
	}
	l.MME = mme.New(mme.Config{
		Host: mmeHost, Realm: visitedRealm, HSSRealm: homeRealm, PLMN: visitedPLMN, Address: topology.SGW,
		HSS: socket(topology.HSSAddress, portS6a), Dial: visited.Dial, Log: l.options.Log,
	})
	for n := 1; n <= l.options.UEs; n++ {
		u := &UE{Name: topology.UE(n), Namespace: l.Network.Namespace(topology.UE(n)), MSISDN: fmt.Sprintf("88236%07d", n)}
		u.Card = &sim.Card{IMSI: fmt.Sprintf("99970%010d", n)}
		rand.Read(u.Card.K[:])
		rand.Read(u.Card.OPc[:])
		if u.Device, err = ue.Open(u.Namespace, sgw.HeaderLength); err != nil {
			return "", err
		}
		l.UEs = append(l.UEs, u)
		l.group.Go(u.Device.Run)
	}
	return fmt.Sprintf("S6a %s, S8 %s and %s", topology.SGW, topology.SGW, topology.OtherSGW), nil
}

// Capture records every frame of every namespace into a pcapng file, until it is stopped.
func (l *Lab) Capture(path string) (*traffic.Capture, error) {
	var namespaces []*topology.Namespace
	for _, name := range l.Network.Plan().Namespaces {
		namespaces = append(namespaces, l.Network.Namespace(name))
	}
	return traffic.StartCapture(path, namespaces...)
}

// Nodes gives all nodes, in the order in which they were started.
func (l *Lab) Nodes() []*Node {
	return slices.Concat([]*Node{l.HSS}, l.PGWUs, []*Node{l.PGWC})
}

// Close ends everything and removes it. keepLogs leaves the folder of LogDir; the next Start with the same prefix
// removes that. It also works when ctx has ended.
func (l *Lab) Close(ctx context.Context, keepLogs bool) error {
	var errs []error
	if l.MME != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		errs = append(errs, l.MME.Close(ctx))
		cancel()
	}
	for _, n := range slices.Backward(l.Nodes()) {
		if n != nil {
			errs = append(errs, n.Stop())
		}
	}
	l.stop()
	for _, u := range l.UEs {
		errs = append(errs, u.Device.Close(), ue.RemoveResolvers(u.Namespace.Name()))
	}
	errs = append(errs, l.group.Wait())
	if l.web != nil {
		errs = append(errs, l.web.Close())
	}
	if l.Redis != nil {
		l.Redis.Close()
	}
	errs = append(errs, unmountBPF(l.dir))
	if l.Network != nil {
		errs = append(errs, l.Network.Close())
	}
	return errors.Join(append(errs, l.removeDir(keepLogs), l.release())...)
}

func (l *Lab) removeDir(keepLogs bool) error {
	if !keepLogs {
		err := os.RemoveAll(l.dir)
		_ = os.Remove(runDirs) // with the last lab
		return err
	}
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if path := filepath.Join(l.dir, e.Name()); path != l.logDir() {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

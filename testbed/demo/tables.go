package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/visited/ue"
)

// tables prints what the nodes show of themselves, through their own command lines, and checks that the PGW-Us'
// rows have counted.
func (d *demo) tables(ctx context.Context) {
	_ = d.out.step("pgwc session list", func() (string, error) { return d.table(ctx, d.lab.PGWC, "session", "list") })
	for _, n := range d.lab.PGWUs {
		for _, noun := range []string{"pdr", "far"} {
			_ = d.out.step(n.Name+" "+noun+" list", func() (string, error) { return d.table(ctx, n, noun, "list") })
		}
		_ = d.out.step(n.Name+" reason list, those that are not 0", func() (string, error) {
			all, err := d.table(ctx, n, "reason", "list")
			return withoutZeros(all), err
		})
		_ = d.out.step(n.Name+": its PDRs have counted", func() (string, error) { return d.counted(ctx, n) })
	}
}

// table runs a command and gives its output as the detail of a step, on lines of its own.
func (d *demo) table(ctx context.Context, n *lab.Node, args ...string) (string, error) {
	out, err := n.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	return "\n      " + indent(out), nil
}

// withoutZeros leaves out the lines whose last column is 0.
func withoutZeros(table string) string {
	var kept []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) == 0 || fields[len(fields)-1] != "0" {
			kept = append(kept, line)
		}
	}
	return strings.TrimRight(strings.Join(kept, ""), "\n")
}

// row is a line of `pdr list -o json`, as far as the demo reads it.
type row struct {
	Packets uint64 `json:"packets"`
	Octets  uint64 `json:"octets"`
}

// counted checks that every PDR of a PGW-U has counted packets and octets, in both directions.
func (d *demo) counted(ctx context.Context, n *lab.Node) (string, error) {
	rows, err := list(ctx, n, "pdr")
	if err != nil {
		return "", err
	}
	var packets, octets uint64
	for _, r := range rows {
		if r.Packets == 0 || r.Octets == 0 {
			return "", fmt.Errorf("a PDR of %d has counted %d packets and %d octets", len(rows), r.Packets, r.Octets)
		}
		packets, octets = packets+r.Packets, octets+r.Octets
	}
	return fmt.Sprintf("%d PDRs, %d packets, %.1f MB", len(rows), packets, float64(octets)/1e6), nil
}

func list(ctx context.Context, n *lab.Node, noun string) ([]row, error) {
	out, err := n.Command(ctx, noun, "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var rows []row
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		return nil, fmt.Errorf("%s %s list -o json: %w", n.Name, noun, err)
	}
	return rows, nil
}

// sessionsGone checks that no node has a session any more.
func (d *demo) sessionsGone(ctx context.Context) error {
	var errs []error
	look := func(n *lab.Node, noun string) {
		rows, err := list(ctx, n, noun)
		if err == nil && len(rows) > 0 {
			err = fmt.Errorf("%s still shows %d rows of %s", n.Name, len(rows), noun)
		}
		errs = append(errs, err)
	}
	look(d.lab.PGWC, "session")
	for _, n := range d.lab.PGWUs {
		look(n, "session")
		look(n, "pdr")
		look(n, "far")
	}
	return errors.Join(errs...)
}

// printCommands says how to look around in a network that is kept.
func (d *demo) printCommands() {
	d.out.section("Kept running. Ctrl-C here, or `testbed clean` elsewhere, detaches and removes everything.")
	prefix := d.options.Prefix
	var text strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&text, "  %-34s %s\n", what, fmt.Sprintf(format, args...))
	}
	for _, n := range d.lab.PGWUs[:min(2, len(d.lab.PGWUs))] {
		line("rules of "+n.Name, "%s %s pdr list", strings.Join(n.Environment(), " "), n.Program)
	}
	first := d.lab.PGWUs[0]
	line("why packets left "+first.Name, "%s %s reason list", strings.Join(first.Environment(), " "), first.Program)
	line("PDN connections", "%s %s session list", strings.Join(d.lab.PGWC.Environment(), " "), d.lab.PGWC.Program)
	line("SIMs", "%s %s sim list", strings.Join(d.lab.HSS.Environment(), " "), d.lab.HSS.Program)
	for _, u := range d.lab.UEs[:min(2, len(d.lab.UEs))] {
		line("the web from "+u.Name, "ip netns exec %s curl -s http://%s/", prefix+u.Name, topology.Web)
	}
	if len(d.lab.UEs) > 0 {
		line("the UE's device", "ip netns exec %s ip address show %s", prefix+d.lab.UEs[0].Name, ue.Port)
	}
	line("XDP is native (xdp)", "ip netns exec %s ip link show %s", prefix+topology.PGWU(1), topology.AccessPort)
	line("GTP, PFCP, Diameter on the wire", "ip netns exec %s tcpdump -ni any", prefix+topology.IPX)
	line("metrics of "+first.Name, "ip netns exec %s curl -s http://%s/metrics", prefix+topology.PGWU(1), lab.MetricsAddress)
	line("logs", "tail -f %s/*.log", lab.LogDir(prefix))
	line("the programs' configurations", "ls %s/*.yaml", d.lab.Dir())
	d.out.print("%s", text.String())
}

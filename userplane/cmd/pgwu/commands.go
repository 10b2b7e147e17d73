package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/sxb"
)

// nounFlags are those of every command that shows.
func nounFlags(more ...cli.Flag) []cli.Flag {
	return append(append(whereFlags(), output.Flag()), more...)
}

// listCommand is "list" of a noun.
func listCommand(usage string, list cli.ActionFunc, more ...cli.Flag) *cli.Command {
	watch := &cli.BoolFlag{Name: "watch", Usage: "print again every second, until interrupted"}
	return &cli.Command{
		Name: "list", Usage: usage, Flags: nounFlags(append(more, watch)...),
		Action: func(c *cli.Context) error {
			for {
				if err := list(c); err != nil || !c.Bool("watch") {
					return err
				}
				select {
				case <-c.Done():
					return nil
				case <-time.After(time.Second):
					_, _ = fmt.Fprintln(c.App.Writer)
				}
			}
		},
	}
}

// listFiltered is "list" of a noun that belongs to sessions.
func listFiltered[T any](usage, path string, rows func(tables) []T, columns []output.Column[T]) *cli.Command {
	return listCommand(usage, func(c *cli.Context) error {
		f, err := filterOf(c)
		if err != nil {
			return err
		}
		all, err := ask(c, path+f.query(), func(w where) ([]T, error) {
			t, err := w.tables(f)
			return rows(t), err
		})
		if err != nil {
			return err
		}
		return output.List(c, all, columns)
	}, filterFlags()...)
}

// details asks for one session.
func details(c *cli.Context, seid string) (SessionDetail, error) {
	f, err := parseFilter(func(key string) string {
		if key == "seid" {
			return seid
		}
		return ""
	})
	if err != nil || f.seid == 0 {
		return SessionDetail{}, cli.Exit(fmt.Sprintf("%q is no SEID: want 0x… or a decimal number", seid), node.ExitUsage)
	}
	all, err := ask(c, "/details"+f.query(), func(w where) ([]SessionDetail, error) {
		t, err := w.tables(f)
		return t.details(), err
	})
	if err != nil {
		return SessionDetail{}, err
	}
	if len(all) == 0 {
		return SessionDetail{}, fmt.Errorf("there is no session %s: see pgwu session list", seid)
	}
	return all[0], nil
}

func sessionCommand() *cli.Command {
	columns := []output.Column[SessionRow]{
		{Name: "seid", Value: func(r SessionRow) any { return r.SEID }},
		{Name: "peer", Value: func(r SessionRow) any { return r.Peer }},
		{Name: "cp seid", Value: func(r SessionRow) any { return r.CPSEID }},
		{Name: "ue", Value: func(r SessionRow) any { return r.UE }},
		{Name: "slice", Value: func(r SessionRow) any { return r.Slice }},
		{Name: "teid", Value: func(r SessionRow) any { return joined(r.TEIDs) }},
		{Name: "up packets", Value: func(r SessionRow) any { return r.UplinkPackets }},
		{Name: "up octets", Value: func(r SessionRow) any { return r.UplinkOctets }},
		{Name: "down packets", Value: func(r SessionRow) any { return r.DownlinkPackets }},
		{Name: "down octets", Value: func(r SessionRow) any { return r.DownlinkOctets }},
	}
	return &cli.Command{
		Name: "session", Usage: "PFCP sessions",
		Subcommands: []*cli.Command{
			listFiltered("list sessions with what they have counted", "/sessions", tables.sessionRows, columns),
			{
				Name: "show", Usage: "show a session with its rules", ArgsUsage: "SEID", Flags: nounFlags(),
				Action: func(c *cli.Context) error {
					if err := node.Arguments(c, "SEID"); err != nil {
						return err
					}
					d, err := details(c, c.Args().First())
					if err != nil {
						return err
					}
					return showSession(c, d, columns)
				},
			},
		},
	}
}

// showSession prints a session and, in table form, a table for each kind of its rules.
func showSession(c *cli.Context, d SessionDetail, columns []output.Column[SessionRow]) error {
	if c.String("output") != "table" {
		return output.Show(c, d, nil)
	}
	if err := output.Show(c, d.SessionRow, columns); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(c.App.Writer)
	if err := output.List(c, d.Rules.PDRs, pdrColumns()[1:]); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(c.App.Writer)
	if err := output.List(c, d.Rules.FARs, farColumns()[1:]); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(c.App.Writer)
	if err := output.List(c, d.Rules.QERs, []output.Column[QERRow]{
		{Name: "qer", Value: func(r QERRow) any { return r.QER }},
		{Name: "up mbr kbit/s", Value: func(r QERRow) any { return r.UplinkMBR }},
		{Name: "down mbr kbit/s", Value: func(r QERRow) any { return r.DownlinkMBR }},
		{Name: "up gate closed", Value: func(r QERRow) any { return r.UplinkGateClosed }},
		{Name: "down gate closed", Value: func(r QERRow) any { return r.DownlinkGateClosed }},
	}); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(c.App.Writer)
	return output.List(c, d.Rules.URRs, []output.Column[URRRow]{
		{Name: "urr", Value: func(r URRRow) any { return r.URR }},
		{Name: "method", Value: func(r URRRow) any { return r.Method }},
		{Name: "reports", Value: func(r URRRow) any { return r.Reports }},
		{Name: "quota spent", Value: func(r URRRow) any { return r.QuotaSpent }},
	})
}

func joined[T any](list []T) string {
	var words []string
	for _, v := range list {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ",")
}

func pdrColumns() []output.Column[PDRRow] {
	return []output.Column[PDRRow]{
		{Name: "seid", Value: func(r PDRRow) any { return r.SEID }},
		{Name: "pdr", Value: func(r PDRRow) any { return r.PDR }},
		{Name: "precedence", Value: func(r PDRRow) any { return r.Precedence }},
		{Name: "source", Value: func(r PDRRow) any { return r.Source }},
		{Name: "local", Value: func(r PDRRow) any { return r.Local }},
		{Name: "teid", Value: func(r PDRRow) any { return r.TEID }},
		{Name: "network instance", Value: func(r PDRRow) any { return r.NetworkInstance }},
		{Name: "ue", Value: func(r PDRRow) any { return r.UE }},
		{Name: "far", Value: func(r PDRRow) any { return r.FAR }},
		{Name: "qer", Value: func(r PDRRow) any { return joined(r.QERs) }},
		{Name: "urr", Value: func(r PDRRow) any { return joined(r.URRs) }},
		{Name: "packets", Value: func(r PDRRow) any { return r.Packets }},
		{Name: "octets", Value: func(r PDRRow) any { return r.Octets }},
	}
}

func pdrCommand() *cli.Command {
	return &cli.Command{
		Name: "pdr", Usage: "packet detection rules",
		Subcommands: []*cli.Command{
			listFiltered("list PDRs with live counts", "/pdrs", tables.pdrRows, pdrColumns()),
			{
				Name: "show", Usage: "show a PDR", ArgsUsage: "SEID PDR", Flags: nounFlags(),
				Action: func(c *cli.Context) error {
					return showRule(c, "PDR", pdrColumns(), func(d SessionDetail, id uint64) (PDRRow, bool) {
						for _, r := range d.Rules.PDRs {
							if uint64(r.PDR) == id {
								return r, true
							}
						}
						return PDRRow{}, false
					})
				},
			},
		},
	}
}

// showRule shows one rule of the session that the command names.
func showRule[T any](c *cli.Context, kind string, columns []output.Column[T], find func(SessionDetail, uint64) (T, bool)) error {
	if err := node.Arguments(c, "SEID", kind); err != nil {
		return err
	}
	id, err := strconv.ParseUint(c.Args().Get(1), 0, 32)
	if err != nil {
		return cli.Exit(fmt.Sprintf("%q is no %s ID", c.Args().Get(1), kind), node.ExitUsage)
	}
	d, err := details(c, c.Args().First())
	if err != nil {
		return err
	}
	row, ok := find(d, id)
	if !ok {
		return fmt.Errorf("session %s has no %s %d", d.SEID, kind, id)
	}
	return output.Show(c, row, columns)
}

func farColumns() []output.Column[FARRow] {
	return []output.Column[FARRow]{
		{Name: "seid", Value: func(r FARRow) any { return r.SEID }},
		{Name: "far", Value: func(r FARRow) any { return r.FAR }},
		{Name: "action", Value: func(r FARRow) any { return r.Action }},
		{Name: "destination", Value: func(r FARRow) any { return r.Destination }},
		{Name: "network instance", Value: func(r FARRow) any { return r.NetworkInstance }},
		{Name: "remote", Value: func(r FARRow) any { return r.Remote }},
		{Name: "remote teid", Value: func(r FARRow) any { return r.RemoteTEID }},
		{Name: "redirect", Value: func(r FARRow) any { return r.Redirect }},
		{Name: "packets", Value: func(r FARRow) any { return r.Packets }},
		{Name: "octets", Value: func(r FARRow) any { return r.Octets }},
	}
}

func farCommand() *cli.Command {
	return &cli.Command{
		Name: "far", Usage: "forwarding action rules",
		Subcommands: []*cli.Command{
			listFiltered("list FARs with live counts", "/fars", tables.farRows, farColumns()),
			{
				Name: "show", Usage: "show a FAR", ArgsUsage: "SEID FAR", Flags: nounFlags(),
				Action: func(c *cli.Context) error {
					return showRule(c, "FAR", farColumns(), func(d SessionDetail, id uint64) (FARRow, bool) {
						for _, r := range d.Rules.FARs {
							if uint64(r.FAR) == id {
								return r, true
							}
						}
						return FARRow{}, false
					})
				},
			},
		},
	}
}

// ReasonRow is a reason with the packets that it took.
type ReasonRow struct {
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
}

func reasonRows(r *datapath.Reader) ([]ReasonRow, error) {
	counts, err := r.Reasons()
	if err != nil {
		return nil, err
	}
	rows := make([]ReasonRow, len(counts))
	for i, n := range counts {
		rows[i] = ReasonRow{n.Name, n.Packets}
	}
	return rows, nil
}

func reasonCommand() *cli.Command {
	return &cli.Command{
		Name: "reason", Usage: "why packets left the data path the way they did",
		Subcommands: []*cli.Command{listCommand("list every reason with its count (docs/pgwu.md explains them)", func(c *cli.Context) error {
			rows, err := ask(c, "/reasons", func(w where) (rows []ReasonRow, err error) {
				err = w.read(func(r *datapath.Reader) error {
					rows, err = reasonRows(r)
					return err
				})
				return rows, err
			})
			if err != nil {
				return err
			}
			return output.List(c, rows, []output.Column[ReasonRow]{
				{Name: "reason", Value: func(r ReasonRow) any { return r.Reason }},
				{Name: "packets", Value: func(r ReasonRow) any { return r.Packets }},
			})
		})},
	}
}

func peerCommand() *cli.Command {
	return &cli.Command{
		Name: "peer", Usage: "control planes that are associated",
		Subcommands: []*cli.Command{listCommand("list associations", func(c *cli.Context) error {
			rows, err := ask(c, "/peers", func(w where) ([]sxb.PeerInfo, error) {
				state, err := w.state()
				if err != nil {
					return nil, err
				}
				return state.Peers(), nil
			})
			if err != nil {
				return err
			}
			return output.List(c, rows, []output.Column[sxb.PeerInfo]{
				{Name: "peer", Value: func(r sxb.PeerInfo) any { return r.NodeID }},
				{Name: "address", Value: func(r sxb.PeerInfo) any { return r.Address }},
				{Name: "state", Value: func(r sxb.PeerInfo) any { return r.State }},
				{Name: "recovery time stamp", Value: func(r sxb.PeerInfo) any { return r.RecoveryTimeStamp }},
				{Name: "silent", Value: func(r sxb.PeerInfo) any { return fmt.Sprintf("%.0fs", r.Silent) }},
				{Name: "sessions", Value: func(r sxb.PeerInfo) any { return r.Sessions }},
				{Name: "applications", Value: func(r sxb.PeerInfo) any { return r.Applications }},
			})
		}), releaseCommand()},
	}
}

// NextHopRow is where packets to a peer or to a network instance's gateway leave.
type NextHopRow struct {
	Address         string `json:"address"`
	Local           string `json:"local"`
	NetworkInstance string `json:"network_instance"`
	Table           uint32 `json:"table"` // of the kernel, whose default route leads there; 0: configured
	Resolved        bool   `json:"resolved"`
	Port            string `json:"port"`
	MAC             string `json:"mac"`
	MTU             int    `json:"mtu"`
}

func nexthopRows(r *datapath.Reader) ([]NextHopRow, error) {
	hops, err := r.NextHops()
	rows := make([]NextHopRow, len(hops))
	for i, h := range hops {
		rows[i] = NextHopRow{
			Address: text(h.Address), Local: text(h.Local), NetworkInstance: string(h.Instance), Table: h.Table, Resolved: h.Resolved,
			Port: h.Port, MAC: h.MAC, MTU: h.MTU,
		}
	}
	return rows, err
}

func nexthopCommand() *cli.Command {
	return &cli.Command{
		Name: "nexthop", Usage: "where packets to gateways and to remote GTP-U addresses leave",
		Subcommands: []*cli.Command{listCommand("list next hops", func(c *cli.Context) error {
			rows, err := ask(c, "/nexthops", func(w where) (rows []NextHopRow, err error) {
				err = w.read(func(r *datapath.Reader) error {
					rows, err = nexthopRows(r)
					return err
				})
				return rows, err
			})
			if err != nil {
				return err
			}
			return output.List(c, rows, []output.Column[NextHopRow]{
				{Name: "address", Value: func(r NextHopRow) any { return r.Address }},
				{Name: "local", Value: func(r NextHopRow) any { return r.Local }},
				{Name: "network instance", Value: func(r NextHopRow) any { return r.NetworkInstance }},
				{Name: "table", Value: func(r NextHopRow) any {
					if r.Table == 0 {
						return ""
					}
					return r.Table
				}},
				{Name: "resolved", Value: func(r NextHopRow) any { return r.Resolved }},
				{Name: "port", Value: func(r NextHopRow) any { return r.Port }},
				{Name: "mac", Value: func(r NextHopRow) any { return r.MAC }},
				{Name: "mtu", Value: func(r NextHopRow) any { return r.MTU }},
			})
		})},
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
)

func peerCommand() *cli.Command {
	type peer = diameter.PeerStatus
	return &cli.Command{
		Name: "peer", Usage: "Diameter peers: list, waiting",
		Subcommands: []*cli.Command{lister("list", "list the open peers", "/peers", nil, []output.Column[peer]{
			{Name: "host", Value: func(p peer) any { return p.Host }},
			{Name: "realm", Value: func(p peer) any { return p.Realm }},
			{Name: "address", Value: func(p peer) any { return p.Address }},
			{Name: "transport", Value: func(p peer) any { return p.Transport }},
			{Name: "state", Value: func(p peer) any { return p.State }},
			{Name: "since", Value: func(p peer) any { return p.Since.Format(time.RFC3339) }},
			{Name: "received", Value: func(p peer) any { return p.Received }},
			{Name: "sent", Value: func(p peer) any { return p.Sent }},
		}), lister("waiting", "list the nodes that have yet to answer a CLR, IDR, DSR or RSR", "/peers/waiting", nil, []output.Column[store.Unanswered]{
			{Name: "host", Value: func(u store.Unanswered) any { return u.Host }},
			{Name: "requests", Value: func(u store.Unanswered) any { return u.Requests }},
			{Name: "unsent", Value: func(u store.Unanswered) any { return u.Unsent }},
		})},
	}
}

// lister is a command that prints a list; names are its flags and the names in the query.
func lister[T any](name, usage, path string, flags []cli.Flag, columns []output.Column[T]) *cli.Command {
	names := map[string]string{}
	for _, f := range flags {
		names[f.Names()[0]] = f.Names()[0]
	}
	return &cli.Command{
		Name: name, Usage: usage, Flags: shown(flags...),
		Action: func(c *cli.Context) error {
			all, err := ask[[]T](c, http.MethodGet, path+query(c, names), nil)
			if err != nil {
				return err
			}
			return output.List(c, all, columns)
		},
	}
}

func logCommand() *cli.Command {
	type event = subscriber.Event
	return &cli.Command{
		Name: "log", Usage: "show a SIM's session log, newest first: attached, updated, detached, refused and why", ArgsUsage: "SIM",
		Flags: shown(sinceFlags()...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, whichSIM)
			if err != nil {
				return err
			}
			q, err := sinceQuery(c)
			if err != nil {
				return err
			}
			all, err := ask[[]event](c, http.MethodGet, "/sims/"+url.PathEscape(args[0])+"/log?"+q.Encode(), nil)
			if err != nil {
				return err
			}
			return output.List(c, all, []output.Column[event]{
				{Name: "at", Value: func(e event) any { return e.At.Format(time.RFC3339) }},
				{Name: "what", Value: func(e event) any { return e.What }},
				{Name: "cause", Value: func(e event) any {
					if e.Cause == 0 {
						return ""
					}
					return e.Cause
				}},
				{Name: "plmn", Value: func(e event) any { return e.PLMN }},
				{Name: "node", Value: func(e event) any { return e.Node }},
				{Name: "rat", Value: func(e event) any { return e.RAT }},
				{Name: "imei", Value: func(e event) any { return e.IMEI }},
				{Name: "why", Value: func(e event) any { return strings.TrimSpace(e.Why + " " + e.Detail) }},
			})
		},
	}
}

func sinceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "since", Usage: "from that `TIME` on (2026-01-31T12:00:00Z), or for so long (24h)"},
		&cli.StringFlag{Name: "until", Usage: "before that `TIME`, or so long ago"},
		&cli.IntFlag{Name: "limit", Value: 100, Usage: "at most `N`"},
	}
}

// sinceQuery reads what sinceFlags has: times, or durations back from now.
func sinceQuery(c *cli.Context) (url.Values, error) {
	q := url.Values{"limit": {fmt.Sprint(c.Int("limit"))}}
	for _, name := range []string{"since", "until"} {
		text := c.String(name)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			d, err := time.ParseDuration(text)
			if err != nil {
				return nil, cli.Exit(fmt.Sprintf("--%s %s: want a time as 2026-01-31T12:00:00Z, or a duration as 24h", name, text), node.ExitUsage)
			}
			t = time.Now().Add(-d)
		}
		q.Set(name, t.UTC().Format(time.RFC3339))
	}
	return q, nil
}

func auditCommand() *cli.Command {
	type entry = store.Audit
	filters := []cli.Flag{
		&cli.StringFlag{Name: "who", Usage: "only what `NAME` did"},
		&cli.StringFlag{Name: "verb", Usage: "only that `VERB`, as sim.suspend"},
		&cli.StringFlag{Name: "object", Usage: "only what was done to that IMSI or template: `OBJECT`"},
	}
	return &cli.Command{
		Name: "audit", Usage: "who changed what, and when: list",
		Subcommands: []*cli.Command{{
			Name: "list", Usage: "list who did what, or was refused, newest first", Flags: shown(append(filters, sinceFlags()...)...),
			Action: func(c *cli.Context) error {
				q, err := sinceQuery(c)
				if err != nil {
					return err
				}
				for _, f := range filters {
					if name := f.Names()[0]; c.IsSet(name) {
						q.Set(name, c.String(name))
					}
				}
				all, err := ask[[]entry](c, http.MethodGet, "/audit?"+q.Encode(), nil)
				if err != nil {
					return err
				}
				return output.List(c, all, []output.Column[entry]{
					{Name: "at", Value: func(e entry) any { return e.At.Format(time.RFC3339) }},
					{Name: "who", Value: func(e entry) any { return e.Who }},
					{Name: "from", Value: func(e entry) any { return e.From }},
					{Name: "verb", Value: func(e entry) any { return e.Verb }},
					{Name: "object", Value: func(e entry) any { return e.Object }},
					{Name: "result", Value: func(e entry) any { return e.Result }},
					{Name: "detail", Value: func(e entry) any { return short(e.Detail) }},
				})
			},
		}},
	}
}

// maxCell bounds a cell of a table, in characters; -o json has all.
const maxCell = 100

func short(s string) string {
	if r := []rune(s); len(r) > maxCell {
		return string(r[:maxCell]) + "…"
	}
	return s
}

func imeiCommand() *cli.Command {
	pair := func(name, method, usage, says string) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: "SIM IMEI", Flags: reach(),
			Action: func(c *cli.Context) error {
				args, err := arguments(c, whichSIM, "IMEI")
				if err != nil {
					return err
				}
				return say(c, method, "/sims/"+url.PathEscape(args[0])+"/imeis/"+url.PathEscape(args[1]), says)
			},
		}
	}
	return &cli.Command{
		Name: "imei", Usage: "devices that a SIM may be used in: bind, unbind",
		Subcommands: []*cli.Command{
			pair("bind", http.MethodPut, "let a SIM be used in that device, and in no other that is not bound too", "bound:"),
			pair("unbind", http.MethodDelete, "unbind that device, or all", "unbound:"),
		},
	}
}

func plmnCommand() *cli.Command {
	pair := func(name, method, usage, says string) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: "SIM MCC-MNC", Flags: reach(),
			Action: func(c *cli.Context) error {
				args, err := arguments(c, whichSIM, "MCC-MNC")
				if err != nil {
					return err
				}
				return say(c, method, "/sims/"+url.PathEscape(args[0])+"/plmns/"+url.PathEscape(args[1]), says)
			},
		}
	}
	return &cli.Command{
		Name: "plmn", Usage: "networks where a SIM may attach: allow, deny",
		Subcommands: []*cli.Command{
			pair("allow", http.MethodPut, "put a network on the SIM's list; the first one makes all others forbidden", "allowed:"),
			pair("deny", http.MethodDelete, "take a network off the SIM's list; a SIM that is there is cancelled", "denied:"),
		},
	}
}

func locationCommand() *cli.Command {
	type place struct {
		imsi identity.IMSI
		side subscriber.Side
		r    subscriber.Registration
	}
	return &cli.Command{
		Name: "location", Usage: "where SIMs are registered: show, ask, cancel",
		Subcommands: []*cli.Command{
			{
				Name: "show", Usage: "show where a SIM is registered", ArgsUsage: "SIM", Flags: shown(),
				Action: func(c *cli.Context) error {
					args, err := arguments(c, whichSIM)
					if err != nil {
						return err
					}
					all, err := ask[[]provision.Location](c, http.MethodGet, "/sims/"+url.PathEscape(args[0])+"/location", nil)
					if err != nil {
						return err
					}
					if c.String("output") != "table" {
						return output.List[provision.Location](c, all, nil)
					}
					var places []place
					for _, l := range all {
						for side, r := range map[subscriber.Side]subscriber.Registration{subscriber.MME: l.MME, subscriber.SGSN: l.SGSN} {
							if !r.IsZero() {
								places = append(places, place{l.IMSI, side, r})
							}
						}
					}
					return output.List(c, places, []output.Column[place]{
						{Name: "imsi", Value: func(p place) any { return p.imsi }},
						{Name: "side", Value: func(p place) any { return p.side }},
						{Name: "host", Value: func(p place) any { return p.r.Host }},
						{Name: "plmn", Value: func(p place) any { return p.r.PLMN }},
						{Name: "rat", Value: func(p place) any { return p.r.RAT }},
						{Name: "imei", Value: func(p place) any { return p.r.IMEI }},
						{Name: "since", Value: func(p place) any { return dateText(p.r.At) }},
						{Name: "purged", Value: func(p place) any { return p.r.Purged }},
					})
				},
			},
			{
				Name: "ask", Usage: "ask the serving nodes where a SIM is, and in which state", ArgsUsage: "SIM",
				Flags: shown(&cli.BoolFlag{Name: "current", Usage: "have the device paged, if it must be"}),
				Action: func(c *cli.Context) error {
					args, err := arguments(c, whichSIM)
					if err != nil {
						return err
					}
					type answer = subscriber.NodeLocation
					all, err := ask[[]answer](c, http.MethodPost, "/sims/"+url.PathEscape(args[0])+"/location"+query(c, map[string]string{"current": "current"}), nil)
					if err != nil {
						return err
					}
					return output.List(c, all, []output.Column[answer]{
						{Name: "side", Value: func(l answer) any { return l.Side }},
						{Name: "host", Value: func(l answer) any { return l.Host }},
						{Name: "state", Value: func(l answer) any {
							if l.Unsupported {
								return "the node does not say"
							}
							return l.State
						}},
						{Name: "cell", Value: func(l answer) any { return l.Cell }},
						{Name: "area", Value: func(l answer) any { return l.Area }},
						{Name: "age", Value: func(l answer) any { return l.Age }},
					})
				},
			},
			{
				Name: "cancel", Usage: "have the serving nodes drop a SIM; it may attach again", ArgsUsage: "SIM",
				Flags: append(reach(), &cli.BoolFlag{Name: "reattach", Usage: "ask the device to attach again at once"}),
				Action: func(c *cli.Context) error {
					args, err := arguments(c, whichSIM)
					if err != nil {
						return err
					}
					path := "/sims/" + url.PathEscape(args[0]) + "/location?reattach=" + strconv.FormatBool(c.Bool("reattach"))
					return say(c, http.MethodDelete, path, "cancelled:")
				},
			},
		},
	}
}

func templateCommand() *cli.Command {
	type template = provision.Template
	return &cli.Command{
		Name: "template", Usage: "what many SIMs have in common: list, show, set, remove",
		Subcommands: []*cli.Command{
			lister("list", "list the templates for profiles", "/templates", nil, []output.Column[template]{
				{Name: "name", Value: func(t template) any { return t.Name }},
				{Name: "apns", Value: func(t template) any { return apnNames(t.Profile.APNs) }},
				{Name: "plmns", Value: func(t template) any { return orAll(strings.Join(t.Profile.PLMNs, " ")) }},
				{Name: "rats", Value: func(t template) any { return orAll(strings.Trim(fmt.Sprint(t.Profile.RATs), "[]")) }},
			}),
			{
				Name: "show", Usage: "show one template", ArgsUsage: "NAME", Flags: shown(),
				Action: func(c *cli.Context) error {
					args, err := arguments(c, "NAME")
					if err != nil {
						return err
					}
					all, err := ask[[]template](c, http.MethodGet, "/templates", nil)
					if err != nil {
						return err
					}
					for _, t := range all {
						if t.Name == args[0] {
							return output.Show(c, t, []output.Column[template]{
								{Name: "name", Value: func(t template) any { return t.Name }},
								{Name: "profile", Value: func(t template) any {
									j, _ := json.Marshal(t.Profile) // was JSON a moment ago
									return string(j)
								}},
							})
						}
					}
					return &node.Refused{Status: http.StatusNotFound, Message: "no template " + args[0]}
				},
			},
			setCommand("make or change a template; the serving nodes of its SIMs are told", "/templates/", subscriber.Profile{}),
			removeCommand("remove a template that no SIM refers to", "/templates/"),
		},
	}
}

func apnCommand() *cli.Command {
	type apn = subscriber.APN
	return &cli.Command{
		Name: "apn", Usage: "what an APN is for all SIMs that have it: list, set, remove",
		Subcommands: []*cli.Command{
			lister("list", "list the templates for APNs", "/apns", nil, []output.Column[apn]{
				{Name: "name", Value: func(a apn) any { return a.Name }},
				{Name: "pdn type", Value: func(a apn) any { return a.PDNType }},
				{Name: "qci", Value: func(a apn) any { return a.QCI }},
				{Name: "arp", Value: func(a apn) any { return a.ARP.Priority }},
				{Name: "uplink", Value: func(a apn) any { return a.AMBR.Uplink }},
				{Name: "downlink", Value: func(a apn) any { return a.AMBR.Downlink }},
				{Name: "charging", Value: func(a apn) any { return a.Charging }},
			}),
			setCommand("make or change what an APN is; the serving nodes of its SIMs are told", "/apns/", subscriber.APN{}),
			removeCommand("remove the template of an APN; its SIMs go on with the defaults", "/apns/"),
		},
	}
}

// setCommand puts what a YAML file and KEY=VALUE have.
func setCommand[T any](usage, path string, _ T) *cli.Command {
	return &cli.Command{
		Name: "set", Usage: usage, ArgsUsage: "NAME [KEY=VALUE...]",
		Description: "What is not said is left to the defaults: this replaces the whole. KEY=VALUE as in hss sim set.",
		Flags:       reach(&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "read `FILE` (YAML; - is standard input)"}),
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 {
				return cli.Exit("want NAME: see "+c.Command.HelpName+" --help", node.ExitUsage)
			}
			body := json.RawMessage("{}")
			if c.NArg() > 1 || c.String("file") != "" {
				patch, err := patchFrom(c)
				if err != nil {
					return cli.Exit(err, node.ExitUsage)
				}
				body = patch
			}
			if path == "/apns/" {
				var a map[string]any
				if err := json.Unmarshal(body, &a); err != nil {
					return err
				}
				a["name"] = c.Args().First()
				body, _ = json.Marshal(a) // was JSON a moment ago
			}
			if _, err := ask[map[string]any](c, http.MethodPut, path+url.PathEscape(c.Args().First()), body); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.App.Writer, "set %s\n", c.Args().First())
			return err
		},
	}
}

func removeCommand(usage, path string) *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: usage, ArgsUsage: "NAME", Flags: reach(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "NAME")
			if err != nil {
				return err
			}
			if _, err := ask[map[string]any](c, http.MethodDelete, path+url.PathEscape(args[0]), nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "removed %s\n", args[0])
			return err
		},
	}
}

func testCommand() *cli.Command {
	type vector = provision.TestVector
	return &cli.Command{
		Name: "test", Usage: "check a card: vector",
		Subcommands: []*cli.Command{{
			Name: "vector", Usage: "make a vector that the card accepts", ArgsUsage: "SIM",
			Description: `Give RAND and AUTN to the card: one that has our keys answers with XRES. CK, IK and KASME are not shown. It costs the SIM one
sequence number.`,
			Flags: shown(&cli.StringFlag{Name: "rand", Usage: "32 hexadecimal `DIGITS`", DefaultText: "random"}),
			Action: func(c *cli.Context) error {
				args, err := arguments(c, whichSIM)
				if err != nil {
					return err
				}
				v, err := ask[vector](c, http.MethodPost, "/sims/"+url.PathEscape(args[0])+"/vector"+query(c, map[string]string{"rand": "rand"}), nil)
				if err != nil {
					return err
				}
				return output.Show(c, v, []output.Column[vector]{
					{Name: "rand", Value: func(v vector) any { return v.RAND }},
					{Name: "autn", Value: func(v vector) any { return v.AUTN }},
					{Name: "xres", Value: func(v vector) any { return v.XRES }},
					{Name: "seq", Value: func(v vector) any { return v.SEQ }},
					{Name: "ind", Value: func(v vector) any { return v.IND }},
					{Name: "algorithm", Value: func(v vector) any { return v.Algorithm }},
				})
			},
		}},
	}
}

func jobCommand() *cli.Command {
	type job = provision.Job
	return &cli.Command{
		Name: "job", Usage: "what goes on behind the commands: list",
		Subcommands: []*cli.Command{lister("list", "list repairs, key rotations and template changes since the start", "/jobs", nil, []output.Column[job]{
			{Name: "name", Value: func(j job) any { return j.Name }},
			{Name: "begun", Value: func(j job) any { return dateText(j.Begun) }},
			{Name: "ended", Value: func(j job) any { return dateText(j.Ended) }},
			{Name: "counts", Value: func(j job) any {
				var parts []string
				for _, name := range slices.Sorted(maps.Keys(j.Counts)) {
					parts = append(parts, fmt.Sprintf("%s %d", name, j.Counts[name]))
				}
				return strings.Join(parts, ", ")
			}},
			{Name: "failure", Value: func(j job) any { return j.Failure }},
		})},
	}
}

func repairCommand() *cli.Command {
	return beginCommand("repair", "compare the indexes with the records and put them right", "/repair")
}

func resetCommand() *cli.Command {
	return &cli.Command{
		Name: "reset", Usage: "tell every node that registrations were lost (RSR): after a restore, or a loss of records",
		Flags: append(reach(),
			&cli.StringSliceFlag{Name: "imsi", Usage: "only of SIMs whose IMSI begins with these `DIGITS`; may be repeated"},
			&cli.StringSliceFlag{Name: "reset-id", Usage: "only of SIMs that depend on the resource of this `NAME` (serving.reset_ids); may be repeated"}),
		Action: func(c *cli.Context) error {
			scope := subscriber.Scope{IMSIs: c.StringSlice("imsi"), ResetIDs: c.StringSlice("reset-id")}
			n, err := ask[provision.Nodes](c, http.MethodPost, "/reset", scope)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%d nodes are told\n", n.Nodes)
			return err
		},
	}
}

// beginCommand begins a job.
func beginCommand(name, usage, path string) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Flags: reach(),
		Description: "It goes on behind the command: hss job list shows how far it is. It may be begun again at any time.",
		Action: func(c *cli.Context) error {
			j, err := ask[provision.Job](c, http.MethodPost, path, nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s has begun: hss job list shows how far it is\n", j.Name)
			return err
		},
	}
}

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "tokens for the REST API: generate",
		Subcommands: []*cli.Command{{
			Name: "generate", Usage: "make a token, and the line for the file that provision.tokens names",
			Description: `Roles: read; operate (add, import, change and cancel SIMs); admin (also remove, templates, dump, rotation, audit log). The token is
shown this once; the file has its hash only, and is read again when it changes.`,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "name", Usage: "`NAME` for the audit log"},
				&cli.StringFlag{Name: "role", Usage: "read, operate or admin: `ROLE`"},
				&cli.StringFlag{Name: "until", Usage: "last `DAY` (YYYY-MM-DD, UTC) on which it is of use", DefaultText: "for ever"},
			},
			Action: func(c *cli.Context) error {
				role, err := provision.ParseRole(c.String("role"))
				if err != nil {
					return cli.Exit(fmt.Sprintf("--role: %v", err), node.ExitUsage)
				}
				token, line, err := provision.GenerateToken(c.String("name"), role, c.String("until"))
				if err != nil {
					return cli.Exit(err, node.ExitUsage)
				}
				_, err = fmt.Fprintf(c.App.Writer, "token: %s\nline:  %s\n", token, line)
				return err
			},
		}},
	}
}

func kekCommand() *cli.Command {
	return &cli.Command{
		Name: "kek", Usage: "the key that encrypts the SIMs' keys in Redis: generate, rotate, show",
		Subcommands: []*cli.Command{
			{
				Name: "generate", Usage: "print a new line for the file that kek.file names",
				Flags: []cli.Flag{&cli.StringFlag{Name: "id", Value: time.Now().UTC().Format("2006-01-02"), DefaultText: "today's date", Usage: "`NAME` of the key, stored with every record that it seals"}},
				Action: func(c *cli.Context) error {
					_, err := fmt.Fprintln(c.App.Writer, store.GenerateKEK(c.String("id")))
					return err
				},
			},
			beginCommand("rotate", "seal the keys of all SIMs with the first key of the file, so that the others can go", "/kek/rotate"),
			{
				Name: "show", Usage: "count the SIMs by the key that seals theirs", Flags: shown(),
				Action: func(c *cli.Context) error {
					k, err := ask[provision.KEKs](c, http.MethodGet, "/kek", nil)
					if err != nil {
						return err
					}
					return output.List(c, slices.Sorted(maps.Keys(k.SIMs)), []output.Column[string]{
						{Name: "kek", Value: func(id string) any { return id }},
						{Name: "active", Value: func(id string) any { return id == k.Active }},
						{Name: "sims", Value: func(id string) any { return k.SIMs[id] }},
					})
				},
			},
		},
	}
}

var errCut = errors.New("the HSS ended in the midst of its answer: what was written is not whole")

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
)

const defaultLimit = 1000

const whichSIM = "IMSI, iccid:ICCID or msisdn:MSISDN"

func simCommand() *cli.Command {
	return &cli.Command{
		Name: "sim", Usage: "SIMs: add, show, list, set, activate, suspend, resume, terminate, remove, import, export, log",
		Subcommands: append([]*cli.Command{
			addCommand(),
			{
				Name: "show", Usage: "show one SIM: its profile and where it is registered; keys are never shown", ArgsUsage: "SIM",
				Description: "SIM is an " + whichSIM + ".", Flags: shown(),
				Action: func(c *cli.Context) error {
					args, err := arguments(c, whichSIM)
					if err != nil {
						return err
					}
					sub, err := ask[subscriber.Subscriber](c, http.MethodGet, "/sims/"+url.PathEscape(args[0]), nil)
					if err != nil {
						return err
					}
					return output.Show(c, sub, append(columns(), details()...))
				},
			},
			{
				Name: "list", Usage: "list SIMs by IMSI",
				Description: "A long list comes in pages: give the last IMSI of one to --after for the next.",
				Flags: shown(append(matchFlags(),
					&cli.StringFlag{Name: "msisdn", Usage: "only the one with that `MSISDN`"},
					&cli.StringFlag{Name: "iccid", Usage: "only those on the card with that `ICCID`"},
					&cli.StringFlag{Name: "after", Usage: "only those behind that `IMSI`"},
					&cli.IntFlag{Name: "limit", Value: defaultLimit, Usage: "at most `N`"},
				)...),
				Action: func(c *cli.Context) error {
					names := matchNames()
					for _, n := range []string{"msisdn", "iccid", "after", "limit"} {
						names[n] = n
					}
					all, err := ask[[]subscriber.Subscriber](c, http.MethodGet, "/sims"+query(c, names), nil)
					if err != nil {
						return err
					}
					if n := len(all); n > 0 && n == c.Int("limit") {
						fmt.Fprintf(c.App.ErrWriter, "there may be more: --after %s\n", all[n-1].IMSI)
					}
					return output.List(c, all, columns())
				},
			},
			{
				Name: "set", Usage: "change the profile of a SIM; where it is registered is told at once", ArgsUsage: "SIM KEY=VALUE...",
				Description: `KEY is one of the profile, with dots inside (ambr.uplink, card.batch, iot.periodic_tau); VALUE is as YAML has it; null gives
the key back to the template. --file merges a YAML file instead.

   hss sim set 999700000000001 ambr.uplink=50000000 'apns=[{name: internet, static_ipv4: 10.1.2.3}]'`,
				Flags: shown(&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "merge `FILE` (YAML; - is standard input)"}),
				Action: func(c *cli.Context) error {
					if c.NArg() < 1 {
						return cli.Exit("want "+whichSIM+", then KEY=VALUE: see hss sim set --help", node.ExitUsage)
					}
					patch, err := patchFrom(c)
					if err != nil {
						return cli.Exit(err, node.ExitUsage)
					}
					n, err := clientFor(c)
					if err != nil {
						return err
					}
					var sub subscriber.Subscriber
					if err := n.Exchange(c.Context, http.MethodPatch, "/sims/"+url.PathEscape(c.Args().First()), "application/merge-patch+json", bytes.NewReader(patch), &sub); err != nil {
						return err
					}
					return output.Show(c, sub, append(columns(), details()...))
				},
			},
			verbCommand("remove", http.MethodDelete, "", "remove a SIM and cancel it where it is registered", "removed"),
			verbCommand("activate", http.MethodPost, "/activate", "put a SIM into service that never was", "active:"),
			verbCommand("suspend", http.MethodPost, "/suspend", "take a SIM out of service for a while; its nodes drop it", "suspended:"),
			verbCommand("resume", http.MethodPost, "/resume", "put a suspended SIM back into service", "active:"),
			verbCommand("terminate", http.MethodPost, "/terminate", "take a SIM out of service for good; its nodes drop it", "terminated:"),
			logCommand(),
		}, bulkCommands()...),
	}
}

func matchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "imsi", Usage: "only those whose IMSI begins with `DIGITS`"},
		&cli.StringFlag{Name: "status", Usage: "only those that are provisioned, active, suspended or terminated: `STATUS`"},
		&cli.StringFlag{Name: "batch", Usage: "only those of that `BATCH`"},
		&cli.StringFlag{Name: "template", Usage: "only those that refer to that `TEMPLATE`"},
		&cli.StringFlag{Name: "apn", Usage: "only those that have that `APN`"},
		&cli.StringFlag{Name: "node", Usage: "only those that are registered at that `HOST`"},
	}
}

func matchNames() map[string]string {
	return map[string]string{"imsi": "imsi", "status": "status", "batch": "batch", "template": "template", "apn": "apn", "node": "node"}
}

// verbCommand changes the SIMs that its argument stands for, and says so for each.
func verbCommand(name, method, path, usage, says string) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "SIM", Flags: reach(),
		Description: "SIM is an " + whichSIM + "; with an ICCID, all IMSIs of the card.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, whichSIM)
			if err != nil {
				return err
			}
			return say(c, method, "/sims/"+url.PathEscape(args[0])+path, says)
		},
	}
}

// say sends a request that answers with SIMs, and prints a line for each.
func say(c *cli.Context, method, path, says string) error {
	all, err := ask[[]subscriber.Subscriber](c, method, path, nil)
	if err != nil {
		return err
	}
	for _, sub := range all {
		if _, err := fmt.Fprintf(c.App.Writer, "%s %s\n", says, sub.IMSI); err != nil {
			return err
		}
	}
	return nil
}

// patchFrom makes a JSON merge patch of the arguments behind the first, or of --file.
func patchFrom(c *cli.Context) ([]byte, error) {
	patch := map[string]any{}
	if file := c.String("file"); file != "" {
		b, err := readFile(c, file)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		if err := yaml.Unmarshal(b, &patch); err != nil {
			return nil, fmt.Errorf("--file: %s", yaml.FormatError(err, false, false))
		}
	}
	for _, arg := range c.Args().Tail() {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q, want KEY=VALUE", arg)
		}
		into := patch
		parts := strings.Split(key, ".")
		for _, part := range parts[:len(parts)-1] {
			inner, ok := into[part].(map[string]any)
			if !ok {
				inner = map[string]any{}
				into[part] = inner
			}
			into = inner
		}
		value, err := scalar(parts[len(parts)-1], text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		into[parts[len(parts)-1]] = value
	}
	if len(patch) == 0 {
		return nil, errors.New("nothing to set: want KEY=VALUE, or --file")
	}
	return json.Marshal(patch)
}

// textKeys are words of digits, which YAML would read as numbers.
var textKeys = []string{"msisdn", "iccid", "eid", "batch", "charging", "amf", "template", "name", "id", "nodes", "interfaces", "events", "omc"}

func scalar(key, text string) (any, error) {
	if slices.Contains(textKeys, key) && text != "null" {
		return text, nil
	}
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, errors.New("not a value as YAML has it")
	}
	return value, nil
}

func addCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add a SIM",
		Description: `Keys: K, and OPc or OP (OP is turned into OPc and not kept). Give them in --file or --keys-file ("-" reads standard
input), or in the environment. As flags they are seen by everybody who lists processes, and stay in the shell's history.

   hss sim add --imsi 999700000000001 --apn internet --keys-file keys.yaml
   hss sim add --file sim.yaml`,
		Flags: shown(
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "read the whole SIM from `FILE` (YAML: imsi, k, opc or op, seq, and the profile); flags add to it"},
			&cli.StringFlag{Name: "keys-file", Usage: "read k, and opc or op, from `FILE` (YAML)"},
			&cli.StringFlag{Name: "imsi", Usage: "`IMSI`"},
			&cli.StringFlag{Name: "algorithm", Usage: "milenage, tuak or xor: `ALGORITHM`"},
			&cli.StringFlag{Name: "k", EnvVars: []string{"HSS_SIM_K"}, Usage: "K, 32 hexadecimal `DIGITS`"},
			&cli.StringFlag{Name: "opc", EnvVars: []string{"HSS_SIM_OPC"}, Usage: "OPc, 32 hexadecimal `DIGITS`"},
			&cli.StringFlag{Name: "op", EnvVars: []string{"HSS_SIM_OP"}, Usage: "OP, 32 hexadecimal `DIGITS`"},
			&cli.StringFlag{Name: "transport-key", Usage: "`ID` of the transport key that k, opc and op are encrypted with"},
			&cli.Uint64Flag{Name: "seq", Usage: "last `SEQ` that the card may have seen elsewhere"},
			&cli.StringFlag{Name: "iccid", Usage: "`ICCID` of the card"},
			&cli.StringFlag{Name: "batch", Usage: "order or lot of the card: `BATCH`"},
			&cli.StringFlag{Name: "template", Usage: "`TEMPLATE` from which comes what is not said here"},
			&cli.StringFlag{Name: "status", Usage: "provisioned, active or suspended: `STATUS`", DefaultText: "active"},
			&cli.StringFlag{Name: "msisdn", Usage: "`MSISDN`"},
			&cli.StringSliceFlag{Name: "apn", Usage: "an `APN` that it may use; repeat, the first is the default"},
			&cli.StringSliceFlag{Name: "static", Usage: "a fixed address, as `APN=ADDRESS`; repeat"},
			&cli.Uint64Flag{Name: "ambr-uplink", Usage: "bit rate of all its APNs together, in `BIT/S`"},
			&cli.Uint64Flag{Name: "ambr-downlink", Usage: "bit rate of all its APNs together, in `BIT/S`"},
			&cli.StringSliceFlag{Name: "plmn", Usage: "a network where it may attach, as `MCC-MNC`; repeat, none means everywhere"},
		),
		Action: func(c *cli.Context) error {
			sim, err := simFrom(c)
			if err != nil {
				return cli.Exit(err, node.ExitUsage)
			}
			sub, err := ask[subscriber.Subscriber](c, http.MethodPost, "/sims", sim)
			if err != nil {
				return err
			}
			return output.Show(c, sub, columns())
		},
	}
}

// simFrom puts a SIM together from the file and the flags.
func simFrom(c *cli.Context) (provision.NewSIM, error) {
	var sim provision.NewSIM
	if c.NArg() != 0 {
		return sim, fmt.Errorf("%q: want flags only", c.Args().First())
	}
	for _, flag := range []string{"file", "keys-file"} {
		if err := readYAML(c, c.String(flag), &sim); err != nil {
			return sim, fmt.Errorf("--%s: %w", flag, err)
		}
	}
	for flag, to := range map[string]*provision.Verbatim{"imsi": &sim.IMSI, "k": &sim.K, "opc": &sim.OPc, "op": &sim.OP} {
		if c.IsSet(flag) {
			*to = provision.Verbatim(c.String(flag))
		}
	}
	for flag, to := range map[string]*string{
		"iccid": &sim.Card.ICCID, "batch": &sim.Card.Batch, "template": &sim.Template, "transport-key": &sim.TransportKey,
		"algorithm": (*string)(&sim.Algorithm), "status": (*string)(&sim.Status),
	} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	if c.IsSet("seq") {
		sim.SEQ = c.Uint64("seq")
	}
	if c.IsSet("msisdn") {
		sim.MSISDN = identity.MSISDN(c.String("msisdn"))
	}
	if c.IsSet("ambr-uplink") {
		sim.AMBR.Uplink = c.Uint64("ambr-uplink")
	}
	if c.IsSet("ambr-downlink") {
		sim.AMBR.Downlink = c.Uint64("ambr-downlink")
	}
	sim.PLMNs = append(sim.PLMNs, c.StringSlice("plmn")...)
	for _, name := range c.StringSlice("apn") {
		apn, err := identity.ParseAPN(name)
		if err != nil {
			return sim, fmt.Errorf("--apn: %w", err)
		}
		sim.APNs = append(sim.APNs, subscriber.APN{Name: apn})
	}
	for _, s := range c.StringSlice("static") {
		if err := setStatic(&sim.Profile, s); err != nil {
			return sim, fmt.Errorf("--static: %w", err)
		}
	}
	return sim, nil
}

func readFile(c *cli.Context, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(c.App.Reader)
	}
	return os.ReadFile(file)
}

func readYAML(c *cli.Context, file string, into any) error {
	if file == "" {
		return nil
	}
	b, err := readFile(c, file)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(b, into, yaml.Strict()); err != nil {
		return errors.New(yaml.FormatError(err, false, false)) // without the source, which has keys
	}
	return nil
}

func setStatic(p *subscriber.Profile, s string) error {
	name, text, _ := strings.Cut(s, "=")
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("%q, want APN=ADDRESS", s)
	}
	for i := range p.APNs {
		a := &p.APNs[i]
		if string(a.Name) != strings.ToLower(name) {
			continue
		}
		if ip.Is4() {
			a.StaticIPv4 = ip
		} else {
			a.StaticIPv6 = ip
			if a.PDNType == "" {
				a.PDNType = subscriber.IPv4v6
			}
		}
		return nil
	}
	return fmt.Errorf("%q is not among the SIM's APNs", name)
}

func columns() []output.Column[subscriber.Subscriber] {
	type sub = subscriber.Subscriber
	return []output.Column[sub]{
		{Name: "imsi", Value: func(s sub) any { return s.IMSI }},
		{Name: "msisdn", Value: func(s sub) any { return s.Profile.MSISDN }},
		{Name: "status", Value: func(s sub) any { return s.Profile.Status }},
		{Name: "apns", Value: func(s sub) any { return apnNames(s.Profile.APNs) }},
		{Name: "mme", Value: func(s sub) any { return where(s.MME) }},
		{Name: "sgsn", Value: func(s sub) any { return where(s.SGSN) }},
	}
}

func details() []output.Column[subscriber.Subscriber] {
	type sub = subscriber.Subscriber
	return []output.Column[sub]{
		{Name: "ambr", Value: func(s sub) any {
			return fmt.Sprintf("%d/%d bit/s up/down", s.Profile.AMBR.Uplink, s.Profile.AMBR.Downlink)
		}},
		{Name: "static addresses", Value: func(s sub) any { return statics(s.Profile.APNs) }},
		{Name: "plmns", Value: func(s sub) any { return orAll(strings.Join(s.Profile.PLMNs, " ")) }},
		{Name: "rats", Value: func(s sub) any { return orAll(strings.Trim(fmt.Sprint(s.Profile.RATs), "[]")) }},
		{Name: "since", Value: func(s sub) any {
			if s.MME.At.IsZero() {
				return ""
			}
			return s.MME.At.Format(time.RFC3339)
		}},
		{Name: "imei", Value: func(s sub) any { return s.MME.IMEI }},
		{Name: "template", Value: func(s sub) any { return s.Profile.Template }},
		{Name: "iccid", Value: func(s sub) any { return s.Profile.Card.ICCID }},
		{Name: "batch", Value: func(s sub) any { return s.Profile.Card.Batch }},
		{Name: "added", Value: func(s sub) any { return dateText(s.Profile.Card.Added) }},
		{Name: "status since", Value: func(s sub) any { return dateText(s.Profile.Card.StatusAt) }},
		{Name: "imei lock", Value: func(s sub) any { return lockText(s.Profile.IMEILock) }},
		{Name: "barring", Value: func(s sub) any { return strings.Trim(fmt.Sprint(s.Profile.Barring), "[]") }},
		{Name: "charging", Value: func(s sub) any { return s.Profile.Charging }},
		{Name: "oi replacement", Value: func(s sub) any { return s.Profile.OIReplacement }},
		{Name: "iot", Value: func(s sub) any { return jsonText(s.Profile.IoT) }},
		{Name: "serving", Value: func(s sub) any { return jsonText(s.Profile.Serving) }},
	}
}

// jsonText shows what has many parts; "" of what has none.
func jsonText(v interface{ IsZero() bool }) string {
	if v.IsZero() {
		return ""
	}
	j, _ := json.Marshal(v) // plain data: it cannot fail
	return string(j)
}

func apnNames(apns []subscriber.APN) string {
	names := make([]string, len(apns))
	for i, a := range apns {
		names[i] = string(a.Name)
	}
	return strings.Join(names, " ")
}

func statics(apns []subscriber.APN) string {
	var all []string
	for _, a := range apns {
		for _, ip := range []netip.Addr{a.StaticIPv4, a.StaticIPv6} {
			if ip.IsValid() {
				all = append(all, fmt.Sprintf("%s=%v", a.Name, ip))
			}
		}
	}
	return strings.Join(all, " ")
}

func where(r subscriber.Registration) string {
	switch {
	case r.IsZero():
		return ""
	case r.Purged:
		return r.Host + " (purged)"
	}
	return r.Host + " in " + r.PLMN
}

func orAll(s string) string {
	if s == "" {
		return "all"
	}
	return s
}

func dateText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func lockText(l subscriber.IMEILock) string {
	var parts []string
	parts = append(parts, l.IMEIs...)
	for _, t := range l.TACs {
		parts = append(parts, "TAC "+t)
	}
	if l.Learn && len(l.IMEIs) == 0 {
		parts = append(parts, "the first device that it is seen in")
	}
	if len(parts) == 0 {
		return "none"
	}
	if l.Absent == subscriber.RefuseAbsent {
		parts = append(parts, "refused without an IMEI")
	}
	return strings.Join(parts, ", ")
}

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
)

const defaultLimit = 1000

func simCommand() *cli.Command {
	return &cli.Command{
		Name: "sim", Usage: "SIMs: add, show, list, remove",
		Subcommands: []*cli.Command{
			addCommand(),
			{
				Name: "show", Usage: "show one SIM: its profile and where it is registered; keys are never shown", ArgsUsage: "IMSI",
				Flags: []cli.Flag{node.SocketFlag(nodeName), output.Flag()},
				Action: func(c *cli.Context) error {
					var sub subscriber.Subscriber
					if err := onSIM(c, http.MethodGet, &sub); err != nil {
						return err
					}
					return output.Show(c, sub, append(columns(), details()...))
				},
			},
			{
				Name: "list", Usage: "list SIMs by IMSI",
				Flags: []cli.Flag{
					node.SocketFlag(nodeName), output.Flag(),
					&cli.StringFlag{Name: "imsi", Usage: "only those whose IMSI begins with `DIGITS`"},
					&cli.IntFlag{Name: "limit", Value: defaultLimit, Usage: "at most `N`"},
				},
				Action: func(c *cli.Context) error {
					query := url.Values{"imsi": {c.String("imsi")}, "limit": {strconv.Itoa(c.Int("limit"))}}
					var all []subscriber.Subscriber
					if err := node.ClientFor(c).Do(c.Context, http.MethodGet, "/sims?"+query.Encode(), nil, &all); err != nil {
						return err
					}
					return output.List(c, all, columns())
				},
			},
			{
				Name: "remove", Usage: "remove one SIM and cancel it where it is registered", ArgsUsage: "IMSI",
				Flags: []cli.Flag{node.SocketFlag(nodeName)},
				Action: func(c *cli.Context) error {
					var sub subscriber.Subscriber
					if err := onSIM(c, http.MethodDelete, &sub); err != nil {
						return err
					}
					_, err := fmt.Fprintf(c.App.Writer, "removed %s\n", sub.IMSI)
					return err
				},
			},
		},
	}
}

// onSIM asks the node about the SIM that the only argument names.
func onSIM(c *cli.Context, method string, out any) error {
	if c.NArg() != 1 {
		return cli.Exit("want one IMSI: see "+c.Command.HelpName+" --help", node.ExitUsage)
	}
	return node.ClientFor(c).Do(c.Context, method, "/sims/"+url.PathEscape(c.Args().First()), nil, out)
}

func addCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add a SIM",
		Description: `Keys: K, and OPc or OP (OP is turned into OPc and not kept). Give them in --file or --keys-file ("-" reads standard
input), or in the environment. As flags they are seen by everybody who lists processes, and stay in the shell's history.

   hss sim add --imsi 999700000000001 --apn internet --keys-file keys.yaml
   hss sim add --file sim.yaml`,
		Flags: []cli.Flag{
			node.SocketFlag(nodeName), output.Flag(),
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "read the whole SIM from `FILE` (YAML: imsi, k, opc or op, seq, and the profile); flags add to it"},
			&cli.StringFlag{Name: "keys-file", Usage: "read k, and opc or op, from `FILE` (YAML)"},
			&cli.StringFlag{Name: "imsi", Usage: "`IMSI`"},
			&cli.StringFlag{Name: "k", EnvVars: []string{"HSS_SIM_K"}, Usage: "K, 32 hexadecimal `DIGITS`"},
			&cli.StringFlag{Name: "opc", EnvVars: []string{"HSS_SIM_OPC"}, Usage: "OPc, 32 hexadecimal `DIGITS`"},
			&cli.StringFlag{Name: "op", EnvVars: []string{"HSS_SIM_OP"}, Usage: "OP, 32 hexadecimal `DIGITS`"},
			&cli.Uint64Flag{Name: "seq", Usage: "last `SEQ` that the card may have seen elsewhere"},
			&cli.StringFlag{Name: "msisdn", Usage: "`MSISDN`"},
			&cli.StringSliceFlag{Name: "apn", Usage: "an `APN` that it may use; repeat, the first is the default"},
			&cli.StringSliceFlag{Name: "static", Usage: "a fixed address, as `APN=ADDRESS`; repeat"},
			&cli.Uint64Flag{Name: "ambr-uplink", Usage: "bit rate of all its APNs together, in `BIT/S`"},
			&cli.Uint64Flag{Name: "ambr-downlink", Usage: "bit rate of all its APNs together, in `BIT/S`"},
			&cli.StringSliceFlag{Name: "plmn", Usage: "a network where it may attach, as `MCC-MNC`; repeat, none means everywhere"},
		},
		Action: func(c *cli.Context) error {
			sim, err := simFrom(c)
			if err != nil {
				return cli.Exit(err, node.ExitUsage)
			}
			var sub subscriber.Subscriber
			if err := node.ClientFor(c).Do(c.Context, http.MethodPost, "/sims", sim, &sub); err != nil {
				return err
			}
			return output.Show(c, sub, columns())
		},
	}
}

// simFrom puts a SIM together from the file and the flags.
func simFrom(c *cli.Context) (newSIM, error) {
	var sim newSIM
	if c.NArg() != 0 {
		return sim, fmt.Errorf("%q: want flags only", c.Args().First())
	}
	for _, flag := range []string{"file", "keys-file"} {
		if err := readYAML(c, c.String(flag), &sim); err != nil {
			return sim, fmt.Errorf("--%s: %w", flag, err)
		}
	}
	for flag, to := range map[string]*verbatim{"k": &sim.K, "opc": &sim.OPc, "op": &sim.OP} {
		if c.IsSet(flag) {
			*to = verbatim(c.String(flag))
		}
	}
	if c.IsSet("imsi") {
		sim.IMSI = verbatim(c.String("imsi"))
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

func readYAML(c *cli.Context, file string, sim *newSIM) error {
	var b []byte
	var err error
	switch file {
	case "":
		return nil
	case "-":
		b, err = io.ReadAll(c.App.Reader)
	default:
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(b, sim, yaml.Strict()); err != nil {
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
	}
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

func peerCommand() *cli.Command {
	type peer = diameter.PeerStatus
	return &cli.Command{
		Name: "peer", Usage: "Diameter peers: list",
		Subcommands: []*cli.Command{{
			Name: "list", Usage: "list the open peers", Flags: []cli.Flag{node.SocketFlag(nodeName), output.Flag()},
			Action: func(c *cli.Context) error {
				var all []peer
				if err := node.ClientFor(c).Do(c.Context, http.MethodGet, "/peers", nil, &all); err != nil {
					return err
				}
				return output.List(c, all, []output.Column[peer]{
					{Name: "host", Value: func(p peer) any { return p.Host }},
					{Name: "realm", Value: func(p peer) any { return p.Realm }},
					{Name: "address", Value: func(p peer) any { return p.Address }},
					{Name: "transport", Value: func(p peer) any { return p.Transport }},
					{Name: "state", Value: func(p peer) any { return p.State }},
					{Name: "since", Value: func(p peer) any { return p.Since.Format(time.RFC3339) }},
					{Name: "received", Value: func(p peer) any { return p.Received }},
					{Name: "sent", Value: func(p peer) any { return p.Sent }},
				})
			},
		}},
	}
}

func kekCommand() *cli.Command {
	return &cli.Command{
		Name: "kek", Usage: "the key that encrypts the SIMs' keys in Redis: generate",
		Subcommands: []*cli.Command{{
			Name: "generate", Usage: "print a new line for the file that kek.file names",
			Flags: []cli.Flag{&cli.StringFlag{Name: "id", Value: time.Now().UTC().Format("2006-01-02"), DefaultText: "today's date", Usage: "`NAME` of the key, stored with every record that it seals"}},
			Action: func(c *cli.Context) error {
				_, err := fmt.Fprintln(c.App.Writer, store.GenerateKEK(c.String("id")))
				return err
			},
		}},
	}
}

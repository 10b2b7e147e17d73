package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
)

func sessionCommand() *cli.Command {
	return &cli.Command{
		Name: "session", Usage: "PDN connections: list, show",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list PDN connections by IMSI",
				Flags: []cli.Flag{
					node.SocketFlag(nodeName), output.Flag(),
					&cli.StringFlag{Name: "imsi", Usage: "only those of `IMSI`"},
					&cli.StringFlag{Name: "apn", Usage: "only those to `APN`"},
					&cli.StringFlag{Name: "ue", Usage: "only those with the UE `ADDRESS`"},
				},
				Action: func(c *cli.Context) error {
					all, err := sessions(c, url.Values{"imsi": {c.String("imsi")}, "apn": {c.String("apn")}, "ue": {c.String("ue")}})
					if err != nil {
						return err
					}
					return output.List(c, all, sessionColumns())
				},
			},
			{
				Name: "show", Usage: "show all that is known of the PDN connections of one SIM", ArgsUsage: "IMSI",
				Flags: []cli.Flag{
					node.SocketFlag(nodeName), output.Flag(),
					&cli.UintFlag{Name: "ebi", Usage: "only the one with default bearer `N`"},
				},
				Action: showSession,
			},
		},
	}
}

func sessions(c *cli.Context, filter url.Values) ([]s8.Session, error) {
	var all []s8.Session
	return all, node.ClientFor(c).Do(c.Context, http.MethodGet, "/sessions?"+filter.Encode(), nil, &all)
}

func showSession(c *cli.Context) error {
	if err := node.Arguments(c, "IMSI"); err != nil {
		return err
	}
	all, err := sessions(c, url.Values{"imsi": {c.Args().First()}})
	if err != nil {
		return err
	}
	var chosen []s8.Session
	for _, s := range all {
		if !c.IsSet("ebi") || c.Uint("ebi") == uint(s.EBI) {
			chosen = append(chosen, s)
		}
	}
	switch len(chosen) {
	case 0:
		return cli.Exit("no PDN connection of "+c.Args().First()+": see pgwc session list", node.ExitRefused)
	case 1:
		return output.Show(c, chosen[0], append(sessionColumns(), sessionDetails()...))
	}
	return cli.Exit(fmt.Sprintf("%d PDN connections: choose one with --ebi", len(chosen)), node.ExitRefused)
}

func sessionColumns() []output.Column[s8.Session] {
	return []output.Column[s8.Session]{
		{Name: "imsi", Value: func(s s8.Session) any { return s.IMSI }},
		{Name: "ebi", Value: func(s s8.Session) any { return s.EBI }},
		{Name: "apn", Value: func(s s8.Session) any { return s.APN }},
		{Name: "ue address", Value: func(s s8.Session) any { return s.UEAddress }},
		{Name: "node", Value: func(s s8.Session) any { return s.Node }},
		{Name: "phase", Value: func(s s8.Session) any { return s.Phase }},
		{Name: "remote", Value: func(s s8.Session) any { return s.Remote }},
		{Name: "local teid", Value: func(s s8.Session) any { return s.LocalTEID }},
		{Name: "up seid", Value: func(s s8.Session) any { return s.UPSEID }},
		{Name: "rat", Value: func(s s8.Session) any { return s.RAT }},
		{Name: "serving network", Value: func(s s8.Session) any { return s.ServingNetwork }},
	}
}

func sessionDetails() []output.Column[s8.Session] {
	return []output.Column[s8.Session]{
		{Name: "msisdn", Value: func(s s8.Session) any { return s.MSISDN }},
		{Name: "mei", Value: func(s s8.Session) any { return s.MEI }},
		{Name: "network instance", Value: func(s s8.Session) any { return s.NetworkInstance }},
		{Name: "static address", Value: func(s s8.Session) any { return s.Static }},
		{Name: "remote teid", Value: func(s s8.Session) any { return s.RemoteTEID }},
		{Name: "cp seid", Value: func(s s8.Session) any { return s.CPSEID }},
		{Name: "charging id", Value: func(s s8.Session) any { return s.ChargingID }},
		{Name: "ambr kbit/s", Value: func(s s8.Session) any { return fmt.Sprintf("uplink %d, downlink %d", s.AMBRUplink, s.AMBRDownlink) }},
		{Name: "user location", Value: func(s s8.Session) any { return s.UserLocation }},
		{Name: "since", Value: func(s s8.Session) any { return s.Since.Format(time.RFC3339) }},
		{Name: "bearers", Value: func(s s8.Session) any { return bearers(s.Bearers) }},
	}
}

func bearers(all []s8.Bearer) string {
	lines := make([]string, 0, len(all))
	for _, b := range all {
		lines = append(lines, fmt.Sprintf("ebi %d qci %d arp %d local %s remote %s", b.EBI, b.QCI, b.PriorityLevel, b.Local, b.Remote))
	}
	return strings.Join(lines, "\n")
}

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", Usage: "PGW-Us: list",
		Subcommands: []*cli.Command{{
			Name: "list", Usage: "list the PGW-Us of the configuration and what stands between us and them",
			Flags: []cli.Flag{node.SocketFlag(nodeName), output.Flag()},
			Action: func(c *cli.Context) error {
				var all []nodeView
				if err := node.ClientFor(c).Do(c.Context, http.MethodGet, "/nodes", nil, &all); err != nil {
					return err
				}
				return output.List(c, all, []output.Column[nodeView]{
					{Name: "name", Value: func(n nodeView) any { return n.Name }},
					{Name: "address", Value: func(n nodeView) any { return n.Address }},
					{Name: "state", Value: func(n nodeView) any { return n.State }},
					{Name: "sessions", Value: func(n nodeView) any { return n.Sessions }},
					{Name: "features", Value: func(n nodeView) any { return strings.Join(n.Features, " ") }},
					{Name: "node id", Value: func(n nodeView) any { return n.NodeID }},
					{Name: "last heartbeat", Value: func(n nodeView) any {
						if n.LastHeartbeat == nil {
							return "never"
						}
						return n.LastHeartbeat.Format(time.RFC3339)
					}},
					{Name: "reason", Value: func(n nodeView) any { return n.Reason }},
				})
			},
		}},
	}
}

func poolCommand() *cli.Command {
	return &cli.Command{
		Name: "pool", Usage: "UE address pools: list",
		Subcommands: []*cli.Command{{
			Name: "list", Usage: "list the chunks of the pools and how full they are",
			Flags: []cli.Flag{node.SocketFlag(nodeName), output.Flag()},
			Action: func(c *cli.Context) error {
				var all []poolView
				if err := node.ClientFor(c).Do(c.Context, http.MethodGet, "/pools", nil, &all); err != nil {
					return err
				}
				return output.List(c, all, []output.Column[poolView]{
					{Name: "pool", Value: func(p poolView) any { return p.Pool }},
					{Name: "prefix", Value: func(p poolView) any { return p.Prefix }},
					{Name: "node", Value: func(p poolView) any { return p.Node }},
					{Name: "static", Value: func(p poolView) any { return p.Static }},
					{Name: "size", Value: func(p poolView) any { return p.Size }},
					{Name: "used", Value: func(p poolView) any { return p.Used }},
					{Name: "resting", Value: func(p poolView) any { return p.Resting }},
					{Name: "free", Value: func(p poolView) any { return p.Free }},
				})
			},
		}},
	}
}

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
)

func equipmentCommand() *cli.Command {
	type entry = subscriber.Equipment
	return &cli.Command{
		Name: "equipment", Usage: "lists of devices for hosts that ask over S13: list, check, set, remove",
		Description: "A RANGE is the beginning of IMEIs, 1 to 14 digits (8: a TAC, 14: one device), or two of as many with a dash between.",
		Subcommands: []*cli.Command{
			lister("list", "list what was put on lists by command", "/equipment", []cli.Flag{
				&cli.StringFlag{Name: "list", Usage: "only what is on `LIST`: white, grey or black"},
				&cli.StringFlag{Name: "after", Usage: "go on behind `RANGE`"},
				&cli.IntFlag{Name: "limit", Value: 1000, Usage: "at most `N`"},
			}, []output.Column[entry]{
				{Name: "range", Value: func(e entry) any { return e.Range }},
				{Name: "list", Value: func(e entry) any { return e.List }},
			}),
			{
				Name: "check", Usage: "say on which list a device is, and by which entry", ArgsUsage: "IMEI", Flags: shown(),
				Action: func(c *cli.Context) error {
					args, err := arguments(c, "IMEI")
					if err != nil {
						return err
					}
					found, err := ask[subscriber.EquipmentStatus](c, http.MethodGet, "/equipment/"+url.PathEscape(args[0]), nil)
					if err != nil {
						return err
					}
					return output.Show(c, found, []output.Column[subscriber.EquipmentStatus]{
						{Name: "list", Value: func(s subscriber.EquipmentStatus) any { return s.List }},
						{Name: "range", Value: func(s subscriber.EquipmentStatus) any { return s.Range }},
						{Name: "from", Value: func(s subscriber.EquipmentStatus) any { return s.From }},
					})
				},
			},
			{
				Name: "set", Usage: "put devices on a list, and off those where they were", ArgsUsage: "LIST [RANGE...]",
				Flags: reach(&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "read RANGEs from `FILE`, one a line (- is standard input)"}),
				Action: func(c *cli.Context) error {
					if c.NArg() < 1 || (c.NArg() < 2 && c.String("file") == "") {
						return cli.Exit("want LIST RANGE..., or --file: see "+c.Command.HelpName+" --help", node.ExitUsage)
					}
					all := c.Args().Tail()
					if c.String("file") != "" {
						text, err := readFile(c, c.String("file"))
						if err != nil {
							return cli.Exit(err, node.ExitUsage)
						}
						all = append(all, strings.Fields(string(text))...)
					}
					done := 0
					for chunk := range slices.Chunk(all, provision.MaxEquipmentAtOnce) {
						change := provision.EquipmentChange{List: subscriber.EquipmentList(c.Args().First()), Ranges: chunk}
						got, err := ask[provision.EquipmentResult](c, http.MethodPost, "/equipment", change)
						if err != nil {
							return err
						}
						done += got.Entries
					}
					_, err := fmt.Fprintf(c.App.Writer, "%s: %d\n", c.Args().First(), done)
					return err
				},
			},
			{
				Name: "remove", Usage: "take entries off their lists", ArgsUsage: "RANGE...", Flags: reach(),
				Action: func(c *cli.Context) error {
					if c.NArg() < 1 {
						return cli.Exit("want RANGE...: see "+c.Command.HelpName+" --help", node.ExitUsage)
					}
					for _, r := range c.Args().Slice() {
						if _, err := ask[provision.EquipmentResult](c, http.MethodDelete, "/equipment/"+url.PathEscape(r), nil); err != nil {
							return err
						}
						if _, err := fmt.Fprintf(c.App.Writer, "removed %s\n", r); err != nil {
							return err
						}
					}
					return nil
				},
			},
		},
	}
}

package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

func TestFlagsMayStandAnywhere(t *testing.T) {
	app := &cli.App{Name: "hss", Commands: []*cli.Command{
		{Name: "serve", Flags: []cli.Flag{&cli.StringFlag{Name: "config", Aliases: []string{"c"}}}},
		{Name: "sim", Subcommands: []*cli.Command{{
			Name: "show", Aliases: []string{"get"},
			Flags: []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}}, &cli.BoolFlag{Name: "all"}, &cli.IntFlag{Name: "limit"}},
		}}},
	}}
	for given, want := range map[string]string{
		"hss":                               "hss",
		"hss sim":                           "hss sim",
		"hss sim show 1 -o json":            "hss sim show -o json 1",
		"hss sim get 1 --all 2 --limit 3":   "hss sim get --all --limit 3 1 2",
		"hss sim show -o json 1":            "hss sim show -o json 1",
		"hss sim show 1 --output=json":      "hss sim show --output=json 1",
		"hss sim show 1 -- -o":              "hss sim show 1 -- -o",
		"hss sim show - -o json":            "hss sim show -o json -",
		"hss sim show 1 --unknown 2":        "hss sim show --unknown 1 2",
		"hss sim show 1 -o":                 "hss sim show -o 1",
		"hss serve -c x":                    "hss serve -c x",
		"hss nothing 1 -o json":             "hss nothing 1 -o json",
		"hss --version sim show 1 -o json":  "hss --version sim show 1 -o json",
		"hss sim nothing -o json":           "hss sim nothing -o json",
		"hss sim show 1 --help":             "hss sim show --help 1",
		"hss sim show 1 --limit -3 -o yaml": "hss sim show --limit -3 -o yaml 1",
	} {
		require.Equal(t, want, strings.Join(Arrange(app, strings.Fields(given)), " "), given)
	}
}

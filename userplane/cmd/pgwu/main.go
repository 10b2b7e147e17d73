// Command pgwu is the PGW-U: the daemon (pgwu serve) and its command line.
package main

import (
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
)

const (
	nodeName    = "pgwu"
	defaultFile = "/etc/xepc/pgwu.yaml"
)

func main() { node.Main(newApp()) }

func newApp() *cli.App {
	return &cli.App{
		Name:  nodeName,
		Usage: "PDN gateway, user plane: forwards subscribers' packets between GTP-U tunnels and networks (Sxb, S8-U, SGi)",
		Commands: []*cli.Command{
			serveCommand(),
			sessionCommand(),
			pdrCommand(),
			farCommand(),
			reasonCommand(),
			peerCommand(),
			nexthopCommand(),
			datapathCommand(),
			config.Command(defaultFile, func() config.Config { return defaultConfig() }),
		},
	}
}

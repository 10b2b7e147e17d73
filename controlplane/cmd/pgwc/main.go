// Command pgwc is the control plane of the PDN gateway: the daemon (pgwc serve) and its command line.
package main

import (
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
)

const (
	nodeName    = "pgwc"
	defaultFile = "/etc/xepc/pgwc.yaml"
)

func main() { node.Main(newApp()) }

func newApp() *cli.App {
	return &cli.App{
		Name:  nodeName,
		Usage: "control plane of the PDN gateway: sets up PDN connections for SGWs (S8) at PGW-Us (Sxb)",
		Commands: []*cli.Command{
			serveCommand(),
			sessionCommand(),
			nodeCommand(),
			poolCommand(),
			config.Command(defaultFile, func() config.Config { return defaultConfig() }),
		},
	}
}

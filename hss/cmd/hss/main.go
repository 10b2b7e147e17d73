// Command hss is the Home Subscriber Server: the daemon (hss serve) and its command line.
package main

import (
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
)

const (
	nodeName    = "hss"
	defaultFile = "/etc/xepc/hss.yaml"
)

func main() { node.Main(newApp()) }

func newApp() *cli.App {
	return &cli.App{
		Name:  nodeName,
		Usage: "home subscriber server: authenticates SIMs and says where they may attach (S6a/S6d)",
		Commands: []*cli.Command{
			serveCommand(),
			simCommand(),
			apnCommand(),
			templateCommand(),
			imeiCommand(),
			equipmentCommand(),
			plmnCommand(),
			locationCommand(),
			peerCommand(),
			auditCommand(),
			testCommand(),
			dumpCommand(),
			restoreCommand(),
			repairCommand(),
			resetCommand(),
			jobCommand(),
			kekCommand(),
			tokenCommand(),
			config.Command(defaultFile, func() config.Config { return defaultConfig() }),
		},
	}
}

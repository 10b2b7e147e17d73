// Command testbed shows the packet core at work: it builds a whole network in namespaces on one Linux host, with
// the real programs and a simulated visited network, moves traffic through it, and removes it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/testbed/demo"
	"github.com/xepc/xepc/testbed/lab"
)

func main() { node.Main(newApp()) }

func newApp() *cli.App {
	prefix := &cli.StringFlag{
		Name: "prefix", Value: lab.DefaultPrefix,
		Usage: "`PREFIX` of the namespaces' names, so that several can run at once",
	}
	return &cli.App{
		Name:  "testbed",
		Usage: "run the packet core in network namespaces on this host",
		Commands: []*cli.Command{
			{
				Name:  "demo",
				Usage: "attach simulated UEs to a whole network, move traffic, check it, and remove everything",
				Flags: []cli.Flag{
					prefix,
					&cli.IntFlag{Name: "ues", Value: 2, Usage: "how many `UES` attach"},
					&cli.IntFlag{Name: "pgwu", Value: 2, Usage: "how many `PGW-US` serve them"},
					&cli.StringFlag{Name: "size", Value: "50MB", Usage: "`SIZE` of each transfer, as 500kB, 50MB or 2GB"},
					&cli.BoolFlag{Name: "ipv6", Usage: "GTP-U between the SGWs and the PGW-Us over IPv6"},
					&cli.BoolFlag{Name: "keep", Usage: "stay, with the UEs attached, and print the commands to look around"},
					&cli.StringFlag{Name: "capture", Usage: "record every frame of every namespace into `FILE` (pcapng)"},
					&cli.StringFlag{Name: "bin-dir", Value: "bin", Usage: "`DIR` with hss, pgwc and pgwu"},
				},
				Action: runDemo,
			},
			{
				Name:   "clean",
				Usage:  "end a testbed that runs, and remove what one has left",
				Flags:  []cli.Flag{prefix},
				Action: runClean,
			},
		},
	}
}

func runDemo(c *cli.Context) error {
	size, err := parseSize(c.String("size"))
	if err != nil {
		return cli.Exit(err, node.ExitUsage)
	}
	if err := needRoot(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return demo.Run(ctx, c.App.Writer, demo.Options{
		Prefix: c.String("prefix"), UEs: c.Int("ues"), PGWUs: c.Int("pgwu"), IPv6: c.Bool("ipv6"), Size: size,
		BinDir: c.String("bin-dir"), Keep: c.Bool("keep"), Capture: c.String("capture"),
		Log: slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

func runClean(c *cli.Context) error {
	if err := needRoot(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(c.Context), os.Interrupt)
	defer stop()
	found, err := lab.Clean(ctx, c.String("prefix"))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		found = []string{"nothing was there"}
	}
	_, err = fmt.Fprintf(c.App.Writer, "removed: %s\n", strings.Join(found, ", "))
	return err
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and XDP need root: run it with sudo")
	}
	return nil
}

// parseSize reads a size in octets with a decimal unit: B, kB, MB or GB.
func parseSize(text string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(digits+" ", "%d ", &n); err != nil || n < 0 || n > 1e12/u.factor || fmt.Sprint(n) != digits {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("size %q: want a number with kB, MB or GB, as 50MB", text)
}

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/userplane/sxb"
)

// releaseCommand asks a control plane to end its association.
func releaseCommand() *cli.Command {
	return &cli.Command{
		Name: "release", Usage: "ask a control plane to move its sessions away and to end the association", ArgsUsage: "PEER",
		Flags: append(whereFlags(), &cli.DurationFlag{
			Name: "within", Value: 5 * time.Minute, Usage: "time that it has; then its sessions go",
		}),
		Action: func(c *cli.Context) error {
			if err := node.Arguments(c, "PEER"); err != nil {
				return err
			}
			socket, _, err := place(c)
			if err != nil {
				return err
			}
			query := url.Values{"peer": {c.Args().First()}, "within": {c.Duration("within").String()}}
			var row sxb.PeerInfo
			if err := node.NewClient(socket).Do(c.Context, "POST", "/peers/release?"+query.Encode(), nil, &row); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s was asked to release its %d sessions within %v\n", row.NodeID, row.Sessions, c.Duration("within"))
			return err
		},
	}
}

// release serves releaseCommand.
func (d *daemon) release(r *http.Request) (any, error) {
	within, err := time.ParseDuration(r.FormValue("within"))
	if err != nil || within < 0 {
		return nil, node.Refuse(http.StatusBadRequest, "within %q is no duration", r.FormValue("within"))
	}
	peer := r.FormValue("peer")
	for _, p := range d.edge.Peers() {
		if strings.EqualFold(p.NodeID, peer) || p.Address.String() == peer {
			return p, d.edge.Release(p.Number, within)
		}
	}
	return nil, node.Refuse(http.StatusNotFound, "no association with %q: see pgwu peer list", peer)
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/output"
)

// reach returns the flags that say how the HSS is reached: its admin socket, or its REST API from another host.
func reach(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		node.SocketFlag(nodeName),
		&cli.StringFlag{Name: "api", EnvVars: []string{"HSS_API"}, Usage: "`URL` of the REST API, as https://hss1:8443; in place of the socket"},
		&cli.StringFlag{Name: "token-file", EnvVars: []string{"HSS_TOKEN_FILE"}, Usage: "`FILE` with the token for --api; or the token itself in $HSS_TOKEN"},
	}, more...)
}

// shown adds to reach the flag for the form of what is printed.
func shown(more ...cli.Flag) []cli.Flag { return reach(append([]cli.Flag{output.Flag()}, more...)...) }

// clientFor returns a client of the running HSS that the flags say.
func clientFor(c *cli.Context) (*node.Client, error) {
	var n *node.Client
	if api := strings.TrimSuffix(c.String("api"), "/"); api != "" {
		token := os.Getenv("HSS_TOKEN")
		if file := c.String("token-file"); file != "" {
			b, err := os.ReadFile(file)
			if err != nil {
				return nil, cli.Exit(fmt.Sprintf("--token-file: %v", err), node.ExitUsage)
			}
			token = strings.TrimSpace(string(b))
		}
		if token == "" {
			return nil, cli.Exit("--api: needs a token, in --token-file or $HSS_TOKEN", node.ExitUsage)
		}
		n = node.NewURLClient(api)
		n.Header.Set("Authorization", "Bearer "+token)
	} else {
		n = node.ClientFor(c)
		n.Header.Set(provision.UserHeader, userName())
	}
	n.Base += provision.Prefix
	n.Refusal = refusal
	return n, nil
}

// userName is who uses the command line, for the audit log.
func userName() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

const maxRefusal = 1 << 20 // octets of the words of a refusal

func refusal(resp *http.Response) error {
	var problem struct {
		Detail string
		Errors []struct{ Message, Location string }
	}
	err := json.NewDecoder(io.LimitReader(resp.Body, maxRefusal)).Decode(&problem)
	message := problem.Detail
	if err != nil || message == "" {
		message = resp.Status
	}
	for _, e := range problem.Errors {
		message += "\n" + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
	}
	return &node.Refused{Status: resp.StatusCode, Message: message}
}

// ask is Do for a command: with its context and its flags.
func ask[T any](c *cli.Context, method, path string, in any) (out T, err error) {
	n, err := clientFor(c)
	if err != nil {
		return out, err
	}
	return out, n.Do(c.Context, method, path, in, &out)
}

// arguments returns a command's arguments when there are as many as want names.
func arguments(c *cli.Context, want ...string) ([]string, error) {
	return c.Args().Slice(), node.Arguments(c, want...)
}

// query puts the flags that are set into a query, by flag and name in the query.
func query(c *cli.Context, flags map[string]string) string {
	q := url.Values{}
	for flag, name := range flags {
		if c.IsSet(flag) {
			q.Set(name, fmt.Sprint(c.Value(flag)))
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

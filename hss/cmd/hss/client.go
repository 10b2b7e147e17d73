package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// client asks a running HSS.
type client struct {
	base, where, token string
	http               http.Client
}

func clientFor(c *cli.Context) (*client, error) {
	if api := c.String("api"); api != "" {
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
		return &client{base: strings.TrimSuffix(api, "/"), where: api, token: token}, nil
	}
	path := c.String("socket")
	n := &client{base: "http://hss", where: path}
	n.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return n, nil
}

// open sends one request and returns the body of the answer. The error is a *node.Unreachable, or a *node.Refused with
// what the HSS says.
func (n *client) open(ctx context.Context, method, path, kind string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.base+provision.Prefix+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", kind)
	if n.token != "" {
		req.Header.Set("Authorization", "Bearer "+n.token)
	} else {
		req.Header.Set(provision.UserHeader, userName())
	}
	resp, err := n.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			return nil, &node.Unreachable{Socket: n.where, Err: refused.Err}
		}
		return nil, fmt.Errorf("asking the HSS: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp.Body, nil
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

// do sends in, unless nil, as JSON, and reads the answer into out.
func (n *client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		j, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(j)
	}
	return n.send(ctx, method, path, "application/json", body, out)
}

func (n *client) send(ctx context.Context, method, path, kind string, body io.Reader, out any) error {
	answer, err := n.open(ctx, method, path, kind, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// ask is do for a command: with its context and its flags.
func ask[T any](c *cli.Context, method, path string, in any) (out T, err error) {
	n, err := clientFor(c)
	if err != nil {
		return out, err
	}
	return out, n.do(c.Context, method, path, in, &out)
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

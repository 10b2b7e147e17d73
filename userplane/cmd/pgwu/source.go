package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/sxb"
)

// where says where the tables are when nobody answers on the admin socket. The daemon leaves it beside the socket.
type where struct {
	PinDir   string `json:"pin_dir"`
	StateDir string `json:"state_dir"`
}

func wherePath(socket string) string { return socket + ".where" }

func (w where) write(socket string) error {
	b, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encoding where the tables are: %w", err)
	}
	path := wherePath(socket)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("leaving word where the tables are: %w", err)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("leaving word where the tables are: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("leaving word where the tables are: %w", err)
	}
	return nil
}

// whereFlags say which node is meant.
func whereFlags() []cli.Flag {
	return []cli.Flag{
		node.SocketFlag(nodeName),
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "configuration `FILE` of the node, in place of --socket"},
	}
}

// place returns the node's admin socket, and where its tables are if that can be told.
func place(c *cli.Context) (socket string, w where, err error) {
	if path := c.String("config"); path != "" {
		cfg := defaultConfig()
		if err := config.Load(path, cfg); err != nil {
			return "", w, cli.Exit(err, node.ExitUsage)
		}
		return cfg.AdminSocket, where{PinDir: cfg.PinDir, StateDir: cfg.StateDir}, nil
	}
	socket = c.String("socket")
	b, err := os.ReadFile(wherePath(socket))
	if err != nil {
		return socket, w, nil //nolint:nilerr // no daemon ever ran here: whoever needs to know will ask it and say so
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return socket, w, fmt.Errorf("%s: %w", wherePath(socket), err)
	}
	return socket, w, nil
}

// ask gets rows from the daemon, or makes them from what it left when it is down, and then says so on stderr.
func ask[T any](c *cli.Context, path string, left func(where) (T, error)) (rows T, err error) {
	socket, w, err := place(c)
	if err != nil {
		return rows, err
	}
	err = node.NewClient(socket).Do(c.Context, "GET", path, nil, &rows)
	var unreachable *node.Unreachable
	if !errors.As(err, &unreachable) || w.PinDir == "" {
		return rows, err
	}
	rows, problem := left(w)
	if problem != nil {
		return rows, &node.Unreachable{Socket: socket, Err: fmt.Errorf("%w; and its tables cannot be read: %w", unreachable.Err, problem)}
	}
	_, _ = fmt.Fprintf(c.App.ErrWriter, "pgwu: the daemon does not answer on %s; this was read from the pinned maps in %s\n", socket, w.PinDir)
	return rows, nil
}

// read hands the pinned maps to f.
func (w where) read(f func(*datapath.Reader) error) error {
	r, err := datapath.OpenReader(w.PinDir)
	if err != nil {
		return err
	}
	return errors.Join(f(r), r.Close())
}

// tables reads pinned maps and journal. Without a journal there is what the entries tell.
func (w where) tables(f filter) (t tables, err error) {
	state, err := w.state()
	if err != nil {
		return t, err
	}
	peers := map[uint32]string{}
	for _, p := range state.Peers() {
		peers[p.Number] = p.NodeID
	}
	var sessions []session.Session
	for s := range state.Sessions {
		sessions = append(sessions, s)
	}
	err = w.read(func(r *datapath.Reader) error {
		t = newTables(sessions, r.Entries(), peers, true)
		return nil
	})
	t.sessions = slices.DeleteFunc(t.sessions, func(s session.Session) bool { return !f.match(&s) })
	return t, err
}

// state reads the journal; one that is not there, or of another boot, is empty.
func (w where) state() (*sxb.State, error) {
	state := sxb.NewState()
	boot, err := journal.BootID()
	if err != nil {
		return nil, err
	}
	if _, err := journal.Read(journal.Options{Dir: w.StateDir, Version: sxb.RecordVersion, BootID: boot}, state.Load); err != nil {
		return nil, err
	}
	return state, nil
}

// usageReader is how the daemon reads what its entries have counted.
type usageReader interface {
	Reader() *datapath.Reader
}

// liveTables makes the daemon's tables.
func liveTables(ctx context.Context, edge *sxb.Edge, dp usageReader, f filter) tables {
	peers := map[uint32]string{}
	for _, p := range edge.Peers() {
		peers[p.Number] = p.NodeID
	}
	return newTables(edge.Sessions(ctx, f.match), dp.Reader().Entries(), peers, false)
}

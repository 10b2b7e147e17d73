package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/xepc/xepc/testbed/topology"
)

const (
	readyTimeout  = 20 * time.Second
	readyInterval = 20 * time.Millisecond
)

// Node is one of the real programs, in its namespace.
type Node struct {
	Name    string // hss, pgwc, pgwu1 …
	Program string // path of the binary
	Config  string // path of its configuration
	Socket  string // path of its admin socket
	Log     string // path of its log
	ns      *topology.Namespace
	runDir  string
	process *process // nil: not started
}

// Namespace is where the node runs.
func (n *Node) Namespace() *topology.Namespace { return n.ns }

// PID is the process id of the running node; 0 when it does not run.
func (n *Node) PID() int {
	if n.process == nil {
		return 0
	}
	if over, _ := n.process.ended(); over {
		return 0
	}
	return n.process.cmd.Process.Pid
}

// Start starts the node and returns when /readyz says that it is ready.
func (n *Node) Start(ctx context.Context) error {
	if n.PID() != 0 {
		return fmt.Errorf("start %s: it runs", n.Name)
	}
	var err error
	n.process, err = start(n.ns, n.runDir, n.Log, n.Program, "serve", "--config", n.Config)
	if err != nil {
		return err
	}
	return n.Ready(ctx)
}

// Ready waits until the node is ready.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if over, err := n.process.ended(); over {
			return fmt.Errorf("%s ended while it started (%w); its log %s ends:\n%s", n.Name, orOK(err), n.Log, n.LogTail(8))
		}
		body, err := n.get(ctx, "/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w: %s); its log %s ends:\n%s", n.Name, err, bytes.TrimSpace(body), n.Log, n.LogTail(8))
		case <-time.After(readyInterval):
		}
	}
}

// orOK makes an error of a process that ended with exit code 0.
func orOK(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// get fetches a page of the node's metrics listener, from inside its namespace.
func (n *Node) get(ctx context.Context, path string) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{DialContext: n.ns.Dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+MetricsAddress+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, response.Status)
	}
	return body, err
}

// Metrics reads the node's metrics: series as the page writes them, name{label="value"}, with their values.
func (n *Node) Metrics(ctx context.Context) (map[string]float64, error) {
	page, err := n.get(ctx, "/metrics")
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", n.Name, err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if values[line[:at]], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
			return nil, fmt.Errorf("metrics of %s: line %q: %w", n.Name, line, err)
		}
	}
	return values, nil
}

// Kill9 ends the node as a crash would.
func (n *Node) Kill9() error {
	if n.PID() == 0 {
		return fmt.Errorf("kill %s: it does not run", n.Name)
	}
	return n.process.kill()
}

// Stop asks the node to end in order.
func (n *Node) Stop() error {
	if n.process == nil {
		return nil
	}
	if err := n.process.stop(); err != nil {
		return fmt.Errorf("stop %s: %w; its log is %s", n.Name, err, n.Log)
	}
	return nil
}

// Restart stops the node in order and starts it again.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Stop(); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Command runs the node's own command line, such as `pdr list -o json`, in its namespace, and gives what it prints.
// When it fails, the error has its exit code (*exec.ExitError) and what it wrote to stderr.
func (n *Node) Command(ctx context.Context, args ...string) (string, error) {
	return n.command(ctx, nil, args...)
}

func (n *Node) command(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.Program, args...)
	cmd.Env = append(os.Environ(), n.Environment()...)
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.ns.Do(cmd.Run); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(n.Program), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Environment tells the node's command line which node is meant.
func (n *Node) Environment() []string { return []string{"XEPC_SOCKET=" + n.Socket} }

// LogTail gives the last lines of the node's log.
func (n *Node) LogTail(lines int) string {
	text, err := os.ReadFile(n.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

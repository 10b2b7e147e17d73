package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig(t *testing.T) Config {
	t.Helper()
	c := DefaultConfig("test")
	c.AdminSocket = filepath.Join(t.TempDir(), "run", "test.sock")
	require.NoError(t, c.Validate())
	return c
}

func TestServeStartsAnswersAndStops(t *testing.T) {
	cfg := testConfig(t)
	cfg.Metrics.Address = freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	var log testkit.Log
	setUpDone := make(chan struct{})
	var order []string
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, "test", cfg, &log, func(_ context.Context, n *Node) error {
			defer close(setUpDone)
			n.Handle("GET /nouns/{id}", func(r *http.Request) (any, error) {
				switch r.PathValue("id") {
				case "1":
					return map[string]int{"id": 1}, nil
				case "broken":
					return nil, errors.New("broken within")
				}
				return nil, Refuse(http.StatusNotFound, "no noun %s", r.PathValue("id"))
			})
			n.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "xepc_test", Help: "A test."}, func() float64 { return 7 }))
			n.OnStop(func(context.Context) { order = append(order, "first registered") })
			n.OnStop(func(context.Context) { order = append(order, "second registered") })
			n.Go("part", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			return n.Step("look around", func() error { return nil })
		})
	}()
	<-setUpDone
	require.Eventually(t, func() bool { return get(cfg, "/readyz") == "ready\n" }, waitFor, tick)
	require.Equal(t, "ok\n", get(cfg, "/healthz"))
	require.Contains(t, get(cfg, "/metrics"), "xepc_test 7")

	c := NewClient(cfg.AdminSocket)
	var got map[string]int
	require.NoError(t, c.Do(ctx, "GET", "/nouns/1", nil, &got))
	require.Equal(t, map[string]int{"id": 1}, got)
	err := c.Do(ctx, "GET", "/nouns/2", nil, nil)
	require.EqualError(t, err, "no noun 2")
	require.Equal(t, ExitRefused, ExitCode(err))
	require.EqualError(t, c.Do(ctx, "GET", "/nouns/broken", nil, nil), "broken within")

	again := Serve(ctx, "test", cfg, io.Discard, func(context.Context, *Node) error { return nil })
	require.ErrorContains(t, again, "another process answers")

	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, []string{"second registered", "first registered"}, order)
	require.Contains(t, log.String(), `step="look around"`)
	err = c.Do(t.Context(), "GET", "/nouns/1", nil, nil)
	require.Equal(t, ExitUnreachable, ExitCode(err), "%v", err)
}

func TestAFailedStepStopsTheNodeAndNamesItself(t *testing.T) {
	err := Serve(t.Context(), "test", testConfig(t), io.Discard, func(_ context.Context, n *Node) error {
		n.Go("part", func(ctx context.Context) error { <-ctx.Done(); return nil })
		return n.Step("open the maps", func() error { return errors.New("no memory: lower sessions") })
	})
	require.EqualError(t, err, `start-up step "open the maps": no memory: lower sessions`)
}

func TestAStopDuringTheStartIsOrderly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, Serve(ctx, "test", testConfig(t), io.Discard, func(ctx context.Context, n *Node) error {
		return n.Step("wait for peers", func() error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
	}))
}

// TestASecondSignalEndsANodeThatDoesNotStop runs this test's own program as the node.
func TestASecondSignalEndsANodeThatDoesNotStop(t *testing.T) {
	if dir := os.Getenv("STUBBORN"); dir != "" {
		cfg := DefaultConfig("test")
		cfg.AdminSocket = filepath.Join(dir, "test.sock")
		_ = Serve(t.Context(), "test", cfg, os.Stdout, func(_ context.Context, n *Node) error {
			n.OnStop(func(ctx context.Context) { fmt.Println("never mind"); <-ctx.Done() })
			return nil
		})
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "STUBBORN="+t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for _, word := range []string{"msg=ready", "never mind"} {
		for lines.Scan() && !strings.Contains(lines.Text(), word) {
		}
		require.Contains(t, lines.Text(), word)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	}
	_ = cmd.Wait()
	require.Equal(t, syscall.SIGTERM, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

func TestAPartThatFailsStopsTheNode(t *testing.T) {
	err := Serve(t.Context(), "test", testConfig(t), io.Discard, func(_ context.Context, n *Node) error {
		n.Go("part", func(context.Context) error { return errors.New("socket gone") })
		return nil
	})
	require.EqualError(t, err, "part: socket gone")
}

func TestTheSocketOfAKilledProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	l, err = listenUnix(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, l.Close())
}

func TestValidateListsEveryFault(t *testing.T) {
	err := Config{Metrics: MetricsConfig{Address: "here"}, Log: LogConfig{Level: "loud", Format: "xml"}}.Validate()
	for _, key := range []string{"admin_socket", "metrics.address", "log.level", "log.format"} {
		require.ErrorContains(t, err, key+": ")
	}
}

func TestExitCodesOfWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"--nonsense"}, {"nonsense"}, {"noun", "nonsense"}, {"noun", "list", "--nonsense"}, {"noun", "list", "nonsense"}} {
		var out bytes.Buffer
		app := Prepare(&cli.App{
			Name: "node", Writer: &out, ErrWriter: &out,
			Commands: []*cli.Command{{Name: "noun", Subcommands: []*cli.Command{{Name: "list", Action: func(*cli.Context) error { return nil }}}}},
		})
		err := app.Run(append([]string{"node"}, args...))
		require.Equal(t, ExitUsage, ExitCode(err), "%v: %v", args, err)
		require.ErrorContains(t, err, "--help", strings.Join(args, " "))
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"7 -o json --ebi=5 --all": "7 json 5 true",
		"--all -o json 7":         "7 json 0 true",
		"7":                       "7 table 0 false",
		"":                        "want IMSI: see node show --help",
		"7 8":                     `"8" is not expected behind IMSI: see node show --help`,
		"7 --nonsense":            "-nonsense: see node show --help",
		"7 -o xml":                "no xml",
		"7 --ebi five":            `"five"`,
	} {
		var out bytes.Buffer
		app := Prepare(&cli.App{Name: "node", Writer: &out, ErrWriter: &out, Commands: []*cli.Command{{
			Name: "show", ArgsUsage: "IMSI",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Action: func(_ *cli.Context, s string) error {
					if s == "xml" {
						return cli.Exit("no xml", ExitUsage)
					}
					return nil
				}},
				&cli.UintFlag{Name: "ebi"}, &cli.BoolFlag{Name: "all"},
			},
			Action: func(c *cli.Context) error {
				if err := Arguments(c, "IMSI"); err != nil {
					return err
				}
				_, err := fmt.Fprint(&out, c.Args().First(), " ", c.String("output"), " ", c.Uint("ebi"), " ", c.Bool("all"))
				return err
			},
		}}})
		err := app.Run(Arrange(app, append([]string{"node", "show"}, strings.Fields(args)...)))
		if err != nil {
			require.Equal(t, ExitUsage, ExitCode(err), args)
			out.WriteString(err.Error())
		}
		require.Contains(t, out.String(), want, args)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Prepare(&cli.App{Name: "node", Writer: &out}).Run([]string{"node", "--version"}))
	require.Regexp(t, `^node .*go1\.\d+`, out.String())
}

func TestANodeThatHangsIsUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", path) // the kernel takes connections; nobody answers
	require.NoError(t, err)
	defer l.Close()
	over, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer over.Close()
	for _, c := range []*Client{NewClient(path), NewURLClient("http://" + over.Addr().String())} {
		c.http.Transport.(*http.Transport).ResponseHeaderTimeout = tick
		err = c.Do(t.Context(), http.MethodGet, "/nouns", nil, nil)
		require.ErrorContains(t, err, "no answer within")
		require.ErrorContains(t, err, c.where)
		require.Equal(t, ExitUnreachable, ExitCode(err))
	}
}

func TestANodeThatEndsInTheMidstIsUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	err = NewURLClient("http://"+l.Addr().String()).Do(t.Context(), http.MethodPost, "/nouns", map[string]int{}, nil)
	require.ErrorContains(t, err, "it ended in the midst")
	require.Equal(t, ExitUnreachable, ExitCode(err))
}

func TestAClientThatIsShutOutIsToldSo(t *testing.T) {
	u := &Unreachable{Socket: "/run/a.sock", Err: os.NewSyscallError("connect", syscall.EACCES)}
	require.ErrorContains(t, u, "be root")
	require.Equal(t, ExitUnreachable, ExitCode(u))
}

const (
	waitFor = 10 * time.Second
	tick    = 5 * time.Millisecond
)

// freeAddress returns an address of loopback that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// get returns the body at path of the metrics listener, or "" when nobody answers.
func get(cfg Config, path string) string {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + cfg.Metrics.Address + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

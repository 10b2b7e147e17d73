package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
)

// The test binary plays three parts: itself; under the names hss, pgwc and pgwu a program that only says that it is
// ready; and, told by the environment, a testbed that runs until it is ended.
const (
	ownerOf = "XEPC_TEST_OWNER"   // prefix of the lab to own
	failing = "XEPC_TEST_FAILING" // name of the program that fails at its start
)

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); {
	case name == "hss" || name == "pgwc" || name == "pgwu":
		os.Exit(playNode(name))
	case os.Getenv(ownerOf) != "":
		os.Exit(playOwner(os.Getenv(ownerOf)))
	}
	goleak.VerifyTestMain(m)
}

// playNode answers /readyz until SIGTERM; any other command does nothing.
func playNode(name string) int {
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		return 0
	}
	if os.Getenv(failing) == name {
		fmt.Println("no such port: access9")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := http.Server{Addr: lab.MetricsAddress, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `up{node="stub"} 1`)
	})}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		return 1
	}
	return 0
}

func playOwner(prefix string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := lab.Start(ctx, lab.Options{Prefix: prefix, UEs: 1, PGWUs: 1, BinDir: os.Getenv("XEPC_TEST_BIN")})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	<-ctx.Done()
	if err := l.Close(ctx, false); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// options makes a lab of stubs with a prefix of this test's own.
func options(t *testing.T) lab.Options {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each stub takes a second longer to end
	bin := t.TempDir()
	for _, name := range []string{"hss", "pgwc", "pgwu"} {
		require.NoError(t, os.Symlink(self, filepath.Join(bin, name)))
	}
	return lab.Options{Prefix: fmt.Sprintf("l%d%s-", os.Getpid(), strings.ToLower(t.Name()[4:8])), UEs: 1, PGWUs: 2, BinDir: bin}
}

// startOwner runs a testbed in a process of its own and returns when it is ready.
func startOwner(t *testing.T, o lab.Options) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), ownerOf+"="+o.Prefix, "XEPC_TEST_BIN="+o.BinDir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return cmd
}

// requireNothingLeft looks at all that a lab makes outside its own memory.
func requireNothingLeft(t *testing.T, prefix string) {
	t.Helper()
	names, err := topology.Leftovers(prefix)
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoDirExists(t, lab.RunDir(prefix))
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), lab.RunDir(prefix))
	pids, err := lab.LeftProcesses(lab.RunDir(prefix))
	require.NoError(t, err)
	require.Empty(t, pids)
}

func TestStartAndCloseLeaveNothing(t *testing.T) {
	o := options(t)
	var steps []string
	o.Step = func(name string, run func() (string, error)) error {
		steps = append(steps, name)
		_, err := run()
		return err
	}
	l, err := lab.Start(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, l.PGWUs, 2)
	require.Contains(t, steps, "start the PGW-Us")
	values, err := l.PGWUs[1].Metrics(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1.0, values[`up{node="stub"}`])

	require.NoError(t, l.HSS.Kill9())
	require.Zero(t, l.HSS.PID())
	require.NoError(t, l.HSS.Start(t.Context()))
	before := l.PGWC.PID()
	require.NoError(t, l.PGWC.Restart(t.Context()))
	require.NotEqual(t, before, l.PGWC.PID())

	require.NoError(t, l.Close(t.Context(), false))
	requireNothingLeft(t, o.Prefix)
}

func TestCrashOfTheTestbedIsCleanedUpByTheNextStart(t *testing.T) {
	o := options(t)
	owner := startOwner(t, o)
	require.NoError(t, owner.Process.Kill())
	require.Error(t, owner.Wait())
	pids, err := lab.LeftProcesses(lab.RunDir(o.Prefix))
	require.NoError(t, err)
	require.Len(t, pids, 3, "hss, pgwc and pgwu1 outlive the testbed")

	l, err := lab.Start(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, l.Close(t.Context(), false))
	requireNothingLeft(t, o.Prefix)
}

func TestSecondRunWithTheSamePrefixIsRefused(t *testing.T) {
	o := options(t)
	owner := startOwner(t, o)
	_, err := lab.Start(t.Context(), o)
	var running *lab.RunningError
	require.ErrorAs(t, err, &running)
	require.Equal(t, owner.Process.Pid, running.PID)

	found, err := lab.Clean(t.Context(), o.Prefix)
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprintf("testbed %d", owner.Process.Pid)}, found)
	require.NoError(t, owner.Wait(), "it removed everything itself")
	requireNothingLeft(t, o.Prefix)
}

func TestNodeThatDoesNotStartShowsItsLog(t *testing.T) {
	o := options(t)
	t.Setenv(failing, "pgwu")
	_, err := lab.Start(t.Context(), o)
	require.ErrorContains(t, err, "exit status 1")
	require.ErrorContains(t, err, "no such port: access9")
	require.FileExists(t, filepath.Join(lab.RunDir(o.Prefix), "log", "pgwu1.log"))

	t.Setenv(failing, "")
	found, err := lab.Clean(t.Context(), o.Prefix)
	require.NoError(t, err)
	require.Equal(t, []string{lab.RunDir(o.Prefix)}, found, "only the logs were kept")
	requireNothingLeft(t, o.Prefix)
}

func TestStartThatIsStoppedLeavesNothing(t *testing.T) {
	o := options(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Step = func(name string, run func() (string, error)) error {
		if name == "start pgwc" {
			cancel()
		}
		_, err := run()
		return err
	}
	_, err := lab.Start(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	requireNothingLeft(t, o.Prefix)
}

func TestPrefixIsChecked(t *testing.T) {
	for _, prefix := range []string{"x", "-", "Xepc-", "a/b-", "../-", "xepc"} {
		o := options(t)
		o.Prefix = prefix
		_, err := lab.Start(t.Context(), o)
		require.ErrorContains(t, err, "want lower-case letters", prefix)
	}
}

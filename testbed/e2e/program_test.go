package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
)

// runTestbed starts the testbed program and returns when it has printed a line with that text. What it prints later
// is read and thrown away.
func runTestbed(t *testing.T, until string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(binDir, "testbed"), append(args, "--bin-dir", binDir)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines, seen := bufio.NewScanner(out), []string{}
	for lines.Scan() {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), until) {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return cmd
		}
	}
	require.Fail(t, "the testbed ended early", "%v\n%s", cmd.Wait(), strings.Join(seen, "\n"))
	return nil
}

func requireNothingLeft(t *testing.T, prefix string) {
	t.Helper()
	names, err := topology.Leftovers(prefix)
	require.NoError(t, err)
	require.Empty(t, names)
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), lab.RunDir(prefix))
}

func TestProgramRemovesEverythingHoweverItEnds(t *testing.T) {
	name := prefix(t)
	demo := []string{"demo", "--ues", "1", "--pgwu", "1", "--prefix", name}

	t.Run("Ctrl-C after --keep is an orderly end", func(t *testing.T) {
		cmd := runTestbed(t, "Kept running", append(demo, "--keep", "--size", "100kB")...)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait())
		requireNothingLeft(t, name)
	})
	t.Run("SIGTERM in the middle of a transfer", func(t *testing.T) {
		cmd := runTestbed(t, "ping", append(demo, "--size", "20GB")...)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		var ended *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &ended)
		require.Equal(t, 1, ended.ExitCode())
		requireNothingLeft(t, name)
	})
	t.Run("kill -9, and the next start cleans up", func(t *testing.T) {
		cmd := runTestbed(t, "Kept running", append(demo, "--keep", "--size", "100kB")...)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		names, err := topology.Leftovers(name)
		require.NoError(t, err)
		require.NotEmpty(t, names)
		out, err := exec.Command(filepath.Join(binDir, "testbed"), append(demo, "--size", "100kB", "--bin-dir", binDir)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		requireNothingLeft(t, name)
	})
	t.Run("clean ends one that runs", func(t *testing.T) {
		cmd := runTestbed(t, "Kept running", append(demo, "--keep", "--size", "100kB")...)
		out, err := exec.Command(filepath.Join(binDir, "testbed"), "clean", "--prefix", name).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, cmd.Wait())
		requireNothingLeft(t, name)
		require.NoDirExists(t, lab.RunDir(name))
	})
}

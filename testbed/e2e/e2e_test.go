// Package e2e tests the three programs together, in namespaces, against the simulated visited network. The tests
// build the programs themselves and need root; they skip nothing.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/testbed/demo"
	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
)

// binDir is where TestMain has built the programs.
var binDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "xepc-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir+"/", "./hss/cmd/hss", "./controlplane/cmd/pgwc", "./userplane/cmd/pgwu")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	binDir = dir
	return m.Run()
}

// prefix is this test's own, so that tests and test binaries can run side by side.
func prefix(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("e%d%s-", os.Getpid(), strings.ToLower(t.Name()[4:8]))
}

// start starts a lab that ends with the test. change may be nil.
func start(t *testing.T, change func(*lab.Options)) *lab.Lab {
	t.Helper()
	o := lab.Options{Prefix: prefix(t), UEs: 2, PGWUs: 2, BinDir: binDir}
	if change != nil {
		change(&o)
	}
	l, err := lab.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range l.Nodes() {
				t.Logf("log of %s ends:\n%s", n.Name, n.LogTail(20))
			}
		}
		require.NoError(t, l.Close(t.Context(), false))
	})
	return l
}

func TestDemoPassesItsChecksAndTheWireIsWellFormed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "demo.pcapng")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := demo.Run(ctx, &out, demo.Options{Prefix: prefix(t), UEs: 2, PGWUs: 2, Size: 5e6, BinDir: binDir, Capture: path})
	require.NoError(t, err, "%s", &out)

	names, err := topology.Leftovers(prefix(t))
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoDirExists(t, lab.RunDir(prefix(t)))

	require.Empty(t, tshark(t, path, "_ws.malformed"), "frames that tshark calls malformed")
	// The protocols must be there at all, else the line above proves nothing.
	for _, filter := range []string{
		"diameter.cmd.code == 318 && diameter.flags.request == 0", "diameter.cmd.code == 316", "diameter.cmd.code == 321",
		"gtpv2.message_type == 33", "gtpv2.message_type == 35", "gtpv2.message_type == 37",
		"pfcp.msg_type == 51", "pfcp.msg_type == 53", "pfcp.msg_type == 55", "gtp.message == 0xff && icmp.type == 8",
	} {
		require.NotEmpty(t, tshark(t, path, filter), "frames that match %q", filter)
	}
}

// tshark lists the frames of a capture that match a display filter. The capture has each segment of a TCP connection
// once for every hop: taken as one connection, that is full of retransmissions, which tshark would leave unread
// (Diameter) or call malformed where they are put together (HTTP).
func tshark(t *testing.T, path, filter string) []string {
	t.Helper()
	cmd := exec.Command("tshark", "-n", "-r", path, "-Y", filter, "--disable-protocol", "http",
		"-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "tshark -Y %q: %s", filter, &stderr)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

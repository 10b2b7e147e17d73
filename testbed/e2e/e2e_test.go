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
	build := exec.Command("go", "build", "-o", dir+"/", "./hss/cmd/hss", "./controlplane/cmd/pgwc",
		"./userplane/cmd/pgwu", "./testbed/cmd/testbed")
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

	seen := map[string]int{}
	for _, frame := range tshark(t, path) {
		require.NotContains(t, frame.protocols, "_ws.malformed", "frame %s: %+v", frame.number, frame)
		seen[frame.message]++
	}
	// The messages must be there at all, else the above proves nothing.
	for _, message := range []string{
		"diameter 257", "diameter 318", "diameter 316", "diameter 321", // CER, AIR, ULR, PUR
		"gtpv2 32", "gtpv2 33", "gtpv2 34", "gtpv2 35", "gtpv2 36", "gtpv2 37", // Create Session to Delete Session
		"pfcp 50", "pfcp 51", "pfcp 52", "pfcp 53", "pfcp 54", "pfcp 55", // Session Establishment to Deletion
		"gtp 0xff",
	} {
		require.NotZero(t, seen[message], "%s is not among %v", message, seen)
	}
}

// frame is what tshark says about a frame.
type frame struct {
	number, protocols string
	message           string // protocol and type or code of the message; "" when it is none of ours
}

// tshark reads a capture. That has each segment of a TCP connection once for every hop: taken as one connection, it is
// full of retransmissions, which tshark would leave unread (Diameter) or call malformed where it puts them together
// (HTTP).
func tshark(t *testing.T, path string) (frames []frame) {
	t.Helper()
	protocols := []string{"diameter", "gtpv2", "pfcp", "gtp"}
	cmd := exec.Command("tshark", "-n", "-r", path, "--disable-protocol", "http",
		"-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE",
		"-T", "fields", "-e", "frame.number", "-e", "frame.protocols",
		"-e", "diameter.cmd.code", "-e", "gtpv2.message_type", "-e", "pfcp.msg_type", "-e", "gtp.message")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &stderr)
	for line := range strings.Lines(string(out)) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, columns, 2+len(protocols), "%q", line)
		f := frame{number: columns[0], protocols: columns[1]}
		for i, protocol := range protocols {
			if kind := columns[2+i]; kind != "" {
				f.message = protocol + " " + kind
			}
		}
		frames = append(frames, f)
	}
	return frames
}

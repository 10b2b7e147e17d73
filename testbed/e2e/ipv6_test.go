package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/testbed/demo"
)

// The demo with SGWs whose S8-U is IPv6: every G-PDU is over IPv6, well-formed, and has a right UDP checksum.
func TestGTPUOverIPv6EndToEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "demo6.pcapng")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := demo.Run(ctx, &out, demo.Options{
		Prefix: prefix(t), UEs: 1, PGWUs: 1, IPv6: true, Size: 5e5, BinDir: binDir, Capture: path,
	})
	require.NoError(t, err, "%s", &out)
	count := func(filter string) int {
		out, err := exec.Command("tshark", "-n", "-r", path, "--disable-protocol", "http", "-o", "udp.check_checksum:TRUE",
			"-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE",
			"-Y", filter, "-T", "fields", "-e", "frame.number").Output()
		require.NoError(t, err, "tshark must be installed: make test does it")
		return strings.Count(string(out), "\n")
	}
	const gpdu = "gtp.message == 0xff"
	require.NotZero(t, count(gpdu+" && ipv6.src == 2001:db8:30:1::1"), "downlink")
	require.NotZero(t, count(gpdu+" && ipv6.dst == 2001:db8:30:1::1"), "uplink")
	require.Zero(t, count(gpdu+" && !ipv6"))
	require.Zero(t, count("gtp && (_ws.malformed || udp.checksum.status == 0)"), "0: bad")
	require.Zero(t, count("gtp && ipv6 && udp.checksum == 0"))
	require.Zero(t, count("icmpv6.type == 1 || icmpv6.type == 2"), "nothing is unreachable or too big")
}

package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun runs the benchmark once, briefly: what it measures must be forwarded packets, and machines read its last
// lines.
func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(&out, 2, 1000, []int{1, 1000}, 1024))
	line := regexp.MustCompile(`^BENCH (\w+) -?\d+\.\d ns/pkt ratio=-?\d+\.\d\d$`)
	var names []string
	for _, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if strings.HasPrefix(l, "BENCH ") {
			require.Regexp(t, line, l)
			names = append(names, line.FindStringSubmatch(l)[1])
		}
	}
	require.Equal(t, []string{
		"floor_uplink", "uplink_1", "uplink_1000", "floor_downlink", "downlink_1", "downlink_1000",
	}, names)
}

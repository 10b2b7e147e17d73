package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun runs the benchmark once, briefly: what it measures must be forwarded packets, and machines read its last
// lines.
func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(&out, options{rounds: 2, packets: 1000, sessions: []int{1, 1000}, capacity: 1024, json: true, only: []string{"dense", "scattered", "ipv6", "ipv6_scattered", "outer6", "sdf", "live"}}))
	line := regexp.MustCompile(`^BENCH (\w+) -?\d+\.\d+ ((ns/pkt|Mpps) ratio=-?\d+\.\d\d|B)$`)
	var names []string
	for _, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if strings.HasPrefix(l, "BENCH ") {
			require.Regexp(t, line, l)
			names = append(names, line.FindStringSubmatch(l)[1])
		}
	}
	require.Equal(t, []string{
		"floor_uplink", "uplink_1", "access_1", "floor_downlink", "downlink_1", "kernel_bytes_per_session",
		"uplink_1000", "access_1000", "downlink_1000",
		"uplink_cp_teid_1", "downlink_static_1", "uplink_cp_teid_1000", "downlink_static_1000",
		"downlink_ipv6_1", "downlink_ipv6_1000",
		"downlink_ipv6_scattered_1", "downlink_ipv6_scattered_1000", "downlink_outer6_1", "downlink_outer6_1000", "uplink_sdf_2", "uplink_sdf_8", "uplink_sdf_32", "downlink_sdf_2", "downlink_sdf_8", "downlink_sdf_32",
		"live_uplink", "live_downlink",
	}, names)
	var results []Result
	last := out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:]
	require.NoError(t, json.Unmarshal([]byte(last), &results))
	require.Len(t, results, len(names))
}

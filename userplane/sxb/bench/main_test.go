package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain is the edge's process when the bench under test starts it: that is this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-serve" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The bench cannot rot: it runs, small, with every row.
func TestTheBenchRuns(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(settings{rounds: 1, serial: 20, many: 1000, inFlight: "1,100"}, &out))
	for _, row := range []string{
		"pfcp_establish_1", "pfcp_modify_1", "pfcp_delete_1", "pfcp_establish_100", "pfcp_modify_100", "pfcp_delete_100",
	} {
		require.Regexp(t, regexp.MustCompile(`(?m)^BENCH `+row+` \d+ per_s$`), out.String())
	}
	require.Regexp(t, regexp.MustCompile(`(?m)^BENCH process_bytes_per_session -?\d+ B$`), out.String())
}

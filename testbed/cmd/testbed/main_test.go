package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/node"
)

// UPDATE=1 rewrites the help texts under testdata.
func TestHelpIsStable(t *testing.T) {
	for name, args := range map[string][]string{
		"help": {"testbed", "--help"}, "demo": {"testbed", "demo", "--help"}, "clean": {"testbed", "clean", "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a := node.Prepare(newApp())
			a.Writer = &out
			require.NoError(t, a.Run(args))
			path := "testdata/" + name + ".txt"
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0B": 0, "17B": 17, "500kB": 500_000, "50MB": 50_000_000, "2GB": 2_000_000_000} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "B", "MB", "-1MB", "1.5MB", "5xB", "5 MB", "50", "99999999999GB", "1e3MB", "0x5MB", "٣MB"} {
		_, err := parseSize(text)
		require.Error(t, err, text)
	}
}

func TestWrongSizeIsWrongUsage(t *testing.T) {
	a := node.Prepare(newApp())
	a.Writer, a.ErrWriter = new(bytes.Buffer), new(bytes.Buffer)
	err := a.Run([]string{"testbed", "demo", "--size", "many"})
	require.Equal(t, node.ExitUsage, node.ExitCode(err))
}

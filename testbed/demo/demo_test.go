package demo

import (
	"bytes"
	"errors"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgressPrintsALineAStep(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.section("Start")
	require.NoError(t, p.step("build", func() (string, error) { return "10 namespaces", nil }))
	cause := errors.New("no such port\nsee the log")
	require.ErrorIs(t, p.step("start", func() (string, error) { return "", cause }), cause)
	require.Equal(t, []string{"start"}, p.failed)
	text := regexp.MustCompile(` +[0-9.]+ ms`).ReplaceAllString(out.String(), " 0.0 ms")
	require.Equal(t, "\nStart\n  ✓ build 0.0 ms  10 namespaces\n  ✗ start 0.0 ms  no such port\n      see the log\n", text)
}

func TestWithoutZeros(t *testing.T) {
	require.Equal(t, "REASON  PACKETS\nuplink  45\n", withoutZeros("REASON  PACKETS\nuplink  45\nnot_ours  0\n")+"\n")
}

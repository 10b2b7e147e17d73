package generation

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

var now = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// advance does what a node does that starts.
func advance(t *testing.T, dir string, now time.Time) (Generation, bool) {
	t.Helper()
	g, known, err := Next(dir, now)
	require.NoError(t, err)
	again, _, err := Next(dir, now)
	require.NoError(t, err)
	require.Equal(t, g, again, "nothing begins before Keep")
	require.NoError(t, g.Keep(dir))
	return g, known
}

func TestEachGenerationFollowsTheOneBefore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, known := advance(t, dir, now)
	require.False(t, known)
	require.Equal(t, Generation{RestartCounter: 1, RecoveryTimeStamp: 4004380800}, first)

	second, known := advance(t, dir, now)
	require.True(t, known)
	require.Equal(t, Generation{RestartCounter: 2, RecoveryTimeStamp: 4004380801}, second, "twice in a second")

	third, _ := advance(t, dir, now.Add(-time.Hour))
	require.Equal(t, pfcp.RecoveryTimeStamp(4004380802), third.RecoveryTimeStamp, "the clock went back")

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestTheCounterRollsOver(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Generation{RestartCounter: 255, RecoveryTimeStamp: 1}.Keep(dir))
	g, _ := advance(t, dir, now)
	require.Equal(t, uint8(0), g.RestartCounter)
}

func TestADamagedFileIsNotGuessedAt(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte("{"), 0o600))
	_, _, err := Next(dir, now)
	require.ErrorContains(t, err, "is damaged")
}

func TestAStateFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err := Next(file, now)
	require.Error(t, err)
}

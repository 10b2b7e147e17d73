package diameter

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStrangersCannotFloodTheLog(t *testing.T) {
	var w warnings
	now := time.Unix(1000, 0)
	for range maxWarnings {
		require.Equal(t, slog.LevelWarn, w.level(now))
	}
	require.Equal(t, slog.LevelDebug, w.level(now))
	require.Equal(t, slog.LevelWarn, w.level(now.Add(time.Second)))
}

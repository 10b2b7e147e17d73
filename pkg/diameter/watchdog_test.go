package diameter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchdog(t *testing.T) {
	const tw = 30 * time.Second
	start := time.Unix(1000, 0)
	at := func(n float64) time.Time { return start.Add(time.Duration(n * float64(tw))) }
	w := watchdog{interval: tw}
	w.restart(start, 0)

	require.Equal(t, watchdogWait, w.tick(at(0.9), 0))
	require.Equal(t, watchdogSend, w.tick(at(1), 0), "Tw without a message")
	w.received(at(1.1), 0, true)
	require.Equal(t, watchdogWait, w.tick(at(2.05), 0), "the DWA started the timer anew")
	require.Equal(t, watchdogSend, w.tick(at(2.1), 0))
	require.Equal(t, watchdogWait, w.tick(at(3.1), 0))
	require.True(t, w.suspect, "no DWA within Tw")
	w.received(at(3.2), 0, false)
	require.False(t, w.suspect, "anything that comes makes it okay again")
	require.Equal(t, watchdogWait, w.tick(at(4.2), 0))
	require.True(t, w.suspect, "the DWR is still unanswered")
	require.Equal(t, watchdogClose, w.tick(at(5.2), 0))
}

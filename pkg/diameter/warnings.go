package diameter

import (
	"log/slog"
	"sync"
	"time"
)

// maxWarnings bounds the warnings of a second, so that strangers cannot flood the log. The metrics count them all.
const maxWarnings = 10

// warnings says at which level the next warning is logged.
type warnings struct {
	mu     sync.Mutex
	second int64
	n      int
}

// level is Warn for the first of a second, then Debug.
func (w *warnings) level(now time.Time) slog.Level {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := now.Unix(); s != w.second {
		w.second, w.n = s, 0
	}
	if w.n++; w.n > maxWarnings {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

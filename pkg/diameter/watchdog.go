package diameter

import "time"

// watchdog is the algorithm of RFC 3539 3.4.1 as data. Its owner calls received and tick.
//
// The states DOWN and INITIAL are "no connection" here. REOPEN, in which RFC 3539 throws away what a returned peer
// sends until it has answered three watchdogs, is left out: it is the peer who connects to us, and its first request
// is a subscriber waiting.
type watchdog struct {
	interval time.Duration // Tw without jitter
	deadline time.Time
	pending  bool // a DWR is unanswered
	suspect  bool // SUSPECT, else OKAY
}

type watchdogAction int

const (
	watchdogWait  watchdogAction = iota
	watchdogSend                 // send a DWR
	watchdogClose                // close the connection
)

// maxJitter is what the timer is spread by, both ways, RFC 3539 3.4.1.
const maxJitter = 2 * time.Second

func (w *watchdog) restart(now time.Time, jitter time.Duration) {
	w.deadline = now.Add(w.interval + jitter)
}

// received notes a message of the peer; dwa says that it is the answer to our DWR. jitter is within ±maxJitter.
func (w *watchdog) received(now time.Time, jitter time.Duration, dwa bool) {
	if dwa {
		w.pending = false
	}
	w.suspect = false
	w.restart(now, jitter)
}

// tick says what is to be done at that time.
func (w *watchdog) tick(now time.Time, jitter time.Duration) watchdogAction {
	if now.Before(w.deadline) {
		return watchdogWait
	}
	if w.suspect {
		return watchdogClose
	}
	w.restart(now, jitter)
	if w.pending {
		w.suspect = true
		return watchdogWait
	}
	w.pending = true
	return watchdogSend
}

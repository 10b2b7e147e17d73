package diameter

import "time"

// watchdog is the algorithm of RFC 3539 3.4.1 as data. Its owner calls received and tick. The states DOWN and INITIAL are
// "no connection" here.
//
// One thing differs: in REOPEN the RFC throws away what the peer sends until it has answered three watchdogs. Here only
// requests of ours avoid a connection in that state, if there is another way. A request that has come shows that the
// peer reaches us, and behind it a subscriber waits: to be silent for a minute would be the outage that the watchdog is
// there to avoid.
type watchdog struct {
	interval time.Duration // Tw without jitter
	deadline time.Time
	state    watchdogState
	pending  bool // a DWR is unanswered
	answered int  // NumDWA, in REOPEN: DWAs since the connection came back; -1 after one that did not come
}

type watchdogState uint8

const (
	watchdogOkay    watchdogState = iota
	watchdogSuspect               // a DWR was not answered: requests of ours go another way
	watchdogReopen                // back after a loss: requests of ours go another way until three DWRs are answered
)

func (s watchdogState) String() string {
	return [...]string{watchdogOkay: "okay", watchdogSuspect: "suspect", watchdogReopen: "reopen"}[s]
}

type watchdogAction int

const (
	watchdogWait  watchdogAction = iota
	watchdogSend                 // send a DWR
	watchdogClose                // close the connection
)

// What RFC 3539 3.4.1 fixes.
const (
	maxJitter    = 2 * time.Second // what the timer is spread by, both ways
	reopenAfter  = 3               // DWAs that end REOPEN
	noneAnswered = -1
)

// up begins a connection; again says that the one before was lost. jitter is within ±maxJitter.
func (w *watchdog) up(now time.Time, jitter time.Duration, again bool) {
	w.restart(now, jitter)
	if again {
		w.state, w.deadline = watchdogReopen, now // a DWR goes out at once
	}
}

func (w *watchdog) restart(now time.Time, jitter time.Duration) {
	w.deadline = now.Add(w.interval + jitter)
}

// received notes a message of the peer; dwa says that it is the answer to our DWR.
func (w *watchdog) received(now time.Time, jitter time.Duration, dwa bool) {
	if dwa {
		w.pending = false
	}
	if w.state == watchdogReopen {
		if dwa {
			w.answered++
		}
		if w.answered == reopenAfter {
			w.state, w.answered = watchdogOkay, 0
		}
		return // the timer stands: each DWR has its time
	}
	w.state = watchdogOkay
	w.restart(now, jitter)
}

// tick says what is to be done at that time.
func (w *watchdog) tick(now time.Time, jitter time.Duration) watchdogAction {
	if now.Before(w.deadline) {
		return watchdogWait
	}
	if w.state == watchdogSuspect || (w.state == watchdogReopen && w.pending && w.answered == noneAnswered) {
		return watchdogClose
	}
	w.restart(now, jitter)
	switch {
	case !w.pending:
		w.pending = true
		return watchdogSend
	case w.state == watchdogReopen:
		w.answered = noneAnswered
	default:
		w.state = watchdogSuspect
	}
	return watchdogWait
}

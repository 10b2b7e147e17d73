package sxb

import (
	"sync/atomic"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// stats are counters that anybody may add to.
type stats struct {
	causes          [64][256]atomic.Uint64 // by request type and cause of the answer
	replayed        atomic.Uint64
	purged          atomic.Uint64
	replaced        atomic.Uint64
	dropped         atomic.Uint64
	unrenamed       atomic.Uint64
	recoveryChanges atomic.Uint64
	lostEvents      atomic.Uint64
	ignored         atomic.Uint64
	reports         atomic.Uint64
	unanswered      atomic.Uint64
	unwanted        atomic.Uint64
	nodeReports     atomic.Uint64
	bufferFull      atomic.Uint64
	bufferExpired   atomic.Uint64
	bufferReturned  atomic.Uint64
	bufferDropped   atomic.Uint64
	bufferLost      atomic.Uint64
	drainCut        atomic.Uint64
	answers         atomic.Uint64
	answersLost     atomic.Uint64
	panics          atomic.Uint64
	waits           atomic.Uint64
	waitTime        atomic.Int64 // nanoseconds
	waitMax         atomic.Int64 // nanoseconds, since the last Stats
}

func (s *stats) answered(t pfcp.MessageType, c pfcp.Cause) {
	s.causes[int(t)%len(s.causes)][c].Add(1) // requests end at 56
}

func (s *stats) waited(d time.Duration) {
	s.waits.Add(1)
	s.waitTime.Add(int64(d))
	for {
		most := s.waitMax.Load()
		if int64(d) <= most || s.waitMax.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

// CauseCount is how often requests of a type were answered with a cause.
type CauseCount struct {
	Request pfcp.MessageType
	Cause   pfcp.Cause
	Count   uint64
}

// Stats counts what happened since the start.
type Stats struct {
	Causes          []CauseCount
	Endpoint        pfcp.Stats
	Replayed        uint64        // duplicates answered with what the process before had recorded
	Purged          uint64        // sessions removed because their control plane restarted, released or stayed lost
	Replaced        uint64        // sessions whose control plane established another under the same F-SEID
	Dropped         uint64        // usage reports that nobody confirmed, dropped when their session was replaced
	Unrenamed       uint64        // sessions that there was no room to bring up to new PFDs in
	RecoveryChanges uint64        // heartbeats with another Recovery Time Stamp than the association's
	LostEvents      uint64        // heartbeat outcomes and the like that did not fit the keeper's queue
	Ignored         uint64        // requests with IEs that nothing here reads
	Reports         uint64        // Session Report Requests sent
	Unanswered      uint64        // of them, without an answer
	Unwanted        uint64        // of them, refused by the control plane
	BufferFull      uint64        // packets to idle UEs that there was no room to keep
	BufferExpired   uint64        // packets thrown away at the end of extended buffering
	BufferReturned  uint64        // those that went on when the UE was awake
	BufferDropped   uint64        // those that the control plane did not want any more, or whose session ended
	BufferLost      uint64        // those that could not go on, or were lost with this process
	DrainCut        uint64        // times that packets may have overtaken buffered ones, since too many came
	Answers         uint64        // to UEs that a FAR redirects to a URL
	AnswersLost     uint64        // of them, those that could not be sent
	NodeReports     uint64        // Node Report Requests sent
	Panics          uint64        // of our own code while serving a request
	Requests        uint64        // that waited for a shard
	Waited          time.Duration // all of them together
	LongestWait     time.Duration // since the last Stats
	Slots           []SlotInfo
	Pools           []PoolInfo // of UE addresses
}

// Stats returns a copy of the counters.
func (e *Edge) Stats() Stats {
	s := Stats{
		Endpoint: e.endpoint.Stats(), Replayed: e.stats.replayed.Load(), Purged: e.stats.purged.Load(), Replaced: e.stats.replaced.Load(), Dropped: e.stats.dropped.Load(), Unrenamed: e.stats.unrenamed.Load(),
		RecoveryChanges: e.stats.recoveryChanges.Load(), LostEvents: e.stats.lostEvents.Load(), Ignored: e.stats.ignored.Load(),
		Reports: e.stats.reports.Load(), Unanswered: e.stats.unanswered.Load(), Unwanted: e.stats.unwanted.Load(),
		BufferExpired: e.stats.bufferExpired.Load(), BufferFull: e.stats.bufferFull.Load(), BufferReturned: e.stats.bufferReturned.Load(), BufferDropped: e.stats.bufferDropped.Load(),
		BufferLost: e.stats.bufferLost.Load(), DrainCut: e.stats.drainCut.Load(), NodeReports: e.stats.nodeReports.Load(),
		Answers: e.stats.answers.Load(), AnswersLost: e.stats.answersLost.Load(),
		Panics:   e.stats.panics.Load(),
		Requests: e.stats.waits.Load(), Waited: time.Duration(e.stats.waitTime.Load()),
		LongestWait: time.Duration(e.stats.waitMax.Swap(0)), Slots: e.teids.info(), Pools: e.addresses.info(),
	}
	for t := range e.stats.causes {
		for c := range e.stats.causes[t] {
			if n := e.stats.causes[t][c].Load(); n > 0 {
				s.Causes = append(s.Causes, CauseCount{pfcp.MessageType(t), pfcp.Cause(c), n})
			}
		}
	}
	return s
}

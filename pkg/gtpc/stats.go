package gtpc

import (
	"maps"
	"sync"
)

// Stats counts what happened since Listen.
type Stats struct {
	Received        map[MessageType]uint64 // GTPv2 messages by type, before anything else is checked
	ParseErrors     map[Cause]uint64       // of requests and responses
	OtherVersions   [8]uint64              // datagrams of other GTP versions, by version
	ForeignPeers    uint64                 // datagrams from addresses that are not listened to
	ShortHeaders    uint64                 // datagrams without a whole header
	UnknownMessages uint64                 // messages of a type that this node does not take
	Duplicates      uint64                 // requests received again
	Overloads       uint64                 // requests dropped for want of room to remember them
	Evicted         uint64                 // answers forgotten before their time, for want of room
	Panics          uint64                 // of the handler or the decoder
	Sent            uint64                 // datagrams, retransmissions among them
	SendErrors      uint64
	ReceiveErrors   uint64
	Retransmissions uint64
	Timeouts        uint64
	Unsolicited     uint64 // responses that nobody waits for, or from another address than asked
	StaleRestarts   uint64 // restart counters that came late and were discarded
	Pending         int    // our requests without an answer now
	Cached          int    // requests remembered now
	Paths           int    // peers with sessions now
	PathsDown       int    // of them, those that do not answer
}

type counters struct {
	mu *sync.Mutex
	*Stats
}

func newCounters() counters {
	return counters{mu: new(sync.Mutex), Stats: &Stats{
		Received:    make(map[MessageType]uint64),
		ParseErrors: make(map[Cause]uint64),
	}}
}

func (c counters) add(n *uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

func (c counters) received(t MessageType) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Received[t]++
}

func (c counters) parseError(cause Cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ParseErrors[cause]++
}

// Stats returns a copy of the counters.
func (e *Endpoint) Stats() Stats {
	e.stats.mu.Lock()
	s := *e.stats.Stats
	s.Received, s.ParseErrors = maps.Clone(s.Received), maps.Clone(s.ParseErrors)
	e.stats.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	s.Evicted = e.transactions.evicted
	s.StaleRestarts = e.paths.stale
	s.Pending = len(e.transactions.pending)
	s.Cached = e.transactions.served
	for _, p := range e.paths.known {
		if p.holds > 0 {
			s.Paths++
			if p.down {
				s.PathsDown++
			}
		}
	}
	return s
}

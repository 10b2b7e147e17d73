package s8

import (
	"maps"
	"sync"
	"time"

	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
)

// Answer names a kind of answer: the request's type and the cause.
type Answer struct {
	Procedure gtpc.MessageType
	Cause     gtpc.Cause
}

// Population names those sessions that have an APN and a PGW-U in common.
type Population struct {
	APN  identity.APN
	Node string
}

// Stats counts what happened since New.
type Stats struct {
	GTPC       gtpc.Stats
	Answers    map[Answer]uint64
	Sessions   map[Population]int // PDN connections in service now
	PathEvents map[gtpc.PathEventKind]uint64
	Reports    map[string]uint64 // of PGW-Us about sessions: usage, error_indication, downlink_data, unknown_session
	Ended      uint64            // PDN connections that the node ended, and the SGW agreed
	EndedAlone uint64            // of those, the ones whose SGW refused or did not answer
	Overloads  uint64            // requests dropped because too many waited
	Panics     uint64            // in a shard
	Inputs     uint64            // that shards handled
	Waited     time.Duration     // sum of their waiting times
	Waiting    int               // inputs that wait for a shard now
	Abandoned  int               // PFCP sessions that may still be at a PGW-U which did not answer
}

type counters struct {
	mu sync.Mutex
	s  Stats
}

func newCounters() *counters {
	return &counters{s: Stats{
		Answers:    make(map[Answer]uint64),
		Sessions:   make(map[Population]int),
		PathEvents: make(map[gtpc.PathEventKind]uint64),
		Reports:    make(map[string]uint64),
	}}
}

// change makes one change to the counters.
func (c *counters) change(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

func (c *counters) answer(t gtpc.MessageType, cause gtpc.Cause) {
	c.change(func(s *Stats) { s.Answers[Answer{Procedure: t, Cause: cause}]++ })
}

func (c *counters) session(of session.Connection, n int) {
	p := Population{APN: of.APN, Node: of.Node}
	c.change(func(s *Stats) {
		if s.Sessions[p] += n; s.Sessions[p] == 0 {
			delete(s.Sessions, p)
		}
	})
}

func (c *counters) path(kind gtpc.PathEventKind) { c.change(func(s *Stats) { s.PathEvents[kind]++ }) }
func (c *counters) report(kind string)           { c.change(func(s *Stats) { s.Reports[kind]++ }) }
func (c *counters) overload()                    { c.change(func(s *Stats) { s.Overloads++ }) }
func (c *counters) panicked()                    { c.change(func(s *Stats) { s.Panics++ }) }

func (c *counters) waited(d time.Duration) {
	c.change(func(s *Stats) {
		s.Inputs++
		s.Waited += d
	})
}

func (c *counters) ended(response *gtpc.DeleteBearerResponse, err error) {
	c.change(func(s *Stats) {
		if err == nil && response != nil && response.Cause.Accepted() {
			s.Ended++
		} else {
			s.EndedAlone++
		}
	})
}

// Stats returns a copy of the counters.
func (s *Server) Stats() Stats {
	s.stats.mu.Lock()
	c := s.stats.s
	c.Answers, c.Sessions, c.PathEvents = maps.Clone(c.Answers), maps.Clone(c.Sessions), maps.Clone(c.PathEvents)
	c.Reports = maps.Clone(c.Reports)
	s.stats.mu.Unlock()

	c.GTPC = s.endpoint.Stats()
	c.Abandoned = s.abandoned.count()
	for _, sh := range s.shards {
		c.Waiting += sh.inbox.length()
	}
	return c
}

package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// What we chose for grouping.
const (
	maxFlights = 2   // pipelines under way at once: one is with Redis while the next is filled
	maxBatch   = 256 // calls in one pipeline
)

// call is one script on one SIM's keys that waits to be sent.
type call struct {
	script *redis.Script
	keys   []string
	args   []any

	lead  chan []*call // gets the calls that this one's owner is to send, when it is the next to lead
	done  chan struct{}
	reply []string
	err   error
}

// batcher sends the calls of concurrent requests together, in one pipeline. There is no goroutine behind it: whoever
// finds less than maxFlights under way sends what waits, and hands over to one who waits when it is done. A call that is
// alone goes out at once.
type batcher struct {
	send func(batch []*call)

	mu      sync.Mutex
	waiting []*call
	flights int
}

// do runs a call. It takes no context: others may share the pipeline, which has a limit of its own.
func (b *batcher) do(c *call) ([]string, error) {
	c.lead, c.done = make(chan []*call, 1), make(chan struct{})
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	if b.flights < maxFlights {
		b.flights++
		batch := b.take()
		b.mu.Unlock()
		b.fly(batch)
		return c.reply, c.err
	}
	b.mu.Unlock()
	select {
	case <-c.done:
	case batch := <-c.lead:
		b.fly(batch)
	}
	return c.reply, c.err
}

// take cuts the next batch off what waits. The caller holds mu.
func (b *batcher) take() []*call {
	n := min(len(b.waiting), maxBatch)
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil // not to keep what has been sent
	}
	return batch
}

// fly sends a batch, which holds the caller's own call, and hands the flight over.
func (b *batcher) fly(batch []*call) {
	defer func() {
		if p := recover(); p != nil { // a fault of ours must not leave others waiting
			for _, c := range batch {
				c.err = fmt.Errorf("sending to Redis: panic: %v", p)
			}
		}
		b.handOver()
		for _, c := range batch {
			close(c.done)
		}
	}()
	b.send(batch)
}

// handOver gives the flight to the first who waits, or ends it.
func (b *batcher) handOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.flights--
		return
	}
	batch := b.take()
	batch[0].lead <- batch
}

// sendCalls sends calls in one pipeline; a Redis that has lost the scripts is given them, and those calls again.
func (s *Store) sendCalls(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), s.within)
	defer cancel()
	missing := s.pipeline(ctx, batch)
	if len(missing) == 0 {
		return
	}
	for _, script := range s.scripts() {
		if err := s.loadScript(ctx, script); err != nil {
			for _, c := range missing {
				c.err = err
			}
			return
		}
	}
	s.pipeline(ctx, missing)
}

// pipeline sends calls once and returns those whose script Redis does not have.
func (s *Store) pipeline(ctx context.Context, batch []*call) (missing []*call) {
	pipe := s.redis.Pipeline()
	commands := make([]*redis.Cmd, len(batch))
	for i, c := range batch {
		commands[i] = c.script.EvalSha(ctx, pipe, c.keys, c.args...)
	}
	var acknowledged *redis.Cmd
	if s.replicas > 0 { // a number that only a master that dies has had would be given out again
		acknowledged = pipe.Do(ctx, "WAIT", s.replicas, (s.within / 2).Milliseconds())
	}
	lost := false
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, c := range batch {
		c.reply, c.err = commands[i].StringSlice()
		if acknowledged != nil && c.err == nil {
			c.err = enough(acknowledged, s.replicas)
		}
		if c.err != nil && redis.HasErrorPrefix(c.err, "NOSCRIPT") {
			missing = append(missing, c)
		}
		var away *net.OpError
		lost = lost || errors.As(c.err, &away)
	}
	if cluster, ok := s.redis.(*redis.ClusterClient); ok && lost {
		cluster.ReloadState(ctx) // a replica may have taken over; the client itself looks every ten seconds only
	}
	return missing
}

// enough says whether so many replicas have the change, as WAIT has answered.
func enough(acknowledged *redis.Cmd, want int) error {
	n, err := acknowledged.Int()
	if err == nil && n < want {
		err = fmt.Errorf("%d replicas have the change, not %d", n, want)
	}
	return err
}

// loadScript puts a script into every master.
func (s *Store) loadScript(ctx context.Context, script *redis.Script) error {
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		return script.Load(ctx, s.redis).Err()
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, r *redis.Client) error { return script.Load(ctx, r).Err() })
}

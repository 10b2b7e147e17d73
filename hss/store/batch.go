package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// What we chose for grouping.
const (
	maxBatch = 512 // calls in one pipeline
	yields   = 2   // before a batch: first to those who can go on now, then to those whom they have woken
	maxRuns  = 64  // SIMs in one call of advance, which holds Redis up for about 4 µs each
)

// call is one script on one SIM's keys.
type call struct {
	script *redis.Script // nil: advance, for run
	keys   []string
	args   []any
	run    run // of advance, which has neither script nor args

	reply []string
	err   error
}

// load is calls of one request, or of requests that are handled together, that wait to be sent.
type load struct {
	calls []call
	turn  chan bool // true: its owner is to send what waits; false: the calls are done
}

// batcher sends the calls of concurrent requests together, in one pipeline. There is no goroutine behind it: whoever
// finds no pipeline under way sends what waits, and hands over to one who waits when it is done. A call that is alone goes
// out at once. A second pipeline at the same time would halve what goes out with each, for a fixed cost of some 40 µs on
// both sides.
type batcher struct {
	send func(batch []*call)

	mu      sync.Mutex
	waiting []*load
	flying  bool
}

// do runs a call.
func (b *batcher) do(c call) ([]string, error) {
	l := &load{calls: []call{c}}
	b.doAll(l)
	return l.calls[0].reply, l.calls[0].err
}

// doAll runs the calls of l. It takes no context: others may share the pipeline, which has a limit of its own.
func (b *batcher) doAll(l *load) {
	if l.turn == nil {
		l.turn = make(chan bool, 1)
	}
	b.mu.Lock()
	b.waiting = append(b.waiting, l)
	first := !b.flying
	b.flying = true
	b.mu.Unlock()
	if first || <-l.turn {
		b.fly()
	}
}

// fly sends what waits, the caller's own load first, and hands over.
func (b *batcher) fly() {
	for range yields {
		runtime.Gosched() // who can go on to a call of its own does so first, and goes along
	}
	loads, batch := b.take()
	defer func() {
		if p := recover(); p != nil { // a fault of ours must not leave others waiting
			for _, c := range batch {
				c.err = fmt.Errorf("sending to Redis: panic: %v", p)
			}
		}
		b.handOver()
		for _, l := range loads[1:] {
			l.turn <- false
		}
	}()
	b.send(batch)
}

// take cuts the next batch off what waits: one load at least.
func (b *batcher) take() (loads []*load, batch []*call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, calls := 1, len(b.waiting[0].calls)
	for n < len(b.waiting) && calls+len(b.waiting[n].calls) <= maxBatch {
		calls += len(b.waiting[n].calls)
		n++
	}
	loads, b.waiting = b.waiting[:n:n], b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil // not to keep what has been sent
	}
	batch = make([]*call, 0, calls)
	for _, l := range loads {
		for i := range l.calls {
			batch = append(batch, &l.calls[i])
		}
	}
	return loads, batch
}

// handOver has the first who waits send the next batch.
func (b *batcher) handOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.flying = false
		return
	}
	b.waiting[0].turn <- true
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

// command is one command of a pipeline, and the calls that it answers: many with advance, else one.
type command struct {
	redis.Cmder

	calls []*call
}

// pipeline sends calls once and returns those whose script Redis does not have.
func (s *Store) pipeline(ctx context.Context, batch []*call) (missing []*call) {
	pipe := s.redis.Pipeline()
	commands := s.commands(ctx, pipe, batch)
	var acknowledged *redis.Cmd
	if s.replicas > 0 { // a number that only a master that dies has had would be given out again
		acknowledged = pipe.Do(ctx, "WAIT", s.replicas, (s.within / 2).Milliseconds())
	}
	lost := false
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, c := range commands {
		err := c.answer()
		if acknowledged != nil && err == nil {
			err = enough(acknowledged, s.replicas)
		}
		for _, of := range c.calls {
			of.err = err
		}
		if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			missing = append(missing, c.calls...)
		}
		var away *net.OpError
		lost = lost || errors.As(err, &away)
	}
	if cluster, ok := s.redis.(*redis.ClusterClient); ok && lost {
		cluster.ReloadState(ctx) // a replica may have taken over; the client itself looks every ten seconds only
	}
	return missing
}

// commands puts calls into a pipeline: those of advance together, as far as one script may name their keys.
func (s *Store) commands(ctx context.Context, pipe redis.Pipeliner, batch []*call) []command {
	most := maxRuns
	if _, ok := s.redis.(*redis.ClusterClient); ok {
		most = 1 // the keys of two SIMs are in two slots
	}
	var commands []command
	var runs []*call
	for _, c := range batch {
		if c.script == nil {
			runs = append(runs, c)
			continue
		}
		commands = append(commands, command{c.script.EvalSha(ctx, pipe, c.keys, c.args...), []*call{c}})
	}
	for chunk := range slices.Chunk(runs, most) {
		cmd := s.advanceCommand(ctx, chunk)
		_ = pipe.Process(ctx, cmd) // queues it
		commands = append(commands, command{cmd, chunk})
	}
	return commands
}

// answer gives the calls of a command their answers.
func (c command) answer() error {
	switch cmd := c.Cmder.(type) {
	case *redis.StringSliceCmd:
		answer, err := cmd.Result()
		if err != nil {
			return err
		}
		return given(answer, c.calls)
	case *redis.Cmd:
		var err error
		c.calls[0].reply, err = cmd.StringSlice()
		return err
	}
	return fmt.Errorf("a command of type %T", c.Cmder)
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

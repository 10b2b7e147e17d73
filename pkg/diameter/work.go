package diameter

import (
	"context"
	"fmt"
	"time"
)

// Up to Workers goroutines work on the requests of a connection, started as they are needed. When all are busy the reader
// waits for one, so that TCP slows the peer down. Requests that came together, of a command with a GroupHandler, are one
// worker's job: they wake it once, and their answers the writer.

// maxGroup bounds how many requests are handled together: an answer waits for the last of them.
const maxGroup = 32

// another says whether a whole message waits in the reader's buffer.
func (c *conn) another() bool {
	if c.r.Buffered() < headerLength {
		return false
	}
	h, err := c.r.Peek(headerLength)
	if err != nil {
		return false
	}
	n, err := checkHeader(h, maxMessage)
	return err == nil && n <= c.r.Buffered()
}

// hand gives a request to a worker: at once, or when those that came with it have been read.
func (c *conn) hand(ctx context.Context, req Request) error {
	if c.node.apps[req.Application].Groups[req.Command] == nil {
		return c.assign(ctx, []Request{req})
	}
	if n := len(c.group); n == maxGroup || (n > 0 && (c.group[0].Command != req.Command || c.group[0].Application != req.Application)) {
		if err := c.assignGroup(ctx); err != nil {
			return err
		}
	}
	c.group = append(c.group, req)
	return nil
}

// assignGroup gives the requests that have been read together to a worker.
func (c *conn) assignGroup(ctx context.Context) error {
	if len(c.group) == 0 {
		return nil
	}
	job := c.group
	c.group = nil
	return c.assign(ctx, job)
}

// assign gives a job to a worker: to one that is idle, else to a new one, and when there are Workers of them to the first
// that is done.
func (c *conn) assign(ctx context.Context, job []Request) error {
	select {
	case c.jobs <- job:
		return nil
	default:
	}
	if c.crew < c.node.cfg.Workers {
		c.crew++
		c.spawn(job)
		return nil
	}
	select {
	case c.jobs <- job:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin counts a request as in work, unless one side takes leave.
func (c *conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	c.inWork++
	return true
}

// end counts n as done, after their answers have been queued.
func (c *conn) end(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inWork -= n; c.inWork == 0 && c.draining {
		close(c.idle)
	}
}

// work does jobs until the connection ends.
func (c *conn) work(ctx context.Context, job []Request) {
	for {
		begin := time.Now()
		results := c.handle(ctx, job)
		took := time.Since(begin)
		answers := make([][]byte, len(job))
		for i, req := range job {
			if results[i].Err != nil {
				c.log.Debug("request refused", "command", CommandName(req.Header), "err", results[i].Err)
			}
			answers[i] = c.encode(req.Message, results[i], took)
		}
		err := c.enqueue(answers...)
		c.end(len(job))
		if err != nil {
			return
		}
		select {
		case job = <-c.jobs:
		case <-ctx.Done():
			return
		}
	}
}

// handle has a job's requests handled. A panic costs the one request a 5012 with which it comes again.
func (c *conn) handle(ctx context.Context, job []Request) []Result {
	results, err := c.call(ctx, job)
	if err == nil {
		return results
	}
	results = make([]Result, len(job))
	for i := range job {
		if len(job) == 1 {
			results[i].Err = &Error{Code: UnableToComply, Err: err}
		} else {
			results[i] = c.handle(ctx, job[i:i+1])[0]
		}
	}
	return results
}

// call calls the handler. The error is its panic.
func (c *conn) call(ctx context.Context, job []Request) (results []Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.node.stats.panicked()
			c.log.Error("handler panicked", "command", CommandName(job[0].Header), "requests", len(job), "panic", p)
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	app, command := c.node.apps[job[0].Application], job[0].Command
	if group := app.Groups[command]; group != nil {
		results = group(ctx, job)
		if len(results) != len(job) {
			panic(fmt.Sprintf("%d results for %d requests", len(results), len(job)))
		}
		return results, nil
	}
	var one Result
	one.AVPs, one.Err = app.Handlers[command](ctx, job[0])
	return []Result{one}, nil
}

// refuse answers a request that no handler has seen.
func (c *conn) refuse(m Message, err error) error {
	c.log.Debug("request refused", "command", CommandName(m.Header), "err", err)
	return c.reply(m, nil, err)
}

// reply answers a request that no handler has seen.
func (c *conn) reply(req Message, avps []AVP, err error) error {
	return c.enqueue(c.encode(req, Result{AVPs: avps, Err: err}, 0))
}

// encode makes the octets of an answer, counts it, and keeps it for a repetition. took is 0 when no handler ran.
func (c *conn) encode(req Message, r Result, took time.Duration) []byte {
	ans := c.node.answer(req, r.AVPs, r.Err)
	vendor, code := ans.result()
	c.node.stats.request(CommandName(req.Header), c.config.label(), resultLabel(vendor, code), took)
	b := ans.Append(nil)
	if took > 0 && !ans.Error && code/1000 != 4 { // what was worked on; a passing failure asks for another try
		c.node.duplicates.put(req, b, time.Now())
	}
	return b
}

// enqueue hands messages to the writer.
func (c *conn) enqueue(messages ...[]byte) error {
	select {
	case c.out <- messages:
		c.sent.Add(uint64(len(messages)))
		return nil
	case <-c.ended:
		return c.err()
	}
}

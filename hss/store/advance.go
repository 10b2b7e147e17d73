package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// Ask is what one request for vectors asks for.
type Ask struct {
	IMSI   identity.IMSI
	Node   string  // Origin-Host
	Count  int     // sequence numbers, at most 64
	SIMSEQ *uint64 // SEQ of a checked AUTS; nil without one
}

// Advanced is what one request for vectors is given.
type Advanced struct {
	Admission subscriber.Admission
	Keys      aka.Credentials
	Counter   subscriber.Counter
	Err       error // ErrUnknown, ErrUsedUp, or a fault of the record
}

// States of a run, as lua/advance.lua answers them.
const (
	runGiven = iota
	runUnknown
	runUsedUp
)

const (
	runOctets   = 16 // of a run as the script is told
	givenOctets = 7  // of what it answers to one
	noSIMSEQ    = 1<<48 - 1
)

// run is what one request for sequence numbers asks for, and is given.
type run struct {
	node  string // Origin-Host
	count int
	sim   uint64 // SEQ of a checked AUTS; noSIMSEQ without one
	now   int64  // clock units

	record string
	state  byte
	sqn    aka.SQN // the first
}

// appendRun appends what the script is told; tag is nodeTag(r.node).
func (r *run) appendRun(b []byte, tag [tagOctets]byte) []byte {
	b = append(append(b, tag[:]...), byte(r.count), byte(r.now>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(r.now))
	return appendUint48(b, r.sim)
}

// advanceCommand is the script for runs in one call. It may stand in a pipeline.
func (s *Store) advanceCommand(ctx context.Context, calls []*call) *redis.StringSliceCmd {
	keys := make([]string, len(calls))
	args := make([]any, 0, 6+len(calls))
	args = append(args, "evalsha", s.advance.Hash(), len(calls))
	runs := make([]byte, 0, runOctets*len(calls))
	node, tag := "", nodeTag("")
	for i, c := range calls {
		keys[i] = c.keys[0]
		args = append(args, &keys[i]) // a string would be copied into each
		if c.run.node != node {
			node, tag = c.run.node, nodeTag(c.run.node)
		}
		runs = c.run.appendRun(runs, tag)
	}
	cmd := redis.NewStringSliceCmd(ctx, append(args, subscriber.Delta, int64(aka.MaxSEQ), runs)...)
	cmd.SetFirstKeyPos(firstScriptKey)
	return cmd
}

const firstScriptKey = 3 // EVALSHA, hash, number of keys

// given tells runs what the script has answered.
func given(answer []string, calls []*call) error {
	if len(answer) != len(calls)+1 || len(answer[len(calls)]) != givenOctets*len(calls) {
		return fmt.Errorf("%d values for %d SIMs", len(answer), len(calls))
	}
	rest := answer[len(calls)]
	for i, c := range calls {
		c.run.record, c.run.state, c.run.sqn = answer[i], rest[0], aka.SQN(uint48(rest[1:]))
		rest = rest[givenOctets:]
	}
	return nil
}

// Advance is AdvanceAll for one. The error is also that of what is answered.
func (s *Store) Advance(ctx context.Context, imsi identity.IMSI, node string, count int, simSEQ *uint64, now time.Time) (Advanced, error) {
	a := s.AdvanceAll(ctx, []Ask{{IMSI: imsi, Node: node, Count: count, SIMSEQ: simSEQ}}, now)[0]
	return a, a.Err
}

// AdvanceAll gives each the sequence numbers that it asks for, which nobody else is ever given.
func (s *Store) AdvanceAll(ctx context.Context, asks []Ask, now time.Time) []Advanced {
	if len(asks) == 0 {
		return nil
	}
	l, ok := s.advances.Get().(*load)
	if !ok {
		l = new(load)
	}
	l.calls = slices.Grow(l.calls[:0], len(asks))[:len(asks)]
	for i, a := range asks {
		c := &l.calls[i]
		c.keys, c.run, c.err = append(c.keys[:0], key(a.IMSI)), run{node: a.Node, count: a.Count, sim: noSIMSEQ, now: clock(now)}, nil
		if a.SIMSEQ != nil {
			c.run.sim = *a.SIMSEQ
		}
	}
	s.batcher.doAll(l)
	all := make([]Advanced, len(asks))
	for i, a := range asks {
		all[i] = s.advanced(ctx, a, &l.calls[i])
		l.calls[i].run = run{} // not to keep the record
	}
	s.advances.Put(l)
	return all
}

// advanced reads what a call was given.
func (s *Store) advanced(ctx context.Context, ask Ask, c *call) (a Advanced) {
	switch {
	case c.err != nil:
		a.Err = unavailable(c.err)
	case c.run.state == runUnknown:
		a.Err = ErrUnknown
	case c.run.state == runUsedUp:
		a.Err = ErrUsedUp
	case c.run.state != runGiven:
		a.Err = errLayout
	}
	if a.Err != nil {
		return a
	}
	w, err := parseStored(c.run.record)
	if err != nil {
		return Advanced{Err: err}
	}
	a.Counter = subscriber.Counter{SEQ: c.run.sqn.SEQ(), IND: c.run.sqn.IND(), Count: ask.Count}
	if a.Admission, a.Err = s.admission(ctx, w.profile); a.Err != nil {
		return a
	}
	a.Keys, a.Err = s.keyring.open(ask.IMSI, w.sealed)
	return a
}

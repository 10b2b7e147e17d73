package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// Advanced is what one request for vectors is given.
type Advanced struct {
	Admission subscriber.Admission
	Keys      aka.Credentials
	Counter   subscriber.Counter
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

// advanceCall is a call of advance, one that was used before if there is one.
func (s *Store) advanceCall(imsi identity.IMSI, r run) *call {
	c, ok := s.advances.Get().(*call)
	if !ok {
		c = &call{keys: make([]string, 1)}
	}
	c.keys[0], c.run, c.err = key(imsi), r, nil
	return c
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

// Advance gives node, by its Origin-Host, count sequence numbers, at most 64, which nobody else is ever given. simSEQ is the
// SEQ of a checked AUTS, nil without one. The error is ErrUnknown or ErrUsedUp.
func (s *Store) Advance(ctx context.Context, imsi identity.IMSI, node string, count int, simSEQ *uint64, now time.Time) (Advanced, error) {
	sim := uint64(noSIMSEQ)
	if simSEQ != nil {
		sim = *simSEQ
	}
	c := s.advanceCall(imsi, run{node: node, count: count, sim: sim, now: clock(now)})
	_, err := s.batcher.do(c)
	r := c.run
	s.advances.Put(c)
	if err != nil {
		return Advanced{}, unavailable(err)
	}
	switch r.state {
	case runGiven:
	case runUnknown:
		return Advanced{}, ErrUnknown
	case runUsedUp:
		return Advanced{}, ErrUsedUp
	default:
		return Advanced{}, errLayout
	}
	w, err := parseStored(r.record)
	if err != nil {
		return Advanced{}, err
	}
	a := Advanced{Counter: subscriber.Counter{SEQ: r.sqn.SEQ(), IND: r.sqn.IND(), Count: count}}
	if a.Admission, err = s.admission(ctx, w.profile); err != nil {
		return a, err
	}
	a.Keys, err = s.keyring.open(imsi, w.sealed)
	return a, err
}

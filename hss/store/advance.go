package store

import (
	"context"
	"encoding/binary"
	"time"

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

// What lua/advance.lua answers in the place of an SQN.
const (
	sqnUnknown = -1
	sqnUsedUp  = -2
)

const (
	advanceOctets = 16 // of a call's argument
	noSIMSEQ      = 1<<48 - 1
)

// advanceArgument is what the script is told of one run.
func advanceArgument(node string, count int, sim uint64, now time.Time) []byte {
	tag := nodeTag(node)
	b := make([]byte, advanceOctets)
	binary.BigEndian.PutUint64(b[2:], uint64(clock(now))) // its last five octets, 5 to 9, stay
	copy(b, tag[:])
	b[4] = byte(count)
	putUint48(b[10:], sim)
	return b
}

// Advance gives node, by its Origin-Host, count sequence numbers, at most 64, which nobody else is ever given. simSEQ is the
// SEQ of a checked AUTS, nil without one. The error is ErrUnknown or ErrUsedUp.
func (s *Store) Advance(ctx context.Context, imsi identity.IMSI, node string, count int, simSEQ *uint64, now time.Time) (Advanced, error) {
	sim := uint64(noSIMSEQ)
	if simSEQ != nil {
		sim = *simSEQ
	}
	c := &call{script: s.advance, keys: []string{key(imsi)}, run: advanceArgument(node, count, sim, now)}
	answer, err := s.batcher.do(c)
	switch {
	case err != nil:
		return Advanced{}, unavailable(err)
	case c.sqn == sqnUnknown:
		return Advanced{}, ErrUnknown
	case c.sqn == sqnUsedUp:
		return Advanced{}, ErrUsedUp
	case c.sqn < 0:
		return Advanced{}, errLayout
	}
	w, err := parseStored(answer[0])
	if err != nil {
		return Advanced{}, err
	}
	sqn := aka.SQN(c.sqn)
	a := Advanced{Counter: subscriber.Counter{SEQ: sqn.SEQ(), IND: sqn.IND(), Count: count}}
	if a.Admission, err = s.admission(ctx, w.profile); err != nil {
		return a, err
	}
	a.Keys, err = s.keyring.open(imsi, []byte(w.sealed))
	return a, err
}

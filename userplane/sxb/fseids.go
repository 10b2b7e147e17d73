package sxb

import (
	"hash/maphash"
	"sync"

	"github.com/xepc/xepc/pkg/pfcp"
)

// fseids finds the session that a CP F-SEID names. An F-SEID names one session only (TS 29.244 5.6.2), so a control
// plane that establishes one under an F-SEID in use has lost the old one, and gets the new one in its place.
//
// It holds 64 bits by a hash of 64 bits: whoever finds a session by it looks at the session.
type fseids struct {
	seed maphash.Seed

	mu sync.Mutex
	at map[uint64]pfcp.SEID
}

func newFSEIDs() *fseids {
	return &fseids{seed: maphash.MakeSeed(), at: map[uint64]pfcp.SEID{}}
}

type fseidOf struct {
	owner uint32
	cp    pfcp.FSEID
}

func (f *fseids) hash(owner uint32, cp pfcp.FSEID) uint64 {
	return maphash.Comparable(f.seed, fseidOf{owner, cp})
}

// reserve gives the F-SEID to a session to be, unless another has it. It returns the one that has it then.
func (f *fseids) reserve(owner uint32, cp pfcp.FSEID, seid pfcp.SEID) pfcp.SEID {
	h := f.hash(owner, cp)
	f.mu.Lock()
	defer f.mu.Unlock()
	if holder, ok := f.at[h]; ok {
		return holder
	}
	f.at[h] = seid
	return seid
}

// set gives the F-SEID to a session, whoever had it.
func (f *fseids) set(owner uint32, cp pfcp.FSEID, seid pfcp.SEID) {
	h := f.hash(owner, cp)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[h] = seid
}

// release takes the F-SEID from a session that has it.
func (f *fseids) release(owner uint32, cp pfcp.FSEID, seid pfcp.SEID) {
	h := f.hash(owner, cp)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at[h] == seid {
		delete(f.at, h)
	}
}

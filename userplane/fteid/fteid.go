// Package fteid owns the TEIDs of one slice: which slot of the data path's array each of them names, which are
// live, which rest, and which TEID a slot gets next. It is pure: time and randomness are parameters, and it
// never locks; its owner does.
//
// The low bits of a TEID are the slot, the bits above are a generation. The generation of every slot begins at
// a value that is random per start, and rises with each use, so that the TEID of a session that is gone matches
// no live entry: the data path compares all 32 bits.
//
// An explicit TEID whose slot another has is displaced: the data path finds it through a directory, in some slot that
// is not in use. So is one whose slot rests: else a claim would end the rest. So only a TEID that is in use itself is refused,
// and there are never more of them than slots.
package fteid

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/slots"
)

// Errors of an Allocator.
var (
	ErrNoSlot   = errors.New("no free slot")       // all are live or resting
	ErrTaken    = errors.New("the TEID is in use") // an explicit TEID is live
	ErrZeroTEID = errors.New("TEID 0 belongs to no session (TS 29.281 5.1)")
)

// MaxSlots is the largest slice: 2^24 slots leave 8 bits of generation.
const MaxSlots = 1 << 24

// Rest is how long a released slot is left alone unless the configuration says otherwise: longer than a host
// takes to forget a tunnel.
const Rest = 60 * time.Second

type state uint8

const (
	stateFree state = iota
	stateLive
	stateResting
)

// Allocator gives out the TEIDs of one slice.
type Allocator struct {
	mask  uint32        // slots - 1
	rest  time.Duration // from release to reuse
	start time.Time     // origin of the stamps

	teids  []uint32  // by slot: the last TEID given out, or the one before the first
	states []state   // by slot
	free   slots.Set // in stateFree
	queue  []rested  // TEIDs, oldest first
	live   int       // TEIDs, displaced ones among them

	displaced map[uint32]displaced
	strays    int // displaced TEIDs that are live
}

// rested is a TEID that nobody gets for a while.
type rested struct {
	teid  uint32
	stamp uint32 // when it was released, milliseconds since start
}

// displaced is an explicit TEID whose slot was another's or rested. It is none of its slot's until it is not live, and does
// not rest.
type displaced struct {
	live  bool
	rests uint32 // times that it stands in the queue
}

// Counts of an Allocator's slots. Free + Live + Resting is the size of the slice.
type Counts struct {
	Free, Live, Resting int
}

// New makes an allocator of size slots, a power of two. Random is any random number: it decides with which
// generation each slot begins. It fails when size is not a power of two or above MaxSlots.
func New(size int, rest time.Duration, random uint32, now time.Time) (*Allocator, error) {
	if size < 1 || size > MaxSlots || size&(size-1) != 0 {
		return nil, fmt.Errorf("%d slots: must be a power of two up to %d", size, MaxSlots)
	}
	a := &Allocator{
		mask: uint32(size - 1), rest: rest, start: now,
		teids:  make([]uint32, size),
		states: make([]state, size),
		free:   slots.New(size),
	}
	for slot := range a.teids {
		a.teids[slot] = random&^a.mask | uint32(slot)
		a.free.Add(uint32(slot))
	}
	return a, nil
}

// Take allocates the lowest slot that is free and has rested, so that live slots stay dense and the data path's
// array small in the cache. One whose next TEID somebody has claimed is passed over, and has another one the next time: who
// chooses TEIDs keeps nobody from a slot, and each that is passed over was claimed once. It returns ErrNoSlot when there is
// none, which cannot be while Counts has a free one.
func (a *Allocator) Take(now time.Time) (pfcp.TEID, error) {
	a.wake(now)
	if a.full() || a.free.Len() == 0 {
		return 0, ErrNoSlot
	}
	for range 1 << bits.LeadingZeros32(a.mask) {
		for slot, ok := a.free.From(0); ok; slot, ok = a.free.From(slot + 1) {
			teid := a.teids[slot] + a.mask + 1 // the next generation; wraps
			if teid == 0 {
				teid = a.mask + 1
			}
			a.teids[slot] = teid
			if _, claimed := a.displaced[teid]; !claimed {
				a.occupy(slot, teid)
				return pfcp.TEID(teid), nil
			}
		}
	}
	return 0, ErrNoSlot // somebody has claimed every generation of all of them
}

// Claim takes exactly this TEID: restoration, a start from the journal, or a control plane that chooses. Its
// slot may rest, for the whole TEID must match anyway. It returns ErrTaken when this TEID is live, and ErrNoSlot when
// as many are as there are slots.
func (a *Allocator) Claim(teid pfcp.TEID, now time.Time) error {
	switch {
	case teid == 0:
		return ErrZeroTEID
	case a.Live(teid):
		return ErrTaken
	case a.full():
		return ErrNoSlot
	}
	a.wake(now)
	slot := uint32(teid) & a.mask
	if a.states[slot] == stateFree {
		a.occupy(slot, uint32(teid))
		return nil
	}
	if a.displaced == nil {
		a.displaced = map[uint32]displaced{}
	}
	a.displaced[uint32(teid)] = displaced{live: true, rests: a.displaced[uint32(teid)].rests}
	a.strays++
	a.live++
	return nil
}

// Release ends the use of a live TEID; it rests, and its slot with it. Releasing what is not live does nothing and returns
// false.
func (a *Allocator) Release(teid pfcp.TEID, now time.Time) bool {
	if !a.Live(teid) {
		return false
	}
	if a.direct(teid) {
		a.states[uint32(teid)&a.mask] = stateResting
	} else {
		a.strays--
		a.displaced[uint32(teid)] = displaced{rests: a.displaced[uint32(teid)].rests + 1}
	}
	a.live--
	a.queue = append(a.queue, rested{uint32(teid), a.stamp(now)})
	return true
}

// Untake gives back what a refused request took: nobody has heard of the TEID, so it need not rest. Else a
// control plane whose requests are refused could use up the slice.
func (a *Allocator) Untake(teid pfcp.TEID) bool {
	if !a.Live(teid) {
		return false
	}
	if a.direct(teid) {
		a.makeFree(uint32(teid) & a.mask)
	} else {
		a.strays--
		a.keep(uint32(teid), displaced{rests: a.displaced[uint32(teid)].rests})
	}
	a.live--
	return true
}

// Live says whether exactly this TEID is in use.
func (a *Allocator) Live(teid pfcp.TEID) bool {
	return a.displaced[uint32(teid)].live || a.direct(teid)
}

// direct says whether this TEID is in use, in its own slot.
func (a *Allocator) direct(teid pfcp.TEID) bool {
	slot := uint32(teid) & a.mask
	return a.states[slot] == stateLive && a.teids[slot] == uint32(teid)
}

// full says whether as many TEIDs are live as there are slots.
func (a *Allocator) full() bool { return a.live >= len(a.teids) }

// Counts returns how many slots are free, live and resting.
func (a *Allocator) Counts() Counts {
	c := Counts{Live: a.live, Free: max(a.free.Len()-a.strays, 0)}
	c.Resting = len(a.teids) - c.Live - c.Free
	return c
}

func (a *Allocator) occupy(slot, teid uint32) {
	a.free.Remove(slot)
	a.states[slot] = stateLive
	a.teids[slot] = teid
	a.live++
}

func (a *Allocator) makeFree(slot uint32) {
	a.states[slot] = stateFree
	a.free.Add(slot)
}

// keep remembers a displaced TEID as long as it is live or rests.
func (a *Allocator) keep(teid uint32, d displaced) {
	if d != (displaced{}) {
		a.displaced[teid] = d
		return
	}
	if delete(a.displaced, teid); len(a.displaced) == 0 {
		a.displaced = nil
	}
}

// wake frees what has rested long enough.
func (a *Allocator) wake(now time.Time) {
	stamp := a.stamp(now)
	need := uint32(a.rest.Milliseconds())
	n := 0
	for ; n < len(a.queue) && stamp-a.queue[n].stamp >= need; n++ {
		teid := a.queue[n].teid
		if d := a.displaced[teid]; d.rests > 0 {
			d.rests--
			a.keep(teid, d)
		} else {
			a.makeFree(teid & a.mask)
		}
	}
	if a.queue = a.queue[n:]; len(a.queue) == 0 {
		a.queue = nil // lets go of the array that the reslicing walked through
	}
}

// stamp is a time as milliseconds since the start: 32 bits wrap after 49 days, so that only differences count.
// A clock that steps back reads as no time at all.
func (a *Allocator) stamp(now time.Time) uint32 {
	if now.Before(a.start) {
		now = a.start
	}
	return uint32(now.Sub(a.start).Milliseconds())
}

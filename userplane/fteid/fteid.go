// Package fteid owns the TEIDs of one slice: which slot of the data path's array each of them names, which are
// live, which rest, and which TEID a slot gets next. It is pure: time and randomness are parameters, and it
// never locks; its owner does.
//
// The low bits of a TEID are the slot, the bits above are a generation. The generation of every slot begins at
// a value that is random per start, and rises with each use, so that the TEID of a session that is gone matches
// no live entry: the data path compares all 32 bits.
//
// An explicit TEID whose slot another has is displaced: the data path finds it through a directory, in some slot that
// is not in use. So only a TEID that is in use itself is refused, and there are never more of them than slots.
package fteid

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
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

	teids  []uint32 // by slot: the last TEID given out, or the one before the first
	states []state  // by slot
	stamps []uint32 // by slot: when it was released, milliseconds since start
	free   bitmap   // slots in stateFree
	queue  []rested // in stateResting, oldest first; an entry whose slot was claimed since is stale
	live   int      // TEIDs, displaced ones among them

	displaced map[uint32]struct{} // explicit TEIDs whose slot another had
}

type rested struct {
	slot  uint32
	stamp uint32
}

// Counts of an Allocator's slots. Free + Live + Resting is the size of the slice.
type Counts struct {
	Free, Live, Resting int
}

// New makes an allocator of that many slots, a power of two. Random is any random number: it decides with which
// generation each slot begins. It fails when slots is not a power of two or above MaxSlots.
func New(slots int, rest time.Duration, random uint32, now time.Time) (*Allocator, error) {
	if slots < 1 || slots > MaxSlots || slots&(slots-1) != 0 {
		return nil, fmt.Errorf("%d slots: must be a power of two up to %d", slots, MaxSlots)
	}
	a := &Allocator{
		mask: uint32(slots - 1), rest: rest, start: now,
		teids:  make([]uint32, slots),
		states: make([]state, slots),
		stamps: make([]uint32, slots),
		free:   newBitmap(slots),
	}
	for slot := range a.teids {
		a.teids[slot] = random&^a.mask | uint32(slot)
		a.free.set(uint32(slot))
	}
	return a, nil
}

// Take allocates the lowest slot that is free and has rested, so that live slots stay dense and the data path's
// array small in the cache. It returns ErrNoSlot when there is none.
func (a *Allocator) Take(now time.Time) (pfcp.TEID, error) {
	a.wake(now)
	slot, ok := a.free.lowest()
	if !ok || a.full() {
		return 0, ErrNoSlot
	}
	teid := a.teids[slot]
	for range 1 << bits.LeadingZeros32(a.mask) {
		teid += a.mask + 1 // the next generation; wraps
		if _, displaced := a.displaced[teid]; teid != 0 && !displaced {
			a.occupy(slot, teid)
			return pfcp.TEID(teid), nil
		}
	}
	return 0, ErrNoSlot // somebody has claimed every generation of it
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
	if a.states[slot] != stateLive {
		a.occupy(slot, uint32(teid))
		return nil
	}
	if a.displaced == nil {
		a.displaced = map[uint32]struct{}{}
	}
	a.displaced[uint32(teid)] = struct{}{}
	a.live++
	return nil
}

// Release ends the use of a live TEID; its slot rests. Releasing what is not live does nothing and returns
// false.
func (a *Allocator) Release(teid pfcp.TEID, now time.Time) bool {
	slot, direct, ok := a.vacate(teid)
	if direct {
		a.states[slot] = stateResting
		a.stamps[slot] = a.stamp(now)
		a.queue = append(a.queue, rested{slot, a.stamps[slot]})
	}
	return ok
}

// Untake gives back what a refused request took: nobody has heard of the TEID, so its slot need not rest. Else a
// control plane whose requests are refused could use up the slice.
func (a *Allocator) Untake(teid pfcp.TEID) bool {
	slot, direct, ok := a.vacate(teid)
	if direct {
		a.states[slot] = stateFree
		a.free.set(slot)
	}
	return ok
}

// Live says whether exactly this TEID is in use.
func (a *Allocator) Live(teid pfcp.TEID) bool {
	_, displaced := a.displaced[uint32(teid)]
	return displaced || a.direct(teid)
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
	c := Counts{Live: a.live, Free: max(a.free.count-len(a.displaced), 0)}
	c.Resting = len(a.teids) - c.Live - c.Free
	return c
}

func (a *Allocator) occupy(slot, teid uint32) {
	a.free.clear(slot)
	a.states[slot] = stateLive
	a.teids[slot] = teid
	a.live++
}

// vacate ends the use of a TEID; direct says that it was in its own slot.
func (a *Allocator) vacate(teid pfcp.TEID) (slot uint32, direct, ok bool) {
	if !a.Live(teid) {
		return 0, false, false
	}
	a.live--
	if a.direct(teid) {
		return uint32(teid) & a.mask, true, true
	}
	if delete(a.displaced, uint32(teid)); len(a.displaced) == 0 {
		a.displaced = nil
	}
	return 0, false, true
}

// wake frees the slots that have rested long enough.
func (a *Allocator) wake(now time.Time) {
	stamp := a.stamp(now)
	need := uint32(a.rest.Milliseconds())
	n := 0
	for ; n < len(a.queue) && stamp-a.queue[n].stamp >= need; n++ {
		r := a.queue[n]
		if a.states[r.slot] == stateResting && a.stamps[r.slot] == r.stamp {
			a.states[r.slot] = stateFree
			a.free.set(r.slot)
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

// bitmap is a set of slots that finds its lowest member in a few steps: level 0 has a bit per slot, each level
// above a bit per word of the one below that is not empty.
type bitmap struct {
	levels [][]uint64
	count  int
}

func newBitmap(slots int) bitmap {
	var b bitmap
	for n := slots; ; {
		n = (n + 63) / 64
		b.levels = append(b.levels, make([]uint64, n))
		if n == 1 {
			return b
		}
	}
}

func (b *bitmap) set(i uint32) {
	if b.levels[0][i/64]&(1<<(i%64)) == 0 {
		b.count++
	}
	for _, level := range b.levels {
		level[i/64] |= 1 << (i % 64)
		i /= 64
	}
}

func (b *bitmap) clear(i uint32) {
	if b.levels[0][i/64]&(1<<(i%64)) != 0 {
		b.count--
	}
	for _, level := range b.levels {
		level[i/64] &^= 1 << (i % 64)
		if level[i/64] != 0 {
			return
		}
		i /= 64
	}
}

func (b *bitmap) lowest() (uint32, bool) {
	var i uint32
	for l := len(b.levels) - 1; l >= 0; l-- {
		word := b.levels[l][i]
		if word == 0 {
			return 0, false
		}
		i = i*64 + uint32(bits.TrailingZeros64(word))
	}
	return i, true
}

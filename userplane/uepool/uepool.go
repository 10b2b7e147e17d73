// Package uepool owns the UE addresses of one pool that the UP function gives out (TS 29.244 5.21): which are live,
// which rest, and which is next. It is pure: time is a parameter, and it never locks; its owner does.
//
// An address that was released rests, so that late packets for the UE that had it do not reach another. Addresses
// that nobody ever had come first, then those that have rested longest.
package uepool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Errors of a Pool.
var (
	ErrExhausted = errors.New("no free address") // all are live or resting
	ErrTaken     = errors.New("the address is taken")
	ErrForeign   = errors.New("not an address of the pool")
)

// MaxSize bounds a pool, in addresses or prefixes.
const MaxSize = 1 << 20

// Rest is how long a released address is left alone unless the configuration says otherwise.
const Rest = 60 * time.Second

type state uint8

const (
	stateFresh    state = iota // nobody had it yet
	stateReturned              // nobody had it, but a request that was refused
	stateLive
	stateResting
)

// Pool gives out the addresses or prefixes of one length in a prefix.
type Pool struct {
	prefix netip.Prefix
	length int // bits of what is given out
	rest   time.Duration

	states   []state  // by index
	stamps   []int64  // by index: when it was released, Unix nanoseconds
	fresh    int      // below it nothing is fresh
	returned []uint32 // the last one first; one that is taken since is stale
	queue    []rested // oldest first; one that was claimed since is stale
	live     int
	resting  int
}

type rested struct {
	index uint32
	stamp int64
}

// Counts of a Pool's addresses. Free + Live + Resting is its size.
type Counts struct{ Free, Live, Resting int }

// New makes a pool of the prefixes of length bits in a prefix. The first and the last address of an IPv4 pool are
// left out: hosts on the same network take them for the network and for all of it. It fails when there is nothing
// to give out, or more than MaxSize.
func New(prefix netip.Prefix, length int, rest time.Duration) (*Pool, error) {
	if !prefix.IsValid() || prefix != prefix.Masked() {
		return nil, fmt.Errorf("%v is no prefix", prefix)
	}
	longest := min(prefix.Addr().BitLen(), 64) // of IPv6 the network half is counted
	if length < prefix.Bits() || length > prefix.Addr().BitLen() || prefix.Addr().Is6() && length > longest {
		return nil, fmt.Errorf("prefixes of %d bits out of %v", length, prefix)
	}
	if length-prefix.Bits() > 20 {
		return nil, fmt.Errorf("%v has more than %d prefixes of %d bits", prefix, MaxSize, length)
	}
	size := 1 << (length - prefix.Bits())
	p := &Pool{
		prefix: prefix, length: length, rest: rest, states: make([]state, size), stamps: make([]int64, size),
	}
	if prefix.Addr().Is4() && size > 2 {
		p.states[0], p.states[size-1] = stateLive, stateLive // for ever; not counted
	}
	return p, nil
}

// Contains says whether a prefix is one of the pool's, live or not.
func (p *Pool) Contains(a netip.Prefix) bool {
	_, ok := p.index(a)
	return ok
}

// Take gives out an address. It returns ErrExhausted when there is none.
func (p *Pool) Take(now time.Time) (netip.Prefix, error) {
	for n := len(p.returned); n > 0; n = len(p.returned) {
		i := p.returned[n-1]
		p.returned = p.returned[:n-1]
		if p.states[i] == stateReturned {
			return p.occupy(i), nil
		}
	}
	for ; p.fresh < len(p.states); p.fresh++ {
		if p.states[p.fresh] == stateFresh {
			return p.occupy(uint32(p.fresh)), nil
		}
	}
	for len(p.queue) > 0 {
		oldest := p.queue[0]
		if stale := p.states[oldest.index] != stateResting || p.stamps[oldest.index] != oldest.stamp; stale {
			p.pop()
			continue
		}
		if now.UnixNano()-oldest.stamp < int64(p.rest) {
			break
		}
		p.pop()
		p.resting--
		return p.occupy(oldest.index), nil
	}
	return netip.Prefix{}, ErrExhausted
}

// Claim takes exactly this address, also while it rests: a start from the journal, or a control plane that brings one
// of the pool. It returns ErrTaken when it is live and ErrForeign when it is not the pool's.
func (p *Pool) Claim(a netip.Prefix) error {
	i, ok := p.index(a)
	if !ok {
		return ErrForeign
	}
	switch p.states[i] {
	case stateLive:
		return ErrTaken
	case stateResting:
		p.resting--
	case stateFresh, stateReturned:
	}
	p.occupy(i)
	return nil
}

// Release ends the use of a live address; it rests. Releasing what is not live does nothing and returns false.
func (p *Pool) Release(a netip.Prefix, now time.Time) bool {
	i, ok := p.vacate(a)
	if !ok {
		return false
	}
	p.states[i], p.stamps[i] = stateResting, now.UnixNano()
	p.resting++
	p.queue = append(p.queue, rested{i, p.stamps[i]})
	return true
}

// Untake gives back what a refused request took: nobody has heard of the address, so it need not rest.
func (p *Pool) Untake(a netip.Prefix) bool {
	i, ok := p.vacate(a)
	if !ok {
		return false
	}
	p.states[i] = stateReturned
	p.returned = append(p.returned, i)
	return true
}

// Resume makes an address rest that was released in the life of another process. Addresses come in the order of
// their release; one that is live stays so.
func (p *Pool) Resume(a netip.Prefix, released time.Time) {
	if i, ok := p.index(a); ok && p.states[i] != stateLive {
		if p.states[i] != stateResting {
			p.resting++
		}
		p.states[i], p.stamps[i] = stateResting, released.UnixNano()
		p.queue = append(p.queue, rested{i, p.stamps[i]})
	}
}

// Counts returns how many addresses are free, live and resting.
func (p *Pool) Counts() Counts {
	size := len(p.states)
	if p.prefix.Addr().Is4() && size > 2 {
		size -= 2
	}
	return Counts{Free: size - p.live - p.resting, Live: p.live, Resting: p.resting}
}

func (p *Pool) occupy(i uint32) netip.Prefix {
	p.states[i] = stateLive
	p.live++
	return p.at(i)
}

func (p *Pool) vacate(a netip.Prefix) (uint32, bool) {
	i, ok := p.index(a)
	if !ok || p.states[i] != stateLive || p.reserved(i) {
		return 0, false
	}
	p.live--
	return i, true
}

// reserved says whether an index is the first or the last address of an IPv4 pool.
func (p *Pool) reserved(i uint32) bool {
	return p.prefix.Addr().Is4() && len(p.states) > 2 && (i == 0 || int(i) == len(p.states)-1)
}

func (p *Pool) pop() {
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil // lets go of the array that the reslicing walked through
	}
}

// high is the part of an address that is counted: all of IPv4, the network half of IPv6.
func high(a netip.Addr) (value uint64, bits int) {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:])), 32
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]), 64
}

func (p *Pool) at(i uint32) netip.Prefix {
	value, bits := high(p.prefix.Addr())
	value += uint64(i) << (bits - p.length)
	if p.prefix.Addr().Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(value))
		return netip.PrefixFrom(netip.AddrFrom4(b), p.length)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], value)
	return netip.PrefixFrom(netip.AddrFrom16(b), p.length)
}

func (p *Pool) index(a netip.Prefix) (uint32, bool) {
	if a.Bits() != p.length || a.Addr().Is4() != p.prefix.Addr().Is4() || !p.prefix.Contains(a.Addr()) || a != a.Masked() {
		return 0, false
	}
	value, bits := high(a.Addr())
	first, _ := high(p.prefix.Addr())
	return uint32((value - first) >> (bits - p.length)), true
}

// Package slots owns sets of slot numbers that find the next member, upwards or downwards, in a few steps, however many
// slots there are. It is pure and never locks; its owner does.
package slots

import "math/bits"

// Set is a set of slots: level 0 has a bit for each, each level above a bit for every word of the one below that is not
// empty. 1,048,576 slots take 130 KiB.
type Set struct {
	levels [][]uint64
	count  int
}

// New makes an empty set of slots below size, which is above 0.
func New(size int) Set {
	var s Set
	for n := size; ; {
		n = (n + 63) / 64
		s.levels = append(s.levels, make([]uint64, n))
		if n == 1 {
			return s
		}
	}
}

// Len is how many members there are.
func (s *Set) Len() int { return s.count }

// Has says whether slot i is a member.
func (s *Set) Has(i uint32) bool { return s.levels[0][i/64]&(1<<(i%64)) != 0 }

// Add makes slot i a member.
func (s *Set) Add(i uint32) {
	if s.Has(i) {
		return
	}
	s.count++
	for _, level := range s.levels {
		level[i/64] |= 1 << (i % 64)
		i /= 64
	}
}

// Remove makes slot i no member.
func (s *Set) Remove(i uint32) {
	if !s.Has(i) {
		return
	}
	s.count--
	for _, level := range s.levels {
		level[i/64] &^= 1 << (i % 64)
		if level[i/64] != 0 {
			return
		}
		i /= 64
	}
}

// From is the lowest member that is not below i.
func (s *Set) From(i uint32) (member uint32, ok bool) {
	for l, level := range s.levels {
		if int(i/64) >= len(level) {
			return 0, false
		}
		if word := level[i/64] >> (i % 64); word != 0 {
			i += uint32(bits.TrailingZeros64(word))
			for ; l > 0; l-- {
				i = i*64 + uint32(bits.TrailingZeros64(s.levels[l-1][i]))
			}
			return i, true
		}
		i = i/64 + 1
	}
	return 0, false
}

// UpTo is the highest member that is not above i, a slot.
func (s *Set) UpTo(i uint32) (member uint32, ok bool) {
	for l, level := range s.levels {
		if word := level[i/64] << (63 - i%64); word != 0 {
			i -= uint32(bits.LeadingZeros64(word))
			for ; l > 0; l-- {
				i = i*64 + 63 - uint32(bits.LeadingZeros64(s.levels[l-1][i]))
			}
			return i, true
		}
		if i < 64 {
			return 0, false
		}
		i = i/64 - 1
	}
	return 0, false
}

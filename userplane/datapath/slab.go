package datapath

import "fmt"

// slab gives out the elements of a table that one owner has each: rules, sets, cells, limits, meters. Element 0 is
// nobody's. One that is let go of rests before it is used again.
type slab struct {
	kind   placeKind
	size   uint32
	unused uint32   // this one and those above were never taken
	free   []uint32 // oldest first
	taken  int
}

func newSlab(kind placeKind, size uint32) *slab { return &slab{kind: kind, size: size, unused: 1} }

func (s *slab) take(g *grace) (uint32, error) {
	if s.unused < s.size {
		s.taken++
		s.unused++
		return s.unused - 1, nil
	}
	if len(s.free) == 0 {
		return 0, fmt.Errorf("%w: all %d %v are in use", ErrTableFull, s.size-1, s.kind)
	}
	index := s.free[0]
	if g.rests(place{s.kind, index}) {
		if err := g.settle(); err != nil {
			return 0, err
		}
	}
	if s.free = s.free[1:]; len(s.free) == 0 {
		s.free = nil
	}
	s.taken++
	return index, nil
}

func (s *slab) give(g *grace, index uint32) {
	s.taken--
	s.free = append(s.free, index)
	g.rest(place{s.kind, index})
}

// adopt takes the elements that used says are in use, after a start.
func (s *slab) adopt(used func(uint32) bool) {
	for i := uint32(1); i < s.size; i++ {
		if used(i) {
			for ; s.unused < i; s.unused++ {
				s.free = append(s.free, s.unused)
			}
			s.unused = i + 1
			s.taken++
		}
	}
}

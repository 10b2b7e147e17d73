package datapath

import "slices"

// set is one of few members, most often: a change is that of one session.
type set[T comparable] struct {
	few  []T
	many map[T]struct{} // when there are more
}

const fewMembers = 8

func (s *set[T]) has(t T) bool {
	if s.many != nil {
		_, ok := s.many[t]
		return ok
	}
	return slices.Contains(s.few, t)
}

// add returns false when t is in the set already.
func (s *set[T]) add(t T) bool {
	if s.has(t) {
		return false
	}
	if s.many == nil && len(s.few) < fewMembers {
		s.few = append(s.few, t)
		return true
	}
	if s.many == nil {
		s.many = make(map[T]struct{}, 4*fewMembers)
		for _, member := range s.few {
			s.many[member] = struct{}{}
		}
	}
	s.many[t] = struct{}{}
	return true
}

// marks are a bit for each entry.
type marks struct{ uplink, downlink []uint64 }

func (d *Datapath) newMarks() marks {
	return marks{make([]uint64, len(d.tables.uplink.slots)/64+1), make([]uint64, len(d.tables.downlink.slots)/64+1)}
}

func (m marks) of(at place) []uint64 {
	if at.kind == placeUplink {
		return m.uplink
	}
	return m.downlink
}

func (m marks) has(at place) bool { return m.of(at)[at.index/64]&(1<<(at.index%64)) != 0 }

func (m marks) set(at place) { m.of(at)[at.index/64] |= 1 << (at.index % 64) }

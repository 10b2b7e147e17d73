package sxb

import (
	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// store keeps a shard's sessions in the form of their journal records: some hundred octets each, in blocks without
// pointers, so that the garbage collector walks none of them however many there are. Reading one decodes it.
type store struct {
	at      map[pfcp.SEID]spot
	classes []class // by size, in units
}

// spot is where a record stands: the number of its block in the class of its size.
type spot struct{ block, size uint32 }

// class holds blocks of one size.
type class struct {
	chunks [][]byte
	free   []uint32
	made   uint32
}

const (
	unit       = 32      // octets; sizes are rounded up to it
	chunkBytes = 1 << 16 // or one block, when that is larger
)

func newStore() *store { return &store{at: map[pfcp.SEID]spot{}} }

func units(size uint32) int { return max(int(size+unit-1)/unit, 1) }

// octets are those of a record; they are good until the next put or remove.
func (s *store) octets(p spot) []byte {
	n := units(p.size)
	perChunk := uint32(max(chunkBytes/(n*unit), 1))
	chunk := s.classes[n].chunks[p.block/perChunk]
	from := int(p.block%perChunk) * n * unit
	return chunk[from : from+int(p.size)]
}

// get returns a session. What was put can be read; ok is false when there is none.
func (s *store) get(seid pfcp.SEID) (one session.Session, ok bool) {
	p, ok := s.at[seid]
	if !ok {
		return one, false
	}
	return one, one.UnmarshalBinary(s.octets(p)) == nil
}

func (s *store) has(seid pfcp.SEID) bool {
	_, ok := s.at[seid]
	return ok
}

// put keeps a session's record in place of the one before.
func (s *store) put(seid pfcp.SEID, record []byte) {
	size := uint32(len(record))
	p, ok := s.at[seid]
	if !ok || units(p.size) != units(size) {
		if ok {
			s.give(p)
		}
		p.block = s.take(units(size))
	}
	p.size = size
	s.at[seid] = p
	copy(s.octets(p), record)
}

func (s *store) remove(seid pfcp.SEID) {
	if p, ok := s.at[seid]; ok {
		s.give(p)
		delete(s.at, seid)
	}
}

func (s *store) give(p spot) {
	c := &s.classes[units(p.size)]
	c.free = append(c.free, p.block)
}

func (s *store) take(n int) uint32 {
	for len(s.classes) <= n {
		s.classes = append(s.classes, class{})
	}
	c := &s.classes[n]
	if last := len(c.free) - 1; last >= 0 {
		block := c.free[last]
		c.free = c.free[:last]
		return block
	}
	perChunk := max(chunkBytes/(n*unit), 1)
	if int(c.made)%perChunk == 0 {
		c.chunks = append(c.chunks, make([]byte, perChunk*n*unit))
	}
	c.made++
	return c.made - 1
}

// each yields every session.
func (s *store) each(yield func(session.Session) bool) {
	for seid := range s.at {
		if one, ok := s.get(seid); ok && !yield(one) {
			return
		}
	}
}

package sxb

import (
	"math/bits"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// store keeps a shard's sessions in the form of their journal records: some hundred octets each, in blocks without
// pointers, so that the garbage collector walks none of them however many there are. Reading one decodes it.
type store struct {
	at      map[pfcp.SEID]spot
	classes []class // by size
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
	unit        = 32      // octets; up to smallRecord, sizes are rounded up to it
	smallRecord = 1 << 10 // beyond, there are eight sizes up to each power of two
	chunkBytes  = 1 << 16 // or one block, when that is larger
)

func newStore() *store { return &store{at: map[pfcp.SEID]spot{}} }

// classOf is the class of records of a size, and how many octets a block of it has. There are so few classes that one
// session of each costs little: a control plane could make them.
func classOf(size uint32) (index, octets int) {
	if size <= smallRecord {
		index = max(int(size)-1, 0) / unit
		return index, (index + 1) * unit
	}
	below := bits.Len32(size-1) - 1 // 2^below < size <= 2^(below+1)
	step := 1 << (below - 3)
	above := (int(size) - 1<<below + step - 1) / step // 1 to 8
	return smallRecord/unit + (below-bits.Len32(smallRecord)+1)*8 + above - 1, 1<<below + above*step
}

// octets are those of a record; they are good until the next put or remove.
func (s *store) octets(p spot) []byte {
	index, n := classOf(p.size)
	perChunk := uint32(max(chunkBytes/n, 1))
	chunk := s.classes[index].chunks[p.block/perChunk]
	from := int(p.block%perChunk) * n
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
	index, octets := classOf(size)
	p, ok := s.at[seid]
	was, _ := classOf(p.size)
	if !ok || was != index {
		if ok {
			s.give(p)
		}
		p.block = s.take(index, octets)
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
	index, _ := classOf(p.size)
	c := &s.classes[index]
	c.free = append(c.free, p.block)
}

// take finds a block of a class.
func (s *store) take(index, octets int) uint32 {
	for len(s.classes) <= index {
		s.classes = append(s.classes, class{})
	}
	c := &s.classes[index]
	if last := len(c.free) - 1; last >= 0 {
		block := c.free[last]
		c.free = c.free[:last]
		return block
	}
	perChunk := max(chunkBytes/octets, 1)
	if int(c.made)%perChunk == 0 {
		c.chunks = append(c.chunks, make([]byte, perChunk*octets))
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

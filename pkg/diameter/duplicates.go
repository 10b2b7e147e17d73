package diameter

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"
)

// What we chose for duplicate detection, RFC 6733 3 (End-to-End Identifier) and 5.5.4.
const (
	duplicatesFor = 4 * time.Minute // RFC 6733 3: an end-to-end id stays unique for at least so long
	maxDuplicates = 65_536          // answers kept over all peers; beyond, the oldest goes
)

// answered is an answer that is kept.
type answered struct {
	key    uint64
	at     time.Time
	octets []byte // not to be changed
}

// duplicates keeps the last answers, so that a request that comes again with the T bit, after a connection broke or over
// another agent, is answered the same and not worked on twice. It is a ring; the oldest is overwritten.
type duplicates struct {
	seed maphash.Seed

	mu    sync.Mutex
	ring  []answered
	next  int
	index map[uint64]int // place in the ring by key
}

func newDuplicates() *duplicates {
	return &duplicates{seed: maphash.MakeSeed(), index: map[uint64]int{}}
}

// key names a request by its origin, session, command and end-to-end id.
func (d *duplicates) key(m Message) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	_, _ = h.WriteString(m.Text(OriginHost)) // neither fails, see hash/maphash
	_, _ = h.WriteString(m.Text(SessionID))
	_, _ = h.Write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, m.EndToEnd), m.Command))
	return h.Sum64()
}

// put keeps the answer to a request.
func (d *duplicates) put(req Message, octets []byte, now time.Time) {
	k := d.key(req)
	d.mu.Lock()
	defer d.mu.Unlock()
	a := answered{key: k, at: now, octets: octets}
	if at, again := d.index[k]; again {
		d.ring[at] = a
		return
	}
	if len(d.ring) < maxDuplicates {
		d.index[k] = len(d.ring)
		d.ring = append(d.ring, a)
		return
	}
	delete(d.index, d.ring[d.next].key)
	d.ring[d.next], d.index[k] = a, d.next
	d.next = (d.next + 1) % maxDuplicates
}

// get returns the answer to a request that was answered before, under the hop-by-hop id of this one; nil without one.
func (d *duplicates) get(req Message, now time.Time) []byte {
	k := d.key(req)
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.index[k]
	if !ok || now.Sub(d.ring[at].at) > duplicatesFor {
		return nil
	}
	b := append([]byte(nil), d.ring[at].octets...)
	binary.BigEndian.PutUint32(b[12:], req.HopByHop)
	return b
}

package diameter

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"
)

// What we chose for duplicate detection, RFC 6733 3 (End-to-End Identifier) and 5.5.4.
const (
	duplicatesFor      = 4 * time.Minute // RFC 6733 3: an end-to-end id stays unique for at least so long
	maxDuplicates      = 65_536          // answers kept over all peers; beyond, the oldest goes
	maxDuplicateOctets = 64 << 20        // of all of them: an answer has the request's Proxy-Info, which may be large
)

// answered is an answer that is kept.
type answered struct {
	key    uint64
	at     time.Time
	octets []byte // not to be changed
}

// duplicates keeps the last answers, so that a request that comes again with the T bit, after a connection broke or over
// another agent, is answered the same and not worked on twice.
type duplicates struct {
	seed maphash.Seed

	mu     sync.Mutex
	kept   []answered        // oldest first
	gone   uint64            // how many have left kept: the number of its first
	index  map[uint64]uint64 // number of an answer by its key
	octets int
}

func newDuplicates() *duplicates {
	return &duplicates{seed: maphash.MakeSeed(), index: map[uint64]uint64{}}
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
	d.index[k] = d.gone + uint64(len(d.kept))
	d.kept = append(d.kept, answered{key: k, at: now, octets: octets})
	d.octets += len(octets)
	d.forget(now)
}

// forget drops the oldest while there are too many, and those that nobody will ask for any more. The caller holds mu.
func (d *duplicates) forget(now time.Time) {
	n := 0
	for _, a := range d.kept {
		if len(d.kept)-n <= maxDuplicates && d.octets <= maxDuplicateOctets && now.Sub(a.at) <= duplicatesFor {
			break
		}
		if d.index[a.key] == d.gone+uint64(n) { // else there is a later one of that key
			delete(d.index, a.key)
		}
		d.octets -= len(a.octets)
		n++
	}
	clear(d.kept[:n]) // lets go of the octets; append moves the rest to a new array when this one is full
	d.kept = d.kept[n:]
	d.gone += uint64(n)
}

// get returns the answer to a request that was answered before, under the hop-by-hop id of this one; nil without one.
func (d *duplicates) get(req Message, now time.Time) []byte {
	k := d.key(req)
	d.mu.Lock()
	defer d.mu.Unlock()
	number, ok := d.index[k]
	if !ok {
		return nil
	}
	a := d.kept[number-d.gone]
	if now.Sub(a.at) > duplicatesFor {
		return nil
	}
	b := append([]byte(nil), a.octets...)
	binary.BigEndian.PutUint32(b[12:], req.HopByHop)
	return b
}

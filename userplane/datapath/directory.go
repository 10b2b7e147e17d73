package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/xepc/xepc/pkg/pfcp"
)

// As in bpf/directory.h.
const (
	directoryFirst  = 0x9E3779B97F4A7C15
	directorySecond = 0xD6E8FEB86659FD93
	bucketCells     = len(pgwuBucket{}.Cells)
)

// directory is the writer's side of bpf/directory.h: a key stands in one of two buckets of four cells, or, when the
// directory is fronted and there is room, in its last bucket. One that grows is in use as far as its keys need.
type directory struct {
	table[pgwuBucket]
	fronted bool
	near    bool    // its keys are neighbours
	grown   *uint32 // generations in use, less one, where the program reads it; nil: it does not grow
	size    uint32  // buckets of a generation
	keys    int     // since adopt
	doubled bool    // the keys that have left the first half are still there
}

// growBy makes it one that grows. grown is what the program reads.
func (d *directory) growBy(grown *uint32) {
	d.grown = grown
	d.size, _ = generations(uint32(len(d.slots)))
}

// front is the bucket of the keys that came first; nil: there is none.
func (d *directory) front() *pgwuBucket {
	if !d.fronted {
		return nil
	}
	return &d.slots[len(d.slots)-1]
}

// directoryBuckets is how many buckets hold that many keys when three quarters full.
func directoryBuckets(keys int) uint32 { return uint32(max(keys, 12)/3 + 1) }

const (
	maxGenerations = 64
	minGeneration  = 64 // buckets
)

// generations is how a directory of at least that many buckets grows: buckets of a generation, and how many generations
// there are.
func generations(buckets uint32) (size, most uint32) {
	most = 1
	for most < maxGenerations && buckets/(2*most) >= minGeneration {
		most *= 2
	}
	return (buckets + most - 1) / most, most
}

// growingBuckets is directoryBuckets for a directory that grows.
func growingBuckets(keys int) uint32 {
	size, most := generations(directoryBuckets(keys))
	return size * most
}

// buckets returns the two buckets of key.
func (d *directory) buckets(key uint64) [2]*pgwuBucket {
	first := d.index(key * directoryFirst)
	if d.near {
		first = uint64(d.home(key)) / uint64(bucketCells)
	}
	return [2]*pgwuBucket{&d.slots[first], &d.slots[d.index(key*directorySecond)]}
}

// home is the number of the cell of a key among neighbours.
func (d *directory) home(key uint64) uint32 {
	first := uint64(directoryFirst)
	return (uint32(key) + uint32(key>>32)*uint32(first)) % uint32(len(d.slots)*bucketCells)
}

func (d *directory) index(product uint64) uint64 {
	if d.grown == nil {
		n := uint64(len(d.slots))
		if d.fronted {
			n--
		}
		return (product >> 32) * n >> 32
	}
	size := uint64(d.size)
	return (product>>32)*size>>32 + product>>20&uint64(atomic.LoadUint32(d.grown))*size
}

// adopt clears what a process left half done: copies of keys that were on their way.
func (d *directory) adopt() {
	d.keys = d.clean()
}

// clean frees the cells that no look-up of their key returns, and says how many are left.
func (d *directory) clean() (left int) {
	for b := range d.slots {
		for i := range d.slots[b].Cells {
			cell := &d.slots[b].Cells[i]
			switch key := atomic.LoadUint64(&cell.Key); {
			case key == 0:
			case d.find(key) != cell:
				atomic.StoreUint64(&cell.Key, 0)
			default:
				left++
			}
		}
	}
	return left
}

// used is how many generations are in use, of a directory that grows.
func (d *directory) used() uint32 { return atomic.LoadUint32(d.grown) + 1 }

// double has twice as many generations be in use. Programs that look by the former number find the keys that move where they
// were, until finish has waited for them.
func (d *directory) double() {
	used := d.used()
	for b := range d.slots[:d.size*used] {
		further := &d.slots[uint32(b)+d.size*used]
		for i, cell := range d.slots[b].Cells {
			if cell.Key != 0 && d.moves(cell.Key, uint32(b), used) {
				store(&further.Cells[i], cell.Key, cell.Value, cell.Aux)
			}
		}
	}
	atomic.StoreUint32(d.grown, 2*used-1)
	d.doubled = true
}

// finish ends a doubling.
func (d *directory) finish(settle func() error) error {
	if !d.doubled {
		return nil
	}
	if err := settle(); err != nil {
		return err
	}
	d.clean()
	d.doubled = false
	return nil
}

// moves says whether a key of a bucket goes further when that many generations double.
func (d *directory) moves(key uint64, bucket, used uint32) bool {
	product := key * directoryFirst
	if d.index(product) != uint64(bucket) {
		product = key * directorySecond
	}
	return uint32(product)>>20&used != 0
}

// find returns the cell of key, nil when it is not there.
func (d *directory) find(key uint64) *pgwuCell {
	buckets := d.buckets(key)
	for _, bucket := range []*pgwuBucket{d.front(), buckets[0], buckets[1]} {
		if bucket == nil {
			continue
		}
		for i := range bucket.Cells {
			if atomic.LoadUint64(&bucket.Cells[i].Key) == key {
				return &bucket.Cells[i]
			}
		}
	}
	return nil
}

// free returns a free cell of a bucket, or nil.
func free(bucket *pgwuBucket) *pgwuCell {
	for i := range bucket.Cells {
		if atomic.LoadUint64(&bucket.Cells[i].Key) == 0 {
			return &bucket.Cells[i]
		}
	}
	return nil
}

// store makes a cell; the key is written last. Who found the cell's old key looks at the key again after the value.
func store(cell *pgwuCell, key uint64, value, aux uint32) {
	atomic.StoreUint32(&cell.Value, value)
	atomic.StoreUint32(&cell.Aux, aux)
	atomic.StoreUint64(&cell.Key, key)
}

// insert puts a key into the first bucket that has room. When both are full, others move over to make room: a key that
// goes from its first bucket to its second is always found, since programs look in this order and see the copy before
// the original goes. The other way round settle has to wait for programs in between.
func (d *directory) insert(key uint64, value, aux uint32, settle func() error) error {
	for {
		if err := d.finish(settle); err != nil {
			return err
		}
		grows := d.grown != nil && int(d.used()*d.size) < len(d.slots)
		if !grows || uint32(d.keys) < 3*d.size*d.used() {
			err := d.place(key, value, aux, settle)
			if err == nil {
				d.keys++
				return nil
			}
			if !grows || !errors.Is(err, ErrTableFull) {
				return err
			}
		}
		d.double()
	}
}

func (d *directory) place(key uint64, value, aux uint32, settle func() error) error {
	buckets := d.buckets(key)
	if front := d.front(); front != nil {
		if cell := free(front); cell != nil {
			store(cell, key, value, aux)
			return nil
		}
	}
	if d.near {
		if cell := &buckets[0].Cells[d.home(key)%uint32(bucketCells)]; atomic.LoadUint64(&cell.Key) == 0 {
			store(cell, key, value, aux)
			return nil
		}
	}
	for _, bucket := range buckets {
		if cell := free(bucket); cell != nil {
			store(cell, key, value, aux)
			return nil
		}
	}
	for depth := range maxMoves {
		for _, back := range []bool{false, true} {
			for _, bucket := range buckets {
				cell, err := d.makeRoom(bucket, depth, back, settle)
				if err != nil {
					return err
				}
				if cell != nil {
					store(cell, key, value, aux)
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%w: no cell for key %#x", ErrTableFull, key)
}

// maxMoves bounds how many keys move for one.
const maxMoves = 4

// makeRoom frees a cell of a bucket by moving its key to the other one that it may stand in, where room is made
// likewise, that many times. back: also from a second bucket to a first.
func (d *directory) makeRoom(bucket *pgwuBucket, depth int, back bool, settle func() error) (*pgwuCell, error) {
	for i := range bucket.Cells {
		old := &bucket.Cells[i]
		both := d.buckets(old.Key)
		to, forth := both[1], both[0] == bucket
		if !forth {
			to = both[0]
		}
		if to == bucket || !forth && !back {
			continue
		}
		cell := free(to)
		if cell == nil && depth > 0 {
			var err error
			if cell, err = d.makeRoom(to, depth-1, back, settle); err != nil {
				return nil, err
			}
		}
		if cell == nil || atomic.LoadUint64(&old.Key) == 0 {
			continue
		}
		store(cell, old.Key, old.Value, old.Aux)
		if !forth {
			if err := settle(); err != nil {
				atomic.StoreUint64(&cell.Key, 0)
				return nil, err
			}
		}
		atomic.StoreUint64(&old.Key, 0)
		return old, nil
	}
	return nil, nil
}

// remove makes the cell free. Programs may still use what it said.
func (d *directory) remove(key uint64) {
	if cell := d.find(key); cell != nil {
		atomic.StoreUint64(&cell.Key, 0)
		d.keys--
	}
}

// all yields every cell that is in use, and of a key that is on its way the one that is found.
func (d *directory) all(yield func(*pgwuCell) bool) {
	for b := range d.slots {
		for i := range d.slots[b].Cells {
			cell := &d.slots[b].Cells[i]
			if key := atomic.LoadUint64(&cell.Key); key != 0 && d.find(key) == cell && !yield(cell) {
				return
			}
		}
	}
}

// Keys of the three directories, as bpf/maps.h says; none is ever 0, which is a free cell's.

// sliceKey: of IPv6 other addresses may have the same; struct service says whose it is.
func sliceKey(local netip.Addr) uint64 {
	if local.Is4() {
		return 1<<32 | uint64(onWire(local))
	}
	words := addressWords(local)
	return prefixKey(words[0]^words[1]*31, 0)
}

// blockKey: of the /24 of an IPv4 address, or of the /56 of an IPv6 /64.
func blockKey(instance uint32, ue netip.Prefix) uint64 {
	if ue.Addr().Is6() {
		half := addressWords(ue.Addr())[0]
		return prefixKey(half>>40, instance)>>32<<32 | uint64(uint32(half>>8))
	}
	a := ue.Addr().As4()
	return uint64(instance)<<32 | uint64(a[0])<<16 | uint64(a[1])<<8 | uint64(a[2])
}

// lastOctet is the one of an IPv4 address, or of an IPv6 /64, by which it stands in its block.
func lastOctet(ue netip.Prefix) uint32 {
	if ue.Addr().Is6() {
		return uint32(ue.Addr().As16()[7])
	}
	return uint32(ue.Addr().As4()[3])
}

func portKey(ifindex, vlan int) uint64 { return uint64(vlan)<<32 | uint64(ifindex) }

// teidKey: of a TEID that is not in its own slot.
func teidKey(base uint32, teid pfcp.TEID) uint64 { return uint64(base+1)<<32 | uint64(teid) }

// hostKey: of an IPv4 address that is in no block, or an IPv6 /64.
func hostKey(instance uint32, ue netip.Prefix) uint64 {
	if ue.Addr().Is4() {
		a := ue.Addr().As4()
		return uint64(instance)<<32 | uint64(binary.BigEndian.Uint32(a[:]))
	}
	return prefixKey(addressWords(ue.Addr())[0], instance)
}

// prefixKey as in bpf/directory.h.
func prefixKey(prefix uint64, instance uint32) uint64 {
	return (prefix*directoryFirst + uint64(instance)*directorySecond) | 1<<63
}

package datapath

import (
	"fmt"
	"math/bits"
	"net/netip"
	"sync/atomic"
)

// As in bpf/directory.h.
const (
	directoryFirst  = 0x9E3779B97F4A7C15
	directorySecond = 0xD6E8FEB86659FD93
	directoryShift  = 40
)

// directory is the writer's side of bpf/directory.h: a key stands in one of two buckets of four cells.
type directory struct{ table[pgwuBucket] }

// directoryBuckets is how many buckets hold that many keys when half full.
func directoryBuckets(keys int) uint32 {
	return 1 << bits.Len(uint(max(keys, 4)*2/4-1))
}

// buckets returns the two buckets of key.
func (d *directory) buckets(key uint64) [2]*pgwuBucket {
	mask := uint64(len(d.slots) - 1)
	return [2]*pgwuBucket{
		&d.slots[key*directoryFirst>>directoryShift&mask], &d.slots[key*directorySecond>>directoryShift&mask],
	}
}

// find returns the cell of key, nil when it is not there.
func (d *directory) find(key uint64) *pgwuCell {
	for _, bucket := range d.buckets(key) {
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

// store makes a cell; the key is written last.
func store(cell *pgwuCell, key uint64, value, aux uint32) {
	atomic.StoreUint32(&cell.Value, value)
	atomic.StoreUint32(&cell.Aux, aux)
	atomic.StoreUint64(&cell.Key, key)
}

// insert puts a key into the first bucket that has room. Programs must be done with what was removed. When both are
// full, one of their keys moves to its other bucket; settle waits for programs then, so that none misses it.
func (d *directory) insert(key uint64, value, aux uint32, settle func() error) error {
	for _, bucket := range d.buckets(key) {
		if cell := free(bucket); cell != nil {
			store(cell, key, value, aux)
			return nil
		}
	}
	for _, bucket := range d.buckets(key) {
		for i := range bucket.Cells {
			old := &bucket.Cells[i]
			for _, other := range d.buckets(old.Key) {
				cell := free(other)
				if cell == nil {
					continue
				}
				store(cell, old.Key, old.Value, old.Aux)
				if err := settle(); err != nil {
					atomic.StoreUint64(&cell.Key, 0)
					return err
				}
				atomic.StoreUint64(&old.Key, 0)
				if err := settle(); err != nil {
					return err
				}
				store(old, key, value, aux)
				return nil
			}
		}
	}
	return fmt.Errorf("%w: no cell for key %#x", ErrTableFull, key)
}

// remove makes the cell free. Programs may still use what it said.
func (d *directory) remove(key uint64) {
	if cell := d.find(key); cell != nil {
		atomic.StoreUint64(&cell.Key, 0)
	}
}

// all yields every cell that is in use.
func (d *directory) all(yield func(*pgwuCell) bool) {
	for b := range d.slots {
		for i := range d.slots[b].Cells {
			cell := &d.slots[b].Cells[i]
			if atomic.LoadUint64(&cell.Key) != 0 && !yield(cell) {
				return
			}
		}
	}
}

// Keys of the three directories, as bpf/maps.h says; none is ever 0, which is a free cell's.

func sliceKey(local netip.Addr) uint64 { return 1<<32 | uint64(onWire(local)) }

func blockKey(instance uint32, ue netip.Addr) uint64 {
	a := ue.As4()
	return uint64(instance)<<32 | uint64(a[0])<<16 | uint64(a[1])<<8 | uint64(a[2])
}

// blockOf is the inverse of blockKey; low are the last 8 bits of the address.
func blockOf(key uint64, low uint8) (instance uint32, ue netip.Addr) {
	return uint32(key >> 32), netip.AddrFrom4([4]byte{byte(key >> 16), byte(key >> 8), byte(key), low})
}

func portKey(ifindex int) uint64 { return uint64(ifindex) }

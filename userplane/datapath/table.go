package datapath

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
)

// table is an array map, mapped into memory: slots[i] is what the program sees at index i. T is a generated type.
type table[T any] struct {
	slots  []T
	memory []byte
}

func mapTable[T any](m *ebpf.Map, protection int) (table[T], error) {
	var zero T
	if m.ValueSize() != uint32(unsafe.Sizeof(zero)) {
		return table[T]{}, fmt.Errorf("%w: %v has values of %d octets, not %d", ErrLayout, m, m.ValueSize(), unsafe.Sizeof(zero))
	}
	if m.ValueSize()%8 != 0 { // the kernel's elements are multiples of 8 octets
		return table[T]{}, fmt.Errorf("%w: %v has values of %d octets", ErrLayout, m, m.ValueSize())
	}
	memory, err := unix.Mmap(m.FD(), 0, int(m.MaxEntries())*int(m.ValueSize()), protection, unix.MAP_SHARED)
	if err != nil {
		return table[T]{}, fmt.Errorf("map %v into memory: %w", m, err)
	}
	return table[T]{unsafe.Slice((*T)(unsafe.Pointer(&memory[0])), m.MaxEntries()), memory}, nil
}

func (t *table[T]) unmap() error {
	if t.memory == nil {
		return nil
	}
	err := unix.Munmap(t.memory)
	t.slots, t.memory = nil, nil
	return err
}

// A word is what changes by one 8-octet store while programs read it.

func loadWord(w *pgwuWord) pgwuWord {
	whole := atomic.LoadUint64((*uint64)(unsafe.Pointer(w)))
	return *(*pgwuWord)(unsafe.Pointer(&whole))
}

func storeWord(w *pgwuWord, value pgwuWord) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(w)), *(*uint64)(unsafe.Pointer(&value)))
}

// onWire and fromWire turn an IPv4 address into the word that stands in the packet, and back. The zero address is 0.
func onWire(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	octets := a.As4()
	return binary.NativeEndian.Uint32(octets[:])
}

func fromWire(w uint32) netip.Addr {
	var octets [4]byte
	binary.NativeEndian.PutUint32(octets[:], w)
	return netip.AddrFrom4(octets)
}

// upperHalf is the first 64 bits of an IPv6 address as they stand in the packet.
func upperHalf(a netip.Addr) uint64 {
	octets := a.As16()
	return binary.NativeEndian.Uint64(octets[:8])
}

// halves are an IPv6 address as it stands in the packet, and fromHalves is the inverse.
func halves(a netip.Addr) [2]uint64 {
	octets := a.As16()
	return [2]uint64{binary.NativeEndian.Uint64(octets[:8]), binary.NativeEndian.Uint64(octets[8:])}
}

func fromHalves(h [2]uint64) netip.Addr {
	var octets [16]byte
	binary.NativeEndian.PutUint64(octets[:8], h[0])
	binary.NativeEndian.PutUint64(octets[8:], h[1])
	return netip.AddrFrom16(octets)
}

func isHost4(p netip.Prefix) bool { return p.Addr().Is4() && p.IsSingleIP() }

// teidOnWire is a TEID as it stands in the packet; it is its own inverse. bpf2go's output is for little-endian
// machines only.
func teidOnWire(t pfcp.TEID) uint32 { return bits.ReverseBytes32(uint32(t)) }

package pfcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// maxRepeated bounds how often one IE may stand in a message or a group (ours): beyond it the request is refused
// with CauseNoResourcesAvailable. The size of a datagram bounds their sum.
const maxRepeated = 256

// walker goes over the IEs of a message or of a group, one by one. It skips what is unknown, and the repetitions
// of what may not be repeated (TS 29.244 7.6.10). Its error sticks: after the first one everything it returns is
// zero and next is false.
type walker struct {
	rest    []byte
	typ     uint16
	value   []byte
	seen    IETypes
	repeat  *IETypes // the types that may come more than once
	ignored *IETypes // gets what is skipped or ignored; nil: nobody wants to know
	removed *IETypes // gets what came with no length, TS 29.244 5.6.3; nil: this is no update of a rule
	names   texts    // that are known
	flows   texts    // flow descriptions that are known
	err     *Error
}

// once is the set of repeatable types of a group that has none.
var once IETypes

// walk starts at the first IE of b; the types of repeat may come more than once.
func walk(b []byte, repeat *IETypes) walker {
	return walker{rest: b, repeat: repeat}
}

// group starts at the first IE of the group that the present IE is.
func (w *walker) group(repeat *IETypes) walker {
	return walker{rest: w.value, repeat: repeat, ignored: w.ignored, names: w.names, flows: w.flows}
}

// ignore notes that nothing reads the present IE.
func (w *walker) ignore() {
	if w.ignored != nil {
		w.ignored.Add(w.typ)
	}
}

// next goes to the next IE that is to be read.
func (w *walker) next() bool {
	for w.err == nil && len(w.rest) > 0 {
		if len(w.rest) < 4 {
			w.fail(CauseInvalidLength, w.typ, "octets after the last IE")
			return false
		}
		typ, n := binary.BigEndian.Uint16(w.rest), int(binary.BigEndian.Uint16(w.rest[2:]))
		if len(w.rest) < 4+n {
			w.fail(CauseInvalidLength, typ, "IE is longer than what it is in")
			return false
		}
		w.typ, w.value, w.rest = typ, w.rest[4:4+n], w.rest[4+n:]
		if typ >= ieEnd {
			continue
		}
		if w.seen.Has(typ) && !w.repeat.Has(typ) {
			w.ignore()
			continue
		}
		w.seen.Add(typ)
		if n == 0 && w.removed != nil {
			w.removed.Add(typ)
			if typ != IENetworkInstance { // that may be none
				w.seen[typ/64] &^= 1 << (typ % 64)
				continue
			}
		}
		return true
	}
	return false
}

// ahead counts the IEs from the present one on that are of its type.
func (w *walker) ahead() int {
	n := 1
	for b := w.rest; len(b) >= 4; {
		size := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			break
		}
		if binary.BigEndian.Uint16(b) == w.typ {
			n++
		}
		b = b[size:]
	}
	return n
}

// add appends a zero element to s for the present IE, which may be repeated, and returns it. What s has room for may
// have been in use before.
func add[T any](w *walker, s *[]T) *T {
	if *s == nil {
		*s = make([]T, 0, min(w.ahead(), maxRepeated))
	}
	n := len(*s)
	if n == maxRepeated {
		w.fail(CauseNoResourcesAvailable, w.typ, "too many of them")
		return new(T)
	}
	*s = slices.Grow(*s, 1)[:n+1]
	element := &(*s)[n]
	*element = *new(T)
	return element
}

// require fails unless each of the mandatory types was there, TS 29.244 7.6.6.
func (w *walker) require(types ...uint16) {
	for _, typ := range types {
		if !w.seen.Has(typ) {
			w.fail(CauseMandatoryIEMissing, typ, "")
			return
		}
	}
}

// fail keeps the first error.
func (w *walker) fail(cause Cause, offending uint16, detail string) {
	if w.err != nil {
		return
	}
	w.err = &Error{Cause: cause, Offending: offending}
	if detail != "" {
		w.err.Err = errors.New(detail)
	}
}

// ruleID reads the group that the present IE is: the id of a rule, an IE of type typ and of size octets.
func (w *walker) ruleID(typ uint16, size int) uint32 {
	in := w.group(&once)
	var id uint32
	for in.next() {
		if in.typ == typ {
			for _, o := range in.take(size) {
				id = id<<8 | uint32(o)
			}
		} else {
			in.ignore()
		}
	}
	in.require(typ)
	w.within(in.err)
	return id
}

// within takes the error of a group that stands in the present IE.
func (w *walker) within(err *Error) {
	if w.err == nil {
		w.err = err
	}
}

// take cuts n octets off the value; what an IE has beyond what we know is ignored (TS 29.244 8.1.1, extendable).
// An IE that is too short fails, also where 7.6.7 would have an optional one discarded: a rule without one of
// its conditions matches what it should not.
func (w *walker) take(n int) []byte {
	if w.err == nil && len(w.value) < n {
		w.fail(CauseInvalidLength, w.typ, "IE is too short")
	}
	if w.err != nil {
		return make([]byte, n)
	}
	b := w.value[:n]
	w.value = w.value[n:]
	return b
}

func (w *walker) u8() uint8   { return w.take(1)[0] }
func (w *walker) u16() uint16 { return binary.BigEndian.Uint16(w.take(2)) }
func (w *walker) u32() uint32 { return binary.BigEndian.Uint32(w.take(4)) }
func (w *walker) u64() uint64 { return binary.BigEndian.Uint64(w.take(8)) }

// u24 reads three octets.
func (w *walker) u24() uint32 {
	b := w.take(3)
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}

// u40 reads five octets.
func (w *walker) u40() uint64 {
	b := w.take(5)
	return uint64(b[0])<<32 | uint64(binary.BigEndian.Uint32(b[1:]))
}

// flags reads a bit field of at least least octets whose first octet is the low one; what is beyond eight octets
// is ignored.
func (w *walker) flags(least int) uint64 {
	n := max(least, min(len(w.value), 8))
	var v uint64
	for i, o := range w.take(n) {
		v |= uint64(o) << (8 * i)
	}
	return v
}

func (w *walker) ipv4() netip.Addr { return netip.AddrFrom4([4]byte(w.take(4))) }
func (w *walker) ipv6() netip.Addr { return netip.AddrFrom16([16]byte(w.take(16))) }

// writer appends IEs. Its error sticks.
type writer struct {
	b   []byte
	err error
}

// open begins an IE; close, given what open returned, sets its length. That a length may not fit its two octets
// is seen at the end, since then the message does not fit either.
func (w *writer) open(typ uint16) int {
	w.b = binary.BigEndian.AppendUint16(w.b, typ)
	w.b = append(w.b, 0, 0)
	return len(w.b)
}

func (w *writer) close(at int) {
	binary.BigEndian.PutUint16(w.b[at-2:], uint16(len(w.b)-at))
}

// fail keeps the first error.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) u8(typ uint16, v uint8) {
	w.b = binary.BigEndian.AppendUint16(w.b, typ)
	w.b = append(w.b, 0, 1, v)
}

func (w *writer) u16(typ uint16, v uint16) {
	w.b = binary.BigEndian.AppendUint16(w.b, typ)
	w.b = append(w.b, 0, 2, uint8(v>>8), uint8(v))
}

func (w *writer) u32(typ uint16, v uint32) {
	w.b = binary.BigEndian.AppendUint16(w.b, typ)
	w.b = append(w.b, 0, 4)
	w.b = binary.BigEndian.AppendUint32(w.b, v)
}

// opt32 writes an IE of four octets if it is present.
func opt32[T ~uint32](w *writer, typ uint16, v Opt[T]) {
	if v.Present {
		w.u32(typ, uint32(v.Value))
	}
}

// opt8 writes an IE of one octet if it is present.
func opt8[T ~uint8](w *writer, typ uint16, v Opt[T]) {
	if v.Present {
		w.u8(typ, uint8(v.Value))
	}
}

// flag returns bit if set.
func flag[T ~uint8 | ~uint16](set bool, bit T) T {
	if set {
		return bit
	}
	return 0
}

// u40 appends five octets without an IE header.
func (w *writer) u40(v uint64) {
	if v >= 1<<40 {
		w.fail(errors.New("value above 40 bits"))
	}
	w.b = append(w.b, uint8(v>>32))
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(v))
}

// flags appends a bit field of at least least octets, the low one first, and as many more as it needs.
func (w *writer) flags(typ uint16, v uint64, least int) {
	at := w.open(typ)
	for i := 0; i < least || v != 0; i++ {
		w.b = append(w.b, uint8(v))
		v >>= 8
	}
	w.close(at)
}

// address appends an address without an IE header.
func (w *writer) address(a netip.Addr) {
	w.b = append(w.b, a.AsSlice()...)
}

// removals writes an IE of no length for each of types.
func (w *writer) removals(types *IETypes) {
	for typ := range types.All() {
		w.close(w.open(typ))
	}
}

// families fails unless v4 and v6, where set, are of their families, and returns which are set.
func (w *writer) families(typ uint16, v4, v6 netip.Addr) (has4, has6 bool) {
	has4, has6 = v4.IsValid(), v6.IsValid()
	if has4 && !v4.Is4() || has6 && !v6.Is6() {
		w.fail(&Error{Cause: CauseMandatoryIEIncorrect, Offending: typ, Err: errors.New("address of the wrong family")})
	}
	return has4, has6
}

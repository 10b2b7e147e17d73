package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
)

// CodecVersion is the version of the octets that AppendBinary makes. It rises with every change to them.
const CodecVersion = 13

// errMalformed is what a record that AppendBinary did not make ends with.
var errMalformed = errors.New("malformed session record")

// AppendBinary appends the session as octets that UnmarshalBinary reads: the form in which it outlives the process.
// Numbers are varints, lists carry their length.
func (s Session) AppendBinary(b []byte) ([]byte, error) {
	w := encoder{b}
	w.uint(CodecVersion)
	w.uint(uint64(s.SEID))
	w.uint(uint64(s.CP.SEID))
	w.addr(s.CP.IPv4)
	w.addr(s.CP.IPv6)
	w.uint(uint64(s.Owner))
	w.addr(s.Slice)
	w.addr(s.Slice6)
	w.uint(uint64(s.Modified))
	w.uint(uint64(len(s.PDRs)))
	for i := range s.PDRs {
		w.pdr(&s.PDRs[i])
	}
	w.uint(uint64(len(s.FARs)))
	for i := range s.FARs {
		w.far(&s.FARs[i])
	}
	w.uint(uint64(len(s.QERs)))
	for i := range s.QERs {
		w.qer(&s.QERs[i])
	}
	w.uint(uint64(len(s.URRs)))
	for i := range s.URRs {
		w.urr(&s.URRs[i])
	}
	w.uint(uint64(len(s.BARs)))
	for _, b := range s.BARs {
		w.uint(uint64(b.ID))
		encodeOpt(&w, b.Delay, w.octet)
		encodeOpt(&w, b.Count, w.octet)
	}
	w.uint(uint64(len(s.Endpoints)))
	for i := range s.Endpoints {
		w.endpoint(&s.Endpoints[i])
	}
	w.uint(uint64(len(s.Addresses)))
	for _, a := range s.Addresses {
		w.string(a.Pool)
		w.prefix(a.UE)
	}
	w.state(&s)
	return w.b, nil
}

// UnmarshalBinary reads what AppendBinary made. It never trusts a length.
func (s *Session) UnmarshalBinary(b []byte) error {
	*s = Session{}
	r := decoder{b: b}
	if v := r.uint(); r.bad || v != CodecVersion {
		return fmt.Errorf("version %d: %w", v, errMalformed)
	}
	*s = Session{
		SEID:  pfcp.SEID(r.uint()),
		CP:    pfcp.FSEID{SEID: pfcp.SEID(r.uint()), IPv4: r.addr(), IPv6: r.addr()},
		Owner: r.u32(), Slice: r.addr(), Slice6: r.addr(), Modified: r.u32(),
	}
	s.PDRs = list(&r, r.pdr)
	s.FARs = list(&r, r.far)
	s.QERs = list(&r, r.qer)
	s.URRs = list(&r, r.urr)
	s.BARs = list(&r, func() BAR {
		return BAR{ID: pfcp.BARID(r.u32()), Delay: decodeOpt(&r, r.octet), Count: decodeOpt(&r, r.octet)}
	})
	s.Endpoints = list(&r, r.endpoint)
	s.Addresses = list(&r, func() Address { return Address{r.string(), r.prefix()} })
	r.state(s)
	if r.bad || len(r.b) > 0 {
		*s = Session{}
		return errMalformed
	}
	return nil
}

type encoder struct{ b []byte }

func (w *encoder) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *encoder) bool(v bool) {
	if v {
		w.uint(1)
	} else {
		w.uint(0)
	}
}

func (w *encoder) string(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *encoder) addr(a netip.Addr) {
	raw := a.AsSlice()
	w.uint(uint64(len(raw)))
	w.b = append(w.b, raw...)
}

func encodeOpt[T any](w *encoder, o pfcp.Opt[T], f func(T)) {
	w.bool(o.Present)
	if o.Present {
		f(o.Value)
	}
}

func (w *encoder) pdr(p *PDR) {
	w.uint(uint64(p.ID))
	w.uint(uint64(p.Precedence))
	w.uint(uint64(p.Source))
	w.addr(p.Local)
	w.uint(uint64(p.TEID))
	w.string(string(p.Instance))
	w.addr(p.UE)
	w.prefix(p.UE6)
	w.prefixes(p.Routes)
	w.uint(uint64(len(p.Filters)))
	for i := range p.Filters {
		w.filter(&p.Filters[i])
	}
	w.string(string(p.QFIs))
	w.uint(uint64(len(p.Endpoints)))
	for _, id := range p.Endpoints {
		w.uint(uint64(id))
	}
	encodeOpt(w, p.Removal, func(v pfcp.OuterHeaderRemoval) { w.uint(uint64(v)) })
	w.uint(uint64(p.FARID))
	w.uint(uint64(len(p.QERIDs)))
	for _, id := range p.QERIDs {
		w.uint(uint64(id))
	}
	w.uint(uint64(len(p.URRIDs)))
	for _, id := range p.URRIDs {
		w.uint(uint64(id))
	}
	w.names(p)
}

func (w *encoder) far(f *FAR) {
	w.uint(uint64(f.ID))
	w.uint(uint64(f.Action))
	w.bool(f.Parameters)
	encodeOpt(w, f.Destination, func(v pfcp.Interface) { w.uint(uint64(v)) })
	w.string(string(f.Instance))
	encodeOpt(w, f.Outer, w.outer)
	encodeOpt(w, f.Marking, func(v uint16) { w.uint(uint64(v)) })
	w.addr(f.Redirect.IPv4)
	w.addr(f.Redirect.IPv6)
	w.string(f.URL)
	w.uint(uint64(len(f.Duplicates)))
	for _, d := range f.Duplicates {
		w.outer(d.Outer)
		encodeOpt(w, d.Marking, func(v uint16) { w.uint(uint64(v)) })
	}
	encodeOpt(w, f.BARID, func(v pfcp.BARID) { w.uint(uint64(v)) })
	w.uint(uint64(f.Unserved))
}

func (w *encoder) qer(q *QER) {
	w.uint(uint64(q.ID))
	w.bool(q.Gate.UplinkClosed)
	w.bool(q.Gate.DownlinkClosed)
	rate := func(v pfcp.BitRate) { w.uint(v.Uplink); w.uint(v.Downlink) }
	encodeOpt(w, q.MBR, rate)
	encodeOpt(w, q.GBR, rate)
	encodeOpt(w, q.Correlation, func(v uint32) { w.uint(uint64(v)) })
	encodeOpt(w, q.QFI, func(v uint8) { w.uint(uint64(v)) })
}

// decoder reads a record; once it is bad it stays bad, and reads zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (r *decoder) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most numbers are small
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *decoder) u32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.bad = true
	}
	return uint32(v)
}

func (r *decoder) bool() bool { return r.uint() != 0 }

func (r *decoder) take() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *decoder) string() string { return string(r.take()) }

func (r *decoder) addr() netip.Addr {
	v := r.take()
	if len(v) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(v)
	r.bad = r.bad || !ok
	return a
}

// prefix reads an address and how many of its bits count; the zero address has none.
func (r *decoder) prefix() netip.Prefix {
	a, bits := r.addr(), r.u32()
	if !a.IsValid() {
		r.bad = r.bad || bits != 0
		return netip.Prefix{}
	}
	r.bad = r.bad || int64(bits) > int64(a.BitLen())
	return netip.PrefixFrom(a, int(min(bits, 128)))
}

// list reads a length and so many items; every item takes at least one octet, which bounds what is allocated.
func list[T any](r *decoder, item func() T) []T {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	if n == 0 {
		return nil
	}
	all := make([]T, 0, min(n, 64))
	for range n {
		if r.bad {
			return nil
		}
		all = append(all, item())
	}
	return all
}

func decodeOpt[T any](r *decoder, f func() T) (o pfcp.Opt[T]) {
	if o.Present = r.bool(); o.Present {
		o.Value = f()
	}
	return o
}

func (r *decoder) pdr() PDR {
	return PDR{
		ID: pfcp.PDRID(r.u32()), Precedence: pfcp.Precedence(r.u32()), Source: pfcp.Interface(r.u32()),
		Local: r.addr(), TEID: pfcp.TEID(r.u32()), Instance: pfcp.NetworkInstance(r.string()), UE: r.addr(),
		UE6: r.prefix(), Routes: list(r, r.prefix), Filters: list(r, r.filter), QFIs: r.octets(),
		Endpoints: list(r, func() pfcp.TrafficEndpointID { return pfcp.TrafficEndpointID(r.octet()) }),
		Removal:   decodeOpt(r, func() pfcp.OuterHeaderRemoval { return pfcp.OuterHeaderRemoval(r.u32()) }),
		FARID:     pfcp.FARID(r.u32()),
		QERIDs:    list(r, func() pfcp.QERID { return pfcp.QERID(r.u32()) }),
		URRIDs:    list(r, func() pfcp.URRID { return pfcp.URRID(r.u32()) }),

		Application: r.string(), PFDs: list(r, r.plainFilter), Predefined: list(r, r.predefined),
	}
}

func (r *decoder) far() FAR {
	return FAR{
		ID: pfcp.FARID(r.u32()), Action: pfcp.ApplyAction(r.u32()), Parameters: r.bool(),
		Destination: decodeOpt(r, func() pfcp.Interface { return pfcp.Interface(r.u32()) }),
		Instance:    pfcp.NetworkInstance(r.string()),
		Outer:       decodeOpt(r, r.outer),
		Marking:     decodeOpt(r, func() uint16 { return uint16(r.u32()) }),
		Redirect:    Redirect{IPv4: r.addr(), IPv6: r.addr()},
		URL:         r.string(),
		Duplicates: list(r, func() Duplicate {
			return Duplicate{Outer: r.outer(), Marking: decodeOpt(r, func() uint16 { return uint16(r.u32()) })}
		}),
		BARID:    decodeOpt(r, func() pfcp.BARID { return pfcp.BARID(r.octet()) }),
		Unserved: uint16(r.u32()),
	}
}

func (r *decoder) qer() QER {
	rate := func() pfcp.BitRate { return pfcp.BitRate{Uplink: r.uint(), Downlink: r.uint()} }
	return QER{
		ID:          pfcp.QERID(r.u32()),
		Gate:        pfcp.GateStatus{UplinkClosed: r.bool(), DownlinkClosed: r.bool()},
		MBR:         decodeOpt(r, rate),
		GBR:         decodeOpt(r, rate),
		Correlation: decodeOpt(r, r.u32),
		QFI:         decodeOpt(r, func() uint8 { return uint8(r.u32()) }),
	}
}

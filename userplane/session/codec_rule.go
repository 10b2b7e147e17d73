package session

import (
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
)

// What a record says of filters, traffic endpoints and the smaller parts of rules.

func (w *encoder) octet(v uint8) { w.uint(uint64(v)) }

func (w *encoder) prefix(p netip.Prefix) {
	w.addr(p.Addr())
	w.uint(uint64(max(p.Bits(), 0)))
}

func (w *encoder) prefixes(all []netip.Prefix) {
	w.uint(uint64(len(all)))
	for _, p := range all {
		w.prefix(p)
	}
}

func (w *encoder) outer(o pfcp.OuterHeaderCreation) {
	w.uint(uint64(o.Description))
	w.uint(uint64(o.TEID))
	w.addr(o.IPv4)
	w.addr(o.IPv6)
}

func (w *encoder) filter(f *SDF) {
	number := func(v uint32) { w.uint(uint64(v)) }
	encodeOpt(w, f.ID, number)
	w.bool(f.Refers)
	w.plainFilter(&f.Filter)
}

func (w *encoder) plainFilter(f *Filter) {
	number := func(v uint32) { w.uint(uint64(v)) }
	encodeOpt(w, f.Protocol, w.octet)
	w.prefix(f.Remote)
	w.prefix(f.Local)
	for _, ports := range [][]Ports{f.RemotePorts, f.LocalPorts} {
		w.uint(uint64(len(ports)))
		for _, p := range ports {
			w.uint(uint64(p.First))
			w.uint(uint64(p.Last))
		}
	}
	w.octet(f.ToS)
	w.octet(f.ToSMask)
	encodeOpt(w, f.SPI, number)
	encodeOpt(w, f.FlowLabel, number)
}

// names writes what a PDR has by names.
func (w *encoder) names(p *PDR) {
	w.string(p.Application)
	w.plainFilters(p.PFDs)
	w.uint(uint64(len(p.Predefined)))
	for i := range p.Predefined {
		d := &p.Predefined[i]
		w.string(d.Name)
		w.plainFilters(d.Filters)
		encodeOpt(w, d.Action, func(v Action) { w.octet(uint8(v)) })
		w.string(string(d.Instance))
		w.uint(d.MBR.Uplink)
		w.uint(d.MBR.Downlink)
		w.uint(uint64(len(d.URRIDs)))
		for _, id := range d.URRIDs {
			w.uint(uint64(id))
		}
	}
}

func (w *encoder) plainFilters(all []Filter) {
	w.uint(uint64(len(all)))
	for i := range all {
		w.plainFilter(&all[i])
	}
}

func (w *encoder) endpoint(e *Endpoint) {
	w.octet(uint8(e.ID))
	w.addr(e.Local)
	w.uint(uint64(e.TEID))
	w.string(string(e.Instance))
	w.addr(e.UE)
	w.prefix(e.UE6)
	w.prefixes(e.Routes)
	w.string(string(e.QFIs))
}

func (r *decoder) octet() uint8 {
	v := r.uint()
	r.bad = r.bad || v > 1<<8-1
	return uint8(v)
}

// octets reads a list of single octets; nil when it is empty.
func (r *decoder) octets() []uint8 {
	if b := r.take(); len(b) > 0 {
		return append([]uint8(nil), b...)
	}
	return nil
}

func (r *decoder) outer() pfcp.OuterHeaderCreation {
	return pfcp.OuterHeaderCreation{
		Description: uint16(r.u32()), TEID: pfcp.TEID(r.u32()), IPv4: r.addr(), IPv6: r.addr(),
	}
}

func (r *decoder) filter() SDF {
	return SDF{ID: decodeOpt(r, r.u32), Refers: r.bool(), Filter: r.plainFilter()}
}

func (r *decoder) plainFilter() Filter {
	ports := func() []Ports {
		return list(r, func() Ports { return Ports{uint16(r.u32()), uint16(r.u32())} })
	}
	return Filter{
		Protocol: decodeOpt(r, r.octet), Remote: r.prefix(), Local: r.prefix(), RemotePorts: ports(), LocalPorts: ports(),
		ToS: r.octet(), ToSMask: r.octet(), SPI: decodeOpt(r, r.u32), FlowLabel: decodeOpt(r, r.u32),
	}
}

func (r *decoder) predefined() Predefined {
	return Predefined{
		Name: r.string(), Filters: list(r, r.plainFilter), Action: decodeOpt(r, func() Action { return Action(r.octet()) }),
		Instance: pfcp.NetworkInstance(r.string()), MBR: pfcp.BitRate{Uplink: r.uint(), Downlink: r.uint()},
		URRIDs: list(r, func() pfcp.URRID { return pfcp.URRID(r.u32()) }),
	}
}

func (r *decoder) endpoint() Endpoint {
	return Endpoint{
		ID: pfcp.TrafficEndpointID(r.octet()), Local: r.addr(), TEID: pfcp.TEID(r.u32()),
		Instance: pfcp.NetworkInstance(r.string()), UE: r.addr(), UE6: r.prefix(), Routes: list(r, r.prefix), QFIs: r.octets(),
	}
}

// AppendFilters appends filters as octets that ParseFilters reads.
func AppendFilters(b []byte, all []Filter) []byte {
	w := encoder{b}
	w.plainFilters(all)
	return w.b
}

// ParseFilters reads what AppendFilters made. It never trusts a length.
func ParseFilters(b []byte) ([]Filter, error) {
	r := decoder{b: b}
	all := list(&r, r.plainFilter)
	if r.bad || len(r.b) > 0 {
		return nil, errMalformed
	}
	return all, nil
}

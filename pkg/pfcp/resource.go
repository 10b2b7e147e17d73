package pfcp

import "net/netip"

// Flags of the User Plane IP Resource Information IE: octet 5, TS 29.244 8.2.82 (Rel-15).
const (
	resourceV4     = 1 << 0
	resourceV6     = 1 << 1
	resourceTEIDRI = 2 // first bit of three
	resourceASSONI = 1 << 5
	resourceASSOSI = 1 << 6
)

// Flags of the CP PFCP Entity IP Address IE: octet 5, TS 29.244 8.2.135.
const (
	entityV6 = 1 << 0
	entityV4 = 1 << 1
)

// IPResource is the User Plane IP Resource Information IE (type 116), TS 29.244 8.2.82 of Rel-15 (Rel-16 took it
// away): addresses whose TEIDs the CP function allocates.
type IPResource struct {
	IPv4, IPv6      netip.Addr // zero when absent
	TEIDRangeBits   uint8      // TEIDRI: so many upper bits of a TEID are TEIDRange; 0: all TEIDs are the CP's
	TEIDRange       uint8
	NetworkInstance Opt[NetworkInstance]
	SourceInterface Opt[Interface]
}

// Entity is the CP PFCP Entity IP Address IE (type 185), TS 29.244 8.2.135.
type Entity struct {
	IPv4, IPv6 netip.Addr // at least one is set
}

// inRetention are the IEs that may be repeated in a PFCP Session Retention Information IE.
var inRetention = typesOf(IECPPFCPEntityIPAddress)

// ipResource reads a User Plane IP Resource Information IE.
func (w *walker) ipResource() IPResource {
	var r IPResource
	flags := w.u8()
	if r.TEIDRangeBits = flags >> resourceTEIDRI & 7; r.TEIDRangeBits != 0 {
		r.TEIDRange = w.u8()
	}
	if flags&resourceV4 != 0 {
		r.IPv4 = w.ipv4()
	}
	if flags&resourceV6 != 0 {
		r.IPv6 = w.ipv6()
	}
	behind := 0 // octets behind the network instance, which has no length of its own
	if flags&resourceASSOSI != 0 {
		behind = 1
	}
	if flags&resourceASSONI != 0 {
		r.NetworkInstance = Some(NetworkInstance(w.nameOf(max(len(w.value)-behind, 0))))
	}
	if flags&resourceASSOSI != 0 {
		r.SourceInterface = Some(Interface(w.u8() & 0x0f))
	}
	return r
}

func (w *writer) ipResources(resources []IPResource) {
	for i := range resources {
		w.ipResource(&resources[i])
	}
}

func (w *writer) ipResource(r *IPResource) {
	v4, v6 := w.families(IEUserPlaneIPResourceInformation, r.IPv4, r.IPv6)
	at := w.open(IEUserPlaneIPResourceInformation)
	w.b = append(w.b, flag(v4, uint8(resourceV4))|flag(v6, uint8(resourceV6))|r.TEIDRangeBits&7<<resourceTEIDRI|
		flag(r.NetworkInstance.Present, uint8(resourceASSONI))|flag(r.SourceInterface.Present, uint8(resourceASSOSI)))
	if r.TEIDRangeBits != 0 {
		w.b = append(w.b, r.TEIDRange)
	}
	w.address(r.IPv4)
	w.address(r.IPv6)
	if r.NetworkInstance.Value != "" {
		w.name(string(r.NetworkInstance.Value))
	}
	if r.SourceInterface.Present {
		w.b = append(w.b, uint8(r.SourceInterface.Value))
	}
	w.close(at)
}

// parseRetention reads a PFCP Session Retention Information IE (type 183), TS 29.244 7.4.4.1-2: the sessions of these
// entities are to be kept; those of all when it names none.
func parseRetention(in *walker, entities *[]Entity) *Error {
	w := in.group(inRetention)
	for w.next() {
		if w.typ == IECPPFCPEntityIPAddress {
			*add(&w, entities) = w.entity()
		} else {
			w.ignore()
		}
	}
	return w.err
}

func (w *writer) retention(entities Opt[[]Entity]) {
	if !entities.Present {
		return
	}
	at := w.open(IEPFCPSessionRetentionInformation)
	for _, e := range entities.Value {
		w.entity(e)
	}
	w.close(at)
}

func (w *walker) entity() Entity {
	var e Entity
	flags := w.u8()
	if flags&entityV4 != 0 {
		e.IPv4 = w.ipv4()
	}
	if flags&entityV6 != 0 {
		e.IPv6 = w.ipv6()
	}
	if flags&(entityV4|entityV6) == 0 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "PFCP entity without an address")
	}
	return e
}

func (w *writer) entity(e Entity) {
	v4, v6 := w.families(IECPPFCPEntityIPAddress, e.IPv4, e.IPv6)
	if !v4 && !v6 {
		w.fail(&Error{Cause: CauseMandatoryIEIncorrect, Offending: IECPPFCPEntityIPAddress})
	}
	at := w.open(IECPPFCPEntityIPAddress)
	w.b = append(w.b, flag(v4, uint8(entityV4))|flag(v6, uint8(entityV6)))
	w.address(e.IPv4)
	w.address(e.IPv6)
	w.close(at)
}

package pfcp

// FramedRoutes are the routes to networks behind a UE: the Framed-Route (type 153), Framed-Routing (154) and
// Framed-IPv6-Route (155) IEs, TS 29.244 8.2.109 to 8.2.111.
type FramedRoutes struct {
	IPv4    []string    // RFC 2865 5.22: prefix, gateway, metrics
	IPv6    []string    // RFC 3162 2.5
	Routing Opt[uint32] // RFC 2865 5.10
}

// TrafficEndpoint is what PDRs that name it have in common: the Create Traffic Endpoint IE (type 127), TS 29.244
// 7.5.2.7, and the Update Traffic Endpoint IE (type 129), 7.5.4.13, in which absent means unchanged.
type TrafficEndpoint struct {
	ID              TrafficEndpointID
	FTEID           Opt[FTEID]
	NetworkInstance Opt[NetworkInstance]
	UEIPAddress     Opt[UEIPAddress]
	FramedRoutes    FramedRoutes
	QFI             []uint8
	Removed         IETypes // what is no more: IEs that came with no length in an update, TS 29.244 5.6.3
}

// CreatedTrafficEndpoint is the Created Traffic Endpoint IE (type 128), TS 29.244 7.5.3.5: what the UP function
// allocated.
type CreatedTrafficEndpoint struct {
	ID          TrafficEndpointID
	FTEID       Opt[FTEID]
	UEIPAddress Opt[UEIPAddress]
}

// inTrafficEndpoint are the IEs that may be repeated in a traffic endpoint.
var inTrafficEndpoint = typesOf(IEFramedRoute, IEFramedIPv6Route, IEQFI)

// parseTrafficEndpoint reads a Create Traffic Endpoint IE or an Update Traffic Endpoint IE.
func parseTrafficEndpoint(in *walker, e *TrafficEndpoint) *Error {
	w := in.group(inTrafficEndpoint)
	if in.typ == IEUpdateTrafficEndpoint {
		w.removed = &e.Removed
	}
	for w.next() {
		switch w.typ {
		case IETrafficEndpointID:
			e.ID = TrafficEndpointID(w.u8())
		case IEFTEID:
			e.FTEID = Some(w.fteid())
		case IENetworkInstance:
			e.NetworkInstance = Some(NetworkInstance(w.name()))
		case IEUEIPAddress:
			e.UEIPAddress = Some(w.ueIPAddress())
		case IEFramedRoute, IEFramedRouting, IEFramedIPv6Route:
			w.framedRoute(&e.FramedRoutes)
		case IEQFI:
			*add(&w, &e.QFI) = w.u8() & 0x3f
		case IEInterfaceType: // tells S1-U from S8-U and such: nothing matches on it
		default:
			w.ignore()
		}
	}
	w.require(IETrafficEndpointID)
	return w.err
}

// trafficEndpoint writes a Create Traffic Endpoint IE or an Update Traffic Endpoint IE.
func (w *writer) trafficEndpoint(typ uint16, e *TrafficEndpoint) {
	at := w.open(typ)
	w.u8(IETrafficEndpointID, uint8(e.ID))
	w.removals(&e.Removed)
	if e.FTEID.Present {
		w.fteid(e.FTEID.Value)
	}
	if e.NetworkInstance.Present && !e.Removed.Has(IENetworkInstance) {
		w.networkInstance(e.NetworkInstance.Value)
	}
	if e.UEIPAddress.Present {
		w.ueIPAddress(e.UEIPAddress.Value)
	}
	w.framedRoutes(&e.FramedRoutes)
	for _, qfi := range e.QFI {
		w.u8(IEQFI, qfi)
	}
	w.close(at)
}

// parseCreatedTrafficEndpoint reads a Created Traffic Endpoint IE.
func parseCreatedTrafficEndpoint(in *walker, e *CreatedTrafficEndpoint) *Error {
	w := in.group(&once)
	for w.next() {
		switch w.typ {
		case IETrafficEndpointID:
			e.ID = TrafficEndpointID(w.u8())
		case IEFTEID:
			e.FTEID = Some(w.fteid())
		case IEUEIPAddress:
			e.UEIPAddress = Some(w.ueIPAddress())
		}
	}
	w.require(IETrafficEndpointID)
	return w.err
}

func (w *writer) createdTrafficEndpoint(e *CreatedTrafficEndpoint) {
	at := w.open(IECreatedTrafficEndpoint)
	w.u8(IETrafficEndpointID, uint8(e.ID))
	if e.FTEID.Present {
		w.fteid(e.FTEID.Value)
	}
	if e.UEIPAddress.Present {
		w.ueIPAddress(e.UEIPAddress.Value)
	}
	w.close(at)
}

// framedRoute reads any of the IEs of f.
func (w *walker) framedRoute(f *FramedRoutes) {
	switch w.typ {
	case IEFramedRoute:
		*add(w, &f.IPv4) = w.text(len(w.value))
	case IEFramedIPv6Route:
		*add(w, &f.IPv6) = w.text(len(w.value))
	case IEFramedRouting:
		f.Routing = Some(w.u32())
	}
}

func (w *writer) framedRoutes(f *FramedRoutes) {
	w.texts(IEFramedRoute, f.IPv4)
	opt32(w, IEFramedRouting, f.Routing)
	w.texts(IEFramedIPv6Route, f.IPv6)
}

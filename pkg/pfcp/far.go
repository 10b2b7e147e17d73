package pfcp

import (
	"encoding/binary"
	"errors"
)

// Descriptions of the Outer Header Creation IE by the fields that they bring, TS 29.244 8.2.56.
const (
	ohcTEID = CreateGTPUUDPIPv4 | CreateGTPUUDPIPv6
	ohcIPv4 = CreateGTPUUDPIPv4 | 1<<10 | 1<<12 // and UDP/IPv4, IPv4
	ohcIPv6 = CreateGTPUUDPIPv6 | 1<<11 | 1<<13 // and UDP/IPv6, IPv6
	ohcPort = 1<<10 | 1<<11
	ohcCTag = 1 << 14
	ohcSTag = 1 << 15
)

// The IEs that may be repeated in a FAR and in its parameters.
var (
	inFAR                  = typesOf(IEDuplicatingParameters, IEUpdateDuplicatingParameters)
	inForwardingParameters = typesOf(IEHeaderEnrichment)
)

// parseCreateFAR reads a Create FAR IE.
func parseCreateFAR(in *walker, f *CreateFAR) *Error {
	w := in.group(inFAR)
	for w.next() {
		switch w.typ {
		case IEFARID:
			f.ID = FARID(w.u32())
		case IEApplyAction:
			f.ApplyAction = ApplyAction(w.flags(1))
		case IEForwardingParameters:
			f.ForwardingParameters.Present = true
			w.within(parseForwardingParameters(&w, &f.ForwardingParameters.Value, IEDestinationInterface))
		case IEDuplicatingParameters:
			w.within(parseDuplicatingParameters(&w, add(&w, &f.Duplicating), IEDestinationInterface))
		case IEBARID:
			f.BARID = Some(BARID(w.u8()))
		default:
			w.ignore()
		}
	}
	w.require(IEFARID, IEApplyAction)
	return w.err
}

func (w *writer) createFAR(f *CreateFAR) {
	at := w.open(IECreateFAR)
	w.u32(IEFARID, uint32(f.ID))
	w.applyAction(f.ApplyAction)
	if f.ForwardingParameters.Present {
		w.forwardingParameters(IEForwardingParameters, &f.ForwardingParameters.Value)
	}
	for i := range f.Duplicating {
		w.duplicatingParameters(IEDuplicatingParameters, &f.Duplicating[i])
	}
	opt8(w, IEBARID, f.BARID)
	w.close(at)
}

// parseUpdateFAR reads an Update FAR IE.
func parseUpdateFAR(in *walker, f *UpdateFAR) *Error {
	w := in.group(inFAR)
	w.removed = &f.Removed
	for w.next() {
		switch w.typ {
		case IEFARID:
			f.ID = FARID(w.u32())
		case IEApplyAction:
			f.ApplyAction = Some(ApplyAction(w.flags(1)))
		case IEUpdateForwardingParameters:
			f.ForwardingParameters.Present = true
			w.within(parseForwardingParameters(&w, &f.ForwardingParameters.Value))
		case IEUpdateDuplicatingParameters:
			w.within(parseDuplicatingParameters(&w, add(&w, &f.Duplicating)))
		case IEBARID:
			f.BARID = Some(BARID(w.u8()))
		default:
			w.ignore()
		}
	}
	w.require(IEFARID)
	return w.err
}

func (w *writer) updateFAR(f *UpdateFAR) {
	at := w.open(IEUpdateFAR)
	w.u32(IEFARID, uint32(f.ID))
	w.removals(&f.Removed)
	if f.ApplyAction.Present {
		w.applyAction(f.ApplyAction.Value)
	}
	if f.ForwardingParameters.Present {
		w.forwardingParameters(IEUpdateForwardingParameters, &f.ForwardingParameters.Value)
	}
	for i := range f.Duplicating {
		w.duplicatingParameters(IEUpdateDuplicatingParameters, &f.Duplicating[i])
	}
	opt8(w, IEBARID, f.BARID)
	w.close(at)
}

// applyAction writes an Apply Action IE, in two octets: a receiver of an earlier release ignores the second.
func (w *writer) applyAction(a ApplyAction) {
	w.u16(IEApplyAction, uint16(a)<<8|uint16(a)>>8)
}

// parseForwardingParameters reads a Forwarding Parameters IE or an Update Forwarding Parameters IE.
func parseForwardingParameters(in *walker, p *ForwardingParameters, mandatory ...uint16) *Error {
	w := in.group(inForwardingParameters)
	if in.typ == IEUpdateForwardingParameters {
		w.removed = &p.Removed
	}
	for w.next() {
		switch w.typ {
		case IEDestinationInterface:
			p.DestinationInterface = Some(Interface(w.u8() & 0x0f))
		case IENetworkInstance:
			p.NetworkInstance = Some(NetworkInstance(w.name()))
		case IEOuterHeaderCreation:
			p.OuterHeaderCreation = Some(w.outerHeaderCreation())
		case IETransportLevelMarking:
			p.TransportLevelMarking = Some(w.u16())
		case IEPFCPSMReqFlags:
			p.SendEndMarker = w.u8()&smReqSNDEM != 0
		case IETrafficEndpointID:
			p.TrafficEndpointID = Some(TrafficEndpointID(w.u8()))
		case IERedirectInformation:
			p.Redirect = Some(w.redirectInformation())
		case IEForwardingPolicy:
			p.ForwardingPolicy = Some(w.text(int(w.u8())))
		case IEHeaderEnrichment:
			*add(&w, &p.HeaderEnrichments) = w.headerEnrichment()
		case IEInterfaceType: // tells S1-U from S8-U and such: nothing depends on it
		default:
			w.ignore()
		}
	}
	w.require(mandatory...)
	return w.err
}

func (w *writer) forwardingParameters(typ uint16, p *ForwardingParameters) {
	at := w.open(typ)
	w.removals(&p.Removed)
	if p.DestinationInterface.Present {
		w.u8(IEDestinationInterface, uint8(p.DestinationInterface.Value))
	}
	if p.NetworkInstance.Present && !p.Removed.Has(IENetworkInstance) {
		w.networkInstance(p.NetworkInstance.Value)
	}
	if p.OuterHeaderCreation.Present {
		w.outerHeaderCreation(&p.OuterHeaderCreation.Value)
	}
	if p.TransportLevelMarking.Present {
		w.u16(IETransportLevelMarking, p.TransportLevelMarking.Value)
	}
	if p.SendEndMarker {
		w.u8(IEPFCPSMReqFlags, smReqSNDEM)
	}
	opt8(w, IETrafficEndpointID, p.TrafficEndpointID)
	if p.Redirect.Present {
		w.redirectInformation(&p.Redirect.Value)
	}
	w.forwardingPolicy(p.ForwardingPolicy)
	for i := range p.HeaderEnrichments {
		w.headerEnrichment(&p.HeaderEnrichments[i])
	}
	w.close(at)
}

// outerHeaderCreation reads an Outer Header Creation IE. Of descriptions other than GTP-U/UDP/IP only the
// addresses are kept: whoever acts on one must refuse them by the description.
func (w *walker) outerHeaderCreation() OuterHeaderCreation {
	o := OuterHeaderCreation{Description: w.u16()}
	if o.Description>>8 == 0 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "no outer header to create")
	}
	if o.Description&ohcTEID != 0 {
		o.TEID = TEID(w.u32())
	}
	if o.Description&ohcIPv4 != 0 {
		o.IPv4 = w.ipv4()
	}
	if o.Description&ohcIPv6 != 0 {
		o.IPv6 = w.ipv6()
	}
	if o.Description&ohcPort != 0 {
		w.take(2)
	}
	if o.Description&ohcCTag != 0 {
		w.take(3)
	}
	if o.Description&ohcSTag != 0 {
		w.take(3)
	}
	return o
}

func (w *writer) outerHeaderCreation(o *OuterHeaderCreation) {
	v4, v6 := w.families(IEOuterHeaderCreation, o.IPv4, o.IPv6)
	switch {
	case o.Description == 0 || o.Description&^ohcTEID != 0:
		w.fail(errors.New("outer header creation other than GTP-U/UDP/IP"))
	case v4 != (o.Description&CreateGTPUUDPIPv4 != 0), v6 != (o.Description&CreateGTPUUDPIPv6 != 0):
		w.fail(errors.New("outer header creation whose addresses are not those of its description"))
	}
	at := w.open(IEOuterHeaderCreation)
	w.b = binary.BigEndian.AppendUint16(w.b, o.Description)
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(o.TEID))
	w.address(o.IPv4)
	w.address(o.IPv6)
	w.close(at)
}

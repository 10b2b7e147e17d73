package pfcp

import (
	"encoding/binary"
	"errors"
)

// Flags of the SDF Filter IE: octet 5, TS 29.244 8.2.5.
const (
	sdfFD  = 1 << 0
	sdfTTC = 1 << 1
	sdfSPI = 1 << 2
	sdfFL  = 1 << 3
	sdfBID = 1 << 4
)

// The IEs that may be repeated in a PDR and in its PDI.
var (
	inPDR = typesOf(IEURRID, IEQERID, IEActivatePredefinedRules, IEDeactivatePredefinedRules, IEUEIPAddressPoolIdentity)
	inPDI = typesOf(IESDFFilter, IEQFI, IETrafficEndpointID, IEFramedRoute, IEFramedIPv6Route)
)

// parseCreatePDR reads a Create PDR IE.
func parseCreatePDR(in *walker, p *CreatePDR) *Error {
	w := in.group(inPDR)
	for w.next() {
		switch w.typ {
		case IEPDRID:
			p.ID = PDRID(w.u16())
		case IEPrecedence:
			p.Precedence = Precedence(w.u32())
		case IEPDI:
			w.within(parsePDI(&w, &p.PDI))
		case IEOuterHeaderRemoval:
			p.OuterHeaderRemoval = Some(OuterHeaderRemoval(w.u8()))
		case IEFARID:
			p.FARID = Some(FARID(w.u32()))
		case IEURRID:
			*add(&w, &p.URRIDs) = URRID(w.u32())
		case IEQERID:
			*add(&w, &p.QERIDs) = QERID(w.u32())
		case IEActivatePredefinedRules:
			*add(&w, &p.ActivatePredefinedRules) = w.text(len(w.value))
		case IEUEIPAddressPoolIdentity:
			*add(&w, &p.AddressPools) = w.poolIdentity()
		default:
			w.ignore()
		}
	}
	w.require(IEPDRID, IEPrecedence, IEPDI)
	return w.err
}

func (w *writer) createPDR(p *CreatePDR) {
	at := w.open(IECreatePDR)
	w.u16(IEPDRID, uint16(p.ID))
	w.u32(IEPrecedence, uint32(p.Precedence))
	w.pdi(&p.PDI)
	if p.OuterHeaderRemoval.Present {
		w.u8(IEOuterHeaderRemoval, uint8(p.OuterHeaderRemoval.Value))
	}
	if p.FARID.Present {
		w.u32(IEFARID, uint32(p.FARID.Value))
	}
	for _, id := range p.URRIDs {
		w.u32(IEURRID, uint32(id))
	}
	for _, id := range p.QERIDs {
		w.u32(IEQERID, uint32(id))
	}
	w.texts(IEActivatePredefinedRules, p.ActivatePredefinedRules)
	for _, pool := range p.AddressPools {
		group := w.open(IEUEIPAddressPoolIdentity)
		w.text16(pool)
		w.close(group)
	}
	w.close(at)
}

// poolIdentity reads a UE IP Address Pool Identity IE: a text behind its length of two octets, or of one, as go-pfcp
// has it.
func (w *walker) poolIdentity() string {
	if n := len(w.value); n > 0 && int(w.value[0]) == n-1 {
		return w.text(int(w.u8()))
	}
	return w.text(int(w.u16()))
}

// parseUpdatePDR reads an Update PDR IE.
func parseUpdatePDR(in *walker, p *UpdatePDR) *Error {
	w := in.group(inPDR)
	w.removed = &p.Removed
	for w.next() {
		switch w.typ {
		case IEPDRID:
			p.ID = PDRID(w.u16())
		case IEPrecedence:
			p.Precedence = Some(Precedence(w.u32()))
		case IEPDI:
			p.PDI.Present = true
			w.within(parsePDI(&w, &p.PDI.Value))
		case IEOuterHeaderRemoval:
			p.OuterHeaderRemoval = Some(OuterHeaderRemoval(w.u8()))
		case IEFARID:
			p.FARID = Some(FARID(w.u32()))
		case IEURRID:
			p.URRIDs.Present = true
			*add(&w, &p.URRIDs.Value) = URRID(w.u32())
		case IEQERID:
			p.QERIDs.Present = true
			*add(&w, &p.QERIDs.Value) = QERID(w.u32())
		case IEActivatePredefinedRules:
			*add(&w, &p.ActivatePredefinedRules) = w.text(len(w.value))
		case IEDeactivatePredefinedRules:
			*add(&w, &p.DeactivatePredefinedRules) = w.text(len(w.value))
		default:
			w.ignore()
		}
	}
	w.require(IEPDRID)
	return w.err
}

func (w *writer) updatePDR(p *UpdatePDR) {
	at := w.open(IEUpdatePDR)
	w.u16(IEPDRID, uint16(p.ID))
	w.removals(&p.Removed)
	if p.OuterHeaderRemoval.Present {
		w.u8(IEOuterHeaderRemoval, uint8(p.OuterHeaderRemoval.Value))
	}
	if p.Precedence.Present {
		w.u32(IEPrecedence, uint32(p.Precedence.Value))
	}
	if p.PDI.Present {
		w.pdi(&p.PDI.Value)
	}
	if p.FARID.Present {
		w.u32(IEFARID, uint32(p.FARID.Value))
	}
	for _, id := range p.URRIDs.Value {
		w.u32(IEURRID, uint32(id))
	}
	for _, id := range p.QERIDs.Value {
		w.u32(IEQERID, uint32(id))
	}
	w.texts(IEActivatePredefinedRules, p.ActivatePredefinedRules)
	w.texts(IEDeactivatePredefinedRules, p.DeactivatePredefinedRules)
	w.close(at)
}

// parseRemovePDR reads a Remove PDR IE. The PDR ID may stand in a Create PDR in it (pfcpsim).
func parseRemovePDR(in *walker) (id PDRID, _ *Error) {
	w := in.group(&once)
	for w.next() {
		switch w.typ {
		case IEPDRID:
			id = PDRID(w.u16())
		case IECreatePDR:
			if w.seen.Has(IEPDRID) {
				continue
			}
			w.ignored = nil // of what is removed nothing but the name matters
			id = PDRID(w.ruleID(IEPDRID, 2))
			w.ignored = in.ignored
			w.seen.Add(IEPDRID)
		default:
			w.ignore()
		}
	}
	w.require(IEPDRID)
	return id, w.err
}

// parseCreatedPDR reads a Created PDR IE.
func parseCreatedPDR(in *walker, p *CreatedPDR) *Error {
	w := in.group(&once)
	for w.next() {
		switch w.typ {
		case IEPDRID:
			p.ID = PDRID(w.u16())
		case IEFTEID:
			p.FTEID = Some(w.fteid())
		case IEUEIPAddress:
			p.UEIPAddress = Some(w.ueIPAddress())
		}
	}
	w.require(IEPDRID)
	return w.err
}

func (w *writer) createdPDR(p *CreatedPDR) {
	at := w.open(IECreatedPDR)
	w.u16(IEPDRID, uint16(p.ID))
	if p.FTEID.Present {
		w.fteid(p.FTEID.Value)
	}
	if p.UEIPAddress.Present {
		w.ueIPAddress(p.UEIPAddress.Value)
	}
	w.close(at)
}

// parsePDI reads a PDI IE.
func parsePDI(in *walker, p *PDI) *Error {
	w := in.group(inPDI)
	for w.next() {
		switch w.typ {
		case IESourceInterface:
			p.SourceInterface = Interface(w.u8() & 0x0f)
		case IEFTEID:
			p.FTEID = Some(w.fteid())
		case IENetworkInstance:
			p.NetworkInstance = Some(NetworkInstance(w.name()))
		case IEUEIPAddress:
			p.UEIPAddress = Some(w.ueIPAddress())
		case IESDFFilter:
			*add(&w, &p.SDFFilters) = w.sdfFilter()
		case IEQFI:
			*add(&w, &p.QFI) = w.u8() & 0x3f
		case IETrafficEndpointID:
			*add(&w, &p.TrafficEndpointIDs) = TrafficEndpointID(w.u8())
		case IEApplicationID:
			p.ApplicationID = Some(w.text(len(w.value)))
		case IEFramedRoute, IEFramedRouting, IEFramedIPv6Route:
			w.framedRoute(&p.FramedRoutes)
		case IEInterfaceType: // tells S1-U from S8-U and such: nothing matches on it
		default:
			w.ignore()
		}
	}
	w.require(IESourceInterface)
	return w.err
}

func (w *writer) pdi(p *PDI) {
	at := w.open(IEPDI)
	w.u8(IESourceInterface, uint8(p.SourceInterface))
	if p.FTEID.Present {
		w.fteid(p.FTEID.Value)
	}
	if p.NetworkInstance.Present {
		w.networkInstance(p.NetworkInstance.Value)
	}
	if p.UEIPAddress.Present {
		w.ueIPAddress(p.UEIPAddress.Value)
	}
	for i := range p.SDFFilters {
		w.sdfFilter(&p.SDFFilters[i])
	}
	for _, qfi := range p.QFI {
		w.u8(IEQFI, qfi)
	}
	for _, id := range p.TrafficEndpointIDs {
		w.u8(IETrafficEndpointID, uint8(id))
	}
	if p.ApplicationID.Present {
		w.text(IEApplicationID, p.ApplicationID.Value)
	}
	w.framedRoutes(&p.FramedRoutes)
	w.close(at)
}

// sdfFilter reads an SDF Filter IE. One without any octet is an empty filter (some peers send it).
func (w *walker) sdfFilter() SDFFilter {
	var f SDFFilter
	if len(w.value) == 0 {
		return f
	}
	flags := w.u8()
	w.take(1) // spare
	if flags&sdfFD != 0 {
		f.FlowDescription = w.flowDescription(int(w.u16()))
	}
	if flags&sdfTTC != 0 {
		f.ToSTrafficClass = Some(w.u16())
	}
	if flags&sdfSPI != 0 {
		f.SPI = Some(w.u32())
	}
	if flags&sdfFL != 0 {
		f.FlowLabel = Some(w.u24() & 0xfffff)
	}
	if flags&sdfBID != 0 {
		f.FilterID = Some(w.u32())
	}
	return f
}

// flowDescription reads n octets of text.
func (w *walker) flowDescription(n int) string {
	b := w.take(n)
	if s, ok := w.flows[string(b)]; ok {
		return s
	}
	if !plainText(b) {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "flow description is no text")
		return ""
	}
	s := string(b)
	if w.err == nil {
		w.flows.keep(b, s)
	}
	return s
}

func (w *writer) sdfFilter(f *SDFFilter) {
	at := w.open(IESDFFilter)
	flags := len(w.b)
	w.b = append(w.b, 0, 0)
	if f.FlowDescription != "" {
		if len(f.FlowDescription) > 0xffff {
			w.fail(errors.New("flow description is too long"))
		}
		w.b[flags] |= sdfFD
		w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(f.FlowDescription)))
		w.b = append(w.b, f.FlowDescription...)
	}
	if f.ToSTrafficClass.Present {
		w.b[flags] |= sdfTTC
		w.b = binary.BigEndian.AppendUint16(w.b, f.ToSTrafficClass.Value)
	}
	if f.SPI.Present {
		w.b[flags] |= sdfSPI
		w.b = binary.BigEndian.AppendUint32(w.b, f.SPI.Value)
	}
	if f.FlowLabel.Present {
		w.b[flags] |= sdfFL
		v := f.FlowLabel.Value
		w.b = append(w.b, uint8(v>>16), uint8(v>>8), uint8(v))
	}
	if f.FilterID.Present {
		w.b[flags] |= sdfBID
		w.b = binary.BigEndian.AppendUint32(w.b, f.FilterID.Value)
	}
	w.close(at)
}

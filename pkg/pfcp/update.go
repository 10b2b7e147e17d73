package pfcp

// Flags of the messages of an association.
const (
	releaseSARR = 1 << 0 // PFCP Association Release Request, TS 29.244 8.2.77
	releaseURSS = 1 << 1
	auReqPARPS  = 1 << 0 // PFCPAUReq-Flags, 8.2.120
	asRspPSREI  = 1 << 0 // PFCPASRsp-Flags, 8.2.134
)

func parseAssociationUpdateRequest(b []byte) (Message, *Error) {
	m := &AssociationUpdateRequest{}
	w := walk(b, inAssociation)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IEUPFunctionFeatures:
			m.UPFunctionFeatures = Some(UPFunctionFeatures(w.flags(1)))
		case IECPFunctionFeatures:
			m.CPFunctionFeatures = Some(w.u8())
		case IEPFCPAssociationReleaseRequest:
			flags := w.u8()
			m.ReleaseRequested, m.NonZeroUsage = flags&releaseSARR != 0, flags&releaseURSS != 0
		case IEGracefulReleasePeriod:
			m.GracefulReleasePeriod = Some(Timer(w.u8()))
		case IEPFCPAUReqFlags:
			m.ReleasePrepared = w.u8()&auReqPARPS != 0
		case IEUserPlaneIPResourceInformation:
			*add(&w, &m.IPResources) = w.ipResource()
		default:
			w.ignore()
		}
	}
	w.require(IENodeID)
	return m, w.err
}

func (m *AssociationUpdateRequest) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.functionFeatures(m.UPFunctionFeatures, m.CPFunctionFeatures)
	if m.ReleaseRequested || m.NonZeroUsage {
		w.u8(IEPFCPAssociationReleaseRequest,
			flag(m.ReleaseRequested, uint8(releaseSARR))|flag(m.NonZeroUsage, uint8(releaseURSS)))
	}
	opt8(w, IEGracefulReleasePeriod, m.GracefulReleasePeriod)
	if m.ReleasePrepared {
		w.u8(IEPFCPAUReqFlags, auReqPARPS)
	}
	w.ipResources(m.IPResources)
}

func parseAssociationUpdateResponse(b []byte) (Message, *Error) {
	m, w := &AssociationUpdateResponse{}, walk(b, &once)
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IECause:
			m.Cause = w.cause()
		case IEUPFunctionFeatures:
			m.UPFunctionFeatures = Some(UPFunctionFeatures(w.flags(1)))
		case IECPFunctionFeatures:
			m.CPFunctionFeatures = Some(w.u8())
		}
	}
	w.require(IECause)
	return m, w.err
}

func (m *AssociationUpdateResponse) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IECause, uint8(m.Cause))
	w.functionFeatures(m.UPFunctionFeatures, m.CPFunctionFeatures)
}

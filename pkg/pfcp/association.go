package pfcp

func parseHeartbeatRequest(b []byte) (Message, *Error) {
	t, err := parseHeartbeat(b)
	return &HeartbeatRequest{RecoveryTimeStamp: t}, err
}

func parseHeartbeatResponse(b []byte) (Message, *Error) {
	t, err := parseHeartbeat(b)
	return &HeartbeatResponse{RecoveryTimeStamp: t}, err
}

// parseHeartbeat reads either heartbeat. The Recovery Time Stamp may be missing, though it is mandatory.
func parseHeartbeat(b []byte) (t Opt[RecoveryTimeStamp], _ *Error) {
	w := walk(b, &once)
	for w.next() {
		if w.typ == IERecoveryTimeStamp {
			t = Some(RecoveryTimeStamp(w.u32()))
		}
	}
	return t, w.err
}

func (w *writer) recoveryTimeStamp(t Opt[RecoveryTimeStamp]) {
	if t.Present {
		w.u32(IERecoveryTimeStamp, uint32(t.Value))
	}
}

func (m *HeartbeatRequest) appendIEs(w *writer)  { w.recoveryTimeStamp(m.RecoveryTimeStamp) }
func (m *HeartbeatResponse) appendIEs(w *writer) { w.recoveryTimeStamp(m.RecoveryTimeStamp) }

// inAssociation are the IEs that may be repeated in the messages of an association.
var inAssociation = typesOf(IEUserPlaneIPResourceInformation)

func parseAssociationSetupRequest(b []byte) (Message, *Error) {
	m := &AssociationSetupRequest{}
	w := walk(b, inAssociation)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IERecoveryTimeStamp:
			m.RecoveryTimeStamp = RecoveryTimeStamp(w.u32())
		case IEUPFunctionFeatures:
			m.UPFunctionFeatures = Some(UPFunctionFeatures(w.flags(1)))
		case IECPFunctionFeatures:
			m.CPFunctionFeatures = Some(w.u8())
		case IEUserPlaneIPResourceInformation:
			*add(&w, &m.IPResources) = w.ipResource()
		case IEPFCPSessionRetentionInformation:
			m.Retain.Present = true
			w.within(parseRetention(&w, &m.Retain.Value))
		default:
			w.ignore()
		}
	}
	w.require(IENodeID, IERecoveryTimeStamp)
	return m, w.err
}

func (m *AssociationSetupRequest) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u32(IERecoveryTimeStamp, uint32(m.RecoveryTimeStamp))
	w.functionFeatures(m.UPFunctionFeatures, m.CPFunctionFeatures)
	w.ipResources(m.IPResources)
	w.retention(m.Retain)
}

// functionFeatures writes the feature IEs that are present.
func (w *writer) functionFeatures(up Opt[UPFunctionFeatures], cp Opt[uint8]) {
	if up.Present {
		w.flags(IEUPFunctionFeatures, uint64(up.Value), 2)
	}
	if cp.Present {
		w.u8(IECPFunctionFeatures, cp.Value)
	}
}

// parseAssociationSetupResponse wants of a refusal only the Cause: some peers leave the rest out.
func parseAssociationSetupResponse(b []byte) (Message, *Error) {
	m, w := &AssociationSetupResponse{}, walk(b, inAssociation)
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IECause:
			m.Cause = w.cause()
		case IERecoveryTimeStamp:
			m.RecoveryTimeStamp = RecoveryTimeStamp(w.u32())
		case IEUPFunctionFeatures:
			m.UPFunctionFeatures = Some(UPFunctionFeatures(w.flags(1)))
		case IECPFunctionFeatures:
			m.CPFunctionFeatures = Some(w.u8())
		case IEUserPlaneIPResourceInformation:
			*add(&w, &m.IPResources) = w.ipResource()
		case IEPFCPASRspFlags:
			m.Retained = w.u8()&asRspPSREI != 0
		}
	}
	w.require(IECause)
	if m.Cause == CauseAccepted {
		w.require(IENodeID, IERecoveryTimeStamp)
	}
	return m, w.err
}

func (m *AssociationSetupResponse) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IECause, uint8(m.Cause))
	w.u32(IERecoveryTimeStamp, uint32(m.RecoveryTimeStamp))
	w.functionFeatures(m.UPFunctionFeatures, m.CPFunctionFeatures)
	w.ipResources(m.IPResources)
	if m.Retained {
		w.u8(IEPFCPASRspFlags, asRspPSREI)
	}
}

// cause reads a Cause IE; 0 is never sent, TS 29.244 8.2.1.
func (w *walker) cause() Cause {
	c := Cause(w.u8())
	if c == 0 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "cause 0")
	}
	return c
}

func parseAssociationReleaseRequest(b []byte) (Message, *Error) {
	m, w := &AssociationReleaseRequest{}, walk(b, &once)
	for w.next() {
		if w.typ == IENodeID {
			m.NodeID = w.nodeID()
		}
	}
	w.require(IENodeID)
	return m, w.err
}

func (m *AssociationReleaseRequest) appendIEs(w *writer) { w.nodeID(m.NodeID) }

func parseAssociationReleaseResponse(b []byte) (Message, *Error) {
	m, w := &AssociationReleaseResponse{}, walk(b, &once)
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IECause:
			m.Cause = w.cause()
		}
	}
	w.require(IECause)
	return m, w.err
}

func (m *AssociationReleaseResponse) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IECause, uint8(m.Cause))
}

func (*VersionNotSupportedResponse) appendIEs(*writer) {}

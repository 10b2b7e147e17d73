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
	w := walk(b)
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

func parseAssociationSetupRequest(b []byte) (Message, *Error) {
	m, w := &AssociationSetupRequest{}, walk(b)
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
		}
	}
	w.require(IENodeID, IERecoveryTimeStamp)
	return m, w.err
}

func (m *AssociationSetupRequest) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u32(IERecoveryTimeStamp, uint32(m.RecoveryTimeStamp))
	w.functionFeatures(m.UPFunctionFeatures, m.CPFunctionFeatures)
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
	m, w := &AssociationSetupResponse{}, walk(b)
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
	m, w := &AssociationReleaseRequest{}, walk(b)
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
	m, w := &AssociationReleaseResponse{}, walk(b)
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

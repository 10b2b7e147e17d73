package pfcp

const seReqRESTI = 1 << 0 // PFCPSEReq-Flags, TS 29.244 8.2.136

// The IEs that may be repeated in an establishment.
var (
	inEstablishmentRequest = typesOf(IECreatePDR, IECreateFAR, IECreateURR, IECreateQER, IECreateBAR,
		IECreateTrafficEndpoint, IEFQCSID)
	inEstablishmentResponse = typesOf(IECreatedPDR, IECreatedTrafficEndpoint)
)

func (d *decoder) parseSessionEstablishmentRequest(b []byte) (Message, *Error) {
	m := d.establishment()
	w := d.walk(b, inEstablishmentRequest)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IEFSEID:
			m.FSEID = w.fseid()
		case IECreatePDR:
			w.within(parseCreatePDR(&w, add(&w, &m.CreatePDRs)))
		case IECreateFAR:
			w.within(parseCreateFAR(&w, add(&w, &m.CreateFARs)))
		case IECreateURR:
			w.within(parseCreateURR(&w, add(&w, &m.CreateURRs)))
		case IECreateQER:
			w.within(parseCreateQER(&w, add(&w, &m.CreateQERs)))
		case IECreateBAR:
			w.within(parseBAR(&w, add(&w, &m.CreateBARs)))
		case IECreateTrafficEndpoint:
			w.within(parseTrafficEndpoint(&w, add(&w, &m.CreateTrafficEndpoints)))
		case IEPDNType:
			m.PDNType = Some(w.u8() & 0x07)
		case IEPFCPSEReqFlags:
			m.Restoration = w.u8()&seReqRESTI != 0
		case IEUserPlaneInactivityTimer:
			m.InactivityTimer = Some(w.u32())
		case IEFQCSID:
			*add(&w, &m.FQCSIDs) = w.fqcsid()
		case IEUserID:
			m.UserID = Some(w.userID())
		case IEAPNDNN:
			m.APN = Some(w.name())
		case IESNSSAI:
			m.SNSSAI = Some(w.snssai())
		case IETraceInformation, IERecoveryTimeStamp: // nothing is traced; the time stamp is the association's
		default:
			w.ignore()
		}
	}
	w.require(IENodeID, IEFSEID, IECreatePDR, IECreateFAR)
	return m, w.err
}

func (m *SessionEstablishmentRequest) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.fseid(m.FSEID)
	for i := range m.CreatePDRs {
		w.createPDR(&m.CreatePDRs[i])
	}
	for i := range m.CreateFARs {
		w.createFAR(&m.CreateFARs[i])
	}
	for i := range m.CreateURRs {
		w.createURR(&m.CreateURRs[i])
	}
	for i := range m.CreateQERs {
		w.createQER(&m.CreateQERs[i])
	}
	for i := range m.CreateBARs {
		w.bar(IECreateBAR, &m.CreateBARs[i])
	}
	for i := range m.CreateTrafficEndpoints {
		w.trafficEndpoint(IECreateTrafficEndpoint, &m.CreateTrafficEndpoints[i])
	}
	opt8(w, IEPDNType, m.PDNType)
	w.fqcsids(m.FQCSIDs)
	opt32(w, IEUserPlaneInactivityTimer, m.InactivityTimer)
	if m.UserID.Present {
		w.userID(&m.UserID.Value)
	}
	w.apnDNN(m.APN)
	if m.Restoration {
		w.u8(IEPFCPSEReqFlags, seReqRESTI)
	}
	w.snssai(m.SNSSAI)
}

// parseSessionEstablishmentResponse wants of a refusal only the Cause: some peers leave the rest out.
func parseSessionEstablishmentResponse(b []byte) (Message, *Error) {
	m, w := &SessionEstablishmentResponse{}, walk(b, inEstablishmentResponse)
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IECause:
			m.Cause = w.cause()
		case IEOffendingIE:
			m.Offending = Some(w.u16())
		case IEFSEID:
			m.FSEID = Some(w.fseid())
		case IECreatedPDR:
			w.within(parseCreatedPDR(&w, add(&w, &m.CreatedPDRs)))
		case IEFailedRuleID:
			m.FailedRuleID = Some(w.failedRuleID())
		case IECreatedTrafficEndpoint:
			w.within(parseCreatedTrafficEndpoint(&w, add(&w, &m.CreatedTrafficEndpoints)))
		case IELoadControlInformation:
			m.Load = Some(w.loadControl())
		case IEOverloadControlInformation:
			m.Overload = Some(w.overloadControl())
		case IEFQCSID:
			m.FQCSID = Some(w.fqcsid())
		}
	}
	w.require(IECause)
	if m.Cause == CauseAccepted {
		w.require(IENodeID)
		w.requireIf(IEFSEID)
	}
	return m, w.err
}

// requireIf fails unless the conditional IE typ, whose condition holds, was there.
func (w *walker) requireIf(typ uint16) {
	if !w.seen.Has(typ) {
		w.fail(CauseConditionalIEMissing, typ, "")
	}
}

func (m *SessionEstablishmentResponse) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
	if m.FSEID.Present {
		w.fseid(m.FSEID.Value)
	}
	for i := range m.CreatedPDRs {
		w.createdPDR(&m.CreatedPDRs[i])
	}
	w.loadControl(m.Load)
	w.overloadControl(m.Overload)
	if m.FQCSID.Present {
		w.fqcsid(&m.FQCSID.Value)
	}
	w.failedRuleID(m.FailedRuleID)
	for i := range m.CreatedTrafficEndpoints {
		w.createdTrafficEndpoint(&m.CreatedTrafficEndpoints[i])
	}
}

func (w *writer) offending(typ Opt[uint16]) {
	if typ.Present {
		w.u16(IEOffendingIE, typ.Value)
	}
}

// failedRuleID reads a Failed Rule ID IE, TS 29.244 8.2.80; the size of the id follows from the kind of rule.
func (w *walker) failedRuleID() FailedRuleID {
	f := FailedRuleID{Kind: RuleKind(w.u8() & 0x1f)}
	switch f.Kind {
	case RulePDR:
		f.ID = uint32(w.u16())
	case RuleFAR, RuleQER, RuleURR:
		f.ID = w.u32()
	case RuleBAR:
		f.ID = uint32(w.u8())
	}
	return f
}

func (w *writer) failedRuleID(f Opt[FailedRuleID]) {
	if !f.Present {
		return
	}
	at := w.open(IEFailedRuleID)
	id := f.Value.ID
	w.b = append(w.b, uint8(f.Value.Kind))
	switch f.Value.Kind {
	case RulePDR:
		w.b = append(w.b, uint8(id>>8), uint8(id))
	case RuleFAR, RuleQER, RuleURR:
		w.b = append(w.b, uint8(id>>24), uint8(id>>16), uint8(id>>8), uint8(id))
	case RuleBAR:
		w.b = append(w.b, uint8(id))
	}
	w.close(at)
}

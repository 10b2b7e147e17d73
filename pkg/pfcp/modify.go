package pfcp

// PFCPSMReq-Flags, TS 29.244 8.2.31.
const (
	smReqDROBU = 1 << 0
	smReqSNDEM = 1 << 1 // in Update Forwarding Parameters
	smReqQAURR = 1 << 2
)

// The IEs that may be repeated in a modification.
var (
	inModificationRequest = typesOf(IERemovePDR, IERemoveFAR, IERemoveURR, IERemoveQER, IERemoveBAR,
		IERemoveTrafficEndpoint, IECreatePDR, IECreateFAR, IECreateURR, IECreateQER, IECreateBAR,
		IECreateTrafficEndpoint, IEUpdatePDR, IEUpdateFAR, IEUpdateURR, IEUpdateQER, IEUpdateBAR,
		IEUpdateTrafficEndpoint, IEQueryURR, IEFQCSID)
	inModificationResponse = typesOf(IECreatedPDR, IEUsageReportModification, IECreatedTrafficEndpoint)
)

func (d *decoder) parseSessionModificationRequest(b []byte) (Message, *Error) {
	m := d.modification()
	w := d.walk(b, inModificationRequest)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IEFSEID:
			m.FSEID = Some(w.fseid())
		case IERemovePDR, IERemoveFAR, IERemoveURR, IERemoveQER, IERemoveBAR, IERemoveTrafficEndpoint:
			m.parseRemove(&w)
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
		case IEUpdatePDR:
			w.within(parseUpdatePDR(&w, add(&w, &m.UpdatePDRs)))
		case IEUpdateFAR:
			w.within(parseUpdateFAR(&w, add(&w, &m.UpdateFARs)))
		case IEUpdateQER:
			w.within(parseUpdateQER(&w, add(&w, &m.UpdateQERs)))
		case IEUpdateURR:
			w.within(parseUpdateURR(&w, add(&w, &m.UpdateURRs)))
		case IEUpdateBAR:
			w.within(parseBAR(&w, add(&w, &m.UpdateBARs)))
		case IEUpdateTrafficEndpoint:
			w.within(parseTrafficEndpoint(&w, add(&w, &m.UpdateTrafficEndpoints)))
		case IEQueryURR:
			*add(&w, &m.QueryURRs) = URRID(w.ruleID(IEURRID, 4))
		case IEQueryURRReference:
			m.QueryReference = Some(w.u32())
		case IEPFCPSMReqFlags:
			flags := w.u8()
			m.QueryAll, m.DropBuffered = flags&smReqQAURR != 0, flags&smReqDROBU != 0
		case IEUserPlaneInactivityTimer:
			m.InactivityTimer = Some(w.u32())
		case IEFQCSID:
			*add(&w, &m.FQCSIDs) = w.fqcsid()
		case IETraceInformation, IESNSSAI: // nothing is traced; nothing depends on the slice
		default:
			w.ignore()
		}
	}
	return m, w.err
}

// parseRemove reads any of the Remove IEs.
func (m *SessionModificationRequest) parseRemove(w *walker) {
	switch w.typ {
	case IERemovePDR:
		id, err := parseRemovePDR(w)
		w.within(err)
		*add(w, &m.RemovePDRs) = id
	case IERemoveFAR:
		*add(w, &m.RemoveFARs) = FARID(w.ruleID(IEFARID, 4))
	case IERemoveURR:
		*add(w, &m.RemoveURRs) = URRID(w.ruleID(IEURRID, 4))
	case IERemoveQER:
		*add(w, &m.RemoveQERs) = QERID(w.ruleID(IEQERID, 4))
	case IERemoveBAR:
		*add(w, &m.RemoveBARs) = BARID(w.ruleID(IEBARID, 1))
	case IERemoveTrafficEndpoint:
		*add(w, &m.RemoveTrafficEndpoints) = TrafficEndpointID(w.ruleID(IETrafficEndpointID, 1))
	}
}

func (m *SessionModificationRequest) appendIEs(w *writer) {
	if m.FSEID.Present {
		w.fseid(m.FSEID.Value)
	}
	for _, id := range m.RemovePDRs {
		at := w.open(IERemovePDR)
		w.u16(IEPDRID, uint16(id))
		w.close(at)
	}
	appendIDs(w, IERemoveFAR, IEFARID, m.RemoveFARs)
	appendIDs(w, IERemoveURR, IEURRID, m.RemoveURRs)
	appendIDs(w, IERemoveQER, IEQERID, m.RemoveQERs)
	appendShortIDs(w, IERemoveBAR, IEBARID, m.RemoveBARs)
	appendShortIDs(w, IERemoveTrafficEndpoint, IETrafficEndpointID, m.RemoveTrafficEndpoints)
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
	m.appendUpdates(w)
	if m.QueryAll || m.DropBuffered {
		w.u8(IEPFCPSMReqFlags, flag(m.QueryAll, uint8(smReqQAURR))|flag(m.DropBuffered, uint8(smReqDROBU)))
	}
	appendIDs(w, IEQueryURR, IEURRID, m.QueryURRs)
	w.fqcsids(m.FQCSIDs)
	opt32(w, IEUserPlaneInactivityTimer, m.InactivityTimer)
	opt32(w, IEQueryURRReference, m.QueryReference)
}

// appendUpdates writes the Update IEs.
func (m *SessionModificationRequest) appendUpdates(w *writer) {
	for i := range m.UpdatePDRs {
		w.updatePDR(&m.UpdatePDRs[i])
	}
	for i := range m.UpdateFARs {
		w.updateFAR(&m.UpdateFARs[i])
	}
	for i := range m.UpdateURRs {
		w.updateURR(&m.UpdateURRs[i])
	}
	for i := range m.UpdateQERs {
		w.qer(IEUpdateQER, &m.UpdateQERs[i])
	}
	for i := range m.UpdateBARs {
		w.bar(IEUpdateBAR, &m.UpdateBARs[i])
	}
	for i := range m.UpdateTrafficEndpoints {
		w.trafficEndpoint(IEUpdateTrafficEndpoint, &m.UpdateTrafficEndpoints[i])
	}
}

// appendIDs writes a group of type group with one id of four octets in it for each of ids.
func appendIDs[T ~uint32](w *writer, group, typ uint16, ids []T) {
	for _, id := range ids {
		at := w.open(group)
		w.u32(typ, uint32(id))
		w.close(at)
	}
}

// appendShortIDs is appendIDs for ids of one octet.
func appendShortIDs[T ~uint8](w *writer, group, typ uint16, ids []T) {
	for _, id := range ids {
		at := w.open(group)
		w.u8(typ, uint8(id))
		w.close(at)
	}
}

func parseSessionModificationResponse(b []byte) (Message, *Error) {
	m, w := &SessionModificationResponse{}, walk(b, inModificationResponse)
	for w.next() {
		switch w.typ {
		case IECause:
			m.Cause = w.cause()
		case IEOffendingIE:
			m.Offending = Some(w.u16())
		case IECreatedPDR:
			w.within(parseCreatedPDR(&w, add(&w, &m.CreatedPDRs)))
		case IEFailedRuleID:
			m.FailedRuleID = Some(w.failedRuleID())
		case IEUsageReportModification:
			w.within(parseUsageReport(&w, add(&w, &m.UsageReports)))
		case IECreatedTrafficEndpoint:
			w.within(parseCreatedTrafficEndpoint(&w, add(&w, &m.CreatedTrafficEndpoints)))
		case IELoadControlInformation:
			m.Load = Some(w.loadControl())
		case IEOverloadControlInformation:
			m.Overload = Some(w.overloadControl())
		case IEAdditionalUsageReportsInformation:
			m.AdditionalReports = Some(w.additionalReports())
		}
	}
	w.require(IECause)
	return m, w.err
}

func (m *SessionModificationResponse) appendIEs(w *writer) {
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
	for i := range m.CreatedPDRs {
		w.createdPDR(&m.CreatedPDRs[i])
	}
	w.loadControl(m.Load)
	w.overloadControl(m.Overload)
	for i := range m.UsageReports {
		w.usageReport(IEUsageReportModification, &m.UsageReports[i])
	}
	w.failedRuleID(m.FailedRuleID)
	w.additionalReports(m.AdditionalReports)
	for i := range m.CreatedTrafficEndpoints {
		w.createdTrafficEndpoint(&m.CreatedTrafficEndpoints[i])
	}
}

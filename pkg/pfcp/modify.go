package pfcp

const smReqQAURR = 1 << 2 // PFCPSMReq-Flags, TS 29.244 8.2.31

func parseSessionModificationRequest(b []byte) (Message, *Error) {
	m, w := &SessionModificationRequest{}, walk(b, IERemovePDR, IERemoveFAR, IERemoveURR, IERemoveQER,
		IECreatePDR, IECreateFAR, IECreateURR, IECreateQER, IEUpdatePDR, IEUpdateFAR, IEUpdateQER, IEQueryURR)
	for w.next() {
		switch w.typ {
		case IEFSEID:
			m.FSEID = Some(w.fseid())
		case IERemovePDR:
			addID(&w, &m.RemovePDRs, parseRemovePDR)
		case IERemoveFAR:
			addID(&w, &m.RemoveFARs, parseFARID)
		case IERemoveURR:
			addID(&w, &m.RemoveURRs, parseURRID)
		case IERemoveQER:
			addID(&w, &m.RemoveQERs, parseQERID)
		case IECreatePDR:
			w.within(parseCreatePDR(w.value, add(&w, &m.CreatePDRs)))
		case IECreateFAR:
			w.within(parseCreateFAR(w.value, add(&w, &m.CreateFARs)))
		case IECreateURR:
			w.within(parseCreateURR(w.value, add(&w, &m.CreateURRs)))
		case IECreateQER:
			w.within(parseCreateQER(w.value, add(&w, &m.CreateQERs)))
		case IEUpdatePDR:
			w.within(parseUpdatePDR(w.value, add(&w, &m.UpdatePDRs)))
		case IEUpdateFAR:
			w.within(parseUpdateFAR(w.value, add(&w, &m.UpdateFARs)))
		case IEUpdateQER:
			w.within(parseUpdateQER(w.value, add(&w, &m.UpdateQERs)))
		case IEQueryURR:
			addID(&w, &m.QueryURRs, parseURRID)
		case IEPFCPSMReqFlags:
			m.QueryAll = w.u8()&smReqQAURR != 0
		}
	}
	return m, w.err
}

// addID appends the rule id that the present IE, a group, holds.
func addID[T any](w *walker, s *[]T, parse func([]byte) (T, *Error)) {
	id, err := parse(w.value)
	w.within(err)
	*add(w, s) = id
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
	for i := range m.UpdatePDRs {
		w.updatePDR(&m.UpdatePDRs[i])
	}
	for i := range m.UpdateFARs {
		w.updateFAR(&m.UpdateFARs[i])
	}
	for i := range m.UpdateQERs {
		w.qer(IEUpdateQER, &m.UpdateQERs[i])
	}
	if m.QueryAll {
		w.u8(IEPFCPSMReqFlags, smReqQAURR)
	}
	appendIDs(w, IEQueryURR, IEURRID, m.QueryURRs)
}

// appendIDs writes a group of type group with one id of four octets in it for each of ids.
func appendIDs[T ~uint32](w *writer, group, typ uint16, ids []T) {
	for _, id := range ids {
		at := w.open(group)
		w.u32(typ, uint32(id))
		w.close(at)
	}
}

func parseSessionModificationResponse(b []byte) (Message, *Error) {
	m, w := &SessionModificationResponse{}, walk(b, IECreatedPDR, IEUsageReportModification)
	for w.next() {
		switch w.typ {
		case IECause:
			m.Cause = w.cause()
		case IEOffendingIE:
			m.Offending = Some(w.u16())
		case IECreatedPDR:
			w.within(parseCreatedPDR(w.value, add(&w, &m.CreatedPDRs)))
		case IEFailedRuleID:
			m.FailedRuleID = Some(w.failedRuleID())
		case IEUsageReportModification:
			w.within(parseUsageReport(w.value, add(&w, &m.UsageReports)))
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
	w.failedRuleID(m.FailedRuleID)
	for i := range m.UsageReports {
		w.usageReport(IEUsageReportModification, &m.UsageReports[i])
	}
}

package pfcp

// parseSessionDeletionRequest wants whole IEs, and ignores what they are.
func parseSessionDeletionRequest(b []byte) (Message, *Error) {
	w := walk(b, &once)
	for w.next() {
		continue
	}
	return &SessionDeletionRequest{}, w.err
}

func (*SessionDeletionRequest) appendIEs(*writer) {}

// inDeletionResponse are the IEs that may be repeated in a Session Deletion Response.
var inDeletionResponse = typesOf(IEUsageReportDeletion)

func parseSessionDeletionResponse(b []byte) (Message, *Error) {
	m, w := &SessionDeletionResponse{}, walk(b, inDeletionResponse)
	for w.next() {
		switch w.typ {
		case IECause:
			m.Cause = w.cause()
		case IEOffendingIE:
			m.Offending = Some(w.u16())
		case IEUsageReportDeletion:
			w.within(parseUsageReport(&w, add(&w, &m.UsageReports)))
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

func (m *SessionDeletionResponse) appendIEs(w *writer) {
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
	w.loadControl(m.Load)
	w.overloadControl(m.Overload)
	for i := range m.UsageReports {
		w.usageReport(IEUsageReportDeletion, &m.UsageReports[i])
	}
	w.additionalReports(m.AdditionalReports)
}

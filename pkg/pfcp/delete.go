package pfcp

// parseSessionDeletionRequest wants whole IEs, and ignores what they are.
func parseSessionDeletionRequest(b []byte) (Message, *Error) {
	w := walk(b)
	for w.next() {
		continue
	}
	return &SessionDeletionRequest{}, w.err
}

func (*SessionDeletionRequest) appendIEs(*writer) {}

func parseSessionDeletionResponse(b []byte) (Message, *Error) {
	m, w := &SessionDeletionResponse{}, walk(b, IEUsageReportDeletion)
	for w.next() {
		switch w.typ {
		case IECause:
			m.Cause = w.cause()
		case IEOffendingIE:
			m.Offending = Some(w.u16())
		case IEUsageReportDeletion:
			w.within(parseUsageReport(w.value, add(&w, &m.UsageReports)))
		}
	}
	w.require(IECause)
	return m, w.err
}

func (m *SessionDeletionResponse) appendIEs(w *writer) {
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
	for i := range m.UsageReports {
		w.usageReport(IEUsageReportDeletion, &m.UsageReports[i])
	}
}

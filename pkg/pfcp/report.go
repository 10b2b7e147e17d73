package pfcp

// ReportType is the Report Type IE (type 39), TS 29.244 8.2.21.
type ReportType uint8

// Flags of ReportType.
const (
	ReportDownlinkData    ReportType = 1 << 0 // DLDR
	ReportUsage           ReportType = 1 << 1 // USAR
	ReportErrorIndication ReportType = 1 << 2 // ERIR
	ReportInactivity      ReportType = 1 << 3 // UPIR: no packet for as long as the User Plane Inactivity Timer
)

// Flags of the messages of a report.
const (
	srReqPSDBU = 1 << 0 // PFCPSRReq-Flags, TS 29.244 8.2.119
	srRspDROBU = 1 << 0 // PFCPSRRsp-Flags, 8.2.32
)

// Flags of the Downlink Data Service Information IE: octet 5, TS 29.244 8.2.27.
const (
	serviceInfoPPI  = 1 << 0
	serviceInfoQFII = 1 << 1
)

// DownlinkDataReport is the Downlink Data Report IE (type 83), TS 29.244 7.5.8.2: packets are waiting.
type DownlinkDataReport struct {
	PDRIDs []PDRID // that the packets matched
	// Of the packet that brought the report, from its Downlink Data Service Information; 6 bits each.
	PagingPolicy Opt[uint8] // PPI: the DSCP of the packet
	QFI          Opt[uint8]
}

func parseSessionReportRequest(b []byte) (Message, *Error) {
	m := &SessionReportRequest{}
	w := walk(b, inSessionReportRequest)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IEReportType:
			m.ReportType = ReportType(w.u8())
		case IEDownlinkDataReport:
			m.DownlinkData.Present = true
			w.within(parseDownlinkDataReport(&w, &m.DownlinkData.Value))
		case IEUsageReportReport:
			w.within(parseUsageReport(&w, add(&w, &m.UsageReports)))
		case IEErrorIndicationReport:
			w.within(parseErrorIndicationReport(&w, &m.ErrorIndications))
		case IELoadControlInformation:
			m.Load = Some(w.loadControl())
		case IEOverloadControlInformation:
			m.Overload = Some(w.overloadControl())
		case IEAdditionalUsageReportsInformation:
			m.AdditionalReports = Some(w.additionalReports())
		case IEPFCPSRReqFlags:
			m.SessionDeleted = w.u8()&srReqPSDBU != 0
		default:
			w.ignore()
		}
	}
	w.require(IEReportType)
	return m, w.err
}

var (
	inSessionReportRequest = typesOf(IEUsageReportReport)
	inDownlinkDataReport   = typesOf(IEPDRID)
	inErrorIndication      = typesOf(IEFTEID)
	inSessionReportAnswer  = typesOf(IEUpdateBARReport)
)

func (m *SessionReportRequest) appendIEs(w *writer) {
	w.u8(IEReportType, uint8(m.ReportType))
	if m.DownlinkData.Present {
		w.downlinkDataReport(&m.DownlinkData.Value)
	}
	for i := range m.UsageReports {
		w.usageReport(IEUsageReportReport, &m.UsageReports[i])
	}
	if len(m.ErrorIndications) > 0 {
		at := w.open(IEErrorIndicationReport)
		for _, remote := range m.ErrorIndications {
			w.fteid(remote)
		}
		w.close(at)
	}
	w.loadControl(m.Load)
	w.overloadControl(m.Overload)
	w.additionalReports(m.AdditionalReports)
	if m.SessionDeleted {
		w.u8(IEPFCPSRReqFlags, srReqPSDBU)
	}
}

// parseDownlinkDataReport reads a Downlink Data Report IE.
func parseDownlinkDataReport(in *walker, d *DownlinkDataReport) *Error {
	w := in.group(inDownlinkDataReport)
	for w.next() {
		switch w.typ {
		case IEPDRID:
			*add(&w, &d.PDRIDs) = PDRID(w.u16())
		case IEDownlinkDataServiceInformation:
			flags := w.u8()
			if flags&serviceInfoPPI != 0 {
				d.PagingPolicy = Some(w.u8() & 0x3f)
			}
			if flags&serviceInfoQFII != 0 {
				d.QFI = Some(w.u8() & 0x3f)
			}
		default:
			w.ignore()
		}
	}
	w.require(IEPDRID)
	return w.err
}

func (w *writer) downlinkDataReport(d *DownlinkDataReport) {
	at := w.open(IEDownlinkDataReport)
	for _, id := range d.PDRIDs {
		w.u16(IEPDRID, uint16(id))
	}
	if d.PagingPolicy.Present || d.QFI.Present {
		info := w.open(IEDownlinkDataServiceInformation)
		w.b = append(w.b, flag(d.PagingPolicy.Present, uint8(serviceInfoPPI))|flag(d.QFI.Present, uint8(serviceInfoQFII)))
		if d.PagingPolicy.Present {
			w.b = append(w.b, d.PagingPolicy.Value)
		}
		if d.QFI.Present {
			w.b = append(w.b, d.QFI.Value)
		}
		w.close(info)
	}
	w.close(at)
}

// parseErrorIndicationReport reads an Error Indication Report IE, TS 29.244 7.5.8.4: the remote F-TEIDs.
func parseErrorIndicationReport(in *walker, remote *[]FTEID) *Error {
	w := in.group(inErrorIndication)
	for w.next() {
		if w.typ == IEFTEID {
			*add(&w, remote) = w.fteid()
		} else {
			w.ignore()
		}
	}
	w.require(IEFTEID)
	return w.err
}

func parseSessionReportResponse(b []byte) (Message, *Error) {
	m := &SessionReportResponse{}
	w := walk(b, inSessionReportAnswer)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IECause:
			m.Cause = w.cause()
		case IEOffendingIE:
			m.Offending = Some(w.u16())
		case IEUpdateBARReport:
			w.within(parseReportBAR(&w, add(&w, &m.UpdateBARs)))
		case IEPFCPSRRspFlags:
			m.DropBuffered = w.u8()&srRspDROBU != 0
		case IEFSEID:
			m.FSEID = Some(w.fseid())
		default:
			w.ignore()
		}
	}
	w.require(IECause)
	return m, w.err
}

func (m *SessionReportResponse) appendIEs(w *writer) {
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
	for i := range m.UpdateBARs {
		w.reportBAR(&m.UpdateBARs[i])
	}
	if m.DropBuffered {
		w.u8(IEPFCPSRRspFlags, srRspDROBU)
	}
	if m.FSEID.Present {
		w.fseid(m.FSEID.Value)
	}
}

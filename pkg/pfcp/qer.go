package pfcp

// Gate Status, TS 29.244 8.2.7: two bits a direction, 0 open, 1 closed, the others for future use.
const (
	gateDownlink = 0
	gateUplink   = 2
	gateClosed   = 1
)

// parseCreateQER reads a Create QER IE.
func parseCreateQER(in *walker, q *CreateQER) *Error {
	w := in.group(&once)
	for w.next() {
		switch w.typ {
		case IEQERID:
			q.ID = QERID(w.u32())
		case IEQERCorrelationID:
			q.CorrelationID = Some(w.u32())
		case IEGateStatus:
			q.GateStatus = w.gateStatus()
		case IEMBR:
			q.MBR = Some(w.bitRate())
		case IEGBR:
			q.GBR = Some(w.bitRate())
		case IEQFI:
			q.QFI = Some(w.u8() & 0x3f)
		case IERQI, IEPagingPolicyIndicator, IEAveragingWindow, IEPacketRate:
			// Knowingly ignored: they concern the radio, and the signalling of constrained devices.
		default:
			w.ignore()
		}
	}
	w.require(IEQERID, IEGateStatus)
	return w.err
}

func (w *writer) createQER(q *CreateQER) {
	w.qer(IECreateQER, &UpdateQER{
		ID: q.ID, CorrelationID: q.CorrelationID, GateStatus: Some(q.GateStatus), MBR: q.MBR, GBR: q.GBR, QFI: q.QFI,
	})
}

// parseUpdateQER reads an Update QER IE.
func parseUpdateQER(in *walker, q *UpdateQER) *Error {
	w := in.group(&once)
	w.removed = &q.Removed
	for w.next() {
		switch w.typ {
		case IEQERID:
			q.ID = QERID(w.u32())
		case IEQERCorrelationID:
			q.CorrelationID = Some(w.u32())
		case IEGateStatus:
			q.GateStatus = Some(w.gateStatus())
		case IEMBR:
			q.MBR = Some(w.bitRate())
		case IEGBR:
			q.GBR = Some(w.bitRate())
		case IEQFI:
			q.QFI = Some(w.u8() & 0x3f)
		case IERQI, IEPagingPolicyIndicator, IEAveragingWindow, IEPacketRate:
			// As in a Create QER.
		default:
			w.ignore()
		}
	}
	w.require(IEQERID)
	return w.err
}

// qer writes a Create QER IE or an Update QER IE.
func (w *writer) qer(typ uint16, q *UpdateQER) {
	at := w.open(typ)
	w.u32(IEQERID, uint32(q.ID))
	w.removals(&q.Removed)
	if q.CorrelationID.Present {
		w.u32(IEQERCorrelationID, q.CorrelationID.Value)
	}
	if q.GateStatus.Present {
		w.gateStatus(q.GateStatus.Value)
	}
	if q.MBR.Present {
		w.bitRate(IEMBR, q.MBR.Value)
	}
	if q.GBR.Present {
		w.bitRate(IEGBR, q.GBR.Value)
	}
	if q.QFI.Present {
		w.u8(IEQFI, q.QFI.Value)
	}
	w.close(at)
}

// gateStatus reads a Gate Status IE.
func (w *walker) gateStatus() GateStatus {
	v := w.u8()
	uplink, downlink := v>>gateUplink&3, v>>gateDownlink&3
	if uplink > gateClosed || downlink > gateClosed {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "gate is neither open nor closed")
	}
	return GateStatus{UplinkClosed: uplink == gateClosed, DownlinkClosed: downlink == gateClosed}
}

func (w *writer) gateStatus(g GateStatus) {
	var v uint8
	if g.UplinkClosed {
		v |= gateClosed << gateUplink
	}
	if g.DownlinkClosed {
		v |= gateClosed << gateDownlink
	}
	w.u8(IEGateStatus, v)
}

// bitRate reads an MBR or a GBR IE: uplink first.
func (w *walker) bitRate() BitRate {
	uplink := w.u40()
	return BitRate{Uplink: uplink, Downlink: w.u40()}
}

func (w *writer) bitRate(typ uint16, r BitRate) {
	at := w.open(typ)
	w.u40(r.Uplink)
	w.u40(r.Downlink)
	w.close(at)
}

package pfcp

// BAR is how downlink packets are buffered: the Create BAR IE (type 85), TS 29.244 7.5.2.6, and the Update BAR IE of
// a modification (type 86), 7.5.4.11, in which absent means unchanged.
type BAR struct {
	ID                    BARID
	NotificationDelay     Opt[uint8] // of downlink data, in 50 ms, TS 29.244 8.2.28
	SuggestedPacketsCount Opt[uint8] // to buffer; the UP function may keep fewer, TS 29.244 8.2.100
	Removed               IETypes    // what is no more: IEs that came with no length in an update, TS 29.244 5.6.3
}

// ReportBAR is the Update BAR IE of a Session Report Response (type 12), TS 29.244 7.5.9.2. Absent means unchanged.
type ReportBAR struct {
	ID                    BARID
	NotificationDelay     Opt[uint8]  // in 50 ms
	BufferingDuration     Opt[Timer]  // for which no more notification is sent, TS 29.244 8.2.29
	BufferingPacketCount  Opt[uint16] // for that time, TS 29.244 8.2.30
	SuggestedPacketsCount Opt[uint8]
}

// parseBAR reads a Create BAR IE, or an Update BAR IE of a modification.
func parseBAR(in *walker, b *BAR) *Error {
	w := in.group(&once)
	if in.typ == IEUpdateBAR {
		w.removed = &b.Removed
	}
	for w.next() {
		switch w.typ {
		case IEBARID:
			b.ID = BARID(w.u8())
		case IEDownlinkDataNotificationDelay:
			b.NotificationDelay = Some(w.u8())
		case IESuggestedBufferingPacketsCount:
			b.SuggestedPacketsCount = Some(w.u8())
		default:
			w.ignore()
		}
	}
	w.require(IEBARID)
	return w.err
}

// bar writes a Create BAR IE, or an Update BAR IE of a modification.
func (w *writer) bar(typ uint16, b *BAR) {
	at := w.open(typ)
	w.u8(IEBARID, uint8(b.ID))
	w.removals(&b.Removed)
	opt8(w, IEDownlinkDataNotificationDelay, b.NotificationDelay)
	opt8(w, IESuggestedBufferingPacketsCount, b.SuggestedPacketsCount)
	w.close(at)
}

// parseReportBAR reads an Update BAR IE of a Session Report Response.
func parseReportBAR(in *walker, b *ReportBAR) *Error {
	w := in.group(&once)
	for w.next() {
		switch w.typ {
		case IEBARID:
			b.ID = BARID(w.u8())
		case IEDownlinkDataNotificationDelay:
			b.NotificationDelay = Some(w.u8())
		case IEDLBufferingDuration:
			b.BufferingDuration = Some(Timer(w.u8()))
		case IEDLBufferingSuggestedPacketCount:
			if len(w.value) == 1 {
				b.BufferingPacketCount = Some(uint16(w.u8()))
			} else {
				b.BufferingPacketCount = Some(w.u16())
			}
		case IESuggestedBufferingPacketsCount:
			b.SuggestedPacketsCount = Some(w.u8())
		default:
			w.ignore()
		}
	}
	w.require(IEBARID)
	return w.err
}

func (w *writer) reportBAR(b *ReportBAR) {
	at := w.open(IEUpdateBARReport)
	w.u8(IEBARID, uint8(b.ID))
	opt8(w, IEDownlinkDataNotificationDelay, b.NotificationDelay)
	opt8(w, IEDLBufferingDuration, b.BufferingDuration)
	if n := b.BufferingPacketCount; n.Present && n.Value < 1<<8 {
		w.u8(IEDLBufferingSuggestedPacketCount, uint8(n.Value))
	} else if n.Present {
		w.u16(IEDLBufferingSuggestedPacketCount, n.Value)
	}
	opt8(w, IESuggestedBufferingPacketsCount, b.SuggestedPacketsCount)
	w.close(at)
}

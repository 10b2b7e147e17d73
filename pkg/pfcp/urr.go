package pfcp

import "encoding/binary"

// volumeAll is octet 5 of a Volume Measurement IE with all six counts, TS 29.244 8.2.44: TOVOL, ULVOL, DLVOL,
// TONOP, ULNOP, DLNOP.
const volumeAll = 0x3f

// parseCreateURR reads a Create URR IE.
func parseCreateURR(b []byte, u *CreateURR) *Error {
	w := walk(b)
	for w.next() {
		switch w.typ {
		case IEURRID:
			u.ID = URRID(w.u32())
		case IEMeasurementMethod:
			u.MeasurementMethod = MeasurementMethod(w.u8())
		case IEReportingTriggers:
			u.ReportingTriggers = ReportingTriggers(w.flags(2) & 0xffffff)
		}
	}
	w.require(IEURRID, IEMeasurementMethod, IEReportingTriggers)
	return w.err
}

func (w *writer) createURR(u *CreateURR) {
	at := w.open(IECreateURR)
	w.u32(IEURRID, uint32(u.ID))
	w.u8(IEMeasurementMethod, uint8(u.MeasurementMethod))
	w.flags(IEReportingTriggers, uint64(u.ReportingTriggers), 3)
	w.close(at)
}

// parseURRID reads the group of a Remove URR IE or a Query URR IE.
func parseURRID(b []byte) (id URRID, _ *Error) {
	w := walk(b)
	for w.next() {
		if w.typ == IEURRID {
			id = URRID(w.u32())
		}
	}
	w.require(IEURRID)
	return id, w.err
}

// parseUsageReport reads a Usage Report IE.
func parseUsageReport(b []byte, u *UsageReport) *Error {
	w := walk(b)
	for w.next() {
		switch w.typ {
		case IEURRID:
			u.URRID = URRID(w.u32())
		case IEURSEQN:
			u.Sequence = w.u32()
		case IEUsageReportTrigger:
			u.Trigger = uint32(w.flags(2) & 0xffffff)
		case IEVolumeMeasurement:
			u.Volume = Some(w.volumeMeasurement())
		case IEDurationMeasurement:
			u.Duration = Some(w.u32())
		}
	}
	w.require(IEURRID, IEURSEQN, IEUsageReportTrigger)
	return w.err
}

func (w *writer) usageReport(typ uint16, u *UsageReport) {
	at := w.open(typ)
	w.u32(IEURRID, uint32(u.URRID))
	w.u32(IEURSEQN, u.Sequence)
	w.flags(IEUsageReportTrigger, uint64(u.Trigger), 3)
	if u.Volume.Present {
		w.volumeMeasurement(&u.Volume.Value)
	}
	if u.Duration.Present {
		w.u32(IEDurationMeasurement, u.Duration.Value)
	}
	w.close(at)
}

// volumeMeasurement reads a Volume Measurement IE; what is absent is 0.
func (w *walker) volumeMeasurement() VolumeMeasurement {
	var v VolumeMeasurement
	flags := w.u8()
	for i, field := range v.fields() {
		if flags&(1<<i) != 0 {
			*field = w.u64()
		}
	}
	return v
}

// volumeMeasurement writes all six counts.
func (w *writer) volumeMeasurement(v *VolumeMeasurement) {
	at := w.open(IEVolumeMeasurement)
	w.b = append(w.b, volumeAll)
	for _, field := range v.fields() {
		w.b = binary.BigEndian.AppendUint64(w.b, *field)
	}
	w.close(at)
}

// fields returns the counts in the order of their flags, which is that on the wire.
func (v *VolumeMeasurement) fields() [6]*uint64 {
	return [6]*uint64{
		&v.TotalOctets, &v.UplinkOctets, &v.DownlinkOctets, &v.TotalPackets, &v.UplinkPackets, &v.DownlinkPackets,
	}
}

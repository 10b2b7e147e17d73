package pfcp

import "encoding/binary"

// MeasurementMethod is the Measurement Method IE (type 62), TS 29.244 8.2.40.
type MeasurementMethod uint8

// Flags of MeasurementMethod.
const (
	MeasureDuration MeasurementMethod = 1 << 0 // DURAT
	MeasureVolume   MeasurementMethod = 1 << 1 // VOLUM
	MeasureEvent    MeasurementMethod = 1 << 2 // EVENT
)

// ReportingTriggers is the Reporting Triggers IE (type 37), TS 29.244 8.2.19; octet 5 is the low octet.
type ReportingTriggers uint32

// Flags of ReportingTriggers.
const (
	ReportPeriodic         ReportingTriggers = 1 << 0  // PERIO
	ReportVolumeThreshold  ReportingTriggers = 1 << 1  // VOLTH
	ReportTimeThreshold    ReportingTriggers = 1 << 2  // TIMTH
	ReportQuotaHoldingTime ReportingTriggers = 1 << 3  // QUHTI
	ReportStartOfTraffic   ReportingTriggers = 1 << 4  // START
	ReportStopOfTraffic    ReportingTriggers = 1 << 5  // STOPT
	ReportDroppedDownlink  ReportingTriggers = 1 << 6  // DROTH
	ReportLinkedUsage      ReportingTriggers = 1 << 7  // LIUSA
	ReportVolumeQuota      ReportingTriggers = 1 << 8  // VOLQU
	ReportTimeQuota        ReportingTriggers = 1 << 9  // TIMQU
	ReportEnvelopeClosure  ReportingTriggers = 1 << 10 // ENVCL
	ReportMACAddresses     ReportingTriggers = 1 << 11 // MACAR
	ReportEventThreshold   ReportingTriggers = 1 << 12 // EVETH
	ReportEventQuota       ReportingTriggers = 1 << 13 // EVEQU
	ReportIPMulticast      ReportingTriggers = 1 << 14 // IPMJL
	ReportQuotaValidity    ReportingTriggers = 1 << 15 // QUVTI
)

// MeasurementInformation is the Measurement Information IE (type 100), TS 29.244 8.2.68.
type MeasurementInformation uint8

// Flags of MeasurementInformation.
const (
	MeasureBeforeQoS         MeasurementInformation = 1 << 0 // MBQE: before QoS enforcement
	MeasurementInactive      MeasurementInformation = 1 << 1 // INAM: the measurement is paused
	ReduceApplicationReports MeasurementInformation = 1 << 2 // RADI: without the addresses of the flows
	StartTimeImmediately     MeasurementInformation = 1 << 3 // ISTM: time counts from now, not from the first packet
	MeasurePackets           MeasurementInformation = 1 << 4 // MNOP: packets are counted too
)

// Volume is a Volume Threshold or Volume Quota IE, TS 29.244 8.2.13 and 8.2.50, and what is subsequent to them: in
// octets. What is absent is not limited; the IE is absent when all are.
type Volume struct {
	Total, Uplink, Downlink Opt[uint64]
}

// DroppedTraffic is the Dropped DL Traffic Threshold IE (type 72), TS 29.244 8.2.49. The IE is absent when both are.
type DroppedTraffic struct {
	Packets, Octets Opt[uint64]
}

// URRParameters are what a URR measures up to and reports on, TS 29.244 7.5.2.4 and 7.5.4.4. Times are in seconds.
type URRParameters struct {
	MeasurementPeriod         Opt[uint32]    // 8.2.42
	VolumeThreshold           Volume         // 8.2.13
	VolumeQuota               Volume         // 8.2.50
	TimeThreshold             Opt[uint32]    // 8.2.15
	TimeQuota                 Opt[uint32]    // 8.2.51
	EventThreshold            Opt[uint32]    // events, 8.2.113
	EventQuota                Opt[uint32]    // events, 8.2.112
	QuotaHoldingTime          Opt[uint32]    // 8.2.48
	QuotaValidityTime         Opt[uint32]    // 8.2.132
	DroppedDownlinkThreshold  DroppedTraffic // 8.2.49
	InactivityDetectionTime   Opt[uint32]    // 8.2.18
	MonitoringTime            Opt[TimeStamp] // 8.2.14: from then on the subsequent ones count
	SubsequentVolumeThreshold Volume         // 8.2.16
	SubsequentVolumeQuota     Volume         // 8.2.86
	SubsequentTimeThreshold   Opt[uint32]    // 8.2.17
	SubsequentTimeQuota       Opt[uint32]    // 8.2.87
	SubsequentEventThreshold  Opt[uint32]    // 8.2.107
	SubsequentEventQuota      Opt[uint32]    // 8.2.106
	LinkedURRIDs              []URRID        // 8.2.55: a report of theirs brings one of this URR
	MeasurementInformation    Opt[MeasurementInformation]
	QuotaAction               Opt[FARID]  // FAR ID for Quota Action, used when a quota is exhausted
	NumberOfReports           Opt[uint16] // 8.2.133: then the URR is done
}

// CreateURR is the Create URR IE (type 6), TS 29.244 7.5.2.4.
type CreateURR struct {
	ID                URRID
	MeasurementMethod MeasurementMethod
	ReportingTriggers ReportingTriggers
	URRParameters
}

// UpdateURR is the Update URR IE (type 13), TS 29.244 7.5.4.4. Absent means unchanged.
type UpdateURR struct {
	ID                URRID
	MeasurementMethod Opt[MeasurementMethod]
	ReportingTriggers Opt[ReportingTriggers]
	URRParameters
	Removed IETypes // what is no more: IEs that came with no length, TS 29.244 5.6.3
}

// inURR are the IEs that may be repeated in a URR.
var inURR = typesOf(IELinkedURRID)

// parseCreateURR reads a Create URR IE.
func parseCreateURR(in *walker, u *CreateURR) *Error {
	w := in.group(inURR)
	for w.next() {
		switch w.typ {
		case IEURRID:
			u.ID = URRID(w.u32())
		case IEMeasurementMethod:
			u.MeasurementMethod = MeasurementMethod(w.u8())
		case IEReportingTriggers:
			u.ReportingTriggers = w.reportingTriggers()
		default:
			w.urrParameter(&u.URRParameters)
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
	w.urrParameters(&u.URRParameters)
	w.close(at)
}

// parseUpdateURR reads an Update URR IE.
func parseUpdateURR(in *walker, u *UpdateURR) *Error {
	w := in.group(inURR)
	w.removed = &u.Removed
	for w.next() {
		switch w.typ {
		case IEURRID:
			u.ID = URRID(w.u32())
		case IEMeasurementMethod:
			u.MeasurementMethod = Some(MeasurementMethod(w.u8()))
		case IEReportingTriggers:
			u.ReportingTriggers = Some(w.reportingTriggers())
		default:
			w.urrParameter(&u.URRParameters)
		}
	}
	w.require(IEURRID)
	return w.err
}

func (w *writer) updateURR(u *UpdateURR) {
	at := w.open(IEUpdateURR)
	w.u32(IEURRID, uint32(u.ID))
	w.removals(&u.Removed)
	opt8(w, IEMeasurementMethod, u.MeasurementMethod)
	if u.ReportingTriggers.Present {
		w.flags(IEReportingTriggers, uint64(u.ReportingTriggers.Value), 3)
	}
	w.urrParameters(&u.URRParameters)
	w.close(at)
}

func (w *walker) reportingTriggers() ReportingTriggers {
	return ReportingTriggers(w.flags(2) & 0xffffff)
}

// urrParameter reads one IE of p.
func (w *walker) urrParameter(p *URRParameters) {
	if seconds := p.number(w.typ); seconds != nil {
		*seconds = Some(w.u32())
		return
	}
	switch w.typ {
	case IEVolumeThreshold:
		p.VolumeThreshold = w.volume()
	case IEVolumeQuota:
		p.VolumeQuota = w.volume()
	case IESubsequentVolumeThreshold:
		p.SubsequentVolumeThreshold = w.volume()
	case IESubsequentVolumeQuota:
		p.SubsequentVolumeQuota = w.volume()
	case IEDroppedDLTrafficThreshold:
		p.DroppedDownlinkThreshold = w.droppedTraffic()
	case IEMonitoringTime:
		p.MonitoringTime = Some(TimeStamp(w.u32()))
	case IELinkedURRID:
		*add(w, &p.LinkedURRIDs) = URRID(w.u32())
	case IEMeasurementInformation:
		p.MeasurementInformation = Some(MeasurementInformation(w.u8()))
	case IEFARID:
		p.QuotaAction = Some(FARID(w.u32()))
	case IENumberOfReports:
		p.NumberOfReports = Some(w.u16())
	default:
		w.ignore()
	}
}

// number returns the field of an IE that is one number of four octets; nil for the others.
func (p *URRParameters) number(typ uint16) *Opt[uint32] {
	switch typ {
	case IEMeasurementPeriod:
		return &p.MeasurementPeriod
	case IETimeThreshold:
		return &p.TimeThreshold
	case IETimeQuota:
		return &p.TimeQuota
	case IEEventThreshold:
		return &p.EventThreshold
	case IEEventQuota:
		return &p.EventQuota
	case IEQuotaHoldingTime:
		return &p.QuotaHoldingTime
	case IEQuotaValidityTime:
		return &p.QuotaValidityTime
	case IEInactivityDetectionTime:
		return &p.InactivityDetectionTime
	case IESubsequentTimeThreshold:
		return &p.SubsequentTimeThreshold
	case IESubsequentTimeQuota:
		return &p.SubsequentTimeQuota
	case IESubsequentEventThreshold:
		return &p.SubsequentEventThreshold
	case IESubsequentEventQuota:
		return &p.SubsequentEventQuota
	}
	return nil
}

// Remove takes away the parameter that is said by IEs of that type, TS 29.244 5.6.3.
func (p *URRParameters) Remove(typ uint16) {
	if seconds := p.number(typ); seconds != nil {
		*seconds = Opt[uint32]{}
		return
	}
	switch typ {
	case IEVolumeThreshold:
		p.VolumeThreshold = Volume{}
	case IEVolumeQuota:
		p.VolumeQuota = Volume{}
	case IESubsequentVolumeThreshold:
		p.SubsequentVolumeThreshold = Volume{}
	case IESubsequentVolumeQuota:
		p.SubsequentVolumeQuota = Volume{}
	case IEDroppedDLTrafficThreshold:
		p.DroppedDownlinkThreshold = DroppedTraffic{}
	case IEMonitoringTime:
		p.MonitoringTime = Opt[TimeStamp]{}
	case IELinkedURRID:
		p.LinkedURRIDs = nil
	case IEMeasurementInformation:
		p.MeasurementInformation = Opt[MeasurementInformation]{}
	case IEFARID:
		p.QuotaAction = Opt[FARID]{}
	case IENumberOfReports:
		p.NumberOfReports = Opt[uint16]{}
	}
}

// urrParameters writes what is present of p.
func (w *writer) urrParameters(p *URRParameters) {
	opt32(w, IEMeasurementPeriod, p.MeasurementPeriod)
	w.volume(IEVolumeThreshold, &p.VolumeThreshold)
	w.volume(IEVolumeQuota, &p.VolumeQuota)
	opt32(w, IETimeThreshold, p.TimeThreshold)
	opt32(w, IETimeQuota, p.TimeQuota)
	opt32(w, IEEventThreshold, p.EventThreshold)
	opt32(w, IEEventQuota, p.EventQuota)
	opt32(w, IEQuotaHoldingTime, p.QuotaHoldingTime)
	opt32(w, IEQuotaValidityTime, p.QuotaValidityTime)
	w.droppedTraffic(&p.DroppedDownlinkThreshold)
	opt32(w, IEInactivityDetectionTime, p.InactivityDetectionTime)
	opt32(w, IEMonitoringTime, p.MonitoringTime)
	w.volume(IESubsequentVolumeThreshold, &p.SubsequentVolumeThreshold)
	w.volume(IESubsequentVolumeQuota, &p.SubsequentVolumeQuota)
	opt32(w, IESubsequentTimeThreshold, p.SubsequentTimeThreshold)
	opt32(w, IESubsequentTimeQuota, p.SubsequentTimeQuota)
	opt32(w, IESubsequentEventThreshold, p.SubsequentEventThreshold)
	opt32(w, IESubsequentEventQuota, p.SubsequentEventQuota)
	for _, id := range p.LinkedURRIDs {
		w.u32(IELinkedURRID, uint32(id))
	}
	opt8(w, IEMeasurementInformation, p.MeasurementInformation)
	opt32(w, IEFARID, p.QuotaAction)
	if p.NumberOfReports.Present {
		w.u16(IENumberOfReports, p.NumberOfReports.Value)
	}
}

// volume reads a threshold or a quota: TOVOL, ULVOL, DLVOL, TS 29.244 8.2.13.
func (w *walker) volume() Volume {
	flags := w.u8()
	return Volume{Total: w.optU64(flags, 1<<0), Uplink: w.optU64(flags, 1<<1), Downlink: w.optU64(flags, 1<<2)}
}

func (w *writer) volume(typ uint16, v *Volume) {
	if !v.Total.Present && !v.Uplink.Present && !v.Downlink.Present {
		return
	}
	at := w.open(typ)
	w.b = append(w.b,
		flag(v.Total.Present, uint8(1<<0))|flag(v.Uplink.Present, uint8(1<<1))|flag(v.Downlink.Present, uint8(1<<2)))
	w.optU64(v.Total)
	w.optU64(v.Uplink)
	w.optU64(v.Downlink)
	w.close(at)
}

// droppedTraffic reads a Dropped DL Traffic Threshold IE: DLPA, DLBY.
func (w *walker) droppedTraffic() DroppedTraffic {
	flags := w.u8()
	return DroppedTraffic{Packets: w.optU64(flags, 1<<0), Octets: w.optU64(flags, 1<<1)}
}

func (w *writer) droppedTraffic(d *DroppedTraffic) {
	if !d.Packets.Present && !d.Octets.Present {
		return
	}
	at := w.open(IEDroppedDLTrafficThreshold)
	w.b = append(w.b, flag(d.Packets.Present, uint8(1<<0))|flag(d.Octets.Present, uint8(1<<1)))
	w.optU64(d.Packets)
	w.optU64(d.Octets)
	w.close(at)
}

// optU64 reads eight octets if the bit that announces them is set.
func (w *walker) optU64(flags, bit uint8) (v Opt[uint64]) {
	if flags&bit != 0 {
		v = Some(w.u64())
	}
	return v
}

// optU64 appends eight octets, without an IE header, if they are present.
func (w *writer) optU64(v Opt[uint64]) {
	if v.Present {
		w.b = binary.BigEndian.AppendUint64(w.b, v.Value)
	}
}

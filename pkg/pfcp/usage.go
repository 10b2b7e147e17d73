package pfcp

import "encoding/binary"

// Flags of UsageReport.Trigger, the Usage Report Trigger IE (type 63), TS 29.244 8.2.41; octet 5 is the low octet.
const (
	TriggerPeriodic         uint32 = 1 << 0  // PERIO
	TriggerVolumeThreshold  uint32 = 1 << 1  // VOLTH
	TriggerTimeThreshold    uint32 = 1 << 2  // TIMTH
	TriggerQuotaHoldingTime uint32 = 1 << 3  // QUHTI
	TriggerStartOfTraffic   uint32 = 1 << 4  // START
	TriggerStopOfTraffic    uint32 = 1 << 5  // STOPT
	TriggerDroppedDownlink  uint32 = 1 << 6  // DROTH
	TriggerImmediate        uint32 = 1 << 7  // IMMER: the report answers a query
	TriggerVolumeQuota      uint32 = 1 << 8  // VOLQU
	TriggerTimeQuota        uint32 = 1 << 9  // TIMQU
	TriggerLinkedUsage      uint32 = 1 << 10 // LIUSA
	TriggerTermination      uint32 = 1 << 11 // TERMR: the URR, or its session, is removed
	TriggerMonitoringTime   uint32 = 1 << 12 // MONIT
	TriggerEnvelopeClosure  uint32 = 1 << 13 // ENVCL
	TriggerMACAddresses     uint32 = 1 << 14 // MACAR
	TriggerEventThreshold   uint32 = 1 << 15 // EVETH
	TriggerEventQuota       uint32 = 1 << 16 // EVEQU
	TriggerByUserPlane      uint32 = 1 << 17 // TEBUR: the UP function terminates the session
	TriggerIPMulticast      uint32 = 1 << 18 // IPMJL
	TriggerQuotaValidity    uint32 = 1 << 19 // QUVTI
)

// UsageInformation is the Usage Information IE (type 90), TS 29.244 8.2.59.
type UsageInformation uint8

// Flags of UsageInformation.
const (
	UsageBeforeMonitoringTime UsageInformation = 1 << 0 // BEF
	UsageAfterMonitoringTime  UsageInformation = 1 << 1 // AFT
	UsageAfterQoS             UsageInformation = 1 << 2 // UAE: measured after QoS enforcement
	UsageBeforeQoS            UsageInformation = 1 << 3 // UBE
)

// VolumeMeasurement is the Volume Measurement IE (type 66), TS 29.244 8.2.44: octets and packets counted.
type VolumeMeasurement struct {
	TotalOctets, UplinkOctets, DownlinkOctets    uint64
	TotalPackets, UplinkPackets, DownlinkPackets uint64

	// OctetsOnly: the packet counts are not there. They stand in reports only when the URR asks for them
	// (MeasurePackets).
	OctetsOnly bool
}

// Octet 5 of a Volume Measurement IE, TS 29.244 8.2.44: TOVOL, ULVOL, DLVOL and TONOP, ULNOP, DLNOP.
const (
	volumeOctets  = 0x07
	volumePackets = 0x38
)

// UsageReport is the Usage Report IE of a deletion (type 79), a modification (78) and a report (80),
// TS 29.244 7.5.5.2, 7.5.7.2 and 7.5.8.3.
type UsageReport struct {
	URRID             URRID
	Sequence          uint32 // UR-SEQN, 8.2.71: from 0, one more with every report of this URR
	Trigger           uint32 // Usage Report Trigger, 8.2.41; octet 5 is the low octet
	Volume            Opt[VolumeMeasurement]
	Duration          Opt[uint32]    // seconds, 8.2.45
	StartTime         Opt[TimeStamp] // of the measurement, 8.2.52
	EndTime           Opt[TimeStamp]
	TimeOfFirstPacket Opt[TimeStamp]
	TimeOfLastPacket  Opt[TimeStamp]
	UEIPAddress       Opt[UEIPAddress]     // only when start of traffic of an unknown UE is reported
	NetworkInstance   Opt[NetworkInstance] // of that UE
	UsageInformation  Opt[UsageInformation]
	QueryReference    Opt[uint32] // of the query that the report answers, 8.2.90
	EventTimeStamps   []TimeStamp // 8.2.114
	Application       string      // of the Application Detection Information, 7.5.8.3; "": none
}

// inUsageReport are the IEs that may be repeated in a usage report.
var inUsageReport = typesOf(IEEventTimeStamp)

// parseUsageReport reads a Usage Report IE.
func parseUsageReport(in *walker, u *UsageReport) *Error {
	w := in.group(inUsageReport)
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
		case IEStartTime:
			u.StartTime = Some(TimeStamp(w.u32()))
		case IEEndTime:
			u.EndTime = Some(TimeStamp(w.u32()))
		case IETimeOfFirstPacket:
			u.TimeOfFirstPacket = Some(TimeStamp(w.u32()))
		case IETimeOfLastPacket:
			u.TimeOfLastPacket = Some(TimeStamp(w.u32()))
		case IEUEIPAddress:
			u.UEIPAddress = Some(w.ueIPAddress())
		case IENetworkInstance:
			u.NetworkInstance = Some(NetworkInstance(w.name()))
		case IEUsageInformation:
			u.UsageInformation = Some(UsageInformation(w.u8()))
		case IEQueryURRReference:
			u.QueryReference = Some(w.u32())
		case IEApplicationDetectionInformation:
			u.Application = w.applicationDetected()
		case IEEventTimeStamp:
			*add(&w, &u.EventTimeStamps) = TimeStamp(w.u32())
		default:
			w.ignore()
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
	opt32(w, IEStartTime, u.StartTime)
	opt32(w, IEEndTime, u.EndTime)
	if u.Volume.Present {
		w.volumeMeasurement(&u.Volume.Value)
	}
	opt32(w, IEDurationMeasurement, u.Duration)
	if u.UEIPAddress.Present {
		w.ueIPAddress(u.UEIPAddress.Value)
	}
	if u.NetworkInstance.Present {
		w.networkInstance(u.NetworkInstance.Value)
	}
	opt32(w, IETimeOfFirstPacket, u.TimeOfFirstPacket)
	opt32(w, IETimeOfLastPacket, u.TimeOfLastPacket)
	opt8(w, IEUsageInformation, u.UsageInformation)
	opt32(w, IEQueryURRReference, u.QueryReference)
	for _, t := range u.EventTimeStamps {
		w.u32(IEEventTimeStamp, uint32(t))
	}
	if u.Application != "" {
		group := w.open(IEApplicationDetectionInformation)
		w.text(IEApplicationID, u.Application)
		w.close(group)
	}
	w.close(at)
}

// applicationDetected reads an Application Detection Information IE (type 68), of which it keeps the application.
func (w *walker) applicationDetected() (id string) {
	in := w.group(&once)
	for in.next() {
		if in.typ == IEApplicationID {
			id = in.text(len(in.value))
		} else {
			in.ignore()
		}
	}
	in.require(IEApplicationID)
	w.within(in.err)
	return id
}

// volumeMeasurement reads a Volume Measurement IE; what is absent is 0.
func (w *walker) volumeMeasurement() VolumeMeasurement {
	flags := w.u8()
	v := VolumeMeasurement{OctetsOnly: flags&volumePackets == 0}
	for i, field := range v.fields() {
		if flags&(1<<i) != 0 {
			*field = w.u64()
		}
	}
	return v
}

// volumeMeasurement writes all six counts, or the three of octets.
func (w *writer) volumeMeasurement(v *VolumeMeasurement) {
	at := w.open(IEVolumeMeasurement)
	fields := v.fields()
	counts, flags := fields[:], uint8(volumeOctets|volumePackets)
	if v.OctetsOnly {
		counts, flags = fields[:3], volumeOctets
	}
	w.b = append(w.b, flags)
	for _, field := range counts {
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

package session

import (
	"github.com/xepc/xepc/pkg/pfcp"
)

// What a record says of URRs and of what is under way. Of the parameters of a URR each that is there stands behind
// its number, since most URRs have few of them.

func (w *encoder) time(t Time) { w.uint(uint64(t)) }

func (w *encoder) volume(v *Volume) {
	for _, n := range v.numbers() {
		w.uint(*n)
	}
}

func (w *encoder) measured(m *Measured) {
	w.volume(&m.Volume)
	w.time(m.Ran)
	w.uint(uint64(m.Events))
}

func (v *Volume) numbers() [4]*uint64 {
	return [4]*uint64{&v.UplinkOctets, &v.DownlinkOctets, &v.UplinkPackets, &v.DownlinkPackets}
}

// times are the times of a URR, in the order in which they stand in a record.
func (u *URR) times() [9]*Time {
	return [9]*Time{&u.Split, &u.Start, &u.First, &u.LastPacket, &u.Seen, &u.Running, &u.Period, &u.Valid, &u.Held}
}

func (u *URR) flags() [3]*bool { return [3]*bool{&u.Active, &u.Exhausted, &u.Done} }

func (w *encoder) urr(u *URR) {
	w.uint(uint64(u.ID))
	w.uint(uint64(u.Method))
	w.uint(uint64(u.Triggers))
	w.parameters(&u.Parameters)
	w.uint(uint64(u.Reports))
	w.uint(uint64(u.Owed))
	w.uint(uint64(u.Base))
	w.measured(&u.Now)
	w.measured(&u.Before)
	w.measured(&u.Spent)
	w.volume(&u.Entries)
	w.bool(u.Celled)
	if u.Celled {
		w.volume(&u.Counted)
	}
	w.bool(u.Drops)
	if u.Drops {
		w.volume(&u.Dropped)
	}
	w.uint(uint64(len(u.Frozen)))
	for i := range u.Frozen {
		w.key(&u.Frozen[i])
	}
	for _, t := range u.times() {
		w.time(*t)
	}
	for _, f := range u.flags() {
		w.bool(*f)
	}
	w.uint(uint64(len(u.Stamps)))
	for _, t := range u.Stamps {
		w.time(t)
	}
}

func (w *encoder) key(k *Key) {
	w.uint(uint64(k.Direction))
	w.addr(k.Local)
	w.uint(uint64(k.TEID))
	w.string(string(k.Instance))
	w.prefix(k.UE)
}

func (r *decoder) key() Key {
	return Key{
		Direction: Direction(r.u32()), Local: r.addr(), TEID: pfcp.TEID(r.u32()), Instance: pfcp.NetworkInstance(r.string()),
		UE: r.prefix(),
	}
}

func (r *decoder) time() Time { return Time(r.uint()) }

func (r *decoder) volume(v *Volume) {
	for _, n := range v.numbers() {
		*n = r.uint()
	}
}

func (r *decoder) measured(m *Measured) {
	r.volume(&m.Volume)
	m.Ran, m.Events = r.time(), r.u32()
}

func (r *decoder) urr() URR {
	u := URR{
		ID: pfcp.URRID(r.u32()), Method: pfcp.MeasurementMethod(r.u32()), Triggers: pfcp.ReportingTriggers(r.u32()),
		Parameters: r.parameters(), Reports: r.u32(), Owed: r.u32(), Base: r.u32(),
	}
	r.measured(&u.Now)
	r.measured(&u.Before)
	r.measured(&u.Spent)
	r.volume(&u.Entries)
	if u.Celled = r.bool(); u.Celled {
		r.volume(&u.Counted)
	}
	if u.Drops = r.bool(); u.Drops {
		r.volume(&u.Dropped)
	}
	u.Frozen = list(r, r.key)
	for _, t := range u.times() {
		*t = r.time()
	}
	for _, f := range u.flags() {
		*f = r.bool()
	}
	u.Stamps = list(r, r.time)
	return u
}

// volumes and numbers are the parameters of a kind; their place here is their number in a record.
func volumes(p *pfcp.URRParameters) [4]*pfcp.Volume {
	return [4]*pfcp.Volume{
		&p.VolumeThreshold, &p.VolumeQuota, &p.SubsequentVolumeThreshold, &p.SubsequentVolumeQuota,
	}
}

func limits(v *pfcp.Volume) [3]*pfcp.Opt[uint64] {
	return [3]*pfcp.Opt[uint64]{&v.Total, &v.Uplink, &v.Downlink}
}

func (w *encoder) parameters(p *pfcp.URRParameters) {
	number := uint64(1)
	one := func(present bool, value uint64) {
		if present {
			w.uint(number)
			w.uint(value)
		}
		number++
	}
	for _, n := range numbers(p) {
		one(n.Present, uint64(n.Value))
	}
	for _, v := range volumes(p) {
		for _, l := range limits(v) {
			one(l.Present, l.Value)
		}
	}
	one(p.DroppedDownlinkThreshold.Packets.Present, p.DroppedDownlinkThreshold.Packets.Value)
	one(p.DroppedDownlinkThreshold.Octets.Present, p.DroppedDownlinkThreshold.Octets.Value)
	one(p.MonitoringTime.Present, uint64(p.MonitoringTime.Value))
	one(p.MeasurementInformation.Present, uint64(p.MeasurementInformation.Value))
	one(p.QuotaAction.Present, uint64(p.QuotaAction.Value))
	one(p.NumberOfReports.Present, uint64(p.NumberOfReports.Value))
	w.uint(0)
	w.uint(uint64(len(p.LinkedURRIDs)))
	for _, id := range p.LinkedURRIDs {
		w.uint(uint64(id))
	}
}

func (r *decoder) parameters() (p pfcp.URRParameters) {
	at := r.uint()
	number := uint64(1)
	one := func(take func(uint64)) {
		if at == number {
			take(r.uint())
			at = r.uint()
		}
		number++
	}
	for _, n := range numbers(&p) {
		one(func(v uint64) { *n = pfcp.Some(uint32(v)) })
	}
	for _, v := range volumes(&p) {
		for _, l := range limits(v) {
			one(func(v uint64) { *l = pfcp.Some(v) })
		}
	}
	one(func(v uint64) { p.DroppedDownlinkThreshold.Packets = pfcp.Some(v) })
	one(func(v uint64) { p.DroppedDownlinkThreshold.Octets = pfcp.Some(v) })
	one(func(v uint64) { p.MonitoringTime = pfcp.Some(pfcp.TimeStamp(v)) })
	one(func(v uint64) { p.MeasurementInformation = pfcp.Some(pfcp.MeasurementInformation(v)) })
	one(func(v uint64) { p.QuotaAction = pfcp.Some(pfcp.FARID(v)) })
	one(func(v uint64) { p.NumberOfReports = pfcp.Some(uint16(v)) })
	r.bad = r.bad || at != 0
	p.LinkedURRIDs = list(r, func() pfcp.URRID { return pfcp.URRID(r.u32()) })
	return p
}

// state writes what is under way in a session.
func (w *encoder) state(s *Session) {
	w.uint(uint64(len(s.FQCSIDs)))
	for _, f := range s.FQCSIDs {
		w.addr(f.Addr)
		w.uint(uint64(f.MCCMNC))
		w.uint(uint64(len(f.CSIDs)))
		for _, id := range f.CSIDs {
			w.uint(uint64(id))
		}
		encodeOpt(w, f.NodeType, func(v uint8) { w.uint(uint64(v)) })
	}
	w.uint(uint64(s.InactivityTimer))
	w.time(s.LastPacket)
	w.uint(s.Packets)
	w.bool(s.Inactive)
	w.uint(uint64(len(s.Watches)))
	for _, octets := range s.Watches {
		w.uint(octets)
	}
	w.bool(s.Rest)
	w.uint(uint64(len(s.Unconfirmed)))
	for i := range s.Unconfirmed {
		w.usageReport(&s.Unconfirmed[i])
	}
	w.uint(uint64(len(s.Leaving)))
	for i := range s.Leaving {
		w.uint(uint64(s.Leaving[i].URRID))
		w.volume(&s.Leaving[i].Counted)
	}
}

func (r *decoder) state(s *Session) {
	s.FQCSIDs = list(r, func() pfcp.FQCSID {
		return pfcp.FQCSID{
			Addr: r.addr(), MCCMNC: r.u32(), CSIDs: list(r, func() uint16 { return uint16(r.u32()) }),
			NodeType: decodeOpt(r, func() uint8 { return uint8(r.u32()) }),
		}
	})
	s.InactivityTimer, s.LastPacket, s.Packets, s.Inactive = r.u32(), r.time(), r.uint(), r.bool()
	s.Watches, s.Rest = list(r, r.uint), r.bool()
	s.Unconfirmed = list(r, r.usageReport)
	s.Leaving = list(r, func() (l Leaving) {
		l.URRID = pfcp.URRID(r.u32())
		r.volume(&l.Counted)
		return l
	})
}

// stamps are the times of a report that are written alike.
func stamps(u *pfcp.UsageReport) [4]*pfcp.Opt[pfcp.TimeStamp] {
	return [4]*pfcp.Opt[pfcp.TimeStamp]{&u.StartTime, &u.EndTime, &u.TimeOfFirstPacket, &u.TimeOfLastPacket}
}

func counts(v *pfcp.VolumeMeasurement) [6]*uint64 {
	return [6]*uint64{
		&v.TotalOctets, &v.UplinkOctets, &v.DownlinkOctets, &v.TotalPackets, &v.UplinkPackets, &v.DownlinkPackets,
	}
}

// usageReport writes those fields that reports made here have.
func (w *encoder) usageReport(u *pfcp.UsageReport) {
	w.uint(uint64(u.URRID))
	w.uint(uint64(u.Sequence))
	w.uint(uint64(u.Trigger))
	encodeOpt(w, u.Volume, func(v pfcp.VolumeMeasurement) {
		for _, n := range counts(&v) {
			w.uint(*n)
		}
		w.bool(v.OctetsOnly)
	})
	encodeOpt(w, u.Duration, func(v uint32) { w.uint(uint64(v)) })
	for _, t := range stamps(u) {
		encodeOpt(w, *t, func(v pfcp.TimeStamp) { w.uint(uint64(v)) })
	}
	encodeOpt(w, u.UsageInformation, func(v pfcp.UsageInformation) { w.uint(uint64(v)) })
	encodeOpt(w, u.QueryReference, func(v uint32) { w.uint(uint64(v)) })
	w.uint(uint64(len(u.EventTimeStamps)))
	for _, t := range u.EventTimeStamps {
		w.uint(uint64(t))
	}
	w.string(u.Application)
}

func (r *decoder) usageReport() pfcp.UsageReport {
	u := pfcp.UsageReport{URRID: pfcp.URRID(r.u32()), Sequence: r.u32(), Trigger: r.u32()}
	u.Volume = decodeOpt(r, func() (v pfcp.VolumeMeasurement) {
		for _, n := range counts(&v) {
			*n = r.uint()
		}
		v.OctetsOnly = r.bool()
		return v
	})
	u.Duration = decodeOpt(r, r.u32)
	stamp := func() pfcp.TimeStamp { return pfcp.TimeStamp(r.u32()) }
	for _, t := range stamps(&u) {
		*t = decodeOpt(r, stamp)
	}
	u.UsageInformation = decodeOpt(r, func() pfcp.UsageInformation { return pfcp.UsageInformation(r.u32()) })
	u.QueryReference = decodeOpt(r, r.u32)
	u.EventTimeStamps = list(r, stamp)
	u.Application = r.string()
	return u
}

package session

import (
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// URR is a usage reporting rule, TS 29.244 5.2.2, with what it has measured. Traffic is seen when the session is
// settled: a packet's time is that of the settlement after it.
type URR struct {
	ID         pfcp.URRID
	Method     pfcp.MeasurementMethod
	Triggers   pfcp.ReportingTriggers
	Parameters pfcp.URRParameters
	Reports    uint32 // made so far: the next UR-SEQN, 8.2.71

	Now    Measured // since the last report, or since the monitoring time
	Before Measured // since the last report, until the monitoring time
	Split  Time     // when that was; 0: nothing stands in Before
	Spent  Measured // of the quotas, in reports that are made; less what is in Before, if that is for none of them

	Start      Time // of the measurement
	First      Time // packet of the measurement; 0: none
	LastPacket Time // ever
	Seen       Time // likewise, dropped ones that it starts and stops with, too
	Running    Time // up to when time is measured; 0: it is not
	Active     bool // traffic has started, and not stopped
	Period     Time // when the next periodic report is due; 0: none
	Valid      Time // until when the quotas are; 0: no end
	Held       Time // since when the quota is held without a packet
	Exhausted  bool // a quota is spent: packets are not forwarded
	Done       bool // has made all the reports it was to make

	Stamps []Time // of events, until they are reported
	Owed   uint32 // triggers that came while reports waited for their confirmation
	Base   uint32 // Reports when Number of Reports was given

	// What it counts in, and what that had when the session was settled last: see counting.go.
	Entries Volume // of the entries that count for it, and of those in Frozen
	Frozen  []Key  // that counted for it, and now have its cell do it
	Celled  bool   // it has a cell
	Counted Volume // of the cell
	Drops   bool   // it has a cell for what FARs drop
	Dropped Volume // of that
}

// servedTriggers are the Reporting Triggers, TS 29.244 8.2.19, that bring reports here.
const servedTriggers = pfcp.ReportPeriodic | pfcp.ReportVolumeThreshold | pfcp.ReportTimeThreshold | pfcp.ReportQuotaHoldingTime |
	pfcp.ReportStartOfTraffic | pfcp.ReportStopOfTraffic | pfcp.ReportLinkedUsage | pfcp.ReportVolumeQuota | pfcp.ReportTimeQuota |
	pfcp.ReportEventThreshold | pfcp.ReportEventQuota | pfcp.ReportQuotaValidity

// maxStamps bounds the event time stamps of one report.
const maxStamps = 16

// check refuses what a URR asks for and would not get.
func (u *URR) check() error {
	fault := func(ie uint16, format string, args ...any) error {
		return refuse(pfcp.RuleURR, uint32(u.ID), ie, format, args...)
	}
	const measured = pfcp.MeasureVolume | pfcp.MeasureDuration | pfcp.MeasureEvent
	p := &u.Parameters
	switch {
	case u.Method&^measured != 0:
		return fault(pfcp.IEMeasurementMethod, "measurement method %#x is not served", uint8(u.Method))
	case u.Triggers&^servedTriggers != 0:
		return fault(pfcp.IEReportingTriggers, "reporting triggers %#x are not served", uint32(u.Triggers))
	case u.Triggers&pfcp.ReportPeriodic != 0 && p.MeasurementPeriod.Value == 0:
		return missing(u.ID, pfcp.IEMeasurementPeriod)
	case u.Triggers&pfcp.ReportVolumeThreshold != 0 && p.VolumeThreshold == (pfcp.Volume{}):
		return missing(u.ID, pfcp.IEVolumeThreshold)
	case u.Triggers&pfcp.ReportTimeThreshold != 0 && p.TimeThreshold.Value == 0:
		return missing(u.ID, pfcp.IETimeThreshold)
	case u.Triggers&pfcp.ReportStopOfTraffic != 0 && p.InactivityDetectionTime.Value == 0:
		return missing(u.ID, pfcp.IEInactivityDetectionTime)
	}
	return nil
}

func missing(id pfcp.URRID, ie uint16) error {
	return &pfcp.Error{
		Cause: pfcp.CauseConditionalIEMissing, Offending: ie,
		FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RuleURR, ID: uint32(id)}),
	}
}

func makeURR(c *pfcp.CreateURR, now Time) URR {
	u := URR{
		ID: c.ID, Method: c.MeasurementMethod, Triggers: c.ReportingTriggers, Parameters: c.URRParameters,
		Start: now, Held: now,
	}
	u.noThresholds()
	u.schedule(&c.URRParameters, now)
	u.Owed |= u.quotas(Measured{}, now)
	if u.informed(pfcp.StartTimeImmediately) && u.Method&pfcp.MeasureDuration != 0 {
		u.Running = now
	}
	return u
}

func (u *URR) informed(flag pfcp.MeasurementInformation) bool {
	return u.Parameters.MeasurementInformation.Value&flag != 0
}

// schedule sets what new parameters set off.
func (u *URR) schedule(p *pfcp.URRParameters, now Time) {
	if p.MeasurementPeriod.Present {
		u.Period = 0
		if p.MeasurementPeriod.Value > 0 {
			u.Period = now.add(p.MeasurementPeriod.Value)
		}
	}
	if p.QuotaValidityTime.Present {
		u.Valid = 0
		if p.QuotaValidityTime.Value > 0 { // 0 ends what was set before
			u.Valid = now.add(p.QuotaValidityTime.Value)
		}
	}
	if p.QuotaHoldingTime.Present || grants(p) {
		u.Held = now
	}
}

// noThresholds takes away those of 0 octets: reached by nothing, they would be reported all the time.
func (u *URR) noThresholds() {
	for _, v := range []*pfcp.Volume{&u.Parameters.VolumeThreshold, &u.Parameters.SubsequentVolumeThreshold} {
		for _, of := range []*pfcp.Opt[uint64]{&v.Total, &v.Uplink, &v.Downlink} {
			if of.Value == 0 {
				*of = pfcp.Opt[uint64]{}
			}
		}
	}
}

// grants says whether p brings a quota.
func grants(p *pfcp.URRParameters) bool {
	return p.VolumeQuota != (pfcp.Volume{}) || p.TimeQuota.Present || p.EventQuota.Present
}

// renew has the quotas that p brings count anew, all but what is in except; one that it does not bring goes on as it is.
func (u *URR) renew(p *pfcp.URRParameters, except Measured) {
	u.Exhausted = false
	if p.VolumeQuota != (pfcp.Volume{}) {
		u.Spent.Volume, _ = Volume{}.minus(except.Volume)
	}
	if p.TimeQuota.Present {
		u.Spent.Ran = -except.Ran
	}
	if p.EventQuota.Present {
		u.Spent.Events = -except.Events
	}
}

// set takes an Update URR: absent means unchanged, and of no length that there is none any more, TS 29.244 5.6.3. A new
// quota is one for what was not reported yet and what comes, and replaces the one before, TS 29.244 5.2.2.2.
func (u *URR) set(with *pfcp.UpdateURR, now Time) {
	u.remove(&with.Removed)
	if with.MeasurementMethod.Present {
		u.Method = with.MeasurementMethod.Value
	}
	if with.ReportingTriggers.Present {
		u.Triggers = with.ReportingTriggers.Value
	}
	u.Parameters = merge(u.Parameters, &with.URRParameters)
	u.noThresholds()
	if with.NumberOfReports.Present {
		u.Done, u.Base = false, u.Reports
	}
	if grants(&with.URRParameters) {
		u.renew(&with.URRParameters, Measured{})
		if !with.QuotaValidityTime.Present {
			u.Valid = 0
		}
	}
	u.schedule(&with.URRParameters, now)
	u.Owed |= u.quotas(u.Now.plus(u.Before).plus(u.Spent), now)
	if u.Method&pfcp.MeasureDuration == 0 {
		u.Running = 0
	}
}

// remove takes parameters away. What a quota that is gone has stopped goes on, unless another is spent as well.
func (u *URR) remove(types *pfcp.IETypes) {
	if types.Has(pfcp.IEReportingTriggers) {
		u.Triggers = 0
	}
	for typ := range types.All() {
		u.Parameters.Remove(typ)
		switch typ {
		case pfcp.IEMeasurementPeriod:
			u.Period = 0
		case pfcp.IEQuotaValidityTime:
			u.Valid, u.Exhausted = 0, false
		case pfcp.IENumberOfReports:
			u.Done = false
		case pfcp.IEVolumeQuota, pfcp.IETimeQuota, pfcp.IEEventQuota, pfcp.IEQuotaHoldingTime:
			u.Exhausted = false
		}
	}
}

// merge replaces those parameters that with brings.
func merge(p pfcp.URRParameters, with *pfcp.URRParameters) pfcp.URRParameters {
	none := pfcp.Volume{}
	for _, v := range []struct{ to, from *pfcp.Volume }{
		{&p.VolumeThreshold, &with.VolumeThreshold},
		{&p.VolumeQuota, &with.VolumeQuota},
		{&p.SubsequentVolumeThreshold, &with.SubsequentVolumeThreshold},
		{&p.SubsequentVolumeQuota, &with.SubsequentVolumeQuota},
	} {
		if *v.from != none {
			*v.to = *v.from
		}
	}
	if with.DroppedDownlinkThreshold != (pfcp.DroppedTraffic{}) {
		p.DroppedDownlinkThreshold = with.DroppedDownlinkThreshold
	}
	for i, to := range numbers(&p) {
		if from := *numbers(with)[i]; from.Present {
			*to = from
		}
	}
	if with.MonitoringTime.Present {
		p.MonitoringTime = with.MonitoringTime
	}
	if len(with.LinkedURRIDs) > 0 {
		p.LinkedURRIDs = with.LinkedURRIDs
	}
	if with.MeasurementInformation.Present {
		p.MeasurementInformation = with.MeasurementInformation
	}
	if with.QuotaAction.Present {
		p.QuotaAction = with.QuotaAction
	}
	if with.NumberOfReports.Present {
		p.NumberOfReports = with.NumberOfReports
	}
	return p
}

// numbers are the parameters that are one number.
func numbers(p *pfcp.URRParameters) [12]*pfcp.Opt[uint32] {
	return [12]*pfcp.Opt[uint32]{
		&p.MeasurementPeriod, &p.TimeThreshold, &p.TimeQuota, &p.EventThreshold, &p.EventQuota, &p.QuotaHoldingTime,
		&p.QuotaValidityTime, &p.InactivityDetectionTime, &p.SubsequentTimeThreshold, &p.SubsequentTimeQuota,
		&p.SubsequentEventThreshold, &p.SubsequentEventQuota,
	}
}

// turnBack is for a clock that was set back: what has been is not later than now, and what is to come not later than it would
// be if it began now.
func (u *URR) turnBack(now Time) {
	for _, t := range [...]*Time{&u.Split, &u.Start, &u.First, &u.LastPacket, &u.Seen, &u.Running, &u.Held} {
		*t = min(*t, now)
	}
	u.Period = min(u.Period, now.add(u.Parameters.MeasurementPeriod.Value))
	u.Valid = min(u.Valid, now.add(u.Parameters.QuotaValidityTime.Value))
}

// advance takes what was counted since the last time, and the time itself. When the monitoring time has come since, which
// is looked at as it comes, what was counted is from before it. dropped: FARs have dropped packets, which are traffic but
// no usage.
func (u *URR) advance(moved Volume, dropped bool, now Time) {
	splits := u.split(now)
	u.count(moved, dropped, splits, now)
	if splits {
		u.subsequent()
	}
}

func (u *URR) count(moved Volume, dropped, splits bool, now Time) {
	packets := moved.UplinkPackets+moved.DownlinkPackets > 0
	if u.informed(pfcp.MeasurementInactive) {
		if u.Running != 0 {
			u.Running = now
		}
		return
	}
	if u.Method&pfcp.MeasureDuration != 0 {
		u.run(packets, now)
	}
	if !packets && !dropped {
		return
	}
	to := &u.Now
	if splits {
		to = &u.Before
	}
	u.Seen = now
	if packets {
		to.Volume = to.Volume.plus(moved)
		u.LastPacket, u.Held = now, now
		if u.First == 0 {
			u.First = now
		}
	}
	if !u.Active && u.Method&pfcp.MeasureEvent != 0 {
		to.Events++
		if len(u.Stamps) < maxStamps {
			u.Stamps = append(u.Stamps[:len(u.Stamps):len(u.Stamps)], now)
		}
	}
}

// run measures time: from the first packet on, and with an Inactivity Detection Time only until that long after the
// last one, TS 29.244 8.2.18.
func (u *URR) run(packets bool, now Time) {
	if u.Running != 0 {
		end := now
		if idle := u.Parameters.InactivityDetectionTime; idle.Value > 0 && u.LastPacket != 0 && !packets {
			end = min(end, u.LastPacket.add(idle.Value))
		}
		u.Now.Ran += max(end-u.Running, 0)
		if u.Running = end; end < now {
			u.Running = 0
		}
	}
	if u.Running == 0 && packets {
		u.Running = now
	}
}

// split puts what was measured until the monitoring time aside, when it comes.
func (u *URR) split(now Time) (splits bool) {
	at := u.monitoring()
	if at == 0 || now < at {
		return false
	}
	if u.Running != 0 {
		u.Now.Ran += max(at-u.Running, 0)
		u.Running = max(at, u.Running)
	}
	u.Before, u.Now, u.Split = u.Before.plus(u.Now), Measured{}, at
	u.Parameters.MonitoringTime = pfcp.Opt[pfcp.TimeStamp]{}
	return true
}

// subsequent puts the subsequent limits in force, each in the place of its own: what came before counts in none of them.
func (u *URR) subsequent() {
	p := &u.Parameters
	next := pfcp.URRParameters{
		VolumeThreshold: p.SubsequentVolumeThreshold, TimeThreshold: p.SubsequentTimeThreshold, EventThreshold: p.SubsequentEventThreshold,
		VolumeQuota: p.SubsequentVolumeQuota, TimeQuota: p.SubsequentTimeQuota, EventQuota: p.SubsequentEventQuota,
	}
	*p = merge(*p, &next)
	if grants(&next) {
		u.renew(&next, u.Before)
	}
}

// monitoring is when the monitoring time is; 0: there is none.
func (u *URR) monitoring() Time {
	if !u.Parameters.MonitoringTime.Present {
		return 0
	}
	return At(u.Parameters.MonitoringTime.Value.Time())
}

// due says which reports are due, by the triggers of TS 29.244 8.2.41, and spends quotas.
func (u *URR) due(now Time) (trigger uint32) {
	if u.Done {
		return 0
	}
	p, unreported := &u.Parameters, u.Now.plus(u.Before)
	limited := u.limited(unreported)
	want := func(t pfcp.ReportingTriggers, flag uint32, reached bool) {
		if reached && u.Triggers&t != 0 {
			trigger |= flag
		}
	}
	reaches := func(l pfcp.Opt[uint32], v Time) bool { return l.Present && v >= Time(l.Value)*Time(time.Second) }
	want(pfcp.ReportVolumeThreshold, pfcp.TriggerVolumeThreshold, limited.Volume.reaches(p.VolumeThreshold))
	want(pfcp.ReportTimeThreshold, pfcp.TriggerTimeThreshold, reaches(p.TimeThreshold, limited.Ran))
	want(pfcp.ReportEventThreshold, pfcp.TriggerEventThreshold, p.EventThreshold.Value > 0 && limited.Events >= p.EventThreshold.Value)
	if u.Period != 0 && now >= u.Period {
		want(pfcp.ReportPeriodic, pfcp.TriggerPeriodic, true)
		for step := Time(p.MeasurementPeriod.Value) * Time(time.Second); u.Period <= now; {
			u.Period += (now-u.Period)/step*step + step
		}
	}
	trigger |= u.traffic(now)
	return trigger | u.quotas(unreported.plus(u.Spent), now)
}

// limited is what counts against the thresholds: after the monitoring time, against subsequent ones, only what came
// since.
func (u *URR) limited(unreported Measured) Measured {
	p := &u.Parameters
	if p.SubsequentVolumeThreshold == (pfcp.Volume{}) && !p.SubsequentTimeThreshold.Present && !p.SubsequentEventThreshold.Present {
		return unreported
	}
	return u.Now
}

// traffic finds its start and its stop, which an Inactivity Detection Time without packets is.
func (u *URR) traffic(now Time) (trigger uint32) {
	idle := u.Parameters.InactivityDetectionTime.Value
	fresh := u.Seen != 0 && (idle == 0 || now < u.Seen.add(idle))
	switch {
	case !u.Active && fresh:
		u.Active = true
		if u.Triggers&pfcp.ReportStartOfTraffic != 0 {
			trigger = pfcp.TriggerStartOfTraffic
		}
	case u.Active && !fresh:
		u.Active = false
		if u.Triggers&pfcp.ReportStopOfTraffic != 0 {
			trigger = pfcp.TriggerStopOfTraffic
		}
	}
	return trigger
}

// quotas finds those that are spent, have run out of their validity, or were held too long without a packet: then
// the URR's packets are not forwarded until another quota comes, TS 29.244 5.2.2.2.
func (u *URR) quotas(spent Measured, now Time) (trigger uint32) {
	p := &u.Parameters
	if u.Exhausted || !grants(p) {
		return 0
	}
	end := func(t pfcp.ReportingTriggers, flag uint32, ended bool) {
		if !ended {
			return
		}
		u.Exhausted = true
		if u.Triggers&t != 0 {
			trigger |= flag
		}
	}
	end(pfcp.ReportVolumeQuota, pfcp.TriggerVolumeQuota, spent.Volume.reaches(u.volumeQuota()))
	end(pfcp.ReportTimeQuota, pfcp.TriggerTimeQuota,
		p.TimeQuota.Present && spent.Ran >= Time(p.TimeQuota.Value)*Time(time.Second))
	end(pfcp.ReportEventQuota, pfcp.TriggerEventQuota, p.EventQuota.Present && spent.Events >= p.EventQuota.Value)
	end(pfcp.ReportQuotaValidity, pfcp.TriggerQuotaValidity, u.Valid != 0 && now >= u.Valid)
	end(pfcp.ReportQuotaHoldingTime, pfcp.TriggerQuotaHoldingTime,
		p.QuotaHoldingTime.Value > 0 && now >= u.Held.add(p.QuotaHoldingTime.Value))
	if u.Exhausted && u.Running != 0 {
		u.Running = 0
	}
	return trigger
}

// volumeQuota is the volume quota in force. One of nothing lets one packet pass where the start of traffic is to be told:
// that packet is the start, TS 29.244 5.4.11.
func (u *URR) volumeQuota() pfcp.Volume {
	q := u.Parameters.VolumeQuota
	if u.Triggers&pfcp.ReportStartOfTraffic == 0 || u.Active {
		return q
	}
	for _, of := range []*pfcp.Opt[uint64]{&q.Total, &q.Uplink, &q.Downlink} {
		if of.Present && of.Value == 0 {
			of.Value = 1
		}
	}
	return q
}

// ripe says whether something is due already: a limit came that was reached before.
func (u *URR) ripe(now Time) bool {
	if u.Triggers == 0 && !grants(&u.Parameters) {
		return false
	}
	then := *u
	return then.due(now)|then.Owed != 0 || then.Exhausted != u.Exhausted
}

// report appends the URR's report, two when the monitoring time came since the last, and starts a new measurement.
func (u *URR) report(all []pfcp.UsageReport, trigger uint32, now Time) []pfcp.UsageReport {
	trigger, u.Owed = trigger|u.Owed, 0
	if u.Split != 0 {
		r := u.usage(u.Before, trigger|pfcp.TriggerMonitoringTime, u.Start, u.Split)
		r.UsageInformation = pfcp.Some(pfcp.UsageBeforeMonitoringTime)
		all = append(all, r)
		u.Start = u.Split
	}
	r := u.usage(u.Now, trigger, u.Start, now)
	if u.Split != 0 {
		r.UsageInformation = pfcp.Some(pfcp.UsageAfterMonitoringTime)
	}
	for _, t := range u.Stamps {
		r.EventTimeStamps = append(r.EventTimeStamps, t.stamp())
	}
	u.Spent = u.Spent.plus(u.Before).plus(u.Now)
	u.Now, u.Before, u.Split, u.Start, u.First, u.Stamps = Measured{}, Measured{}, 0, now, 0, nil
	if n := u.Parameters.NumberOfReports; n.Present && u.Reports-u.Base >= uint32(n.Value) {
		u.Done = true
	}
	return append(all, r)
}

// usage is one Usage Report, with the next UR-SEQN. Packets stand in it only when they are asked for (MNOP).
func (u *URR) usage(m Measured, trigger uint32, start, end Time) pfcp.UsageReport {
	r := pfcp.UsageReport{URRID: u.ID, Sequence: u.Reports, Trigger: trigger}
	u.Reports++
	if trigger != pfcp.TriggerStartOfTraffic {
		r.StartTime, r.EndTime = pfcp.Some(start.stamp()), pfcp.Some(end.stamp())
	}
	if u.Method&pfcp.MeasureVolume != 0 {
		v := m.Volume
		r.Volume = pfcp.Some(pfcp.VolumeMeasurement{
			TotalOctets:  v.UplinkOctets + v.DownlinkOctets,
			UplinkOctets: v.UplinkOctets, DownlinkOctets: v.DownlinkOctets,
			OctetsOnly: true,
		})
		if u.informed(pfcp.MeasurePackets) {
			c := &r.Volume.Value
			c.OctetsOnly, c.TotalPackets = false, v.UplinkPackets+v.DownlinkPackets
			c.UplinkPackets, c.DownlinkPackets = v.UplinkPackets, v.DownlinkPackets
		}
	}
	if u.Method&pfcp.MeasureDuration != 0 {
		r.Duration = pfcp.Some(uint32((m.Ran + Time(time.Second)/2) / Time(time.Second)))
	}
	if u.First != 0 && m.Volume != (Volume{}) {
		r.TimeOfFirstPacket, r.TimeOfLastPacket = pfcp.Some(u.First.stamp()), pfcp.Some(u.LastPacket.stamp())
	}
	return r
}

// next is when the URR must be looked at again; 0: never. watched: it depends on when packets come, so that it must be
// looked at now and then. Volumes are watched by the data path, which tells.
func (u *URR) next(now Time) (at Time, watched bool) {
	if u.Done {
		return 0, false
	}
	p := &u.Parameters
	soonest(&at, u.Period)
	soonest(&at, u.monitoring())
	if grants(p) && !u.Exhausted {
		soonest(&at, u.Valid)
		if p.QuotaHoldingTime.Value > 0 {
			soonest(&at, u.Held.add(p.QuotaHoldingTime.Value))
		}
	}
	if u.Active && p.InactivityDetectionTime.Value > 0 {
		soonest(&at, u.Seen.add(p.InactivityDetectionTime.Value))
	}
	if u.Running != 0 {
		left := func(limit pfcp.Opt[uint32], ran Time) {
			if limit.Present {
				soonest(&at, max(now, u.Running+Time(limit.Value)*Time(time.Second)-ran))
			}
		}
		if u.Triggers&pfcp.ReportTimeThreshold != 0 {
			left(p.TimeThreshold, u.Now.Ran)
		}
		if !u.Exhausted {
			left(p.TimeQuota, u.Now.Ran+u.Before.Ran+u.Spent.Ran)
		}
	}
	const traffic = pfcp.ReportStartOfTraffic | pfcp.ReportStopOfTraffic | pfcp.ReportEventThreshold
	held := grants(p) && !u.Exhausted && p.QuotaHoldingTime.Value > 0
	watched = u.Triggers&traffic != 0 || held || u.Method&pfcp.MeasureEvent != 0 ||
		u.Method&pfcp.MeasureDuration != 0 && (u.Running == 0 || p.InactivityDetectionTime.Value > 0)
	return at, watched
}

// soonest keeps the earlier of two times, of which 0 is none.
func soonest(at *Time, t Time) {
	if t != 0 && (*at == 0 || t < *at) {
		*at = t
	}
}

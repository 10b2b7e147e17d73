package session

import (
	"math"
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Time is a point in time: Unix nanoseconds; 0 is none.
type Time int64

// At is t as a Time.
func At(t time.Time) Time { return Time(t.UnixNano()) }

func (t Time) add(seconds uint32) Time { return t + Time(seconds)*Time(time.Second) }

func (t Time) stamp() pfcp.TimeStamp { return pfcp.TimeStampOf(time.Unix(0, int64(t))) }

// Volume is what a URR counts, per direction.
type Volume struct {
	UplinkOctets, DownlinkOctets   uint64
	UplinkPackets, DownlinkPackets uint64
}

func (v *Volume) count(d Direction, packets, octets uint64) {
	if d == Uplink {
		v.UplinkPackets += packets
		v.UplinkOctets += octets
		return
	}
	v.DownlinkPackets += packets
	v.DownlinkOctets += octets
}

func (v Volume) plus(w Volume) Volume {
	return Volume{
		v.UplinkOctets + w.UplinkOctets, v.DownlinkOctets + w.DownlinkOctets,
		v.UplinkPackets + w.UplinkPackets, v.DownlinkPackets + w.DownlinkPackets,
	}
}

// reaches says whether v is at one of the limits or beyond.
func (v Volume) reaches(limit pfcp.Volume) bool {
	at := func(l pfcp.Opt[uint64], octets uint64) bool { return l.Present && octets >= l.Value }
	return at(limit.Total, v.UplinkOctets+v.DownlinkOctets) || at(limit.Uplink, v.UplinkOctets) ||
		at(limit.Downlink, v.DownlinkOctets)
}

// Measured is what a URR has measured: what the next report carries, or what counts against its quotas.
type Measured struct {
	Volume Volume
	Ran    Time   // duration
	Events uint32 // starts of traffic
}

func (m Measured) plus(n Measured) Measured {
	return Measured{m.Volume.plus(n.Volume), m.Ran + n.Ran, m.Events + n.Events}
}

// Observes says whether anything depends on what the session's packets are counted in.
func (s Session) Observes() bool { return s.InactivityTimer != 0 || len(s.URRs) > 0 }

// Touches says whether a modification may change which packets a URR counts, or asks what it has counted: then the
// session must be settled first.
func (s *Session) Touches(req *pfcp.SessionModificationRequest) bool {
	if s.Detects() && slices.ContainsFunc(req.UpdateFARs, func(f pfcp.UpdateFAR) bool { return f.ApplyAction.Present }) {
		return true // of packets that are dropped
	}
	return req.QueryAll || len(req.QueryURRs) > 0 || len(req.RemoveURRs) > 0 || len(req.UpdateURRs) > 0 || len(req.RemovePDRs) > 0 ||
		len(req.CreatePDRs) > 0 || len(req.UpdatePDRs) > 0 || len(req.UpdateTrafficEndpoints) > 0 || len(req.RemoveTrafficEndpoints) > 0
}

func (v Volume) minus(w Volume) (Volume, bool) {
	ok := v.UplinkOctets >= w.UplinkOctets && v.DownlinkOctets >= w.DownlinkOctets &&
		v.UplinkPackets >= w.UplinkPackets && v.DownlinkPackets >= w.DownlinkPackets
	return Volume{
		v.UplinkOctets - w.UplinkOctets, v.DownlinkOctets - w.DownlinkOctets,
		v.UplinkPackets - w.UplinkPackets, v.DownlinkPackets - w.DownlinkPackets,
	}, ok
}

// limits are the counts of the URR's cell at which a threshold is reached or a quota spent. A quota is a threshold, too: the
// packet that spends it is forwarded, and tells.
func (u *URR) limits() (l VolumeLimits) {
	if u.Done || u.informed(pfcp.MeasurementInactive) {
		return l
	}
	p, unreported := &u.Parameters, u.Now.plus(u.Before)
	at := func(limit pfcp.Opt[uint64], used, counted uint64) uint64 {
		switch {
		case !limit.Present:
			return 0
		case limit.Value > used:
			left := limit.Value - used
			return counted + min(left, math.MaxUint64-counted)
		}
		return counted - min(used-limit.Value, counted) // 0: reached long ago, in a cell before this one
	}
	set := func(v pfcp.Volume, used Volume, total, up, down *uint64) {
		c := u.Counted
		*total = at(v.Total, used.UplinkOctets+used.DownlinkOctets, c.UplinkOctets+c.DownlinkOctets)
		*up, *down = at(v.Uplink, used.UplinkOctets, c.UplinkOctets), at(v.Downlink, used.DownlinkOctets, c.DownlinkOctets)
	}
	if u.Triggers&pfcp.ReportVolumeThreshold != 0 {
		set(p.VolumeThreshold, u.limited(unreported).Volume, &l.TotalThreshold, &l.UplinkThreshold, &l.DownlinkThreshold)
	}
	if !u.Exhausted {
		set(u.volumeQuota(), unreported.plus(u.Spent).Volume, &l.TotalQuota, &l.UplinkQuota, &l.DownlinkQuota)
		l.TotalThreshold, l.UplinkThreshold = sooner(l.TotalThreshold, l.TotalQuota), sooner(l.UplinkThreshold, l.UplinkQuota)
		l.DownlinkThreshold = sooner(l.DownlinkThreshold, l.DownlinkQuota)
	}
	return l
}

// sooner is the lower of two counts, of which 0 is none.
func sooner(a, b uint64) uint64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Report makes usage reports of the URRs in ids that the session has, and of those linked to them, and returns it
// with their measurements at zero. The session must be settled. Reference is the query's, TS 29.244 8.2.90.
func (s Session) Report(ids []pfcp.URRID, trigger uint32, reference pfcp.Opt[uint32], now Time) (Session, []pfcp.UsageReport) {
	due := make([]uint32, len(s.URRs))
	for _, id := range ids {
		if at, ok := find(s.URRs, id, idOfURR); ok {
			due[at] |= trigger
		}
	}
	next, reports := s.report(due, now)
	for i := range reports {
		if reports[i].Trigger&TriggerImmediate != 0 {
			reports[i].QueryReference = reference
		}
	}
	return next, reports
}

// report makes the reports that are due: triggers by index of the URR, 0 for none. A report of a URR brings one of
// each that is linked to it, TS 29.244 5.2.2.4.
func (s Session) report(due []uint32, now Time) (Session, []pfcp.UsageReport) {
	if !slices.ContainsFunc(due, func(t uint32) bool { return t != 0 }) {
		return s, nil
	}
	next := s
	next.URRs = slices.Clone(s.URRs)
	linked := make([]uint32, len(due))
	for i := range next.URRs {
		u := &next.URRs[i]
		if due[i] != 0 || u.Triggers&pfcp.ReportLinkedUsage == 0 {
			continue
		}
		for _, id := range u.Parameters.LinkedURRIDs {
			if at, ok := find(next.URRs, id, idOfURR); ok && due[at] != 0 {
				linked[i] = pfcp.TriggerLinkedUsage
			}
		}
	}
	var reports []pfcp.UsageReport
	for i := range next.URRs {
		if trigger := due[i] | linked[i]; trigger != 0 {
			reports = next.URRs[i].report(reports, trigger, now)
		}
	}
	next.detected(reports)
	return next, reports
}

// URRIDs returns the ids of all URRs.
func (s Session) URRIDs() []pfcp.URRID {
	ids := make([]pfcp.URRID, len(s.URRs))
	for i, u := range s.URRs {
		ids[i] = u.ID
	}
	return ids
}

// Triggers that requests bring about, TS 29.244 8.2.41.
const (
	TriggerImmediate   = pfcp.TriggerImmediate
	TriggerTermination = pfcp.TriggerTermination
)

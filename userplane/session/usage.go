package session

import (
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

// Observes says whether anything depends on what the session's entries count.
func (s Session) Observes() bool {
	if s.InactivityTimer != 0 {
		return true
	}
	if len(s.URRs) == 0 {
		return false
	}
	return slices.ContainsFunc(s.PDRs, func(p PDR) bool { return len(p.URRIDs) > 0 })
}

// Touches says whether a modification may change which packets a URR counts, or asks what it has counted: then the
// session must be settled first.
func Touches(req *pfcp.SessionModificationRequest) bool {
	return req.QueryAll || len(req.QueryURRs) > 0 || len(req.RemoveURRs) > 0 || len(req.UpdateURRs) > 0 || len(req.RemovePDRs) > 0 ||
		len(req.CreatePDRs) > 0 || len(req.UpdatePDRs) > 0
}

// Settle brings the URRs up to what the entries have counted until now, so that afterwards rules may change or be
// reported. Table is what s compiles to; usage is what its entries have counted. An entry that counts less than it
// did was made anew (the maps were lost), and counts from 0.
func (s Session) Settle(table Table, usage map[Key]Usage, now Time) Session {
	next := s
	next.URRs = slices.Clone(s.URRs)
	next.Counted = nil
	moved := make([]Volume, len(next.URRs))
	for key, e := range table {
		counts, ok := usage[key]
		if !ok {
			continue
		}
		at, ok := find(s.PDRs, e.Origin.PDRID, idOfPDR)
		if !ok || counts == (Usage{}) {
			continue
		}
		before := s.counted(key)
		if counts.Octets < before.Octets || counts.Packets < before.Packets {
			before = Usage{}
		}
		packets, octets := counts.Packets-before.Packets, counts.Octets-before.Octets
		if packets > 0 {
			next.LastPacket = now
			next.Inactive = false
		}
		for _, id := range s.PDRs[at].URRIDs {
			if u, ok := find(next.URRs, id, idOfURR); ok {
				moved[u].count(key.Direction, packets, octets)
			}
		}
		next.Counted = append(next.Counted, Counted{Key: key, Usage: counts})
	}
	for i := range next.URRs {
		next.URRs[i].advance(moved[i], now)
	}
	slices.SortFunc(next.Counted, func(a, b Counted) int { return a.Key.compare(b.Key) })
	return next
}

func (s Session) counted(key Key) Usage {
	for _, c := range s.Counted {
		if c.Key == key {
			return c.Usage
		}
	}
	return Usage{}
}

// Forget drops the settled counts of entries that are gone: should the key come back, it counts from 0.
func (s Session) Forget(keys []Key) Session {
	if len(s.Counted) == 0 || len(keys) == 0 {
		return s
	}
	s.Counted = slices.DeleteFunc(slices.Clone(s.Counted), func(c Counted) bool { return slices.Contains(keys, c.Key) })
	return s
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

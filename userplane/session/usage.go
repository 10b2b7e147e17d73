package session

import (
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Triggers of a Usage Report, TS 29.244 8.2.41; octet 5 is the low octet.
const (
	TriggerImmediate   uint32 = 1 << 7  // IMMER: the report answers a query
	TriggerTermination uint32 = 1 << 11 // TERMR: the URR, or its session, is removed
)

// Reporting Triggers, TS 29.244 8.2.19, that need nothing while the URR counts, so that they may be set: none.
const servedTriggers pfcp.ReportingTriggers = 0

// check refuses what a URR asks for and would not get. Volume is counted, and reported when the control plane asks
// or the URR ends; nothing is reported unasked.
func (u *URR) check() error {
	switch {
	case u.Method&^pfcp.MeasureVolume != 0:
		return refuse(pfcp.RuleURR, uint32(u.ID), pfcp.IEMeasurementMethod, "measurement method %#x: only volume is served", uint8(u.Method))
	case u.Unserved != 0:
		return refuse(pfcp.RuleURR, uint32(u.ID), u.Unserved, "IE type %d of a URR is not served", u.Unserved)
	case u.Triggers&^servedTriggers != 0:
		return refuse(pfcp.RuleURR, uint32(u.ID), pfcp.IEReportingTriggers, "reporting triggers %#x are not served", uint32(u.Triggers))
	}
	return nil
}

// Counts says whether any packet is counted for a URR of the session, so that there is something to settle.
func (s Session) Counts() bool {
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

// Settle brings the URRs up to what the entries have counted, so that afterwards rules may change or be reported.
// Table is what s compiles to; usage is what its entries have counted. An entry that counts less than it did was
// made anew (the maps were lost), and counts from 0.
func (s Session) Settle(table Table, usage map[Key]Usage) Session {
	next := s
	next.URRs = slices.Clone(s.URRs)
	next.Counted = nil
	for key, e := range table {
		now, ok := usage[key]
		if !ok {
			continue
		}
		at, ok := find(s.PDRs, e.Origin.PDRID, idOfPDR)
		if !ok || len(s.PDRs[at].URRIDs) == 0 && now == (Usage{}) {
			continue
		}
		before := s.counted(key)
		if now.Octets < before.Octets || now.Packets < before.Packets {
			before = Usage{}
		}
		for _, id := range s.PDRs[at].URRIDs {
			if u, ok := find(next.URRs, id, idOfURR); ok {
				next.URRs[u].Settled.add(key.Direction, now.Packets-before.Packets, now.Octets-before.Octets)
			}
		}
		next.Counted = append(next.Counted, Counted{Key: key, Usage: now})
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

func (v *Volume) add(d Direction, packets, octets uint64) {
	if d == Uplink {
		v.UplinkPackets += packets
		v.UplinkOctets += octets
		return
	}
	v.DownlinkPackets += packets
	v.DownlinkOctets += octets
}

// Report makes usage reports of the URRs in ids that the session has, and returns it with their counts at zero. The
// session must be settled.
func (s Session) Report(ids []pfcp.URRID, trigger uint32) (Session, []pfcp.UsageReport) {
	if len(ids) == 0 {
		return s, nil
	}
	next := s
	next.URRs = slices.Clone(s.URRs)
	var reports []pfcp.UsageReport
	for _, id := range ids {
		at, ok := find(next.URRs, id, idOfURR)
		if !ok {
			continue
		}
		u := &next.URRs[at]
		reports = append(reports, u.report(trigger))
		u.Reports++
		u.Settled = Volume{}
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

func (u *URR) report(trigger uint32) pfcp.UsageReport {
	r := pfcp.UsageReport{URRID: u.ID, Sequence: u.Reports, Trigger: trigger}
	if u.Method&pfcp.MeasureVolume != 0 {
		v := u.Settled
		r.Volume = pfcp.Some(pfcp.VolumeMeasurement{
			TotalOctets:  v.UplinkOctets + v.DownlinkOctets,
			UplinkOctets: v.UplinkOctets, DownlinkOctets: v.DownlinkOctets,
			TotalPackets:  v.UplinkPackets + v.DownlinkPackets,
			UplinkPackets: v.UplinkPackets, DownlinkPackets: v.DownlinkPackets,
		})
	}
	return r
}

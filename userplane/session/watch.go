package session

import "github.com/xepc/xepc/pkg/pfcp"

// This file has entries tell when the volume threshold of their URRs may be reached. A threshold of both directions is
// dealt out among the entries, in proportion to what they have counted so far: while none has used up its share, it is
// not reached. When one has, the rest is dealt out anew.

// maxShare bounds how far ahead a watch is, octets: the data path compares 32 bits.
const maxShare = 1 << 30

// Watch sets anew the counts at which entries tell. The session is settled with counts.
func (s Session) Watch(t Table, counts Counts) Session {
	next := s
	var watches []uint64
	for i := range s.URRs {
		up, down, ok := s.URRs[i].shares()
		if !ok {
			continue
		}
		entries := [2]uint64{}
		for n := range t {
			if s.counts(&t[n], i) {
				entries[t[n].Key.Direction]++
			}
		}
		if entries[Uplink] == 0 || entries[Downlink] == 0 { // all that is left is for the other direction
			up, down = s.URRs[i].budget(Uplink), s.URRs[i].budget(Downlink)
		}
		budgets := [2]uint64{Uplink: up, Downlink: down}
		if watches == nil {
			watches = make([]uint64, len(t))
		}
		for n := range t {
			key := &t[n].Key
			budget := budgets[key.Direction]
			if budget == 0 || !s.counts(&t[n], i) {
				continue
			}
			at := counts.entry(key).Octets + min(max(budget/entries[key.Direction], 1), maxShare)
			if watches[n] == 0 || at < watches[n] {
				watches[n] = at
			}
		}
	}
	next.Watches = s.ofCounting(t, watches)
	return next
}

// ofCounting picks the watches of the entries that count for URRs; none when all are 0.
func (s *Session) ofCounting(t Table, watches []uint64) []uint64 {
	n, some := 0, false
	for i := range watches {
		if s.counting(&t[i]) {
			watches[n] = watches[i]
			some = some || watches[n] != 0
			n++
		}
	}
	if !some {
		return nil
	}
	return watches[:n]
}

// Rewatch is Watch when there is reason to: a watch is reached, or what is left of a threshold is another than in old.
func (s Session) Rewatch(old Session, t Table, counts Counts) Session {
	n := 0
	for i := range t {
		if !s.counting(&t[i]) {
			continue
		}
		if n < len(s.Watches) && s.Watches[n] != 0 && counts.entry(&t[i].Key).Octets >= s.Watches[n] {
			return s.Watch(t, counts)
		}
		n++
	}
	for i := range s.URRs {
		u, was := &s.URRs[i], &old.URRs[i]
		if u.Reports != was.Reports || u.Split != was.Split || u.Done != was.Done {
			return s.Watch(t, counts)
		}
	}
	return s
}

// budget is what may pass in one direction, and in none else, before a volume threshold is reached; 0: there is none.
func (u *URR) budget(d Direction) (octets uint64) {
	limit, used := u.Parameters.VolumeThreshold, u.limited(u.Now.plus(u.Before)).Volume
	one, n := limit.Uplink, used.UplinkOctets
	if d == Downlink {
		one, n = limit.Downlink, used.DownlinkOctets
	}
	for _, l := range [2]struct {
		limit pfcp.Opt[uint64]
		used  uint64
	}{{limit.Total, used.UplinkOctets + used.DownlinkOctets}, {one, n}} {
		if l.limit.Present && l.limit.Value > l.used && (octets == 0 || l.limit.Value-l.used < octets) {
			octets = l.limit.Value - l.used
		}
	}
	return octets
}

// shares are what may pass in both directions at once.
func (u *URR) shares() (up, down uint64, ok bool) {
	if u.Triggers&pfcp.ReportVolumeThreshold == 0 || u.Done || u.informed(pfcp.MeasurementInactive) {
		return 0, 0, false
	}
	up, down = u.budget(Uplink), u.budget(Downlink)
	used := u.limited(u.Now.plus(u.Before)).Volume
	if total := u.Parameters.VolumeThreshold.Total; total.Present && total.Value > used.UplinkOctets+used.DownlinkOctets {
		left := total.Value - used.UplinkOctets - used.DownlinkOctets
		share := max(uint64(float64(left)*u.uplinkPart()), 1)
		up, down = min(up, share), min(down, max(left-min(share, left), 1))
	}
	return up, down, up|down != 0
}

// uplinkPart is the part of the octets that went up so far, but never so little that few packets would use it up.
func (u *URR) uplinkPart() float64 {
	up, down := u.Entries.UplinkOctets, u.Entries.DownlinkOctets
	if up+down == 0 {
		return 0.5
	}
	return min(max(float64(up)/float64(up+down), 1.0/8), 7.0/8)
}

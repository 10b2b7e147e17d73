package session

import (
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Tick finds what is due at a time: reports of URRs, which join those that the control plane has not confirmed yet,
// and inactivity. The session must be settled. Quotas that are spent change what it compiles to.
//
// While reports wait for their confirmation no others are made: what is measured stays in the next ones.
func (s Session) Tick(now Time) (next Session, inactive bool) {
	next = s
	if t := s.InactivityTimer; t != 0 && !s.Inactive && now >= s.LastPacket.add(t) {
		next.Inactive, inactive = true, true
	}
	next.URRs = slices.Clone(s.URRs)
	due := make([]uint32, len(next.URRs))
	for i := range next.URRs {
		u := &next.URRs[i]
		u.Owed |= u.due(now)
		if len(s.Unconfirmed) == 0 {
			due[i] = u.Owed
		}
	}
	next, reports := next.report(due, now)
	if len(reports) > 0 {
		next.Unconfirmed = append(slices.Clone(s.Unconfirmed), reports...)
	}
	return next, inactive
}

// Confirm takes reports for confirmed: the control plane has answered the request that carried them.
func (s Session) Confirm(reports []pfcp.UsageReport) Session {
	s.Unconfirmed = slices.DeleteFunc(slices.Clone(s.Unconfirmed), func(u pfcp.UsageReport) bool {
		return slices.ContainsFunc(reports, func(r pfcp.UsageReport) bool { return r.URRID == u.URRID && r.Sequence == u.Sequence })
	})
	if len(s.Unconfirmed) == 0 {
		s.Unconfirmed = nil
	}
	return s
}

// Next is when the session must be settled and ticked again; 0: never. poll is how often what its packets do is to
// be looked at, where something depends on it.
func (s Session) Next(now Time, poll time.Duration) Time {
	var at Time
	watched := false
	for i := range s.URRs {
		t, w := s.URRs[i].next(now)
		if len(s.Unconfirmed) == 0 && s.URRs[i].ripe(now) {
			t = now
		}
		soonest(&at, t)
		watched = watched || w
	}
	if t := s.InactivityTimer; t != 0 && !s.Inactive {
		soonest(&at, max(now+Time(poll), s.LastPacket.add(t)))
		watched = watched || time.Duration(t)*time.Second > 4*poll
	} else if t != 0 {
		watched = true // packets make it active again
	}
	if watched {
		soonest(&at, now+Time(poll))
	}
	return at
}

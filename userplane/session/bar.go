package session

import (
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// barOf is the BAR of a FAR; nil: it has none.
func (s *Session) barOf(id pfcp.FARID) *BAR {
	at, ok := find(s.FARs, id, idOfFAR)
	if !ok || !s.FARs[at].BARID.Present {
		return nil
	}
	if at, ok = find(s.BARs, s.FARs[at].BARID.Value, idOfBAR); !ok {
		return nil
	}
	return &s.BARs[at]
}

// NotificationDelay is how long after a packet that a FAR buffers its control plane is told, TS 29.244 8.2.28.
func (s *Session) NotificationDelay(id pfcp.FARID) time.Duration {
	if b := s.barOf(id); b != nil {
		return time.Duration(b.Delay.Value) * 50 * time.Millisecond
	}
	return 0
}

// SuggestedPackets is how many packets of a FAR the control plane suggests to buffer, TS 29.244 8.2.100.
func (s *Session) SuggestedPackets(id pfcp.FARID) (n int, ok bool) {
	if b := s.barOf(id); b != nil && b.Count.Present {
		return int(b.Count.Value), true
	}
	return 0, false
}

// Extended says what a control plane asks for of the packets that are buffered: none of them is told again for so long,
// and when the time is over they are thrown away, TS 29.244 8.2.29 and TS 23.401 5.3.4.3.
type Extended struct {
	Duration time.Duration // 0: no more of it, the next packet is told as any
	Forever  bool
	Packets  pfcp.Opt[uint16] // to keep meanwhile
}

// UpdateBARs takes the Update BARs of a Session Report Response, TS 29.244 7.5.9.2. Those of BARs that are not there
// are ignored: nobody can be told.
func (s Session) UpdateBARs(all []pfcp.ReportBAR) (next Session, extended pfcp.Opt[Extended]) {
	next = s
	next.BARs = slices.Clone(s.BARs)
	for _, u := range all {
		at, ok := find(next.BARs, u.ID, idOfBAR)
		if !ok {
			continue
		}
		b := &next.BARs[at]
		if u.NotificationDelay.Present {
			b.Delay = u.NotificationDelay
		}
		if u.SuggestedPacketsCount.Present {
			b.Count = u.SuggestedPacketsCount
		}
		if u.BufferingDuration.Present {
			d, bounded := u.BufferingDuration.Value.Duration()
			extended = pfcp.Some(Extended{Duration: d, Forever: !bounded, Packets: u.BufferingPacketCount})
		}
	}
	return next, extended
}

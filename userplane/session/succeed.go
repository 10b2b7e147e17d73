package session

import (
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// maxUnconfirmed bounds the reports that a session keeps of those whose place it took; ours.
const maxUnconfirmed = 64

// Succeed makes s the successor of old, which is settled and has the same SEID: what old has measured becomes reports
// that the control plane has to confirm. URRs with the ids of old ones go on with their numbers of reports, and their
// cells count on. Of a control plane that confirms nothing the oldest reports are dropped; dropped says how many.
func (s Session) Succeed(old Session, now Time) (_ Session, dropped int) {
	_, reports := old.Report(old.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, now)
	s.Unconfirmed = append(slices.Clone(old.Unconfirmed), reports...)
	if dropped = max(len(s.Unconfirmed)-maxUnconfirmed, 0); dropped > 0 {
		s.Unconfirmed = s.Unconfirmed[dropped:]
	}
	s.URRs = slices.Clone(s.URRs)
	for i := range s.URRs {
		u := &s.URRs[i]
		at, ok := find(old.URRs, u.ID, idOfURR)
		if !ok {
			continue
		}
		u.countOn(&old.URRs[at])
		for _, r := range reports {
			if r.URRID == u.ID {
				u.Reports, u.Base = r.Sequence+1, r.Sequence+1
			}
		}
	}
	return s, dropped
}

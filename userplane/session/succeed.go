package session

import (
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Succeed makes s the successor of old, which is settled and has the same SEID: what old has measured becomes reports
// that the control plane has to confirm. URRs with the ids of old ones go on with their numbers of reports, and their
// cells count on.
func (s Session) Succeed(old Session, now Time) Session {
	_, reports := old.Report(old.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, now)
	s.Unconfirmed = append(slices.Clone(old.Unconfirmed), reports...)
	s.URRs = slices.Clone(s.URRs)
	for i := range s.URRs {
		u := &s.URRs[i]
		at, ok := find(old.URRs, u.ID, idOfURR)
		if !ok {
			continue
		}
		u.Counted, u.Celled = old.URRs[at].Counted, old.URRs[at].Celled
		for _, r := range reports {
			if r.URRID == u.ID {
				u.Reports, u.Base = r.Sequence+1, r.Sequence+1
			}
		}
	}
	return s
}

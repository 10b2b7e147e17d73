package sxb

import (
	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// uplinkRule is the rule of a PDR for packets from the UE; nil: there is none.
func uplinkRule(table session.Table, id pfcp.PDRID) *session.Rule {
	for i := range table {
		if table[i].Key.Direction != session.Uplink {
			continue
		}
		for _, r := range table[i].Rules {
			if r.Origin.PDRID == id {
				return r
			}
		}
	}
	return nil
}

// sendElsewhere gives the UE what it gets instead of the network that its packet was sent to, TS 29.244 8.2.20, as if it came
// from there: by the rules for packets to the UE.
func (sh *shard) sendElsewhere(s *session.Session, table session.Table, rule *session.Rule, packet []byte) {
	if rule.Action != session.ActionAnswer {
		return // it came before the rule changed
	}
	answer := sh.e.portal.Answer(packet, s.URL(rule))
	if answer == nil {
		return
	}
	entry := entryTo(table, answer)
	if entry == nil {
		sh.e.stats.answersLost.Add(1)
		return
	}
	if err := sh.e.dp.Inject(entry.Key.Instance, answer); err != nil {
		sh.e.stats.answersLost.Add(1)
		sh.e.log.Debug("answer of a redirection lost", "seid", uint64(s.SEID), "err", err)
		return
	}
	sh.e.stats.answers.Add(1)
}

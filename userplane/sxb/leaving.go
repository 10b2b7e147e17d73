package sxb

import (
	"fmt"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// endLeaving ends what a process began that was killed between a change of rules and its last look at the cells of URRs that
// went: what they have counted is added to the recorded answer, which the duplicate of the request gets. The data path is
// equal to the sessions, nobody is served yet.
func (e *Edge) endLeaving() {
	if len(e.leaving) == 0 {
		return
	}
	e.settle()
	for _, seid := range e.leaving {
		if err := e.endLeavingOf(seid); err != nil {
			e.log.Error("last counts of removed URRs are in no report", "seid", uint64(seid), "err", err)
		}
	}
	e.leaving = nil
}

func (e *Edge) endLeavingOf(seid pfcp.SEID) error {
	sh := e.shard(seid)
	s, ok := sh.sessions.get(seid)
	if !ok {
		return nil
	}
	ids := s.LeavingIDs()
	volumes, err := e.dp.Volumes(ids)
	if err != nil {
		return err
	}
	sh.batch.Reset()
	if rs := e.replays.Load(); rs != nil {
		if err := rs.amend(seid, &sh.batch, func(m *pfcp.SessionModificationResponse) { s.LateCells(volumes, m.UsageReports) }); err != nil {
			return err
		}
	}
	s.Leaving = nil
	if sh.form, err = s.AppendBinary(sh.form[:0]); err != nil {
		return err
	}
	sh.batch.Put(journal.Key{Kind: kindSession, ID: uint64(seid)}, sh.form)
	if err := e.journal.Write(&sh.batch); err != nil {
		return err
	}
	sh.sessions.put(seid, sh.form)
	return e.dp.Apply(session.Changes{Removes: ids})
}

// amend changes the recorded answer to a session's modification, here and in the journal.
func (rs *replays) amend(seid pfcp.SEID, b *journal.Batch, change func(*pfcp.SessionModificationResponse)) error {
	at, ok := rs.records.at[seid]
	if !ok {
		return nil
	}
	r, err := parseResponse(rs.records.octets(at))
	if err != nil {
		return err
	}
	header, m, err := pfcp.Parse(r.octets)
	if err != nil {
		return fmt.Errorf("recorded answer: %w", err)
	}
	answer, ok := m.(*pfcp.SessionModificationResponse)
	if !ok {
		return fmt.Errorf("recorded answer: %w", errRecord)
	}
	change(answer)
	if r.octets, err = pfcp.Marshal(header, answer); err != nil {
		return err
	}
	record := r.append(nil)
	rs.records.put(seid, record)
	b.Put(journal.Key{Kind: kindResponse, ID: uint64(seid)}, record)
	return nil
}

package sxb

import (
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// notice is when the control plane hears of a session's buffered packets, TS 29.244 5.2.4: after the delay of the BAR, and
// not while it has asked for extended buffering. It is no part of the session's record: neither are the packets.
type notice struct {
	at      session.Time // of the report; 0: none is due
	pdrs    []pfcp.PDRID // that it names
	until   session.Time // of the extended buffering; 0: none
	forever bool
	packets pfcp.Opt[uint16] // that are kept meanwhile
}

// extended says whether the control plane has asked to hear no more for now.
func (n *notice) extended() bool { return n.until != 0 || n.forever }

// maxExtended bounds the packets of a session that a control plane may have kept in extended buffering; ours.
const maxExtended = 1024

// notify tells the control plane of the first packet that a FAR buffers, or will when the delay of its BAR is over.
func (sh *shard) notify(s *session.Session, of session.Origin, now time.Time) {
	n := sh.notices[s.SEID]
	if n == nil {
		n = &notice{}
		sh.notices[s.SEID] = n
	}
	if n.extended() {
		return
	}
	delay := s.NotificationDelay(of.FARID)
	if delay == 0 {
		sh.tellData(s, of.PDRID)
		return
	}
	if !slices.Contains(n.pdrs, of.PDRID) {
		n.pdrs = append(n.pdrs, of.PDRID)
	}
	if n.at == 0 {
		n.at = session.At(now.Add(delay))
		sh.waits.set(s.SEID, n.at)
	}
}

func (sh *shard) tellData(s *session.Session, pdrs ...pfcp.PDRID) {
	sh.tell(s, &pfcp.SessionReportRequest{
		ReportType: pfcp.ReportDownlinkData, DownlinkData: pfcp.Some(pfcp.DownlinkDataReport{PDRIDs: pdrs}),
	})
}

// waited looks at a session whose delay or extended buffering is over. In extended buffering the packets go then, and
// the next one is told as any (TS 23.401 5.3.4.3).
func (sh *shard) waited(seid pfcp.SEID, now session.Time) {
	n := sh.notices[seid]
	s, ok := sh.sessions.get(seid)
	switch {
	case n == nil || !ok:
	case n.until != 0 && now >= n.until:
		sh.e.stats.bufferExpired.Add(sh.forget(seid))
	case n.at != 0 && now >= n.at:
		pdrs := slices.DeleteFunc(n.pdrs, func(id pfcp.PDRID) bool { return !stillNotifies(&s, id) })
		n.at, n.pdrs = 0, nil
		if len(pdrs) > 0 && !n.extended() {
			sh.tellData(&s, pdrs...)
		}
		sh.waits.set(seid, n.until)
	}
}

// stillNotifies says whether the FAR of a PDR buffers and notifies.
func stillNotifies(s *session.Session, id pfcp.PDRID) bool {
	const both = pfcp.ActionBuffer | pfcp.ActionNotifyCP
	for i := range s.PDRs {
		if s.PDRs[i].ID != id {
			continue
		}
		for j := range s.FARs {
			if s.FARs[j].ID == s.PDRs[i].FARID {
				return s.FARs[j].Action&both == both
			}
		}
	}
	return false
}

// barsUpdated takes the Update BARs and the flag DROBU of the answer to a report.
func (sh *shard) barsUpdated(seid pfcp.SEID, r *pfcp.SessionReportResponse, now time.Time) {
	s, ok := sh.sessions.get(seid)
	if !ok {
		return
	}
	if r.DropBuffered {
		sh.e.stats.bufferDropped.Add(sh.forget(seid))
	}
	if len(r.UpdateBARs) == 0 {
		return
	}
	next, extended := s.UpdateBARs(r.UpdateBARs)
	if form, err := sh.record(&next); err != nil {
		sh.e.log.Error("updated BARs not recorded", "seid", uint64(seid), "err", err)
	} else if err := sh.keep(&s, &next, form, now); err != nil {
		sh.e.log.Error("session not kept", "seid", uint64(seid), "err", err)
	}
	if !extended.Present {
		return
	}
	n := sh.notices[seid]
	if n == nil {
		n = &notice{}
		sh.notices[seid] = n
	}
	*n = notice{packets: extended.Value.Packets, forever: extended.Value.Forever}
	if d := extended.Value.Duration; d > 0 {
		n.until = session.At(now.Add(d))
	}
	if !n.extended() { // the timer is stopped: as if nothing had been buffered yet
		sh.rearm(seid)
	}
	sh.waits.set(seid, n.until)
}

// rearm has the next packet that is buffered told again, as the first one was: the control plane has said anew that it
// wants to be.
func (sh *shard) rearm(seid pfcp.SEID) {
	sh.forgetNotice(seid)
	if b := sh.buffered[seid]; b != nil {
		clear(b.told)
	}
}

// rearms says whether a modification says anew that packets are to be buffered and told.
func rearms(m *pfcp.SessionModificationRequest) bool {
	const both = pfcp.ActionBuffer | pfcp.ActionNotifyCP
	return slices.ContainsFunc(m.UpdateFARs, func(u pfcp.UpdateFAR) bool { return u.ApplyAction.Value&both == both })
}

func (sh *shard) forgetNotice(seid pfcp.SEID) {
	if sh.notices[seid] != nil {
		delete(sh.notices, seid)
		sh.waits.set(seid, 0)
	}
}

// expireWaits looks at the sessions whose delays or extended buffering are over.
func (sh *shard) expireWaits(now time.Time) {
	for range duePortion {
		seid, ok := sh.waits.due(session.At(now))
		if !ok {
			return
		}
		sh.waited(seid, session.At(now))
	}
}

// buffersAny says whether a FAR of a session buffers.
func buffersAny(s *session.Session) bool {
	return slices.ContainsFunc(s.FARs, func(f session.FAR) bool { return f.Action&pfcp.ActionBuffer != 0 })
}

// room is how many packets of a FAR a session may keep: what its BAR suggests, or the control plane has asked for.
func (sh *shard) room(s *session.Session, id pfcp.FARID) int {
	if n := sh.notices[s.SEID]; n != nil && n.extended() && n.packets.Present {
		return min(int(n.packets.Value), maxExtended)
	}
	if suggested, ok := s.SuggestedPackets(id); ok {
		return min(suggested, sh.e.cfg.BufferedPerFAR)
	}
	return sh.e.cfg.BufferedPerFAR
}

package sxb

import (
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// replays are the answers that the process before this one gave or was about to give: a duplicate of such a
// request must not act again. It is made at start, only read, and forgotten when all of it is outdated.
type replays struct {
	byRequest map[replayKey]replay
	until     time.Time
}

type replayKey struct {
	peer     netip.AddrPort
	sequence pfcp.Sequence
}

type replay struct {
	octets []byte    // the answer
	seid   pfcp.SEID // ours
}

func newReplays(records *store, now time.Time, lifetime time.Duration) *replays {
	rs := &replays{byRequest: map[replayKey]replay{}, until: now.Add(lifetime)}
	for seid, at := range records.at {
		r, err := parseResponse(records.octets(at))
		if err != nil || now.Sub(r.given) > lifetime {
			continue
		}
		rs.byRequest[replayKey{r.peer, r.sequence}] = replay{r.octets, seid}
	}
	if len(rs.byRequest) == 0 {
		return nil
	}
	return rs
}

// forgetReplays forgets the answers given to a control plane that begins anew: so do its sequence numbers. It is
// called by the keeper only.
func (e *Edge) forgetReplays(peer netip.Addr) {
	old := e.replays.Load()
	if old == nil {
		return
	}
	rs := &replays{byRequest: map[replayKey]replay{}, until: old.until}
	for key, r := range old.byRequest {
		if key.peer.Addr() != peer {
			rs.byRequest[key] = r
		}
	}
	e.replays.Store(rs)
}

// replay answers a request that the process before this one has answered. A control plane that restarted at the
// same time may use the same sequence number for another request, so type and session must agree too: cp is the CP
// function's SEID of an establishment.
func (e *Edge) replay(r *pfcp.Request, cp pfcp.SEID, now time.Time) bool {
	rs := e.replays.Load()
	if rs == nil {
		return false
	}
	if now.After(rs.until) {
		e.replays.CompareAndSwap(rs, nil)
		return false
	}
	found, ok := rs.byRequest[replayKey{r.Peer, r.Header.Sequence}]
	if !ok || len(e.directory.Load().byAddr[r.Peer.Addr()]) == 0 {
		return false
	}
	header, answer, err := pfcp.Parse(found.octets)
	if err != nil || header.Type != r.Header.Type+1 {
		return false
	}
	if same := found.seid == r.Header.SEID; cp == 0 && !same || cp != 0 && header.SEID != cp {
		return false
	}
	e.stats.replayed.Add(1)
	e.answer(r, header.SEID, answer, pfcp.CauseAccepted)
	return true
}

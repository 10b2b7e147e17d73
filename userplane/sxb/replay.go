package sxb

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// replays are the answers that the process before this one gave or was about to give: a duplicate of such a
// request must not act again. It is made at start, only read, and forgotten when all of it is outdated.
//
// There may be a million: they stay in their records, and are found by a hash. Whoever finds one looks at the record.
type replays struct {
	records *store // by our SEID
	seed    maphash.Seed
	at      map[uint64]pfcp.SEID
	until   time.Time
}

type replayKey struct {
	peer     netip.AddrPort
	sequence pfcp.Sequence
}

func (rs *replays) hash(peer netip.AddrPort, sequence pfcp.Sequence) uint64 {
	return maphash.Comparable(rs.seed, replayKey{peer, sequence})
}

func newReplays(records *store, now time.Time, lifetime time.Duration) *replays {
	rs := &replays{records: records, seed: maphash.MakeSeed(), at: map[uint64]pfcp.SEID{}, until: now.Add(lifetime)}
	for seid, at := range records.at {
		r, err := parseResponse(records.octets(at))
		if err != nil || now.Sub(r.given) > lifetime {
			continue
		}
		rs.at[rs.hash(r.peer, r.sequence)] = seid
	}
	if len(rs.at) == 0 {
		return nil
	}
	return rs
}

// find returns the answer to a request, and whose session it was about.
func (rs *replays) find(peer netip.AddrPort, sequence pfcp.Sequence) (octets []byte, seid pfcp.SEID, ok bool) {
	seid, ok = rs.at[rs.hash(peer, sequence)]
	if !ok {
		return nil, 0, false
	}
	r, err := parseResponse(rs.records.octets(rs.records.at[seid]))
	return r.octets, seid, err == nil && r.peer == peer && r.sequence == sequence
}

// forgetReplays forgets the answers given to a control plane that begins anew: so do its sequence numbers. It is
// called by the keeper only.
func (e *Edge) forgetReplays(peer netip.Addr) {
	old := e.replays.Load()
	if old == nil {
		return
	}
	rs := *old
	rs.at = map[uint64]pfcp.SEID{}
	for hash, seid := range old.at {
		if r, err := parseResponse(rs.records.octets(rs.records.at[seid])); err == nil && r.peer.Addr() != peer {
			rs.at[hash] = seid
		}
	}
	e.replays.Store(&rs)
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
	octets, seid, ok := rs.find(r.Peer, r.Header.Sequence)
	if !ok || len(e.directory.Load().byAddr[r.Peer.Addr()]) == 0 {
		return false
	}
	header, answer, err := pfcp.Parse(octets)
	if err != nil || header.Type != r.Header.Type+1 {
		return false
	}
	if same := seid == r.Header.SEID; cp == 0 && !same || cp != 0 && header.SEID != cp {
		return false
	}
	e.stats.replayed.Add(1)
	e.answer(r, header.SEID, answer, pfcp.CauseAccepted)
	return true
}

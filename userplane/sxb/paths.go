package sxb

import (
	"context"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// remoteEnd is a remote F-TEID that downlink packets go to.
type remoteEnd struct {
	addr netip.Addr
	teid pfcp.TEID
}

// Path is a GTP-U path that sessions use: our address and the peer's.
type Path struct{ Local, Remote netip.Addr }

// use is a path as sessions of one association use it.
type use struct {
	path  Path
	owner uint32
}

func (sh *shard) hash(at remoteEnd) uint64 { return maphash.Comparable(sh.e.seed, at) }

// ends yields the tunnels that a session's FARs name.
func ends(s *session.Session, yield func(session.Tunnel)) {
	for i := range s.FARs {
		if outer := &s.FARs[i].Outer; outer.Present && outer.Value.TEID != 0 {
			if t, ok := s.Tunnel(outer.Value); ok {
				yield(t)
			}
		}
	}
}

func remoteOf(t session.Tunnel) remoteEnd { return remoteEnd{t.Remote, t.TEID} }

func sendsTo(s *session.Session, at remoteEnd) (found bool) {
	ends(s, func(t session.Tunnel) { found = found || remoteOf(t) == at })
	return found
}

// maxSharers bounds the sessions beside the first that are remembered to send to one remote F-TEID; ours. Each F-TEID is one
// session's, but for those that the remote end has forgotten and given to another since.
const maxSharers = 16

// connect notes whom a session sends to; disconnect takes that back.
func (sh *shard) connect(s *session.Session) {
	ends(s, func(t session.Tunnel) {
		h := sh.hash(remoteOf(t))
		if first, ok := sh.remotes[h]; !ok {
			sh.remotes[h] = s.SEID
		} else if others := sh.sharers[h]; first != s.SEID && len(others) < maxSharers && !slices.Contains(others, s.SEID) {
			sh.sharers[h] = append(others, s.SEID)
		}
		sh.uses[use{Path{t.Local, t.Remote}, s.Owner}]++
	})
}

func (sh *shard) disconnect(s *session.Session) {
	ends(s, func(t session.Tunnel) {
		h := sh.hash(remoteOf(t))
		others := slices.DeleteFunc(sh.sharers[h], func(seid pfcp.SEID) bool { return seid == s.SEID })
		if sh.remotes[h] == s.SEID {
			delete(sh.remotes, h)
			if len(others) > 0 {
				sh.remotes[h], others = others[0], others[1:]
			}
		}
		if len(others) > 0 {
			sh.sharers[h] = others
		} else {
			delete(sh.sharers, h)
		}
		u := use{Path{t.Local, t.Remote}, s.Owner}
		if sh.uses[u]--; sh.uses[u] <= 0 {
			delete(sh.uses, u)
		}
	})
}

// sameEnds says whether two states of a session send to the same.
func sameEnds(a, b *session.Session) bool {
	if a.Slice != b.Slice || len(a.FARs) != len(b.FARs) {
		return false
	}
	for i := range a.FARs {
		if a.FARs[i].Outer != b.FARs[i].Outer {
			return false
		}
	}
	return true
}

// Paths returns the GTP-U paths that sessions use.
func (e *Edge) Paths(ctx context.Context) []Path {
	var all []Path
	for u := range e.used(ctx) {
		if !slices.Contains(all, u.path) {
			all = append(all, u.path)
		}
	}
	return all
}

// used asks the shards for the paths and whose sessions use them.
func (e *Edge) used(ctx context.Context) map[use]bool {
	all := map[use]bool{}
	for _, sh := range e.shards {
		answer := make(chan []use, 1)
		ask := func() {
			var some []use
			for u := range sh.uses {
				some = append(some, u)
			}
			answer <- some
		}
		select {
		case sh.commands <- ask:
		case <-sh.stopped:
			return all
		case <-ctx.Done():
			return all
		}
		select {
		case some := <-answer:
			for _, u := range some {
				all[u] = true
			}
		case <-sh.stopped:
			return all
		case <-ctx.Done():
			return all
		}
	}
	return all
}

// PathChanged tells the control planes whose sessions use a path that it has failed, or has recovered: a Node Report
// Request, TS 29.244 6.2.9.
func (e *Edge) PathChanged(ctx context.Context, path Path, failed bool) {
	peer := pfcp.RemoteGTPUPeer{}
	if path.Remote.Is4() {
		peer.IPv4 = path.Remote
	} else {
		peer.IPv6 = path.Remote
	}
	request := &pfcp.NodeReportRequest{NodeID: e.cfg.NodeID}
	if failed {
		request.ReportType, request.PathFailures = pfcp.NodeReportPathFailure, []pfcp.RemoteGTPUPeer{peer}
	} else {
		request.ReportType, request.PathRecoveries = pfcp.NodeReportPathRecovery, []pfcp.RemoteGTPUPeer{peer}
	}
	d := e.directory.Load()
	for u := range e.used(ctx) {
		a := d.byID[u.owner]
		if u.path != path || a == nil {
			continue
		}
		e.stats.nodeReports.Add(1)
		e.endpoint.Call(a.peer(), 0, request, func(_ pfcp.Header, m pfcp.Message, err error) {
			if r, ok := m.(*pfcp.NodeReportResponse); err != nil || !ok || r.Cause != pfcp.CauseAccepted {
				e.log.Warn("node report not accepted", "peer", a.node.String(), "remote", path.Remote.String(), "err", err)
			}
		})
	}
}

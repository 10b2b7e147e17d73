package gtpc

import (
	"net/netip"
	"time"
)

// PathEvent is what happened to the path to a peer, TS 23.007 clauses 18 and 20.
type PathEvent struct {
	Peer netip.Addr
	Kind PathEventKind
}

// PathEventKind is the kind of a PathEvent.
type PathEventKind int

// Kinds of PathEvent.
const (
	PeerRestarted PathEventKind = iota // its restart counter rose: it has lost its sessions
	PathDown                           // it stopped answering Echo Requests
	PathUp                             // it answers again after PathDown
)

// String returns the word that metrics and logs use.
func (k PathEventKind) String() string {
	switch k {
	case PeerRestarted:
		return "peer_restarted"
	case PathDown:
		return "path_down"
	case PathUp:
		return "path_up"
	}
	return "unknown"
}

// paths is what is known of the peers' GTP-C entities, without a socket and without a clock. It is not safe for
// concurrent use.
type paths struct {
	interval time.Duration // between Echo Requests; TS 29.274 7.1.1 forbids less than 60 s
	max      int
	known    map[netip.Addr]*path
	stale    uint64 // restart counters that were older than the one known
}

type path struct {
	holds    int        // sessions that use it: without any, no Echo goes out and it may be forgotten
	restart  Opt[uint8] // the peer's restart counter
	down     bool
	nextEcho time.Time
	seen     time.Time
}

func newPaths(cfg EndpointConfig) *paths {
	return &paths{interval: cfg.EchoInterval, max: cfg.MaxPeers, known: make(map[netip.Addr]*path)}
}

// get returns the path to a peer; nil when it is unknown and there is no room for it.
func (p *paths) get(peer netip.Addr, now time.Time) *path {
	if x := p.known[peer]; x != nil {
		x.seen = now
		return x
	}
	if len(p.known) >= p.max {
		p.forgetIdle(now)
	}
	if len(p.known) >= p.max && !p.forgetUnused() {
		return nil
	}
	x := &path{nextEcho: now.Add(p.interval), seen: now}
	p.known[peer] = x
	return x
}

// forgetIdle forgets the paths that no session uses and from which nothing came for an interval.
func (p *paths) forgetIdle(now time.Time) {
	for addr, x := range p.known {
		if x.holds == 0 && now.Sub(x.seen) >= p.interval {
			delete(p.known, addr)
		}
	}
}

// forgetUnused forgets one path that no session uses, so that forged addresses cannot keep SGWs out.
func (p *paths) forgetUnused() bool {
	for addr, x := range p.known {
		if x.holds == 0 {
			delete(p.known, addr)
			return true
		}
	}
	return false
}

func (p *paths) hold(peer netip.Addr, n int, now time.Time) {
	if x := p.get(peer, now); x != nil {
		x.holds = max(0, x.holds+n)
	}
}

// recovery notes the restart counter of a peer, TS 23.007 18: true when it rose, modulo 256. A lower one came
// late on the way and is discarded.
func (p *paths) recovery(peer netip.Addr, counter uint8, now time.Time) (restarted bool) {
	x := p.get(peer, now)
	switch {
	case x == nil:
		return false
	case !x.restart.Present:
		x.restart = Some(counter)
		return false
	}
	switch step := int8(counter - x.restart.Value); {
	case step > 0:
		x.restart.Value = counter
		return true
	case step < 0:
		p.stale++
	}
	return false
}

// echoes returns the peers that are to be sent an Echo Request now.
func (p *paths) echoes(now time.Time) []netip.Addr {
	var due []netip.Addr
	for addr, x := range p.known {
		if x.holds > 0 && !now.Before(x.nextEcho) {
			x.nextEcho = now.Add(p.interval)
			due = append(due, addr)
		}
	}
	return due
}

// echoed notes the outcome of an Echo Request and returns the event that it makes, if any.
func (p *paths) echoed(peer netip.Addr, answered bool) (PathEventKind, bool) {
	x := p.known[peer]
	if x == nil || x.down == !answered {
		return 0, false
	}
	x.down = !answered
	if answered {
		return PathUp, true
	}
	return PathDown, true
}

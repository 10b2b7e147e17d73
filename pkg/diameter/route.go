package diameter

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// maxSeen bounds the memory of who was seen behind which agent; beyond, any one is forgotten.
const maxSeen = 10_000

// seen remembers behind which neighbour a host was last seen.
type seen struct {
	mu  sync.Mutex
	via map[string]string // both in lower case
}

func (s *seen) note(host, via string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.via == nil {
		s.via = map[string]string{}
	}
	if _, known := s.via[host]; !known && len(s.via) >= maxSeen {
		for h := range s.via {
			delete(s.via, h)
			break
		}
	}
	s.via[host] = via
}

func (s *seen) behind(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.via[host]
}

// Outgoing is a request of our own. Session-Id, the application's common AVPs, our origin and the destination are added.
type Outgoing struct {
	Host, Realm          string // Destination-Host and Destination-Realm
	Via                  string // neighbour behind which the host was last seen, if the caller knows; "" it does not
	Tries                int    // how often it was sent before: the ways to the host take turns
	Application, Command uint32
	AVPs                 []AVP

	// A repetition has the same two as the first (RFC 6733 3 and 5.5.4); zero values stand for new ones.
	SessionID     string // what follows our identity in Session-Id
	EndToEnd      uint32
	Retransmitted bool // the T bit
}

// next is the connection over which a request to that host goes: the host's own, else the agent's behind which it was
// last seen, as we know or the caller, else that of an agent whose routes have the realm. Those that the watchdog finds okay
// go before all that are suspect or just back. What one way did not get answered goes another, if there is one: an agent may
// be up and have lost the host (RFC 6733 7.1.3, 3002). nil when none is open.
func (n *Node) next(o Outgoing) *conn {
	ways := n.ways(o)
	if okay := slices.DeleteFunc(slices.Clone(ways), func(c *conn) bool { return !c.isOkay() }); len(okay) > 0 {
		ways = okay
	}
	if len(ways) == 0 {
		return nil
	}
	return ways[o.Tries%len(ways)]
}

// ways are the connections towards the host, the best first.
func (n *Node) ways(o Outgoing) []*conn {
	var all []*conn
	add := func(c *conn) {
		if c != nil && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	host := strings.ToLower(o.Host)
	for _, via := range []string{host, n.seen.behind(host), o.Via} {
		add(n.lookup(via))
	}
	open := n.open()
	slices.SortFunc(open, func(a, b *conn) int { return strings.Compare(a.key, b.key) })
	for _, c := range open {
		if c.config.routes(o.Realm) {
			add(c)
		}
	}
	return all
}

// Reaches says whether a request to that host can be sent now.
func (n *Node) Reaches(host, realm, via string) bool {
	return n.next(Outgoing{Host: host, Realm: realm, Via: via}) != nil
}

// checkOrigin says whether the peer may bring that request: what others have sent is an agent's to bring, and no request
// comes to us twice (RFC 6733 6.1.3 and 6.7.1). The error is an *Error.
func (c *conn) checkOrigin(m Message) error {
	for _, a := range m.AVPs {
		if a.Is(RouteRecord) && equalIdentity(a.Text(), c.node.cfg.Identity) {
			return &Error{Code: LoopDetected, Err: fmt.Errorf("we stand in a Route-Record")}
		}
	}
	origin := strings.ToLower(m.Text(OriginHost))
	if origin == "" || origin == c.key {
		return nil
	}
	if !c.config.Agent {
		return &Error{Code: UnknownPeer, Err: fmt.Errorf("origin %q behind a peer that is no agent by the configuration", origin)}
	}
	c.node.seen.note(origin, c.key)
	return nil
}

// routes says whether the peer is an agent for that realm.
func (p PeerConfig) routes(realm string) bool {
	for _, r := range p.Routes {
		if r == "*" || strings.EqualFold(r, realm) {
			return true
		}
	}
	return false
}

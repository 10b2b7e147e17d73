package diameter

import (
	"fmt"
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
	Application, Command uint32
	AVPs                 []AVP

	// A repetition has the same two as the first (RFC 6733 3 and 5.5.4); zero values stand for new ones.
	SessionID     string // what follows our identity in Session-Id
	EndToEnd      uint32
	Retransmitted bool // the T bit
}

// next is the connection over which a request to that host goes: the host's own, else the agent's behind which it was
// last seen, as we know or the caller, else that of an agent whose routes have the realm. One that the watchdog finds okay
// goes before all that are suspect or just back. nil when none is open.
func (n *Node) next(o Outgoing) *conn {
	if c := n.way(o, (*conn).isOkay); c != nil {
		return c
	}
	return n.way(o, func(*conn) bool { return true })
}

// way is the first connection towards the host that will do.
func (n *Node) way(o Outgoing, willDo func(*conn) bool) *conn {
	host := strings.ToLower(o.Host)
	for _, via := range []string{host, n.seen.behind(host), strings.ToLower(o.Via)} {
		if via == "" {
			continue
		}
		if c := n.lookup(via); c != nil && willDo(c) {
			return c
		}
	}
	for _, c := range n.open() {
		if c.config.routes(o.Realm) && willDo(c) {
			return c
		}
	}
	return nil
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

package diameter

import (
	"context"
	"errors"
	"strings"
	"time"
)

// attempt is a connection that we are about to open to a peer. Node.mu guards its fields.
type attempt struct {
	cancel context.CancelFunc
	asked  bool          // our CER is out
	lost   bool          // the peer's connection is to be kept, not this one
	over   chan struct{} // closed at its end, when the peer is open or is not
}

var errElection = errors.New("both sides have connected, and the other connection is kept")

// begin notes an attempt, unless the peer is open or we are stopping.
func (n *Node) begin(ctx context.Context, host string) (context.Context, *attempt) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if key := strings.ToLower(host); n.peers[key] == nil && !n.stopping {
		ctx, cancel := context.WithCancel(ctx)
		n.attempts[key] = &attempt{cancel: cancel, over: make(chan struct{})}
		return ctx, n.attempts[key]
	}
	return ctx, nil
}

// ask notes that the CER goes out; errElection when the peer's connection was chosen meanwhile.
func (n *Node) ask(a *attempt) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.lost {
		return errElection
	}
	a.asked = true
	return nil
}

// conclude ends an attempt, and with it opens c unless that is nil or the peer's connection was chosen meanwhile.
func (n *Node) conclude(host string, a *attempt, c *conn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer a.cancel()
	defer close(a.over)
	delete(n.attempts, strings.ToLower(host))
	switch {
	case a.lost:
		return errElection
	case c == nil:
		return nil
	}
	return n.enterLocked(c)
}

// elect decides between the connection that a peer has opened, whose CER is here, and one that we have or are about to
// have, RFC 6733 5.6.4. The side whose identity is the greater keeps the connection that the other has opened. The error
// is errElection when the peer's is to be closed without an answer.
//
// An attempt whose CER is not out yet has never existed for the peer: then its connection is taken, whoever would win.
func (n *Node) elect(host string) error {
	key := strings.ToLower(host)
	wins := strings.ToLower(n.cfg.Identity) > key
	n.mu.Lock()
	a, open := n.attempts[key], n.peers[key]
	switch {
	case a != nil && (wins || !a.asked):
		a.lost = true
		a.cancel()
		n.mu.Unlock()
		return nil
	case a == nil:
		// Its CER may have crossed ours, which it has answered: it has closed this connection then. Later it is a peer
		// that connects anew.
		crossed := open != nil && open.ours && !wins && time.Since(open.since) < n.cfg.CapabilitiesWithin
		n.mu.Unlock()
		if crossed {
			return errElection
		}
		return nil
	}
	n.mu.Unlock()
	<-a.over // within CapabilitiesWithin
	if n.lookup(host) != nil {
		return errElection
	}
	return nil
}

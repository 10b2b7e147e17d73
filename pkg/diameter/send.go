package diameter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of Send that are not the peer's answer.
var (
	ErrNotConnected = errors.New("no connection to the peer")
	ErrTooMany      = errors.New("too many requests without an answer")
)

func equalIdentity(a, b string) bool { return strings.EqualFold(a, b) }

// Send sends a request of our own towards its host and waits for the answer, at most AnswerWithin. An answer that is not
// a success is returned together with its *Error.
func (n *Node) Send(ctx context.Context, o Outgoing) (Message, error) {
	c := n.next(o)
	if c == nil {
		return Message{}, fmt.Errorf("sending command %d to %s: %w", o.Command, o.Host, ErrNotConnected)
	}
	req := n.outgoing(o)
	ctx, cancel := context.WithTimeout(ctx, n.cfg.AnswerWithin)
	defer cancel()
	ans, err := c.exchange(ctx, req)
	vendor, code := ans.result()
	result := knownResult(vendor, code)
	if err != nil {
		result = "none"
	}
	n.stats.sentRequest(CommandName(req.Header), c.config.label(), result)
	if err != nil {
		return Message{}, fmt.Errorf("sending command %d to %s: %w", o.Command, o.Host, err)
	}
	return ans, ans.Err()
}

// outgoing makes the message.
func (n *Node) outgoing(o Outgoing) Message {
	req := Message{Header: Header{
		Request: true, Proxiable: true, Retransmitted: o.Retransmitted,
		Command: o.Command, Application: o.Application, EndToEnd: o.EndToEnd,
	}}
	if req.EndToEnd == 0 {
		req.EndToEnd = n.endToEnd.Add(1)
	}
	session := n.newSessionID()
	if o.SessionID != "" {
		session = n.cfg.Identity + ";" + o.SessionID
	}
	req.AVPs = append(req.AVPs, SessionID.Text(session))
	req.AVPs = append(req.AVPs, n.apps[o.Application].Common...)
	req.AVPs = append(req.AVPs, OriginHost.Text(n.cfg.Identity), OriginRealm.Text(n.cfg.Realm),
		DestinationHost.Text(o.Host), DestinationRealm.Text(o.Realm))
	req.AVPs = append(req.AVPs, o.AVPs...)
	return req
}

// newSessionID returns a Session-Id as RFC 6733 8.8 recommends: identity, high and low 32 bits.
func (n *Node) newSessionID() string {
	return fmt.Sprintf("%s;%d;%d", n.cfg.Identity, n.stateID, n.sessions.Add(1))
}

// exchange sends a request and waits for the answer with the same hop-by-hop id.
func (c *conn) exchange(ctx context.Context, req Message) (Message, error) {
	answer := make(chan Message, 1)
	c.mu.Lock()
	if len(c.pending) >= maxPending {
		c.mu.Unlock()
		return Message{}, ErrTooMany
	}
	req.HopByHop = c.hopByHop.Add(1)
	c.pending[req.HopByHop] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, req.HopByHop)
		c.mu.Unlock()
	}()
	if err := c.enqueue(req.Append(nil)); err != nil {
		return Message{}, err
	}
	select {
	case m := <-answer:
		return m, nil
	case <-c.ended:
		return Message{}, c.err()
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
}

// deliver hands an answer to whoever waits for it. One that nobody waits for, late or made up, is counted.
func (c *conn) deliver(m Message, broken error) {
	if m.Application == ApplicationBase && m.Command == CommandDeviceWatchdog {
		return // the watchdog has seen it
	}
	c.mu.Lock()
	answer := c.pending[m.HopByHop]
	delete(c.pending, m.HopByHop)
	c.mu.Unlock()
	if answer == nil || broken != nil {
		c.node.stats.strayAnswer()
		c.log.Debug("answer dropped", "command", CommandName(m.Header), "err", broken)
		return
	}
	answer <- m
}

// takeLeave lets the requests in work be answered, sends a DPR (RFC 6733 5.4), waits for the DPA, and closes. The DPR
// is queued behind the answers, so that with the DPA the peer has had them all.
func (c *conn) takeLeave(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c.drain()
	select {
	case <-c.idle:
	case <-c.ended:
	case <-ctx.Done():
	}
	_, err := c.exchange(ctx, c.ownRequest(CommandDisconnectPeer, DisconnectCause.Unsigned(disconnectRebooting)))
	c.log.Debug("took leave", "err", err)
	c.close(errWeLeft)
}

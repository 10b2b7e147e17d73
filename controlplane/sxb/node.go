package sxb

import (
	"errors"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// State is what stands between us and a node.
type State uint8

// Values of State.
const (
	StateConnecting State = iota // no association yet; one is being set up
	StateAssociated              // sessions can be set up
	StateDown                    // the node does not answer, refuses, or has left; we keep trying
)

// String returns the glossary's word.
func (s State) String() string {
	return [...]string{"connecting", "associated", "down"}[s]
}

// Event is what the PGW-C hears of its nodes: a NodeUp, a NodeDown, a NodeRestarted or a SessionReport.
type Event interface{ event() }

// NodeUp says that sessions can be set up on the node. Those that it had are still there, unless a NodeRestarted
// came before.
type NodeUp struct{ Node string }

// NodeDown says that the node takes no requests now. Its sessions may live on and forward.
type NodeDown struct{ Node, Reason string }

// NodeRestarted says that the node's sessions are gone: its Recovery Time Stamp changed, or it no longer knows our
// association. A NodeUp follows when it can be used again.
type NodeRestarted struct{ Node string }

// SessionReport is what a node has to say of a session, TS 29.244 7.5.8. Answer is to be called once, with the node's
// SEID of the session if there is one.
type SessionReport struct {
	Node   string
	SEID   pfcp.SEID // ours
	Report *pfcp.SessionReportRequest
	Answer func(pfcp.Cause, pfcp.SEID)
}

func (NodeUp) event()        {}
func (SessionReport) event() {}
func (NodeDown) event()      {}
func (NodeRestarted) event() {}

// node is the association with one PGW-U, TS 29.244 6.2.6: pure, time is a parameter. At most one request of ours
// (an Association Setup or a heartbeat) waits for its answer.
//
// An association outlives a path failure: a node that answers heartbeats again with the Recovery Time Stamp that
// it had has kept our sessions, and a new Association Setup would cost them. Only when heartbeats have been in vain
// for long are setups tried in turn with them, for a node that answers those alone whom it knows.
type node struct {
	cfg    NodeConfig
	timing Config

	state      State
	reason     string // of StateDown
	associated bool   // also while the path is down
	nodeID     pfcp.NodeID
	features   pfcp.UPFunctionFeatures
	recovery   pfcp.Opt[pfcp.RecoveryTimeStamp]
	heard      time.Time // last heartbeat, either way, or association; zero: never

	releaseBy time.Time // when the association that the node wants released is to be; zero: it does not want that

	asking  bool          // our request is pending
	due     time.Time     // of our next request
	backoff time.Duration // after the last failed Association Setup; 0: it did not fail
	vain    int           // requests to the associated node without an answer since it was heard last
}

// patience is how many requests to an associated node are in vain before setups are tried (ours).
const patience = 5

// ask is the request that is due.
type ask uint8

const (
	askNothing ask = iota
	askSetup
	askHeartbeat
	askRelease
)

// tick returns what is to be sent now.
func (n *node) tick(now time.Time) ask {
	if n.releasing() && !now.Before(n.releaseBy) && !n.asking {
		n.asking = true
		return askRelease
	}
	if n.asking || now.Before(n.due) {
		return askNothing
	}
	n.asking = true
	if n.associated && (n.vain < patience || n.vain%2 == 0) {
		return askHeartbeat
	}
	return askSetup
}

// setupAnswered takes the outcome of our Association Setup Request.
func (n *node) setupAnswered(now time.Time, m *pfcp.AssociationSetupResponse, err error) []Event {
	n.asking = false
	if err == nil {
		return n.established(now, m.NodeID, m.RecoveryTimeStamp, m.UPFunctionFeatures)
	}
	if n.state == StateAssociated { // by the node's own request meanwhile
		return nil
	}
	if n.associated {
		n.vain++
		n.due = now.Add(n.timing.RetryMin)
		return nil
	}
	n.backoff = min(max(2*n.backoff, n.timing.RetryMin), n.timing.RetryMax)
	n.due = now.Add(n.backoff)
	n.state, n.reason = StateDown, "association setup: "+err.Error()
	return nil
}

// setupRequested takes the node's own Association Setup Request, which is always accepted.
func (n *node) setupRequested(now time.Time, m *pfcp.AssociationSetupRequest) []Event {
	return n.established(now, m.NodeID, m.RecoveryTimeStamp, m.UPFunctionFeatures)
}

// established begins an association.
func (n *node) established(
	now time.Time, id pfcp.NodeID, recovery pfcp.RecoveryTimeStamp, features pfcp.Opt[pfcp.UPFunctionFeatures],
) []Event {
	var events []Event
	if n.recovery.Present && n.recovery.Value != recovery {
		events = append(events, NodeRestarted{n.cfg.Name})
	}
	if n.state != StateAssociated {
		events = append(events, NodeUp{n.cfg.Name})
	}
	n.state, n.reason, n.associated, n.backoff, n.releaseBy = StateAssociated, "", true, 0, time.Time{}
	n.nodeID, n.recovery, n.features = id, pfcp.Some(recovery), features.Value
	n.hear(now)
	return events
}

// heartbeatAnswered takes the outcome of our Heartbeat Request.
func (n *node) heartbeatAnswered(now time.Time, m *pfcp.HeartbeatResponse, err error) []Event {
	n.asking = false
	if !n.associated {
		return nil
	}
	if err == nil {
		return n.alive(now, m.RecoveryTimeStamp)
	}
	n.vain++
	n.due = now.Add(n.timing.RetryMin)
	if n.state == StateDown || n.heard.Add(n.timing.HeartbeatInterval).After(now) {
		return nil // known, or its own heartbeats arrive although it does not answer ours
	}
	return n.down("heartbeat: " + err.Error())
}

// heartbeatRequested takes the node's own Heartbeat Request, which is a sign of life as good as an answer to ours.
func (n *node) heartbeatRequested(now time.Time, m *pfcp.HeartbeatRequest) []Event {
	if !n.associated {
		return nil
	}
	return n.alive(now, m.RecoveryTimeStamp)
}

// alive takes a sign of life of an associated node. Whether its Recovery Time Stamp grew or shrank is not asked:
// a clock that was wrong may have been put right.
func (n *node) alive(now time.Time, recovery pfcp.Opt[pfcp.RecoveryTimeStamp]) []Event {
	n.hear(now)
	if recovery.Present && recovery != n.recovery {
		events := n.lost(now, "restarted")
		n.recovery = recovery
		return events
	}
	if n.state == StateAssociated {
		return nil
	}
	n.state, n.reason = StateAssociated, ""
	return []Event{NodeUp{n.cfg.Name}}
}

// hear notes a sign of life.
func (n *node) hear(now time.Time) {
	n.heard, n.due, n.vain = now, now.Add(n.timing.HeartbeatInterval), 0
}

// releasing says whether the node wants the association released: it gets no new sessions.
func (n *node) releasing() bool { return !n.releaseBy.IsZero() }

// updated takes the node's Association Update Request; false when there is no association. Until the time that the node
// grants is over its sessions stay, TS 29.244 6.2.7.3.
func (n *node) updated(now time.Time, m *pfcp.AssociationUpdateRequest) bool {
	if !n.associated {
		return false
	}
	if m.UPFunctionFeatures.Present {
		n.features = m.UPFunctionFeatures.Value
	}
	if m.ReleaseRequested {
		period, bounded := m.GracefulReleasePeriod.Value.Duration()
		if n.releaseBy = now.Add(period); m.GracefulReleasePeriod.Present && !bounded {
			n.releaseBy = now.Add(forEver)
		}
	}
	return true
}

// forEver is how long a node waits that grants a time without end.
const forEver = 10 * 365 * 24 * time.Hour

// releaseAnswered ends the association that the node wanted released, whatever it said. The node is in somebody's hands:
// we do not come back at once.
func (n *node) releaseAnswered(now time.Time) []Event {
	n.asking = false
	if !n.associated {
		return nil
	}
	return n.lost(now.Add(n.timing.RetryMax), "released, as the node asked for")
}

// released takes the node's Association Release Request; false when there is no association.
func (n *node) released(now time.Time) ([]Event, bool) {
	if !n.associated {
		return nil, false
	}
	events := n.lost(now.Add(n.timing.RetryMin), "released by the node")
	return events, true
}

// unknown takes the node's word that it has no association with us.
func (n *node) unknown(now time.Time) []Event {
	if !n.associated {
		return nil
	}
	return n.lost(now, "the node does not know the association")
}

// lost ends an association whose sessions are gone; a new one is set up when it is due.
func (n *node) lost(due time.Time, reason string) []Event {
	var events []Event
	if n.state == StateAssociated {
		events = n.down(reason)
	}
	n.associated, n.recovery, n.releaseBy = false, pfcp.Opt[pfcp.RecoveryTimeStamp]{}, time.Time{}
	n.state, n.reason, n.due = StateDown, reason, due
	return append(events, NodeRestarted{n.cfg.Name})
}

// down marks a node that was up.
func (n *node) down(reason string) []Event {
	n.state, n.reason = StateDown, reason
	return []Event{NodeDown{Node: n.cfg.Name, Reason: reason}}
}

// refusal turns a response's cause into an error; nil when it accepts.
func refusal(cause pfcp.Cause, offending pfcp.Opt[uint16], rule pfcp.Opt[pfcp.FailedRuleID]) error {
	if cause == pfcp.CauseAccepted {
		return nil
	}
	return &pfcp.Error{
		Cause: cause, Offending: offending.Value, FailedRule: rule, Err: errors.New("refused by the user plane"),
	}
}

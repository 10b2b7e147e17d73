// Package session owns PDN connections as data: what a PGW-C knows of each, and the procedures that change it.
// A procedure is a function from a state and an event to the next state and a list of actions. The package sends
// nothing, looks at no clock, gives out no number and knows no wire format: GTPv2-C and GTPv1-C requests both
// become its events, and the edge carries out its actions.
package session

import (
	"net/netip"
	"slices"
	"time"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

// Key names a PDN connection in a PGW: the SIM and its default bearer, TS 29.274 7.2.1.
type Key struct {
	IMSI identity.IMSI
	EBI  gtpc.EBI
}

// Phase says which procedure a PDN connection is in. In every phase but PhaseIdle and PhaseActive exactly one
// answer is awaited, and requests that arrive meanwhile wait.
type Phase int

// The phases.
const (
	PhaseIdle         Phase = iota // there is no PDN connection
	PhaseAdmitting                 // Create Session: awaits Admitted or Refused
	PhaseEstablishing              // Create Session: awaits RulesInstalled or RulesFailed
	PhaseActive                    // in service
	PhaseModifying                 // Modify Bearer: awaits RulesInstalled or RulesFailed
	PhaseDeleting                  // awaits RulesDeleted or RulesFailed
)

// String returns the glossary's word.
func (p Phase) String() string {
	return [...]string{"idle", "admitting", "establishing", "active", "modifying", "deleting"}[p]
}

// State is all that is known under one Key. The zero State, with its Key set, is that of a SIM without a PDN
// connection. A State is a value: Step returns the next one and leaves the one it was given as it was.
type State struct {
	Key        Key
	Phase      Phase
	Connection Connection // from PhaseEstablishing on
	Next       Connection // PhaseModifying: what Connection becomes when the rules are in

	// pending is the request that the phase works for; nil in PhaseDeleting when nobody asked for the deletion.
	pending Request
	// waiting are requests that came during the phase, in order.
	waiting []Request
	// nodeLost: the PGW-U lost the connection's rules during the phase; it cannot be kept.
	nodeLost bool
	// lostPeers restarted during the phase: a connection of one of these SGWs must not be kept.
	lostPeers []netip.Addr
}

// Connection is a PDN connection, TS 23.401 5.7.4 as far as it is served.
type Connection struct {
	Key             Key
	MSISDN          gtpc.Opt[identity.MSISDN]
	MEI             string // IMEI or IMEISV digits; "" when not known
	APN             identity.APN
	NetworkInstance pfcp.NetworkInstance
	Pool            string     // that Address is of
	Address         netip.Addr // of the UE
	Static          bool       // Address is of the subscription
	RAT             gtpc.RATType
	ServingNetwork  gtpc.Opt[identity.PLMN]
	UserLocation    []byte     // TS 29.274 8.21, as received; not to be changed in place
	UETimeZone      []byte     // TS 29.274 8.44, as received; not to be changed in place
	AMBR            gtpc.AMBR  // the APN-AMBR in force, kbit/s
	Local           gtpc.TEID  // our TEID-C
	Remote          gtpc.FTEID // of the SGW for the control plane
	ChargingID      uint32     // TS 29.274 8.29; of the default bearer
	Node            string     // name of the PGW-U
	EndMarkers      bool       // the PGW-U announced EMPU: it can send end markers, TS 29.244 8.2.25
	CPSEID, UPSEID  pfcp.SEID  // UPSEID is 0 until the rules are in
	Bearers         []Bearer   // the default bearer first; not to be changed in place
	Since           time.Time  // when it was admitted
}

// Bearer is an EPS bearer of a PDN connection.
type Bearer struct {
	EBI    gtpc.EBI
	QoS    gtpc.BearerQoS
	Local  pfcp.FTEID // S8-U, chosen by the PGW-U
	Remote gtpc.FTEID // S8-U of the SGW
}

// Default is the default bearer.
func (c Connection) Default() Bearer { return c.Bearers[0] }

// EachPeer calls f with the address of every SGW whose restart (PeerRestarted) means something to s; with one more than
// once when it has several parts in s.
func (s State) EachPeer(f func(netip.Addr)) {
	for _, remote := range []gtpc.FTEID{s.Connection.Remote, s.Next.Remote} {
		if remote.Addr().IsValid() {
			f(remote.Addr())
		}
	}
	if c, ok := s.pending.(CreateSession); ok {
		f(c.Remote.Addr())
	}
	for _, r := range s.waiting {
		if c, ok := r.(CreateSession); ok {
			f(c.Remote.Addr())
		}
	}
}

// maxWaiting is how many requests may wait for the one in progress; further ones are refused.
const maxWaiting = 4

// Step is the only way a State changes.
func Step(s State, event Event) (State, []Action) {
	switch e := event.(type) {
	case CreateSession:
		return request(s, e)
	case ModifyBearer:
		return request(s, e)
	case DeleteSession:
		return request(s, e)
	case Admitted:
		return admitted(s, e)
	case Refused:
		return refused(s, e)
	case RulesInstalled:
		return rulesInstalled(s, e)
	case RulesFailed:
		return rulesFailed(s, e)
	case RulesDeleted:
		return gone(s, nil)
	case NodeRestarted:
		return nodeRestarted(s, e)
	case ErrorIndicated:
		return errorIndicated(s, e)
	case PeerRestarted:
		return peerRestarted(s, e)
	}
	return s, nil
}

// request starts the procedure of a request, or lets it wait for the one in progress.
func request(s State, r Request) (State, []Action) {
	if s.Phase != PhaseIdle && s.Phase != PhaseActive {
		if len(s.waiting) == maxWaiting {
			return s, []Action{refuse(r, &gtpc.Error{Cause: gtpc.CauseRequestRejected, Err: errWaiting})}
		}
		s.waiting = append(slices.Clone(s.waiting), r)
		return s, nil
	}
	switch r := r.(type) {
	case CreateSession:
		return create(s, r)
	case ModifyBearer:
		return modify(s, r)
	case DeleteSession:
		return deleteSession(s, r)
	}
	return s, nil
}

// settle ends a procedure: what happened to the nodes meanwhile takes effect, then the requests that waited have
// their turn.
func settle(s State, actions []Action) (State, []Action) {
	s.pending = nil
	if s.Phase == PhaseActive && s.lost() {
		next, more := tearDown(s)
		return next, append(actions, more...)
	}
	s.nodeLost, s.lostPeers = false, nil
	for len(s.waiting) > 0 && (s.Phase == PhaseIdle || s.Phase == PhaseActive) {
		r := s.waiting[0]
		s.waiting = slices.Clone(s.waiting[1:])
		var more []Action
		s, more = request(s, r)
		actions = append(actions, more...)
	}
	return s, actions
}

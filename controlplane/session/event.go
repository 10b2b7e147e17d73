package session

import (
	"errors"
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

var (
	errWaiting       = errors.New("too many requests wait for the one in progress")
	errNotFound      = errors.New("no PDN connection with this TEID")
	errNodeRestarted = errors.New("the PGW-U restarted meanwhile")
)

// Ref names the request of a peer that an answer is for. It is the edge's.
type Ref uint64

// Event is what a State reacts to: one of the types of this file.
type Event interface{ event() }

// Request is an event that a peer waits for an answer to.
type Request interface {
	Event
	ref() Ref
	replyTEID() gtpc.TEID // where an answer goes that no PDN connection stands behind
}

// Envelope is what all requests have in common.
type Envelope struct {
	Ref   Ref
	Reply gtpc.TEID // of the request's Sender F-TEID; 0 when it has none
}

func (e Envelope) ref() Ref             { return e.Ref }
func (e Envelope) replyTEID() gtpc.TEID { return e.Reply }

// CreateSession asks for a PDN connection: TS 29.274 7.2.1.
type CreateSession struct {
	Envelope
	Key            Key
	MSISDN         gtpc.Opt[identity.MSISDN]
	MEI            string
	APN            identity.APN
	SelectionMode  gtpc.Opt[gtpc.SelectionMode]
	PDNType        gtpc.PDNType
	Address        netip.Addr // IPv4 of the PAA; unspecified: a dynamic one is asked for
	AMBR           gtpc.AMBR
	RAT            gtpc.RATType
	ServingNetwork gtpc.Opt[identity.PLMN]
	UserLocation   []byte
	UETimeZone     []byte
	PCO            gtpc.PCO
	Remote         gtpc.FTEID // of the SGW, control plane
	Bearer         gtpc.BearerToCreate
}

// ModifyBearer changes a PDN connection: TS 29.274 7.2.7. Absent means unchanged.
type ModifyBearer struct {
	Envelope
	Local          gtpc.TEID // the request was sent to
	MEI            string
	RAT            gtpc.Opt[gtpc.RATType]
	ServingNetwork gtpc.Opt[identity.PLMN]
	UserLocation   []byte
	UETimeZone     []byte
	Remote         gtpc.Opt[gtpc.FTEID] // of the new SGW, control plane
	Bearers        []gtpc.BearerToModify
}

// DeleteSession ends a PDN connection: TS 29.274 7.2.9.1.
type DeleteSession struct {
	Envelope
	Local     gtpc.TEID // the request was sent to
	LinkedEBI gtpc.Opt[gtpc.EBI]
}

// Admitted answers the action Admit: all that the node gives out for the connection.
type Admitted struct {
	Profile    Profile
	Address    netip.Addr
	Static     bool
	Node       string
	EndMarkers bool
	Local      gtpc.TEID
	CPSEID     pfcp.SEID
	ChargingID uint32
	At         time.Time
}

// Refused answers the action Admit: nothing was given out.
type Refused struct{ Err *gtpc.Error }

// RulesInstalled answers EstablishRules and ModifyRules. Established is nil after ModifyRules.
type RulesInstalled struct {
	Established *pfcp.SessionEstablishmentResponse
}

// RulesFailed answers EstablishRules, ModifyRules and DeleteRules: with a *pfcp.Error the PGW-U refused, with any
// other it did not answer.
type RulesFailed struct {
	Err    error
	Unsent bool // the PGW-U cannot have heard of the request
}

// RulesDeleted answers DeleteRules.
type RulesDeleted struct{}

// NodeRestarted says that a PGW-U has lost all its rules.
type NodeRestarted struct{ Node string }

// ErrorIndicated says that the other end of a tunnel does not know its TEID: a PGW-U has had an Error Indication for
// what it sends there, TS 29.244 5.10.
type ErrorIndicated struct {
	Node   string
	Remote pfcp.FTEID
}

// PeerRestarted says that an SGW has lost all its PDN connections.
type PeerRestarted struct{ Peer netip.Addr }

func (CreateSession) event()  {}
func (ModifyBearer) event()   {}
func (DeleteSession) event()  {}
func (Admitted) event()       {}
func (Refused) event()        {}
func (RulesInstalled) event() {}
func (RulesFailed) event()    {}
func (RulesDeleted) event()   {}
func (NodeRestarted) event()  {}
func (ErrorIndicated) event() {}
func (PeerRestarted) event()  {}

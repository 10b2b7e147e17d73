package session

import (
	"net/netip"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// Action is what the edge is to do. A list of actions is carried out IN ORDER: an answer to a peer stands only
// AFTER the event that says that its rules are in, a record AFTER its rules and BEFORE the answer, a release AFTER
// the rules that used the address are gone. Actions that are answered by an event (Admit, EstablishRules,
// ModifyRules, DeleteRules) come last in a list, and at most one of them.
type Action interface{ action() }

// Admit asks for permission and for what a connection needs: APN, address, PGW-U, numbers. Answered by Admitted or
// Refused.
type Admit struct {
	Subject Subject
	Address netip.Addr // asked for by name; unspecified: any
}

// EstablishRules installs a PFCP session. Answered by RulesInstalled or RulesFailed.
type EstablishRules struct {
	Node    string
	Request *pfcp.SessionEstablishmentRequest
}

// ModifyRules changes a PFCP session. Answered by RulesInstalled or RulesFailed.
type ModifyRules struct {
	Node    string
	UPSEID  pfcp.SEID
	Request *pfcp.SessionModificationRequest
}

// DeleteRules deletes a PFCP session. Answered by RulesDeleted or RulesFailed.
type DeleteRules struct {
	Node   string
	UPSEID pfcp.SEID
}

// Abandon leaves a PFCP session to the edge that may still be there: it is to be deleted when its PGW-U answers again,
// and only then is the address free.
type Abandon struct {
	Node      string
	UPSEID    pfcp.SEID
	Establish *pfcp.SessionEstablishmentRequest // the one that was not answered, when UPSEID is not known
	Pool      string
	Address   netip.Addr
}

// Release gives back what Admitted gave: the UE address, and the place at the PGW-U.
type Release struct {
	Node    string
	Pool    string
	Address netip.Addr
}

// Put writes the record of a connection, new or changed.
type Put struct{ Connection Connection }

// Forget deletes the record of a connection.
type Forget struct{ Connection Connection }

// AnswerCreated accepts a CreateSession.
type AnswerCreated struct {
	Ref        Ref
	Cause      gtpc.Cause // 16 or 18
	Connection Connection
	PCO        gtpc.PCO // nil when the UE asked for nothing
}

// AnswerModified accepts a ModifyBearer.
type AnswerModified struct {
	Ref        Ref
	Cause      gtpc.Cause // 16 or 17
	Connection Connection
	NewSGW     bool
	Unknown    []gtpc.EBI // bearers of the request that the connection does not have
	Bearers    []gtpc.EBI // bearers of the request that it has
}

// AnswerDeleted accepts a DeleteSession.
type AnswerDeleted struct {
	Ref        Ref
	Connection Connection
}

// AnswerRefused refuses a request.
type AnswerRefused struct {
	Ref  Ref
	TEID gtpc.TEID // in the answer's header; 0 when no PDN connection stands behind, TS 29.274 5.5.2
	Err  *gtpc.Error
}

// DropRequest leaves a request without an answer: the peer that made it has restarted since.
type DropRequest struct{ Ref Ref }

// EndConnection tells the SGW that the connection is gone: TS 29.274 7.2.9.2. Nothing waits for its answer.
type EndConnection struct {
	Connection Connection
	Cause      gtpc.Cause
}

func (Admit) action()          {}
func (EstablishRules) action() {}
func (ModifyRules) action()    {}
func (DeleteRules) action()    {}
func (Abandon) action()        {}
func (Release) action()        {}
func (Put) action()            {}
func (Forget) action()         {}
func (AnswerCreated) action()  {}
func (AnswerModified) action() {}
func (AnswerDeleted) action()  {}
func (AnswerRefused) action()  {}
func (DropRequest) action()    {}
func (EndConnection) action()  {}

func release(c Connection) Action { return Release{Node: c.Node, Pool: c.Pool, Address: c.Address} }

// refuse refuses a request that no PDN connection stands behind.
func refuse(r Request, err *gtpc.Error) Action {
	return AnswerRefused{Ref: r.ref(), TEID: r.replyTEID(), Err: err}
}

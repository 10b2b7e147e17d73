package diameter

import (
	"context"
	"net/netip"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	Host      string         `json:"host"`
	Realm     string         `json:"realm"`
	Address   netip.AddrPort `json:"address"`
	Transport string         `json:"transport"` // tcp, sctp or tls
}

// Request is a request whose form has been checked: required AVPs are there, AVPs are as long as their types ask for,
// and no unknown AVP has the M bit.
type Request struct {
	Message
	From Peer // the neighbour that sent it, which may be an agent; the origin stands in Origin-Host
}

// Origin returns Origin-Host and Origin-Realm.
func (r Request) Origin() (host, realm string) {
	return r.text(OriginHost, r.From.Host), r.text(OriginRealm, r.From.Realm)
}

// text returns the value of the first AVP of that definition; one that is the same as usual is not copied.
func (r Request) text(def *AVPDef, usual string) string {
	a, _ := r.First(def)
	if string(a.Data) == usual {
		return usual
	}
	return a.Text()
}

// Handler answers one command: with the AVPs that follow the header AVPs of a successful answer, or with an *Error.
// Any other error is answered 5012. It must return when ctx ends.
type Handler func(ctx context.Context, req Request) ([]AVP, error)

// GroupHandler answers requests of one command that have come together, at most maxGroup, as a Handler does each of them:
// the result i is of request i. All wait for the last, so that it is for commands whose requests take the same way.
type GroupHandler func(ctx context.Context, reqs []Request) []Result

// Result is what a handler has made of a request.
type Result struct {
	AVPs []AVP
	Err  error
}

// Application is one Diameter application that we serve. The dictionary knows its vendor.
type Application struct {
	ID       uint32
	Handlers map[uint32]Handler      // by command code
	Groups   map[uint32]GroupHandler // of other commands, by command code
	Common   []AVP                   // AVPs that every answer and request of the application carries
}

package s6a

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// SessionLog takes a line for what a procedure ended with; it never waits.
type SessionLog interface {
	Note(e subscriber.Event)
}

// Logged returns the application with a line for every attach, update and detach, and for every AIR, ULR and NOR that was
// refused. A User-Name that is no SIM of ours has no log.
func Logged(app diameter.Application, log SessionLog) diameter.Application {
	handlers := make(map[uint32]diameter.Handler, len(app.Handlers))
	for command, handle := range app.Handlers {
		handlers[command] = func(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
			avps, err := handle(ctx, req)
			if e, ok := eventOf(command, req, err); ok {
				log.Note(e)
			}
			return avps, err
		}
	}
	groups := make(map[uint32]diameter.GroupHandler, len(app.Groups))
	for command, handle := range app.Groups {
		groups[command] = func(ctx context.Context, reqs []diameter.Request) []diameter.Result {
			results := handle(ctx, reqs)
			for i, r := range results {
				if e, ok := eventOf(command, reqs[i], r.Err); ok {
					log.Note(e)
				}
			}
			return results
		}
	}
	app.Handlers, app.Groups = handlers, groups
	return app
}

// eventOf says what a procedure ended with; false when that is no line.
func eventOf(command uint32, req diameter.Request, err error) (subscriber.Event, bool) {
	imsi, bad := identity.ParseIMSI(req.Text(diameter.UserName))
	if bad != nil {
		return subscriber.Event{}, false
	}
	e := subscriber.Event{At: time.Now().UTC(), IMSI: imsi, Node: req.Text(diameter.OriginHost)}
	if a, ok := req.First(visitedPLMNID); ok && len(a.Data) == 3 {
		if plmn, err := identity.PLMNFromOctets([3]byte(a.Data)); err == nil {
			e.PLMN = plmn.String()
		}
	}
	if a, ok := req.First(ratType); ok {
		e.RAT = ratOf(a.Unsigned())
	}
	if t, ok := req.First(terminalInformation); ok {
		imei, _ := diameter.First(t.Members, imeiAVP)
		e.IMEI = imei.Text()
	}
	if err != nil {
		if errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrUnavailable) {
			return e, false
		}
		var d *diameter.Error
		if !errors.As(err, &d) {
			d = &diameter.Error{Code: diameter.UnableToComply, Err: err}
		}
		e.What, e.Cause, e.Why, e.Detail = subscriber.Refused, subscriber.Cause(d.Code), d.Error(), commandName(command)
		return e, true
	}
	switch command {
	case commandULR:
		flags, _ := req.First(ulrFlags)
		e.What = subscriber.Updated
		if flags.Unsigned()&ulrInitialAttach != 0 {
			e.What = subscriber.Attached
		}
		return e, true
	case commandPUR:
		e.What = subscriber.Detached
		return e, true
	}
	return e, false
}

func commandName(command uint32) string {
	switch command {
	case commandAIR:
		return "AIR"
	case commandULR:
		return "ULR"
	case commandPUR:
		return "PUR"
	case commandNOR:
		return "NOR"
	}
	return fmt.Sprint(command)
}

// LoggedPeers are peers with a line for every CLR that a node has answered.
type LoggedPeers struct {
	Peers
	Log SessionLog
}

// Send sends a request of ours.
func (p LoggedPeers) Send(ctx context.Context, o diameter.Outgoing) (diameter.Message, error) {
	ans, err := p.Peers.Send(ctx, o)
	user, _ := diameter.First(o.AVPs, diameter.UserName)
	imsi, bad := identity.ParseIMSI(user.Text())
	if err == nil && bad == nil && o.Application == ApplicationID && o.Command == commandCLR {
		p.Log.Note(subscriber.Event{At: time.Now().UTC(), IMSI: imsi, What: subscriber.Cancelled, Node: o.Host})
	}
	return ans, err
}

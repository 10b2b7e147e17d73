package diameter

import (
	"errors"
	"fmt"
)

// answer makes the answer to req: with avps when err is nil, else with the result that err carries; 5012 for an error
// that is no *Error. Session-Id, Route-Record and Proxy-Info of the request are kept, in their
// order, RFC 6733 6.2 and the answers of TS 29.272 7.2.
func (n *Node) answer(req Message, avps []AVP, err error) Message {
	ans := Message{Header: req.Header}
	ans.Request, ans.Error, ans.Retransmitted = false, false, false
	if id, ok := req.First(SessionID); ok {
		ans.AVPs = append(ans.AVPs, id)
	}
	var e *Error
	if err != nil && !errors.As(err, &e) {
		e = &Error{Code: UnableToComply}
	}
	ans.Error = e != nil && e.protocolError()
	if !ans.Error { // 7.2: an answer with the E bit has a form of its own
		ans.AVPs = append(ans.AVPs, n.apps[req.Application].Common...)
	}
	ans.AVPs = append(ans.AVPs, resultAVP(e), OriginHost.Text(n.cfg.Identity), OriginRealm.Text(n.cfg.Realm))
	switch {
	case e == nil || req.Application == ApplicationBase:
		ans.AVPs = append(ans.AVPs, avps...)
	default:
		ans.AVPs = append(ans.AVPs, e.AVPs...)
	}
	if e != nil && len(e.Failed) > 0 {
		ans.AVPs = append(ans.AVPs, FailedAVP.Group(e.Failed...))
	}
	for _, a := range req.AVPs {
		if a.Is(ProxyInfo) || a.Is(RouteRecord) {
			ans.AVPs = append(ans.AVPs, a)
		}
	}
	return ans
}

func resultAVP(e *Error) AVP {
	switch {
	case e == nil:
		return ResultCode.Unsigned(Success)
	case e.Vendor == 0:
		return ResultCode.Unsigned(e.Code)
	}
	return ExperimentalResult.Group(VendorID.Unsigned(e.Vendor), ExperimentalResultCode.Unsigned(e.Code))
}

// route says whether the request is for us, RFC 6733 6.1.4; the error is an *Error.
func (n *Node) route(req Message) error {
	app, ok := n.apps[req.Application]
	if !ok {
		return &Error{Code: ApplicationUnsupported, Err: fmt.Errorf("application %d", req.Application)}
	}
	if a, ok := req.First(DestinationRealm); ok && !equalIdentity(a.Text(), n.cfg.Realm) {
		return &Error{Code: RealmNotServed, Err: fmt.Errorf("realm %q", a.Text())}
	}
	if a, ok := req.First(DestinationHost); ok && !equalIdentity(a.Text(), n.cfg.Identity) {
		return &Error{Code: UnableToDeliver, Err: fmt.Errorf("host %q: we are no agent", a.Text())}
	}
	if app.Handlers[req.Command] == nil && app.Groups[req.Command] == nil {
		return &Error{Code: CommandUnsupported, Err: fmt.Errorf("command %d of application %d", req.Command, req.Application)}
	}
	return nil
}

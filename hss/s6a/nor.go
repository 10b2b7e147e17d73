package s6a

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Bits of NOR-Flags, TS 29.272 7.3.49.
const (
	norSingle          uint32 = 1 << 0 // Single-Registration-Indication: the SGSN is to be cancelled; an SGSN does not set it
	norReadyForSMSGSN  uint32 = 1 << 2
	norReachableMME    uint32 = 1 << 3
	norDeleteGateways  uint32 = 1 << 4
	norReachableSGSN   uint32 = 1 << 5
	norReadyForSMMME   uint32 = 1 << 6
	norRemoveMMEForSMS uint32 = 1 << 9
)

// notification is a NOR, TS 29.272 5.2.5.1.
type notification struct {
	imsi        identity.IMSI
	host, realm string
	imei        string // "" when the device has not changed
	reachable   bool
	removeSMS   bool
	single      bool               // the MME is to be the only node
	deleteAll   bool               // of the PDN-GW identities
	apn         string             // "": nothing is said of its PDN-GW
	gateway     subscriber.Gateway // zero: it has none any more
}

func parseNOR(req diameter.Request) (n notification, err error) {
	if n.imsi, err = parseUser(req); err != nil {
		return n, err
	}
	n.host, n.realm = req.Text(diameter.OriginHost), req.Text(diameter.OriginRealm)
	if t, ok := req.First(terminalInformation); ok {
		n.imei = terminalIMEI(t)
	}
	flags, _ := req.First(norFlags)
	n.reachable = flags.Unsigned()&(norReachableMME|norReachableSGSN|norReadyForSMMME|norReadyForSMSGSN) != 0
	n.single = flags.Unsigned()&norSingle != 0
	n.removeSMS = flags.Unsigned()&norRemoveMMEForSMS != 0
	n.deleteAll = flags.Unsigned()&norDeleteGateways != 0
	if _, ok := req.First(alertReason); ok {
		n.reachable = true
	}
	agent, ok := req.First(mip6AgentInfo)
	if !ok {
		return n, nil
	}
	apn, ok := req.First(serviceSelection)
	if !ok { // 5.2.5.1.2: the PDN-GW's identity goes with its APN
		return n, &diameter.Error{Code: diameter.MissingAVP, Failed: []diameter.AVP{serviceSelection.Text("")}, Err: errors.New("a PDN-GW without its APN")}
	}
	n.apn = strings.ToLower(apn.Text())
	n.gateway = gatewayOf(req.AVPs)
	if err := n.gateway.Validate(); err != nil {
		return n, invalid(agent, err)
	}
	return n, nil
}

// gatewayOf reads MIP6-Agent-Info (RFC 5447 4.2.1) and Visited-Network-Identifier; zero when they name no PDN-GW.
func gatewayOf(avps []diameter.AVP) (g subscriber.Gateway) {
	agent, _ := diameter.First(avps, mip6AgentInfo)
	for _, a := range agent.Members {
		switch ip := a.Address(); {
		case a.Is(mipHomeAgentAddress) && ip.Is4():
			g.IPv4 = ip
		case a.Is(mipHomeAgentAddress) && ip.Is6():
			g.IPv6 = ip
		case a.Is(mipHomeAgentHost):
			host, _ := diameter.First(a.Members, diameter.DestinationHost)
			realm, _ := diameter.First(a.Members, diameter.DestinationRealm)
			g.Host, g.Realm = host.Text(), realm.Text()
		}
	}
	if network, ok := diameter.First(avps, visitedNetwork); ok && !g.IsZero() {
		g.Network = network.Text()
	}
	return g
}

// notify answers a NOR: it stores what the serving node says, and nothing of any other node's. A SIM that may not be there,
// or not in the device that it has moved to, is cancelled.
func (s *Server) notify(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
	n, err := parseNOR(req)
	if err != nil {
		return nil, err
	}
	sub, _, err := s.store.Get(ctx, n.imsi)
	if err != nil {
		return nil, s.asAnswer(err, n.realm, tryElsewhere())
	}
	served := false
	for side, r := range sub.Sides() {
		if !strings.EqualFold(r.Host, n.host) {
			continue
		}
		served = true
		s.saw(ctx, req)
		if err := s.noteDevice(ctx, sub, side, r, n); err != nil {
			return nil, s.asAnswer(err, n.realm, tryElsewhere())
		}
	}
	if !served {
		return nil, experimental(subscriber.UnknownServingNode, fmt.Errorf("%s does not serve the SIM", n.host))
	}
	if err := s.endSGSN(ctx, sub, n); err != nil {
		return nil, s.asAnswer(err, n.realm, tryElsewhere())
	}
	if err := s.noteGateway(ctx, sub, n); err != nil {
		return nil, s.asAnswer(err, n.realm, tryElsewhere())
	}
	return supported(req), nil
}

// noteDevice stores what a NOR says about the registration on that side, and enforces the rules for what it is then.
func (s *Server) noteDevice(ctx context.Context, sub subscriber.Subscriber, side subscriber.Side, r subscriber.Registration, n notification) error {
	verdict := subscriber.DeviceAllowed
	if n.imei != "" {
		r.IMEI = n.imei
		verdict, _ = sub.Profile.MayUse(n.imei) // MayStay looks at it, too
	}
	var err error
	if n.imei != "" || n.reachable || n.removeSMS {
		err = s.store.EditRegistration(ctx, sub.IMSI, side, n.host, func(r subscriber.Registration) subscriber.Registration {
			if n.imei != "" {
				r.IMEI = n.imei
			}
			if n.reachable {
				r.Reachable = s.now().UTC()
			}
			if n.removeSMS {
				r.SMS = ""
			}
			return r
		})
	}
	switch {
	case errors.Is(err, store.ErrChanged): // the SIM has moved on meanwhile
		return experimental(subscriber.UnknownServingNode, err)
	case err != nil:
		return err
	case mustGo(sub, r):
		q := subscriber.Request{
			Kind: subscriber.Cancel, IMSI: sub.IMSI, Side: side, Host: n.host, Realm: n.realm, Cancellation: subscriber.SubscriptionWithdrawal,
		}
		return s.keep(ctx, q, s.now())
	case verdict == subscriber.DeviceLearned:
		return s.bind(ctx, sub.IMSI, n.host, n.imei)
	}
	return nil
}

// endSGSN cancels the SGSN's registration when the MME says that it is the only node, TS 29.272 5.2.5.1.3.
func (s *Server) endSGSN(ctx context.Context, sub subscriber.Subscriber, n notification) error {
	sides := sub.Sides()
	sgsn, serves := sides[subscriber.SGSN]
	if !n.single || !serves || strings.EqualFold(sgsn.Host, n.host) { // a combined node keeps both
		return nil
	}
	q := subscriber.Request{
		Kind: subscriber.Cancel, IMSI: sub.IMSI, Side: subscriber.SGSN, Host: sgsn.Host, Realm: sgsn.Realm, Cancellation: subscriber.SGSNUpdate,
	}
	return s.keep(ctx, q, s.now())
}

// noteGateway stores which PDN-GW serves an APN.
func (s *Server) noteGateway(ctx context.Context, sub subscriber.Subscriber, n notification) error {
	if n.deleteAll {
		if err := s.store.DropGateways(ctx, n.imsi); err != nil {
			return err
		}
	}
	if n.apn == "" {
		return nil
	}
	if !sub.Profile.HasAPN(n.apn) && !n.gateway.IsZero() {
		return &subscriber.Refusal{Cause: subscriber.UnknownEPSSubscription, Err: errors.New("a PDN-GW for an APN that the SIM has not")}
	}
	return s.store.PutGateways(ctx, n.imsi, map[string]subscriber.Gateway{n.apn: n.gateway})
}

package s6a

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Bits of ULR-Flags, TS 29.272 7.3.7.
const (
	ulrSingleRegistration uint32 = 1 << 0 // the SIM is to have no other registration
	ulrS6a                uint32 = 1 << 1 // from an MME over S6a; clear: from an SGSN over S6d
	ulrSkipSubscriberData uint32 = 1 << 2
	ulrGPRSData           uint32 = 1 << 3 // PDP contexts are wanted
	ulrInitialAttach      uint32 = 1 << 5
)

// Bits of ULA-Flags, TS 29.272 7.3.8.
const (
	ulaSeparation uint32 = 1 << 0 // we keep the registrations of MME and SGSN apart
	ulaMMEForSMS  uint32 = 1 << 1 // the MME is registered for SMS
)

// What we chose for a ULR that cannot go on at once.
const (
	maxRaces     = 64                    // how often it starts over because the record changed under it
	patienceCLR  = 2 * time.Second       // how long it waits for the node's answer to our CLR about the same SIM
	pendingSleep = 2 * time.Millisecond  // first wait between two looks; doubles
	pendingNap   = 50 * time.Millisecond // longest
)

// locationRequest is a ULR, TS 29.272 5.2.1.1.
type locationRequest struct {
	imsi         identity.IMSI
	side         subscriber.Side
	plmn         identity.PLMN
	flags        uint32
	registration subscriber.Registration
	adjacent     []identity.PLMN               // networks beside the visited one
	active       map[string]subscriber.Gateway // PDN-GWs of the APNs in use, by APN; nil: the node does not say
}

func (s *Server) parseULR(req diameter.Request) (r locationRequest, err error) {
	if r.imsi, err = parseUser(req); err != nil {
		return r, err
	}
	if r.plmn, _, err = parseVisitedPLMN(req); err != nil {
		return r, err
	}
	flags, _ := req.First(ulrFlags)
	r.side = subscriber.SGSN
	if flags.Unsigned()&ulrS6a != 0 {
		r.side = subscriber.MME
	}
	r.flags = flags.Unsigned()
	rat, _ := req.First(ratType)
	r.registration = subscriber.Registration{
		Host: req.Text(diameter.OriginHost), Realm: req.Text(diameter.OriginRealm), PLMN: r.plmn.String(),
		RAT: ratOf(rat.Unsigned()), Features: featuresOf(req, 1), Features2: featuresOf(req, 2), At: s.now().UTC(),
	}
	if t, ok := req.First(terminalInformation); ok {
		r.registration.IMEI = terminalIMEI(t)
	}
	if list, ok := req.First(adjacentPLMNs); ok {
		r.adjacent = plmnsOf(list)
	}
	r.active = activeAPNs(req)
	if sms, ok := req.First(mmeNumberForSMS); ok {
		if r.registration.SMS, err = identity.DecodeTBCD(sms.Data); err != nil {
			return r, invalid(sms, err)
		}
	}
	return r, nil
}

// maxAdjacent bounds Adjacent-PLMNs, TS 29.272 7.3.186.
const maxAdjacent = 50

// plmnsOf reads Adjacent-PLMNs; what is no network is left out.
func plmnsOf(list diameter.AVP) (all []identity.PLMN) {
	for _, a := range list.Members {
		if !a.Is(visitedPLMNID) || len(a.Data) != 3 || len(all) == maxAdjacent {
			continue
		}
		if plmn, err := identity.PLMNFromOctets([3]byte(a.Data)); err == nil {
			all = append(all, plmn)
		}
	}
	return all
}

// activeAPNs reads Active-APN, TS 29.272 7.3.127: a node says which PDN-GWs its APNs have when we may have lost that.
func activeAPNs(req diameter.Request) map[string]subscriber.Gateway {
	var all map[string]subscriber.Gateway
	for _, a := range req.AVPs {
		if !a.Is(activeAPN) {
			continue
		}
		if all == nil {
			all = map[string]subscriber.Gateway{}
		}
		name, _ := diameter.First(a.Members, serviceSelection)
		if g := gatewayOf(a.Members); !g.IsZero() && g.Validate() == nil {
			all[strings.ToLower(name.Text())] = g
		}
	}
	return all
}

// ratTypes are those of RAT-Type, TS 29.212 5.3.31, that profiles name.
var ratTypes = map[subscriber.RAT]uint32{
	subscriber.UTRAN: 1000, subscriber.GERAN: 1001, subscriber.HSPAEvolution: 1003,
	subscriber.EUTRAN: 1004, subscriber.EUTRANNBIoT: 1005, subscriber.LTEM: 1007,
}

func ratTypeOf(r subscriber.RAT) uint32 { return ratTypes[r] }

// ratOf names a RAT-Type.
func ratOf(v uint32) subscriber.RAT {
	for r, code := range ratTypes {
		if code == v {
			return r
		}
	}
	return subscriber.RAT(fmt.Sprintf("rat-type-%d", v))
}

// terminalIMEI reads the IMEI, or the IMEISV, of a Terminal-Information; "" without one.
func terminalIMEI(t diameter.AVP) string {
	imei, _ := diameter.First(t.Members, imeiAVP)
	return imei.Text()
}

// updateLocation answers a ULR: the node becomes the SIM's, those before are cancelled.
func (s *Server) updateLocation(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
	r, err := s.parseULR(req)
	if err != nil {
		return nil, err
	}
	if err := s.checkPartner(r.registration.Realm, r.plmn); err != nil {
		return nil, err
	}
	profile, err := s.register(ctx, req, r)
	if err != nil {
		return nil, s.asAnswer(err, r.registration.Realm, tryElsewhere())
	}
	s.log.Debug("registered", "imsi", r.imsi, "side", r.side, "host", r.registration.Host, "plmn", r.registration.PLMN)
	flags := ulaSeparation
	if r.registration.SMS != "" {
		flags |= ulaMMEForSMS
	}
	avps := append(supported(req), ulaFlags.Unsigned(flags))
	gateways, err := s.gateways(ctx, r, profile)
	if err != nil {
		return nil, s.asAnswer(err, r.registration.Realm, tryElsewhere())
	}
	if r.flags&ulrSkipSubscriberData == 0 {
		v := view{Profile: profile, node: r.registration, side: r.side, gateways: gateways, adjacent: r.adjacent}
		avps = append(avps, subscription(v, r.flags&ulrGPRSData != 0)...)
	}
	return avps, nil
}

// gateways are the PDN-GWs of the SIM's APNs to be told; those that the node says it has are stored in the place of what was known.
func (s *Server) gateways(ctx context.Context, r locationRequest, p subscriber.Profile) (map[string]subscriber.Gateway, error) {
	switch {
	case r.active == nil && r.flags&ulrSkipSubscriberData != 0:
		return nil, nil
	case r.active == nil:
		return s.store.Gateways(ctx, r.imsi)
	}
	maps.DeleteFunc(r.active, func(name string, _ subscriber.Gateway) bool { return !p.HasAPN(name) })
	if err := s.store.DropGateways(ctx, r.imsi); err != nil {
		return nil, err
	}
	return r.active, s.store.PutGateways(ctx, r.imsi, r.active)
}

// register decides by the profile and swaps the registration, over again when the record changes in between. A node that
// we are telling that the SIM is not its own is not registered before it has answered: else the CLR would reach the
// holder.
func (s *Server) register(ctx context.Context, req diameter.Request, r locationRequest) (subscriber.Profile, error) {
	begin, sleep := s.now(), pendingSleep
	force := false
	again, _, _, err := s.workedOn(ctx, r.imsi, req)
	if err != nil {
		return subscriber.Profile{}, err
	}
	for range maxRaces {
		sub, rev, err := s.store.Get(ctx, r.imsi)
		if err != nil || again {
			return sub.Profile, err
		}
		verdict, err := sub.Profile.MayRegister(r.plmn, r.registration)
		if err != nil {
			return sub.Profile, err
		}
		if verdict == subscriber.DeviceLearned {
			if err := s.bind(ctx, r.imsi, r.registration.Host, r.registration.IMEI); err != nil {
				return sub.Profile, err
			}
			continue
		}
		s.saw(ctx, req)
		switch err := s.swap(ctx, sub, rev, requestName(req), r, force); {
		case errors.Is(err, store.ErrChanged):
		case errors.Is(err, store.ErrPending):
			if err := pause(ctx, sleep); err != nil {
				return sub.Profile, err
			}
			sleep = min(2*sleep, pendingNap)
			if force = s.now().Sub(begin) > s.patience; force {
				s.log.Debug("a node registers without having answered a CLR", "host", r.registration.Host)
			}
		default:
			return sub.Profile, err
		}
	}
	return subscriber.Profile{}, fmt.Errorf("%d tries: %w", maxRaces, store.ErrChanged)
}

// workedOn says whether a request with the T bit is one that was worked on, here or by another instance: the SIM may have moved
// on since, and is not to come back for it. Of a PUR it says which sides it has purged.
func (s *Server) workedOn(ctx context.Context, imsi identity.IMSI, req diameter.Request) (yes, mme, sgsn bool, err error) {
	if !req.Retransmitted {
		return false, false, false, nil
	}
	return s.store.WorkedOn(ctx, imsi, requestName(req))
}

// requestName is by what a request is known when it comes again, RFC 6733 3: its origin, session, command and end-to-end id.
func requestName(req diameter.Request) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %d %s %s", req.Command, req.EndToEnd, strings.ToLower(req.Text(diameter.OriginHost)), req.Text(diameter.SessionID)))
	return hex.EncodeToString(h[:8])
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// swap makes the node the SIM's and has those before told.
func (s *Server) swap(ctx context.Context, sub subscriber.Subscriber, rev store.Revision, name string, r locationRequest, force bool) error {
	single, initial := r.flags&ulrSingleRegistration != 0, r.flags&ulrInitialAttach != 0
	w := store.Swap{
		Side: r.side, Next: r.registration, Force: force, For: name, EndOther: sub.EndsOther(r.side, r.registration, single, initial),
	}
	for _, q := range sub.Displacement(r.side, r.registration, single, initial) {
		w.Requests = append(w.Requests, store.NewPending(q, s.now()))
	}
	if len(w.Requests) > 0 {
		if err := s.store.Intend(ctx, s.now().Add(s.lease), w.Requests...); err != nil {
			return err
		}
	}
	if err := s.store.Register(ctx, sub, rev, w); err != nil {
		return err
	}
	s.hurry(w.Requests...)
	return nil
}

// bind locks a SIM to the device that it is seen in for the first time.
func (s *Server) bind(ctx context.Context, imsi identity.IMSI, host, imei string) error {
	r, err := s.store.Load(ctx, imsi)
	if err != nil {
		return err
	}
	next := r.Stored
	if next.IMEILock, err = next.IMEILock.Bind(imei); err != nil {
		return err
	}
	if _, _, err = s.store.Change(ctx, imsi, r.Revision, r.Stored, next); errors.Is(err, store.ErrChanged) {
		return nil // whoever changed it: it is looked at again
	}
	if err == nil {
		s.auditLearned(ctx, imsi, host, next.IMEILock.IMEIs)
	}
	return err
}

// auditLearned writes down who has changed a profile without a command.
func (s *Server) auditLearned(ctx context.Context, imsi identity.IMSI, host string, imeis []string) {
	a := store.Audit{
		At: s.now().UTC(), Who: "network", From: host, Verb: "imei.learn", Object: string(imsi), Result: "done",
		Detail: "imei_lock.imeis: " + strings.Join(imeis, " "),
	}
	if err := s.store.NoteAudit(ctx, a); err != nil {
		s.log.Warn("an entry of the audit log is here only", "who", a.Who, "from", a.From, "verb", a.Verb, "err", err)
	}
}

package s6a

import (
	"context"
	"errors"
	"fmt"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Bits of ULR-Flags, TS 29.272 7.3.7. Initial-Attach-Indicator (bit 5) decides about a CLR to the other side under
// single registration, which is not served yet.
const (
	ulrS6a                uint32 = 1 << 1 // from an MME over S6a; clear: from an SGSN over S6d
	ulrSkipSubscriberData uint32 = 1 << 2
)

// ulaSeparation of ULA-Flags, TS 29.272 7.3.8: we keep the registrations of MME and SGSN apart.
const ulaSeparation uint32 = 1 << 0

// maxRaces bounds how often a ULR starts over because the profile changed under it.
const maxRaces = 5

// locationRequest is a ULR, TS 29.272 5.2.1.1.
type locationRequest struct {
	imsi         identity.IMSI
	side         subscriber.Side
	plmn         identity.PLMN
	skipData     bool
	registration subscriber.Registration
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
	r.skipData = flags.Unsigned()&ulrSkipSubscriberData != 0
	rat, _ := req.First(ratType)
	r.registration = subscriber.Registration{
		Host: req.Text(diameter.OriginHost), Realm: req.Text(diameter.OriginRealm), PLMN: r.plmn.String(),
		RAT: ratOf(rat.Unsigned()), At: s.now().UTC(),
	}
	if t, ok := req.First(terminalInformation); ok {
		imei, _ := diameter.First(t.Members, imeiAVP)
		r.registration.IMEI = imei.Text()
	}
	return r, nil
}

// ratOf names a RAT-Type, TS 29.212 5.3.31.
func ratOf(v uint32) subscriber.RAT {
	switch v {
	case 1000:
		return subscriber.UTRAN
	case 1001:
		return subscriber.GERAN
	case 1003:
		return subscriber.HSPAEvolution
	case 1004:
		return subscriber.EUTRAN
	case 1005:
		return subscriber.EUTRANNBIoT
	case 1006:
		return subscriber.LTEM
	}
	return subscriber.RAT(fmt.Sprintf("rat-type-%d", v))
}

// updateLocation answers a ULR: the node becomes the SIM's, the one before is cancelled.
func (s *Server) updateLocation(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
	r, err := s.parseULR(req)
	if err != nil {
		return nil, err
	}
	profile, before, err := s.register(ctx, r)
	if err != nil {
		return nil, asAnswer(err, tryElsewhere())
	}
	if before.Displaced(r.registration) {
		s.cancel(cancellation{imsi: r.imsi, from: before, kind: updateOf(r.side)})
	}
	s.log.Debug("registered", "imsi", r.imsi, "side", r.side, "host", r.registration.Host, "plmn", r.registration.PLMN)
	avps := append(supported(req), ulaFlags.Unsigned(ulaSeparation))
	if !r.skipData {
		avps = append(avps, subscription(profile))
	}
	return avps, nil
}

// register decides by the profile and swaps the registration, over again when the profile changes in between.
func (s *Server) register(ctx context.Context, r locationRequest) (subscriber.Profile, subscriber.Registration, error) {
	for range maxRaces {
		sub, rev, err := s.store.Get(ctx, r.imsi)
		if err != nil {
			return sub.Profile, subscriber.Registration{}, err
		}
		if err := sub.Profile.MayRegister(r.plmn, r.registration.RAT); err != nil {
			return sub.Profile, subscriber.Registration{}, err
		}
		// A swap that is under way is waited for even if the peer has gone: who is displaced is told to us once only.
		before, err := s.store.Register(context.WithoutCancel(ctx), r.imsi, r.side, rev, r.registration)
		if !errors.Is(err, store.ErrChanged) {
			return sub.Profile, before, err
		}
	}
	return subscriber.Profile{}, subscriber.Registration{}, fmt.Errorf("%d tries: %w", maxRaces, store.ErrChanged)
}

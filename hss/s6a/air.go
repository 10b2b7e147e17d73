package s6a

import (
	"context"
	"errors"
	"fmt"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Bits of AIR-Flags, TS 29.272 7.3.201.
const airUsageType uint32 = 1 << 0 // Send UE Usage Type: with vectors or without

// authenticationRequest is an AIR, TS 29.272 5.2.3.1.
type authenticationRequest struct {
	imsi          identity.IMSI
	node          string // Origin-Host: has an IND of its own
	realm         string // Origin-Realm
	plmn          identity.PLMN
	plmnOctets    [3]byte // as received
	eutran, utran int     // vectors wanted of each kind, cut to the most that we give
	usageType     bool    // UE-Usage-Type is wanted
	resync        *resynchronisation
	simSEQ        *uint64 // what a checked AUTS says
}

// resynchronisation is Re-Synchronization-Info, TS 29.272 7.3.15: RAND ‖ AUTS.
type resynchronisation struct {
	rand [16]byte
	auts [14]byte
}

func (s *Server) parseAIR(req diameter.Request) (r authenticationRequest, err error) {
	r.node, r.realm = req.Origin()
	if r.imsi, err = parseUser(req); err != nil {
		return r, err
	}
	if r.plmn, r.plmnOctets, err = parseVisitedPLMN(req); err != nil {
		return r, err
	}
	if a, ok := req.First(requestedEUTRAN); ok {
		if r.eutran, err = s.parseWanted(a, &r.resync); err != nil {
			return r, err
		}
	}
	if a, ok := req.First(requestedUTRAN); ok {
		if r.utran, err = s.parseWanted(a, &r.resync); err != nil {
			return r, err
		}
	}
	flags, _ := req.First(airFlags)
	r.usageType = flags.Unsigned()&airUsageType != 0
	if r.eutran+r.utran == 0 && !r.usageType { // the ABNF calls both optional, but then there is nothing to answer
		return r, &diameter.Error{
			Code: diameter.MissingAVP, Failed: []diameter.AVP{requestedEUTRAN.Group()}, Err: errors.New("no kind of vector is asked for"),
		}
	}
	return r, nil
}

// parseWanted reads a Requested-…-Authentication-Info. Without Number-Of-Requested-Vectors one is wanted.
// Immediate-Response-Preferred changes nothing: all that we give is made at once.
func (s *Server) parseWanted(a diameter.AVP, resync **resynchronisation) (int, error) {
	n := uint32(1)
	if v, ok := diameter.First(a.Members, numberOfVectors); ok {
		n = max(1, v.Unsigned())
	}
	if v, ok := diameter.First(a.Members, resyncInfo); ok {
		if len(v.Data) != 16+14 {
			return 0, invalid(v, fmt.Errorf("Re-Synchronization-Info of %d octets", len(v.Data)))
		}
		*resync = &resynchronisation{rand: [16]byte(v.Data[:16]), auts: [14]byte(v.Data[16:])}
	}
	return int(min(n, uint32(s.cfg.MaxVectors))), nil
}

// authenticationInformation answers AIRs that have come together, each with vectors of its own or with what is wrong with it.
func (s *Server) authenticationInformation(ctx context.Context, reqs []diameter.Request) []diameter.Result {
	results := make([]diameter.Result, len(reqs))
	asked := make([]authenticationRequest, len(reqs))
	for i, req := range reqs {
		r := &asked[i]
		if *r, results[i].Err = s.parseAIR(req); results[i].Err == nil {
			results[i].Err = s.checkPartner(r.realm, r.plmn)
		}
	}
	s.resynchronise(ctx, asked, results)
	s.authenticate(ctx, asked, results)
	for i, req := range reqs {
		r := &results[i]
		if r.Err == nil {
			r.AVPs = append(r.AVPs, supported(req)...)
			continue
		}
		r.Err = s.asAnswer(r.Err, asked[i].realm, experimental(subscriber.AuthenticationDataUnavailable, nil))
	}
	return results
}

// authenticate makes the Authentication-Info of those with which nothing is wrong. SEQ moves before the profile is looked at,
// so that one call to Redis does both; a refused request costs sequence numbers, of which there are enough.
func (s *Server) authenticate(ctx context.Context, asked []authenticationRequest, results []diameter.Result) {
	asks := make([]store.Ask, 0, len(asked))
	for i, r := range asked {
		if results[i].Err == nil {
			asks = append(asks, store.Ask{IMSI: r.imsi, Node: r.node, Count: r.eutran + r.utran, SIMSEQ: r.simSEQ})
		}
	}
	runs := s.store.AdvanceAll(ctx, asks, s.now())
	for i := range asked {
		r := &results[i]
		if r.Err != nil {
			continue
		}
		var info diameter.AVP
		if info, r.Err = vectors(&runs[0], &asked[i]); r.Err == nil && asked[i].eutran+asked[i].utran > 0 {
			r.AVPs = []diameter.AVP{info}
		}
		if r.Err == nil && asked[i].usageType {
			r.Err = s.addUsageType(ctx, asked[i].imsi, r)
		}
		runs = runs[1:]
	}
}

// addUsageType adds UE-Usage-Type to an answer when the SIM has one. It reads the record again, which few nodes cause.
func (s *Server) addUsageType(ctx context.Context, imsi identity.IMSI, r *diameter.Result) error {
	sub, _, err := s.store.Get(ctx, imsi)
	if err == nil {
		r.AVPs = append(r.AVPs, givenAVP(ueUsageType, sub.Profile.Serving.UsageType)...)
	}
	return err
}

// resynchronise checks the AUTS of those that have one, and gives them the SIM's SEQ, TS 33.102 6.3.5. What the SIM has not
// made moves nothing: it is refused, since it was altered on its way or the SIM has other keys than we.
func (s *Server) resynchronise(ctx context.Context, asked []authenticationRequest, results []diameter.Result) {
	var which []int
	var imsis []identity.IMSI
	for i, r := range asked {
		if results[i].Err == nil && r.resync != nil {
			which, imsis = append(which, i), append(imsis, r.imsi)
		}
	}
	for n, keys := range s.store.CredentialsOf(ctx, imsis) {
		r := &asked[which[n]]
		r.simSEQ, results[which[n]].Err = s.checkAUTS(keys, r)
	}
}

// checkAUTS returns the SEQ that a SIM says it has.
func (s *Server) checkAUTS(keys store.Opened, r *authenticationRequest) (*uint64, error) {
	if keys.Err != nil {
		return nil, keys.Err
	}
	sqn, err := keys.Resynchronise(r.resync.rand, r.resync.auts)
	if errors.Is(err, aka.ErrMACS) {
		s.resyncs.WithLabelValues(resyncBad).Inc()
		s.log.Debug("AUTS refused", "host", r.node, "err", err)
		return nil, &subscriber.Refusal{Cause: subscriber.AuthenticationDataUnavailable, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("checking AUTS: %w", err)
	}
	s.resyncs.WithLabelValues(resyncAccepted).Inc()
	seq := sqn.SEQ()
	return &seq, nil
}

// vectors makes Authentication-Info, TS 29.272 7.3.17: in each kind Item-Number rises with SEQ.
func vectors(a *store.Advanced, r *authenticationRequest) (diameter.AVP, error) {
	if errors.Is(a.Err, store.ErrUsedUp) {
		return diameter.AVP{}, &subscriber.Refusal{Cause: subscriber.AuthenticationDataUnavailable, Err: a.Err}
	}
	if a.Err != nil {
		return diameter.AVP{}, a.Err
	}
	if err := a.Admission.MayAuthenticate(r.plmn, r.eutran > 0); err != nil {
		return diameter.AVP{}, err
	}
	if a.Keys.TripletsOnly() && r.eutran > 0 { // TS 33.401 6.1.1: a 2G SIM has no access to E-UTRAN
		return diameter.AVP{}, &subscriber.Refusal{Cause: subscriber.UnknownEPSSubscription, Err: errors.New("the card is a 2G SIM")}
	}
	first, rest := a.Counter.Split(r.eutran)
	eps, err := first.Vectors(a.Keys, a.Admission.AMFOf(true), challenge)
	if err != nil {
		return diameter.AVP{}, err
	}
	umts, err := rest.Vectors(a.Keys, a.Admission.AMFOf(false), challenge)
	if err != nil {
		return diameter.AVP{}, err
	}
	b := make([]byte, 0, vectorOctets*(len(eps)+len(umts)))
	for i := range eps {
		v, k := &eps[i], eps[i].KASME(r.plmnOctets)
		b = eutranVector.Group(
			itemNumber.Unsigned(uint32(i+1)), randAVP.Octets(v.RAND[:]), xres.Octets(v.XRES), autn.Octets(v.AUTN[:]), kasme.Octets(k[:])).Append(b)
	}
	for i := range umts {
		v := &umts[i]
		if a.Keys.TripletsOnly() {
			t := v.Triplet()
			b = geranVector.Group(
				itemNumber.Unsigned(uint32(i+1)), randAVP.Octets(t.RAND[:]), sresAVP.Octets(t.SRES[:]), kcAVP.Octets(t.Kc[:])).Append(b)
			continue
		}
		b = utranVector.Group(
			itemNumber.Unsigned(uint32(i+1)), randAVP.Octets(v.RAND[:]), xres.Octets(v.XRES), autn.Octets(v.AUTN[:]),
			confidentialityK.Octets(v.CK[:]), integrityK.Octets(v.IK[:])).Append(b)
	}
	return authenticationInf.Encoded(b), nil
}

// vectorOctets is what a vector takes in an answer at most, which has XRES of 16 octets.
const vectorOctets = 12 + 16 + 5*(12+16)

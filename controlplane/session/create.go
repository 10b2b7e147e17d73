package session

import (
	"errors"
	"fmt"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// create starts a Create Session. A PDN connection that the Key has already is ended first, without a word to its
// SGW, which has forgotten it: TS 29.274 7.2.1.
func create(s State, r CreateSession) (State, []Action) {
	if r.PDNType != gtpc.PDNTypeIPv4 && r.PDNType != gtpc.PDNTypeIPv4v6 {
		return s, []Action{refuse(r, &gtpc.Error{
			Cause: gtpc.CausePreferredPDNTypeNotSupported,
			Err:   fmt.Errorf("PDN type %v", r.PDNType),
		})}
	}
	s.pending = r
	if s.Phase == PhaseActive {
		return deleteRules(s)
	}
	return admit(s, r)
}

func admit(s State, r CreateSession) (State, []Action) {
	s.Phase = PhaseAdmitting
	return s, []Action{Admit{
		Subject: Subject{
			IMSI: r.Key.IMSI, MSISDN: r.MSISDN.Value, APN: r.APN,
			SelectionMode: r.SelectionMode, ServingNetwork: r.ServingNetwork,
		},
		Address: r.Address,
	}}
}

func refused(s State, e Refused) (State, []Action) {
	if s.Phase != PhaseAdmitting {
		return s, nil
	}
	answer := refuse(s.pending, e.Err)
	s.Phase = PhaseIdle
	return settle(s, []Action{answer})
}

func admitted(s State, e Admitted) (State, []Action) {
	r, ok := s.pending.(CreateSession)
	if s.Phase != PhaseAdmitting || !ok {
		return s, nil
	}
	s.Connection = Connection{
		Key:             s.Key,
		MSISDN:          r.MSISDN,
		MEI:             r.MEI,
		APN:             r.APN,
		NetworkInstance: e.Profile.NetworkInstance,
		Pool:            e.Profile.Pool,
		Address:         e.Address,
		Static:          e.Static,
		RAT:             r.RAT,
		ServingNetwork:  r.ServingNetwork,
		UserLocation:    r.UserLocation,
		UETimeZone:      r.UETimeZone,
		AMBR:            e.Profile.limit(r.AMBR),
		Local:           e.Local,
		Remote:          r.Remote,
		ChargingID:      e.ChargingID,
		Node:            e.Node,
		EndMarkers:      e.EndMarkers,
		CPSEID:          e.CPSEID,
		Bearers:         []Bearer{{EBI: r.Bearer.EBI, QoS: r.Bearer.QoS, Remote: r.Bearer.Remote}},
		Since:           e.At,
	}
	r.PCO = e.Profile.answerPCO(r.PCO)
	s.pending = r
	s.Phase = PhaseEstablishing
	return s, []Action{EstablishRules{Node: e.Node, Request: establishment(s.Connection)}}
}

// established takes what the PGW-U allocated. Only now does the SGW hear of the connection.
func established(s State, response *pfcp.SessionEstablishmentResponse) (State, []Action) {
	r, _ := s.pending.(CreateSession)
	local, err := uplinkFTEID(response)
	if response.FSEID.Present {
		s.Connection.UPSEID = response.FSEID.Value.SEID
	}
	if s.nodeLost { // before or after the PGW-U answered? Deleting what may not be there is harmless.
		err, s.nodeLost = errNodeRestarted, false
	}
	if err != nil {
		fault := &gtpc.Error{Cause: gtpc.CauseSystemFailure, Err: err}
		answer := refuse(r, fault)
		s.pending = nil
		next, actions := deleteRules(s)
		return next, append([]Action{answer}, actions...)
	}
	bearer := s.Connection.Default()
	bearer.Local = local
	s.Connection.Bearers = []Bearer{bearer}
	s.Phase = PhaseActive
	cause := gtpc.CauseRequestAccepted
	if r.PDNType == gtpc.PDNTypeIPv4v6 {
		cause = gtpc.CauseNewPDNTypeNetworkPreference
	}
	return settle(s, []Action{
		Put{Connection: s.Connection},
		AnswerCreated{Ref: r.Ref, Cause: cause, Connection: s.Connection, PCO: r.PCO},
	})
}

// notEstablished gives back what the connection was given. Without an answer of the PGW-U the session may exist
// there under a SEID that nobody knows, and the PGW-U would refuse another with the address.
func notEstablished(s State, e RulesFailed) (State, []Action) {
	c, fault := s.Connection, (*pfcp.Error)(nil)
	giveBack := release(c)
	if !e.Unsent && !s.nodeLost && !errors.As(e.Err, &fault) {
		giveBack = Abandon{Node: c.Node, Establish: establishment(c), Pool: c.Pool, Address: c.Address}
	}
	actions := []Action{giveBack, refuse(s.pending, &gtpc.Error{Cause: CauseFor(e.Err), Err: e.Err})}
	s.Phase, s.Connection = PhaseIdle, Connection{}
	return settle(s, actions)
}

// uplinkFTEID is the F-TEID that the PGW-U chose for the uplink PDR.
func uplinkFTEID(r *pfcp.SessionEstablishmentResponse) (pfcp.FTEID, error) {
	if !r.FSEID.Present || r.FSEID.Value.SEID == 0 {
		return pfcp.FTEID{}, errors.New("the PGW-U named no F-SEID")
	}
	for _, c := range r.CreatedPDRs {
		if c.ID == pdrUplink && c.FTEID.Present && c.FTEID.Value.TEID != 0 &&
			(c.FTEID.Value.IPv4.IsValid() || c.FTEID.Value.IPv6.IsValid()) {
			return c.FTEID.Value, nil
		}
	}
	return pfcp.FTEID{}, errors.New("the PGW-U chose no F-TEID")
}

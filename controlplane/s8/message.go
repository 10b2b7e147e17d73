package s8

import (
	"net/netip"

	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/pkg/gtpc"
)

// toEvent turns a request, which has been parsed without an error, into the core's event.
func toEvent(r *gtpc.Request, envelope session.Envelope) session.Event {
	switch m := r.Message.(type) {
	case *gtpc.CreateSessionRequest:
		address := m.PAA.IPv4
		if !address.IsValid() {
			address = netip.IPv4Unspecified()
		}
		return session.CreateSession{
			Envelope:       envelope,
			Key:            session.Key{IMSI: m.IMSI, EBI: m.Bearer.EBI},
			MSISDN:         m.MSISDN,
			MEI:            m.MEI,
			APN:            m.APN,
			SelectionMode:  m.SelectionMode,
			PDNType:        m.PDNType,
			Address:        address,
			AMBR:           m.AMBR,
			RAT:            m.RAT,
			ServingNetwork: m.ServingNetwork,
			UserLocation:   m.UserLocation,
			UETimeZone:     m.UETimeZone,
			PCO:            m.PCO,
			Remote:         m.Sender,
			Bearer:         m.Bearer,
		}
	case *gtpc.ModifyBearerRequest:
		return session.ModifyBearer{
			Envelope:       envelope,
			Local:          r.Header.TEID,
			MEI:            m.MEI,
			RAT:            m.RAT,
			ServingNetwork: m.ServingNetwork,
			UserLocation:   m.UserLocation,
			UETimeZone:     m.UETimeZone,
			Remote:         m.Sender,
			Bearers:        m.Bearers,
		}
	case *gtpc.DeleteSessionRequest:
		return session.DeleteSession{Envelope: envelope, Local: r.Header.TEID, LinkedEBI: m.LinkedEBI}
	}
	return nil
}

// answer turns an answer of the core into a response and sends it.
func (sh *shard) answer(action session.Action) {
	s := sh.server
	recovery := gtpc.Some(s.cfg.GTPC.RestartCounter)
	switch a := action.(type) {
	case session.AnswerCreated:
		s.respond(sh.takeRequest(a.Ref), a.Connection.Remote.TEID, a.Cause, s.createdResponse(a))
	case session.AnswerModified:
		s.respond(sh.takeRequest(a.Ref), a.Connection.Remote.TEID, a.Cause, modifiedResponse(a, recovery))
	case session.AnswerDeleted:
		response := &gtpc.DeleteSessionResponse{Cause: gtpc.CauseRequestAccepted, Recovery: recovery}
		s.respond(sh.takeRequest(a.Ref), a.Connection.Remote.TEID, response.Cause, response)
	case session.AnswerRefused:
		s.refuse(sh.takeRequest(a.Ref), a.TEID, a.Err)
	}
}

func (sh *shard) takeRequest(ref session.Ref) *gtpc.Request {
	r := sh.refs[ref]
	delete(sh.refs, ref)
	return r
}

// createdResponse is the Create Session Response of a connection whose rules are in, TS 29.274 7.2.2. Bearer QoS
// and APN-AMBR are conditional there ("if modified"); they are always sent, so that the SGW need not compare.
func (s *Server) createdResponse(a session.AnswerCreated) *gtpc.CreateSessionResponse {
	c, bearer := a.Connection, a.Connection.Default()
	return &gtpc.CreateSessionResponse{
		Cause:  a.Cause,
		Sender: s.controlFTEID(c.Local),
		PAA:    gtpc.PAA{Type: gtpc.PDNTypeIPv4, IPv4: c.Address},
		AMBR:   c.AMBR,
		PCO:    a.PCO,
		Bearer: gtpc.CreatedBearer{
			EBI: bearer.EBI,
			Local: gtpc.FTEID{
				Interface: gtpc.InterfaceS5S8PGWGTPU, TEID: gtpc.TEID(bearer.Local.TEID),
				IPv4: bearer.Local.IPv4, IPv6: bearer.Local.IPv6,
			},
			QoS:        bearer.QoS,
			ChargingID: c.ChargingID,
		},
		Recovery: gtpc.Some(s.cfg.GTPC.RestartCounter),
	}
}

func (s *Server) controlFTEID(teid gtpc.TEID) gtpc.FTEID {
	f := gtpc.FTEID{Interface: gtpc.InterfaceS5S8PGWGTPC, TEID: teid}
	if addr := s.endpoint.Addr().Addr(); addr.Is4() {
		f.IPv4 = addr
	} else {
		f.IPv6 = addr
	}
	return f
}

// modifiedResponse is the Modify Bearer Response, TS 29.274 7.2.8. A new SGW is told what it does not know.
func modifiedResponse(a session.AnswerModified, recovery gtpc.Opt[uint8]) *gtpc.ModifyBearerResponse {
	m := &gtpc.ModifyBearerResponse{Cause: a.Cause, Recovery: recovery}
	charging := gtpc.Opt[uint32]{}
	if a.NewSGW {
		m.MSISDN = a.Connection.MSISDN
		m.APNRestriction = gtpc.Some[uint8](0)
		charging = gtpc.Some(a.Connection.ChargingID)
	}
	for _, ebi := range a.Bearers {
		m.Bearers = append(m.Bearers, gtpc.ModifiedBearer{EBI: ebi, Cause: gtpc.CauseRequestAccepted, ChargingID: charging})
	}
	for _, ebi := range a.Unknown {
		m.Bearers = append(m.Bearers, gtpc.ModifiedBearer{EBI: ebi, Cause: gtpc.CauseContextNotFound})
	}
	return m
}

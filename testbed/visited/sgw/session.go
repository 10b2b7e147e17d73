package sgw

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Causes that an SGW looks at, TS 29.274 8.4.
const (
	causeAccepted        = 16
	causeAcceptedPartly  = 17
	causeNewPDNType      = 18 // new PDN type due to network preference
	causeContextNotFound = 64
)

const (
	defaultBearer = 5 // EBI; 1 to 4 are reserved, TS 24.007 11.2.3.1.5
	ratEUTRAN     = 6 // RAT Type, TS 29.274 8.17
)

// CauseError is a response that is not an acceptance.
type CauseError struct {
	Response  string // name of the message
	Cause     uint8  // TS 29.274 8.4
	Offending IEType // 0 when the response names none
	Instance  uint8
}

// Error names the cause by its number, as TS 29.274 8.4 lists it.
func (e *CauseError) Error() string {
	if e.Offending != 0 {
		return fmt.Sprintf("%s with cause %d, offending IE %d instance %d", e.Response, e.Cause, e.Offending, e.Instance)
	}
	return fmt.Sprintf("%s with cause %d", e.Response, e.Cause)
}

// CreateSession is what the MME knows when it asks for a PDN connection.
type CreateSession struct {
	IMSI    string     // 15 digits
	MSISDN  []byte     // TBCD, as the HSS gave it; empty: none
	IMEI    string     // 16 digits (IMEISV); empty: not sent
	PLMN    [3]byte    // serving network, TS 24.301 9.9.3.32
	APN     string     // may carry an operator identifier
	PDNType uint8      // 1: IPv4, 2: IPv6, 3: IPv4v6; TS 29.274 8.34
	Address netip.Addr // static address from the subscription; invalid: the PGW chooses
	QCI     uint8
	ARP     uint8 // priority level, 1 to 15
	// AMBR of the APN in kbit/s.
	AMBRUplink, AMBRDownlink uint32

	// Without leaves IEs out, for tests of bad input: of the message, and of the bearer context.
	Without, WithoutInBearer []IEType
}

// Session is a PDN connection as the SGW sees it.
type Session struct {
	IMSI    string
	Address netip.Addr // PAA: the UE's address
	DNS     []netip.Addr
	MTU     int // octets; 0: the PGW said nothing
	// ChargingID of the default bearer, TS 29.274 8.29.
	ChargingID uint32
	// Cause of the Create Session Response: 16, or 18 when the PGW gave another PDN type.
	Cause uint8

	Local, Remote         FTEID // S8-C: ours, the PGW-C's
	LocalUser, RemoteUser FTEID // S8-U: ours, the PGW-U's

	peer    netip.AddrPort // of the PGW-C
	plmn    [3]byte
	deliver atomic.Pointer[func(packet []byte)]
	counts  [countKinds]atomic.Uint64
}

// OnDownlink says who takes the inner packets that come for this session. deliver must not keep the packet.
func (s *Session) OnDownlink(deliver func(packet []byte)) { s.deliver.Store(&deliver) }

// CreateSession opens a PDN connection at a PGW-C, TS 29.274 7.2.1. An answer without acceptance is a *CauseError.
func (g *Gateway) CreateSession(ctx context.Context, pgw netip.AddrPort, c CreateSession) (*Session, error) {
	s := &Session{
		IMSI: c.IMSI, peer: pgw, plmn: c.PLMN,
		Local:     FTEID{TEID: g.newTEID(), Address: g.config.Address},
		LocalUser: FTEID{TEID: g.newTEID(), Address: g.userAddress()},
	}
	// Known before the request leaves: the first downlink packet may overtake the answer.
	g.add(s)
	response, err := g.request(ctx, pgw, message{Type: createSessionRequest, IEs: c.elements(s, g.recovery)})
	if err == nil {
		err = s.created(response)
	}
	if err != nil {
		g.remove(s)
		return nil, fmt.Errorf("create session at %s: %w", pgw, err)
	}
	return s, nil
}

func (c CreateSession) elements(s *Session, recovery uint8) []element {
	bearer := []element{
		{Type: IEEBI, Value: []byte{defaultBearer}},
		s.LocalUser.element(2, interfaceSGWUser),
		{Type: IEBearerQoS, Value: bearerQoS(c.QCI, c.ARP)},
	}
	ies := []element{
		{Type: IEIMSI, Value: tbcd(c.IMSI)},
		{Type: IEMSISDN, Value: c.MSISDN},
		{Type: IEMEI, Value: tbcd(c.IMEI)},
		{Type: IEULI, Value: location(c.PLMN, 1)},
		{Type: IEServingNetwork, Value: c.PLMN[:]},
		{Type: IERATType, Value: []byte{ratEUTRAN}},
		s.Local.element(0, interfaceSGWControl),
		{Type: IEAPN, Value: labels(c.APN)},
		{Type: IESelectionMode, Value: []byte{0}}, // subscription verified
		{Type: IEPDNType, Value: []byte{c.PDNType}},
		{Type: IEPAA, Value: paa(c.PDNType, c.Address)},
		{Type: IEAPNRestriction, Value: []byte{0}}, // Maximum APN Restriction
		{Type: IEAMBR, Value: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, c.AMBRUplink), c.AMBRDownlink)},
		{Type: IEPCO, Value: pcoRequest()},
		{Type: IEBearerContext, Value: appendElements(nil, without(bearer, c.WithoutInBearer))},
		{Type: IERecovery, Value: []byte{recovery}},
	}
	if len(c.MSISDN) == 0 {
		ies = without(ies, []IEType{IEMSISDN})
	}
	if c.IMEI == "" {
		ies = without(ies, []IEType{IEMEI})
	}
	return without(ies, c.Without)
}

func without(ies []element, types []IEType) []element {
	return slices.DeleteFunc(ies, func(e element) bool { return slices.Contains(types, e.Type) })
}

// bearerQoS codes a non-GBR bearer's QoS, TS 29.274 8.15: pre-emption by others allowed, of others not.
func bearerQoS(qci, arp uint8) []byte {
	v := make([]byte, 22)
	v[0] = 1<<6 | arp<<2 // PCI set: this bearer does not pre-empt; PVI clear: it may be pre-empted
	v[1] = qci
	return v
}

// location codes TAI and ECGI, TS 29.274 8.21.
func location(plmn [3]byte, tac uint16) []byte {
	v := append([]byte{1<<3 | 1<<4}, plmn[:]...)
	v = binary.BigEndian.AppendUint16(v, tac)
	return append(append(v, plmn[:]...), 0, 0, 0, 1) // the only cell
}

// paa codes the address that is asked for, TS 29.274 8.14: all zero when the PGW is to choose.
func paa(pdnType uint8, static netip.Addr) []byte {
	v := []byte{pdnType}
	if pdnType != 1 {
		v = append(v, make([]byte, 17)...) // prefix length and IPv6 prefix
	}
	if pdnType != 2 {
		a := [4]byte{}
		if static.Is4() {
			a = static.As4()
		}
		v = append(v, a[:]...)
	}
	return v
}

// created takes the answer to a Create Session Request.
func (s *Session) created(m message) (err error) {
	if s.Cause, err = accepted("Create Session Response", m); err != nil {
		return err
	}
	if s.Remote, err = needFTEID(m.IEs, 1, interfacePGWControl, s.Local); err != nil {
		return err
	}
	address, err := need(m.IEs, IEPAA, 0, 5)
	if err != nil {
		return err
	}
	if address.Value[0]&7 != 1 {
		return fmt.Errorf("%w: PAA of PDN type %d", errFormat, address.Value[0]&7)
	}
	s.Address = netip.AddrFrom4([4]byte(address.Value[1:5]))
	if _, err := need(m.IEs, IEAPNRestriction, 0, 1); err != nil {
		return err
	}
	if pco, ok := find(m.IEs, IEPCO, 0); ok {
		if s.DNS, s.MTU, err = parsePCO(pco.Value); err != nil {
			return err
		}
	}
	context, err := need(m.IEs, IEBearerContext, 0, 0)
	if err != nil {
		return err
	}
	bearer, err := parseElements(context.Value)
	if err != nil {
		return err
	}
	if _, err := accepted("Create Session Response, bearer context", message{IEs: bearer}); err != nil {
		return err
	}
	if s.RemoteUser, err = needFTEID(bearer, 2, interfacePGWUser, s.LocalUser); err != nil {
		return err
	}
	if charging, ok := find(bearer, IEChargingID, 0); ok && len(charging.Value) == 4 {
		s.ChargingID = binary.BigEndian.Uint32(charging.Value)
	}
	return nil
}

// accepted gives the cause of a response, or a *CauseError.
func accepted(name string, m message) (uint8, error) {
	e, err := need(m.IEs, IECause, 0, 2)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	switch cause := e.Value[0]; cause {
	case causeAccepted, causeAcceptedPartly, causeNewPDNType:
		return cause, nil
	default:
		refused := &CauseError{Response: name, Cause: cause}
		if len(e.Value) >= 6 {
			refused.Offending, refused.Instance = IEType(e.Value[2]), e.Value[5]&0x0f
		}
		return cause, refused
	}
}

// Relocate takes a PDN connection over from another SGW, as in a tracking area update with SGW change
// (TS 23.401 5.3.3.1): it tells the PGW-C its F-TEIDs in a Modify Bearer Request, TS 29.274 7.2.7. The old SGW
// keeps its end of the tunnel until Forget, for what is still under way.
func (g *Gateway) Relocate(ctx context.Context, old *Session) (*Session, error) {
	s := &Session{
		IMSI: old.IMSI, Address: old.Address, DNS: old.DNS, MTU: old.MTU, ChargingID: old.ChargingID, Cause: old.Cause,
		Remote: old.Remote, RemoteUser: old.RemoteUser, peer: old.peer, plmn: old.plmn,
		Local:     FTEID{TEID: g.newTEID(), Address: g.config.Address},
		LocalUser: FTEID{TEID: g.newTEID(), Address: g.userAddress()},
	}
	s.deliver.Store(old.deliver.Load())
	g.add(s)
	response, err := g.request(ctx, s.peer, message{Type: modifyBearerRequest, TEID: s.Remote.TEID, IEs: []element{
		{Type: IEULI, Value: location(s.plmn, 2)},
		{Type: IEServingNetwork, Value: s.plmn[:]},
		{Type: IERATType, Value: []byte{ratEUTRAN}},
		s.Local.element(0, interfaceSGWControl),
		{Type: IEBearerContext, Value: appendElements(nil, []element{
			{Type: IEEBI, Value: []byte{defaultBearer}},
			s.LocalUser.element(1, interfaceSGWUser),
		})},
		{Type: IERecovery, Value: []byte{g.recovery}},
	}})
	if err == nil {
		_, err = accepted("Modify Bearer Response", response)
	}
	if err != nil {
		g.remove(s)
		return nil, fmt.Errorf("modify bearer at %s: %w", s.peer, err)
	}
	return s, nil
}

// DeleteSession closes a PDN connection, TS 29.274 7.2.9.1. The session's tunnel ends here whatever the answer is.
func (g *Gateway) DeleteSession(ctx context.Context, s *Session) error {
	defer g.remove(s)
	response, err := g.request(ctx, s.peer, message{Type: deleteSessionRequest, TEID: s.Remote.TEID, IEs: []element{
		{Type: IEEBI, Value: []byte{defaultBearer}},
		{Type: IEULI, Value: location(s.plmn, 1)},
	}})
	if err == nil {
		_, err = accepted("Delete Session Response", response)
	}
	if err != nil {
		return fmt.Errorf("delete session at %s: %w", s.peer, err)
	}
	return nil
}

// Forget drops the SGW's end of a session without telling anybody: what an old SGW does after a relocation, and
// what an SGW that crashed has done.
func (g *Gateway) Forget(s *Session) { g.remove(s) }

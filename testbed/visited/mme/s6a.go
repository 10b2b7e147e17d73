package mme

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// AVPs of 3GPP, TS 29.272 7.3 unless said otherwise.
const (
	avpBandwidthDL      = 515 // TS 29.214
	avpBandwidthUL      = 516
	avpServiceSelection = 493 // RFC 5778, no vendor
	avpMSISDN           = 701 // TS 29.329
	avpServedPartyIP    = 848 // TS 32.299
	avpQCI              = 1028
	avpRATType          = 1032
	avpARP              = 1034
	avpPriorityLevel    = 1046
	avpSubscriptionData = 1400
	avpTerminal         = 1401
	avpIMEI             = 1402
	avpULRFlags         = 1405
	avpVisitedPLMN      = 1407
	avpRequestedEUTRAN  = 1408
	avpNumberOfVectors  = 1410
	avpResynchronise    = 1411
	avpImmediate        = 1412
	avpAuthInfo         = 1413
	avpEUTRANVector     = 1414
	avpItemNumber       = 1419
	avpCancellationType = 1420
	avpContextID        = 1423
	avpAPNProfile       = 1429
	avpAPNConfiguration = 1430
	avpQoSProfile       = 1431
	avpAMBR             = 1435
	avpRAND             = 1447
	avpXRES             = 1448
	avpAUTN             = 1449
	avpKASME            = 1450
	avpPDNType          = 1456
)

const (
	ratEUTRAN  = 1004             // RAT-Type, TS 29.212 5.3.31
	ulrInitial = 1<<1 | 1<<5      // ULR-Flags: S6a indicator, initial attach, TS 29.272 7.3.7
	imei       = "35693803564380" // 14 digits: the check digit is not sent
)

// Vector is an E-UTRAN authentication vector, TS 29.272 7.3.18.
type Vector struct {
	Item  uint32 // Item-Number; 0 when absent
	RAND  [16]byte
	XRES  []byte // 4 to 16 octets
	AUTN  [16]byte
	KASME [32]byte
}

// AuthenticationInformation asks for vectors (AIR, TS 29.272 5.2.3.1). resync is nil, or RAND ‖ AUTS of a card
// whose SQN was not in step.
func (m *MME) AuthenticationInformation(ctx context.Context, imsi string, vectors int, resync []byte) ([]Vector, error) {
	requested := []avp{
		of3GPP(avpNumberOfVectors, number(uint32(vectors))),
		of3GPP(avpImmediate, number(1)),
	}
	if resync != nil {
		requested = append(requested, of3GPP(avpResynchronise, resync))
	}
	avps, err := m.ask(ctx, commandAuthentication, "AIA", imsi,
		of3GPP(avpRequestedEUTRAN, group(requested...)),
		of3GPP(avpVisitedPLMN, m.config.PLMN[:]))
	if err != nil {
		return nil, err
	}
	info, err := needGroup(avps, vendor3GPP, avpAuthInfo)
	if err != nil {
		return nil, fmt.Errorf("AIA: %w", err)
	}
	var out []Vector
	for _, a := range info {
		if a.Code != avpEUTRANVector || a.Vendor != vendor3GPP {
			continue
		}
		v, err := parseVector(a.Data)
		if err != nil {
			return nil, fmt.Errorf("AIA: %w", err)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		return nil, errors.New("AIA: success without a vector")
	}
	return out, nil
}

func parseVector(b []byte) (Vector, error) {
	avps, err := parseAVPs(b)
	if err != nil {
		return Vector{}, err
	}
	var v Vector
	if item, ok := find(avps, vendor3GPP, avpItemNumber); ok && len(item.Data) == 4 {
		v.Item = binary.BigEndian.Uint32(item.Data)
	}
	for code, to := range map[uint32][]byte{avpRAND: v.RAND[:], avpAUTN: v.AUTN[:], avpKASME: v.KASME[:]} {
		a, err := need(avps, vendor3GPP, code)
		if err != nil {
			return Vector{}, err
		}
		if len(a.Data) != len(to) {
			return Vector{}, fmt.Errorf("%w: AVP %d has %d octets, not %d", errFormat, code, len(a.Data), len(to))
		}
		copy(to, a.Data)
	}
	xres, err := need(avps, vendor3GPP, avpXRES)
	if err != nil {
		return Vector{}, err
	}
	v.XRES = xres.Data
	return v, nil
}

// Subscription is what the MME keeps of Subscription-Data, TS 29.272 7.3.2.
type Subscription struct {
	MSISDN [8]byte // TBCD, see MSISDNLength
	// MSISDNLength is the number of octets of MSISDN; 0: the subscriber has none.
	MSISDNLength int
	AMBR         AMBR // of the UE
	APNs         []APN
}

// AMBR is an aggregate maximum bit rate in bit/s, as Diameter carries it.
type AMBR struct{ Uplink, Downlink uint32 }

// APN is an APN-Configuration, TS 29.272 7.3.35.
type APN struct {
	Name     string // Service-Selection
	Context  uint32
	PDNType  uint32     // 0: IPv4, 1: IPv6, 2: IPv4v6, 3: IPv4 or IPv6
	Address  netip.Addr // Served-Party-IP-Address; invalid when dynamic
	QCI      uint32
	Priority uint32 // of ARP, 1 to 15
	AMBR     AMBR
}

// APN gives the configuration of an APN by its name, whose case does not count.
func (s Subscription) APN(name string) (APN, bool) {
	for _, a := range s.APNs {
		if strings.EqualFold(a.Name, name) {
			return a, true
		}
	}
	return APN{}, false
}

// UpdateLocation registers the subscriber at this MME (ULR, TS 29.272 5.2.1.1).
func (m *MME) UpdateLocation(ctx context.Context, imsi string) (Subscription, error) {
	avps, err := m.ask(ctx, commandUpdateLocation, "ULA", imsi,
		of3GPP(avpRATType, number(ratEUTRAN)),
		of3GPP(avpULRFlags, number(ulrInitial)),
		of3GPP(avpVisitedPLMN, m.config.PLMN[:]),
		of3GPP(avpTerminal, group(of3GPP(avpIMEI, []byte(imei)))))
	if err != nil {
		return Subscription{}, err
	}
	data, err := needGroup(avps, vendor3GPP, avpSubscriptionData)
	if err != nil {
		return Subscription{}, fmt.Errorf("ULA: %w", err)
	}
	s, err := parseSubscription(data)
	if err != nil {
		return Subscription{}, fmt.Errorf("ULA: %w", err)
	}
	return s, nil
}

func parseSubscription(data []avp) (s Subscription, err error) {
	if a, ok := find(data, vendor3GPP, avpMSISDN); ok {
		if len(a.Data) > len(s.MSISDN) {
			return s, fmt.Errorf("%w: MSISDN of %d octets", errFormat, len(a.Data))
		}
		s.MSISDNLength = copy(s.MSISDN[:], a.Data)
	}
	if s.AMBR, err = parseAMBR(data); err != nil {
		return s, err
	}
	profile, err := needGroup(data, vendor3GPP, avpAPNProfile)
	if err != nil {
		return s, err
	}
	for _, a := range profile {
		if a.Code != avpAPNConfiguration || a.Vendor != vendor3GPP {
			continue
		}
		apn, err := parseAPN(a.Data)
		if err != nil {
			return s, err
		}
		s.APNs = append(s.APNs, apn)
	}
	return s, nil
}

func parseAPN(b []byte) (n APN, err error) {
	avps, err := parseAVPs(b)
	if err != nil {
		return n, err
	}
	name, err := need(avps, 0, avpServiceSelection)
	if err != nil {
		return n, err
	}
	n.Name = string(name.Data)
	if n.Context, err = needUint32(avps, vendor3GPP, avpContextID); err != nil {
		return n, err
	}
	if n.PDNType, err = needUint32(avps, vendor3GPP, avpPDNType); err != nil {
		return n, err
	}
	if a, ok := find(avps, vendor3GPP, avpServedPartyIP); ok && len(a.Data) > 2 {
		n.Address, _ = netip.AddrFromSlice(a.Data[2:])
	}
	qos, err := needGroup(avps, vendor3GPP, avpQoSProfile)
	if err != nil {
		return n, err
	}
	if n.QCI, err = needUint32(qos, vendor3GPP, avpQCI); err != nil {
		return n, err
	}
	arp, err := needGroup(qos, vendor3GPP, avpARP)
	if err != nil {
		return n, err
	}
	if n.Priority, err = needUint32(arp, vendor3GPP, avpPriorityLevel); err != nil {
		return n, err
	}
	n.AMBR, err = parseAMBR(avps)
	return n, err
}

func parseAMBR(avps []avp) (r AMBR, err error) {
	inner, err := needGroup(avps, vendor3GPP, avpAMBR)
	if err != nil {
		return r, err
	}
	if r.Uplink, err = needUint32(inner, vendor3GPP, avpBandwidthUL); err != nil {
		return r, err
	}
	r.Downlink, err = needUint32(inner, vendor3GPP, avpBandwidthDL)
	return r, err
}

// Purge tells the HSS that the MME has forgotten the subscriber (PUR, TS 29.272 5.2.1.3).
func (m *MME) Purge(ctx context.Context, imsi string) error {
	_, err := m.ask(ctx, commandPurge, "PUA", imsi)
	return err
}

// CancelLocation is a CLR that the HSS has sent, TS 29.272 5.2.1.2. The MME has answered it with success.
type CancelLocation struct {
	IMSI string
	Type uint32 // Cancellation-Type, TS 29.272 7.3.24
}

// Cancels gives the CLRs that have come.
func (m *MME) Cancels() []CancelLocation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]CancelLocation(nil), m.cancels...)
}

func (m *MME) canceled(request message) {
	var c CancelLocation
	if a, ok := find(request.AVPs, 0, avpUserName); ok {
		c.IMSI = string(a.Data)
	}
	if a, ok := find(request.AVPs, vendor3GPP, avpCancellationType); ok && len(a.Data) == 4 {
		c.Type = binary.BigEndian.Uint32(a.Data)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.cancels) < 1000 {
		m.cancels = append(m.cancels, c)
	}
}

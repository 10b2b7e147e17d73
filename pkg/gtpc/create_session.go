package gtpc

import (
	"encoding/binary"

	"github.com/xepc/xepc/pkg/identity"
)

// CreateSessionRequest is the message of TS 29.274 7.2.1, as a PGW reads it on S5/S8. IMSI, PAA and APN-AMBR are conditional in
// the standard with conditions that hold for every request of an SGW on S8 but an emergency call without a SIM;
// they are required here, with cause 103.
type CreateSessionRequest struct {
	IMSI           identity.IMSI
	MSISDN         Opt[identity.MSISDN]
	MEI            string // IMEI or IMEISV digits; "" when absent
	UserLocation   []byte // User Location Information, 8.21, as received
	ServingNetwork Opt[identity.PLMN]
	RAT            RATType
	Sender         FTEID // of the SGW for the control plane
	APN            identity.APN
	SelectionMode  Opt[SelectionMode]
	PDNType        PDNType // of the PDN Type IE, of the PAA when that is absent
	PAA            PAA
	AMBR           AMBR           // APN-AMBR
	PCO            PCO            // nil when absent
	Bearer         BearerToCreate // the default bearer
	Recovery       Opt[uint8]
	UETimeZone     []byte // 8.44, as received
}

// BearerToCreate is the Bearer Context to be created IE, TS 29.274 table 7.2.1-2.
type BearerToCreate struct {
	EBI    EBI
	Remote FTEID // S5/S8-U SGW F-TEID
	QoS    BearerQoS
}

// Type implements Message.
func (*CreateSessionRequest) Type() MessageType { return TypeCreateSessionRequest }

// createSessionIEs is what was met while walking a Create Session Request.
type createSessionIEs struct {
	imsi           Opt[identity.IMSI]
	msisdn         Opt[identity.MSISDN]
	mei            Opt[string]
	userLocation   Opt[[]byte]
	servingNetwork Opt[identity.PLMN]
	rat            Opt[RATType]
	sender         Opt[FTEID]
	apn            Opt[identity.APN]
	selectionMode  Opt[SelectionMode]
	pdnType        Opt[PDNType]
	paa            Opt[PAA]
	ambr           Opt[AMBR]
	pco            Opt[PCO]
	bearer         Opt[BearerToCreate]
	recovery       Opt[uint8]
	timeZone       Opt[[]byte]
}

func (m *createSessionIEs) read(d *decoder, k IEKey, v []byte) {
	if k.Instance != 0 {
		return // F-TEIDs of other interfaces, bearers to be removed: not ours to read on S5/S8
	}
	switch k.Type {
	case ieIMSI:
		read(d, k, v, &m.imsi, decodeIMSI)
	case ieMSISDN:
		readOptional(v, &m.msisdn, decodeMSISDN)
	case ieMEI:
		readOptional(v, &m.mei, decodeMEI)
	case ieULI:
		readOptional(v, &m.userLocation, decodeOpaque)
	case ieServingNetwork:
		read(d, k, v, &m.servingNetwork, decodeServingNetwork)
	case ieRATType:
		read(d, k, v, &m.rat, decodeRAT)
	case ieFTEID:
		read(d, k, v, &m.sender, decodeFTEID)
	case ieAPN:
		read(d, k, v, &m.apn, decodeAPN)
	case ieSelectionMode:
		read(d, k, v, &m.selectionMode, decodeSelectionMode)
	case iePDNType:
		read(d, k, v, &m.pdnType, decodePDNType)
	case iePAA:
		read(d, k, v, &m.paa, decodePAA)
	case ieAMBR:
		read(d, k, v, &m.ambr, decodeAMBR)
	case iePCO:
		readOptional(v, &m.pco, decodePCO)
	case ieBearerContext:
		read(d, k, v, &m.bearer, func(v []byte) (BearerToCreate, error) { return d.bearerToCreate(v), nil })
	case ieRecovery:
		read(d, k, v, &m.recovery, decodeUint8)
	case ieUETimeZone:
		readOptional(v, &m.timeZone, decodeOpaque)
	default: // unknown or unexpected IEs are ignored, TS 29.274 7.7.9
	}
}

func (d *decoder) bearerToCreate(ies []byte) BearerToCreate {
	var ebi Opt[EBI]
	var remote Opt[FTEID]
	var qos Opt[BearerQoS]
	keyBearerQoS := IEKey{Type: ieBearerQoS}
	keyRemote := IEKey{Type: ieFTEID, Instance: 2} // S5/S8-U SGW F-TEID
	d.each(ies, func(k IEKey, v []byte) {
		switch k {
		case KeyEBI:
			read(d, k, v, &ebi, decodeEBI)
		case keyRemote:
			read(d, k, v, &remote, decodeFTEID)
		case keyBearerQoS:
			read(d, k, v, &qos, decodeBearerQoS)
		}
	})
	d.mandatory(ebi.Present, KeyEBI)
	d.mandatory(qos.Present, keyBearerQoS)
	d.conditional(remote.Present, keyRemote)
	return BearerToCreate{EBI: ebi.Value, Remote: remote.Value, QoS: qos.Value}
}

func parseCreateSessionRequest(ies []byte) (incoming, error) {
	var d decoder
	var m createSessionIEs
	d.each(ies, func(k IEKey, v []byte) { m.read(&d, k, v) })

	d.mandatory(m.rat.Present, IEKey{Type: ieRATType})
	d.mandatory(m.sender.Present, IEKey{Type: ieFTEID})
	d.mandatory(m.apn.Present, IEKey{Type: ieAPN})
	d.mandatory(m.bearer.Present, IEKey{Type: ieBearerContext})
	d.conditional(m.imsi.Present, IEKey{Type: ieIMSI})
	d.conditional(m.paa.Present, KeyPAA)
	d.conditional(m.ambr.Present, IEKey{Type: ieAMBR})

	request := &CreateSessionRequest{
		IMSI:           m.imsi.Value,
		MSISDN:         m.msisdn,
		MEI:            m.mei.Value,
		UserLocation:   m.userLocation.Value,
		ServingNetwork: m.servingNetwork,
		RAT:            m.rat.Value,
		Sender:         m.sender.Value,
		APN:            m.apn.Value,
		SelectionMode:  m.selectionMode,
		PDNType:        m.paa.Value.Type,
		PAA:            m.paa.Value,
		AMBR:           m.ambr.Value,
		PCO:            m.pco.Value,
		Bearer:         m.bearer.Value,
		Recovery:       m.recovery,
		UETimeZone:     m.timeZone.Value,
	}
	if m.pdnType.Present {
		request.PDNType = m.pdnType.Value
	}
	return incoming{message: request, sender: m.sender.Value.TEID, restart: m.recovery}, d.result()
}

// CreateSessionResponse is the message of TS 29.274 7.2.2, of a PGW that accepts; Reject makes the one that refuses.
type CreateSessionResponse struct {
	Cause          Cause // 16, 18 or 19
	Sender         FTEID // PGW S5/S8 F-TEID for the control plane
	PAA            PAA
	APNRestriction uint8 // 8.57: 0 when there is none
	AMBR           AMBR  // the APN-AMBR in force
	PCO            PCO   // nil: left out
	Bearer         CreatedBearer
	Recovery       Opt[uint8]
}

// CreatedBearer is the Bearer Context Created IE, TS 29.274 table 7.2.2-2.
type CreatedBearer struct {
	EBI        EBI
	Local      FTEID // S5/S8-U PGW F-TEID
	QoS        BearerQoS
	ChargingID uint32 // 8.29
}

// Type implements Message.
func (*CreateSessionResponse) Type() MessageType { return TypeCreateSessionResponse }

func (m *CreateSessionResponse) appendIEs(b []byte) []byte {
	b = CauseIE{Cause: m.Cause}.append(b)
	b = m.Sender.append(b, 1)
	b = m.PAA.append(b)
	b = appendIE(b, IEKey{Type: ieAPNRestriction}, []byte{m.APNRestriction})
	b = m.AMBR.append(b)
	if m.PCO != nil {
		b = m.PCO.append(b)
	}
	bearer := appendEBI(nil, m.Bearer.EBI)
	bearer = CauseIE{Cause: CauseRequestAccepted}.append(bearer)
	bearer = m.Bearer.Local.append(bearer, 2)
	bearer = m.Bearer.QoS.append(bearer)
	bearer = appendChargingID(bearer, m.Bearer.ChargingID)
	b = appendIE(b, IEKey{Type: ieBearerContext}, bearer)
	return appendRecovery(b, m.Recovery)
}

func appendEBI(b []byte, e EBI) []byte { return appendIE(b, KeyEBI, []byte{byte(e)}) }

func appendChargingID(b []byte, id uint32) []byte {
	return appendIE(b, IEKey{Type: ieChargingID}, binary.BigEndian.AppendUint32(nil, id))
}

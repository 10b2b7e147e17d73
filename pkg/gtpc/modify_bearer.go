package gtpc

import "github.com/xepc/xepc/pkg/identity"

// ModifyBearerRequest is the message of TS 29.274 7.2.7, as a PGW reads it on S5/S8. Absent means unchanged.
type ModifyBearerRequest struct {
	MEI            string
	UserLocation   []byte // 8.21, as received; nil when absent
	ServingNetwork Opt[identity.PLMN]
	RAT            Opt[RATType]
	Sender         Opt[FTEID] // of the new SGW for the control plane
	UETimeZone     []byte     // 8.44, as received; nil when absent
	Bearers        []BearerToModify
	Recovery       Opt[uint8]
}

// BearerToModify is the Bearer Context to be modified IE, TS 29.274 table 7.2.7-2.
type BearerToModify struct {
	EBI    EBI
	Remote Opt[FTEID] // S5/S8-U SGW F-TEID
}

// maxBearers is how many bearers a UE can have: EBI 5 to 15 (TS 24.007 11.2.3.1.5).
const maxBearers = 11

// Type implements Message.
func (*ModifyBearerRequest) Type() MessageType { return TypeModifyBearerRequest }

func parseModifyBearerRequest(ies []byte) (incoming, error) {
	var d decoder
	var sender Opt[FTEID]
	var mei Opt[string]
	var location, timeZone Opt[[]byte]
	m := &ModifyBearerRequest{}
	d.each(ies, func(k IEKey, v []byte) {
		if k.Instance != 0 {
			return
		}
		switch k.Type {
		case ieMEI:
			readOptional(v, &mei, decodeMEI)
		case ieULI:
			readOptional(v, &location, decodeOpaque)
		case ieServingNetwork:
			read(&d, k, v, &m.ServingNetwork, decodeServingNetwork)
		case ieRATType:
			read(&d, k, v, &m.RAT, decodeRAT)
		case ieFTEID:
			read(&d, k, v, &sender, decodeFTEID)
		case ieUETimeZone:
			readOptional(v, &timeZone, decodeOpaque)
		case ieBearerContext:
			if len(m.Bearers) < maxBearers {
				m.Bearers = append(m.Bearers, d.bearerToModify(v))
			}
		case ieRecovery:
			read(&d, k, v, &m.Recovery, decodeUint8)
		default: // unknown or unexpected IEs are ignored, TS 29.274 7.7.9
		}
	})
	m.Sender, m.MEI, m.UserLocation, m.UETimeZone = sender, mei.Value, location.Value, timeZone.Value
	return incoming{message: m, sender: sender.Value.TEID, restart: m.Recovery}, d.result()
}

func (d *decoder) bearerToModify(ies []byte) BearerToModify {
	var ebi Opt[EBI]
	var remote Opt[FTEID]
	d.each(ies, func(k IEKey, v []byte) {
		switch k {
		case KeyEBI:
			read(d, k, v, &ebi, decodeEBI)
		case IEKey{Type: ieFTEID, Instance: 1}: // S5/S8-U SGW F-TEID
			read(d, k, v, &remote, decodeFTEID)
		}
	})
	d.mandatory(ebi.Present, KeyEBI)
	return BearerToModify{EBI: ebi.Value, Remote: remote}
}

// ModifyBearerResponse is the message of TS 29.274 7.2.8, of a PGW that accepts at least one bearer; Reject makes the one that
// refuses.
type ModifyBearerResponse struct {
	Cause          Cause // 16 or 17
	MSISDN         Opt[identity.MSISDN]
	APNRestriction Opt[uint8] // after a change of the SGW
	Bearers        []ModifiedBearer
	Recovery       Opt[uint8]
}

// ModifiedBearer is the Bearer Context modified IE, TS 29.274 table 7.2.8-2.
type ModifiedBearer struct {
	EBI        EBI
	Cause      Cause
	ChargingID Opt[uint32]
}

// Type implements Message.
func (*ModifyBearerResponse) Type() MessageType { return TypeModifyBearerResponse }

func (m *ModifyBearerResponse) appendIEs(b []byte) []byte {
	b = CauseIE{Cause: m.Cause}.append(b)
	if m.MSISDN.Present {
		b = appendIE(b, IEKey{Type: ieMSISDN}, identity.EncodeTBCD(string(m.MSISDN.Value)))
	}
	if m.APNRestriction.Present {
		b = appendIE(b, IEKey{Type: ieAPNRestriction}, []byte{m.APNRestriction.Value})
	}
	for _, bearer := range m.Bearers {
		v := appendEBI(nil, bearer.EBI)
		v = CauseIE{Cause: bearer.Cause}.append(v)
		if bearer.ChargingID.Present {
			v = appendChargingID(v, bearer.ChargingID.Value)
		}
		b = appendIE(b, IEKey{Type: ieBearerContext}, v)
	}
	return appendRecovery(b, m.Recovery)
}

package gtpc

import "encoding/binary"

// AMBR is the Aggregate Maximum Bit Rate IE (type 72), TS 29.274 8.7, in kbit/s (1,000 bit). On S5/S8 it is the
// APN-AMBR.
type AMBR struct {
	Uplink, Downlink uint32
}

func decodeAMBR(v []byte) (AMBR, error) {
	if len(v) < 8 {
		return AMBR{}, errIEShort
	}
	return AMBR{Uplink: binary.BigEndian.Uint32(v), Downlink: binary.BigEndian.Uint32(v[4:])}, nil
}

func (a AMBR) append(b []byte) []byte {
	v := binary.BigEndian.AppendUint32(nil, a.Uplink)
	return appendIE(b, IEKey{Type: ieAMBR}, binary.BigEndian.AppendUint32(v, a.Downlink))
}

// BearerQoS is the Bearer Level QoS IE (type 80), TS 29.274 8.15. Bit rates are in kbit/s, 40 bits on the wire,
// and 0 for a bearer without a guaranteed rate.
type BearerQoS struct {
	QCI                        uint8
	PriorityLevel              uint8 // of the ARP, 1 (highest) to 15
	PreemptionCapabilityOff    bool  // PCI, TS 29.212 5.3.46: set means that it must not preempt
	PreemptionVulnerabilityOff bool  // PVI, TS 29.212 5.3.47: set means that it must not be preempted
	MBRUplink, MBRDownlink     uint64
	GBRUplink, GBRDownlink     uint64
}

func decodeBearerQoS(v []byte) (BearerQoS, error) {
	if len(v) < 22 {
		return BearerQoS{}, errIEShort
	}
	return BearerQoS{
		PreemptionCapabilityOff:    v[0]&0x40 != 0,
		PriorityLevel:              v[0] >> 2 & 0x0f,
		PreemptionVulnerabilityOff: v[0]&0x01 != 0,
		QCI:                        v[1],
		MBRUplink:                  uint40(v[2:]),
		MBRDownlink:                uint40(v[7:]),
		GBRUplink:                  uint40(v[12:]),
		GBRDownlink:                uint40(v[17:]),
	}, nil
}

func (q BearerQoS) append(b []byte) []byte {
	v := make([]byte, 2, 22)
	v[0] = q.PriorityLevel & 0x0f << 2
	if q.PreemptionCapabilityOff {
		v[0] |= 0x40
	}
	if q.PreemptionVulnerabilityOff {
		v[0] |= 0x01
	}
	v[1] = q.QCI
	for _, rate := range []uint64{q.MBRUplink, q.MBRDownlink, q.GBRUplink, q.GBRDownlink} {
		v = append(v, byte(rate>>32), byte(rate>>24), byte(rate>>16), byte(rate>>8), byte(rate))
	}
	return appendIE(b, IEKey{Type: ieBearerQoS}, v)
}

func uint40(v []byte) uint64 {
	return uint64(v[0])<<32 | uint64(binary.BigEndian.Uint32(v[1:]))
}

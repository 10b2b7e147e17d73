package sgw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Message types, TS 29.274 table 6.1-1.
const (
	echoRequest           = 1
	echoResponse          = 2
	createSessionRequest  = 32
	createSessionResponse = 33
	modifyBearerRequest   = 34
	modifyBearerResponse  = 35
	deleteSessionRequest  = 36
	deleteSessionResponse = 37
	deleteBearerRequest   = 99
	deleteBearerResponse  = 100
)

// IEType is the type of a GTPv2-C information element, TS 29.274 table 8.1-1.
type IEType uint8

// The information elements that an SGW sends or reads on S8.
const (
	IEIMSI           IEType = 1
	IECause          IEType = 2
	IERecovery       IEType = 3
	IEAPN            IEType = 71
	IEAMBR           IEType = 72
	IEEBI            IEType = 73
	IEMEI            IEType = 75
	IEMSISDN         IEType = 76
	IEPCO            IEType = 78
	IEPAA            IEType = 79
	IEBearerQoS      IEType = 80
	IERATType        IEType = 82
	IEServingNetwork IEType = 83
	IEULI            IEType = 86
	IEFTEID          IEType = 87
	IEBearerContext  IEType = 93
	IEChargingID     IEType = 94
	IEPDNType        IEType = 99
	IEAPNRestriction IEType = 127
	IESelectionMode  IEType = 128
)

// Interface types of an F-TEID, TS 29.274 8.22.
const (
	interfaceSGWUser    = 4
	interfacePGWUser    = 5
	interfaceSGWControl = 6
	interfacePGWControl = 7
)

const (
	portControl = 2123
	portUser    = 2152
	maxDatagram = 65535
)

var errFormat = errors.New("malformed GTPv2-C message")

// message is a GTPv2-C message, TS 29.274 5.1. Echo has no TEID.
type message struct {
	Type     uint8
	TEID     uint32
	Sequence uint32 // 24 bits
	IEs      []element
}

// element is an information element, TS 29.274 8.2.
type element struct {
	Type     IEType
	Instance uint8
	Value    []byte
}

func (m message) marshal() []byte {
	flags, header := byte(2<<5|1<<3), 12 // version 2, T
	if m.Type == echoRequest || m.Type == echoResponse {
		flags, header = 2<<5, 8
	}
	b := make([]byte, header, 256)
	b[0], b[1] = flags, m.Type
	if header == 12 {
		binary.BigEndian.PutUint32(b[4:], m.TEID)
	}
	binary.BigEndian.PutUint32(b[header-4:], m.Sequence<<8)
	b = appendElements(b, m.IEs)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

func appendElements(b []byte, ies []element) []byte {
	for _, e := range ies {
		b = append(b, byte(e.Type))
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Value)))
		b = append(b, e.Instance&0x0f)
		b = append(b, e.Value...)
	}
	return b
}

// parseMessage reads one message of a datagram to its last octet. A piggybacked message behind it is refused: an
// S8 peer of ours has not been asked for one.
func parseMessage(b []byte) (message, error) {
	if len(b) < 8 || b[0]>>5 != 2 {
		return message{}, fmt.Errorf("%w: header", errFormat)
	}
	header := 8
	m := message{Type: b[1]}
	if b[0]&(1<<3) != 0 {
		header = 12
	}
	if len(b) < header || int(binary.BigEndian.Uint16(b[2:]))+4 != len(b) {
		return message{}, fmt.Errorf("%w: length", errFormat)
	}
	if header == 12 {
		m.TEID = binary.BigEndian.Uint32(b[4:])
	}
	m.Sequence = binary.BigEndian.Uint32(b[header-4:]) >> 8
	var err error
	m.IEs, err = parseElements(b[header:])
	return m, err
}

func parseElements(b []byte) ([]element, error) {
	var ies []element
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: %d octets left where an IE begins", errFormat, len(b))
		}
		end := 4 + int(binary.BigEndian.Uint16(b[1:]))
		if end > len(b) {
			return nil, fmt.Errorf("%w: IE %d ends %d octets behind the message", errFormat, b[0], end-len(b))
		}
		ies = append(ies, element{Type: IEType(b[0]), Instance: b[3] & 0x0f, Value: b[4:end]})
		b = b[end:]
	}
	return ies, nil
}

func find(ies []element, t IEType, instance uint8) (element, bool) {
	for _, e := range ies {
		if e.Type == t && e.Instance == instance {
			return e, true
		}
	}
	return element{}, false
}

// need gives the IE, which must have at least that many octets.
func need(ies []element, t IEType, instance uint8, octets int) (element, error) {
	e, ok := find(ies, t, instance)
	if !ok {
		return e, fmt.Errorf("%w: no IE %d instance %d", errFormat, t, instance)
	}
	if len(e.Value) < octets {
		return e, fmt.Errorf("%w: IE %d has %d octets, not %d", errFormat, t, len(e.Value), octets)
	}
	return e, nil
}

// FTEID is an F-TEID with an address of one family, TS 29.274 8.22.
type FTEID struct {
	TEID    uint32
	Address netip.Addr
}

func (f FTEID) element(instance, interfaceType uint8) element {
	v := []byte{1<<7 | interfaceType}
	if f.Address.Is6() {
		v[0] = 1<<6 | interfaceType
	}
	v = binary.BigEndian.AppendUint32(v, f.TEID)
	return element{Type: IEFTEID, Instance: instance, Value: append(v, f.Address.AsSlice()...)}
}

// needFTEID reads an F-TEID that must be there, of that interface type, with an address of the family of ours.
func needFTEID(ies []element, instance, interfaceType uint8, ours FTEID) (FTEID, error) {
	e, err := need(ies, IEFTEID, instance, 9)
	if err != nil {
		return FTEID{}, err
	}
	v4, v6, at := e.Value[0]&0x80 != 0, e.Value[0]&0x40 != 0, 5
	if v4 && v6 && ours.Address.Is6() {
		at += 4
	}
	if ours.Address.Is6() && !v6 || !ours.Address.Is6() && !v4 || e.Value[0]&0x3f != interfaceType {
		return FTEID{}, fmt.Errorf("%w: F-TEID instance %d has flags and interface type %#02x", errFormat, instance, e.Value[0])
	}
	octets := 4
	if ours.Address.Is6() {
		octets = 16
	}
	address, ok := netip.AddrFromSlice(e.Value[at:min(len(e.Value), at+octets)])
	if !ok || address.Is6() != ours.Address.Is6() {
		return FTEID{}, fmt.Errorf("%w: F-TEID instance %d of %d octets", errFormat, instance, len(e.Value))
	}
	return FTEID{TEID: binary.BigEndian.Uint32(e.Value[1:]), Address: address}, nil
}

// tbcd codes digits as telephony BCD, TS 29.274 8.3: two a octet, the first in the low half, 0xf fills up.
func tbcd(digits string) []byte {
	out := make([]byte, (len(digits)+1)/2)
	for i := range out {
		out[i] = 0xf0
	}
	for i, d := range []byte(digits) {
		if i%2 == 0 {
			out[i/2] = out[i/2]&0xf0 | (d - '0')
		} else {
			out[i/2] = out[i/2]&0x0f | (d-'0')<<4
		}
	}
	return out
}

// labels codes an APN, TS 23.003 9.1.
func labels(apn string) (out []byte) {
	for label := range strings.SplitSeq(apn, ".") {
		out = append(append(out, byte(len(label))), label...)
	}
	return out
}

// Containers of the PCO IE, TS 24.008 10.5.6.3.
const (
	containerDNS  = 0x000d // DNS Server IPv4 Address
	containerMTU  = 0x0010 // IPv4 Link MTU
	pcoForIP      = 0x80   // extension bit, configuration protocol PPP for use with IP PDP type
	containerHead = 3
)

// pcoRequest asks for DNS servers and the link MTU.
func pcoRequest() []byte {
	b := []byte{pcoForIP}
	for _, id := range []uint16{containerDNS, containerMTU} {
		b = append(binary.BigEndian.AppendUint16(b, id), 0)
	}
	return b
}

// parsePCO reads the DNS servers and the link MTU, in octets, 0 when absent.
func parsePCO(b []byte) (dns []netip.Addr, mtu int, err error) {
	if len(b) == 0 || b[0] != pcoForIP {
		return nil, 0, fmt.Errorf("%w: PCO", errFormat)
	}
	for b = b[1:]; len(b) > 0; {
		if len(b) < containerHead || len(b) < containerHead+int(b[2]) {
			return nil, 0, fmt.Errorf("%w: PCO container is cut off", errFormat)
		}
		id, value := binary.BigEndian.Uint16(b), b[containerHead:containerHead+int(b[2])]
		switch {
		case id == containerDNS && len(value) == 4:
			dns = append(dns, netip.AddrFrom4([4]byte(value)))
		case id == containerMTU && len(value) == 2:
			mtu = int(binary.BigEndian.Uint16(value))
		case id == containerDNS || id == containerMTU:
			return nil, 0, fmt.Errorf("%w: PCO container %#04x has %d octets", errFormat, id, len(value))
		}
		b = b[containerHead+len(value):]
	}
	return dns, mtu, nil
}

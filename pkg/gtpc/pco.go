package gtpc

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// PCO is the Protocol Configuration Options IE (type 78), TS 29.274 8.13, with the contents of TS 24.008
// 10.5.6.3: what the UE asks its gateway, and the answers. The configuration protocol is PPP for IP, the only one
// there is.
type PCO []PCOContainer

// PCOContainer is one protocol or container of a PCO, TS 24.008 table 10.5.154.
type PCOContainer struct {
	ID   uint16
	Data []byte // at most 255 octets
}

// decodePCO reads a PCO. A container that ends after the PCO does is an error.
func decodePCO(v []byte) (PCO, error) {
	if len(v) < 1 {
		return nil, errIEShort
	}
	var p PCO
	for b := v[1:]; len(b) > 0; {
		if len(b) < 3 || int(b[2]) > len(b)-3 {
			return nil, errIEShort
		}
		end := 3 + int(b[2])
		p = append(p, PCOContainer{ID: binary.BigEndian.Uint16(b), Data: slices.Clone(b[3:end])})
		b = b[end:]
	}
	return p, nil
}

// maxPCO is the most octets that a PCO may have, TS 24.008 10.5.6.3.
const maxPCO = 251

// append leaves out, with all after it, the container that would make the PCO too long for the UE.
func (p PCO) append(b []byte) []byte {
	v := []byte{0x80} // extension bit, configuration protocol 0: PPP
	for _, c := range p {
		if len(c.Data) > 255 || len(v)+3+len(c.Data) > maxPCO {
			break
		}
		v = binary.BigEndian.AppendUint16(v, c.ID)
		v = append(v, byte(len(c.Data)))
		v = append(v, c.Data...)
	}
	return appendIE(b, IEKey{Type: iePCO}, v)
}

// String names a container for logs.
func (c PCOContainer) String() string { return fmt.Sprintf("%#04x(% x)", c.ID, c.Data) }

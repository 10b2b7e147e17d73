package aka

import (
	"crypto/subtle"
	"fmt"
)

// exclusive is the test algorithm XOR of TS 34.108 8.1.2, which protects nothing: for test SIMs only. With
// XDOUT = K ⊕ RAND, everything is XDOUT rotated, and MAC is its first half ⊕ SQN ‖ AMF.
type exclusive struct{ k [16]byte }

const xorRES = 8 // octets: TS 34.108 8.1.2.1 allows 30 to 128 bits; ours is what Milenage gives

func newExclusive(c Credentials) (*exclusive, error) {
	if c.K.n != 16 {
		return nil, fmt.Errorf("XOR wants K of 16 octets, not %d", c.K.n)
	}
	return &exclusive{k: [16]byte(c.K.b[:16])}, nil
}

func (e *exclusive) f1(rand [16]byte, sqn SQN, amf uint16) (macA, macS [8]byte) {
	xdout := xor16(e.k, rand)
	s := sqn.octets()
	cdout := [8]byte{s[0], s[1], s[2], s[3], s[4], s[5], byte(amf >> 8), byte(amf)}
	subtle.XORBytes(macA[:], xdout[:8], cdout[:])
	return macA, macA // f1* is f1
}

func (e *exclusive) f2345(rand [16]byte) (res []byte, ck, ik [16]byte, ak [6]byte) {
	xdout := xor16(e.k, rand)
	return xdout[:xorRES], rot(xdout, 1), rot(xdout, 2), [6]byte(xdout[3:9])
}

func (e *exclusive) f5star(rand [16]byte) [6]byte {
	_, _, _, ak := e.f2345(rand)
	return ak
}

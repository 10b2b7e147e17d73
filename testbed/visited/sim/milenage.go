package sim

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

// Milenage is the algorithm set of TS 35.206 with one subscriber's key, as it runs on the card.
type Milenage struct {
	block cipher.Block // AES-128 under K
	opc   [16]byte
}

// NewMilenage prepares the algorithms for the subscriber key K and the derived operator value OPc.
func NewMilenage(k, opc [16]byte) (*Milenage, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, fmt.Errorf("prepare AES for Milenage: %w", err)
	}
	return &Milenage{block: block, opc: opc}, nil
}

// OPc derives OPc from the operator value OP: OPc = E_K(OP) ⊕ OP, TS 35.206 4.1.
func OPc(k, op [16]byte) ([16]byte, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return [16]byte{}, fmt.Errorf("prepare AES for OPc: %w", err)
	}
	var out [16]byte
	block.Encrypt(out[:], op[:])
	return xor16(out, op), nil
}

// F1 gives MAC-A (f1) and MAC-S (f1*) over a challenge, TS 35.206 4.1.
func (m *Milenage) F1(rand [16]byte, sqn [6]byte, amf [2]byte) (macA, macS [8]byte) {
	var in1 [16]byte
	copy(in1[0:], sqn[:])
	copy(in1[6:], amf[:])
	copy(in1[8:], sqn[:])
	copy(in1[14:], amf[:])

	// r1 is 64 bits, c1 is zero: OUT1 = E(TEMP ⊕ rot(IN1 ⊕ OPc, r1) ⊕ c1) ⊕ OPc.
	out := m.encrypt(xor16(m.temp(rand), rotate(xor16(in1, m.opc), 8)))
	out = xor16(out, m.opc)
	copy(macA[:], out[:8])
	copy(macS[:], out[8:])
	return macA, macS
}

// F2345 gives the response RES (f2), the cipher key CK (f3), the integrity key IK (f4) and the anonymity key AK
// (f5) to a challenge, TS 35.206 4.1.
func (m *Milenage) F2345(rand [16]byte) (res [8]byte, ck, ik [16]byte, ak [6]byte) {
	temp := m.temp(rand)
	out2 := m.out(temp, 0, 1)
	copy(res[:], out2[8:])
	copy(ak[:], out2[:6])
	return res, m.out(temp, 4, 2), m.out(temp, 8, 4), ak
}

// F5Star gives the anonymity key AK that hides SQN_MS in AUTS (f5*), TS 35.206 4.1.
func (m *Milenage) F5Star(rand [16]byte) (ak [6]byte) {
	out := m.out(m.temp(rand), 12, 8)
	copy(ak[:], out[:6])
	return ak
}

// out is OUT2 to OUT5: E(rot(TEMP ⊕ OPc, r) ⊕ c) ⊕ OPc, with r in octets and c, which is one octet long.
func (m *Milenage) out(temp [16]byte, r int, c byte) [16]byte {
	in := rotate(xor16(temp, m.opc), r)
	in[15] ^= c
	return xor16(m.encrypt(in), m.opc)
}

// temp is TEMP = E(RAND ⊕ OPc).
func (m *Milenage) temp(rand [16]byte) [16]byte { return m.encrypt(xor16(rand, m.opc)) }

func (m *Milenage) encrypt(in [16]byte) (out [16]byte) {
	m.block.Encrypt(out[:], in[:])
	return out
}

// rotate moves the octets n places towards the most significant end, cyclically.
func rotate(in [16]byte, n int) (out [16]byte) {
	for i := range in {
		out[i] = in[(i+n)%16]
	}
	return out
}

func xor16(a, b [16]byte) (out [16]byte) {
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

func xor6(a, b [6]byte) (out [6]byte) {
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

package aka

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

// milenage is the algorithm of TS 35.206 under one card's K and OPc. With E(x) the AES-128 of K, TEMP = E(RAND ⊕ OPc):
//
//	OUTn = E(rot(TEMP ⊕ OPc, rn) ⊕ cn) ⊕ OPc        for n = 2 to 5
//	OUT1 = E(TEMP ⊕ rot(IN1 ⊕ OPc, r1) ⊕ c1) ⊕ OPc  with IN1 = SQN ‖ AMF ‖ SQN ‖ AMF
type milenage struct {
	block cipher.Block
	opc   [16]byte
	work  [16]byte // of encrypt
}

// The constants of TS 35.206 4.1: rotations in octets and the last octet of the cn, whose others are 0.
const (
	rotate1, rotate2, rotate3, rotate4, rotate5 = 8, 0, 4, 8, 12
	last1, last2, last3, last4, last5           = 0, 1, 2, 4, 8
)

func newMilenage(c Credentials) (*milenage, error) {
	if c.K.n != 16 || c.OPc.n != 16 {
		return nil, fmt.Errorf("want K and OPc of 16 octets for Milenage, not %d and %d", c.K.n, c.OPc.n)
	}
	block, err := aes.NewCipher(c.K.b[:16])
	if err != nil {
		return nil, fmt.Errorf("expanding K: %w", err)
	}
	return &milenage{block: block, opc: [16]byte(c.OPc.b[:16])}, nil
}

// encrypt returns E(x).
func (m *milenage) encrypt(x [16]byte) [16]byte {
	m.work = x // x itself would be allocated, since an interface could keep it
	m.block.Encrypt(m.work[:], m.work[:])
	return m.work
}

func xor16(a, b [16]byte) (out [16]byte) {
	subtle.XORBytes(out[:], a[:], b[:])
	return out
}

// rot rotates by n octets towards the most significant.
func rot(x [16]byte, n int) (out [16]byte) {
	copy(out[:], x[n:])
	copy(out[16-n:], x[:n])
	return out
}

// out returns OUTn for n = 2 to 5.
func (m *milenage) out(temp [16]byte, rotation int, last byte) [16]byte {
	x := rot(xor16(temp, m.opc), rotation)
	x[15] ^= last
	return xor16(m.encrypt(x), m.opc)
}

func (m *milenage) temp(rand [16]byte) [16]byte { return m.encrypt(xor16(rand, m.opc)) }

func (m *milenage) f1(rand [16]byte, sqn SQN, amf uint16) (macA, macS [8]byte) {
	var in1 [16]byte
	s := sqn.octets()
	copy(in1[:], s[:])
	in1[6], in1[7] = byte(amf>>8), byte(amf)
	copy(in1[8:], in1[:8])
	x := xor16(m.temp(rand), rot(xor16(in1, m.opc), rotate1))
	x[15] ^= last1
	out := xor16(m.encrypt(x), m.opc)
	return [8]byte(out[:8]), [8]byte(out[8:])
}

func (m *milenage) f2345(rand [16]byte) (res []byte, ck, ik [16]byte, ak [6]byte) {
	temp := m.temp(rand)
	out2 := m.out(temp, rotate2, last2)
	return out2[8:], m.out(temp, rotate3, last3), m.out(temp, rotate4, last4), [6]byte(out2[:6])
}

func (m *milenage) f5star(rand [16]byte) [6]byte {
	out5 := m.out(m.temp(rand), rotate5, last5)
	return [6]byte(out5[:6])
}

// milenageOPc returns E(OP) ⊕ OP, TS 35.206 4.1.
func milenageOPc(k, op Key) (Key, error) {
	if k.n != 16 || op.n != 16 {
		return Key{}, fmt.Errorf("computing OPc: K and OP of %d and %d octets, want 16", k.n, op.n)
	}
	block, err := aes.NewCipher(k.b[:16])
	if err != nil {
		return Key{}, fmt.Errorf("computing OPc: %w", err)
	}
	m := milenage{block: block}
	opc := xor16(m.encrypt([16]byte(op.b[:16])), [16]byte(op.b[:16]))
	return KeyOf(opc[:]), nil
}

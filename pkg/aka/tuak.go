package aka

import "fmt"

// tuak is the algorithm of TS 35.231 under one card's K and TOPc. Each function is Keccak-f[1600] over a block of 200
// octets, in which every value stands with its octets reversed (TS 35.231 6.2):
//
//	0-31 TOPc  32 INSTANCE  33-39 "TUAK1.0"  40-55 RAND  56-57 AMF  58-63 SQN  64-95 K  96 and 135 padding
//
// and whose output holds, reversed too: 0-31 MAC, RES or TOPc, 32-63 CK, 64-95 IK, 96-101 AK.
type tuak struct {
	topc       [32]byte
	k          Key
	res        int // octets of RES: 4, 8, 16 or 32
	mac        int // octets of MAC-A and MAC-S; 8 but in the test sets
	ckLong     bool
	ikLong     bool
	iterations int
}

const tuakName = "TUAK1.0"

// INSTANCE, TS 35.231 6.3 to 6.6: the function, then the lengths.
const (
	tuakTOPc   byte = 0x00
	tuakF1     byte = 0x00
	tuakF1star byte = 0x80
	tuakF2345  byte = 0x40
	tuakF5star byte = 0xc0

	tuakCK256 byte = 1 << 2
	tuakIK256 byte = 1 << 1
	tuakK256  byte = 1 << 0
)

func newTUAK(c Credentials) (*tuak, error) {
	if (c.K.n != 16 && c.K.n != 32) || c.OPc.n != 32 {
		return nil, fmt.Errorf("TUAK wants K of 16 or 32 octets and TOPc of 32, not %d and %d", c.K.n, c.OPc.n)
	}
	t := &tuak{topc: c.OPc.b, k: c.K, res: int(c.RESOctets), mac: 8, iterations: int(max(1, c.Iterations))}
	switch t.res {
	case 0:
		t.res = 8
	case 4, 8, 16:
	default:
		return nil, fmt.Errorf("RES of %d octets, want 4, 8 or 16", t.res)
	}
	return t, nil
}

// lengthCode is the part of INSTANCE that says how long MAC or RES is.
func lengthCode(octets int) byte { return byte(octets) &^ 4 } // 4 → 0, 8 → 8, 16 → 16, 32 → 32

// block makes the input that all functions share.
func (t *tuak) block(instance byte, rand *[16]byte) *[200]byte {
	in := new([200]byte)
	reversed(in[0:], t.topc[:])
	if t.k.n == 32 {
		instance |= tuakK256
	}
	in[32] = instance
	reversed(in[33:], []byte(tuakName))
	if rand != nil {
		reversed(in[40:], rand[:])
	}
	reversed(in[64:], t.k.b[:t.k.n])
	in[96], in[135] = 0x1f, 0x80
	return in
}

func reversed(to, from []byte) {
	for i, v := range from {
		to[len(from)-1-i] = v
	}
}

func (t *tuak) permute(b *[200]byte) {
	for range t.iterations {
		keccakF(b)
	}
}

func (t *tuak) macOf(instance byte, rand [16]byte, sqn SQN, amf uint16) []byte {
	b := t.block(instance|lengthCode(t.mac), &rand)
	s := sqn.octets()
	reversed(b[56:], []byte{byte(amf >> 8), byte(amf)})
	reversed(b[58:], s[:])
	t.permute(b)
	mac := make([]byte, t.mac)
	reversed(mac, b[:t.mac])
	return mac
}

func (t *tuak) f1(rand [16]byte, sqn SQN, amf uint16) (macA, macS [8]byte) {
	return [8]byte(t.macOf(tuakF1, rand, sqn, amf)), [8]byte(t.macOf(tuakF1star, rand, sqn, amf))
}

// keys computes f2 to f5 in one go, with CK and IK of 16 or 32 octets.
func (t *tuak) keys(rand [16]byte) (res, ck, ik []byte, ak [6]byte) {
	instance := tuakF2345 | lengthCode(t.res)
	ck, ik = make([]byte, 16), make([]byte, 16)
	if t.ckLong {
		instance, ck = instance|tuakCK256, make([]byte, 32)
	}
	if t.ikLong {
		instance, ik = instance|tuakIK256, make([]byte, 32)
	}
	b := t.block(instance, &rand)
	t.permute(b)
	res = make([]byte, t.res)
	reversed(res, b[:t.res])
	reversed(ck, b[32:32+len(ck)])
	reversed(ik, b[64:64+len(ik)])
	reversed(ak[:], b[96:102])
	return res, ck, ik, ak
}

func (t *tuak) f2345(rand [16]byte) (res []byte, ck, ik [16]byte, ak [6]byte) {
	res, c, i, ak := t.keys(rand)
	return res, [16]byte(c), [16]byte(i), ak
}

func (t *tuak) f5star(rand [16]byte) (ak [6]byte) {
	b := t.block(tuakF5star, &rand)
	t.permute(b)
	reversed(ak[:], b[96:102])
	return ak
}

// tuakOPc computes TOPc from TOP, TS 35.231 6.3.
func tuakOPc(k, top Key, iterations uint8) (Key, error) {
	if (k.n != 16 && k.n != 32) || top.n != 32 {
		return Key{}, fmt.Errorf("computing TOPc: K and TOP of %d and %d octets, want 16 or 32, and 32", k.n, top.n)
	}
	t := tuak{topc: top.b, k: k, iterations: int(max(1, iterations))}
	b := t.block(tuakTOPc, nil)
	t.permute(b)
	var topc [32]byte
	reversed(topc[:], b[:32])
	return KeyOf(topc[:]), nil
}

package s6a

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// card is a USIM, written from TS 35.206 4.1 and TS 33.102 6.3.3 and annex C.2 without any code of ours.
type card struct {
	k, opc [16]byte
	seq    [32]uint64 // the highest SEQ accepted with each IND
}

var (
	errMACA    = errors.New("MAC-A does not match")
	errSQN     = errors.New("SQN out of range")
	rotations  = [5]int{8, 0, 4, 8, 12} // r1 to r5 in octets
	lastOctets = [5]byte{0, 1, 2, 4, 8} // c1 to c5
)

func (c *card) encrypt(in [16]byte) (out [16]byte) {
	block, err := aes.NewCipher(c.k[:])
	if err != nil {
		panic(err)
	}
	block.Encrypt(out[:], in[:])
	return out
}

// out computes OUTn of Milenage; sqn and amf matter for OUT1 only.
func (c *card) out(n int, rand [16]byte, sqn [6]byte, amf [2]byte) [16]byte {
	var in [16]byte
	for i := range in {
		in[i] = rand[i] ^ c.opc[i]
	}
	temp := c.encrypt(in)
	rotated := temp
	if n == 1 {
		copy(in[:], sqn[:])
		copy(in[6:], amf[:])
		copy(in[8:], in[:8])
		rotated = in
	}
	for i := range in {
		in[(i+16-rotations[n-1])%16] = rotated[i] ^ c.opc[i]
	}
	if n == 1 {
		for i := range in {
			in[i] ^= temp[i]
		}
	}
	in[15] ^= lastOctets[n-1]
	o := c.encrypt(in)
	for i := range o {
		o[i] ^= c.opc[i]
	}
	return o
}

func (c *card) highest() (seq uint64) {
	for _, s := range c.seq {
		seq = max(seq, s)
	}
	return seq
}

type response struct {
	res        [8]byte
	ck, ik     [16]byte
	concealed  [6]byte // SQN ⊕ AK
	seq        uint64
	ind        int
	separation bool
}

// authenticate answers a challenge. With errSQN the AUTS is returned.
func (c *card) authenticate(rand, autn [16]byte) (r response, auts [14]byte, err error) {
	out2 := c.out(2, rand, [6]byte{}, [2]byte{})
	r.res = [8]byte(out2[8:])
	r.ck, r.ik = c.out(3, rand, [6]byte{}, [2]byte{}), c.out(4, rand, [6]byte{}, [2]byte{})
	r.concealed = [6]byte(autn[:6])
	var sqn [8]byte
	for i := range 6 {
		sqn[2+i] = autn[i] ^ out2[i]
	}
	amf := [2]byte(autn[6:])
	r.separation = amf[0]&0x80 != 0
	mac := c.out(1, rand, [6]byte(sqn[2:]), amf)
	if [8]byte(mac[:8]) != [8]byte(autn[8:]) {
		return r, auts, errMACA
	}
	n := binary.BigEndian.Uint64(sqn[:])
	r.seq, r.ind = n>>5, int(n&31)
	// C.2.2: above what this IND has seen, and not too far above what all have.
	if r.seq <= c.seq[r.ind] || r.seq > c.highest()+1<<28 {
		return r, c.auts(rand), errSQN
	}
	c.seq[r.ind] = r.seq
	return r, auts, nil
}

// auts conceals the highest SEQ, TS 33.102 6.3.3 with AMF* = 0000.
func (c *card) auts(rand [16]byte) (a [14]byte) {
	var sqn [8]byte
	binary.BigEndian.PutUint64(sqn[:], c.highest()<<5)
	out5 := c.out(5, rand, [6]byte{}, [2]byte{})
	for i := range 6 {
		a[i] = sqn[2+i] ^ out5[i]
	}
	mac := c.out(1, rand, [6]byte(sqn[2:]), [2]byte{})
	copy(a[6:], mac[8:])
	return a
}

// kasme derives KASME, TS 33.401 A.2.
func (r response) kasme(plmn [3]byte) []byte {
	h := hmac.New(sha256.New, append(r.ck[:], r.ik[:]...))
	h.Write([]byte{0x10, plmn[0], plmn[1], plmn[2], 0, 3})
	h.Write(r.concealed[:])
	h.Write([]byte{0, 6})
	return h.Sum(nil)
}

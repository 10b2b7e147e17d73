// Package aka owns the network's side of authentication and key agreement: vectors by Milenage (TS 35.206), TUAK
// (TS 35.231) and the test algorithm XOR (TS 34.108), KASME (TS 33.401 A.2), the form of sequence numbers and the check
// of AUTS (TS 33.102). It never stores or counts anything, and never shows a key.
package aka

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// What the standards fix.
const (
	// SeparationBit of AMF is 1 in vectors for E-UTRAN and 0 in all others, TS 33.401 6.1.2 and TS 33.102 annex H.
	SeparationBit uint16 = 0x8000

	indBits = 5 // TS 33.102 C.3: IND of 5 bits
	// INDs is the number of index values.
	INDs = 1 << indBits
	// MaxSEQ is the last sequence number, TS 33.102 C.1.1.1: SQN is 48 bits, IND the lowest 5.
	MaxSEQ = 1<<(48-indBits) - 1

	resyncAMF uint16 = 0 // AMF* in MAC-S, TS 33.102 6.3.3
	fcKASME   byte   = 0x10
)

// Key is a secret of 16 octets, or with TUAK of 16 or 32. It prints, logs and marshals as nothing but the fact that it is
// set.
type Key struct {
	b [32]byte
	n uint8 // octets
}

const hidden = "(set)"

// Format hides the key from every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the key.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the key.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// KeyOf returns the key of these octets: 16 or 32 of them, else it is a programming error.
func KeyOf(octets []byte) Key {
	if len(octets) != 16 && len(octets) != 32 {
		panic(fmt.Sprintf("aka: a key of %d octets", len(octets)))
	}
	k := Key{n: uint8(len(octets))}
	copy(k.b[:], octets)
	return k
}

// Octets returns a copy of the key in clear, for who encrypts it.
func (k Key) Octets() []byte { return append([]byte(nil), k.b[:k.n]...) }

// IsZero says that no key is set.
func (k Key) IsZero() bool { return k.n == 0 }

// ParseKey reads 32 or 64 hexadecimal digits. The error does not show them.
func ParseKey(s string) (Key, error) {
	if len(s) != 32 && len(s) != 64 {
		return Key{}, fmt.Errorf("%d characters, want 32 hexadecimal digits, or for TUAK 64", len(s))
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return Key{}, errors.New("not hexadecimal")
	}
	return KeyOf(b), nil
}

// OPc returns Milenage's OPc of K and OP, TS 35.206 4.1.
func OPc(k, op Key) (Key, error) { return milenageOPc(k, op) }

// TOPc returns TUAK's TOPc of K and TOP, TS 35.231 6.3, with that many iterations of Keccak; 0 stands for 1.
func TOPc(k, top Key, iterations uint8) (Key, error) { return tuakOPc(k, top, iterations) }

// SQN is a sequence number of 48 bits, SEQ ‖ IND, TS 33.102 C.1.1.1.
type SQN uint64

// NewSQN puts an SQN together. SEQ is at most MaxSEQ, IND below INDs.
func NewSQN(seq uint64, ind uint8) SQN { return SQN(seq<<indBits | uint64(ind)) }

// SEQ returns the counter.
func (s SQN) SEQ() uint64 { return uint64(s) >> indBits }

// IND returns the index.
func (s SQN) IND() uint8 { return uint8(s & (INDs - 1)) }

func (s SQN) octets() [6]byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(s))
	return [6]byte(b[2:])
}

func sqnFromOctets(b [6]byte) SQN {
	return SQN(binary.BigEndian.Uint64(append([]byte{0, 0}, b[:]...)))
}

// Algorithm is what a SIM and its HSS compute with.
type Algorithm string

// Algorithms.
const (
	Milenage Algorithm = "milenage" // TS 35.206; what an empty Algorithm stands for too
	TUAK     Algorithm = "tuak"     // TS 35.231
	XOR      Algorithm = "xor"      // TS 34.108 8.1.2: for test SIMs only, it protects nothing

	// GSMMilenage is that of a 2G SIM, TS 55.205: triplets only.
	GSMMilenage Algorithm = "gsm-milenage"
)

// Credentials are what a SIM and its HSS share.
type Credentials struct {
	Algorithm  Algorithm
	K          Key
	OPc        Key   // TUAK: TOPc; XOR: none
	Iterations uint8 // of Keccak in TUAK, 0 stands for 1
	RESOctets  uint8 // of RES in TUAK: 4, 8 or 16; 0 stands for 8
}

// functions are f1 to f5* under one card's keys, TS 33.105 5.1.
type functions interface {
	f1(rand [16]byte, sqn SQN, amf uint16) (macA, macS [8]byte)
	f2345(rand [16]byte) (res []byte, ck, ik [16]byte, ak [6]byte)
	f5star(rand [16]byte) (ak [6]byte)
}

func (c Credentials) functions() (functions, error) {
	switch c.Algorithm {
	case Milenage, GSMMilenage, "":
		return newMilenage(c)
	case TUAK:
		return newTUAK(c)
	case XOR:
		return newExclusive(c)
	}
	return nil, fmt.Errorf("authentication algorithm %q is unknown", c.Algorithm)
}

// TripletsOnly says that the card is a 2G SIM, which knows no AUTN.
func (c Credentials) TripletsOnly() bool { return c.Algorithm == GSMMilenage }

// Validate says whether the keys fit the algorithm. The error does not show them.
func (c Credentials) Validate() error {
	_, err := c.functions()
	return err
}

// Vector is what the serving network needs to authenticate a SIM once, TS 33.102 6.3.2. It is as secret as a key.
type Vector struct {
	RAND   [16]byte
	XRES   []byte // 4 to 16 octets
	CK, IK [16]byte
	AUTN   [16]byte // SQN ⊕ AK ‖ AMF ‖ MAC-A
}

// Format hides the vector from every verb.
func (Vector) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the vector.
func (Vector) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Vector computes the vector of a challenge.
func (c Credentials) Vector(rand [16]byte, sqn SQN, amf uint16) (Vector, error) {
	f, err := c.functions()
	if err != nil {
		return Vector{}, err
	}
	v := Vector{RAND: rand}
	var ak [6]byte
	v.XRES, v.CK, v.IK, ak = f.f2345(rand)
	macA, _ := f.f1(rand, sqn, amf)
	concealed := sqn.octets()
	subtle.XORBytes(v.AUTN[:6], concealed[:], ak[:])
	binary.BigEndian.PutUint16(v.AUTN[6:], amf)
	copy(v.AUTN[8:], macA[:])
	return v, nil
}

// Triplet is a vector for GSM, TS 33.102 6.8.1.2.
type Triplet struct {
	RAND [16]byte
	SRES [4]byte
	Kc   [8]byte
}

// Format hides the triplet from every verb.
func (Triplet) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// Triplet converts the vector by the functions c2 and c3 of TS 33.102 6.8.1.2; a 2G SIM with Milenage computes the same
// (GSM-MILENAGE, TS 55.205).
func (v Vector) Triplet() Triplet {
	t := Triplet{RAND: v.RAND}
	for i, octet := range v.XRES {
		t.SRES[i%4] ^= octet
	}
	for i := range v.CK {
		t.Kc[i%8] ^= v.CK[i] ^ v.IK[i]
	}
	return t
}

// KASME returns the key that binds the vector to the serving network, TS 33.401 A.2. plmn are the octets of
// Visited-PLMN-Id as received.
func (v Vector) KASME(plmn [3]byte) [32]byte {
	var key [32]byte
	copy(key[:], v.CK[:])
	copy(key[16:], v.IK[:])
	s := [kasmeInput]byte{fcKASME}
	copy(s[1:], plmn[:])
	s[5] = 3
	copy(s[6:], v.AUTN[:6]) // SQN ⊕ AK
	s[13] = 6
	return hmacSHA256(key, s)
}

const kasmeInput = 14 // octets of S, TS 33.401 A.2: FC ‖ PLMN ‖ 0 3 ‖ SQN ⊕ AK ‖ 0 6

// hmacSHA256 is HMAC with SHA-256 (RFC 2104) for the sizes of KASME; crypto/hmac takes thrice the time, mostly for what it
// allocates.
func hmacSHA256(key [32]byte, text [kasmeInput]byte) [32]byte {
	var inner [sha256.BlockSize + kasmeInput]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		inner[i], outer[i] = 0x36, 0x5c
	}
	subtle.XORBytes(inner[:], inner[:], key[:])
	subtle.XORBytes(outer[:], outer[:], key[:])
	copy(inner[sha256.BlockSize:], text[:])
	sum := sha256.Sum256(inner[:])
	copy(outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(outer[:])
}

// ErrMACS is the error of an AUTS that the SIM has not made.
var ErrMACS = errors.New("MAC-S does not match")

// Resynchronise checks AUTS (SQN_MS ⊕ AK* ‖ MAC-S) against the RAND that it answers, and returns SQN_MS, TS 33.102
// 6.3.3 and 6.3.5. The error is ErrMACS when it does not match.
func (c Credentials) Resynchronise(rand [16]byte, auts [14]byte) (SQN, error) {
	f, err := c.functions()
	if err != nil {
		return 0, err
	}
	ak := f.f5star(rand)
	var octets [6]byte
	subtle.XORBytes(octets[:], auts[:6], ak[:])
	sqn := sqnFromOctets(octets)
	if _, macS := f.f1(rand, sqn, resyncAMF); subtle.ConstantTimeCompare(macS[:], auts[6:]) != 1 {
		return 0, ErrMACS
	}
	return sqn, nil
}

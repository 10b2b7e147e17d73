// Package aka owns the network's side of authentication and key agreement: Milenage vectors (TS 35.206), KASME
// (TS 33.401 A.2), the form of sequence numbers and the check of AUTS (TS 33.102). It never stores or counts anything,
// and never shows a key.
package aka

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/wmnsk/milenage"
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

// Key is a secret of 128 bits. It prints, logs and marshals as nothing but the fact that it is set.
type Key [16]byte

const hidden = "(set)"

// Format hides the key from every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the key.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the key.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// ParseKey reads 32 hexadecimal digits. The error does not show them.
func ParseKey(s string) (Key, error) {
	var k Key
	if len(s) != 2*len(k) {
		return k, fmt.Errorf("%d characters, want %d hexadecimal digits", len(s), 2*len(k))
	}
	if _, err := hex.Decode(k[:], []byte(s)); err != nil {
		return k, errors.New("not hexadecimal")
	}
	return k, nil
}

// OPc returns OPc of K and OP, TS 35.206 4.1.
func OPc(k, op Key) (Key, error) {
	b, err := milenage.ComputeOPc(k[:], op[:])
	if err != nil {
		return Key{}, fmt.Errorf("computing OPc: %w", err)
	}
	return Key(b), nil
}

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

// Credentials are what a SIM and its HSS share.
type Credentials struct {
	K, OPc Key
}

// Vector is what the serving network needs to authenticate a SIM once, TS 33.102 6.3.2. It is as secret as a key.
type Vector struct {
	RAND   [16]byte
	XRES   [8]byte
	CK, IK [16]byte
	AUTN   [16]byte // SQN ⊕ AK ‖ AMF ‖ MAC-A
}

// Format hides the vector from every verb.
func (Vector) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the vector.
func (Vector) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Vector computes the vector of a challenge.
func (c Credentials) Vector(rand [16]byte, sqn SQN, amf uint16) (Vector, error) {
	m := milenage.NewWithOPc(c.K[:], c.OPc[:], rand[:], uint64(sqn), amf)
	macA, err := m.F1()
	if err != nil {
		return Vector{}, fmt.Errorf("computing f1: %w", err)
	}
	res, ck, ik, ak, err := m.F2345()
	if err != nil {
		return Vector{}, fmt.Errorf("computing f2 to f5: %w", err)
	}
	v := Vector{RAND: rand, XRES: [8]byte(res), CK: [16]byte(ck), IK: [16]byte(ik)}
	concealed := sqn.octets()
	subtle.XORBytes(v.AUTN[:6], concealed[:], ak)
	binary.BigEndian.PutUint16(v.AUTN[6:], amf)
	copy(v.AUTN[8:], macA)
	return v, nil
}

// KASME returns the key that binds the vector to the serving network, TS 33.401 A.2. plmn are the octets of
// Visited-PLMN-Id as received.
func (v Vector) KASME(plmn [3]byte) [32]byte {
	s := make([]byte, 0, 14)
	s = append(s, fcKASME)
	s = append(s, plmn[:]...)
	s = append(s, 0, 3)
	s = append(s, v.AUTN[:6]...) // SQN ⊕ AK
	s = append(s, 0, 6)
	h := hmac.New(sha256.New, append(v.CK[:len(v.CK):len(v.CK)], v.IK[:]...))
	h.Write(s)
	return [32]byte(h.Sum(nil))
}

// ErrMACS is the error of an AUTS that the SIM has not made.
var ErrMACS = errors.New("MAC-S does not match")

// Resynchronise checks AUTS (SQN_MS ⊕ AK* ‖ MAC-S) against the RAND that it answers, and returns SQN_MS, TS 33.102
// 6.3.3 and 6.3.5. The error is ErrMACS when it does not match.
func (c Credentials) Resynchronise(rand [16]byte, auts [14]byte) (SQN, error) {
	m := milenage.NewWithOPc(c.K[:], c.OPc[:], rand[:], 0, resyncAMF)
	ak, err := m.F5Star()
	if err != nil {
		return 0, fmt.Errorf("computing f5*: %w", err)
	}
	var sqn [6]byte
	subtle.XORBytes(sqn[:], auts[:6], ak)
	macS, err := m.F1Star(sqn[:], []byte{0, 0})
	if err != nil {
		return 0, fmt.Errorf("computing f1*: %w", err)
	}
	if subtle.ConstantTimeCompare(macS, auts[6:]) != 1 {
		return 0, ErrMACS
	}
	return sqnFromOctets(sqn), nil
}

// Package sim is a SIM card with its USIM application: it owns the subscriber's secrets and the sequence numbers
// that it has accepted, checks a network's challenge and answers it. It stands on crypto/aes and on nothing of
// ours, so that the HSS does not meet its own Milenage. It never speaks to a network.
package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

// What the standards fix.
const (
	indBits    = 5               // low bits of SQN that pick an entry of the array, TS 33.102 C.3.2
	delta      = uint64(1) << 28 // greatest jump of SEQ that a card follows, TS 33.102 C.3.2
	fcKASME    = 0x10            // FC of the KASME derivation, TS 33.401 A.2
	separation = 0x80            // AMF separation bit: set in EPS vectors, TS 33.102 annex H
)

// Errors of Authenticate, beside *SyncFailure.
var (
	// ErrMAC says that the challenge was not made with this card's key: the UE answers MAC failure.
	ErrMAC = errors.New("MAC of AUTN is wrong")
	// ErrSeparation says that the vector is not an EPS one: the UE answers non-EPS authentication unacceptable.
	ErrSeparation = errors.New("AMF separation bit of AUTN is not set")
)

// SyncFailure is the card's answer to a challenge whose SQN is not fresh: the HSS takes SQN_MS out of AUTS.
type SyncFailure struct {
	AUTS [14]byte // SQN_MS ⊕ AK ‖ MAC-S, TS 33.102 6.3.3
}

// Error tells what happened, in words.
func (e *SyncFailure) Error() string { return "SQN of AUTN is not fresh" }

// Answer is what a card gives the UE after it accepted a challenge.
type Answer struct {
	RES    [8]byte
	CK, IK [16]byte
	SQNxAK [6]byte // SQN ⊕ AK as AUTN carried it: an input of KASME
}

// Card is one subscriber's SIM. It is not safe for use by several goroutines: a card is in one UE.
type Card struct {
	IMSI string // 15 digits
	K    [16]byte
	OPc  [16]byte

	// SEQ is the highest SEQ accepted for each IND, TS 33.102 C.1.1.1. Zero in a new card. It is in the open, so
	// that a test may have the network lose step.
	SEQ [1 << indBits]uint64
}

// Authenticate checks a challenge as TS 33.102 6.3.3 and TS 33.401 6.1.1 say and answers it.
//
// The errors are ErrMAC, ErrSeparation and *SyncFailure.
func (c *Card) Authenticate(rand, autn [16]byte) (Answer, error) {
	m, err := NewMilenage(c.K, c.OPc)
	if err != nil {
		return Answer{}, err
	}
	res, ck, ik, ak := m.F2345(rand)
	sqnxak := [6]byte(autn[0:6])
	amf := [2]byte(autn[6:8])
	sqn := xor6(sqnxak, ak)

	macA, _ := m.F1(rand, sqn, amf)
	if subtle.ConstantTimeCompare(macA[:], autn[8:16]) != 1 {
		return Answer{}, ErrMAC
	}
	if amf[0]&separation == 0 {
		return Answer{}, ErrSeparation
	}
	if !c.accept(number(sqn)) {
		return Answer{}, c.syncFailure(m, rand)
	}
	return Answer{RES: res, CK: ck, IK: ik, SQNxAK: sqnxak}, nil
}

// accept takes a fresh SQN into the array, TS 33.102 C.2.2.
func (c *Card) accept(sqn uint64) bool {
	seq, ind := sqn>>indBits, sqn&(1<<indBits-1)
	if highest := c.highest(); seq <= c.SEQ[ind] || seq > highest && seq-highest > delta {
		return false
	}
	c.SEQ[ind] = seq
	return true
}

// highest is SEQ_MS of TS 33.102 C.2: the highest SEQ of the array.
func (c *Card) highest() (seq uint64) {
	for _, s := range c.SEQ {
		seq = max(seq, s)
	}
	return seq
}

// syncFailure makes AUTS from the highest SQN accepted, TS 33.102 6.3.3. AMF is zero in MAC-S.
func (c *Card) syncFailure(m *Milenage, rand [16]byte) *SyncFailure {
	var sqn uint64
	for ind, seq := range c.SEQ {
		sqn = max(sqn, seq<<indBits|uint64(ind))
	}
	var f SyncFailure
	sqnMS := octets(sqn)
	concealed := xor6(sqnMS, m.F5Star(rand))
	_, macS := m.F1(rand, sqnMS, [2]byte{})
	copy(f.AUTS[:6], concealed[:])
	copy(f.AUTS[6:], macS[:])
	return &f
}

// KASME derives the access security management entity's key for a serving network, TS 33.401 A.2. plmn is the
// serving network's identity in three octets, as TS 24.301 9.9.3.32 codes it.
func (a Answer) KASME(plmn [3]byte) [32]byte {
	mac := hmac.New(sha256.New, append(append([]byte{}, a.CK[:]...), a.IK[:]...))
	mac.Write([]byte{fcKASME})
	mac.Write(plmn[:])
	mac.Write([]byte{0, byte(len(plmn))})
	mac.Write(a.SQNxAK[:])
	mac.Write([]byte{0, byte(len(a.SQNxAK))})
	return [32]byte(mac.Sum(nil))
}

// String names the card without its secrets.
func (c *Card) String() string { return fmt.Sprintf("SIM %s", c.IMSI) }

func number(sqn [6]byte) (n uint64) {
	for _, o := range sqn {
		n = n<<8 | uint64(o)
	}
	return n
}

func octets(sqn uint64) (o [6]byte) {
	for i := range o {
		o[i] = byte(sqn >> (8 * (5 - i)))
	}
	return o
}

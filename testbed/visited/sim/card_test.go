package sim

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// challenge makes AUTN as an authentication centre would, TS 33.102 6.3.2.
func challenge(t *testing.T, c *Card, rand [16]byte, sqn uint64, amf [2]byte) [16]byte {
	t.Helper()
	m, err := NewMilenage(c.K, c.OPc)
	require.NoError(t, err)
	_, _, _, ak := m.F2345(rand)
	macA, _ := m.F1(rand, octets(sqn), amf)
	concealed := xor6(octets(sqn), ak)
	var autn [16]byte
	copy(autn[0:], concealed[:])
	copy(autn[6:], amf[:])
	copy(autn[8:], macA[:])
	return autn
}

func TestCardChecksTheChallenge(t *testing.T) {
	eps, umts := [2]byte{0x80, 0}, [2]byte{0, 0}
	rand := [16]byte{1, 2, 3}
	card := func() *Card { return &Card{IMSI: "999700000000001", K: [16]byte{9}, OPc: [16]byte{7}} }
	sqn := func(seq, ind uint64) uint64 { return seq<<5 | ind }

	t.Run("a fresh SQN is answered, the same one again is not", func(t *testing.T) {
		c := card()
		autn := challenge(t, c, rand, sqn(100, 3), eps)
		_, err := c.Authenticate(rand, autn)
		require.NoError(t, err)
		_, err = c.Authenticate(rand, autn)
		var sync *SyncFailure
		require.ErrorAs(t, err, &sync)
	})
	t.Run("a lower SEQ is fresh when its IND has seen none so high", func(t *testing.T) {
		c := card()
		_, err := c.Authenticate(rand, challenge(t, c, rand, sqn(100, 3), eps))
		require.NoError(t, err)
		_, err = c.Authenticate(rand, challenge(t, c, rand, sqn(90, 4), eps))
		require.NoError(t, err)
	})
	t.Run("a jump beyond delta is a synchronisation failure", func(t *testing.T) {
		c := card()
		_, err := c.Authenticate(rand, challenge(t, c, rand, sqn(100, 0), eps))
		require.NoError(t, err)
		_, err = c.Authenticate(rand, challenge(t, c, rand, sqn(101+delta, 0), eps))
		var sync *SyncFailure
		require.ErrorAs(t, err, &sync)
	})
	t.Run("a challenge made with another key is refused and changes nothing", func(t *testing.T) {
		c, other := card(), card()
		other.K[5] = 1
		_, err := c.Authenticate(rand, challenge(t, other, rand, sqn(100, 0), eps))
		require.ErrorIs(t, err, ErrMAC)
		require.Zero(t, c.highest())
	})
	t.Run("a vector for UMTS is refused", func(t *testing.T) {
		c := card()
		_, err := c.Authenticate(rand, challenge(t, c, rand, sqn(100, 0), umts))
		require.ErrorIs(t, err, ErrSeparation)
	})
	t.Run("AUTS carries the highest SQN, and its MAC-S holds with AMF zero", func(t *testing.T) {
		c := card()
		c.SEQ[2], c.SEQ[9] = 500, 700
		_, err := c.Authenticate(rand, challenge(t, c, rand, sqn(10, 9), eps))
		var sync *SyncFailure
		require.ErrorAs(t, err, &sync)
		m, err := NewMilenage(c.K, c.OPc)
		require.NoError(t, err)
		sqnMS := xor6([6]byte(sync.AUTS[:6]), m.F5Star(rand))
		require.Equal(t, sqn(700, 9), number(sqnMS))
		_, macS := m.F1(rand, sqnMS, [2]byte{})
		require.Equal(t, macS[:], sync.AUTS[6:])
	})
}

// The expected key was computed with Python's hmac and hashlib from the inputs of the row.
func TestKASME(t *testing.T) {
	a := Answer{
		CK:     [16]byte(raw(t, "b40ba9a3c58b2a05bbf0d987b21bf8cb")),
		IK:     [16]byte(raw(t, "f769bcd751044604127672711c6d3441")),
		SQNxAK: [6]byte(raw(t, "55f328b43577")),
	}
	key := a.KASME([3]byte{0x00, 0xf1, 0x10})
	require.Equal(t, kasmeByPython, hex.EncodeToString(key[:]))
}

const kasmeByPython = "48579af8781c742d5120e6ed8ccac13193f38c53ab7aa69396f49ca6e1b0562d"

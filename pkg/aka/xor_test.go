package aka

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Worked out by hand from TS 34.108 8.1.2.1 with K = 00 01 … 0f and RAND all zero, so that XDOUT is K.
func TestXOR(t *testing.T) {
	c := Credentials{Algorithm: XOR, K: KeyOf(octets(t, "00010203 04050607 08090a0b 0c0d0e0f"))}
	v, err := c.Vector([16]byte{}, sqnFromOctets([6]byte(octets(t, "a0b0c0d0e0f0"))), 0x8000)
	require.NoError(t, err)
	require.Equal(t, octets(t, "00010203 04050607"), v.XRES)
	require.Equal(t, octets(t, "01020304 05060708 090a0b0c 0d0e0f00"), v.CK[:])
	require.Equal(t, octets(t, "02030405 06070809 0a0b0c0d 0e0f0001"), v.IK[:])
	// AK is 03 04 05 06 07 08; MAC is 00 01 02 03 04 05 06 07 ⊕ a0 b0 c0 d0 e0 f0 80 00
	require.Equal(t, octets(t, "a3b4c5d6e7f8 8000 a0b1c2d3e4f58607"), v.AUTN[:])

	auts := [14]byte(octets(t, "a3b4c5d6e7f8 a0b1c2d3e4f50607")) // AMF* is 0000
	sqn, err := c.Resynchronise([16]byte{}, auts)
	require.NoError(t, err)
	require.Equal(t, sqnFromOctets([6]byte(octets(t, "a0b0c0d0e0f0"))), sqn)
	auts[13]++
	_, err = c.Resynchronise([16]byte{}, auts)
	require.ErrorIs(t, err, ErrMACS)
}

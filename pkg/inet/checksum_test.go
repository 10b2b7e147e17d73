package inet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChecksum(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7} // the example of RFC 1071 3
	require.EqualValues(t, 0xffff^0xddf2, Checksum(b))
	require.EqualValues(t, 0xffff^0xddf2, Checksum(b[:2], b[2:6], nil, b[6:]))
	require.Zero(t, Checksum(b, []byte{0x22, 0x0d}))
	require.EqualValues(t, 0xffff, Checksum())
	require.EqualValues(t, 0xfeff, Checksum([]byte{1}), "an odd octet is the upper half of a word")
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = 0xff
	}
	require.Zero(t, Checksum(long), "no carry is lost")
}

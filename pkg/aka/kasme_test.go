package aka

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkVector(b *testing.B) {
	c := Credentials{K: KeyOf([]byte("0123456789abcdef")), OPc: KeyOf([]byte("fedcba9876543210"))}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Vector([16]byte{1}, NewSQN(1, 2), SeparationBit)
	}
}

func BenchmarkKASME(b *testing.B) {
	c := Credentials{K: KeyOf([]byte("0123456789abcdef")), OPc: KeyOf([]byte("fedcba9876543210"))}
	v, _ := c.Vector([16]byte{1}, NewSQN(1, 2), SeparationBit)
	b.ReportAllocs()
	for b.Loop() {
		v.KASME([3]byte{0, 0xf1, 0x10})
	}
}

func TestHMAC(t *testing.T) {
	for i := range 100 {
		var key [32]byte
		var text [kasmeInput]byte
		for j := range key {
			key[j] = byte(i * j)
		}
		text[i%kasmeInput] = byte(i)
		h := hmac.New(sha256.New, key[:])
		h.Write(text[:])
		require.Equal(t, [32]byte(h.Sum(nil)), hmacSHA256(key, text))
	}
}

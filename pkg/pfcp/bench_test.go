package pfcp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The establishment with every IE: 452 octets, 2 PDR, 2 FAR, QER, URR.
func BenchmarkParseEstablishment(b *testing.B) {
	octets, err := Marshal(Header{Sequence: 1}, fullEstablishment())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse(octets); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEstablishment(b *testing.B) {
	m, buffer := fullEstablishment(), make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(buffer, Header{Sequence: 1}, m); err != nil {
			b.Fatal(err)
		}
	}
}

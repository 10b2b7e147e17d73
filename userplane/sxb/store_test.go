package sxb

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

func TestSizesOfBlocksAreFewAndFit(t *testing.T) {
	last, octets := -1, 0
	for size := uint32(0); size <= 1<<20; size++ {
		index, n := classOf(size)
		require.GreaterOrEqual(t, n, int(size))
		require.LessOrEqual(t, n, max(int(size)+unit, int(size)*9/8+1), "size %d", size)
		if index != last {
			require.Equal(t, last+1, index, "size %d", size)
			require.Greater(t, n, octets)
			last, octets = index, n
			continue
		}
		require.Equal(t, octets, n)
	}
	require.Less(t, last, 128)
}

// A control plane that makes sessions of every size does not make the node take a chunk for each.
func TestRecordsOfEverySize(t *testing.T) {
	s, r, want := newStore(), rand.New(rand.NewPCG(1, 1)), map[pfcp.SEID][]byte{}
	record := func() []byte {
		b := make([]byte, 1+r.IntN(1<<r.IntN(16)))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for range 20_000 {
		seid := pfcp.SEID(r.IntN(300))
		if r.IntN(3) == 0 {
			s.remove(seid)
			delete(want, seid)
			continue
		}
		want[seid] = record()
		s.put(seid, want[seid])
	}
	for seid, b := range want {
		require.True(t, bytes.Equal(b, s.octets(s.at[seid])))
	}
	require.Len(t, s.at, len(want))
	taken := 0
	for _, c := range s.classes {
		for _, chunk := range c.chunks {
			taken += len(chunk)
		}
	}
	require.Less(t, taken, 32<<20)
}

package slots

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestNeighboursAreFound compares with a plain array, for sets of one to four levels.
func TestNeighboursAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{1, 2, 63, 64, 65, 200, 4096, 4097, 20_000, 262_144, 300_000}).Draw(t, "size")
		slot := rapid.Uint32Max(uint32(size - 1))
		s, members := New(size), map[uint32]bool{}
		nearest := func(i uint32, step int) (uint32, bool) {
			best, found := int64(0), false
			for m := range members {
				distance := (int64(m) - int64(i)) * int64(step)
				if distance >= 0 && (!found || distance < best) {
					best, found = distance, true
				}
			}
			if !found {
				return 0, false
			}
			return uint32(int64(i) + best*int64(step)), true
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i := slot.Draw(t, "slot")
				s.Add(i)
				members[i] = true
			},
			"remove": func(t *rapid.T) {
				i := slot.Draw(t, "slot")
				s.Remove(i)
				delete(members, i)
			},
			"remove a member": func(t *rapid.T) {
				for m := range members {
					s.Remove(m)
					delete(members, m)
					return
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(members), s.Len())
				i := slot.Draw(t, "from")
				require.Equal(t, members[i], s.Has(i))
				want, found := nearest(i, 1)
				got, ok := s.From(i)
				require.Equal(t, found, ok)
				require.Equal(t, want, got)
				want, found = nearest(i, -1)
				got, ok = s.UpTo(i)
				require.Equal(t, found, ok)
				require.Equal(t, want, got)
			},
		})
	})
}

// TestAllSlotsAreFound walks through a full set, both ways, beyond its end.
func TestAllSlotsAreFound(t *testing.T) {
	for _, size := range []int{1, 64, 65, 4096, 5000} {
		s := New(size)
		for i := range uint32(size) {
			s.Add(i)
			s.Add(i)
		}
		require.Equal(t, size, s.Len())
		n := uint32(0)
		for i, ok := s.From(0); ok; i, ok = s.From(i + 1) {
			require.Equal(t, n, i)
			n++
		}
		require.EqualValues(t, size, n)
		for i, ok := s.UpTo(n - 1); ok; i, ok = s.UpTo(i) {
			n--
			require.Equal(t, n, i)
			s.Remove(i)
			s.Remove(i)
		}
		require.Zero(t, n)
		require.Zero(t, s.Len())
	}
}

package fteid

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xepc/xepc/pkg/pfcp"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

func allocator(t *testing.T, slots int, random uint32) *Allocator {
	t.Helper()
	a, err := New(slots, Rest, random, epoch)
	require.NoError(t, err)
	return a
}

func TestSizeMustBeAPowerOfTwo(t *testing.T) {
	for _, slots := range []int{0, -1, 3, 1000, MaxSlots * 2} {
		_, err := New(slots, Rest, 0, epoch)
		require.Error(t, err, slots)
	}
}

func TestTheLowBitsAreTheSlotAndTheLowestFreeSlotComesFirst(t *testing.T) {
	a := allocator(t, 128, 0xabcdef00)
	for slot := range uint32(128) {
		teid, err := a.Take(at(0))
		require.NoError(t, err)
		require.Equal(t, slot, uint32(teid)&127)
		require.NotZero(t, uint32(teid)>>7)
	}
	_, err := a.Take(at(0))
	require.ErrorIs(t, err, ErrNoSlot)
	require.Equal(t, Counts{Live: 128}, a.Counts())
}

func TestAReleasedSlotRestsAndComesBackWithAnotherGeneration(t *testing.T) {
	a := allocator(t, 2, 7)
	first, err := a.Take(at(0))
	require.NoError(t, err)
	_, err = a.Take(at(0))
	require.NoError(t, err)
	require.True(t, a.Release(first, at(time.Second)))
	require.False(t, a.Release(first, at(time.Second)), "twice")

	_, err = a.Take(at(60 * time.Second))
	require.ErrorIs(t, err, ErrNoSlot, "it still rests")
	again, err := a.Take(at(61 * time.Second))
	require.NoError(t, err)
	require.NotEqual(t, first, again)
	require.Equal(t, uint32(first)&1, uint32(again)&1)
	require.False(t, a.Live(first))
	require.True(t, a.Live(again))
}

func TestAmongTheRestedTheLowestComesFirst(t *testing.T) {
	a := allocator(t, 8, 0)
	var teids []pfcp.TEID
	for range 4 {
		teid, err := a.Take(at(0))
		require.NoError(t, err)
		teids = append(teids, teid)
	}
	a.Release(teids[3], at(1*time.Second))
	a.Release(teids[1], at(2*time.Second))
	next, err := a.Take(at(30 * time.Second))
	require.NoError(t, err)
	require.EqualValues(t, 4, next&7, "none has rested: a fresh one")
	next, err = a.Take(at(61 * time.Second))
	require.NoError(t, err)
	require.EqualValues(t, 3, next&7, "the only one that has rested")
	a.Release(next, at(61*time.Second))
	next, err = a.Take(at(300 * time.Second))
	require.NoError(t, err)
	require.EqualValues(t, 1, next&7)
}

func TestAnExplicitTEIDTakesItsDirectSlot(t *testing.T) {
	a := allocator(t, 16, 0)
	require.ErrorIs(t, a.Claim(0, at(0)), ErrZeroTEID)
	require.NoError(t, a.Claim(0x1234_5673, at(0)))
	require.ErrorIs(t, a.Claim(0x1234_5673, at(0)), ErrTaken, "a second one is refused, never overwritten")
	require.ErrorIs(t, a.Claim(0x0000_0013, at(0)), ErrTaken, "the slot counts")
	require.True(t, a.Release(0x1234_5673, at(0)))
	require.NoError(t, a.Claim(0x1234_5673, at(time.Second)), "a resting slot may be claimed")
	require.True(t, a.Live(0x1234_5673))

	// The stale entry of the first rest must not free the live slot.
	for range 15 {
		_, err := a.Take(at(time.Hour))
		require.NoError(t, err)
	}
	_, err := a.Take(at(time.Hour))
	require.ErrorIs(t, err, ErrNoSlot)
	require.True(t, a.Live(0x1234_5673))
}

func TestWhatARefusedRequestTookNeedNotRest(t *testing.T) {
	a := allocator(t, 1, 0)
	for range 1000 {
		teid, err := a.Take(at(0))
		require.NoError(t, err)
		require.NotZero(t, teid)
		require.True(t, a.Untake(teid))
	}
	require.Equal(t, Counts{Free: 1}, a.Counts())
}

func TestTEIDZeroIsNeverGivenOut(t *testing.T) {
	a := allocator(t, 4, 0xffff_fffc)
	teid, err := a.Take(at(0))
	require.NoError(t, err)
	require.EqualValues(t, 4, teid, "slot 0 of generation 0 would be TEID 0")
}

func TestLiveTEIDsAreNeverShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := 1 << rapid.IntRange(0, 7).Draw(t, "bits")
		a, err := New(slots, Rest, rapid.Uint32().Draw(t, "random"), epoch)
		require.NoError(t, err)
		live := map[uint32]pfcp.TEID{} // by slot
		released := map[pfcp.TEID]time.Time{}
		now := epoch
		check := func(teid pfcp.TEID) {
			slot := uint32(teid) & uint32(slots-1)
			require.NotZero(t, teid)
			require.NotContains(t, live, slot)
			live[slot] = teid
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				teid, err := a.Take(now)
				if err != nil {
					return
				}
				check(teid)
				for old, when := range released {
					if (uint32(old)^uint32(teid))&uint32(slots-1) == 0 {
						require.GreaterOrEqual(t, now.Sub(when), Rest)
					}
				}
			},
			"claim": func(t *rapid.T) {
				teid := pfcp.TEID(rapid.Uint32().Draw(t, "teid"))
				if a.Claim(teid, now) == nil {
					check(teid)
					for old := range released { // a claim ends the rest of its slot
						if (uint32(old)^uint32(teid))&uint32(slots-1) == 0 {
							delete(released, old)
						}
					}
				}
			},
			"release": func(t *rapid.T) {
				for slot, teid := range live {
					require.True(t, a.Release(teid, now))
					delete(live, slot)
					released[teid] = now
					return
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(90*time.Second)).Draw(t, "step")))
			},
			"": func(t *rapid.T) {
				c := a.Counts()
				require.Equal(t, len(live), c.Live)
				require.Equal(t, slots, c.Free+c.Live+c.Resting)
			},
		})
	})
}

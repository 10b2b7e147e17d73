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

func TestAnExplicitTEIDWhoseSlotIsTakenIsDisplaced(t *testing.T) {
	a := allocator(t, 4, 0)
	own, err := a.Take(at(0))
	require.NoError(t, err)
	same := own + 4
	require.NoError(t, a.Claim(same, at(0)))
	require.ErrorIs(t, a.Claim(same, at(0)), ErrTaken)
	require.ErrorIs(t, a.Claim(own, at(0)), ErrTaken)
	require.True(t, a.Live(own))
	require.True(t, a.Live(same))
	require.Equal(t, Counts{Live: 2, Free: 2}, a.Counts())

	// Both count: there are never more TEIDs than slots.
	require.NoError(t, a.Claim(same+4, at(0)))
	require.NoError(t, a.Claim(same+8, at(0)))
	require.ErrorIs(t, a.Claim(same+12, at(0)), ErrNoSlot)
	_, err = a.Take(at(0))
	require.ErrorIs(t, err, ErrNoSlot)
	require.Equal(t, Counts{Live: 4}, a.Counts())

	require.True(t, a.Untake(same+8))
	require.True(t, a.Release(same+4, at(0)))
	require.False(t, a.Release(same+4, at(0)), "twice")
	require.True(t, a.Release(own, at(0)))
	require.True(t, a.Live(same), "the slot is free, and the other still displaced")
	require.Equal(t, Counts{Live: 1, Free: 2, Resting: 1}, a.Counts())
	require.ErrorIs(t, a.Claim(same, at(0)), ErrTaken)
	require.True(t, a.Release(same, at(0)))
	require.Equal(t, Counts{Free: 3, Resting: 1}, a.Counts())
}

func TestLiveTEIDsAreNeverShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := 1 << rapid.IntRange(0, 7).Draw(t, "bits")
		a, err := New(slots, Rest, rapid.Uint32Max(1<<9).Draw(t, "random"), epoch) // so that claims meet our own
		require.NoError(t, err)
		live := map[pfcp.TEID]bool{} // and whether it is direct
		now := epoch
		released := map[pfcp.TEID]time.Time{}
		slotRests := map[pfcp.TEID]time.Time{}
		direct := func(teid pfcp.TEID) bool {
			slot := teid & pfcp.TEID(slots-1)
			for other, own := range live {
				if own && other&pfcp.TEID(slots-1) == slot {
					return false
				}
			}
			return !now.Before(slotRests[slot])
		}
		check := func(teid pfcp.TEID) {
			require.NotZero(t, teid)
			require.NotContains(t, live, teid)
			live[teid] = direct(teid)
			require.True(t, a.Live(teid))
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				free := a.Counts().Free
				teid, err := a.Take(now)
				if err != nil {
					require.Zero(t, free)
					return
				}
				require.True(t, direct(teid), "our own have their own slots, which have rested")
				if when, known := released[teid]; known {
					require.GreaterOrEqual(t, now.Sub(when), Rest)
				}
				check(teid)
			},
			"claim": func(t *rapid.T) {
				teid := pfcp.TEID(rapid.Uint32Max(1<<9).Draw(t, "teid"))
				err := a.Claim(teid, now)
				_, taken := live[teid]
				switch {
				case teid == 0:
					require.ErrorIs(t, err, ErrZeroTEID)
				case taken:
					require.ErrorIs(t, err, ErrTaken)
				case len(live) == slots:
					require.ErrorIs(t, err, ErrNoSlot)
				default:
					require.NoError(t, err)
					check(teid)
				}
			},
			"release": func(t *rapid.T) {
				for teid, own := range live {
					require.True(t, a.Release(teid, now))
					require.False(t, a.Live(teid))
					delete(live, teid)
					released[teid] = now
					if own {
						slotRests[teid&pfcp.TEID(slots-1)] = now.Add(Rest)
					}
					return
				}
			},
			"untake": func(t *rapid.T) {
				for teid := range live {
					require.True(t, a.Untake(teid))
					require.False(t, a.Live(teid))
					delete(live, teid)
					return
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(90*time.Second)).Draw(t, "step")))
			},
			"": func(t *rapid.T) {
				c := a.Counts()
				require.Equal(t, len(live), c.Live)
				require.LessOrEqual(t, c.Live, slots)
				require.GreaterOrEqual(t, min(c.Free, c.Resting), 0)
				require.Equal(t, slots, c.Free+c.Live+c.Resting)
			},
		})
	})
}

// TestNobodyClaimsASlotAwayFromOthers has somebody claim what others would get next: all TEIDs of the lowest slots, and then
// the next one of every slot.
func TestNobodyClaimsASlotAwayFromOthers(t *testing.T) {
	const slots = 1 << 18 // 16384 TEIDs each
	for name, claims := range map[string]func(n uint32) uint32{
		"every TEID of slot after slot": func(n uint32) uint32 { return n<<18 | n>>14 },
		"the next TEID of every slot":   func(n uint32) uint32 { return 8<<18 | n },
	} {
		t.Run(name, func(t *testing.T) {
			a := allocator(t, slots, 7<<18)
			const half = slots / 2
			claimed := map[pfcp.TEID]bool{}
			for n := range uint32(half) {
				if teid := pfcp.TEID(claims(n)); teid != 0 {
					require.NoError(t, a.Claim(teid, at(0)))
					claimed[teid] = true
				}
			}
			for teid := range claimed { // those in their own slots; they are claimed again while these rest
				if a.direct(teid) {
					require.True(t, a.Release(teid, at(0)))
					require.NoError(t, a.Claim(teid, at(0)))
				}
			}
			free := a.Counts().Free
			require.Equal(t, slots-len(claimed)-a.Counts().Resting, free)
			for n := range slots - len(claimed) {
				teid, err := a.Take(at(time.Hour))
				require.NoError(t, err, n)
				require.False(t, claimed[teid])
			}
			_, err := a.Take(at(time.Hour))
			require.ErrorIs(t, err, ErrNoSlot)
		})
	}
}

// TestARefusedClaimEndsNoRest: else the next subscriber might get a TEID that has just been somebody's.
func TestARefusedClaimEndsNoRest(t *testing.T) {
	a := allocator(t, 2, 8)
	teid, err := a.Take(at(0))
	require.NoError(t, err)
	_, err = a.Take(at(0))
	require.NoError(t, err)
	require.True(t, a.Release(teid, at(0)))
	require.NoError(t, a.Claim(teid-2, at(time.Second)))
	require.True(t, a.Untake(teid-2))
	_, err = a.Take(at(time.Second))
	require.ErrorIs(t, err, ErrNoSlot)
	again, err := a.Take(at(Rest))
	require.NoError(t, err)
	require.Equal(t, teid+2, again)
}

// TestAnExplicitTEIDRestsToo: whoever chose it, the next of its slot is another.
func TestAnExplicitTEIDRestsToo(t *testing.T) {
	a := allocator(t, 2, 0)
	teid, err := a.Take(at(0))
	require.NoError(t, err)
	next := teid + 2
	require.NoError(t, a.Claim(next, at(0)))
	require.True(t, a.Release(teid, at(0)))
	require.True(t, a.Release(next, at(50*time.Second)))
	for range 2 { // once more, while it rests
		require.NoError(t, a.Claim(next, at(51*time.Second)))
		require.True(t, a.Release(next, at(51*time.Second)))
	}
	first, err := a.Take(at(Rest))
	require.NoError(t, err)
	second, err := a.Take(at(Rest))
	require.NoError(t, err)
	require.NotContains(t, []pfcp.TEID{first, second}, next)
	require.True(t, a.Release(first, at(Rest)))
	require.True(t, a.Release(second, at(Rest)))
	_, err = a.Take(at(3 * Rest))
	require.NoError(t, err)
	require.Empty(t, a.displaced, "nothing is remembered for ever")
}

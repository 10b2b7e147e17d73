package uepool

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func pool(t testing.TB, prefix string, length int) *Pool {
	p, err := New(netip.MustParsePrefix(prefix), length, Rest)
	require.NoError(t, err)
	return p
}

func take(t testing.TB, p *Pool, now time.Time) string {
	a, err := p.Take(now)
	require.NoError(t, err)
	return a.String()
}

func TestAddressesAreGivenOutOnceAndRest(t *testing.T) {
	p := pool(t, "172.16.9.0/29", 32)
	require.Equal(t, Counts{Free: 6}, p.Counts())
	for i := range 6 {
		require.Equal(t, fmt.Sprintf("172.16.9.%d/32", i+1), take(t, p, noon))
	}
	_, err := p.Take(noon)
	require.ErrorIs(t, err, ErrExhausted)
	for i, host := range []int{4, 2} {
		require.True(t, p.Release(netip.MustParsePrefix(fmt.Sprintf("172.16.9.%d/32", host)), noon.Add(time.Duration(i)*time.Second)))
	}
	require.Equal(t, Counts{Live: 4, Resting: 2}, p.Counts())
	_, err = p.Take(noon.Add(Rest - 1))
	require.ErrorIs(t, err, ErrExhausted)
	require.Equal(t, "172.16.9.4/32", take(t, p, noon.Add(Rest)))
	_, err = p.Take(noon.Add(Rest))
	require.ErrorIs(t, err, ErrExhausted, "the other rests a second longer")
	require.Equal(t, "172.16.9.2/32", take(t, p, noon.Add(Rest+time.Second)))
}

func TestWhatARefusedRequestTookNeedNotRest(t *testing.T) {
	p := pool(t, "172.16.9.0/30", 32)
	for range 10 {
		a, err := p.Take(noon)
		require.NoError(t, err)
		require.True(t, p.Untake(a))
	}
	require.Equal(t, Counts{Free: 2}, p.Counts())
}

func TestIPv6Prefixes(t *testing.T) {
	p := pool(t, "2001:db8:9::/62", 64)
	require.Equal(t, Counts{Free: 4}, p.Counts())
	require.Equal(t, "2001:db8:9::/64", take(t, p, noon))
	require.Equal(t, "2001:db8:9:1::/64", take(t, p, noon))
	require.NoError(t, p.Claim(netip.MustParsePrefix("2001:db8:9:3::/64")))
	require.ErrorIs(t, p.Claim(netip.MustParsePrefix("2001:db8:9:3::/64")), ErrTaken)
	require.ErrorIs(t, p.Claim(netip.MustParsePrefix("2001:db8:9:4::/64")), ErrForeign)
	require.ErrorIs(t, p.Claim(netip.MustParsePrefix("2001:db8:9:2::/63")), ErrForeign)
	require.Equal(t, "2001:db8:9:2::/64", take(t, p, noon))
	_, err := p.Take(noon)
	require.ErrorIs(t, err, ErrExhausted)
}

func TestWhatNoPoolCanBe(t *testing.T) {
	for _, row := range []struct {
		prefix string
		length int
	}{
		{"172.16.0.0/11", 32}, {"172.16.0.1/24", 32}, {"172.16.0.0/24", 23}, {"172.16.0.0/24", 33}, {"2001:db8::/32", 64}, {"2001:db8::/60", 65},
	} {
		_, err := New(netip.MustParsePrefix(row.prefix), row.length, Rest)
		require.Error(t, err, row)
	}
	_, err := New(netip.Prefix{}, 0, Rest)
	require.Error(t, err)
}

// Against a slow model: no address is given out twice, none before it has rested, none is lost.
func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := New(netip.MustParsePrefix("10.0.0.0/28"), 32, Rest)
		require.NoError(t, err)
		now, live, released := noon, []netip.Prefix{}, map[netip.Prefix]time.Time{}
		for range 200 {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			switch what := rapid.IntRange(0, 4).Draw(t, "what"); {
			case what < 2:
				a, err := p.Take(now)
				if err != nil {
					for at, when := range released {
						require.Less(t, now.Sub(when), Rest, "%v has rested", at)
					}
					require.Equal(t, 14, len(live)+len(released))
					continue
				}
				require.NotContains(t, live, a)
				if when, ok := released[a]; ok {
					require.GreaterOrEqual(t, now.Sub(when), Rest)
					for other, at := range released {
						require.False(t, at.Before(when), "%v rested longer than %v", other, a)
					}
				}
				delete(released, a)
				live = append(live, a)
			case what == 2 && len(live) > 0:
				i := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				require.True(t, p.Release(live[i], now))
				require.False(t, p.Release(live[i], now))
				released[live[i]] = now
				live = slices.Delete(live, i, i+1)
			case what == 3:
				a := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 14).Draw(t, "host"))}), 32)
				if slices.Contains(live, a) {
					require.ErrorIs(t, p.Claim(a), ErrTaken)
					continue
				}
				require.NoError(t, p.Claim(a))
				delete(released, a)
				live = append(live, a)
			case what == 4 && len(released) > 0: // another process goes on
				next, err := New(p.prefix, p.length, Rest)
				require.NoError(t, err)
				for _, a := range live {
					require.NoError(t, next.Claim(a))
				}
				order := []netip.Prefix{}
				for a := range released {
					order = append(order, a)
				}
				slices.SortFunc(order, func(a, b netip.Prefix) int { return released[a].Compare(released[b]) })
				for _, a := range order {
					next.Resume(a, released[a])
				}
				p = next
			}
			require.Equal(t, Counts{Free: 14 - len(live) - len(released), Live: len(live), Resting: len(released)}, p.Counts())
		}
	})
}

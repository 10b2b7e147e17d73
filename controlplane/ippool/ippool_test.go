package ippool

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var epoch = time.Unix(1_700_000_000, 0)

const rest = time.Minute

func testPools(t require.TestingT) *Pools {
	p, err := New([]Pool{{Name: "internet", Chunks: []Chunk{
		{Prefix: netip.MustParsePrefix("172.16.1.0/29"), Node: "pgwu1"},
		{Prefix: netip.MustParsePrefix("172.16.2.0/30"), Node: "pgwu2"},
		{Prefix: netip.MustParsePrefix("172.16.3.0/30"), Node: "pgwu2"},
		{Prefix: netip.MustParsePrefix("172.17.0.0/24"), Node: "pgwu1", Static: true},
	}}}, rest)
	require.NoError(t, err)
	return p
}

func TestAddressesComeFromTheNodesChunks(t *testing.T) {
	p := testPools(t)
	require.Equal(t, 6, p.Free("internet", "pgwu1", epoch))
	require.Equal(t, 4, p.Free("internet", "pgwu2", epoch))
	require.Equal(t, []string{"pgwu1", "pgwu2"}, p.Nodes("internet"))
	var got []string
	for range 4 {
		a, err := p.Allocate("internet", "pgwu2", epoch)
		require.NoError(t, err)
		got = append(got, a.String())
	}
	require.Equal(t, []string{"172.16.2.1", "172.16.2.2", "172.16.3.1", "172.16.3.2"}, got)
	_, err := p.Allocate("internet", "pgwu2", epoch)
	require.ErrorIs(t, err, ErrExhausted)
	_, err = p.Allocate("internet", "pgwu9", epoch)
	require.ErrorIs(t, err, ErrExhausted)
	_, err = p.Allocate("other", "pgwu1", epoch)
	require.ErrorIs(t, err, ErrUnknownPool)
}

func TestAReleasedAddressRestsAndTheOldestComesFirst(t *testing.T) {
	p := testPools(t)
	var all []netip.Addr
	for range 4 {
		a, err := p.Allocate("internet", "pgwu2", epoch)
		require.NoError(t, err)
		all = append(all, a)
	}
	require.NoError(t, p.Release("internet", all[2], epoch)) // of the second chunk
	require.NoError(t, p.Release("internet", all[0], epoch.Add(time.Second)))
	require.Error(t, p.Release("internet", all[0], epoch.Add(time.Second)), "a second time")

	_, err := p.Allocate("internet", "pgwu2", epoch.Add(rest-1))
	require.ErrorIs(t, err, ErrExhausted)
	require.Equal(t, 2, p.Free("internet", "pgwu2", epoch.Add(2*rest)))
	a, err := p.Allocate("internet", "pgwu2", epoch.Add(2*rest))
	require.NoError(t, err)
	require.Equal(t, all[2], a)
	a, err = p.Allocate("internet", "pgwu2", epoch.Add(2*rest))
	require.NoError(t, err)
	require.Equal(t, all[0], a)
}

func TestStaticAddresses(t *testing.T) {
	p := testPools(t)
	a := netip.MustParseAddr("172.17.0.9")
	node, err := p.StaticNode("internet", a)
	require.NoError(t, err)
	require.Equal(t, "pgwu1", node)
	require.NoError(t, p.AllocateStatic("internet", a))
	require.ErrorIs(t, p.AllocateStatic("internet", a), ErrInUse)
	require.NoError(t, p.Release("internet", a, epoch))
	require.NoError(t, p.AllocateStatic("internet", a), "a static address does not rest")

	for _, outside := range []string{"172.16.1.1", "172.17.0.0", "172.17.0.255", "10.0.0.1", "2001:db8::1"} {
		require.ErrorIs(t, p.AllocateStatic("internet", netip.MustParseAddr(outside)), ErrNotStatic, outside)
	}
	_, err = p.StaticNode("other", a)
	require.ErrorIs(t, err, ErrUnknownPool)
}

func TestFaultsOfTheConfiguration(t *testing.T) {
	chunk := func(s string) Chunk { return Chunk{Prefix: netip.MustParsePrefix(s), Node: "pgwu1"} }
	_, err := New([]Pool{
		{Name: "a", Chunks: []Chunk{chunk("10.0.0.0/24"), chunk("10.0.0.128/25")}},
		{Name: "a"},
		{Name: "b", Chunks: []Chunk{chunk("10.0.0.1/24"), chunk("2001:db8::/64"), chunk("10.0.0.0/8"), {Prefix: netip.MustParsePrefix("10.9.0.0/24")}}},
	}, rest)
	for _, fault := range []string{
		`pool "a": defined twice`, "overlaps", "did you mean 10.0.0.0/24", "not an IPv4 prefix", "larger than a /12", "without a node",
	} {
		require.ErrorContains(t, err, fault)
	}
}

func TestUsage(t *testing.T) {
	p := testPools(t)
	a, err := p.Allocate("internet", "pgwu1", epoch)
	require.NoError(t, err)
	_, err = p.Allocate("internet", "pgwu1", epoch)
	require.NoError(t, err)
	require.NoError(t, p.Release("internet", a, epoch))
	u := p.Usage(epoch.Add(time.Second))
	require.Len(t, u, 4)
	require.Equal(t, Usage{
		Pool: "internet", Prefix: netip.MustParsePrefix("172.16.1.0/29"), Node: "pgwu1", Size: 6, Used: 1, Resting: 1,
	}, u[0])
	require.Zero(t, p.Usage(epoch.Add(rest))[0].Resting)
}

// TestNothingLeaks plays random allocations and releases against a model that is obviously right.
func TestNothingLeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := testPools(t), epoch
		used := map[netip.Addr]string{}
		released := map[netip.Addr]time.Time{}
		size := map[string]int{"pgwu1": 6, "pgwu2": 4}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				node := rapid.SampledFrom([]string{"pgwu1", "pgwu2"}).Draw(t, "node")
				a, err := p.Allocate("internet", node, now)
				if err != nil {
					require.ErrorIs(t, err, ErrExhausted)
					return
				}
				require.NotContains(t, used, a, "given out twice")
				if since, ok := released[a]; ok {
					require.GreaterOrEqual(t, now.Sub(since), rest)
					delete(released, a)
				}
				used[a] = node
			},
			"allocate static": func(t *rapid.T) {
				a := netip.MustParseAddr(fmt.Sprintf("172.17.0.%d", rapid.IntRange(1, 3).Draw(t, "host")))
				err := p.AllocateStatic("internet", a)
				if _, taken := used[a]; taken {
					require.ErrorIs(t, err, ErrInUse)
					return
				}
				require.NoError(t, err)
				used[a] = "static"
			},
			"release": func(t *rapid.T) {
				if len(used) == 0 {
					return
				}
				held := make([]netip.Addr, 0, len(used))
				for a := range used {
					held = append(held, a)
				}
				slices.SortFunc(held, netip.Addr.Compare)
				a := rapid.SampledFrom(held).Draw(t, "address")
				require.NoError(t, p.Release("internet", a, now))
				require.Error(t, p.Release("internet", a, now))
				if used[a] != "static" {
					released[a] = now
				}
				delete(used, a)
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				for node, n := range size {
					for a, holder := range used {
						if holder == node {
							n--
						}
						_ = a
					}
					for a, since := range released {
						if (a.As4()[2] == 1) == (node == "pgwu1") && now.Sub(since) < rest {
							n--
						}
					}
					require.Equal(t, n, p.Free("internet", node, now), node)
				}
			},
		})
	})
}

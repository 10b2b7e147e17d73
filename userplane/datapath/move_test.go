package datapath

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

var prefix56 = netip.MustParsePrefix("2001:db8:7:100::/56")

// movers are pairs of entries of two sessions, of which only one can be at a time: what they are found by is the same.
// Between is another entry, which must not notice.
func movers() map[string][2]session.Entry {
	other := func(e session.Entry) session.Entry {
		e.Origin.SEID, e.RemoteTEID = 999, 0x9999
		if byTEID(e.Key) {
			e.Instance, e.RemoteTEID = "corp", 0
		}
		return e
	}
	pair := func(e session.Entry) [2]session.Entry { return [2]session.Entry{e, other(e)} }
	down := func(ue netip.Prefix) session.Entry {
		return with(downlinkOf(60), func(e *session.Entry) { e.Key.UE = ue })
	}
	framed := func(n int, routes ...netip.Prefix) session.Entry {
		return with(downlinkOf(n), func(e *session.Entry) { e.Routes = routes })
	}
	return map[string][2]session.Entry{
		"a UE in a /24":                     pair(down(session.UE(ue(60)))),
		"a UE of an IPv6 /64":               pair(down(netip.MustParsePrefix("2001:db8:7:1::/64"))),
		"a UE of another IPv6 prefix":       pair(down(prefix56)),
		"an F-TEID":                         pair(uplinkOf(60)),
		"an F-TEID whose slot another has":  pair(with(uplinkOf(60), func(e *session.Entry) { e.Key.TEID = teid(5) + 0x01100000 })),
		"a framed route":                    {framed(60, framed4), other(framed(61, framed4))},
		"a framed route, by another prefix": {framed(60, prefix56), other(down(prefix56))},
		"a UE's address, as a framed route": {down(session.UE(ue(60))), other(framed(61, session.UE(ue(60))))},
	}
}

// packetFor is one for an entry of movers, and by which port it comes.
func packetFor(t testing.TB, e session.Entry) (frame []byte, port string) {
	if byTEID(e.Key) {
		return tunnel(t, slice1, e.Key.TEID, inner(t, ue(60), server, 64, 10)), "access0"
	}
	to := e.Key.UE.Addr()
	if len(e.Routes) > 0 {
		to = e.Routes[0].Addr()
		if !e.Routes[0].IsSingleIP() {
			to = to.Next()
		}
	}
	if to.Is4() {
		return plain(t, coreGW, coreMAC, inner(t, server, to, 64, 10)), "core0"
	}
	return plain6(t, coreGW, coreMAC, inner6(t, server6, to, 64, 10)), "core0"
}

// TestMoves has one change take something from one session and give it to another, both ways, with every trace of the first
// gone.
func TestMoves(t *testing.T) {
	w := newWorld(t)
	for name, pair := range movers() {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.apply(uplinkOf(5), downlinkOf(5))
			w.apply(pair[0])
			frame, port := packetFor(t, pair[0])
			for n := range 6 {
				from, to := pair[n%2], pair[(n+1)%2]
				if n == 0 {
					if from.Key == to.Key || len(from.Routes) == 1 {
						require.ErrorIs(t, w.d.Apply(session.Changes{Puts: []session.Entry{to}}), ErrSlotTaken)
					}
					gone := with(uplinkOf(6), func(e *session.Entry) { e.Instance = "gone" })
					require.Error(t, w.d.Apply(session.Changes{Puts: []session.Entry{to, gone}, Deletes: []session.Key{from.Key}}))
					require.ElementsMatch(t, []session.Entry{uplinkOf(5), downlinkOf(5), from}, w.onlyEntries())
				}
				verdict, _ := w.run(port, frame, 0)
				require.EqualValues(t, xdpRedirect, verdict, n)
				require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{to}, Deletes: []session.Key{from.Key}}))
				require.NoError(t, w.d.Resolve())
				require.ElementsMatch(t, []session.Entry{uplinkOf(5), downlinkOf(5), to}, w.onlyEntries())
				usage, err := w.d.Usage([]session.Key{to.Key})
				require.NoError(t, err)
				require.Equal(t, []session.Usage{{}}, usage, "another session counts from the beginning")
				verdict, _ = w.run(port, frame, 0)
				require.EqualValues(t, xdpRedirect, verdict, n)
			}
			// What another process makes of it is the same.
			want := []session.Entry{uplinkOf(5), downlinkOf(5), pair[0]}
			if name == "a framed route" || name == "an F-TEID whose slot another has" { // it takes its time
				require.NoError(t, w.d.Close())
				w.open()
				require.ElementsMatch(t, want, w.onlyEntries())
			}
			repairs, err := w.d.Reconcile(slices.Values(want))
			require.NoError(t, err)
			require.Zero(t, repairs)

			// Killed between the record and the change, the next process finds the one and wants the other.
			repairs, err = w.d.Reconcile(slices.Values([]session.Entry{uplinkOf(5), downlinkOf(5), pair[1]}))
			require.NoError(t, err)
			require.Equal(t, 1, repairs.Added+repairs.Changed)
			require.ElementsMatch(t, []session.Entry{uplinkOf(5), downlinkOf(5), pair[1]}, w.onlyEntries())
			require.NoError(t, w.d.Resolve())
			verdict, _ := w.run(port, frame, 0)
			require.EqualValues(t, xdpRedirect, verdict)

			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{pair[1].Key, uplinkOf(5).Key, downlinkOf(5).Key}}))
			require.Empty(t, w.d.routes)
			require.Empty(t, w.d.framed)
			require.Empty(t, w.d.singlesIn)
			require.Empty(t, w.d.tables.loadRoutes())
			for range w.d.tables.hosts.all {
				require.Fail(t, "a UE is left")
			}
			for range w.d.tables.teids.all {
				require.Fail(t, "a TEID is left")
			}
		})
	}
}

// TestNewBesideOld: when the way to something changes, the old way and the new are both there while programs that are on
// their way are waited for: one that looked for the new a moment too early finds the old yet.
func TestNewBesideOld(t *testing.T) {
	w := newWorld(t)
	framed := func(n int, routes ...string) session.Entry {
		return with(downlinkOf(n), func(e *session.Entry) {
			for _, r := range routes {
				e.Routes = append(e.Routes, netip.MustParsePrefix(r))
			}
		})
	}
	direct := func(prefix string) session.Entry {
		return with(downlinkOf(60), func(e *session.Entry) { e.Key.UE = netip.MustParsePrefix(prefix) })
	}
	for name, tc := range map[string]struct {
		from, to session.Entry
		keep     bool // from stays, without its routes
		waits    int
	}{
		"a framed route becomes a UE's address":           {framed(61, "10.64.9.9/32"), direct("10.64.9.9/32"), false, 1},
		"a UE's address becomes a framed route":           {direct("10.64.9.9/32"), framed(61, "10.64.9.9/32"), false, 0},
		"a UE's address comes out of a framed route":      {framed(61, "10.64.8.0/22"), direct("10.64.9.9/32"), false, 1},
		"a UE's /64 comes out of a framed route":          {framed(61, "2001:db8:7::/48"), direct("2001:db8:7:1::/64"), false, 1},
		"a shorter framed route takes over":               {framed(61, "10.64.9.0/24"), framed(62, "10.64.8.0/22"), false, 1},
		"a longer framed route takes over":                {framed(61, "10.64.8.0/22"), framed(62, "10.64.9.0/24"), false, 1},
		"an entry loses the framed route, and stays":      {framed(61, "10.64.9.9/32"), direct("10.64.9.9/32"), true, 1},
		"what comes has nothing to do with what goes":     {framed(61, "10.64.9.9/32"), direct("10.64.10.9/32"), false, 0},
		"what goes and what comes are by address":         {direct("10.64.9.9/32"), direct("10.64.10.9/32"), false, 0},
		"the same prefix, in different network instances": {framed(61, "10.64.9.9/32"), with(direct("10.64.9.9/32"), func(e *session.Entry) { e.Key.Instance = "corp" }), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.apply(tc.from)
			require.NoError(t, w.d.grace.settle())
			waits := 0
			w.d.grace.barrier = func() error {
				if at, ok, err := w.d.find(tc.to.Key); !ok || err != nil || w.d.tables.keyAt(at) == 0 {
					return membarrier() // for a block to put it into
				}
				waits++
				at, ok, err := w.d.find(tc.from.Key)
				require.True(t, ok && err == nil)
				require.NotZero(t, w.d.tables.keyAt(at))
				for _, prefix := range slices.Concat(tc.from.Routes, tc.to.Routes) {
					require.Contains(t, w.d.tables.loadRoutes(), route{w.d.tables.numbers["internet"], prefix})
				}
				return membarrier()
			}
			want := []session.Entry{tc.to}
			changes := session.Changes{Puts: []session.Entry{tc.to}, Deletes: []session.Key{tc.from.Key}}
			if tc.keep {
				want = append(want, framed(61))
				changes = session.Changes{Puts: []session.Entry{framed(61), tc.to}}
			}
			require.NoError(t, w.d.Apply(changes))
			w.d.grace.barrier = membarrier
			require.Equal(t, tc.waits, waits)
			require.ElementsMatch(t, want, w.onlyEntries())
			require.Len(t, w.d.tables.loadRoutes(), len(tc.to.Routes))
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{tc.to.Key, tc.from.Key}}))
		})
	}
}

// TestRoutesChangeHands has two entries that both stay exchange their framed routes in one change.
func TestRoutesChangeHands(t *testing.T) {
	w := newWorld(t)
	a, b := netip.MustParsePrefix("192.168.40.0/22"), netip.MustParsePrefix("192.168.44.0/22")
	entries := func(first, second netip.Prefix) []session.Entry {
		return []session.Entry{
			with(downlinkOf(60), func(e *session.Entry) { e.Routes = []netip.Prefix{first} }),
			with(downlinkOf(61), func(e *session.Entry) { e.Routes = []netip.Prefix{second} }),
		}
	}
	to := func(address string) pfcp.TEID {
		_, out := w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, netip.MustParseAddr(address), 64, 10)), 0)
		return pfcp.TEID(uint32(out[46])<<24 | uint32(out[47])<<16 | uint32(out[48])<<8 | uint32(out[49]))
	}
	w.apply(entries(a, b)...)
	require.Equal(t, remoteTEID(60), to("192.168.40.1"))
	require.Equal(t, remoteTEID(61), to("192.168.44.1"))
	w.apply(entries(b, a)...)
	require.Equal(t, remoteTEID(61), to("192.168.40.1"))
	require.Equal(t, remoteTEID(60), to("192.168.44.1"))
	require.ElementsMatch(t, entries(b, a), w.onlyEntries())
	both := entries(b, a)
	both[1].Routes = []netip.Prefix{b}
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: both}), ErrSlotTaken, "two entries want one prefix")
	both[0].Routes = []netip.Prefix{a}
	both = append(both, with(downlinkOf(62), func(e *session.Entry) { e.Routes = []netip.Prefix{a} }))
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: both}), ErrSlotTaken)
	require.ElementsMatch(t, entries(b, a), w.onlyEntries())
}

// TestARouteTakesNothingOfTheLink has framed routes to everywhere: what is the node's own in the network, and what goes to all on
// the link, stays with the kernel.
func TestARouteTakesNothingOfTheLink(t *testing.T) {
	w := newWorld(t)
	w.apply(
		with(downlinkOf(60), func(e *session.Entry) { e.Routes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }),
		with(downlinkOf(61), func(e *session.Entry) {
			e.Key.UE, e.Routes = netip.MustParsePrefix("2001:db8:7:1::/64"), []netip.Prefix{netip.MustParsePrefix("::/0")}
		}),
	)
	for to, reason := range map[string]string{
		"192.0.2.9": "downlink_forwarded", nodeCore.String(): "not_ours", "224.0.0.5": "not_ours", "255.255.255.255": "not_ours",
		"2001:db8:99::1": "downlink_forwarded", nodeCore6.String(): "not_ours", nodeCore6.Next().String(): "downlink_forwarded",
		"fe80::1": "not_ours", "febf::1": "not_ours", "fec0::1": "downlink_forwarded", "ff02::1:ff00:1": "not_ours",
	} {
		before, a := w.reasons(), netip.MustParseAddr(to)
		if a.Is4() {
			w.run("core0", plain(t, coreGW, coreMAC, inner(t, netip.MustParseAddr("198.51.100.1"), a, 64, 10)), 0)
		} else {
			w.run("core0", plain6(t, coreGW, coreMAC, inner6(t, netip.MustParseAddr("2001:db8:98::1"), a, 64, 10)), 0)
		}
		require.Equal(t, before[reason]+1, w.reasons()[reason], to)
	}
}

// TestMovesUnderTraffic moves things to and fro as fast as it can while packets use them: each packet goes the one way or
// the other, and none finds nobody. XEPC_MOVES: of each kind, at least.
func TestMovesUnderTraffic(t *testing.T) {
	enough := int64(10)
	if text := os.Getenv("XEPC_MOVES"); text != "" {
		var err error
		enough, err = strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
	}
	w := newWorld(t)
	for name, pair := range movers() {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.enter()
			w.apply(uplinkOf(5), pair[0])
			require.NoError(t, w.d.Apply(session.Changes{Puts: []session.Entry{pair[1]}, Deletes: []session.Key{pair[0].Key}}))
			require.NoError(t, w.d.Resolve())
			stop, done := make(chan struct{}), make(chan error, 1)
			var moves atomic.Int64
			go func() {
				for ; ; moves.Add(1) {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					from, to := pair[(moves.Load()+1)%2], pair[moves.Load()%2]
					if err := w.d.Apply(session.Changes{Puts: []session.Entry{to}, Deletes: []session.Key{from.Key}}); err != nil {
						done <- err
						return
					}
				}
			}()
			frame, port := packetFor(t, pair[0])
			context := xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(w.ifindex[port])}
			options := ebpf.RunOptions{Data: frame, Context: context}
			ways := map[string]int{}
			for n := 0; n < 5000 || moves.Load() < enough; n++ {
				options.DataOut = make([]byte, len(frame)+256)
				verdict, err := w.d.objects.Pgwu.Run(&options)
				require.NoError(t, err)
				if verdict != xdpRedirect {
					ways["lost"]++
					continue
				}
				out := options.DataOut
				if port == "access0" {
					ways[spacedHex(out[:6])]++ // by which network instance's gateway
				} else {
					ways[spacedHex(out[46:50])]++ // into which tunnel
				}
			}
			close(stop)
			require.NoError(t, <-done)
			require.Zero(t, ways["lost"], "%v of %d moves", ways, moves.Load())
			require.Len(t, ways, 2, "%d moves", moves.Load())
			require.NoError(t, w.d.Apply(session.Changes{Deletes: []session.Key{pair[0].Key, pair[1].Key}}))
		})
	}
}

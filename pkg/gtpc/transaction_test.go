package gtpc

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	epoch = time.Unix(1_700_000_000, 0)
	sgw   = netip.MustParseAddrPort("10.10.0.2:2123")
)

func testTransactions(change func(*EndpointConfig)) *transactions {
	cfg := DefaultEndpointConfig()
	if change != nil {
		change(&cfg)
	}
	return newTransactions(cfg)
}

func request(sequence Sequence) servedKey {
	return servedKey{port: sgw.Port(), kind: TypeCreateSessionRequest, sequence: sequence}
}

func TestADuplicateIsActedOnOnce(t *testing.T) {
	tr := testTransactions(nil)
	v, _ := tr.arrive(sgw.Addr(), request(1), epoch)
	require.Equal(t, deliver, v)
	v, _ = tr.arrive(sgw.Addr(), request(1), epoch.Add(time.Second))
	require.Equal(t, inProgress, v)

	require.NoError(t, tr.answer(sgw.Addr(), request(1), []byte{1, 2, 3}))
	v, octets := tr.arrive(sgw.Addr(), request(1), epoch.Add(2*time.Second))
	require.Equal(t, resend, v)
	require.Equal(t, []byte{1, 2, 3}, octets)
	require.ErrorIs(t, tr.answer(sgw.Addr(), request(1), []byte{4}), errAnswered)

	otherPort := request(1)
	otherPort.port = 40000
	v, _ = tr.arrive(sgw.Addr(), otherPort, epoch)
	require.Equal(t, deliver, v, "another port is another sequence space")
}

func TestARequestIsForgottenAfterItsLifetime(t *testing.T) {
	tr := testTransactions(nil)
	tr.arrive(sgw.Addr(), request(1), epoch)
	require.NoError(t, tr.answer(sgw.Addr(), request(1), []byte{1}))
	v, _ := tr.arrive(sgw.Addr(), request(1), epoch.Add(tr.lifetime))
	require.Equal(t, deliver, v)
	tr.sweep(epoch.Add(3 * tr.lifetime))
	require.Empty(t, tr.peers)
	require.Zero(t, tr.served)
}

func TestMemoryForRequestsIsBounded(t *testing.T) {
	tr := testTransactions(func(c *EndpointConfig) { c.MaxCachedPerPeer, c.MaxPeers, c.MaxCached = 2, 2, 3 })
	require.Equal(t, deliver, first(tr.arrive(sgw.Addr(), request(1), epoch)))
	require.Equal(t, deliver, first(tr.arrive(sgw.Addr(), request(2), epoch)))
	require.Equal(t, overload, first(tr.arrive(sgw.Addr(), request(3), epoch)), "the oldest is in progress and must stay")
	require.NoError(t, tr.answer(sgw.Addr(), request(1), []byte{1}))
	require.Equal(t, deliver, first(tr.arrive(sgw.Addr(), request(3), epoch)), "an answered one makes room")
	require.Equal(t, uint64(1), tr.evicted)

	second := netip.MustParseAddrPort("10.10.0.3:2123")
	require.Equal(t, deliver, first(tr.arrive(second.Addr(), request(1), epoch)))
	require.Equal(t, overload, first(tr.arrive(second.Addr(), request(2), epoch)), "the total is bounded too")
	third := netip.MustParseAddrPort("10.10.0.4:2123")
	require.Equal(t, overload, first(tr.arrive(third.Addr(), request(1), epoch)), "so are the peers")
	require.Equal(t, 3, tr.served)
	require.Equal(t, deliver, first(tr.arrive(third.Addr(), request(1), epoch.Add(tr.lifetime))), "idle peers make room")
}

func first(v verdict, _ []byte) verdict { return v }

func TestACallIsSentAgainThenFails(t *testing.T) {
	tr := testTransactions(func(c *EndpointConfig) { c.T3, c.N3 = 3*time.Second, 2 })
	var octets []byte
	octets, err := tr.call(sgw, TypeDeleteBearerRequest, epoch, func(s Sequence) ([]byte, error) {
		return []byte{byte(s)}, nil
	}, nil)
	require.NoError(t, err)

	again, failed := tr.tick(epoch.Add(2 * time.Second))
	require.Empty(t, again)
	require.Empty(t, failed)
	for n := 1; n <= 2; n++ {
		again, failed = tr.tick(epoch.Add(time.Duration(3*n) * time.Second))
		require.Len(t, again, 1)
		require.Equal(t, octets, again[0].octets, "the same octets, the same sequence number")
		require.Empty(t, failed)
	}
	again, failed = tr.tick(epoch.Add(9 * time.Second))
	require.Empty(t, again)
	require.Len(t, failed, 1)
	require.Empty(t, tr.pending)
}

func TestAResponseEndsItsCallOnly(t *testing.T) {
	tr := testTransactions(func(c *EndpointConfig) { c.MaxPending = 1 })
	encode := func(Sequence) ([]byte, error) { return nil, nil }
	_, err := tr.call(sgw, TypeDeleteBearerRequest, epoch, encode, nil)
	require.NoError(t, err)
	_, err = tr.call(sgw, TypeDeleteBearerRequest, epoch, encode, nil)
	require.ErrorIs(t, err, ErrBusy)

	good := Header{Type: TypeDeleteBearerResponse, Sequence: tr.next}
	require.Nil(t, tr.response(netip.MustParseAddrPort("10.10.0.9:2123"), good), "from another address")
	require.Nil(t, tr.response(sgw, Header{Type: TypeEchoResponse, Sequence: tr.next}), "of another type")
	require.Nil(t, tr.response(sgw, Header{Type: TypeDeleteBearerResponse, Sequence: tr.next + 1}), "of another number")
	require.NotNil(t, tr.response(sgw, good))
	require.Nil(t, tr.response(sgw, good), "a second time")
}

func TestRestartCounterOfAPeer(t *testing.T) {
	cfg := DefaultEndpointConfig()
	p := newPaths(cfg)
	peer := sgw.Addr()
	require.False(t, p.recovery(peer, 254, epoch), "the first value is learnt")
	require.False(t, p.recovery(peer, 254, epoch))
	require.True(t, p.recovery(peer, 255, epoch))
	require.True(t, p.recovery(peer, 3, epoch), "past the roll-over")
	require.False(t, p.recovery(peer, 255, epoch), "an older one came late")
	require.Equal(t, uint64(1), p.stale)
	require.False(t, p.recovery(peer, 3, epoch))
}

func TestEchoGoesToPeersWithSessions(t *testing.T) {
	cfg := DefaultEndpointConfig()
	cfg.MaxPeers = 2
	p := newPaths(cfg)
	p.recovery(netip.MustParseAddr("10.10.0.9"), 1, epoch)
	p.hold(sgw.Addr(), 2, epoch)
	require.Empty(t, p.echoes(epoch.Add(59*time.Second)))
	require.Equal(t, []netip.Addr{sgw.Addr()}, p.echoes(epoch.Add(60*time.Second)))
	require.Empty(t, p.echoes(epoch.Add(61*time.Second)))

	kind, changed := p.echoed(sgw.Addr(), false)
	require.True(t, changed)
	require.Equal(t, PathDown, kind)
	_, changed = p.echoed(sgw.Addr(), false)
	require.False(t, changed, "told once")
	kind, changed = p.echoed(sgw.Addr(), true)
	require.True(t, changed)
	require.Equal(t, PathUp, kind)

	p.hold(sgw.Addr(), -2, epoch)
	require.Empty(t, p.echoes(epoch.Add(200*time.Second)))
	require.NotNil(t, p.get(netip.MustParseAddr("10.10.0.3"), epoch.Add(200*time.Second)), "idle paths make room")
}

// TestTwoLivesBeginWithDifferentSequenceNumbers: an SGW that remembers requests would else answer those of the second
// life with what it said to the first.
func TestTwoLivesBeginWithDifferentSequenceNumbers(t *testing.T) {
	first := map[Sequence]bool{}
	for range 8 {
		first[testTransactions(nil).next] = true
	}
	require.Greater(t, len(first), 1)
}

// TestForgedAddressesDoNotKeepPeersOut: each of them gets its answer, a refusal, at once, and makes room then.
func TestForgedAddressesDoNotKeepPeersOut(t *testing.T) {
	tr := testTransactions(func(c *EndpointConfig) { c.MaxPeers = 8 })
	p := newPaths(EndpointConfig{MaxPeers: 8, EchoInterval: time.Minute})
	busy := netip.MustParseAddr("10.10.0.9")
	require.Equal(t, deliver, first(tr.arrive(busy, request(1), epoch)))
	p.hold(busy, 1, epoch)
	for n := range 100 {
		forged := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		require.Equal(t, deliver, first(tr.arrive(forged, request(1), epoch)))
		require.NoError(t, tr.answer(forged, request(1), []byte{1}))
		require.False(t, p.recovery(forged, 1, epoch))
	}
	require.Len(t, tr.peers, 8)
	require.Equal(t, 8, tr.served)
	require.Len(t, p.known, 8)
	require.Equal(t, inProgress, first(tr.arrive(busy, request(1), epoch)), "one in progress stays")

	require.Equal(t, deliver, first(tr.arrive(sgw.Addr(), request(1), epoch)))
	p.hold(sgw.Addr(), 1, epoch)
	require.False(t, p.recovery(sgw.Addr(), 1, epoch))
	require.True(t, p.recovery(sgw.Addr(), 2, epoch), "its restart is noticed")
	require.Equal(t, 1, p.known[busy].holds)
}

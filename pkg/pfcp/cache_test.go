package pfcp

import (
	"hash/crc64"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func peerNumber(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, uint8(n >> 8), uint8(n)}), 8805)
}

func isNew(c *responseCache, now time.Time, peer netip.AddrPort, seq Sequence, b string) bool {
	_, fresh := c.begin(now, cacheKey{peer: peer, sequence: seq, request: crc64.Checksum([]byte(b), crc64.MakeTable(crc64.ISO))})
	return fresh
}

func TestResponsesAreKeptForTheirLifetime(t *testing.T) {
	c, now := newResponseCache(10, 2, time.Minute), time.Unix(0, 0)
	require.True(t, isNew(c, now, peerNumber(1), 7, "a"))
	require.False(t, isNew(c, now.Add(time.Minute-1), peerNumber(1), 7, "a"))
	require.True(t, isNew(c, now.Add(time.Minute), peerNumber(1), 7, "a"))
	require.Equal(t, 1, c.entries)
	c.sweepAt(now.Add(2 * time.Minute))
	require.Zero(t, c.entries)
	require.Empty(t, c.peers)
	require.Zero(t, c.evicted)
}

func TestTheSameNumberWithOtherOctetsIsANewRequest(t *testing.T) {
	c, now := newResponseCache(10, 2, time.Minute), time.Unix(0, 0)
	for range 100 {
		require.True(t, isNew(c, now, peerNumber(1), 7, "a"))
		require.True(t, isNew(c, now, peerNumber(1), 7, "b"))
	}
	require.Equal(t, 1, c.entries)
	require.Equal(t, 1, c.peers[peerNumber(1)].len())
}

func TestAFloodFromOnePeerEvictsItsOwn(t *testing.T) {
	c, now := newResponseCache(100, 10, time.Minute), time.Unix(0, 0)
	for seq := range Sequence(40) {
		require.True(t, isNew(c, now, peerNumber(1), seq, "honest"))
	}
	for seq := range Sequence(10_000) {
		require.True(t, isNew(c, now, peerNumber(2), seq, "flood"))
	}
	require.Equal(t, 100, c.entries)
	for seq := range Sequence(40) {
		require.False(t, isNew(c, now, peerNumber(1), seq, "honest"))
	}
	require.EqualValues(t, 10_040-100, c.evicted)
}

func TestAFloodFromManyPeersEvictsTheirs(t *testing.T) {
	c, now := newResponseCache(100, 10, time.Minute), time.Unix(0, 0)
	for seq := range Sequence(40) {
		require.True(t, isNew(c, now, peerNumber(1), seq, "honest"))
	}
	for n := range 10_000 {
		require.True(t, isNew(c, now, peerNumber(2+n), 1, "flood"))
		require.LessOrEqual(t, len(c.peers), 10)
	}
	for seq := range Sequence(40) {
		require.False(t, isNew(c, now, peerNumber(1), seq, "honest"))
	}
}

func TestAnAnswerFindsItsRequestOnly(t *testing.T) {
	c, now := newResponseCache(3, 2, time.Minute), time.Unix(0, 0)
	key := func(seq Sequence, request uint64) cacheKey {
		return cacheKey{peer: peerNumber(1), sequence: seq, request: request}
	}
	begin := func(k cacheKey) (string, bool) {
		response, isNew := c.begin(now, k)
		return string(response), isNew
	}
	for seq := range Sequence(3) {
		_, isNew := begin(key(seq, 1))
		require.True(t, isNew)
	}
	c.answer(key(1, 1), []byte("one"))
	response, isNew := begin(key(1, 1))
	require.False(t, isNew)
	require.Equal(t, "one", response)

	_, isNew = begin(key(2, 9)) // the peer restarted while its request was in progress
	require.True(t, isNew)
	c.answer(key(2, 1), []byte("late"))
	response, _ = begin(key(2, 9))
	require.Empty(t, response)

	for seq := range Sequence(1000) { // more than room: the oldest go, the answers of those that are left stay theirs
		_, isNew := begin(key(1000+seq, 1))
		require.True(t, isNew)
		c.answer(key(1000+seq, 1), []byte{uint8(seq)})
		c.answer(key(seq%3, 1), []byte("evicted"))
		require.Equal(t, 3, c.entries)
	}
	for _, seq := range []Sequence{997, 998, 999} {
		response, isNew := begin(key(1000+seq, 1))
		require.False(t, isNew)
		require.Equal(t, string([]byte{uint8(seq & 0xff)}), response)
	}
	require.LessOrEqual(t, cap(c.peers[peerNumber(1)].queue), 16)
}

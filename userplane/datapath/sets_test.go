package datapath

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// TestRulesCountForThemselves follows what each PDR of a key has counted while the rules beside it come and go.
func TestRulesCountForThemselves(t *testing.T) {
	w := newWorld(t)
	alone := with(uplinkOf(5), func(e *session.Entry) { e.MBR = 1_000_000 })
	dns := alone.Rule
	dnsOnly(&dns)
	dns.Origin.PDRID, dns.Origin.FARID = 3, 3
	beside := session.Entry{Key: alone.Key, Rule: dns, More: []session.Rule{alone.Rule}}
	ntp := dns
	ntp.Filters, ntp.Origin.PDRID = []session.Filter{{RemotePorts: []session.Ports{{First: 123, Last: 123}}}}, 4
	three := session.Entry{Key: alone.Key, Rule: dns, More: []session.Rule{ntp, alone.Rule}}

	other := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 72)) // 100 octets inside
	query := tunnel(t, slice1, teid(5), dnsTo(t, ue(5), server, 4000, 53, 64))
	clock := tunnel(t, slice1, teid(5), dnsTo(t, ue(5), server, 4000, 123, 64))
	counts := func() map[pfcp.PDRID]uint64 {
		packets := map[pfcp.PDRID]uint64{}
		for e := range w.d.Reader().Entries() {
			for _, r := range e.Rules {
				id := r.Origin.PDRID
				u, ok := e.UsageOf(func(r *session.Rule) bool { return r.Origin.PDRID == id })
				require.True(t, ok)
				packets[id] = u.Packets
			}
		}
		return packets
	}
	send := func(frame []byte, times int) {
		for range times {
			verdict, _ := w.run("access0", frame, 0)
			require.EqualValues(t, xdpRedirect, verdict)
		}
	}

	w.apply(alone)
	send(other, 2)
	w.apply(beside)
	require.Equal(t, map[pfcp.PDRID]uint64{1: 2, 3: 0}, counts(), "the rule that was alone goes on")
	send(other, 1)
	send(query, 4)
	w.apply(three)
	send(clock, 1)
	send(query, 1)
	require.Equal(t, map[pfcp.PDRID]uint64{1: 3, 3: 5, 4: 1}, counts())
	usage, err := w.d.Usage([]session.Key{alone.Key})
	require.NoError(t, err)
	require.Equal(t, []session.Usage{{Packets: 9, Octets: 3*100 + 6*48}}, usage, "the entry counts for all of them")

	require.NoError(t, w.d.Close())
	w.open()
	require.Equal(t, map[pfcp.PDRID]uint64{1: 3, 3: 5, 4: 1}, counts(), "after a restart")
	repairs, err := w.d.Reconcile(slices.Values([]session.Entry{three}))
	require.NoError(t, err)
	require.Zero(t, repairs)
	w.apply(beside)
	send(query, 1)
	require.Equal(t, map[pfcp.PDRID]uint64{1: 3, 3: 6}, counts())
	require.Equal(t, 2, w.d.accounts.taken)

	// Refused in the end, a change leaves accounts as they were.
	gone := with(uplinkOf(6), func(e *session.Entry) { e.Instance = "gone" })
	require.ErrorIs(t, w.d.Apply(session.Changes{Puts: []session.Entry{three, gone}}), ErrUnknownInstance)
	require.Equal(t, map[pfcp.PDRID]uint64{1: 3, 3: 6}, counts())
	require.Equal(t, 2, w.d.accounts.taken)

	w.apply(alone)
	send(other, 1)
	require.Equal(t, map[pfcp.PDRID]uint64{1: 11}, counts(), "alone again, it has what the entry has")
	require.Zero(t, w.d.accounts.taken)
	require.Empty(t, w.d.accountRefs)
}

// TestAnOwnLimitHoldsWhileRulesChange has a bucket that is empty stay so when its rule moves into a set, to another and
// back.
func TestAnOwnLimitHoldsWhileRulesChange(t *testing.T) {
	w := newWorld(t)
	alone := with(uplinkOf(5), func(e *session.Entry) { e.MBR = 1 }) // 8 ms an octet: no stall refills a packet
	dns := alone.Rule
	dnsOnly(&dns)
	dns.Origin.PDRID, dns.MBR = 3, 0
	beside := session.Entry{Key: alone.Key, Rule: dns, More: []session.Rule{alone.Rule}}
	another := beside
	another.GateClosed = true
	w.apply(alone)
	frame := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 1000))
	w.run("access0", frame, 0)
	for _, e := range []session.Entry{alone, beside, another, beside, alone, beside} {
		w.apply(e)
		before := w.reasons()
		w.run("access0", frame, 0)
		require.Equal(t, map[string]uint64{"mbr_exceeded": 1}, difference(before, w.reasons()))
	}
}

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pfcpie "github.com/wmnsk/go-pfcp/ie"
	pfcp "github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
)

const (
	poolAddresses = "xepc_pgwc_pool_addresses" // by state

	interval = 5 * time.Millisecond // of pings while something is killed
	during   = 60                   // pings that must be answered before, during and after
)

// answered returns when the web server has answered a UE's ping. The first packets to a new SGW may be lost while
// the PGW-U resolves its next hop there.
func answered(t *testing.T, l *lab.Lab, u *lab.UE) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	pinger, err := l.StartPing(ctx, u, interval)
	require.NoError(t, err)
	err = pinger.Wait(ctx, 1)
	_, err2 := pinger.Break()
	require.NoError(t, errors.Join(err, err2))
}

// attach attaches every UE of the lab, and has each reach the web server.
func attach(t *testing.T, l *lab.Lab) []lab.AttachReport {
	t.Helper()
	var reports []lab.AttachReport
	for _, u := range l.UEs {
		r, err := l.Attach(t.Context(), u, lab.AttachOptions{})
		require.NoError(t, err)
		answered(t, l, u)
		reports = append(reports, r)
	}
	return reports
}

// rows runs a listing command of a node and reads its rows.
func rows(t *testing.T, n *lab.Node, args ...string) []map[string]any {
	t.Helper()
	out, err := n.Command(t.Context(), append(args, "-o", "json")...)
	require.NoError(t, err)
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &list), "%s", out)
	return list
}

// recoveryTimeStamp asks the n-th PGW-U for it in a PFCP heartbeat, coded by go-pfcp, from an address that no
// association knows.
func recoveryTimeStamp(t *testing.T, l *lab.Lab, n int) time.Time {
	t.Helper()
	address := net.JoinHostPort(topology.PFCP(n).String(), "8805")
	conn, err := l.Network.Namespace(topology.Control).Dial(t.Context(), "udp4", address)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	request, err := pfcp.NewHeartbeatRequest(1, pfcpie.NewRecoveryTimeStamp(time.Now()), nil).Marshal()
	require.NoError(t, err)
	_, err = conn.Write(request)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	b := make([]byte, 1500)
	size, err := conn.Read(b)
	require.NoError(t, err)
	m, err := pfcp.ParseHeartbeatResponse(b[:size])
	require.NoError(t, err)
	stamp, err := m.RecoveryTimeStamp.RecoveryTimeStamp()
	require.NoError(t, err)
	return stamp
}

func TestUserPlaneKilledLosesNotOnePing(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.UEs, o.PGWUs = 1, 1 })
	attach(t, l)
	u, pgwu := l.UEs[0], l.PGWUs[0]
	before, stamp := rows(t, pgwu, "session", "list"), recoveryTimeStamp(t, l, 1)
	require.Len(t, before, 1)

	pinger, err := l.StartPing(t.Context(), u, interval)
	require.NoError(t, err)
	require.NoError(t, pinger.Wait(t.Context(), during))
	require.NoError(t, pgwu.Kill9())
	require.NoError(t, pinger.Wait(t.Context(), during), "while the daemon is dead")
	counted := octets(t, rows(t, pgwu, "pdr", "list")) // from the pinned maps
	require.NoError(t, pgwu.Start(t.Context()))
	require.NoError(t, pinger.Wait(t.Context(), during))

	require.Equal(t, len(before), len(rows(t, pgwu, "session", "list")))
	require.Equal(t, before[0]["seid"], rows(t, pgwu, "session", "list")[0]["seid"])
	require.GreaterOrEqual(t, octets(t, rows(t, pgwu, "pdr", "list")), counted, "counters went on")
	require.Equal(t, stamp, recoveryTimeStamp(t, l, 1), "no session was lost")

	require.NoError(t, l.Move(t.Context(), u), "it accepts the session's modification")
	require.NoError(t, pinger.Wait(t.Context(), during))
	result, err := pinger.Stop()
	require.NoError(t, err)
	require.Empty(t, result.Lost, "%s", result)
	require.NoError(t, l.Detach(t.Context(), u), "it accepts the session's deletion")
	require.Empty(t, rows(t, pgwu, "pdr", "list"))
}

// octets sums what PDRs have counted.
func octets(t *testing.T, pdrs []map[string]any) (sum float64) {
	t.Helper()
	require.NotEmpty(t, pdrs)
	for _, r := range pdrs {
		n, ok := r["octets"].(float64)
		require.True(t, ok, "%v", r)
		sum += n
	}
	return sum
}

func TestHSSKilledAttachesTheNext(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.PGWUs = 1 })
	_, err := l.Attach(t.Context(), l.UEs[0], lab.AttachOptions{})
	require.NoError(t, err)
	require.NoError(t, l.HSS.Kill9())
	require.NoError(t, l.HSS.Start(t.Context()))
	r, err := l.Attach(t.Context(), l.UEs[1], lab.AttachOptions{})
	require.NoError(t, err)
	require.False(t, r.Resynchronised)
	require.NoError(t, l.Detach(t.Context(), l.UEs[0]))
	r, err = l.Attach(t.Context(), l.UEs[0], lab.AttachOptions{})
	require.NoError(t, err)
	require.False(t, r.Resynchronised, "the HSS still knows the card's SQN")
}

func TestControlPlaneKilledSaysSoAndLeaksNothing(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.UEs, o.PGWUs = 1, 1 })
	u, pgwu := l.UEs[0], l.PGWUs[0]
	restarts, err := l.SGW.Echo(t.Context(), lab.PGWCS8())
	require.NoError(t, err)
	for round := range 3 {
		attach(t, l)
		ping, err := l.Ping(t.Context(), u, 5, interval)
		require.NoError(t, err)
		require.Empty(t, ping.Lost, "round %d", round)
		require.Len(t, rows(t, pgwu, "session", "list"), 1, "round %d: the sessions of the dead PGW-C are gone", round)
		require.EqualValues(t, 1, counter(t, l.PGWC, poolAddresses, `state="used"`), "round %d: no address leaked", round)

		require.NoError(t, l.PGWC.Kill9())
		require.NoError(t, l.Abandon(u))
		require.NoError(t, l.PGWC.Start(t.Context()))
		now, err := l.SGW.Echo(t.Context(), lab.PGWCS8())
		require.NoError(t, err)
		require.NotEqual(t, restarts, now, "the restart counter says that sessions were lost")
		restarts = now
		require.Eventually(t, func() bool { return len(rows(t, pgwu, "session", "list")) == 0 }, 20*time.Second, 50*time.Millisecond)
	}
}

func TestAttachAgainReplacesTheSession(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.UEs, o.PGWUs = 1, 1 })
	u := l.UEs[0]
	for round := range 3 {
		attach(t, l)
		require.Len(t, rows(t, l.PGWC, "session", "list"), 1, "round %d", round)
		require.Len(t, rows(t, l.PGWUs[0], "session", "list"), 1, "round %d", round)
		require.EqualValues(t, 1, counter(t, l.PGWC, poolAddresses, `state="used"`), "round %d", round)
		require.NoError(t, l.Abandon(u), "the SGW forgets it without a word")
	}
}

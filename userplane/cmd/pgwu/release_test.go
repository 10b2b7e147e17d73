package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
)

// askToRelease asks the control plane to end its association, by the command line. It hears how long it has, and gets no new
// session meanwhile; packets go on.
func (c *subscriber) askToRelease() {
	t := c.t
	t.Helper()
	release := func(peer string) (stdout string, err error) {
		stdout, _, err = run("peer", "release", peer, "--within", "1s", "--socket", c.dir+"/pgwu.sock")
		return stdout, err
	}
	_, err := release("nobody.example")
	require.Equal(t, node.ExitRefused, node.ExitCode(err))
	stdout, err := release(c.node)
	require.NoError(t, err)
	require.Equal(t, c.node+" was asked to release its 1 sessions within 1s\n", stdout)
	b := make([]byte, 2048)
	require.NoError(t, c.cp.SetReadDeadline(time.Now().Add(patience)))
	for b[1] != message.MsgTypeAssociationUpdateRequest {
		n, err := c.cp.Read(b[:cap(b)])
		require.NoError(t, err)
		b = b[:n]
	}
	m, err := message.ParseAssociationUpdateRequest(b)
	require.NoError(t, err)
	period, err := m.GracefulReleasePeriod.GracefulReleasePeriod()
	require.NoError(t, err)
	require.Equal(t, releasePeriod, period)
	answer := message.NewAssociationUpdateResponse(m.Sequence(), ie.NewNodeID("", "", c.node), ie.NewCause(ie.CauseRequestAccepted))
	octets := make([]byte, answer.MarshalLen())
	require.NoError(t, answer.MarshalTo(octets))
	_, err = c.cp.WriteToUDPAddrPort(octets, netip.AddrPortFrom(pgwuAddr, 8805))
	require.NoError(t, err)

	r := c.ask(message.NewSessionEstablishmentRequest(0, 0, 0, c.next(), 0, ie.NewNodeID("", "", c.node), ie.NewFSEID(99, c.addr.AsSlice(), nil),
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess),
			ie.NewFTEID(0x05, 0, nil, nil, 0)), ie.NewFARID(1)),
		ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(1)))).(*message.SessionEstablishmentResponse)
	require.Equal(t, pfcp.CauseRejected, causeOf(t, r.Cause))
	c.send(1)
	arrive(t, c.at, 1)
}

// releasePeriod is the shortest that the IE can say.
const releasePeriod = 2 * time.Second

// isReleased waits until the association is gone, and sees the session's packets come to an end.
func (c *subscriber) isReleased(asked time.Time) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		rows, _ := c.rows("peer", "list")
		return !slices.ContainsFunc(rows, func(r map[string]any) bool { return r["node_id"] == c.node })
	}, patience, 10*time.Millisecond)
	require.GreaterOrEqual(c.t, time.Since(asked), releasePeriod)
	before := c.reason("unknown_teid")
	c.send(2)
	require.Eventually(c.t, func() bool { return c.reason("unknown_teid") == before+1 }, patience, time.Millisecond)
}

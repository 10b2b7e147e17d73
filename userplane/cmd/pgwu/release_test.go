package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
)

// TestAControlPlaneIsAskedToRelease asks by the command line: the control plane hears how long it has, gets no new session, and
// packets go on until its time is over. Another one's go on after that.
func TestAControlPlaneIsAskedToRelease(t *testing.T) {
	s := newSite(t)
	s.start()
	c, other := s.subscriber(21), s.subscriber(22)
	release := func(peer string) (stdout string, err error) {
		stdout, _, err = run("peer", "release", peer, "--within", "1s", "--socket", s.dir+"/pgwu.sock")
		return stdout, err
	}
	_, err := release("nobody.example")
	require.Equal(t, node.ExitRefused, node.ExitCode(err))
	asked := time.Now()
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
	require.Equal(t, 2*time.Second, period, "the shortest that the IE can say")
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
	next(t, c.at, 1)
	require.Eventually(t, func() bool {
		rows, _ := s.rows("peer", "list")
		return len(rows) == 1
	}, patience, 10*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(asked), period)
	before := s.reason("unknown_teid")
	c.send(2)
	require.Eventually(t, func() bool { return s.reason("unknown_teid") == before+1 }, patience, time.Millisecond)
	other.send(3)
	next(t, other.at, 3)
}

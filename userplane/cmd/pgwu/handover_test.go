package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/gtpu"
)

// gtpuMessage is the next GTP-U message of a type that comes to a socket; false when none does in that time.
func gtpuMessage(t *testing.T, conn *net.UDPConn, typ gtpu.MessageType, wait time.Duration) ([]byte, bool) {
	t.Helper()
	b := make([]byte, 2048)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(wait)))
	for {
		n, err := conn.Read(b)
		if err != nil {
			return nil, false
		}
		if gtpu.MessageType(b[1]) == typ {
			return b[:n], true
		}
	}
}

// nodeReport takes the next Node Report Request, answers it, and returns its type and the peer; false when none comes in that time.
func (c *subscriber) nodeReport(wait time.Duration) (kind uint8, peer netip.Addr, ok bool) {
	c.t.Helper()
	b := make([]byte, 2048)
	require.NoError(c.t, c.cp.SetReadDeadline(time.Now().Add(wait)))
	for {
		n, err := c.cp.Read(b)
		if err != nil {
			return 0, peer, false
		}
		if b[1] != message.MsgTypeNodeReportRequest {
			continue
		}
		m, err := message.ParseNodeReportRequest(b[:n])
		require.NoError(c.t, err)
		answer := message.NewNodeReportResponse(m.Sequence(), ie.NewNodeID("", "", c.node), ie.NewCause(ie.CauseRequestAccepted), nil)
		octets := make([]byte, answer.MarshalLen())
		require.NoError(c.t, answer.MarshalTo(octets))
		_, err = c.cp.WriteToUDPAddrPort(octets, netip.AddrPortFrom(pgwuAddr, 8805))
		require.NoError(c.t, err)
		kind, err = m.NodeReportType.NodeReportType()
		require.NoError(c.t, err)
		report := m.UserPlanePathFailureReport
		if report == nil {
			report = m.UserPlanePathRecoveryReport
		}
		remote, err := report.RemoteGTPUPeer()
		require.NoError(c.t, err)
		return kind, netip.AddrFrom4([4]byte(remote.IPv4Address.To4())), true
	}
}

// TestATunnelMovesAndItsEndFails hands a UE over to another SGW: the old one hears that no more comes, the new one gets what
// comes. Then the new one does not know the tunnel any more, and answers Echo Requests late: the control plane hears of each.
func TestATunnelMovesAndItsEndFails(t *testing.T) {
	const newTEID = 0x2001
	s := newSite(t)
	s.configure("data_path:", "gtpu: {echo_interval: 100ms, echo_t3: 50ms, echo_n3: 2}\ndata_path:")
	s.start()
	c := s.subscriber(21)
	s.in(s.sgw, func() { address(t, "access0p", "10.20.11.61/24") })
	at := netip.AddrPortFrom(netip.MustParseAddr("10.20.11.61"), 2152)
	conn, slice := s.listen(s.sgw, at), netip.AddrPortFrom(sliceAddr, 2152)
	c.change(ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(
		ie.NewOuterHeaderCreation(0x0100, newTEID, at.Addr().String(), "", 0, 0, 0), ie.NewPFCPSMReqFlags(2)))) // SNDEM
	marker, _ := gtpuMessage(t, c.gtpu, gtpu.TypeEndMarker, patience)
	require.Equal(t, gtpu.EndMarker(c.remoteTEID), marker)
	for deadline, n := time.Now().Add(patience), uint32(0); ; n++ { // its neighbour entry is unknown at first
		require.True(t, time.Now().Before(deadline))
		c.sendDown(n)
		if b, ok := gtpuMessage(t, conn, gtpu.TypeGPDU, 50*time.Millisecond); ok {
			require.EqualValues(t, newTEID, binary.BigEndian.Uint32(b[4:]))
			break
		}
	}

	indication, err := gtpu.ErrorIndication{TEID: newTEID, Peer: at.Addr()}.Encode()
	require.NoError(t, err)
	_, err = conn.WriteToUDPAddrPort(indication, slice)
	require.NoError(t, err)
	m := c.reported()
	c.confirm(m)
	require.True(t, m.ReportType.HasERIR())
	remote, err := m.ErrorIndicationReport.FTEID()
	require.NoError(t, err)
	require.EqualValues(t, newTEID, remote.TEID)
	require.Equal(t, at.Addr().String(), remote.IPv4Address.String())

	heard := func(want uint8, wait time.Duration) bool {
		kind, peer, ok := c.nodeReport(wait)
		return ok && kind == want && peer == at.Addr()
	}
	const failure, recovery = 1, 2
	require.Eventually(t, func() bool { return heard(failure, patience) }, patience, time.Microsecond)
	require.Eventually(t, func() bool { // an answer may come too late for its request
		echo, ok := gtpuMessage(t, conn, gtpu.TypeEchoRequest, patience)
		require.True(t, ok)
		response := []byte{0x32, byte(gtpu.TypeEchoResponse), 0, 6, 0, 0, 0, 0, echo[8], echo[9], 0, 0, 14, 0}
		_, err := conn.WriteToUDPAddrPort(response, slice)
		return err == nil && heard(recovery, 20*time.Millisecond)
	}, patience, time.Microsecond)
}

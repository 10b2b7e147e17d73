package main

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// TestDuplicatesReachTheirTunnel has a FAR forward and duplicate (TS 29.244 5.2.3). The duplicates come to a socket of the
// receiving kernel, which checks their outer headers and puts those together that had to be cut; the packets themselves
// go where they went before.
func TestDuplicatesReachTheirTunnel(t *testing.T) {
	const duplicateTEID = 0x77000001
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	at := s.listen(s.core, sink)
	r := s.ask(message.NewSessionModificationRequest(0, 0, seid, s.next(), 0, ie.NewUpdateFAR(
		ie.NewFARID(1), ie.NewApplyAction(0x12), // FORW and DUPL
		ie.NewUpdateDuplicatingParameters(ie.NewDestinationInterface(ie.DstInterfaceLIFunction),
			ie.NewOuterHeaderCreation(0x0100, duplicateTEID, sgwAddr.String(), "", 0, 0, 0), ie.NewTransportLevelMarking(0xb8ff)),
	))).(*message.SessionModificationResponse)
	s.accepted(r.Cause)

	ue := netip.AddrPortFrom(ueAddr, 4000)
	const packets = 40
	sent := map[string]int{}
	for n := range packets {
		payload := make([]byte, 1394+n*2) // some need fragments outside, on the way in and as duplicates
		binary.BigEndian.PutUint32(payload, uint32(n))
		packet := innerUDP(t, ue, sink, payload)
		sent[string(packet)]++
		_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, packet), netip.AddrPortFrom(sliceAddr, 2152))
		require.NoError(t, err)
		b := make([]byte, 2048)
		require.NoError(t, at.SetReadDeadline(time.Now().Add(patience)))
		octets, err := at.Read(b)
		require.NoError(t, err)
		require.Equal(t, payload, b[:octets])
	}
	b := make([]byte, 4096)
	require.NoError(t, s.gtpu.SetReadDeadline(time.Now().Add(patience)))
	for received := 0; received < packets; {
		n, from, err := s.gtpu.ReadFromUDPAddrPort(b)
		require.NoError(t, err, "%d of %d", received, packets)
		require.Equal(t, netip.AddrPortFrom(sliceAddr, 2152), from)
		g := gopacket.NewPacket(b[:n], layers.LayerTypeGTPv1U, gopacket.Default).Layer(layers.LayerTypeGTPv1U).(*layers.GTPv1U)
		if g.TEID != duplicateTEID {
			continue // an echo of the warm-up
		}
		require.EqualValues(t, 255, g.MessageType)
		sent[string(g.LayerPayload())]--
		received++
	}
	for packet, n := range sent {
		require.Zero(t, n, "%x", packet)
	}
	require.EqualValues(t, packets, s.counted("xepc_pgwu_copies_total", "outcome", "made"))
	require.Zero(t, s.counted("xepc_pgwu_copies_total", "outcome", "lost"))
	require.EqualValues(t, packets, s.outcome("copy_sent"))

	r = s.ask(message.NewSessionModificationRequest(0, 0, seid, s.next(), 0, ie.NewUpdateFAR(
		ie.NewFARID(1), ie.NewApplyAction(2)))).(*message.SessionModificationResponse)
	s.accepted(r.Cause)
	before := s.reason("uplink_forwarded")
	s.send(teid, 9)
	require.Eventually(t, func() bool { return s.reason("uplink_forwarded") == before+1 }, patience, time.Millisecond)
	require.EqualValues(t, packets, s.counted("xepc_pgwu_copies_total", "outcome", "made"))
}

package main

import (
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/wmnsk/go-pfcp/message"
)

// TestUplinkInFragments sends packets of the UE to a network whose link carries less than the tunnel: those that may be
// fragmented arrive whole, in fragments that the node makes as any router would, also when they came in fragments
// of their outer packets.
func TestUplinkInFragments(t *testing.T) {
	s := newSite(t)
	s.in(s.pgwu, func() { narrow(t, "core0") })
	s.in(s.core, func() { narrow(t, "core0p") })
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	at := s.listen(s.core, sink)
	ue := netip.AddrPortFrom(ueAddr, 4000)
	const portion, least, most = 50, 1272, 1472 // octets of payload: the least fits whole, the most has fragments outside
	r := rand.New(rand.NewPCG(7, 8))
	forwarded := s.reason("uplink_forwarded")
	octets, fragmented := uint64(forwarded)*packetOctets, uint64(0)
	for size := least; size <= most; size += 8 {
		sent, received := sha256.New(), sha256.New()
		b := make([]byte, size)
		for range portion {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			sent.Write(b)
			octets += uint64(28 + size)
			if 28+size > narrowMTU {
				fragmented++
			}
			_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, innerUDP(t, ue, sink, b)), netip.AddrPortFrom(sliceAddr, 2152))
			require.NoError(t, err)
		}
		drain(t, received, at, portion, size)
		require.Equal(t, sent.Sum(nil), received.Sum(nil), "%d octets", size)
	}
	require.EqualValues(t, fragmented, s.reason("fragmented"))
	require.Eventually(t, func() bool { return s.outcome("routed_in_fragments") == fragmented }, patience, time.Millisecond)
	require.Zero(t, s.outcome("send_failed"))
	d := s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse)
	s.accepted(d.Cause)
	volume, err := d.UsageReport[0].VolumeMeasurement()
	require.NoError(t, err)
	require.Equal(t, octets, volume.UplinkVolume)
}

const narrowMTU = 1400

func narrow(t *testing.T, port string) {
	t.Helper()
	l, err := netlink.LinkByName(port)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetMTU(l, narrowMTU))
}

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/message"
	"golang.org/x/sys/unix"
)

// sink is where large packets of the UE go.
var sink = netip.AddrPortFrom(serverAddr.Addr(), 7778)

// innerUDP is an IPv4 packet of the UE to a place in the network, or the other way.
func innerUDP(t *testing.T, from, to netip.AddrPort, payload []byte) []byte {
	t.Helper()
	ip := &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	require.NoError(t, udp.SetNetworkLayerForChecksum(ip))
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload)))
	return b.Bytes()
}

func gpdu(teid uint32, inner []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x30, 0xff}, uint16(len(inner)))
	return append(binary.BigEndian.AppendUint32(b, teid), inner...)
}

// counted is the value of a metric with one label.
func (s *site) counted(metric, label, value string) (n uint64) {
	s.t.Helper()
	page := ""
	for deadline := time.Now().Add(patience); page == "" && time.Now().Before(deadline); { // the machine may be busy
		page = s.get("/metrics")
	}
	line := regexp.MustCompile(`(?m)^` + metric + `\{` + label + `="` + value + `"\} (.*)$`).FindStringSubmatch(page)
	require.NotNil(s.t, line, "%s{%s=%q}", metric, label, value)
	f, err := strconv.ParseFloat(line[1], 64)
	require.NoError(s.t, err)
	return uint64(f)
}

func (s *site) reason(name string) uint64 {
	return s.counted("xepc_pgwu_packets_total", "reason", name)
}

func (s *site) outcome(name string) uint64 {
	return s.counted("xepc_pgwu_slowpath_total", "outcome", name)
}

// drain reads packets of that many octets into a hash, in their order, until so many have come.
func drain(t *testing.T, into hash.Hash, conn *net.UDPConn, packets, octets int) {
	t.Helper()
	b := make([]byte, 1<<16)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	for i := range packets {
		n, err := conn.Read(b)
		require.NoError(t, err, "packet %d of %d", i, packets)
		require.Equal(t, octets, n)
		into.Write(b[:n])
	}
}

// TestFragmentsOfOuterPackets sends packets that fit into the UE's MTU and not, with their outer header, into that
// between SGW and PGW-U: the SGW's kernel cuts them, ours puts them together, and the program takes them as any other.
func TestFragmentsOfOuterPackets(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	back := s.warmUp(teid)
	at := s.listen(s.core, sink)
	const packets, portion, payload = 500, 50, 1472 // a portion fits into the queue
	ue := netip.AddrPortFrom(ueAddr, 4000)
	sgw := netip.AddrPortFrom(sliceAddr, 2152)
	fragments, forwarded := s.reason("outer_fragment"), s.reason("uplink_forwarded")
	r := rand.New(rand.NewPCG(3, 4))
	sent, received := sha256.New(), sha256.New()
	b := make([]byte, payload)
	for range packets / portion {
		for range portion {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			sent.Write(b)
			_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, innerUDP(t, ue, sink, b)), sgw)
			require.NoError(t, err)
		}
		drain(t, received, at, portion, payload)
	}
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
	require.EqualValues(t, 2*packets, s.reason("outer_fragment")-fragments)
	require.EqualValues(t, packets, s.reason("uplink_forwarded")-forwarded)
	require.Eventually(t, func() bool { return s.outcome("reassembled") == packets }, patience, time.Millisecond)

	// The checks of the data path hold for them, too: a source that is not the UE's, and a TEID that nobody has.
	strange := netip.AddrPortFrom(netip.MustParseAddr("172.16.1.99"), 4000)
	_, err := s.gtpu.WriteToUDPAddrPort(gpdu(teid, innerUDP(t, strange, sink, b)), sgw)
	require.NoError(t, err)
	_, err = s.gtpu.WriteToUDPAddrPort(gpdu(teid+0x1000000, innerUDP(t, ue, sink, b)), sgw)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return s.reason("source_mismatch") == 1 && s.reason("unknown_teid") == 1 && s.outcome("error_indication_sent") == 1
	}, patience, 10*time.Millisecond)

	// What comes to the slice by a device that is no access port is dropped: here, from the node itself.
	s.in(s.pgwu, func() {
		local, err := net.Dial("udp4", sgw.String())
		require.NoError(t, err)
		_, err = local.Write(gpdu(teid, innerUDP(t, ue, sink, b)))
		require.NoError(t, err)
		require.NoError(t, local.Close())
	})
	require.Eventually(t, func() bool { return s.outcome("g_pdu") == 1 }, patience, 10*time.Millisecond)

	// Usage is exact to the octet.
	d := s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse)
	s.accepted(d.Cause)
	volume, err := d.UsageReport[0].VolumeMeasurement()
	require.NoError(t, err)
	require.Zero(t, volume.DownlinkVolume%packetOctets)
	require.EqualValues(t, back, volume.DownlinkVolume/packetOctets)
	require.EqualValues(t, packets*(28+payload), (volume.UplinkVolume - (forwarded * packetOctets)))
}

// TestDownlinkInFragmentsOfOuterPackets sends packets from the network that fit into the UE's MTU but not, with their
// outer header, into that towards the SGW. Those that may be fragmented arrive whole, in fragments of the outer packet.
func TestDownlinkInFragmentsOfOuterPackets(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	back := s.warmUp(teid)
	const packets, portion, payload = 500, 50, 1472
	var conn *net.UDPConn
	s.in(s.core, func() {
		var err error
		conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(sink), &net.UDPAddr{IP: ueAddr.AsSlice(), Port: 4000})
		require.NoError(t, err)
		raw, err := conn.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { // DF is clear
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		}))
		require.NoError(t, err)
	})
	defer func() { require.NoError(t, conn.Close()) }()
	r := rand.New(rand.NewPCG(5, 6))
	sent, received := sha256.New(), sha256.New()
	b, got := make([]byte, payload), make([]byte, 1<<16)
	require.NoError(t, s.gtpu.SetReadDeadline(time.Now().Add(patience)))
	for range packets / portion {
		for range portion {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			sent.Write(b)
			_, err := conn.Write(b)
			require.NoError(t, err)
		}
		for range portion {
			n, from, err := s.gtpu.ReadFromUDPAddrPort(got)
			require.NoError(t, err)
			require.Equal(t, netip.AddrPortFrom(sliceAddr, 2152), from)
			require.Equal(t, 8+28+payload, n)
			require.Equal(t, gpdu(remoteTEID, nil)[4:8], got[4:8])
			require.EqualValues(t, 63, got[8+8], "TTL")
			received.Write(got[8+28 : n])
		}
	}
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
	require.EqualValues(t, packets, s.reason("fragmented"))
	require.Eventually(t, func() bool { return s.outcome("sent_in_fragments") == packets }, patience, time.Millisecond)
	d := s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse)
	s.accepted(d.Cause)
	volume, err := d.UsageReport[0].VolumeMeasurement()
	require.NoError(t, err)
	require.EqualValues(t, packets*(28+payload)+back*packetOctets, volume.DownlinkVolume)
}

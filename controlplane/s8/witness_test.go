package s8

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/xepc/xepc/controlplane/sxb"
)

// Timing of require.Eventually: how long until a test is given up, and how often it looks.
const (
	waitLimit = 10 * time.Second
	waitStep  = 5 * time.Millisecond
)

// TestWitnesses has tshark and gopacket read everything that the edge says in the course of its procedures.
func TestWitnesses(t *testing.T) {
	s, _ := server(t, nil)
	g := newGateway(t, s, "127.81.0.4")
	teid := g.attach(imsi).PGWS5S8FTEIDC.MustTEID()
	g.modify(teid, ie.NewFullyQualifiedTEID(6, 0x91, g.address, ""),
		g.bearer(ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 0xa2, "10.10.0.3", "").WithInstance(1)),
		g.bearer(ie.NewEPSBearerID(7)))
	g.modify(teid, g.bearer(ie.NewEPSBearerID(7)))
	g.delete(teid)
	g.delete(teid)
	g.create(imsi, ie.New(ie.AccessPointName, 0, nil))
	g.create(imsi, ie.NewPDNType(3), ie.NewPDNAddressAllocationDual("0.0.0.0", "::", 0))
	s.NodeEvent(sxb.NodeRestarted{Node: "pgwu1"})
	require.Equal(t, byte(99), g.receive()[1])
	g.sendOctets([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0x14, 1, 0, 0}) // GTPv1
	g.receive()

	answers := 0
	for _, b := range g.exchanged {
		if b[0]>>5 != 2 {
			continue
		}
		p := gopacket.NewPacket(b, layers.LayerTypeGTPv2, gopacket.Default)
		require.Nil(t, p.ErrorLayer(), "% x", b)
		answers++
	}
	require.Greater(t, answers, 15)

	file := filepath.Join(t.TempDir(), "s8.pcap")
	require.NoError(t, os.WriteFile(file, capture(t, g.exchanged), 0o600))
	out, err := exec.Command("tshark", "-r", file, "-Y", "_ws.malformed || _ws.expert.severity == error", "-V").Output()
	require.NoError(t, err, "tshark is needed: apt-get install tshark")
	require.Empty(t, string(out))
	out, err = exec.Command("tshark", "-r", file, "-Y", "gtpv2.message_type == 33", "-T", "fields", "-e", "gtpv2.cause").Output()
	require.NoError(t, err)
	require.Equal(t, "16,16\n70\n18,16\n", string(out))
}

func capture(t *testing.T, datagrams [][]byte) []byte {
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	require.NoError(t, w.WriteFileHeader(1<<16, layers.LinkTypeEthernet))
	for _, b := range datagrams {
		ip := &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(10, 0, 0, 1), DstIP: net.IPv4(10, 0, 0, 2),
		}
		udp := &layers.UDP{SrcPort: 2123, DstPort: 2123}
		require.NoError(t, udp.SetNetworkLayerForChecksum(ip))
		frame := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(frame, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4},
			ip, udp, gopacket.Payload(b)))
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(frame.Bytes()), Length: len(frame.Bytes())}
		require.NoError(t, w.WritePacket(info, frame.Bytes()))
	}
	return file.Bytes()
}

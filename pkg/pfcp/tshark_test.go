package pfcp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// writePCAP writes each payload as a UDP datagram to the port of PFCP.
func writePCAP(t *testing.T, path string, payloads [][]byte) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(1<<16, layers.LinkTypeRaw))
	for _, payload := range payloads {
		network := &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip(testCP), DstIP: ip(testUP),
		}
		transport := &layers.UDP{SrcPort: 8805, DstPort: 8805}
		require.NoError(t, transport.SetNetworkLayerForChecksum(network))
		frame := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(frame,
			gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, network, transport, gopacket.Payload(payload)))
		b := frame.Bytes()
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{
			Timestamp: time.Unix(0, 0), CaptureLength: len(b), Length: len(b),
		}, b))
	}
	require.NoError(t, f.Close())
}

// tshark is a witness of what we send that shares no code with us: all of it is PFCP to it, none of it malformed,
// and it has no complaint of any kind.
func TestTsharkReadsWhatWeMarshal(t *testing.T) {
	var payloads [][]byte
	add := func(h Header, m Message) {
		b, err := Marshal(h, m)
		require.NoError(t, err)
		payloads = append(payloads, b)
	}
	for _, row := range witnesses() {
		if !row.lossy {
			add(row.header, row.ours)
		}
	}
	path := filepath.Join(t.TempDir(), "pfcp.pcap")
	writePCAP(t, path, payloads)

	run := func(filter string) string {
		var complaints bytes.Buffer
		cmd := exec.Command("tshark", "-r", path, "-Y", filter, "-T", "fields", "-E", "separator=,",
			"-e", "frame.number", "-e", "pfcp.msg_type", "-e", "_ws.expert.message")
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		require.NoError(t, err, "tshark must be installed: make test does it: %s", complaints.String())
		return strings.TrimSpace(string(out))
	}
	require.Len(t, strings.Split(run("pfcp"), "\n"), len(payloads))
	require.Empty(t, run("_ws.malformed or _ws.expert.severity >= Warning"))
}

package s6a

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/diameter"
)

const patienceStep = 5 * time.Millisecond

// recorder writes what passes over a connection into a capture, as TCP between port 50000 and Diameter's.
type recorder struct {
	net.Conn
	mu   *sync.Mutex
	w    *pcapgo.Writer
	next [2]uint32 // sequence numbers of both directions
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.record(1, b[:n])
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) {
	r.record(0, b)
	return r.Conn.Write(b)
}

func (r *recorder) record(direction int, b []byte) {
	if len(b) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := []net.IP{{10, 0, 0, 1}, {10, 0, 0, 2}}
	ports := []layers.TCPPort{50000, 3868}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ends[direction], DstIP: ends[1-direction]}
	tcp := &layers.TCP{
		SrcPort: ports[direction], DstPort: ports[1-direction], Seq: r.next[direction], Ack: r.next[1-direction],
		PSH: true, ACK: true, Window: 65535,
	}
	r.next[direction] += uint32(len(b))
	buf := gopacket.NewSerializeBuffer()
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ip, tcp, gopacket.Payload(b)); err != nil {
		panic(err)
	}
	info := gopacket.CaptureInfo{Timestamp: time.Unix(1, int64(r.next[0]+r.next[1])*1000), CaptureLength: len(buf.Bytes()), Length: len(buf.Bytes())}
	if err := r.w.WritePacket(info, buf.Bytes()); err != nil {
		panic(err)
	}
}

// tshark must find every answer of ours well-formed, and know what it is.
func TestTsharkFindsNothingMalformed(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	file := filepath.Join(t.TempDir(), "s6a.pcap")
	f, err := os.Create(file)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeRaw))
	nc, err := net.Dial("tcp", h.address)
	require.NoError(t, err)
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	m := newMME(t, &recorder{Conn: nc, mu: new(sync.Mutex), w: w, next: [2]uint32{1, 1}}, mme1)
	m.requireResult(m.exchange(m.air(5, 2, nil)), 2001)
	m.requireResult(m.exchange(m.ulr(34)), 2001)
	m.requireResult(m.exchange(m.pur()), 2001)
	m.requireExperimental(m.exchange(m.request(321, "999700000000099", nil)), 5001)
	m.requireExperimental(m.exchange(m.request(323, string(imsi), nil)), 5423)
	m.requireResult(m.exchange(m.request(322, string(imsi), nil)), diameter.CommandUnsupported)
	m.requireResult(m.exchange(m.request(318, string(imsi), nil)), diameter.MissingAVP)
	require.NoError(t, f.Close())

	tshark := func(args ...string) string {
		cmd := exec.Command("tshark", append([]string{"-r", file}, args...)...)
		cmd.Stderr = io.Discard // it says that it runs as root
		out, err := cmd.Output()
		require.NoError(t, err, "tshark must be installed: make test does it")
		return string(out)
	}
	require.Empty(t, tshark("-Y", "_ws.malformed || _ws.expert.severity == error"))
	commands := strings.Fields(tshark("-Y", "diameter.flags.request == 0", "-T", "fields", "-e", "diameter.cmd.code"))
	require.Equal(t, []string{"257", "318", "316", "321", "321", "323", "322", "318"}, commands)
	require.Contains(t, tshark("-Y", "diameter.Service-Selection == \"internet\"", "-T", "fields", "-e", "diameter.cmd.code"), "316")
}

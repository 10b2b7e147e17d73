package traffic_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func network(t *testing.T) *topology.Network {
	t.Helper()
	plan, err := topology.Demo(fmt.Sprintf("x%d%s-", os.Getpid(), strings.ToLower(t.Name()[4:8])), 0, 1)
	require.NoError(t, err)
	n, err := topology.Build(plan)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

func setPort(t *testing.T, ns *topology.Namespace, port string, up bool) {
	t.Helper()
	require.NoError(t, ns.WithNetlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(port)
		if err != nil {
			return err
		}
		if up {
			return h.LinkSetUp(link)
		}
		return h.LinkSetDown(link)
	}))
}

func TestPingCountsWhatIsLost(t *testing.T) {
	n := network(t)
	visited := n.Namespace(topology.Visited)
	p, err := traffic.StartPing(t.Context(), visited, topology.SGW, topology.PGWCAddress, 5*time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, p.Wait(t.Context(), 10))

	setPort(t, n.Namespace(topology.IPX), topology.PGWC, false)
	lostFrom := p.Received()
	<-time.After(100 * time.Millisecond) // packets are to be lost, however many
	setPort(t, n.Namespace(topology.IPX), topology.PGWC, true)
	require.NoError(t, p.Wait(t.Context(), 10))

	r, err := p.Stop()
	require.NoError(t, err)
	require.GreaterOrEqual(t, r.Received, lostFrom+10)
	require.NotEmpty(t, r.Lost)
	require.Equal(t, r.Sent, r.Received+len(r.Lost))
	require.GreaterOrEqual(t, r.Gap, 90*time.Millisecond)
}

func TestPingOfNobodyIsAllLost(t *testing.T) {
	n := network(t)
	r, err := traffic.Ping(t.Context(), n.Namespace(topology.Visited), topology.SGW, netip.MustParseAddr("10.20.2.77"), 3, time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, traffic.PingResult{Sent: 3, Lost: []int{0, 1, 2}}, r)
}

func TestTransfersAreComparedByHash(t *testing.T) {
	n := network(t)
	core, web := n.Namespace(topology.Core), netip.AddrPortFrom(topology.Web, 80)
	server, err := traffic.StartWebServer(t.Context(), core, web)
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close()) }()
	client := traffic.NewClient(core)
	down, err := client.Download(t.Context(), web, 7, 1_000_003)
	require.NoError(t, err)
	up, err := client.Upload(t.Context(), web, 7, 1_000_003)
	require.NoError(t, err)
	require.EqualValues(t, 1_000_003, down.Octets)
	require.Equal(t, down.SHA256, up.SHA256, "the same seed, the same octets")
}

// A server that changes one octet, or sends too few, must be found out.
func TestTransfersThatWentWrongAreErrors(t *testing.T) {
	n := network(t)
	core := n.Namespace(topology.Core)
	const size = 100_000
	octets, err := io.ReadAll(traffic.Content(1, size))
	require.NoError(t, err)
	octets[size/2]++
	listener, err := core.Listen(t.Context(), "tcp", "10.60.0.10:81")
	require.NoError(t, err)
	body := octets
	server := http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, strings.Repeat("0", 64))
			return
		}
		_, _ = w.Write(body)
	})}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	defer func() {
		require.NoError(t, server.Close())
		<-done
	}()
	client, address := traffic.NewClient(core), netip.MustParseAddrPort("10.60.0.10:81")
	_, err = client.Download(t.Context(), address, 1, size)
	require.ErrorContains(t, err, "SHA-256")
	_, err = client.Upload(t.Context(), address, 1, size)
	require.ErrorContains(t, err, "SHA-256")
	body = octets[:10]
	_, err = client.Download(t.Context(), address, 1, size)
	require.ErrorContains(t, err, "10 octets came")
}

func TestCaptureHasEveryHopOfAPacket(t *testing.T) {
	n := network(t)
	path := filepath.Join(t.TempDir(), "c.pcapng")
	visited, ipx, pgwc := n.Namespace(topology.Visited), n.Namespace(topology.IPX), n.Namespace(topology.PGWC)
	c, err := traffic.StartCapture(path, visited, ipx, pgwc)
	require.NoError(t, err)
	r, err := traffic.Ping(t.Context(), visited, topology.SGW, topology.PGWCAddress, 1, time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 1, r.Received)
	frames, lost, err := c.Stop()
	require.NoError(t, err)
	require.Zero(t, lost)
	require.NotZero(t, frames)

	cmd := exec.Command("tshark", "-n", "-r", path, "-Y", "icmp.type == 8", "-T", "fields", "-e", "frame.interface_name")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &stderr)
	require.ElementsMatch(t, []string{
		visited.Name() + " ipx0", ipx.Name() + " visited", ipx.Name() + " pgwc", pgwc.Name() + " ipx0",
	}, strings.Split(strings.TrimSpace(string(out)), "\n"))
}

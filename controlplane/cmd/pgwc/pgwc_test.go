package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/pkg/testkit"
)

var discard = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Loopback addresses of this test only, so that it runs beside others.
const (
	s8Address   = "127.82.0.1:2123"
	pfcpAddress = "127.82.0.1:8805"
	pgwuAddress = "127.82.0.2:8805"
	webAddress  = "127.82.0.1:9090"

	waitLimit = 10 * time.Second
	waitStep  = 10 * time.Millisecond
)

func configFile(t *testing.T) (file, socket string) {
	t.Helper()
	dir := t.TempDir()
	file, socket = filepath.Join(dir, "pgwc.yaml"), filepath.Join(dir, "pgwc.sock")
	text := `
s8: {address: ` + s8Address + `, peers: [127.0.0.0/8]}
pfcp: {address: ` + pfcpAddress + `, node_id: 127.82.0.1, start_wait: 10s}
state_dir: ` + filepath.Join(dir, "state") + `
admin_socket: ` + socket + `
metrics: {address: ` + webAddress + `}
nodes: [{name: pgwu1, address: ` + pgwuAddress + `}]
pools: [{name: internet, chunks: [{prefix: 172.16.1.0/24, node: pgwu1}, {prefix: 172.17.1.0/24, node: pgwu1, static: true}]}]
apns: [{name: internet, network_instance: internet, pool: internet, dns: [10.60.0.53], mtu: 1400}]
`
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file, socket
}

// command runs the real command and returns what it printed and the code it would end with.
func command(args ...string) (stdout string, code int, err error) {
	var out bytes.Buffer
	app := node.Prepare(newApp())
	app.Writer, app.ErrWriter = &out, io.Discard
	err = app.Run(append([]string{"pgwc"}, args...))
	return out.String(), node.ExitCode(err), err
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, code, err := command(args...)
	require.NoError(t, err)
	require.Zero(t, code)
	return out
}

// start runs `pgwc serve` until stop is called.
func start(t *testing.T, file, socket string) (log *testkit.Log, stop func()) {
	t.Helper()
	log = &testkit.Log{}
	app := node.Prepare(newApp())
	app.Writer, app.ErrWriter = log, log
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.RunContext(ctx, []string{"pgwc", "serve", "-c", file}) }()
	require.Eventually(t, func() bool {
		return node.NewClient(socket).Do(t.Context(), http.MethodGet, "/nodes", nil, nil) == nil
	}, waitLimit, waitStep, "%v", log)
	return log, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

// pgwu plays a PGW-U that takes everything; it returns what it was asked to establish and how often it was released.
func pgwu(t *testing.T) (established, released chan pfcp.Message) {
	t.Helper()
	cfg := pfcp.DefaultEndpointConfig()
	cfg.Listen = netip.MustParseAddrPort(pgwuAddress)
	cfg.NodeID, cfg.RecoveryTimeStamp = pfcp.NodeID{Addr: cfg.Listen.Addr()}, 1
	endpoint, err := pfcp.Listen(cfg)
	require.NoError(t, err)
	established, released = make(chan pfcp.Message, 10), make(chan pfcp.Message, 10)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- endpoint.Run(ctx, func(r *pfcp.Request) {
			var err error
			switch m := r.Message.(type) {
			case *pfcp.HeartbeatRequest:
				err = r.Respond(0, &pfcp.HeartbeatResponse{RecoveryTimeStamp: pfcp.Some(cfg.RecoveryTimeStamp)})
			case *pfcp.AssociationSetupRequest:
				err = r.Respond(0, &pfcp.AssociationSetupResponse{
					NodeID: cfg.NodeID, Cause: pfcp.CauseAccepted, RecoveryTimeStamp: 1,
					UPFunctionFeatures: pfcp.Some(pfcp.FeatureFTUP | pfcp.FeatureEMPU),
				})
			case *pfcp.AssociationReleaseRequest:
				released <- m
				err = r.Respond(0, &pfcp.AssociationReleaseResponse{NodeID: cfg.NodeID, Cause: pfcp.CauseAccepted})
			case *pfcp.SessionEstablishmentRequest:
				established <- m
				err = r.Respond(m.FSEID.SEID, &pfcp.SessionEstablishmentResponse{
					NodeID: cfg.NodeID, Cause: pfcp.CauseAccepted,
					FSEID: pfcp.Some(pfcp.FSEID{SEID: 0x31, IPv4: cfg.Listen.Addr()}),
					CreatedPDRs: []pfcp.CreatedPDR{{
						ID: 1, FTEID: pfcp.Some(pfcp.FTEID{TEID: 0x41, IPv4: netip.MustParseAddr("10.30.1.1")}),
					}},
				})
			case *pfcp.SessionDeletionRequest:
				err = r.Respond(1, &pfcp.SessionDeletionResponse{Cause: pfcp.CauseAccepted})
			}
			if err != nil {
				t.Errorf("PGW-U: %v", err)
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return established, released
}

// exchange sends a message of go-gtp's and returns the answer's octets.
func exchange(t *testing.T, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	require.NoError(t, err)
	conn, err := net.Dial("udp", s8Address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(b)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(waitLimit)))
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	require.NoError(t, err)
	return answer[:n]
}

func attach(t *testing.T, sequence uint32) *message.CreateSessionResponse {
	t.Helper()
	m, err := message.ParseCreateSessionResponse(exchange(t, message.NewCreateSessionRequest(0, sequence,
		ie.NewIMSI("999700000000001"), ie.NewServingNetwork("001", "01"), ie.NewRATType(6),
		ie.NewFullyQualifiedTEID(6, 0x91, "10.10.0.2", ""), ie.NewAccessPointName("internet"), ie.NewSelectionMode(0),
		ie.NewPDNType(1), ie.NewPDNAddressAllocation("0.0.0.0"), ie.NewAggregateMaximumBitRate(50000, 100000),
		ie.NewBearerContext(ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 0x92, "10.10.0.2", "").WithInstance(2),
			ie.NewBearerQoS(1, 2, 1, 9, 0, 0, 0, 0)),
	)))
	require.NoError(t, err)
	require.Equal(t, uint8(16), m.Cause.MustCause())
	return m
}

func TestServeAndItsCommands(t *testing.T) {
	file, socket := configFile(t)
	established, released := pgwu(t)
	log, stop := start(t, file, socket)
	require.Contains(t, log.String(), "first generation of session state")

	m := attach(t, 1)
	require.Equal(t, uint8(1), m.Recovery.MustRecovery())
	request := (<-established).(*pfcp.SessionEstablishmentRequest)
	require.Equal(t, netip.MustParseAddr("127.82.0.1"), request.FSEID.IPv4)
	require.Equal(t, "127.82.0.1", request.NodeID.String())

	var list []s8.Session
	require.NoError(t, json.Unmarshal([]byte(run(t, "session", "list", "--socket", socket, "-o", "json")), &list))
	require.Len(t, list, 1)
	require.Equal(t, "172.16.1.1", list[0].UEAddress)
	for _, filter := range [][]string{{"--imsi", "999700000000001"}, {"--apn", "INTERNET"}, {"--ue", "172.16.1.1"}} {
		require.Contains(t, run(t, append([]string{"session", "list", "--socket", socket}, filter...)...), "172.16.1.1")
	}
	for _, filter := range [][]string{{"--imsi", "999700000000002"}, {"--apn", "other"}, {"--ue", "172.16.1.2"}} {
		require.Equal(t, "none\n", run(t, append([]string{"session", "list", "--socket", socket}, filter...)...))
	}
	require.Contains(t, run(t, "session", "show", "--socket", socket, "999700000000001"), "10.30.1.1 0x00000041")
	require.Contains(t, run(t, "node", "list", "--socket", socket), "associated")
	require.Contains(t, run(t, "pool", "list", "--socket", socket), "172.17.1.0/24")

	page, err := http.Get("http://" + webAddress + "/metrics")
	require.NoError(t, err)
	text, err := io.ReadAll(page.Body)
	require.NoError(t, errorsOf(err, page.Body.Close()))
	for _, line := range []string{
		`xepc_pgwc_sessions{apn="internet",node="pgwu1"} 1`,
		`xepc_pgwc_answers_total{cause="request accepted",procedure="create_session_request"} 1`,
		`xepc_pgwc_node_up{node="pgwu1"} 1`,
		`xepc_pgwc_pool_addresses{node="pgwu1",pool="internet",prefix="172.16.1.0/24",state="used"} 1`,
		`xepc_pgwc_restart_counter 1`,
	} {
		require.Contains(t, string(text), line)
	}
	http.DefaultClient.CloseIdleConnections()
	for _, subscriber := range []string{"999700000000001", "172.16.1.1\""} {
		require.NotContains(t, string(text), subscriber)
		require.NotContains(t, log.String(), subscriber)
	}

	_, code, err := command("serve", "-c", file)
	require.ErrorContains(t, err, "address already in use")
	require.Equal(t, node.ExitRefused, code)

	stop()
	require.NotEmpty(t, released, "a stop releases the association, so that the PGW-U drops the sessions")

	log, stop = start(t, file, socket)
	require.Contains(t, log.String(), "the sessions of the process before are lost")
	echo, err := message.ParseEchoResponse(exchange(t, message.NewEchoRequest(2, ie.NewRecovery(1))))
	require.NoError(t, err)
	require.Equal(t, uint8(2), echo.Recovery.MustRecovery(), "a start that failed has lost no session")
	require.Equal(t, "none\n", run(t, "session", "list", "--socket", socket))
	attach(t, 3)
	<-established
	stop()
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestCommandsWhenTheNodeIsAway(t *testing.T) {
	_, code, err := command("session", "list", "--socket", filepath.Join(t.TempDir(), "none.sock"))
	require.Error(t, err)
	require.Equal(t, node.ExitUnreachable, code)
	_, code, _ = command("session", "show", "--socket", "x")
	require.Equal(t, node.ExitUsage, code)
	_, code, _ = command("session", "list", "-o", "xml")
	require.Equal(t, node.ExitUsage, code)
	_, code, _ = command("sesion")
	require.Equal(t, node.ExitUsage, code)
}

func TestConfigFaultsAreAllListed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pgwc.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
s8: {address: "0.0.0.0:2123", echo_interval: 5s, peers: [x], n3: -1}
pfcp: {address: "host:1", t1: 0s, node_id: "\x01"}
state_dir: ""
nodes: [{name: a, address: 192.0.2.1:8805}, {name: a, address: "0.0.0.0:8805"}, {name: c, address: "192.0.2.1:8806"}]
pools:
- {name: p, chunks: [{prefix: 10.0.0.1/24, node: b}]}
- {name: q, chunks: [{prefix: 10.1.0.0/24, node: a}]}
- {name: r, chunks: [{prefix: 10.1.0.0/16, node: a}]}
apns:
- {name: "a_b", network_instance: x, pool: none, dns: ["2001:db8::1"], mtu: 100, imsi_prefixes: [abc], plmns: ["1"]}
- {name: c, network_instance: x, pool: q}
- {name: d, network_instance: X, pool: r}
- {name: D, network_instance: y, pool: q, imsi_prefixes: ["99970"]}
`), 0o600))
	_, code, err := command("config", "check", "-c", file)
	require.Equal(t, node.ExitUsage, code)
	for _, fault := range []string{
		"s8.n3:", "s8.peers[0]:", "pfcp.t1:", "s8.address:", "s8.echo_interval:", "pfcp.address:", "state_dir:", "nodes[1].name:", "nodes[1].address:",
		"nodes[2].address: a second node", "pfcp.node_id:",
		"pools[0].chunks[0].node:", "did you mean 10.0.0.0/24", "apns[0].name:", "apns[0].pool:", "apns[0].dns:",
		"apns[0].mtu:", "apns[0].imsi_prefixes:", "apns[0].plmns:", "apns[2].pool: 10.1.0.0/16", "apns[3]: never reached: apns[2]",
	} {
		require.ErrorContains(t, err, fault)
	}
}

// TestEveryConfigKeyIsExplained and the next hold docs/pgwc.md to the code.
func TestEveryConfigKeyIsExplained(t *testing.T) {
	file, _ := configFile(t)
	doc, err := os.ReadFile("../../../docs/pgwc.md")
	require.NoError(t, err)
	for line := range strings.Lines(run(t, "config", "show", "-c", file)) {
		key, _, _ := strings.Cut(line, ": ")
		for _, index := range []string{"[0]", "[1]"} {
			key = strings.ReplaceAll(key, index, "[]")
		}
		require.Contains(t, string(doc), "`"+strings.TrimSuffix(key, "[]")+"`")
	}
	for _, key := range []string{"static", "ambr_uplink", "ambr_downlink", "imsi_prefixes", "plmns"} {
		require.Contains(t, string(doc), key)
	}
}

func TestEveryMetricIsExplained(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/pgwc.md")
	require.NoError(t, err)
	for _, m := range metrics {
		require.Contains(t, string(doc), "`xepc_pgwc_"+m.name+"`")
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	file, _ := configFile(t)
	cfg := defaultConfig()
	require.NoError(t, config.Load(file, cfg))
	cfg.S8.Address, cfg.PFCP.Address = "127.82.0.9", "127.82.0.9:0"
	p, err := newPGWC(cfg)
	require.NoError(t, err)
	require.NoError(t, p.open(discard))
	require.NoError(t, p.begin(discard))
	problems, err := testutil.CollectAndLint(newCollector(p))
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, errorsOf(p.s8.Close(), p.up.Close()))
}

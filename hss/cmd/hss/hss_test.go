package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/testkit"
)

const (
	patience = 20 * time.Second
	kHex     = "465b5ce8b199b49faa5f0a2ee238a6bc"
	opHex    = "cdc202d5123e20f62b6d676ac72cb318"
	opcHex   = "cd63cb71954a9f4e48a5994e37a02baf"
	// beMain has the test binary be the program, so that a test can kill it.
	beMain = "XEPC_HSS_TEST_MAIN"
)

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// run runs the command line in this process.
func run(t *testing.T, stdin string, args ...string) (out string, code int) {
	t.Helper()
	var b bytes.Buffer
	app := node.Prepare(newApp())
	app.Reader, app.Writer, app.ErrWriter = strings.NewReader(stdin), &b, &b
	err := app.RunContext(t.Context(), node.Arrange(app, append([]string{nodeName}, args...)))
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return b.String(), node.ExitCode(err)
}

func requireRun(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, code := run(t, stdin, args...)
	require.Equal(t, node.ExitDone, code, out)
	return out
}

// daemon is an "hss serve" in a process of its own.
type daemon struct {
	t                     *testing.T
	file, socket, address string
	log                   testkit.Log
	cmd                   *exec.Cmd
}

// newDaemon writes the configuration of a daemon; redis "" embeds one.
func newDaemon(t *testing.T, redis string) *daemon {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &daemon{t: t, file: filepath.Join(dir, "hss.yaml"), socket: filepath.Join(dir, "hss.sock"), address: l.Addr().String()}
	require.NoError(t, l.Close())
	text := fmt.Sprintf(`
admin_socket: %s
s6a: {pulse_file: %s}
diameter:
  identity: hss1.example.net
  realm: example.net
  listen: ["%s"]
  peers: [{host: mme1.visited.example, realm: visited.example}]
`, d.socket, filepath.Join(dir, "pulse"), d.address)
	if redis != "" {
		kek := filepath.Join(dir, "kek")
		require.NoError(t, os.WriteFile(kek, []byte(store.GenerateKEK("k1")), 0o600))
		text += fmt.Sprintf("redis: {addresses: [\"%s\"]}\nkek: {file: %s}\n", redis, kek)
	}
	require.NoError(t, os.WriteFile(d.file, []byte(text), 0o600))
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	d.cmd = exec.Command(os.Args[0], "serve", "-c", d.file)
	d.cmd.Env = append(os.Environ(), beMain+"=1")
	d.cmd.Stderr = &d.log
	require.NoError(d.t, d.cmd.Start())
	d.t.Cleanup(d.kill)
	client := node.NewClient(d.socket)
	require.Eventually(d.t, func() bool {
		return client.Do(context.Background(), "GET", "/v1/peers", nil, nil) == nil
	}, patience, 10*time.Millisecond, "%s", &d.log)
}

// kill is kill -9.
func (d *daemon) kill() {
	if d.cmd.Process != nil && d.cmd.ProcessState == nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	}
}

// attach asks for a vector, and returns its SQN as the keys show it.
func (d *daemon) attach(imsi string) uint64 {
	d.t.Helper()
	aia := d.air(imsi)
	_, err := aia.FindAVP(avp.ResultCode, 0)
	require.NoError(d.t, err)
	part := func(code uint32) (b [16]byte) {
		a, err := aia.FindAVP(code, 10415)
		require.NoError(d.t, err)
		return [16]byte(a.Data.Serialize())
	}
	return sqnOf(d.t, part(avp.RAND), part(avp.AUTN))
}

// requireAIR asks for a vector, and is refused with that Experimental-Result.
func (d *daemon) requireAIR(imsi string, cause uint32) {
	d.t.Helper()
	a, err := d.air(imsi).FindAVP(avp.ExperimentalResultCode, 0)
	require.NoError(d.t, err)
	require.Equal(d.t, datatype.Unsigned32(cause), a.Data)
}

// air connects as an MME, asks for a vector, and returns the answer.
func (d *daemon) air(imsi string) *diam.Message {
	d.t.Helper()
	nc := d.connect()
	defer nc.Close()
	return d.exchange(nc, d.request(318, imsi, map[uint32]datatype.Type{
		avp.VisitedPLMNID: datatype.OctetString("\x00\xf1\x10"), avp.RequestedEUTRANAuthenticationInfo: &diam.GroupedAVP{},
	}))
}

// connect connects as an MME until the test ends.
func (d *daemon) connect() net.Conn {
	d.t.Helper()
	nc, err := net.Dial("tcp", d.address)
	require.NoError(d.t, err)
	d.t.Cleanup(func() { _ = nc.Close() })
	require.NoError(d.t, nc.SetDeadline(time.Now().Add(patience)))
	cer := diam.NewRequest(diam.CapabilitiesExchange, 0, dict.Default)
	d.origin(cer)
	cer.AddAVP(diam.NewAVP(avp.HostIPAddress, avp.Mbit, 0, datatype.Address(net.IPv4(127, 0, 0, 1))))
	cer.AddAVP(diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(10415)))
	cer.AddAVP(diam.NewAVP(avp.ProductName, 0, 0, datatype.UTF8String("test")))
	rc, err := d.exchange(nc, cer).FindAVP(avp.ResultCode, 0)
	require.NoError(d.t, err)
	require.Equal(d.t, datatype.Unsigned32(2001), rc.Data)
	return nc
}

// request makes a request of S6a about a SIM; avps are 3GPP's.
func (d *daemon) request(command uint32, imsi string, avps map[uint32]datatype.Type) *diam.Message {
	d.t.Helper()
	m := diam.NewMessage(command, diam.RequestFlag|diam.ProxiableFlag, 16777251, 1, 1, dict.Default)
	m.AddAVP(diam.NewAVP(avp.SessionID, avp.Mbit, 0, datatype.UTF8String("mme1;1;1")))
	d.origin(m)
	for code, v := range map[uint32]datatype.Type{
		avp.AuthSessionState: datatype.Enumerated(1), avp.DestinationRealm: datatype.DiameterIdentity("example.net"), avp.UserName: datatype.UTF8String(imsi),
	} {
		m.AddAVP(diam.NewAVP(code, avp.Mbit, 0, v))
	}
	for code, v := range avps {
		m.AddAVP(diam.NewAVP(code, avp.Mbit|avp.Vbit, 10415, v))
	}
	return m
}

func (d *daemon) origin(m *diam.Message) {
	d.t.Helper()
	app := &diam.GroupedAVP{AVP: []*diam.AVP{
		diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(10415)),
		diam.NewAVP(avp.AuthApplicationID, avp.Mbit, 0, datatype.Unsigned32(16777251)),
	}}
	for code, v := range map[uint32]datatype.Type{
		avp.OriginHost: datatype.DiameterIdentity("mme1.visited.example"), avp.OriginRealm: datatype.DiameterIdentity("visited.example"),
		avp.VendorSpecificApplicationID: app,
	} {
		_, err := m.NewAVP(code, avp.Mbit, 0, v)
		require.NoError(d.t, err)
	}
}

func (d *daemon) exchange(nc net.Conn, m *diam.Message) *diam.Message {
	d.t.Helper()
	_, err := m.WriteTo(nc)
	require.NoError(d.t, err)
	for {
		ans, err := diam.ReadMessage(nc, dict.Default)
		require.NoError(d.t, err)
		if ans.Header.CommandCode != diam.DeviceWatchdog {
			return ans
		}
		_, err = ans.Answer(2001).WriteTo(nc) // one comes at once when a peer is back that was lost
		require.NoError(d.t, err)
	}
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// sqnOf takes AK off AUTN: the vector of SQN 0 shows it.
func sqnOf(t *testing.T, rand, autn [16]byte) uint64 {
	t.Helper()
	k, err := aka.ParseKey(kHex)
	require.NoError(t, err)
	opc, err := aka.ParseKey(opcHex)
	require.NoError(t, err)
	v, err := aka.Credentials{K: k, OPc: opc}.Vector(rand, 0, 0)
	require.NoError(t, err)
	var sqn uint64
	for i := range 6 {
		sqn = sqn<<8 | uint64(autn[i]^v.AUTN[i])
	}
	return sqn
}

const simYAML = `
imsi: 001010000000001 # no quotes: a YAML reader would make it octal
k: ` + kHex + `
op: ` + opHex + `
msisdn: 882120000001
apns:
  - {name: internet, static_ipv4: 10.1.2.3}
  - {name: meters.example, pdn_type: ipv4v6, ambr: {uplink: 1000, downlink: 2000}}
plmns: [001-01]
`

func TestSIMCommands(t *testing.T) {
	d := newDaemon(t, redistest.Start(t).Address)
	d.start()
	socket := "--socket=" + d.socket
	requireRun(t, simYAML, "sim", "add", socket, "--file", "-")
	out, code := run(t, simYAML, "sim", "add", socket, "--file", "-")
	require.Equal(t, node.ExitRefused, code)
	require.Equal(t, "a SIM with IMSI 001010000000001 exists: remove it first\n", out)

	keys := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(keys, []byte("k: "+kHex+"\nopc: "+opcHex+"\n"), 0o600))
	requireRun(t, "", "sim", "add", socket, "--imsi", "999700000000002", "--keys-file", keys, "--apn", "Internet.mnc070.mcc999.gprs",
		"--static", "internet=10.1.2.4", "--plmn", "262-02", "--ambr-downlink", "7000000000")
	t.Setenv("HSS_SIM_K", kHex)
	t.Setenv("HSS_SIM_OPC", opcHex)
	requireRun(t, "", "sim", "add", socket, "--imsi", "999700000000003")

	out = requireRun(t, "", "sim", "list", socket)
	require.Equal(t, `IMSI             MSISDN        STATUS  APNS                     MME  SGSN
001010000000001  882120000001  active  internet meters.example
999700000000002                active  internet
999700000000003                active
`, out)
	require.Equal(t, "none\n", requireRun(t, "", "sim", "list", socket, "--imsi", "4"))
	require.Contains(t, requireRun(t, "", "sim", "list", socket, "--limit", "1", "-o", "yaml"), `imsi: "001010000000001"`)
	require.Contains(t, requireRun(t, "", "sim", "list", socket, "--limit", "1"), "there may be more: --after 001010000000001")

	out = requireRun(t, "", "sim", "show", socket, "-o", "json", "999700000000002")
	var shown map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Equal(t, []any{"262-02"}, shown["profile"].(map[string]any)["plmns"])
	out = requireRun(t, "", "sim", "show", socket, "001010000000001")
	require.Contains(t, out, "internet=10.1.2.3")
	require.EqualValues(t, 0, d.attach("001010000000001")&31, "the first node's IND")

	requireRun(t, "", "sim", "remove", socket, "999700000000003")
	for _, command := range []string{"show", "remove"} {
		out, code = run(t, "", "sim", command, socket, "999700000000003")
		require.Equal(t, node.ExitRefused, code)
		require.Equal(t, "no SIM has IMSI 999700000000003\n", out)
	}
	require.Equal(t, "none\n", requireRun(t, "", "peer", "list", socket))

	for _, secret := range []string{kHex, opHex, opcHex} {
		require.NotContains(t, d.log.String(), secret)
	}
	requireRun(t, "", "config", "check", "-c", d.file)
	require.Contains(t, requireRun(t, "", "config", "show", "-c", d.file), "diameter.watchdog: 30s")
}

func TestWhatIsRefused(t *testing.T) {
	d := newDaemon(t, "")
	d.start()
	require.Contains(t, d.log.String(), "for trying out only")
	socket := "--socket=" + d.socket
	good := []string{"sim", "add", socket, "--imsi", "999700000000001", "--k", kHex, "--opc", opcHex}
	rows := []struct {
		name, stdin string
		args        []string
		code        int
		says        string
	}{
		{"no IMSI", "", []string{"sim", "show", socket}, node.ExitUsage, "want IMSI, iccid:ICCID"},
		{"a bad IMSI", "", []string{"sim", "show", socket, "alice"}, node.ExitRefused, `IMSI "alice"`},
		{"no keys", "", []string{"sim", "add", socket, "--imsi", "999700000000001"}, node.ExitRefused, "k: 0 characters"},
		{"both OP and OPc", "", append(good, "--op", opHex), node.ExitRefused, "want one of opc and op"},
		{"a key of other characters", "", []string{"sim", "add", socket, "--imsi", "999700000000001", "--k", kHex, "--opc", opcHex[:31] + "x"}, node.ExitRefused, "opc: not hexadecimal"},
		{"a bad APN", "", append(good, "--apn", "-x"), node.ExitUsage, "--apn"},
		{"a static address without its APN", "", append(good, "--static", "internet=10.0.0.1"), node.ExitUsage, `not among the SIM's APNs`},
		{"a bad network", "", append(good, "--plmn", "1-2"), node.ExitRefused, "plmns[0]"},
		{"an unknown key in the file", "imsi: 1\nki: " + kHex, []string{"sim", "add", socket, "-f", "-"}, node.ExitUsage, "ki"},
		{"a filter of letters", "", []string{"sim", "list", socket, "--imsi", "*"}, node.ExitRefused, "digits only"},
		{"no node", "", []string{"sim", "list", "--socket=" + d.socket + "x"}, node.ExitUnreachable, "is it running"},
		{"a wrong flag", "", []string{"sim", "list", "--all"}, node.ExitUsage, "see hss sim list --help"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			out, code := run(t, row.stdin, row.args...)
			require.Equal(t, row.code, code, out)
			require.Contains(t, out, row.says)
			for _, secret := range []string{kHex, opHex, opcHex} {
				require.NotContains(t, out, secret)
			}
		})
	}
}

func TestKilledHSSGoesOnWhereItWas(t *testing.T) {
	d := newDaemon(t, redistest.Start(t).Address)
	d.start()
	requireRun(t, simYAML, "sim", "add", "--socket="+d.socket, "--file", "-")
	before := d.attach("001010000000001")
	d.kill()
	d.start()
	require.Greater(t, d.attach("001010000000001")>>5, before>>5)
}

func TestGracefulStop(t *testing.T) {
	d := newDaemon(t, "")
	d.start()
	require.NoError(t, d.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, d.cmd.Wait(), "%s", &d.log)
	require.Contains(t, d.log.String(), "msg=stopped")
	require.NoFileExists(t, d.socket)
}

func TestARealRedisNeedsAKEK(t *testing.T) {
	d := newDaemon(t, "")
	b, err := os.ReadFile(d.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(d.file, append(b, "redis: {addresses: [\"127.0.0.1:1\"]}\n"...), 0o600))
	out, code := run(t, "", "serve", "-c", d.file)
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, "hss kek generate")
	line := requireRun(t, "", "kek", "generate", "--id", "k1")
	id, key, _ := strings.Cut(strings.TrimSpace(line), " ")
	require.Equal(t, "k1", id)
	raw, err := hex.DecodeString(key)
	require.NoError(t, err)
	require.Len(t, raw, 32)
}

func TestConfigFaultsNameTheirKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hss.yaml")
	require.NoError(t, os.WriteFile(file, []byte("diameter: {watchdog: 1s, transports: [udp]}\nredis: {addresses: [here]}\ns6a: {max_vectors: 0}\n"), 0o600))
	out, code := run(t, "", "config", "check", "-c", file)
	require.Equal(t, node.ExitUsage, code)
	for _, key := range []string{"diameter.identity:", "diameter.realm:", "diameter.watchdog:", "diameter.transports[0]:", "redis.addresses[0]:", "s6a.max_vectors:"} {
		require.Contains(t, "\n"+out, "\n"+key)
	}
}

func TestThePageNamesEveryKeyAndMetric(t *testing.T) {
	page, err := os.ReadFile("../../../docs/hss.md")
	require.NoError(t, err)
	d := newDaemon(t, redistest.Start(t).Address)
	b, err := os.ReadFile(d.file)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NoError(t, os.WriteFile(d.file, fmt.Appendf(b, "metrics: {address: \"%s\"}\n", l.Addr()), 0o600))
	for line := range strings.Lines(requireRun(t, "", "config", "show", "-c", d.file)) {
		key, _, _ := strings.Cut(line, ":")
		key = strings.TrimSuffix(regexp.MustCompile(`\[\d+\]`).ReplaceAllString(key, "[]"), "[]")
		require.True(t, strings.Contains(string(page), "`"+key+"`"), key)
	}
	d.start()
	d.t = t
	requireRun(t, simYAML, "sim", "add", "--socket="+d.socket, "--file", "-")
	d.attach("001010000000001")
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)^# TYPE (xepc_\S+)`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, names) // those with a value: some have none yet
	for _, m := range names {
		require.True(t, strings.Contains(string(page), "`"+m[1]+"`"), m[1])
	}
	require.Contains(t, string(text), `xepc_hss_diameter_requests_total{command="AIR",direction="received",peer="mme1.visited.example",result="2001"} 1`)
}

func TestHelpIsStable(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"sim", "--help"}, {"sim", "add", "--help"}} {
		require.NotContains(t, requireRun(t, "", args...), "(default: \"\")")
	}
	help := requireRun(t, "", "sim", "add", "--help")
	require.Contains(t, help, "seen by everybody who lists processes")
	require.Contains(t, help, "[$HSS_SIM_K]")
}

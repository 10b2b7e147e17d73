package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/pkg/node"
)

// provisioned is a daemon with the REST API and a token for it.
func provisioned(t *testing.T) (d *daemon, socket string) {
	t.Helper()
	d = newDaemon(t, redistest.Start(t).Address)
	d.start()
	return d, "--socket=" + d.socket
}

func TestSIMVerbs(t *testing.T) {
	d, socket := provisioned(t)
	requireRun(t, simYAML, "sim", "add", socket, "--file", "-", "--status", "provisioned", "--iccid", "8988211000000000001")
	const sim = "001010000000001"
	require.Equal(t, "active: "+sim+"\n", requireRun(t, "", "sim", "activate", socket, sim))
	require.Equal(t, "suspended: "+sim+"\n", requireRun(t, "", "sim", "suspend", socket, "8988211000000000001"))
	out, code := run(t, "", "sim", "activate", socket, sim)
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, "is suspended: it cannot activate")
	requireRun(t, "", "sim", "resume", socket, "msisdn:882120000001")

	out = requireRun(t, "", "sim", "set", socket, sim, "-o", "json", "ambr.uplink=5000", "card.batch=007", "apns=[{name: internet, qci: 7}]", "iot.periodic_tau=3600")
	require.Contains(t, out, `"batch": "007"`)
	out = requireRun(t, "", "sim", "set", socket, sim, "amf=8000", "barring=[hplmn_1]", "imei_lock.absent=refuse", "imei_lock.learn=true", "serving.rfsp=7")
	for _, says := range []string{"hplmn_1", "refused without an IMEI", `{"rfsp":7}`, `{"periodic_tau":3600}`} {
		require.Contains(t, out, says)
	}
	requireRun(t, "", "sim", "set", socket, sim, "amf=null", "barring=null", "imei_lock=null", "serving=null")
	long := requireRun(t, "", "audit", "list", socket, "--verb", "sim.add")
	require.Contains(t, long, "…", "a table is cut")
	require.NotContains(t, requireRun(t, "", "audit", "list", socket, "--verb", "sim.add", "-o", "json"), "…")
	out, code = run(t, "", "sim", "set", socket, sim, "ambr")
	require.Equal(t, node.ExitUsage, code, out)
	out, code = run(t, "", "sim", "set", socket, sim, "abmr.uplink=1")
	require.Equal(t, node.ExitRefused, code, out)
	require.Contains(t, out, "abmr")
	require.Contains(t, requireRun(t, "qci: 8", "apn", "set", socket, "-f", "-", "internet"), "set internet")
	require.Contains(t, requireRun(t, "", "apn", "list", socket), "internet")
	requireRun(t, "apns: [{name: internet}]\nplmns: [001-01]", "template", "set", socket, "--file", "-", "meter")
	require.Contains(t, requireRun(t, "", "template", "list", socket), "meter")
	require.Contains(t, requireRun(t, "", "template", "show", socket, "meter"), `"plmns":["001-01"]`)
	requireRun(t, "", "template", "remove", socket, "meter")
	requireRun(t, "", "apn", "remove", socket, "internet")

	requireRun(t, "", "imei", "bind", socket, sim, "356092040793001")
	require.Contains(t, requireRun(t, "", "sim", "show", socket, sim), "35609204079300")
	requireRun(t, "", "imei", "unbind", socket, sim, "all")
	requireRun(t, "", "plmn", "allow", socket, sim, "262-02")
	requireRun(t, "", "plmn", "deny", socket, sim, "262-02")

	d.attach(sim)
	require.Equal(t, "none\n", requireRun(t, "", "location", "show", socket, sim))
	require.Equal(t, "cancelled: "+sim+"\n", requireRun(t, "", "location", "cancel", socket, "--reattach", sim))
	var vector map[string]any
	require.NoError(t, json.Unmarshal([]byte(requireRun(t, "", "test", "vector", socket, sim, "--rand", strings.Repeat("ab", 16), "-o", "json")), &vector))
	require.Equal(t, strings.Repeat("ab", 16), vector["rand"])
	require.Len(t, vector, 6, "no CK, no IK, no KASME")

	out = requireRun(t, "", "audit", "list", socket, "--object", sim, "--since", "1h")
	for _, verb := range []string{"sim.add", "sim.activate", "sim.suspend", "sim.resume", "sim.set", "imei.bind", "plmn.allow", "location.cancel", "test.vector"} {
		require.Contains(t, out, verb)
	}
	require.Contains(t, out, "socket:")
	out, code = run(t, "", "audit", "list", socket, "--since", "yesterday")
	require.Equal(t, node.ExitUsage, code, out)

	require.Equal(t, "none\n", requireRun(t, "", "location", "ask", socket, sim))
	require.Contains(t, requireRun(t, "", "reset", socket), "nodes are told")
	requireRun(t, "", "repair", socket)
	requireRun(t, "", "kek", "rotate", socket)
	require.Eventually(t, func() bool {
		out := requireRun(t, "", "job", "list", socket, "-o", "json")
		return strings.Count(out, `"ended"`) == 2 && !strings.Contains(out, "failure")
	}, patience, 10*time.Millisecond)
	require.Regexp(t, `(?m)^k1 +true +1$`, requireRun(t, "", "kek", "show", socket))
	for _, secret := range []string{kHex, opHex, opcHex} {
		require.NotContains(t, d.log.String(), secret)
	}
}

func TestSessionLogShowsWhatHappened(t *testing.T) {
	d, socket := provisioned(t)
	requireRun(t, simYAML, "sim", "add", socket, "--file", "-")
	requireRun(t, "", "sim", "suspend", socket, "001010000000001")
	d.requireAIR("001010000000001", 5004)
	var out string
	require.Eventually(t, func() bool {
		out = requireRun(t, "", "sim", "log", socket, "001010000000001")
		return out != "none\n"
	}, patience, 10*time.Millisecond)
	require.Contains(t, out, "refused")
	require.Contains(t, out, "001-01")
	require.Contains(t, out, "mme1.visited.example")
}

func TestImportGoesOnWhereItWas(t *testing.T) {
	_, socket := provisioned(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "sims.csv")
	const rows = rowsAtOnce + 500
	var text strings.Builder
	text.WriteString("imsi,k,opc,apns\n")
	for i := range rows {
		fmt.Fprintf(&text, "99970%010d,%s,%s,internet\n", i, kHex, opcHex)
	}
	half := strings.Replace(text.String(), "99970"+fmt.Sprintf("%010d,", 7), "99970y,", 1)
	broken := half + "x\"y,,,\n" // no CSV from here on
	require.NoError(t, os.WriteFile(file, []byte(broken), 0o600))
	require.Contains(t, func() string { out, _ := run(t, "", "sim", "import", socket, "--dry-run", file); return out }(), "row 2501")
	require.Equal(t, "none\n", requireRun(t, "", "sim", "list", socket))
	out, code := run(t, "", "sim", "import", socket, file)
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, fmt.Sprintf("%d rows are done: the same command goes on behind them", rowsAtOnce))

	require.NoError(t, os.WriteFile(file, []byte(half+"99970x,,,\n"), 0o600))
	out, code = run(t, "", "sim", "import", socket, file)
	require.Equal(t, node.ExitRefused, code, out)
	require.Contains(t, out, fmt.Sprintf("%d rows were done before\n", rowsAtOnce))
	require.Contains(t, out, "done: 501 rows")
	require.Contains(t, out, "500 added, 0 updated, 0 unchanged, 1 left out")
	require.NoFileExists(t, file+".progress")
	left, err := os.ReadFile(file + ".errors.csv")
	require.NoError(t, err)
	require.Regexp(t, `^row,imsi,reason\n8,99970y,.*\n2501,99970x,.*\n$`, string(left), "also what was left out before")
	require.Contains(t, out, "rows were left out: 2")
	require.NotContains(t, string(left), kHex)

	out, _ = run(t, text.String(), "sim", "import", socket, "--errors", filepath.Join(dir, "e"), "-")
	require.Contains(t, out, "1 added, 0 updated, 2499 unchanged, 0 left out")
	export := requireRun(t, "", "sim", "export", socket, "--imsi", "9997000000000")
	require.Contains(t, export, "imsi,iccid,")
	require.NotContains(t, export, kHex)

	dump := filepath.Join(dir, "dump")
	require.NoError(t, os.WriteFile(dump, []byte(requireRun(t, "", "dump", socket)), 0o600))
	require.Contains(t, requireRun(t, "", "restore", socket, dump), "0 SIMs, 0 templates, 0 devices and 0 nodes put in; 2500 SIMs were there")
	whole, err := os.ReadFile(dump)
	require.NoError(t, err)
	cut := string(whole[:strings.LastIndex(strings.TrimSpace(string(whole)), "\n")])
	out, code = run(t, cut, "restore", socket, "-")
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, "the dump is cut off")
	out, code = run(t, cut[:len(cut)-20], "restore", socket, "-")
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, "2499 SIMs were there")
	require.Contains(t, out, "the dump is cut off or damaged")
	out, code = run(t, "a,b\n", "restore", socket, "-")
	require.Equal(t, node.ExitUsage, code, out)
}

func TestRESTAPIByToken(t *testing.T) {
	d := newDaemon(t, "")
	out := requireRun(t, "", "token", "generate", "--name", "ops", "--role", "operate")
	token, line, _ := strings.Cut(out, "\nline:  ")
	token = strings.TrimPrefix(token, "token: ")
	dir := t.TempDir()
	file, tokenFile := filepath.Join(dir, "tokens"), filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(file, []byte(line), 0o600))
	require.NoError(t, os.WriteFile(tokenFile, []byte(token), 0o600))
	address := freeAddress(t)
	b, err := os.ReadFile(d.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(d.file, append(b, fmt.Sprintf("provision: {listen: %q, tokens: %s}\n", address, file)...), 0o600))
	d.start()
	api := "--api=http://" + address
	requireRun(t, simYAML, "sim", "add", api, "--token-file", tokenFile, "--file", "-")
	t.Setenv("HSS_TOKEN", token)
	require.Contains(t, requireRun(t, "", "sim", "list", api), "001010000000001")
	out, code := run(t, "", "sim", "remove", api, "001010000000001")
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, "ops may operate: this needs admin")
	t.Setenv("HSS_TOKEN", "wrong")
	out, code = run(t, "", "sim", "list", api)
	require.Equal(t, node.ExitRefused, code)
	require.Contains(t, out, "a bearer token is needed")
	t.Setenv("HSS_TOKEN", "")
	_, code = run(t, "", "sim", "list", api)
	require.Equal(t, node.ExitUsage, code)
	t.Setenv("HSS_TOKEN", token)
	_, code = run(t, "", "sim", "list", "--api=http://127.0.0.1:1")
	require.Equal(t, node.ExitUnreachable, code)
	require.NotContains(t, d.log.String(), token)
	for _, args := range [][]string{{"--name", "x"}, {"--role", "read"}, {"--name", "x", "--role", "read", "--until", "soon"}} {
		_, code := run(t, "", append([]string{"token", "generate"}, args...)...)
		require.Equal(t, node.ExitUsage, code, args)
	}
	_, code = run(t, "", "token", "generate", "--name", "x", "--role", "king")
	require.Equal(t, node.ExitUsage, code)
}

func TestThePageNamesEveryCommandAndColumn(t *testing.T) {
	var pages string
	for _, name := range []string{"hss.md", "hss-provisioning.md"} {
		b, err := os.ReadFile(filepath.Join("../../../docs", name))
		require.NoError(t, err)
		pages += string(b)
	}
	var walk func(string, []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			name := path + " " + c.Name
			if len(c.Subcommands) > 0 {
				walk(name, c.Subcommands)
				continue
			}
			require.True(t, strings.Contains(pages, "`"+name), name)
			require.NotEmpty(t, c.Usage, name)
		}
	}
	walk(nodeName, newApp().Commands)
	for _, column := range provision.ColumnNames() {
		require.True(t, strings.Contains(pages, "`"+column+"`"), column)
	}
}

// TestASuspendedSIMIsCancelledAtItsNode goes the whole way: an MME registers a SIM, the operator suspends it, and the MME
// gets a CLR on its connection; the session log has all of it.
func TestASuspendedSIMIsCancelledAtItsNode(t *testing.T) {
	d, socket := provisioned(t)
	const sim = "001010000000001"
	requireRun(t, simYAML, "sim", "add", socket, "--file", "-")
	nc := d.connect()
	ans := d.exchange(nc, d.request(316, sim, map[uint32]datatype.Type{
		avp.RATType: datatype.Enumerated(1004), avp.ULRFlags: datatype.Unsigned32(34), avp.VisitedPLMNID: datatype.OctetString("\x00\xf1\x10"),
	}))
	rc, err := ans.FindAVP(avp.ResultCode, 0)
	require.NoError(t, err)
	require.Equal(t, datatype.Unsigned32(2001), rc.Data)
	require.Contains(t, requireRun(t, "", "location", "show", socket, sim), "mme1.visited.example")
	require.Contains(t, requireRun(t, "", "sim", "list", socket, "--node", "mme1.visited.example"), sim)

	requireRun(t, "", "sim", "suspend", socket, sim)
	clr, err := diam.ReadMessage(nc, dict.Default)
	require.NoError(t, err)
	require.EqualValues(t, 317, clr.Header.CommandCode)
	user, err := clr.FindAVP(avp.UserName, 0)
	require.NoError(t, err)
	require.Equal(t, datatype.UTF8String(sim), user.Data)
	_, err = clr.Answer(2001).WriteTo(nc)
	require.NoError(t, err)
	var out string
	require.Eventually(t, func() bool {
		out = requireRun(t, "", "sim", "log", socket, sim)
		return strings.Contains(out, "cancel")
	}, patience, 10*time.Millisecond)
	require.Contains(t, out, "attach")
	require.Equal(t, "none\n", requireRun(t, "", "location", "show", socket, sim))
}

func TestEquipmentCommands(t *testing.T) {
	d, socket := provisioned(t)
	file := filepath.Join(t.TempDir(), "stolen")
	require.NoError(t, os.WriteFile(file, []byte("99000085000000\n99000085000001\n"), 0o600))
	require.Equal(t, "black: 3\n", requireRun(t, "", "equipment", "set", socket, "--file", file, "black", "35609200-35609299"))
	require.Equal(t, "white: 1\n", requireRun(t, "", "equipment", "set", socket, "white", "35609204"))
	require.Equal(t, `RANGE              LIST
35609200-35609299  black
35609204           white
99000085000000     black
99000085000001     black
`, requireRun(t, "", "equipment", "list", socket))
	check := func(imei, list string) {
		t.Helper()
		require.Contains(t, requireRun(t, "", "equipment", "check", socket, "-o", "json", imei), `"list": "`+list+`"`)
	}
	check("356092040793001", "white")
	check("35609205079300", "black")
	check("01234567890123", "white") // s6a.equipment.unknown
	requireRun(t, "", "equipment", "remove", socket, "35609200-35609299", "35609204")
	check("35609205079300", "white")
	_, code := run(t, "", "equipment", "remove", socket, "35609204")
	require.Equal(t, node.ExitRefused, code)
	for _, args := range [][]string{{"set", socket, "black"}, {"remove", socket}} {
		_, code := run(t, "", append([]string{"equipment"}, args...)...)
		require.Equal(t, node.ExitUsage, code)
	}
	_ = d
}

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/slowpath"
)

func hexSEIDOf(n uint64) string { return fmt.Sprintf("%#x", n) }
func hexTEIDOf(n uint32) string { return fmt.Sprintf("%#08x", n) }

const minimal = `
node_id: pgwu1.epc.mnc070.mcc999.3gppnetwork.org
pfcp: {address: "10.40.11.2:8806"}
ports: [{name: access0}, {name: core0, network_instance: Internet}]
slices: [{address: 10.30.1.1, sessions: 1000}]
network_instances: [{name: Internet, gateway: 10.50.1.1}]
`

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pgwu.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	cfg := defaultConfig()
	return cfg, config.Load(path, cfg)
}

func TestAMinimalConfiguration(t *testing.T) {
	cfg, err := load(t, minimal)
	require.NoError(t, err)
	edge := cfg.edge()
	require.Equal(t, "10.40.11.2:8806", edge.Endpoint.Listen.String())
	require.Equal(t, 1024, edge.Slices[0].Slots)
	require.EqualValues(t, "internet", edge.Instances.Default, "the only one is the default")
	require.Equal(t, "pgwu1.epc.mnc070.mcc999.3gppnetwork.org", edge.NodeID.FQDN)
	cfg, err = load(t, strings.Replace(minimal, `"10.40.11.2:8806"`, "10.40.11.2", 1))
	require.NoError(t, err)
	require.Equal(t, "10.40.11.2:8805", cfg.edge().Endpoint.Listen.String())
}

// Slices and gateways of either family, or both.
func TestAddressesOfBothFamilies(t *testing.T) {
	cfg, err := load(t, `
node_id: pgwu1.example
pfcp: {address: 10.40.11.2}
ports: [{name: access0}, {name: core0, network_instance: a}, {name: core1, network_instance: b}]
slices: [{address: 10.30.1.1, address6: "2001:db8:30::1", sessions: 10}, {address6: "2001:db8:30::2", sessions: 10}]
network_instances: [{name: a, gateway: 10.50.1.1, gateway6: "fe80::1"}, {name: b, gateway6: "2001:db8:50::1"}]
gtpu: {zero_checksum_ipv6: true}
data_path: {icmp_rate: 7, url_rate: 8, mss: 1404}
`)
	require.NoError(t, err)
	d := cfg.dataPath()
	require.Equal(t, []datapath.Slice{
		{Address: parse("10.30.1.1"), Address6: parse("2001:db8:30::1"), TEIDs: 10}, {Address6: parse("2001:db8:30::2"), TEIDs: 10},
	}, d.Slices)
	require.Equal(t, parse("fe80::1"), d.Instances[0].Gateway6)
	require.Equal(t, datapath.Instance{Name: "b", Gateway6: parse("2001:db8:50::1")}, d.Instances[1])
	require.True(t, d.ZeroChecksum6)
	require.EqualValues(t, 7, d.ICMPRate)
	require.EqualValues(t, 8, d.URLRate)
	require.EqualValues(t, 1404, d.MSS)
	require.Equal(t, []netip.Addr{parse("10.30.1.1"), parse("2001:db8:30::1"), parse("2001:db8:30::2")}, cfg.slowPath().Slices)

	_, err = load(t, `
slices: [{sessions: 10}, {address: "2001:db8::1", address6: 10.30.1.1, sessions: 10}]
network_instances: [{name: a, gateway: "fe80::1", gateway6: x}]
data_path: {icmp_rate: -1, url_rate: -1}
`)
	for _, key := range []string{
		"slices[0].address", "slices[1].address", "slices[1].address6", "network_instances[0].gateway",
		"network_instances[0].gateway6", "data_path.icmp_rate", "data_path.url_rate",
	} {
		require.ErrorContains(t, err, "\n"+key+": ")
	}
	_, err = load(t, strings.Replace(minimal, "sessions: 1000", `address6: "::ffff:1.2.3.4", sessions: 1000`, 1))
	require.ErrorContains(t, err, "slices[0].address6: ")
	_, err = load(t, minimal+"data_path: {icmp_rate: 2000000}\n")
	require.ErrorContains(t, err, "data_path.icmp_rate: ")
	_, err = load(t, minimal+"data_path: {url_rate: 2000000}\n")
	require.ErrorContains(t, err, "data_path.url_rate: ")
	_, err = load(t, minimal+"data_path: {mss: 100}\n")
	require.ErrorContains(t, err, "data_path.mss: ")
}

func TestPortsOfOneInterface(t *testing.T) {
	text := strings.Replace(minimal, "{name: core0, network_instance: Internet}",
		"{name: core0, vlan: 100, network_instance: Internet}, {name: core0, vlan: 200, network_instance: Corp}", 1)
	text = strings.Replace(text, "network_instances: [", "network_instances: [{name: Corp, gateway: 10.50.1.1, ue_to_ue: true}, ", 1)
	cfg, err := load(t, text)
	require.NoError(t, err)
	dp := cfg.dataPath()
	require.Equal(t, []uint16{0, 100, 200}, []uint16{dp.Ports[0].VLAN, dp.Ports[1].VLAN, dp.Ports[2].VLAN})
	require.True(t, dp.Instances[0].UEToUE)
	require.False(t, dp.Instances[1].UEToUE)
	for _, wrong := range []string{"-1", "4095", "65636"} {
		_, err = load(t, strings.Replace(text, "vlan: 200", "vlan: "+wrong, 1))
		require.ErrorContains(t, err, "ports[2].vlan: "+wrong+" is not in 0..4094")
	}
	_, err = load(t, strings.Replace(text, "vlan: 200", "vlan: 100", 1))
	require.ErrorContains(t, err, "stands twice")
}

// A route table stands instead of gateways.
func TestRouteTablesOfNetworkInstances(t *testing.T) {
	cfg, err := load(t, strings.Replace(minimal, "gateway: 10.50.1.1", "table: 4294967295, ue_to_ue: true", 1))
	require.NoError(t, err)
	require.Equal(t, []datapath.Instance{{Name: "internet", Table: 4294967295, UEToUE: true}}, cfg.dataPath().Instances)
	for wrong, fault := range map[string]string{
		"table: -1":                       "network_instances[0].table: -1 is not in 0..4294967295",
		"table: 4294967296":               "network_instances[0].table: 4294967296 is not in 0..4294967295",
		"table: 255":                      "network_instances[0].table: 255 is the kernel's table of its own addresses",
		"table: 100, gateway: 10.50.1.1":  "network_instances[0].table: stands beside a gateway",
		`table: 100, gateway6: "fe80::1"`: "network_instances[0].table: stands beside a gateway",
		"table: 100, gateway: here":       "network_instances[0].gateway: ",
		"table: 0":                        "network_instances[0].gateway: missing",
		"table: corp":                     "table",
	} {
		_, err := load(t, strings.Replace(minimal, "gateway: 10.50.1.1", wrong, 1))
		require.ErrorContains(t, err, fault, wrong)
	}
}

func TestEveryFaultIsListedWithItsKey(t *testing.T) {
	_, err := load(t, `
admin_socket: ""
state_dir: ""
pfcp: {address: here, n1: -1, shards: 0}
control_planes: [{address: "::1"}]
slices: [{address: x, sessions: 99999999}, {address: 10.30.1.1, sessions: 0}]
network_instances: [{name: a}, {name: a, table: 255}]
default_network_instance: b
unknown_network_instance: perhaps
gtpu: {indications_per_peer: 0}
data_path: {peers: -1, mss: 1}
ue_pools: [{name: p, network_instance: nowhere, ipv4: x}]
predefined_rules: [{name: r, action: perhaps}, {name: r}]
`)
	require.Error(t, err)
	var keys []string
	for line := range strings.Lines(err.Error()) {
		key, _, _ := strings.Cut(line, ": ")
		keys = append(keys, key)
	}
	slices.Sort(keys[1:])
	require.Equal(t, []string{
		"admin_socket", "control_planes[0].address", "data_path.mss", "data_path.peers", "default_network_instance",
		"gtpu.indications_per_peer", "network_instances[0].gateway", "network_instances[0].name", "network_instances[1].name",
		"network_instances[1].table", "node_id", "pfcp.address", "pfcp.n1", "pfcp.shards", "ports", "predefined_rules[0].action",
		"predefined_rules[1].name", "slices[0].address", "slices[0].sessions", "slices[1].sessions", "state_dir", "ue_pools[0].ipv4",
		"ue_pools[0].network_instance", "unknown_network_instance",
	}, keys[1:], "each once, and nothing that only follows from another")
	_, err = load(t, minimal+"data_path: {burst: 0s, address_blocks: -1, peers: -1}\n")
	for _, key := range []string{"data_path.burst", "data_path.address_blocks", "data_path.peers"} {
		require.ErrorContains(t, err, key+": ")
	}
	_, err = load(t, strings.Replace(minimal, "network_instance: Internet", "network_instance: intranet", 1))
	require.ErrorContains(t, err, `network_instances[0].name: "Internet" has no port`)
	_, err = load(t, strings.Replace(minimal, "network_instance: Internet", "network_instance: Internet}, {name: core1, network_instance: intranet", 1))
	require.ErrorContains(t, err, `ports[2].network_instance: "intranet" is not in network_instances`)
	_, err = load(t, strings.Replace(minimal, "{name: access0}, ", "", 1))
	require.ErrorContains(t, err, "ports: none is an access port")
	_, err = load(t, minimal+"control_planes: [{address: 10.1.1.1}, {address: 10.1.1.1, port: 8806}]\n")
	require.ErrorContains(t, err, "control_planes[1].address: 10.1.1.1 stands twice")
	_, err = load(t, strings.Replace(minimal, "pfcp: {", "pfcp: {shards: 0, ", 1))
	require.ErrorContains(t, err, "pfcp.shards: ")
	_, err = load(t, minimal+"ue_pools: [{name: a, network_instance: internet, ipv4: 10.0.0.0/8}, {name: b, network_instance: other, ipv4: x}]\n")
	require.ErrorContains(t, err, "ue_pools[1].ipv4: ")
	_, err = load(t, minimal+"ue_pools: [{name: a, network_instance: internet, ipv4: 10.0.0.0/8}, {name: a, network_instance: other, ipv4: 10.1.0.0/24}]\n")
	for _, key := range []string{"ue_pools[0]", "ue_pools[1].name", "ue_pools[1].network_instance"} {
		require.ErrorContains(t, err, key+": ")
	}
	_, err = load(t, minimal+"predefined_rules: [{name: a, filters: [deny out ip from any to any], action: perhaps, control_planes: [x]}]\n")
	for _, key := range []string{"filters[0]", "action", "control_planes[0]"} {
		require.ErrorContains(t, err, "predefined_rules[0]."+key+": ")
	}
	_, err = load(t, minimal+"predefined_rules: [{name: a, action: forward, network_instance: other}, {name: a}]\n")
	for _, key := range []string{"predefined_rules[0].network_instance", "predefined_rules[1].name"} {
		require.ErrorContains(t, err, key+": ")
	}
	_, err = load(t, minimal+"colour: blue\n")
	require.Error(t, err)
}

// The page documents every key of the configuration, every reason and every outcome.
func TestThePageNamesEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../../docs/pgwu.md")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "pgwu.yaml")
	require.NoError(t, os.WriteFile(path, []byte(minimal+"control_planes: [{address: 10.40.2.2}]\n"+
		"ue_pools: [{name: a, network_instance: internet, ipv4: 172.16.9.0/24, ipv6: 2001:db8:9::/48}]\n"+
		"predefined_rules: [{name: a, filters: [permit out 17 from any 53 to assigned], urrs: [1], control_planes: [10.40.2.2]}]\n"), 0o600))
	out, _, err := run("config", "show", "-c", path)
	require.NoError(t, err)
	for line := range strings.Lines(out) {
		key, _, _ := strings.Cut(line, ":")
		for i := range 3 {
			key = strings.ReplaceAll(key, "["+strconv.Itoa(i)+"]", "[]")
		}
		require.Contains(t, string(page), "`"+key+"`", "docs/pgwu.md does not explain a key")
	}
	for _, o := range slowpath.Outcomes() {
		require.Contains(t, string(page), "| `"+o.String()+"` |", "docs/pgwu.md does not explain an outcome")
	}
	descriptions := make(chan *prometheus.Desc, 100)
	newCollector(nil).Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		name, _, _ := strings.Cut(strings.TrimPrefix(d.String(), `Desc{fqName: "`), `"`)
		require.Contains(t, string(page), "`"+name+"`", "docs/pgwu.md does not explain a metric")
	}
	_, _, err = run("config", "check", "-c", "/nowhere")
	require.Equal(t, node.ExitUsage, node.ExitCode(err))
}

// A fault of one part hides nothing of another whose key begins alike.
func TestFaultsOfAKey(t *testing.T) {
	var f faults
	f.add("slices[10].teids", "wrong")
	f.under("", errors.New("slices[1]: missing\nslices[10]: empty\nslices[10].teids: wrong again"))
	require.EqualError(t, errors.Join(f...), "slices[10].teids: wrong\nslices[1]: missing")
}

package lab

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/goccy/go-yaml"

	"github.com/xepc/xepc/testbed/topology"
)

// Identities of the home and the visited network.
const (
	homeRealm    = "epc.mnc070.mcc999.3gppnetwork.org"
	hssHost      = "hss1." + homeRealm
	visitedRealm = "epc.mnc001.mcc001.3gppnetwork.org"
	mmeHost      = "mme1." + visitedRealm

	// APN is the one that the UEs ask for.
	APN = "internet"
	// MTU of the UEs' links in octets: with 36 octets of GTP-U around a packet, 1,500 hold it.
	MTU = 1400
	// MetricsAddress is where each node serves /metrics, /healthz and /readyz, in its own namespace.
	MetricsAddress = "127.0.0.1:9090"

	// ambrBits is every SIM's AMBR in bit/s: more than the simulated network carries, so that it does not police.
	ambrBits = 4_000_000_000

	networkInstance = "internet"
	poolName        = "internet"
	sessionsPerUP   = 1024
)

// visitedPLMN is 001-01, TS 24.301 9.9.3.32.
var visitedPLMN = [3]byte{0x00, 0xf1, 0x10}

// Ports of the nodes.
const (
	portS6a   = 3868
	portS8    = 2123
	portPFCP  = 8805
	portRedis = 6379
	portHTTP  = 80
)

// DNS servers that the PGW-C assigns; the web server's address, since nothing in the lab resolves names.
var dns = topology.Web

func hssConfig(dir string) map[string]any {
	return map[string]any{
		"diameter": map[string]any{
			"identity": hssHost, "realm": homeRealm,
			"listen": []string{socket(topology.HSSAddress, portS6a)},
			"peers": []map[string]any{{
				"host": mmeHost, "realm": visitedRealm, "addresses": []string{topology.SGW.String()},
			}},
		},
		"redis":        map[string]any{"addresses": []string{socket(topology.Redis, portRedis)}},
		"kek":          map[string]any{"file": kekPath(dir)},
		"s6a":          map[string]any{"pulse_file": filepath.Join(dir, "hss.pulse")},
		"admin_socket": filepath.Join(dir, "hss.sock"),
		"metrics":      map[string]any{"address": MetricsAddress},
	}
}

func pgwcConfig(dir string, pgwus int) map[string]any {
	nodes, chunks := []map[string]any{}, []map[string]any{}
	for n := 1; n <= pgwus; n++ {
		nodes = append(nodes, map[string]any{"name": topology.PGWU(n), "address": socket(topology.PFCP(n), portPFCP)})
		chunks = append(chunks, map[string]any{"prefix": topology.Chunk(n).String(), "node": topology.PGWU(n)})
	}
	return map[string]any{
		"s8":           map[string]any{"address": socket(topology.PGWCAddress, portS8)},
		"pfcp":         map[string]any{"address": socket(topology.PGWCPFCP, portPFCP)},
		"state_dir":    filepath.Join(dir, "pgwc"),
		"admin_socket": filepath.Join(dir, "pgwc.sock"),
		"metrics":      map[string]any{"address": MetricsAddress},
		"nodes":        nodes,
		"pools":        []map[string]any{{"name": poolName, "chunks": chunks}},
		"apns": []map[string]any{{
			"name": APN, "network_instance": networkInstance, "pool": poolName,
			"dns": []string{dns.String()}, "mtu": MTU,
		}},
	}
}

func pgwuConfig(dir string, n int) map[string]any {
	name := topology.PGWU(n)
	return map[string]any{
		"node_id":      topology.PFCP(n).String(),
		"pfcp":         map[string]any{"address": socket(topology.PFCP(n), portPFCP)},
		"state_dir":    filepath.Join(dir, name),
		"pin_dir":      filepath.Join(bpfDir(dir), name),
		"admin_socket": filepath.Join(dir, name+".sock"),
		"metrics":      map[string]any{"address": MetricsAddress},
		"ports": []map[string]any{
			{"name": topology.AccessPort},
			{"name": topology.CorePort, "network_instance": networkInstance},
		},
		"slices": []map[string]any{{
			"address": topology.GTPU(n).String(), "address6": topology.GTPU6(n).String(), "sessions": sessionsPerUP,
		}},
		"network_instances": []map[string]any{{"name": networkInstance, "gateway": topology.SGiGateway(n).String()}},
	}
}

func kekPath(dir string) string { return filepath.Join(dir, "hss.kek") }

// writeKEK makes the key that the HSS seals the SIMs' keys with.
func writeKEK(dir string) error {
	var key [32]byte
	rand.Read(key[:])
	if err := os.WriteFile(kekPath(dir), fmt.Appendf(nil, "lab %x\n", key), 0o600); err != nil {
		return fmt.Errorf("write KEK: %w", err)
	}
	return nil
}

func writeConfig(path string, config map[string]any) error {
	text, err := yaml.Marshal(config)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write configuration %s: %w", path, err)
	}
	return nil
}

func socket(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }

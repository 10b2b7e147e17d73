package topology_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/testbed/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prefix is unique to this process, so that test binaries can run side by side.
func prefix(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("t%d%s-", os.Getpid(), strings.ToLower(t.Name()[4:8]))
}

func build(t *testing.T, ues, pgwus int) *topology.Network {
	t.Helper()
	plan, err := topology.Demo(prefix(t), ues, pgwus)
	require.NoError(t, err)
	network, err := topology.Build(plan)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, network.Close()) })
	return network
}

func TestNetworkConnectsEveryPair(t *testing.T) {
	network := build(t, 1, 2)
	for _, row := range []struct{ from, to, address string }{
		{topology.Visited, topology.HSS, topology.HSSAddress.String()},
		{topology.Visited, topology.PGWC, topology.PGWCAddress.String()},
		{topology.Visited, topology.PGWU(1), topology.GTPU(1).String()},
		{topology.Visited, topology.PGWU(2), topology.GTPU(2).String()},
		{topology.Visited, topology.PGWU(2), topology.GTPU6(2).String()},
		{topology.PGWU(1), topology.Visited, topology.OtherSGW6.String()},
		{topology.HSS, topology.Control, topology.Redis.String()},
		{topology.PGWC, topology.Control, topology.Redis.String()},
		{topology.PGWC, topology.PGWU(2), topology.PFCP(2).String()},
		{topology.PGWU(1), topology.PGWC, topology.PGWCPFCP.String()},
		{topology.PGWU(1), topology.Visited, topology.SGW.String()},
		{topology.PGWU(2), topology.Visited, topology.OtherSGW.String()},
		{topology.PGWU(1), topology.Core, topology.SGiGateway(1).String()},
	} {
		t.Run(fmt.Sprintf("%s reaches %s at %s", row.from, row.to, row.address), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			listener, err := network.Namespace(row.to).Listen(ctx, "tcp", net.JoinHostPort(row.address, "4000"))
			require.NoError(t, err)
			defer listener.Close()
			conn, err := network.Namespace(row.from).Dial(ctx, "tcp", listener.Addr().String())
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		})
	}
}

func TestOffloadsAreOffAndFarEndsOfXDPPortsPoll(t *testing.T) {
	network := build(t, 0, 1)
	// ethtool is the witness; the testbed itself does not need it.
	features := func(namespace, port string) string {
		var out []byte
		require.NoError(t, network.Namespace(namespace).Do(func() (err error) {
			out, err = exec.Command("ethtool", "-k", port).CombinedOutput()
			return err
		}), "%s", out)
		return string(out)
	}
	for _, end := range [][2]string{{topology.PGWU(1), topology.AccessPort}, {topology.Core, topology.PGWU(1)}, {topology.IPX, topology.PGWU(1)}, {topology.Visited, "ipx0"}} {
		got := features(end[0], end[1])
		for _, feature := range []string{"tx-checksumming", "tx-tcp-segmentation", "generic-segmentation-offload", "rx-vlan-offload", "tx-vlan-offload"} {
			require.Contains(t, got, feature+": off", "%v", end)
		}
	}
	require.Contains(t, features(topology.Core, topology.PGWU(1)), "generic-receive-offload: on")
	require.Contains(t, features(topology.IPX, topology.PGWU(1)), "generic-receive-offload: on")
	require.Contains(t, features(topology.Visited, "ipx0"), "generic-receive-offload: off")
}

func TestCloseLeavesNothing(t *testing.T) {
	before := links(t)
	plan, err := topology.Demo(prefix(t), 2, 2)
	require.NoError(t, err)
	network, err := topology.Build(plan)
	require.NoError(t, err)
	left, err := topology.Leftovers(plan.Prefix)
	require.NoError(t, err)
	require.Len(t, left, len(plan.Namespaces))

	require.NoError(t, network.Close())
	left, err = topology.Leftovers(plan.Prefix)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, before, links(t), "links of the host itself")
}

func TestBuildThatFailsLeavesNothing(t *testing.T) {
	plan, err := topology.Demo(prefix(t), 0, 1)
	require.NoError(t, err)
	plan.Routes = append(plan.Routes, topology.Route{Namespace: topology.HSS, To: topology.Chunk(1), Via: topology.Web})
	_, err = topology.Build(plan)
	require.ErrorContains(t, err, "route 172.16.1.0/24 by 10.60.0.10")
	left, err := topology.Leftovers(plan.Prefix)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPlanRefusesWhatHasNoAddresses(t *testing.T) {
	for _, row := range [][2]int{{-1, 1}, {1, 0}, {topology.MaxUEs + 1, 1}, {1, topology.MaxPGWUs + 1}} {
		_, err := topology.Demo("x-", row[0], row[1])
		require.Error(t, err)
	}
}

func links(t *testing.T) (names []string) {
	t.Helper()
	all, err := netlink.LinkList()
	require.NoError(t, err)
	for _, l := range all {
		names = append(names, l.Attrs().Name)
	}
	return names
}

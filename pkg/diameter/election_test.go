package diameter

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answerCER answers a CER as host.
func (c *client) answerCER(cer Message) {
	c.t.Helper()
	cea := c.cerOf(c.host)
	cea.Request, cea.HopByHop, cea.EndToEnd = false, cer.HopByHop, cer.EndToEnd
	cea.AVPs = append(cea.AVPs, ResultCode.Unsigned(Success))
	c.send(cea)
}

// Both sides connect at once, RFC 6733 5.6.4: the one whose identity is the greater keeps what the other has opened.
func TestElection(t *testing.T) {
	const greater, smaller = "zz.visited.example", "DRA1.visited.example" // than hss1.example.net
	begin := func(t *testing.T, host string) (n *Node, address string, theirs *client, cer Message) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		cfg := testConfig()
		cfg.Peers = []PeerConfig{{Host: host, Realm: mmeRealm, Connect: l.Addr().String()}}
		n, address = start(t, cfg, answerNothing)
		nc, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
		theirs = &client{t: t, Conn: nc, r: bufio.NewReader(nc), host: host} // what we have opened
		return n, address, theirs, theirs.receive()
	}
	requireOnly := func(t *testing.T, n *Node, c *client) {
		t.Helper()
		requireResult(t, c.ask(c.air()), Success)
		require.Len(t, n.Peers(), 1)
	}
	t.Run("we win: our attempt ends, theirs is answered", func(t *testing.T) {
		n, address, theirs, _ := begin(t, smaller)
		c := dial(t, address)
		require.NoError(t, c.ask(c.cerOf(smaller)).Err())
		theirs.closed()
		requireOnly(t, n, c)
	})
	t.Run("we lose: theirs is closed once they have answered ours", func(t *testing.T) {
		n, address, theirs, cer := begin(t, greater)
		c := dial(t, address)
		c.send(c.cerOf(greater))
		theirs.answerCER(cer)
		c.closed()
		requireOnly(t, n, theirs)
	})
	t.Run("we lose, but they close ours: theirs is answered", func(t *testing.T) {
		n, address, theirs, _ := begin(t, greater)
		c := dial(t, address)
		c.send(c.cerOf(greater))
		require.NoError(t, theirs.Close())
		require.NoError(t, c.next().Err())
		requireOnly(t, n, c)
	})
	t.Run("we lose, and read their CER after the answer to ours", func(t *testing.T) {
		n, address, theirs, cer := begin(t, greater)
		theirs.answerCER(cer)
		requireOnly(t, n, theirs)
		c := dial(t, address)
		c.send(c.cerOf(greater))
		c.closed()
		requireOnly(t, n, theirs)
	})
	t.Run("a peer that connects anew, long after, replaces ours", func(t *testing.T) {
		n, address, theirs, cer := begin(t, greater)
		theirs.answerCER(cer)
		requireOnly(t, n, theirs)
		n.mu.Lock()
		n.peers[greater].since = time.Now().Add(-n.cfg.CapabilitiesWithin)
		n.mu.Unlock()
		c := connect(t, address, greater)
		theirs.closed()
		requireOnly(t, n, c)
	})
}

// Two nodes that connect to each other at once, again and again, have one connection each time.
func TestTwoNodesConnectToEachOther(t *testing.T) {
	for range 30 {
		hosts := []string{"hss1.example.net", "hss2.example.net"}
		ctx, cancel := context.WithCancel(context.Background())
		var nodes []*Node
		var running sync.WaitGroup
		for i := range 2 {
			cfg := DefaultConfig()
			cfg.Identity, cfg.Realm, cfg.Transports = hosts[i], ourRealm, []string{"tcp"}
			cfg.Listen, cfg.ReconnectAfter = []string{"127.0.0.1:0"}, time.Millisecond
			cfg.Peers = []PeerConfig{{Host: hosts[1-i], Connect: "127.0.0.1:1"}}
			require.NoError(t, cfg.Validate())
			n := New(cfg, slog.New(slog.DiscardHandler), 7, Application{ID: s6a})
			require.NoError(t, n.Listen())
			nodes = append(nodes, n)
		}
		for i, n := range nodes {
			n.cfg.Peers[0].Connect = nodes[1-i].Addresses()[0]
		}
		for _, n := range nodes {
			running.Go(func() { require.NoError(t, n.Run(ctx)) })
		}
		require.Eventually(t, func() bool {
			one, two := nodes[0].lookup(hosts[1]), nodes[1].lookup(hosts[0])
			return one != nil && two != nil && one.ours != two.ours &&
				one.nc.LocalAddr().String() == two.nc.RemoteAddr().String()
		}, patience, time.Millisecond)
		cancel()
		running.Wait()
	}
}

package datapath

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/xepc/xepc/userplane/session"
)

// TestPortsThatAreMadeAnew takes each port away and makes another of its name, while the daemon runs and while it does
// not: traffic goes on by the new one, and the node's address is found when it comes, after the port.
func TestPortsThatAreMadeAnew(t *testing.T) {
	l := newLive(t)
	d, stop := l.daemon(func(Event) {})
	defer func() { stop() }()
	down := with(downlinkOf(5), func(e *session.Entry) { e.Remote = accessGateway })
	require.NoError(t, d.Apply(session.Changes{Puts: []session.Entry{uplinkOf(5), down}}))
	l.eventually(5, 0)
	pass := passAll(t)
	gone := func(name string) {
		t.Helper()
		l.in(l.node, func() {
			i, err := netlink.LinkByName(name)
			require.NoError(t, err)
			require.NoError(t, netlink.LinkDel(i))
		})
	}
	again := func(name string) {
		t.Helper()
		if name == "core0" {
			l.in(l.node, func() {
				l.veth("core0", "corep", l.net)
				l.up("core0", "10.50.1.2/24")
			})
			l.in(l.net, func() {
				l.up("corep", "10.50.1.1/24")
				l.checksums("corep")
				l.receiveXDP("corep", pass)
				l.route(netip.PrefixFrom(ue(0), 24), netip.MustParseAddr("10.50.1.2"))
			})
			return
		}
		l.in(l.node, func() {
			l.veth("access0", "accessp", l.sgw)
			l.up("access0", "10.20.11.2/24")
		})
		l.in(l.sgw, func() {
			l.up("accessp", "10.20.11.1/24")
			l.receiveXDP("accessp", pass)
			l.route(netip.PrefixFrom(slice1, 32), nodeAddr)
		})
	}
	for n, name := range []string{"core0", "access0", "core0"} {
		gone(name)
		require.Eventually(t, func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.plugged[name] == 0
		}, patience, time.Millisecond)
		again(name)
		l.eventually(5, uint32(200+n))
		require.Eventually(t, func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.links) == 2 && d.shown[d.tables.numbers["internet"]].Local == onWire(netip.MustParseAddr("10.50.1.2"))
		}, patience, time.Millisecond)
	}
	stop()
	gone("core0")
	again("core0")
	d, stop = l.daemon(func(Event) {})
	l.eventually(5, 300)
	require.Len(t, d.links, 2)
}

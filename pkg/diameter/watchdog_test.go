package diameter

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchdog(t *testing.T) {
	const tw = 30 * time.Second
	start := time.Unix(1000, 0)
	at := func(n float64) time.Time { return start.Add(time.Duration(n * float64(tw))) }
	w := watchdog{interval: tw}
	w.up(start, 0, false)

	require.Equal(t, watchdogWait, w.tick(at(0.9), 0))
	require.Equal(t, watchdogSend, w.tick(at(1), 0), "Tw without a message")
	w.received(at(1.1), 0, true)
	require.Equal(t, watchdogWait, w.tick(at(2.05), 0), "the DWA started the timer anew")
	require.Equal(t, watchdogSend, w.tick(at(2.1), 0))
	require.Equal(t, watchdogWait, w.tick(at(3.1), 0))
	require.Equal(t, watchdogSuspect, w.state, "no DWA within Tw")
	w.received(at(3.2), 0, false)
	require.Equal(t, watchdogOkay, w.state, "anything that comes makes it okay again")
	require.Equal(t, watchdogWait, w.tick(at(4.2), 0))
	require.Equal(t, watchdogSuspect, w.state, "the DWR is still unanswered")
	require.Equal(t, watchdogClose, w.tick(at(5.2), 0))
}

// A connection that is back: RFC 3539 3.4.1, state REOPEN.
func TestWatchdogOfAPeerThatIsBack(t *testing.T) {
	const tw = 30 * time.Second
	start := time.Unix(1000, 0)
	at := func(n float64) time.Time { return start.Add(time.Duration(n * float64(tw))) }
	type step struct {
		at     float64
		got    string // "", dwa, other
		action watchdogAction
		state  watchdogState
	}
	rows := map[string][]step{
		"three DWAs make it okay": {
			{0, "", watchdogSend, watchdogReopen},
			{0.1, "dwa", watchdogWait, watchdogReopen},
			{0.2, "other", watchdogWait, watchdogReopen},
			{1, "", watchdogSend, watchdogReopen}, // the message in between has not moved the timer
			{1.1, "dwa", watchdogWait, watchdogReopen},
			{2, "", watchdogSend, watchdogReopen},
			{2.1, "dwa", watchdogWait, watchdogOkay},
			{3, "", watchdogSend, watchdogOkay},
			{4, "", watchdogWait, watchdogSuspect},
			{5, "", watchdogClose, watchdogSuspect},
		},
		"two Tw without a DWA close it": {
			{0, "", watchdogSend, watchdogReopen},
			{1, "other", watchdogWait, watchdogReopen}, // NumDWA is -1 now
			{2, "", watchdogClose, watchdogReopen},
		},
		"a late DWA does not count among the three": {
			{0, "", watchdogSend, watchdogReopen},
			{0.1, "dwa", watchdogWait, watchdogReopen},
			{1, "", watchdogSend, watchdogReopen},
			{2, "", watchdogWait, watchdogReopen},
			{2.1, "dwa", watchdogWait, watchdogReopen}, // NumDWA is 0 now
			{3, "", watchdogSend, watchdogReopen},
			{3.1, "dwa", watchdogWait, watchdogReopen},
			{4, "", watchdogSend, watchdogReopen},
			{4.1, "dwa", watchdogWait, watchdogReopen},
			{5, "", watchdogSend, watchdogReopen},
			{5.1, "dwa", watchdogWait, watchdogOkay},
		},
	}
	for name, steps := range rows {
		t.Run(name, func(t *testing.T) {
			w := watchdog{interval: tw}
			w.up(start, 0, true)
			for _, s := range steps {
				if s.got != "" {
					w.received(at(s.at), 0, s.got == "dwa")
				}
				require.Equal(t, s.action, w.tick(at(s.at), 0), "at %v Tw", s.at)
				require.Equal(t, s.state, w.state, "at %v Tw", s.at)
			}
		})
	}
}

// A peer that comes back is served at once; requests of ours take another way until it has answered three watchdogs. One
// that took leave is not one that was lost.
func TestPeerThatIsBackIsServedAtOnce(t *testing.T) {
	cfg := testConfig()
	cfg.Watchdog = 100 * time.Millisecond // Validate would refuse it
	cfg.Peers = []PeerConfig{
		{Host: "dra1.visited.example", Agent: true, Routes: []string{"*"}}, {Host: "dra2.visited.example", Agent: true, Routes: []string{"*"}},
	}
	n, address := start(t, cfg, answerNothing)
	serve := func(c *client) { // answers watchdogs until its connection ends
		go func() {
			for {
				b, err := readFrame(c.r, maxMessage)
				if err != nil {
					return
				}
				if m, err := Standard.Parse(b); err == nil && m.Request && m.Command == CommandDeviceWatchdog {
					m.Request = false
					m.AVPs = []AVP{ResultCode.Unsigned(Success), OriginHost.Text(c.host), OriginRealm.Text(mmeRealm)}
					_, _ = c.Write(m.Append(nil)) // closed when the test ends
				}
			}
		}()
	}
	state := func(host string) string {
		for _, p := range n.Peers() {
			if p.Host == host {
				return p.State
			}
		}
		return ""
	}
	far := Outgoing{Host: "mme9.far.example", Realm: "far.example"}
	one, two := connect(t, address, "dra1.visited.example"), connect(t, address, "dra2.visited.example")
	serve(two)
	require.NoError(t, one.Conn.(*net.TCPConn).SetLinger(0)) // a reset: the connection is lost
	require.NoError(t, one.Close())
	require.Eventually(t, func() bool { return state("dra1.visited.example") == "" }, patience, time.Millisecond)

	one = connect(t, address, "dra1.visited.example")
	dwr := one.receive()
	require.Equal(t, CommandDeviceWatchdog, dwr.Command, "at once")
	require.Equal(t, "reopen", state("dra1.visited.example"))
	require.Equal(t, "dra2.visited.example", n.next(far).peer.Host)
	one.answerDWR(dwr)
	own := one.air()
	requireResult(t, one.ask(own), Success)
	serve(one)
	require.Eventually(t, func() bool { return state("dra1.visited.example") == "okay" }, patience, time.Millisecond)

	bye := two.base(CommandDisconnectPeer, DisconnectCause.Unsigned(0))
	bye.AVPs[0] = OriginHost.Text(two.host)
	two.send(bye)
	require.Eventually(t, func() bool { c := n.lookup(two.host); return c == nil || c.isDraining() }, patience, time.Millisecond)
	require.NoError(t, two.Close())
	require.Eventually(t, func() bool { return state("dra2.visited.example") == "" }, patience, time.Millisecond)
	connect(t, address, "dra2.visited.example")
	require.Equal(t, "okay", state("dra2.visited.example"))
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

package diameter

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func agentConfig() Config {
	cfg := testConfig()
	cfg.Peers = append([]PeerConfig{{Host: "dra1.visited.example", Agent: true}}, cfg.Peers...)
	return cfg
}

func TestOnlyAnAgentBringsRequestsOfOthers(t *testing.T) {
	_, address := start(t, agentConfig(), answerNothing)
	for host, want := range map[string]uint32{"dra1.visited.example": Success, "mme2.visited.example": UnknownPeer} {
		c := connect(t, address, host)
		c.host = mmeHost // Origin-Host of what it brings
		requireResult(t, c.ask(c.air()), want)
	}
}

func TestRouteRecordAndProxyInfoAreKept(t *testing.T) {
	_, address := start(t, agentConfig(), answerNothing)
	c := connect(t, address, "dra1.visited.example")
	c.host = mmeHost
	proxy := func(host, state string) AVP {
		return ProxyInfo.Group(Standard.AVP("Proxy-Host").Text(host), Standard.AVP("Proxy-State").Octets([]byte(state)))
	}
	req := c.air()
	req.AVPs = append(req.AVPs, RouteRecord.Text(mmeHost), proxy("dra1.visited.example", "one"), proxy("dra2.ipx.example", "two"), RouteRecord.Text("dra2.ipx.example"))
	ans := c.ask(req)
	requireResult(t, ans, Success)
	var kept []AVP
	for _, a := range ans.AVPs {
		if a.Is(ProxyInfo) || a.Is(RouteRecord) {
			kept = append(kept, a)
		}
	}
	require.Len(t, kept, 4)
	for i, a := range req.AVPs[len(req.AVPs)-4:] {
		require.Equal(t, a.Append(nil), kept[i].Append(nil))
	}

	looped := c.air()
	looped.AVPs = append(looped.AVPs, RouteRecord.Text(strings.ToUpper(ourHost)))
	requireResult(t, c.ask(looped), LoopDetected)
	requireResult(t, c.ask(c.air()), Success)
}

func TestRepeatedRequestIsAnsweredAsBefore(t *testing.T) {
	var worked atomic.Int32
	n, address := start(t, agentConfig(), func(context.Context, Request) ([]AVP, error) {
		return []AVP{Standard.AVP("ULA-Flags").Unsigned(uint32(worked.Add(1)))}, nil
	})
	value := func(m Message) uint32 {
		a, _ := m.First(Standard.AVP("ULA-Flags"))
		return a.Unsigned()
	}
	c := connect(t, address, mmeHost)
	first := c.air()
	require.EqualValues(t, 1, value(c.ask(first)))

	d := connect(t, address, "dra1.visited.example") // over another way, as after a failover
	again := first
	again.Retransmitted, again.HopByHop = true, 77
	d.send(again)
	ans := d.receive()
	require.EqualValues(t, 77, ans.HopByHop)
	require.Equal(t, first.EndToEnd, ans.EndToEnd)
	require.EqualValues(t, 1, value(ans))
	require.EqualValues(t, 1, n.stats.repeated.Load())

	again.Retransmitted = false // the same end-to-end id without the T bit is the sender's business
	d.send(again)
	require.EqualValues(t, 2, value(d.receive()))
	fresh := d.air()
	fresh.Retransmitted = true // the first was lost on its way
	fresh.EndToEnd = 4711
	d.host = mmeHost
	d.send(fresh)
	require.EqualValues(t, 3, value(d.receive()))
}

func TestPassingFailuresAreNotRepeated(t *testing.T) {
	results := []error{&Error{Code: TooBusy}, &Error{Code: 4181, Vendor: Vendor3GPP}, nil}
	_, address := start(t, testConfig(), func(context.Context, Request) ([]AVP, error) {
		err := results[0]
		results = results[1:]
		return nil, err
	})
	c := connect(t, address, mmeHost)
	req := c.air()
	for range 2 {
		c.send(req)
		require.Error(t, c.receive().Err())
		req.Retransmitted = true
	}
	c.send(req)
	require.NoError(t, c.receive().Err())
}

func TestDuplicatesAreBounded(t *testing.T) {
	d := newDuplicates()
	now := time.Unix(1, 0)
	req := func(i int) Message { return Message{Header: Header{EndToEnd: uint32(i), HopByHop: uint32(i)}} }
	answer := Message{}.Append(nil)
	for i := range maxDuplicates + 10 {
		d.put(req(i), answer, now)
	}
	require.Len(t, d.kept, maxDuplicates)
	require.Len(t, d.index, maxDuplicates)
	require.Nil(t, d.get(req(0), now))
	require.NotNil(t, d.get(req(10), now))
	require.NotNil(t, d.get(req(maxDuplicates+9), now.Add(duplicatesFor)))
	require.Nil(t, d.get(req(maxDuplicates+9), now.Add(duplicatesFor+1)))

	later := now.Add(duplicatesFor + 1)
	d.put(req(1), answer, later) // which has the old ones leave
	require.Len(t, d.kept, 1)
	large := make([]byte, maxMessage)
	for i := range 2 * maxDuplicateOctets / maxMessage {
		d.put(req(i), large, later)
		require.LessOrEqual(t, d.octets, maxDuplicateOctets)
	}
	require.Len(t, d.index, maxDuplicateOctets/maxMessage)
	require.Nil(t, d.get(req(1), later))
	again := Message{Header: Header{Error: true}}.Append(nil)
	d.put(req(5000), answer, later)
	d.put(req(5000), again, later)
	require.Equal(t, again[4], d.get(req(5000), later)[4], "the last counts")
}

func TestRateOfAPeer(t *testing.T) {
	cfg := testConfig()
	cfg.Peers[0].Rate = 3
	_, address := start(t, cfg, answerNothing)
	c := connect(t, address, mmeHost)
	busy := 0
	for range 50 { // faster than 3 a second for certain
		if err := c.ask(c.air()).Err(); err != nil {
			require.ErrorContains(t, err, "3004")
			busy++
		}
	}
	require.Greater(t, busy, 20)
	requireResult(t, c.ask(c.base(CommandDeviceWatchdog)), Success) // a watchdog is no request of theirs

	b := newBucket(10, time.Unix(0, 0))
	for range 10 {
		require.True(t, b.take(time.Unix(0, 0)))
	}
	require.False(t, b.take(time.Unix(0, 0)))
	require.True(t, b.take(time.Unix(0, int64(100*time.Millisecond))))
	require.False(t, b.take(time.Unix(0, int64(100*time.Millisecond))))
	unlimited := newBucket(0, time.Unix(0, 0))
	require.True(t, unlimited.take(time.Unix(0, 0)))
}

func TestWaysToAHost(t *testing.T) {
	cfg := agentConfig()
	cfg.Peers = append([]PeerConfig{{Host: "dra2.visited.example", Agent: true, Routes: []string{"far.example"}}}, cfg.Peers...)
	n, address := start(t, cfg, answerNothing)
	require.False(t, n.Reaches("mme9.far.example", "far.example", ""))
	dra1, dra2 := connect(t, address, "dra1.visited.example"), connect(t, address, "dra2.visited.example")
	via := func(o Outgoing) string {
		if c := n.next(o); c != nil {
			return c.peer.Host
		}
		return ""
	}
	far := Outgoing{Host: "mme9.far.example", Realm: "far.example"}
	require.Equal(t, "dra2.visited.example", via(far), "by its realm")
	far.Via = "DRA1.visited.example"
	require.Equal(t, "dra1.visited.example", via(far), "as the caller knows")
	far.Via = ""

	dra1.host = "mme9.far.example"
	req := dra1.air()
	requireResult(t, dra1.ask(req), Success)
	require.Equal(t, "dra1.visited.example", via(far), "where it was seen")
	for tries, way := range []string{"dra1", "dra2", "dra1"} {
		again := far
		again.Tries = tries
		require.Equal(t, way+".visited.example", via(again), "the ways take turns")
	}
	require.NoError(t, dra1.Close())
	require.Eventually(t, func() bool { return via(far) == "dra2.visited.example" }, patience, time.Millisecond)
	require.Empty(t, via(Outgoing{Host: "mme1.elsewhere.example", Realm: "elsewhere.example"}))
	_ = dra2
}

func TestSeenIsBounded(t *testing.T) {
	var s seen
	for i := range maxSeen + 100 {
		s.note(strings.Repeat("a", i%200)+string(rune('a'+i%26))+time.Duration(i).String(), "dra1")
	}
	require.LessOrEqual(t, len(s.via), maxSeen)
}

// We connect to a peer, and again when it has closed.
func TestWeConnectAndReconnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	cfg := testConfig()
	cfg.ReconnectAfter = 10 * time.Millisecond
	cfg.Peers = []PeerConfig{{Host: "dra1.visited.example", Realm: mmeRealm, Agent: true, Connect: l.Addr().String()}}
	n, _ := start(t, cfg, answerNothing)
	for round := range 3 {
		nc, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
		c := &client{t: t, Conn: nc, r: bufio.NewReader(nc), host: mmeHost}
		cer := c.receive()
		require.NoError(t, Standard.Command(ApplicationBase, CommandCapabilitiesExchange).checkRequest(cer))
		require.Equal(t, ourHost, cer.Text(OriginHost))
		cea := c.cerOf("dra1.visited.example")
		cea.Request, cea.HopByHop, cea.EndToEnd = false, cer.HopByHop, cer.EndToEnd
		cea.AVPs = append(cea.AVPs, ResultCode.Unsigned(Success))
		if round == 1 { // somebody else answers there: it is not spoken to
			cea.AVPs[0] = OriginHost.Text("stranger.example")
			c.send(cea)
			c.closed()
			continue
		}
		c.send(cea)
		c.host = mmeHost
		requireResult(t, c.ask(c.air()), Success)
		require.Len(t, n.Peers(), 1)
		require.NoError(t, c.Close())
	}
}

func TestIPv6(t *testing.T) {
	cfg := testConfig()
	cfg.Listen = []string{"[::1]:0"}
	cfg.Peers = []PeerConfig{{Host: "*.visited.example", Realm: mmeRealm, Addresses: []string{"::1/128"}}}
	n, address := start(t, cfg, answerNothing)
	c := connect(t, address, mmeHost)
	requireResult(t, c.ask(c.air()), Success)
	require.Equal(t, "::1", n.Peers()[0].Address.Addr().String())
}

// A name that has other letters than a domain name's could not be compared without case by all who do: a SIM that is
// registered under it would be nobody's to take.
func TestIdentitiesAreDomainNames(t *testing.T) {
	n, address := start(t, agentConfig(), answerNothing)
	dra := connect(t, address, "dra1.visited.example")
	for _, host := range []string{"mmeÉ.visited.example", "mme\xff.visited.example", "mme 1.visited.example", "mme1!", "mme/1"} {
		dra.host = host
		requireResult(t, dra.ask(dra.air()), InvalidAVPValue)
	}
	stranger := dial(t, address)
	requireResult(t, stranger.ask(stranger.cerOf("mmeÉ.visited.example")), InvalidAVPValue)
	dra.host = "MME_1-a.visited.example"
	requireResult(t, dra.ask(dra.air()), Success)
	require.Len(t, n.Peers(), 1)
}

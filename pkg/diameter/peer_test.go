package diameter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func asTimeout(err error, target *net.Error) bool {
	return errors.As(err, target) && (*target).Timeout()
}

func drop(m Message, def *AVPDef) Message {
	var kept []AVP
	for _, a := range m.AVPs {
		if !a.Is(def) {
			kept = append(kept, a)
		}
	}
	m.AVPs = kept
	return m
}

func TestCapabilitiesExchange(t *testing.T) {
	replace := func(m Message, a AVP) Message {
		m = drop(m, a.Def)
		m.AVPs = append(m.AVPs, a)
		return m
	}
	rows := []struct {
		name string
		cer  func(Message) Message
		code uint32
	}{
		{"an allowed peer", func(m Message) Message { return m }, Success},
		{"its name in capitals", func(m Message) Message { return replace(m, OriginHost.Text(strings.ToUpper(mmeHost))) }, Success},
		{"a relay", func(m Message) Message {
			m = drop(m, VendorSpecificApplicationID)
			return replace(m, AuthApplicationID.Unsigned(ApplicationRelay))
		}, Success},
		{"TLS offered beside none", func(m Message) Message {
			m.AVPs = append(m.AVPs, InbandSecurityID.Unsigned(1), InbandSecurityID.Unsigned(0))
			return m
		}, Success},
		{"an unknown host", func(m Message) Message { return replace(m, OriginHost.Text("mme1.other.example")) }, UnknownPeer},
		{"the domain itself is not below it", func(m Message) Message { return replace(m, OriginHost.Text("visited.example")) }, UnknownPeer},
		{"an unknown realm", func(m Message) Message { return replace(m, OriginRealm.Text("other.example")) }, UnknownPeer},
		{"no application in common", func(m Message) Message {
			return replace(m, VendorSpecificApplicationID.Group(VendorID.Unsigned(Vendor3GPP), AuthApplicationID.Unsigned(16777236)))
		}, NoCommonApplication},
		{"inband TLS only", func(m Message) Message { return replace(m, InbandSecurityID.Unsigned(1)) }, NoCommonSecurity},
		{"no Host-IP-Address", func(m Message) Message { return drop(m, HostIPAddress) }, MissingAVP},
		{"an unknown AVP with the M bit", func(m Message) Message {
			m.AVPs = append(m.AVPs, AVP{Code: 50000, Mandatory: true})
			return m
		}, AVPUnsupported},
	}
	_, address := start(t, testConfig(), answerNothing)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := dial(t, address)
			cea := c.ask(row.cer(c.cer()))
			requireResult(t, cea, row.code)
			state, _ := cea.First(OriginStateID)
			require.EqualValues(t, 7, state.Unsigned())
			app, _ := cea.First(VendorSpecificApplicationID)
			require.Equal(t, s6aCommon()[0].Members[1].Data, app.Members[1].Data)
			require.Len(t, drop(cea, VendorSpecificApplicationID).AVPs, len(cea.AVPs)-1, "one application and no more")
			if row.code == Success {
				requireResult(t, c.ask(c.air()), Success)
			} else {
				c.closed()
			}
		})
	}
}

func TestPeerFromAnotherAddressIsRefused(t *testing.T) {
	cfg := testConfig()
	cfg.Peers = []PeerConfig{{Host: mmeHost, Addresses: []string{"10.0.0.1"}}}
	_, address := start(t, cfg, answerNothing)
	dial(t, address).closed()

	cfg.Peers = append(cfg.Peers, PeerConfig{Host: "mme2.visited.example", Addresses: []string{"127.0.0.1"}})
	_, address = start(t, cfg, answerNothing)
	c := dial(t, address)
	requireResult(t, c.ask(c.cer()), UnknownPeer) // the address is another peer's
}

func TestRequestsRightBehindTheCERAreAnswered(t *testing.T) {
	_, address := start(t, testConfig(), answerNothing)
	c := dial(t, address)
	const n = 300
	messages := []Message{c.cer()}
	for range n {
		messages = append(messages, c.air())
	}
	c.send(messages...)
	requireResult(t, c.receive(), Success)
	seen := map[uint32]bool{}
	for range n {
		m := c.receive()
		requireResult(t, m, Success)
		seen[m.HopByHop] = true
	}
	require.Len(t, seen, n)
}

func TestRefusedRequests(t *testing.T) {
	broken := AVP{Code: 1407, Vendor: Vendor3GPP, Mandatory: true, Data: []byte{1, 2, 3}}
	rows := []struct {
		name   string
		edit   func(Message) Message
		code   uint32
		failed uint32 // AVP code
	}{
		{"an unknown command", func(m Message) Message { m.Command = 323; return m }, CommandUnsupported, 0},
		{"an unknown command of the base protocol", func(m Message) Message { m.Application, m.Command = 0, 999; return m }, CommandUnsupported, 0},
		{"an unknown application", func(m Message) Message { m.Application = 16777252; return m }, ApplicationUnsupported, 0},
		{"another realm", func(m Message) Message {
			m = drop(m, DestinationRealm)
			m.AVPs = append(m.AVPs, DestinationRealm.Text("elsewhere.example"))
			return m
		}, RealmNotServed, 0},
		{"another host", func(m Message) Message { m.AVPs = append(m.AVPs, DestinationHost.Text("nobody.example.net")); return m }, UnableToDeliver, 0},
		{"a missing AVP", func(m Message) Message { return drop(m, broken.def()) }, MissingAVP, 1407},
		{"an unknown AVP with the M bit", func(m Message) Message { m.AVPs = append(m.AVPs, AVP{Code: 50000, Mandatory: true}); return m }, AVPUnsupported, 50000},
		{"an AVP twice", func(m Message) Message { m.AVPs = append(m.AVPs, broken); return m }, AVPOccursTooManyTimes, 1407},
		{"the E bit", func(m Message) Message { m.Error = true; return m }, InvalidHeaderBits, 0},
		{"a number of two octets", func(m Message) Message {
			m.AVPs = append(m.AVPs, AVP{Code: 1412, Vendor: Vendor3GPP, Data: []byte{1, 2}})
			return m
		}, InvalidAVPLength, 1412},
		{"a second CER", func(m Message) Message { return (&client{last: m.HopByHop - 1, Conn: noConn{}}).cer() }, UnableToComply, 0},
	}
	n, address := start(t, testConfig(), answerNothing)
	c := connect(t, address, mmeHost)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c.t = t
			proxy := ProxyInfo.Group(Standard.AVP("Proxy-Host").Text("agent"), Standard.AVP("Proxy-State").Octets([]byte{1, 2}))
			req := c.air()
			req.AVPs = append(req.AVPs, proxy)
			req = row.edit(req)
			c.send(req)
			ans := c.receive()
			require.Equal(t, req.HopByHop, ans.HopByHop)
			requireResult(t, ans, row.code)
			failed, ok := ans.First(FailedAVP)
			require.Equal(t, row.failed != 0, ok)
			if ok {
				require.Equal(t, row.failed, failed.Members[0].Code)
			}
			if ans.Application == s6a && row.code != InvalidAVPLength {
				require.Equal(t, "mme1;1;1", ans.Text(SessionID))
				kept, _ := ans.First(ProxyInfo)
				require.Equal(t, proxy.Append(nil), kept.Append(nil))
			}
		})
	}
	c.t = t
	requireResult(t, c.ask(c.air()), Success)
	require.Equal(t, 1.0, testutil.ToFloat64(requestCount{n, requestKey{"received", "AIR", "*.visited.example", "5005"}}))
}

func (a AVP) def() *AVPDef { return Standard.avps[avpKey{a.Code, a.Vendor}] }

type noConn struct{ net.Conn }

func (noConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func TestHandlerErrorsAndPanics(t *testing.T) {
	var err error
	var avps []AVP
	_, address := start(t, testConfig(), func(context.Context, Request) ([]AVP, error) {
		if errors.Is(err, io.ErrNoProgress) {
			panic("a fault of ours")
		}
		return avps, err
	})
	c := connect(t, address, mmeHost)

	err = &Error{Code: 5001, Vendor: Vendor3GPP, AVPs: []AVP{Standard.AVP("Error-Diagnostic").Unsigned(2)}}
	ans := c.ask(c.air())
	vendor, code := ans.result()
	require.Equal(t, []uint32{Vendor3GPP, 5001}, []uint32{vendor, code})
	require.False(t, ans.Error)
	diagnostic, _ := ans.First(Standard.AVP("Error-Diagnostic"))
	require.EqualValues(t, 2, diagnostic.Unsigned())
	_, ok := ans.First(AuthSessionState)
	require.True(t, ok)

	err = io.ErrUnexpectedEOF
	requireResult(t, c.ask(c.air()), UnableToComply)
	err = io.ErrNoProgress
	requireResult(t, c.ask(c.air()), UnableToComply)
	err, avps = nil, []AVP{Standard.AVP("PUA-Flags").Unsigned(1)}
	ans = c.ask(c.air())
	requireResult(t, ans, Success)
	flags, _ := ans.First(Standard.AVP("PUA-Flags"))
	require.EqualValues(t, 1, flags.Unsigned())
}

func TestBusyWorkersHoldThePeerBackAndLoseNothing(t *testing.T) {
	var inWork, most atomic.Int32
	release := make(chan struct{})
	cfg := testConfig()
	cfg.Workers = 2
	_, address := start(t, cfg, func(context.Context, Request) ([]AVP, error) {
		most.Store(max(most.Load(), inWork.Add(1)))
		<-release
		inWork.Add(-1)
		return nil, nil
	})
	c := connect(t, address, mmeHost)
	const n = 200
	for range n {
		c.send(c.air())
	}
	require.Eventually(t, func() bool { return inWork.Load() == 2 }, patience, time.Millisecond)
	other := connect(t, address, "mme2.visited.example") // another peer has workers of its own
	other.send(other.air())
	require.Eventually(t, func() bool { return inWork.Load() == 3 }, patience, time.Millisecond)
	close(release)
	for range n {
		requireResult(t, c.receive(), Success)
	}
	requireResult(t, other.receive(), Success)
	require.LessOrEqual(t, most.Load(), int32(4))
}

func TestPeerThatNeverReadsIsCutOff(t *testing.T) {
	cfg := testConfig()
	cfg.WriteWithin = 50 * time.Millisecond
	big := []AVP{Standard.AVP("XRES").Octets(make([]byte, 48<<10))}
	n, address := start(t, cfg, func(context.Context, Request) ([]AVP, error) { return big, nil })
	c := connect(t, address, mmeHost)
	require.NoError(t, c.Conn.(*net.TCPConn).SetReadBuffer(4096))
	honest := connect(t, address, "mme2.visited.example")
	for range 1000 {
		if _, err := c.Write(c.air().Append(nil)); err != nil {
			break
		}
		if n.lookup(mmeHost) == nil {
			break
		}
	}
	require.Eventually(t, func() bool { return n.lookup(mmeHost) == nil }, patience, time.Millisecond)
	requireEnded(t, n, "not_reading", 1)
	requireResult(t, honest.ask(honest.air()), Success)
}

// requireEnded waits until so many connections have ended for that reason.
func requireEnded(t *testing.T, n *Node, reason string, want uint64) {
	t.Helper()
	require.Eventually(t, func() bool {
		n.stats.mu.Lock()
		defer n.stats.mu.Unlock()
		return n.stats.ends[[2]string{"*.visited.example", reason}] == want
	}, patience, time.Millisecond)
}

// A peer that sends a request octet by octet is no peer that answers its watchdog.
func TestPeerThatSendsAnOctetAtATimeIsCutOff(t *testing.T) {
	cfg := testConfig()
	cfg.Watchdog = 60 * time.Millisecond // Validate would refuse it
	n, address := start(t, cfg, answerNothing)
	c := connect(t, address, mmeHost)
	request := c.air().Append(nil)
	for i := 0; n.lookup(mmeHost) != nil && i < len(request)-1; i++ {
		_, _ = c.Write(request[i : i+1]) // it may have been cut off
		time.Sleep(5 * time.Millisecond)
	}
	requireEnded(t, n, "watchdog", 1)
	honest := connect(t, address, "mme2.visited.example")
	requireResult(t, honest.ask(honest.air()), Success)
}

func TestPeerThatReconnectsReplacesItsOldConnection(t *testing.T) {
	n, address := start(t, testConfig(), answerNothing)
	old := connect(t, address, mmeHost)
	again := connect(t, address, mmeHost)
	old.closed()
	requireResult(t, again.ask(again.air()), Success)
	require.Len(t, n.Peers(), 1)
	require.Equal(t, again.LocalAddr().String(), n.Peers()[0].Address.String())
}

func TestTooManyPeers(t *testing.T) {
	cfg := testConfig()
	cfg.MaxPeers = 1
	_, address := start(t, cfg, answerNothing)
	connect(t, address, mmeHost)
	c := dial(t, address)
	requireResult(t, c.ask(c.cerOf("mme2.visited.example")), TooBusy)
	connect(t, address, mmeHost) // the one that is open may come again
}

func TestDeviceWatchdog(t *testing.T) {
	cfg := testConfig()
	cfg.Watchdog = 30 * time.Millisecond // Validate would refuse it
	_, address := start(t, cfg, answerNothing)
	c := connect(t, address, mmeHost)
	for range 2 {
		dwr := c.receive()
		require.True(t, dwr.Request)
		require.Equal(t, CommandDeviceWatchdog, dwr.Command)
		require.NoError(t, Standard.Command(0, dwr.Command).checkRequest(dwr))
		c.answerDWR(dwr)
	}
	c.closed() // now we stay silent
}

func TestPeersWatchdogIsAnswered(t *testing.T) {
	_, address := start(t, testConfig(), answerNothing)
	c := connect(t, address, mmeHost)
	dwa := c.ask(c.base(CommandDeviceWatchdog))
	requireResult(t, dwa, Success)
	state, _ := dwa.First(OriginStateID)
	require.EqualValues(t, 7, state.Unsigned())
}

func TestDisconnectPeer(t *testing.T) {
	n, address := start(t, testConfig(), answerNothing)
	c := connect(t, address, mmeHost)
	requireResult(t, c.ask(c.base(CommandDisconnectPeer, DisconnectCause.Unsigned(0))), Success)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return len(n.Peers()) == 0 }, patience, time.Millisecond)
}

func TestStopTakesLeaveOfEveryPeer(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	slow := func(context.Context, Request) ([]AVP, error) {
		close(begun)
		<-release
		return nil, nil
	}
	n := New(testConfig(), slog.New(slog.DiscardHandler), 7, Application{ID: s6a, Handlers: map[uint32]Handler{318: slow}})
	require.NoError(t, n.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	c := connect(t, n.Addresses()[0], mmeHost)
	stranger := dial(t, n.Addresses()[0])
	c.send(c.air())
	<-begun
	cancel()
	stranger.closed()
	require.Eventually(t, func() bool {
		requireResult(t, c.ask(c.base(CommandDeviceWatchdog)), Success)
		c := n.lookup(mmeHost)
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.draining
	}, patience, time.Millisecond)
	requireResult(t, c.ask(c.air()), TooBusy) // nothing new
	close(release)
	requireResult(t, c.receive(), Success) // what was in work
	dpr := c.receive()
	require.Equal(t, CommandDisconnectPeer, dpr.Command)
	require.NoError(t, Standard.Command(0, dpr.Command).checkRequest(dpr))
	dpr.Request = false
	dpr.AVPs = []AVP{ResultCode.Unsigned(Success), OriginHost.Text(mmeHost), OriginRealm.Text(mmeRealm)}
	c.send(dpr)
	require.NoError(t, <-ended)
	c.closed()
}

func TestHostileStrangers(t *testing.T) {
	cfg := testConfig()
	cfg.MaxStrangers = 8
	_, address := start(t, cfg, answerNothing)
	honest := connect(t, address, mmeHost)
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	slow := (&client{Conn: noConn{}}).cer().Append(nil)[:40]
	rows := map[string][]byte{
		"a header of length 0":      octets(t, "01 00 00 00 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02"),
		"a header of length 16 MiB": octets(t, "01 ff ff ff 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02"),
		"a first message of 60 KiB": octets(t, "01 00 f0 00 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02"),
		"random octets":             noise,
		"a request before the CER":  honest.air().Append(nil),
	}
	for name, b := range rows {
		t.Run(name, func(t *testing.T) {
			c := dial(t, address)
			_, err := c.Write(b)
			require.NoError(t, err)
			c.closed()
		})
	}
	for range 100 { // half a CER each, and silence
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, _ = c.Write(slow) // may have been closed already
	}
	requireResult(t, honest.ask(honest.air()), Success)
	connect(t, address, "mme2.visited.example")
}

func TestSilentStrangerIsClosed(t *testing.T) {
	cfg := testConfig()
	cfg.CapabilitiesWithin = 20 * time.Millisecond
	_, address := start(t, cfg, answerNothing)
	dial(t, address).closed()
}

func TestFramingErrorEndsAnOpenConnection(t *testing.T) {
	n, address := start(t, testConfig(), answerNothing)
	c := connect(t, address, mmeHost)
	honest := connect(t, address, "mme2.visited.example")
	_, err := c.Write(octets(t, "01 00 00 00 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02"))
	require.NoError(t, err)
	c.closed()
	requireResult(t, honest.ask(honest.air()), Success)
	n.stats.mu.Lock()
	defer n.stats.mu.Unlock()
	require.EqualValues(t, 1, n.stats.frames["*.visited.example"])
}

func TestOwnRequests(t *testing.T) {
	cfg := testConfig()
	cfg.AnswerWithin = 50 * time.Millisecond
	n, address := start(t, cfg, answerNothing)
	ctx := context.Background()
	_, err := n.Send(ctx, Outgoing{Host: mmeHost, Realm: mmeRealm, Application: s6a, Command: 317})
	require.ErrorIs(t, err, ErrNotConnected)

	c := connect(t, address, mmeHost)
	type outcome struct {
		m   Message
		err error
	}
	send := func() <-chan outcome {
		ch := make(chan outcome, 1)
		go func() {
			m, err := n.Send(ctx, Outgoing{
				Host: mmeHost, Realm: mmeRealm, Application: s6a, Command: 317,
				AVPs: []AVP{UserName.Text("001010000000001"), Standard.AVP("Cancellation-Type").Unsigned(0)},
			})
			ch <- outcome{m, err}
		}()
		return ch
	}
	done := send()
	clr := c.receive()
	require.NoError(t, Standard.Command(s6a, 317).checkRequest(clr))
	require.Equal(t, mmeHost, clr.Text(DestinationHost))
	stray := clr
	stray.Request, stray.HopByHop = false, clr.HopByHop+1
	c.send(stray) // an answer to nothing harms nobody
	ans := Message{Header: clr.Header, AVPs: []AVP{clr.AVPs[0], ResultCode.Unsigned(Success), OriginHost.Text(mmeHost)}}
	ans.Request = false
	c.send(ans)
	got := <-done
	require.NoError(t, got.err)
	require.Equal(t, mmeHost, got.m.Text(OriginHost))

	done = send()
	second := c.receive()
	require.NotEqual(t, clr.EndToEnd, second.EndToEnd)
	require.NotEqual(t, clr.HopByHop, second.HopByHop)
	require.ErrorIs(t, (<-done).err, context.DeadlineExceeded, "no answer comes")

	open := n.lookup(mmeHost)
	open.mu.Lock()
	for i := range uint32(maxPending) {
		open.pending[1<<31+i] = nil
	}
	open.mu.Unlock()
	require.ErrorIs(t, (<-send()).err, ErrTooMany)
	open.mu.Lock()
	clear(open.pending)
	open.mu.Unlock()

	done = send()
	c.receive()
	require.NoError(t, c.Close())
	require.ErrorIs(t, (<-done).err, errPeerClosed)
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, testConfig().Validate())
	err := Config{Listen: []string{"here"}, Transports: []string{"udp"}, Peers: []PeerConfig{{Host: "*.ok", Addresses: []string{"1.2.3.4/33"}}}}.Validate()
	require.EqualError(t, err, strings.TrimSpace(`
answer_within: 0s, want more than 0
capabilities_within: 0s, want more than 0
identity: "" is not a domain name
listen[0]: "here" is not IP:port
max_peers: 0, at least 1
max_strangers: 0, at least 1
peers[0].addresses: "1.2.3.4/33" is neither an address nor a prefix
realm: "" is not a domain name
reconnect_after: 0s, want more than 0
transports[0]: "udp", want tcp or sctp
watchdog: 0s, at least 6s (RFC 3539 3.4.1)
workers: 0, at least 1
write_within: 0s, want more than 0`))
}

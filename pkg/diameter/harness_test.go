package diameter

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ourHost, ourRealm = "hss1.example.net", "example.net"
	mmeHost, mmeRealm = "mme1.visited.example", "visited.example"
	patience          = 20 * time.Second // a test that waits so long has failed
)

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Identity, cfg.Realm = ourHost, ourRealm
	cfg.Listen, cfg.Transports = []string{"127.0.0.1:0"}, []string{"tcp"}
	cfg.Peers = []PeerConfig{{Host: "*.visited.example", Realm: mmeRealm, Addresses: []string{"127.0.0.0/8"}}}
	return cfg
}

// s6aCommon is what S6a messages carry, TS 29.272 7.1.8 and 7.1.9.
func s6aCommon() []AVP {
	return []AVP{
		VendorSpecificApplicationID.Group(VendorID.Unsigned(Vendor3GPP), AuthApplicationID.Unsigned(s6a)),
		AuthSessionState.Unsigned(1),
	}
}

// start runs a node until the test ends and returns it with its address. handler answers AIRs.
func start(t *testing.T, cfg Config, handler Handler) (*Node, string) {
	t.Helper()
	return run(t, cfg, Application{ID: s6a, Handlers: map[uint32]Handler{318: handler}, Common: s6aCommon()})
}

// startGroup is start with a handler of groups.
func startGroup(t *testing.T, handler GroupHandler) (*Node, string) {
	t.Helper()
	return run(t, testConfig(), Application{ID: s6a, Groups: map[uint32]GroupHandler{318: handler}, Common: s6aCommon()})
}

func run(t *testing.T, cfg Config, app Application) (*Node, string) {
	t.Helper()
	n := New(cfg, slog.New(slog.DiscardHandler), 7, app)
	require.NoError(t, n.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("the node does not stop")
		}
	})
	return n, n.Addresses()[0]
}

func answerNothing(context.Context, Request) ([]AVP, error) { return nil, nil }

// client is a peer by hand.
type client struct {
	t *testing.T
	net.Conn
	r    *bufio.Reader
	last uint32
	host string // as the CER said
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	return &client{t: t, Conn: nc, r: bufio.NewReader(nc), host: mmeHost}
}

func (c *client) send(messages ...Message) {
	c.t.Helper()
	var b []byte
	for _, m := range messages {
		b = m.Append(b)
	}
	_, err := c.Write(b)
	require.NoError(c.t, err)
}

func (c *client) receive() Message {
	c.t.Helper()
	b, err := readFrame(c.r, maxMessage)
	require.NoError(c.t, err)
	m, err := Standard.Parse(b)
	require.NoError(c.t, err)
	return m
}

// answerDWR answers a watchdog.
func (c *client) answerDWR(dwr Message) {
	c.t.Helper()
	dwr.Request = false
	dwr.AVPs = []AVP{ResultCode.Unsigned(Success), OriginHost.Text(c.host), OriginRealm.Text(mmeRealm)}
	c.send(dwr)
}

// next receives what is no watchdog, and answers those.
func (c *client) next() Message {
	c.t.Helper()
	for {
		m := c.receive()
		if !m.Request || m.Command != CommandDeviceWatchdog {
			return m
		}
		c.answerDWR(m)
	}
}

// ask sends one request and returns its answer.
func (c *client) ask(m Message) Message {
	c.t.Helper()
	c.send(m)
	ans := c.next()
	require.Equal(c.t, Header{Command: m.Command, Application: m.Application, HopByHop: m.HopByHop, EndToEnd: m.EndToEnd, Proxiable: m.Proxiable, Error: ans.Error}, ans.Header)
	return ans
}

// closed waits until the other side has closed.
func (c *client) closed() {
	c.t.Helper()
	for {
		if _, err := readFrame(c.r, maxMessage); err != nil {
			var timeout net.Error
			if ok := asTimeout(err, &timeout); ok {
				require.Fail(c.t, "the connection is still open")
			}
			return
		}
	}
}

func (c *client) request(application, command uint32, avps ...AVP) Message {
	c.last++
	return Message{Header: Header{Request: true, Command: command, Application: application, HopByHop: c.last, EndToEnd: c.last + 1000}, AVPs: avps}
}

func (c *client) base(command uint32, avps ...AVP) Message {
	return c.request(ApplicationBase, command, append([]AVP{OriginHost.Text(mmeHost), OriginRealm.Text(mmeRealm)}, avps...)...)
}

func (c *client) cer() Message { return c.cerOf(mmeHost) }

func (c *client) cerOf(host string) Message {
	c.host = host
	m := c.request(ApplicationBase, CommandCapabilitiesExchange, OriginHost.Text(host), OriginRealm.Text(mmeRealm))
	m.AVPs = append(m.AVPs, HostIPAddress.Address(localAddress(c.Conn)), VendorID.Unsigned(Vendor3GPP), ProductName.Text("test"), s6aCommon()[0])
	return m
}

func (c *client) air() Message {
	m := c.request(s6a, 318, SessionID.Text("mme1;1;1"))
	m.Proxiable = true
	m.AVPs = append(m.AVPs, s6aCommon()...)
	m.AVPs = append(m.AVPs, OriginHost.Text(c.host), OriginRealm.Text(mmeRealm), DestinationRealm.Text(ourRealm),
		UserName.Text("001010000000001"), Standard.AVP("Visited-PLMN-Id").Octets([]byte{0, 0xf1, 0x10}))
	return m
}

func connect(t *testing.T, address, host string) *client {
	t.Helper()
	c := dial(t, address)
	require.NoError(t, c.ask(c.cerOf(host)).Err())
	return c
}

func requireResult(t *testing.T, m Message, code uint32) {
	t.Helper()
	vendor, got := m.result()
	require.Equal(t, code, got)
	require.Zero(t, vendor)
	require.Equal(t, code/1000 == 3, m.Error, "the E bit goes with 3xxx and nothing else")
	require.Equal(t, ourHost, m.Text(OriginHost))
	require.Equal(t, ourRealm, m.Text(OriginRealm))
}

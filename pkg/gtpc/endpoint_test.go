package gtpc

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// start runs an endpoint on loopback and returns it with a connected peer.
func start(t *testing.T, change func(*EndpointConfig), handle func(*Request)) (*Endpoint, *net.UDPConn) {
	t.Helper()
	cfg := DefaultEndpointConfig()
	cfg.Listen, cfg.RestartCounter = loopback, 7
	if change != nil {
		change(&cfg)
	}
	e, err := Listen(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, handle) }()
	peer, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(e.Addr()))
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, peer.Close())
	})
	return e, peer
}

func send(t *testing.T, c *net.UDPConn, b []byte) {
	t.Helper()
	_, err := c.Write(b)
	require.NoError(t, err)
}

func receive(t *testing.T, c *net.UDPConn) []byte {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	require.NoError(t, err)
	return b[:n]
}

func refuse(*Request) {}

const echo = "40 01 00 09 00 00 01 00  03 00 01 00 0d"

func TestEchoIsAnswered(t *testing.T) {
	_, peer := start(t, nil, refuse)
	send(t, peer, octets(t, echo))
	require.Equal(t, octets(t, "40 02 00 09 00 00 01 00  03 00 01 00 07"), receive(t, peer))
	send(t, peer, octets(t, "40 01 00 04 00 00 02 00"))
	require.Equal(t, octets(t, "40 02 00 09 00 00 02 00  03 00 01 00 07"), receive(t, peer), "without Recovery")
}

func TestOtherVersionsAreAnsweredVersionNotSupported(t *testing.T) {
	e, peer := start(t, nil, refuse)
	// GTPv1-C Echo Request with sequence number 0x1401, as TS 29.060 has it
	send(t, peer, octets(t, "32 01 00 04 00 00 00 00  14 01 00 00"))
	require.Equal(t, octets(t, "40 03 00 04 00 14 01 00"), receive(t, peer))
	send(t, peer, octets(t, "60 01 00 04 00 00 00 00"))
	require.Equal(t, octets(t, "40 03 00 04 00 00 00 00"), receive(t, peer), "version 3")
	// Version Not Supported itself gets no answer: two nodes would never stop.
	send(t, peer, octets(t, "32 03 00 04 00 00 00 00  00 01 00 00"))
	send(t, peer, octets(t, echo))
	require.Equal(t, byte(TypeEchoResponse), receive(t, peer)[1])
	require.Equal(t, uint64(2), e.Stats().OtherVersions[1])
	require.Equal(t, uint64(1), e.Stats().OtherVersions[3])
}

func TestFaultyRequestsAreRefusedWithTheirCause(t *testing.T) {
	e, peer := start(t, nil, refuse)
	create := octets(t, messages[0].hex)

	send(t, peer, create[:len(create)-3])
	require.Equal(t, octets(t, "48 21 00 0e 00 00 00 00 00 00 02 00  02 00 02 00 43 00"), receive(t, peer),
		"shorter than its length says: invalid length")

	noAPN := append([]byte{}, create...)
	at := 12 + 12 + 12 + 12 + 17 + 7 + 5 + 13
	require.Equal(t, byte(ieAPN), noAPN[at])
	noAPN[at], noAPN[10] = 255, 3 // another IE, another sequence number
	send(t, peer, noAPN)
	require.Equal(t, octets(t, "48 21 00 12 00 ff 00 01 00 00 03 00  02 00 06 00 46 00 47 00 00 00"), receive(t, peer),
		"missing APN, sent to the TEID of the sender's F-TEID")
	require.Equal(t, map[Cause]uint64{CauseInvalidLength: 1, CauseMandatoryIEMissing: 1}, e.Stats().ParseErrors)
}

func TestADuplicateGetsTheSameOctets(t *testing.T) {
	requests := make(chan *Request, 10)
	e, peer := start(t, nil, func(r *Request) { requests <- r })
	send(t, peer, octets(t, messages[0].hex))
	r := <-requests
	require.NoError(t, r.Err)
	send(t, peer, octets(t, messages[0].hex)) // while in progress
	send(t, peer, octets(t, echo))            // a barrier: what came before it has been handled
	receive(t, peer)

	require.Error(t, r.Respond(1, &DeleteSessionResponse{Cause: CauseRequestAccepted}), "it does not fit the request")
	require.NoError(t, r.Respond(r.ReplyTEID(), Reject(r.Header.Type, &Error{Cause: CauseMissingOrUnknownAPN})))
	answer := receive(t, peer)
	send(t, peer, octets(t, messages[0].hex))
	require.Equal(t, answer, receive(t, peer))
	require.Empty(t, requests)
	require.Equal(t, uint64(2), e.Stats().Duplicates)
	require.ErrorIs(t, r.Respond(1, Reject(r.Header.Type, &Error{Cause: CauseSystemFailure})), errAnswered)
}

func TestASequenceNumberUsedAgainForAnotherRequestIsNoDuplicate(t *testing.T) {
	requests := make(chan *Request, 10)
	e, peer := start(t, nil, func(r *Request) { requests <- r })
	deletion := octets(t, "48 24 00 0d 00 00 00 07 00 00 01 00   49 00 01 00 05")
	send(t, peer, deletion)
	r := <-requests
	require.NoError(t, r.Respond(1, &DeleteSessionResponse{Cause: CauseRequestAccepted}))
	receive(t, peer)

	deletion[16] = 6 // an SGW that restarted counts from the start again, and means another bearer
	send(t, peer, deletion)
	require.Equal(t, EBI(6), (<-requests).Message.(*DeleteSessionRequest).LinkedEBI.Value)
	deletion[7] = 8 // or another session
	send(t, peer, deletion)
	require.Equal(t, TEID(8), (<-requests).Header.TEID)
	require.Zero(t, e.Stats().Duplicates)
}

func TestTheRetransmissionOfADroppedRequestIsHandedOver(t *testing.T) {
	requests := make(chan *Request, 10)
	e, peer := start(t, nil, func(r *Request) { requests <- r })
	for range 2 {
		send(t, peer, octets(t, messages[0].hex))
		(<-requests).Drop()
		require.Zero(t, e.Stats().Cached)
	}
	send(t, peer, octets(t, messages[0].hex))
	r := <-requests
	require.NoError(t, r.Respond(r.ReplyTEID(), Reject(r.Header.Type, &Error{Cause: CauseMissingOrUnknownAPN})))
	answer := receive(t, peer)
	r.Drop() // too late: it has its answer
	send(t, peer, octets(t, messages[0].hex))
	require.Equal(t, answer, receive(t, peer))
}

func TestAPanicIsACountedReject(t *testing.T) {
	e, peer := start(t, nil, func(*Request) { panic("a bug") })
	send(t, peer, octets(t, messages[0].hex))
	require.Equal(t, byte(CauseSystemFailure), receive(t, peer)[16])
	require.Equal(t, uint64(1), e.Stats().Panics)
}

func TestPiggybackedMessageIsRead(t *testing.T) {
	requests := make(chan *Request, 10)
	_, peer := start(t, nil, func(r *Request) { requests <- r })
	first := octets(t, "58 24 00 0d 00 00 00 07 00 00 01 00   49 00 01 00 05")
	second := octets(t, "48 24 00 0d 00 00 00 08 00 00 02 00   49 00 01 00 05")
	send(t, peer, append(first, second...))
	require.Equal(t, TEID(7), (<-requests).Header.TEID)
	require.Equal(t, TEID(8), (<-requests).Header.TEID)
}

func TestGarbageDisturbsNobody(t *testing.T) {
	e, peer := start(t, nil, refuse)
	create := octets(t, messages[0].hex)
	for n := range create {
		send(t, peer, create[:n])
	}
	for n := range 500 {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		if n > 0 && n%2 == 0 {
			b[0] = 0x48
		}
		if n > 0 && b[0]>>5 == version2 && n > 1 && b[1] == byte(TypeEchoRequest) {
			b[1] = 200
		}
		send(t, peer, b)
	}
	other, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(e.Addr()))
	require.NoError(t, err)
	defer other.Close()
	send(t, other, octets(t, echo))
	require.Equal(t, byte(TypeEchoResponse), receive(t, other)[1])
	require.Zero(t, e.Stats().Panics)
	require.NotZero(t, e.Stats().ShortHeaders)
}

func TestForeignPeersAreNotListenedTo(t *testing.T) {
	e, peer := start(t, func(c *EndpointConfig) { c.Peers = []netip.Prefix{netip.MustParsePrefix("127.84.0.0/24")} }, refuse)
	friend, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 84, 0, 1)}, net.UDPAddrFromAddrPort(e.Addr()))
	require.NoError(t, err)
	defer friend.Close()
	send(t, peer, octets(t, echo))
	send(t, friend, octets(t, echo))
	require.Equal(t, byte(TypeEchoResponse), receive(t, friend)[1])
	require.Equal(t, uint64(1), e.Stats().ForeignPeers)
	require.Equal(t, uint64(1), e.Stats().Sent)
}

func TestACallGetsItsResponse(t *testing.T) {
	type outcome struct {
		m   Message
		err error
	}
	outcomes := make(chan outcome, 1)
	done := func(_ Header, m Message, err error) { outcomes <- outcome{m, err} }
	e, peer := start(t, func(c *EndpointConfig) { c.T3 = 20 * time.Millisecond }, refuse)
	to := peer.LocalAddr().(*net.UDPAddr).AddrPort()

	e.Call(to, 9, &DeleteBearerRequest{LinkedEBI: 5}, done)
	sent := receive(t, peer)
	require.Equal(t, sent, receive(t, peer), "sent again, the same")
	response := octets(t, messages[4].hex)
	copy(response[8:11], sent[8:11])
	send(t, peer, response)
	o := <-outcomes
	require.NoError(t, o.err)
	require.Equal(t, &DeleteBearerResponse{Cause: CauseRequestAccepted}, o.m)

	e.Call(to, 9, &DeleteBearerRequest{LinkedEBI: 5}, done)
	require.ErrorIs(t, (<-outcomes).err, ErrTimeout)

	third := sent[10] + 2 // the low octet of the sequence number
	e.Call(to, 9, &DeleteBearerRequest{LinkedEBI: 5}, done)
	for sent = receive(t, peer); sent[10] != third; sent = receive(t, peer) { // skip what was sent again
	}
	notSupported := append([]byte{0x40, 3, 0, 4}, sent[8:12]...)
	send(t, peer, notSupported)
	require.ErrorIs(t, (<-outcomes).err, ErrVersionNotSupported)
}

func TestASilentPeerIsNoticedAndItsReturnToo(t *testing.T) {
	events := make(chan PathEvent, 10)
	e, _ := start(t, func(c *EndpointConfig) {
		c.T3, c.N3, c.EchoInterval = 10*time.Millisecond, 1, 20*time.Millisecond
		c.Path = func(ev PathEvent) { events <- ev }
	}, refuse)
	host := netip.MustParseAddr("127.84.0.2")
	e.Hold(host, 1)
	require.Equal(t, PathEvent{Peer: host, Kind: PathDown}, <-events)
	require.Equal(t, 1, e.Stats().PathsDown)

	peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: host.AsSlice(), Port: Port})
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := peer.ReadFromUDPAddrPort(b)
			if err != nil {
				answered <- nil
				return
			}
			b[1] = byte(TypeEchoResponse)
			if _, err = peer.WriteToUDPAddrPort(b[:n], from); err != nil {
				answered <- err
				return
			}
		}
	}()
	require.Equal(t, PathEvent{Peer: host, Kind: PathUp}, <-events)
	require.Zero(t, e.Stats().PathsDown)
	require.Equal(t, 1, e.Stats().Paths)
	require.NoError(t, peer.Close())
	require.NoError(t, <-answered)
}

func TestARestartOfAPeerIsToldBeforeItsRequest(t *testing.T) {
	happened := make(chan string, 10)
	_, peer := start(t, func(c *EndpointConfig) {
		c.Path = func(ev PathEvent) { happened <- ev.Kind.String() }
	}, func(r *Request) { happened <- r.Header.Type.String() })
	send(t, peer, octets(t, echo)) // 13
	receive(t, peer)
	modify := octets(t, messages[2].hex)
	modify[len(modify)-1] = 14
	send(t, peer, modify)
	require.Equal(t, "peer_restarted", <-happened)
	require.Equal(t, "modify_bearer_request", <-happened)
}

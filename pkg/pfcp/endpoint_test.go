package pfcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds how long a test waits for what must come; nothing is proved by its passing.
const wait = 10 * time.Second

func testConfig() EndpointConfig {
	cfg := DefaultEndpointConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.NodeID = NodeID{FQDN: "up.example"}
	cfg.RecoveryTimeStamp = 77
	cfg.T1 = 50 * time.Millisecond
	cfg.N1 = 20
	cfg.ReadBuffer = 1 << 20
	return cfg
}

// start runs an endpoint until the test ends.
func start(t testing.TB, cfg EndpointConfig, handle func(*Request)) *Endpoint {
	t.Helper()
	e, err := Listen(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx, handle) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return e
}

// nobody handles requests that must not come.
func nobody(t *testing.T) func(*Request) {
	return func(r *Request) { t.Errorf("unexpected %v", r.Header.Type) }
}

// outcome is what done was told.
type outcome struct {
	header  Header
	message Message
	err     error
}

// asking returns a done and what it is told.
func asking() (func(Header, Message, error), chan outcome) {
	told := make(chan outcome, 10)
	return func(h Header, m Message, err error) { told <- outcome{h, m, err} }, told
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// eventually waits until the counters are as they must become.
func eventually(t *testing.T, e *Endpoint, ok func(Stats) bool) {
	t.Helper()
	require.Eventually(t, func() bool { return ok(e.Stats()) }, wait, time.Millisecond)
}

// rawPeer is a peer that the test plays octet by octet.
type rawPeer struct {
	t    *testing.T
	conn *net.UDPConn
}

func newRawPeer(t *testing.T) *rawPeer {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return &rawPeer{t: t, conn: conn}
}

func (p *rawPeer) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *rawPeer) send(to *Endpoint, b []byte) {
	_, err := p.conn.WriteToUDPAddrPort(b, to.Addr())
	require.NoError(p.t, err)
}

func (p *rawPeer) receive() []byte {
	b := make([]byte, 1<<16)
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(wait)))
	n, _, err := p.conn.ReadFromUDPAddrPort(b)
	require.NoError(p.t, err)
	return b[:n]
}

func (p *rawPeer) exchange(to *Endpoint, b []byte) (Header, Message) {
	p.send(to, b)
	h, m, err := Parse(p.receive())
	require.NoError(p.t, err)
	return h, m
}

func marshal(t testing.TB, h Header, m Message) []byte {
	t.Helper()
	b, err := Marshal(h, m)
	require.NoError(t, err)
	return b
}

// relay forwards between one asker and an endpoint, and loses the first datagrams of each direction.
type relay struct {
	conn *net.UDPConn
	to   netip.AddrPort
	done chan struct{}
}

func newRelay(t *testing.T, to netip.AddrPort, loseRequests, loseResponses int) *relay {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	r := &relay{conn: conn, to: to, done: make(chan struct{})}
	go r.run(loseRequests, loseResponses)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		<-r.done
	})
	return r
}

func (r *relay) addr() netip.AddrPort { return r.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (r *relay) run(loseRequests, loseResponses int) {
	defer close(r.done)
	b := make([]byte, 1<<16)
	var asker netip.AddrPort
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		lose, to := &loseRequests, r.to
		if from == r.to {
			lose, to = &loseResponses, asker
		} else {
			asker = from
		}
		if *lose > 0 {
			*lose--
			continue
		}
		_, _ = r.conn.WriteToUDPAddrPort(b[:n], to) // a datagram may always be lost
	}
}

func TestARequestIsSentUntilItIsAnsweredAndActsOnce(t *testing.T) {
	handled := make(chan *Request, 10)
	up := start(t, testConfig(), func(r *Request) {
		handled <- r
		if err := r.Respond(5, &SessionDeletionResponse{Cause: CauseAccepted}); err != nil {
			t.Error(err)
		}
	})
	cp := start(t, testConfig(), nobody(t))
	lossy := newRelay(t, up.Addr(), 1, 2) // T1, T1, T1: three retransmissions

	done, told := asking()
	cp.Call(lossy.addr(), 9, &SessionDeletionRequest{}, done)
	got := await(t, told)
	require.NoError(t, got.err)
	require.Equal(t, &SessionDeletionResponse{Cause: CauseAccepted}, got.message)
	require.Equal(t, SEID(5), got.header.SEID)

	r := await(t, handled)
	require.Equal(t, SEID(9), r.Header.SEID)
	require.Equal(t, got.header.Sequence, r.Header.Sequence)
	require.Empty(t, handled, "a duplicate was handed over")
	require.GreaterOrEqual(t, cp.Stats().Retransmissions, uint64(3))
	eventually(t, up, func(s Stats) bool { return s.Duplicates >= 2 && s.Cached == 1 })
	require.Zero(t, cp.Stats().Pending)
}

func TestADuplicateGetsTheSameOctets(t *testing.T) {
	var calls atomic.Uint32
	up := start(t, testConfig(), func(r *Request) {
		m := &SessionModificationResponse{Cause: Cause(calls.Add(1))}
		if err := r.Respond(0, m); err != nil {
			t.Error(err)
		}
	})
	peer := newRawPeer(t)
	request := marshal(t, Header{SEID: 9, Sequence: 3}, &SessionModificationRequest{QueryURRs: []URRID{1}})

	peer.send(up, request)
	first := peer.receive()
	for range 3 {
		peer.send(up, request)
		require.Equal(t, first, peer.receive())
	}
	require.EqualValues(t, 1, calls.Load())

	t.Run("a peer that restarted begins its numbers again", func(t *testing.T) {
		_, m := peer.exchange(up, marshal(t, Header{SEID: 9, Sequence: 3}, &SessionModificationRequest{}))
		require.Equal(t, &SessionModificationResponse{Cause: 2}, m)
	})
	t.Run("the same number from another peer is another request", func(t *testing.T) {
		_, m := newRawPeer(t).exchange(up, request)
		require.Equal(t, &SessionModificationResponse{Cause: 3}, m)
	})
}

func TestADuplicateOfARequestInProgressIsNotHandedOver(t *testing.T) {
	handled := make(chan *Request, 10)
	up := start(t, testConfig(), func(r *Request) { handled <- r })
	peer := newRawPeer(t)
	request := marshal(t, Header{SEID: 9, Sequence: 3}, &SessionDeletionRequest{})
	peer.send(up, request)
	r := await(t, handled)
	peer.send(up, request)
	eventually(t, up, func(s Stats) bool { return s.Duplicates == 1 })
	require.Empty(t, handled)

	require.Error(t, r.Respond(1, &SessionModificationResponse{Cause: CauseAccepted}), "not the answer to a deletion")
	require.NoError(t, r.Respond(1, &SessionDeletionResponse{Cause: CauseAccepted}))
	require.ErrorIs(t, r.Respond(1, &SessionDeletionResponse{Cause: CauseAccepted}), ErrAnswered)
	answer := peer.receive()
	peer.send(up, request)
	require.Equal(t, answer, peer.receive())
}

func TestEveryHeartbeatIsHandedOver(t *testing.T) {
	up := start(t, testConfig(), func(r *Request) {
		if err := r.Respond(0, &HeartbeatResponse{RecoveryTimeStamp: Some(RecoveryTimeStamp(77))}); err != nil {
			t.Error(err)
		}
	})
	peer := newRawPeer(t)
	for range 3 {
		h, m := peer.exchange(up, octets(t, "20 01 [00 00 01 00]"))
		require.Equal(t, Sequence(1), h.Sequence)
		require.Equal(t, &HeartbeatResponse{RecoveryTimeStamp: Some(RecoveryTimeStamp(77))}, m)
	}
	require.Zero(t, up.Stats().Cached)
}

func TestCallEndsOnceWithAnError(t *testing.T) {
	t.Run("when nobody answers", func(t *testing.T) {
		cfg := testConfig()
		cfg.T1, cfg.N1 = 2*time.Millisecond, 2
		cp, peer := start(t, cfg, nobody(t)), newRawPeer(t)
		done, told := asking()
		cp.Call(peer.addr(), 0, &HeartbeatRequest{}, done)
		require.ErrorIs(t, await(t, told).err, ErrTimeout)
		first := peer.receive()
		require.Equal(t, first, peer.receive())
		require.Equal(t, first, peer.receive())
		s := cp.Stats()
		require.Equal(t, []uint64{2, 1, 3}, []uint64{s.Retransmissions, s.Timeouts, s.Sent})
		require.Zero(t, s.Pending)
		require.Empty(t, told)
	})
	t.Run("when the endpoint ends", func(t *testing.T) {
		e, err := Listen(testConfig())
		require.NoError(t, err)
		peer := newRawPeer(t)
		done, told := asking()
		e.Call(peer.addr(), 0, &HeartbeatRequest{}, done)
		require.Empty(t, told)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, e.Run(ctx, nobody(t)))
		require.ErrorIs(t, await(t, told).err, ErrClosed)
		e.Call(peer.addr(), 0, &HeartbeatRequest{}, done)
		require.ErrorIs(t, await(t, told).err, ErrClosed)
		require.Empty(t, told)
	})
	t.Run("when the message cannot be encoded", func(t *testing.T) {
		cp := start(t, testConfig(), nobody(t))
		done, told := asking()
		cp.Call(newRawPeer(t).addr(), 0, &AssociationReleaseRequest{}, done)
		require.ErrorContains(t, await(t, told).err, "node ID")
		cp.Call(newRawPeer(t).addr(), 0, &HeartbeatResponse{}, done)
		require.ErrorContains(t, await(t, told).err, "no request")
	})
}

// What one peer does not answer must not stop what others are asked: they would be taken for lost.
func TestASilentPeerLeavesRoomForOthers(t *testing.T) {
	cfg := testConfig()
	cfg.MaxPending, cfg.T1 = 16, time.Hour
	cp, silent := start(t, cfg, nobody(t)), newRawPeer(t)
	call := func(to *rawPeer, want error) {
		t.Helper()
		failed := make(chan error, 1)
		cp.Call(to.addr(), 0, &HeartbeatRequest{}, func(_ Header, _ Message, err error) { failed <- err })
		if want != nil {
			require.ErrorIs(t, <-failed, want)
		}
	}
	for range cfg.MaxPending {
		call(silent, nil)
	}
	call(silent, ErrBusy)
	for range 8 {
		other := newRawPeer(t)
		call(other, nil)
		call(other, nil)
		for range 2 {
			_, _, err := Parse(other.receive())
			require.NoError(t, err)
		}
		call(other, ErrBusy)
	}
	call(newRawPeer(t), ErrBusy) // twice as many are pending
	require.Equal(t, 2*cfg.MaxPending, cp.Stats().Pending)
}

func TestOnlyTheRightAnswerEndsACall(t *testing.T) {
	cfg := testConfig()
	cfg.T1 = time.Hour
	cp, peer, stranger := start(t, cfg, nobody(t)), newRawPeer(t), newRawPeer(t)
	done, told := asking()
	cp.Call(peer.addr(), 9, &SessionDeletionRequest{}, done)
	h, _, err := Parse(peer.receive())
	require.NoError(t, err)
	answer := marshal(t, h, &SessionDeletionResponse{Cause: CauseAccepted})

	stranger.send(cp, answer)
	peer.send(cp, marshal(t, h, &SessionModificationResponse{Cause: CauseAccepted}))
	peer.send(cp, marshal(t, Header{SEID: h.SEID, Sequence: h.Sequence + 1}, &SessionDeletionResponse{Cause: CauseAccepted}))
	eventually(t, cp, func(s Stats) bool { return s.Unsolicited == 3 })
	require.Empty(t, told)
	peer.send(cp, answer)
	require.NoError(t, await(t, told).err)
	peer.send(cp, answer)
	eventually(t, cp, func(s Stats) bool { return s.Unsolicited == 4 })
	require.Empty(t, told)
}

func TestAnAnswerThatMakesNoSenseEndsTheCall(t *testing.T) {
	cfg := testConfig()
	cfg.T1 = time.Hour
	for name, row := range map[string]struct {
		answer string
		check  func(*testing.T, error)
	}{
		"without a cause": {"21 37 [00 00 00 00 00 00 00 05 00 00 00 00]", func(t *testing.T, err error) {
			fault, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			require.Equal(t, CauseMandatoryIEMissing, fault.Cause)
			require.Equal(t, IECause, fault.Offending)
		}},
		"version not supported":               {"20 0b [00 00 00 00]", func(t *testing.T, err error) { require.ErrorIs(t, err, ErrVersion) }},
		"version not supported, in version 2": {"40 0b [00 00 00 00]", func(t *testing.T, err error) { require.ErrorIs(t, err, ErrVersion) }},
	} {
		t.Run(name, func(t *testing.T) {
			cp, peer := start(t, cfg, nobody(t)), newRawPeer(t)
			done, told := asking()
			cp.Call(peer.addr(), 9, &SessionDeletionRequest{}, done)
			h, _, err := Parse(peer.receive())
			require.NoError(t, err)
			b := octets(t, row.answer)
			setSequence(b, h.Sequence)
			peer.send(cp, b)
			row.check(t, await(t, told).err)
		})
	}
}

func TestWhatDoesNotParseIsAnswered(t *testing.T) {
	const seid = SEID(0x0102030405060708)
	rows := []struct {
		name, request string
		header        Header
		want          Message
	}{
		{
			name:    "an association setup without Node ID",
			request: "20 05 [00 00 07 00 00 60 [00 00 00 00]]",
			header:  Header{Type: TypeAssociationSetupResponse, Sequence: 7},
			want: &AssociationSetupResponse{
				NodeID: NodeID{FQDN: "up.example"}, Cause: CauseMandatoryIEMissing, RecoveryTimeStamp: 77,
			},
		}, {
			name:    "an association release without Node ID",
			request: "20 09 [00 00 07 00]",
			header:  Header{Type: TypeAssociationReleaseResponse, Sequence: 7},
			want:    &AssociationReleaseResponse{NodeID: NodeID{FQDN: "up.example"}, Cause: CauseMandatoryIEMissing},
		}, {
			name:    "a heartbeat that is cut short",
			request: "20 01 [00 00 07 00 00 60 [00]]",
			header:  Header{Type: TypeHeartbeatResponse, Sequence: 7},
			want:    &HeartbeatResponse{RecoveryTimeStamp: Some(RecoveryTimeStamp(77))},
		}, {
			name: "an establishment without Create FAR: under the SEID of its F-SEID",
			request: `21 32 [00 00 00 00 00 00 00 00 00 00 07 00 00 3c [00 0a 28 02 02]
				00 39 [02 01 02 03 04 05 06 07 08 0a 28 02 02]
				00 01 [00 38 [00 01] 00 1d [00 00 00 ff] 00 02 [00 14 [00]]]]`,
			header: Header{Type: TypeSessionEstablishmentResponse, SEID: seid, Sequence: 7},
			want: &SessionEstablishmentResponse{
				NodeID: NodeID{FQDN: "up.example"}, Cause: CauseMandatoryIEMissing, Offending: Some(IECreateFAR),
			},
		}, {
			name:    "an establishment without anything: under SEID 0",
			request: "21 32 [00 00 00 00 00 00 00 00 00 00 07 00]",
			header:  Header{Type: TypeSessionEstablishmentResponse, Sequence: 7},
			want: &SessionEstablishmentResponse{
				NodeID: NodeID{FQDN: "up.example"}, Cause: CauseMandatoryIEMissing, Offending: Some(IENodeID),
			},
		}, {
			name:    "a modification with a Remove FAR that is empty",
			request: "21 34 [00 00 00 00 00 00 00 09 00 00 07 00 00 10 []]",
			header:  Header{Type: TypeSessionModificationResponse, Sequence: 7},
			want:    &SessionModificationResponse{Cause: CauseMandatoryIEMissing, Offending: Some(IEFARID)},
		}, {
			name:    "a deletion that is longer than it says",
			request: "21 36 [00 00 00 00 00 00 00 09 00 00 07 00] 00",
			header:  Header{Type: TypeSessionDeletionResponse, Sequence: 7},
			want:    &SessionDeletionResponse{Cause: CauseInvalidLength},
		}, {
			name:    "version 3",
			request: "60 01 [00 00 07 00]",
			header:  Header{Type: TypeVersionNotSupportedResponse, Sequence: 7},
			want:    &VersionNotSupportedResponse{},
		},
	}
	handled := make(chan *Request, len(rows))
	up, peer := start(t, testConfig(), func(r *Request) { handled <- r }), newRawPeer(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h, m := peer.exchange(up, octets(t, row.request))
			require.Equal(t, row.header, h)
			require.Empty(t, compare(row.want, m))
			if row.header.Type != TypeVersionNotSupportedResponse {
				r := await(t, handled)
				require.Error(t, r.Err)
				require.Nil(t, r.Message)
			}
		})
	}
	require.Equal(t, map[Cause]uint64{CauseMandatoryIEMissing: 5, CauseInvalidLength: 2}, up.Stats().ParseErrors)
	require.EqualValues(t, 1, up.Stats().VersionNotSupported)
}

func TestEveryRequestCanBeRefused(t *testing.T) {
	const node = "00 3c [02 02 75 70 07 65 78 61 6d 70 6c 65]"
	up, peer := start(t, testConfig(), func(r *Request) {
		if err := r.Refuse(9, &Error{Cause: CauseServiceNotSupported}); err != nil {
			t.Error(err)
		}
	}), newRawPeer(t)
	for name, row := range map[string]struct{ request, response string }{
		"PFD management":       {"20 03 [00 00 07 00]", "20 04 [00 00 07 00 00 13 [4c]" + node + "]"},
		"association update":   {"20 07 [00 00 07 00 00 3c [00 0a 28 02 02]]", "20 08 [00 00 07 00" + node + "00 13 [4c]]"},
		"node report":          {"20 0c [00 00 07 00 00 3c [00 0a 28 02 02] 00 65 [01]]", "20 0d [00 00 07 00" + node + "00 13 [4c]]"},
		"session set deletion": {"20 0e [00 00 07 00 00 3c [00 0a 28 02 02]]", "20 0f [00 00 07 00" + node + "00 13 [4c]]"},
		"session report":       {"21 38 [00 00 00 00 00 00 00 09 00 00 07 00 00 27 [01]]", "21 39 [00 00 00 00 00 00 00 09 00 00 07 00 00 13 [4c]]"},
	} {
		t.Run(name, func(t *testing.T) {
			peer.send(up, octets(t, row.request))
			require.Equal(t, octets(t, row.response), peer.receive())
		})
	}
}

func TestAHandlerMayAnswerWhatDoesNotParse(t *testing.T) {
	up, peer := start(t, testConfig(), func(r *Request) {
		if err := r.Refuse(42, r.Err); err != nil {
			t.Error(err)
		}
	}), newRawPeer(t)
	h, m := peer.exchange(up, octets(t, "21 34 [00 00 00 00 00 00 00 09 00 00 07 00 00 10 []]"))
	require.Equal(t, SEID(42), h.SEID)
	require.Equal(t, &SessionModificationResponse{Cause: CauseMandatoryIEMissing, Offending: Some(IEFARID)}, m)
}

func TestAPanicIsARefusal(t *testing.T) {
	up, peer := start(t, testConfig(), func(*Request) { panic("a bug") }), newRawPeer(t)
	_, m := peer.exchange(up, marshal(t, Header{SEID: 9, Sequence: 3}, &SessionDeletionRequest{}))
	require.Equal(t, &SessionDeletionResponse{Cause: CauseSystemFailure}, m)

	up.Call(peer.addr(), 0, &HeartbeatRequest{}, func(Header, Message, error) { panic("another bug") })
	h, _, err := Parse(peer.receive())
	require.NoError(t, err)
	peer.send(up, marshal(t, h, &HeartbeatResponse{}))
	eventually(t, up, func(s Stats) bool { return s.Panics == 2 })
}

func TestAFloodOfGarbageDoesNotDisturb(t *testing.T) {
	up := start(t, testConfig(), func(r *Request) {
		if _, ok := r.Message.(*HeartbeatRequest); !ok {
			return
		}
		if err := r.Respond(0, &HeartbeatResponse{}); err != nil {
			t.Error(err)
		}
	})
	flooder, rng := newRawPeer(t), rand.New(rand.NewPCG(1, 2))
	all := samples(t)
	for range 20 {
		for _, b := range all {
			if b = append([]byte(nil), b...); len(b) > 0 {
				b[rng.IntN(len(b))] ^= uint8(rng.Uint32())
				b = b[:1+rng.IntN(len(b))]
			}
			flooder.send(up, b)
		}
	}
	done, told := asking() // by an endpoint, since the flood may have filled the socket's buffer
	start(t, testConfig(), nobody(t)).Call(up.Addr(), 0, &HeartbeatRequest{}, done)
	require.Equal(t, &HeartbeatResponse{}, await(t, told).message)
	s := up.Stats()
	require.Zero(t, s.Panics)
	require.NotZero(t, s.ShortHeaders)
	require.NotZero(t, s.ParseErrors)
}

func TestSequenceNumbers(t *testing.T) {
	t.Run("wrap at 24 bits and pass over what is pending", func(t *testing.T) {
		c := newCalls(maxSequence)
		c.pending[0] = &call{}
		require.Equal(t, Sequence(maxSequence), c.sequence())
		require.Equal(t, Sequence(1), c.sequence())
	})
	t.Run("are all different while pending", func(t *testing.T) {
		cfg := testConfig()
		cfg.T1 = time.Hour
		cp, peer := start(t, cfg, nobody(t)), newRawPeer(t)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				for range 10 {
					cp.Call(peer.addr(), 0, &HeartbeatRequest{}, func(Header, Message, error) {})
				}
			})
		}
		group.Wait()
		seen := make(map[Sequence]bool)
		for range 100 {
			h, _, err := Parse(peer.receive())
			require.NoError(t, err)
			seen[h.Sequence] = true
		}
		require.Len(t, seen, 100)
	})
}

func TestListenNamesEveryFault(t *testing.T) {
	_, err := Listen(EndpointConfig{N1: -1})
	for _, fault := range []string{
		"listen", "t1", "n1", "response lifetime", "max cached", "max peers", "max pending", "read buffer", "readers",
	} {
		require.ErrorContains(t, err, fault+":")
	}
	taken := newRawPeer(t)
	cfg := testConfig()
	cfg.Listen = taken.addr()
	_, err = Listen(cfg)
	require.ErrorContains(t, err, "in use")
}

func TestWhatIsAnsweredInOneBatchIsAllSent(t *testing.T) {
	const n = 5 * batchSize
	cfg := testConfig()
	cfg.ReadBuffer = 4 << 20
	up := start(t, cfg, func(r *Request) {
		if err := r.Respond(SEID(r.Header.SEID), &SessionDeletionResponse{Cause: CauseAccepted}); err != nil {
			t.Error(err)
		}
	})
	cp := start(t, cfg, nobody(t))
	told := make(chan outcome, n)
	for i := range n {
		cp.Call(up.Addr(), SEID(i), &SessionDeletionRequest{}, func(h Header, m Message, err error) { told <- outcome{h, m, err} })
	}
	seen := make(map[SEID]bool)
	for range n {
		got := await(t, told)
		require.NoError(t, got.err)
		seen[got.header.SEID] = true
	}
	require.Len(t, seen, n)
	eventually(t, up, func(s Stats) bool { return s.Sent >= n }) // counted after the send
}

func TestADatagramThatCannotBeSentIsCountedAndStopsNoOther(t *testing.T) {
	cfg := testConfig()
	cfg.N1, cfg.T1 = 0, time.Second
	cp, up := start(t, cfg, nobody(t)), start(t, testConfig(), func(r *Request) {
		if err := r.Respond(0, &HeartbeatResponse{}); err != nil {
			t.Error(err)
		}
	})
	lost, toldLost := asking()
	done, told := asking()
	for _, to := range []string{"127.0.0.1:0", "[2001:db8::1]:8805"} { // no port; the other family
		cp.Call(netip.MustParseAddrPort(to), 0, &HeartbeatRequest{}, lost)
	}
	cp.Call(up.Addr(), 0, &HeartbeatRequest{}, done)
	require.NoError(t, await(t, told).err)
	eventually(t, cp, func(s Stats) bool { return s.SendErrors == 2 && s.Sent == 1 })
	require.ErrorIs(t, await(t, toldLost).err, ErrTimeout)
	require.ErrorIs(t, await(t, toldLost).err, ErrTimeout)
}

func TestAnEndpointOfIPv6(t *testing.T) {
	cfg := testConfig()
	cfg.Listen = netip.MustParseAddrPort("[::1]:0")
	peers := make(chan netip.AddrPort, 1)
	up := start(t, cfg, func(r *Request) {
		peers <- r.Peer
		if err := r.Respond(0, &HeartbeatResponse{}); err != nil {
			t.Error(err)
		}
	})
	cp := start(t, cfg, nobody(t))
	done, told := asking()
	cp.Call(up.Addr(), 0, &HeartbeatRequest{}, done)
	require.NoError(t, await(t, told).err)
	require.Equal(t, cp.Addr(), await(t, peers))
}

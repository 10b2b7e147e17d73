package sxb

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/pkg/pfcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds how long a test waits for what must come; nothing is proved by its passing.
const wait = 10 * time.Second

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

// up is a scripted user plane: it answers as its fields say and shows what it was asked.
type up struct {
	*pfcp.Endpoint
	asked chan pfcp.Message

	mu       sync.Mutex
	recovery pfcp.RecoveryTimeStamp
	silent   bool
	cause    pfcp.Cause // of the next answers
}

func (u *up) set(f func(*up)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(u)
}

func startUP(t *testing.T, address string) *up {
	t.Helper()
	cfg := pfcp.DefaultEndpointConfig()
	cfg.Listen, cfg.T1, cfg.ReadBuffer = netip.MustParseAddrPort(address), time.Second, 1<<20
	u := &up{asked: make(chan pfcp.Message, 1000), recovery: 5, cause: pfcp.CauseAccepted}
	var err error
	u.Endpoint, err = pfcp.Listen(cfg)
	require.NoError(t, err)
	run(t, func(ctx context.Context) error { return u.Run(ctx, u.handle) })
	return u
}

// run runs f until the test ends, or until the returned function is called.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, await(t, ended))
	})
	t.Cleanup(stop)
	return stop
}

func (u *up) handle(r *pfcp.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked <- r.Message
	if u.silent {
		return
	}
	node := pfcp.NodeID{FQDN: "u1.example"}
	switch m := r.Message.(type) {
	case *pfcp.HeartbeatRequest:
		_ = r.Respond(0, &pfcp.HeartbeatResponse{RecoveryTimeStamp: pfcp.Some(u.recovery)})
	case *pfcp.AssociationSetupRequest:
		_ = r.Respond(0, &pfcp.AssociationSetupResponse{
			NodeID: node, Cause: u.cause, RecoveryTimeStamp: u.recovery, UPFunctionFeatures: pfcp.Some(pfcp.FeatureFTUP),
		})
	case *pfcp.AssociationReleaseRequest:
		_ = r.Respond(0, &pfcp.AssociationReleaseResponse{NodeID: node, Cause: pfcp.CauseAccepted})
	case *pfcp.SessionEstablishmentRequest:
		_ = r.Respond(m.FSEID.SEID, &pfcp.SessionEstablishmentResponse{
			NodeID: node, Cause: u.cause, FSEID: pfcp.Some(pfcp.FSEID{SEID: 99, IPv4: u.Addr().Addr()}),
			CreatedPDRs: []pfcp.CreatedPDR{{ID: 1, FTEID: pfcp.Some(pfcp.FTEID{TEID: 7, IPv4: u.Addr().Addr()})}},
		})
	case *pfcp.SessionModificationRequest:
		_ = r.Respond(1, &pfcp.SessionModificationResponse{Cause: u.cause, Offending: pfcp.Some(pfcp.IEFARID)})
	case *pfcp.SessionDeletionRequest:
		_ = r.Respond(1, &pfcp.SessionDeletionResponse{Cause: u.cause})
	}
}

// next waits for a message of the type of M, over others.
func next[M pfcp.Message](t *testing.T, u *up) M {
	t.Helper()
	for {
		if m, ok := await(t, u.asked).(M); ok {
			return m
		}
	}
}

type harness struct {
	*Sxb
	events chan Event
	stop   func()
}

func startSxb(t *testing.T, change func(*Config), nodes ...NodeConfig) *harness {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen, cfg.Nodes = netip.MustParseAddrPort("127.0.0.1:0"), nodes
	cfg.NodeID, cfg.RecoveryTimeStamp = pfcp.NodeID{FQDN: "pgwc.example"}, 1234
	cfg.HeartbeatInterval, cfg.T1, cfg.N1 = 20*time.Millisecond, 300*time.Millisecond, 2
	cfg.RetryMin, cfg.RetryMax = time.Millisecond, 10*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	h := &harness{events: make(chan Event, 1000)}
	s, err := New(cfg, nil, func(e Event) { h.events <- e })
	require.NoError(t, err)
	h.Sxb = s
	h.stop = run(t, s.Run)
	return h
}

func (h *harness) expect(t *testing.T, want ...Event) {
	t.Helper()
	for _, e := range want {
		require.Equal(t, e, await(t, h.events))
	}
}

func TestTheControlPlaneAssociates(t *testing.T) {
	u := startUP(t, "127.0.0.2:0")
	u.set(func(u *up) { u.cause = pfcp.CauseRejected })
	h := startSxb(t, nil, NodeConfig{"u1", u.Addr()}, NodeConfig{"u2", netip.MustParseAddrPort("127.0.0.3:1")})

	first := next[*pfcp.AssociationSetupRequest](t, u)
	require.Equal(t, &pfcp.AssociationSetupRequest{
		NodeID: pfcp.NodeID{FQDN: "pgwc.example"}, RecoveryTimeStamp: 1234, CPFunctionFeatures: pfcp.Some(uint8(0)),
	}, first)
	next[*pfcp.AssociationSetupRequest](t, u) // tried again
	require.NotEqual(t, StateAssociated, h.Nodes()[1].State)

	u.set(func(u *up) { u.cause = pfcp.CauseAccepted })
	h.expect(t, NodeUp{"u1"})
	got := h.Nodes()[0]
	require.False(t, got.LastHeartbeat.IsZero())
	got.LastHeartbeat = time.Time{}
	require.Equal(t, NodeStatus{
		Name: "u1", Address: u.Addr(), NodeID: pfcp.NodeID{FQDN: "u1.example"}, State: StateAssociated,
		Features: pfcp.FeatureFTUP, RecoveryTimeStamp: pfcp.Some(pfcp.RecoveryTimeStamp(5)),
	}, got)

	hb := next[*pfcp.HeartbeatRequest](t, u)
	require.Equal(t, pfcp.Some(pfcp.RecoveryTimeStamp(1234)), hb.RecoveryTimeStamp)

	h.stop()
	release := next[*pfcp.AssociationReleaseRequest](t, u)
	require.Equal(t, "pgwc.example", release.NodeID.String())
}

func TestTheUserPlaneAssociates(t *testing.T) {
	u := startUP(t, "127.0.0.2:0")
	u.set(func(u *up) { u.cause = pfcp.CauseRejected })
	h := startSxb(t, nil, NodeConfig{"u1", u.Addr()})
	next[*pfcp.AssociationSetupRequest](t, u)

	answers := make(chan pfcp.Message, 1)
	u.Call(h.Addr(), 0, &pfcp.AssociationSetupRequest{NodeID: pfcp.NodeID{FQDN: "u1.example"}, RecoveryTimeStamp: 5},
		func(_ pfcp.Header, m pfcp.Message, _ error) { answers <- m })
	require.Equal(t, &pfcp.AssociationSetupResponse{
		NodeID: pfcp.NodeID{FQDN: "pgwc.example"}, Cause: pfcp.CauseAccepted, RecoveryTimeStamp: 1234,
		CPFunctionFeatures: pfcp.Some(uint8(0)),
	}, await(t, answers))
	h.expect(t, NodeUp{"u1"})

	u.Call(h.Addr(), 0, &pfcp.HeartbeatRequest{}, func(_ pfcp.Header, m pfcp.Message, _ error) { answers <- m })
	require.Equal(t, &pfcp.HeartbeatResponse{RecoveryTimeStamp: pfcp.Some(pfcp.RecoveryTimeStamp(1234))}, await(t, answers))

	u.Call(h.Addr(), 0, &pfcp.AssociationReleaseRequest{NodeID: pfcp.NodeID{FQDN: "u1.example"}},
		func(_ pfcp.Header, m pfcp.Message, _ error) { answers <- m })
	require.Equal(t, pfcp.CauseAccepted, await(t, answers).(*pfcp.AssociationReleaseResponse).Cause)
	h.expect(t, NodeDown{"u1", "released by the node"}, NodeRestarted{"u1"})
}

func TestUnknownPeersAreRefused(t *testing.T) {
	h := startSxb(t, nil)
	stranger := startUP(t, "127.0.0.9:0")
	answers := make(chan pfcp.Message, 1)
	ask := func(seid pfcp.SEID, m pfcp.Message) pfcp.Message {
		stranger.Call(h.Addr(), seid, m, func(_ pfcp.Header, m pfcp.Message, _ error) { answers <- m })
		return await(t, answers)
	}
	setup := ask(0, &pfcp.AssociationSetupRequest{NodeID: pfcp.NodeID{FQDN: "x"}, RecoveryTimeStamp: 5})
	require.Equal(t, pfcp.CauseRejected, setup.(*pfcp.AssociationSetupResponse).Cause)
	release := ask(0, &pfcp.AssociationReleaseRequest{NodeID: pfcp.NodeID{FQDN: "x"}})
	require.Equal(t, pfcp.CauseNoEstablishedAssociation, release.(*pfcp.AssociationReleaseResponse).Cause)
	deletion := ask(3, &pfcp.SessionDeletionRequest{})
	require.Equal(t, pfcp.CauseServiceNotSupported, deletion.(*pfcp.SessionDeletionResponse).Cause)
	heartbeat := ask(0, &pfcp.HeartbeatRequest{})
	require.IsType(t, &pfcp.HeartbeatResponse{}, heartbeat, "heartbeats are answered for anybody")
	require.EqualValues(t, 2, h.Stats().UnknownPeers)
}

type told[M any] struct {
	m   M
	err error
}

func asking[M any]() (func(M, error), chan told[M]) {
	c := make(chan told[M], 2)
	return func(m M, err error) { c <- told[M]{m, err} }, c
}

func TestSessions(t *testing.T) {
	u := startUP(t, "127.0.0.2:0")
	h := startSxb(t, nil, NodeConfig{"u1", u.Addr()}, NodeConfig{"u2", netip.MustParseAddrPort("127.0.0.3:1")})
	h.expect(t, NodeUp{"u1"})

	established, establishment := asking[*pfcp.SessionEstablishmentResponse]()
	req := &pfcp.SessionEstablishmentRequest{
		FSEID:      pfcp.FSEID{SEID: 42},
		CreatePDRs: []pfcp.CreatePDR{{ID: 1, Precedence: 1}}, CreateFARs: []pfcp.CreateFAR{{ID: 1, ApplyAction: 1}},
	}
	h.Establish("u1", req, established)
	got := await(t, establishment)
	require.NoError(t, got.err)
	require.Equal(t, pfcp.SEID(99), got.m.FSEID.Value.SEID)
	require.Equal(t, pfcp.TEID(7), got.m.CreatedPDRs[0].FTEID.Value.TEID)
	sent := next[*pfcp.SessionEstablishmentRequest](t, u)
	require.Equal(t, pfcp.FSEID{SEID: 42, IPv4: h.Addr().Addr()}, sent.FSEID)
	require.Equal(t, "pgwc.example", sent.NodeID.String())
	require.Zero(t, req.NodeID, "the caller's request is not changed")

	modified, modification := asking[*pfcp.SessionModificationResponse]()
	h.Modify("u1", 99, &pfcp.SessionModificationRequest{FSEID: pfcp.Some(pfcp.FSEID{SEID: 43})}, modified)
	require.NoError(t, await(t, modification).err)
	require.Equal(t, h.Addr().Addr(), next[*pfcp.SessionModificationRequest](t, u).FSEID.Value.IPv4)
	deleted, deletion := asking[*pfcp.SessionDeletionResponse]()
	h.Delete("u1", 99, deleted)
	require.NoError(t, await(t, deletion).err)

	t.Run("a refusal is an error with its cause", func(t *testing.T) {
		u.set(func(u *up) { u.cause = pfcp.CauseRuleCreationFailure })
		h.Modify("u1", 99, &pfcp.SessionModificationRequest{}, modified)
		err := await(t, modification).err
		var fault *pfcp.Error
		require.ErrorAs(t, err, &fault)
		require.Equal(t, pfcp.CauseRuleCreationFailure, fault.Cause)
		require.Equal(t, pfcp.IEFARID, fault.Offending)
	})
	t.Run("a node that is not there, or not associated", func(t *testing.T) {
		h.Delete("u3", 99, deleted)
		require.ErrorIs(t, await(t, deletion).err, ErrUnknownNode)
		h.Delete("u2", 99, deleted)
		require.ErrorIs(t, await(t, deletion).err, ErrNotAssociated)
	})
	t.Run("a node that forgot the association is associated anew", func(t *testing.T) {
		u.set(func(u *up) { u.cause = pfcp.CauseNoEstablishedAssociation })
		h.Delete("u1", 99, deleted)
		require.Error(t, await(t, deletion).err)
		u.set(func(u *up) { u.cause = pfcp.CauseAccepted })
		h.expect(t, NodeDown{"u1", "the node does not know the association"}, NodeRestarted{"u1"}, NodeUp{"u1"})
	})
	t.Run("a node that does not answer", func(t *testing.T) {
		u.set(func(u *up) { u.silent = true })
		h.Delete("u1", 99, deleted)
		require.ErrorIs(t, await(t, deletion).err, pfcp.ErrTimeout)
		require.Empty(t, deletion)
	})
}

func TestPathFailureAndRestart(t *testing.T) {
	u := startUP(t, "127.0.0.2:0")
	h := startSxb(t, nil, NodeConfig{"u1", u.Addr()})
	h.expect(t, NodeUp{"u1"})
	next[*pfcp.AssociationSetupRequest](t, u)

	u.set(func(u *up) { u.silent = true })
	h.expect(t, NodeDown{"u1", "heartbeat: no answer"})
	require.Equal(t, StateDown, h.Nodes()[0].State)
	u.set(func(u *up) { u.silent = false })
	h.expect(t, NodeUp{"u1"})

	u.set(func(u *up) { u.recovery = 6 })
	h.expect(t, NodeDown{"u1", "restarted"}, NodeRestarted{"u1"}, NodeUp{"u1"})
	require.Equal(t, pfcp.Some(pfcp.RecoveryTimeStamp(6)), h.Nodes()[0].RecoveryTimeStamp)
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Config{
		Listen: netip.MustParseAddrPort("0.0.0.0:8805"), N1: -1, RetryMax: -1,
		Nodes: []NodeConfig{
			{"", netip.MustParseAddrPort("127.0.0.2:8805")},
			{"a", netip.MustParseAddrPort("127.0.0.2:8805")},
			{"a", netip.MustParseAddrPort("127.0.0.3:8805")},
			{"b", netip.MustParseAddrPort("127.0.0.2:8806")},
			{"c", netip.MustParseAddrPort("127.0.0.4:0")},
		},
	}, nil, nil)
	for _, fault := range []string{
		"listen:", "heartbeat interval:", "t1:", "n1:", "retry min:", "retry max:", "release timeout:",
		"nodes[0]: no name", `nodes[2]: a second node of the name "a"`, "nodes[3]: a second node at", "nodes[4]:",
	} {
		require.ErrorContains(t, err, fault)
	}
}

// A user plane made of go-pfcp alone, so that our codec does not only meet itself.
func TestWithAUserPlaneOfGoPFCP(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 5)})
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serveGoPFCP(t, conn)
	}()
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		<-ended
	})
	h := startSxb(t, nil, NodeConfig{"u1", conn.LocalAddr().(*net.UDPAddr).AddrPort()})
	h.expect(t, NodeUp{"u1"})
	status := h.Nodes()[0]
	require.Equal(t, "upf.example", status.NodeID.String())
	require.Equal(t, pfcp.FeatureFTUP|pfcp.FeatureEMPU, status.Features)

	established, establishment := asking[*pfcp.SessionEstablishmentResponse]()
	h.Establish("u1", &pfcp.SessionEstablishmentRequest{
		FSEID: pfcp.FSEID{SEID: 42},
		CreatePDRs: []pfcp.CreatePDR{{
			ID: 1, Precedence: 1, FARID: pfcp.Some(pfcp.FARID(1)),
			PDI: pfcp.PDI{FTEID: pfcp.Some(pfcp.FTEID{Choose: true, ChooseIPv4: true})},
		}},
		CreateFARs: []pfcp.CreateFAR{{ID: 1, ApplyAction: pfcp.ActionForward}},
	}, established)
	got := await(t, establishment)
	require.NoError(t, got.err)
	require.Equal(t, pfcp.FSEID{SEID: 0x55, IPv4: netip.MustParseAddr("127.0.0.5")}, got.m.FSEID.Value)
	require.Equal(t, []pfcp.CreatedPDR{{ID: 1, FTEID: pfcp.Some(pfcp.FTEID{
		TEID: 0xabc, IPv4: netip.MustParseAddr("10.30.1.1"),
	})}}, got.m.CreatedPDRs)

	deleted, deletion := asking[*pfcp.SessionDeletionResponse]()
	h.Delete("u1", 0x55, deleted)
	answer := await(t, deletion)
	require.NoError(t, answer.err)
	require.Equal(t, uint64(100), answer.m.UsageReports[0].Volume.Value.TotalOctets)
}

func serveGoPFCP(t *testing.T, conn *net.UDPConn) {
	b := make([]byte, 1<<16)
	now := ie.NewRecoveryTimeStamp(time.Unix(1_800_000_000, 0))
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		request, err := message.Parse(append([]byte(nil), b[:n]...))
		if err != nil {
			t.Errorf("go-pfcp cannot read our message: %v", err)
			continue
		}
		answer := answerGoPFCP(t, request, now)
		if answer == nil {
			continue
		}
		out := make([]byte, answer.MarshalLen())
		if err := answer.MarshalTo(out); err != nil {
			t.Error(err)
			continue
		}
		if _, err := conn.WriteToUDPAddrPort(out, peer); err != nil {
			t.Error(err)
		}
	}
}

func answerGoPFCP(t *testing.T, request message.Message, recovery *ie.IE) message.Message {
	seq, node := request.Sequence(), ie.NewNodeID("", "", "upf.example")
	switch m := request.(type) {
	case *message.AssociationSetupRequest:
		if id, err := m.NodeID.NodeID(); err != nil || id != "pgwc.example" {
			t.Errorf("node ID %q: %v", id, err)
		}
		return message.NewAssociationSetupResponse(seq, node, ie.NewCause(ie.CauseRequestAccepted), recovery,
			ie.NewUPFunctionFeatures(0x10, 0x01))
	case *message.HeartbeatRequest:
		return message.NewHeartbeatResponse(seq, recovery)
	case *message.AssociationReleaseRequest:
		return message.NewAssociationReleaseResponse(seq, node, ie.NewCause(ie.CauseRequestAccepted))
	case *message.SessionEstablishmentRequest:
		f, err := m.CPFSEID.FSEID()
		if err != nil || f.SEID != 42 || len(m.CreatePDR) != 1 || len(m.CreateFAR) != 1 {
			t.Errorf("establishment %+v: %v", m, err)
			return nil
		}
		return message.NewSessionEstablishmentResponse(0, 0, f.SEID, seq, 0, node,
			ie.NewCause(ie.CauseRequestAccepted), ie.NewFSEID(0x55, net.IPv4(127, 0, 0, 5), nil),
			ie.NewCreatedPDR(ie.NewPDRID(1), ie.NewFTEID(1, 0xabc, net.IPv4(10, 30, 1, 1), nil, 0)))
	case *message.SessionDeletionRequest:
		if m.SEID() != 0x55 {
			t.Errorf("deletion of %#x", m.SEID())
		}
		return message.NewSessionDeletionResponse(0, 0, 42, seq, 0, ie.NewCause(ie.CauseRequestAccepted),
			ie.NewUsageReportWithinSessionDeletionResponse(ie.NewURRID(1), ie.NewURSEQN(0),
				ie.NewUsageReportTrigger(0, 0x04, 0), ie.NewVolumeMeasurement(1, 100, 0, 0, 0, 0, 0)))
	}
	t.Errorf("unexpected %v", request.MessageTypeName())
	return nil
}

func TestReportsOfANodeAreHandedOnAndAnswered(t *testing.T) {
	u := startUP(t, "127.0.0.2:0")
	h := startSxb(t, nil, NodeConfig{"u1", u.Addr()})
	h.expect(t, NodeUp{"u1"})
	answers := make(chan pfcp.Message, 1)
	ask := func(seid pfcp.SEID, m pfcp.Message) {
		u.Call(h.Addr(), seid, m, func(_ pfcp.Header, m pfcp.Message, _ error) { answers <- m })
	}
	sent := &pfcp.SessionReportRequest{ReportType: pfcp.ReportErrorIndication, ErrorIndications: []pfcp.FTEID{{TEID: 7, IPv4: netip.MustParseAddr("10.10.0.2")}}}
	ask(0x21, sent)
	report := await(t, h.events).(SessionReport)
	require.Equal(t, "u1", report.Node)
	require.EqualValues(t, 0x21, report.SEID)
	require.Equal(t, sent, report.Report)
	report.Answer(pfcp.CauseAccepted, 99)
	require.Equal(t, &pfcp.SessionReportResponse{Cause: pfcp.CauseAccepted}, await(t, answers))

	ask(0, &pfcp.NodeReportRequest{
		NodeID: pfcp.NodeID{FQDN: "u1.example"}, ReportType: pfcp.NodeReportPathFailure,
		PathFailures: []pfcp.RemoteGTPUPeer{{IPv4: netip.MustParseAddr("10.10.0.2")}},
	})
	require.Equal(t, pfcp.CauseAccepted, await(t, answers).(*pfcp.NodeReportResponse).Cause)
}

// A node that wants its association released gets no new sessions, and is released when the time that it grants is over.
func TestANodeThatWantsToBeReleased(t *testing.T) {
	u := startUP(t, "127.0.0.2:0")
	h := startSxb(t, func(c *Config) { c.RetryMax = time.Hour }, NodeConfig{"u1", u.Addr()})
	h.expect(t, NodeUp{"u1"})
	answers := make(chan pfcp.Message, 1)
	update := func(m *pfcp.AssociationUpdateRequest) pfcp.Cause {
		m.NodeID = pfcp.NodeID{FQDN: "u1.example"}
		u.Call(h.Addr(), 0, m, func(_ pfcp.Header, m pfcp.Message, _ error) { answers <- m })
		return await(t, answers).(*pfcp.AssociationUpdateResponse).Cause
	}
	require.Equal(t, pfcp.CauseAccepted, update(&pfcp.AssociationUpdateRequest{UPFunctionFeatures: pfcp.Some(pfcp.FeatureEMPU)}))
	require.Eventually(t, func() bool { return h.Nodes()[0].Features == pfcp.FeatureEMPU }, 10*time.Second, time.Millisecond)
	require.False(t, h.Nodes()[0].Releasing)
	require.Equal(t, pfcp.CauseAccepted, update(&pfcp.AssociationUpdateRequest{
		ReleaseRequested: true, GracefulReleasePeriod: pfcp.Some(pfcp.TimerOf(time.Hour)),
	}))
	require.Eventually(t, func() bool { return h.Nodes()[0].Releasing }, 10*time.Second, time.Millisecond)
	require.Equal(t, StateAssociated, h.Nodes()[0].State)
	require.Equal(t, pfcp.CauseAccepted, update(&pfcp.AssociationUpdateRequest{ReleaseRequested: true})) // at once
	next[*pfcp.AssociationReleaseRequest](t, u)
	h.expect(t, NodeDown{"u1", "released, as the node asked for"}, NodeRestarted{"u1"})
	require.False(t, h.Nodes()[0].Releasing)
}

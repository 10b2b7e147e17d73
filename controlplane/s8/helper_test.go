package s8

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
	"go.uber.org/goleak"

	"github.com/xepc/xepc/controlplane/ippool"
	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// userPlane plays the PGW-Us: it takes every session, unless told otherwise.
type userPlane struct {
	mu       sync.Mutex
	down     map[string]bool // not associated
	fail     error           // of every request
	hold     chan struct{}   // requests wait until it is closed; nil: they do not
	next     pfcp.SEID
	sessions map[pfcp.SEID]*pfcp.SessionEstablishmentRequest
	modified []*pfcp.SessionModificationRequest
	asked    int // establishments
}

func newUserPlane() *userPlane {
	return &userPlane{down: map[string]bool{}, next: 0x1000, sessions: map[pfcp.SEID]*pfcp.SessionEstablishmentRequest{}}
}

func (u *userPlane) set(change func(*userPlane)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u)
}

func (u *userPlane) Nodes() []sxb.NodeStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	var nodes []sxb.NodeStatus
	for _, name := range []string{"pgwu1", "pgwu2"} {
		n := sxb.NodeStatus{Name: name, State: sxb.StateAssociated, Features: pfcp.FeatureEMPU}
		if u.down[name] {
			n.State = sxb.StateDown
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func (u *userPlane) later(done func(error), change func()) {
	u.mu.Lock()
	err, hold := u.fail, u.hold
	u.mu.Unlock()
	go func() {
		if hold != nil {
			<-hold
		}
		if err == nil {
			u.set(func(*userPlane) { change() })
		}
		done(err)
	}()
}

func (u *userPlane) Establish(node string, req *pfcp.SessionEstablishmentRequest, done func(*pfcp.SessionEstablishmentResponse, error)) {
	response := &pfcp.SessionEstablishmentResponse{Cause: pfcp.CauseAccepted}
	u.set(func(u *userPlane) { u.asked++ })
	u.later(func(err error) { done(response, err) }, func() {
		u.next++
		u.sessions[u.next] = req
		host := map[string]string{"pgwu1": "10.30.1.1", "pgwu2": "10.30.2.1"}[node]
		response.FSEID = pfcp.Some(pfcp.FSEID{SEID: u.next, IPv4: netip.MustParseAddr(host)})
		response.CreatedPDRs = []pfcp.CreatedPDR{{ID: 1, FTEID: pfcp.Some(pfcp.FTEID{
			TEID: pfcp.TEID(0x40000000 | u.next), IPv4: netip.MustParseAddr(host),
		})}}
	})
}

func (u *userPlane) Modify(_ string, seid pfcp.SEID, req *pfcp.SessionModificationRequest, done func(*pfcp.SessionModificationResponse, error)) {
	u.later(func(err error) { done(&pfcp.SessionModificationResponse{}, err) }, func() {
		u.modified = append(u.modified, req)
	})
	_ = seid
}

func (u *userPlane) Delete(_ string, seid pfcp.SEID, done func(*pfcp.SessionDeletionResponse, error)) {
	u.later(func(err error) { done(&pfcp.SessionDeletionResponse{}, err) }, func() { delete(u.sessions, seid) })
}

func (u *userPlane) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.sessions)
}

// server runs an edge on loopback with two PGW-Us of six addresses each.
func server(t *testing.T, change func(*Config)) (*Server, *userPlane) {
	t.Helper()
	chunk := func(prefix, node string, static bool) ippool.Chunk {
		return ippool.Chunk{Prefix: netip.MustParsePrefix(prefix), Node: node, Static: static}
	}
	pools, err := ippool.New([]ippool.Pool{{Name: "internet", Chunks: []ippool.Chunk{
		chunk("172.16.1.0/29", "pgwu1", false), chunk("172.16.2.0/29", "pgwu2", false), chunk("172.17.1.0/29", "pgwu1", true),
	}}}, time.Minute)
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.GTPC.Listen, cfg.GTPC.RestartCounter, cfg.Instance = netip.MustParseAddrPort("127.0.0.1:0"), 7, 1
	cfg.Pools = pools
	cfg.Instances = map[string][]pfcp.NetworkInstance{"pgwu1": {"internet"}, "pgwu2": {"internet"}}
	profile := session.Profile{
		NetworkInstance: "internet", Pool: "internet", DNS: []netip.Addr{netip.MustParseAddr("10.60.0.53")}, MTU: 1400,
	}
	cfg.Authorize = session.Table{
		{APN: "internet", Profile: profile},
		{APN: "closed", IMSIPrefixes: []string{"262"}, PLMNs: []identity.PLMN{{MCC: "262", MNC: "01"}}, Profile: profile},
	}.Authorize
	if change != nil {
		change(&cfg)
	}
	up := newUserPlane()
	s, err := New(cfg, up)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s, up
}

// gateway is an SGW whose messages go-gtp makes and reads, not our codec.
type gateway struct {
	t         *testing.T
	conn      *net.UDPConn
	address   string // in its F-TEIDs
	sequence  uint32
	recovery  uint8
	exchanged [][]byte // all datagrams, for witnesses
}

func newGateway(t *testing.T, s *Server, local string) *gateway {
	t.Helper()
	g := &gateway{t: t, address: "10.10.0.2", recovery: 1}
	addr := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	if local != "" {
		g.address = local
		addr = &net.UDPAddr{IP: net.ParseIP(local), Port: 2123}
	}
	conn, err := net.DialUDP("udp", addr, net.UDPAddrFromAddrPort(s.Addr()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	g.conn = conn
	return g
}

func (g *gateway) send(m interface{ Marshal() ([]byte, error) }) []byte {
	g.t.Helper()
	b, err := m.Marshal()
	require.NoError(g.t, err)
	g.sendOctets(b)
	return b
}

func (g *gateway) sendOctets(b []byte) {
	g.t.Helper()
	_, err := g.conn.Write(b)
	require.NoError(g.t, err)
	g.exchanged = append(g.exchanged, b)
}

func (g *gateway) receive() []byte {
	g.t.Helper()
	require.NoError(g.t, g.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 1<<16)
	n, err := g.conn.Read(b)
	require.NoError(g.t, err)
	g.exchanged = append(g.exchanged, b[:n])
	return b[:n]
}

// createIEs are those of a good Create Session Request, changed where an IE of the same type and instance is given;
// one without a payload takes the IE away.
func (g *gateway) createIEs(imsi string, changes ...*ie.IE) []*ie.IE {
	ies := []*ie.IE{
		ie.NewIMSI(imsi),
		ie.NewMSISDN("436641234567"),
		ie.NewMobileEquipmentIdentity("3534900698733190"),
		ie.NewServingNetwork("001", "01"),
		ie.NewRATType(6),
		ie.NewFullyQualifiedTEID(6, 0x91, g.address, ""),
		ie.NewAccessPointName("internet"),
		ie.NewSelectionMode(0),
		ie.NewPDNType(1),
		ie.NewPDNAddressAllocation("0.0.0.0"),
		ie.NewAPNRestriction(0),
		ie.NewAggregateMaximumBitRate(50000, 100000),
		ie.NewProtocolConfigurationOptions(0, ie.NewPCOContainer(0x000d, nil), ie.NewPCOContainer(0x0010, nil)),
		g.bearer(ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 0x92, g.address, "").WithInstance(2), ie.NewBearerQoS(1, 2, 1, 9, 0, 0, 0, 0)),
		ie.NewRecovery(g.recovery),
	}
	for _, c := range changes {
		for i := range ies {
			if ies[i] != nil && ies[i].Type == c.Type && ies[i].Instance() == c.Instance() {
				ies[i] = c
				if len(c.Payload) == 0 && len(c.ChildIEs) == 0 {
					ies[i] = nil
				}
			}
		}
	}
	return ies
}

func (g *gateway) bearer(ies ...*ie.IE) *ie.IE { return ie.NewBearerContext(ies...) }

func (g *gateway) create(imsi string, changes ...*ie.IE) *message.CreateSessionResponse {
	g.t.Helper()
	g.sequence++
	g.send(message.NewCreateSessionRequest(0, g.sequence, g.createIEs(imsi, changes...)...))
	m, err := message.ParseCreateSessionResponse(g.receive())
	require.NoError(g.t, err)
	require.Equal(g.t, g.sequence, m.SequenceNumber)
	require.Equal(g.t, uint32(0x91), m.TEID(), "answered to the TEID of the SGW")
	return m
}

func (g *gateway) attach(imsi string, changes ...*ie.IE) *message.CreateSessionResponse {
	g.t.Helper()
	m := g.create(imsi, changes...)
	require.Equal(g.t, uint8(16), m.Cause.MustCause(), "create session of %s", imsi)
	return m
}

func (g *gateway) delete(teid uint32) *message.DeleteSessionResponse {
	g.t.Helper()
	g.sequence++
	g.send(message.NewDeleteSessionRequest(teid, g.sequence, ie.NewEPSBearerID(5)))
	m, err := message.ParseDeleteSessionResponse(g.receive())
	require.NoError(g.t, err)
	return m
}

func (g *gateway) modify(teid uint32, ies ...*ie.IE) *message.ModifyBearerResponse {
	g.t.Helper()
	g.sequence++
	g.send(message.NewModifyBearerRequest(teid, g.sequence, ies...))
	m, err := message.ParseModifyBearerResponse(g.receive())
	require.NoError(g.t, err)
	return m
}

func requireCause(t *testing.T, want uint8, cause *ie.IE) {
	t.Helper()
	require.Equal(t, want, cause.MustCause())
}

// taken is how many addresses are not free, resting ones left out.
func taken(s *Server) int {
	n := 0
	for _, u := range s.PoolUsage() {
		n += u.Used
	}
	return n
}

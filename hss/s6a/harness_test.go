package s6a

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

const (
	imsi     identity.IMSI = "999700000000001"
	ourHost                = "hss1.epc.mnc070.mcc999.3gppnetwork.org"
	ourRealm               = "epc.mnc070.mcc999.3gppnetwork.org"
	mmeRealm               = "epc.mnc001.mcc001.3gppnetwork.org"
	mme1                   = "mme1." + mmeRealm
	mme2                   = "mme2." + mmeRealm
	patience               = 20 * time.Second
)

var visited = [3]byte{0x00, 0xf1, 0x10} // 001-01

// testKeys are those of test set 1 of TS 35.208.
func testKeys(t testing.TB) (aka.Credentials, *card) {
	t.Helper()
	k, err := hex.DecodeString("465b5ce8b199b49faa5f0a2ee238a6bc")
	require.NoError(t, err)
	opc, err := hex.DecodeString("cd63cb71954a9f4e48a5994e37a02baf")
	require.NoError(t, err)
	return aka.Credentials{K: aka.KeyOf(k), OPc: aka.KeyOf(opc)}, &card{k: [16]byte(k), opc: [16]byte(opc)}
}

// hss is an HSS with a real Redis.
type hss struct {
	t       testing.TB
	redis   *redistest.Server
	store   *store.Store
	server  *Server
	node    *diameter.Node
	address string
	stop    func()
}

const testKEK = "test 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func startHSS(t testing.TB) *hss {
	t.Helper()
	return startHSSOn(t, redistest.Start(t), nil)
}

// settings is what a test may change before an HSS starts.
type settings struct {
	poll, lease time.Duration // between looks for requests that wait; how long one is an instance's own
	s6a         Config
	peers       diameter.Config
	redis       string // address
}

// startHSSOn starts an HSS over a Redis that others may use too. Requests that wait are looked for often, and leases
// are short.
func startHSSOn(t testing.TB, r *redistest.Server, change func(*settings)) *hss {
	t.Helper()
	h := &hss{t: t, redis: r}
	keyring, err := store.ParseKeyring(testKEK)
	require.NoError(t, err)
	set := settings{poll: 10 * time.Millisecond, lease: 300 * time.Millisecond, s6a: DefaultConfig(), peers: diameter.DefaultConfig(), redis: r.Address}
	set.s6a.PulseFile = filepath.Join(t.TempDir(), "pulse")
	set.peers.Identity, set.peers.Realm = ourHost, ourRealm
	set.peers.Listen, set.peers.Transports = []string{"127.0.0.1:0"}, []string{"tcp"}
	set.peers.Peers = []diameter.PeerConfig{
		{Host: "dra1." + mmeRealm, Agent: true}, {Host: "dra2." + mmeRealm, Agent: true}, {Host: "*." + mmeRealm, Realm: mmeRealm},
	}
	if change != nil {
		change(&set)
	}
	cfg := store.DefaultConfig()
	cfg.Addresses = []string{set.redis}
	log := slog.New(slog.DiscardHandler)
	h.store, err = store.Open(cfg, keyring, log)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.store.Close() })
	h.server = New(set.s6a, h.store, log)
	h.server.poll, h.server.lease = set.poll, set.lease
	h.node = diameter.New(set.peers, log, 1, h.server.Application(), h.server.S13())
	require.NoError(t, h.node.Listen())
	h.address = h.node.Addresses()[0]
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { require.NoError(t, h.node.Run(ctx)) })
	parts.Go(func() { require.NoError(t, h.server.Run(ctx, h.node)) })
	h.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
	})
	t.Cleanup(h.stop)
	return h
}

// requireTold waits until so many requests of ours of that kind have ended so.
func (h *hss) requireTold(command, result string, n float64) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		return testutil.ToFloat64(h.server.requests.WithLabelValues(command, result)) == n
	}, patience, patienceStep)
}

func (h *hss) add(p subscriber.Profile) {
	h.t.Helper()
	keys, _ := testKeys(h.t)
	p = p.WithDefaults()
	require.NoError(h.t, p.Validate())
	require.NoError(h.t, h.store.Add(context.Background(), imsi, p, keys, 0, time.Now()))
}

func (h *hss) subscriber() subscriber.Subscriber {
	h.t.Helper()
	sub, _, err := h.store.Get(context.Background(), imsi)
	require.NoError(h.t, err)
	return sub
}

func internet() subscriber.Profile {
	return subscriber.Profile{MSISDN: "882120000001", APNs: []subscriber.APN{{Name: "internet"}}}
}

// mme is a node of the host's that speaks with go-diameter's codec and its own dictionary.
type mme struct {
	t    testing.TB
	host string
	conn io.ReadWriteCloser
	last uint32
}

func dialMME(t testing.TB, address, host string) *mme {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	require.NoError(t, err)
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	return newMME(t, nc, host)
}

func newMME(t testing.TB, conn io.ReadWriteCloser, host string) *mme {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	m := &mme{t: t, host: host, conn: conn}
	cer := diam.NewRequest(diam.CapabilitiesExchange, 0, dict.Default)
	m.add(cer, avp.OriginHost, avp.Mbit, 0, datatype.DiameterIdentity(host))
	m.add(cer, avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity(mmeRealm))
	m.add(cer, avp.HostIPAddress, avp.Mbit, 0, datatype.Address(net.IPv4(127, 0, 0, 1)))
	m.add(cer, avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(diameter.Vendor3GPP))
	m.add(cer, avp.ProductName, 0, 0, datatype.UTF8String("test"))
	m.add(cer, avp.VendorSpecificApplicationID, avp.Mbit, 0, application())
	m.requireResult(m.exchange(cer), 2001)
	return m
}

func application() *diam.GroupedAVP {
	return &diam.GroupedAVP{AVP: []*diam.AVP{
		diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(diameter.Vendor3GPP)),
		diam.NewAVP(avp.AuthApplicationID, avp.Mbit, 0, datatype.Unsigned32(ApplicationID)),
	}}
}

func (m *mme) add(msg *diam.Message, code uint32, flags uint8, vendor uint32, v datatype.Type) {
	_, err := msg.NewAVP(code, flags, vendor, v)
	require.NoError(m.t, err)
}

// request makes a request about a SIM; avps are 3GPP's with the M bit.
func (m *mme) request(command uint32, user string, avps map[uint32]datatype.Type) *diam.Message {
	m.last++
	msg := diam.NewMessage(command, diam.RequestFlag|diam.ProxiableFlag, ApplicationID, m.last, m.last, dict.Default)
	m.add(msg, avp.SessionID, avp.Mbit, 0, datatype.UTF8String(m.host+";1;2"))
	m.add(msg, avp.VendorSpecificApplicationID, avp.Mbit, 0, application())
	m.add(msg, avp.AuthSessionState, avp.Mbit, 0, datatype.Enumerated(1))
	m.add(msg, avp.OriginHost, avp.Mbit, 0, datatype.DiameterIdentity(m.host))
	m.add(msg, avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity(mmeRealm))
	m.add(msg, avp.DestinationRealm, avp.Mbit, 0, datatype.DiameterIdentity(ourRealm))
	m.add(msg, avp.UserName, avp.Mbit, 0, datatype.UTF8String(user))
	for code, v := range avps {
		m.add(msg, code, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, v)
	}
	return msg
}

func (m *mme) exchange(req *diam.Message) *diam.Message {
	m.t.Helper()
	m.send(req)
	ans := m.receive()
	require.Equal(m.t, req.Header.HopByHopID, ans.Header.HopByHopID)
	require.Equal(m.t, req.Header.CommandCode, ans.Header.CommandCode)
	return ans
}

func (m *mme) send(msg *diam.Message) {
	m.t.Helper()
	_, err := msg.WriteTo(m.conn)
	require.NoError(m.t, err)
}

// receive receives what is no watchdog, and answers those: one comes at once when a node is back that was lost.
func (m *mme) receive() *diam.Message {
	m.t.Helper()
	for {
		msg := m.receiveAny()
		if msg.Header.CommandCode != diam.DeviceWatchdog || msg.Header.CommandFlags&diam.RequestFlag == 0 {
			return msg
		}
		m.send(msg.Answer(2001))
	}
}

func (m *mme) receiveAny() *diam.Message {
	m.t.Helper()
	msg, err := diam.ReadMessage(m.conn, dict.Default)
	require.NoError(m.t, err)
	return msg
}

func group(avps ...*diam.AVP) *diam.GroupedAVP { return &diam.GroupedAVP{AVP: avps} }

func tgpp(code uint32, v datatype.Type) *diam.AVP {
	return diam.NewAVP(code, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, v)
}

// air makes an AIR for n vectors of each kind, with AUTS unless it is nil.
func (m *mme) air(eutran, utran int, auts []byte) *diam.Message {
	avps := map[uint32]datatype.Type{avp.VisitedPLMNID: datatype.OctetString(visited[:])}
	for code, n := range map[uint32]int{avp.RequestedEUTRANAuthenticationInfo: eutran, avp.RequestedUTRANGERANAuthenticationInfo: utran} {
		if n == 0 {
			continue
		}
		g := group(tgpp(avp.NumberOfRequestedVectors, datatype.Unsigned32(n)), tgpp(avp.ImmediateResponsePreferred, datatype.Unsigned32(0)))
		if auts != nil {
			g.AddAVP(tgpp(avp.ResynchronizationInfo, datatype.OctetString(auts)))
		}
		avps[code] = g
	}
	return m.request(318, string(imsi), avps)
}

func (m *mme) ulr(flags uint32) *diam.Message {
	return m.request(316, string(imsi), map[uint32]datatype.Type{
		avp.RATType: datatype.Enumerated(1004), avp.ULRFlags: datatype.Unsigned32(flags), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
		avp.TerminalInformation: group(tgpp(avp.IMEI, datatype.UTF8String("35609204079300")), tgpp(avp.SoftwareVersion, datatype.UTF8String("01"))),
	})
}

func (m *mme) pur() *diam.Message { return m.request(321, string(imsi), nil) } // PUR-Flags are optional

// requireResult checks Result-Code, or with experimental set Experimental-Result-Code.
func (m *mme) requireResult(ans *diam.Message, code uint32) {
	m.t.Helper()
	a, err := ans.FindAVP(avp.ResultCode, 0)
	require.NoError(m.t, err, "%v", ans)
	require.Equal(m.t, datatype.Unsigned32(code), a.Data)
}

func (m *mme) requireExperimental(ans *diam.Message, code uint32) {
	m.t.Helper()
	a, err := ans.FindAVP(avp.ExperimentalResultCode, 0)
	require.NoError(m.t, err, "%v", ans)
	require.Equal(m.t, datatype.Unsigned32(code), a.Data)
	_, err = ans.FindAVP(avp.ResultCode, 0)
	require.Error(m.t, err)
	require.Zero(m.t, ans.Header.CommandFlags&diam.ErrorFlag)
}

// vector is one that came in an AIA.
type vector struct {
	item       uint32
	rand, autn [16]byte
	xres       []byte
	kasme      []byte // E-UTRAN
	ck, ik     []byte // UTRAN
}

func vectorsOf(t testing.TB, ans *diam.Message, code uint32) []vector {
	t.Helper()
	var all []vector
	groups, _ := ans.FindAVPs(code, diameter.Vendor3GPP) // none is an error there
	for _, g := range groups {
		var v vector
		for _, a := range g.Data.(*diam.GroupedAVP).AVP {
			b := a.Data.Serialize()
			switch a.Code {
			case avp.ItemNumber:
				v.item = uint32(a.Data.(datatype.Unsigned32))
			case avp.RAND:
				v.rand = [16]byte(b)
			case avp.AUTN:
				v.autn = [16]byte(b)
			case avp.XRES:
				v.xres = b
			case avp.KASME:
				v.kasme = b
			case avp.ConfidentialityKey:
				v.ck = b
			case avp.IntegrityKey:
				v.ik = b
			default:
				require.Fail(t, "unexpected AVP", "%v", a)
			}
		}
		all = append(all, v)
	}
	return all
}

package mme

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHSS answers with go-diameter's codec, so that ours meets another. It serves one connection after the other.
type fakeHSS struct {
	listener net.Listener
	answer   func(request *diam.Message, answer *diam.Message) // fills the answer to a request that is not base's
	done     chan struct{}

	mu       sync.Mutex
	requests []*diam.Message
	conns    []net.Conn
}

func startHSS(t *testing.T, answer func(request, answer *diam.Message)) *fakeHSS {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &fakeHSS{listener: listener, answer: answer, done: make(chan struct{})}
	go h.serve()
	t.Cleanup(func() {
		_ = listener.Close()
		h.drop()
		<-h.done
	})
	return h
}

// drop closes the connections, as when the HSS is killed.
func (h *fakeHSS) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.conns = nil
}

func (h *fakeHSS) serve() {
	defer close(h.done)
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.conns = append(h.conns, conn)
		h.mu.Unlock()
		for {
			m, err := diam.ReadMessage(conn, dict.Default)
			if err != nil {
				break
			}
			if !h.reply(conn, m) {
				break
			}
		}
		_ = conn.Close()
	}
}

func (h *fakeHSS) reply(conn net.Conn, m *diam.Message) bool {
	h.mu.Lock()
	h.requests = append(h.requests, m)
	h.mu.Unlock()
	a := diam.NewMessage(m.Header.CommandCode, m.Header.CommandFlags&^diam.RequestFlag, m.Header.ApplicationID,
		m.Header.HopByHopID, m.Header.EndToEndID, dict.Default)
	if m.Header.CommandCode == commandCapabilities || m.Header.CommandCode == commandDisconnect {
		_, _ = a.NewAVP("Result-Code", 0x40, 0, datatype.Unsigned32(diam.Success))
	} else {
		h.answer(m, a)
	}
	if len(a.AVP) == 0 { // the test wants the connection to break
		return false
	}
	_, err := a.WriteTo(conn)
	return err == nil
}

func (h *fakeHSS) last(t *testing.T, command uint32) *diam.Message {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.requests) - 1; i >= 0; i-- {
		if h.requests[i].Header.CommandCode == command {
			return h.requests[i]
		}
	}
	require.Fail(t, "no such request", "command %d", command)
	return nil
}

func newMME(t *testing.T, h *fakeHSS) *MME {
	t.Helper()
	m := New(Config{
		Host: "mme1.visited", Realm: "visited", HSSRealm: "home", PLMN: [3]byte{0x00, 0xf1, 0x10},
		Address: netip.MustParseAddr("10.10.0.2"), HSS: h.listener.Addr().String(),
		Dial: new(net.Dialer).DialContext, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { require.NoError(t, m.Close(context.Background())) })
	return m
}

func text(t *testing.T, m *diam.Message, path ...any) string {
	t.Helper()
	avps, err := m.FindAVPsWithPath(path, dict.UndefinedVendorID)
	require.NoError(t, err)
	require.NotEmpty(t, avps, "%v in %s", path, m)
	return string(avps[0].Data.Serialize())
}

func octet(n int, fill byte) datatype.OctetString {
	b := make([]byte, n)
	for i := range b {
		b[i] = fill
	}
	return datatype.OctetString(b)
}

func member(code uint32, vendor uint32, data datatype.Type) *diam.AVP {
	flags := uint8(0x40)
	if vendor != 0 {
		flags |= 0x80
	}
	return diam.NewAVP(code, flags, vendor, data)
}

func grouped(members ...*diam.AVP) *diam.GroupedAVP { return &diam.GroupedAVP{AVP: members} }

func TestAuthenticationInformationReadByGoDiameter(t *testing.T) {
	hss := startHSS(t, func(_, a *diam.Message) {
		a.AddAVP(member(avpResultCode, 0, datatype.Unsigned32(resultSuccess)))
		a.AddAVP(member(avpAuthInfo, vendor3GPP, grouped(
			member(avpEUTRANVector, vendor3GPP, grouped(
				member(avpItemNumber, vendor3GPP, datatype.Unsigned32(1)),
				member(avpRAND, vendor3GPP, octet(16, 1)),
				member(avpXRES, vendor3GPP, octet(8, 2)),
				member(avpAUTN, vendor3GPP, octet(16, 3)),
				member(avpKASME, vendor3GPP, octet(32, 4)))))))
	})
	m := newMME(t, hss)
	vectors, err := m.AuthenticationInformation(t.Context(), "999700000000001", 2, []byte("RAND and AUTS, 30 octets long."))
	require.NoError(t, err)
	require.Len(t, vectors, 1)
	require.EqualValues(t, 1, vectors[0].Item)
	require.Equal(t, byte(1), vectors[0].RAND[15])
	require.Len(t, vectors[0].XRES, 8)
	require.Equal(t, byte(4), vectors[0].KASME[31])

	cer := hss.last(t, commandCapabilities)
	require.Equal(t, "mme1.visited", text(t, cer, "Origin-Host"))
	air := hss.last(t, commandAuthentication)
	require.EqualValues(t, applicationS6a, air.Header.ApplicationID)
	require.EqualValues(t, 0xc0, air.Header.CommandFlags)
	require.Equal(t, "999700000000001", text(t, air, "User-Name"))
	require.Equal(t, "home", text(t, air, "Destination-Realm"))
	require.Equal(t, "\x00\xf1\x10", text(t, air, "Visited-PLMN-Id"))
	require.Equal(t, "\x00\x00\x00\x02", text(t, air, "Requested-EUTRAN-Authentication-Info", "Number-Of-Requested-Vectors"))
	require.Equal(t, "RAND and AUTS, 30 octets long.", text(t, air, "Requested-EUTRAN-Authentication-Info", uint32(avpResynchronise)))
}

func subscription(a *diam.Message) {
	ambr := func(up, down uint32) *diam.AVP {
		return member(avpAMBR, vendor3GPP, grouped(
			member(avpBandwidthUL, vendor3GPP, datatype.Unsigned32(up)),
			member(avpBandwidthDL, vendor3GPP, datatype.Unsigned32(down))))
	}
	a.AddAVP(member(avpResultCode, 0, datatype.Unsigned32(resultSuccess)))
	a.AddAVP(member(avpSubscriptionData, vendor3GPP, grouped(
		member(avpMSISDN, vendor3GPP, datatype.OctetString("\x88\x32\x06\x00\x00\xf1")),
		ambr(1_000_000, 2_000_000),
		member(avpAPNProfile, vendor3GPP, grouped(
			member(avpContextID, vendor3GPP, datatype.Unsigned32(1)),
			member(avpAPNConfiguration, vendor3GPP, grouped(
				member(avpContextID, vendor3GPP, datatype.Unsigned32(1)),
				member(avpPDNType, vendor3GPP, datatype.Enumerated(0)),
				member(avpServiceSelection, 0, datatype.UTF8String("Internet")),
				member(avpServedPartyIP, vendor3GPP, datatype.Address(net.IPv4(172, 16, 1, 9).To4())),
				member(avpQoSProfile, vendor3GPP, grouped(
					member(avpQCI, vendor3GPP, datatype.Enumerated(9)),
					member(avpARP, vendor3GPP, grouped(member(avpPriorityLevel, vendor3GPP, datatype.Unsigned32(8)))))),
				ambr(50_000_000, 100_000_000))))))))
}

func TestUpdateLocationReadsTheSubscription(t *testing.T) {
	hss := startHSS(t, func(_, a *diam.Message) { subscription(a) })
	s, err := newMME(t, hss).UpdateLocation(t.Context(), "999700000000001")
	require.NoError(t, err)
	require.Equal(t, 6, s.MSISDNLength)
	require.Equal(t, AMBR{1_000_000, 2_000_000}, s.AMBR)
	apn, ok := s.APN("internet")
	require.True(t, ok)
	require.Equal(t, APN{
		Name: "Internet", Context: 1, Address: netip.MustParseAddr("172.16.1.9"), QCI: 9, Priority: 8,
		AMBR: AMBR{50_000_000, 100_000_000},
	}, apn)
	ulr := hss.last(t, commandUpdateLocation)
	require.Equal(t, "\x00\x00\x03\xec", text(t, ulr, "RAT-Type"))
	require.Equal(t, imei, text(t, ulr, "Terminal-Information", "IMEI"))
}

func TestRefusalIsAResultError(t *testing.T) {
	hss := startHSS(t, func(_, a *diam.Message) {
		a.AddAVP(member(avpExperimental, 0, grouped(
			member(avpVendorID, 0, datatype.Unsigned32(vendor3GPP)),
			member(avpExperimentalCode, 0, datatype.Unsigned32(5001)))))
	})
	_, err := newMME(t, hss).AuthenticationInformation(t.Context(), "999709999999999", 1, nil)
	var refused *ResultError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, ResultError{Command: "AIA", Code: 5001, Experimental: true}, *refused)
}

func TestRequestIsRepeatedWithTFlagAfterTheConnectionBroke(t *testing.T) {
	broken := false
	hss := startHSS(t, func(_, a *diam.Message) {
		if !broken {
			broken = true
			return
		}
		a.AddAVP(member(avpResultCode, 0, datatype.Unsigned32(resultSuccess)))
	})
	require.NoError(t, newMME(t, hss).Purge(t.Context(), "999700000000001"))
	require.NotZero(t, hss.last(t, commandPurge).Header.CommandFlags&diam.RetransmittedFlag)
	hss.mu.Lock()
	defer hss.mu.Unlock()
	var ends []uint32
	for _, r := range hss.requests {
		if r.Header.CommandCode == commandPurge {
			ends = append(ends, r.Header.EndToEndID)
		}
	}
	require.Len(t, ends, 2)
	require.Equal(t, ends[0], ends[1], "the End-to-End Identifier is the same, RFC 6733 3")
}

func TestHSSsRequestsAreAnswered(t *testing.T) {
	hss := startHSS(t, func(_, a *diam.Message) { subscription(a) })
	m := newMME(t, hss)
	_, err := m.UpdateLocation(t.Context(), "999700000000001")
	require.NoError(t, err)
	clr := message{Flags: flagRequest | flagProxiable, Command: commandCancelLocation, Application: applicationS6a, AVPs: []avp{
		base(avpSessionID, []byte("s")), base(avpUserName, []byte("999700000000001")), of3GPP(avpCancellationType, number(2)),
	}}
	answer := m.serve(clr)
	require.False(t, answer.request())
	code, err := needUint32(answer.AVPs, 0, avpResultCode)
	require.NoError(t, err)
	require.EqualValues(t, resultSuccess, code)
	require.Equal(t, []CancelLocation{{"999700000000001", 2}}, m.Cancels())

	unknown := m.serve(message{Flags: flagRequest, Command: 999})
	require.NotZero(t, unknown.Flags&flagError)
}

func TestEveryTruncationIsAnError(t *testing.T) {
	octets := message{Flags: flagRequest, Command: 318, AVPs: []avp{
		base(avpUserName, []byte("999700000000001")), of3GPP(avpVisitedPLMN, []byte{0, 1, 2}),
	}}.marshal()
	_, err := parseMessage(octets)
	require.NoError(t, err)
	for n := range octets {
		_, err := parseMessage(octets[:n])
		require.ErrorIs(t, err, errFormat)
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(message{Command: 318, AVPs: []avp{of3GPP(avpAuthInfo, group(of3GPP(avpEUTRANVector, group(of3GPP(avpRAND, make([]byte, 16))))))}}.marshal())
	f.Fuzz(func(t *testing.T, octets []byte) {
		m, err := parseMessage(octets)
		if err != nil {
			return
		}
		_ = result("AIA", m)
		_, _ = parseSubscription(m.AVPs)
		for _, a := range m.AVPs {
			_, _ = parseVector(a.Data)
			_, _ = parseAPN(a.Data)
		}
	})
}

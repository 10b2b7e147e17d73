package sgw

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	gtpie "github.com/wmnsk/go-gtp/gtpv2/ie"
	gtpmessage "github.com/wmnsk/go-gtp/gtpv2/message"
)

var (
	sgwAddress = netip.MustParseAddr("10.10.0.2")
	pgwAddress = netip.MustParseAddr("10.20.2.2")
)

func exampleRequest() (CreateSession, *Session) {
	c := CreateSession{
		IMSI: "999700000000001", MSISDN: []byte{0x88, 0x32, 0x06, 0x00, 0x00, 0xf1}, IMEI: "3569380356438001",
		PLMN: [3]byte{0x00, 0xf1, 0x10}, APN: "internet.mnc070.mcc999.gprs", PDNType: 1, QCI: 9, ARP: 8,
		AMBRUplink: 50_000, AMBRDownlink: 100_000,
	}
	return c, &Session{
		Local:     FTEID{TEID: 0x01020304, Address: sgwAddress},
		LocalUser: FTEID{TEID: 0xa1a2a3a4, Address: sgwAddress},
	}
}

func TestCreateSessionRequestReadByGoGTP(t *testing.T) {
	c, s := exampleRequest()
	octets := message{Type: createSessionRequest, Sequence: 0x123456, IEs: c.elements(s, 7)}.marshal()
	parsed, err := gtpmessage.Parse(octets)
	require.NoError(t, err)
	m, ok := parsed.(*gtpmessage.CreateSessionRequest)
	require.True(t, ok, "%T", parsed)
	require.EqualValues(t, 0x123456, m.Sequence())
	require.Zero(t, m.TEID())
	require.Empty(t, m.AdditionalIEs)

	text := func(get func() (string, error)) string {
		t.Helper()
		v, err := get()
		require.NoError(t, err)
		return v
	}
	require.Equal(t, c.IMSI, text(m.IMSI.IMSI))
	require.Equal(t, "88236000001", text(m.MSISDN.MSISDN))
	require.Equal(t, c.IMEI, text(m.MEI.MobileEquipmentIdentity))
	require.Equal(t, "001", text(m.ServingNetwork.MCC))
	require.Equal(t, "01", text(m.ServingNetwork.MNC))
	require.Equal(t, c.APN, text(m.APN.AccessPointName))
	require.Equal(t, "10.10.0.2", text(m.SenderFTEIDC.IPAddress))
	require.Equal(t, uint32(0x01020304), m.SenderFTEIDC.MustTEID())
	kind, err := m.SenderFTEIDC.InterfaceType()
	require.NoError(t, err)
	require.EqualValues(t, interfaceSGWControl, kind)
	rat, err := m.RATType.RATType()
	require.NoError(t, err)
	require.EqualValues(t, ratEUTRAN, rat)
	up, err := m.AMBR.AggregateMaximumBitRateUp()
	require.NoError(t, err)
	down, err := m.AMBR.AggregateMaximumBitRateDown()
	require.NoError(t, err)
	require.Equal(t, []uint32{c.AMBRUplink, c.AMBRDownlink}, []uint32{up, down})
	uli, err := m.ULI.UserLocationInformation()
	require.NoError(t, err)
	require.EqualValues(t, 1, uli.TAC)
	require.EqualValues(t, 1, uli.ECI)
	pco, err := m.PCO.ProtocolConfigurationOptions()
	require.NoError(t, err)
	require.Len(t, pco.ProtocolOrContainers, 2)

	require.Len(t, m.BearerContextsToBeCreated, 1)
	for _, inner := range m.BearerContextsToBeCreated[0].ChildIEs {
		switch inner.Type {
		case gtpie.FullyQualifiedTEID:
			require.EqualValues(t, 2, inner.Instance())
			require.Equal(t, uint32(0xa1a2a3a4), inner.MustTEID())
		case gtpie.BearerQoS:
			qci, err := inner.QCILabel()
			require.NoError(t, err)
			require.EqualValues(t, 9, qci)
			priority, err := inner.PriorityLevel()
			require.NoError(t, err)
			require.EqualValues(t, 8, priority)
		}
	}
}

func TestRequestLeavesOutWhatATestAsksFor(t *testing.T) {
	c, s := exampleRequest()
	c.Without, c.WithoutInBearer = []IEType{IEPAA, IERecovery}, []IEType{IEBearerQoS}
	ies := c.elements(s, 7)
	for _, gone := range c.Without {
		_, ok := find(ies, gone, 0)
		require.False(t, ok)
	}
	context, ok := find(ies, IEBearerContext, 0)
	require.True(t, ok)
	bearer, err := parseElements(context.Value)
	require.NoError(t, err)
	require.Len(t, bearer, 2)
}

// createdByGoGTP is a Create Session Response as go-gtp codes it.
func createdByGoGTP(t testing.TB) []byte {
	t.Helper()
	octets, err := gtpmessage.NewCreateSessionResponse(0x01020304, 0x123456,
		gtpie.NewCause(16, 0, 0, 0, nil),
		gtpie.NewFullyQualifiedTEID(interfacePGWControl, 0x0b0b0b0b, pgwAddress.String(), "").WithInstance(1),
		gtpie.NewPDNAddressAllocation("172.16.1.7"),
		gtpie.NewAPNRestriction(0),
		gtpie.NewProtocolConfigurationOptions(0,
			gtpie.NewPCOContainer(containerDNS, []byte{10, 60, 0, 10}),
			gtpie.NewPCOContainer(containerMTU, []byte{0x05, 0x78})),
		gtpie.NewBearerContext(
			gtpie.NewEPSBearerID(5),
			gtpie.NewCause(16, 0, 0, 0, nil),
			gtpie.NewFullyQualifiedTEID(interfacePGWUser, 0x0c0c0c0c, "10.30.1.1", "").WithInstance(2),
			gtpie.NewChargingID(77)),
		gtpie.NewRecovery(3),
	).Marshal()
	require.NoError(t, err)
	return octets
}

func TestCreateSessionResponseOfGoGTP(t *testing.T) {
	m, err := parseMessage(createdByGoGTP(t))
	require.NoError(t, err)
	var s Session
	require.NoError(t, s.created(m))
	require.Equal(t, FTEID{0x0b0b0b0b, pgwAddress}, s.Remote)
	require.Equal(t, FTEID{0x0c0c0c0c, netip.MustParseAddr("10.30.1.1")}, s.RemoteUser)
	require.Equal(t, netip.MustParseAddr("172.16.1.7"), s.Address)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.60.0.10")}, s.DNS)
	require.Equal(t, 1400, s.MTU)
	require.EqualValues(t, 77, s.ChargingID)
}

func TestEveryTruncationIsAnError(t *testing.T) {
	octets := createdByGoGTP(t)
	for n := range octets {
		_, err := parseMessage(octets[:n])
		require.ErrorIs(t, err, errFormat, "%d of %d octets", n, len(octets))
	}
}

func TestRefusalNamesTheOffendingIE(t *testing.T) {
	// By hand after TS 29.274 figure 8.4-1: go-gtp leaves the instance out.
	octets := []byte{
		0x48, 33, 0, 18, 0, 0, 0, 1, 0, 0, 2, 0,
		0x02, 0, 6, 0, 70, 0, 87, 0, 0, 1,
	}
	m, err := parseMessage(octets)
	require.NoError(t, err)
	var refused *CauseError
	require.ErrorAs(t, new(Session).created(m), &refused)
	require.Equal(t, CauseError{Response: "Create Session Response", Cause: 70, Offending: IEFTEID, Instance: 1}, *refused)
}

func TestGTPUPayload(t *testing.T) {
	for _, row := range []struct {
		name    string
		octets  []byte
		payload []byte // nil: refused
	}{
		{"plain", []byte{0x30, 255, 0, 2, 0, 0, 0, 9, 0xaa, 0xbb}, []byte{0xaa, 0xbb}},
		{"sequence number", []byte{0x32, 255, 0, 6, 0, 0, 0, 9, 0, 1, 0, 0, 0xaa, 0xbb}, []byte{0xaa, 0xbb}},
		{"extension header of four octets", []byte{0x34, 255, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 9, 0, 0xaa}, []byte{0xaa}},
		{"two extension headers", []byte{0x34, 255, 0, 13, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 9, 0x85, 1, 0, 9, 0, 0xaa}, []byte{0xaa}},
		{"extension header of length 0", []byte{0x34, 255, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0x85, 0, 0, 9, 0, 0xaa}, nil},
		{"extension header behind the end", []byte{0x34, 255, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0x85, 9, 0, 9, 0, 0xaa}, nil},
		{"version 2", []byte{0x50, 255, 0, 0, 0, 0, 0, 9}, nil},
		{"GTP prime", []byte{0x20, 255, 0, 0, 0, 0, 0, 9}, nil},
		{"length beyond the datagram", []byte{0x30, 255, 0, 3, 0, 0, 0, 9, 0xaa, 0xbb}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			payload, ok := gtpuPayload(row.octets)
			require.Equal(t, row.payload != nil, ok)
			require.Equal(t, row.payload, payload)
			for n := range row.octets {
				_, ok := gtpuPayload(row.octets[:n])
				require.False(t, ok, "%d octets", n)
			}
		})
	}
}

func FuzzParseMessage(f *testing.F) {
	c, s := exampleRequest()
	f.Add(createdByGoGTP(f))
	f.Add(message{Type: createSessionRequest, IEs: c.elements(s, 7)}.marshal())
	f.Fuzz(func(t *testing.T, octets []byte) {
		m, err := parseMessage(octets)
		if err != nil {
			return
		}
		_ = new(Session).created(m)
	})
}

func FuzzGTPUPayload(f *testing.F) {
	f.Add([]byte{0x34, 255, 0, 13, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 9, 0x85, 1, 0, 9, 0, 0xaa})
	f.Fuzz(func(_ *testing.T, octets []byte) { _, _ = gtpuPayload(octets) })
}

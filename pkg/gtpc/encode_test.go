package gtpc

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	witness "github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/xepc/xepc/pkg/identity"
)

// The encoder's witness is go-gtp, which shares no code with it.

func encode(t *testing.T, h Header, m Outgoing) []byte {
	t.Helper()
	b, err := appendMessage(nil, h, m)
	require.NoError(t, err)
	return b
}

func TestCreateSessionResponse(t *testing.T) {
	b := encode(t, Header{Type: TypeCreateSessionResponse, TEID: 0x0102, Sequence: 0x030405}, &CreateSessionResponse{
		Cause:  CauseNewPDNTypeNetworkPreference,
		Sender: FTEID{Interface: InterfaceS5S8PGWGTPC, TEID: 0x11, IPv4: netip.MustParseAddr("10.20.2.2")},
		PAA:    PAA{Type: PDNTypeIPv4, IPv4: netip.MustParseAddr("172.16.1.1")},
		AMBR:   AMBR{Uplink: 1000, Downlink: 2000},
		PCO:    PCO{{ID: 0x000d, Data: []byte{10, 60, 0, 53}}},
		Bearer: CreatedBearer{
			EBI: 5, ChargingID: 0x01000001, QoS: BearerQoS{QCI: 9, PriorityLevel: 8, MBRUplink: 1 << 33},
			Local: FTEID{Interface: InterfaceS5S8PGWGTPU, TEID: 0x22, IPv4: netip.MustParseAddr("10.30.1.1")},
		},
		Recovery: Some[uint8](7),
	})
	m, err := witness.ParseCreateSessionResponse(b)
	require.NoError(t, err)
	require.Equal(t, uint32(0x0102), m.TEID())
	require.Equal(t, uint32(0x030405), m.SequenceNumber)
	require.Equal(t, uint8(18), m.Cause.MustCause())
	require.Equal(t, uint32(0x11), m.PGWS5S8FTEIDC.MustTEID())
	require.Equal(t, "10.20.2.2", m.PGWS5S8FTEIDC.MustIPAddress())
	require.Equal(t, uint8(7), m.PGWS5S8FTEIDC.MustInterfaceType())
	require.Equal(t, "172.16.1.1", m.PAA.MustIPAddress())
	require.Equal(t, uint32(1000), m.AMBR.MustAggregateMaximumBitRateUp())
	require.Equal(t, uint32(2000), m.AMBR.MustAggregateMaximumBitRateDown())
	require.Equal(t, uint8(0), m.APNRestriction.MustAPNRestriction())
	require.Equal(t, uint8(7), m.Recovery.MustRecovery())
	pco, err := m.PCO.ProtocolConfigurationOptions()
	require.NoError(t, err)
	require.Equal(t, []byte{10, 60, 0, 53}, pco.ProtocolOrContainers[0].Contents)

	bearer := map[uint8][]byte{}
	for _, i := range m.BearerContextsCreated[0].ChildIEs {
		bearer[i.Type] = i.Payload
		switch IEType(i.Type) {
		case ieFTEID:
			require.Equal(t, uint8(2), i.Instance())
			require.Equal(t, uint8(5), i.MustInterfaceType())
		case ieBearerQoS:
			require.Equal(t, uint8(9), i.Payload[1])
			require.Equal(t, uint64(1<<33), i.MustMBRForUplink())
			require.Equal(t, uint8(8<<2), i.Payload[0])
		case ieChargingID:
			require.Equal(t, uint32(0x01000001), i.MustChargingID())
		default:
		}
	}
	require.Len(t, bearer, 5, "EBI, cause, F-TEID, QoS, charging id")
}

func TestReject(t *testing.T) {
	b := encode(t, Header{Type: TypeCreateSessionResponse, Sequence: 1},
		Reject(TypeCreateSessionRequest, &Error{Cause: CauseMandatoryIEMissing, Offending: IEKey{Type: ieFTEID, Instance: 2}}))
	require.Equal(t, octets(t, "48 21 00 12 00 00 00 00 00 00 01 00  02 00 06 00 46 00 57 00 00 02"), b)
	m, err := witness.ParseCreateSessionResponse(b)
	require.NoError(t, err)
	offending, err := m.Cause.OffendingIE()
	require.NoError(t, err)
	require.Equal(t, uint8(87), offending.Type)
	require.Equal(t, uint8(2), offending.Instance())
}

func TestModifyBearerResponse(t *testing.T) {
	b := encode(t, Header{Type: TypeModifyBearerResponse, TEID: 9, Sequence: 2}, &ModifyBearerResponse{
		Cause: CauseRequestAccepted, MSISDN: Some[identity.MSISDN]("436641234567"), APNRestriction: Some[uint8](0),
		Bearers: []ModifiedBearer{{EBI: 5, Cause: CauseRequestAccepted, ChargingID: Some[uint32](3)}},
	})
	m, err := witness.ParseModifyBearerResponse(b)
	require.NoError(t, err)
	require.Equal(t, uint8(16), m.Cause.MustCause())
	require.Equal(t, "436641234567", m.MSISDN.MustMSISDN())
	require.Len(t, m.BearerContextsModified, 1)
}

func TestDeleteMessages(t *testing.T) {
	b := encode(t, Header{Type: TypeDeleteSessionResponse, TEID: 9, Sequence: 2},
		&DeleteSessionResponse{Cause: CauseRequestAccepted, Recovery: Some[uint8](1)})
	response, err := witness.ParseDeleteSessionResponse(b)
	require.NoError(t, err)
	require.Equal(t, uint8(16), response.Cause.MustCause())
	require.Equal(t, uint8(1), response.Recovery.MustRecovery())

	b = encode(t, Header{Type: TypeDeleteBearerRequest, TEID: 9, Sequence: 3},
		&DeleteBearerRequest{LinkedEBI: 5, Cause: Some(CauseReactivationRequested)})
	request, err := witness.ParseDeleteBearerRequest(b)
	require.NoError(t, err)
	require.Equal(t, uint8(5), request.LinkedEBI.MustEPSBearerID())
	require.Equal(t, uint8(8), request.Cause.MustCause())
}

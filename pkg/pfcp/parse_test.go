package pfcp

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

// octets reads spaced hex. A bracket pair stands for the two octets of a length, and what it encloses is counted.
func octets(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	var open []int
	for token := range strings.FieldsSeq(strings.NewReplacer("[", " [ ", "]", " ] ").Replace(s)) {
		switch token {
		case "[":
			b = append(b, 0, 0)
			open = append(open, len(b))
		case "]":
			at := open[len(open)-1]
			open = open[:len(open)-1]
			binary.BigEndian.PutUint16(b[at-2:], uint16(len(b)-at))
		default:
			o, err := hex.DecodeString(token)
			require.NoError(t, err)
			b = append(b, o...)
		}
	}
	require.Empty(t, open)
	return b
}

type parseRow struct {
	name   string
	octets string
	header Header
	want   Message
}

// accepted are messages as peers send them but our encoder would not, written by hand from the standard and from
// what is known of the peers.
func accepted() []parseRow {
	heartbeat, modification := Header{Type: TypeHeartbeatRequest, Sequence: 1}, Header{
		Type: TypeSessionModificationRequest, SEID: 1, Sequence: 5,
	}
	return []parseRow{
		{
			name:   "a heartbeat request with nothing in it",
			octets: "20 01 [00 00 01 00]",
			header: heartbeat,
			want:   &HeartbeatRequest{},
		}, {
			name:   "spare bits of the header and of its last octet mean nothing",
			octets: "38 01 [ab cd ef 77 00 60 [ee ae 00 80]]",
			header: Header{Type: TypeHeartbeatRequest, Sequence: 0xabcdef},
			want:   &HeartbeatRequest{RecoveryTimeStamp: Some(RecoveryTimeStamp(0xeeae0080))},
		}, {
			name:   "of an IE that may not be repeated the first one counts",
			octets: "20 01 [00 00 01 00 00 60 [00 00 00 01] 00 60 [00 00 00 02]]",
			header: heartbeat,
			want:   &HeartbeatRequest{RecoveryTimeStamp: Some(RecoveryTimeStamp(1))},
		}, {
			name:   "octets that a later release added to an IE are ignored",
			octets: "20 01 [00 00 01 00 00 60 [00 00 00 01 ff ff]]",
			header: heartbeat,
			want:   &HeartbeatRequest{RecoveryTimeStamp: Some(RecoveryTimeStamp(1))},
		}, {
			name:   "the FO flag announces a further message, which is ignored",
			octets: "24 01 [00 00 01 00] 20 01 [00 00 02 00]",
			header: heartbeat,
			want:   &HeartbeatRequest{},
		}, {
			name: "an FQDN in plain text, with vendor and unknown IEs around it",
			octets: `20 05 [00 00 01 00
				80 01 [48 f9 00 01]
				00 3c [02 53 4d 46 2e 6c 6f 63 61 6c]
				7f ff []
				00 60 [00 00 00 09]
				00 59 [01 02 03]]`,
			header: Header{Type: TypeAssociationSetupRequest, Sequence: 1},
			want: &AssociationSetupRequest{
				NodeID: NodeID{FQDN: "smf.local"}, RecoveryTimeStamp: 9, CPFunctionFeatures: Some(uint8(1)),
			},
		}, {
			// Create PDR 1: Source Interface with spare bits set, CHOOSE with V4=V6=0, Network Instance of no
			// length, SDF Filter without flags, Outer Header Removal in two octets. Create PDR 2: Network
			// Instance in plain text, SDF Filter of no length. Apply Action in one octet. QER ID 0. Create BAR.
			name: "an uplink and a downlink PDR with all that differs between control planes",
			octets: `21 32 [00 00 00 00 00 00 00 00 00 00 05 00
				00 3c [00 0a 28 02 02]
				00 39 [02 00 00 00 00 00 00 00 01 0a 28 02 02]
				00 01 [00 38 [00 01] 00 1d [00 00 00 ff]
					00 02 [00 14 [f0] 00 15 [04] 00 16 [] 00 17 [00 00]]
					00 5f [00 01] 00 6c [00 00 00 01]]
				00 01 [00 38 [00 02] 00 1d [00 00 ff ff]
					00 02 [00 14 [01] 00 16 [49 6e 74 65 72 6e 65 74] 00 17 [] 00 5d [06 ac 10 01 05]]
					00 6c [00 00 00 01]]
				00 03 [00 6c [00 00 00 01] 00 2c [02]]
				00 07 [00 6d [00 00 00 00] 00 19 [00]]
				00 55 [00 58 [01]]]`,
			header: Header{Type: TypeSessionEstablishmentRequest, Sequence: 5},
			want: &SessionEstablishmentRequest{
				NodeID: NodeID{Addr: testCP}, FSEID: FSEID{SEID: 1, IPv4: testCP},
				CreatePDRs: []CreatePDR{{
					ID: 1, Precedence: 255, OuterHeaderRemoval: Some(RemoveGTPUUDPIPv4), FARID: Some(FARID(1)),
					PDI: PDI{
						SourceInterface: InterfaceAccess, FTEID: Some(FTEID{Choose: true}),
						NetworkInstance: Some(NetworkInstance("")), SDFFilters: []SDFFilter{{}},
					},
				}, {
					ID: 2, Precedence: 65535, FARID: Some(FARID(1)),
					PDI: PDI{
						SourceInterface: InterfaceCore, NetworkInstance: Some(NetworkInstance("internet")),
						SDFFilters:  []SDFFilter{{}},
						UEIPAddress: Some(UEIPAddress{IPv4: testUE, Destination: true}),
					},
				}},
				CreateFARs: []CreateFAR{{ID: 1, ApplyAction: ActionForward}},
				CreateQERs: []CreateQER{{ID: 0}},
				CreateBARs: []BAR{{ID: 1}},
			},
		}, {
			name: "an SDF filter with every field, a network instance in labels with a zero at the end",
			octets: `21 34 [00 00 00 00 00 00 00 01 00 00 05 00
				00 09 [00 38 [00 01]
					00 02 [00 14 [01] 00 16 [03 49 6f 54 02 65 75 00]
						00 17 [1f 00 [70 65 72 6d 69 74] b8 fc 00 00 10 01 f1 23 45 00 00 00 07]]]]`,
			header: modification,
			want: &SessionModificationRequest{UpdatePDRs: []UpdatePDR{{ID: 1, PDI: Some(PDI{
				SourceInterface: InterfaceCore, NetworkInstance: Some(NetworkInstance("iot.eu")),
				SDFFilters: []SDFFilter{{
					FlowDescription: "permit", ToSTrafficClass: Some(uint16(0xb8fc)),
					SPI: Some(uint32(0x1001)), FlowLabel: Some(uint32(0x12345)), FilterID: Some(uint32(7)),
				}},
			})}}},
		}, {
			name: "an outer header of UDP and tags keeps its description, so that it can be refused",
			octets: `21 34 [00 00 00 00 00 00 00 01 00 00 05 00
				00 0a [00 6c [00 00 00 01]
					00 0b [00 54 [c4 00 0a 0a 00 02 08 68 01 02 03 04 05 06] 00 2a [00]]]]`,
			header: modification,
			want: &SessionModificationRequest{UpdateFARs: []UpdateFAR{{
				ID: 1, ForwardingParameters: Some(ForwardingParameters{
					DestinationInterface: Some(InterfaceAccess),
					OuterHeaderCreation:  Some(OuterHeaderCreation{Description: 0xc400, IPv4: testSGW}),
				}),
			}}},
		}, {
			// TS 29.244 5.6.3. The Network Instance of no length is also read as none, which some peers mean by it.
			name: "parameters of rules that are removed by an IE of no length",
			octets: `21 34 [00 00 00 00 00 00 00 01 00 00 05 00
				00 09 [00 38 [00 01] 00 5f [] 00 51 [] 00 6d []]
				00 0a [00 6c [00 00 00 01] 00 58 [] 00 0b [00 54 [] 00 16 []] 00 69 [00 1e []]]
				00 0a [00 6c [00 00 00 02] 00 0b []]
				00 0d [00 51 [00 00 00 01] 00 1f [] 00 52 [] 00 4a []]
				00 0e [00 6d [00 00 00 01] 00 1a []]
				00 56 [00 58 [01] 00 2e []]
				00 81 [00 83 [01] 00 5d []]]`,
			header: modification,
			want: &SessionModificationRequest{
				UpdatePDRs: []UpdatePDR{{ID: 1, Removed: *typesOf(IEOuterHeaderRemoval, IEURRID, IEQERID)}},
				UpdateFARs: []UpdateFAR{{
					ID: 1, Removed: *typesOf(IEBARID), ForwardingParameters: Some(ForwardingParameters{
						NetworkInstance: Some(NetworkInstance("")), Removed: *typesOf(IEOuterHeaderCreation, IENetworkInstance),
					}),
					Duplicating: []DuplicatingParameters{{Removed: *typesOf(IETransportLevelMarking)}},
				}, {ID: 2, Removed: *typesOf(IEUpdateForwardingParameters)}},
				UpdateURRs:             []UpdateURR{{ID: 1, Removed: *typesOf(IEVolumeThreshold, IELinkedURRID, IETimeQuota)}},
				UpdateQERs:             []UpdateQER{{ID: 1, Removed: *typesOf(IEMBR)}},
				UpdateBARs:             []BAR{{ID: 1, Removed: *typesOf(IEDownlinkDataNotificationDelay)}},
				UpdateTrafficEndpoints: []TrafficEndpoint{{ID: 1, Removed: *typesOf(IEUEIPAddress)}},
			},
		}, {
			name: "a redirection without the length of the other address, as before Rel-15",
			octets: `21 34 [00 00 00 00 00 00 00 01 00 00 05 00
				00 0a [00 6c [00 00 00 01] 00 0b [00 26 [f0 [31 2e 32 2e 33 2e 34]]]]]`,
			header: modification,
			want: &SessionModificationRequest{UpdateFARs: []UpdateFAR{{
				ID: 1, ForwardingParameters: Some(ForwardingParameters{
					Redirect: Some(RedirectInformation{Type: RedirectIPv4, Server: "1.2.3.4"}),
				}),
			}}},
		}, {
			name: "an FQ-CSID with the type of its node, one of a node named by MCC and MNC, and one of no set",
			octets: `20 0e [00 00 07 00 00 3c [00 0a 28 02 02]
				00 41 [01 0a 28 02 02 00 07 f2] 00 41 [21 f3 e4 60 01 00 09] 00 41 [00 0a 28 02 02]]`,
			header: Header{Type: TypeSessionSetDeletionRequest, Sequence: 7},
			want: &SessionSetDeletionRequest{NodeID: NodeID{Addr: testCP}, FQCSIDs: []FQCSID{
				{Addr: testCP, CSIDs: []uint16{7}, NodeType: Some(uint8(2))},
				{MCCMNC: 0xf3e46001, CSIDs: []uint16{9}},
				{Addr: testCP},
			}},
		}, {
			name: "a Session Report Response with a packet count in one octet",
			octets: `21 39 [00 00 00 00 00 00 00 01 00 00 05 00 00 13 [01]
				00 0c [00 58 [01] 00 30 [20] 00 2f [e0]]]`,
			header: Header{Type: TypeSessionReportResponse, SEID: 1, Sequence: 5},
			want: &SessionReportResponse{Cause: CauseAccepted, UpdateBARs: []ReportBAR{{
				ID: 1, BufferingPacketCount: Some(uint16(32)), BufferingDuration: Some(TimerInfinite),
			}}},
		}, {
			name: "a second UE address in a PDI and what is not of this message are seen to be ignored",
			octets: `21 34 [00 00 00 00 00 00 00 01 00 00 05 00
				00 09 [00 38 [00 01] 00 02 [00 14 [01] 00 5d [02 ac 10 01 05] 00 5d [02 ac 10 01 06]]]
				00 13 [01] 01 00 [00 38 [00 01]] 80 01 [48 f9 00 01] 7f ff []]`,
			header: modification,
			want: &SessionModificationRequest{
				UpdatePDRs: []UpdatePDR{{ID: 1, PDI: Some(PDI{
					SourceInterface: InterfaceCore, UEIPAddress: Some(UEIPAddress{IPv4: testUE}),
				})}},
				Ignored: *typesOf(IEUEIPAddress, IECause, 256),
			},
		}, {
			name: "UE addresses with delegated prefix bits, a prefix length, and left to the user plane",
			octets: `21 34 [00 00 00 00 00 00 00 01 00 00 05 00
				00 09 [00 38 [00 01] 00 02 [00 14 [01]
					00 5d [49 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 04 30]]]
				00 09 [00 38 [00 02] 00 02 [00 14 [01] 00 5d [32]]]]`,
			header: modification,
			want: &SessionModificationRequest{UpdatePDRs: []UpdatePDR{
				{ID: 1, PDI: Some(PDI{SourceInterface: InterfaceCore, UEIPAddress: Some(UEIPAddress{
					IPv6: netip.MustParseAddr("2001:db8::"), IPv6PrefixLength: 48, IPv6DelegationBits: 4,
				})})},
				{ID: 2, PDI: Some(PDI{SourceInterface: InterfaceCore, UEIPAddress: Some(UEIPAddress{
					ChooseIPv4: true, ChooseIPv6: true, IPv6PrefixLength: 64,
				})})},
			}},
		}, {
			name: "UE IP Address Pool Identities behind a length of two octets, and of one (go-pfcp)",
			octets: "21 34 [00 00 00 00 00 00 00 01 00 00 05 00 " +
				"00 01 [00 38 [00 01] 00 1d [00 00 00 ff] 00 02 [00 14 [01]] 00 b1 [00 01 61] 00 b1 [02 62 63]]]",
			header: modification,
			want: &SessionModificationRequest{CreatePDRs: []CreatePDR{{
				ID: 1, Precedence: 255, PDI: PDI{SourceInterface: InterfaceCore}, AddressPools: []string{"a", "bc"},
			}}},
		},
	}
}

func TestParseAccepts(t *testing.T) {
	for _, row := range accepted() {
		t.Run(row.name, func(t *testing.T) {
			b := octets(t, row.octets)
			h, m, err := Parse(b)
			require.NoError(t, err)
			require.Equal(t, row.header, h)
			require.Empty(t, compare(row.want, m))

			clear(b)
			require.Empty(t, compare(row.want, m), "the message shares memory with the datagram")
		})
	}
}

// refused are datagrams that nobody should send, with what Parse says of them.
func refused() []struct {
	name      string
	octets    string
	err       error // one of the sentinels, or
	cause     Cause
	offending uint16
} {
	const (
		node       = "00 3c [00 0a 28 02 02]"
		fseid      = "00 39 [02 00 00 00 00 00 00 00 01 0a 28 02 02]"
		pdr        = "00 01 [00 38 [00 01] 00 1d [00 00 00 ff] 00 02 [00 14 [00]]]"
		far        = "00 03 [00 6c [00 00 00 01] 00 2c [02]]"
		establish  = "21 32 [00 00 00 00 00 00 00 00 00 00 05 00 "
		modify     = "21 34 [00 00 00 00 00 00 00 01 00 00 05 00 "
		inPDI      = "00 01 [00 38 [00 01] 00 1d [00 00 00 ff] 00 02 [00 14 [00] "
		inFARParam = "00 03 [00 6c [00 00 00 01] 00 2c [02] 00 04 [00 2a [00] "
	)
	return []struct {
		name      string
		octets    string
		err       error
		cause     Cause
		offending uint16
	}{
		{name: "nothing", octets: "", err: ErrHeader},
		{name: "a header without its last octet", octets: "20 01 00 04 00 00 01", err: ErrHeader},
		{name: "a header that promises a SEID and ends", octets: "21 32 00 0c 00 00 00 00 00 00 00 00", err: ErrHeader},
		{name: "version 2", octets: "40 01 [00 00 01 00]", err: ErrVersion},
		{name: "an unassigned message type", octets: "20 63 [00 00 01 00]", err: ErrUnknown},
		{name: "message type 0", octets: "20 00 [00 00 01 00]", err: ErrUnknown},
		{name: "a message that is longer than the datagram", octets: "20 01 00 08 00 00 01 00", cause: CauseInvalidLength},
		{name: "a datagram that is longer than the message", octets: "20 01 [00 00 01 00] 00", cause: CauseInvalidLength},
		{name: "a length that does not hold the header", octets: "21 36 00 04 00 00 00 00 00 00 00 01 00 00 01 00", cause: CauseInvalidLength},
		{name: "a session message without a SEID", octets: "20 36 [00 00 01 00]", cause: CauseMandatoryIEIncorrect},

		{name: "go-pfcp's first crash: an SDF Filter of five octets, in an Association Update Response", octets: "20 08 00 0d 00 00 07 00 00 17 00 05 6b 53 d7 09 ce", cause: CauseMandatoryIEMissing, offending: IECause},
		{name: "go-pfcp's second crash: an Outer Header Creation of five octets, in a Session Report Request", octets: "21 38 00 15 00 00 00 00 00 00 00 09 00 00 07 00 00 54 00 05 00 f0 00 00 00", cause: CauseMandatoryIEMissing, offending: IEReportType},
		{name: "the SDF Filter of that crash where it belongs", octets: establish + node + fseid + inPDI + "00 17 [6b 53 d7 09 ce]]]]", cause: CauseInvalidLength, offending: IESDFFilter},
		{name: "the Outer Header Creation of that crash where it belongs", octets: establish + node + fseid + pdr + inFARParam + "00 54 [00 f0 00 00 00]]]]", cause: CauseMandatoryIEIncorrect, offending: IEOuterHeaderCreation},

		{name: "an IE that is longer than the message", octets: "20 01 [00 00 01 00 00 60 00 05 00 00 00 00]", cause: CauseInvalidLength, offending: IERecoveryTimeStamp},
		{name: "half an IE header after the last IE", octets: "20 01 [00 00 01 00 00 60 [00 00 00 00] 00 60]", cause: CauseInvalidLength, offending: IERecoveryTimeStamp},
		{name: "a Recovery Time Stamp of three octets", octets: "20 01 [00 00 01 00 00 60 [00 00 00]]", cause: CauseInvalidLength, offending: IERecoveryTimeStamp},
		{name: "an IE in a deletion that is longer than the message", octets: "21 36 [00 00 00 00 00 00 00 01 00 00 05 00 00 39 00 0d 02]", cause: CauseInvalidLength, offending: IEFSEID},

		{name: "Association Setup without Node ID", octets: "20 05 [00 00 01 00 00 60 [00 00 00 00]]", cause: CauseMandatoryIEMissing, offending: IENodeID},
		{name: "Association Setup without Recovery Time Stamp", octets: "20 05 [00 00 01 00" + node + "]", cause: CauseMandatoryIEMissing, offending: IERecoveryTimeStamp},
		{name: "a Node ID of an unknown kind", octets: "20 09 [00 00 01 00 00 3c [03 0a 28 02 02]]", cause: CauseMandatoryIEIncorrect, offending: IENodeID},
		{name: "a Node ID that is an empty FQDN", octets: "20 09 [00 00 01 00 00 3c [02]]", cause: CauseMandatoryIEIncorrect, offending: IENodeID},
		{name: "a Node ID with a line break", octets: "20 09 [00 00 01 00 00 3c [02 61 0a 62]]", cause: CauseMandatoryIEIncorrect, offending: IENodeID},
		{name: "a Node ID with half an IPv4 address", octets: "20 09 [00 00 01 00 00 3c [00 0a 28]]", cause: CauseInvalidLength, offending: IENodeID},
		{name: "Association Release without Node ID", octets: "20 09 [00 00 01 00]", cause: CauseMandatoryIEMissing, offending: IENodeID},
		{name: "cause 0", octets: "20 0a [00 00 01 00" + node + "00 13 [00]]", cause: CauseMandatoryIEIncorrect, offending: IECause},

		{name: "establishment without Node ID", octets: establish + fseid + pdr + far + "]", cause: CauseMandatoryIEMissing, offending: IENodeID},
		{name: "establishment without F-SEID", octets: establish + node + pdr + far + "]", cause: CauseMandatoryIEMissing, offending: IEFSEID},
		{name: "establishment without Create PDR", octets: establish + node + fseid + far + "]", cause: CauseMandatoryIEMissing, offending: IECreatePDR},
		{name: "establishment without Create FAR", octets: establish + node + fseid + pdr + "]", cause: CauseMandatoryIEMissing, offending: IECreateFAR},
		{name: "an F-SEID without an address", octets: establish + node + "00 39 [00 00 00 00 00 00 00 00 01]" + pdr + far + "]", cause: CauseMandatoryIEIncorrect, offending: IEFSEID},
		{name: "a Create PDR without PDR ID", octets: modify + "00 01 [00 1d [00 00 00 ff] 00 02 [00 14 [00]]]]", cause: CauseMandatoryIEMissing, offending: IEPDRID},
		{name: "a Create PDR without Precedence", octets: modify + "00 01 [00 38 [00 01] 00 02 [00 14 [00]]]]", cause: CauseMandatoryIEMissing, offending: IEPrecedence},
		{name: "a Create PDR without PDI", octets: modify + "00 01 [00 38 [00 01] 00 1d [00 00 00 ff]]]", cause: CauseMandatoryIEMissing, offending: IEPDI},
		{name: "a PDI without Source Interface", octets: modify + "00 01 [00 38 [00 01] 00 1d [00 00 00 ff] 00 02 []]]", cause: CauseMandatoryIEMissing, offending: IESourceInterface},
		{name: "an F-TEID that promises an IPv4 address and ends", octets: modify + inPDI + "00 15 [01 00 00 00 01]]]]", cause: CauseInvalidLength, offending: IEFTEID},
		{name: "an F-TEID without an address", octets: modify + inPDI + "00 15 [00 00 00 00 01]]]]", cause: CauseMandatoryIEIncorrect, offending: IEFTEID},
		{name: "an F-TEID that promises a CHOOSE ID and ends", octets: modify + inPDI + "00 15 [0d]]]]", cause: CauseInvalidLength, offending: IEFTEID},
		{name: "a UE IP Address that promises an IPv6 address and ends", octets: modify + inPDI + "00 5d [01 20 01]]]]", cause: CauseInvalidLength, offending: IEUEIPAddress},
		{name: "an IPv6 prefix of 129 bits", octets: modify + inPDI + "00 5d [60 81]]]]", cause: CauseMandatoryIEIncorrect, offending: IEUEIPAddress},
		{name: "65 IPv6 prefix delegation bits", octets: modify + inPDI + "00 5d [28 41]]]]", cause: CauseMandatoryIEIncorrect, offending: IEUEIPAddress},
		{name: "an SDF filter whose text is longer than the IE", octets: modify + inPDI + "00 17 [01 00 00 05 61]]]]", cause: CauseInvalidLength, offending: IESDFFilter},
		{name: "an SDF filter with a zero octet in its text", octets: modify + inPDI + "00 17 [01 00 [61 00 62]]]]]", cause: CauseMandatoryIEIncorrect, offending: IESDFFilter},
		{name: "a Network Instance that is neither labels nor text", octets: modify + inPDI + "00 16 [05 61 62]]]]", cause: CauseMandatoryIEIncorrect, offending: IENetworkInstance},
		{name: "a Network Instance of 300 octets", octets: modify + inPDI + "00 16 [" + strings.Repeat("61 ", 300) + "]]]]", cause: CauseMandatoryIEIncorrect, offending: IENetworkInstance},
		{name: "a Create FAR without FAR ID", octets: modify + "00 03 [00 2c [02]]]", cause: CauseMandatoryIEMissing, offending: IEFARID},
		{name: "a Create FAR without Apply Action", octets: modify + "00 03 [00 6c [00 00 00 01]]]", cause: CauseMandatoryIEMissing, offending: IEApplyAction},
		{name: "an Apply Action of no length", octets: modify + "00 03 [00 6c [00 00 00 01] 00 2c []]]", cause: CauseInvalidLength, offending: IEApplyAction},
		{name: "Forwarding Parameters without Destination Interface", octets: modify + "00 03 [00 6c [00 00 00 01] 00 2c [02] 00 04 []]]", cause: CauseMandatoryIEMissing, offending: IEDestinationInterface},
		{name: "an Outer Header Creation that promises an address and ends", octets: modify + inFARParam + "00 54 [01 00 00 00 00 01 0a]]]]", cause: CauseInvalidLength, offending: IEOuterHeaderCreation},
		{name: "an Outer Header Creation of nothing", octets: modify + inFARParam + "00 54 [00 00]]]]", cause: CauseMandatoryIEIncorrect, offending: IEOuterHeaderCreation},
		{name: "a Create QER without Gate Status", octets: modify + "00 07 [00 6d [00 00 00 01]]]", cause: CauseMandatoryIEMissing, offending: IEGateStatus},
		{name: "a gate that is neither open nor closed", octets: modify + "00 07 [00 6d [00 00 00 01] 00 19 [02]]]", cause: CauseMandatoryIEIncorrect, offending: IEGateStatus},
		{name: "an MBR of nine octets", octets: modify + "00 07 [00 6d [00 00 00 01] 00 19 [00] 00 1a [00 00 00 00 00 00 00 00 00]]]", cause: CauseInvalidLength, offending: IEMBR},
		{name: "a Create URR without Reporting Triggers", octets: modify + "00 06 [00 51 [00 00 00 01] 00 3e [02]]]", cause: CauseMandatoryIEMissing, offending: IEReportingTriggers},
		{name: "a Remove PDR without PDR ID", octets: modify + "00 0f []]", cause: CauseMandatoryIEMissing, offending: IEPDRID},
		{name: "a Remove PDR with a Create PDR without PDR ID", octets: modify + "00 0f [00 01 []]]", cause: CauseMandatoryIEMissing, offending: IEPDRID},
		{name: "a Remove FAR without FAR ID", octets: modify + "00 10 []]", cause: CauseMandatoryIEMissing, offending: IEFARID},
		{name: "an Update FAR without FAR ID", octets: modify + "00 0a []]", cause: CauseMandatoryIEMissing, offending: IEFARID},
		{name: "a group that ends within an IE", octets: modify + "00 10 [00 6c 00 04 00 00]]", cause: CauseInvalidLength, offending: IEFARID},
		{name: "257 Remove PDRs", octets: modify + strings.Repeat("00 0f [00 38 [00 01]] ", 257) + "]", cause: CauseNoResourcesAvailable, offending: IERemovePDR},
		{name: "257 QER IDs in a PDR", octets: modify + "00 09 [00 38 [00 01] " + strings.Repeat("00 6d [00 00 00 01] ", 257) + "]]", cause: CauseNoResourcesAvailable, offending: IEQERID},

		{name: "an Activate Predefined Rules with a line break", octets: modify + "00 01 [00 38 [00 01] 00 6a [61 0a]]]", cause: CauseMandatoryIEIncorrect, offending: IEActivatePredefinedRules},
		{name: "a Framed-Route of other than text", octets: modify + inPDI + "00 99 [ff]]]]", cause: CauseMandatoryIEIncorrect, offending: IEFramedRoute},
		{name: "a Framed-Routing of two octets", octets: modify + inPDI + "00 9a [00 01]]]]", cause: CauseInvalidLength, offending: IEFramedRouting},
		{name: "a Traffic Endpoint ID of no length", octets: modify + inPDI + "00 83 []]]]", cause: CauseInvalidLength, offending: IETrafficEndpointID},
		{name: "a Redirect Information whose text is longer than the IE", octets: modify + inFARParam + "00 26 [02 00 09 61]]]]", cause: CauseInvalidLength, offending: IERedirectInformation},
		{name: "a Redirect Information to two addresses with one", octets: modify + inFARParam + "00 26 [04 00 01 61]]]]", cause: CauseInvalidLength, offending: IERedirectInformation},
		{name: "a Forwarding Policy that is longer than the IE", octets: modify + inFARParam + "00 29 [02 61]]]]", cause: CauseInvalidLength, offending: IEForwardingPolicy},
		{name: "a Header Enrichment without a value", octets: modify + inFARParam + "00 62 [00 01 61]]]]", cause: CauseInvalidLength, offending: IEHeaderEnrichment},
		{name: "Duplicating Parameters without Destination Interface", octets: modify + "00 03 [00 6c [00 00 00 01] 00 2c [02] 00 05 []]]", cause: CauseMandatoryIEMissing, offending: IEDestinationInterface},
		{name: "a Volume Threshold that promises a count and ends", octets: modify + "00 0d [00 51 [00 00 00 01] 00 1f [01 00]]]", cause: CauseInvalidLength, offending: IEVolumeThreshold},
		{name: "a Volume Quota of no length", octets: modify + "00 06 [00 51 [00 00 00 01] 00 49 []]]", cause: CauseInvalidLength, offending: IEVolumeQuota},
		{name: "a Dropped DL Traffic Threshold that promises a count and ends", octets: modify + "00 0d [00 51 [00 00 00 01] 00 48 [02]]]", cause: CauseInvalidLength, offending: IEDroppedDLTrafficThreshold},
		{name: "a Subsequent Time Quota of no length, which panics in go-pfcp", octets: modify + "00 06 [00 51 [00 00 00 01] 00 7a []]]", cause: CauseInvalidLength, offending: IESubsequentTimeQuota},
		{name: "an Update URR without URR ID", octets: modify + "00 0d [00 20 [00 00 00 01]]]", cause: CauseMandatoryIEMissing, offending: IEURRID},
		{name: "257 Linked URR IDs", octets: modify + "00 0d [00 51 [00 00 00 01] " + strings.Repeat("00 52 [00 00 00 01] ", 257) + "]]", cause: CauseNoResourcesAvailable, offending: IELinkedURRID},
		{name: "a Create BAR without BAR ID", octets: modify + "00 55 []]", cause: CauseMandatoryIEMissing, offending: IEBARID},
		{name: "a Remove BAR without BAR ID", octets: modify + "00 57 []]", cause: CauseMandatoryIEMissing, offending: IEBARID},
		{name: "a Create Traffic Endpoint without its id", octets: modify + "00 7f []]", cause: CauseMandatoryIEMissing, offending: IETrafficEndpointID},
		{name: "a Remove Traffic Endpoint without its id", octets: modify + "00 82 []]", cause: CauseMandatoryIEMissing, offending: IETrafficEndpointID},
		{name: "an FQ-CSID that promises two sets and has one", octets: modify + "00 41 [02 0a 28 02 02 00 01]]", cause: CauseInvalidLength, offending: IEFQCSID},
		{name: "an FQ-CSID of an unknown kind of node", octets: modify + "00 41 [31 00]]", cause: CauseMandatoryIEIncorrect, offending: IEFQCSID},
		{name: "a User ID whose IMSI is longer than the IE", octets: establish + node + fseid + pdr + far + "00 8d [01 08 99]]", cause: CauseInvalidLength, offending: IEUserID},
		{name: "a User ID whose IMSI has a letter", octets: establish + node + fseid + pdr + far + "00 8d [01 02 0a f1]]", cause: CauseMandatoryIEIncorrect, offending: IEUserID},
		{name: "a User ID with a filler amid its IMSI", octets: establish + node + fseid + pdr + far + "00 8d [01 02 f1 21]]", cause: CauseMandatoryIEIncorrect, offending: IEUserID},
		{name: "an S-NSSAI of three octets", octets: establish + node + fseid + pdr + far + "01 01 [01 00 00]]", cause: CauseInvalidLength, offending: IESNSSAI},

		{name: "a User Plane IP Resource Information that ends before its source interface", octets: "20 05 [00 00 01 00" + node + "00 60 [00 00 00 00] 00 74 [41 0a 1e 01 01]]", cause: CauseInvalidLength, offending: IEUserPlaneIPResourceInformation},
		{name: "a PFCP entity without an address", octets: "20 05 [00 00 01 00" + node + "00 60 [00 00 00 00] 00 b7 [00 b9 [00]]]", cause: CauseMandatoryIEIncorrect, offending: IECPPFCPEntityIPAddress},
		{name: "an Association Update without Node ID", octets: "20 07 [00 00 01 00]", cause: CauseMandatoryIEMissing, offending: IENodeID},
		{name: "a Node Report without its type", octets: "20 0c [00 00 01 00" + node + "]", cause: CauseMandatoryIEMissing, offending: IENodeReportType},
		{name: "a User Plane Path Failure Report of no peer", octets: "20 0c [00 00 01 00" + node + "00 65 [01] 00 66 []]", cause: CauseMandatoryIEMissing, offending: IERemoteGTPUPeer},
		{name: "a Remote GTP-U Peer without an address", octets: "20 0c [00 00 01 00" + node + "00 65 [01] 00 66 [00 67 [00]]]", cause: CauseMandatoryIEIncorrect, offending: IERemoteGTPUPeer},
		{name: "a Remote GTP-U Peer whose network instance is longer than the IE", octets: "20 0c [00 00 01 00" + node + "00 65 [01] 00 66 [00 67 [0a 0a 0a 00 02 00 05 61]]]", cause: CauseInvalidLength, offending: IERemoteGTPUPeer},
		{name: "a Session Set Deletion without Node ID", octets: "20 0e [00 00 01 00]", cause: CauseMandatoryIEMissing, offending: IENodeID},
		{name: "Application ID's PFDs without Application ID", octets: "20 03 [00 00 01 00 00 3a []]", cause: CauseMandatoryIEMissing, offending: IEApplicationID},
		{name: "a PFD Context of nothing", octets: "20 03 [00 00 01 00 00 3a [00 18 [61] 00 3b []]]", cause: CauseMandatoryIEMissing, offending: IEPFDContents},
		{name: "a PFD Contents whose URL is longer than the IE", octets: "20 03 [00 00 01 00 00 3a [00 18 [61] 00 3b [00 3d [02 00 00 05 61]]]]", cause: CauseInvalidLength, offending: IEPFDContents},
		{name: "a PFD Contents with a list that is longer than the IE", octets: "20 03 [00 00 01 00 00 3a [00 18 [61] 00 3b [00 3d [20 00 00 09 00 01 61]]]]", cause: CauseInvalidLength, offending: IEPFDContents},
		{name: "a PFD Contents with a text that is longer than its list", octets: "20 03 [00 00 01 00 00 3a [00 18 [61] 00 3b [00 3d [60 00 00 03 00 03 61 00 01 61]]]]", cause: CauseInvalidLength, offending: IEPFDContents},
		{name: "a Session Report without Report Type", octets: "21 38 [00 00 00 00 00 00 00 01 00 00 05 00]", cause: CauseMandatoryIEMissing, offending: IEReportType},
		{name: "a Downlink Data Report of no PDR", octets: "21 38 [00 00 00 00 00 00 00 01 00 00 05 00 00 27 [01] 00 53 []]", cause: CauseMandatoryIEMissing, offending: IEPDRID},
		{name: "a Downlink Data Service Information that promises a QFI and ends", octets: "21 38 [00 00 00 00 00 00 00 01 00 00 05 00 00 27 [01] 00 53 [00 38 [00 01] 00 2d [02]]]", cause: CauseInvalidLength, offending: IEDownlinkDataServiceInformation},
		{name: "an Error Indication Report of nothing", octets: "21 38 [00 00 00 00 00 00 00 01 00 00 05 00 00 27 [04] 00 63 []]", cause: CauseMandatoryIEMissing, offending: IEFTEID},
		{name: "a Load Control Information without a metric", octets: "21 38 [00 00 00 00 00 00 00 01 00 00 05 00 00 27 [01] 00 33 [00 34 [00 00 00 01]]]", cause: CauseMandatoryIEMissing, offending: IEMetric},
		{name: "an Overload Control Information without a timer", octets: "21 38 [00 00 00 00 00 00 00 01 00 00 05 00 00 27 [01] 00 36 [00 34 [00 00 00 01] 00 35 [00]]]", cause: CauseMandatoryIEMissing, offending: IETimer},
		{name: "a session report response without Cause", octets: "21 39 [00 00 00 00 00 00 00 01 00 00 05 00]", cause: CauseMandatoryIEMissing, offending: IECause},
		{name: "a DL Buffering Suggested Packet Count of no length", octets: "21 39 [00 00 00 00 00 00 00 01 00 00 05 00 00 13 [01] 00 0c [00 58 [01] 00 30 []]]", cause: CauseInvalidLength, offending: IEDLBufferingSuggestedPacketCount},

		{name: "an establishment that is accepted without an F-SEID", octets: "21 33 [00 00 00 00 00 00 00 01 00 00 05 00" + node + "00 13 [01]]", cause: CauseConditionalIEMissing, offending: IEFSEID},
		{name: "an establishment response without Cause", octets: "21 33 [00 00 00 00 00 00 00 01 00 00 05 00" + node + "]", cause: CauseMandatoryIEMissing, offending: IECause},
		{name: "a modification response without Cause", octets: "21 35 [00 00 00 00 00 00 00 01 00 00 05 00]", cause: CauseMandatoryIEMissing, offending: IECause},
		{name: "a deletion response without Cause", octets: "21 37 [00 00 00 00 00 00 00 01 00 00 05 00]", cause: CauseMandatoryIEMissing, offending: IECause},
		{name: "a Failed Rule ID that ends within the id", octets: "21 35 [00 00 00 00 00 00 00 01 00 00 05 00 00 13 [49] 00 72 [01 00 00]]", cause: CauseInvalidLength, offending: IEFailedRuleID},
		{name: "a Volume Measurement that promises a count and ends", octets: "21 37 [00 00 00 00 00 00 00 01 00 00 05 00 00 13 [01] 00 4f [00 51 [00 00 00 01] 00 42 [01 00]]]", cause: CauseInvalidLength, offending: IEVolumeMeasurement},
	}
}

func TestParseRefuses(t *testing.T) {
	for _, row := range refused() {
		t.Run(row.name, func(t *testing.T) {
			_, m, err := Parse(octets(t, row.octets))
			require.Nil(t, m)
			if row.err != nil {
				require.ErrorIs(t, err, row.err)
				return
			}
			fault, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, row.cause, fault.Cause, "%v", err)
			require.Equal(t, row.offending, fault.Offending, "%v", err)
		})
	}
}

// The header is what the edge answers with.
func TestParseReturnsTheHeaderBesideAnError(t *testing.T) {
	h, _, err := Parse(octets(t, "21 34 [00 00 00 00 00 00 00 2a 00 00 05 00 00 10 []]"))
	require.Error(t, err)
	require.Equal(t, Header{Type: TypeSessionModificationRequest, SEID: 42, Sequence: 5}, h)

	h, _, err = Parse(octets(t, "40 01 [00 00 09 00]"))
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, Header{Type: TypeHeartbeatRequest, Sequence: 9}, h)
}

// samples are all the octets of the tables.
func samples(t testing.TB) map[string][]byte {
	all := make(map[string][]byte)
	for _, row := range witnesses() {
		all[row.name] = theirOctets(t, row.theirs)
	}
	for _, row := range accepted() {
		all[row.name] = octets(t, row.octets)
	}
	for _, row := range refused() {
		all[row.name] = octets(t, row.octets)
	}
	return all
}

func TestEveryTruncationIsAnError(t *testing.T) {
	for name, b := range samples(t) {
		if len(b) >= headerSize { // without what follows the message
			b = b[:min(len(b), headerLengthEnd+int(binary.BigEndian.Uint16(b[2:])))]
		}
		for n := range b {
			_, m, err := Parse(b[:n])
			require.Error(t, err, "%s: %d octets", name, n)
			require.Nil(t, m)
		}
	}
}

// A datagram cut short whose header says so may be whole again, where optional IEs end; it never panics, and what
// is accepted can be told again.
func TestTruncationsWithTheRightLengthNeverPanic(t *testing.T) {
	for _, whole := range samples(t) {
		for n := headerSize; n < len(whole); n++ {
			b := append([]byte(nil), whole[:n]...)
			binary.BigEndian.PutUint16(b[2:], uint16(n-headerLengthEnd))
			parseTwice(t, b)
		}
	}
}

// parseTwice parses b, and if that goes well and the message can be encoded, what comes out.
func parseTwice(t *testing.T, b []byte) {
	h, m, err := Parse(b)
	if err != nil {
		require.Nil(t, m)
		return
	}
	again, err := Marshal(h, m)
	if err != nil {
		return // a message that we read but never send
	}
	h2, m2, err := Parse(again)
	require.NoError(t, err)
	require.Equal(t, h.Sequence, h2.Sequence)
	require.Empty(t, compare(m, m2, cmpopts.IgnoreTypes(IETypes{})))
}

func FuzzParse(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { parseTwice(t, b) })
}

func TestMarshalRefusesWhatNoPeerCouldRead(t *testing.T) {
	v6 := netip.MustParseAddr("2001:db8::1")
	establish := func(change func(*SessionEstablishmentRequest)) Message {
		m := fullEstablishment()
		change(m)
		return m
	}
	for name, m := range map[string]Message{
		"a node ID that is nothing":        &AssociationReleaseRequest{},
		"a name of 300 octets":             &AssociationReleaseRequest{NodeID: NodeID{FQDN: strings.Repeat("a.", 150)}},
		"a name with a blank":              &AssociationReleaseRequest{NodeID: NodeID{FQDN: "a b"}},
		"an F-SEID without an address":     establish(func(m *SessionEstablishmentRequest) { m.FSEID.IPv4 = netip.Addr{} }),
		"an IPv6 address in an IPv4 field": establish(func(m *SessionEstablishmentRequest) { m.FSEID.IPv4 = v6 }),
		"an F-TEID without an address":     establish(func(m *SessionEstablishmentRequest) { m.CreatePDRs[0].PDI.FTEID.Value = FTEID{TEID: 1} }),
		"a bit rate above 40 bits":         establish(func(m *SessionEstablishmentRequest) { m.CreateQERs[0].MBR.Value.Uplink = 1 << 40 }),
		"an outer header without its address": establish(func(m *SessionEstablishmentRequest) {
			m.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value.IPv4 = netip.Addr{}
		}),
		"an outer header of another kind": establish(func(m *SessionEstablishmentRequest) {
			m.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value.Description = 0x0400
		}),
		"a flow description beyond 64 KiB": establish(func(m *SessionEstablishmentRequest) {
			m.CreatePDRs[1].PDI.SDFFilters[0].FlowDescription = strings.Repeat("x", 1<<16)
		}),
		"a redirection to two addresses of one family": establish(func(m *SessionEstablishmentRequest) {
			m.CreateFARs[0].ForwardingParameters.Value.Redirect = Some(RedirectInformation{Server: "a", Other: "b"})
		}),
		"a forwarding policy of 256 octets": establish(func(m *SessionEstablishmentRequest) {
			m.CreateFARs[0].ForwardingParameters.Value.ForwardingPolicy = Some(strings.Repeat("x", 256))
		}),
		"a predefined rule with a line break": establish(func(m *SessionEstablishmentRequest) {
			m.CreatePDRs[0].ActivatePredefinedRules = []string{"a\nb"}
		}),
		"an IMSI with a letter":         establish(func(m *SessionEstablishmentRequest) { m.UserID = Some(UserID{IMSI: "9997?"}) }),
		"an IMSI of 600 digits":         establish(func(m *SessionEstablishmentRequest) { m.UserID = Some(UserID{IMSI: strings.Repeat("9", 600)}) }),
		"an FQ-CSID of 16 sets":         &SessionSetDeletionRequest{NodeID: NodeID{Addr: testCP}, FQCSIDs: []FQCSID{{Addr: testCP, CSIDs: make([]uint16, 16)}}},
		"a GTP-U peer without address":  &NodeReportRequest{NodeID: NodeID{Addr: testUP}, PathFailures: []RemoteGTPUPeer{{}}},
		"a PFCP entity without address": &AssociationSetupRequest{NodeID: NodeID{Addr: testUP}, Retain: Some([]Entity{{}})},
		"a message beyond 64 KiB":       &SessionModificationRequest{RemovePDRs: make([]PDRID, 8000)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Marshal(Header{}, m)
			require.Error(t, err)
			require.Empty(t, b)
		})
	}
	_, err := Marshal(Header{Sequence: 1 << 24}, &HeartbeatRequest{})
	require.ErrorContains(t, err, "24 bits")
}

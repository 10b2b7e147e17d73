package pfcp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// witness is a message as go-pfcp builds it and as we hold it. Parsing the one gives the other, and go-pfcp reads
// our encoding as the message that it built, unless lossy: then theirs has something that we do not keep.
type witness struct {
	name   string
	theirs message.Message
	header Header
	ours   Message
	lossy  bool
}

var (
	testTime  = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	testStamp = RecoveryTimeStamp(testTime.Sub(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Second)
	testCP    = netip.MustParseAddr("10.40.2.2")
	testUP    = netip.MustParseAddr("10.40.11.2")
	testSGW   = netip.MustParseAddr("10.10.0.2")
	testLocal = netip.MustParseAddr("10.30.1.1")
	testUE    = netip.MustParseAddr("172.16.1.5")
)

func ip(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }

// compare compares messages; an empty slice is not told from none.
func compare(want, got any, options ...cmp.Option) string {
	options = append(options, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
	return cmp.Diff(want, got, options...)
}

func witnesses() []witness {
	rows := nodeWitnesses()
	rows = append(rows, establishmentWitnesses()...)
	rows = append(rows, modificationWitnesses()...)
	rows = append(rows, ruleWitnesses()...)
	rows = append(rows, reportWitnesses()...)
	return append(rows, procedureWitnesses()...)
}

func nodeWitnesses() []witness {
	return []witness{
		{
			name:   "heartbeat request",
			theirs: message.NewHeartbeatRequest(7, ie.NewRecoveryTimeStamp(testTime), nil),
			header: Header{Type: TypeHeartbeatRequest, Sequence: 7},
			ours:   &HeartbeatRequest{RecoveryTimeStamp: Some(testStamp)},
		}, {
			name:   "heartbeat request without a recovery time stamp",
			theirs: message.NewHeartbeatRequest(7, nil, nil),
			header: Header{Type: TypeHeartbeatRequest, Sequence: 7},
			ours:   &HeartbeatRequest{},
		}, {
			name: "heartbeat request with an IE that is no part of it",
			theirs: message.NewHeartbeatRequest(0xffffff, ie.NewRecoveryTimeStamp(testTime),
				ie.NewSourceIPAddress(ip(testUP), nil, 24)),
			header: Header{Type: TypeHeartbeatRequest, Sequence: 0xffffff},
			ours:   &HeartbeatRequest{RecoveryTimeStamp: Some(testStamp)},
			lossy:  true,
		}, {
			name:   "heartbeat response",
			theirs: message.NewHeartbeatResponse(8, ie.NewRecoveryTimeStamp(testTime)),
			header: Header{Type: TypeHeartbeatResponse, Sequence: 8},
			ours:   &HeartbeatResponse{RecoveryTimeStamp: Some(testStamp)},
		}, {
			name: "association setup request of a control plane",
			theirs: message.NewAssociationSetupRequest(1, ie.NewNodeID("", "", "pgwc.example"),
				ie.NewRecoveryTimeStamp(testTime), ie.NewCPFunctionFeatures(0)),
			header: Header{Type: TypeAssociationSetupRequest, Sequence: 1},
			ours: &AssociationSetupRequest{
				NodeID: NodeID{FQDN: "pgwc.example"}, RecoveryTimeStamp: testStamp, CPFunctionFeatures: Some(uint8(0)),
			},
		}, {
			name: "association setup request with vendor IEs, as erGW sends it",
			theirs: message.NewAssociationSetupRequest(1, ie.NewNodeID("", "", "ErGW.example"),
				ie.NewVendorSpecificIE(32772, 18681, []byte("24.0.0")), ie.NewRecoveryTimeStamp(testTime)),
			header: Header{Type: TypeAssociationSetupRequest, Sequence: 1},
			ours:   &AssociationSetupRequest{NodeID: NodeID{FQDN: "ergw.example"}, RecoveryTimeStamp: testStamp},
			lossy:  true,
		}, {
			name: "association setup response of a user plane",
			theirs: message.NewAssociationSetupResponse(1, ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(1),
				ie.NewRecoveryTimeStamp(testTime), ie.NewUPFunctionFeatures(0x10, 0x01)),
			header: Header{Type: TypeAssociationSetupResponse, Sequence: 1},
			ours: &AssociationSetupResponse{
				NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted, RecoveryTimeStamp: testStamp,
				UPFunctionFeatures: Some(FeatureFTUP | FeatureEMPU),
			},
		}, {
			name:   "association setup response that refuses and says no more",
			theirs: message.NewAssociationSetupResponse(1, ie.NewCause(64)),
			header: Header{Type: TypeAssociationSetupResponse, Sequence: 1},
			ours:   &AssociationSetupResponse{Cause: CauseRejected},
			lossy:  true,
		}, {
			name:   "association release request with an IPv6 node ID",
			theirs: message.NewAssociationReleaseRequest(2, ie.NewNodeID("", "2001:db8::1", "")),
			header: Header{Type: TypeAssociationReleaseRequest, Sequence: 2},
			ours:   &AssociationReleaseRequest{NodeID: NodeID{Addr: netip.MustParseAddr("2001:db8::1")}},
		}, {
			name:   "association release request with address and port for a name, as pfcpsim sends it",
			theirs: message.NewAssociationReleaseRequest(2, ie.NewNodeID("", "", "10.40.11.2:8805")),
			header: Header{Type: TypeAssociationReleaseRequest, Sequence: 2},
			ours:   &AssociationReleaseRequest{NodeID: NodeID{FQDN: "10.40.11.2:8805"}},
		}, {
			name:   "association release response",
			theirs: message.NewAssociationReleaseResponse(2, ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(72)),
			header: Header{Type: TypeAssociationReleaseResponse, Sequence: 2},
			ours:   &AssociationReleaseResponse{NodeID: NodeID{Addr: testUP}, Cause: CauseNoEstablishedAssociation},
		}, {
			name:   "version not supported response",
			theirs: message.NewVersionNotSupportedResponse(3),
			header: Header{Type: TypeVersionNotSupportedResponse, Sequence: 3},
			ours:   &VersionNotSupportedResponse{},
		},
	}
}

func establishmentWitnesses() []witness {
	return []witness{
		{
			name: "session establishment request with all that we send",
			theirs: message.NewSessionEstablishmentRequest(0, 0, 0, 0x10, 0,
				ie.NewNodeID("10.40.2.2", "", ""),
				ie.NewFSEID(0x1122334455667788, ip(testCP), nil),
				ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100),
					ie.NewPDI(ie.NewSourceInterface(0), ie.NewFTEID(0x0d, 0, nil, nil, 5),
						ie.NewNetworkInstanceFQDN("access"), ie.NewUEIPAddress(0x02, "172.16.1.5", "", 0, 0)),
					ie.New(ie.OuterHeaderRemoval, []byte{6}), ie.NewFARID(1), ie.NewURRID(1), ie.NewURRID(2), ie.NewQERID(1)),
				ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(65535),
					ie.NewPDI(ie.NewSourceInterface(1), ie.NewNetworkInstanceFQDN("iot.example"),
						ie.NewUEIPAddress(0x06, "172.16.1.5", "", 0, 0),
						ie.NewSDFFilter("permit out 17 from any to assigned", "", "", "", 3),
						ie.NewQFI(9)),
					ie.NewFARID(2), ie.NewURRID(1), ie.NewQERID(1)),
				ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2, 0),
					ie.NewForwardingParameters(ie.NewDestinationInterface(1), ie.NewNetworkInstanceFQDN("iot.example"))),
				ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2, 0),
					ie.NewForwardingParameters(ie.NewDestinationInterface(0), ie.NewNetworkInstanceFQDN("access"),
						ie.NewOuterHeaderCreation(0x0100, 0xcafe, "10.10.0.2", "", 0, 0, 0),
						ie.NewTransportLevelMarking(0xb8fc))),
				ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x02, 0x01, 0)),
				ie.NewCreateQER(ie.NewQERID(1), ie.NewQERCorrelationID(77), ie.NewGateStatus(0, 1),
					ie.NewMBR(50_000_000_000, 100_000), ie.NewGBR(1, 2), ie.NewQFI(9)),
				ie.NewPDNType(1), ie.NewPFCPSEReqFlags(1)),
			header: Header{Type: TypeSessionEstablishmentRequest, Sequence: 0x10},
			ours:   fullEstablishment(),
		}, {
			name: "session establishment request of dual stack, addresses given",
			theirs: message.NewSessionEstablishmentRequest(1, 0, 0, 0x10, 4,
				ie.NewNodeID("10.40.2.2", "", ""),
				ie.NewFSEID(1, ip(testCP), net.ParseIP("2001:db8::2")),
				ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100),
					ie.NewPDI(ie.NewSourceInterface(0),
						ie.NewFTEID(0x03, 0x1234, ip(testLocal), net.ParseIP("2001:db8::3"), 0),
						ie.NewUEIPAddress(0x43, "172.16.1.5", "2001:db8:1::", 0, 56)),
					ie.NewOuterHeaderRemoval(6, 0)),
				ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(0x0c, 0))),
			header: Header{Type: TypeSessionEstablishmentRequest, Sequence: 0x10},
			ours: &SessionEstablishmentRequest{
				NodeID: NodeID{Addr: testCP},
				FSEID:  FSEID{SEID: 1, IPv4: testCP, IPv6: netip.MustParseAddr("2001:db8::2")},
				CreatePDRs: []CreatePDR{{
					ID: 1, Precedence: 100, OuterHeaderRemoval: Some(RemoveGTPUUDPIP),
					PDI: PDI{
						FTEID: Some(FTEID{TEID: 0x1234, IPv4: testLocal, IPv6: netip.MustParseAddr("2001:db8::3")}),
						UEIPAddress: Some(UEIPAddress{
							IPv4: testUE, IPv6: netip.MustParseAddr("2001:db8:1::"), IPv6PrefixLength: 56,
						}),
					},
				}},
				CreateFARs: []CreateFAR{{ID: 1, ApplyAction: ActionBuffer | ActionNotifyCP}},
			},
			lossy: true,
		}, {
			name: "session establishment response with the F-TEID that the user plane chose",
			theirs: message.NewSessionEstablishmentResponse(0, 0, 0x1122334455667788, 0x10, 0,
				ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(1), ie.NewFSEID(0x99, ip(testUP), nil),
				ie.NewCreatedPDR(ie.NewPDRID(1), ie.NewFTEID(0x01, 0xa0000001, ip(testLocal), nil, 0))),
			header: Header{Type: TypeSessionEstablishmentResponse, SEID: 0x1122334455667788, Sequence: 0x10},
			ours: &SessionEstablishmentResponse{
				NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted, FSEID: Some(FSEID{SEID: 0x99, IPv4: testUP}),
				CreatedPDRs: []CreatedPDR{{ID: 1, FTEID: Some(FTEID{TEID: 0xa0000001, IPv4: testLocal})}},
			},
		}, {
			name: "session establishment response that refuses a rule",
			theirs: message.NewSessionEstablishmentResponse(0, 0, 5, 0x10, 0,
				ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(73), ie.NewOffendingIE(21), ie.NewFailedRuleID(0, 2)),
			header: Header{Type: TypeSessionEstablishmentResponse, SEID: 5, Sequence: 0x10},
			ours: &SessionEstablishmentResponse{
				NodeID: NodeID{Addr: testUP}, Cause: CauseRuleCreationFailure, Offending: Some(uint16(21)),
				FailedRuleID: Some(FailedRuleID{Kind: RulePDR, ID: 2}),
			},
		},
	}
}

// fullEstablishment has every IE that the structs of an establishment have.
func fullEstablishment() *SessionEstablishmentRequest {
	return &SessionEstablishmentRequest{
		NodeID: NodeID{Addr: testCP},
		FSEID:  FSEID{SEID: 0x1122334455667788, IPv4: testCP},
		CreatePDRs: []CreatePDR{{
			ID: 1, Precedence: 100,
			PDI: PDI{
				SourceInterface: InterfaceAccess,
				FTEID:           Some(FTEID{Choose: true, ChooseIPv4: true, ChooseID: Some(uint8(5))}),
				NetworkInstance: Some(NetworkInstance("access")),
				UEIPAddress:     Some(UEIPAddress{IPv4: testUE}),
			},
			OuterHeaderRemoval: Some(RemoveGTPUUDPIP),
			FARID:              Some(FARID(1)), URRIDs: []URRID{1, 2}, QERIDs: []QERID{1},
		}, {
			ID: 2, Precedence: 65535,
			PDI: PDI{
				SourceInterface: InterfaceCore,
				NetworkInstance: Some(NetworkInstance("iot.example")),
				UEIPAddress:     Some(UEIPAddress{IPv4: testUE, Destination: true}),
				SDFFilters: []SDFFilter{{
					FlowDescription: "permit out 17 from any to assigned", FilterID: Some(uint32(3)),
				}},
				QFI: []uint8{9},
			},
			FARID: Some(FARID(2)), URRIDs: []URRID{1}, QERIDs: []QERID{1},
		}},
		CreateFARs: []CreateFAR{{
			ID: 1, ApplyAction: ActionForward,
			ForwardingParameters: Some(ForwardingParameters{
				DestinationInterface: Some(InterfaceCore), NetworkInstance: Some(NetworkInstance("iot.example")),
			}),
		}, {
			ID: 2, ApplyAction: ActionForward,
			ForwardingParameters: Some(ForwardingParameters{
				DestinationInterface:  Some(InterfaceAccess),
				NetworkInstance:       Some(NetworkInstance("access")),
				OuterHeaderCreation:   Some(OuterHeaderCreation{Description: CreateGTPUUDPIPv4, TEID: 0xcafe, IPv4: testSGW}),
				TransportLevelMarking: Some(uint16(0xb8fc)),
			}),
		}},
		CreateURRs: []CreateURR{{ID: 1, MeasurementMethod: MeasureVolume, ReportingTriggers: 0x0102}},
		CreateQERs: []CreateQER{{
			ID: 1, CorrelationID: Some(uint32(77)), GateStatus: GateStatus{DownlinkClosed: true},
			MBR: Some(BitRate{Uplink: 50_000_000_000, Downlink: 100_000}), GBR: Some(BitRate{Uplink: 1, Downlink: 2}),
			QFI: Some(uint8(9)),
		}},
		PDNType: Some(uint8(1)), Restoration: true,
	}
}

func modificationWitnesses() []witness {
	usage := func(typ uint16) *ie.IE {
		return ie.NewUsageReport(typ, ie.NewURRID(1), ie.NewURSEQN(4), ie.NewUsageReportTrigger(0, 0x04, 0),
			ie.NewVolumeMeasurement(0x3f, 30, 10, 20, 3, 1, 2), ie.NewDurationMeasurement(90*time.Second))
	}
	ourUsage := []UsageReport{{
		URRID: 1, Sequence: 4, Trigger: 0x0400, Duration: Some(uint32(90)), Volume: Some(VolumeMeasurement{
			TotalOctets: 30, UplinkOctets: 10, DownlinkOctets: 20, TotalPackets: 3, UplinkPackets: 1, DownlinkPackets: 2,
		}),
	}}
	return []witness{
		{
			name: "session modification request with all that we send",
			theirs: message.NewSessionModificationRequest(0, 0, 0x99, 0x11, 0,
				ie.NewFSEID(0x77, ip(testCP), nil),
				ie.NewRemovePDR(ie.NewPDRID(3)), ie.NewRemoveFAR(ie.NewFARID(3)), ie.NewRemoveURR(ie.NewURRID(3)),
				ie.NewRemoveQER(ie.NewQERID(3)),
				ie.NewCreatePDR(ie.NewPDRID(4), ie.NewPrecedence(1), ie.NewPDI(ie.NewSourceInterface(3)), ie.NewFARID(4)),
				ie.NewCreateFAR(ie.NewFARID(4), ie.NewApplyAction(1, 0)),
				ie.NewCreateURR(ie.NewURRID(4), ie.NewMeasurementMethod(1, 1, 1), ie.NewReportingTriggers(1, 0, 0)),
				ie.NewCreateQER(ie.NewQERID(0), ie.NewGateStatus(1, 0)),
				ie.NewUpdatePDR(ie.NewPDRID(2), ie.New(ie.OuterHeaderRemoval, []byte{0}), ie.NewPrecedence(5),
					ie.NewPDI(ie.NewSourceInterface(1)), ie.NewFARID(4), ie.NewURRID(4), ie.NewQERID(0)),
				ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2, 0),
					ie.NewUpdateForwardingParameters(ie.NewDestinationInterface(0), ie.NewNetworkInstanceFQDN("access"),
						ie.NewOuterHeaderCreation(0x0200, 0xbeef, "", "2001:db8::9", 0, 0, 0), ie.NewPFCPSMReqFlags(2))),
				ie.NewUpdateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(1000, 2000)),
				ie.NewPFCPSMReqFlags(4), ie.NewQueryURR(ie.NewURRID(1))),
			header: Header{Type: TypeSessionModificationRequest, SEID: 0x99, Sequence: 0x11},
			ours: &SessionModificationRequest{
				FSEID:      Some(FSEID{SEID: 0x77, IPv4: testCP}),
				RemovePDRs: []PDRID{3}, RemoveFARs: []FARID{3}, RemoveURRs: []URRID{3}, RemoveQERs: []QERID{3},
				CreatePDRs: []CreatePDR{{
					ID: 4, Precedence: 1, PDI: PDI{SourceInterface: InterfaceCPFunction}, FARID: Some(FARID(4)),
				}},
				CreateFARs: []CreateFAR{{ID: 4, ApplyAction: ActionDrop}},
				CreateURRs: []CreateURR{{
					ID: 4, MeasurementMethod: MeasureDuration | MeasureVolume | MeasureEvent, ReportingTriggers: 1,
				}},
				CreateQERs: []CreateQER{{ID: 0, GateStatus: GateStatus{UplinkClosed: true}}},
				UpdatePDRs: []UpdatePDR{{
					ID: 2, Precedence: Some(Precedence(5)), PDI: Some(PDI{SourceInterface: InterfaceCore}),
					OuterHeaderRemoval: Some(RemoveGTPUUDPIPv4), FARID: Some(FARID(4)),
					URRIDs: Some([]URRID{4}), QERIDs: Some([]QERID{0}),
				}},
				UpdateFARs: []UpdateFAR{{
					ID: 2, ApplyAction: Some(ActionForward), ForwardingParameters: Some(ForwardingParameters{
						DestinationInterface: Some(InterfaceAccess), NetworkInstance: Some(NetworkInstance("access")),
						OuterHeaderCreation: Some(OuterHeaderCreation{
							Description: CreateGTPUUDPIPv6, TEID: 0xbeef, IPv6: netip.MustParseAddr("2001:db8::9"),
						}),
						SendEndMarker: true,
					}),
				}},
				UpdateQERs: []UpdateQER{{
					ID: 1, GateStatus: Some(GateStatus{}), MBR: Some(BitRate{Uplink: 1000, Downlink: 2000}),
				}},
				QueryURRs: []URRID{1}, QueryAll: true,
			},
		}, {
			name: "session modification request that removes a PDR by a Create PDR, as pfcpsim sends it",
			theirs: message.NewSessionModificationRequest(0, 0, 0x99, 0x11, 0,
				ie.NewRemovePDR(ie.NewCreatePDR(ie.NewPDRID(9), ie.NewPrecedence(1)))),
			header: Header{Type: TypeSessionModificationRequest, SEID: 0x99, Sequence: 0x11},
			ours:   &SessionModificationRequest{RemovePDRs: []PDRID{9}},
			lossy:  true,
		}, {
			name: "session modification response with a usage report",
			theirs: message.NewSessionModificationResponse(0, 0, 5, 0x11, 0, ie.NewCause(1),
				ie.NewCreatedPDR(ie.NewPDRID(4)), usage(ie.UsageReportWithinSessionModificationResponse)),
			header: Header{Type: TypeSessionModificationResponse, SEID: 5, Sequence: 0x11},
			ours: &SessionModificationResponse{
				Cause: CauseAccepted, CreatedPDRs: []CreatedPDR{{ID: 4}}, UsageReports: ourUsage,
			},
		}, {
			name: "session modification response that refuses a FAR",
			theirs: message.NewSessionModificationResponse(0, 0, 5, 0x11, 0, ie.NewCause(73), ie.NewOffendingIE(108),
				ie.NewFailedRuleID(1, 0x80000001)),
			header: Header{Type: TypeSessionModificationResponse, SEID: 5, Sequence: 0x11},
			ours: &SessionModificationResponse{
				Cause: CauseRuleCreationFailure, Offending: Some(uint16(108)),
				FailedRuleID: Some(FailedRuleID{Kind: RuleFAR, ID: 0x80000001}),
			},
		}, {
			name:   "session deletion request",
			theirs: message.NewSessionDeletionRequest(0, 0, 0x99, 0x12, 0),
			header: Header{Type: TypeSessionDeletionRequest, SEID: 0x99, Sequence: 0x12},
			ours:   &SessionDeletionRequest{},
		}, {
			name:   "session deletion request with an F-SEID and a priority, as OMEC's SMF sends it",
			theirs: message.NewSessionDeletionRequest(1, 0, 0x99, 0x12, 12, ie.NewFSEID(5, ip(testCP), nil)),
			header: Header{Type: TypeSessionDeletionRequest, SEID: 0x99, Sequence: 0x12},
			ours:   &SessionDeletionRequest{},
			lossy:  true,
		}, {
			name: "session deletion response with a usage report",
			theirs: message.NewSessionDeletionResponse(0, 0, 5, 0x12, 0, ie.NewCause(1),
				usage(ie.UsageReportWithinSessionDeletionResponse)),
			header: Header{Type: TypeSessionDeletionResponse, SEID: 5, Sequence: 0x12},
			ours:   &SessionDeletionResponse{Cause: CauseAccepted, UsageReports: ourUsage},
		}, {
			name:   "session deletion response for a session that is not there",
			theirs: message.NewSessionDeletionResponse(0, 0, 0, 0x12, 0, ie.NewCause(65), ie.NewOffendingIE(57)),
			header: Header{Type: TypeSessionDeletionResponse, Sequence: 0x12},
			ours:   &SessionDeletionResponse{Cause: CauseSessionContextNotFound, Offending: Some(uint16(57))},
		},
	}
}

func theirOctets(t testing.TB, m message.Message) []byte {
	t.Helper()
	b := make([]byte, m.MarshalLen())
	require.NoError(t, m.MarshalTo(b))
	return b
}

func TestParseWhatGoPFCPBuilds(t *testing.T) {
	for _, row := range witnesses() {
		t.Run(row.name, func(t *testing.T) {
			h, m, err := Parse(theirOctets(t, row.theirs))
			require.NoError(t, err)
			require.Equal(t, row.header, h)
			require.Empty(t, compare(row.ours, m))
		})
	}
}

func TestGoPFCPReadsWhatWeMarshal(t *testing.T) {
	for _, row := range witnesses() {
		if row.lossy {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			b, err := Marshal(row.header, row.ours)
			require.NoError(t, err)
			read, err := message.Parse(b)
			require.NoError(t, err)
			require.Equal(t, theirOctets(t, row.theirs), theirOctets(t, read))
		})
	}
}

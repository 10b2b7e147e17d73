package pfcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

var testLater = testTime.Add(time.Hour)

const seconds = time.Second

// fullURR is a URR with every parameter, as both build it.
func fullURR() (theirs []*ie.IE, ours URRParameters) {
	theirs = []*ie.IE{
		ie.NewMeasurementPeriod(10 * seconds),
		ie.NewVolumeThreshold(0x07, 1<<40, 2, 3),
		ie.NewVolumeQuota(0x01, 4, 0, 0),
		ie.NewTimeThreshold(11 * seconds),
		ie.NewTimeQuota(12 * seconds),
		ie.NewEventThreshold(13),
		ie.NewEventQuota(14),
		ie.NewQuotaHoldingTime(15 * seconds),
		ie.NewQuotaValidityTime(16 * seconds),
		ie.NewDroppedDLTrafficThreshold(true, true, 17, 18),
		ie.NewInactivityDetectionTime(19),
		ie.NewMonitoringTime(testLater),
		ie.NewSubsequentVolumeThreshold(0x06, 0, 20, 21),
		ie.NewSubsequentVolumeQuota(0x04, 0, 0, 22),
		ie.NewSubsequentTimeThreshold(23 * seconds),
		ie.NewSubsequentTimeQuota(24 * seconds),
		ie.NewSubsequentEventThreshold(25),
		ie.NewSubsequentEventQuota(26),
		ie.NewLinkedURRID(27), ie.NewLinkedURRID(28),
		ie.NewMeasurementInformation(0x1f),
		ie.NewFARID(29),
		ie.NewNumberOfReports(30),
	}
	number := func(n uint32) Opt[uint32] { return Some(n) }
	octets := func(n uint64) Opt[uint64] { return Some(n) }
	return theirs, URRParameters{
		MeasurementPeriod:         number(10),
		VolumeThreshold:           Volume{Total: octets(1 << 40), Uplink: octets(2), Downlink: octets(3)},
		VolumeQuota:               Volume{Total: octets(4)},
		TimeThreshold:             number(11),
		TimeQuota:                 number(12),
		EventThreshold:            number(13),
		EventQuota:                number(14),
		QuotaHoldingTime:          number(15),
		QuotaValidityTime:         number(16),
		DroppedDownlinkThreshold:  DroppedTraffic{Packets: octets(17), Octets: octets(18)},
		InactivityDetectionTime:   number(19),
		MonitoringTime:            Some(TimeStampOf(testLater)),
		SubsequentVolumeThreshold: Volume{Uplink: octets(20), Downlink: octets(21)},
		SubsequentVolumeQuota:     Volume{Downlink: octets(22)},
		SubsequentTimeThreshold:   number(23),
		SubsequentTimeQuota:       number(24),
		SubsequentEventThreshold:  number(25),
		SubsequentEventQuota:      number(26),
		LinkedURRIDs:              []URRID{27, 28},
		MeasurementInformation: Some(MeasureBeforeQoS | MeasurementInactive | ReduceApplicationReports |
			StartTimeImmediately | MeasurePackets),
		QuotaAction:     Some(FARID(29)),
		NumberOfReports: Some(uint16(30)),
	}
}

// with puts more behind first.
func with(more []*ie.IE, first ...*ie.IE) []*ie.IE { return append(first, more...) }

// ruleWitnesses have the IEs of the whole rule set.
func ruleWitnesses() []witness {
	theirURR, ourURR := fullURR()
	return []witness{
		{
			name: "session establishment request with the rest of the rule set",
			theirs: message.NewSessionEstablishmentRequest(0, 0, 0, 0x20, 0,
				ie.NewNodeID("10.40.2.2", "", ""), ie.NewFSEID(7, ip(testCP), nil),
				ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(1),
					ie.NewPDI(ie.NewSourceInterface(0), ie.NewTrafficEndpointID(1), ie.NewTrafficEndpointID(2)),
					ie.NewFARID(1), ie.NewActivatePredefinedRules("video free"), ie.NewActivatePredefinedRules("dns")),
				ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(2),
					ie.NewPDI(ie.NewSourceInterface(1), ie.NewUEIPAddress(0x30, "", "", 0, 0), ie.NewApplicationID("app one"),
						ie.NewFramedRoute("192.168.7.0/24 0.0.0.0 1"), ie.NewFramedRoute("192.168.8.0/24"),
						ie.NewFramedRouting(3), ie.NewFramedIPv6Route("2001:db8:7::/48 :: 1"))),
				ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(0x12, 0),
					ie.NewForwardingParameters(ie.NewDestinationInterface(1), ie.NewTrafficEndpointID(3),
						ie.NewRedirectInformation(uint8(RedirectURL), "http://portal.example/?a=b"),
						ie.NewForwardingPolicy("policy one"),
						ie.NewHeaderEnrichment(0, "X-MSISDN", "882001"), ie.NewHeaderEnrichment(0, "X-A", "b")),
					ie.NewDuplicatingParameters(ie.NewDestinationInterface(4),
						ie.NewOuterHeaderCreation(0x0100, 0xdd, "10.10.0.9", "", 0, 0, 0),
						ie.NewTransportLevelMarking(0xb8fc), ie.NewForwardingPolicy("li"))),
				ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(0x0c, 0), ie.NewBARID(9)),
				ie.NewCreateURR(with(theirURR, ie.NewURRID(1), ie.NewMeasurementMethod(1, 1, 1),
					ie.NewReportingTriggers(0xff, 0xff, 0))...),
				ie.NewCreateBAR(ie.NewBARID(9), ie.NewDownlinkDataNotificationDelay(200*time.Millisecond),
					ie.NewSuggestedBufferingPacketsCount(64)),
				ie.NewCreateTrafficEndpoint(ie.NewTrafficEndpointID(1), ie.NewFTEID(0x05, 0, nil, nil, 0),
					ie.NewNetworkInstanceFQDN("access"), ie.NewUEIPAddress(0x02, "172.16.1.5", "", 0, 0),
					ie.NewFramedRoute("192.168.9.0/24"), ie.NewFramedRouting(0), ie.NewQFI(5), ie.NewQFI(6)),
				ie.NewCreateTrafficEndpoint(ie.NewTrafficEndpointID(2)),
				ie.NewPDNType(1), ie.NewFQCSID("10.40.2.2", 1, 2), ie.NewUserPlaneInactivityTimer(600*seconds),
				ie.NewUserID(0x0f, "999700000000001", "3534900698733190", "882001", "user@example"),
				ie.NewAPNDNN("internet.example"), ie.NewSNSSAI(1, 0xabcdef)),
			header: Header{Type: TypeSessionEstablishmentRequest, Sequence: 0x20},
			ours: &SessionEstablishmentRequest{
				NodeID: NodeID{Addr: testCP}, FSEID: FSEID{SEID: 7, IPv4: testCP},
				CreatePDRs: []CreatePDR{{
					ID: 1, Precedence: 1, FARID: Some(FARID(1)), PDI: PDI{TrafficEndpointIDs: []TrafficEndpointID{1, 2}},
					ActivatePredefinedRules: []string{"video free", "dns"},
				}, {
					ID: 2, Precedence: 2, PDI: PDI{
						SourceInterface: InterfaceCore, ApplicationID: Some("app one"),
						UEIPAddress: Some(UEIPAddress{ChooseIPv4: true, ChooseIPv6: true, IPv6PrefixLength: 64}),
						FramedRoutes: FramedRoutes{
							IPv4: []string{"192.168.7.0/24 0.0.0.0 1", "192.168.8.0/24"},
							IPv6: []string{"2001:db8:7::/48 :: 1"}, Routing: Some(uint32(3)),
						},
					},
				}},
				CreateFARs: []CreateFAR{{
					ID: 1, ApplyAction: ActionForward | ActionDuplicate,
					ForwardingParameters: Some(ForwardingParameters{
						DestinationInterface: Some(InterfaceCore), TrafficEndpointID: Some(TrafficEndpointID(3)),
						Redirect:         Some(RedirectInformation{Type: RedirectURL, Server: "http://portal.example/?a=b"}),
						ForwardingPolicy: Some("policy one"),
						HeaderEnrichments: []HeaderEnrichment{
							{Name: "X-MSISDN", Value: "882001"}, {Name: "X-A", Value: "b"},
						},
					}),
					Duplicating: []DuplicatingParameters{{
						DestinationInterface: Some(Interface(4)),
						OuterHeaderCreation: Some(OuterHeaderCreation{
							Description: CreateGTPUUDPIPv4, TEID: 0xdd, IPv4: netip.MustParseAddr("10.10.0.9"),
						}),
						TransportLevelMarking: Some(uint16(0xb8fc)), ForwardingPolicy: Some("li"),
					}},
				}, {
					ID: 2, ApplyAction: ActionBuffer | ActionNotifyCP, BARID: Some(BARID(9)),
				}},
				CreateURRs: []CreateURR{{
					ID: 1, MeasurementMethod: 7, ReportingTriggers: 0xffff, URRParameters: ourURR,
				}},
				CreateBARs: []BAR{{ID: 9, NotificationDelay: Some(uint8(4)), SuggestedPacketsCount: Some(uint8(64))}},
				CreateTrafficEndpoints: []TrafficEndpoint{{
					ID: 1, FTEID: Some(FTEID{Choose: true, ChooseIPv4: true}),
					NetworkInstance: Some(NetworkInstance("access")), UEIPAddress: Some(UEIPAddress{IPv4: testUE}),
					FramedRoutes: FramedRoutes{IPv4: []string{"192.168.9.0/24"}, Routing: Some(uint32(0))},
					QFI:          []uint8{5, 6},
				}, {ID: 2}},
				PDNType: Some(uint8(1)), InactivityTimer: Some(uint32(600)),
				FQCSIDs: []FQCSID{{Addr: testCP, CSIDs: []uint16{1, 2}}},
				UserID: Some(UserID{
					IMSI: "999700000000001", IMEI: "3534900698733190", MSISDN: "882001", NAI: "user@example",
				}),
				APN: Some("internet.example"), SNSSAI: Some(SNSSAI{SST: 1, SD: 0xabcdef}),
			},
		}, {
			name: "session establishment request that redirects to two addresses",
			theirs: message.NewSessionEstablishmentRequest(0, 0, 0, 0x21, 0,
				ie.NewNodeID("10.40.2.2", "", ""), ie.NewFSEID(7, ip(testCP), nil),
				ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(1), ie.NewPDI(ie.NewSourceInterface(0))),
				ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2, 0), ie.NewForwardingParameters(
					ie.NewDestinationInterface(1),
					ie.NewRedirectInformation(uint8(RedirectIPv4v6), "10.60.0.10", "2001:db8::10")))),
			header: Header{Type: TypeSessionEstablishmentRequest, Sequence: 0x21},
			ours: &SessionEstablishmentRequest{
				NodeID: NodeID{Addr: testCP}, FSEID: FSEID{SEID: 7, IPv4: testCP},
				CreatePDRs: []CreatePDR{{ID: 1, Precedence: 1}},
				CreateFARs: []CreateFAR{{ID: 1, ApplyAction: ActionForward, ForwardingParameters: Some(ForwardingParameters{
					DestinationInterface: Some(InterfaceCore),
					Redirect: Some(RedirectInformation{
						Type: RedirectIPv4v6, Server: "10.60.0.10", Other: "2001:db8::10",
					}),
				})}},
			},
		}, {
			name: "session establishment response with all that was allocated, load and overload",
			theirs: message.NewSessionEstablishmentResponse(0, 0, 7, 0x20, 0,
				ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(1), ie.NewFSEID(0x99, ip(testUP), nil),
				ie.NewCreatedPDR(ie.NewPDRID(2), ie.NewUEIPAddress(0x43, "172.16.1.5", "2001:db8:1::", 0, 56)),
				ie.NewLoadControlInformation(ie.NewSequenceNumber(5), ie.NewMetric(40)),
				ie.NewOverloadControlInformation(ie.NewSequenceNumber(6), ie.NewMetric(20), ie.NewTimer(10*time.Minute),
					ie.NewOCIFlags(1)),
				ie.NewFQCSID("2001:db8::1", 3),
				ie.NewCreatedTrafficEndpoint(ie.NewTrafficEndpointID(1),
					ie.NewFTEID(0x01, 0xa0000001, ip(testLocal), nil, 0), ie.NewUEIPAddress(0x02, "172.16.1.5", "", 0, 0))),
			header: Header{Type: TypeSessionEstablishmentResponse, SEID: 7, Sequence: 0x20},
			ours: &SessionEstablishmentResponse{
				NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted, FSEID: Some(FSEID{SEID: 0x99, IPv4: testUP}),
				CreatedPDRs: []CreatedPDR{{ID: 2, UEIPAddress: Some(UEIPAddress{
					IPv4: testUE, IPv6: netip.MustParseAddr("2001:db8:1::"), IPv6PrefixLength: 56,
				})}},
				Load:     Some(LoadControl{Sequence: 5, Metric: 40}),
				Overload: Some(OverloadControl{Sequence: 6, Metric: 20, Validity: Timer(0x41), Associated: true}),
				FQCSID:   Some(FQCSID{Addr: netip.MustParseAddr("2001:db8::1"), CSIDs: []uint16{3}}),
				CreatedTrafficEndpoints: []CreatedTrafficEndpoint{{
					ID: 1, FTEID: Some(FTEID{TEID: 0xa0000001, IPv4: testLocal}), UEIPAddress: Some(UEIPAddress{IPv4: testUE}),
				}},
			},
		}, {
			name: "session modification request with the rest of the rule set",
			theirs: message.NewSessionModificationRequest(0, 0, 0x99, 0x22, 0,
				ie.NewRemoveBAR(ie.NewBARID(1)), ie.NewRemoveTrafficEndpoint(ie.NewTrafficEndpointID(1)),
				ie.NewCreateBAR(ie.NewBARID(2)), ie.NewCreateTrafficEndpoint(ie.NewTrafficEndpointID(2)),
				ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewActivatePredefinedRules("on"), ie.NewDeactivatePredefinedRules("off")),
				ie.NewUpdateFAR(ie.NewFARID(1), ie.NewApplyAction(0x12, 0),
					ie.NewUpdateForwardingParameters(ie.NewTrafficEndpointID(2)),
					ie.NewUpdateDuplicatingParameters(ie.NewTransportLevelMarking(0xb8fc)), ie.NewBARID(2)),
				ie.NewUpdateURR(with(theirURR, ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0),
					ie.NewReportingTriggers(0x02, 0x20, 0))...),
				ie.NewUpdateURR(ie.NewURRID(2), ie.New(ie.TimeThreshold, nil), ie.New(ie.EventQuota, nil), ie.NewVolumeQuota(0x01, 1<<30, 0, 0)),
				ie.NewUpdateBAR(ie.UpdateBARWithinSessionModificationRequest, ie.NewBARID(3),
					ie.NewDownlinkDataNotificationDelay(50*time.Millisecond), ie.NewSuggestedBufferingPacketsCount(1)),
				ie.NewUpdateTrafficEndpoint(ie.NewTrafficEndpointID(3), ie.NewNetworkInstanceFQDN("core")),
				ie.NewPFCPSMReqFlags(0x05), ie.NewFQCSID("10.40.2.2", 1), ie.NewUserPlaneInactivityTimer(0),
				ie.NewQueryURRReference(77)),
			header: Header{Type: TypeSessionModificationRequest, SEID: 0x99, Sequence: 0x22},
			ours: &SessionModificationRequest{
				RemoveBARs: []BARID{1}, RemoveTrafficEndpoints: []TrafficEndpointID{1},
				CreateBARs: []BAR{{ID: 2}}, CreateTrafficEndpoints: []TrafficEndpoint{{ID: 2}},
				UpdatePDRs: []UpdatePDR{{
					ID: 1, ActivatePredefinedRules: []string{"on"}, DeactivatePredefinedRules: []string{"off"},
				}},
				UpdateFARs: []UpdateFAR{{
					ID: 1, ApplyAction: Some(ActionForward | ActionDuplicate), BARID: Some(BARID(2)),
					ForwardingParameters: Some(ForwardingParameters{TrafficEndpointID: Some(TrafficEndpointID(2))}),
					Duplicating:          []DuplicatingParameters{{TransportLevelMarking: Some(uint16(0xb8fc))}},
				}},
				UpdateURRs: []UpdateURR{{
					ID: 1, MeasurementMethod: Some(MeasureVolume),
					ReportingTriggers: Some(ReportVolumeThreshold | ReportEventQuota), URRParameters: ourURR,
				}, {
					ID: 2, URRParameters: URRParameters{VolumeQuota: Volume{Total: Some(uint64(1 << 30))}},
					Removed: *typesOf(IETimeThreshold, IEEventQuota),
				}},
				UpdateBARs:             []BAR{{ID: 3, NotificationDelay: Some(uint8(1)), SuggestedPacketsCount: Some(uint8(1))}},
				UpdateTrafficEndpoints: []TrafficEndpoint{{ID: 3, NetworkInstance: Some(NetworkInstance("core"))}},
				QueryAll:               true, DropBuffered: true, QueryReference: Some(uint32(77)), InactivityTimer: Some(uint32(0)),
				FQCSIDs: []FQCSID{{Addr: testCP, CSIDs: []uint16{1}}},
			},
		}, {
			name: "session modification request with much that nobody acts on",
			theirs: message.NewSessionModificationRequest(0, 0, 0x99, 0x23, 0,
				ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(1), ie.NewMARID(1),
					ie.NewPDI(ie.NewSourceInterface(0), ie.NewEthernetPDUSessionInformation(1), ie.NewTGPPInterfaceType(9))),
				ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewRQI(1), ie.NewAveragingWindow(1),
					ie.NewPagingPolicyIndicator(1), ie.NewDLFlowLevelMarking(1, 1, 1)),
				ie.NewGroupedIE(ie.RemoveFAR, ie.NewFARID(1), ie.NewPrecedence(1)), ie.NewNodeID("10.40.2.2", "", "")),
			header: Header{Type: TypeSessionModificationRequest, SEID: 0x99, Sequence: 0x23},
			ours: &SessionModificationRequest{
				CreatePDRs: []CreatePDR{{ID: 1, Precedence: 1}}, CreateQERs: []CreateQER{{ID: 1}}, RemoveFARs: []FARID{1},
				Ignored: *typesOf(ie.MARID, ie.EthernetPDUSessionInformation, ie.DLFlowLevelMarking, IEPrecedence, IENodeID),
			},
			lossy: true,
		}, {
			name: "session modification response with traffic endpoints, load, overload and more reports to come",
			theirs: message.NewSessionModificationResponse(0, 0, 7, 0x22, 0, ie.NewCause(1),
				ie.NewLoadControlInformation(ie.NewSequenceNumber(5), ie.NewMetric(40)),
				ie.NewOverloadControlInformation(ie.NewSequenceNumber(6), ie.NewMetric(20), ie.NewTimer(62*seconds)),
				ie.NewAdditionalUsageReportsInformation(300),
				ie.NewCreatedTrafficEndpoint(ie.NewTrafficEndpointID(2), ie.NewFTEID(0x01, 1, ip(testLocal), nil, 0))),
			header: Header{Type: TypeSessionModificationResponse, SEID: 7, Sequence: 0x22},
			ours: &SessionModificationResponse{
				Cause: CauseAccepted, Load: Some(LoadControl{Sequence: 5, Metric: 40}),
				Overload:          Some(OverloadControl{Sequence: 6, Metric: 20, Validity: TimerOf(62 * seconds)}),
				AdditionalReports: Some(AdditionalReports{Follow: true, Count: 300}),
				CreatedTrafficEndpoints: []CreatedTrafficEndpoint{{
					ID: 2, FTEID: Some(FTEID{TEID: 1, IPv4: testLocal}),
				}},
			},
		}, {
			name: "session deletion response with every field of a usage report",
			theirs: message.NewSessionDeletionResponse(0, 0, 7, 0x24, 0, ie.NewCause(1),
				ie.NewLoadControlInformation(ie.NewSequenceNumber(5), ie.NewMetric(40)),
				ie.NewOverloadControlInformation(ie.NewSequenceNumber(6), ie.NewMetric(20), ie.NewTimer(62*seconds)),
				fullTheirUsageReport(ie.UsageReportWithinSessionDeletionResponse), ie.NewAdditionalUsageReportsInformation(0)),
			header: Header{Type: TypeSessionDeletionResponse, SEID: 7, Sequence: 0x24},
			ours: &SessionDeletionResponse{
				Cause: CauseAccepted, Load: Some(LoadControl{Sequence: 5, Metric: 40}),
				Overload:     Some(OverloadControl{Sequence: 6, Metric: 20, Validity: TimerOf(62 * seconds)}),
				UsageReports: []UsageReport{fullUsageReport()}, AdditionalReports: Some(AdditionalReports{}),
			},
		},
	}
}

func fullTheirUsageReport(typ uint16) *ie.IE {
	return ie.NewUsageReport(typ, ie.NewURRID(1), ie.NewURSEQN(4), ie.NewUsageReportTrigger(0x02, 0x10, 0x01),
		ie.NewStartTime(testTime), ie.NewEndTime(testLater), ie.NewVolumeMeasurement(0x07, 30, 10, 20, 0, 0, 0),
		ie.NewDurationMeasurement(90*seconds), ie.NewUEIPAddress(0x0b, "172.16.1.5", "2001:db8:1::", 8, 0),
		ie.NewNetworkInstanceFQDN("iot"), ie.NewTimeOfFirstPacket(testTime), ie.NewTimeOfLastPacket(testLater),
		ie.NewUsageInformation(1, 0, 1, 0), ie.NewQueryURRReference(77), ie.NewEventTimeStamp(testTime),
		ie.NewEventTimeStamp(testLater), ie.NewApplicationDetectionInformation(ie.NewApplicationID("video")))
}

func fullUsageReport() UsageReport {
	return UsageReport{
		URRID: 1, Sequence: 4, Trigger: TriggerVolumeThreshold | TriggerMonitoringTime | TriggerEventQuota,
		StartTime: Some(TimeStampOf(testTime)), EndTime: Some(TimeStampOf(testLater)),
		Volume: Some(VolumeMeasurement{
			TotalOctets: 30, UplinkOctets: 10, DownlinkOctets: 20, OctetsOnly: true,
		}),
		Duration: Some(uint32(90)),
		UEIPAddress: Some(UEIPAddress{
			IPv4: testUE, IPv6: netip.MustParseAddr("2001:db8:1::"), IPv6PrefixLength: 64, IPv6DelegationBits: 8,
		}),
		NetworkInstance:   Some(NetworkInstance("iot")),
		TimeOfFirstPacket: Some(TimeStampOf(testTime)), TimeOfLastPacket: Some(TimeStampOf(testLater)),
		UsageInformation: Some(UsageBeforeMonitoringTime | UsageAfterQoS), QueryReference: Some(uint32(77)),
		EventTimeStamps: []TimeStamp{TimeStampOf(testTime), TimeStampOf(testLater)}, Application: "video",
	}
}

// reportWitnesses are the messages of the session report procedure.
func reportWitnesses() []witness {
	return []witness{
		{
			name: "session report request of downlink data",
			theirs: message.NewSessionReportRequest(0, 0, 7, 0x30, 0, ie.NewReportType(0, 0, 0, 1),
				ie.NewDownlinkDataReport(ie.NewPDRID(1), ie.NewPDRID(2),
					ie.NewDownlinkDataServiceInformation(true, true, 46, 9))),
			header: Header{Type: TypeSessionReportRequest, SEID: 7, Sequence: 0x30},
			ours: &SessionReportRequest{
				ReportType: ReportDownlinkData, DownlinkData: Some(DownlinkDataReport{
					PDRIDs: []PDRID{1, 2}, PagingPolicy: Some(uint8(46)), QFI: Some(uint8(9)),
				}),
			},
		}, {
			name: "session report request of usage, errors and inactivity, with load and overload",
			theirs: message.NewSessionReportRequest(0, 0, 7, 0x31, 0, ie.NewReportType(1, 1, 1, 0),
				fullTheirUsageReport(ie.UsageReportWithinSessionReportRequest),
				ie.NewErrorIndicationReport(ie.NewFTEID(0x01, 0xcafe, ip(testSGW), nil, 0)),
				ie.NewLoadControlInformation(ie.NewSequenceNumber(5), ie.NewMetric(40)),
				ie.NewOverloadControlInformation(ie.NewSequenceNumber(6), ie.NewMetric(20), ie.NewTimer(62*seconds)),
				ie.NewAdditionalUsageReportsInformation(2), ie.NewPFCPSRReqFlags(1)),
			header: Header{Type: TypeSessionReportRequest, SEID: 7, Sequence: 0x31},
			ours: &SessionReportRequest{
				ReportType:   ReportUsage | ReportErrorIndication | ReportInactivity,
				UsageReports: []UsageReport{fullUsageReport()}, ErrorIndications: []FTEID{{TEID: 0xcafe, IPv4: testSGW}},
				Load:              Some(LoadControl{Sequence: 5, Metric: 40}),
				Overload:          Some(OverloadControl{Sequence: 6, Metric: 20, Validity: TimerOf(62 * seconds)}),
				AdditionalReports: Some(AdditionalReports{Follow: true, Count: 2}), SessionDeleted: true,
			},
		}, {
			name: "session report response that changes the buffering",
			theirs: message.NewSessionReportResponse(0, 0, 0x99, 0x30, 0, ie.NewCause(1),
				ie.NewUpdateBAR(ie.UpdateBARWithinSessionReportResponse, ie.NewBARID(1),
					ie.NewDownlinkDataNotificationDelay(100*time.Millisecond), ie.NewDLBufferingDuration(40*time.Minute),
					ie.NewDLBufferingSuggestedPacketCount(300), ie.NewSuggestedBufferingPacketsCount(255)),
				ie.NewPFCPSRRspFlags(1), ie.NewFSEID(8, ip(testCP), nil)),
			header: Header{Type: TypeSessionReportResponse, SEID: 0x99, Sequence: 0x30},
			ours: &SessionReportResponse{
				Cause: CauseAccepted, DropBuffered: true, FSEID: Some(FSEID{SEID: 8, IPv4: testCP}),
				UpdateBARs: []ReportBAR{{
					ID: 1, NotificationDelay: Some(uint8(2)), BufferingDuration: Some(Timer(0x44)),
					BufferingPacketCount: Some(uint16(300)), SuggestedPacketsCount: Some(uint8(255)),
				}},
			},
		}, {
			name:   "session report response for a session that is not there",
			theirs: message.NewSessionReportResponse(0, 0, 0, 0x30, 0, ie.NewCause(65), ie.NewOffendingIE(57)),
			header: Header{Type: TypeSessionReportResponse, Sequence: 0x30},
			ours:   &SessionReportResponse{Cause: CauseSessionContextNotFound, Offending: Some(IEFSEID)},
		},
	}
}

// procedureWitnesses are the messages of the node procedures beyond set-up and release.
func procedureWitnesses() []witness {
	peer6 := netip.MustParseAddr("2001:db8::9")
	rows := []witness{
		{
			name: "association setup request that wants sessions retained, with resources",
			theirs: message.NewAssociationSetupRequest(1, ie.NewNodeID("10.40.2.2", "", ""),
				ie.NewRecoveryTimeStamp(testTime),
				ie.NewUserPlaneIPResourceInformation(0x65, 0xab, "10.30.1.1", "", "\x06access", 1),
				ie.NewPFCPSessionRetentionInformation(ie.NewCPPFCPEntityIPAddress(ip(testCP), net.ParseIP("2001:db8::2")))),
			header: Header{Type: TypeAssociationSetupRequest, Sequence: 1},
			ours: &AssociationSetupRequest{
				NodeID: NodeID{Addr: testCP}, RecoveryTimeStamp: testStamp,
				IPResources: []IPResource{{
					IPv4: testLocal, TEIDRangeBits: 1, TEIDRange: 0xab,
					NetworkInstance: Some(NetworkInstance("access")), SourceInterface: Some(InterfaceCore),
				}},
				Retain: Some([]Entity{{IPv4: testCP, IPv6: netip.MustParseAddr("2001:db8::2")}}),
			},
		}, {
			name: "association setup response that says that sessions were retained",
			theirs: message.NewAssociationSetupResponse(1, ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(1),
				ie.NewRecoveryTimeStamp(testTime), ie.NewPFCPASRspFlags(1)),
			header: Header{Type: TypeAssociationSetupResponse, Sequence: 1},
			ours: &AssociationSetupResponse{
				NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted, RecoveryTimeStamp: testStamp, Retained: true,
			},
		}, {
			name: "association update request that asks for release",
			theirs: message.NewAssociationUpdateRequest(4, ie.NewNodeID("10.40.11.2", "", ""),
				ie.NewUPFunctionFeatures(0x10, 0x01), ie.NewPFCPAssociationReleaseRequest(1, 1),
				ie.NewGracefulReleasePeriod(20*time.Minute)),
			header: Header{Type: TypeAssociationUpdateRequest, Sequence: 4},
			ours: &AssociationUpdateRequest{
				NodeID: NodeID{Addr: testUP}, UPFunctionFeatures: Some(FeatureFTUP | FeatureEMPU),
				ReleaseRequested: true, NonZeroUsage: true, GracefulReleasePeriod: Some(Timer(0x42)),
			},
		}, {
			name: "association update request of a control plane",
			theirs: message.NewAssociationUpdateRequest(5, ie.NewNodeID("10.40.2.2", "", ""), ie.NewCPFunctionFeatures(3),
				ie.NewPFCPAUReqFlags(1)),
			header: Header{Type: TypeAssociationUpdateRequest, Sequence: 5},
			ours: &AssociationUpdateRequest{
				NodeID: NodeID{Addr: testCP}, CPFunctionFeatures: Some(CPFeatureLOAD | CPFeatureOVRL), ReleasePrepared: true,
			},
		}, {
			name: "association update response",
			theirs: message.NewAssociationUpdateResponse(5, ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(1),
				ie.NewUPFunctionFeatures(0x10, 0x01)),
			header: Header{Type: TypeAssociationUpdateResponse, Sequence: 5},
			ours: &AssociationUpdateResponse{
				NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted, UPFunctionFeatures: Some(FeatureFTUP | FeatureEMPU),
			},
		}, {
			name: "node report request of a path that failed and one that is back",
			theirs: message.NewNodeReportRequest(6, ie.NewNodeID("10.40.11.2", "", ""), ie.NewNodeReportType(3),
				ie.NewUserPlanePathFailureReport(ie.NewRemoteGTPUPeer(0x02, "10.10.0.2", "", 0, "")),
				ie.NewUserPlanePathRecoveryReport(ie.NewRemoteGTPUPeer(0x0f, "10.10.0.2", "2001:db8::9", 1, "\x06access"))),
			header: Header{Type: TypeNodeReportRequest, Sequence: 6},
			ours: &NodeReportRequest{
				NodeID: NodeID{Addr: testUP}, ReportType: NodeReportPathFailure | NodeReportPathRecovery,
				PathFailures: []RemoteGTPUPeer{{IPv4: testSGW}},
				PathRecoveries: []RemoteGTPUPeer{{
					IPv4: testSGW, IPv6: peer6, DestinationInterface: Some(InterfaceCore),
					NetworkInstance: Some(NetworkInstance("access")),
				}},
			},
		}, {
			name: "node report response",
			theirs: message.NewNodeReportResponse(6, ie.NewNodeID("10.40.2.2", "", ""), ie.NewCause(66),
				ie.NewOffendingIE(101)),
			header: Header{Type: TypeNodeReportResponse, Sequence: 6},
			ours: &NodeReportResponse{
				NodeID: NodeID{Addr: testCP}, Cause: CauseMandatoryIEMissing, Offending: Some(IENodeReportType),
			},
		}, {
			name: "session set deletion request",
			theirs: message.NewSessionSetDeletionRequest(7, ie.NewNodeID("10.40.2.2", "", ""),
				ie.NewFQCSID("10.40.2.2", 1, 0xffff)),
			header: Header{Type: TypeSessionSetDeletionRequest, Sequence: 7},
			ours: &SessionSetDeletionRequest{
				NodeID: NodeID{Addr: testCP}, FQCSIDs: []FQCSID{{Addr: testCP, CSIDs: []uint16{1, 0xffff}}},
			},
		}, {
			name:   "session set deletion response",
			theirs: message.NewSessionSetDeletionResponse(7, ie.NewNodeID("10.40.11.2", "", ""), ie.NewCause(1), nil),
			header: Header{Type: TypeSessionSetDeletionResponse, Sequence: 7},
			ours:   &SessionSetDeletionResponse{NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted},
		},
	}
	return append(rows, pfdWitnesses()...)
}

func pfdWitnesses() []witness {
	return []witness{
		{
			name: "PFD management request",
			theirs: message.NewPFDManagementRequest(8,
				ie.NewApplicationIDsPFDs(ie.NewApplicationID("video"),
					ie.NewPFDContext(ie.NewPFDContents("permit out 6 from 1.2.3.4 to assigned", "^http://a/", "a.example",
						"custom", "tls", []string{"one", "two"}, []string{"u"}, []string{"d1", "d2"})),
					ie.NewPFDContext(ie.NewPFDContents("", "", "b.example", "", "", nil, nil, nil))),
				ie.NewApplicationIDsPFDs(ie.NewApplicationID("gone"))),
			header: Header{Type: TypePFDManagementRequest, Sequence: 8},
			ours: &PFDManagementRequest{Applications: []ApplicationPFDs{{
				ApplicationID: "video",
				Contexts: [][]PFDContents{{{
					FlowDescription: "permit out 6 from 1.2.3.4 to assigned", URL: "^http://a/", DomainName: "a.example",
					Custom: "custom", DomainNameProtocol: "tls", AdditionalFlowDescriptions: []string{"one", "two"},
					AdditionalURLs: []string{"u"}, AdditionalDomainNames: []string{"d1", "d2"},
				}}, {{DomainName: "b.example"}}},
			}, {
				ApplicationID: "gone",
			}}},
		}, {
			name:   "PFD management response",
			theirs: message.NewPFDManagementResponse(8, ie.NewCause(76), ie.NewOffendingIE(58), ie.NewNodeID("10.40.11.2", "", "")),
			header: Header{Type: TypePFDManagementResponse, Sequence: 8},
			ours: &PFDManagementResponse{
				Cause: CauseServiceNotSupported, Offending: Some(IEApplicationIDsPFDs), NodeID: Some(NodeID{Addr: testUP}),
			},
		},
	}
}

package pfcp

import (
	"iter"
	"math/bits"
	"strconv"
	"strings"
)

// IE types, TS 29.244 8.1.2, of the IEs that this package reads or writes, or ignores knowingly. All others are
// ignored, those of vendors (32768 and above) too.
const (
	IECreatePDR                         uint16 = 1
	IEPDI                               uint16 = 2
	IECreateFAR                         uint16 = 3
	IEForwardingParameters              uint16 = 4
	IEDuplicatingParameters             uint16 = 5
	IECreateURR                         uint16 = 6
	IECreateQER                         uint16 = 7
	IECreatedPDR                        uint16 = 8
	IEUpdatePDR                         uint16 = 9
	IEUpdateFAR                         uint16 = 10
	IEUpdateForwardingParameters        uint16 = 11
	IEUpdateBARReport                   uint16 = 12 // within Session Report Response
	IEUpdateURR                         uint16 = 13
	IEUpdateQER                         uint16 = 14
	IERemovePDR                         uint16 = 15
	IERemoveFAR                         uint16 = 16
	IERemoveURR                         uint16 = 17
	IERemoveQER                         uint16 = 18
	IECause                             uint16 = 19
	IESourceInterface                   uint16 = 20
	IEFTEID                             uint16 = 21
	IENetworkInstance                   uint16 = 22
	IESDFFilter                         uint16 = 23
	IEApplicationID                     uint16 = 24
	IEGateStatus                        uint16 = 25
	IEMBR                               uint16 = 26
	IEGBR                               uint16 = 27
	IEQERCorrelationID                  uint16 = 28
	IEPrecedence                        uint16 = 29
	IETransportLevelMarking             uint16 = 30
	IEVolumeThreshold                   uint16 = 31
	IETimeThreshold                     uint16 = 32
	IEMonitoringTime                    uint16 = 33
	IESubsequentVolumeThreshold         uint16 = 34
	IESubsequentTimeThreshold           uint16 = 35
	IEInactivityDetectionTime           uint16 = 36
	IEReportingTriggers                 uint16 = 37
	IERedirectInformation               uint16 = 38
	IEReportType                        uint16 = 39
	IEOffendingIE                       uint16 = 40
	IEForwardingPolicy                  uint16 = 41
	IEDestinationInterface              uint16 = 42
	IEUPFunctionFeatures                uint16 = 43
	IEApplyAction                       uint16 = 44
	IEDownlinkDataServiceInformation    uint16 = 45
	IEDownlinkDataNotificationDelay     uint16 = 46
	IEDLBufferingDuration               uint16 = 47
	IEDLBufferingSuggestedPacketCount   uint16 = 48
	IEPFCPSMReqFlags                    uint16 = 49
	IEPFCPSRRspFlags                    uint16 = 50
	IELoadControlInformation            uint16 = 51
	IESequenceNumber                    uint16 = 52
	IEMetric                            uint16 = 53
	IEOverloadControlInformation        uint16 = 54
	IETimer                             uint16 = 55
	IEPDRID                             uint16 = 56
	IEFSEID                             uint16 = 57
	IEApplicationIDsPFDs                uint16 = 58
	IEPFDContext                        uint16 = 59
	IENodeID                            uint16 = 60
	IEPFDContents                       uint16 = 61
	IEMeasurementMethod                 uint16 = 62
	IEUsageReportTrigger                uint16 = 63
	IEMeasurementPeriod                 uint16 = 64
	IEFQCSID                            uint16 = 65
	IEVolumeMeasurement                 uint16 = 66
	IEDurationMeasurement               uint16 = 67
	IEApplicationDetectionInformation   uint16 = 68
	IETimeOfFirstPacket                 uint16 = 69
	IETimeOfLastPacket                  uint16 = 70
	IEQuotaHoldingTime                  uint16 = 71
	IEDroppedDLTrafficThreshold         uint16 = 72
	IEVolumeQuota                       uint16 = 73
	IETimeQuota                         uint16 = 74
	IEStartTime                         uint16 = 75
	IEEndTime                           uint16 = 76
	IEQueryURR                          uint16 = 77
	IEUsageReportModification           uint16 = 78 // Usage Report within Session Modification Response
	IEUsageReportDeletion               uint16 = 79 // Usage Report within Session Deletion Response
	IEUsageReportReport                 uint16 = 80 // Usage Report within Session Report Request
	IEURRID                             uint16 = 81
	IELinkedURRID                       uint16 = 82
	IEDownlinkDataReport                uint16 = 83
	IEOuterHeaderCreation               uint16 = 84
	IECreateBAR                         uint16 = 85
	IEUpdateBAR                         uint16 = 86 // within Session Modification Request
	IERemoveBAR                         uint16 = 87
	IEBARID                             uint16 = 88
	IECPFunctionFeatures                uint16 = 89
	IEUsageInformation                  uint16 = 90
	IEUEIPAddress                       uint16 = 93
	IEPacketRate                        uint16 = 94
	IEOuterHeaderRemoval                uint16 = 95
	IERecoveryTimeStamp                 uint16 = 96
	IEHeaderEnrichment                  uint16 = 98
	IEErrorIndicationReport             uint16 = 99
	IEMeasurementInformation            uint16 = 100
	IENodeReportType                    uint16 = 101
	IEUserPlanePathFailureReport        uint16 = 102
	IERemoteGTPUPeer                    uint16 = 103
	IEURSEQN                            uint16 = 104
	IEUpdateDuplicatingParameters       uint16 = 105
	IEActivatePredefinedRules           uint16 = 106
	IEDeactivatePredefinedRules         uint16 = 107
	IEFARID                             uint16 = 108
	IEQERID                             uint16 = 109
	IEOCIFlags                          uint16 = 110
	IEPFCPAssociationReleaseRequest     uint16 = 111
	IEGracefulReleasePeriod             uint16 = 112
	IEPDNType                           uint16 = 113
	IEFailedRuleID                      uint16 = 114
	IEUserPlaneIPResourceInformation    uint16 = 116
	IEUserPlaneInactivityTimer          uint16 = 117
	IESubsequentVolumeQuota             uint16 = 121
	IESubsequentTimeQuota               uint16 = 122
	IERQI                               uint16 = 123
	IEQFI                               uint16 = 124
	IEQueryURRReference                 uint16 = 125
	IEAdditionalUsageReportsInformation uint16 = 126
	IECreateTrafficEndpoint             uint16 = 127
	IECreatedTrafficEndpoint            uint16 = 128
	IEUpdateTrafficEndpoint             uint16 = 129
	IERemoveTrafficEndpoint             uint16 = 130
	IETrafficEndpointID                 uint16 = 131
	IESuggestedBufferingPacketsCount    uint16 = 140
	IEUserID                            uint16 = 141
	IEEventQuota                        uint16 = 148
	IEEventThreshold                    uint16 = 149
	IESubsequentEventQuota              uint16 = 150
	IESubsequentEventThreshold          uint16 = 151
	IETraceInformation                  uint16 = 152
	IEFramedRoute                       uint16 = 153
	IEFramedRouting                     uint16 = 154
	IEFramedIPv6Route                   uint16 = 155
	IEEventTimeStamp                    uint16 = 156
	IEAveragingWindow                   uint16 = 157
	IEPagingPolicyIndicator             uint16 = 158
	IEAPNDNN                            uint16 = 159
	IEInterfaceType                     uint16 = 160 // Source or Destination Interface Type
	IEPFCPSRReqFlags                    uint16 = 161
	IEPFCPAUReqFlags                    uint16 = 162
	IEUEIPAddressPoolIdentity           uint16 = 177
	IEQuotaValidityTime                 uint16 = 181
	IENumberOfReports                   uint16 = 182
	IEPFCPSessionRetentionInformation   uint16 = 183
	IEPFCPASRspFlags                    uint16 = 184
	IECPPFCPEntityIPAddress             uint16 = 185
	IEPFCPSEReqFlags                    uint16 = 186
	IEUserPlanePathRecoveryReport       uint16 = 187
	IESNSSAI                            uint16 = 257

	ieEnd uint16 = 320 // above every type of the standard; a multiple of 64
)

// IETypes is a set of the IE types of the standard. The zero value is empty.
type IETypes [ieEnd / 64]uint64

// typesOf returns the set of types.
func typesOf(types ...uint16) *IETypes {
	var s IETypes
	for _, typ := range types {
		s.Add(typ)
	}
	return &s
}

// Add puts typ in the set; one that is not of the standard is left out.
func (s *IETypes) Add(typ uint16) {
	if typ < ieEnd {
		s[typ/64] |= 1 << (typ % 64)
	}
}

// Has says whether typ is in the set.
func (s *IETypes) Has(typ uint16) bool {
	return typ < ieEnd && s[typ/64]&(1<<(typ%64)) != 0
}

// Empty says whether nothing is in the set.
func (s *IETypes) Empty() bool { return *s == IETypes{} }

// All yields the types in the set, the lowest first.
func (s *IETypes) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(uint16(i*64 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

// String lists the types as numbers, with commas between.
func (s *IETypes) String() string {
	var b strings.Builder
	for typ := range s.All() {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(typ)))
	}
	return b.String()
}

package pfcp

// IE types, TS 29.244 8.1.2, of the IEs that this package reads or writes. All others are ignored, those of
// vendors (32768 and above) too.
const (
	IECreatePDR                  uint16 = 1
	IEPDI                        uint16 = 2
	IECreateFAR                  uint16 = 3
	IEForwardingParameters       uint16 = 4
	IECreateURR                  uint16 = 6
	IECreateQER                  uint16 = 7
	IECreatedPDR                 uint16 = 8
	IEUpdatePDR                  uint16 = 9
	IEUpdateFAR                  uint16 = 10
	IEUpdateForwardingParameters uint16 = 11
	IEUpdateQER                  uint16 = 14
	IERemovePDR                  uint16 = 15
	IERemoveFAR                  uint16 = 16
	IERemoveURR                  uint16 = 17
	IERemoveQER                  uint16 = 18
	IECause                      uint16 = 19
	IESourceInterface            uint16 = 20
	IEFTEID                      uint16 = 21
	IENetworkInstance            uint16 = 22
	IESDFFilter                  uint16 = 23
	IEGateStatus                 uint16 = 25
	IEMBR                        uint16 = 26
	IEGBR                        uint16 = 27
	IEQERCorrelationID           uint16 = 28
	IEPrecedence                 uint16 = 29
	IETransportLevelMarking      uint16 = 30
	IEReportingTriggers          uint16 = 37
	IEOffendingIE                uint16 = 40
	IEDestinationInterface       uint16 = 42
	IEUPFunctionFeatures         uint16 = 43
	IEApplyAction                uint16 = 44
	IEPFCPSMReqFlags             uint16 = 49
	IEPDRID                      uint16 = 56
	IEFSEID                      uint16 = 57
	IENodeID                     uint16 = 60
	IEMeasurementMethod          uint16 = 62
	IEUsageReportTrigger         uint16 = 63
	IEVolumeMeasurement          uint16 = 66
	IEDurationMeasurement        uint16 = 67
	IEQueryURR                   uint16 = 77
	IEUsageReportModification    uint16 = 78 // Usage Report within Session Modification Response
	IEUsageReportDeletion        uint16 = 79 // Usage Report within Session Deletion Response
	IEURRID                      uint16 = 81
	IEOuterHeaderCreation        uint16 = 84
	IECPFunctionFeatures         uint16 = 89
	IEUEIPAddress                uint16 = 93
	IEOuterHeaderRemoval         uint16 = 95
	IERecoveryTimeStamp          uint16 = 96
	IEURSEQN                     uint16 = 104
	IEFARID                      uint16 = 108
	IEQERID                      uint16 = 109
	IEPDNType                    uint16 = 113
	IEFailedRuleID               uint16 = 114
	IEQFI                        uint16 = 124
	IEPFCPSEReqFlags             uint16 = 186

	ieEnd uint16 = 192 // above every type here
)

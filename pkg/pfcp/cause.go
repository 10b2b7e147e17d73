package pfcp

import "fmt"

// Cause is the Cause IE (type 19 of a response), TS 29.244 8.2.1.
type Cause uint8

// Causes, TS 29.244 8.2.1.
const (
	CauseAccepted                 Cause = 1
	CauseRejected                 Cause = 64
	CauseSessionContextNotFound   Cause = 65
	CauseMandatoryIEMissing       Cause = 66
	CauseConditionalIEMissing     Cause = 67
	CauseInvalidLength            Cause = 68
	CauseMandatoryIEIncorrect     Cause = 69
	CauseInvalidForwardingPolicy  Cause = 70
	CauseInvalidFTEIDAllocation   Cause = 71
	CauseNoEstablishedAssociation Cause = 72
	CauseRuleCreationFailure      Cause = 73
	CausePFCPEntityInCongestion   Cause = 74
	CauseNoResourcesAvailable     Cause = 75
	CauseServiceNotSupported      Cause = 76
	CauseSystemFailure            Cause = 77
	CauseRedirectionRequested     Cause = 78
	CauseAllDynamicAddressesTaken Cause = 79
)

// UPFunctionFeatures is the UP Function Features IE (type 43), TS 29.244 8.2.25: octet 5 is the low octet.
type UPFunctionFeatures uint64

// Features that our PGW-U may announce.
const (
	FeatureDDND  UPFunctionFeatures = 1 << 1  // octet 5, bit 2: downlink data notification delay
	FeatureDLBD  UPFunctionFeatures = 1 << 2  // bit 3: downlink buffering duration
	FeatureFTUP  UPFunctionFeatures = 1 << 4  // bit 5: F-TEID allocation in the UP function
	FeaturePFDM  UPFunctionFeatures = 1 << 5  // bit 6: PFD management
	FeatureTREU  UPFunctionFeatures = 1 << 7  // bit 8: traffic redirection enforcement
	FeatureEMPU  UPFunctionFeatures = 1 << 8  // octet 6, bit 1: end marker packets
	FeaturePDIU  UPFunctionFeatures = 1 << 9  // bit 2: traffic endpoints
	FeatureUDBC  UPFunctionFeatures = 1 << 10 // bit 3: buffering controlled by a BAR
	FeatureQUOAC UPFunctionFeatures = 1 << 11 // bit 4: FAR ID for quota action
	FeatureFRRT  UPFunctionFeatures = 1 << 13 // bit 6: framed routing
	FeatureEPFAR UPFunctionFeatures = 1 << 15 // bit 8: usage reports before a release of the association
	FeatureADPDP UPFunctionFeatures = 1 << 17 // octet 7, bit 2: activation and deactivation of predefined rules
	FeatureUEIP  UPFunctionFeatures = 1 << 18 // bit 3: UE IP address allocation
	FeatureSSET  UPFunctionFeatures = 1 << 19 // bit 4: sessions controlled by a set of SMFs
	FeatureMNOP  UPFunctionFeatures = 1 << 20 // bit 5: measurement of packets
	FeatureMTE   UPFunctionFeatures = 1 << 21 // bit 6: several traffic endpoints in a PDI
	FeatureVTIME UPFunctionFeatures = 1 << 26 // octet 8, bit 3: quota validity time
	FeatureNORP  UPFunctionFeatures = 1 << 27 // bit 4: number of reports
	FeatureIP6PL UPFunctionFeatures = 1 << 29 // bit 6: IPv6 prefixes of other lengths than 64
)

// Features of the CP Function Features IE (type 89), TS 29.244 8.2.58, in octet 5.
const (
	CPFeatureLOAD  uint8 = 1 << 0 // takes load control information
	CPFeatureOVRL  uint8 = 1 << 1 // takes overload control information
	CPFeatureEPFAR uint8 = 1 << 2 // usage reports before a release of the association
	CPFeatureSSET  uint8 = 1 << 3 // sessions controlled by a set of SMFs
)

// Error is a failure that the peer is told about.
type Error struct {
	Cause      Cause             // TS 29.244 8.2.1
	Offending  uint16            // IE type, 8.2.22; 0 when none is to blame
	FailedRule Opt[FailedRuleID] // 8.2.80
	Overload   Opt[OverloadControl]
	Err        error // local detail: logged, never sent
}

// Error returns the cause, and the detail when there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %v", e.Cause, e.Err)
	}
	return e.Cause.String()
}

// Unwrap returns the local detail.
func (e *Error) Unwrap() error { return e.Err }

// String returns the standard's words for the cause.
func (c Cause) String() string {
	if s, ok := causeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

var causeNames = map[Cause]string{
	CauseAccepted:                 "request accepted",
	CauseRejected:                 "request rejected",
	CauseSessionContextNotFound:   "session context not found",
	CauseMandatoryIEMissing:       "mandatory IE missing",
	CauseConditionalIEMissing:     "conditional IE missing",
	CauseInvalidLength:            "invalid length",
	CauseMandatoryIEIncorrect:     "mandatory IE incorrect",
	CauseInvalidForwardingPolicy:  "invalid forwarding policy",
	CauseInvalidFTEIDAllocation:   "invalid F-TEID allocation option",
	CauseNoEstablishedAssociation: "no established PFCP association",
	CauseRuleCreationFailure:      "rule creation/modification failure",
	CausePFCPEntityInCongestion:   "PFCP entity in congestion",
	CauseNoResourcesAvailable:     "no resources available",
	CauseServiceNotSupported:      "service not supported",
	CauseSystemFailure:            "system failure",
	CauseRedirectionRequested:     "redirection requested",
	CauseAllDynamicAddressesTaken: "all dynamic addresses are occupied",
}

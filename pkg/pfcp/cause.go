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
	FeatureFTUP UPFunctionFeatures = 1 << 4 // octet 5, bit 5: F-TEID allocation in the UP function
	FeatureEMPU UPFunctionFeatures = 1 << 8 // octet 6, bit 1: end marker packets
)

// Error is a failure that the peer is told about.
type Error struct {
	Cause      Cause             // TS 29.244 8.2.1
	Offending  uint16            // IE type, 8.2.22; 0 when none is to blame
	FailedRule Opt[FailedRuleID] // 8.2.80
	Err        error             // local detail: logged, never sent
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

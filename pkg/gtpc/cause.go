package gtpc

import "fmt"

// Cause is the value of the Cause IE (type 2), TS 29.274 8.4.
type Cause uint8

// Causes, TS 29.274 table 8.4-1.
const (
	CauseReactivationRequested        Cause = 8
	CauseRequestAccepted              Cause = 16
	CauseRequestAcceptedPartially     Cause = 17
	CauseNewPDNTypeNetworkPreference  Cause = 18
	CauseNewPDNTypeSingleAddress      Cause = 19
	CauseContextNotFound              Cause = 64
	CauseInvalidMessageFormat         Cause = 65
	CauseVersionNotSupportedByNext    Cause = 66
	CauseInvalidLength                Cause = 67
	CauseServiceNotSupported          Cause = 68
	CauseMandatoryIEIncorrect         Cause = 69
	CauseMandatoryIEMissing           Cause = 70
	CauseSystemFailure                Cause = 72
	CauseNoResourcesAvailable         Cause = 73
	CauseMissingOrUnknownAPN          Cause = 78
	CausePreferredPDNTypeNotSupported Cause = 83
	CauseAllDynamicAddressesOccupied  Cause = 84
	CauseUENotResponding              Cause = 87
	CauseServiceDenied                Cause = 89
	CauseAPNAccessDenied              Cause = 93
	CauseRequestRejected              Cause = 94
	CauseRemotePeerNotResponding      Cause = 100
	CauseConditionalIEMissing         Cause = 103
	CauseInvalidReplyFromRemotePeer   Cause = 107
	CauseEntityCongestion             Cause = 120
)

// Accepted says whether the cause is one of acceptance: 16 to 63, TS 29.274 table 8.4-1.
func (c Cause) Accepted() bool { return c >= 16 && c < 64 }

// String returns the standard's words for the cause.
func (c Cause) String() string {
	if s, ok := causeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

var causeNames = map[Cause]string{
	CauseReactivationRequested:        "reactivation requested",
	CauseRequestAccepted:              "request accepted",
	CauseRequestAcceptedPartially:     "request accepted partially",
	CauseNewPDNTypeNetworkPreference:  "new PDN type due to network preference",
	CauseNewPDNTypeSingleAddress:      "new PDN type due to single address bearer only",
	CauseContextNotFound:              "context not found",
	CauseInvalidMessageFormat:         "invalid message format",
	CauseVersionNotSupportedByNext:    "version not supported by next peer",
	CauseInvalidLength:                "invalid length",
	CauseServiceNotSupported:          "service not supported",
	CauseMandatoryIEIncorrect:         "mandatory IE incorrect",
	CauseMandatoryIEMissing:           "mandatory IE missing",
	CauseSystemFailure:                "system failure",
	CauseNoResourcesAvailable:         "no resources available",
	CauseMissingOrUnknownAPN:          "missing or unknown APN",
	CausePreferredPDNTypeNotSupported: "preferred PDN type not supported",
	CauseAllDynamicAddressesOccupied:  "all dynamic addresses are occupied",
	CauseUENotResponding:              "UE not responding",
	CauseServiceDenied:                "service denied",
	CauseAPNAccessDenied:              "APN access denied, no subscription",
	CauseRequestRejected:              "request rejected",
	CauseRemotePeerNotResponding:      "remote peer not responding",
	CauseConditionalIEMissing:         "conditional IE missing",
	CauseInvalidReplyFromRemotePeer:   "invalid reply from remote peer",
	CauseEntityCongestion:             "GTP-C entity congestion",
}

// Error is a failure that the peer is told about.
type Error struct {
	Cause     Cause // TS 29.274 8.4
	Offending IEKey // the IE to blame, 8.4; zero when none is
	Err       error // local detail: logged, never sent
}

// Error returns the cause, the offending IE and the detail, as far as there are any.
func (e *Error) Error() string {
	s := e.Cause.String()
	if e.Offending != (IEKey{}) {
		s += fmt.Sprintf(" (%v)", e.Offending)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the local detail.
func (e *Error) Unwrap() error { return e.Err }

// CauseIE is the Cause IE, TS 29.274 8.4, as this node originates it (the CS, BCE and PCE flags are 0).
type CauseIE struct {
	Cause     Cause
	Offending IEKey // zero when no IE is to blame
}

func (c CauseIE) append(b []byte) []byte {
	value := []byte{byte(c.Cause), 0}
	if c.Offending != (IEKey{}) {
		// Offending IE: its type, a length of 0, its instance, TS 29.274 figure 8.4-1.
		value = append(value, byte(c.Offending.Type), 0, 0, c.Offending.Instance&0x0f)
	}
	return appendIE(b, IEKey{Type: ieCause}, value)
}

func decodeCause(v []byte) (Cause, error) {
	if len(v) < 2 {
		return 0, errIEShort
	}
	return Cause(v[0]), nil
}

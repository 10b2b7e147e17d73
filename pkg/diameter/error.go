package diameter

import "fmt"

// Error is a failure that the peer is told about.
type Error struct {
	Code   uint32 // Result-Code, or with Vendor set Experimental-Result-Code
	Vendor uint32 // 0 for a Result-Code of RFC 6733
	Failed []AVP  // what Failed-AVP holds; none when no AVP is to blame
	AVPs   []AVP  // what else the answer carries, such as Error-Diagnostic
	Err    error  // local detail: logged, never sent
}

// Error returns the result and the local detail.
func (e *Error) Error() string {
	if e.Err == nil {
		return "result " + e.result()
	}
	return fmt.Sprintf("result %s: %v", e.result(), e.Err)
}

// Unwrap returns the local detail.
func (e *Error) Unwrap() error { return e.Err }

// protocolError says whether the answer carries the E bit: results of 3xxx, RFC 6733 7.1.3 and 7.2.
func (e *Error) protocolError() bool { return e.Vendor == 0 && e.Code/1000 == 3 }

// result returns the result as metrics show it: 2001, or 10415:5001 for an Experimental-Result.
func (e *Error) result() string { return resultLabel(e.Vendor, e.Code) }

func resultLabel(vendor, code uint32) string {
	if vendor != 0 {
		return fmt.Sprintf("%d:%d", vendor, code)
	}
	return fmt.Sprint(code)
}

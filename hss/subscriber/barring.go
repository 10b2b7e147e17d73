package subscriber

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Barring is a category of operator determined barring of packet services, TS 23.015 and TS 29.272 7.3.30. A node that
// supports the category is told and enforces it; at another the SIM may not register.
type Barring string

// Barring values.
const (
	BarAll      Barring = "all"       // all packet services
	BarHPLMNAPN Barring = "hplmn_apn" // access points of the home network while roaming: all of ours, which are home routed
	BarVPLMNAPN Barring = "vplmn_apn" // access points of the visited network while roaming
)

// Barrings are all that a profile may name, in the order of their bits.
func Barrings() []Barring { return []Barring{BarAll, BarHPLMNAPN, BarVPLMNAPN} }

// Bit is the place of the category in Operator-Determined-Barring (TS 29.272 7.3.30), and of the feature to support it in
// Feature-List 1 (7.3.10).
func (b Barring) Bit() uint32 { return 1 << slices.Index(Barrings(), b) }

// BarringBits are the bits of categories together.
func BarringBits(all []Barring) (bits uint32) {
	for _, b := range all {
		bits |= b.Bit()
	}
	return bits
}

// barred says whether a node that supports those categories (bits) would let the SIM have what is barred; the error is a
// *Refusal with the Error-Diagnostic of the first that it does not support, TS 29.272 5.2.1.1.3.
func (p Profile) barred(supported uint32) error {
	for _, b := range p.Barring {
		if supported&b.Bit() == 0 {
			r := refusal(ReasonBarred, "the node does not support barring of %s", b)
			r.Diagnostic = map[Barring]Diagnostic{BarAll: ODBAllAPN, BarHPLMNAPN: ODBHPLMNAPN, BarVPLMNAPN: ODBVPLMNAPN}[b]
			return r
		}
	}
	return nil
}

func validateBarring(all []Barring) error {
	var faults []error
	for i, b := range all {
		if !slices.Contains(Barrings(), b) {
			faults = append(faults, fmt.Errorf("barring[%d]: %q, want one of %v", i, b, Barrings()))
		}
		if slices.Contains(all[:i], b) {
			faults = append(faults, fmt.Errorf("barring[%d]: %s stands twice", i, b))
		}
	}
	return errors.Join(faults...)
}

// oiPattern is an APN operator identifier with what may stand before it, TS 23.003 9.1.2 and TS 29.272 7.3.32.
var oiPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*mnc[0-9]{3}\.mcc[0-9]{3}\.gprs$`)

const maxOI = 100 // TS 23.003 9.1: octets of an APN; bounds a record

func validateOI(s string) error {
	if s != "" && (len(s) > maxOI || !oiPattern.MatchString(s)) {
		return fmt.Errorf("oi_replacement: %q, want …mncNNN.mccNNN.gprs in lower case, at most %d characters", s, maxOI)
	}
	return nil
}

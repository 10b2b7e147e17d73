package subscriber

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Barring is a category of operator determined barring, TS 23.015: of packet services (TS 29.272 7.3.30), which a node that
// supports the category is told and enforces, and with which a SIM may not register at another; or specific to the home
// network (7.3.22), whose meaning is as agreed with the host, and which every node is told.
type Barring string

// Barring values.
const (
	BarAll      Barring = "all"       // all packet services
	BarHPLMNAPN Barring = "hplmn_apn" // access points of the home network while roaming: all of ours, which are home routed
	BarVPLMNAPN Barring = "vplmn_apn" // access points of the visited network while roaming
	BarHPLMN1   Barring = "hplmn_1"   // HPLMN specific barring of type 1
	BarHPLMN2   Barring = "hplmn_2"
	BarHPLMN3   Barring = "hplmn_3"
	BarHPLMN4   Barring = "hplmn_4"
)

// PacketBarrings are the categories of packet services, in the order of their bits.
func PacketBarrings() []Barring { return []Barring{BarAll, BarHPLMNAPN, BarVPLMNAPN} }

// homeBarrings are those specific to the home network, in the order of their bits.
func homeBarrings() []Barring { return []Barring{BarHPLMN1, BarHPLMN2, BarHPLMN3, BarHPLMN4} }

// Barrings are all that a profile may name.
func Barrings() []Barring { return append(PacketBarrings(), homeBarrings()...) }

// BarringBits are categories together: as bits of Operator-Determined-Barring (TS 29.272 7.3.30), which are those of the
// features to support them in Feature-List 1 too (7.3.10); and as bits of HPLMN-ODB (7.3.22).
func BarringBits(all []Barring) (packet, home uint32) {
	return bitsIn(PacketBarrings(), all), bitsIn(homeBarrings(), all)
}

func bitsIn(order, all []Barring) (bits uint32) {
	for _, b := range all {
		if i := slices.Index(order, b); i >= 0 {
			bits |= 1 << i
		}
	}
	return bits
}

// barred says whether a node that supports those features of list 1 would let the SIM have what is barred; the error is a
// *Refusal with the Error-Diagnostic of the first that it does not support, TS 29.272 5.2.1.1.3.
func (p Profile) barred(supported uint32) error {
	for _, b := range p.Barring {
		if bit, _ := BarringBits([]Barring{b}); bit&^supported != 0 {
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

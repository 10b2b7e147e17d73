package subscriber

import (
	"fmt"
	"slices"
	"strings"
)

// EquipmentList is a list of devices, TS 22.016 3.
type EquipmentList string

// EquipmentList values, the stricter behind.
const (
	White EquipmentList = "white"
	Grey  EquipmentList = "grey"
	Black EquipmentList = "black"
)

// EquipmentLists are all there are, the stricter behind.
func EquipmentLists() []EquipmentList { return []EquipmentList{White, Grey, Black} }

// Equipment puts devices on a list: those whose IMEI begins with Range, 1 to 14 digits (8 are a TAC, 14 one device); or with
// what lies between two of as many digits, with a dash between.
type Equipment struct {
	Range string        `json:"range" yaml:"range"`
	List  EquipmentList `json:"list"  yaml:"list"  enum:"white,grey,black"`
}

// IsRange says that there are two ends.
func (e Equipment) IsRange() bool { return strings.Contains(e.Range, "-") }

// Ends returns the first and the last beginning of an IMEI.
func (e Equipment) Ends() (first, last string) {
	first, last, both := strings.Cut(e.Range, "-")
	if !both {
		last = first
	}
	return first, last
}

// Validate says what is wrong.
func (e Equipment) Validate() error {
	first, last := e.Ends()
	if first == "" || len(first) > imeiDigits || len(first) != len(last) || !isDigits(first+last) || first > last {
		return fmt.Errorf("%q, want 1 to %d digits, or two of as many with a dash, the smaller first", e.Range, imeiDigits)
	}
	if !slices.Contains(EquipmentLists(), e.List) {
		return fmt.Errorf("list %q, want one of %v", e.List, EquipmentLists())
	}
	return nil
}

// has says whether the device, the first 14 digits of an IMEI, is meant.
func (e Equipment) has(device string) bool {
	first, last := e.Ends()
	return len(device) >= len(first) && device[:len(first)] >= first && device[:len(first)] <= last
}

// Narrower says that e stands above o for a device that both mean: by more digits, of as many one beginning above a range.
func (e Equipment) Narrower(o Equipment) bool {
	mine, _ := e.Ends()
	its, _ := o.Ends()
	if len(mine) != len(its) {
		return len(mine) > len(its)
	}
	return !e.IsRange() && o.IsRange()
}

// Decide returns the entry that says on which list a device is; of two that are as narrow the stricter. It says false when
// none means the device.
func Decide(entries []Equipment, device string) (best Equipment, found bool) {
	strict := func(e Equipment) int { return slices.Index(EquipmentLists(), e.List) }
	for _, e := range entries {
		if e.has(device) && (!found || e.Narrower(best) || (!best.Narrower(e) && strict(e) > strict(best))) {
			best, found = e, true
		}
	}
	return best, found
}

// Beginnings are those of a device that an entry may name.
func Beginnings(device string) []string {
	all := make([]string, min(len(device), imeiDigits))
	for i := range all {
		all[i] = device[:i+1]
	}
	return all
}

// EquipmentStatus is what a device is.
type EquipmentStatus struct {
	List  string `json:"list"            doc:"white, grey, black, or refuse"`
	Range string `json:"range,omitempty" doc:"of the entry that says so"`
	From  string `json:"from"            doc:"provisioned; configuration: s6a.equipment; unknown: s6a.equipment.unknown"`
}

package subscriber

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// IMEILock binds a SIM to devices. It compares the first 14 digits of an IMEI, TAC and SNR of TS 23.003 6.2.1: the
// fifteenth is a check digit that networks send or not, and the last two of an IMEISV the software's version.
// Without devices, ranges and Learn there is no lock.
type IMEILock struct {
	IMEIs  []string `json:"imeis,omitempty"  yaml:"imeis"  doc:"devices that may use the SIM, the first 14 digits of the IMEI each"`
	TACs   []string `json:"tacs,omitempty"   yaml:"tacs"   doc:"models that may use the SIM: a TAC of 8 digits, or two with a dash between"`
	Learn  bool     `json:"learn,omitempty"  yaml:"learn"  doc:"bind the SIM to the first device that it is seen in"`
	Absent Absent   `json:"absent,omitempty" yaml:"absent" enum:"allow,refuse" doc:"what to do when the network does not send the IMEI; allow if left out"`
}

// Absent says what a lock does with a request that has no IMEI.
type Absent string

// Absent values.
const (
	AllowAbsent  Absent = "allow" // some networks never send it
	RefuseAbsent Absent = "refuse"
)

const (
	imeiDigits = 14 // TAC ‖ SNR
	tacDigits  = 8
	maxLocked  = 16 // IMEIs, and ranges; bounds a record
)

// IsZero says that there is no lock.
func (l IMEILock) IsZero() bool {
	return len(l.IMEIs) == 0 && len(l.TACs) == 0 && !l.Learn && l.Absent == ""
}

// Verdict is what a lock says of a device.
type Verdict uint8

// Verdicts.
const (
	DeviceAllowed Verdict = iota
	DeviceLearned         // allowed, and to be bound: see Bind
	DeviceRefused
)

// Check says whether the SIM may be in the device of that IMEI (14 to 16 digits as received; "" when absent).
func (l IMEILock) Check(imei string) Verdict {
	switch {
	case len(l.IMEIs) == 0 && len(l.TACs) == 0 && !l.Learn:
		return DeviceAllowed
	case imei == "":
		if l.Absent == RefuseAbsent {
			return DeviceRefused
		}
		return DeviceAllowed
	}
	device, err := Device(imei)
	switch {
	case err != nil:
		return DeviceRefused
	case slices.Contains(l.IMEIs, device):
		return DeviceAllowed
	case len(l.TACs) > 0 && !l.inRange(device[:tacDigits]):
		return DeviceRefused
	case l.Learn && len(l.IMEIs) == 0:
		return DeviceLearned
	case len(l.IMEIs) == 0: // a model that is in range
		return DeviceAllowed
	}
	return DeviceRefused
}

// Bind returns the lock with one device more; binding what is bound changes nothing.
func (l IMEILock) Bind(imei string) (IMEILock, error) {
	device, err := Device(imei)
	if err != nil {
		return l, err
	}
	if !slices.Contains(l.IMEIs, device) {
		l.IMEIs = append(slices.Clone(l.IMEIs), device)
	}
	return l, nil
}

// Unbind returns the lock without that device; "" stands for all of them.
func (l IMEILock) Unbind(imei string) (IMEILock, error) {
	if imei == "" {
		l.IMEIs = nil
		return l, nil
	}
	device, err := Device(imei)
	if err != nil {
		return l, err
	}
	l.IMEIs = slices.DeleteFunc(slices.Clone(l.IMEIs), func(s string) bool { return s == device })
	return l, nil
}

// Device returns the part of an IMEI or IMEISV that names the device: its first 14 digits.
func Device(imei string) (string, error) {
	if len(imei) < imeiDigits || len(imei) > imeiDigits+2 || !isDigits(imei) {
		return "", fmt.Errorf("IMEI %q, want 14 to 16 digits", imei)
	}
	return imei[:imeiDigits], nil
}

func (l IMEILock) inRange(tac string) bool {
	return slices.ContainsFunc(l.TACs, func(s string) bool {
		first, last, _ := strings.Cut(s, "-")
		return tac >= first && tac <= cmp.Or(last, first) // digits of one length: text order is theirs
	})
}

// Validate lists every fault, each beginning with its key.
func (l IMEILock) Validate() error {
	var faults []error
	if len(l.IMEIs) > maxLocked || len(l.TACs) > maxLocked {
		faults = append(faults, fmt.Errorf("imeis: %d and %d ranges, at most %d each", len(l.IMEIs), len(l.TACs), maxLocked))
	}
	for i, s := range l.IMEIs {
		if len(s) != imeiDigits || !isDigits(s) {
			faults = append(faults, fmt.Errorf("imeis[%d]: %q, want the first %d digits", i, s, imeiDigits))
		}
	}
	for i, s := range l.TACs {
		first, last, both := strings.Cut(s, "-")
		if !both {
			last = first
		}
		if len(first) != tacDigits || len(last) != tacDigits || !isDigits(first+last) || first > last {
			faults = append(faults, fmt.Errorf("tacs[%d]: %q, want %d digits, or two such with a dash, the smaller first", i, s, tacDigits))
		}
	}
	if l.Absent != "" && l.Absent != AllowAbsent && l.Absent != RefuseAbsent {
		faults = append(faults, fmt.Errorf("absent: %q, want %s or %s", l.Absent, AllowAbsent, RefuseAbsent))
	}
	return errors.Join(faults...)
}

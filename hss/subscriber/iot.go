package subscriber

import (
	"errors"
	"fmt"
	"slices"
)

// IoT are what lets a device sleep. What is left out is up to the serving network.
type IoT struct {
	PeriodicTAU uint32  `json:"periodic_tau,omitempty" yaml:"periodic_tau" doc:"Subscribed-Periodic-RAU-TAU-Timer in seconds, TS 29.272 7.3.134"`
	ActiveTime  *uint32 `json:"active_time,omitempty"  yaml:"active_time"  doc:"Active-Time in seconds before power saving, TS 29.128; 0 is a time too"`
	EDRX        []EDRX  `json:"edrx,omitempty"         yaml:"edrx"         doc:"eDRX-Cycle-Length for each RAT"`
	DLBuffering *int32  `json:"dl_buffering,omitempty" yaml:"dl_buffering" doc:"DL-Buffering-Suggested-Packet-Count: packets that the SGW should keep for a sleeping device; 0 none, -1 as the SGW likes (TS 29.272 7.3.188)"`
	ServiceGap  uint32  `json:"service_gap,omitempty"  yaml:"service_gap"  doc:"Service-Gap-Time: seconds at least between two connections of the device, TS 23.401 4.3.17.9"`
}

// EDRX is the cycle of extended discontinuous reception over one RAT.
type EDRX struct {
	RAT   RAT   `json:"rat"   yaml:"rat"   enum:"eutran,nb-iot,lte-m,utran,geran"`
	Cycle uint8 `json:"cycle" yaml:"cycle" maximum:"15" doc:"eDRX value of TS 24.008 10.5.5.32: 2 is 20.48 s, 9 is 163.84 s, 15 is 10485.76 s"`

	Window *uint8 `json:"window,omitempty" yaml:"window" maximum:"15" doc:"paging time window of TS 24.008 10.5.5.32: 0 is 1.28 s and 15 20.48 s, of NB-IoT 2.56 s and 40.96 s; GERAN has none"`
}

// OperationMode is the mode whose paging time window counts over a RAT, TS 29.272 7.3.227: 1 Iu, 2 WB-S1, 3 NB-S1; 0 where
// there is none.
func (r RAT) OperationMode() uint32 {
	switch r {
	case UTRAN, HSPAEvolution:
		return 1
	case EUTRAN, LTEM:
		return 2
	case EUTRANNBIoT:
		return 3
	case GERAN:
	}
	return 0
}

// maxPeriodicTAU is what T3412 extended can say: 31 units of 320 hours, TS 24.008 10.5.7.4a.
const maxPeriodicTAU = 31 * 320 * 3600

// maxActiveTime is what T3324 can say: 31 units of a decihour, TS 24.008 10.5.7.3.
const maxActiveTime = 31 * 360

// IsZero says that all is up to the serving network.
func (t IoT) IsZero() bool {
	return t.PeriodicTAU == 0 && t.ActiveTime == nil && len(t.EDRX) == 0 && t.DLBuffering == nil && t.ServiceGap == 0
}

// over fills what t leaves out from base.
func (t IoT) over(base IoT) IoT {
	if t.PeriodicTAU == 0 {
		t.PeriodicTAU = base.PeriodicTAU
	}
	if t.ActiveTime == nil {
		t.ActiveTime = base.ActiveTime
	}
	if t.EDRX == nil {
		t.EDRX = base.EDRX
	}
	if t.DLBuffering == nil {
		t.DLBuffering = base.DLBuffering
	}
	if t.ServiceGap == 0 {
		t.ServiceGap = base.ServiceGap
	}
	return t
}

// Validate lists every fault, each beginning with its key.
func (t IoT) Validate() error {
	var faults []error
	if t.PeriodicTAU > maxPeriodicTAU {
		faults = append(faults, fmt.Errorf("periodic_tau: %d s, at most %d", t.PeriodicTAU, maxPeriodicTAU))
	}
	if t.ActiveTime != nil && *t.ActiveTime > maxActiveTime {
		faults = append(faults, fmt.Errorf("active_time: %d s, at most %d", *t.ActiveTime, maxActiveTime))
	}
	if t.DLBuffering != nil && *t.DLBuffering < -1 {
		faults = append(faults, fmt.Errorf("dl_buffering: %d, want -1 or more", *t.DLBuffering))
	}
	var seen []RAT
	for i, e := range t.EDRX {
		if !slices.Contains(RATs(), e.RAT) {
			faults = append(faults, fmt.Errorf("edrx[%d].rat: %q, want one of %v", i, e.RAT, RATs()))
		}
		if slices.Contains(seen, e.RAT) {
			faults = append(faults, fmt.Errorf("edrx[%d].rat: %s stands twice", i, e.RAT))
		}
		seen = append(seen, e.RAT)
		if e.Cycle > 15 {
			faults = append(faults, fmt.Errorf("edrx[%d].cycle: %d, at most 15", i, e.Cycle))
		}
		if e.Window == nil {
			continue
		}
		mode := e.RAT.OperationMode()
		other := slices.IndexFunc(t.EDRX[:i], func(o EDRX) bool { return o.Window != nil && o.RAT.OperationMode() == mode })
		switch {
		case *e.Window > 15:
			faults = append(faults, fmt.Errorf("edrx[%d].window: %d, at most 15", i, *e.Window))
		case mode == 0:
			faults = append(faults, fmt.Errorf("edrx[%d].window: %s has none", i, e.RAT))
		case other >= 0 && *t.EDRX[other].Window != *e.Window:
			faults = append(faults, fmt.Errorf("edrx[%d].window: %d, but %s has %d: they share one", i, *e.Window, t.EDRX[other].RAT, *t.EDRX[other].Window))
		}
	}
	return errors.Join(faults...)
}

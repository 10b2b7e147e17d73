package sxb

import (
	"sync/atomic"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// load is how full the node is, TS 29.244 6.2.3: per cent of the TEID slots that hold no free one. The sequence
// number is the time of the last change, so that it rises over restarts.
type load struct {
	now atomic.Uint64 // sequence, and metric in the low octet
}

// measure brings the load up to date.
func (l *load) measure(slots []SlotInfo, now time.Time) {
	var used, all int
	for _, s := range slots {
		used += s.Live + s.Resting
		all += s.Live + s.Resting + s.Free
	}
	metric := uint64(0)
	if all > 0 {
		metric = uint64(used * 100 / all)
	}
	last := l.now.Load()
	if last != 0 && last&0xff == metric {
		return
	}
	l.now.Store(max(uint64(uint32(now.Unix())), last>>8+1)<<8 | metric)
}

// loadFor is what a control plane is to hear of the load: nothing when it takes no such information, or has heard.
func (e *Edge) loadFor(a *association) (none pfcp.Opt[pfcp.LoadControl]) {
	now := e.load.now.Load()
	sequence := uint32(now >> 8)
	if a.features&pfcp.CPFeatureLOAD == 0 || now == 0 || a.loadTold.Swap(sequence) == sequence {
		return none
	}
	return pfcp.Some(pfcp.LoadControl{Sequence: sequence, Metric: uint8(now)})
}

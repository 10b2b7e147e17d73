package sxb

import (
	"net/netip"
	"sync"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// overload is by how many per cent control planes are to reduce their requests, TS 29.244 6.2.4: nothing while the
// fullest shard's queue is at most half full, from there on in proportion, in steps, up to 100 when it is full. It rises
// at once, and falls when it has been lower for a while. The sequence number is a time, so that it rises over restarts.
type overload struct {
	mu       sync.Mutex
	metric   uint8
	sequence uint32
	high     time.Time // when the queue was last so full that the metric was right
}

// The bounds of overload control; ours.
const (
	overloadStep     = 10 // per cent
	overloadRest     = time.Second
	overloadValidity = 10 * time.Second
)

// measure brings the metric up to date: fill is how full the fullest queue is, in per cent.
func (o *overload) measure(fill int, now time.Time) (metric uint8, sequence uint32) {
	next := uint8(max(2*fill-100, 0) / overloadStep * overloadStep)
	o.mu.Lock()
	defer o.mu.Unlock()
	if next >= o.metric {
		o.high = now
	}
	if next > o.metric || next < o.metric && now.Sub(o.high) >= overloadRest {
		o.metric, o.high = next, now
		o.sequence = max(uint32(now.Unix()), o.sequence+1)
	}
	return o.metric, o.sequence
}

// told is what a control plane knows of the overload.
type told struct {
	mu       sync.Mutex
	sequence uint32
	at       time.Time
}

// fill is how full the fullest shard's queue is, in per cent.
func (e *Edge) fill() (most int) {
	for _, sh := range e.shards {
		most = max(most, len(sh.inbox)*100/cap(sh.inbox))
	}
	return most
}

// overloadFor is what a control plane is to hear of overload: each change, and what is still true before it would take
// it for over. Nothing when it takes no such information.
func (e *Edge) overloadFor(a *association, now time.Time) (none pfcp.Opt[pfcp.OverloadControl]) {
	if a.features&pfcp.CPFeatureOVRL == 0 {
		return none
	}
	metric, sequence := e.overload.measure(e.fill(), now)
	t := a.overloadTold
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := now.Sub(t.at) < overloadValidity/2
	if t.sequence == sequence && (fresh || metric == 0) { // 0 is there before the first overload
		return none
	}
	t.sequence, t.at = sequence, now
	return pfcp.Some(pfcp.OverloadControl{
		Sequence: sequence, Metric: metric, Validity: pfcp.TimerOf(overloadValidity), Associated: true,
	})
}

// unsaid is called when an answer that may have told of load or overload is not sent after all.
func (a *association) unsaid() {
	a.loadTold.Store(0)
	a.overloadTold.mu.Lock()
	defer a.overloadTold.mu.Unlock()
	a.overloadTold.sequence, a.overloadTold.at = 0, time.Time{}
}

// congestion is what a request is refused with when too many wait.
func (e *Edge) congestion(from netip.Addr) *pfcp.Error {
	fault := &pfcp.Error{Cause: pfcp.CausePFCPEntityInCongestion}
	if a := e.directory.Load().at(from); a != nil {
		fault.Overload = e.overloadFor(a, time.Now())
	}
	return fault
}

package sxb

import (
	"fmt"
	"sync"

	"github.com/xepc/xepc/pkg/pfcp"
)

// guaranteed are the bit rates that sessions have been promised, against what the node may promise.
type guaranteed struct {
	capacity pfcp.BitRate // kbit/s; 0: without end

	mu   sync.Mutex
	used pfcp.BitRate
}

// swap replaces a promise by another. What is too much is refused with cause 75.
func (g *guaranteed) swap(old, next pfcp.BitRate) error {
	if old == next {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	used := g.with(old, next)
	over := func(capacity, used, old, next uint64) bool { return capacity > 0 && used > capacity && next > old }
	if over(g.capacity.Uplink, used.Uplink, old.Uplink, next.Uplink) ||
		over(g.capacity.Downlink, used.Downlink, old.Downlink, next.Downlink) {
		return &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Offending: pfcp.IEGBR,
			Err: fmt.Errorf("%+v kbit/s are promised, %+v more are too much", g.used, next),
		}
	}
	g.used = used
	return nil
}

// set replaces a promise by one that was given before, or by none.
func (g *guaranteed) set(old, next pfcp.BitRate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = g.with(old, next)
}

func (g *guaranteed) with(old, next pfcp.BitRate) pfcp.BitRate {
	return pfcp.BitRate{Uplink: g.used.Uplink - old.Uplink + next.Uplink, Downlink: g.used.Downlink - old.Downlink + next.Downlink}
}

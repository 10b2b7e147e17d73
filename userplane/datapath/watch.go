package datapath

import (
	"sync/atomic"

	"github.com/xepc/xepc/pkg/pfcp"
)

// As in bpf/layout.h, enum watch.
const watchTold = uint32(pgwuWatchWATCH_TOLD)

// sweepParts is in how many parts Exceeded looks at the entries.
const sweepParts = 16

// watchOf is a watch as the program compares it: its low 32 bits, of which two values mean something else.
func watchOf(octets uint64) uint32 {
	if octets == 0 {
		return uint32(pgwuWatchWATCH_NONE)
	}
	return max(uint32(octets), watchTold+1)
}

// watchAt is the watch of an entry, in octets; 0: none, or it has been told of.
func watchAt(e *pgwuEntry) uint64 {
	watch := atomic.LoadUint32(&e.Meter.Watch)
	if watch <= watchTold {
		return 0
	}
	octets := atomic.LoadUint64(&e.Usage.Octets)
	return octets + uint64(int64(int32(watch-uint32(octets))))
}

// equalWatch says whether an entry has that watch, or had it and has told.
func equalWatch(e *pgwuEntry, octets uint64) bool {
	raw := atomic.LoadUint32(&e.Meter.Watch)
	return raw == watchOf(octets) || raw == watchTold && octets != 0 && atomic.LoadUint64(&e.Usage.Octets) >= octets
}

// watchEvent is what tells of an entry's watch.
func (t *tables) watchEvent(at place) Event {
	return Event{Kind: EventWatch, SEID: pfcp.SEID(t.origin(at).Seid)}
}

// watched are the events of entries that have told, in the part of the tables whose turn it is.
func (d *Datapath) watched() (events []Event) {
	for _, kind := range []placeKind{placeUplink, placeDownlink} {
		slots := d.tables.table(place{kind: kind}).slots
		from, to := 0, len(slots)
		if d.sweep > 0 {
			part := int(d.sweep-1) % sweepParts
			from, to = len(slots)*part/sweepParts, len(slots)*(part+1)/sweepParts
		}
		for i := from; i < to; i++ {
			e := &slots[i]
			if atomic.LoadUint32(&e.Meter.Watch) == watchTold && atomic.LoadUint32(&e.Key) != 0 {
				events = append(events, d.tables.watchEvent(place{kind, uint32(i)}))
			}
		}
	}
	d.sweep++
	return events
}

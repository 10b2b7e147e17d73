package datapath

import (
	"sync/atomic"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// A QER's limit stands in an entry, in an account or in a shared meter, as its rules want it. When they change, the bucket that
// takes its place goes on with what the old one held: a new one would be full, and each change would let a burst through.

// bucketMove has a bucket go on with what another holds.
type bucketMove struct{ to, from *pgwuMeter }

func (d *Datapath) moveBucket(m bucketMove) {
	tokens := atomic.LoadInt64(&m.from.Tokens)
	atomic.StoreInt64(&m.to.Tokens, min(tokens, d.depth(atomic.LoadUint32(&m.to.Rate))))
	atomic.StoreUint64(&m.to.Last, atomic.LoadUint64(&m.from.Last))
}

// setRate gives a bucket a rate, kbit/s, and takes from it what a full one of a lower rate would not hold.
func (d *Datapath) setRate(m *pgwuMeter, rate uint32) {
	before := atomic.SwapUint32(&m.Rate, rate)
	if tokens := atomic.LoadInt64(&m.Tokens); rate < before && tokens > d.depth(rate) {
		atomic.AddInt64(&m.Tokens, d.depth(rate)-tokens)
	}
}

// depth is how many tokens a bucket holds, bpf/policing.h: half the burst, or a packet.
func (d *Datapath) depth(rate uint32) int64 {
	const packet = 1500 * 8_000_000
	return max(int64(rate)*int64(d.cfg.Burst)*1_000_000/2, packet)
}

// ownMeter names the limit of a rule that is its alone, as if others shared it.
func ownMeter(o *pgwuOrigin, direction session.Direction) session.MeterID {
	return session.MeterID{SEID: pfcp.SEID(o.Seid), QERID: pfcp.QERID(o.QerId), Direction: direction}
}

// bucket is one with what names its limit.
type bucket struct {
	id    session.MeterID
	meter *pgwuMeter
}

type buckets []bucket

// of is the bucket of a limit; nil when there is none.
func (b buckets) of(id session.MeterID) *pgwuMeter {
	for i := range b {
		if b[i].id == id {
			return b[i].meter
		}
	}
	return nil
}

// bucketsOf are those that limit the packets of an entry in use.
func (d *Datapath) bucketsOf(at place, direction session.Direction) (all buckets) {
	t := d.tables
	e := t.entry(at)
	w := loadWord(&e.Word)
	if w.Flags&flagSet == 0 {
		if e.Meter.Rate != 0 {
			all = append(all, bucket{ownMeter(t.origin(at), direction), &e.Meter})
		}
		return all
	}
	for _, index := range t.rulesOf(t.set(w)) {
		raw := &t.rules.slots[index]
		if m := &t.accounts.slots[raw.Account].Meter; m.Rate != 0 {
			all = append(all, bucket{ownMeter(&t.accountOrigins.slots[raw.Account], direction), m})
		}
		for _, meter := range raw.Meters {
			if meter != 0 {
				all = append(all, bucket{t.meterID(meter), &t.meters.slots[meter].Meter})
			}
		}
	}
	return all
}

// planBuckets has the buckets of a put go on with those of the same QERs before. accounts are those of the put.
func (d *Datapath) planBuckets(p *plan, next *put, direction session.Direction, accounts []accountState) {
	if next.fresh {
		return
	}
	old := d.bucketsOf(next.at, direction)
	if len(old) == 0 {
		return
	}
	if next.word.Flags&flagSet == 0 {
		if from := old.of(ownMeter(&next.origin, direction)); next.rate != 0 && from != &d.tables.entry(next.at).Meter {
			next.bucket = from
		}
		return
	}
	move := func(to, from *pgwuMeter) {
		if from != nil && from != to {
			p.buckets = append(p.buckets, bucketMove{to, from})
		}
	}
	for i := range accounts {
		if accounts[i].rate != 0 {
			move(&d.tables.accounts.slots[accounts[i].index].Meter, old.of(ownMeter(&accounts[i].origin, direction)))
		}
	}
	for _, index := range d.tables.rulesOf(d.tables.set(next.word)) {
		for _, meter := range d.tables.rules.slots[index].Meters {
			if meter != 0 && p.newMeters[meter] {
				move(&d.tables.meters.slots[meter].Meter, old.of(d.tables.meterID(meter)))
			}
		}
	}
}

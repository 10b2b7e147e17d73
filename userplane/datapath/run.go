package datapath

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// How Run paces itself.
const (
	refreshEvery = 5 * time.Second       // next hops, whatever netlink said or lost
	settleFor    = 10 * time.Millisecond // after a netlink message, for those that come with it
	barrierEvery = time.Second           // places rest at most about this long
	eventWindow  = 100 * time.Millisecond
	eventsInIt   = 256 // then the ring waits for the next window, and loses what it cannot hold
)

// Run keeps next hops resolved and hands events to onEvent, one at a time, until ctx is done. It returns nil then.
func (d *Datapath) Run(ctx context.Context, onEvent func(Event)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.followNextHops(ctx) })
	var one sync.Mutex
	give := func(e Event) {
		one.Lock()
		defer one.Unlock()
		onEvent(e)
	}
	group.Go(func() error { return d.readEvents(ctx, give) })
	group.Go(func() error { return d.readParked(ctx, give) })
	group.Go(func() error { return d.readCopies(ctx, give) })
	group.Go(func() error { return d.settleResting(ctx, give) })
	group.Go(func() error { return d.visits.run(ctx) })
	return group.Wait()
}

// followNextHops refreshes when netlink tells of a change, when a new next hop is wanted, and now and then.
func (d *Datapath) followNextHops(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		d.watchKernel(ctx, changed)
		return nil
	})
	group.Go(func() error {
		d.refreshNextHops(ctx, changed)
		return nil
	})
	return group.Wait()
}

func (d *Datapath) refreshNextHops(ctx context.Context, changed <-chan struct{}) {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	rest := settleFor
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.hops.kick:
		case <-ticker.C:
		case <-changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
			select {
			case <-changed:
			default:
			}
		}
		began := time.Now()
		if err := d.Resolve(); err != nil {
			d.log.Warn("next hops not refreshed", "err", err)
		}
		rest = max(settleFor, time.Since(began)) // long tables that change all the time take half a CPU at most
	}
}

// Resolve brings ports and next hops up to date at once, as Run does whenever netlink tells of a change.
func (d *Datapath) Resolve() error {
	d.resolving.Lock()
	defer d.resolving.Unlock()
	defaults, err := d.routeTables.defaults(d.instanceTables)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.hops.snapshot(defaults)
	if err != nil {
		return err
	}
	d.replug(now.links)
	if err := d.hops.refresh(now); err != nil {
		return err
	}
	return d.showInstances(now)
}

// showInstances writes the addresses that network instances send ICMP messages from, and where their default routes lead.
func (d *Datapath) showInstances(now *snapshot) error {
	for number, in := range d.tables.names {
		next := in
		if in.Table != 0 {
			gateway := d.hops.gateways[number]
			gateway6 := d.hops.gateways[d.tables.about.Instances+number]
			next.Gateway, next.Gateway6 = onWire(gateway), [2]uint64{}
			if gateway6.Is6() {
				next.Gateway6 = halves(gateway6)
			}
		}
		next.Local, next.Local6 = d.localOf(nameOf(in), now)
		if d.shown[number] == next {
			continue
		}
		if err := d.objects.Instances.Put(number, next); err != nil {
			return fmt.Errorf("write the addresses of network instance %q: %w", nameOf(in), err)
		}
		d.shown[number] = next
	}
	return nil
}

// localOf are the first addresses of a network instance's first core port that has one of the family.
func (d *Datapath) localOf(name pfcp.NetworkInstance, now *snapshot) (ipv4 uint32, ipv6 [2]uint64) {
	for _, port := range d.cfg.Ports {
		if port.Side&SideCore == 0 || port.Instance != name {
			continue
		}
		first := now.addresses[cmp.Or(d.devices[port], port.Name)]
		if ipv4 == 0 {
			ipv4 = onWire(first[0])
		}
		if ipv6 == [2]uint64{} && first[1].IsValid() {
			ipv6 = halves(first[1])
		}
	}
	return ipv4, ipv6
}

// watched are netlink's groups that may tell of another way to somewhere.
var watched = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
	unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP,
}

// watchKernel tells of changes, whatever they are, until ctx is done. Messages that the kernel lost tell, too.
func (d *Datapath) watchKernel(ctx context.Context, changed chan<- struct{}) {
	socket, err := nl.SubscribeAt(d.ns, netns.None(), unix.NETLINK_ROUTE, watched...)
	if err != nil {
		d.log.Warn("changes of routes and neighbours are not followed, only looked up", "every", refreshEvery, "err", err)
		return
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	for {
		notify(changed) // first of what came before the subscription
		_, _, err := socket.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			d.log.Warn("changes of routes and neighbours are not followed any more, only looked up", "every", refreshEvery, "err", err)
			return
		}
	}
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settleResting lets places be used again without anybody waiting for it.
func (d *Datapath) settleResting(ctx context.Context, onEvent func(Event)) error {
	ticker := time.NewTicker(barrierEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-d.endsKick:
		}
		d.mu.Lock()
		ends := d.ends
		d.ends = nil
		fences := d.fences
		d.fences = nil
		some := d.grace.begin()
		d.mu.Unlock()
		if !some && len(ends)+len(fences) == 0 {
			continue
		}
		err := d.grace.barrier()
		d.mu.Lock()
		if some {
			d.grace.end(err)
		}
		d.mu.Unlock()
		for _, tunnel := range ends {
			onEvent(Event{Kind: EventEndMarker, Tunnel: tunnel})
		}
		d.fence(fences)
		if err != nil {
			d.log.Warn("freed slots wait on", "err", err)
		}
	}
}

// readEvents reads the ring. A flood of events costs a bounded number of wake-ups a second: the ring fills, and the
// rest is only counted.
func (d *Datapath) readEvents(ctx context.Context, onEvent func(Event)) error {
	reader, err := ringbuf.NewReader(d.objects.Events)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = reader.Close() })
	defer stop()
	defer func() { _ = reader.Close() }()
	var record ringbuf.Record
	for count, since := 0, time.Now(); ; {
		if err := reader.ReadInto(&record); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read events: %w", err)
		}
		if event, ok := d.tables.decodeEvent(record.RawSample); ok {
			onEvent(event)
		}
		if time.Since(since) > eventWindow {
			count, since = 0, time.Now()
		}
		if count++; count < eventsInIt {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(eventWindow - time.Since(since)):
			count, since = 0, time.Now()
		}
	}
}

// markEnds has Run tell of end markers when all programs that sent by the rules of before are done.
func (d *Datapath) markEnds(tunnels []session.Tunnel) {
	if len(tunnels) == 0 {
		return
	}
	d.ends = append(d.ends, tunnels...)
	notify(d.endsKick)
}

func (t *tables) decodeEvent(sample []byte) (Event, bool) {
	var raw pgwuEvent
	if _, err := binary.Decode(sample, binary.NativeEndian, &raw); err != nil {
		return Event{}, false
	}
	if raw.Kind == pgwuEventKindEVENT_WATCH {
		at := place{placeDownlink, raw.Cell}
		if raw.Bit != 0 {
			at.kind = placeUplink
		}
		if int(at.index) >= len(t.table(at).slots) {
			return Event{}, false
		}
		return t.watchEvent(at), true
	}
	if raw.Kind != pgwuEventKindEVENT_UNKNOWN_TEID {
		if int(raw.Cell) >= len(t.cellOrigins.slots) {
			return Event{}, false
		}
		return t.cellEvent(EventKind(raw.Kind), raw.Cell, Limit(bits.TrailingZeros32(raw.Bit)&7)), true
	}
	e := Event{
		Kind: EventUnknownTEID, TEID: pfcp.TEID(teidOnWire(pfcp.TEID(raw.Teid))), RemotePort: raw.RemotePort>>8 | raw.RemotePort<<8,
		Remote: fromWire(raw.Remote), Local: fromWire(raw.Local),
	}
	if raw.Remote == 0 {
		e.Remote, e.Local = fromHalves(raw.Remote6), fromHalves(raw.Local6)
	}
	return e, true
}

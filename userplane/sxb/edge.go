// Package sxb owns the PFCP edge of the UP function (TS 29.244, reference point Sxb): associations, heartbeats, the
// owners of sessions, and the order in which a request becomes durable, forwards packets and is answered. What a
// session's rules mean is session's business, and how packets are forwarded the data path's.
//
// Order. A request first makes the next session, its entries and the answer, in memory; anything that can be
// refused is refused there. Then: journal record, data path, answer. The record holds the session and the answer
// together. Killed after the record, the next process finds the session, puts the entries in that are missing, and
// gives the recorded answer to the duplicate of the request; killed before it, nothing has happened, and the
// duplicate is a new request. Should the data path refuse, the old record is written again, and then the refusal
// sent. Requests that a shard finds waiting at once are a group: one write makes all of their records durable.
//
// Ownership. A session belongs to one shard, chosen by its SEID, and to one association; the directory of
// associations is an immutable value that only the keeper replaces. Shards and keeper never wait for each other.
package sxb

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"maps"
	"math/bits"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/portal"
	"github.com/xepc/xepc/userplane/session"
)

// DataPath takes the entries. Apply makes all of the changes or nothing; changes without puts never fail for want of
// anything. An error that is a *pfcp.Error gives the cause; any other is CauseSystemFailure.
type DataPath interface {
	Apply(session.Changes) error
	// Usage is what the entries of keys have counted, in their order.
	Usage([]session.Key) ([]session.Usage, error)
	// Volumes is what usage cells have counted since they were made, in their order.
	Volumes([]session.CellID) ([]session.Volume, error)
	// Settle returns when every program is done that ran when it was called: Usage and Volumes have all then that was
	// charged by the entries as they were before the last Apply.
	Settle() error
	// Return gives a parked packet back, as if it had come from the network now, when it is its turn. Nobody waits for it
	// any more then, whatever becomes of it.
	Return(instance pfcp.NetworkInstance, p session.Parked) error
	// Forget says that nobody is to wait for a parked packet, since it is not given back now.
	Forget(session.Turn)
	// Inject has a packet to a UE taken as if it had come from a network instance now.
	Inject(instance pfcp.NetworkInstance, packet []byte) error
	// Release says that what came before the session drained has been given back. It returns what Drained does.
	Release(pfcp.SEID) bool
	// Drained says whether no packet of a session waits any more: then its entries that drain are to forward.
	Drained(pfcp.SEID) bool
}

// Features is what UP Function Features says: exactly what works.
// What depends on the configuration comes on top of it.
const Features = pfcp.FeatureFTUP | pfcp.FeatureEMPU | pfcp.FeaturePDIU | pfcp.FeatureTREU | pfcp.FeatureFRRT | pfcp.FeatureMTE | pfcp.FeatureMNOP | pfcp.FeatureQUOAC | pfcp.FeatureVTIME | pfcp.FeatureNORP | pfcp.FeaturePFDM | pfcp.FeatureIP6PL | pfcp.FeatureDDND | pfcp.FeatureDLBD | pfcp.FeatureUDBC

// Edge is the PFCP edge.
type Edge struct {
	cfg      Config
	dp       DataPath
	journal  *journal.Journal
	log      *slog.Logger
	endpoint *pfcp.Endpoint
	recovery pfcp.RecoveryTimeStamp
	fseid    netip.Addr // in our F-SEIDs

	seid      atomic.Uint64 // the last one given out
	seed      maphash.Seed  // of the choice of shards
	teids     *teids
	fseids    *fseids
	addresses *addresses
	shards    []*shard
	keeper    *keeper
	fence     *fence
	directory atomic.Pointer[directory]
	replays   atomic.Pointer[replays] // nil once they are outdated
	leaving   []pfcp.SEID             // sessions that the process before had in the middle of a modification
	load      load
	overload  overload
	gbr       guaranteed
	portal    portal.Portal
	stats     stats
}

// Restored says what Open made of the state it was given.
type Restored struct {
	Fresh    string // why the Recovery Time Stamp is a new one; "" when it was kept
	Sessions int
	Dropped  int // sessions that this configuration cannot serve any more
	Entries  int
}

// Open makes the edge from what the journal held. fresh, if not empty, says why that is not the state of the
// sessions whose entries may still be in the data path: all begins anew, under a new Recovery Time Stamp. The
// socket is open when Open returns, but nothing is read before Run.
func Open(cfg Config, dp DataPath, j *journal.Journal, state *State, fresh string, now time.Time, log *slog.Logger) (*Edge, Restored, error) {
	if err := cfg.Validate(); err != nil {
		return nil, Restored{}, fmt.Errorf("PFCP edge: %w", err)
	}
	if fresh == "" && state.unreadable != nil {
		fresh = state.unreadable.Error()
	}
	if fresh == "" && state.Recovery == 0 {
		fresh = "no Recovery Time Stamp was written"
	}
	epoch := max(state.epoch+1, uint32(now.Unix()))
	if fresh != "" {
		log.Warn("session state begins anew", "reason", fresh, "lost", len(state.sessions.at))
		recovery := max(state.Recovery+1, ntp(now))
		state = NewState()
		state.Recovery = recovery
	}
	free, err := newTEIDs(cfg.Slices, cfg.Rest, now)
	if err != nil {
		return nil, Restored{}, err
	}
	pools, err := newAddresses(cfg.AddressPools, cfg.Instances, cfg.AddressRest)
	if err != nil {
		return nil, Restored{}, err
	}
	e := &Edge{cfg: cfg, dp: dp, journal: j, log: log, recovery: state.Recovery, fseid: cfg.Endpoint.Listen.Addr(), teids: free, fseids: newFSEIDs(), addresses: pools, seed: maphash.MakeSeed(), portal: portal.New()}
	e.seid.Store(uint64(epoch) << 32)
	e.gbr.capacity = cfg.GBRCapacity
	e.directory.Store(&directory{})
	for i := range cfg.Shards {
		e.shards = append(e.shards, newShard(e, i))
	}
	e.keeper, e.fence = newKeeper(e), newFence()
	restored := e.restore(state, now)
	restored.Fresh = fresh
	if err := e.record(state, epoch, fresh != ""); err != nil {
		return nil, restored, err
	}
	e.cfg.Endpoint.NodeID, e.cfg.Endpoint.RecoveryTimeStamp, e.cfg.Endpoint.Log = cfg.NodeID, e.recovery, log
	if e.endpoint, err = pfcp.Listen(e.cfg.Endpoint); err != nil {
		return nil, restored, fmt.Errorf("%w: is pfcp.address %v an address of this host, and free?", err, cfg.Endpoint.Listen)
	}
	return e, restored, nil
}

// ntp is a time as a Recovery Time Stamp: seconds of the NTP era, TS 29.244 8.2.65.
func ntp(t time.Time) pfcp.RecoveryTimeStamp {
	const era = 2_208_988_800 // from 1900 to 1970
	return pfcp.RecoveryTimeStamp(t.Unix() + era)
}

// record writes what the next process needs to know of this start. While keys that are not wanted any more are
// deleted, there is no Recovery Time Stamp: killed in between, the next process begins anew.
func (e *Edge) record(state *State, epoch uint32, wipe bool) error {
	node := journal.Key{Kind: kindNode}
	var outdated []journal.Key
	for _, key := range e.journal.Keys() {
		seid := pfcp.SEID(key.ID)
		if wipe && key.Kind != kindNode {
			outdated = append(outdated, key)
		} else if state.sessions.has(seid) && (key.Kind == kindSession || key.Kind == kindResponse) {
			if !e.shard(seid).sessions.has(seid) { // restore dropped it
				outdated = append(outdated, key)
			}
		}
	}
	for owner, apps := range state.pfds {
		if e.directory.Load().byID[owner] == nil {
			for id := range apps {
				outdated = append(outdated, pfdKey(owner, id))
			}
		}
	}
	var b journal.Batch
	if wipe {
		b.Put(node, nodeRecord(0, epoch))
	}
	for chunk := range slices.Chunk(outdated, 1000) {
		for _, key := range chunk {
			b.Delete(key)
		}
		if err := e.journal.Write(&b); err != nil {
			return err
		}
		b.Reset()
	}
	b.Put(node, nodeRecord(e.recovery, epoch))
	return e.journal.Write(&b)
}

// restore takes the sessions over that the state holds.
func (e *Edge) restore(state *State, now time.Time) Restored {
	d := &directory{}
	for id, a := range state.associations {
		setting, allowed := e.cfg.setting(a.addr)
		if !allowed {
			continue
		}
		one := newAssociation(id, a, setting, now)
		if apps := state.pfds[id]; len(apps) > 0 {
			one.pfds.Store(&apps)
		}
		d = d.with(one)
		e.keeper.next = max(e.keeper.next, id+1)
	}
	e.directory.Store(d)
	var r Restored
	holders := map[uint64]pfcp.SEID{} // by hash of the downlink keys: the TEIDs have their own check
	for _, seid := range slices.Sorted(maps.Keys(state.sessions.at)) {
		s, ok := state.sessions.get(seid)
		if !ok { // it was read
			continue
		}
		owner := d.byID[s.Owner]
		err := errors.New("its association is gone")
		var table session.Table
		if owner != nil {
			s, _ = s.Rename(owner.pfds.Load().application) // killed before the session heard of new ones
			s.Slice6 = e.teids.slice(s.Slice).IPv6         // it may have changed
			table, err = s.Compile(e.cfg.Instances)
		}
		if err == nil {
			err = e.hold(holders, table)
		}
		if err == nil {
			err = e.addresses.restore(s.Addresses)
		}
		if err == nil {
			if err = e.teids.restore(s.FTEIDs(), now); err != nil {
				e.addresses.untake(s.Addresses)
			}
		}
		if err != nil {
			r.Dropped++
			e.log.Error("session dropped at start", "seid", uint64(s.SEID), "err", err)
			continue
		}
		owner.sessions.Add(1)
		if err := e.shard(s.SEID).begin(&s, now); err != nil {
			e.log.Error("session not kept", "seid", uint64(s.SEID), "err", err)
		}
		if len(s.Leaving) > 0 {
			e.leaving = append(e.leaving, s.SEID)
		}
		r.Sessions++
		r.Entries += len(table)
	}
	e.addresses.resume(state.resting)
	for _, r := range state.resting {
		e.shards[0].restOver([]session.Address{r.address}, r.released)
	}
	e.replays.Store(newReplays(state.responses, now, e.cfg.ReplayLifetime))
	for seid := range state.responses.at {
		if !e.shard(seid).sessions.has(seid) {
			e.shard(seid).bury(seid, now)
		}
	}
	return r
}

// hold notes the UE addresses of a session. A process that was killed between the record of a session and the data
// path's refusal of it leaves one whose UE address another has: the older one keeps it.
func (e *Edge) hold(holders map[uint64]pfcp.SEID, table session.Table) error {
	for i := range table {
		key := &table[i].Key
		if key.Direction != session.Downlink {
			continue
		}
		h := maphash.Comparable(e.seed, *key)
		if other, ok := holders[h]; ok && e.has(other, *key) {
			return fmt.Errorf("session %#x has UE address %v of its own", uint64(other), key.UE)
		}
		holders[h] = table[i].Origin.SEID
	}
	return nil
}

// has says whether a session compiles to an entry of that key.
func (e *Edge) has(seid pfcp.SEID, key session.Key) bool {
	s, ok := e.shard(seid).sessions.get(seid)
	if !ok {
		return false
	}
	table, err := s.Compile(e.cfg.Instances)
	return err == nil && table.Find(key) != nil
}

// Entries are those that the data path must hold when Run begins, for it to reconcile with.
func (e *Edge) Entries() iter.Seq[session.Entry] {
	return func(yield func(session.Entry) bool) {
		for _, sh := range e.shards {
			for s := range sh.sessions.each {
				table, err := s.Compile(e.cfg.Instances)
				if err != nil { // restore has compiled it
					continue
				}
				for _, entry := range table {
					if !yield(entry) {
						return
					}
				}
			}
		}
	}
}

// Cells yields the usage cells that the data path must hold when Run begins, with their limits.
func (e *Edge) Cells(yield func(session.Cell) bool) {
	for _, sh := range e.shards {
		for s := range sh.sessions.each {
			cells := s.Cells()
			for _, id := range s.LeavingIDs() {
				cells = append(cells, session.Cell{ID: id})
			}
			for _, c := range cells {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Addr is where the edge takes requests.
func (e *Edge) Addr() netip.AddrPort { return e.endpoint.Addr() }

// RecoveryTimeStamp is the generation of the session state that the edge announces.
func (e *Edge) RecoveryTimeStamp() pfcp.RecoveryTimeStamp { return e.recovery }

// Close closes an edge that is not run.
func (e *Edge) Close() error { return e.endpoint.Close() }

// Run serves until ctx ends. The sessions stay as they are.
func (e *Edge) Run(ctx context.Context) error {
	e.endLeaving()
	g, ctx := errgroup.WithContext(ctx)
	for _, sh := range e.shards {
		g.Go(func() error { return sh.run(ctx) })
	}
	g.Go(func() error { return e.keeper.run(ctx) })
	g.Go(func() error { return e.makeRounds(ctx) })
	g.Go(func() error { return e.endpoint.Run(ctx, e.handle) })
	return g.Wait()
}

// shard returns the owner of a SEID.
func (e *Edge) shard(seid pfcp.SEID) *shard {
	return e.shards[maphash.Comparable(e.seed, seid)%uint64(len(e.shards))]
}

// handle is called by the socket's readers, and never waits.
func (e *Edge) handle(r *pfcp.Request) {
	now := time.Now()
	if r.Err != nil { // the endpoint answers
		fault, _ := errors.AsType[*pfcp.Error](r.Err)
		if fault != nil {
			e.stats.answered(r.Header.Type, fault.Cause)
		}
		e.log.Debug("request that does not parse", "peer", r.Peer.String(), "type", r.Header.Type.String(), "err", r.Err)
		return
	}
	e.directory.Load().heard(r.Peer.Addr(), now)
	switch m := r.Message.(type) {
	case *pfcp.HeartbeatRequest:
		e.answer(r, 0, &pfcp.HeartbeatResponse{RecoveryTimeStamp: pfcp.Some(e.recovery)}, pfcp.CauseAccepted)
		if m.RecoveryTimeStamp.Present {
			e.keeper.sawRecovery(r.Peer.Addr(), m.RecoveryTimeStamp.Value)
		}
	case *pfcp.AssociationSetupRequest:
		e.ignored(r, m.Ignored)
		e.keeper.ask(r, func() { e.keeper.setup(r, m) })
	case *pfcp.AssociationUpdateRequest:
		e.ignored(r, m.Ignored)
		e.keeper.ask(r, func() { e.keeper.update(r, m) })
	case *pfcp.SessionSetDeletionRequest:
		e.ignored(r, m.Ignored)
		e.keeper.ask(r, func() { e.keeper.deleteSet(r, m) })
	case *pfcp.PFDManagementRequest:
		e.ignored(r, m.Ignored)
		e.keeper.ask(r, func() { e.keeper.managePFDs(r, m) })
	case *pfcp.AssociationReleaseRequest:
		e.keeper.ask(r, func() { e.keeper.release(r, m) })
	case *pfcp.SessionEstablishmentRequest:
		e.ignored(r, m.Ignored)
		if !e.replay(r, m.FSEID.SEID, now) {
			e.askEstablish(r, m, now)
		}
	case *pfcp.SessionModificationRequest:
		e.ignored(r, m.Ignored)
		if !e.replay(r, 0, now) {
			e.shard(r.Header.SEID).ask(r, now, func(sh *shard) { sh.modify(r, m) })
		}
	case *pfcp.SessionDeletionRequest:
		if !e.replay(r, 0, now) {
			e.shard(r.Header.SEID).ask(r, now, func(sh *shard) { sh.delete(r) })
		}
	default:
		e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseServiceNotSupported})
	}
}

// guard does what a request asks for, and ends there whatever goes wrong in our own code: that one request is
// refused, and everybody else's go on. The session, a value that is replaced last of all, is as it was.
func (e *Edge) guard(r *pfcp.Request, do func()) {
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		n := e.stats.panics.Add(1)
		if few(n) {
			e.log.Error("panic while serving a PFCP request", "panic", fault, "peer", r.Peer.String(),
				"type", r.Header.Type.String(), "count", n, "stack", string(debug.Stack()))
		}
		e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseSystemFailure, Err: fmt.Errorf("panic: %v", fault)})
	}()
	do()
}

// few picks what is logged of things that may come in great numbers: the 1st, 2nd, 4th, 8th and so on.
func few(n uint64) bool { return bits.OnesCount64(n) == 1 }

// protect does what nobody asked for, and ends there whatever goes wrong in our own code.
func (e *Edge) protect(do func()) {
	defer func() {
		if fault := recover(); fault != nil {
			if n := e.stats.panics.Add(1); few(n) {
				e.log.Error("panic at a deadline", "panic", fault, "count", n, "stack", string(debug.Stack()))
			}
		}
	}()
	do()
}

// ignored notes IEs of a request that nothing here reads: unknown ones, or of features that are not announced.
func (e *Edge) ignored(r *pfcp.Request, types pfcp.IETypes) {
	if types.Empty() {
		return
	}
	e.stats.ignored.Add(1)
	e.log.Debug("IEs ignored", "peer", r.Peer.String(), "type", r.Header.Type.String(), "ies", types.String())
}

// answer sends a response and counts its cause.
func (e *Edge) answer(r *pfcp.Request, seid pfcp.SEID, m pfcp.Message, cause pfcp.Cause) {
	e.stats.answered(r.Header.Type, cause)
	if err := r.Respond(seid, m); err != nil {
		e.log.Error("response not sent", "peer", r.Peer.String(), "type", m.Type().String(), "err", err)
	}
}

// refuse sends the response that err asks for. The peer's SEID is 0 when it is not known.
func (e *Edge) refuse(r *pfcp.Request, seid pfcp.SEID, err error) {
	fault := faultOf(err)
	e.stats.answered(r.Header.Type, fault.Cause)
	say := e.log.Debug
	if fault.Cause == pfcp.CauseSystemFailure {
		say = e.log.Error
	}
	say("request refused", "peer", r.Peer.String(), "type", r.Header.Type.String(), "seid", uint64(r.Header.SEID),
		"cause", fault.Cause.String(), "err", err)
	if err := r.Refuse(seid, fault); err != nil {
		e.log.Error("refusal not sent", "peer", r.Peer.String(), "type", r.Header.Type.String(), "err", err)
	}
}

// faultOf is err as what the peer is told.
func faultOf(err error) *pfcp.Error {
	if fault, ok := errors.AsType[*pfcp.Error](err); ok {
		return fault
	}
	return &pfcp.Error{Cause: pfcp.CauseSystemFailure, Err: err}
}

package sxb

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// keeper owns the associations: one goroutine, which alone replaces the directory.
type keeper struct {
	e     *Edge
	inbox chan func()
	next  uint32 // number of the next association

	mu       sync.Mutex
	finished []func()      // what shards have completed: never lost, and no shard waits for it
	wake     chan struct{} // finished is not empty

	asking   map[uint32]bool          // associations that a heartbeat of ours is on its way to
	attempts map[netip.Addr]time.Time // when we last tried to set an association up
	setups   map[string][]func()      // by node: setups that wait until the node's old sessions are gone
	clashed  time.Time                // when the log last had a node id at two addresses
}

// clashRest is how long the log does not say again that a node id comes from two addresses: whoever has it may ask all the time.
const clashRest = time.Minute

// maxAttempts bounds what addresses that ask for sessions without an association can make us remember.
const maxAttempts = 1024

// tick is how often the keeper looks at the clock.
const tick = time.Second

func newKeeper(e *Edge) *keeper {
	return &keeper{
		e: e, inbox: make(chan func(), 1024), next: 1, wake: make(chan struct{}, 1),
		asking: map[uint32]bool{}, attempts: map[netip.Addr]time.Time{}, setups: map[string][]func(){},
	}
}

func (k *keeper) run(ctx context.Context) error {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	k.tick(time.Now())
	for {
		select {
		case f := <-k.inbox:
			f()
		case <-k.wake:
			k.mu.Lock()
			finished := k.finished
			k.finished = nil
			k.mu.Unlock()
			for _, f := range finished {
				f()
			}
		case now := <-clock.C:
			k.tick(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// ask hands a request over; when too many wait it is refused at once.
func (k *keeper) ask(r *pfcp.Request, f func()) {
	select {
	case k.inbox <- func() { k.e.guard(r, f) }:
	default:
		k.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CausePFCPEntityInCongestion})
	}
}

// tell hands over what nobody waits for; when too many wait it is lost, and comes again by itself.
func (k *keeper) tell(f func()) {
	select {
	case k.inbox <- f:
	default:
		k.e.stats.lostEvents.Add(1)
	}
}

// setup answers an Association Setup Request, TS 29.244 6.2.6. Sessions of an association that there was go before the
// answer if the control plane has lost them, unless it asks for them to be retained: another Recovery Time Stamp than
// before says so, and the setting EndAtSetup that there need not be another.
func (k *keeper) setup(r *pfcp.Request, m *pfcp.AssociationSetupRequest) {
	record := associationRecord{node: m.NodeID, addr: r.Peer.Addr(), recovery: m.RecoveryTimeStamp, features: m.CPFunctionFeatures.Value}
	setting, _ := k.e.cfg.setting(record.addr)
	k.associate(record, terms{lost: setting.EndAtSetup, gone: goneOf(m)}, func(retained bool, err error) {
		if err != nil {
			k.e.refuse(r, 0, err)
			return
		}
		k.e.answer(r, 0, &pfcp.AssociationSetupResponse{
			NodeID: k.e.cfg.NodeID, Cause: pfcp.CauseAccepted, RecoveryTimeStamp: k.e.recovery,
			UPFunctionFeatures: pfcp.Some(k.e.cfg.features()), Retained: retained,
		}, pfcp.CauseAccepted)
	})
}

// terms say what becomes of the sessions of an association that is renewed.
type terms struct {
	lost bool                        // the control plane has lost them, whatever its Recovery Time Stamp
	gone func(*session.Session) bool // those that go although it asks for others to be retained; nil: it asks for none
}

// goneOf is which sessions go when a control plane asks for others to be retained; nil: it asks for none.
func goneOf(m *pfcp.AssociationSetupRequest) func(*session.Session) bool {
	if !m.Retain.Present {
		return nil
	}
	return func(s *session.Session) bool {
		return len(m.Retain.Value) > 0 && !slices.ContainsFunc(m.Retain.Value, func(e pfcp.Entity) bool {
			return s.CP.IPv4.IsValid() && e.IPv4 == s.CP.IPv4 || s.CP.IPv6.IsValid() && e.IPv6 == s.CP.IPv6
		})
	}
}

// associate makes or renews an association, and then calls done: at once, or after the sessions of before are gone that do
// not stay by the terms. retained says that the control plane asked for sessions to be retained, and there was an association
// whose sessions could be, TS 29.244 6.2.6.2.2.
func (k *keeper) associate(record associationRecord, t terms, done func(retained bool, err error)) {
	d := k.e.directory.Load()
	setting, allowed := k.e.cfg.setting(record.addr)
	if !allowed {
		done(false, &pfcp.Error{Cause: pfcp.CauseRejected, Err: errors.New("not in control_planes, and others are not allowed")})
		return
	}
	node := nodeKey(record.node)
	if waiting, busy := k.setups[node]; busy {
		if len(waiting) > 16 {
			done(false, &pfcp.Error{Cause: pfcp.CausePFCPEntityInCongestion})
			return
		}
		k.setups[node] = append(waiting, func() { k.associate(record, t, done) })
		return
	}
	old := d.byNode[node]
	switch {
	case old == nil:
		if len(d.byID) >= k.e.cfg.MaxPeers && !k.makeRoom(d) {
			done(false, &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: errors.New("as many associations as max_peers allows")})
			return
		}
		a := newAssociation(k.next, record, setting, time.Now())
		k.next++
		done(false, k.publish(a, "set up"))
	case old.addr != record.addr && old.lost.Load() == 0:
		if now := time.Now(); now.Sub(k.clashed) > clashRest {
			k.clashed = now
			k.e.log.Warn("a control plane has the node id of another, which is not lost", "peer", node, "address", record.addr.String(), "other", old.addr.String())
		}
		k.probe(old)
		done(false, &pfcp.Error{Cause: pfcp.CauseRejected, Err: errors.New("another control plane has this node id")})
	case t.gone != nil:
		if err := k.renew(old, record, setting, "retained"); err != nil {
			done(false, err)
			return
		}
		if old.recovery != record.recovery {
			k.e.forgetReplays(record.addr)
		}
		k.e.removeFrom(old, t.gone, func() { done(true, nil) })
	case t.lost || old.recovery != record.recovery:
		k.e.log.Warn("control plane has lost its sessions: ours go", "peer", node, "sessions", old.sessions.Load(),
			"recovery", uint32(record.recovery), "before", uint32(old.recovery))
		k.setups[node] = []func(){func() { k.associate(record, t, done) }}
		k.dissolve(old, func() {
			waiting := k.setups[node]
			delete(k.setups, node)
			for _, f := range waiting {
				f()
			}
		})
	case old.associationRecord == record && old.setting == setting:
		done(false, nil) // as before
	default: // it has moved
		done(false, k.renew(old, record, setting, "renewed"))
	}
}

// renew has an association be another, with the same sessions.
func (k *keeper) renew(old *association, record associationRecord, setting Peer, how string) error {
	a := *old
	a.associationRecord, a.setting = record, setting
	a.heard.Store(time.Now().UnixNano())
	a.lost.Store(0)
	return k.publish(&a, how)
}

// makeRoom dissolves an association that is lost and has no session: else whoever makes addresses up could keep
// control planes out for good.
func (k *keeper) makeRoom(d *directory) bool {
	for _, a := range d.byID {
		if a.lost.Load() != 0 && a.sessions.Load() == 0 {
			k.e.log.Info("association dropped for another", "peer", a.node.String())
			k.dissolve(a, func() {})
			return true
		}
	}
	return false
}

// publish makes an association durable and known.
func (k *keeper) publish(a *association, how string) error {
	var b journal.Batch
	b.Put(journal.Key{Kind: kindAssociation, ID: uint64(a.id)}, a.encode())
	if err := k.e.journal.Write(&b); err != nil {
		return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: err}
	}
	k.e.directory.Store(k.e.directory.Load().with(a))
	delete(k.attempts, a.addr)
	k.e.log.Info("association", "how", how, "peer", a.node.String(), "address", a.addr.String(), "recovery", uint32(a.recovery))
	return nil
}

// dissolve ends an association and removes its sessions; done is called in the keeper when they are gone. A request
// that a shard takes from now on does not find the association; what it took before, it has done before it removes.
func (k *keeper) dissolve(a *association, done func()) {
	var b journal.Batch
	b.Delete(journal.Key{Kind: kindAssociation, ID: uint64(a.id)})
	if apps := a.pfds.Load(); apps != nil {
		for id := range *apps {
			b.Delete(pfdKey(a.id, id))
		}
	}
	if err := k.e.journal.Write(&b); err != nil {
		k.e.log.Error("association stays in the journal", "peer", a.node.String(), "err", err)
	}
	k.e.directory.Store(k.e.directory.Load().without(a.id))
	delete(k.asking, a.id)
	k.e.forgetReplays(a.addr)
	k.e.removeFrom(a, nil, done)
}

// removeFrom removes those sessions of an association that match, and then has the keeper call done.
func (e *Edge) removeFrom(a *association, match func(*session.Session) bool, done func()) {
	e.workOn(of(a.id, match), (*shard).purge, done)
}

// workOn has the shards do something with the sessions that pick picks, and then has the keeper call done.
func (e *Edge) workOn(pick func(*shard) []pfcp.SEID, do func(*shard, []pfcp.SEID), done func()) {
	left := new(atomic.Int32)
	left.Store(int32(len(e.shards)))
	for _, sh := range e.shards {
		sh.workOn(pick, func(seids []pfcp.SEID) { do(sh, seids) }, func() {
			if left.Add(-1) == 0 {
				e.keeper.finish(done)
			}
		})
	}
}

// inSets matches the sessions of which a set is in sets.
func inSets(sets []pfcp.FQCSID) func(*session.Session) bool {
	return func(s *session.Session) bool {
		return slices.ContainsFunc(s.FQCSIDs, func(own pfcp.FQCSID) bool {
			return slices.ContainsFunc(sets, func(f pfcp.FQCSID) bool {
				return own.Addr == f.Addr && own.MCCMNC == f.MCCMNC &&
					slices.ContainsFunc(own.CSIDs, func(id uint16) bool { return slices.Contains(f.CSIDs, id) })
			})
		})
	}
}

// finish brings what a shard has completed back into the keeper.
func (k *keeper) finish(f func()) {
	k.mu.Lock()
	k.finished = append(k.finished, f)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// release answers an Association Release Request, TS 29.244 6.2.8. Its Node ID may be wrong (pfcpsim sends ours): the
// address tells who asks.
func (k *keeper) release(r *pfcp.Request, m *pfcp.AssociationReleaseRequest) {
	a := k.e.directory.Load().find(m.NodeID, r.Peer.Addr())
	if a == nil {
		k.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation})
		return
	}
	if !sameNode(a.node, m.NodeID) {
		k.e.log.Warn("association release with another node id", "peer", a.node.String(), "node_id", m.NodeID.String())
	}
	k.e.log.Info("association released", "peer", a.node.String(), "sessions", a.sessions.Load())
	k.dissolve(a, func() {
		k.e.answer(r, 0, &pfcp.AssociationReleaseResponse{NodeID: k.e.cfg.NodeID, Cause: pfcp.CauseAccepted}, pfcp.CauseAccepted)
	})
}

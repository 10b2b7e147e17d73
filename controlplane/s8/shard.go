package s8

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

var errTEID = errors.New("no PDN connection with this TEID")

// shard owns the PDN connections of some IMSIs. Everything in it is touched by its own goroutine only; others speak
// to it through inbox.
type shard struct {
	server *Server
	index  int
	inbox  *inbox

	states  map[session.Key]session.State // those that are not idle
	records map[gtpc.TEID]record          // by the TEID-C that we gave out
	peers   map[netip.Addr]int            // how often each SGW stands in states
	refs    map[session.Ref]*gtpc.Request // requests without an answer
	lastRef session.Ref
	next    uint32 // record number that is tried next
}

// record is what is known of a PDN connection that its SGW knows too.
type record struct {
	key  session.Key
	peer netip.Addr // of the SGW, control plane
}

func newShard(s *Server, index int) *shard {
	return &shard{
		server: s, index: index, inbox: newInbox(),
		states:  make(map[session.Key]session.State),
		records: make(map[gtpc.TEID]record),
		peers:   make(map[netip.Addr]int),
		refs:    make(map[session.Ref]*gtpc.Request),
		next:    rand.Uint32(), // so that the TEIDs of the generation before are met rarely
	}
}

func (sh *shard) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sh.inbox.wake:
			for _, in := range sh.inbox.take() {
				sh.guard(in)
			}
		}
	}
}

// guard runs one input. A panic in the core costs the message that caused it, not the node: the core works on
// values, so the state is as it was before.
func (sh *shard) guard(in input) {
	defer func() {
		if p := recover(); p != nil {
			_ = sh.panicked(p)
		}
	}()
	sh.server.stats.waited(time.Since(in.at))
	in.do(sh)
}

func (sh *shard) panicked(p any) error {
	sh.server.stats.panicked()
	sh.server.log.Error("panic in a shard", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	return fmt.Errorf("panic: %v", p)
}

// request turns a request into an event and lets its PDN connection react.
func (sh *shard) request(r *gtpc.Request) {
	key, ok := sh.keyOf(r)
	if !ok {
		sh.server.refuse(r, 0, &gtpc.Error{Cause: gtpc.CauseContextNotFound, Err: errTEID})
		return
	}
	sh.lastRef++
	ref := sh.lastRef
	sh.refs[ref] = r
	defer func() {
		if p := recover(); p != nil {
			err := asError(sh.panicked(p))
			if open := sh.takeRequest(ref); open != nil {
				sh.server.refuse(open, 0, err)
			}
		}
	}()
	sh.step(key, toEvent(r, session.Envelope{Ref: ref, Reply: r.ReplyTEID()}))
}

func (sh *shard) keyOf(r *gtpc.Request) (session.Key, bool) {
	if m, ok := r.Message.(*gtpc.CreateSessionRequest); ok {
		return session.Key{IMSI: m.IMSI, EBI: m.Bearer.EBI}, true
	}
	known, ok := sh.records[r.Header.TEID]
	return known.key, ok
}

// step lets the PDN connection of a key react to an event, and to those that its actions make at once.
func (sh *shard) step(key session.Key, event session.Event) {
	for event != nil {
		state, ok := sh.states[key]
		if !ok {
			state = session.State{Key: key}
		}
		next, actions := session.Step(state, event)
		next.EachPeer(func(peer netip.Addr) { sh.peers[peer]++ })
		state.EachPeer(func(peer netip.Addr) {
			if sh.peers[peer]--; sh.peers[peer] == 0 {
				delete(sh.peers, peer)
			}
		})
		if next.Phase == session.PhaseIdle {
			delete(sh.states, key)
		} else {
			sh.states[key] = next
		}
		event = nil
		for _, a := range actions {
			if e := sh.act(key, a); e != nil {
				event = e // of the last action, the only one that can make one
			}
		}
	}
}

// peerRestarted lets the PDN connections react to the restart of an SGW. One that has none here costs nothing: a peer
// may send restart counters as fast as it likes.
func (sh *shard) peerRestarted(peer netip.Addr) {
	if sh.peers[peer] > 0 {
		sh.broadcast(session.PeerRestarted{Peer: peer})
	}
}

// broadcast lets every PDN connection react to an event.
func (sh *shard) broadcast(event session.Event) {
	keys := make([]session.Key, 0, len(sh.states))
	for key := range sh.states {
		keys = append(keys, key)
	}
	for _, key := range keys {
		sh.step(key, event)
	}
}

// act carries out one action. The event is that of an action which is answered at once; a panic is the failure of
// its action, so that the procedure goes on.
func (sh *shard) act(key session.Key, action session.Action) (event session.Event) {
	defer func() {
		if p := recover(); p != nil {
			event = failed(action, sh.panicked(p))
		}
	}()
	up := sh.server.up
	switch a := action.(type) {
	case session.Admit:
		return sh.admit(a)
	case session.EstablishRules:
		up.Establish(a.Node, a.Request, func(r *pfcp.SessionEstablishmentResponse, err error) {
			sh.later(key, session.RulesInstalled{Established: r}, err)
		})
	case session.ModifyRules:
		up.Modify(a.Node, a.UPSEID, a.Request, func(_ *pfcp.SessionModificationResponse, err error) {
			sh.later(key, session.RulesInstalled{}, err)
		})
	case session.DeleteRules:
		up.Delete(a.Node, a.UPSEID, func(_ *pfcp.SessionDeletionResponse, err error) {
			sh.later(key, session.RulesDeleted{}, err)
		})
	case session.Abandon:
		sh.server.abandoned.add(a)
	case session.Release:
		sh.server.resources.release(a)
	case session.Put:
		sh.put(a.Connection)
	case session.Forget:
		sh.forget(a.Connection)
	case session.DropRequest:
		sh.takeRequest(a.Ref).Drop()
	case session.EndConnection:
		sh.endConnection(a)
	default:
		sh.answer(a)
	}
	return nil
}

// failed is the event of an action that could not be carried out; nil for one that no event answers.
func failed(action session.Action, err error) session.Event {
	switch action.(type) {
	case session.Admit:
		return session.Refused{Err: asError(err)}
	case session.EstablishRules, session.ModifyRules, session.DeleteRules:
		return session.RulesFailed{Err: err}
	}
	return nil
}

// later brings the answer of a PGW-U to the shard.
func (sh *shard) later(key session.Key, done session.Event, err error) {
	if err != nil {
		unsent := errors.Is(err, sxb.ErrNotAssociated) || errors.Is(err, sxb.ErrUnknownNode)
		done = session.RulesFailed{Err: err, Unsent: unsent}
	}
	sh.inbox.put(func(sh *shard) { sh.step(key, done) })
}

func (sh *shard) admit(a session.Admit) session.Event {
	teid, ok := sh.newTEID()
	if !ok {
		return session.Refused{Err: &gtpc.Error{Cause: gtpc.CauseNoResourcesAvailable, Err: errors.New("no free TEID")}}
	}
	grant, err := sh.server.resources.admit(a, time.Now())
	if err != nil {
		return session.Refused{Err: err}
	}
	grant.Local = teid
	generation := sh.server.cfg.GTPC.RestartCounter
	grant.CPSEID = pfcp.SEID(sh.server.cfg.Instance)<<56 | pfcp.SEID(generation)<<32 | pfcp.SEID(teid)
	grant.ChargingID = uint32(generation)<<24 | uint32(teid)&0xffffff
	return grant
}

// newTEID gives out a TEID-C: the instance in the upper octet, below it a record number whose low bits name the
// shard. A number comes again only after all others of the shard.
func (sh *shard) newTEID() (gtpc.TEID, bool) {
	shards := uint32(len(sh.server.shards))
	for range 1 << 24 / shards {
		sh.next++
		number := (sh.next*shards + uint32(sh.index)) & 0xffffff
		teid := gtpc.TEID(uint32(sh.server.cfg.Instance)<<24 | number)
		if _, taken := sh.records[teid]; !taken && teid != 0 {
			return teid, true
		}
	}
	return 0, false
}

func (sh *shard) put(c session.Connection) {
	peer := c.Remote.Addr()
	old, known := sh.records[c.Local]
	if known && old.peer == peer {
		return
	}
	if known {
		sh.server.endpoint.Hold(old.peer, -1)
	} else {
		sh.server.stats.session(c, 1)
	}
	sh.server.endpoint.Hold(peer, 1)
	sh.records[c.Local] = record{key: c.Key, peer: peer}
}

func (sh *shard) forget(c session.Connection) {
	if known, ok := sh.records[c.Local]; ok {
		sh.server.endpoint.Hold(known.peer, -1)
		sh.server.stats.session(c, -1)
		delete(sh.records, c.Local)
	}
}

// endConnection tells the SGW; an SGW that does not answer finds out at its next request.
func (sh *shard) endConnection(a session.EndConnection) {
	peer := netip.AddrPortFrom(a.Connection.Remote.Addr(), gtpc.Port)
	request := &gtpc.DeleteBearerRequest{LinkedEBI: a.Connection.Key.EBI, Cause: gtpc.Some(a.Cause)}
	sh.server.endpoint.Call(peer, a.Connection.Remote.TEID, request, func(_ gtpc.Header, m gtpc.Message, err error) {
		response, _ := m.(*gtpc.DeleteBearerResponse)
		sh.server.stats.ended(response, err)
	})
}

// asError is err as what the peer is told; an error without a cause is our own.
func asError(err error) *gtpc.Error {
	fault := (*gtpc.Error)(nil)
	if errors.As(err, &fault) {
		return fault
	}
	return &gtpc.Error{Cause: gtpc.CauseSystemFailure, Err: fmt.Errorf("handling the request: %w", err)}
}

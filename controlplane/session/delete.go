package session

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/gtpc"
)

// deleteSession starts a Delete Session.
func deleteSession(s State, r DeleteSession) (State, []Action) {
	switch {
	case s.Phase != PhaseActive || s.Connection.Local != r.Local:
		return s, []Action{AnswerRefused{Ref: r.Ref, Err: &gtpc.Error{Cause: gtpc.CauseContextNotFound, Err: errNotFound}}}
	case r.LinkedEBI.Present && r.LinkedEBI.Value != s.Key.EBI:
		return s, []Action{AnswerRefused{Ref: r.Ref, TEID: s.Connection.Remote.TEID, Err: &gtpc.Error{
			Cause: gtpc.CauseMandatoryIEIncorrect, Offending: gtpc.KeyEBI,
			Err: errors.New("not the default bearer of this PDN connection"),
		}}}
	}
	s.pending = r
	return deleteRules(s)
}

// deleteRules ends the connection at its PGW-U; s.pending, if any, has its turn after that.
func deleteRules(s State) (State, []Action) {
	if s.nodeLost || s.Connection.UPSEID == 0 {
		return gone(s, nil)
	}
	s.Phase = PhaseDeleting
	return s, []Action{DeleteRules{Node: s.Connection.Node, UPSEID: s.Connection.UPSEID}}
}

// notDeleted goes on as if the rules were gone, since nobody is helped by a connection that nobody wants. If they
// may still be there the edge keeps trying, and the address stays taken until they are gone.
func notDeleted(s State, err error) (State, []Action) {
	if s.nodeLost || unknownSession(err) {
		return gone(s, nil)
	}
	c := s.Connection
	abandon := Abandon{Node: c.Node, UPSEID: c.UPSEID, Pool: c.Pool, Address: c.Address}
	return finish(s, []Action{Forget{Connection: c}, abandon})
}

// gone ends the connection locally: its rules are no longer anywhere.
func gone(s State, answers []Action) (State, []Action) {
	c := s.Connection
	return finish(s, append([]Action{Forget{Connection: c}, release(c)}, answers...))
}

// finish leaves the connection behind and lets what waited for that go on.
func finish(s State, actions []Action) (State, []Action) {
	c := s.Connection
	s.Phase, s.Connection, s.nodeLost = PhaseIdle, Connection{}, false
	switch r := s.pending.(type) {
	case CreateSession:
		next, more := admit(s, r)
		return next, append(actions, more...)
	case DeleteSession:
		actions = append(actions, AnswerDeleted{Ref: r.Ref, Connection: c})
	}
	return settle(s, actions)
}

// lost says whether one of the ends of an active connection has lost it.
func (s State) lost() bool { return s.nodeLost || s.lostAtPeer() }

func (s State) lostAtPeer() bool {
	return slices.Contains(s.lostPeers, s.Connection.Remote.Addr())
}

// tearDown ends an active connection that one of its ends has lost. An SGW that still has it is told, with the
// cause that makes the UE come again; one that lost it is not.
func tearDown(s State) (State, []Action) {
	switch {
	case !s.nodeLost:
		return deleteRules(s)
	case s.lostAtPeer():
		return gone(s, nil)
	}
	return gone(s, []Action{EndConnection{Connection: s.Connection, Cause: gtpc.CauseReactivationRequested}})
}

// nodeRestarted ends the connection if its PGW-U has lost it (TS 23.007). An answer of the PGW-U that is awaited
// still comes, and settles it.
func nodeRestarted(s State, e NodeRestarted) (State, []Action) {
	if s.Connection.Node != e.Node {
		return s, nil
	}
	s.nodeLost = true
	if s.Phase == PhaseActive {
		return tearDown(s)
	}
	return s, nil
}

// errorIndicated ends a connection whose tunnel its SGW does not know: without its default bearer there is no PDN
// connection (TS 23.007 22). The SGW is told, in case it has the rest of it still; the UE comes again. A tunnel that the
// connection has left meanwhile, or is about to leave, is nobody's any more.
func errorIndicated(s State, e ErrorIndicated) (State, []Action) {
	c := s.Connection
	if s.Phase != PhaseActive || c.Node != e.Node {
		return s, nil
	}
	remote := c.Default().Remote
	same := func(a, b netip.Addr) bool { return a.IsValid() && a == b }
	if uint32(remote.TEID) != uint32(e.Remote.TEID) || !same(remote.IPv4, e.Remote.IPv4) && !same(remote.IPv6, e.Remote.IPv6) {
		return s, nil
	}
	next, actions := deleteRules(s)
	return next, append([]Action{EndConnection{Connection: c, Cause: gtpc.CauseReactivationRequested}}, actions...)
}

// peerRestarted ends the connection if its SGW has lost it (TS 23.007 18). Attempts of the SGW's former life
// that wait have no one to answer to.
func peerRestarted(s State, e PeerRestarted) (State, []Action) {
	concerns := false
	s.EachPeer(func(peer netip.Addr) { concerns = concerns || peer == e.Peer })
	if !concerns {
		return s, nil
	}
	var dropped []Action
	s.waiting = slices.DeleteFunc(slices.Clone(s.waiting), func(r Request) bool {
		c, ok := r.(CreateSession)
		if ok = ok && c.Remote.Addr() == e.Peer; ok {
			dropped = append(dropped, DropRequest{Ref: c.Ref})
		}
		return ok
	})
	if !slices.Contains(s.lostPeers, e.Peer) {
		s.lostPeers = append(slices.Clone(s.lostPeers), e.Peer)
	}
	if s.Phase == PhaseActive { // nothing waits then
		return tearDown(s)
	}
	return s, dropped
}

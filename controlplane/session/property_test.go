package session

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// world plays the edge, the SGWs and the PGW-Us around one State, at random.
type world struct {
	t         *rapid.T
	state     State
	refs      Ref
	open      map[Ref]bool             // requests without an answer
	addresses map[netip.Addr]string    // taken, and what for
	records   map[gtpc.TEID]Connection // written
	rules     map[pfcp.SEID]string     // UP SEID to node
	awaited   Action                   // the action that an event has to answer
	number    uint32
}

func (w *world) step(e Event) {
	next, actions := Step(w.state, e)
	w.state = next
	checkOrder(w.t, actions)
	for _, a := range actions {
		w.act(a)
	}
}

func (w *world) act(a Action) {
	switch a := a.(type) {
	case Admit, EstablishRules, ModifyRules, DeleteRules:
		require.Nil(w.t, w.awaited, "two actions await an event")
		w.awaited = a
	case Release:
		require.Contains(w.t, w.addresses, a.Address, "released twice")
		delete(w.addresses, a.Address)
	case Abandon:
		require.Contains(w.t, w.addresses, a.Address)
		w.addresses[a.Address] = "abandoned"
	case Put:
		require.Contains(w.t, w.rules, a.Connection.UPSEID, "a record before its rules")
		w.records[a.Connection.Local] = a.Connection
	case Forget:
		delete(w.records, a.Connection.Local)
	case AnswerCreated:
		require.Contains(w.t, w.records, a.Connection.Local, "an answer before its record")
		w.answered(a.Ref)
	case AnswerModified:
		w.answered(a.Ref)
	case AnswerDeleted:
		w.answered(a.Ref)
	case AnswerRefused:
		w.answered(a.Ref)
	case DropRequest:
		w.answered(a.Ref)
	case EndConnection:
		require.NotContains(w.t, w.records, a.Connection.Local)
	}
}

func (w *world) answered(r Ref) {
	require.Contains(w.t, w.open, r, "answered twice")
	delete(w.open, r)
}

func (w *world) envelope() Envelope {
	w.refs++
	w.open[w.refs] = true
	return Envelope{Ref: w.refs, Reply: 9}
}

func (w *world) sgw() gtpc.FTEID {
	host := rapid.IntRange(2, 3).Draw(w.t, "sgw")
	w.number++
	return gtpc.FTEID{TEID: gtpc.TEID(w.number), IPv4: netip.MustParseAddr(fmt.Sprintf("10.10.0.%d", host))}
}

// reply answers the awaited action, well or badly.
func (w *world) reply() {
	a := w.awaited
	if a == nil {
		return
	}
	w.awaited = nil
	outcome := rapid.IntRange(0, 3).Draw(w.t, "outcome") // 0 and 1: good
	failure := RulesFailed{Err: errors.New("no answer"), Unsent: rapid.Bool().Draw(w.t, "unsent")}
	if outcome == 3 {
		failure.Err = &pfcp.Error{Cause: pfcp.CauseSessionContextNotFound}
	}
	switch a := a.(type) {
	case Admit:
		if outcome > 1 {
			w.step(Refused{Err: &gtpc.Error{Cause: gtpc.CauseAllDynamicAddressesOccupied}})
			return
		}
		w.number++
		ue := netip.AddrFrom4([4]byte{172, 16, byte(w.number >> 8), byte(w.number)})
		w.addresses[ue] = "used"
		node := rapid.SampledFrom([]string{"pgwu1", "pgwu2"}).Draw(w.t, "node")
		w.step(Admitted{Address: ue, Node: node, Local: gtpc.TEID(w.number), CPSEID: pfcp.SEID(w.number)})
	case EstablishRules:
		if outcome > 1 {
			w.step(failure)
			return
		}
		w.number++
		w.rules[pfcp.SEID(w.number)] = a.Node
		r := &pfcp.SessionEstablishmentResponse{FSEID: pfcp.Some(pfcp.FSEID{SEID: pfcp.SEID(w.number)})}
		if outcome == 0 {
			f := pfcp.FTEID{TEID: 1, IPv4: netip.MustParseAddr("10.30.1.1")}
			r.CreatedPDRs = []pfcp.CreatedPDR{{ID: pdrUplink, FTEID: pfcp.Some(f)}}
		}
		w.step(RulesInstalled{Established: r})
	case ModifyRules:
		if _, there := w.rules[a.UPSEID]; !there {
			outcome = 3
			failure.Err = &pfcp.Error{Cause: pfcp.CauseSessionContextNotFound}
		} else if outcome == 3 {
			delete(w.rules, a.UPSEID)
		}
		if outcome > 1 {
			w.step(failure)
			return
		}
		w.step(RulesInstalled{})
	case DeleteRules:
		if outcome == 2 {
			w.step(failure)
			return
		}
		delete(w.rules, a.UPSEID)
		if outcome == 3 {
			w.step(failure)
			return
		}
		w.step(RulesDeleted{})
	}
}

// TestNothingLeaks: whatever happens in whatever order, every request gets one answer (or is dropped once), and once all is quiet
// exactly the addresses, records and rules of an active connection are taken; of the rest, what was abandoned.
func TestNothingLeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			t: t, state: State{Key: testKey}, open: map[Ref]bool{}, addresses: map[netip.Addr]string{},
			records: map[gtpc.TEID]Connection{}, rules: map[pfcp.SEID]string{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				w.t = t
				kind := gtpc.PDNType(rapid.IntRange(1, 3).Draw(t, "type"))
				w.step(CreateSession{
					Envelope: w.envelope(), Key: testKey, PDNType: kind, Remote: w.sgw(),
					Bearer: gtpc.BearerToCreate{EBI: 5, Remote: w.sgw()},
				})
			},
			"modify": func(t *rapid.T) {
				w.t = t
				e := ModifyBearer{Envelope: w.envelope(), Local: w.state.Connection.Local, Remote: gtpc.Some(w.sgw())}
				e.Bearers = []gtpc.BearerToModify{{EBI: 5, Remote: gtpc.Some(w.sgw())}}
				w.step(e)
			},
			"delete": func(t *rapid.T) {
				w.t = t
				w.step(DeleteSession{Envelope: w.envelope(), Local: w.state.Connection.Local})
			},
			"reply":       func(t *rapid.T) { w.t = t; w.reply() },
			"reply again": func(t *rapid.T) { w.t = t; w.reply() },
			"node restarts": func(t *rapid.T) {
				w.t = t
				node := rapid.SampledFrom([]string{"pgwu1", "pgwu2"}).Draw(t, "node")
				for seid, at := range w.rules {
					if at == node {
						delete(w.rules, seid)
					}
				}
				w.step(NodeRestarted{Node: node})
			},
			"tunnel unknown": func(t *rapid.T) {
				w.t = t
				remote := w.sgw()
				if w.state.Phase == PhaseActive && rapid.Bool().Draw(t, "its own") {
					remote = w.state.Connection.Default().Remote
				}
				w.step(ErrorIndicated{Node: "pgwu1", Remote: pfcp.FTEID{TEID: pfcp.TEID(remote.TEID), IPv4: remote.IPv4}})
			},
			"sgw restarts": func(t *rapid.T) {
				w.t = t
				peer, concerns := w.sgw().Addr(), false
				w.state.EachPeer(func(p netip.Addr) { concerns = concerns || p == peer })
				before := fmt.Sprintf("%#v", w.state)
				w.step(PeerRestarted{Peer: peer})
				if !concerns {
					require.Equal(t, before, fmt.Sprintf("%#v", w.state))
				}
			},
		})
		w.t = t
		for w.awaited != nil {
			w.reply()
		}
		require.Empty(t, w.open, "requests without an answer")
		require.Contains(t, []Phase{PhaseIdle, PhaseActive}, w.state.Phase)

		var abandoned int
		for _, why := range w.addresses {
			if why == "abandoned" {
				abandoned++
			}
		}
		active := 0
		if w.state.Phase == PhaseActive {
			active = 1
			require.Equal(t, w.state.Connection, w.records[w.state.Connection.Local])
		}
		require.Equal(t, active, len(w.records))
		require.Equal(t, active, len(w.addresses)-abandoned, "addresses leaked: %v", w.addresses)
		require.LessOrEqual(t, len(w.rules), active+abandoned, "rules of an abandoned session may stay, no others")
	})
}

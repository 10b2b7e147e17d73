package sxb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// sequence is a random life of an edge: what two control planes ask, right and wrong, restarts of theirs and of ours,
// and a data path that refuses now and then. After every step the data path holds exactly what the sessions compile
// to, and so do slots and journal.
type sequence struct {
	*world
	r     *rand.Rand
	cps   []*controlPlane
	seids [][]uint64 // by control plane: those that it made, live or not
}

func (s *sequence) pick() (*controlPlane, int, uint64) {
	i := s.r.IntN(len(s.cps))
	from := s.seids[s.r.IntN(len(s.cps))] // now and then the other's
	if len(from) == 0 {
		return s.cps[i], i, uint64(s.r.IntN(3))
	}
	return s.cps[i], i, from[s.r.IntN(len(from))]
}

func (s *sequence) address() string {
	return fmt.Sprintf("172.16.1.%d", s.r.IntN(40)) // few, so that they collide
}

// rules are those of a bearer, with something wrong in a third of the cases.
func (s *sequence) rules() []*ie.IE {
	rules := bearer(s.address())
	if s.r.IntN(3) == 0 {
		rules = addressless([]uint8{chooseIPv4, chooseIPv6, chooseIPv4 | chooseIPv6}[s.r.IntN(3)])
	}
	switch s.r.IntN(14) {
	case 12:
		return append(detecting(s.address(), fmt.Sprint("app", s.r.IntN(3))), rules[2:]...)[:8]
	case 13:
		rules[1] = ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(7), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
			ie.NewUEIPAddress(6, s.address(), "", 0, 0)), ie.NewActivatePredefinedRules("dns"), ie.NewActivatePredefinedRules("web"))
		return rules
	case 0:
		return append(rules, ie.NewCreatePDR(ie.NewPDRID(9), ie.NewPrecedence(1),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(5, 0, nil, nil, 0)),
			ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(99)))
	case 1:
		return rules[:2]
	case 2:
		return append(rules, ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(1)))
	case 3:
		return append(rules, ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(uint32(s.r.IntN(200))),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(5, 0, nil, nil, 0)),
			ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1)))
	}
	return rules
}

func (s *sequence) modification() []*ie.IE {
	var all []*ie.IE
	for range 1 + s.r.IntN(2) {
		switch s.r.IntN(10) {
		case 8:
			all = append(all, ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewDeactivatePredefinedRules("web")))
		case 9:
			all = append(all, ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewActivatePredefinedRules("dns")))
		case 0:
			all = append(all, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction([]uint8{1, 2, 0x0c}[s.r.IntN(3)])))
		case 1:
			all = append(all, ie.NewRemovePDR(ie.NewPDRID(uint16(1+s.r.IntN(4)))))
		case 2:
			all = append(all, ie.NewRemoveFAR(ie.NewFARID(uint32(1+s.r.IntN(3)))))
		case 3:
			all = append(all, bearer(s.address())[s.r.IntN(2)])
		case 4:
			all = append(all, ie.NewQueryURR(ie.NewURRID(1)))
		case 5:
			all = append(all, ie.NewUpdateQER(ie.NewQERID(1), ie.NewMBR(uint64(s.r.IntN(3)), 7)))
		case 6:
			all = append(all, ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
				ie.NewUEIPAddress(2, s.address(), "", 0, 0))))
		case 7:
			all = append(all, ie.NewRemoveURR(ie.NewURRID(1)))
		}
	}
	return all
}

func (s *sequence) step() {
	cp, i, seid := s.pick()
	switch s.r.IntN(22) {
	case 20:
		flows := [][]string{nil, {flowDNS}, {flowDNS, flowWeb}, {"deny"}}
		cp.provision(application(fmt.Sprint("app", s.r.IntN(3)), flows[s.r.IntN(len(flows))]...))
	case 21:
		if s.r.IntN(4) == 0 {
			_, _ = cp.ask(message.NewAssociationReleaseRequest(cp.next(), cp.nodeID()))
			cp.setup()
		}
	case 0:
		s.kill()
		s.start()
		require.Empty(s.t, s.restored.Fresh)
		require.Zero(s.t, s.restored.Dropped)
	case 1:
		cp.rts = cp.rts.Add(time.Second)
		cp.setup()
	case 2:
		var puts atomic.Uint32
		s.dp.hook(func(c session.Changes) error {
			if len(c.Puts) > 0 && puts.Add(1)%2 == 1 {
				return errors.New("refused every other time")
			}
			return nil
		})
	case 3, 4:
		s.dp.hook(nil)
	case 5, 6, 7, 8:
		cp.delete(seid)
	case 9, 10, 11, 12, 13:
		cp.modify(seid, s.modification()...)
	default:
		fseid := uint64(cp.seq)
		if s.r.IntN(4) == 0 {
			fseid = 1 + s.r.Uint64N(8) // perhaps in use
		}
		_, m := cp.ask(cp.establishment(cp.next(), fseid, s.rules()...))
		if got := made(s.t, m); got != 0 {
			s.seids[i] = append(s.seids[i], got)
		}
	}
}

func TestRandomLives(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				c.Slices[0].Slots, c.Rest, c.AddressRest = 64, time.Millisecond, time.Millisecond
			}, pooled("172.16.9.0/28", "2001:db8:9::/60"), func(c *Config) {
				c.Predefined = []PredefinedRule{
					{Predefined: session.Predefined{Name: "dns", Filters: filterOf(t, flowDNS), Action: pfcp.Some(session.ActionDrop)}},
					{Predefined: session.Predefined{Name: "web", Filters: filterOf(t, flowWeb), MBR: pfcp.BitRate{Downlink: 9}}},
				}
			})
			s := &sequence{world: w, r: rand.New(rand.NewPCG(seed, 1)), seids: make([][]uint64, 2)}
			for i := range 2 {
				s.cps = append(s.cps, newControlPlane(t, w, fmt.Sprintf("127.77.60.%d", i+1), fmt.Sprintf("cp%d.example", i)))
				s.cps[i].setup()
			}
			for range 250 {
				s.step()
				w.consistent()
			}
			require.Zero(t, w.edge.Stats().Endpoint.Panics)
			require.Greater(t, len(s.seids[0])+len(s.seids[1]), 15, "sessions were made at all")
		})
	}
}

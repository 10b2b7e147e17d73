package sxb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/fteid"
	"github.com/xepc/xepc/userplane/session"
)

// teids are the TEIDs of all slices. The shards share them, so here is a lock; what it guards takes less than a
// microsecond.
type teids struct {
	mu     sync.Mutex
	slices []session.Slice
	of     map[netip.Addr]session.Slice    // by each address
	free   map[netip.Addr]*fteid.Allocator // by name
}

func newTEIDs(slices []Slice, rest time.Duration, now time.Time) (*teids, error) {
	t := &teids{of: map[netip.Addr]session.Slice{}, free: map[netip.Addr]*fteid.Allocator{}}
	for _, s := range slices {
		a, err := fteid.New(s.Slots, rest, rand.Uint32(), now)
		if err != nil {
			return nil, fmt.Errorf("slice %v: %w", s.addresses().Name(), err)
		}
		t.slices = append(t.slices, s.addresses())
		t.of[s.Address], t.of[s.Address6] = s.addresses(), s.addresses()
		t.free[s.addresses().Name()] = a
	}
	delete(t.of, netip.Addr{})
	return t, nil
}

// slice returns the slice that has this address; for one that is no slice's, a slice of nothing else.
func (t *teids) slice(a netip.Addr) session.Slice {
	s, ok := t.of[a]
	switch {
	case ok:
		return s
	case a.Is4():
		return session.Slice{IPv4: a}
	}
	return session.Slice{IPv6: a}
}

// emptiest is the slice that a new session goes to: of those with addresses of the families that it needs, the one
// with most free slots. When no slice has them, the rules that need them will be refused, whichever it is.
func (t *teids) emptiest(needs session.Families) netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	best, most := netip.Addr{}, -1
	for _, s := range t.slices {
		if needs.IPv4 && !s.IPv4.IsValid() || needs.IPv6 && !s.IPv6.IsValid() {
			continue
		}
		if n := t.free[s.Name()].Counts().Free; n > most {
			best, most = s.Name(), n
		}
	}
	if most < 0 {
		return t.slices[0].Name()
	}
	return best
}

func (t *teids) release(all []session.FTEID, now time.Time) {
	if len(all) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range all {
		if a, ok := t.free[f.Local]; ok {
			a.Release(f.TEID, now)
		}
	}
}

// restore claims the F-TEIDs of a session that the journal brought.
func (t *teids) restore(all []session.FTEID, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, f := range all {
		a, ok := t.free[f.Local]
		err := fmt.Errorf("%v is no slice of this node any more", f.Local)
		if ok {
			err = a.Claim(f.TEID, now)
		}
		if err != nil {
			for _, g := range all[:i] {
				t.free[g.Local].Untake(g.TEID)
			}
			return fmt.Errorf("F-TEID %#x at %v: %w", uint32(f.TEID), f.Local, err)
		}
	}
	return nil
}

// SlotInfo counts the TEID slots of a slice.
type SlotInfo struct {
	Slice   netip.Addr `json:"slice"`
	Free    int        `json:"free"`
	Live    int        `json:"live"`
	Resting int        `json:"resting"`
}

func (t *teids) info() []SlotInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []SlotInfo
	for _, s := range t.slices {
		c := t.free[s.Name()].Counts()
		all = append(all, SlotInfo{Slice: s.Name(), Free: c.Free, Live: c.Live, Resting: c.Resting})
	}
	return all
}

// lease is what one request takes; undo gives it back when the request is refused.
type lease struct {
	t        *teids
	a        *addresses
	of       *association
	rules    []PredefinedRule
	slice    netip.Addr // where Choose allocates
	mayClaim bool       // restoration, or a peer that may choose F-TEIDs
	now      time.Time
	held     []session.FTEID // of the session that the request replaces
	taken    []session.FTEID
	owned    []session.Address // of the session that the request replaces
	got      []session.Address
}

// Pool finds the pool of UE addresses of a network instance.
func (l *lease) Pool(instance pfcp.NetworkInstance, identity string, ipv6 bool) (string, error) {
	return l.a.pool(instance, identity, ipv6)
}

// Take allocates a UE address.
func (l *lease) Take(pool string, ipv6 bool) (netip.Prefix, error) {
	ue, err := l.a.take(pool, ipv6, l.now)
	if err == nil {
		l.got = append(l.got, session.Address{Pool: pool, UE: ue})
	}
	return ue, err
}

// Hold takes a UE address of a pool that the control plane brings.
func (l *lease) Hold(instance pfcp.NetworkInstance, ue netip.Prefix) (string, error) {
	if at := slices.IndexFunc(l.owned, func(a session.Address) bool { return a.UE == ue }); at >= 0 {
		return l.owned[at].Pool, nil
	}
	pool, err := l.a.hold(instance, ue)
	if err == nil && pool != "" {
		l.got = append(l.got, session.Address{Pool: pool, UE: ue})
	}
	return pool, err
}

// Slice returns the slice that has this address.
func (l *lease) Slice(a netip.Addr) session.Slice { return l.t.slice(a) }

// Choose allocates an F-TEID of the session's slice.
func (l *lease) Choose() (session.FTEID, error) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	teid, err := l.t.free[l.slice].Take(l.now)
	if err != nil {
		return session.FTEID{}, &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Offending: pfcp.IEFTEID, Err: fmt.Errorf("slice %v: %w", l.slice, err),
		}
	}
	f := session.FTEID{Local: l.slice, TEID: teid}
	l.taken = append(l.taken, f)
	return f, nil
}

// Claim takes an explicit F-TEID.
func (l *lease) Claim(f session.FTEID) error {
	if slices.Contains(l.held, f) {
		return nil
	}
	refuse := func(cause pfcp.Cause, err error) error {
		return &pfcp.Error{
			Cause: cause, Offending: pfcp.IEFTEID, Err: fmt.Errorf("F-TEID %#x at %v: %w", uint32(f.TEID), f.Local, err),
		}
	}
	if !l.mayClaim {
		return refuse(pfcp.CauseInvalidFTEIDAllocation, errors.New("the UP function chooses (TS 29.244 5.5.1)"))
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	a, ok := l.t.free[f.Local]
	if !ok {
		return refuse(pfcp.CauseInvalidFTEIDAllocation, errors.New("the address is no slice of this node"))
	}
	switch err := a.Claim(f.TEID, l.now); {
	case errors.Is(err, fteid.ErrNoSlot):
		return refuse(pfcp.CauseNoResourcesAvailable, err)
	case err != nil:
		return refuse(pfcp.CauseRuleCreationFailure, err)
	}
	l.taken = append(l.taken, f)
	return nil
}

// undo gives back what a refused request took.
func (l *lease) undo() {
	l.a.untake(l.got)
	l.got = nil
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	for _, f := range l.taken {
		l.t.free[f.Local].Untake(f.TEID)
	}
	l.taken = nil
}

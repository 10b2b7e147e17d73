package sxb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/uepool"
)

// AddressPool is a pool of UE addresses that the UP function gives out, TS 29.244 5.21.
type AddressPool struct {
	Name     string               // the UE IP address Pool Identity
	Instance pfcp.NetworkInstance // in lower case
	IPv4     netip.Prefix         // zero: none
	IPv6     netip.Prefix         // zero: none; /64s of it are given out
}

// addresses are the pools. The shards share them, so here is a lock; what it guards takes less than a microsecond.
type addresses struct {
	instances session.Instances
	pools     []AddressPool

	mu   sync.Mutex
	free map[poolOf]*uepool.Pool
}

type poolOf struct {
	name string
	ipv6 bool
}

func newAddresses(pools []AddressPool, instances session.Instances, rest time.Duration) (*addresses, error) {
	a := &addresses{instances: instances, pools: pools, free: map[poolOf]*uepool.Pool{}}
	for _, p := range pools {
		for _, family := range []struct {
			prefix netip.Prefix
			length int
		}{{p.IPv4, 32}, {p.IPv6, 64}} {
			if !family.prefix.IsValid() {
				continue
			}
			pool, err := uepool.New(family.prefix, family.length, rest)
			if err != nil {
				return nil, fmt.Errorf("UE address pool %q: %w", p.Name, err)
			}
			a.free[poolOf{p.Name, family.length == 64}] = pool
		}
	}
	return a, nil
}

// pool finds the pool of a network instance: that of this name, or the first that has the family and a free address.
func (a *addresses) pool(instance pfcp.NetworkInstance, identity string, ipv6 bool) (string, error) {
	instance, ok := a.instances.Resolve(instance)
	a.mu.Lock()
	defer a.mu.Unlock()
	full := ""
	for _, p := range a.pools {
		pool := a.free[poolOf{p.Name, ipv6}]
		if !ok || p.Instance != instance || pool == nil || identity != "" && p.Name != identity {
			continue
		}
		if pool.Counts().Free > 0 || identity != "" {
			return p.Name, nil
		}
		full = p.Name
	}
	if full == "" {
		return "", &pfcp.Error{
			Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IEUEIPAddress,
			Err: fmt.Errorf("no pool %q of UE addresses (IPv6 %t) of network instance %q", identity, ipv6, instance),
		}
	}
	return full, nil
}

func (a *addresses) take(pool string, ipv6 bool, now time.Time) (netip.Prefix, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ue, err := a.free[poolOf{pool, ipv6}].Take(now)
	if err != nil {
		return ue, &pfcp.Error{
			Cause: pfcp.CauseAllDynamicAddressesTaken, Offending: pfcp.IEUEIPAddress, Err: fmt.Errorf("pool %q: %w", pool, err),
		}
	}
	return ue, nil
}

// hold takes an address that a control plane brings, if it is of a pool.
func (a *addresses) hold(instance pfcp.NetworkInstance, ue netip.Prefix) (string, error) {
	instance, _ = a.instances.Resolve(instance)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pools {
		pool := a.free[poolOf{p.Name, ue.Addr().Is6()}]
		if p.Instance != instance || pool == nil || !pool.Contains(ue) {
			continue
		}
		if err := pool.Claim(ue); err != nil {
			return "", &pfcp.Error{
				Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IEUEIPAddress, Err: fmt.Errorf("%v: %w", ue, err),
			}
		}
		return p.Name, nil
	}
	return "", nil
}

// each does something with each of some addresses.
func (a *addresses) each(all []session.Address, do func(*uepool.Pool, netip.Prefix)) {
	if len(all) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range all {
		if pool := a.free[poolOf{one.Pool, one.UE.Addr().Is6()}]; pool != nil {
			do(pool, one.UE)
		}
	}
}

func (a *addresses) release(all []session.Address, now time.Time) {
	a.each(all, func(p *uepool.Pool, ue netip.Prefix) { p.Release(ue, now) })
}

func (a *addresses) untake(all []session.Address) {
	a.each(all, func(p *uepool.Pool, ue netip.Prefix) { p.Untake(ue) })
}

// restore claims the addresses of a session that the journal brought. Those of a pool that is not configured any more
// are the session's as long as it lives.
func (a *addresses) restore(all []session.Address) (err error) {
	var claimed []session.Address
	for _, one := range all {
		a.each([]session.Address{one}, func(p *uepool.Pool, ue netip.Prefix) {
			if fault := p.Claim(ue); fault == nil {
				claimed = append(claimed, one)
			} else if !errors.Is(fault, uepool.ErrForeign) && err == nil {
				err = fmt.Errorf("UE address %v of pool %q: %w", ue, one.Pool, fault)
			}
		})
	}
	if err != nil {
		a.untake(claimed)
	}
	return err
}

// resume makes those rest that were released before the start.
func (a *addresses) resume(all []restRecord) {
	slices.SortFunc(all, func(a, b restRecord) int { return a.released.Compare(b.released) })
	for _, r := range all {
		a.each([]session.Address{r.address}, func(p *uepool.Pool, ue netip.Prefix) { p.Resume(ue, r.released) })
	}
}

// PoolInfo counts the addresses of a pool.
type PoolInfo struct {
	Pool    string `json:"pool"`
	Family  string `json:"family"` // ipv4, ipv6
	Free    int    `json:"free"`
	Live    int    `json:"live"`
	Resting int    `json:"resting"`
}

func (a *addresses) info() (all []PoolInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pools {
		for _, ipv6 := range []bool{false, true} {
			pool, family := a.free[poolOf{p.Name, ipv6}], "ipv4"
			if ipv6 {
				family = "ipv6"
			}
			if pool != nil {
				c := pool.Counts()
				all = append(all, PoolInfo{Pool: p.Name, Family: family, Free: c.Free, Live: c.Live, Resting: c.Resting})
			}
		}
	}
	return all
}

// gone are the addresses that old has and next has not; nil is a session that is not there.
func gone(old, next *session.Session) (all []session.Address) {
	if old == nil {
		return nil
	}
	for _, a := range old.Addresses {
		if next == nil || !slices.Contains(next.Addresses, a) {
			all = append(all, a)
		}
	}
	return all
}

// restRecord is an address that rests: for the next process.
type restRecord struct {
	address  session.Address
	released time.Time
}

func restKey(a session.Address) journal.Key {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.Pool))
	_, _ = h.Write(a.UE.Addr().AsSlice())
	return journal.Key{Kind: kindResting, ID: h.Sum64()}
}

func (r restRecord) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.released.UnixNano()))
	b = append(b, uint8(r.address.UE.Bits()))
	b = appendField(b, r.address.UE.Addr().AsSlice())
	return appendField(b, []byte(r.address.Pool))
}

func parseRest(b []byte) (r restRecord, err error) {
	if len(b) < 9 {
		return r, errRecord
	}
	r.released = time.Unix(0, int64(binary.BigEndian.Uint64(b)))
	bits := int(b[8])
	addr, b, err := takeField(b[9:])
	if err != nil {
		return r, err
	}
	pool, _, err := takeField(b)
	if err != nil {
		return r, err
	}
	a, _ := netip.AddrFromSlice(addr)
	r.address = session.Address{Pool: string(pool), UE: netip.PrefixFrom(a, bits)}
	if !r.address.UE.IsValid() {
		return r, errRecord
	}
	return r, nil
}

// putRest notes in a batch that addresses rest from now on. They are forgotten there when they have rested.
func putRest(b *journal.Batch, all []session.Address, now time.Time) {
	for _, a := range all {
		b.Put(restKey(a), restRecord{a, now}.encode())
	}
}

// restOver remembers to forget that.
func (sh *shard) restOver(all []session.Address, now time.Time) {
	for _, a := range all {
		sh.rests = append(sh.rests, grave{restKey(a), now})
	}
}

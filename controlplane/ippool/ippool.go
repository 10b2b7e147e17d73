// Package ippool owns which UE addresses are given out. A pool is cut into chunks, each of them the prefix of one
// PGW-U, so that the routes to its UEs aggregate. The package knows no sessions, no clock and no network: the
// caller says for whom, and when. It is not safe for concurrent use.
package ippool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Errors of allocation.
var (
	ErrUnknownPool = errors.New("unknown address pool")
	ErrExhausted   = errors.New("no free address")
	ErrNotStatic   = errors.New("address is in no static range of the pool")
	ErrInUse       = errors.New("address is in use")
)

// Pool is what a pool is made of.
type Pool struct {
	Name   string
	Chunks []Chunk
}

// Chunk is a prefix of UE addresses that one PGW-U serves.
type Chunk struct {
	Prefix netip.Prefix // IPv4, at most 2^20 addresses
	Node   string       // name of the PGW-U
	Static bool         // addresses are given out only when asked for by name
}

const leastBits = 12 // of a chunk's prefix length

// Pools gives out addresses. A dynamic address that is released rests before it is given out again, so that late
// packets for its former holder do not reach the next; the one that was released first comes first. A static
// address does not rest, since it always goes to the same UE.
type Pools struct {
	rest  time.Duration
	pools map[string][]*chunk
	order []string
}

// chunk holds offsets into its prefix. An offset is in exactly one of three states: fresh (at or above next), used,
// or resting.
type chunk struct {
	Chunk
	first, end uint32    // offsets that may be given out: [first, end)
	next       uint32    // the lowest offset that was never given out; static chunks leave it at first
	used       []uint64  // bit set by offset
	count      int       // of bits in used
	resting    []resting // by time of release, the oldest first
}

type resting struct {
	offset uint32
	since  time.Time
}

// New checks the pools and returns them with every address free. rest is how long a released address rests. All
// faults are listed.
func New(pools []Pool, rest time.Duration) (*Pools, error) {
	p := &Pools{rest: rest, pools: make(map[string][]*chunk)}
	var faults []error
	for _, pool := range pools {
		if _, twice := p.pools[pool.Name]; twice {
			faults = append(faults, fmt.Errorf("pool %q: defined twice", pool.Name))
			continue
		}
		p.order = append(p.order, pool.Name)
		p.pools[pool.Name] = nil
		for i, c := range pool.Chunks {
			if err := c.check(pool.Chunks[:i]); err != nil {
				faults = append(faults, fmt.Errorf("pool %q: chunk %v: %w", pool.Name, c.Prefix, err))
				continue
			}
			p.pools[pool.Name] = append(p.pools[pool.Name], newChunk(c))
		}
	}
	return p, errors.Join(faults...)
}

// check finds what is wrong with a chunk that comes after others of its pool.
func (c Chunk) check(others []Chunk) error {
	switch {
	case !c.Prefix.IsValid() || !c.Prefix.Addr().Is4():
		return errors.New("not an IPv4 prefix")
	case c.Prefix != c.Prefix.Masked():
		return fmt.Errorf("has bits set after its length; did you mean %v", c.Prefix.Masked())
	case c.Prefix.Bits() < leastBits:
		return fmt.Errorf("larger than a /%d", leastBits)
	case c.Node == "":
		return errors.New("without a node")
	}
	for _, o := range others {
		if o.Prefix.IsValid() && o.Prefix.Overlaps(c.Prefix) {
			return fmt.Errorf("overlaps %v", o.Prefix)
		}
	}
	return nil
}

func newChunk(c Chunk) *chunk {
	size := uint32(1) << (32 - c.Prefix.Bits())
	k := &chunk{Chunk: c, end: size, used: make([]uint64, (size+63)/64)}
	if size > 2 { // some UEs take the first and the last address for the network's and for broadcast
		k.first, k.end = 1, size-1
	}
	k.next = k.first
	return k
}

// Allocate gives out a dynamic address of a pool from the chunks of one node: one that was never used, else the
// one that rested longest.
func (p *Pools) Allocate(pool, node string, now time.Time) (netip.Addr, error) {
	chunks, ok := p.pools[pool]
	if !ok {
		return netip.Addr{}, fmt.Errorf("%w: %q", ErrUnknownPool, pool)
	}
	var oldest *chunk
	for _, c := range chunks {
		if c.Static || c.Node != node {
			continue
		}
		if c.next < c.end {
			c.next++
			c.take(c.next - 1)
			return c.addr(c.next - 1), nil
		}
		if c.rested(p.rest, now) > 0 && (oldest == nil || c.resting[0].since.Before(oldest.resting[0].since)) {
			oldest = c
		}
	}
	if oldest == nil {
		return netip.Addr{}, fmt.Errorf("%w in pool %q at node %q", ErrExhausted, pool, node)
	}
	offset := oldest.resting[0].offset
	oldest.resting = oldest.resting[1:]
	oldest.take(offset)
	return oldest.addr(offset), nil
}

// StaticNode names the node that serves a static address: ErrNotStatic when no static range has it.
func (p *Pools) StaticNode(pool string, addr netip.Addr) (string, error) {
	c, _, err := p.static(pool, addr)
	if err != nil {
		return "", err
	}
	return c.Node, nil
}

// AllocateStatic gives out exactly addr, from a static range of the pool.
func (p *Pools) AllocateStatic(pool string, addr netip.Addr) error {
	c, offset, err := p.static(pool, addr)
	if err != nil {
		return err
	}
	if c.isUsed(offset) {
		return fmt.Errorf("%w: %v", ErrInUse, addr)
	}
	c.take(offset)
	return nil
}

func (p *Pools) static(pool string, addr netip.Addr) (*chunk, uint32, error) {
	if _, ok := p.pools[pool]; !ok {
		return nil, 0, fmt.Errorf("%w: %q", ErrUnknownPool, pool)
	}
	c, offset := p.find(pool, addr)
	if c == nil || !c.Static || offset < c.first || offset >= c.end {
		return nil, 0, fmt.Errorf("%w: %v, pool %q", ErrNotStatic, addr, pool)
	}
	return c, offset, nil
}

// Release gives an address back. One that is not in use is an error: releasing twice would give it to two UEs.
func (p *Pools) Release(pool string, addr netip.Addr, now time.Time) error {
	c, offset := p.find(pool, addr)
	if c == nil || !c.isUsed(offset) {
		return fmt.Errorf("address %v of pool %q is not in use", addr, pool)
	}
	c.used[offset/64] &^= 1 << (offset % 64)
	c.count--
	if !c.Static {
		if n := len(c.resting); n > 0 && now.Before(c.resting[n-1].since) {
			now = c.resting[n-1].since // the order is what the search relies on
		}
		c.resting = append(c.resting, resting{offset: offset, since: now})
	}
	return nil
}

// Free is how many dynamic addresses of a pool a node could give out now.
func (p *Pools) Free(pool, node string, now time.Time) int {
	n := 0
	for _, c := range p.pools[pool] {
		if !c.Static && c.Node == node {
			n += int(c.end-c.next) + c.rested(p.rest, now)
		}
	}
	return n
}

// Nodes lists the nodes that have dynamic chunks of a pool, in the order of the configuration.
func (p *Pools) Nodes(pool string) []string {
	var nodes []string
	for _, c := range p.pools[pool] {
		if !c.Static && !slices.Contains(nodes, c.Node) {
			nodes = append(nodes, c.Node)
		}
	}
	return nodes
}

// Usage is how full a chunk is.
type Usage struct {
	Pool    string
	Prefix  netip.Prefix
	Node    string
	Static  bool
	Size    int // addresses that can be given out
	Used    int
	Resting int // released, and not to be given out yet
}

// Usage lists every chunk, in the order of the configuration.
func (p *Pools) Usage(now time.Time) []Usage {
	var all []Usage
	for _, name := range p.order {
		for _, c := range p.pools[name] {
			all = append(all, Usage{
				Pool: name, Prefix: c.Prefix, Node: c.Node, Static: c.Static,
				Size: int(c.end - c.first), Used: c.count, Resting: len(c.resting) - c.rested(p.rest, now),
			})
		}
	}
	return all
}

func (p *Pools) find(pool string, addr netip.Addr) (*chunk, uint32) {
	for _, c := range p.pools[pool] {
		if c.Prefix.Contains(addr) {
			return c, number(addr) - number(c.Prefix.Addr())
		}
	}
	return nil, 0
}

// rested counts the addresses whose rest is over.
func (c *chunk) rested(rest time.Duration, now time.Time) int {
	n, _ := slices.BinarySearchFunc(c.resting, now.Add(-rest), func(r resting, until time.Time) int {
		if r.since.After(until) {
			return 1
		}
		return -1
	})
	return n
}

func (c *chunk) take(offset uint32) {
	c.used[offset/64] |= 1 << (offset % 64)
	c.count++
}

func (c *chunk) isUsed(offset uint32) bool { return c.used[offset/64]&(1<<(offset%64)) != 0 }

func (c *chunk) addr(offset uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(c.Prefix.Addr())+offset)
	return netip.AddrFrom4(b)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

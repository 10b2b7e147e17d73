package pfcp

import (
	"container/list"
	"hash/fnv"
	"net/netip"
	"time"
)

// cachedResponse is a request that was handed over, and its answer once there is one. It is plain data, so that
// it can be kept over a restart.
type cachedResponse struct {
	Peer     netip.AddrPort
	Sequence Sequence
	Request  uint64 // FNV-1a of the request's octets
	Response []byte // nil while the request is in progress
	Expires  time.Time
}

// responseCache is what tells the duplicate of a request from a new one, TS 29.244 6.4: by peer and sequence
// number. The same number with other octets is a new request: a peer that restarts begins its numbers again.
//
// It is bounded twice. When it holds max responses, the oldest of the peer that has most gives way; when it knows
// maxPeers, the peer that has fewest. So a flood, from one address or from many, costs the flooders.
type responseCache struct {
	max, maxPeers int
	lifetime      time.Duration
	peers         map[netip.AddrPort]*peerResponses
	entries       int
	evicted       uint64
}

// peerResponses are the responses of one peer: in order holds *cachedResponse, the oldest first.
type peerResponses struct {
	order      *list.List
	bySequence map[Sequence]*list.Element
}

func newResponseCache(maxEntries, maxPeers int, lifetime time.Duration) *responseCache {
	return &responseCache{
		max: maxEntries, maxPeers: maxPeers, lifetime: lifetime, peers: make(map[netip.AddrPort]*peerResponses),
	}
}

// begin looks the request b up. It returns its entry, and whether the entry is new, so that the request is to be
// handed over.
func (c *responseCache) begin(now time.Time, peer netip.AddrPort, seq Sequence, b []byte) (_ *cachedResponse, isNew bool) {
	hash := fnv.New64a()
	hash.Write(b)
	request := hash.Sum64()

	if p, ok := c.peers[peer]; ok {
		c.expire(now, peer, p)
	}
	if p, ok := c.peers[peer]; ok {
		if at, ok := p.bySequence[seq]; ok {
			if entry := at.Value.(*cachedResponse); entry.Request == request {
				return entry, false
			}
			c.remove(peer, p, at)
		}
	}
	c.makeRoom(now, peer)
	p, ok := c.peers[peer]
	if !ok {
		p = &peerResponses{order: list.New(), bySequence: make(map[Sequence]*list.Element)}
		c.peers[peer] = p
	}
	entry := &cachedResponse{Peer: peer, Sequence: seq, Request: request, Expires: now.Add(c.lifetime)}
	p.bySequence[seq] = p.order.PushBack(entry)
	c.entries++
	return entry, true
}

// makeRoom evicts what the bounds ask for before one more entry of peer.
func (c *responseCache) makeRoom(now time.Time, peer netip.AddrPort) {
	_, known := c.peers[peer]
	if c.entries < c.max && (known || len(c.peers) < c.maxPeers) {
		return
	}
	c.sweep(now)
	if _, known = c.peers[peer]; !known && len(c.peers) >= c.maxPeers {
		fewest, p := c.extreme(func(n, than int) bool { return n < than })
		for p.order.Len() > 0 {
			c.evict(fewest, p)
		}
	}
	if c.entries >= c.max {
		c.evict(c.extreme(func(n, than int) bool { return n > than }))
	}
}

// extreme returns the peer whose number of entries beats those of all others.
func (c *responseCache) extreme(beats func(n, than int) bool) (peer netip.AddrPort, _ *peerResponses) {
	var found *peerResponses
	for addr, p := range c.peers {
		if found == nil || beats(p.order.Len(), found.order.Len()) {
			peer, found = addr, p
		}
	}
	return peer, found
}

// evict drops the oldest entry of a peer before its time.
func (c *responseCache) evict(peer netip.AddrPort, p *peerResponses) {
	c.remove(peer, p, p.order.Front())
	c.evicted++
}

// sweep drops all entries whose time is over.
func (c *responseCache) sweep(now time.Time) {
	for peer, p := range c.peers {
		c.expire(now, peer, p)
	}
}

// expire drops the entries of one peer whose time is over.
func (c *responseCache) expire(now time.Time, peer netip.AddrPort, p *peerResponses) {
	for at := p.order.Front(); at != nil && !now.Before(at.Value.(*cachedResponse).Expires); at = p.order.Front() {
		c.remove(peer, p, at)
	}
}

// remove drops one entry, and its peer with the last one.
func (c *responseCache) remove(peer netip.AddrPort, p *peerResponses, at *list.Element) {
	delete(p.bySequence, at.Value.(*cachedResponse).Sequence)
	p.order.Remove(at)
	c.entries--
	if p.order.Len() == 0 {
		delete(c.peers, peer)
	}
}

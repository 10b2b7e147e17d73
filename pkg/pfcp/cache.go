package pfcp

import (
	"net/netip"
	"time"
)

// cachedResponse is a request that was handed over, and its answer once there is one.
type cachedResponse struct {
	sequence Sequence
	request  uint64        // hash of the request's octets
	response []byte        // nil while the request is in progress
	expires  time.Duration // since the cache began
}

// responseCache is what tells the duplicate of a request from a new one, TS 29.244 6.4: by peer and sequence
// number. The same number with other octets is a new request: a peer that restarts begins its numbers again.
//
// It is bounded twice. When it holds max responses, the oldest of the peer that has most gives way; when it knows
// maxPeers, the peer that has fewest. So a flood, from one address or from many, costs the flooders.
type responseCache struct {
	max, maxPeers int
	lifetime      time.Duration
	began         time.Time
	peers         map[netip.AddrPort]*peerResponses
	entries       int
	evicted       uint64
}

// peerResponses are the responses of one peer, the oldest first: those of the queue from head on. They stand in one
// piece of memory, and the index has no pointers, since at 25,000 requests a second there are some hundred thousand
// of them for the garbage collector to walk.
type peerResponses struct {
	queue      []cachedResponse
	head       int
	popped     int              // entries that went, ever
	bySequence map[Sequence]int // the how manieth entry it is, ever
}

// cacheKey finds the entry of a request again.
type cacheKey struct {
	peer     netip.AddrPort
	sequence Sequence
	request  uint64
}

func newResponseCache(maxEntries, maxPeers int, lifetime time.Duration) *responseCache {
	return &responseCache{
		max: maxEntries, maxPeers: maxPeers, lifetime: lifetime, began: time.Now(),
		peers: make(map[netip.AddrPort]*peerResponses),
	}
}

// begin looks a request up, by the hash of its octets. It returns the response if there is one yet, and whether the
// request is new, so that it is to be handed over.
func (c *responseCache) begin(at time.Time, key cacheKey) (response []byte, isNew bool) {
	now := at.Sub(c.began)
	p := c.peers[key.peer]
	if p != nil {
		c.expire(now, key.peer, p)
		if entry := p.find(key.sequence); entry != nil {
			if entry.request == key.request && now < entry.expires {
				return entry.response, false
			}
			// It takes the old one's place, and may keep those behind it a little longer than they need.
			*entry = cachedResponse{sequence: key.sequence, request: key.request, expires: now + c.lifetime}
			return nil, true
		}
	}
	c.makeRoom(now, key.peer)
	if p = c.peers[key.peer]; p == nil {
		p = &peerResponses{bySequence: make(map[Sequence]int)}
		c.peers[key.peer] = p
	}
	p.push(cachedResponse{sequence: key.sequence, request: key.request, expires: now + c.lifetime})
	c.entries++
	return nil, true
}

// answer keeps the response of a request, unless the request gave way.
func (c *responseCache) answer(key cacheKey, response []byte) {
	if p := c.peers[key.peer]; p != nil {
		if entry := p.find(key.sequence); entry != nil && entry.request == key.request {
			entry.response = response
		}
	}
}

// makeRoom evicts what the bounds ask for before one more entry of peer.
func (c *responseCache) makeRoom(now time.Duration, peer netip.AddrPort) {
	_, known := c.peers[peer]
	if c.entries < c.max && (known || len(c.peers) < c.maxPeers) {
		return
	}
	c.sweep(now)
	if _, known = c.peers[peer]; !known && len(c.peers) >= c.maxPeers {
		fewest, p := c.extreme(func(n, than int) bool { return n < than })
		for p.len() > 0 {
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
		if found == nil || beats(p.len(), found.len()) {
			peer, found = addr, p
		}
	}
	return peer, found
}

// evict drops the oldest entry of a peer before its time.
func (c *responseCache) evict(peer netip.AddrPort, p *peerResponses) {
	c.remove(peer, p)
	c.evicted++
}

// sweepAt drops all entries whose time is over.
func (c *responseCache) sweepAt(at time.Time) { c.sweep(at.Sub(c.began)) }

func (c *responseCache) sweep(now time.Duration) {
	for peer, p := range c.peers {
		c.expire(now, peer, p)
	}
}

// expire drops the entries of one peer whose time is over.
func (c *responseCache) expire(now time.Duration, peer netip.AddrPort, p *peerResponses) {
	for p.len() > 0 && now >= p.queue[p.head].expires {
		c.remove(peer, p)
	}
}

// remove drops the oldest entry of a peer, and the peer with the last one.
func (c *responseCache) remove(peer netip.AddrPort, p *peerResponses) {
	p.pop()
	c.entries--
	if p.len() == 0 {
		delete(c.peers, peer)
	}
}

func (p *peerResponses) len() int { return len(p.queue) - p.head }

// find returns the entry of a sequence number; nil when there is none.
func (p *peerResponses) find(s Sequence) *cachedResponse {
	number, ok := p.bySequence[s]
	if !ok {
		return nil
	}
	return &p.queue[p.head+number-p.popped]
}

func (p *peerResponses) push(entry cachedResponse) {
	p.bySequence[entry.sequence] = p.popped + p.len()
	if len(p.queue) == cap(p.queue) && p.head > len(p.queue)/2 {
		n := copy(p.queue, p.queue[p.head:])
		clear(p.queue[n:])
		p.queue, p.head = p.queue[:n], 0
	}
	p.queue = append(p.queue, entry)
}

// pop drops the oldest entry.
func (p *peerResponses) pop() {
	oldest := &p.queue[p.head]
	delete(p.bySequence, oldest.sequence)
	*oldest = cachedResponse{}
	p.head++
	p.popped++
}

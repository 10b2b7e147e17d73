package gtpc

import (
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Errors that a Call ends with.
var (
	ErrTimeout             = errors.New("no answer")                     // after N3 retransmissions
	ErrClosed              = errors.New("endpoint closed")               // Run has ended
	ErrBusy                = errors.New("too many calls pending")        // MaxPending
	ErrVersionNotSupported = errors.New("peer does not support GTPv2-C") // TS 29.274 7.1.3
	errAnswered            = errors.New("request was answered before")
)

// transactions is the reliability layer of TS 29.274 7.6, without a socket and without a clock: the caller passes
// octets and the time, and sends what it returns. It is not safe for concurrent use.
type transactions struct {
	t3         time.Duration
	n3         int
	lifetime   time.Duration // how long a request is remembered
	maxServed  int           // requests remembered, of all peers
	maxPerPeer int           // requests remembered, of one address
	maxPeers   int           // addresses that have requests remembered
	maxPending int

	seed    maphash.Seed
	peers   map[netip.Addr]*servedPeer
	served  int
	pending map[Sequence]*call
	next    Sequence
	evicted uint64
}

// maxSequence is the last sequence number of a request of ours: the highest bit marks what a command triggered,
// TS 29.274 7.6.
const maxSequence = 0x7fffff

// servedKey tells one request of a peer from another. The port belongs to it: each is a sequence space of its
// own, TS 29.274 7.6. So does what the request says: a retransmission repeats its octets (7.6), while a peer that
// restarted may use a sequence number again at once.
type servedKey struct {
	port     uint16
	sequence Sequence
	kind     MessageType
	teid     TEID
	digest   uint64 // of the IEs
}

type servedPeer struct {
	requests map[servedKey]*served
	order    []servedKey // by arrival, the oldest first
	open     int         // of requests, those without an answer
}

// served is a request that arrived: answer is nil while the node works on it.
type served struct {
	arrived time.Time
	answer  []byte
}

// call is a request of ours that waits for its answer.
type call struct {
	peer     netip.AddrPort
	kind     MessageType // of the response
	octets   []byte
	deadline time.Time
	left     int // retransmissions
	done     func(Header, Message, error)
}

// verdict is what becomes of a request that arrived.
type verdict int

const (
	deliver    verdict = iota // it is new
	resend                    // answered before: the same octets again
	inProgress                // the node works on it
	overload                  // there is no room to remember it
)

func newTransactions(cfg EndpointConfig) *transactions {
	return &transactions{
		t3: cfg.T3, n3: cfg.N3, lifetime: cfg.ResponseLifetime,
		maxServed: cfg.MaxCached, maxPerPeer: cfg.MaxCachedPerPeer, maxPeers: cfg.MaxPeers, maxPending: cfg.MaxPending,
		seed:    maphash.MakeSeed(),
		peers:   make(map[netip.Addr]*servedPeer),
		pending: make(map[Sequence]*call),
		next:    Sequence(rand.Uint32() & maxSequence), // peers may remember those of our life before
	}
}

// key is what tells a request from others. It needs no lock.
func (t *transactions) key(from netip.AddrPort, h Header, ies []byte) servedKey {
	return servedKey{
		port: from.Port(), sequence: h.Sequence, kind: h.Type, teid: h.TEID, digest: maphash.Bytes(t.seed, ies),
	}
}

// arrive registers a request and says what to do with it; with resend the octets are the answer.
func (t *transactions) arrive(from netip.Addr, key servedKey, now time.Time) (verdict, []byte) {
	p := t.peers[from]
	if p != nil {
		t.expire(p, now)
		if s := p.requests[key]; s != nil {
			if s.answer == nil {
				return inProgress, nil
			}
			return resend, s.answer
		}
	} else {
		if len(t.peers) >= t.maxPeers {
			t.sweep(now)
		}
		if len(t.peers) >= t.maxPeers && !t.evictPeer() {
			return overload, nil
		}
		p = &servedPeer{requests: make(map[servedKey]*served)}
		t.peers[from] = p
	}
	if (t.served >= t.maxServed || len(p.requests) >= t.maxPerPeer) && !t.evict(p) {
		return overload, nil
	}
	p.requests[key] = &served{arrived: now}
	p.open++
	p.order = append(p.order, key)
	t.served++
	return deliver, nil
}

// answer keeps the answer to a request for its duplicates. A request that is no longer remembered is answered
// without; one that has its answer already is an error.
func (t *transactions) answer(to netip.Addr, key servedKey, octets []byte) error {
	p := t.peers[to]
	if p == nil {
		return nil
	}
	s := p.requests[key]
	switch {
	case s == nil:
		return nil
	case s.answer != nil:
		return errAnswered
	}
	s.answer = octets
	p.open--
	return nil
}

// drop forgets a request that was not acted on, so that its retransmission is taken for a new one.
func (t *transactions) drop(from netip.Addr, key servedKey) {
	p := t.peers[from]
	if p == nil || p.requests[key] == nil || p.requests[key].answer != nil {
		return
	}
	delete(p.requests, key)
	p.open--
	for i := len(p.order) - 1; i >= 0; i-- { // the one that came last, as a rule
		if p.order[i] == key {
			p.order = slices.Delete(p.order, i, i+1)
			break
		}
	}
	t.served--
}

// expire forgets the requests of a peer whose time is over.
func (t *transactions) expire(p *servedPeer, now time.Time) {
	for len(p.order) > 0 && now.Sub(p.requests[p.order[0]].arrived) >= t.lifetime {
		t.forgetOldest(p)
	}
}

// evict forgets a peer's oldest request to make room, if it has been answered: one in progress must stay, else
// its duplicate would be acted on twice.
func (t *transactions) evict(p *servedPeer) bool {
	if len(p.order) == 0 || p.requests[p.order[0]].answer == nil {
		return false
	}
	t.forgetOldest(p)
	t.evicted++
	return true
}

// evictPeer forgets a peer to make room for another: one that has all its answers, and the one with the fewest of those
// looked at, since whoever fills the table from many forged addresses sends little from each.
func (t *transactions) evictPeer() bool {
	const most = 16
	var victim netip.Addr
	looked, fewest := 0, 0
	for addr, p := range t.peers {
		if p.open == 0 && (looked == 0 || len(p.order) < fewest) {
			victim, fewest = addr, len(p.order)
		}
		if p.open == 0 {
			if looked++; looked == most {
				break
			}
		}
	}
	if looked == 0 {
		return false
	}
	delete(t.peers, victim)
	t.served -= fewest
	t.evicted += uint64(fewest)
	return true
}

func (t *transactions) forgetOldest(p *servedPeer) {
	if p.requests[p.order[0]].answer == nil {
		p.open--
	}
	delete(p.requests, p.order[0])
	p.order = p.order[1:]
	t.served--
}

// sweep forgets what is over at every peer, and the peers that have nothing left.
func (t *transactions) sweep(now time.Time) {
	for addr, p := range t.peers {
		if t.expire(p, now); len(p.order) == 0 {
			delete(t.peers, addr)
		}
	}
}

// call gives a request of ours its sequence number and registers it. encode makes the octets, which are to be
// sent once more by the caller now.
func (t *transactions) call(peer netip.AddrPort, kind MessageType, now time.Time,
	encode func(Sequence) ([]byte, error), done func(Header, Message, error),
) ([]byte, error) {
	if len(t.pending) >= t.maxPending {
		return nil, ErrBusy
	}
	for {
		t.next = (t.next + 1) & maxSequence
		if t.pending[t.next] == nil {
			break
		}
	}
	octets, err := encode(t.next)
	if err != nil {
		return nil, err
	}
	t.pending[t.next] = &call{
		peer: peer, kind: kind.response(), octets: octets,
		deadline: now.Add(t.t3), left: t.n3, done: done,
	}
	return octets, nil
}

// response takes the call that a response from an address ends, nil when nobody waits for it. Only the address
// counts, not the port: peers behind load balancers answer from another one.
func (t *transactions) response(from netip.AddrPort, h Header) *call {
	c := t.pending[h.Sequence]
	if c == nil || c.peer.Addr() != from.Addr() || (c.kind != h.Type && h.Type != TypeVersionNotSupportedIndication) {
		return nil
	}
	delete(t.pending, h.Sequence)
	return c
}

// tick returns the calls that are to be sent again, and those that failed, which it forgets.
func (t *transactions) tick(now time.Time) (again, failed []*call) {
	for sequence, c := range t.pending {
		switch {
		case now.Before(c.deadline):
		case c.left == 0:
			delete(t.pending, sequence)
			failed = append(failed, c)
		default:
			c.left--
			c.deadline = now.Add(t.t3)
			again = append(again, c)
		}
	}
	return again, failed
}

// close takes all calls that still wait.
func (t *transactions) close() []*call {
	failed := make([]*call, 0, len(t.pending))
	for sequence, c := range t.pending {
		delete(t.pending, sequence)
		failed = append(failed, c)
	}
	return failed
}

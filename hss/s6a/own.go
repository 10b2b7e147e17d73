package s6a

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// What we chose for requests of our own.
const (
	tellersAtOnce = 64
	maxQueue      = 4096 // to be sent now; beyond, the poll finds them
	pollEvery     = 500 * time.Millisecond
	leaseFor      = 15 * time.Second // longer than a peer may take to answer
	firstRetry    = time.Second      // doubles with each try
	maxRetry      = 5 * time.Minute
)

// Peers are the ways to the nodes: *diameter.Node.
type Peers interface {
	Send(ctx context.Context, o diameter.Outgoing) (diameter.Message, error)
	Reaches(host, realm, via string) bool
}

// waiting is a request that is kept and can be sent.
type waiting struct{ host, name string }

// Run tells the nodes what they have yet to be told until ctx ends.
func (s *Server) Run(ctx context.Context, peers Peers) error {
	group := new(errgroup.Group)
	for range tellersAtOnce {
		group.Go(func() error {
			for {
				select {
				case w := <-s.queue:
					s.tell(ctx, peers, w)
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	group.Go(func() error {
		tick := time.NewTicker(s.poll)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.watchForLoss(ctx)
				if err := s.collect(ctx, peers); err != nil && ctx.Err() == nil {
					s.log.Debug("looking for requests to be sent", "err", err)
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	return group.Wait()
}

// Tell keeps what the serving nodes are to be told of a change, and sends it as soon as they can be reached, by this
// instance or another. Doing it twice tells nobody twice.
func (s *Server) Tell(ctx context.Context, c subscriber.Change) error {
	for _, r := range c.Requests(subscriber.Rules{Cancels: mustGo, Differ: differ}) {
		if err := s.keep(ctx, r, c.At); err != nil {
			return err
		}
	}
	return nil
}

// mustGo says that the SIM may no longer be where it is registered.
func mustGo(sub subscriber.Subscriber, r subscriber.Registration) bool {
	return sub.Profile.MayStay(r) != nil
}

// keep keeps one request, of a change at that time, and hands it to the tellers.
func (s *Server) keep(ctx context.Context, r subscriber.Request, of time.Time) error {
	p := store.NewPending(r, s.now())
	p.Of = of.UTC()
	if err := s.store.Intend(ctx, s.now().Add(s.lease), p); err != nil {
		return err
	}
	kept, err := s.store.Keep(ctx, p)
	if err != nil || !kept {
		return err
	}
	s.hurry(p)
	return nil
}

// hurry hands requests that are kept and leased to the tellers. It never waits: what finds no room is found again when
// its lease ends.
func (s *Server) hurry(pending ...store.Pending) {
	for _, p := range pending {
		select {
		case s.queue <- waiting{host: p.Host, name: p.Name()}:
		default:
		}
	}
}

// Reset sends an RSR to every node that has ever served a SIM: registrations were lost, of all SIMs or of those meant by
// scope, TS 29.272 5.2.4.1 and TS 23.007 5.
func (s *Server) Reset(ctx context.Context, scope subscriber.Scope) (int, error) {
	nodes, err := s.store.Nodes(ctx)
	if err != nil {
		return 0, err
	}
	at := s.now()
	for _, n := range nodes {
		if err := s.keep(ctx, subscriber.Request{Kind: subscriber.Reset, Host: n.Host, Realm: n.Realm, Scope: scope}, at); err != nil {
			return 0, err
		}
	}
	return len(nodes), nil
}

// collect claims what is due for the nodes that can be reached from here, and drops what nobody could tell for too long.
func (s *Server) collect(ctx context.Context, peers Peers) error {
	hosts, err := s.store.DueHosts(ctx)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		n, err := s.node(ctx, host)
		if err != nil {
			return err
		}
		now := s.now()
		if !peers.Reaches(host, n.Realm, n.Via) {
			now = now.Add(-s.cfg.GiveUpAfter) // only what is that old; tell gives it up
		}
		names, err := s.store.Claim(ctx, host, now, s.now().Add(s.lease))
		if err != nil {
			return err
		}
		for _, name := range names {
			select {
			case s.queue <- waiting{host, name}:
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// tell sends one claimed request, and forgets it when it is answered, has become pointless, or is too old.
func (s *Server) tell(ctx context.Context, peers Peers, w waiting) {
	defer func() {
		if p := recover(); p != nil { // the request stays and is tried again when its lease ends
			s.log.Error("telling a node panicked", "host", w.host, "panic", p)
		}
	}()
	p, ok, err := s.store.Take(w.name)
	switch {
	case err != nil:
		s.log.Debug("reading a request to be sent", "host", w.host, "err", err)
		return // found again when its lease ends
	case !ok:
		s.finish(ctx, w, p, "")
		return
	}
	command := strings.ToUpper(string(p.Kind))
	if s.now().Sub(p.At) > s.cfg.GiveUpAfter {
		s.log.Warn("a node could not be told: given up", "command", command, "host", p.Host, "since", p.At, "tries", p.Tries)
		s.finish(ctx, w, p, resultGivenUp)
		return
	}
	o, err := s.content(ctx, p)
	if errors.Is(err, errPointless) {
		s.finish(ctx, w, p, resultPointless)
		return
	}
	if err == nil {
		_, err = peers.Send(ctx, o)
	}
	s.told(ctx, w, p, err)
}

// told decides by the answer: done, or once more later.
func (s *Server) told(ctx context.Context, w waiting, p store.Pending, err error) {
	command := strings.ToUpper(string(p.Kind))
	var answered *diameter.Error
	switch {
	case err == nil:
		s.finish(ctx, w, p, resultDone)
	case errors.As(err, &answered) && answered.Vendor != 0 && answered.Code == uint32(subscriber.UserUnknown):
		s.finish(ctx, w, p, resultDone) // the node does not have the SIM: what we wanted, or nothing to be told
	case errors.As(err, &answered) && answered.Code/1000 == 5:
		s.log.Warn("a node refuses what it is told", "command", command, "host", p.Host, "err", err)
		s.finish(ctx, w, p, resultRefused)
	default:
		s.log.Debug("a node could not be told", "command", command, "host", p.Host, "tries", p.Tries, "err", err)
		s.requests.WithLabelValues(command, resultRetry).Inc()
		wait := min(maxRetry, firstRetry<<min(p.Tries-1, 16))
		if errors.Is(err, diameter.ErrNotConnected) || ctx.Err() != nil {
			wait = 0 // another instance may reach it, or we when it connects
		}
		if err := s.store.Postpone(ctx, w.host, w.name, s.now().Add(wait)); err != nil {
			s.log.Debug("postponing a request", "host", w.host, "err", err)
		}
	}
}

// finish forgets a request; p is zero when there was none of that name.
func (s *Server) finish(ctx context.Context, w waiting, p store.Pending, result string) {
	if err := s.store.Finish(ctx, w.host, w.name, p.SessionID, s.now().Add(s.lease)); err != nil {
		s.log.Debug("forgetting a request that is answered", "host", w.host, "err", err)
	}
	if result != "" {
		s.requests.WithLabelValues(strings.ToUpper(string(p.Kind)), result).Inc()
	}
}

// errPointless is the error of a request that has nothing to say any more.
var errPointless = errors.New("the node does not serve the SIM, or there is nothing left to tell")

// Commands and flags of requests of our own, TS 29.272 7.2.
const (
	clrFlagS6a      uint32 = 1 << 0 // CLR-Flags, 7.3.152: the registration over S6a is meant
	clrFlagReattach uint32 = 1 << 1 // the device is asked to attach again at once
	dsrFlagAPNs     uint32 = 1 << 3 // DSR-Flags, 7.3.25: PDN subscription contexts withdrawal
	dsrFlagTrace    uint32 = 1 << 8 // trace data withdrawal, with the Trace-Reference
	dsrFlagPDPs     uint32 = 1 << 6 // PDP contexts withdrawal, for an SGSN that was given those
	modifiedAdded   uint32 = 1      // All-APN-Configurations-Included-Indicator, 7.3.33
)

// content makes the message of a request, from what the SIM is now.
func (s *Server) content(ctx context.Context, p store.Pending) (diameter.Outgoing, error) {
	n, err := s.node(ctx, p.Host)
	if err != nil {
		return diameter.Outgoing{}, err
	}
	o := diameter.Outgoing{
		Host: p.Host, Realm: p.Realm, Via: n.Via, Application: ApplicationID,
		SessionID: p.SessionID, EndToEnd: p.EndToEnd, Retransmitted: p.Tries > 1, Tries: p.Tries - 1,
	}
	if p.IMSI != "" {
		o.AVPs = append(o.AVPs, diameter.UserName.Text(string(p.IMSI)))
	}
	switch p.Kind {
	case subscriber.Cancel:
		o.Command = commandCLR
		o.AVPs = append(o.AVPs, cancellationType.Unsigned(uint32(p.Cancellation)))
		var flags uint32
		if p.Side == subscriber.MME {
			flags |= clrFlagS6a
		}
		if p.Reattach {
			flags |= clrFlagReattach
		}
		o.AVPs = append(o.AVPs, numberAVP(clrFlags, flags)...)
		return o, nil
	case subscriber.Reset:
		o.Command = commandRSR
		for _, beginning := range p.Scope.IMSIs {
			o.AVPs = append(o.AVPs, userID.Text(beginning))
		}
		o.AVPs = append(o.AVPs, resetIDs(p.Scope.ResetIDs)...)
		return o, nil
	case subscriber.Insert, subscriber.Delete:
	}
	sub, _, err := s.store.Get(ctx, p.IMSI)
	if errors.Is(err, store.ErrUnknown) {
		return o, errPointless
	}
	if err != nil {
		return o, err
	}
	r, ok := sub.Sides()[p.Side]
	if !ok || !strings.EqualFold(r.Host, p.Host) {
		return o, errPointless
	}
	v := view{Profile: sub.Profile, node: r, side: p.Side}
	if p.Kind == subscriber.Insert {
		gateways, err := s.store.Gateways(ctx, p.IMSI)
		if err != nil {
			return o, err
		}
		v.gateways = gateways
		data := changedParts(v, p.Parts)
		if len(data) == 0 { // withdrawn meanwhile, for which there is a DSR
			return o, errPointless
		}
		o.Command = commandIDR
		o.AVPs = append(o.AVPs, data...)
		return o, nil
	}
	o.Command = commandDSR
	return withdrawal(o, v, p.Request)
}

// withdrawal completes a DSR with what is still withdrawn: parts by DSR-Flags, APNs by their context identifiers.
func withdrawal(o diameter.Outgoing, v view, r subscriber.Request) (diameter.Outgoing, error) {
	flags := withdrawals(v, r.Parts)
	var contexts []diameter.AVP
	for _, id := range r.Contexts {
		if int(id) > len(v.APNs) {
			contexts = append(contexts, contextIdentifier.Unsigned(id))
		}
	}
	if len(contexts) > 0 {
		flags |= dsrFlagAPNs
		if r.Side == subscriber.SGSN {
			flags |= dsrFlagPDPs
		}
	}
	if flags == 0 {
		return o, errPointless
	}
	o.AVPs = append(append(o.AVPs, dsrFlags.Unsigned(flags)), contexts...)
	if flags&dsrFlagTrace != 0 && r.Trace != nil {
		o.AVPs = append(o.AVPs, traceReferenceOf(*r.Trace))
	}
	return o, nil
}

// maxNodes bounds what an instance remembers of nodes; beyond, it asks Redis again.
const maxNodes = 10_000

// saw remembers which node has sent a request about a SIM that it serves, or is to serve, and through whom. What others say of
// themselves is not kept: an agent could fill Redis with names.
func (s *Server) saw(ctx context.Context, req diameter.Request) {
	n := store.Node{Host: req.Text(diameter.OriginHost), Realm: req.Text(diameter.OriginRealm), Via: req.From.Host}
	host := strings.ToLower(n.Host)
	s.mu.Lock()
	known := s.nodes[host] == n
	s.mu.Unlock()
	if known {
		return
	}
	if err := s.store.SawNode(ctx, n); err != nil {
		s.log.Debug("remembering a node", "host", n.Host, "err", err)
		return
	}
	s.remember(host, n)
}

func (s *Server) remember(host string, n store.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nodes) >= maxNodes {
		clear(s.nodes)
	}
	s.nodes[host] = n
}

// node returns what is known of a node; the way to it may be known to another instance only.
func (s *Server) node(ctx context.Context, host string) (store.Node, error) {
	n, err := s.store.Node(ctx, host)
	if err != nil {
		return n, fmt.Errorf("looking for the way to %s: %w", host, err)
	}
	return n, nil
}

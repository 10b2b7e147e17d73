package sxb

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/pkg/pfcp"
)

// maxMail bounds the requests of peers that wait for the loop; beyond it they are refused as congestion.
const maxMail = 1024

// Sxb is the PGW-C's end of the Sxb reference point.
type Sxb struct {
	cfg      Config
	log      *slog.Logger
	events   func(Event)
	endpoint *pfcp.Endpoint

	nodes     []*node // in configured order; owned by the loop
	byAddress map[netip.Addr]*node
	wake      chan struct{}

	mu           sync.Mutex
	mail         []func(now time.Time) // for the loop
	status       []NodeStatus
	unknownPeers uint64
}

// NodeStatus is a node as people and selection see it.
type NodeStatus struct {
	Name              string
	Address           netip.AddrPort
	NodeID            pfcp.NodeID // zero before the first association
	State             State
	Reason            string // why it is down
	Features          pfcp.UPFunctionFeatures
	RecoveryTimeStamp pfcp.Opt[pfcp.RecoveryTimeStamp]
	Releasing         bool      // it wants the association released: no new sessions
	LastHeartbeat     time.Time // when it last gave a sign of life; zero: never
}

// Stats are the counters of the transport and of the edge.
type Stats struct {
	pfcp.Stats
	UnknownPeers uint64 // association requests from addresses that are not configured: refused
}

// New opens the socket. events is called from the edge's goroutine, in order, and must not block. log and events
// may be nil. An Sxb that is not run must be closed.
func New(cfg Config, log *slog.Logger, events func(Event)) (*Sxb, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sxb: %w", err)
	}
	if cfg.NodeID == (pfcp.NodeID{}) {
		cfg.NodeID.Addr = cfg.Listen.Addr().Unmap()
	}
	if events == nil {
		events = func(Event) {}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	transport := pfcp.DefaultEndpointConfig()
	transport.Listen, transport.NodeID, transport.RecoveryTimeStamp = cfg.Listen, cfg.NodeID, cfg.RecoveryTimeStamp
	transport.T1, transport.N1, transport.Log = cfg.T1, cfg.N1, log
	endpoint, err := pfcp.Listen(transport)
	if err != nil {
		return nil, fmt.Errorf("sxb: %w", err)
	}
	s := &Sxb{
		cfg: cfg, log: log, events: events, endpoint: endpoint,
		byAddress: make(map[netip.Addr]*node), wake: make(chan struct{}, 1),
	}
	for _, c := range cfg.Nodes {
		n := &node{cfg: c, timing: cfg}
		s.nodes = append(s.nodes, n)
		s.byAddress[c.Address.Addr().Unmap()] = n
	}
	s.publish()
	return s, nil
}

// Close closes an Sxb that is not run.
func (s *Sxb) Close() error { return s.endpoint.Close() }

// Addr is the local address.
func (s *Sxb) Addr() netip.AddrPort { return s.endpoint.Addr() }

// Nodes returns the nodes in configured order.
func (s *Sxb) Nodes() []NodeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]NodeStatus(nil), s.status...)
}

// Stats returns a copy of the counters.
func (s *Sxb) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Stats: s.endpoint.Stats(), UnknownPeers: s.unknownPeers}
}

// node returns the status of one node.
func (s *Sxb) node(name string) (NodeStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.status {
		if s.status[i].Name == name {
			return s.status[i], true
		}
	}
	return NodeStatus{}, false
}

// Run keeps the associations until ctx ends, then releases them.
func (s *Sxb) Run(ctx context.Context) error {
	endpointCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	g, loopCtx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.endpoint.Run(endpointCtx, s.handle) })
	g.Go(func() error {
		defer stop()
		s.loop(loopCtx)
		s.release()
		return nil
	})
	return g.Wait()
}

// loop owns the nodes.
func (s *Sxb) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Reset(s.turn(time.Now()))
	}
}

// turn takes the mail, sends what is due, and returns how long there is nothing to do.
func (s *Sxb) turn(now time.Time) time.Duration {
	s.mu.Lock()
	mail := s.mail
	s.mail = nil
	s.mu.Unlock()
	for _, f := range mail {
		f(now)
	}
	wait := s.cfg.HeartbeatInterval
	for _, n := range s.nodes {
		switch n.tick(now) {
		case askNothing:
			if !n.asking {
				wait = min(wait, n.due.Sub(now))
			}
			if n.releasing() {
				wait = min(wait, n.releaseBy.Sub(now))
			}
		case askRelease:
			s.sendRelease(n)
		case askSetup:
			s.sendSetup(n)
		case askHeartbeat:
			s.sendHeartbeat(n)
		}
	}
	s.publish()
	return max(wait, 0)
}

// post has the loop call f.
func (s *Sxb) post(f func(now time.Time)) {
	s.mu.Lock()
	s.mail = append(s.mail, f)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it will wake already
	}
}

// publish shows the nodes' state to others.
func (s *Sxb) publish() {
	status := make([]NodeStatus, 0, len(s.nodes))
	for _, n := range s.nodes {
		status = append(status, NodeStatus{
			Name: n.cfg.Name, Address: n.cfg.Address, NodeID: n.nodeID, State: n.state, Reason: n.reason,
			Features: n.features, RecoveryTimeStamp: n.recovery, Releasing: n.releasing(), LastHeartbeat: n.heard,
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// tell publishes first, so that whoever hears of a node that is up can use it.
func (s *Sxb) tell(events []Event) {
	if len(events) == 0 {
		return
	}
	s.publish()
	for _, e := range events {
		switch e := e.(type) {
		case NodeUp:
			s.log.Info("user plane node is up", "node", e.Node)
		case NodeDown:
			s.log.Warn("user plane node is down", "node", e.Node, "reason", e.Reason)
		case NodeRestarted:
			s.log.Warn("user plane node has lost its sessions", "node", e.Node)
		}
		s.events(e)
	}
}

func (s *Sxb) sendSetup(n *node) {
	m := &pfcp.AssociationSetupRequest{
		NodeID: s.cfg.NodeID, RecoveryTimeStamp: s.cfg.RecoveryTimeStamp, CPFunctionFeatures: pfcp.Some(uint8(0)),
	}
	s.endpoint.Call(n.cfg.Address, 0, m, func(_ pfcp.Header, m pfcp.Message, err error) {
		response, _ := m.(*pfcp.AssociationSetupResponse)
		if response != nil {
			err = refusal(response.Cause, pfcp.Opt[uint16]{}, pfcp.Opt[pfcp.FailedRuleID]{})
		}
		s.post(func(now time.Time) {
			if err != nil && n.state != StateDown {
				s.log.Warn("user plane node cannot be associated", "node", n.cfg.Name, "peer", n.cfg.Address.String(), "err", err)
			}
			s.tell(n.setupAnswered(now, response, err))
		})
	})
}

func (s *Sxb) sendHeartbeat(n *node) {
	m := &pfcp.HeartbeatRequest{RecoveryTimeStamp: pfcp.Some(s.cfg.RecoveryTimeStamp)}
	s.endpoint.Call(n.cfg.Address, 0, m, func(_ pfcp.Header, m pfcp.Message, err error) {
		response, _ := m.(*pfcp.HeartbeatResponse)
		s.post(func(now time.Time) { s.tell(n.heartbeatAnswered(now, response, err)) })
	})
}

// sendRelease releases the association of a node that has asked for it.
func (s *Sxb) sendRelease(n *node) {
	s.log.Info("association is released, as the node asked for", "node", n.cfg.Name)
	s.endpoint.Call(n.cfg.Address, 0, &pfcp.AssociationReleaseRequest{NodeID: s.cfg.NodeID}, func(pfcp.Header, pfcp.Message, error) {
		s.post(func(now time.Time) { s.tell(n.releaseAnswered(now)) })
	})
}

// associationUnknown takes a node's word that it has no association with us.
func (s *Sxb) associationUnknown(name string) {
	s.post(func(now time.Time) {
		for _, n := range s.nodes {
			if n.cfg.Name == name {
				s.tell(n.unknown(now))
			}
		}
	})
}

// release releases the associations whose nodes answer, TS 29.244 6.2.8.
func (s *Sxb) release() {
	if !s.cfg.ReleaseOnStop {
		return
	}
	answered, waiting := make(chan struct{}, len(s.nodes)), 0
	for _, n := range s.nodes {
		if n.state != StateAssociated {
			continue
		}
		waiting++
		m := &pfcp.AssociationReleaseRequest{NodeID: s.cfg.NodeID}
		s.endpoint.Call(n.cfg.Address, 0, m, func(pfcp.Header, pfcp.Message, error) { answered <- struct{}{} })
	}
	timeout := time.NewTimer(s.cfg.ReleaseTimeout)
	defer timeout.Stop()
	for ; waiting > 0; waiting-- {
		select {
		case <-answered:
		case <-timeout.C:
			s.log.Warn("user plane nodes did not answer the association release", "count", waiting)
			return
		}
	}
}

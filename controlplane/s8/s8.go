// Package s8 owns the S8 edge of the PGW-C: it turns GTPv2-C requests (TS 29.274) into the session core's events,
// carries out the core's actions, and turns its answers into GTPv2-C responses. PDN connections are spread over
// shards by IMSI, each owned by one goroutine. It decides nothing about sessions, and speaks no PFCP itself.
package s8

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/controlplane/ippool"
	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

// UserPlane is what the edge needs of the PGW-Us: sxb.Sxb, or a fake in tests. done is called exactly once, from
// anywhere.
type UserPlane interface {
	Nodes() []sxb.NodeStatus
	Establish(node string, req *pfcp.SessionEstablishmentRequest, done func(*pfcp.SessionEstablishmentResponse, error))
	Modify(node string, upSEID pfcp.SEID, req *pfcp.SessionModificationRequest,
		done func(*pfcp.SessionModificationResponse, error))
	Delete(node string, upSEID pfcp.SEID, done func(*pfcp.SessionDeletionResponse, error))
}

// Config is what a Server is made with.
type Config struct {
	GTPC        gtpc.EndpointConfig // Listen is one address: it stands in our F-TEIDs. Path is the Server's
	Instance    uint8               // of this PGW-C: the upper octet of the TEID-C and SEID numbers that it gives out
	Shards      int                 // goroutines that own PDN connections: a power of two
	MaxSessions int                 // PDN connections, of all shards; beyond it cause 73
	MaxWaiting  int                 // requests that may wait for a shard; further ones are dropped
	Authorize   func(session.Subject) (session.Profile, *gtpc.Error)
	Pools       *ippool.Pools
	Instances   map[string][]pfcp.NetworkInstance // by node, those that it serves
	AbandonWait time.Duration                     // between attempts to delete what a PGW-U did not answer for
	Log         *slog.Logger
}

// DefaultConfig returns the values that suit a PGW-C; GTPC.Listen, GTPC.RestartCounter, Authorize, Pools and
// Instances are the caller's.
func DefaultConfig() Config {
	return Config{
		GTPC:        gtpc.DefaultEndpointConfig(),
		Shards:      4,
		MaxSessions: 1 << 20,
		MaxWaiting:  4096,
		AbandonWait: 10 * time.Second,
	}
}

// Server is the S8 edge.
type Server struct {
	cfg       Config
	log       *slog.Logger
	endpoint  *gtpc.Endpoint
	up        UserPlane
	resources *resources
	abandoned *abandoned
	stats     *counters
	shards    []*shard
	seed      maphash.Seed
}

// New opens the S8 socket. Nothing is answered before Run.
func New(cfg Config, up UserPlane) (*Server, error) {
	if cfg.Shards <= 0 || cfg.Shards&(cfg.Shards-1) != 0 {
		return nil, fmt.Errorf("%d shards: not a power of two", cfg.Shards)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, up: up,
		resources: newResources(cfg, up), stats: newCounters(), seed: maphash.MakeSeed(),
	}
	s.abandoned = newAbandoned(up, s.resources, cfg.Log)
	cfg.GTPC.Log, cfg.GTPC.Path = cfg.Log, s.pathEvent
	endpoint, err := gtpc.Listen(cfg.GTPC)
	if err != nil {
		return nil, fmt.Errorf("%w: is the address of s8 one of this host, and free?", err)
	}
	s.endpoint = endpoint
	for i := range cfg.Shards {
		s.shards = append(s.shards, newShard(s, i))
	}
	return s, nil
}

// Addr is the local address of S8-C.
func (s *Server) Addr() netip.AddrPort { return s.endpoint.Addr() }

// Close closes a Server that is not run.
func (s *Server) Close() error { return s.endpoint.Close() }

// Run serves S8 until ctx ends. Sessions stay as they are then, here and at the PGW-Us.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, sh := range s.shards {
		group.Go(func() error { return sh.run(ctx) })
	}
	group.Go(func() error { return s.abandoned.run(ctx, s.cfg.AbandonWait) })
	group.Go(func() error { return s.endpoint.Run(ctx, s.receive) })
	return group.Wait()
}

// NodeEvent takes what happened to a PGW-U. It does not block.
func (s *Server) NodeEvent(event sxb.Event) {
	switch e := event.(type) {
	case sxb.NodeUp:
		s.abandoned.retry(e.Node)
	case sxb.NodeDown:
		// Its sessions may well forward on: they are kept until it restarts.
	case sxb.SessionReport:
		// The TEID-C of its connection stands in the lower half of our SEID, and names the shard.
		sh := s.shards[int(uint32(e.SEID))&(len(s.shards)-1)]
		sh.inbox.put(func(sh *shard) { sh.reported(e) })
	case sxb.NodeRestarted:
		s.log.Warn("the sessions of a restarted PGW-U end", slog.String("pgwu", e.Node))
		s.abandoned.nodeRestarted(e.Node)
		for _, sh := range s.shards {
			sh.inbox.put(func(sh *shard) { sh.broadcast(session.NodeRestarted{Node: e.Node}) })
		}
	}
}

func (s *Server) pathEvent(e gtpc.PathEvent) {
	s.log.Warn("GTP-C path", slog.String("peer", e.Peer.String()), slog.String("event", e.Kind.String()))
	s.stats.path(e.Kind)
	if e.Kind != gtpc.PeerRestarted {
		return // sessions are kept while a peer is silent, TS 23.007 20.2.7.1
	}
	for _, sh := range s.shards {
		sh.inbox.put(func(sh *shard) { sh.peerRestarted(e.Peer) })
	}
}

// receive hands a request to the shard that owns its PDN connection. It is called by the endpoint's reader.
func (s *Server) receive(r *gtpc.Request) {
	if r.Err != nil {
		s.refuse(r, r.ReplyTEID(), asError(r.Err))
		return
	}
	sh := s.owner(r)
	if sh == nil {
		s.refuse(r, 0, &gtpc.Error{Cause: gtpc.CauseContextNotFound, Err: errTEID})
		return
	}
	if !sh.inbox.offer(func(sh *shard) { sh.request(r) }, s.cfg.MaxWaiting) {
		s.stats.overload()
		r.Drop() // its retransmission may find room; a refusal would make an SGW forget what it wants deleted
	}
}

// owner is the shard of a request: that of the IMSI in a Create Session, else the one that gave out the TEID; nil
// when that is none of ours.
func (s *Server) owner(r *gtpc.Request) *shard {
	if m, ok := r.Message.(*gtpc.CreateSessionRequest); ok {
		return s.shardOf(m.IMSI)
	}
	if uint8(r.Header.TEID>>24) != s.cfg.Instance {
		return nil
	}
	return s.shards[int(r.Header.TEID)&(len(s.shards)-1)]
}

func (s *Server) shardOf(imsi identity.IMSI) *shard {
	return s.shards[maphash.String(s.seed, string(imsi))&uint64(len(s.shards)-1)]
}

// refuse answers a request with an error.
func (s *Server) refuse(r *gtpc.Request, teid gtpc.TEID, e *gtpc.Error) {
	s.log.Debug("request refused", slog.String("peer", r.Peer.String()), slog.String("request", r.Header.Type.String()),
		slog.Any("error", e))
	s.respond(r, teid, e.Cause, gtpc.Reject(r.Header.Type, e))
}

// respond sends an answer and counts its cause.
func (s *Server) respond(r *gtpc.Request, teid gtpc.TEID, cause gtpc.Cause, m gtpc.Outgoing) {
	s.stats.answer(r.Header.Type, cause)
	if err := r.Respond(teid, m); err != nil {
		s.log.Error("answer not sent", slog.String("peer", r.Peer.String()), slog.Any("error", err))
	}
}

package s8

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/xepc/xepc/controlplane/ippool"
	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/controlplane/upselect"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// resources gives out what all shards share: addresses and places at PGW-Us.
type resources struct {
	authorize func(session.Subject) (session.Profile, *gtpc.Error)
	up        UserPlane
	instances map[string][]pfcp.NetworkInstance
	most      int // sessions
	log       *slog.Logger

	mu    sync.Mutex // guards what follows
	pools *ippool.Pools
	load  map[string]int // sessions by node, from admission to release
	total int
}

func newResources(cfg Config, up UserPlane) *resources {
	return &resources{
		authorize: cfg.Authorize, up: up, instances: cfg.Instances, most: cfg.MaxSessions, log: cfg.Log,
		pools: cfg.Pools, load: make(map[string]int),
	}
}

// admit authorizes a PDN connection and gives it an address and a PGW-U. The causes: 78 and 93 of the
// authorization; 84 when the nodes that could serve have no address left; 73 when none of them is associated, when
// the node is full, and when a static address is with another connection for the moment; 69 with the PAA to blame
// for a static address that is none of ours (TS 29.274 7.7.8).
func (r *resources) admit(a session.Admit, now time.Time) (session.Admitted, *gtpc.Error) {
	profile, refusal := r.authorize(a.Subject)
	if refusal != nil {
		return session.Admitted{}, refusal
	}
	nodes := r.up.Nodes()
	grant := session.Admitted{Profile: profile, At: now, Static: !a.Address.IsUnspecified()}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total >= r.most {
		return session.Admitted{}, &gtpc.Error{Cause: gtpc.CauseNoResourcesAvailable, Err: fmt.Errorf("%d sessions, no more are allowed", r.total)}
	}
	if grant.Static {
		grant.Address = a.Address
		refusal = r.static(&grant, nodes)
	} else {
		refusal = r.dynamic(&grant, nodes, now)
	}
	if refusal != nil {
		return session.Admitted{}, refusal
	}
	for _, n := range nodes {
		if n.Name == grant.Node {
			grant.EndMarkers = n.Features&pfcp.FeatureEMPU != 0
		}
	}
	r.load[grant.Node]++
	r.total++
	return grant, nil
}

func (r *resources) static(grant *session.Admitted, nodes []sxb.NodeStatus) *gtpc.Error {
	pool := grant.Profile.Pool
	node, err := r.pools.StaticNode(pool, grant.Address)
	if err != nil {
		return &gtpc.Error{Cause: gtpc.CauseMandatoryIEIncorrect, Offending: gtpc.KeyPAA, Err: err}
	}
	for _, n := range nodes {
		if n.Name == node && n.State == sxb.StateAssociated && !n.Releasing {
			if err := r.pools.AllocateStatic(pool, grant.Address); err != nil {
				return &gtpc.Error{Cause: gtpc.CauseNoResourcesAvailable, Err: err}
			}
			grant.Node = node
			return nil
		}
	}
	return &gtpc.Error{Cause: gtpc.CauseNoResourcesAvailable, Err: fmt.Errorf("PGW-U %q, which serves %v, is not associated", node, grant.Address)}
}

func (r *resources) dynamic(grant *session.Admitted, nodes []sxb.NodeStatus, now time.Time) *gtpc.Error {
	pool := grant.Profile.Pool
	var candidates []upselect.Candidate
	full := false
	for _, n := range nodes {
		c := upselect.Candidate{
			Name:       n.Name,
			Associated: n.State == sxb.StateAssociated && !n.Releasing,
			Instances:  r.instances[n.Name],
			FreeChunk:  r.pools.Free(pool, n.Name, now) > 0,
			Sessions:   r.load[n.Name],
		}
		candidates = append(candidates, c)
		c.FreeChunk = true
		_, could := upselect.Choose([]upselect.Candidate{c}, grant.Profile.NetworkInstance)
		full = full || could
	}
	node, ok := upselect.Choose(candidates, grant.Profile.NetworkInstance)
	switch {
	case !ok && full:
		return &gtpc.Error{Cause: gtpc.CauseAllDynamicAddressesOccupied, Err: fmt.Errorf("pool %q", pool)}
	case !ok:
		return &gtpc.Error{Cause: gtpc.CauseNoResourcesAvailable, Err: errNoNode}
	}
	address, err := r.pools.Allocate(pool, node, now)
	if err != nil {
		return &gtpc.Error{Cause: gtpc.CauseAllDynamicAddressesOccupied, Err: err}
	}
	grant.Node, grant.Address = node, address
	return nil
}

var errNoNode = errors.New("no PGW-U that serves the network instance is associated")

func (r *resources) release(a session.Release) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.pools.Release(a.Pool, a.Address, time.Now()); err != nil {
		r.log.Error("address not released", slog.Any("error", err))
		return
	}
	r.load[a.Node]--
	r.total--
}

// NodeLoad is how many sessions a PGW-U has, from admission to release.
func (s *Server) NodeLoad() map[string]int {
	s.resources.mu.Lock()
	defer s.resources.mu.Unlock()
	load := make(map[string]int, len(s.resources.load))
	for node, n := range s.resources.load {
		load[node] = n
	}
	return load
}

// PoolUsage lists every chunk of every pool.
func (s *Server) PoolUsage() []ippool.Usage {
	s.resources.mu.Lock()
	defer s.resources.mu.Unlock()
	return s.resources.pools.Usage(time.Now())
}

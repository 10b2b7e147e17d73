package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Requests that nodes have yet to answer are kept until they do, or are given up:
//
//	out:{IMSI}    hash: id → request, n:id → times sent; beside the SIM's record, and there after the SIM is gone
//	due:{HOST}    sorted set: IMSI/id by the time from which on it may be sent, in milliseconds since 1970
//	due-hosts     set of the hosts that have such a set
//	nodes         hash: host → JSON of Node, for every node that has served a SIM
//
// The entry in due is written before the request, with a lease, so that a request never waits unknown to all. An entry
// without a request is dropped when it is looked at. Any instance that reaches the host may claim what is due.

const (
	dueHostsKey = "due-hosts"
	nodesKey    = "nodes"
	resetTag    = "reset" // stands for the IMSI of requests about none
	claimMost   = 64
)

// Pending is a request with what its repetitions share, so that the node can tell them from new ones.
type Pending struct {
	subscriber.Request

	SessionID string    `json:"session"`
	EndToEnd  uint32    `json:"end_to_end"`
	At        time.Time `json:"at"`
	Of        time.Time `json:"of,omitzero"` // of the change that it is of
	Tries     int       `json:"-"`           // times sent, with the one that follows Take
}

// NewPending makes a request ready to be kept.
func NewPending(r subscriber.Request, now time.Time) Pending {
	return Pending{Request: r, SessionID: fmt.Sprintf("%d;%d", now.UnixNano(), rand.Uint32()), EndToEnd: rand.Uint32(), At: now.UTC()}
}

func (p Pending) tag() string {
	if p.IMSI == "" {
		return resetTag
	}
	return string(p.IMSI)
}

// Name names the request among all.
func (p Pending) Name() string { return p.tag() + "/" + p.ID() }

func outKey(tag string) string { return "out:{" + tag + "}" }

func dueKey(host string) string { return "due:{" + strings.ToLower(host) + "}" }

// Intend announces requests that are about to be kept, leased to the caller until a time.
func (s *Store) Intend(ctx context.Context, until time.Time, pending ...Pending) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	pipe := s.redis.Pipeline()
	for _, p := range pending {
		pipe.ZAdd(ctx, dueKey(p.Host), redis.Z{Score: float64(until.UnixMilli()), Member: p.Name()})
		pipe.SAdd(ctx, dueHostsKey, strings.ToLower(p.Host))
	}
	_, err := pipe.Exec(ctx)
	return unavailable(err)
}

// Keep keeps a request that was intended. A Cancel takes the registration away from the node. It says false when there is
// nothing to be sent now: the registration is another node's, or the same request waits already.
func (s *Store) Keep(ctx context.Context, p Pending) (bool, error) {
	j, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("encoding a request: %w", err)
	}
	side := ""
	if p.Kind == subscriber.Cancel {
		side = string(p.Side)
	}
	answer, err := s.batcher.do(call{
		script: s.request, keys: []string{key(identity.IMSI(p.tag())), outKey(p.tag()), gatewayKey(identity.IMSI(p.tag()))},
		args: []any{p.ID(), j, side, strings.ToLower(p.Host)},
	})
	if err != nil {
		return false, unavailable(err)
	}
	return answer[0] == "done", nil
}

// DueHosts are the nodes that have yet to be told something.
func (s *Store) DueHosts(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	hosts, err := s.redis.SMembers(ctx, dueHostsKey).Result()
	return hosts, unavailable(err)
}

// Claim leases what is due for a node until a time, and returns the names.
func (s *Store) Claim(ctx context.Context, host string, now, until time.Time) ([]string, error) {
	names, err := s.batcher.do(call{
		script: s.claim, keys: []string{dueKey(host)}, args: []any{now.UnixMilli(), until.UnixMilli(), claimMost},
	})
	if err != nil {
		return nil, unavailable(err)
	}
	if len(names) == 0 {
		return nil, s.forgetHost(ctx, host)
	}
	return names, nil
}

// forgetHost takes a host off the list when nothing waits for it, and puts it back when something came meanwhile.
func (s *Store) forgetHost(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	n, err := s.redis.ZCard(ctx, dueKey(host)).Result()
	if err != nil || n > 0 {
		return unavailable(err)
	}
	if err := s.redis.SRem(ctx, dueHostsKey, strings.ToLower(host)).Err(); err != nil {
		return unavailable(err)
	}
	if n, err = s.redis.ZCard(ctx, dueKey(host)).Result(); err == nil && n > 0 {
		err = s.redis.SAdd(ctx, dueHostsKey, strings.ToLower(host)).Err()
	}
	return unavailable(err)
}

// Take reads a claimed request by its name, and counts the try. It says false when there is none any more.
func (s *Store) Take(name string) (Pending, bool, error) {
	tag, id, _ := strings.Cut(name, "/")
	answer, err := s.batcher.do(call{script: s.take, keys: []string{outKey(tag)}, args: []any{id}})
	if err != nil {
		return Pending{}, false, unavailable(err)
	}
	if len(answer) != 2 {
		return Pending{}, false, nil
	}
	var p Pending
	if err := decode(answer[0], &p); err != nil {
		return p, false, err
	}
	p.Tries, err = strconv.Atoi(answer[1])
	return p, err == nil, err
}

// Finish forgets a request that is answered or given up; session is "" for a name that had no request. A request of the
// same name that was kept meanwhile stays, and is due at the end of its lease.
func (s *Store) Finish(ctx context.Context, host, name, session string, lease time.Time) error {
	tag, id, _ := strings.Cut(name, "/")
	finish := func(session string) (bool, error) {
		answer, err := s.batcher.do(call{script: s.finish, keys: []string{outKey(tag)}, args: []any{id, session}})
		if err != nil {
			return false, unavailable(err)
		}
		return answer[0] == "1", nil
	}
	if another, err := finish(session); err != nil || another {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer cancel()
	if err := s.redis.ZRem(ctx, dueKey(host), name).Err(); err != nil {
		return unavailable(err)
	}
	if another, err := finish(""); err != nil || !another {
		return err
	}
	return unavailable(s.redis.ZAdd(ctx, dueKey(host), redis.Z{Score: float64(lease.UnixMilli()), Member: name}).Err())
}

// Postpone lets a request be sent again from a time on.
func (s *Store) Postpone(ctx context.Context, host, name string, to time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer cancel()
	return unavailable(s.redis.ZAddXX(ctx, dueKey(host), redis.Z{Score: float64(to.UnixMilli()), Member: name}).Err())
}

// Unanswered says how many requests a node has yet to answer.
type Unanswered struct {
	Host     string `json:"host"     doc:"Origin-Host in lower case"`
	Requests int    `json:"requests" doc:"CLR, IDR, DSR and RSR"`
	Unsent   int    `json:"unsent"   doc:"of these, those that were due a minute ago and that no instance could send: the node is not connected, nor an agent towards it"`
}

const unsentFor = time.Minute // after which one that is due is Unsent: an instance looks each half second

// Unanswered returns the nodes that have yet to answer requests, by name.
func (s *Store) Unanswered(ctx context.Context, now time.Time) ([]Unanswered, error) {
	hosts, err := s.DueHosts(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(hosts)
	all := []Unanswered{}
	for chunk := range slices.Chunk(hosts, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		counts, unsent := make([]*redis.IntCmd, len(chunk)), make([]*redis.IntCmd, len(chunk))
		before := strconv.FormatInt(now.Add(-unsentFor).UnixMilli(), 10)
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, host := range chunk {
				counts[i] = pipe.ZCard(within, dueKey(host))
				unsent[i] = pipe.ZCount(within, dueKey(host), "-inf", before)
			}
			return nil
		})
		cancel()
		if err != nil {
			return nil, unavailable(err)
		}
		for i, host := range chunk {
			if n := int(counts[i].Val()); n > 0 {
				all = append(all, Unanswered{Host: host, Requests: n, Unsent: int(unsent[i].Val())})
			}
		}
	}
	return all, nil
}

// Node is a serving node as it was last seen.
type Node struct {
	Host  string `json:"host"`
	Realm string `json:"realm"`
	Via   string `json:"via"` // Origin-Host of the neighbour: the node itself, or an agent
}

// SawNode remembers a node.
func (s *Store) SawNode(ctx context.Context, n Node) error {
	j, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encoding a node: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return unavailable(s.redis.HSet(ctx, nodesKey, strings.ToLower(n.Host), j).Err())
}

// RestoreNodes puts nodes in that are not known, and returns how many.
func (s *Store) RestoreNodes(ctx context.Context, nodes []Node) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	added := 0
	for _, n := range nodes {
		j, err := json.Marshal(n)
		if err != nil {
			return added, fmt.Errorf("encoding a node: %w", err)
		}
		yes, err := s.redis.HSetNX(ctx, nodesKey, strings.ToLower(n.Host), j).Result()
		if err != nil {
			return added, unavailable(err)
		}
		if yes {
			added++
		}
	}
	return added, nil
}

// Node returns what is known of a node; the zero Node when it has never served a SIM.
func (s *Store) Node(ctx context.Context, host string) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	text, err := s.redis.HGet(ctx, nodesKey, strings.ToLower(host)).Result()
	if errors.Is(err, redis.Nil) {
		return Node{}, nil
	}
	if err != nil {
		return Node{}, unavailable(err)
	}
	var n Node
	return n, decode(text, &n)
}

// Nodes returns every node that has ever served a SIM.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	texts, err := s.redis.HVals(ctx, nodesKey).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	all := make([]Node, len(texts))
	for i, t := range texts {
		if err := decode(t, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

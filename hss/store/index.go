package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Name is by what a SIM can be found apart from its IMSI.
type Name string

// Names.
const (
	ByMSISDN Name = "msisdn"
	ByICCID  Name = "iccid"
)

// The indexes are buckets, so that a million entries are a few thousand small keys that Redis keeps packed:
//
//	ix:msisdn:B, ix:iccid:B   hash: MSISDN or ICCID → IMSIs with a space between
//	ix:node:B:HOST            set: IMSIs that are registered at the node of that Origin-Host, in lower case
//
// They are written after the record, since they are in another slot than it; what a crash leaves out in between, Repair
// puts right. So whoever reads an index looks at the record as well.
const (
	indexPrefix = "ix:"
	nodePrefix  = indexPrefix + "node:"
	nameBuckets = 16384 // a million names: 61 each, packed up to 128 (hash-max-listpack-entries)
	nodeBuckets = 4096  // a million SIMs at one node: 244 each, packed up to 512 (set-max-intset-entries)
)

func bucket(s string, buckets uint32) uint32 { return crc32.ChecksumIEEE([]byte(s)) % buckets }

func nameKey(by Name, name string) string {
	return fmt.Sprintf("%s%s:%d", indexPrefix, by, bucket(name, nameBuckets))
}

func nodeKey(host string, imsi identity.IMSI) string {
	return fmt.Sprintf("%s%d:%s", nodePrefix, bucket(string(imsi), nodeBuckets), strings.ToLower(host))
}

// names returns what a profile is to be found by.
func namesOf(p subscriber.Profile) map[Name]string {
	names := map[Name]string{}
	if p.MSISDN != "" {
		names[ByMSISDN] = string(p.MSISDN)
	}
	if p.Card.ICCID != "" {
		names[ByICCID] = p.Card.ICCID
	}
	return names
}

// reindex puts into the pipeline what the step from one profile to the next changes.
func (s *Store) reindex(ctx context.Context, pipe redis.Pipeliner, imsi identity.IMSI, before, after subscriber.Profile) {
	old, next := namesOf(before), namesOf(after)
	for _, by := range []Name{ByMSISDN, ByICCID} {
		if old[by] == next[by] {
			continue
		}
		if old[by] != "" {
			s.index.EvalSha(ctx, pipe, []string{nameKey(by, old[by])}, old[by], string(imsi), "0")
		}
		if next[by] != "" {
			s.index.EvalSha(ctx, pipe, []string{nameKey(by, next[by])}, next[by], string(imsi), "1")
		}
	}
}

// indexed runs what fill puts into a pipeline; scripts are those of its scripts that are not index. That it fails is logged, not returned: the record stands, and Repair finds
// what the index lacks.
func (s *Store) indexed(ctx context.Context, fill func(context.Context, redis.Pipeliner), scripts ...*redis.Script) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer cancel()
	if err := s.inPipeline(ctx, append(scripts, s.index), fill); err != nil {
		s.log.Warn("an index lacks what a record has: hss repair", "err", err)
	}
}

// inPipeline runs what fill puts into a pipeline, over again when Redis lacks the scripts.
func (s *Store) inPipeline(ctx context.Context, scripts []*redis.Script, fill func(context.Context, redis.Pipeliner)) error {
	for again := true; ; again = false {
		pipe := s.redis.Pipeline()
		fill(ctx, pipe)
		if pipe.Len() == 0 {
			return nil
		}
		_, err := pipe.Exec(ctx)
		switch {
		case err == nil || errors.Is(err, redis.Nil):
			return nil
		case !again || !redis.HasErrorPrefix(err, "NOSCRIPT"):
			return unavailable(err)
		}
		for _, script := range scripts {
			if err := s.loadScript(ctx, script); err != nil {
				return unavailable(err)
			}
		}
	}
}

// eachMaster calls f with every master, one after the other.
func (s *Store) eachMaster(ctx context.Context, f func(context.Context, redis.Cmdable) error) error {
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		return f(ctx, s.redis)
	}
	masters := make(chan struct{}, 1)
	return cluster.ForEachMaster(ctx, func(ctx context.Context, r *redis.Client) error {
		masters <- struct{}{}
		defer func() { <-masters }()
		return f(ctx, r)
	})
}

// Find returns the IMSIs that a name stands for, those only whose record says so too.
func (s *Store) Find(ctx context.Context, by Name, name string) ([]identity.IMSI, error) {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	text, err := s.redis.HGet(within, nameKey(by, name), name).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, unavailable(err)
	}
	var all []identity.IMSI
	for imsi := range strings.FieldsSeq(text) {
		sub, _, err := s.Get(ctx, identity.IMSI(imsi))
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if namesOf(sub.Profile)[by] == name {
			all = append(all, sub.IMSI)
		}
	}
	return all, nil
}

// Whoever gives a SIM a name that others may not have keeps it for that SIM while it looks who has it, and until record and
// index say so: rs:BY:NAME, the IMSI.
const (
	reservedPrefix = "rs:"
	reservedFor    = time.Minute // longer than a change takes: what a crash leaves
)

// Wanted is a name that a SIM is to be given.
type Wanted struct {
	Name string
	IMSI identity.IMSI
}

// Reserve keeps names for SIMs until release, and says for each whether it is: else another SIM is being given it.
func (s *Store) Reserve(ctx context.Context, by Name, names ...Wanted) (got []bool, release func(), err error) {
	key := func(w Wanted) string { return reservedPrefix + string(by) + ":" + w.Name }
	got = make([]bool, len(names))
	release = sync.OnceFunc(func() {
		err := s.eachInPipeline(context.WithoutCancel(ctx), len(names), func(ctx context.Context, pipe redis.Pipeliner, i int) {
			if got[i] {
				s.releaseScript.EvalSha(ctx, pipe, []string{key(names[i])}, string(names[i].IMSI))
			}
		})
		if err != nil {
			s.log.Warn("names stay reserved for a minute", "err", err)
		}
	})
	set, now := make([]*redis.BoolCmd, len(names)), make([]*redis.StringCmd, len(names))
	err = s.eachInPipeline(ctx, len(names), func(ctx context.Context, pipe redis.Pipeliner, i int) {
		set[i] = pipe.SetNX(ctx, key(names[i]), string(names[i].IMSI), reservedFor)
		now[i] = pipe.Get(ctx, key(names[i]))
	})
	for i, w := range names {
		got[i] = set[i] != nil && (set[i].Val() || now[i].Val() == string(w.IMSI)) // the SIM's own: a change that was cut off, and comes again
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return got, release, nil
}

// eachInPipeline has fill put what belongs to each number below n into pipelines of some at a time.
func (s *Store) eachInPipeline(ctx context.Context, n int, fill func(context.Context, redis.Pipeliner, int)) error {
	for first := 0; first < n; first += scanCount {
		within, cancel := context.WithTimeout(ctx, s.within)
		err := s.inPipeline(within, []*redis.Script{s.releaseScript}, func(ctx context.Context, pipe redis.Pipeliner) {
			for i := first; i < min(first+scanCount, n); i++ {
				fill(ctx, pipe, i)
			}
		})
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// AtNode returns the IMSIs that are registered at the node of that Origin-Host, as far as the index knows.
func (s *Store) AtNode(ctx context.Context, host string) ([]identity.IMSI, error) {
	var all []identity.IMSI
	for first := 0; first < nodeBuckets; first += scanCount {
		within, cancel := context.WithTimeout(ctx, s.within)
		var answers []*redis.StringSliceCmd
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for b := first; b < min(first+scanCount, nodeBuckets); b++ {
				answers = append(answers, pipe.SMembers(within, fmt.Sprintf("%s%d:%s", nodePrefix, b, strings.ToLower(host))))
			}
			return nil
		})
		cancel()
		if err != nil {
			return nil, unavailable(err)
		}
		for _, a := range answers {
			for _, imsi := range a.Val() {
				all = append(all, identity.IMSI(imsi))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// moved keeps the index of nodes when a registration has taken the place of another.
func (s *Store) moved(ctx context.Context, imsi identity.IMSI, before, after string) {
	if strings.EqualFold(before, after) {
		return
	}
	s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
		if before != "" {
			pipe.SRem(ctx, nodeKey(before, imsi), string(imsi))
		}
		if after != "" {
			pipe.SAdd(ctx, nodeKey(after, imsi), string(imsi))
		}
	})
}

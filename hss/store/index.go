package store

import (
	"context"
	"crypto/rand"
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

// Whoever gives a SIM a name that others may not have keeps it for itself while it looks who has it, and until record and
// index say who does: rs:NAME, the caller's own word.
const (
	reservedPrefix = "rs:"
	reservedFor    = time.Minute // longer than a change takes: what a crash leaves
)

// Reserve keeps names for the caller until release, and says for each whether it has: else another one is giving it to a SIM.
func (s *Store) Reserve(ctx context.Context, by Name, names ...string) (got []bool, release func(), err error) {
	if len(names) == 0 {
		return nil, func() {}, nil
	}
	got = make([]bool, len(names))
	var mine []string
	word := rand.Text()
	release = sync.OnceFunc(func() { s.release(ctx, mine, word) })
	for first := 0; first < len(names); first += scanCount {
		chunk := names[first:min(first+scanCount, len(names))]
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.BoolCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, name := range chunk {
				answers[i] = pipe.SetNX(within, reservedPrefix+string(by)+":"+name, word, reservedFor)
			}
			return nil
		})
		cancel()
		for i, name := range chunk {
			if got[first+i] = answers[i].Val(); got[first+i] {
				mine = append(mine, reservedPrefix+string(by)+":"+name)
			}
		}
		if err != nil {
			release()
			return nil, nil, unavailable(err)
		}
	}
	return got, release, nil
}

// release gives names back that are the caller's still. What cannot be given back is, after reservedFor.
func (s *Store) release(ctx context.Context, keys []string, word string) {
	for chunk := range slices.Chunk(keys, scanCount) {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
		err := s.inPipeline(within, []*redis.Script{s.releaseScript}, func(ctx context.Context, pipe redis.Pipeliner) {
			for _, key := range chunk {
				s.releaseScript.EvalSha(ctx, pipe, []string{key}, word)
			}
		})
		cancel()
		if err != nil {
			s.log.Warn("names stay reserved for a minute", "names", len(chunk), "err", err)
		}
	}
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

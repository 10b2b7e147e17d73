package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// New is a SIM to be put in.
type New struct {
	IMSI    identity.IMSI
	Profile subscriber.Profile // as to be stored
	Keys    aka.Credentials
	SEQ     uint64 // the last that the card may have seen
}

const loadAtOnce = 500 // SIMs in one pipeline

// AddMany puts SIMs in, many in one exchange with Redis. The errors stand in the order of the SIMs: nil, ErrExists, or
// what happened to that one; the last error is of Redis, and then the SIMs from the first nil on may or may not be in.
func (s *Store) AddMany(ctx context.Context, sims []New, now time.Time) ([]error, error) {
	results := make([]error, 0, len(sims))
	for chunk := range slices.Chunk(sims, loadAtOnce) {
		part, err := s.addChunk(ctx, chunk, now)
		results = append(results, part...)
		if err != nil {
			return append(results, make([]error, len(sims)-len(results))...), err
		}
	}
	return results, nil
}

func (s *Store) addChunk(ctx context.Context, sims []New, now time.Time) ([]error, error) {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	encoded := make([][]byte, len(sims))
	for i, n := range sims {
		j, err := encodeProfile(n.Profile)
		if err != nil {
			return nil, err
		}
		encoded[i] = j
	}
	answers := make([]*redis.Cmd, len(sims))
	err := s.inPipeline(within, []*redis.Script{s.add}, func(ctx context.Context, pipe redis.Pipeliner) {
		for i, n := range sims {
			answers[i] = s.add.EvalSha(ctx, pipe, []string{key(n.IMSI)}, encoded[i], s.keyring.seal(n.IMSI, n.Keys), n.SEQ, clock(now))
		}
	})
	results := make([]error, len(sims))
	if err != nil {
		return results, err
	}
	for i, a := range answers {
		switch added, err := a.Int(); {
		case err != nil:
			results[i] = unavailable(err)
		case added == 0:
			results[i] = ErrExists
		}
	}
	s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
		for i, n := range sims {
			if results[i] == nil {
				s.reindex(ctx, pipe, n.IMSI, subscriber.Profile{}, n.Profile)
			}
		}
	})
	return results, nil
}

// CredentialsMany returns the keys of those of the SIMs that are there.
func (s *Store) CredentialsMany(ctx context.Context, imsis []identity.IMSI) (map[identity.IMSI]aka.Credentials, error) {
	all := make(map[identity.IMSI]aka.Credentials, len(imsis))
	err := s.sealedMany(ctx, imsis, func(imsi identity.IMSI, sealed []byte) error {
		c, err := s.keyring.open(imsi, sealed)
		all[imsi] = c
		return err
	})
	return all, err
}

func (s *Store) sealedMany(ctx context.Context, imsis []identity.IMSI, f func(identity.IMSI, []byte) error) error {
	for chunk := range slices.Chunk(imsis, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.StringCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, imsi := range chunk {
				answers[i] = pipe.HGet(within, key(imsi), "key")
			}
			return nil
		})
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) {
			return unavailable(err)
		}
		for i, imsi := range chunk {
			if answers[i].Err() != nil {
				continue
			}
			if err := f(imsi, []byte(answers[i].Val())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Holders returns the IMSIs that names stand for as the index has it, without a look at the records.
func (s *Store) Holders(ctx context.Context, by Name, names []string) (map[string][]identity.IMSI, error) {
	all := map[string][]identity.IMSI{}
	for chunk := range slices.Chunk(names, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.StringCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, name := range chunk {
				answers[i] = pipe.HGet(within, nameKey(by, name), name)
			}
			return nil
		})
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, unavailable(err)
		}
		for i, name := range chunk {
			if text := answers[i].Val(); text != "" {
				all[name] = fields[identity.IMSI](text)
			}
		}
	}
	return all, nil
}

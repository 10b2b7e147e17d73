package store

import (
	"cmp"
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

// AddMany puts SIMs in, many in one exchange with Redis. The errors stand in the order of the SIMs: nil, ErrExists, a
// *TakenError, or what happened to that one; the last error is of Redis, and then the SIMs from the first nil on may or may not be in.
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
	records := make([]fresh, len(sims))
	for i, n := range sims {
		profile, err := encodeProfile(n.Profile)
		if err != nil {
			return nil, err
		}
		records[i] = fresh{n.IMSI, n.Profile, newStored(s.keyring.seal(n.IMSI, n.Keys), profile, n.SEQ, now)}
	}
	return s.putMany(ctx, records)
}

// fresh is a record to be put in, with the profile that is in it.
type fresh struct {
	imsi    identity.IMSI
	profile subscriber.Profile
	record  stored
}

// put puts one record in. The errors are those of Add.
func (s *Store) put(ctx context.Context, imsi identity.IMSI, p subscriber.Profile, r stored) error {
	results, err := s.putMany(ctx, []fresh{{imsi, p, r}})
	if err != nil {
		return err
	}
	return results[0]
}

// putMany puts records in, and into the indexes by their profiles. The errors are those of AddMany.
func (s *Store) putMany(ctx context.Context, sims []fresh) ([]error, error) {
	if _, err := s.Listed(ctx); err != nil {
		return nil, err
	}
	answers := make([]*redis.BoolCmd, len(sims))
	octets := make([][]byte, len(sims))
	for i, n := range sims {
		var err error
		if octets[i], err = n.record.encode(); err != nil {
			return nil, err
		}
	}
	results, err := s.occupyMany(ctx, sims)
	if err != nil {
		return results, err
	}
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	_, err = s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
		for i, n := range sims {
			if results[i] == nil {
				answers[i] = pipe.SetNX(within, key(n.imsi), octets[i], 0)
			}
		}
		return nil
	})
	if err != nil {
		return results, unavailable(err)
	}
	for i, a := range answers {
		if a != nil && !a.Val() {
			results[i] = ErrExists
		}
	}
	s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
		in := map[list][]identity.IMSI{}
		for i, n := range sims {
			if results[i] == nil {
				in[everySIM] = append(in[everySIM], n.imsi)
				in[listOf(n.profile)] = append(in[listOf(n.profile)], n.imsi)
			}
		}
		for l, imsis := range in {
			l.enlist(ctx, pipe, imsis...)
		}
		for i, n := range sims {
			if results[i] == nil {
				s.reindex(ctx, pipe, n.imsi, subscriber.Profile{}, n.profile)
			}
		}
	})
	return results, nil
}

// occupyMany gives new SIMs their static addresses; the errors stand in the order of the SIMs.
func (s *Store) occupyMany(ctx context.Context, sims []fresh) ([]error, error) {
	results := make([]error, len(sims))
	var wishes []*wish
	var of []int
	for i, n := range sims {
		for _, w := range wishesOf(n.imsi, AddressesOf(n.profile)) {
			wishes, of = append(wishes, w), append(of, i)
		}
	}
	err := s.occupy(ctx, wishes)
	for i, w := range wishes {
		results[of[i]] = cmp.Or(results[of[i]], w.err)
	}
	return results, err
}

// CredentialsMany returns the keys of those of the SIMs that are there.
func (s *Store) CredentialsMany(ctx context.Context, imsis []identity.IMSI) (map[identity.IMSI]aka.Credentials, error) {
	all := make(map[identity.IMSI]aka.Credentials, len(imsis))
	err := s.sealedMany(ctx, imsis, func(imsi identity.IMSI, sealed string) error {
		c, err := s.keyring.open(imsi, sealed)
		all[imsi] = c
		return err
	})
	return all, err
}

// sealedMany gives the sealed keys of those of the SIMs that are there to f.
func (s *Store) sealedMany(ctx context.Context, imsis []identity.IMSI, f func(identity.IMSI, string) error) error {
	return s.eachStored(ctx, imsis, func(imsi identity.IMSI, w stored, err error) error {
		switch {
		case errors.Is(err, ErrUnknown):
			return nil
		case err != nil:
			s.log.Error("a record cannot be read", "imsi_tail", tail(imsi), "err", err)
			return nil
		}
		return f(imsi, w.sealed)
	})
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

package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Change puts next in the place of the profile at rev, and returns where the SIM is registered. The error is ErrUnknown,
// ErrChanged when the profile is no longer at rev, or a *TakenError.
func (s *Store) Change(ctx context.Context, imsi identity.IMSI, rev Revision, before, next subscriber.Profile) (mme, sgsn subscriber.Registration, err error) {
	j, err := encodeProfile(next)
	if err != nil {
		return mme, sgsn, err
	}
	had, has := AddressesOf(before), AddressesOf(next)
	gone := difference(had, has)
	read, err := s.occupants(ctx, gone)
	if err != nil {
		return mme, sgsn, err
	}
	if err := s.occupyOne(ctx, imsi, difference(has, had)); err != nil {
		return mme, sgsn, err
	}
	answer, err := s.run(ctx, s.change, imsi, string(rev), j)
	if err != nil {
		return mme, sgsn, err
	}
	if len(answer) != 2 {
		return mme, sgsn, ErrChanged
	}
	s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
		if was, is := listOf(before), listOf(next); was != is {
			is.enlist(ctx, pipe, imsi)
			was.delist(ctx, pipe, imsi)
		}
		s.reindex(ctx, pipe, imsi, before, next)
	})
	s.vacate(ctx, imsi, gone, read)
	return decodeBoth(answer)
}

// decodeBoth reads the registrations of an MME and an SGSN.
func decodeBoth(texts []string) (mme, sgsn subscriber.Registration, err error) {
	mme, errMME := decodeRegistration(texts[0])
	sgsn, errSGSN := decodeRegistration(texts[1])
	return mme, sgsn, errors.Join(errMME, errSGSN)
}

// Changes that the serving nodes have yet to hear of are one hash; its fields are ids, its values JSON of
// subscriber.Change. One is written before the profile changes, so that a crash leaves a change told twice rather than
// never, and taken out when somebody else has taken it over.
const changesKey = "changes"

// NoteChange keeps a change until DropChange, and returns its id.
func (s *Store) NoteChange(ctx context.Context, c subscriber.Change) (string, error) {
	j, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding a change: %w", err)
	}
	id := string(c.IMSI) + ":" + rand.Text()
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return id, unavailable(s.redis.HSet(ctx, changesKey, id, j).Err())
}

// DropChange takes a change out.
func (s *Store) DropChange(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer cancel()
	return unavailable(s.redis.HDel(ctx, changesKey, id).Err())
}

// Changes returns the changes that were noted before a time, by id, at most about limit.
func (s *Store) Changes(ctx context.Context, before time.Time, limit int) (map[string]subscriber.Change, error) {
	all := map[string]subscriber.Change{}
	for cursor := uint64(0); ; {
		within, cancel := context.WithTimeout(ctx, s.within)
		pairs, next, err := s.redis.HScan(within, changesKey, cursor, "", scanCount).Result()
		cancel()
		if err != nil {
			return nil, unavailable(err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			var c subscriber.Change
			if err := decode(pairs[i+1], &c); err != nil {
				return nil, err
			}
			if c.At.Before(before) {
				all[pairs[i]] = c
			}
		}
		if cursor = next; cursor == 0 || len(all) >= limit {
			return all, nil
		}
	}
}

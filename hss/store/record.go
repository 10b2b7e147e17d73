package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// profile reads a profile as stored, and adds what its templates have.
func (s *Store) profile(ctx context.Context, text string) (subscriber.Profile, error) {
	p, err := decodeProfile(text)
	if err != nil {
		return p, err
	}
	t, err := s.Templates(ctx)
	if err != nil {
		return p, err
	}
	return t.Resolve(p)
}

// Record is a SIM as it is stored: Profile has what the templates add, Stored has not.
type Record struct {
	subscriber.Subscriber

	Stored   subscriber.Profile
	Revision Revision
	KEK      string // id of the key that seals its keys
	Sealed   []byte // its keys
	SEQ      uint64 // the last given out
}

var recordFields = []string{"v", "rev", "profile", "mme", "sgsn", "key", "seq"}

func (s *Store) record(imsi identity.IMSI, fields []any, t subscriber.Templates) (Record, error) {
	text := func(i int) string { t, _ := fields[i].(string); return t }
	r := Record{Subscriber: subscriber.Subscriber{IMSI: imsi}, Revision: Revision(text(1)), KEK: kekOf(text(5)), Sealed: []byte(text(5))}
	switch text(0) {
	case "":
		return r, ErrUnknown
	case "1":
	default:
		return r, fmt.Errorf("the record of the SIM has version %q", text(0))
	}
	_, err := fmt.Sscan(text(6), &r.SEQ)
	if err != nil {
		return r, fmt.Errorf("reading SEQ: %w", err)
	}
	if r.Stored, err = decodeProfile(text(2)); err != nil {
		return r, err
	}
	if err := errors.Join(decode(text(3), &r.MME), decode(text(4), &r.SGSN)); err != nil {
		return r, err
	}
	r.Profile, err = t.Resolve(r.Stored)
	return r, err
}

// Load returns a SIM as it is stored. The error is ErrUnknown for one that is not there.
func (s *Store) Load(ctx context.Context, imsi identity.IMSI) (Record, error) {
	t, err := s.Templates(ctx)
	if err != nil {
		return Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	fields, err := s.redis.HMGet(ctx, key(imsi), recordFields...).Result()
	if err != nil {
		return Record{}, unavailable(err)
	}
	return s.record(imsi, fields, t)
}

// LoadMany returns those of the SIMs that are there, in that order, and none whose template is gone.
func (s *Store) LoadMany(ctx context.Context, imsis []identity.IMSI) ([]Record, error) {
	t, err := s.Templates(ctx)
	if err != nil {
		return nil, err
	}
	var all []Record
	for chunk := range slices.Chunk(imsis, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.SliceCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, imsi := range chunk {
				answers[i] = pipe.HMGet(within, key(imsi), recordFields...)
			}
			return nil
		})
		cancel()
		if err != nil {
			return nil, unavailable(err)
		}
		for i, imsi := range chunk {
			r, err := s.record(imsi, answers[i].Val(), t)
			if errors.Is(err, ErrUnknown) {
				continue
			}
			if err != nil {
				s.log.Error("a record cannot be read", "imsi_tail", tail(imsi), "err", err)
				continue
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// tail is enough of an IMSI to find a record by, and not all of it.
func tail(imsi identity.IMSI) string { return string(imsi[max(0, len(imsi)-4):]) }

package store

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/pkg/identity"
)

// Rotation counts what Rotate does, for who watches it.
type Rotation struct {
	Seen, Resealed, Unreadable atomic.Int64
}

// ActiveKEK returns the id of the key-encryption key that seals.
func (s *Store) ActiveKEK() string { return s.keyring.active }

// Rotate seals the keys of all SIMs with the active key-encryption key, those that already are left out: so it can be
// interrupted and begun again. A record that changes meanwhile is sealed with the active one by whoever changes it.
func (s *Store) Rotate(ctx context.Context, r *Rotation) error {
	return s.Each(ctx, "", func(page []Record) error {
		var old []identity.IMSI
		for _, record := range page {
			if record.KEK != s.keyring.active {
				old = append(old, record.IMSI)
			}
		}
		r.Seen.Add(int64(len(page)))
		return s.resealMany(ctx, old, r)
	})
}

func (s *Store) resealMany(ctx context.Context, imsis []identity.IMSI, r *Rotation) error {
	if len(imsis) == 0 {
		return nil
	}
	type step struct {
		imsi identity.IMSI
		old  string
		new  []byte
	}
	var steps []step
	err := s.sealedMany(ctx, imsis, func(imsi identity.IMSI, sealed string) error {
		c, err := s.keyring.open(imsi, sealed)
		if err != nil {
			r.Unreadable.Add(1)
			s.log.Error("a SIM's keys do not open", "imsi_tail", tail(imsi), "err", err)
			return nil
		}
		steps = append(steps, step{imsi, sealed, s.keyring.seal(imsi, c)})
		return nil
	})
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	answers := make([]*redis.Cmd, len(steps))
	err = s.inPipeline(within, []*redis.Script{s.reseal}, func(ctx context.Context, pipe redis.Pipeliner) {
		for i, n := range steps {
			answers[i] = s.reseal.EvalSha(ctx, pipe, []string{key(n.imsi)}, n.old, n.new)
		}
	})
	if err != nil {
		return err
	}
	for _, a := range answers {
		if n, err := a.Int(); err == nil && n == 1 {
			r.Resealed.Add(1)
		}
	}
	return nil
}

// KEKs counts the SIMs by the id of the key-encryption key that seals their keys.
func (s *Store) KEKs(ctx context.Context) (map[string]int, error) {
	count := map[string]int{}
	return count, s.Each(ctx, "", func(page []Record) error {
		for _, r := range page {
			count[r.KEK]++
		}
		return nil
	})
}

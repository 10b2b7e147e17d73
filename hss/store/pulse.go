package store

import (
	"context"
	"crypto/rand"
	"time"
)

// The pulse is a number that every instance raises again and again. A Redis in which it falls has lost what was written
// after that: it was restarted without its last writes, or a replica that was behind has taken over.
// The name is that of the records, made with the first pulse: the pulses of other records say nothing about these.
const (
	pulseKey    = "hss-pulse"
	dataNameKey = "hss-name"
)

// Pulse is a pulse of records.
type Pulse struct {
	Name string `json:"name"`
	N    int64  `json:"pulse"`
}

// Pulse raises the pulse and returns it.
func (s *Store) Pulse(ctx context.Context) (Pulse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	pipe := s.redis.Pipeline()
	pipe.SetNX(ctx, dataNameKey, rand.Text(), 0)
	name, n := pipe.Get(ctx, dataNameKey), pipe.Incr(ctx, pulseKey)
	_, err := pipe.Exec(ctx)
	return Pulse{Name: name.Val(), N: n.Val()}, unavailable(err)
}

// Once says yes to one instance in that time, for something that one of them is to do.
func (s *Store) Once(ctx context.Context, what string, within time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	yes, err := s.redis.SetNX(ctx, "hss-once:"+what, "1", within).Result()
	return yes, unavailable(err)
}

package store

import (
	"context"
	"time"
)

// The pulse is a number that every instance raises again and again. A Redis in which it falls has lost what was written
// after that: it was restarted without its last writes, or a replica that was behind has taken over.
const pulseKey = "hss-pulse"

// Pulse raises the pulse and returns it.
func (s *Store) Pulse(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	n, err := s.redis.Incr(ctx, pulseKey).Result()
	return n, unavailable(err)
}

// Once says yes to one instance in that time, for something that one of them is to do.
func (s *Store) Once(ctx context.Context, what string, within time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	yes, err := s.redis.SetNX(ctx, "hss-once:"+what, "1", within).Result()
	return yes, unavailable(err)
}

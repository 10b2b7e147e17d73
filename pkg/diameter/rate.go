package diameter

import "time"

// bucket limits the requests of one peer: so many a second, and as many at once. Its owner is the connection's reader.
type bucket struct {
	rate  float64 // requests a second; 0 no limit
	full  float64
	level float64
	at    time.Time
}

func newBucket(rate int, now time.Time) bucket {
	return bucket{rate: float64(rate), full: float64(rate), level: float64(rate), at: now}
}

// take says whether one more request is within the limit.
func (b *bucket) take(now time.Time) bool {
	if b.rate == 0 {
		return true
	}
	b.level = min(b.full, b.level+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

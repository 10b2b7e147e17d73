package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
)

// Lists of devices are two hashes: beginnings of IMEIs, of which 14 are looked up for a device, and ranges, few enough to be
// kept in memory and read again after TemplatesWithin. The values are the first letters of the lists.
const (
	equipmentKey       = "equipment"
	equipmentRangesKey = "equipment-ranges"
	maxEquipment       = 1_000_000
	maxEquipmentRanges = 10_000
)

// equipmentRanges is a copy of the ranges.
type equipmentRanges struct {
	mu   sync.Mutex
	all  []subscriber.Equipment
	read time.Time // zero: to be read
}

func equipmentHash(e subscriber.Equipment) string {
	if e.IsRange() {
		return equipmentRangesKey
	}
	return equipmentKey
}

func equipmentOf(name, letter string) (subscriber.Equipment, bool) {
	for _, list := range subscriber.EquipmentLists() {
		if letter != "" && strings.HasPrefix(string(list), letter) {
			return subscriber.Equipment{Range: name, List: list}, true
		}
	}
	return subscriber.Equipment{}, false
}

// PutEquipment puts devices on lists, off those where they were.
func (s *Store) PutEquipment(ctx context.Context, entries []subscriber.Equipment) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	for key, most := range map[string]int64{equipmentKey: maxEquipment, equipmentRangesKey: maxEquipmentRanges} {
		n, err := s.redis.HLen(ctx, key).Result()
		if err != nil {
			return unavailable(err)
		}
		for _, e := range entries {
			if equipmentHash(e) == key {
				n++
			}
		}
		if n > most {
			return fmt.Errorf("%w: at most %d", ErrTooMany, most)
		}
	}
	defer s.forgetEquipment()
	_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, e := range entries {
			pipe.HSet(ctx, equipmentHash(e), e.Range, string(e.List[:1]))
		}
		return nil
	})
	return unavailable(err)
}

// RestoreEquipment puts entries in that are not there, and returns how many.
func (s *Store) RestoreEquipment(ctx context.Context, entries []subscriber.Equipment) (int, error) {
	added := 0
	defer s.forgetEquipment()
	for chunk := range slices.Chunk(entries, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.BoolCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, e := range chunk {
				answers[i] = pipe.HSetNX(within, equipmentHash(e), e.Range, string(e.List[:1]))
			}
			return nil
		})
		cancel()
		if err != nil {
			return added, unavailable(err)
		}
		for _, a := range answers {
			if a.Val() {
				added++
			}
		}
	}
	return added, nil
}

// RemoveEquipment takes an entry off its list, and returns it. The error is ErrUnknown.
func (s *Store) RemoveEquipment(ctx context.Context, name string) (subscriber.Equipment, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	defer s.forgetEquipment()
	hash := equipmentHash(subscriber.Equipment{Range: name})
	letter, err := s.redis.HGet(ctx, hash, name).Result()
	if errors.Is(err, redis.Nil) {
		return subscriber.Equipment{}, ErrUnknown
	}
	if err == nil {
		err = s.redis.HDel(ctx, hash, name).Err()
	}
	e, _ := equipmentOf(name, letter)
	return e, unavailable(err)
}

func (s *Store) forgetEquipment() {
	s.ranges.mu.Lock()
	defer s.ranges.mu.Unlock()
	s.ranges.read = time.Time{}
}

// EachEquipment calls f with all entries, some at a time, in no order. One may come twice.
func (s *Store) EachEquipment(ctx context.Context, f func([]subscriber.Equipment) error) error {
	for _, key := range []string{equipmentKey, equipmentRangesKey} {
		for cursor, more := uint64(0), true; more; more = cursor != 0 {
			within, cancel := context.WithTimeout(ctx, s.within)
			pairs, next, err := s.redis.HScan(within, key, cursor, "", scanCount).Result()
			cancel()
			if err != nil {
				return unavailable(err)
			}
			var page []subscriber.Equipment
			for i := 0; i+1 < len(pairs); i += 2 {
				if e, ok := equipmentOf(pairs[i], pairs[i+1]); ok {
					page = append(page, e)
				}
			}
			if err := f(page); err != nil {
				return err
			}
			cursor = next
		}
	}
	return nil
}

// Equipment returns the first limit entries behind after, by range, that are on a list; "" stands for all.
func (s *Store) Equipment(ctx context.Context, list subscriber.EquipmentList, after string, limit int) ([]subscriber.Equipment, error) {
	first := smallest[subscriber.Equipment]{limit: limit, less: func(e subscriber.Equipment) string { return e.Range }}
	err := s.EachEquipment(ctx, func(page []subscriber.Equipment) error {
		for _, e := range page {
			if (list == "" || e.List == list) && e.Range > after {
				first.add(e)
			}
		}
		return nil
	})
	return first.sorted(), err
}

// EquipmentFor returns the entries that may mean a device, the first 14 digits of an IMEI.
func (s *Store) EquipmentFor(ctx context.Context, device string) ([]subscriber.Equipment, error) {
	ranges, err := s.equipmentRanges(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	beginnings := subscriber.Beginnings(device)
	letters, err := s.redis.HMGet(ctx, equipmentKey, beginnings...).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	all := append([]subscriber.Equipment(nil), ranges...)
	for i, b := range beginnings {
		letter, _ := letters[i].(string)
		if e, ok := equipmentOf(b, letter); ok {
			all = append(all, e)
		}
	}
	return all, nil
}

// equipmentRanges returns the copy of the ranges, read again when it is old. Nobody may change it.
func (s *Store) equipmentRanges(ctx context.Context) ([]subscriber.Equipment, error) {
	r := &s.ranges
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.read.IsZero() && time.Since(r.read) < TemplatesWithin {
		return r.all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	fields, err := s.redis.HGetAll(ctx, equipmentRangesKey).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	r.all = nil
	for name, letter := range fields {
		if e, ok := equipmentOf(name, letter); ok {
			r.all = append(r.all, e)
		}
	}
	r.read = time.Now()
	return r.all, nil
}

// ErrTooMany is the error of more than there may be.
var ErrTooMany = errors.New("too many entries")

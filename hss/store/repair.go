package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Repaired counts what Repair does, for who watches it.
type Repaired struct {
	Seen, Added, Removed atomic.Int64

	Conflicts atomic.Int64 // static addresses that two SIMs have
}

// Repair compares the indexes with the records, puts in what lacks and takes out what is stale.
func (s *Store) Repair(ctx context.Context, r *Repaired) error {
	if err := s.Each(ctx, "", func(page []Record) error { return s.repairPage(ctx, page, r) }); err != nil {
		return err
	}
	return s.eachMaster(ctx, func(ctx context.Context, master redis.Cmdable) error {
		err := s.eachName(ctx, master, addressPrefix+"*", func(names []string) error {
			for _, name := range names {
				if err := s.repairAddressBucket(ctx, name, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return s.eachName(ctx, master, indexPrefix+"*", func(names []string) error {
			for _, name := range names {
				if err := s.repairBucket(ctx, name, r); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// repairPage puts in what the indexes lack of a page of records.
func (s *Store) repairPage(ctx context.Context, page []Record, r *Repaired) error {
	r.Seen.Add(int64(len(page)))
	if err := s.repairAddresses(ctx, page, r); err != nil {
		return err
	}
	type entry struct {
		record Record
		by     Name
		node   string
		held   func() bool
	}
	var entries []entry
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
		for _, record := range page {
			for by, name := range namesOf(record.Stored) {
				a := pipe.HGet(within, nameKey(by, name), name)
				entries = append(entries, entry{record: record, by: by, held: func() bool {
					return slices.Contains(strings.Fields(a.Val()), string(record.IMSI))
				}})
			}
			for _, g := range []subscriber.Registration{record.MME, record.SGSN} {
				if !g.IsZero() {
					a := pipe.SIsMember(within, nodeKey(g.Host, record.IMSI), string(record.IMSI))
					entries = append(entries, entry{record: record, node: g.Host, held: a.Val})
				}
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return unavailable(err)
	}
	lacking := slices.DeleteFunc(entries, func(e entry) bool { return e.held() })
	r.Added.Add(int64(len(lacking)))
	return s.inPipeline(within, []*redis.Script{s.index}, func(ctx context.Context, pipe redis.Pipeliner) {
		for _, e := range lacking {
			imsi := string(e.record.IMSI)
			if e.node != "" {
				pipe.SAdd(ctx, nodeKey(e.node, e.record.IMSI), imsi)
				continue
			}
			name := namesOf(e.record.Stored)[e.by]
			s.index.EvalSha(ctx, pipe, []string{nameKey(e.by, name)}, name, imsi, "1")
		}
	})
}

// repairBucket takes out of one bucket what no record confirms.
func (s *Store) repairBucket(ctx context.Context, bucket string, r *Repaired) error {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if rest, ok := strings.CutPrefix(bucket, nodePrefix); ok {
		_, host, _ := strings.Cut(rest, ":")
		members, err := s.redis.SMembers(within, bucket).Result()
		if err != nil {
			return unavailable(err)
		}
		return s.dropStale(ctx, members, r, func(record Record) bool {
			return strings.EqualFold(record.MME.Host, host) || strings.EqualFold(record.SGSN.Host, host)
		}, func(ctx context.Context, pipe redis.Pipeliner, record Record) {
			pipe.SRem(ctx, bucket, string(record.IMSI))
		})
	}
	by, _, _ := strings.Cut(strings.TrimPrefix(bucket, indexPrefix), ":")
	fields, err := s.redis.HGetAll(within, bucket).Result()
	if err != nil {
		return unavailable(err)
	}
	of := map[string][]string{} // IMSI → names that are said to be its own
	for name, imsis := range fields {
		for imsi := range strings.FieldsSeq(imsis) {
			of[imsi] = append(of[imsi], name)
		}
	}
	var members []string
	for imsi := range of {
		members = append(members, imsi)
	}
	stale := func(record Record) []string {
		return slices.DeleteFunc(slices.Clone(of[string(record.IMSI)]), func(n string) bool { return namesOf(record.Stored)[Name(by)] == n })
	}
	return s.dropStale(ctx, members, r, func(record Record) bool { return len(stale(record)) == 0 },
		func(ctx context.Context, pipe redis.Pipeliner, record Record) {
			for _, name := range stale(record) {
				s.index.EvalSha(ctx, pipe, []string{bucket}, name, string(record.IMSI), "0")
			}
		})
}

// dropStale calls drop for the members that have no record, or one that does not confirm them.
func (s *Store) dropStale(ctx context.Context, members []string, r *Repaired, confirmed func(Record) bool, drop func(context.Context, redis.Pipeliner, Record)) error {
	imsis := make([]identity.IMSI, len(members))
	for i, m := range members {
		imsis[i] = identity.IMSI(m)
	}
	records, err := s.LoadMany(ctx, imsis)
	if err != nil {
		return err
	}
	there := map[identity.IMSI]Record{}
	for _, record := range records {
		there[record.IMSI] = record
	}
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return s.inPipeline(within, []*redis.Script{s.index}, func(ctx context.Context, pipe redis.Pipeliner) {
		for _, imsi := range imsis {
			record, ok := there[imsi]
			if !ok {
				record.IMSI = imsi
			}
			if !ok || !confirmed(record) {
				r.Removed.Add(1)
				drop(ctx, pipe, record)
			}
		}
	})
}

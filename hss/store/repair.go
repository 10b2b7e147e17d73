package store

import (
	"context"
	"errors"
	"maps"
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
	if err := s.markListed(ctx); err != nil {
		return err
	}
	for _, l := range lists() {
		if err := s.repairList(ctx, l, r); err != nil {
			return err
		}
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
		list   *list
		held   func() bool
	}
	type block struct {
		list   list
		digits string
	}
	var entries []entry
	blocks := map[block]bool{} // one that has members may be missing among the blocks
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
		for _, record := range page {
			for _, l := range []list{everySIM, listOf(record.Stored)} {
				a := pipe.SIsMember(within, l.blockKey(blockOf(record.IMSI)), memberOf(record.IMSI))
				entries = append(entries, entry{record: record, list: &l, held: a.Val})
				blocks[block{l, blockOf(record.IMSI)}] = true
			}
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
		for b := range blocks {
			pipe.ZAddNX(ctx, b.list.blocksKey(), redis.Z{Member: b.digits})
		}
		for _, e := range lacking {
			imsi := string(e.record.IMSI)
			switch {
			case e.list != nil:
				e.list.enlist(ctx, pipe, e.record.IMSI)
				continue
			case e.node != "":
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
		return s.dropStale(ctx, members, r, staleness{
			confirmed: func(record Record) bool {
				return strings.EqualFold(record.MME.Host, host) || strings.EqualFold(record.SGSN.Host, host)
			},
			drop: func(ctx context.Context, pipe redis.Pipeliner, record Record) {
				pipe.SRem(ctx, bucket, string(record.IMSI))
			},
			restore: func(ctx context.Context, pipe redis.Pipeliner, record Record) {
				pipe.SAdd(ctx, bucket, string(record.IMSI))
			},
		})
	}
	by, _, _ := strings.Cut(strings.TrimPrefix(bucket, indexPrefix), ":")
	fields, err := s.redis.HGetAll(within, bucket).Result()
	if err != nil {
		return unavailable(err)
	}
	var rounds []map[string]string // IMSI → a name that is said to be its own; one that has several is in several rounds
	for name, imsis := range fields {
		for imsi := range strings.FieldsSeq(imsis) {
			at := slices.IndexFunc(rounds, func(m map[string]string) bool { return m[imsi] == "" })
			if at < 0 {
				at = len(rounds)
				rounds = append(rounds, map[string]string{})
			}
			rounds[at][imsi] = name
		}
	}
	for _, of := range rounds {
		put := func(how string) func(context.Context, redis.Pipeliner, Record) {
			return func(ctx context.Context, pipe redis.Pipeliner, record Record) {
				s.index.EvalSha(ctx, pipe, []string{bucket}, of[string(record.IMSI)], string(record.IMSI), how)
			}
		}
		err := s.dropStale(ctx, slices.Collect(maps.Keys(of)), r, staleness{
			confirmed: func(record Record) bool { return namesOf(record.Stored)[Name(by)] == of[string(record.IMSI)] },
			drop:      put("0"), restore: put("1"),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// staleness is what dropStale has to know of an index.
type staleness struct {
	confirmed     func(Record) bool // the record says that the entry is right
	drop, restore func(context.Context, redis.Pipeliner, Record)
}

// dropStale drops the entries of those members that have no record, or one that does not confirm them. A record may have
// come, or come to confirm, after it was read, with its entry written before ours was dropped; so the records are read
// again afterwards, and what they confirm by then is restored. What is written later than that is written by who changes the
// record. So any number of repairs may run beside each other and beside changes.
func (s *Store) dropStale(ctx context.Context, members []string, r *Repaired, of staleness) error {
	imsis := make([]identity.IMSI, len(members))
	for i, m := range members {
		imsis[i] = identity.IMSI(m)
	}
	_, stale, err := s.sift(ctx, imsis, of.confirmed)
	if err != nil || len(stale) == 0 {
		return err
	}
	if err := s.fill(ctx, stale, of.drop); err != nil {
		return err
	}
	for i, record := range stale {
		imsis[i] = record.IMSI
	}
	again, _, err := s.sift(ctx, imsis[:len(stale)], of.confirmed)
	r.Removed.Add(int64(len(stale) - len(again)))
	if err != nil {
		return err
	}
	return s.fill(ctx, again, of.restore)
}

func (s *Store) fill(ctx context.Context, records []Record, step func(context.Context, redis.Pipeliner, Record)) error {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return s.inPipeline(within, []*redis.Script{s.index}, func(ctx context.Context, pipe redis.Pipeliner) {
		for _, record := range records {
			step(ctx, pipe, record)
		}
	})
}

// sift parts the records that confirm from those that do not; one that is not there has its IMSI only. One that cannot be
// read is in neither part.
func (s *Store) sift(ctx context.Context, imsis []identity.IMSI, confirmed func(Record) bool) (yes, no []Record, err error) {
	err = s.eachStored(ctx, imsis, func(imsi identity.IMSI, w stored, err error) error {
		r := Record{Subscriber: subscriber.Subscriber{IMSI: imsi}}
		if errors.Is(err, ErrUnknown) {
			no = append(no, r)
			return nil
		}
		if err == nil {
			r, err = s.recordAlone(imsi, w)
		}
		switch {
		case err != nil:
			s.log.Error("a record cannot be read", "imsi_tail", tail(imsi), "err", err)
		case confirmed(r):
			yes = append(yes, r)
		default:
			no = append(no, r)
		}
		return nil
	})
	return yes, no, err
}

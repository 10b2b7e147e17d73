package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Lists of IMSIs, one of all SIMs and one for each status, lead to the SIMs in order, so that a page costs what it holds and
// not what there is:
//
//	imsi-blocks, imsi-blocks:STATUS                 sorted set, all scores 0: the first 13 digits of the IMSIs that there are
//	                                                (all of a shorter one)
//	imsi-block:{DIGITS}, imsi-block:STATUS:{DIGITS} set of integers: the digits behind those, with a 1 before them
//	imsi-lists                                      1 once the lists are complete: since there was no SIM yet, or since a Repair
//
// A block holds 111 SIMs at most, which Redis keeps packed, two octets each. A block is written before its members, and
// both after the record, as with the other indexes.
const (
	blocksName  = "imsi-blocks"
	blockPrefix = "imsi-block:"
	listKey     = "imsi-lists"
	blockDigits = 13
	blocksPage  = 16 // blocks that one step of a list looks at
)

// ErrNotListed is the error of a list while Repair makes the list of IMSIs, of SIMs that older versions have put in.
var ErrNotListed = errors.New("the list of SIMs is being made: see hss job list")

// list is one of the lists: of all SIMs, or of those of a status.
type list subscriber.Status

const everySIM list = ""

func lists() []list {
	all := []list{everySIM}
	for _, status := range subscriber.Statuses() {
		all = append(all, list(status))
	}
	return all
}

// listOf is the list for the status of a profile as stored; what leaves it out is active, unless a template says otherwise.
func listOf(p subscriber.Profile) list { return list(cmp.Or(p.Status, subscriber.Active)) }

func (l list) has(p subscriber.Profile) bool { return l == everySIM || l == listOf(p) }

func (l list) blocksKey() string { return strings.TrimSuffix(blocksName+":"+string(l), ":") }

func (l list) blockKey(block string) string {
	if l == everySIM {
		return blockPrefix + "{" + block + "}"
	}
	return blockPrefix + string(l) + ":{" + block + "}"
}

func blockOf(imsi identity.IMSI) string { return string(imsi[:min(len(imsi), blockDigits)]) }

// memberOf is what stands for an IMSI in its block; imsiIn is the other way round, "" for what cannot be.
func memberOf(imsi identity.IMSI) string { return "1" + string(imsi[len(blockOf(imsi)):]) }

func imsiIn(block, member string) identity.IMSI {
	rest, ok := strings.CutPrefix(member, "1")
	if !ok {
		return ""
	}
	return identity.IMSI(block + rest)
}

// enlist puts into the pipeline what makes SIMs part of the list.
func (l list) enlist(ctx context.Context, pipe redis.Pipeliner, imsis ...identity.IMSI) {
	blocks := map[string][]any{}
	for _, imsi := range imsis {
		blocks[blockOf(imsi)] = append(blocks[blockOf(imsi)], memberOf(imsi))
	}
	if len(blocks) == 0 {
		return
	}
	scored := make([]redis.Z, 0, len(blocks))
	for block := range blocks {
		scored = append(scored, redis.Z{Member: block})
	}
	pipe.ZAdd(ctx, l.blocksKey(), scored...)
	for block, members := range blocks {
		pipe.SAdd(ctx, l.blockKey(block), members...)
	}
}

// delist takes one out. Its block stays, and Repair takes it out when it is empty.
func (l list) delist(ctx context.Context, pipe redis.Pipeliner, imsi identity.IMSI) {
	pipe.SRem(ctx, l.blockKey(blockOf(imsi)), memberOf(imsi))
}

// Listed says whether the lists are complete. A Redis without a SIM makes it so, hence it is to be asked before the first
// is put in.
func (s *Store) Listed(ctx context.Context) (bool, error) {
	if s.listed.Load() {
		return true, nil
	}
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	n, err := s.redis.Exists(within, listKey).Result()
	if err != nil {
		return false, unavailable(err)
	}
	if n == 0 {
		if some, err := s.hasSIMs(ctx); err != nil || some {
			return false, err
		}
		if err := s.markListed(ctx); err != nil {
			return false, err
		}
	}
	s.listed.Store(true)
	return true, nil
}

func (s *Store) markListed(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return unavailable(s.redis.Set(within, listKey, 1, 0).Err())
}

var errFound = errors.New("found")

// hasSIMs says whether there is any record.
func (s *Store) hasSIMs(ctx context.Context) (bool, error) {
	err := s.eachMaster(ctx, func(ctx context.Context, r redis.Cmdable) error {
		return s.eachName(ctx, r, keyPrefix+"{*", func([]string) error { return errFound })
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// eachBlock gives the IMSIs of the list that begin with prefix and are above after to f, in order, those of some blocks at
// a time, until f says no.
func (s *Store) eachBlock(ctx context.Context, l list, prefix string, after identity.IMSI, f func([]identity.IMSI) (bool, error)) error {
	first, last := "-", "+"
	if prefix != "" {
		first, last = "["+prefix[:min(len(prefix), blockDigits)], "["+prefix+"\xff"
	}
	if after != "" && string(after) > prefix {
		first = "[" + blockOf(after)
	}
	for {
		within, cancel := context.WithTimeout(ctx, s.within)
		blocks, err := s.redis.ZRangeByLex(within, l.blocksKey(), &redis.ZRangeBy{Min: first, Max: last, Count: blocksPage}).Result()
		var imsis []identity.IMSI
		if err == nil {
			imsis, err = s.members(within, l, blocks)
		}
		cancel()
		if err != nil {
			return unavailable(err)
		}
		imsis = slices.DeleteFunc(imsis, func(i identity.IMSI) bool { return i <= after || !strings.HasPrefix(string(i), prefix) })
		slices.Sort(imsis)
		if len(imsis) > 0 {
			if more, err := f(imsis); err != nil || !more {
				return err
			}
		}
		if len(blocks) < blocksPage {
			return nil
		}
		first = "(" + blocks[len(blocks)-1]
	}
}

// members returns what is in some blocks.
func (s *Store) members(ctx context.Context, l list, blocks []string) ([]identity.IMSI, error) {
	answers := make([]*redis.StringSliceCmd, len(blocks))
	_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, block := range blocks {
			answers[i] = pipe.SMembers(ctx, l.blockKey(block))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading blocks of IMSIs: %w", err)
	}
	var all []identity.IMSI
	for i, block := range blocks {
		for _, member := range answers[i].Val() {
			if imsi := imsiIn(block, member); imsi != "" {
				all = append(all, imsi)
			}
		}
	}
	return all, nil
}

// repairList takes out of a list what has no record, or one of another status, and empty blocks.
func (s *Store) repairList(ctx context.Context, l list, r *Repaired) error {
	err := s.eachBlock(ctx, l, "", "", func(imsis []identity.IMSI) (bool, error) {
		members := make([]string, len(imsis))
		for i, imsi := range imsis {
			members[i] = string(imsi)
		}
		return true, s.dropStale(ctx, members, r, staleness{
			confirmed: func(record Record) bool { return l.has(record.Stored) },
			drop:      func(ctx context.Context, pipe redis.Pipeliner, record Record) { l.delist(ctx, pipe, record.IMSI) },
			restore:   func(ctx context.Context, pipe redis.Pipeliner, record Record) { l.enlist(ctx, pipe, record.IMSI) },
		})
	})
	if err != nil {
		return err
	}
	for cursor := uint64(0); ; {
		within, cancel := context.WithTimeout(ctx, s.within)
		pairs, next, err := s.redis.ZScan(within, l.blocksKey(), cursor, "", scanCount).Result()
		if err == nil {
			err = s.dropEmpty(within, l, pairs)
		}
		cancel()
		if err != nil {
			return unavailable(err)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// dropEmpty takes empty blocks out, and puts those back that have got a member meanwhile.
func (s *Store) dropEmpty(ctx context.Context, l list, pairs []string) error {
	var blocks []string
	for i := 0; i < len(pairs); i += 2 {
		blocks = append(blocks, pairs[i])
	}
	empty, err := s.withMembers(ctx, l, blocks, false)
	if err != nil || len(empty) == 0 {
		return err
	}
	gone := make([]any, len(empty))
	for i, block := range empty {
		gone[i] = block
	}
	if err := s.redis.ZRem(ctx, l.blocksKey(), gone...).Err(); err != nil {
		return fmt.Errorf("removing empty blocks: %w", err)
	}
	filled, err := s.withMembers(ctx, l, empty, true)
	if err != nil {
		return err
	}
	for _, block := range filled {
		if err := s.redis.ZAdd(ctx, l.blocksKey(), redis.Z{Member: block}).Err(); err != nil {
			return fmt.Errorf("putting block %s back: %w", strconv.Quote(block), err)
		}
	}
	return nil
}

// withMembers returns those of the blocks that have members, or those that have none.
func (s *Store) withMembers(ctx context.Context, l list, blocks []string, some bool) ([]string, error) {
	answers := make([]*redis.IntCmd, len(blocks))
	_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, block := range blocks {
			answers[i] = pipe.Exists(ctx, l.blockKey(block))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for empty blocks: %w", err)
	}
	var all []string
	for i, block := range blocks {
		if (answers[i].Val() == 1) == some {
			all = append(all, block)
		}
	}
	return all, nil
}

package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Each calls f with the SIMs whose IMSI begins with prefix, a page after the other in no order. One that is added or
// removed meanwhile may or may not be among them, and one may come twice. It ends with the first error of f.
func (s *Store) Each(ctx context.Context, prefix string, f func([]Record) error) error {
	return s.eachMaster(ctx, func(ctx context.Context, r redis.Cmdable) error {
		return s.eachName(ctx, r, keyPrefix+"{"+prefix+"*", func(names []string) error {
			imsis := make([]identity.IMSI, len(names))
			for i, name := range names {
				imsis[i] = imsiOf(name)
			}
			page, err := s.LoadMany(ctx, imsis)
			if err != nil {
				return err
			}
			return f(page)
		})
	})
}

func imsiOf(name string) identity.IMSI {
	return identity.IMSI(strings.Trim(strings.TrimPrefix(name, keyPrefix), "{}"))
}

// eachName scans one master for keys that match; each step has the time of one operation.
func (s *Store) eachName(ctx context.Context, r redis.Cmdable, match string, f func([]string) error) error {
	cursor := uint64(0)
	for {
		within, cancel := context.WithTimeout(ctx, s.within)
		names, next, err := r.Scan(within, cursor, match, scanCount).Result()
		cancel()
		if err != nil {
			return unavailable(err)
		}
		if len(names) > 0 {
			if err := f(names); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Match says which SIMs a list is of; what is zero matches all.
type Match struct {
	Prefix   string // of the IMSI
	After    identity.IMSI
	Status   subscriber.Status
	Batch    string
	Template string
	APN      identity.APN
	Node     string // Origin-Host where it is registered
}

// byRecord says that the list alone does not answer it: of those that have it, records are to be read.
func (m Match) byRecord() bool {
	return m.Batch != "" || m.Template != "" || m.APN != ""
}

// Matches says whether a SIM is among them.
func (m Match) Matches(r Record) bool {
	at := func(g subscriber.Registration) bool { return !g.IsZero() && strings.EqualFold(g.Host, m.Node) }
	return strings.HasPrefix(string(r.IMSI), m.Prefix) && r.IMSI > m.After &&
		(m.Status == "" || r.Profile.Status == m.Status) &&
		(m.Batch == "" || r.Profile.Card.Batch == m.Batch) &&
		(m.Template == "" || r.Stored.Template == m.Template) &&
		(m.APN == "" || slices.ContainsFunc(r.Profile.APNs, func(a subscriber.APN) bool { return a.Name == m.APN })) &&
		(m.Node == "" || at(r.MME) || at(r.SGSN))
}

// Search returns the first limit SIMs by IMSI that match. A page of a prefix or a status costs what it holds; one that asks
// for more reads records in the order of IMSIs until it is full. The error may be ErrNotListed.
func (s *Store) Search(ctx context.Context, m Match, limit int) ([]Record, error) {
	if m.Node != "" {
		return s.searchAtNode(ctx, m, limit)
	}
	if listed, err := s.Listed(ctx); err != nil || !listed {
		return nil, cmp.Or(err, ErrNotListed)
	}
	l, err := s.listFor(ctx, m)
	if err != nil {
		return nil, err
	}
	step := scanCount
	if !m.byRecord() && m.Status == subscriber.Status(l) {
		step = limit // nearly all of them match
	}
	var all []Record
	err = s.eachBlock(ctx, l, m.Prefix, m.After, func(imsis []identity.IMSI) (bool, error) {
		for chunk := range slices.Chunk(imsis, step) {
			page, err := s.LoadMany(ctx, chunk)
			if err != nil {
				return false, err
			}
			for _, r := range page {
				if len(all) < limit && m.Matches(r) {
					all = append(all, r)
				}
			}
			if len(all) == limit {
				return false, nil
			}
		}
		return true, nil
	})
	return all, err
}

// listFor is the list in which a match is to be looked for: that of its status, unless templates give SIMs theirs.
func (s *Store) listFor(ctx context.Context, m Match) (list, error) {
	if m.Status == "" {
		return everySIM, nil
	}
	t, err := s.Templates(ctx)
	for _, p := range t.Profiles {
		if p.Status != "" {
			return everySIM, err
		}
	}
	return list(m.Status), err
}

func (s *Store) searchAtNode(ctx context.Context, m Match, limit int) ([]Record, error) {
	imsis, err := s.AtNode(ctx, m.Node)
	if err != nil {
		return nil, err
	}
	imsis = slices.DeleteFunc(imsis, func(i identity.IMSI) bool { return i <= m.After || !strings.HasPrefix(string(i), m.Prefix) })
	var all []Record
	for chunk := range slices.Chunk(imsis, scanCount) {
		page, err := s.LoadMany(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if m.Matches(r) {
				all = append(all, r)
			}
		}
		if len(all) >= limit {
			return all[:limit], nil
		}
	}
	return all, nil
}

// smallest keeps the first limit of what it is given, each key once.
type smallest[T any] struct {
	limit int
	less  func(T) string
	all   map[string]T
	worst string // bound beyond which nothing is kept, once there is enough
}

func (k *smallest[T]) add(v T) {
	name := k.less(v)
	if k.worst != "" && name >= k.worst {
		return
	}
	if k.all == nil {
		k.all = map[string]T{}
	}
	k.all[name] = v
	if len(k.all) < 2*k.limit+scanCount {
		return
	}
	names := slices.Sorted(maps.Keys(k.all))
	for _, n := range names[k.limit:] {
		delete(k.all, n)
	}
	k.worst = names[k.limit]
}

func (k *smallest[T]) sorted() []T {
	names := slices.Sorted(maps.Keys(k.all))
	all := make([]T, 0, min(k.limit, len(names)))
	for _, n := range names[:min(k.limit, len(names))] {
		all = append(all, k.all[n])
	}
	return all
}

package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Static addresses belong to one SIM each, within their APN. Who has one is in buckets:
//
//	ad:B   hash: APN and address → IMSI and the time of writing, in milliseconds since 1970
//
// An address is written here before the record that has it, so that of two SIMs that are given the same at once one is
// refused. An entry that no record confirms is of a change that goes on or that has failed: it counts for occupiedFor,
// and whoever wants the address after that takes it. It is never taken back on failure, since another change of the same
// SIM may have written it too.
const (
	addressPrefix  = "ad:"
	addressBuckets = 16384
	occupiedFor    = time.Minute // longer than a change takes
	occupyTries    = 3           // against others who do the same
)

// Address is a static address of an APN; of IPv6 the first of its /64.
type Address struct {
	APN identity.APN
	IP  netip.Addr
}

// String is the name under which the address is kept.
func (a Address) String() string { return string(a.APN) + " " + a.IP.String() }

func (a Address) key() string {
	return fmt.Sprintf("%s%d", addressPrefix, bucket(a.String(), addressBuckets))
}

// TakenError is the error of giving a SIM an address that another one has.
type TakenError struct {
	Address

	By identity.IMSI
}

// Error names the address and who has it.
func (e *TakenError) Error() string {
	return fmt.Sprintf("static address %s of APN %s is that of IMSI %s", e.IP, e.APN, e.By)
}

// AddressesOf returns the static addresses that a profile, as stored, has.
func AddressesOf(p subscriber.Profile) []Address {
	var all []Address
	for _, a := range p.APNs {
		if a.StaticIPv4.IsValid() {
			all = append(all, Address{a.Name, a.StaticIPv4})
		}
		if a.StaticIPv6.IsValid() {
			all = append(all, Address{a.Name, netip.PrefixFrom(a.StaticIPv6, 64).Masked().Addr()})
		}
	}
	return all
}

// difference returns what a has and b has not.
func difference(a, b []Address) []Address {
	return slices.DeleteFunc(slices.Clone(a), func(x Address) bool { return slices.Contains(b, x) })
}

// occupant is what is written about an address.
type occupant struct {
	text string // as written; "" nothing
	imsi identity.IMSI
	at   time.Time
}

func parseOccupant(text string) occupant {
	imsi, at, _ := strings.Cut(text, " ")
	n, _ := strconv.ParseInt(at, 10, 64) // what is no number is of 1970
	return occupant{text: text, imsi: identity.IMSI(imsi), at: time.UnixMilli(n)}
}

// wish is an address that a SIM is to be given.
type wish struct {
	Address

	imsi    identity.IMSI
	instead string // what may be replaced
	err     error
}

func wishesOf(imsi identity.IMSI, addresses []Address) []*wish {
	all := make([]*wish, len(addresses))
	for i, a := range addresses {
		all[i] = &wish{Address: a, imsi: imsi}
	}
	return all
}

// occupy gives SIMs addresses; what becomes of one is in its err, a *TakenError. The error is ErrUnavailable.
func (s *Store) occupy(ctx context.Context, wishes []*wish) error {
	open, err := s.occupyFree(ctx, wishes)
	if err != nil {
		return err
	}
	for range occupyTries {
		var contested []*wish
		var others []occupant
		err := s.occupyOnce(ctx, open, func(w *wish, o occupant) {
			contested, others = append(contested, w), append(others, o)
		})
		if err != nil || len(contested) == 0 {
			return err
		}
		confirmed, err := s.confirmed(ctx, contested, others)
		if err != nil {
			return err
		}
		open = nil
		for i, w := range contested {
			w.err = &TakenError{Address: w.Address, By: others[i].imsi}
			if !confirmed[i] && time.Since(others[i].at) > occupiedFor {
				w.err, w.instead = nil, others[i].text
				open = append(open, w)
			}
		}
	}
	for _, w := range open {
		w.err = ErrChanged
	}
	return nil
}

// written is what is written for a wish now.
func (w *wish) written() string {
	return string(w.imsi) + " " + strconv.FormatInt(time.Now().UnixMilli(), 10)
}

// occupyFree writes those about which nothing is written, which are most, and returns the others.
func (s *Store) occupyFree(ctx context.Context, wishes []*wish) (others []*wish, err error) {
	if len(wishes) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	answers := make([]*redis.BoolCmd, len(wishes))
	if _, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, w := range wishes {
			answers[i] = pipe.HSetNX(ctx, w.key(), w.String(), w.written())
		}
		return nil
	}); err != nil {
		return nil, unavailable(err)
	}
	for i, w := range wishes {
		if !answers[i].Val() {
			others = append(others, w)
		}
	}
	return others, nil
}

// occupyOnce writes those that nobody has, and gives the others to contested.
func (s *Store) occupyOnce(ctx context.Context, wishes []*wish, contested func(*wish, occupant)) error {
	if len(wishes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	answers := make([]*redis.Cmd, len(wishes))
	err := s.inPipeline(ctx, []*redis.Script{s.occupyScript}, func(ctx context.Context, pipe redis.Pipeliner) {
		for i, w := range wishes {
			answers[i] = s.occupyScript.EvalSha(ctx, pipe, []string{w.key()}, w.String(), string(w.imsi), w.written(), w.instead)
		}
	})
	if err != nil {
		return err
	}
	for i, w := range wishes {
		text, err := answers[i].StringSlice()
		if err != nil {
			return unavailable(err)
		}
		if text[0] != "" {
			contested(w, parseOccupant(text[0]))
		}
	}
	return nil
}

// confirmed says of each address whether the record of who has it says so too.
func (s *Store) confirmed(ctx context.Context, wishes []*wish, others []occupant) ([]bool, error) {
	imsis := make([]identity.IMSI, len(others))
	for i, o := range others {
		imsis[i] = o.imsi
	}
	held := make([]bool, len(others))
	i := -1
	err := s.eachStored(ctx, imsis, func(_ identity.IMSI, w stored, err error) error {
		i++
		if err != nil {
			held[i] = !errors.Is(err, ErrUnknown) // a record that cannot be read keeps what it has
			return nil
		}
		p, err := decodeProfile(w.profile)
		held[i] = err != nil || slices.Contains(AddressesOf(p), wishes[i].Address)
		return nil
	})
	return held, err
}

// occupyOne gives one SIM addresses. The error is a *TakenError, ErrChanged or ErrUnavailable.
func (s *Store) occupyOne(ctx context.Context, imsi identity.IMSI, addresses []Address) error {
	wishes := wishesOf(imsi, addresses)
	if err := s.occupy(ctx, wishes); err != nil {
		return err
	}
	for _, w := range wishes {
		if w.err != nil {
			return w.err
		}
	}
	return nil
}

// occupants returns what is written about addresses.
func (s *Store) occupants(ctx context.Context, addresses []Address) ([]occupant, error) {
	all := make([]occupant, 0, len(addresses))
	for chunk := range slices.Chunk(addresses, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.StringCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, a := range chunk {
				answers[i] = pipe.HGet(within, a.key(), a.String())
			}
			return nil
		})
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, unavailable(err)
		}
		for _, a := range answers {
			all = append(all, parseOccupant(a.Val()))
		}
	}
	return all, nil
}

// AddressHolders returns who has those of the addresses that somebody has, by their records.
func (s *Store) AddressHolders(ctx context.Context, addresses []Address) (map[Address]identity.IMSI, error) {
	others, err := s.occupants(ctx, addresses)
	if err != nil {
		return nil, err
	}
	confirmed, err := s.confirmed(ctx, wishesOf("", addresses), others)
	if err != nil {
		return nil, err
	}
	all := map[Address]identity.IMSI{}
	for i, a := range addresses {
		if confirmed[i] {
			all[a] = others[i].imsi
		}
	}
	return all, nil
}

// vacate takes addresses from a SIM whose record no longer has them, as far as what is written about them is what was read
// before that. That it fails is logged, not returned: what no record confirms is taken by whoever wants it.
func (s *Store) vacate(ctx context.Context, imsi identity.IMSI, addresses []Address, read []occupant) {
	s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
		for i, a := range addresses {
			if read[i].imsi == imsi {
				s.vacateScript.EvalSha(ctx, pipe, []string{a.key()}, a.String(), read[i].text)
			}
		}
	}, s.vacateScript)
}

// repairAddresses puts in the addresses of a page of records that are not written down, and counts those that two SIMs have.
func (s *Store) repairAddresses(ctx context.Context, page []Record, r *Repaired) error {
	var addresses []Address
	var owners []identity.IMSI
	for _, record := range page {
		for _, a := range AddressesOf(record.Stored) {
			addresses, owners = append(addresses, a), append(owners, record.IMSI)
		}
	}
	others, err := s.occupants(ctx, addresses)
	if err != nil {
		return err
	}
	var lacking []*wish
	for i, a := range addresses {
		if others[i].imsi != owners[i] {
			lacking = append(lacking, &wish{Address: a, imsi: owners[i]})
		}
	}
	if err := s.occupy(ctx, lacking); err != nil {
		return err
	}
	for _, w := range lacking {
		if w.err == nil {
			r.Added.Add(1)
			continue
		}
		r.Conflicts.Add(1)
		s.log.Error("two SIMs have one static address: change one of them", "apn", w.APN, "address", w.IP, "imsi_tail", tail(w.imsi), "err", w.err)
	}
	return nil
}

// repairAddressBucket takes out of one bucket what no record confirms.
func (s *Store) repairAddressBucket(ctx context.Context, key string, r *Repaired) error {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	fields, err := s.redis.HGetAll(within, key).Result()
	if err != nil {
		return unavailable(err)
	}
	var wishes []*wish
	var others []occupant
	for name, text := range fields {
		apn, ip, _ := strings.Cut(name, " ")
		address, _ := netip.ParseAddr(ip) // what is none, no record confirms
		if o := parseOccupant(text); time.Since(o.at) > occupiedFor {
			wishes, others = append(wishes, &wish{Address: Address{identity.APN(apn), address}}), append(others, o)
		}
	}
	confirmed, err := s.confirmed(ctx, wishes, others)
	if err != nil {
		return err
	}
	for i, w := range wishes {
		if !confirmed[i] {
			r.Removed.Add(1)
			s.vacate(ctx, others[i].imsi, []Address{w.Address}, others[i:i+1])
		}
	}
	return nil
}

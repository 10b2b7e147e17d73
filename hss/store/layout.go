package store

import (
	"context"
	"crypto/sha1" //nolint:gosec // names, no protection
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// A SIM's record is one string, since a hash with values above 64 octets takes Redis twice the memory and time. Numbers are
// in network order:
//
//	octet 1   version, 2
//	2–7       SEQ, the last given out
//	8–13      lead + 2^40: SEQ is at least the clock plus lead
//	14        slot of the IND table that the next unknown node takes
//	15        nodes in the IND table
//	16–19     revision of the profile
//	20        octets of the sealed keys
//	21–22     of the profile
//	23–24     of the MME's registration
//	25–26     of the SGSN's registration
//	27–       IND table: 4 octets that name a node, see nodeTag; the place is its IND. It has room for an even number of
//	          nodes, two at least, so that most that are new to a SIM are written where they stand
//	          sealed keys (seal.go), profile (profile.go), registrations: JSON
//
// The first 15 octets and the table are of lua/advance.lua, which writes SEQ alone, in place. Version 1 was a hash; a script
// that meets one turns it into this (lua/record.lua).
const (
	layoutVersion = 2
	headOctets    = 26
	leadBias      = 1 << 40
	tagOctets     = 4
	maxPart       = 1<<16 - 1 // octets of a profile or a registration
)

// stored is a record as Redis has it.
type stored struct {
	seq      uint64
	lead     int64
	next     byte
	nodes    string
	revision uint32

	sealed, profile, mme, sgsn string
}

// newStored is the record of a SIM that is put in.
func newStored(sealed, profile []byte, seq uint64, now time.Time) stored {
	return stored{seq: seq, lead: int64(seq) - clock(now), revision: 1, sealed: string(sealed), profile: string(profile)}
}

// encode returns the octets.
func (r stored) encode() ([]byte, error) {
	if len(r.profile) > maxPart || len(r.sealed) > 0xff || r.seq > aka.MaxSEQ {
		return nil, fmt.Errorf("a record with a profile of %d octets, keys of %d and SEQ %d", len(r.profile), len(r.sealed), r.seq)
	}
	b := make([]byte, 0, headOctets+roomOf(len(r.nodes))+len(r.sealed)+len(r.profile)+len(r.mme)+len(r.sgsn))
	b = appendUint48(append(b, layoutVersion), r.seq)
	b = appendUint48(b, uint64(r.lead+leadBias))
	b = binary.BigEndian.AppendUint32(append(b, r.next, byte(len(r.nodes)/tagOctets)), r.revision)
	b = append(b, byte(len(r.sealed)))
	for _, part := range []string{r.profile, r.mme, r.sgsn} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
	}
	b = append(append(b, r.nodes...), make([]byte, roomOf(len(r.nodes))-len(r.nodes))...)
	for _, part := range []string{r.sealed, r.profile, r.mme, r.sgsn} {
		b = append(b, part...)
	}
	return b, nil
}

// roomOf returns how many octets the IND table takes that holds so many octets of tags.
func roomOf(tags int) int {
	const pair = 2 * tagOctets
	return max(pair, (tags+pair-1)/pair*pair)
}

var errLayout = errors.New("the record of the SIM is of an unknown form")

// parseStored reads a record; its parts are parts of text.
func parseStored(text string) (r stored, err error) {
	if len(text) < headOctets || text[0] != layoutVersion {
		return r, errLayout
	}
	r.seq, r.lead, r.next, r.revision = uint48(text[1:]), int64(uint48(text[7:]))-leadBias, text[13], binary.BigEndian.Uint32([]byte(text[15:19]))
	rest := text[headOctets:]
	part := func(n int) string {
		if n > len(rest) {
			err = errLayout
			return ""
		}
		p := rest[:n]
		rest = rest[n:]
		return p
	}
	length := func(at int) int { return int(text[at])<<8 | int(text[at+1]) }
	tags := tagOctets * int(text[14])
	if table := part(roomOf(tags)); err == nil {
		r.nodes = table[:tags]
	}
	r.sealed = part(int(text[19]))
	r.profile, r.mme, r.sgsn = part(length(20)), part(length(22)), part(length(24))
	if len(rest) > 0 {
		err = errLayout
	}
	return r, err
}

func appendUint48(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(n>>32)), uint32(n))
}

func uint48(s string) uint64 {
	return uint64(s[0])<<40 | uint64(s[1])<<32 | uint64(s[2])<<24 | uint64(s[3])<<16 | uint64(s[4])<<8 | uint64(s[5])
}

// storedRegistration is a registration as its record has it: JSON with names of one letter. The scripts read h and x.
type storedRegistration struct {
	Host      string         `json:"h"`
	Realm     *string        `json:"r,omitempty"` // nil when it is what follows the host's first label
	PLMN      string         `json:"p,omitempty"`
	RAT       subscriber.RAT `json:"a,omitempty"`
	IMEI      string         `json:"i,omitempty"`
	SMS       string         `json:"s,omitempty"`
	At        int64          `json:"t,omitempty"` // milliseconds since 1970
	Purged    bool           `json:"x,omitempty"`
	Reachable int64          `json:"n,omitempty"` // milliseconds since 1970
	Features  uint32         `json:"o,omitempty"`
	Features2 uint32         `json:"f,omitempty"`
}

func encodeRegistration(r subscriber.Registration) (string, error) {
	w := storedRegistration{
		Host: r.Host, PLMN: r.PLMN, RAT: r.RAT, IMEI: r.IMEI, SMS: r.SMS, Purged: r.Purged, Features: r.Features, Features2: r.Features2,
		At: milliseconds(r.At), Reachable: milliseconds(r.Reachable),
	}
	if r.Realm != realmOf(r.Host) {
		w.Realm = &r.Realm
	}
	b, err := json.Marshal(w)
	if err == nil && len(b) > maxPart {
		err = fmt.Errorf("%d octets", len(b))
	}
	if err != nil {
		return "", fmt.Errorf("encoding the registration: %w", err)
	}
	return string(b), nil
}

// decodeRegistration reads a registration; "" is none. Records that were of version 1 have the names of
// subscriber.Registration.
func decodeRegistration(text string) (r subscriber.Registration, err error) {
	if text == "" {
		return r, nil
	}
	var w storedRegistration
	if err := decode(text, &w); err != nil {
		return r, err
	}
	if w.Host == "" {
		return r, decode(text, &r)
	}
	r = subscriber.Registration{
		Host: w.Host, Realm: realmOf(w.Host), PLMN: w.PLMN, RAT: w.RAT, IMEI: w.IMEI, SMS: w.SMS, Purged: w.Purged, Features: w.Features, Features2: w.Features2,
		At: timeOf(w.At), Reachable: timeOf(w.Reachable),
	}
	if w.Realm != nil {
		r.Realm = *w.Realm
	}
	return r, nil
}

// realmOf is the realm that a host's name suggests.
func realmOf(host string) string {
	_, realm, _ := strings.Cut(host, ".")
	return realm
}

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(milliseconds int64) time.Time {
	if milliseconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(milliseconds).UTC()
}

// nodeTag names a node in IND tables. Two nodes with one tag, once in 2^32, share an IND, which only spoils vectors that one
// of them has fetched ahead.
func nodeTag(host string) [tagOctets]byte {
	sum := sha1.Sum([]byte(strings.ToLower(host)))
	return [tagOctets]byte(sum[:])
}

// eachStored reads records and gives them to f in their order, with ErrUnknown for a SIM that is not there or with what is
// wrong with its record. The error is ErrUnavailable, or f's.
func (s *Store) eachStored(ctx context.Context, imsis []identity.IMSI, f func(identity.IMSI, stored, error) error) error {
	for chunk := range slices.Chunk(imsis, scanCount) {
		within, cancel := context.WithTimeout(ctx, s.within)
		answers := make([]*redis.StringCmd, len(chunk))
		_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
			for i, imsi := range chunk {
				answers[i] = pipe.Get(within, key(imsi))
			}
			return nil
		})
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) && !isVersion1(err) {
			return unavailable(err)
		}
		for i, imsi := range chunk {
			r, err := s.storedOf(ctx, imsi, answers[i])
			if errors.Is(err, ErrUnavailable) {
				return err
			}
			if err := f(imsi, r, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// stored reads one record. The error is ErrUnknown for a SIM that is not there.
func (s *Store) stored(ctx context.Context, imsi identity.IMSI) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return s.storedOf(ctx, imsi, s.redis.Get(ctx, key(imsi)))
}

func (s *Store) storedOf(ctx context.Context, imsi identity.IMSI, answer *redis.StringCmd) (stored, error) {
	text, err := answer.Result()
	if isVersion1(err) {
		var upgraded []string
		if upgraded, err = s.run(ctx, s.upgrade, imsi); err == nil {
			text = upgraded[0]
		}
	}
	switch {
	case errors.Is(err, redis.Nil), err == nil && text == "":
		return stored{}, ErrUnknown
	case err != nil:
		return stored{}, unavailable(err)
	}
	return parseStored(text)
}

// isVersion1 says that a key is no string.
func isVersion1(err error) bool { return err != nil && redis.HasErrorPrefix(err, "WRONGTYPE") }

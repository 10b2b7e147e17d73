package store

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// Saved is all there is of a SIM, as a dump has it.
type Saved struct {
	IMSI    identity.IMSI           `json:"imsi"`
	Profile subscriber.Profile      `json:"profile"`            // as stored
	Sealed  []byte                  `json:"sealed"`             // its keys
	SEQ     uint64                  `json:"seq"`                // the last given out
	At      time.Time               `json:"at"`                 // when SEQ was read
	INDs    []byte                  `json:"inds,omitempty"`     // IND table: tags of nodes, see layout.go
	NextIND uint8                   `json:"next_ind,omitempty"` // the place in it that the next unknown node takes
	MME     subscriber.Registration `json:"mme,omitzero"`
	SGSN    subscriber.Registration `json:"sgsn,omitzero"`

	Gateways map[string]subscriber.Gateway `json:"gateways,omitempty"` // PDN-GWs by APN
}

// Save returns what a dump has of a page of records.
func (s *Store) Save(ctx context.Context, page []Record, now time.Time) ([]Saved, error) {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	gateways := make([]*redis.MapStringStringCmd, len(page))
	_, err := s.redis.Pipelined(within, func(pipe redis.Pipeliner) error {
		for i, r := range page {
			gateways[i] = pipe.HGetAll(within, gatewayKey(r.IMSI))
		}
		return nil
	})
	if err != nil {
		return nil, unavailable(err)
	}
	all := make([]Saved, len(page))
	for i, r := range page {
		all[i] = Saved{
			IMSI: r.IMSI, Profile: r.Stored, Sealed: r.Sealed, SEQ: r.SEQ, At: now.UTC(), INDs: r.INDs, NextIND: r.NextIND, MME: r.MME, SGSN: r.SGSN,
		}
		if all[i].Gateways, err = decodeGateways(gateways[i].Val()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// restoreLeap is how far SEQ leaps when a SIM comes back from a dump, beside what the clock adds for the time since: more
// vectors than were given out since can be, and a sixteenth of the leap that a card accepts at once.
const restoreLeap = subscriber.Delta / 16

// Restore puts a SIM of a dump in, with its keys as sealed then and where it was registered. No SEQ that was given out since
// comes again. The error is ErrExists for a SIM that is there, a *TakenError, or says that the keys do not open.
func (s *Store) Restore(ctx context.Context, v Saved) error {
	if _, err := identity.ParseIMSI(string(v.IMSI)); err != nil {
		return err
	}
	c, err := s.keyring.open(v.IMSI, string(v.Sealed))
	if err != nil {
		return err
	}
	profile, err := encodeProfile(v.Profile)
	if err != nil {
		return err
	}
	r := newStored(s.keyring.seal(v.IMSI, c), profile, v.SEQ+restoreLeap, v.At)
	if len(v.INDs)%tagOctets != 0 || len(v.INDs) > aka.INDs*tagOctets || v.NextIND >= aka.INDs {
		return fmt.Errorf("an IND table of %d octets, next %d", len(v.INDs), v.NextIND)
	}
	r.nodes, r.next = string(v.INDs), v.NextIND
	for part, g := range map[*string]subscriber.Registration{&r.mme: v.MME, &r.sgsn: v.SGSN} {
		if g.IsZero() {
			continue
		}
		if *part, err = encodeRegistration(g); err != nil {
			return err
		}
	}
	if err := s.put(ctx, v.IMSI, v.Profile, r); err != nil {
		return err
	}
	s.moved(ctx, v.IMSI, "", v.MME.Host)
	s.moved(ctx, v.IMSI, "", v.SGSN.Host)
	return s.PutGateways(ctx, v.IMSI, v.Gateways)
}

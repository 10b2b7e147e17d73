package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// maxEdits bounds how often an edit starts over because the registration changed under it.
const maxEdits = 16

// EditRegistration changes what is known of a registration while it is that host's. The error is ErrUnknown without a
// registration on that side, or ErrChanged when it is another node's.
func (s *Store) EditRegistration(ctx context.Context, imsi identity.IMSI, side subscriber.Side, host string, f func(subscriber.Registration) subscriber.Registration) error {
	for range maxEdits {
		w, err := s.stored(ctx, imsi)
		if err != nil {
			return err
		}
		text := w.mme
		if side == subscriber.SGSN {
			text = w.sgsn
		}
		if text == "" {
			return ErrUnknown
		}
		r, err := decodeRegistration(text)
		if err != nil {
			return err
		}
		if !strings.EqualFold(r.Host, host) {
			return ErrChanged
		}
		next, err := encodeRegistration(f(r))
		if err != nil {
			return err
		}
		answer, err := s.batcher.do(call{script: s.edit, keys: []string{key(imsi)}, args: []any{string(side), text, next}})
		if err != nil {
			return unavailable(err)
		}
		if answer[0] == "done" {
			return nil
		}
	}
	return ErrChanged
}

// The PDN-GWs of a SIM's APNs are a hash beside its record: pgw:{IMSI}, APN → JSON of subscriber.Gateway. They belong to its
// registrations, and go with the last.

func gatewayKey(imsi identity.IMSI) string { return "pgw:{" + string(imsi) + "}" }

// PutGateways stores which PDN-GWs serve those APNs; a zero one is none any more.
func (s *Store) PutGateways(ctx context.Context, imsi identity.IMSI, all map[string]subscriber.Gateway) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	pipe := s.redis.Pipeline()
	for apn, g := range all {
		if g.IsZero() {
			pipe.HDel(ctx, gatewayKey(imsi), apn)
			continue
		}
		j, err := json.Marshal(g)
		if err != nil {
			return fmt.Errorf("encoding a PDN-GW: %w", err)
		}
		pipe.HSet(ctx, gatewayKey(imsi), apn, j)
	}
	_, err := pipe.Exec(ctx)
	return unavailable(err)
}

// DropGateways forgets the PDN-GWs of a SIM.
func (s *Store) DropGateways(ctx context.Context, imsi identity.IMSI) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return unavailable(s.redis.Del(ctx, gatewayKey(imsi)).Err())
}

// Gateways returns the PDN-GWs of a SIM by APN.
func (s *Store) Gateways(ctx context.Context, imsi identity.IMSI) (map[string]subscriber.Gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	texts, err := s.redis.HGetAll(ctx, gatewayKey(imsi)).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	return decodeGateways(texts)
}

func decodeGateways(texts map[string]string) (map[string]subscriber.Gateway, error) {
	all := make(map[string]subscriber.Gateway, len(texts))
	for apn, text := range texts {
		var g subscriber.Gateway
		if err := decode(text, &g); err != nil {
			return nil, err
		}
		all[apn] = g
	}
	return all, nil
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Templates are one hash, small as they are few; its fields are profile:NAME and apn:NAME, each the JSON of a
// subscriber.Profile or subscriber.APN.
const (
	templatesKey    = "templates"
	profileTemplate = "profile:"
	apnTemplate     = "apn:"
	maxTemplates    = 1000
	// TemplatesWithin is how long another instance may go on with templates that have changed.
	TemplatesWithin = time.Second
)

// ErrInUse is the error of removing a template that SIMs refer to.
var ErrInUse = errors.New("SIMs refer to the template")

// templates is a copy of the templates, read again when it is older than TemplatesWithin. When Redis is away, the copy
// there is serves on.
type templates struct {
	mu   sync.Mutex
	all  subscriber.Templates
	read time.Time // zero: never
}

// Templates returns the templates.
func (s *Store) Templates(ctx context.Context) (subscriber.Templates, error) {
	t := &s.templates
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.read.IsZero() && time.Since(t.read) < TemplatesWithin {
		return t.all, nil
	}
	all, err := s.readTemplates(ctx)
	if err != nil && t.read.IsZero() {
		return all, err
	}
	if err == nil {
		t.all = all
	}
	t.read = time.Now()
	return t.all, nil
}

func (s *Store) readTemplates(ctx context.Context) (subscriber.Templates, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	all := subscriber.Templates{Profiles: map[string]subscriber.Profile{}, APNs: map[identity.APN]subscriber.APN{}}
	fields, err := s.redis.HGetAll(ctx, templatesKey).Result()
	if err != nil {
		return all, unavailable(err)
	}
	for field, text := range fields {
		if name, ok := strings.CutPrefix(field, profileTemplate); ok {
			var p subscriber.Profile
			if err := decode(text, &p); err != nil {
				return all, fmt.Errorf("template %s: %w", name, err)
			}
			all.Profiles[name] = p
		}
		if name, ok := strings.CutPrefix(field, apnTemplate); ok {
			var a subscriber.APN
			if err := decode(text, &a); err != nil {
				return all, fmt.Errorf("APN %s: %w", name, err)
			}
			all.APNs[identity.APN(name)] = a
		}
	}
	return all, nil
}

// forgetTemplates has the next who asks read them again.
func (s *Store) forgetTemplates() {
	s.templates.mu.Lock()
	defer s.templates.mu.Unlock()
	s.templates.read = time.Time{}
}

// RestoreTemplates puts templates in whose names are not there, and returns how many.
func (s *Store) RestoreTemplates(ctx context.Context, t subscriber.Templates) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	fields := map[string]any{}
	for name, p := range t.Profiles {
		fields[profileTemplate+name] = p
	}
	for name, a := range t.APNs {
		fields[apnTemplate+string(name)] = a
	}
	defer s.forgetTemplates()
	added := 0
	for field, v := range fields {
		j, err := json.Marshal(v)
		if err != nil {
			return added, fmt.Errorf("encoding a template: %w", err)
		}
		yes, err := s.redis.HSetNX(ctx, templatesKey, field, j).Result()
		if err != nil {
			return added, unavailable(err)
		}
		if yes {
			added++
		}
	}
	return added, nil
}

// PutTemplate puts a template for profiles in, or in the place of the one of that name.
func (s *Store) PutTemplate(ctx context.Context, name string, p subscriber.Profile) error {
	return s.putTemplate(ctx, profileTemplate+name, p)
}

// PutAPN puts a template for an APN in, or in the place of the one of that name.
func (s *Store) PutAPN(ctx context.Context, a subscriber.APN) error {
	return s.putTemplate(ctx, apnTemplate+string(a.Name), a)
}

func (s *Store) putTemplate(ctx context.Context, field string, v any) error {
	j, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a template: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	n, err := s.redis.HLen(ctx, templatesKey).Result()
	if err != nil {
		return unavailable(err)
	}
	if n >= maxTemplates {
		return fmt.Errorf("there are %d templates already, at most %d", n, maxTemplates)
	}
	defer s.forgetTemplates()
	return unavailable(s.redis.HSet(ctx, templatesKey, field, j).Err())
}

// RemoveTemplate takes a template for profiles out. The error is ErrUnknown, or ErrInUse.
func (s *Store) RemoveTemplate(ctx context.Context, name string) error {
	inUse := errors.New("found")
	err := s.Each(ctx, "", func(page []Record) error {
		for _, r := range page {
			if r.Stored.Template == name {
				return inUse
			}
		}
		return nil
	})
	if errors.Is(err, inUse) {
		return ErrInUse
	}
	if err != nil {
		return err
	}
	return s.removeTemplate(ctx, profileTemplate+name)
}

// RemoveAPN takes a template for an APN out; SIMs that have the APN go on with the defaults. The error is ErrUnknown.
func (s *Store) RemoveAPN(ctx context.Context, name identity.APN) error {
	return s.removeTemplate(ctx, apnTemplate+string(name))
}

func (s *Store) removeTemplate(ctx context.Context, field string) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	n, err := s.redis.HDel(ctx, templatesKey, field).Result()
	s.forgetTemplates()
	switch {
	case err != nil:
		return unavailable(err)
	case n == 0:
		return ErrUnknown
	}
	return nil
}

package provision

import (
	"context"
	"maps"
	"slices"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Template is a template for profiles with its name.
type Template struct {
	Name    string             `json:"name" yaml:"name"`
	Profile subscriber.Profile `json:"profile" yaml:"profile"`
}

func (v *Service) templates(ctx context.Context) (subscriber.Templates, error) {
	t, err := v.store.Templates(ctx)
	return t, refusal("templates", err)
}

func (v *Service) putTemplate(ctx context.Context, name string, p subscriber.Profile) (Template, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before, err := v.templates(ctx)
	if err != nil {
		return Template{}, err
	}
	if err := before.ValidateTemplate(name, p); err != nil {
		return Template{}, bad("%v", err)
	}
	detail := difference(before.Profiles[name], p)
	err = refusal("template", v.store.PutTemplate(ctx, name, p))
	v.audit(ctx, "template.set", name, detail, err)
	if err != nil || detail == "" {
		return Template{Name: name, Profile: p}, err
	}
	after := subscriber.Templates{Profiles: maps.Clone(before.Profiles), APNs: before.APNs}
	after.Profiles[name] = p
	if _, existed := before.Profiles[name]; existed {
		err = v.startTelling(name, func(r store.Record) bool { return r.Stored.Template == name }, before, after)
	}
	return Template{Name: name, Profile: p}, err
}

func (v *Service) removeTemplate(ctx context.Context, name string) error {
	before, err := v.templates(ctx)
	if err != nil {
		return err
	}
	err = refusal("template "+name, v.store.RemoveTemplate(ctx, name))
	v.audit(ctx, "template.remove", name, difference(before.Profiles[name], subscriber.Profile{}), err)
	return err
}

func (v *Service) putAPN(ctx context.Context, a subscriber.APN) (subscriber.APN, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before, err := v.templates(ctx)
	if err != nil {
		return a, err
	}
	if err := subscriber.ValidateAPNTemplate(a); err != nil {
		return a, bad("%v", err)
	}
	detail := difference(before.APNs[a.Name], a)
	err = refusal("APN", v.store.PutAPN(ctx, a))
	v.audit(ctx, "apn.set", string(a.Name), detail, err)
	if err != nil || detail == "" {
		return a, err
	}
	after := subscriber.Templates{Profiles: before.Profiles, APNs: maps.Clone(before.APNs)}
	after.APNs[a.Name] = a
	err = v.startTelling(string(a.Name), hasAPN(a.Name), before, after)
	return a, err
}

func (v *Service) removeAPN(ctx context.Context, name identity.APN) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	before, err := v.templates(ctx)
	if err != nil {
		return err
	}
	err = refusal("APN "+string(name), v.store.RemoveAPN(ctx, name))
	v.audit(ctx, "apn.remove", string(name), difference(before.APNs[name], subscriber.APN{}), err)
	if err != nil {
		return err
	}
	after := subscriber.Templates{Profiles: before.Profiles, APNs: maps.Clone(before.APNs)}
	delete(after.APNs, name)
	err = v.startTelling(string(name), hasAPN(name), before, after)
	return err
}

func hasAPN(name identity.APN) func(store.Record) bool {
	return func(r store.Record) bool {
		return slices.ContainsFunc(r.Profile.APNs, func(a subscriber.APN) bool { return a.Name == name })
	}
}

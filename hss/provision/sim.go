package provision

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// maxRaces bounds how often a change starts over because another one came between.
const maxRaces = 10

// find returns the IMSIs that a reference stands for: an IMSI, iccid:ICCID, msisdn:MSISDN, or an ICCID by its length.
func (v *Service) find(ctx context.Context, ref string) ([]identity.IMSI, error) {
	by, name, named := strings.Cut(ref, ":")
	if !named && len(ref) >= 18 {
		by, name, named = string(store.ByICCID), ref, true
	}
	if !named {
		imsi, err := identity.ParseIMSI(ref)
		if err != nil {
			return nil, bad("%v; or iccid:…, msisdn:…", err)
		}
		return []identity.IMSI{imsi}, nil
	}
	if by == "imsi" {
		return v.find(ctx, name)
	}
	if by != string(store.ByICCID) && by != string(store.ByMSISDN) {
		return nil, bad("%q, want an IMSI, iccid:… or msisdn:…", ref)
	}
	imsis, err := v.store.Find(ctx, store.Name(by), strings.TrimPrefix(name, "+"))
	if err == nil && len(imsis) == 0 {
		err = store.ErrUnknown
	}
	return imsis, refusal("SIM has "+strings.ToUpper(by)+" "+name, err)
}

// one is find for what is about a single IMSI.
func (v *Service) one(ctx context.Context, ref string) (identity.IMSI, error) {
	imsis, err := v.find(ctx, ref)
	if err != nil {
		return "", err
	}
	if len(imsis) > 1 {
		return "", refuse(http.StatusConflict, "%s has the IMSIs %v: name one", ref, imsis)
	}
	return imsis[0], nil
}

func simNamed(imsi identity.IMSI) string { return "SIM has IMSI " + string(imsi) }

// add puts one SIM in.
func (v *Service) add(ctx context.Context, sim NewSIM) (subscriber.Subscriber, error) {
	n, err := v.addOne(ctx, sim)
	v.audit(ctx, "sim.add", string(n.IMSI), difference(subscriber.Profile{}, n.Profile), err)
	if err != nil {
		return subscriber.Subscriber{}, err
	}
	sub, _, err := v.store.Get(ctx, n.IMSI)
	return sub, refusal(simNamed(n.IMSI), err)
}

// addOne returns what it has read, without an IMSI when what is given is none.
func (v *Service) addOne(ctx context.Context, sim NewSIM) (store.New, error) {
	n, err := v.read(ctx, sim)
	if err != nil {
		return n, err
	}
	release, err := v.reserve(ctx, n.IMSI, n.Profile)
	if err != nil {
		return n, err
	}
	defer release()
	err = v.store.Add(ctx, n.IMSI, n.Profile, n.Keys, n.SEQ, v.now())
	if errors.Is(err, store.ErrExists) {
		err = refuse(http.StatusConflict, "a SIM with IMSI %s exists: remove it first", n.IMSI)
	}
	return n, refusal(simNamed(n.IMSI), err)
}

// reserve is unique, and keeps others from giving the MSISDN to a SIM until release.
func (v *Service) reserve(ctx context.Context, imsi identity.IMSI, p subscriber.Profile) (release func(), err error) {
	if p.MSISDN == "" {
		return func() {}, nil
	}
	got, release, err := v.store.Reserve(ctx, store.ByMSISDN, store.Wanted{Name: string(p.MSISDN), IMSI: imsi})
	if err != nil {
		return nil, refusal("SIM", err)
	}
	if !got[0] {
		return nil, reserved(p.MSISDN)
	}
	if err := v.unique(ctx, imsi, p); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func isThatOf(n identity.MSISDN, imsi identity.IMSI) error {
	return refuse(http.StatusConflict, "msisdn: %s is that of IMSI %s", n, imsi)
}

func reserved(n identity.MSISDN) error {
	return refuse(http.StatusConflict, "msisdn: %s is being given to another SIM: try again", n)
}

// unique refuses an MSISDN that a SIM on another card has.
func (v *Service) unique(ctx context.Context, imsi identity.IMSI, p subscriber.Profile) error {
	if p.MSISDN == "" {
		return nil
	}
	others, err := v.store.Find(ctx, store.ByMSISDN, string(p.MSISDN))
	if err != nil {
		return refusal("SIM", err)
	}
	for _, other := range others {
		r, err := v.store.Load(ctx, other)
		if err == nil && other != imsi && (r.Stored.Card.ICCID == "" || r.Stored.Card.ICCID != p.Card.ICCID) {
			return isThatOf(p.MSISDN, other)
		}
	}
	return nil
}

// read checks a new SIM and gives it the dates of its record. The error is a *Refused and shows no key.
func (v *Service) read(ctx context.Context, sim NewSIM) (store.New, error) {
	n := store.New{SEQ: sim.SEQ, Profile: sim.Profile}
	var err error
	if n.IMSI, err = identity.ParseIMSI(string(sim.IMSI)); err != nil {
		return n, bad("%v", err)
	}
	if n.Keys, err = sim.credentials(v.transportKeys); err != nil {
		return n, bad("%v", err)
	}
	if sim.SEQ > aka.MaxSEQ {
		return n, bad("seq: %d, at most %d", sim.SEQ, uint64(aka.MaxSEQ))
	}
	now := v.now().UTC().Truncate(time.Second)
	if n.Profile.Card.Added.IsZero() {
		n.Profile.Card.Added = now
	}
	whole, err := v.check(ctx, n.Profile)
	if err != nil {
		return n, err
	}
	if n.Profile.Card.StatusAt.IsZero() {
		n.Profile = n.Profile.WithStatus(whole.Status, now)
	}
	return n, nil
}

// check resolves a profile as it is to be stored and lists its faults.
func (v *Service) check(ctx context.Context, p subscriber.Profile) (subscriber.Profile, error) {
	t, err := v.store.Templates(ctx)
	if err != nil {
		return p, refusal("template", err)
	}
	whole, err := t.Resolve(p)
	if err != nil {
		return p, bad("%v", err)
	}
	if err := whole.Validate(); err != nil {
		return p, bad("the profile has faults:\n%v", err)
	}
	return whole, nil
}

// change changes one SIM: step makes the next profile from the one as stored. Where the SIM is registered hears of it.
func (v *Service) change(ctx context.Context, verb string, imsi identity.IMSI, step func(store.Record) (subscriber.Profile, error)) (subscriber.Subscriber, error) {
	for range maxRaces {
		sub, detail, err := v.changeOnce(ctx, imsi, step)
		if errors.Is(err, store.ErrChanged) {
			continue
		}
		if err == nil && detail == "" { // nothing is different
			return sub, nil
		}
		err = refusal(simNamed(imsi), err)
		v.audit(ctx, verb, string(imsi), detail, err)
		return sub, err
	}
	err := refusal(simNamed(imsi), store.ErrChanged)
	v.audit(ctx, verb, string(imsi), "", err)
	return subscriber.Subscriber{}, err
}

func (v *Service) changeOnce(ctx context.Context, imsi identity.IMSI, step func(store.Record) (subscriber.Profile, error)) (subscriber.Subscriber, string, error) {
	r, err := v.store.Load(ctx, imsi)
	if err != nil {
		return r.Subscriber, "", err
	}
	next, err := step(r)
	if err != nil {
		return r.Subscriber, "", err
	}
	detail := difference(r.Stored, next)
	if detail == "" {
		return r.Subscriber, "", nil
	}
	after := subscriber.Subscriber{IMSI: imsi, MME: r.MME, SGSN: r.SGSN}
	if after.Profile, err = v.check(ctx, next); err != nil {
		return r.Subscriber, detail, err
	}
	if next.MSISDN != r.Stored.MSISDN || next.Card.ICCID != r.Stored.Card.ICCID {
		release, err := v.reserve(ctx, imsi, next)
		if err != nil {
			return r.Subscriber, detail, err
		}
		defer release()
	}
	c := subscriber.Change{IMSI: imsi, At: v.now().UTC(), Before: r.Subscriber, After: after}
	id := ""
	if r.Registered() {
		if id, err = v.store.NoteChange(ctx, c); err != nil {
			return r.Subscriber, detail, err
		}
	}
	after.MME, after.SGSN, err = v.store.Change(context.WithoutCancel(ctx), imsi, r.Revision, r.Stored, next)
	if errors.Is(err, store.ErrChanged) || errors.Is(err, store.ErrUnknown) {
		if id != "" {
			err = errors.Join(err, v.store.DropChange(ctx, id))
		}
		return r.Subscriber, detail, err
	}
	if err != nil { // it may have come to pass all the same: the note stays, and what is there is told
		return r.Subscriber, detail, err
	}
	c.After = after
	c.Before.MME, c.Before.SGSN = after.MME, after.SGSN
	if after.Registered() {
		v.push(context.WithoutCancel(ctx), id, c)
	} else if id != "" {
		err = v.store.DropChange(ctx, id)
	}
	return after, detail, err
}

// setStatus takes the SIMs that ref stands for to another state.
func (v *Service) setStatus(ctx context.Context, ref, verb string, from []subscriber.Status, next subscriber.Status) ([]subscriber.Subscriber, error) {
	return v.each(ctx, ref, func(imsi identity.IMSI) (subscriber.Subscriber, error) {
		return v.change(ctx, "sim."+verb, imsi, func(r store.Record) (subscriber.Profile, error) {
			status := r.Profile.Status
			switch {
			case status == next:
				return r.Stored, nil
			case !slices.Contains(from, status) || !status.May(next):
				return r.Stored, refuse(http.StatusConflict, "SIM %s is %s: it cannot %s", imsi, status, verb)
			}
			return r.Stored.WithStatus(next, v.now()), nil
		})
	})
}

// each calls f with the IMSIs that ref stands for, up to the first error.
func (v *Service) each(ctx context.Context, ref string, f func(identity.IMSI) (subscriber.Subscriber, error)) ([]subscriber.Subscriber, error) {
	imsis, err := v.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	all := make([]subscriber.Subscriber, 0, len(imsis))
	for _, imsi := range imsis {
		sub, err := f(imsi)
		if err != nil {
			return all, err
		}
		all = append(all, sub)
	}
	return all, nil
}

// patch merges JSON into the profile as stored, RFC 7396: null takes a key out, so that the template's value holds. ifMatch is
// the ETag of the state that it is meant for, "" of any.
func (v *Service) patch(ctx context.Context, imsi identity.IMSI, merge []byte, ifMatch string) (subscriber.Subscriber, error) {
	var patch map[string]any
	if err := json.Unmarshal(merge, &patch); err != nil {
		return subscriber.Subscriber{}, undecodable(err)
	}
	if patch == nil {
		return subscriber.Subscriber{}, bad("the request's body: want an object")
	}
	if _, ok := patch["status"]; ok {
		return subscriber.Subscriber{}, bad("status: activate, suspend, resume and terminate change it")
	}
	if err := knownKeys(merge); err != nil {
		return subscriber.Subscriber{}, undecodable(err)
	}
	if err := lowerKeys(patch); err != nil {
		return subscriber.Subscriber{}, undecodable(err)
	}
	return v.change(ctx, "sim.set", imsi, func(r store.Record) (subscriber.Profile, error) {
		stored := r.Stored
		var next subscriber.Profile
		if ifMatch != "" && ifMatch != "*" && ifMatch != etag(r.Revision) {
			return stored, refuse(http.StatusPreconditionFailed, "SIM %s has changed since: look at it again", imsi)
		}
		whole, err := asMap(stored)
		if err != nil {
			return stored, err
		}
		j, err := json.Marshal(mergePatch(whole, patch))
		if err != nil {
			return stored, fmt.Errorf("encoding the profile: %w", err)
		}
		d := json.NewDecoder(bytes.NewReader(j))
		d.DisallowUnknownFields()
		if err := d.Decode(&next); err != nil {
			return stored, undecodable(err)
		}
		dates := stored.Card
		next.Card.Added, next.Card.StatusAt, next.Card.Activated = dates.Added, dates.StatusAt, dates.Activated
		return next, nil
	})
}

// etag names a state of a profile, RFC 9110 8.8.3.
func etag(r store.Revision) string { return `"` + string(r) + `"` }

// undecodable says what is wrong with a body.
func undecodable(err error) error {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return bad("the request's body: %v", err)
	}
	want := map[reflect.Kind]string{
		reflect.String: "text, in quotes where it is of digits only", reflect.Slice: "a list", reflect.Struct: "an object", reflect.Bool: "true or false",
	}[kind.Type.Kind()]
	return bad("%s: a JSON %s, want %s", kind.Field, kind.Value, cmp.Or(want, "a number"))
}

// knownKeys says which key of a patch a profile does not have: one that is null would be taken for done.
func knownKeys(merge []byte) error {
	d := json.NewDecoder(bytes.NewReader(merge))
	d.DisallowUnknownFields()
	return d.Decode(new(subscriber.Profile))
}

// lowerKeys says which key of a patch is not in lower case: the decoder finds it, and it would stand beside the right one.
func lowerKeys(patch map[string]any) error {
	for key, value := range patch {
		if key != strings.ToLower(key) {
			return fmt.Errorf("unknown key %q", key)
		}
		if inner, ok := value.(map[string]any); ok {
			if err := lowerKeys(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

func asMap(p any) (map[string]any, error) {
	j, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the profile: %w", err)
	}
	var m map[string]any
	return m, json.Unmarshal(j, &m)
}

func mergePatch(into, patch map[string]any) map[string]any {
	if into == nil {
		into = map[string]any{}
	}
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(into, key)
		case map[string]any:
			inner, _ := into[key].(map[string]any)
			into[key] = mergePatch(inner, value)
		default:
			into[key] = value
		}
	}
	return into
}

// remove takes the SIMs that ref stands for out.
func (v *Service) remove(ctx context.Context, ref string) ([]subscriber.Subscriber, error) {
	return v.each(ctx, ref, func(imsi identity.IMSI) (subscriber.Subscriber, error) {
		before, err := v.store.Load(ctx, imsi)
		sub := before.Subscriber
		if err == nil {
			sub, err = v.removeOne(ctx, sub)
		}
		err = refusal(simNamed(imsi), err)
		v.audit(ctx, "sim.remove", string(imsi), difference(before.Stored, subscriber.Profile{}), err)
		return sub, err
	})
}

func (v *Service) removeOne(ctx context.Context, sub subscriber.Subscriber) (subscriber.Subscriber, error) {
	imsi := sub.IMSI
	c := subscriber.Change{IMSI: imsi, At: v.now().UTC(), Before: sub}
	id, err := v.store.NoteChange(ctx, c)
	if err != nil {
		return sub, err
	}
	mme, sgsn, err := v.store.Remove(context.WithoutCancel(ctx), imsi)
	if errors.Is(err, store.ErrUnknown) {
		return sub, errors.Join(err, v.store.DropChange(ctx, id))
	}
	if err != nil {
		return sub, err
	}
	c.Before.MME, c.Before.SGSN = mme, sgsn
	if c.Before.Registered() {
		v.push(context.WithoutCancel(ctx), id, c)
		return c.Before, nil
	}
	return c.Before, v.store.DropChange(ctx, id)
}

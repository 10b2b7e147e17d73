package provision

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Reference is the SIM in a path.
type Reference struct {
	SIM string `path:"sim" doc:"an IMSI, iccid:ICCID or msisdn:MSISDN; of an ICCID with several IMSIs, all are meant where that makes sense"`
}

// state is a SIM with the name of the state of its profile.
type state struct {
	ETag string `header:"ETag"`
	Body subscriber.Subscriber
}

// MatchQuery is which SIMs a list or an export is of.
type MatchQuery struct {
	IMSI     string            `query:"imsi"     doc:"digits that the IMSI begins with" pattern:"^[0-9]*$" patternDescription:"digits only"`
	Status   subscriber.Status `query:"status"   enum:"provisioned,active,suspended,terminated"`
	Batch    string            `query:"batch"`
	Template string            `query:"template"`
	APN      string            `query:"apn"`
	Node     string            `query:"node"     doc:"Origin-Host where the SIM is registered"`
}

func (q MatchQuery) match() store.Match {
	return store.Match{
		Prefix: q.IMSI, Status: q.Status, Batch: q.Batch, Template: q.Template, APN: identity.APN(strings.ToLower(q.APN)), Node: q.Node,
	}
}

func (r routes) sims() {
	v := r.v
	type list struct {
		MatchQuery
		MSISDN string        `query:"msisdn"`
		ICCID  string        `query:"iccid"`
		After  identity.IMSI `query:"after" doc:"go on behind this IMSI: the last of the page before"`
		Limit  int           `query:"limit" default:"1000" minimum:"1" maximum:"10000"`
	}
	handle(r, op("sim-list", http.MethodGet, "/sims", Read, "List SIMs by IMSI"), func(ctx context.Context, in *list) ([]subscriber.Subscriber, error) {
		m := in.match()
		m.After = in.After
		return v.list(ctx, m, in.MSISDN, in.ICCID, in.Limit)
	})
	show := func(ctx context.Context, imsi identity.IMSI) (*state, error) {
		sub, rev, err := v.store.Get(ctx, imsi)
		return &state{ETag: etag(rev), Body: sub}, refusal(simNamed(imsi), err)
	}
	register(r, op("sim-show", http.MethodGet, "/sims/{sim}", Read, "Show one SIM; keys are never shown"), func(ctx context.Context, in *Reference) (*state, error) {
		imsi, err := v.one(ctx, in.SIM)
		if err != nil {
			return nil, err
		}
		return show(ctx, imsi)
	})
	handle(r, op("sim-add", http.MethodPost, "/sims", Operate, "Add a SIM"), func(ctx context.Context, in *struct{ Body NewSIM }) (subscriber.Subscriber, error) {
		return v.add(ctx, in.Body)
	})
	register(r, op("sim-set", http.MethodPatch, "/sims/{sim}", Operate, "Change the profile of a SIM: a JSON merge patch, RFC 7396; null gives a key back to the template"),
		func(ctx context.Context, in *struct {
			Reference
			IfMatch string `header:"If-Match" doc:"ETag with which the SIM was shown: it is changed only while it is still so, else the answer is 412"`
			RawBody []byte `contentType:"application/merge-patch+json"`
		},
		) (*state, error) {
			imsi, err := v.one(ctx, in.SIM)
			if err != nil {
				return nil, err
			}
			if _, err := v.patch(ctx, imsi, in.RawBody, in.IfMatch); err != nil {
				return nil, err
			}
			return show(ctx, imsi)
		})
	patch := r.api.OpenAPI().Paths[Prefix+"/sims/{sim}"].Patch.RequestBody
	patch.Description = "What is to be changed of Profile; null gives a key back to the template."
	patch.Content["application/merge-patch+json"].Schema = r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[subscriber.Profile](), true, "")
	handle(r, op("sim-remove", http.MethodDelete, "/sims/{sim}", Admin, "Remove a SIM and cancel it where it is registered"), func(ctx context.Context, in *Reference) ([]subscriber.Subscriber, error) {
		return v.remove(ctx, in.SIM)
	})
}

// list is Search, or Find when a name is given.
func (v *Service) list(ctx context.Context, m store.Match, msisdn, iccid string, limit int) ([]subscriber.Subscriber, error) {
	find := func() ([]store.Record, error) { return v.store.Search(ctx, m, limit) }
	msisdn = strings.TrimPrefix(msisdn, "+")
	if by, name := store.ByMSISDN, cmp.Or(msisdn, iccid); name != "" {
		if msisdn == "" {
			by = store.ByICCID
		}
		find = func() ([]store.Record, error) {
			imsis, err := v.store.Find(ctx, by, name)
			if err != nil {
				return nil, err
			}
			all, err := v.store.LoadMany(ctx, imsis)
			all = slices.DeleteFunc(all, func(r store.Record) bool { return !m.Matches(r) || iccid != "" && r.Stored.Card.ICCID != iccid })
			return all[:min(limit, len(all))], err
		}
	}
	records, err := find()
	if err != nil {
		return nil, refusal("SIM", err)
	}
	all := make([]subscriber.Subscriber, len(records))
	for i, found := range records {
		all[i] = found.Subscriber
	}
	return all, nil
}

func (r routes) simVerbs() {
	v := r.v
	for _, verb := range []struct {
		name, summary string
		from          []subscriber.Status
		next          subscriber.Status
	}{
		{"activate", "Put a SIM into service that never was", []subscriber.Status{subscriber.Provisioned}, subscriber.Active},
		{"suspend", "Take a SIM out of service for a while: its nodes drop it", []subscriber.Status{subscriber.Active}, subscriber.Suspended},
		{"resume", "Put a suspended SIM back into service", []subscriber.Status{subscriber.Suspended}, subscriber.Active},
		{"terminate", "Take a SIM out of service for good: its nodes drop it", subscriber.Statuses(), subscriber.Terminated},
	} {
		handle(r, op("sim-"+verb.name, http.MethodPost, "/sims/{sim}/"+verb.name, Operate, verb.summary), func(ctx context.Context, in *Reference) ([]subscriber.Subscriber, error) {
			return v.setStatus(ctx, in.SIM, verb.name, verb.from, verb.next)
		})
	}
	type device struct {
		Reference
		IMEI string `path:"imei" doc:"14 to 16 digits; the first 14 count"`
	}
	lock := func(name, method, path, summary string, step func(subscriber.IMEILock, string) (subscriber.IMEILock, error)) {
		handle(r, op(name, method, path, Operate, summary), func(ctx context.Context, in *device) ([]subscriber.Subscriber, error) {
			return v.each(ctx, in.SIM, func(imsi identity.IMSI) (subscriber.Subscriber, error) {
				return v.change(ctx, strings.ReplaceAll(name, "-", "."), imsi, func(r store.Record) (subscriber.Profile, error) {
					next, err := step(r.Stored.IMEILock, in.IMEI)
					r.Stored.IMEILock = next
					if err != nil {
						err = bad("%v", err)
					}
					return r.Stored, err
				})
			})
		})
	}
	lock("imei-bind", http.MethodPut, "/sims/{sim}/imeis/{imei}", "Let the SIM be used in that device, and in no other that is not bound too", subscriber.IMEILock.Bind)
	lock("imei-unbind", http.MethodDelete, "/sims/{sim}/imeis/{imei}", "Unbind a device; all stands for all", func(l subscriber.IMEILock, imei string) (subscriber.IMEILock, error) {
		if imei == "all" {
			imei = ""
		}
		return l.Unbind(imei)
	})
	type network struct {
		Reference
		PLMN string `path:"plmn" doc:"MCC-MNC"`
	}
	plmns := func(name, method, summary string, step func([]string, string) []string) {
		handle(r, op(name, method, "/sims/{sim}/plmns/{plmn}", Operate, summary), func(ctx context.Context, in *network) ([]subscriber.Subscriber, error) {
			plmn, err := identity.ParsePLMN(in.PLMN)
			if err != nil {
				return nil, bad("%v", err)
			}
			return v.each(ctx, in.SIM, func(imsi identity.IMSI) (subscriber.Subscriber, error) {
				return v.change(ctx, strings.ReplaceAll(name, "-", "."), imsi, func(r store.Record) (subscriber.Profile, error) {
					stored, whole := r.Stored, r.Profile
					if method == http.MethodDelete && len(whole.PLMNs) == 0 {
						return stored, refuse(http.StatusConflict, "SIM %s has no list of networks: it may attach everywhere; allow those where it may, and all others are denied", imsi)
					}
					next := step(slices.Clone(whole.PLMNs), plmn.String())
					if len(next) == 0 && len(whole.PLMNs) > 0 {
						return stored, refuse(http.StatusConflict, "%s is the only network of SIM %s: without one it may attach everywhere; suspend it, or set plmns", plmn, imsi)
					}
					if slices.Equal(next, whole.PLMNs) {
						return stored, nil
					}
					stored.PLMNs = next
					return stored, nil
				})
			})
		})
	}
	plmns("plmn-allow", http.MethodPut, "Let the SIM attach in that network too; the first one makes all others forbidden", func(all []string, plmn string) []string {
		if slices.Contains(all, plmn) {
			return all
		}
		return append(all, plmn)
	})
	plmns("plmn-deny", http.MethodDelete, "Take a network off the SIM's list: where it is registered there, it is cancelled", func(all []string, plmn string) []string {
		return slices.DeleteFunc(all, func(s string) bool { return s == plmn })
	})
}

// Location is where a SIM is registered.
type Location struct {
	IMSI identity.IMSI           `json:"imsi"`
	MME  subscriber.Registration `json:"mme,omitzero"`
	SGSN subscriber.Registration `json:"sgsn,omitzero"`
}

func (r routes) locations(network Network) {
	v := r.v
	handle(r, op("location-show", http.MethodGet, "/sims/{sim}/location", Read, "Show where a SIM is registered"), func(ctx context.Context, in *Reference) ([]Location, error) {
		imsis, err := v.find(ctx, in.SIM)
		if err != nil {
			return nil, err
		}
		all := []Location{}
		for _, imsi := range imsis {
			sub, _, err := v.store.Get(ctx, imsi)
			if err != nil {
				return nil, refusal(simNamed(imsi), err)
			}
			all = append(all, Location{IMSI: imsi, MME: sub.MME, SGSN: sub.SGSN})
		}
		return all, nil
	})
	handle(r, op("location-cancel", http.MethodDelete, "/sims/{sim}/location", Operate, "Have the serving nodes drop a SIM; it may attach again"),
		func(ctx context.Context, in *struct {
			Reference
			Reattach bool `query:"reattach" doc:"ask the device to attach again at once (CLR-Flags)"`
		},
		) ([]subscriber.Subscriber, error) {
			return v.cancelLocation(ctx, in.SIM, in.Reattach)
		})
	type locate struct {
		Reference
		Current bool `query:"current" doc:"have the device paged, if it must be"`
	}
	handle(r, op("location-ask", http.MethodPost, "/sims/{sim}/location", Operate, "Ask the serving nodes where a SIM is, and in which state"), func(ctx context.Context, in *locate) ([]subscriber.NodeLocation, error) {
		imsi, err := v.one(ctx, in.SIM)
		if err != nil {
			return nil, err
		}
		all, err := network.Locate(ctx, imsi, in.Current)
		if err != nil && !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrUnavailable) {
			err = refuse(http.StatusBadGateway, "%v", err)
		}
		err = refusal(simNamed(imsi), err)
		v.audit(ctx, "location.ask", string(imsi), "", err)
		return all, err
	})
	type logQuery struct {
		Reference
		Since time.Time `query:"since" required:"false"`
		Until time.Time `query:"until" required:"false"`
		Limit int       `query:"limit" default:"100" minimum:"1" maximum:"10000"`
	}
	handle(r, op("sim-log", http.MethodGet, "/sims/{sim}/log", Read, "Show a SIM's session log, newest first"), func(ctx context.Context, in *logQuery) ([]subscriber.Event, error) {
		imsi, err := v.one(ctx, in.SIM)
		if err != nil {
			return nil, err
		}
		all, err := v.store.Events(ctx, imsi, in.Since, in.Until, in.Limit)
		return all, refusal("SIM", err)
	})
	type challenge struct {
		Reference
		RAND string `query:"rand" doc:"32 hexadecimal digits; random when left out"`
	}
	handle(r, op("test-vector", http.MethodPost, "/sims/{sim}/vector", Operate, "Make a vector that the card accepts, to check its keys with; CK, IK and KASME are not shown"), func(ctx context.Context, in *challenge) (TestVector, error) {
		imsi, err := v.one(ctx, in.SIM)
		if err != nil {
			return TestVector{}, err
		}
		return v.testVector(ctx, imsi, in.RAND)
	})
}

func (r routes) templates() {
	v := r.v
	type Named struct {
		Name string `path:"name"`
	}
	handle(r, op("template-list", http.MethodGet, "/templates", Read, "List the templates for profiles"), func(ctx context.Context, _ *struct{}) ([]Template, error) {
		t, err := v.templates(ctx)
		all := []Template{}
		for name, p := range t.Profiles {
			all = append(all, Template{Name: name, Profile: p})
		}
		slices.SortFunc(all, func(a, b Template) int { return strings.Compare(a.Name, b.Name) })
		return all, err
	})
	handle(r, op("template-set", http.MethodPut, "/templates/{name}", Admin, "Make or change a template; serving nodes of its SIMs are told"),
		func(ctx context.Context, in *struct {
			Named
			Body subscriber.Profile
		},
		) (Template, error) {
			return v.putTemplate(ctx, in.Name, in.Body)
		})
	handle(r, op("template-remove", http.MethodDelete, "/templates/{name}", Admin, "Remove a template that no SIM refers to"), func(ctx context.Context, in *Named) (Template, error) {
		return Template{Name: in.Name}, v.removeTemplate(ctx, in.Name)
	})
	handle(r, op("apn-list", http.MethodGet, "/apns", Read, "List the templates for APNs"), func(ctx context.Context, _ *struct{}) ([]subscriber.APN, error) {
		t, err := v.templates(ctx)
		all := []subscriber.APN{}
		for _, a := range t.APNs {
			all = append(all, a)
		}
		slices.SortFunc(all, func(a, b subscriber.APN) int { return strings.Compare(string(a.Name), string(b.Name)) })
		return all, err
	})
	handle(r, op("apn-set", http.MethodPut, "/apns/{name}", Admin, "Make or change what an APN is for all SIMs that have it and say nothing else; serving nodes are told"),
		func(ctx context.Context, in *struct {
			Named
			Body subscriber.APN
		},
		) (subscriber.APN, error) {
			if in.Body.Name != "" && string(in.Body.Name) != in.Name {
				return in.Body, bad("name: %q in the path and %q in the body", in.Name, in.Body.Name)
			}
			in.Body.Name = identity.APN(in.Name)
			return v.putAPN(ctx, in.Body)
		})
	handle(r, op("apn-remove", http.MethodDelete, "/apns/{name}", Admin, "Remove the template of an APN; SIMs that have the APN go on with the defaults"), func(ctx context.Context, in *Named) (subscriber.APN, error) {
		return subscriber.APN{Name: identity.APN(in.Name)}, v.removeAPN(ctx, identity.APN(in.Name))
	})
}

func (r routes) bulk() {
	v := r.v
	handle(r, bulkOp(op("sim-import", http.MethodPost, "/import", Operate, "Add SIMs of a CSV with a header; it may be repeated")),
		func(ctx context.Context, in *struct {
			DryRun  bool   `query:"dry_run" doc:"only check"`
			Update  bool   `query:"update"  doc:"change SIMs that are there with other values"`
			RawBody []byte `contentType:"text/csv"`
		},
		) (ImportResult, error) {
			return v.importRows(ctx, bytes.NewReader(in.RawBody), ImportOptions{DryRun: in.DryRun, Update: in.Update})
		})
	stream(r, op("sim-export", http.MethodGet, "/export", Read, "Export SIMs as CSV, all but their keys, in no order"), "text/csv", func(ctx context.Context, in *MatchQuery, w io.Writer) error {
		m := in.match()
		v.audit(ctx, "sim.export", m.Prefix, "", nil)
		return v.writeCSV(ctx, w, m)
	})
	stream(r, op("dump", http.MethodGet, "/dump", Admin, "Dump everything as lines of JSON; keys stay sealed"), "application/x-ndjson", func(ctx context.Context, _ *struct{}, w io.Writer) error {
		v.audit(ctx, "dump", "", "", nil)
		return v.dump(ctx, w)
	})
	handle(r, bulkOp(op("restore", http.MethodPost, "/restore", Admin, "Put in what lines of a dump have; it may be repeated, and leaves what is there as it is")),
		func(ctx context.Context, in *struct {
			RawBody []byte `contentType:"application/x-ndjson"`
		},
		) (RestoreResult, error) {
			return v.restore(ctx, bytes.NewReader(in.RawBody))
		})
}

// bounded is a writer to a client that must read on.
type bounded struct {
	io.Writer

	c      *http.ResponseController
	within time.Duration
}

// Write fails when the client takes nothing for so long. The deadline ends with the request (net/http).
func (b bounded) Write(p []byte) (int, error) {
	if err := b.c.SetWriteDeadline(time.Now().Add(b.within)); err != nil {
		return 0, fmt.Errorf("setting a deadline: %w", err)
	}
	return b.Writer.Write(p)
}

// stream registers an operation whose answer is written as it is made. An error in the midst cuts the connection, so that
// nobody takes half of it for the whole.
func stream[I any](r routes, o huma.Operation, kind string, f func(context.Context, *I, io.Writer) error) {
	o.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	huma.Register(r.api, o, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(h huma.Context) {
			h.SetHeader("Content-Type", kind)
			_, w := humago.Unwrap(h)
			out := bounded{Writer: h.BodyWriter(), c: http.NewResponseController(w), within: r.v.readWithin}
			if err := f(ctx, in, out); err != nil {
				r.v.log.Error("an answer was cut off", "operation", o.OperationID, "err", err)
				panic(http.ErrAbortHandler)
			}
		}}, nil
	})
}

func (r routes) operation(network Network) {
	v := r.v
	handle(r, op("peer-list", http.MethodGet, "/peers", Read, "List the open Diameter peers"), func(context.Context, *struct{}) ([]diameter.PeerStatus, error) { return network.Peers(), nil })
	handle(r, op("peer-waiting", http.MethodGet, "/peers/waiting", Read, "List the nodes that have yet to answer requests of ours: not reached, or not answering"), func(ctx context.Context, _ *struct{}) ([]store.Unanswered, error) {
		all, err := v.store.Unanswered(ctx, v.now())
		return all, refusal("nodes", err)
	})
	type auditQuery struct {
		Since  time.Time `query:"since" required:"false"`
		Until  time.Time `query:"until" required:"false"`
		Who    string    `query:"who"`
		Verb   string    `query:"verb"`
		Object string    `query:"object" doc:"IMSI, name of a template, …"`
		Limit  int       `query:"limit" default:"100" minimum:"1" maximum:"10000"`
	}
	handle(r, op("audit-list", http.MethodGet, "/audit", Admin, "List who did what, newest first"), func(ctx context.Context, in *auditQuery) ([]store.Audit, error) {
		all, err := v.store.Audits(ctx, store.AuditMatch{Since: in.Since, Until: in.Until, Who: in.Who, Verb: in.Verb, Object: in.Object}, in.Limit)
		if all == nil {
			all = []store.Audit{}
		}
		return all, refusal("audit log", err)
	})
	handle(r, op("job-list", http.MethodGet, "/jobs", Read, "List what goes on behind the requests, and what has ended since the start"), func(context.Context, *struct{}) ([]Job, error) { return v.jobs.list(), nil })
	handle(r, op("repair", http.MethodPost, "/repair", Admin, "Compare the indexes with the records and put them right, behind this request"), func(ctx context.Context, _ *struct{}) (Job, error) {
		job, err := v.startRepair()
		v.audit(ctx, "repair", "", "", err)
		return job, err
	})
	handle(r, op("reset", http.MethodPost, "/reset", Admin, "Tell every node that registrations were lost (RSR), after a restore or a loss of records, of all SIMs or of some"),
		func(ctx context.Context, in *struct {
			Body *subscriber.Scope `required:"false"`
		},
		) (Nodes, error) {
			var scope subscriber.Scope
			if in.Body != nil {
				scope = *in.Body
			}
			if err := scope.Validate(); err != nil {
				return Nodes{}, bad("%v", err)
			}
			n, err := network.Reset(ctx, scope)
			err = refusal("nodes", err)
			v.audit(ctx, "reset", strings.Join(slices.Concat(scope.IMSIs, scope.ResetIDs), " "), fmt.Sprintf("%d nodes", n), err)
			return Nodes{Nodes: n}, err
		})
	handle(r, op("kek-rotate", http.MethodPost, "/kek/rotate", Admin, "Seal the keys of all SIMs with the active key-encryption key, behind this request"), func(ctx context.Context, _ *struct{}) (Job, error) {
		job, err := v.startRotation()
		v.audit(ctx, "kek.rotate", v.store.ActiveKEK(), "", err)
		return job, err
	})
	handle(r, op("kek-show", http.MethodGet, "/kek", Read, "Count the SIMs by the key-encryption key that seals their keys"), func(ctx context.Context, _ *struct{}) (KEKs, error) {
		count, err := v.store.KEKs(ctx)
		return KEKs{Active: v.store.ActiveKEK(), SIMs: count}, refusal("SIM", err)
	})
}

// Nodes says how many nodes are told.
type Nodes struct {
	Nodes int `json:"nodes"`
}

// KEKs are the SIMs by key-encryption key.
type KEKs struct {
	Active string         `json:"active"`
	SIMs   map[string]int `json:"sims"`
}

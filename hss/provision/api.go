package provision

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Prefix is where the REST API begins; its version is part of it.
const Prefix = "/v1"

const (
	maxBody      = 1 << 20  // octets of a request
	maxBulk      = 16 << 20 // of one with many SIMs
	bodyWithin   = 30 * time.Second
	roleMetadata = "role"
	// OpenAPIPath is where the description of the REST API is, as JSON; .yaml has it as YAML.
	OpenAPIPath = Prefix + "/openapi"
)

// Handler returns the REST API. identify says who a request is by; its error is answered 401.
func (v *Service) Handler(identify func(*http.Request) (Actor, error), network Network) http.Handler {
	mux := http.NewServeMux()
	v.serve(mux, identify, network)
	return mux
}

// serve registers all operations.
func (v *Service) serve(mux *http.ServeMux, identify func(*http.Request) (Actor, error), network Network) huma.API {
	cfg := huma.DefaultConfig("xepc HSS", "1")
	cfg.Info.Description = "Provisioning of the home subscriber server. Roles: read, operate, admin; each may do what those before it may."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = OpenAPIPath, "", "", nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}}
	cfg.Transformers = append(cfg.Transformers, hideValues)
	api := humago.New(mux, cfg)
	api.UseMiddleware(v.measure, v.authorize(api, identify))
	r := routes{v: v, api: api}
	r.sims()
	r.simVerbs()
	r.locations(network)
	r.templates()
	r.equipment(network)
	r.bulk()
	r.operation(network)
	return api
}

// hideValues takes out of an error the values that huma gives back: one of them may be a key.
func hideValues(_ huma.Context, _ string, body any) (any, error) {
	e, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	clean := *e
	clean.Errors = nil
	for _, d := range e.Errors {
		clean.Errors = append(clean.Errors, &huma.ErrorDetail{Message: d.Message, Location: d.Location})
	}
	return &clean, nil
}

// measure times a request.
func (v *Service) measure(ctx huma.Context, next func(huma.Context)) {
	begin := time.Now()
	next(ctx)
	v.stats.requests.WithLabelValues(ctx.Operation().OperationID, strconv.Itoa(ctx.Status())).Observe(time.Since(begin).Seconds())
}

// authorize lets those through whose role suffices.
func (v *Service) authorize(api huma.API, identify func(*http.Request) (Actor, error)) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		actor, err := identify(r)
		if err != nil {
			ctx.SetHeader("WWW-Authenticate", "Bearer")
			_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "a bearer token is needed: "+err.Error())
			return
		}
		need, _ := ctx.Operation().Metadata[roleMetadata].(Role)
		if need == 0 || actor.Role < need {
			v.audit(As(ctx.Context(), actor), auditVerb(ctx.Operation()), r.URL.Path, "", errors.New("forbidden: may "+actor.Role.String()))
			_ = huma.WriteErr(api, ctx, http.StatusForbidden, actor.Name+" may "+actor.Role.String()+": this needs "+need.String())
			return
		}
		next(huma.WithContext(ctx, As(ctx.Context(), actor)))
	}
}

// auditVerb is an operation's name as the audit log has it.
func auditVerb(o *huma.Operation) string { return strings.Replace(o.OperationID, "-", ".", 1) }

// Bearer identifies by the token of a request, as the REST API's listener does.
func (v *Service) Bearer(r *http.Request) (Actor, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Actor{}, errors.New("there is none")
	}
	a, err := v.tokens.actor(strings.TrimSpace(token), v.now())
	a.From = r.RemoteAddr
	return a, err
}

// UserHeader is how the command line names its user on the admin socket. Who can open the socket may do everything, so it
// is believed.
const UserHeader = "Xepc-User"

// Socket identifies a request on the admin socket, which only root can open.
func Socket(r *http.Request) (Actor, error) {
	name := "socket"
	if user := r.Header.Get(UserHeader); user != "" {
		name += ":" + clip(user)
	}
	return Actor{Name: name, Role: Admin, From: "local"}, nil
}

// routes registers operations.
type routes struct {
	v   *Service
	api huma.API
}

// op describes an operation. Path begins behind Prefix.
func op(id, method, path string, role Role, summary string) huma.Operation {
	noun, _, _ := strings.Cut(id, "-")
	return huma.Operation{
		OperationID: id, Method: method, Path: Prefix + path, Summary: summary, Tags: []string{noun},
		Description: "Role: " + role.String() + ".", Metadata: map[string]any{roleMetadata: role},
		MaxBodyBytes: maxBody, BodyReadTimeout: bodyWithin,
	}
}

// bulkOp is an operation with many SIMs in its body.
func bulkOp(o huma.Operation) huma.Operation {
	o.MaxBodyBytes = maxBulk
	return o
}

// answer is an answer with a body.
type answer[T any] struct{ Body T }

// handle registers an operation whose errors become those of HTTP.
func handle[I, O any](r routes, o huma.Operation, f func(context.Context, *I) (O, error)) {
	register(r, o, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := f(ctx, in)
		return &answer[O]{out}, err
	})
}

// register is handle of an answer that has more than a body.
func register[I, A any](r routes, o huma.Operation, f func(context.Context, *I) (*A, error)) {
	huma.Register(r.api, o, func(ctx context.Context, in *I) (*A, error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, r.asHTTP(o, err)
		}
		return out, nil
	})
}

func (r routes) asHTTP(o huma.Operation, err error) error {
	var refused *Refused
	if errors.As(err, &refused) {
		return huma.NewError(refused.Status, refused.Message)
	}
	r.v.log.Error("a provisioning request failed", "operation", o.OperationID, "err", err)
	return huma.NewError(http.StatusInternalServerError, err.Error())
}

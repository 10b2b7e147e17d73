// Package s6a owns the HSS's Diameter edge: it reads AIR, ULR and PUR into plain data, has the store and the
// subscriber package decide, and writes the answers and CLR (TS 29.272, applications S6a and S6d). It keeps no state
// of a subscriber, and knows nothing of connections.
package s6a

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// ApplicationID is that of S6a and S6d, TS 29.272 7.1.8.
const ApplicationID uint32 = 16777251

// Command codes, TS 29.272 7.2.2.
const (
	commandULR uint32 = 316
	commandCLR uint32 = 317
	commandAIR uint32 = 318
	commandPUR uint32 = 321
)

const noStateMaintained uint32 = 1 // Auth-Session-State, TS 29.272 7.1.4

// Config says how the procedures behave.
type Config struct {
	MaxVectors int `yaml:"max_vectors"` // vectors of a kind in one answer
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{MaxVectors: 5} }

// Validate lists every fault, each beginning with its key.
func (c Config) Validate() error {
	if c.MaxVectors < 1 || c.MaxVectors > 32 {
		return fmt.Errorf("max_vectors: %d, want 1 to 32", c.MaxVectors)
	}
	return nil
}

// SendFunc sends a request of ours and waits for its answer: (*diameter.Node).Send.
type SendFunc func(ctx context.Context, host, realm string, application, command uint32, avps ...diameter.AVP) (diameter.Message, error)

// Server answers the commands of S6a and S6d.
type Server struct {
	cfg   Config
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	cancellations chan cancellation
	resyncs       *prometheus.CounterVec
	cancels       *prometheus.CounterVec
}

// New returns a server over the store.
func New(cfg Config, s *store.Store, log *slog.Logger) *Server {
	return &Server{
		cfg: cfg, store: s, log: log, now: time.Now,
		cancellations: make(chan cancellation, maxCancellations),
		resyncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "resynchronisations_total", Help: "AUTS received, by result; bad_mac_s was not made by the SIM.",
		}, []string{"result"}),
		cancels: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cancellations_total", Help: "CLR to displaced nodes, by result; anything but done leaves a SIM registered in two places.",
		}, []string{"result"}),
	}
}

// Application is what a Diameter node serves with this server.
func (s *Server) Application() diameter.Application {
	return diameter.Application{
		ID: ApplicationID,
		Handlers: map[uint32]diameter.Handler{
			commandAIR: s.authenticationInformation,
			commandULR: s.updateLocation,
			commandPUR: s.purgeUE,
		},
		Common: []diameter.AVP{
			diameter.VendorSpecificApplicationID.Group(diameter.VendorID.Unsigned(diameter.Vendor3GPP), diameter.AuthApplicationID.Unsigned(ApplicationID)),
			diameter.AuthSessionState.Unsigned(noStateMaintained),
		},
	}
}

// Describe is part of prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	s.resyncs.Describe(ch)
	s.cancels.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.resyncs.Collect(ch)
	s.cancels.Collect(ch)
}

// experimental makes the error of an Experimental-Result of 3GPP.
func experimental(cause subscriber.Cause, err error) *diameter.Error {
	return &diameter.Error{Code: uint32(cause), Vendor: diameter.Vendor3GPP, Err: err}
}

// asAnswer gives an error of the store or the core its result. away is what Redis being away is answered with.
func asAnswer(err error, away *diameter.Error) error {
	var refusal *subscriber.Refusal
	switch {
	case errors.As(err, &refusal):
		e := experimental(refusal.Cause, err)
		if refusal.Diagnostic != 0 {
			e.AVPs = []diameter.AVP{errorDiagnostic.Unsigned(uint32(refusal.Diagnostic))}
		}
		return e
	case errors.Is(err, store.ErrUnknown):
		return experimental(subscriber.UserUnknown, err)
	case errors.Is(err, store.ErrUnavailable):
		return &diameter.Error{Code: away.Code, Vendor: away.Vendor, Err: err}
	}
	return err
}

// tryElsewhere is the answer to what only Redis can decide: 3004 has the peer ask another HSS, or later.
func tryElsewhere() *diameter.Error { return &diameter.Error{Code: diameter.TooBusy} }

// parseUser reads User-Name. What is no IMSI is nobody we know.
func parseUser(req diameter.Request) (identity.IMSI, error) {
	imsi, err := identity.ParseIMSI(req.Text(diameter.UserName))
	if err != nil {
		return "", experimental(subscriber.UserUnknown, err)
	}
	return imsi, nil
}

// parseVisitedPLMN reads Visited-PLMN-Id, and returns the octets as received too, which KASME is bound to.
func parseVisitedPLMN(req diameter.Request) (identity.PLMN, [3]byte, error) {
	a, _ := req.First(visitedPLMNID)
	if len(a.Data) != 3 {
		return identity.PLMN{}, [3]byte{}, invalid(a, fmt.Errorf("Visited-PLMN-Id of %d octets", len(a.Data)))
	}
	octets := [3]byte(a.Data)
	plmn, err := identity.PLMNFromOctets(octets)
	if err != nil {
		return plmn, octets, invalid(a, err)
	}
	return plmn, octets, nil
}

// invalid is the error of an AVP whose value cannot be.
func invalid(a diameter.AVP, err error) error {
	return &diameter.Error{Code: diameter.InvalidAVPValue, Failed: []diameter.AVP{a}, Err: err}
}

func challenge() (r [16]byte) {
	_, _ = rand.Read(r[:]) // never fails, see crypto/rand
	return r
}

// features are those of each Feature-List-ID that we support, TS 29.272 7.3.10. None so far.
func features(list uint32) uint32 {
	switch list {
	case 1, 2: // table 7.3.10/1 and 7.3.10/2
		return 0
	}
	return 0
}

// supported answers each Supported-Features of the request with the features that both sides have, TS 29.229 7.2.1.
func supported(req diameter.Request) []diameter.AVP {
	var all []diameter.AVP
	for _, a := range req.AVPs {
		if !a.Is(supportedFeatures) {
			continue
		}
		vendor, _ := diameter.First(a.Members, diameter.VendorID)
		list, _ := diameter.First(a.Members, featureListID)
		theirs, _ := diameter.First(a.Members, featureList)
		if vendor.Unsigned() != diameter.Vendor3GPP {
			continue
		}
		all = append(all, supportedFeatures.Group(
			diameter.VendorID.Unsigned(diameter.Vendor3GPP),
			featureListID.Unsigned(list.Unsigned()),
			featureList.Unsigned(theirs.Unsigned()&features(list.Unsigned())),
		))
	}
	return all
}

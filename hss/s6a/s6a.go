// Package s6a owns the HSS's Diameter edge: it reads AIR, ULR, PUR, NOR and ECR into plain data, has the store and the
// subscriber package decide, writes the answers, and sends CLR, IDR, DSR and RSR until they are answered (TS 29.272,
// applications S6a, S6d and S13). It keeps no state of a subscriber, and knows nothing of connections.
package s6a

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
	commandIDR uint32 = 319
	commandDSR uint32 = 320
	commandPUR uint32 = 321
	commandRSR uint32 = 322
	commandNOR uint32 = 323
)

const noStateMaintained uint32 = 1 // Auth-Session-State, TS 29.272 7.1.4

// Server answers the commands of S6a and S6d, and sends ours.
type Server struct {
	cfg   Config
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	queue       chan waiting // kept and leased requests to be sent now
	poll, lease time.Duration
	patience    time.Duration // with a node that has yet to answer a CLR

	pulse       store.Pulse // of Redis, as last seen; the poll's alone
	noPulseFile bool        // it cannot be written; the poll's alone
	away        bool        // Redis takes no writes; the poll's alone

	mu    sync.Mutex
	nodes map[string]store.Node // those that Redis knows from us, by host in lower case

	resyncs  *prometheus.CounterVec
	requests *prometheus.CounterVec
	partners *prometheus.CounterVec
}

// New returns a server over the store.
func New(cfg Config, s *store.Store, log *slog.Logger) *Server {
	v := &Server{
		cfg: cfg, store: s, log: log, now: time.Now,
		queue: make(chan waiting, maxQueue), poll: pollEvery, lease: leaseFor, patience: patienceCLR, nodes: map[string]store.Node{},
		resyncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "resynchronisations_total", Help: "AUTS received, by result; bad_mac_s was not made by the SIM.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "own_requests_total", Help: "CLR, IDR, DSR and RSR by what became of them; given_up and refused leave a node with an old state.",
		}, []string{"command", "result"}),
		partners: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "partner_mismatches_total", Help: "Requests whose Origin-Realm is no partner's that has the visited network.",
		}, []string{"realm"}),
	}
	v.countFromZero()
	return v
}

// countFromZero makes the counters that alerts watch: the step to a first 1 shows only from a 0.
func (s *Server) countFromZero() {
	for _, kind := range []subscriber.RequestKind{subscriber.Cancel, subscriber.Insert, subscriber.Delete, subscriber.Reset} {
		for _, result := range []string{resultDone, resultRetry, resultRefused, resultGivenUp, resultPointless} {
			s.requests.WithLabelValues(strings.ToUpper(string(kind)), result)
		}
	}
	for _, result := range []string{resyncAccepted, resyncBad} {
		s.resyncs.WithLabelValues(result)
	}
	s.partners.WithLabelValues(otherRealm)
	for _, p := range s.cfg.Partners {
		for _, realm := range p.Realms {
			s.partners.WithLabelValues(strings.ToLower(realm))
		}
	}
}

// Results of requests of our own, and of AUTS.
const (
	resultDone      = "done"
	resultRetry     = "retry"
	resultRefused   = "refused"
	resultGivenUp   = "given_up"
	resultPointless = "pointless"

	resyncAccepted = "accepted"
	resyncBad      = "bad_mac_s"
)

// Application is what a Diameter node serves with this server.
func (s *Server) Application() diameter.Application {
	return diameter.Application{
		ID: ApplicationID,
		Handlers: map[uint32]diameter.Handler{
			commandULR: s.updateLocation,
			commandPUR: s.purgeUE,
			commandNOR: s.notify,
		},
		Groups: map[uint32]diameter.GroupHandler{commandAIR: s.authenticationInformation},
		Common: []diameter.AVP{
			diameter.VendorSpecificApplicationID.Group(diameter.VendorID.Unsigned(diameter.Vendor3GPP), diameter.AuthApplicationID.Unsigned(ApplicationID)),
			diameter.AuthSessionState.Unsigned(noStateMaintained),
		},
	}
}

// Describe is part of prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	s.resyncs.Describe(ch)
	s.requests.Describe(ch)
	s.partners.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.resyncs.Collect(ch)
	s.requests.Collect(ch)
	s.partners.Collect(ch)
}

// experimental makes the error of an Experimental-Result of 3GPP.
func experimental(cause subscriber.Cause, err error) *diameter.Error {
	return &diameter.Error{Code: uint32(cause), Vendor: diameter.Vendor3GPP, Err: err}
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

// Features of Feature-List-ID 1 that we support, TS 29.272 table 7.3.10/1.
const (
	featureLocation     uint32 = 1 << 28 // State/Location-Information-Retrieval: we ask with an IDR
	featurePartialPurge uint32 = 1 << 29 // PUR-Flags say which side of a combined node has purged
	featureZones        uint32 = 1 << 9  // regional subscription
	featureTrace        uint32 = 1 << 10
)

// Features of Feature-List-ID 2 that we support, table 7.3.10/2.
const (
	featureResetIDs      uint32 = 1 << 17
	featureDCN           uint32 = 1 << 20 // dedicated core networks
	featureNoMSISDN      uint32 = 1 << 23 // an MSISDN can be withdrawn
	featureSecondaryNR   uint32 = 1 << 27 // Extended-Max-Requested-BW, and NR beside E-UTRAN can be forbidden
	featureUnlicensedRAT uint32 = 1 << 28 // the same of unlicensed spectrum
)

// featureBarring are those of operator determined barring of packet services.
func featureBarring() uint32 {
	bits, _ := subscriber.BarringBits(subscriber.PacketBarrings())
	return bits
}

// features are those of each Feature-List-ID that we support; all others are answered as not supported.
func features(list uint32) uint32 {
	switch list {
	case 1:
		return featureBarring() | featureZones | featureTrace | featureLocation | featurePartialPurge
	case 2:
		return featureResetIDs | featureDCN | featureNoMSISDN | featureSecondaryNR | featureUnlicensedRAT
	}
	return 0
}

// featuresOf are those of a list of 3GPP's that both the node and we support.
func featuresOf(req diameter.Request, list uint32) (bits uint32) {
	for _, a := range req.AVPs {
		if !a.Is(supportedFeatures) {
			continue
		}
		vendor, _ := diameter.First(a.Members, diameter.VendorID)
		id, _ := diameter.First(a.Members, featureListID)
		theirs, _ := diameter.First(a.Members, featureList)
		if vendor.Unsigned() == diameter.Vendor3GPP && id.Unsigned() == list {
			bits |= theirs.Unsigned()
		}
	}
	return bits & features(list)
}

// supported answers each Supported-Features of the request with the features that both sides have, TS 29.229 7.2.1.
func supported(req diameter.Request) []diameter.AVP {
	var all []diameter.AVP
	for i := range req.AVPs {
		a := &req.AVPs[i]
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

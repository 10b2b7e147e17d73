package s6a

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Config says how the procedures behave.
type Config struct {
	MaxVectors  int             `yaml:"max_vectors"`   // vectors of a kind in one answer
	GiveUpAfter time.Duration   `yaml:"give_up_after"` // of requests of our own that a node does not answer
	Causes      Causes          `yaml:"causes"`        // what a host is told, by the reason; left out: the usual cause
	Partners    []PartnerConfig `yaml:"partners"`      // hosts: their realms, networks and causes
	Mismatch    string          `yaml:"mismatch"`      // of realm and network: count, or refuse with 5004
	Equipment   EquipmentConfig `yaml:"equipment"`     // devices, for hosts that ask over S13
	PulseFile   string          `yaml:"pulse_file"`    // path of a file of this instance, in which the last pulse of Redis is kept; "" none
}

// Causes names a cause for each reason: user_unknown, roaming_not_allowed, odb_all_apn or rat_not_allowed.
type Causes map[subscriber.Reason]string

// PartnerConfig is a host operator. A request is its own when Origin-Realm is among its realms (*.domain: all below) and
// the visited network among its networks.
type PartnerConfig struct {
	Name   string   `yaml:"name"`
	Realms []string `yaml:"realms"`
	PLMNs  []string `yaml:"plmns"`
	Causes Causes   `yaml:"causes"` // stand above the general ones
}

// DefaultPulseFile is where an instance keeps the last pulse of Redis.
const DefaultPulseFile = "/var/lib/xepc/hss.pulse"

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{MaxVectors: 5, GiveUpAfter: 24 * time.Hour, Mismatch: mismatchCount, Equipment: EquipmentConfig{Unknown: "white"}, PulseFile: DefaultPulseFile}
}

const (
	mismatchCount  = "count"
	mismatchRefuse = "refuse"
)

// causes are those that a rule may be answered with.
var causes = map[string]subscriber.Refusal{
	"user_unknown":        {Cause: subscriber.UserUnknown},
	"roaming_not_allowed": {Cause: subscriber.RoamingNotAllowed},
	"odb_all_apn":         {Cause: subscriber.RoamingNotAllowed, Diagnostic: subscriber.ODBAllAPN},
	"rat_not_allowed":     {Cause: subscriber.RATNotAllowed},
}

// Validate lists every fault, each beginning with its key.
func (c Config) Validate() error {
	var faults []error
	if c.MaxVectors < 1 || c.MaxVectors > 32 {
		faults = append(faults, fmt.Errorf("max_vectors: %d, want 1 to 32", c.MaxVectors))
	}
	if c.GiveUpAfter <= 0 {
		faults = append(faults, fmt.Errorf("give_up_after: %v, want more than 0", c.GiveUpAfter))
	}
	if c.Mismatch != mismatchCount && c.Mismatch != mismatchRefuse {
		faults = append(faults, fmt.Errorf("mismatch: %q, want %s or %s", c.Mismatch, mismatchCount, mismatchRefuse))
	}
	faults = append(faults, c.Causes.validate("causes")...)
	for i, p := range c.Partners {
		key := fmt.Sprintf("partners[%d]", i)
		if len(p.Realms) == 0 {
			faults = append(faults, fmt.Errorf("%s.realms: missing", key))
		}
		for _, s := range p.PLMNs {
			if _, err := identity.ParsePLMN(s); err != nil {
				faults = append(faults, fmt.Errorf("%s.plmns: %w", key, err))
			}
		}
		faults = append(faults, p.Causes.validate(key+".causes")...)
	}
	if err := c.Equipment.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("equipment.%w", err))
	}
	return errors.Join(faults...)
}

func (c Causes) validate(key string) []error {
	var faults []error
	for _, reason := range slices.Sorted(maps.Keys(c)) {
		if !slices.Contains(subscriber.Reasons(), reason) {
			faults = append(faults, fmt.Errorf("%s: reason %q, want one of %v", key, reason, subscriber.Reasons()))
		}
		if _, ok := causes[c[reason]]; !ok {
			faults = append(faults, fmt.Errorf("%s.%s: %q, want one of %v", key, reason, c[reason], slices.Sorted(maps.Keys(causes))))
		}
	}
	return faults
}

// partner returns the host that a request comes from, and by which of its realms; nil when none is configured for that
// realm.
func (c Config) partner(realm string) (*PartnerConfig, string) {
	for i := range c.Partners {
		for _, r := range c.Partners[i].Realms {
			if isRealm(r, realm) {
				return &c.Partners[i], r
			}
		}
	}
	return nil, ""
}

// otherRealm is the label of all realms that are no partner's.
const otherRealm = "other"

func isRealm(pattern, realm string) bool {
	if domain, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(realm) > len(domain) && strings.EqualFold(realm[len(realm)-len(domain):], domain)
	}
	return strings.EqualFold(pattern, realm)
}

// checkPartner holds the visited network against the realm that names it. Hubs share realms, so that a mismatch is only
// counted unless it is to be refused; without partners nothing is checked.
func (s *Server) checkPartner(realm string, plmn identity.PLMN) error {
	if len(s.cfg.Partners) == 0 {
		return nil
	}
	label := otherRealm
	if p, by := s.cfg.partner(realm); p != nil {
		if len(p.PLMNs) == 0 || slices.ContainsFunc(p.PLMNs, func(text string) bool {
			own, err := identity.ParsePLMN(text)
			return err == nil && own == plmn
		}) {
			return nil
		}
		label = strings.ToLower(by)
	}
	s.partners.WithLabelValues(label).Inc()
	s.log.Debug("a realm names a network that is not its partner's", "realm", realm, "plmn", plmn)
	if s.cfg.Mismatch == mismatchRefuse {
		return experimental(subscriber.RoamingNotAllowed, fmt.Errorf("realm %s has no network %v", realm, plmn))
	}
	return nil
}

// cause is what a refusal is told that host as: its own setting, else the general one, else the usual cause.
func (c Config) cause(r *subscriber.Refusal, realm string) subscriber.Refusal {
	if p, _ := c.partner(realm); p != nil {
		if told, ok := causes[p.Causes[r.Reason]]; ok {
			return told
		}
	}
	if told, ok := causes[c.Causes[r.Reason]]; ok {
		return told
	}
	return *r
}

// asAnswer gives an error of the store or the core its result. away is what Redis being away is answered with.
func (s *Server) asAnswer(err error, realm string, away *diameter.Error) error {
	var refusal *subscriber.Refusal
	switch {
	case errors.As(err, &refusal):
		told := s.cfg.cause(refusal, realm)
		e := experimental(told.Cause, err)
		if told.Diagnostic != 0 {
			e.AVPs = []diameter.AVP{errorDiagnostic.Unsigned(uint32(told.Diagnostic))}
		}
		return e
	case errors.Is(err, store.ErrUnknown):
		return experimental(subscriber.UserUnknown, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrChanged): // away, or others were faster each time
		return &diameter.Error{Code: away.Code, Vendor: away.Vendor, Err: err}
	}
	return err
}

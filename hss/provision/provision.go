// Package provision owns what an operator does with the HSS: SIMs and their states, templates, import and export, key
// rotation, the audit log of all that, and the REST API over it. It hands what serving nodes must hear of to a Teller,
// and knows no Diameter but what the table of peers shows.
package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Config says how provisioning is reached and what it keeps.
type Config struct {
	Listen         string        `yaml:"listen"`           // IP:port of the REST API; "" none
	Tokens         string        `yaml:"tokens"`           // file with the tokens that may use it, see ParseTokens
	Certificate    string        `yaml:"certificate"`      // file, PEM; "" no TLS, for loopback and behind a proxy
	Key            string        `yaml:"key"`              // file, PEM
	TransportKeys  string        `yaml:"transport_keys"`   // file with the keys that card makers encrypt K with, see ParseTransportKeys
	AuditEntries   int64         `yaml:"audit_entries"`    // that are kept
	SessionLogKeep time.Duration `yaml:"session_log_keep"` // how long a line is kept; 0: there is no session log
	RepairEvery    time.Duration `yaml:"repair_every"`     // between two comparisons of the indexes with the records; 0: by command only
}

// DefaultConfig returns the defaults: no REST API but on the admin socket.
func DefaultConfig() Config {
	return Config{AuditEntries: 1_000_000, SessionLogKeep: 30 * 24 * time.Hour, RepairEvery: 24 * time.Hour}
}

// Validate lists every fault, each beginning with its key.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			fault("listen: %q is not IP:port", c.Listen)
		}
		if c.Tokens == "" {
			fault("tokens: none, but provision.listen is set: name the file with those who may use it")
		}
	}
	if (c.Certificate == "") != (c.Key == "") {
		fault("certificate: with provision.key only, and the other way round")
	}
	if c.AuditEntries < 1000 {
		fault("audit_entries: %d, want 1000 or more", c.AuditEntries)
	}
	if c.SessionLogKeep < 0 {
		fault("session_log_keep: %v, want 0 or more", c.SessionLogKeep)
	}
	if c.RepairEvery < 0 || c.RepairEvery > 0 && c.RepairEvery < time.Minute {
		fault("repair_every: %v, want 0 or at least 1m", c.RepairEvery)
	}
	return errors.Join(faults...)
}

// Teller tells the serving nodes of a SIM what has changed, by the smallest message that does it: CLR, IDR or DSR. It
// returns nil when it has taken that over for good, so that it survives a restart, or when there is nothing to tell. It
// may be called twice with the same change, and with one that a newer has overtaken.
type Teller interface {
	Tell(ctx context.Context, c subscriber.Change) error
}

// Network is what the Diameter edge can be asked.
type Network struct {
	Peers  func() []diameter.PeerStatus                                                                   // open peers
	Locate func(ctx context.Context, imsi identity.IMSI, current bool) ([]subscriber.NodeLocation, error) // asks the serving nodes
	Reset  func(ctx context.Context, scope subscriber.Scope) (int, error)                                 // tells every node that registrations were lost

	Equipment func(ctx context.Context, imei string) (subscriber.EquipmentStatus, error) // says on which list a device is
}

// Service is provisioning.
type Service struct {
	cfg    Config
	store  *store.Store
	teller Teller
	log    *slog.Logger
	now    func() time.Time

	tokens        *tokenFile
	transportKeys transportKeys
	jobs          jobs
	stats         stats

	readWithin time.Duration // that a client may take nothing of an export or a dump

	mu      sync.Mutex // held while a template changes
	changes counter    // of templates, since the start
}

// New returns provisioning over the store. The error is one of the files that cfg names.
func New(cfg Config, s *store.Store, p Teller, log *slog.Logger) (*Service, error) {
	s.LimitAudits(cfg.AuditEntries)
	v := &Service{cfg: cfg, store: s, teller: p, log: log, now: time.Now, stats: newStats(), jobs: newJobs(), readWithin: readWithin}
	var err error
	for _, result := range []string{toldDone, toldLater} { // alerts see a step to 1 only from a 0
		v.stats.pushes.WithLabelValues(result)
	}
	if cfg.Tokens != "" {
		if v.tokens, err = openTokens(cfg.Tokens); err != nil {
			return nil, err
		}
	}
	if cfg.TransportKeys != "" {
		if v.transportKeys, err = loadTransportKeys(cfg.TransportKeys); err != nil {
			return nil, err
		}
	}
	return v, nil
}

const (
	pushRetry    = 5 * time.Second // between two looks for changes that were not told
	pushPatience = 10 * time.Second
	pushAtOnce   = 1000
	readWithin   = time.Minute
)

// Run does what goes on behind the requests until ctx ends: changes that were not told are told again, jobs, and the
// repair of the indexes.
func (v *Service) Run(ctx context.Context) error {
	retry := time.NewTicker(pushRetry)
	defer retry.Stop()
	var repair <-chan time.Time
	if v.cfg.RepairEvery > 0 {
		t := time.NewTicker(v.cfg.RepairEvery)
		defer t.Stop()
		repair = t.C
	}
	var running sync.WaitGroup
	defer running.Wait()
	listed := v.makeList(ctx)
	for {
		select {
		case n := <-v.jobs.begun:
			running.Go(func() {
				if err := v.jobs.do(ctx, n); err != nil {
					v.log.Error("a job failed; it may be begun again", "job", n.Name, "err", err)
				}
			})
		case <-retry.C:
			listed = listed || v.makeList(ctx)
			v.pushAgain(ctx, v.now().Add(-pushPatience))
		case <-repair:
			if mine, err := v.store.Once(ctx, "repair", v.cfg.RepairEvery/2); err != nil || !mine {
				continue // another instance does it
			}
			if _, err := v.startRepair(); err != nil {
				v.log.Warn("the regular repair of the indexes was left out", "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// makeList begins a repair when there are SIMs from before there was a list of IMSIs. It says whether that is settled.
func (v *Service) makeList(ctx context.Context) bool {
	listed, err := v.store.Listed(ctx)
	if err != nil {
		v.log.Debug("whether there is a list of IMSIs could not be read", "err", err)
		return false
	}
	if !listed {
		if _, err := v.startRepair(); err != nil {
			v.log.Warn("the list of IMSIs could not be begun", "err", err)
			return false
		}
	}
	return true
}

// pushAgain pushes the changes that were noted before a time and not taken over.
func (v *Service) pushAgain(ctx context.Context, before time.Time) {
	all, err := v.store.Changes(ctx, before, pushAtOnce)
	if err != nil {
		v.log.Debug("changes that were not told could not be read", "err", err)
		return
	}
	for id, c := range all {
		v.push(ctx, id, c)
	}
}

// push hands a change over and drops the note when it was taken.
func (v *Service) push(ctx context.Context, id string, c subscriber.Change) {
	if !c.Removed() { // what is there now, not what was meant to be: the change may have lost a race
		sub, _, err := v.store.Get(ctx, c.IMSI)
		switch {
		case errors.Is(err, store.ErrUnknown):
			c.After = subscriber.Subscriber{}
		case err != nil:
			v.stats.pushes.WithLabelValues(toldLater).Inc()
			return
		default:
			c.After = sub
		}
	}
	if err := v.teller.Tell(ctx, c); err != nil {
		v.stats.pushes.WithLabelValues(toldLater).Inc()
		v.log.Warn("a change is told later", "err", err)
		return
	}
	if err := v.store.DropChange(ctx, id); err != nil {
		v.log.Warn("a change that was told stays noted: it will be told again", "err", err)
	}
	v.stats.pushes.WithLabelValues(toldDone).Inc()
}

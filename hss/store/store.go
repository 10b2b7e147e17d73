package store

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/config"
	"github.com/xepc/xepc/pkg/identity"
)

// Config says where the records are.
type Config struct {
	Addresses  []string      `yaml:"addresses"`   // IP:port each, or one unix socket; one: single; several: Cluster, or Sentinels with master_name; none: embedded
	MasterName string        `yaml:"master_name"` // of Sentinel
	Username   string        `yaml:"username"`
	Password   config.Secret `yaml:"password"`
	Database   int           `yaml:"database"` // not with Cluster
	Within     time.Duration `yaml:"within"`   // for one operation; beyond, Redis counts as away
	Replicas   int           `yaml:"replicas"` // that must have a change before it counts; not with Cluster
}

// DefaultConfig returns the defaults: embedded.
func DefaultConfig() Config { return Config{Within: time.Second} }

// Validate lists every fault, each beginning with its key.
func (c Config) Validate() error {
	var faults []error
	single := len(c.Addresses) == 1 && c.MasterName == ""
	for i, a := range c.Addresses {
		if single && filepath.IsAbs(a) {
			break // go-redis takes it as a unix socket
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			faults = append(faults, fmt.Errorf("addresses[%d]: %q is not host:port, nor the only one and the path of a unix socket from /", i, a))
		}
	}
	if c.Replicas < 0 || (c.Replicas > 0 && c.MasterName == "" && len(c.Addresses) > 1) {
		faults = append(faults, fmt.Errorf("replicas: %d, want 0 or more, and 0 with Cluster", c.Replicas))
	}
	if c.Within <= 0 {
		faults = append(faults, fmt.Errorf("within: %v, want more than 0", c.Within))
	}
	return errors.Join(faults...)
}

// Errors of the store. Any other is a fault of a record.
var (
	ErrUnknown     = errors.New("no such SIM")
	ErrExists      = errors.New("the SIM exists already")
	ErrChanged     = errors.New("the profile or the registration has changed meanwhile")
	ErrPending     = errors.New("the node has yet to answer a cancellation of this SIM")
	ErrUsedUp      = errors.New("the SIM's sequence numbers are used up")
	ErrUnavailable = errors.New("no answer from Redis")
)

var (
	//go:embed lua/record.lua
	recordLua string // stands before those that read records
	//go:embed lua/upgrade.lua
	upgradeLua string
	//go:embed lua/advance.lua
	advanceLua string
	//go:embed lua/register.lua
	registerLua string
	//go:embed lua/purge.lua
	purgeLua string
	//go:embed lua/remove.lua
	removeLua string
	//go:embed lua/change.lua
	changeLua string
	//go:embed lua/index.lua
	indexLua string
	//go:embed lua/occupy.lua
	occupyLua string
	//go:embed lua/vacate.lua
	vacateLua string
	//go:embed lua/release.lua
	releaseLua string
	//go:embed lua/reseal.lua
	resealLua string
	//go:embed lua/request.lua
	requestLua string
	//go:embed lua/take.lua
	takeLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/finish.lua
	finishLua string
	//go:embed lua/edit.lua
	editLua string
)

// Store is the HSS's records.
type Store struct {
	redis    redis.UniversalClient
	keyring  *Keyring
	within   time.Duration
	embedded *miniredis.Miniredis // nil with a real Redis

	batcher  batcher
	advances sync.Pool   // of *load
	listed   atomic.Bool // the list of IMSIs is complete
	replicas int         // that must have a change before it counts
	audits   atomic.Int64

	advance, register, purge, remove, upgrade *redis.Script
	change, index, reseal                     *redis.Script
	request, take, claim, edit, finish        *redis.Script
	occupyScript, vacateScript, releaseScript *redis.Script

	log       *slog.Logger
	templates templates
	ranges    equipmentRanges
}

func (s *Store) scripts() []*redis.Script {
	return []*redis.Script{
		s.upgrade, s.advance, s.register, s.purge, s.remove, s.change, s.index, s.reseal, s.request, s.take, s.claim,
		s.edit, s.finish,
	}
}

// onRecord makes a script of those that read records.
func onRecord(lua string) *redis.Script { return redis.NewScript(recordLua + lua) }

const poolSize = 64 // connections to each Redis node; one carries one operation at a time

// Open connects to the records, and waits for nothing: Ping says whether Redis is there. Without addresses it starts
// an embedded Redis in memory. keyring may be nil then.
func Open(cfg Config, keyring *Keyring, log *slog.Logger) (*Store, error) {
	s := &Store{
		keyring: keyring, within: cfg.Within, replicas: cfg.Replicas,
		upgrade: onRecord(upgradeLua), advance: onRecord(advanceLua), register: onRecord(registerLua),
		purge: onRecord(purgeLua), remove: onRecord(removeLua), change: onRecord(changeLua), reseal: onRecord(resealLua),
		request: onRecord(requestLua), edit: onRecord(editLua), index: redis.NewScript(indexLua),
		take: redis.NewScript(takeLua), claim: redis.NewScript(claimLua), finish: redis.NewScript(finishLua), log: log,
		occupyScript: redis.NewScript(occupyLua), vacateScript: redis.NewScript(vacateLua), releaseScript: redis.NewScript(releaseLua),
	}
	s.batcher.send = s.sendCalls
	if len(cfg.Addresses) == 0 {
		s.embedded = miniredis.NewMiniRedis()
		if err := s.embedded.Start(); err != nil {
			return nil, fmt.Errorf("starting the embedded Redis: %w", err)
		}
		cfg.Addresses = []string{s.embedded.Addr()}
		log.Warn("no Redis is configured: subscribers are in memory and end with this process; for trying out only", "key", "redis.addresses")
		if keyring == nil {
			var err error
			if s.keyring, err = throwawayKeyring(); err != nil {
				return nil, err
			}
		}
	}
	if s.keyring == nil {
		return nil, ErrNoKEK
	}
	s.redis = redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: cfg.Addresses, MasterName: cfg.MasterName, Username: cfg.Username, Password: string(cfg.Password), DB: cfg.Database,
		DialTimeout: cfg.Within, ReadTimeout: cfg.Within, WriteTimeout: cfg.Within, PoolTimeout: cfg.Within,
		ContextTimeoutEnabled: true, MaxRetries: 1, DialerRetries: 1, PoolSize: poolSize,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return s, nil
}

// Close ends the connections, and the embedded Redis.
func (s *Store) Close() error {
	err := s.redis.Close()
	if s.embedded != nil {
		s.embedded.Close()
	}
	return err
}

// Ping says whether Redis answers; the error is ErrUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return unavailable(s.redis.Ping(ctx).Err())
}

// unavailable gives an error of Redis its name.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

const keyPrefix = "sim:"

func key(imsi identity.IMSI) string { return keyPrefix + "{" + string(imsi) + "}" }

// run runs a script on one SIM's record and returns what it answers as strings. An empty answer is ErrUnknown.
func (s *Store) run(ctx context.Context, script *redis.Script, imsi identity.IMSI, args ...any) ([]string, error) {
	answer, err := s.batcher.do(call{script: script, keys: []string{key(imsi), gatewayKey(imsi), workedKey(imsi)}, args: args})
	switch {
	case err != nil:
		return nil, unavailable(err)
	case len(answer) == 0:
		return nil, ErrUnknown
	}
	return answer, nil
}

// Add puts a new SIM in. seq is the last SEQ that the card may have seen, 0 for a new one. The error is ErrExists for
// a SIM that is there, or a *TakenError.
func (s *Store) Add(ctx context.Context, imsi identity.IMSI, p subscriber.Profile, c aka.Credentials, seq uint64, now time.Time) error {
	results, err := s.addChunk(ctx, []New{{IMSI: imsi, Profile: p, Keys: c, SEQ: seq}}, now)
	if err != nil {
		return err
	}
	return results[0]
}

func clock(t time.Time) int64 { return t.UnixMilli() / subscriber.ClockUnitMillis }

// Revision names a state of a profile.
type Revision string

// Get returns a SIM, its profile with what templates add, and the revision of the profile. The error is ErrUnknown for
// a SIM that is not there.
func (s *Store) Get(ctx context.Context, imsi identity.IMSI) (subscriber.Subscriber, Revision, error) {
	r, err := s.Load(ctx, imsi)
	return r.Subscriber, r.Revision, err
}

// decode reads JSON into v; "" leaves it as it is.
func decode(text string, v any) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("decoding a record: %w", err)
	}
	return nil
}

// Opened are the keys of a SIM.
type Opened struct {
	aka.Credentials

	Err error // ErrUnknown for a SIM that is not there, or a fault of the record
}

// Credentials returns the keys of a SIM. The error is ErrUnknown for a SIM that is not there.
func (s *Store) Credentials(ctx context.Context, imsi identity.IMSI) (aka.Credentials, error) {
	c := s.CredentialsOf(ctx, []identity.IMSI{imsi})[0]
	return c.Credentials, c.Err
}

// CredentialsOf returns the keys of SIMs.
func (s *Store) CredentialsOf(ctx context.Context, imsis []identity.IMSI) []Opened {
	all := make([]Opened, 0, len(imsis))
	err := s.eachStored(ctx, imsis, func(imsi identity.IMSI, w stored, err error) error {
		var c Opened
		if c.Err = err; err == nil {
			c.Credentials, c.Err = s.keyring.open(imsi, w.sealed)
		}
		all = append(all, c)
		return nil
	})
	for len(all) < len(imsis) { // Redis is away
		all = append(all, Opened{Err: err})
	}
	return all
}

// Swap is a registration that takes the place of another.
type Swap struct {
	Side     subscriber.Side
	Next     subscriber.Registration
	EndOther bool      // the registration on the other side ends with it
	Requests []Pending // what nodes are to be told of it; intended before
	Force    bool      // do not wait for the node's answer to a cancellation: forget it
	For      string    // name of the node's request, for WorkedOn; "" none
}

// Register makes the swap if the subscriber is still as it was read, by its revision and its registrations; the requests
// are kept in the same step, so that each displacement is told exactly once whatever breaks. The error is ErrUnknown,
// ErrChanged, or ErrPending: the node is still being told that the SIM is not its own.
func (s *Store) Register(ctx context.Context, sub subscriber.Subscriber, rev Revision, w Swap) error {
	next, err := encodeRegistration(w.Next)
	if err != nil {
		return err
	}
	before, other := sub.At(w.Side), sub.At(w.Side.Other())
	otherHolder := "*"
	if w.EndOther {
		otherHolder = holder(other)
	}
	force := ""
	if w.Force {
		force = "1"
	}
	args := []any{string(w.Side), string(rev), next, strings.ToLower(w.Next.Host), holder(before), otherHolder, force, w.For}
	for _, p := range w.Requests {
		j, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
		args = append(args, p.ID(), j)
	}
	answer, err := s.batcher.do(call{script: s.register, keys: []string{key(sub.IMSI), outKey(string(sub.IMSI)), workedKey(sub.IMSI)}, args: args})
	switch {
	case err != nil:
		return unavailable(err)
	case len(answer) == 0:
		return ErrUnknown
	case answer[0] == "changed":
		return ErrChanged
	case answer[0] == "pending":
		return ErrPending
	}
	s.moved(ctx, sub.IMSI, before.Host, w.Next.Host)
	if w.EndOther {
		s.moved(ctx, sub.IMSI, other.Host, "")
	}
	return nil
}

// holder names who holds a registration, as register.lua does.
func holder(r subscriber.Registration) string {
	if r.Purged {
		return strings.ToLower(r.Host) + "!"
	}
	return strings.ToLower(r.Host)
}

// Purge marks the registrations of that node on those sides as purged, and says which it has. request is the name of the
// node's request, for WorkedOn; "" none. The error is ErrUnknown.
func (s *Store) Purge(ctx context.Context, imsi identity.IMSI, host, request string, sides ...subscriber.Side) (mme, sgsn bool, err error) {
	args := []any{strings.ToLower(host), request}
	for _, side := range sides {
		args = append(args, string(side))
	}
	answer, err := s.run(ctx, s.purge, imsi, args...)
	if err != nil {
		return false, false, err
	}
	return answer[0] == "1", answer[1] == "1", nil
}

// What was last worked on for a SIM is a list beside its record, for four minutes: worked:{IMSI}, names of requests, that of a PUR
// with which sides it has purged. A request that comes again may come to another instance, or after a restart.
func workedKey(imsi identity.IMSI) string { return "worked:{" + string(imsi) + "}" }

// WorkedOn says whether a request of that name was worked on, and of a PUR which sides it has purged.
func (s *Store) WorkedOn(ctx context.Context, imsi identity.IMSI, request string) (yes, mme, sgsn bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	all, err := s.redis.LRange(ctx, workedKey(imsi), 0, -1).Result()
	for _, text := range all {
		if name, sides, _ := strings.Cut(text, " "); name == request {
			return true, strings.HasPrefix(sides, "1"), strings.HasSuffix(sides, "1"), nil
		}
	}
	return false, false, false, unavailable(err)
}

// Remove takes a SIM out and returns where it was registered. The error is ErrUnknown.
func (s *Store) Remove(ctx context.Context, imsi identity.IMSI) (mme, sgsn subscriber.Registration, err error) {
	w, err := s.stored(ctx, imsi)
	if err != nil {
		return mme, sgsn, err
	}
	before, _ := decodeProfile(w.profile) // what cannot be read has no addresses to give back
	read, err := s.occupants(ctx, AddressesOf(before))
	if err != nil {
		return mme, sgsn, err
	}
	answer, err := s.run(ctx, s.remove, imsi)
	if err != nil {
		return mme, sgsn, err
	}
	s.vacate(ctx, imsi, AddressesOf(before), read)
	p, errProfile := decodeProfile(answer[2])
	mme, sgsn, err = decodeBoth(answer)
	err = errors.Join(errProfile, err)
	s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
		everySIM.delist(ctx, pipe, imsi)
		listOf(p).delist(ctx, pipe, imsi)
		s.reindex(ctx, pipe, imsi, p, subscriber.Profile{})
	})
	if w, err := s.stored(ctx, imsi); err == nil { // put in again meanwhile: what was just taken out may be the new one's
		if next, err := decodeProfile(w.profile); err == nil {
			s.indexed(ctx, func(ctx context.Context, pipe redis.Pipeliner) {
				everySIM.enlist(ctx, pipe, imsi)
				listOf(next).enlist(ctx, pipe, imsi)
				s.reindex(ctx, pipe, imsi, subscriber.Profile{}, next)
			})
		}
	}
	s.moved(ctx, imsi, mme.Host, "")
	s.moved(ctx, imsi, sgsn.Host, "")
	return mme, sgsn, err
}

const scanCount = 1000 // records that one step of a scan looks at

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/hss/s6a"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

const (
	ourHost, ourRealm = "hss1.epc.mnc070.mcc999.3gppnetwork.org", "epc.mnc070.mcc999.3gppnetwork.org"
	mmeRealm          = "epc.mnc001.mcc001.3gppnetwork.org"
	loaders           = 4
	loadAtOnce        = 2000 // SIMs
	loadWithin        = time.Minute
	askers            = 64
	attachedShare     = 10 // one SIM in so many is attached, for what that takes
)

// bench is what is measured: two Diameter nodes on loopback that differ in their handlers only.
type bench struct {
	store     *store.Store
	redis     *server
	noop, hss string // addresses
	sims      int
	loading   time.Duration
	start     time.Duration // from nothing but a full Redis to the first answer to an AIR

	resting, attached float64 // octets that a SIM takes in Redis, its part of the indexes included

	cancel context.CancelFunc
	nodes  *errgroup.Group
}

func newBench(ctx context.Context, r *server, sims int) (*bench, error) {
	keyring, err := store.ParseKeyring(store.GenerateKEK("bench"))
	if err != nil {
		return nil, err
	}
	cfg := store.DefaultConfig()
	cfg.Addresses = []string{r.socket}
	b := &bench{sims: sims, redis: r}
	patient := cfg
	patient.Within = loadWithin
	loader, err := store.Open(patient, keyring, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(b.load(ctx, loader), loader.Close()); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(ctx)
	b.cancel, b.nodes = cancel, new(errgroup.Group)
	begin := time.Now()
	if b.store, err = store.Open(cfg, keyring, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	edge := s6a.New(s6a.DefaultConfig(), b.store, slog.New(slog.DiscardHandler))
	app := edge.Application()
	if b.hss, err = b.serve(run, app); err != nil {
		return nil, err
	}
	if err := askOnce(ctx, b.hss, sims); err != nil {
		return nil, err
	}
	b.start = time.Since(begin)
	nothing := diameter.Application{ID: app.ID, Common: app.Common, Groups: map[uint32]diameter.GroupHandler{commandAIR: sameVector()}}
	b.noop, err = b.serve(run, nothing)
	return b, err
}

// sameVector is a handler that does no work: its answer is always the same, and of the form and size of a real one.
func sameVector() diameter.GroupHandler {
	octets := func(name string, n int) diameter.AVP { return diameter.Standard.AVP(name).Octets(make([]byte, n)) }
	answer := []diameter.AVP{authenticationInfo.Group(eutranVector.Group(
		diameter.Standard.AVP("Item-Number").Unsigned(1), octets("RAND", 16), octets("XRES", 8), octets("AUTN", 16), octets("KASME", 32)))}
	return func(_ context.Context, reqs []diameter.Request) []diameter.Result {
		return slices.Repeat([]diameter.Result{{AVPs: answer}}, len(reqs))
	}
}

func (b *bench) close() {
	b.cancel()
	_ = b.nodes.Wait()
	_ = b.store.Close()
}

func (b *bench) serve(ctx context.Context, app diameter.Application) (string, error) {
	cfg := diameter.DefaultConfig()
	cfg.Identity, cfg.Realm = ourHost, ourRealm
	cfg.Listen, cfg.Transports = []string{"127.0.0.1:0"}, []string{"tcp"}
	cfg.Peers = []diameter.PeerConfig{{Host: "*." + mmeRealm}}
	n := diameter.New(cfg, slog.New(slog.DiscardHandler), uint32(time.Now().Unix()), app)
	if err := n.Listen(); err != nil {
		return "", err
	}
	b.nodes.Go(func() error { return n.Run(ctx) })
	return n.Addresses()[0], nil
}

// load puts the SIMs in, attaches some, and measures what each takes in Redis.
func (b *bench) load(ctx context.Context, s *store.Store) error {
	empty, err := usedMemory(ctx, b.redis)
	if err != nil {
		return err
	}
	begin := time.Now()
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for first := 0; first < b.sims; first += loadAtOnce {
		group.Go(func() error {
			sims := make([]store.New, min(loadAtOnce, b.sims-first))
			for i := range sims {
				var octets [32]byte
				_, _ = rand.Read(octets[:]) // never fails, see crypto/rand
				keys := aka.Credentials{K: aka.KeyOf(octets[:16]), OPc: aka.KeyOf(octets[16:])}
				sims[i] = store.New{IMSI: imsiOf(first + i), Profile: profileOf(first + i), Keys: keys}
			}
			results, err := s.AddMany(within, sims, begin)
			return errors.Join(append(results, err)...)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("loading: %w", err)
	}
	b.loading = time.Since(begin)
	full, err := usedMemory(ctx, b.redis)
	if err != nil {
		return err
	}
	attached := max(1, b.sims/attachedShare)
	if err := b.attach(ctx, s, attached); err != nil {
		return fmt.Errorf("attaching: %w", err)
	}
	after, err := usedMemory(ctx, b.redis)
	if err != nil {
		return err
	}
	b.resting = (full - empty) / float64(b.sims)
	b.attached = b.resting + (after-full)/float64(attached)
	return rewriteFile(ctx, b.redis)
}

// rewriteFile has Redis rewrite its append-only file, and waits for it. It would do so anyway for all that the loading has
// appended, in the midst of a window.
func rewriteFile(ctx context.Context, r *server) error {
	c := redis.NewClient(&redis.Options{Addr: r.socket})
	defer func() { _ = c.Close() }()
	for { // refused while one that Redis has begun by itself is under way
		if err := c.BgRewriteAOF(ctx).Err(); err == nil {
			break
		} else if !strings.Contains(err.Error(), "in progress") {
			return fmt.Errorf("having Redis rewrite its file: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for {
		info, err := c.Info(ctx, "persistence").Result()
		if err != nil {
			return fmt.Errorf("asking Redis for the state of its file: %w", err)
		}
		if strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0") {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// attach gives each of the last SIMs a vector for an MME and one for an SGSN, and registers it at both.
func (b *bench) attach(ctx context.Context, s *store.Store, sims int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askers)
	for i := range sims {
		group.Go(func() error {
			imsi := imsiOf(b.sims - 1 - i)
			for side, host := range map[subscriber.Side]string{subscriber.MME: "mme7." + mmeRealm, subscriber.SGSN: "sgsn7." + mmeRealm} {
				if _, err := s.Advance(ctx, imsi, host, 1, nil, time.Now()); err != nil {
					return err
				}
				sub, rev, err := s.Get(ctx, imsi)
				if err != nil {
					return err
				}
				err = s.Register(ctx, sub, rev, store.Swap{Side: side, Next: subscriber.Registration{
					Host: host, Realm: mmeRealm, PLMN: "001-01", RAT: subscriber.EUTRAN, IMEI: "3560920407930001", At: time.Now(),
				}})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func imsiOf(i int) identity.IMSI { return identity.IMSI(fmt.Sprintf("99970%010d", i)) }

// profileOf is a profile as a machine's SIM has it: two APNs, one with an address of its own, and a list of carriers.
func profileOf(i int) subscriber.Profile {
	return subscriber.Profile{
		MSISDN: identity.MSISDN(fmt.Sprintf("88212%010d", i)),
		APNs:   []subscriber.APN{{Name: "internet"}, {Name: "meters.example", Charging: "0800"}},
		PLMNs:  []string{"001-01", "262-01", "262-02", "310-410"},
	}.WithDefaults()
}

// usedMemory asks Redis how many octets it holds.
func usedMemory(ctx context.Context, r *server) (float64, error) {
	c := redis.NewClient(&redis.Options{Addr: r.socket})
	defer func() { _ = c.Close() }()
	info, err := c.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for its memory: %w", err)
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("INFO has no used_memory")
}

// measurement is one window, as the client hands it over, and what it took.
type measurement struct {
	Answers  int
	Seconds  float64
	P50, P99 float64 // milliseconds

	NodeCPU, RedisCPU, ClientCPU time.Duration // processor time of each process
}

func (m measurement) perSecond() float64 { return float64(m.Answers) / m.Seconds }

// microseconds is processor time for one answer.
func (m measurement) microseconds(cpu time.Duration) float64 {
	return cpu.Seconds() * 1e6 / float64(m.Answers)
}

func (m measurement) String() string {
	return fmt.Sprintf("%.0f/s, p50 %.2f ms, p99 %.2f ms, CPU µs per answer: node %.1f, redis %.1f, client %.1f",
		m.perSecond(), m.P50, m.P99, m.microseconds(m.NodeCPU), m.microseconds(m.RedisCPU), m.microseconds(m.ClientCPU))
}

// measure asks one of the nodes for as long as the window is.
func (b *bench) measure(ctx context.Context, address string, window time.Duration, profile string) (measurement, error) {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return measurement{}, fmt.Errorf("creating the profile: %w", err)
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return measurement{}, fmt.Errorf("starting the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	self, err := os.Executable()
	if err != nil {
		return measurement{}, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-client", address, "-sims", strconv.Itoa(b.sims), "-window", window.String())
	cmd.Stderr = os.Stderr
	own, errOwn := ownCPU()
	other, errOther := b.redis.cpu()
	out, err := cmd.Output()
	if err != nil {
		return measurement{}, fmt.Errorf("the client: %w", err)
	}
	ownAfter, errOwn2 := ownCPU()
	otherAfter, errOther2 := b.redis.cpu()
	var m measurement
	if err := json.Unmarshal(out, &m); err != nil {
		return m, fmt.Errorf("reading what the client measured: %w", err)
	}
	m.NodeCPU, m.RedisCPU, m.ClientCPU = ownAfter-own, otherAfter-other, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	return m, errors.Join(errOwn, errOther, errOwn2, errOther2)
}

package s6a

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// target is a server, over a Redis in memory without another, whose handlers can be called with any octets.
type target struct {
	server *Server
	apps   map[uint32]diameter.Application
}

func newTarget(t testing.TB, redis ...string) *target {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Addresses = redis
	keyring, err := store.ParseKeyring(testKEK)
	require.NoError(t, err)
	s, err := store.Open(cfg, keyring, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	keys, _ := testKeys(t)
	p := internet()
	p.IMEILock = subscriber.IMEILock{Learn: true}
	p.Serving = subscriber.Serving{
		UsageType: new(uint32(1)), ResetIDs: []string{"site-1"}, Trace: collector(), Restrictions: subscriber.Restrictions(),
		Zones: []subscriber.Zones{{PLMN: "001-01", Codes: []string{"0001"}}},
	}
	for w := range fuzzWorkers {
		require.NoError(t, s.Add(context.Background(), imsiOf(w), p.WithDefaults(), keys, 0, time.Now()))
	}
	server := New(DefaultConfig(), s, slog.New(slog.DiscardHandler))
	server.patience = 0 // nobody answers our CLRs here
	a, b := server.Application(), server.S13()
	return &target{server: server, apps: map[uint32]diameter.Application{a.ID: a, b.ID: b}}
}

// fuzzWorkers hand in messages at once, each about a SIM of its own: on one they would wait for each other.
const fuzzWorkers = 16

// imsiOf is the SIM of a worker; that of worker 1 is imsi.
func imsiOf(worker int) identity.IMSI { return identity.IMSI(fmt.Sprintf("9997000000000%02d", worker)) }

// handle gives a message to its handler, and an answer to whoever reads answers. It says whether it was well-formed.
func (x *target) handle(ctx context.Context, b []byte) bool {
	msg, err := diameter.Standard.Parse(b)
	if err != nil {
		return false
	}
	_ = locationOf(msg, mme1, subscriber.MME)
	_ = msg.Err()
	if diameter.Standard.Check(msg) == nil {
		app, req := x.apps[msg.Application], diameter.Request{Message: msg, From: diameter.Peer{Host: mme1}}
		if handler := app.Handlers[msg.Command]; handler != nil {
			_, _ = handler(ctx, req) // any answer will do
		}
		if handler := app.Groups[msg.Command]; handler != nil {
			_ = handler(ctx, []diameter.Request{req, req})
		}
	}
	for len(x.server.queue) > 0 {
		<-x.server.queue
	}
	return true
}

// seeds are one of each message that we take.
func seeds(t testing.TB) [][]byte {
	t.Helper()
	m := &mme{t: t, host: mme1}
	nor := m.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal("35609204079301"), avp.NORFlags: datatype.Unsigned32(0x3ff)})
	m.add(nor, avp.MIP6AgentInfo, avp.Mbit, 0, group(diam.NewAVP(avp.MIPHomeAgentHost, avp.Mbit, 0, group(
		diam.NewAVP(avp.DestinationRealm, avp.Mbit, 0, datatype.DiameterIdentity(ourRealm)), diam.NewAVP(avp.DestinationHost, avp.Mbit, 0, datatype.DiameterIdentity(ourHost))))))
	m.add(nor, avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String("internet"))
	pur := m.pur()
	m.add(pur, 1635, avp.Vbit, diameter.Vendor3GPP, datatype.Unsigned32(3))
	sms := m.ulr(0x3f)
	m.add(sms, 1645, avp.Vbit, diameter.Vendor3GPP, datatype.OctetString("\x88\x12\x02"))
	restored := m.able()
	restored.AddAVP(tgpp(avp.ActiveAPN, group(append(gatewayAVPs("pgw1."+ourRealm),
		tgpp(avp.ContextIdentifier, datatype.Unsigned32(1)), diam.NewAVP(avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String("internet")))...)))
	m.add(restored, avpAdjacentPLMNs, avp.Vbit, diameter.Vendor3GPP, group(tgpp(avp.VisitedPLMNID, datatype.OctetString("\x62\xf2\x20"))))
	usage := m.air(1, 0, nil)
	m.add(usage, avpAIRFlags, avp.Vbit, diameter.Vendor3GPP, datatype.Unsigned32(1))
	var all [][]byte
	for _, msg := range []*diam.Message{m.air(2, 1, make([]byte, 30)), usage, m.ulr(34), m.ulr(8), restored, sms, m.pur(), pur, nor, m.norOf("internet", "pgw2.example"), m.ecr("35609204079300", string(imsi))} {
		b, err := msg.Serialize()
		require.NoError(t, err)
		all = append(all, b)
	}
	named := diameter.Standard.AVP
	ida := diameter.Message{Header: diameter.Header{Command: 319, Application: ApplicationID}, AVPs: []diameter.AVP{
		diameter.ResultCode.Unsigned(2001), named("EPS-User-State").Group(named("MME-User-State").Group(named("User-State").Unsigned(2))),
		named("EPS-Location-Information").Group(named("MME-Location-Information").Group(named("Tracking-Area-Identity").Octets([]byte{1, 2, 3, 4, 5}))),
		named("Served-Party-IP-Address").Address(netip.MustParseAddr("10.0.0.1")),
	}}
	return append(all, ida.Append(nil))
}

// No message, whatever it holds, makes a handler panic.
func FuzzHandlers(f *testing.F) {
	x := newTarget(f)
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { x.handle(t.Context(), b) })
}

// TestMutatedMessages gives the handlers messages that were changed in a few places, most of which stay well-formed: some
// thousand of them, or as many as XEPC_FUZZ_MESSAGES says (make fuzz-long: 10 million). Nothing panics, and memory stays.
func TestMutatedMessages(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("XEPC_FUZZ_MESSAGES"))
	if err != nil {
		n = 5_000
	}
	x, all := newTarget(t, startRedis(t).Address), seeds(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	var whole atomic.Int64
	begin := time.Now()
	for w := range fuzzWorkers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2026))
			own := make([][]byte, len(all))
			for i, b := range all {
				own[i] = bytes.ReplaceAll(b, []byte(imsi), []byte(imsiOf(w)))
			}
			for range n / fuzzWorkers {
				if x.handle(context.Background(), mutate(r, own[r.IntN(len(own))])) {
					whole.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	runtime.GC()
	runtime.ReadMemStats(&after)
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	t.Logf("%d messages, %d of them well-formed, in %v; heap %d KiB before and %d KiB after; %s", n, whole.Load(), took.Round(time.Second),
		before.HeapAlloc>>10, after.HeapAlloc>>10, regexp.MustCompile(`VmHWM:\s+\d+ kB`).Find(status))
	require.Greater(t, whole.Load(), int64(n/10))
	require.Less(t, after.HeapAlloc, before.HeapAlloc+256<<20)
}

// mutate changes octets, lengths and order of a message.
func mutate(r *rand.Rand, seed []byte) []byte {
	b := append([]byte(nil), seed...)
	for range 1 + r.IntN(4) {
		at := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2: // an unlikely number
			if at &^= 3; at+4 <= len(b) {
				binary.BigEndian.PutUint32(b[at:], []uint32{0, 1, 0x7fffffff, 0x80000000, 0xffffffff}[r.IntN(5)])
			}
		case 3: // cut
			b = b[:max(20, at&^3)]
		case 4: // an AVP once more
			if at &^= 3; at >= 20 {
				b = append(b, b[at:]...)
			}
		case 5: // four octets of another place
			from := r.IntN(len(b)) &^ 3
			if at &^= 3; at+4 <= len(b) && from+4 <= len(b) {
				copy(b[at:at+4], b[from:from+4])
			}
		}
	}
	if len(b) > 1<<16 {
		b = b[:1<<16]
	}
	b = b[:len(b)&^3]
	b[0] = 1
	binary.BigEndian.PutUint32(b, 1<<24|uint32(len(b)))
	return b
}

package provision

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/testkit"
)

const (
	patience     = 20 * time.Second
	patienceStep = 10 * time.Millisecond
	kHex         = "465b5ce8b199b49faa5f0a2ee238a6bc"
	opHex        = "cdc202d5123e20f62b6d676ac72cb318"
	opcHex       = "cd63cb71954a9f4e48a5994e37a02baf"
	kek          = "k1 abababababababababababababababababababababababababababababababab"
	imsi1        = "999700000000001"
	imsi2        = "999700000000002"
)

// told keeps what a Teller was told.
type told struct {
	mu   sync.Mutex
	all  []subscriber.Change
	away bool // refuse, as when Redis is away
}

func (t *told) Tell(_ context.Context, c subscriber.Change) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.away {
		return errors.New("away")
	}
	t.all = append(t.all, c)
	return nil
}

func (t *told) setAway(away bool) { t.mu.Lock(); t.away = away; t.mu.Unlock() }

func (t *told) take() []subscriber.Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.all
	t.all = nil
	return all
}

// bed is provisioning over a real Redis, with tokens for each role.
type bed struct {
	t       testing.TB
	redis   *redistest.Server
	store   *store.Store
	service *Service
	told    *told
	url     string
	tokens  map[Role]string
	file    string // of the tokens
	log     *testkit.Log

	document *huma.OpenAPI
}

func openStore(t testing.TB, address, keks string) *store.Store {
	t.Helper()
	keyring, err := store.ParseKeyring(keks)
	require.NoError(t, err)
	cfg := store.DefaultConfig()
	cfg.Addresses, cfg.Within = []string{address}, patience
	s, err := store.Open(cfg, keyring, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{t: t, redis: redistest.Start(t), told: &told{}, tokens: map[Role]string{}, log: new(testkit.Log)}
	b.store = openStore(t, b.redis.Address, kek)
	dir := t.TempDir()
	var lines []string
	for _, role := range []Role{Read, Operate, Admin} {
		token, line, err := GenerateToken(role.String()+"er", role, "")
		require.NoError(t, err)
		b.tokens[role] = token
		lines = append(lines, line)
	}
	b.file = filepath.Join(dir, "tokens")
	require.NoError(t, os.WriteFile(b.file, []byte("# who may\n"+strings.Join(lines, "\n")+"\n"), 0o600))
	keys := filepath.Join(dir, "transport")
	require.NoError(t, os.WriteFile(keys, []byte("maker aes-ecb 000102030405060708090a0b0c0d0e0f\n"), 0o600))
	cfg := DefaultConfig()
	cfg.Listen, cfg.Tokens, cfg.TransportKeys = "127.0.0.1:0", b.file, keys
	require.NoError(t, cfg.Validate())
	var err error
	b.service, err = New(cfg, b.store, b.told, slog.New(slog.NewTextHandler(b.log, nil)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = b.service.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	mux := http.NewServeMux()
	b.document = b.service.serve(mux, b.service.Bearer, Network{
		Peers: func() []diameter.PeerStatus {
			return []diameter.PeerStatus{{Peer: diameter.Peer{Host: "mme1", Address: netip.MustParseAddrPort("192.0.2.1:3868")}, State: "okay", Since: time.Now()}}
		},
		Locate: func(_ context.Context, _ identity.IMSI, current bool) ([]subscriber.NodeLocation, error) {
			if !current {
				return nil, errors.New("nobody")
			}
			return []subscriber.NodeLocation{{Host: "mme1", Side: subscriber.MME, Age: time.Minute}}, nil
		},
		Reset: func(_ context.Context, s subscriber.Scope) (int, error) { return 3 + len(s.IMSIs), nil },

		Equipment: func(_ context.Context, imei string) (subscriber.EquipmentStatus, error) {
			return subscriber.EquipmentStatus{List: "white", Range: imei, From: "provisioned"}, nil
		},
	}).OpenAPI()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// do sends a request with the token of a role and returns status and body.
func (b *bed) do(role Role, method, path, body string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+Prefix+path, strings.NewReader(body))
	require.NoError(b.t, err)
	req.Header.Set("Authorization", "Bearer "+b.tokens[role])
	switch {
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	case path == "/restore" || strings.HasPrefix(path, "/import"):
		req.Header.Set("Content-Type", "text/csv")
	default:
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return resp.StatusCode, string(text)
}

// ok is do as admin, decoding the answer.
func ok[T any](b *bed, method, path, body string) (out T) {
	b.t.Helper()
	status, text := b.do(Admin, method, path, body)
	require.Equal(b.t, 200, status, text)
	require.NoError(b.t, json.Unmarshal([]byte(text), &out), text)
	return out
}

func (b *bed) refused(status int, says, method, path, body string) {
	b.t.Helper()
	got, text := b.do(Admin, method, path, body)
	require.Equal(b.t, status, got, text)
	require.Contains(b.t, text, says)
}

func newSIM(imsi, more string) string {
	return `{"imsi":"` + imsi + `","k":"` + kHex + `","opc":"` + opcHex + `","apns":[{"name":"internet"}]` + more + `}`
}

// register has a SIM be at a node.
func (b *bed) register(imsi identity.IMSI, host string) {
	b.t.Helper()
	sub, rev, err := b.store.Get(context.Background(), imsi)
	require.NoError(b.t, err)
	next := subscriber.Registration{Host: host, Realm: "visited", PLMN: "001-01", At: time.Now()}
	err = b.store.Register(context.Background(), sub, rev, store.Swap{Side: subscriber.MME, Next: next})
	require.NoError(b.t, err)
}

package traffic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/xepc/xepc/testbed/topology"
)

// maxTransfer bounds what the web server makes or takes for one request, in octets.
const maxTransfer = 1 << 40

// Content makes size octets that look random and are the same for the same seed.
func Content(seed uint64, size int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), size)
}

// WebServer is the server in the core network: GET /octets?seed=S&size=N sends Content, POST /upload answers with
// the SHA-256 of what came, in hexadecimal digits.
type WebServer struct {
	server *http.Server
	done   chan error
}

// StartWebServer listens in a namespace and serves until Close.
func StartWebServer(ctx context.Context, ns *topology.Namespace, address netip.AddrPort) (*WebServer, error) {
	listener, err := ns.Listen(ctx, "tcp4", address.String())
	if err != nil {
		return nil, fmt.Errorf("web server: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "xepc testbed web server: you are %s\n", r.RemoteAddr)
	})
	mux.HandleFunc("GET /octets", serveOctets)
	mux.HandleFunc("POST /upload", takeOctets)
	s := &WebServer{server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, done: make(chan error, 1)}
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// Close ends the server and its connections.
func (s *WebServer) Close() error {
	err := s.server.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func serveOctets(w http.ResponseWriter, r *http.Request) {
	seed, err1 := strconv.ParseUint(r.FormValue("seed"), 10, 64)
	size, err2 := strconv.ParseInt(r.FormValue("size"), 10, 64)
	if err := errors.Join(err1, err2); err != nil || size < 0 || size > maxTransfer {
		http.Error(w, "seed and size are needed", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(w, Content(seed, size)) // the client sees how much came
}

func takeOctets(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(r.Body, maxTransfer)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = fmt.Fprintln(w, hex.EncodeToString(sum.Sum(nil)))
}

// TransferResult is a transfer whose octets were compared.
type TransferResult struct {
	Octets   int64
	Duration time.Duration
	SHA256   string // of what arrived, in hexadecimal digits; the same as of what was sent
}

// String gives size, rate and hash.
func (r TransferResult) String() string {
	return fmt.Sprintf("%.1f MB in %s, %.0f Mbit/s, sha256 %s…", float64(r.Octets)/1e6,
		r.Duration.Round(time.Millisecond), float64(r.Octets)*8/1e6/r.Duration.Seconds(), r.SHA256[:16])
}

// Client is a user behind a UE.
type Client struct {
	http *http.Client
}

// NewClient makes an HTTP client whose connections begin in a namespace. Every request has a connection of its own.
func NewClient(ns *topology.Namespace) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true}}}
}

// Download fetches size octets from a WebServer and compares what came with what Content makes.
func (c *Client) Download(ctx context.Context, server netip.AddrPort, seed uint64, size int64) (TransferResult, error) {
	url := fmt.Sprintf("http://%s/octets?seed=%d&size=%d", server, seed, size)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return TransferResult{}, err
	}
	start := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return TransferResult{}, fmt.Errorf("download: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return TransferResult{}, fmt.Errorf("download: %s", response.Status)
	}
	got := sha256.New()
	n, err := io.Copy(got, response.Body)
	if err != nil {
		return TransferResult{}, fmt.Errorf("download: after %d of %d octets: %w", n, size, err)
	}
	return compare("download", n, size, time.Since(start), hex.EncodeToString(got.Sum(nil)), sumOf(seed, size))
}

// Upload sends size octets to a WebServer and compares the hash that it answers with that of what Content makes.
func (c *Client) Upload(ctx context.Context, server netip.AddrPort, seed uint64, size int64) (TransferResult, error) {
	sent := sha256.New()
	body := io.TeeReader(Content(seed, size), sent)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s/upload", server), body)
	if err != nil {
		return TransferResult{}, err
	}
	request.ContentLength = size
	start := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return TransferResult{}, fmt.Errorf("upload: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1024))
	if err != nil || response.StatusCode != http.StatusOK {
		return TransferResult{}, errors.Join(fmt.Errorf("upload: %s", response.Status), err)
	}
	return compare("upload", size, size, time.Since(start), strings.TrimSpace(string(answer)), sent)
}

func sumOf(seed uint64, size int64) hash.Hash {
	sum := sha256.New()
	_, _ = io.Copy(sum, Content(seed, size)) // neither end can fail
	return sum
}

func compare(what string, n, size int64, took time.Duration, got string, want hash.Hash) (TransferResult, error) {
	if n != size {
		return TransferResult{}, fmt.Errorf("%s: %d octets came, not %d", what, n, size)
	}
	if sent := hex.EncodeToString(want.Sum(nil)); got != sent {
		return TransferResult{}, fmt.Errorf("%s: SHA-256 of what came is %s, of what was sent %s", what, got, sent)
	}
	return TransferResult{Octets: n, Duration: took, SHA256: got}, nil
}

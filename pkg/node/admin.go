package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Refused is a request that the node understood and refused.
type Refused struct {
	Status  int    // of HTTP: 400, 404, 409 …
	Message string // for the person at the command line
}

// Error returns the node's words.
func (r *Refused) Error() string { return r.Message }

// Refuse makes the error that an admin handler returns so that the caller sees status and message.
func Refuse(status int, format string, args ...any) error {
	return &Refused{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Unreachable is the error of a command whose node does not answer on its admin socket.
type Unreachable struct {
	Socket string // path, or URL
	Err    error
}

// Error says which socket was tried and what to do.
func (u *Unreachable) Error() string {
	if errors.Is(u.Err, fs.ErrPermission) {
		return fmt.Sprintf("the node's socket %s is closed to you (%v): be root, or who the node runs as", u.Socket, u.Err)
	}
	if strings.Contains(u.Socket, "://") {
		return fmt.Sprintf("the node does not answer at %s (%v): is it running, and is the URL right?", u.Socket, u.Err)
	}
	return fmt.Sprintf("the node does not answer on %s (%v): is it running, and is --socket right?", u.Socket, u.Err)
}

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// maxAdminBody bounds a request to the admin API, in octets.
const maxAdminBody = 1 << 20

// Handle serves pattern ("GET /sessions", as net/http has it) on the admin API. What handle returns is sent as JSON;
// an error of Refuse with its status, any other as 500.
func (n *Node) Handle(pattern string, handle func(*http.Request) (any, error)) {
	n.admin.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
		value, err := handle(r)
		status := http.StatusOK
		if err != nil {
			status = http.StatusInternalServerError
			var refused *Refused
			if errors.As(err, &refused) {
				status = refused.Status
			} else {
				n.Log.Error("admin request failed", "request", pattern, "err", err)
			}
			value = adminError{Error: err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value) // the client hung up: nobody is left to tell
	})
}

// HandleHTTP serves pattern on the admin API by a handler of the node's own.
func (n *Node) HandleHTTP(pattern string, h http.Handler) { n.admin.Handle(pattern, h) }

type adminError struct {
	Error string `json:"error"`
}

func (n *Node) serveAdmin(path string) error {
	l, err := listenUnix(path)
	if err != nil {
		return err
	}
	n.Log.Info("admin API", "socket", path)
	n.admin.HandleFunc("/debug/pprof/", pprof.Index)
	n.admin.HandleFunc("/debug/pprof/profile", pprof.Profile)
	n.ServeHTTP("admin API", l, n.admin)
	return nil
}

// listenUnix listens on path. A socket that nobody answers on is left from a killed process, and is replaced.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the admin socket: %w", err)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another process answers on %s: stop it, or give this node an admin_socket of its own", path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("removing the socket of a dead process: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on the admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("closing the admin socket to others: %w", err)
	}
	return l, nil
}

func (n *Node) serveMetrics(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listening for metrics: %w: is metrics.address free and an address of this host?", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !n.ready.Load() {
			http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	n.Log.Info("metrics and health", "address", l.Addr().String())
	n.ServeHTTP("metrics", l, mux)
	return nil
}

// ServeHTTP serves h at l, which it closes, until the node stops; name is for errors.
func (n *Node) ServeHTTP(name string, l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	n.Go(name, func(context.Context) error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	n.OnStop(func(ctx context.Context) {
		if err := s.Shutdown(ctx); err != nil {
			_ = s.Close()
		}
	})
}

// Client speaks to the admin API of a running node, or to another API over HTTP of the same node.
type Client struct {
	Base   string      // URL that paths stand behind
	Header http.Header // of every request
	// Refusal makes the error of an answer whose status is not of 2xx.
	Refusal func(*http.Response) error

	where string // for errors: socket or URL
	http  http.Client
}

// answerTimeout is how long a command waits for a node that has taken its request.
const answerTimeout = 30 * time.Second

// NewClient returns a client of the node whose admin socket is at path. It connects at the first request.
func NewClient(path string) *Client {
	return newClient("http://node", path, &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	})
}

// NewURLClient returns a client of a node's API at a URL.
func NewURLClient(url string) *Client {
	return newClient(url, url, &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: answerTimeout}).DialContext,
		TLSHandshakeTimeout: answerTimeout, ForceAttemptHTTP2: true,
	})
}

func newClient(base, where string, over *http.Transport) *Client {
	over.ResponseHeaderTimeout = answerTimeout
	return &Client{Base: base, Header: http.Header{}, Refusal: refusal, where: where, http: http.Client{Transport: over}}
}

// Do sends one request; body, unless nil, goes as JSON, and the answer is read into out, unless nil. The error is that of
// Send, or a fault of the answer.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	var b io.Reader
	if body != nil {
		j, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		b = bytes.NewReader(j)
	}
	return c.Exchange(ctx, method, path, "application/json", b, out)
}

// Exchange is Do with a body of another kind than JSON.
func (c *Client) Exchange(ctx context.Context, method, path, kind string, body io.Reader, out any) error {
	answer, err := c.Send(ctx, method, path, kind, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("reading the node's answer: %w", err)
	}
	return nil
}

// Send sends one request and returns the body of the answer. The error is an *Unreachable, that of Refusal, or a fault of the
// exchange.
func (c *Client) Send(ctx context.Context, method, path, kind string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header = c.Header.Clone()
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.fault(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, c.Refusal(resp)
	}
	return resp.Body, nil
}

// fault names an error of an exchange.
func (c *Client) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "dial" {
		return &Unreachable{Socket: c.where, Err: refused.Err}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &Unreachable{Socket: c.where, Err: fmt.Errorf("no answer within %v", answerTimeout)}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &Unreachable{Socket: c.where, Err: errors.New("it ended in the midst")}
	}
	return fmt.Errorf("asking the node: %w", err)
}

func refusal(resp *http.Response) error {
	var e adminError
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAdminBody)).Decode(&e); err != nil || e.Error == "" {
		e.Error = resp.Status
	}
	return &Refused{Status: resp.StatusCode, Message: e.Error}
}

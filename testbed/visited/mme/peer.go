package mme

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// errLost says that the connection ended before the answer came.
var errLost = errors.New("connection to the HSS was lost")

// peer is one connection: requests wait for their answers by Hop-by-Hop Identifier.
type peer struct {
	conn  net.Conn
	serve func(message) message
	log   *slog.Logger

	mu      sync.Mutex
	next    uint32
	pending map[uint32]chan message
	done    chan struct{} // closed when the reader has ended
}

func newPeer(conn net.Conn, serve func(message) message, log *slog.Logger) *peer {
	p := &peer{
		conn: conn, serve: serve, log: log, next: uint32(time.Now().UnixNano()),
		pending: map[uint32]chan message{}, done: make(chan struct{}),
	}
	go p.read()
	return p
}

// read hands each answer to whoever waits for it, and answers requests, until the connection ends.
func (p *peer) read() {
	defer close(p.done)
	for {
		m, err := readMessage(p.conn)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				p.log.Info("connection to the HSS ended", "err", err)
			}
			_ = p.conn.Close()
			return
		}
		if m.request() {
			if _, err := p.conn.Write(p.serve(m).marshal()); err != nil {
				p.log.Info("answer to the HSS not sent", "err", err)
			}
			continue
		}
		p.mu.Lock()
		wait, ok := p.pending[m.HopByHop]
		delete(p.pending, m.HopByHop)
		p.mu.Unlock()
		if ok {
			wait <- m
		}
	}
}

func (p *peer) lost() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *peer) close() {
	_ = p.conn.Close()
	<-p.done
}

// exchange sends a request and waits for its answer.
func (p *peer) exchange(ctx context.Context, request message) (message, error) {
	wait := make(chan message, 1)
	p.mu.Lock()
	p.next++
	request.HopByHop = p.next
	if request.EndToEnd == 0 {
		request.EndToEnd = p.next
	}
	p.pending[request.HopByHop] = wait
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pending, request.HopByHop)
		p.mu.Unlock()
	}()

	if _, err := p.conn.Write(request.marshal()); err != nil {
		return message{}, fmt.Errorf("%w: %w", errLost, err)
	}
	select {
	case answer := <-wait:
		return answer, nil
	case <-p.done:
		return message{}, errLost
	case <-ctx.Done():
		return message{}, fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
}

package diameter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// keepConnected connects to a peer, again and again, until ctx ends. While the peer has a connection, its own or ours,
// there is no other.
func (n *Node) keepConnected(ctx context.Context, p PeerConfig) {
	life := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		if err := n.connect(ctx, life, p); err != nil && ctx.Err() == nil {
			level := slog.LevelDebug
			if !errors.Is(err, errElection) {
				level = n.warnings.level(time.Now())
			}
			n.log.Log(ctx, level, "connecting to a peer", "peer", p.Host, "address", p.Connect, "err", err)
		}
		select {
		case <-time.After(n.cfg.ReconnectAfter):
		case <-ctx.Done():
		}
	}
}

// connect connects to a peer that is not open, once, and serves the connection to its end.
func (n *Node) connect(ctx, life context.Context, p PeerConfig) error {
	ctx, a := n.begin(ctx, p.Host)
	if a == nil {
		return nil
	}
	nc, c, err := n.reach(ctx, a, p)
	if ended := n.conclude(p.Host, a, c); ended != nil {
		err = ended
	}
	if nc != nil {
		defer func() { _ = nc.Close() }()
	}
	if err != nil {
		return err
	}
	log := n.log.With("peer", c.peer.Host, "address", p.Connect, "transport", c.peer.Transport)
	log.Info("peer open")
	err = c.run(life)
	n.leave(c)
	log.Info("peer closed", "reason", err)
	return nil
}

// reach opens a connection and introduces us. The connection is closed when ctx ends before that.
func (n *Node) reach(ctx context.Context, a *attempt, p PeerConfig) (net.Conn, *conn, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.CapabilitiesWithin)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", p.Connect)
	if err != nil {
		return nil, nil, err
	}
	raw := nc
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	transport := "tcp"
	if p.TLS {
		transport = "tls"
		if nc, err = n.secure(ctx, raw, p.Host); err != nil {
			return raw, nil, err
		}
	}
	if err := n.ask(a); err != nil {
		return nc, nil, err
	}
	c, err := n.introduce(nc, p, transport)
	return nc, c, err
}

// introduce sends a CER and takes the CEA, RFC 6733 5.3 and 5.6.
func (n *Node) introduce(nc net.Conn, p PeerConfig, transport string) (*conn, error) {
	if err := nc.SetDeadline(time.Now().Add(n.cfg.CapabilitiesWithin)); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	cer := Message{
		Header: Header{Request: true, Command: CommandCapabilitiesExchange, HopByHop: 1, EndToEnd: n.endToEnd.Add(1)},
		AVPs: append([]AVP{OriginHost.Text(n.cfg.Identity), OriginRealm.Text(n.cfg.Realm)},
			n.capabilities(localAddress(nc))...),
	}
	if _, err := nc.Write(cer.Append(nil)); err != nil {
		return nil, fmt.Errorf("sending the CER: %w", err)
	}
	r := bufio.NewReaderSize(nc, readBuffer)
	b, err := readFrame(r, maxFirst)
	if err != nil {
		return nil, fmt.Errorf("awaiting the CEA: %w", err)
	}
	cea, err := Standard.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("reading the CEA: %w", err)
	}
	if cea.Request || cea.Command != CommandCapabilitiesExchange {
		return nil, fmt.Errorf("command %d in the place of a CEA", cea.Command)
	}
	if err := cea.Err(); err != nil {
		return nil, fmt.Errorf("the peer refuses the CER: %w", err)
	}
	peer := Peer{Host: cea.Text(OriginHost), Realm: cea.Text(OriginRealm), Address: remoteAddress(nc), Transport: transport}
	if !strings.EqualFold(peer.Host, p.Host) || (p.Realm != "" && !strings.EqualFold(peer.Realm, p.Realm)) {
		return nil, fmt.Errorf("the peer is %q of realm %q, not whom we looked for", peer.Host, peer.Realm)
	}
	if !n.shares(cea) {
		return nil, fmt.Errorf("no application in common with %s", peer.Host)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clearing the deadline: %w", err)
	}
	c := newConn(n, nc, r, peer, p)
	c.ours = true
	return c, nil
}

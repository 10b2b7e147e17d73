package slowpath

import (
	"context"
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/gtpu"
)

// Path is a GTP-U path: our address and the peer's.
type Path struct{ Local, Remote netip.Addr }

// Supervision is how GTP-U paths are watched by Echo, TS 29.281 7.2.1 and TS 23.007 20.
type Supervision struct {
	Interval time.Duration // between Echo Requests on a path; 0: none are sent. TS 29.281 wants 60 s at least
	T3       time.Duration // wait before one is sent again
	N3       int           // how often in all before the path has failed

	Paths   func(context.Context) []Path                 // that are in use
	Changed func(_ context.Context, _ Path, failed bool) // a path has failed, or recovered
}

// probe is what is known of a path.
type probe struct {
	sequence uint16
	sent     int // of this sequence number; 0: answered, or given up
	failed   bool
}

type echo struct {
	path     Path
	sequence uint16
}

// supervise asks the peers of the paths in use whether they are there.
func (s *Slowpath) supervise(ctx context.Context) error {
	watch := s.cfg.Supervision
	if watch.Interval <= 0 || watch.Paths == nil {
		<-ctx.Done()
		return nil
	}
	round, again := time.NewTicker(watch.Interval), time.NewTicker(watch.T3)
	defer round.Stop()
	defer again.Stop()
	probes := map[Path]*probe{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-round.C:
			s.begin(ctx, probes)
		case <-again.C:
			s.repeat(ctx, probes)
		case e := <-s.echoes:
			p := probes[e.path]
			if p == nil || p.sent == 0 || p.sequence != e.sequence {
				s.counts[EchoResponse].Add(1)
				continue
			}
			s.counts[EchoConfirmed].Add(1)
			if p.sent = 0; p.failed {
				p.failed = false
				s.cfg.Log.Info("GTP-U path is back", "slice", e.path.Local.String(), "peer", e.path.Remote.String())
				watch.Changed(ctx, e.path, false)
			}
		}
	}
}

// begin starts a round: one Echo Request to each path in use.
func (s *Slowpath) begin(ctx context.Context, probes map[Path]*probe) {
	used := map[Path]bool{}
	for _, path := range s.cfg.Supervision.Paths(ctx) {
		if _, ours := s.conns[path.Local]; !ours || path.Remote.Is4() != path.Local.Is4() {
			continue
		}
		used[path] = true
		p := probes[path]
		if p == nil {
			p = &probe{}
			probes[path] = p
		}
		if p.sent == 0 {
			p.sequence++
			s.ask(path, p)
		}
	}
	for path := range probes {
		if !used[path] {
			delete(probes, path)
		}
	}
}

// repeat sends again what was not answered, and gives up in the end.
func (s *Slowpath) repeat(ctx context.Context, probes map[Path]*probe) {
	for path, p := range probes {
		switch {
		case p.sent == 0:
		case p.sent < s.cfg.Supervision.N3:
			s.ask(path, p)
		default:
			if p.sent = 0; !p.failed {
				p.failed = true
				s.cfg.Log.Warn("GTP-U path has failed", "slice", path.Local.String(), "peer", path.Remote.String())
				s.cfg.Supervision.Changed(ctx, path, true)
			}
		}
	}
}

func (s *Slowpath) ask(path Path, p *probe) {
	p.sent++
	b, err := gtpu.Append(nil, gtpu.Header{Type: gtpu.TypeEchoRequest, HasSequence: true, Sequence: p.sequence}, nil)
	if err == nil {
		_, err = s.conns[path.Local].WriteToUDPAddrPort(b, netip.AddrPortFrom(path.Remote, s.cfg.Port))
	}
	if err != nil {
		s.counts[SendFailed].Add(1)
		return
	}
	s.counts[EchoAsked].Add(1)
}

// answered takes an Echo Response. It never waits.
func (s *Slowpath) answered(path Path, sequence uint16) {
	select {
	case s.echoes <- echo{path, sequence}:
	default:
		s.counts[QueueFull].Add(1)
	}
}

// SendEndMarker ends a tunnel: no packet of ours goes into it any more, TS 29.281 7.3.2.
func (s *Slowpath) SendEndMarker(path Path, teid uint32) {
	outcome := SendFailed
	if conn, ours := s.conns[path.Local]; ours {
		b, err := gtpu.Append(nil, gtpu.Header{Type: gtpu.TypeEndMarker, TEID: teid}, nil)
		if err == nil {
			_, err = conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(path.Remote, s.cfg.Port))
		}
		if err == nil {
			outcome = EndMarkerSent
		}
	}
	s.counts[outcome].Add(1)
}

// Package slowpath owns the GTP-U sockets of the slices: it answers Echo Requests, tells senders about TEIDs that
// are not known, gives the packets that the kernel has put together from fragments back to the data path, and counts
// what else arrives there. It never decides about a user's packet: that is the data path's.
package slowpath

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/gtpu"
)

// Outcome is what became of a packet in the slow path. Each is counted.
type Outcome uint8

// Values of Outcome.
const (
	EchoAnswered            Outcome = iota
	EchoAsked                       // an Echo Request of ours
	EchoConfirmed                   // and its answer
	EchoResponse                    // an answer that nobody waits for
	ErrorIndicationSent             // for a G-PDU to an unknown TEID
	ErrorIndicationLimited          // not sent: the peer got as many as it may in this time
	ErrorIndicationHeld             // not sent: sessions are being restored
	ErrorIndicationUnlikely         // not sent: the G-PDU came from no unicast address, or from ourselves
	ErrorIndicationReceived         // the other end does not know a TEID that we send to
	ExtensionsNotified              // an extension header that had to be comprehended and was not
	ExtensionsReceived              // a Supported Extension Headers Notification
	EndMarker                       // an uplink path ends: nothing to do at a PGW
	EndMarkerSent                   // of a tunnel that no packet of ours goes into any more
	CopySent                        // a duplicate that a FAR asked for
	Reassembled                     // a G-PDU that the kernel put together from fragments: the data path has it
	ReassemblyFull                  // the same, but too many wait: dropped
	ReassemblyRefused               // the same, but the data path cannot take it: dropped
	SentInFragments                 // a G-PDU of ours that does not fit into one packet: the kernel cuts it
	RoutedInFragments               // a packet to a network that does not fit its link: cut here
	GPDU                            // a G-PDU that came by no access port: dropped
	SocketFull                      // not read: the kernel had no room for it
	UnknownType                     // a message type that has no business here
	Malformed                       // no GTP-U message of version 1
	QueueFull                       // not sent: more unknown TEIDs than the queue holds
	SendFailed
	Panicked // a fault of ours: the packet is dropped, the log has the stack
	outcomes
)

var outcomeNames = [outcomes]string{
	EchoAnswered: "echo_answered", EchoAsked: "echo_asked", EchoConfirmed: "echo_confirmed",
	EchoResponse: "echo_response", ErrorIndicationSent: "error_indication_sent",
	ErrorIndicationLimited: "error_indication_limited", ErrorIndicationHeld: "error_indication_held",
	ErrorIndicationUnlikely: "error_indication_unlikely", ErrorIndicationReceived: "error_indication_received",
	ExtensionsNotified: "extensions_notified", ExtensionsReceived: "extensions_received", EndMarker: "end_marker", EndMarkerSent: "end_marker_sent", CopySent: "copy_sent",
	Reassembled: "reassembled", ReassemblyFull: "reassembly_full", ReassemblyRefused: "reassembly_refused",
	SentInFragments: "sent_in_fragments", RoutedInFragments: "routed_in_fragments",
	GPDU: "g_pdu", SocketFull: "socket_full", UnknownType: "unknown_type", Malformed: "malformed", QueueFull: "queue_full",
	SendFailed: "send_failed", Panicked: "panicked",
}

// String returns the name that metrics and docs use.
func (o Outcome) String() string { return outcomeNames[o] }

// Outcomes returns every value.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}

// comprehended are the extension headers that may stand in a message to us: we know how to pass over them.
var comprehended = []gtpu.ExtensionType{gtpu.ExtensionPDUSessionContainer, gtpu.ExtensionUDPPort}

// Config is what the slow path is made with.
type Config struct {
	Slices    []netip.Addr // their addresses, of either family
	Port      uint16       // of GTP-U; 0: 2152
	PerPeer   int          // Error Indications a second to one peer, and as many at once
	Peers     int          // that are remembered for that
	Queue     int          // unknown TEIDs that may wait
	HoldUntil time.Time    // no Error Indication before: sessions are being restored
	Log       *slog.Logger

	// Inject gives the data path an IP packet with a G-PDU, as it came in by a network device. ErrNotAccess: that is none
	// that G-PDUs may come in by. Nil: all of them are dropped.
	Inject      func(device int, packet []byte) error
	InjectQueue int // packets that may wait for it

	Supervision     Supervision
	ErrorIndication func(remote netip.Addr, teid uint32) // the peer does not know a TEID that we send to; nil: only counted
}

// DefaultConfig returns what suits a node; the slices are the caller's.
func DefaultConfig() Config {
	return Config{Port: gtpu.Port, PerPeer: 100, Peers: 4096, Queue: 1024, InjectQueue: 256, Supervision: Supervision{Interval: time.Minute, T3: 5 * time.Second, N3: 5}}
}

// ErrNotAccess is what Config.Inject returns for a device that faces no SGW.
var ErrNotAccess = errors.New("no access port")

// Slowpath is the slow path.
type Slowpath struct {
	cfg     Config
	conns   map[netip.Addr]*net.UDPConn
	queue   chan unknown
	whole   chan whole
	echoes  chan echo
	counts  [outcomes]atomic.Uint64
	limiter limiter  // of the goroutine that sends Error Indications
	copy    []byte   // reused by SendGPDU
	frames  *os.File // packet socket, which receives nothing
}

type unknown struct {
	local, remote netip.Addr
	teid          uint32
}

// Listen opens a socket for each slice. What arrives is read by Run; one that is not run must be closed.
func Listen(cfg Config) (*Slowpath, error) {
	if cfg.Port == 0 {
		cfg.Port = gtpu.Port
	}
	s := &Slowpath{
		cfg: cfg, conns: map[netip.Addr]*net.UDPConn{}, queue: make(chan unknown, max(cfg.Queue, 1)),
		whole:   make(chan whole, max(cfg.InjectQueue, 1)),
		echoes:  make(chan echo, 256),
		limiter: limiter{perSecond: cfg.PerPeer, peers: cfg.Peers},
	}
	frames, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket for fragments: %w", err)
	}
	s.frames = os.NewFile(uintptr(frames), "fragments")
	for _, slice := range cfg.Slices {
		conn, err := listen(netip.AddrPortFrom(slice, cfg.Port))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("GTP-U socket of slice %v: %w: the address must be one of this host (ip address add %v/%d dev lo)",
				slice, err, slice, slice.BitLen()), s.Close())
		}
		s.conns[slice] = conn
		if err := prepare(conn); err != nil {
			return nil, errors.Join(fmt.Errorf("GTP-U socket of slice %v: %w", slice, err), s.Close())
		}
	}
	return s, nil
}

// listen opens a socket. One of IPv6 also takes datagrams without checksum, as senders of RFC 6935 send them; what we
// send over it always has one.
func listen(at netip.AddrPort) (*net.UDPConn, error) {
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
	if err != nil || at.Addr().Is4() {
		return conn, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var refused error
		err = raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1) })
		err = errors.Join(err, refused)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take datagrams without checksum: %w", err), conn.Close())
	}
	return conn, nil
}

// Close closes the sockets.
func (s *Slowpath) Close() error {
	var errs []error
	for _, conn := range s.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(append(errs, s.frames.Close())...)
}

// Run answers until ctx ends, and closes the sockets.
func (s *Slowpath) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for slice, conn := range s.conns {
		g.Go(func() error { return s.read(ctx, slice, conn) })
	}
	g.Go(func() error { return s.indicate(ctx) })
	g.Go(func() error { return s.inject(ctx) })
	g.Go(func() error { return s.supervise(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
	return g.Wait()
}

// Counts returns how often each outcome came.
func (s *Slowpath) Counts() map[Outcome]uint64 {
	all := make(map[Outcome]uint64, outcomes)
	for o := range s.counts {
		all[Outcome(o)] = s.counts[o].Load()
	}
	return all
}

// Addr is where a slice's socket is; it is zero for what is no slice.
func (s *Slowpath) Addr(slice netip.Addr) netip.AddrPort {
	conn, ok := s.conns[slice]
	if !ok {
		return netip.AddrPort{}
	}
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func (s *Slowpath) read(ctx context.Context, slice netip.Addr, conn *net.UDPConn) error {
	b, control := make([]byte, 1<<16), make([]byte, controlOctets)
	dropped := uint32(0)
	for {
		n, more, _, peer, err := conn.ReadMsgUDPAddrPort(b, control)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // an ICMP error for something that we sent
			s.cfg.Log.Debug("GTP-U socket", "slice", slice.String(), "err", err)
			continue
		}
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		beside := tellingOf(control[:more])
		if beside.dropped != 0 {
			s.counts[SocketFull].Add(uint64(beside.dropped - dropped))
			dropped = beside.dropped
		}
		outcome, answer := s.receive(arrival{slice, peer, beside.device}, b[:n])
		if outcome < outcomes {
			s.counts[outcome].Add(1)
		}
		if answer == nil {
			continue
		}
		if _, err := conn.WriteToUDPAddrPort(answer, peer); err != nil {
			s.counts[SendFailed].Add(1)
		}
	}
}

// arrival is where a datagram came from and in.
type arrival struct {
	slice  netip.Addr
	peer   netip.AddrPort
	device int // interface index
}

// receive decides about one datagram. Whatever goes wrong in it ends here.
func (s *Slowpath) receive(from arrival, b []byte) (outcome Outcome, answer []byte) {
	slice, peer := from.slice, from.peer
	defer func() {
		if fault := recover(); fault != nil {
			outcome, answer = Panicked, nil
			if n := s.counts[Panicked].Load(); bits.OnesCount64(n+1) == 1 {
				s.cfg.Log.Error("panic while handling a GTP-U message", "panic", fault, "peer", peer.String(), "count", n+1)
			}
		}
	}()
	h, payload, err := gtpu.Parse(b)
	if err != nil {
		return Malformed, nil
	}
	if h.Type == gtpu.TypeGPDU {
		return s.takeWhole(from, b), nil // the program looks at its headers
	}
	for _, x := range h.Extensions {
		if x.Type.RequiredByEndpoint() && !slices.Contains(comprehended, x.Type) {
			answer, err := gtpu.SupportedExtensionHeadersNotification(comprehended)
			if err != nil || h.Type == gtpu.TypeSupportedExtensionHeadersNotification { // never one for one
				return Malformed, nil
			}
			return ExtensionsNotified, answer
		}
	}
	switch h.Type {
	case gtpu.TypeEchoRequest:
		return EchoAnswered, gtpu.EchoResponse(h)
	case gtpu.TypeEchoResponse:
		if s.cfg.Supervision.Paths == nil {
			return EchoResponse, nil
		}
		s.answered(Path{slice, peer.Addr()}, h.Sequence)
		return outcomes, nil // whoever waits for it counts it
	case gtpu.TypeErrorIndication:
		e, err := gtpu.ParseErrorIndication(payload)
		if err != nil {
			return Malformed, nil
		}
		s.cfg.Log.Debug("error indication received", "peer", peer.String(), "slice", slice.String(), "teid", e.TEID,
			"destination", e.Peer.String())
		if s.cfg.ErrorIndication != nil {
			s.cfg.ErrorIndication(e.Peer, e.TEID)
		}
		return ErrorIndicationReceived, nil
	case gtpu.TypeSupportedExtensionHeadersNotification:
		return ExtensionsReceived, nil
	case gtpu.TypeEndMarker:
		return EndMarker, nil
	default:
		return UnknownType, nil
	}
}

// UnknownTEID is told of a G-PDU that came from remote for a TEID that the slice at local does not have. It never
// waits.
func (s *Slowpath) UnknownTEID(local, remote netip.Addr, teid uint32) {
	select {
	case s.queue <- unknown{local, remote, teid}:
	default:
		s.counts[QueueFull].Add(1)
	}
}

// indicate sends Error Indications, TS 29.281 7.3.1.
func (s *Slowpath) indicate(ctx context.Context) error {
	for {
		select {
		case u := <-s.queue:
			s.counts[s.indication(u, time.Now())].Add(1)
		case <-ctx.Done():
			return nil
		}
	}
}

// unlikely says whether an address is none that a GTP-U entity sends from.
func unlikely(a netip.Addr) bool {
	return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Is4In6() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// indication sends one, or says why not. It goes to the GTP-U port of the G-PDU's source, TS 29.281 4.4.2.3.
func (s *Slowpath) indication(u unknown, now time.Time) Outcome {
	conn, ours := s.conns[u.local]
	if _, self := s.conns[u.remote]; self || !ours || unlikely(u.remote) || u.remote.Is4() != u.local.Is4() {
		return ErrorIndicationUnlikely
	}
	if now.Before(s.cfg.HoldUntil) {
		return ErrorIndicationHeld
	}
	if !s.limiter.allow(u.remote, now) {
		return ErrorIndicationLimited
	}
	b, err := gtpu.ErrorIndication{TEID: u.teid, Peer: u.local}.Encode()
	if err != nil {
		return SendFailed
	}
	if _, err := conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(u.remote, s.cfg.Port)); err != nil {
		return SendFailed
	}
	return ErrorIndicationSent
}

// limiter allows each peer so many events a second, and as many at once. It remembers so many peers: when there
// are more, it forgets all, which lets each of them have a second's worth again.
type limiter struct {
	perSecond, peers int
	buckets          map[netip.Addr]*bucket
}

type bucket struct {
	tokens float64
	last   time.Time
}

func (l *limiter) allow(peer netip.Addr, now time.Time) bool {
	b, ok := l.buckets[peer]
	if !ok {
		if len(l.buckets) >= l.peers || l.buckets == nil {
			l.buckets = make(map[netip.Addr]*bucket)
		}
		b = &bucket{tokens: float64(l.perSecond), last: now}
		l.buckets[peer] = b
	}
	if passed := now.Sub(b.last); passed > 0 {
		b.tokens = min(b.tokens+passed.Seconds()*float64(l.perSecond), float64(l.perSecond))
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

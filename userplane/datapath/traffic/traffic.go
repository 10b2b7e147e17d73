// Package traffic offers load to the ports of a data path from inside the kernel, and counts what arrives behind them.
// It is for proofs and benchmarks, and knows neither the data path nor its rules: frames go in, and what was seen at
// the other end comes out.
//
// Frames are live frames of BPF_PROG_TEST_RUN (Linux 5.18): they leave by the far end of a veth pair, as if somebody
// sent them there, and the port's program gets them as it would get any. All of a packet's way, to the sink, is on the
// CPU of the thread that sends it, where the pair has a queue for each CPU.
package traffic

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Flow is a frame that is sent over and over.
type Flow struct {
	Frame []byte // at least an Ethernet header; what follows the first 256 octets is that of the longest flow
	Lead  []byte // instead of it before Load.Start, of the same length
	Count int    // octets that a data path counts: those of the IP packet that it forwards
}

// Count is of packets and the octets of the IP packets in them that a data path counts.
type Count struct{ Packets, Octets uint64 }

// Add adds.
func (c *Count) Add(more Count) {
	c.Packets += more.Packets
	c.Octets += more.Octets
}

// Load says how much is sent.
type Load struct {
	Packets  uint64        // 0: no end
	Interval time.Duration // between two packets, held by the 64; 0: as fast as it goes
	Start    time.Duration // on the clock of Now: until then flows' Lead is sent; 0: from the first packet on it counts
	Stop     time.Duration // on the clock of Now; 0: no end
	// LongestGap is how long a sender may do nothing, because the machine is busy elsewhere, before it counts as idle. 0: as
	// long as it likes.
	LongestGap time.Duration
}

// Now is the time on the clock that senders go by, CLOCK_MONOTONIC.
func Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // it is there on every Linux
	}
	return time.Duration(now.Nano())
}

// Generator sends flows in turn. It is for one thread at a time; several may send at once.
type Generator struct {
	objects programsObjects
	flows   int
	longest []byte
}

const (
	headOctets = 256
	chunk      = 1 << 22 // packets in one system call
	liveFrames = 1 << 1  // BPF_F_TEST_XDP_LIVE_FRAMES
)

// NewGenerator loads a generator of those flows.
func NewGenerator(flows ...Flow) (_ *Generator, err error) {
	g := &Generator{flows: len(flows)}
	spec, err := loadPrograms()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	if len(flows) == 0 {
		return nil, errors.New("no flows")
	}
	spec.Maps["flows"].MaxEntries = uint32(2 * len(flows))
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return nil, fmt.Errorf("load the generator: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	for i, f := range flows {
		if f.Lead == nil {
			f.Lead = f.Frame
		}
		if len(f.Frame) < 14 || len(f.Lead) != len(f.Frame) {
			return nil, fmt.Errorf("flow %d: frames of %d and %d octets", i, len(f.Frame), len(f.Lead))
		}
		if err := errors.Join(g.put(i, f.Frame, f.Count), g.put(len(flows)+i, f.Lead, f.Count)); err != nil {
			return nil, fmt.Errorf("flow %d: %w", i, err)
		}
		if len(f.Frame) > len(g.longest) {
			g.longest = f.Frame
		}
	}
	return g, g.objects.FlowCount.Set(uint64(len(flows)))
}

func (g *Generator) put(index int, frame []byte, count int) error {
	raw := programsFlow{Frame: uint32(len(frame)), Head: uint32(min(len(frame), headOctets)), Packet: uint32(count)}
	copy(raw.Octets[:], frame)
	return g.objects.Flows.Put(uint32(index), raw)
}

// Close unloads the generator.
func (g *Generator) Close() error { return g.objects.Close() }

// Send sends from the far end of a port, which is that interface of the calling thread's network namespace and has an
// XDP program (Sink does), and returns when it has sent, or after Stop. Counts go on where they were.
func (g *Generator) Send(from int, load Load) error {
	o := &g.objects
	limit, before := uint64(1)<<62, uint64(0)
	if err := o.Sent.Get(&before); err != nil {
		return err
	}
	if load.Packets > 0 {
		limit = before + load.Packets
	}
	gap := load.LongestGap
	if gap == 0 {
		gap = time.Hour
	}
	if err := errors.Join(o.Packets.Set(limit), o.Interval.Set(uint64(load.Interval)), o.Start.Set(uint64(load.Start)),
		o.Stop.Set(uint64(load.Stop)), o.LongestGap.Set(uint64(gap)), o.Begin.Set(uint64(0))); err != nil {
		return fmt.Errorf("set the generator up: %w", err)
	}
	context := struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }{
		DataEnd: uint32(len(g.longest)), Ingress: uint32(from),
	}
	for {
		var sent, want uint64
		if err := errors.Join(o.Sent.Get(&sent), o.Packets.Get(&want)); err != nil {
			return err
		}
		if sent >= want {
			return nil
		}
		if _, err := o.Generate.Run(&ebpf.RunOptions{
			Data: g.longest, Context: context, Flags: liveFrames, Repeat: uint32(min(want-sent, chunk)),
		}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// Stop ends a Send after its next packet.
func (g *Generator) Stop() error { return g.objects.Packets.Set(uint64(0)) }

// Sent is what all flows have sent, and what led them.
func (g *Generator) Sent() (all, led Count, err error) {
	flows, leads, err := g.SentByFlow()
	for i := range leads {
		all.Add(flows[i])
		led.Add(leads[i])
	}
	return all, led, err
}

// SentByFlow is what each flow has sent, and what led it.
func (g *Generator) SentByFlow() (flows, leads []Count, err error) {
	for i := range 2 * g.flows {
		var raw programsFlow
		if err := g.objects.Flows.Lookup(uint32(i), &raw); err != nil {
			return nil, nil, fmt.Errorf("read flow %d: %w", i, err)
		}
		flows = append(flows, Count{raw.Sent.Packets, raw.Sent.Octets})
	}
	return flows[:g.flows], flows[g.flows:], nil
}

// Span is when the first packet of the last Send left that did not lead, when its last batch did, and how much of the time
// between nothing was sent because the sender did not run, beyond Load.LongestGap at a time.
func (g *Generator) Span() (begin, end, idle time.Duration, err error) {
	var first, last, gaps uint64
	o := &g.objects
	err = errors.Join(o.Begin.Get(&first), o.End.Get(&last), o.Idle.Get(&gaps))
	return time.Duration(first), time.Duration(last), time.Duration(gaps), err
}

// OnCPU runs f on a thread of its own, in a network namespace and on one CPU.
func OnCPU(ns netns.NsHandle, cpu int, f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		var set unix.CPUSet
		set.Set(cpu)
		err := errors.Join(netns.Set(ns), unix.SchedSetaffinity(0, &set))
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return done
}

// AddPair makes a veth pair in the calling thread's network namespace, with a queue for each CPU, so that CPUs need not
// wait for each other. The far end is that name with a p behind it. Both ends are up.
func AddPair(name string, mac net.HardwareAddr) (port, far int, err error) {
	cpus := runtime.NumCPU()
	if err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac, NumTxQueues: cpus, NumRxQueues: cpus}, PeerName: name + "p",
	}); err != nil {
		return 0, 0, fmt.Errorf("make %s: %w", name, err)
	}
	for end, index := range map[string]*int{name: &port, name + "p": &far} {
		l, err := netlink.LinkByName(end)
		if err != nil {
			return 0, 0, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return 0, 0, err
		}
		*index = l.Attrs().Index
	}
	return port, far, nil
}

// Sight is what of a packet its rule decides. Of IPv6 addresses it has the last 32 bits only. Numbers and addresses stand
// as in the packet, first octet first.
type Sight struct {
	Local, Remote, TEID [4]byte // of the outer header; all 0: there is none
	Source, Destination [4]byte // of the inner packet
	ToS                 uint8   // of the outer header
	InnerToS            uint8
	QFI                 uint8 // 0xff: no PDU Session Container
	Version             uint8 // of the inner packet's IP
	MAC                 [6]byte
	VLAN                uint16 // the tag, with priority; 0: none
}

// Sink counts packets, and drops them.
type Sink struct {
	objects programsObjects
	links   []link.Link
}

// NewSink loads one.
func NewSink() (*Sink, error) {
	s := &Sink{}
	spec, err := loadPrograms()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("load the sink: %w", err)
	}
	return s, nil
}

// Attach has it count what an interface of the calling thread's network namespace receives. ARP and the like pass.
func (s *Sink) Attach(ifindex int) error {
	l, err := link.AttachXDP(link.XDPOptions{Program: s.objects.Sink, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		return fmt.Errorf("attach the sink: %w", err)
	}
	s.links = append(s.links, l)
	return nil
}

// Sights is what it has seen so far. An error, when there were packets that it could not tell.
func (s *Sink) Sights() (map[Sight]Count, error) {
	var strange uint64
	if err := s.objects.Strange.Get(&strange); err != nil || strange > 0 {
		return nil, errors.Join(err, fmt.Errorf("%d packets are no IP packets, or of too many kinds", strange))
	}
	seen := map[Sight]Count{}
	var key Sight
	var perCPU []programsCount
	entries := s.objects.Sights.Iterate()
	for entries.Next(&key, &perCPU) {
		var all Count
		for _, c := range perCPU {
			all.Add(Count{c.Packets, c.Octets})
		}
		seen[key] = all
	}
	return seen, entries.Err()
}

// Close detaches and unloads it.
func (s *Sink) Close() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, s.objects.Close())...)
}

// Control sends all that a port receives on by another, as it is.
type Control struct {
	objects programsObjects
	link    link.Link
}

// NewControl attaches one to an interface of the calling thread's network namespace.
func NewControl(from, to int) (*Control, error) {
	c := &Control{}
	spec, err := loadPrograms()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	if err := spec.Variables["exit_port"].Set(uint32(to)); err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&c.objects, nil); err != nil {
		return nil, fmt.Errorf("load the control: %w", err)
	}
	if err := c.objects.Exits.Put(uint32(to), uint32(to)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.link, err = link.AttachXDP(link.XDPOptions{Program: c.objects.Control, Interface: from, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the control: %w", err), c.Close())
	}
	return c, nil
}

// Close detaches and unloads it.
func (c *Control) Close() error {
	var errs []error
	if c.link != nil {
		errs = append(errs, c.link.Close())
	}
	return errors.Join(append(errs, c.objects.Close())...)
}

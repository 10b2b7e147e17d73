package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Live frames go through the veths: BPF_PROG_TEST_RUN sends what the generator makes from the far end of a port, the
// program on the port redirects it, and a program at the far end of the other port counts it. All of it runs on one CPU,
// generator included. Beside the data path, a plain redirect does the same from a port of its own.

// liveFlags are those of BPF_PROG_TEST_RUN for live frames: BPF_F_TEST_XDP_LIVE_FRAMES. (Linux 5.18)
const liveFlags = 1 << 1

// liveRow is one way through: its packets a second in each round.
type liveRow struct {
	name  string
	d     direction
	from  int // interface index of the far end that sends
	rates []float64
}

// newLive builds the bed, with both directions and the plain redirect before each.
func newLive() (b *bed, rows []*liveRow, err error) {
	if b, err = newBed(dense, 1, 1024); err != nil {
		return nil, nil, err
	}
	plain, err := b.joinLive()
	if err = errors.Join(err, netns.Set(b.before)); err != nil {
		return nil, nil, errors.Join(err, b.close())
	}
	return b, []*liveRow{
		{name: "redirect_uplink", d: uplink, from: plain},
		{name: "live_uplink", d: uplink, from: b.farEnds[uplink]},
		{name: "redirect_downlink", d: downlink, from: plain},
		{name: "live_downlink", d: downlink, from: b.farEnds[downlink]},
	}, nil
}

// measureLive is one round.
func (b *bed) measureLive(rows []*liveRow, packets int, keep bool) (err error) {
	back, err := pin()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()
	for _, r := range rows {
		rate, err := b.live(r, packets)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if keep {
			r.rates = append(r.rates, rate)
		}
	}
	return nil
}

func reportLive(out io.Writer, rows []*liveRow) (results []Result, err error) {
	for i, r := range rows {
		control := rows[i&^1]
		result := Result{Name: r.name, Value: median(r.rates) / 1e6, Unit: "Mpps", Ratio: median(r.rates) / median(control.rates)}
		if r != control {
			results = append(results, result)
		}
		if _, err := fmt.Fprintf(out, "%-22s %10.2f Mpps %32.2f\n", r.name, result.Value, result.Ratio); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// joinLive puts programs where live frames end and where the plain redirect is, and returns where that takes them from.
func (b *bed) joinLive() (plain int, err error) {
	if err := b.enter(); err != nil {
		return 0, err
	}
	near, far, err := addPort("plain0", "10.60.1.2/24", netip.MustParseAddr("10.60.1.1"))
	if err != nil {
		return 0, err
	}
	for program, ends := range map[*ebpf.Program][]int{
		b.harness.Arrive: {b.farEnds[uplink], b.farEnds[downlink]}, b.harness.RedirectPlain: {near},
	} {
		for _, ifindex := range ends {
			l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: link.XDPDriverMode})
			if err != nil {
				return 0, fmt.Errorf("attach %v: %w", program, err)
			}
			b.links = append(b.links, l)
		}
	}
	for _, ifindex := range b.ports {
		if err := b.harness.Exits.Put(uint32(ifindex), uint32(ifindex)); err != nil {
			return 0, err
		}
	}
	return far, nil
}

// live sends packets and returns how many arrived a second.
func (b *bed) live(r *liveRow, packets int) (float64, error) {
	h := &b.harness
	other := downlink
	if r.d == downlink {
		other = uplink
	}
	if err := errors.Join(
		h.Sessions.Set(uint32(1)), h.FirstTeid.Set(firstTEID), h.FirstUe.Set(firstUE()), h.Arrived.Set(uint64(0)),
		h.PlainExit.Set(uint32(b.ports[other])),
	); err != nil {
		return 0, err
	}
	generator, frame := h.GenerateUplink, b.frames[uplink]
	if r.d == downlink {
		generator, frame = h.GenerateDownlink, b.frames[downlink]
	}
	context := struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }{DataEnd: uint32(len(frame)), Ingress: uint32(r.from)}
	start := time.Now()
	if _, err := generator.Run(&ebpf.RunOptions{Data: frame, Context: context, Repeat: uint32(packets), Flags: liveFlags}); err != nil {
		return 0, err
	}
	took := time.Since(start)
	var arrived uint64
	if err := h.Arrived.Get(&arrived); err != nil {
		return 0, err
	}
	if arrived < uint64(packets)*9/10 {
		return 0, fmt.Errorf("%d of %d packets arrived", arrived, packets)
	}
	return float64(arrived) / took.Seconds(), nil
}

// pin keeps this thread on the first CPU that it may run on; back undoes it.
func pin() (back func() error, err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, err
	}
	return func() error { return unix.SchedSetaffinity(0, &before) }, nil
}

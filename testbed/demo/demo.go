// Package demo owns what `testbed demo` shows: UEs that attach to a whole network, their traffic, a change of SGW,
// the tables of the PGW-Us, and that nothing stays behind. It judges what it sees: each line is a check. It never
// builds anything itself: package lab does.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/traffic"
	"github.com/xepc/xepc/testbed/visited/sgw"
)

// Options of a demo.
type Options struct {
	Prefix  string // of the namespaces
	UEs     int
	PGWUs   int
	IPv6    bool   // S8-U is IPv6
	Size    int64  // octets of each transfer
	BinDir  string // where hss, pgwc and pgwu are
	Keep    bool   // stay, with the UEs attached, until the context ends
	Capture string // path of a pcapng file with every frame of every namespace; "": none
	Log     *slog.Logger
}

const (
	pings         = 20
	pingInterval  = 10 * time.Millisecond
	attachTimeout = 15 * time.Second
	answerLimit   = 2 * time.Second
	trafficLimit  = 2 * time.Minute // of one transfer
	removeLimit   = 30 * time.Second
)

// errStopped says that the user ended the demo before it was through.
var errStopped = errors.New("stopped before the end")

// demo is one run.
type demo struct {
	options Options
	out     *progress
	lab     *lab.Lab
	capture *traffic.Capture
}

// Run runs the demo and prints what it does. The error says which checks failed; nil: all passed and nothing was
// left behind. When ctx ends, it removes everything and returns; with Keep that is no failure.
func Run(ctx context.Context, w io.Writer, options Options) (err error) {
	d := &demo{options: options, out: newProgress(w)}
	d.out.print("A packet core in network namespaces: %d UEs, %d PGW-Us\n", options.UEs, options.PGWUs)
	start := time.Now()
	d.out.section("Start")
	d.lab, err = lab.Start(ctx, lab.Options{
		Prefix: options.Prefix, UEs: options.UEs, PGWUs: options.PGWUs, IPv6: options.IPv6, BinDir: options.BinDir, Log: options.Log,
		Step: d.out.step,
	})
	if ctx.Err() != nil {
		return d.stopped(ctx, err)
	}
	if err != nil {
		var running *lab.RunningError // then the logs there are somebody else's
		if _, missing := os.Stat(lab.LogDir(options.Prefix)); missing == nil && !errors.As(err, &running) {
			d.printLogs()
		}
		return err
	}
	err = d.show(ctx)
	if ctx.Err() != nil && err != nil && errors.Is(err, context.Cause(ctx)) {
		return errors.Join(errStopped, d.remove(ctx, false))
	}
	err = errors.Join(err, d.remove(ctx, len(d.out.failed) > 0))
	if len(d.out.failed) > 0 {
		err = fmt.Errorf("%d checks failed: %s", len(d.out.failed), strings.Join(d.out.failed, "; "))
	}
	if err == nil {
		d.out.print("\nAll checks passed in %s.\n", time.Since(start).Round(100*time.Millisecond))
	}
	return err
}

// stopped is the end of a demo that the user ended while it started. What err says of that is of no interest; what
// could not be removed is.
func (d *demo) stopped(ctx context.Context, err error) error {
	if err == nil {
		return errors.Join(errStopped, d.remove(ctx, false))
	}
	left, err2 := topology.Leftovers(d.options.Prefix)
	if err2 == nil && len(left) == 0 {
		return errStopped
	}
	return errors.Join(errStopped, err, err2)
}

// show is what there is to see. Its error says that it could not go on; checks that failed alone are in d.out.
func (d *demo) show(ctx context.Context) error {
	d.startCapture()
	d.checkXDP()
	d.out.section("Attach: AIR, AKA at the SIM, ULR, Create Session")
	if err := d.attach(ctx); err != nil {
		return err
	}
	d.out.section("Traffic")
	if err := d.traffic(ctx); err != nil {
		return err
	}
	d.out.section("Change of SGW: Modify Bearer while ping runs")
	if err := d.move(ctx); err != nil {
		return err
	}
	d.out.section("Tables")
	d.tables(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d.options.Keep {
		d.printCommands()
		<-ctx.Done()
	}
	d.out.section("Detach: Delete Session, PUR")
	// Also after Ctrl-C, when it was kept: to leave in order is part of what it shows.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeLimit)
	defer cancel()
	return d.detach(ctx)
}

func (d *demo) startCapture() {
	if d.options.Capture == "" {
		return
	}
	_ = d.out.step("capture every frame", func() (detail string, err error) {
		d.capture, err = d.lab.Capture(d.options.Capture)
		return d.options.Capture, err
	})
}

// checkXDP looks at every port that a PGW-U has a program on.
func (d *demo) checkXDP() {
	for n := range d.lab.PGWUs {
		name := topology.PGWU(n + 1)
		_ = d.out.step(name+" has native XDP on both ports", func() (string, error) {
			var found []string
			for _, port := range []string{topology.AccessPort, topology.CorePort} {
				mode, err := XDPMode(d.lab.Network.Namespace(name), port)
				if err != nil {
					return "", err
				}
				if mode != "xdp" {
					return "", fmt.Errorf("%s has %q; see the log of %s", port, mode, name)
				}
				found = append(found, port+" "+mode)
			}
			return strings.Join(found, ", "), nil
		})
	}
}

// XDPMode says how a program is attached to a port, in the words of `ip link`: xdp for native, xdpgeneric, or none.
func XDPMode(ns *topology.Namespace, port string) (mode string, err error) {
	err = ns.WithNetlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(port)
		if err != nil {
			return fmt.Errorf("look at %s in %s: %w", port, ns.Name(), err)
		}
		switch xdp := link.Attrs().Xdp; {
		case xdp == nil || !xdp.Attached:
			mode = "none"
		case xdp.AttachMode == nl.XDP_ATTACHED_DRV:
			mode = "xdp"
		case xdp.AttachMode == nl.XDP_ATTACHED_SKB:
			mode = "xdpgeneric"
		default:
			mode = fmt.Sprintf("mode %d", xdp.AttachMode)
		}
		return nil
	})
	return mode, err
}

func (d *demo) attach(ctx context.Context) error {
	served := make([]int, d.options.PGWUs+1) // sessions by number of the PGW-U
	for _, u := range d.lab.UEs {
		err := d.out.step("attach "+u.Name+" ("+u.Card.IMSI+")", func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, attachTimeout)
			defer cancel()
			r, err := d.lab.Attach(ctx, u, lab.AttachOptions{})
			if err != nil {
				return "", err
			}
			if r.PGWU == 0 || r.PGWU >= len(served) || !topology.Chunk(r.PGWU).Contains(u.Session.Address) {
				return "", fmt.Errorf("address %s and GTP-U %s do not belong together", u.Session.Address, u.Session.RemoteUser.Address)
			}
			served[r.PGWU]++
			return fmt.Sprintf("%s behind %s; AIR %s, ULR %s, Create Session %s; KASME agrees", u.Session.Address,
				topology.PGWU(r.PGWU), ms(r.Authentication), ms(r.Location), ms(r.SessionSetUp)), nil
		})
		if err != nil {
			return err
		}
		if err := d.bothDirections(ctx, u); err != nil {
			return err
		}
	}
	_ = d.out.step("sessions are spread over the PGW-Us", func() (string, error) {
		least, most := served[1], served[1]
		for _, n := range served[1:] {
			least, most = min(least, n), max(most, n)
		}
		if most-least > 1 {
			return "", fmt.Errorf("sessions by PGW-U: %v", served[1:])
		}
		return fmt.Sprintf("%v", served[1:]), nil
	})
	return nil
}

// bothDirections shows that Create Session alone is enough: packets that the network begins reach the UE before the
// UE has sent any, and packets that the UE begins are answered. The first ones to a new SGW may be lost while the
// PGW-U resolves its next hop there.
func (d *demo) bothDirections(ctx context.Context, u *lab.UE) error {
	return d.out.step(u.Name+": both directions work at once", func() (string, error) {
		core := d.lab.Network.Namespace(topology.Core)
		down, err := firstAnswer(ctx, core, topology.Web, u.Session.Address)
		if err != nil {
			return "", fmt.Errorf("begun by the core: %w", err)
		}
		up, err := firstAnswer(ctx, u.Namespace, u.Session.Address, topology.Web)
		if err != nil {
			return "", fmt.Errorf("begun by the UE: %w", err)
		}
		return fmt.Sprintf("answered after: core to UE %s, UE to core %s", down, up), nil
	})
}

// firstAnswer pings until one ping is answered, and says how long that took and which it was.
func firstAnswer(ctx context.Context, ns *topology.Namespace, from, to netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	start := time.Now()
	pinger, err := traffic.StartPing(ctx, ns, from, to, pingInterval)
	if err != nil {
		return "", err
	}
	err = pinger.Wait(ctx, 1)
	took := time.Since(start)
	result, err2 := pinger.Break()
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (%d lost)", ms(took), len(result.Lost)), nil
}

func (d *demo) traffic(ctx context.Context) error {
	for i, u := range d.lab.UEs {
		err := d.out.step(u.Name+": ping", func() (string, error) {
			r, err := d.lab.Ping(ctx, u, pings, pingInterval)
			if err == nil && r.Received != r.Sent {
				err = fmt.Errorf("%s", r)
			}
			return r.String(), err
		})
		if err != nil {
			return err
		}
		for _, transfer := range []struct {
			name string
			run  func(context.Context, uint64) (traffic.TransferResult, error)
		}{
			{"download", func(ctx context.Context, seed uint64) (traffic.TransferResult, error) {
				return u.Client().Download(ctx, lab.Web(), seed, d.options.Size)
			}},
			{"upload", func(ctx context.Context, seed uint64) (traffic.TransferResult, error) {
				return u.Client().Upload(ctx, lab.Web(), seed, d.options.Size)
			}},
		} {
			err := d.out.step(fmt.Sprintf("%s: HTTP %s, hashes compared", u.Name, transfer.name), func() (string, error) {
				ctx, cancel := context.WithTimeout(ctx, trafficLimit)
				defer cancel()
				r, err := transfer.run(ctx, uint64(i+1))
				if err != nil {
					return "", err
				}
				return r.String(), nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *demo) move(ctx context.Context) error {
	for _, u := range d.lab.UEs {
		err := d.out.step(u.Name+": "+topology.SGW.String()+" to "+topology.OtherSGW.String(), func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, attachTimeout)
			defer cancel()
			return d.moveWhilePinging(ctx, u)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) moveWhilePinging(ctx context.Context, u *lab.UE) (string, error) {
	pinger, err := d.lab.StartPing(ctx, u, pingInterval)
	if err != nil {
		return "", err
	}
	old := u.Session
	err = pinger.Wait(ctx, pings)
	var took time.Duration
	if err == nil {
		start := time.Now()
		err = d.lab.Move(ctx, u)
		took = time.Since(start)
	}
	if err == nil {
		err = pinger.Wait(ctx, pings)
	}
	result, err2 := pinger.Stop()
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	if len(result.Lost) > 0 {
		return "", fmt.Errorf("%s: lost %v", result, result.Lost)
	}
	before, after := old.Count(sgw.DownlinkPackets), u.Session.Count(sgw.DownlinkPackets)
	if after == 0 {
		return "", fmt.Errorf("no packet came to the new SGW")
	}
	return fmt.Sprintf("Modify Bearer %s; %d pings, none lost; downlink packets old SGW %d, new %d", ms(took), result.Sent, before, after), nil
}

func (d *demo) detach(ctx context.Context) error {
	for _, u := range d.lab.UEs {
		if err := d.out.step("detach "+u.Name, func() (string, error) { return "", d.lab.Detach(ctx, u) }); err != nil {
			return err
		}
	}
	_ = d.out.step("no session is left at pgwc and the PGW-Us", func() (string, error) { return "", d.sessionsGone(ctx) })
	return nil
}

// remove takes everything down and looks whether anything is left.
func (d *demo) remove(ctx context.Context, keepLogs bool) error {
	d.out.section("Remove")
	if d.capture != nil {
		_ = d.out.step("end the capture", func() (string, error) {
			frames, lost, err := d.capture.Stop()
			return fmt.Sprintf("%d frames, %d lost", frames, lost), err
		})
	}
	err := d.out.step("stop the nodes and remove the network", func() (string, error) {
		if err := d.lab.Close(ctx, keepLogs); err != nil {
			return "", err
		}
		left, err := topology.Leftovers(d.options.Prefix)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left: %v", left)
		}
		return "", err
	})
	if keepLogs {
		d.printLogs()
	}
	return err
}

func (d *demo) printLogs() {
	d.out.print("  The logs are in %s; the next start removes them.\n", lab.LogDir(d.options.Prefix))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

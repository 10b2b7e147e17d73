package datapath

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/userplane/session"
)

// visiting has the thread of a data path visit CPUs until the test ends.
func visiting(t *testing.T, v *visitor) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.run(ctx) }()
	require.Eventually(t, v.open.Load, patience, time.Millisecond)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// TestSettleWaitsForPacketsInHand holds packets up in the program, between look-up and count, for far longer than Settle
// would take: what they count is there when it returns, although their entry has been stopped meanwhile.
func TestSettleWaitsForPacketsInHand(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	d, err := open(w.cfg, w.d.log, func(v *pgwuVariableSpecs) error { return v.StallRounds.Set(uint32(1 << 23)) })
	require.NoError(t, err)
	w.d = d
	passes := w.entryThatTells(session.ActionForward)
	stops := w.entryThatTells(session.ActionDrop)
	hold := func(t *testing.T, settle func() error) {
		for range 50 {
			w.apply(passes)
			before := w.usage(passes.Key)
			ended := make(chan error, 1)
			go func() { ended <- w.live("core0", plain(t, coreGW, coreMAC, inner(t, server, ue(1), 64, 100))) }()
			w.sent.SetDeadline(time.Now().Add(patience))
			_, err := w.sent.Read() // the program has found the entry, and has not counted
			require.NoError(t, err)
			w.apply(stops)
			inHand := w.usage(passes.Key) == before
			require.NoError(t, settle())
			after := w.usage(passes.Key)
			require.NoError(t, <-ended)
			require.Equal(t, before.Packets+1, after.Packets)
			require.Equal(t, after, w.usage(passes.Key))
			if inHand {
				return // else the machine has held us up: again
			}
		}
		t.Fatal("no packet was in hand when its entry had been stopped")
	}
	t.Run("by the kernel's grace period", func(t *testing.T) {
		hold(t, w.d.Settle)
	})
	t.Run("by visits", func(t *testing.T) {
		w.d.visits.patience = patience // in qemu everything is slow
		w.d.visits.kernel = func() error { panic("not visited") }
		visiting(t, w.d.visits)
		hold(t, w.d.Settle)
		require.Zero(t, w.d.visits.failed.Load())
	})
}

// entryThatTells is a downlink entry whose packets are handed over as duplicates before they are counted.
func (w *world) entryThatTells(action session.Action) session.Entry {
	return with(downlinkOf(1), func(e *session.Entry) {
		e.Action = action
		e.Copies = []session.Copy{{Tunnel: session.Tunnel{Local: slice1, Remote: sgw, TEID: 0x77}}}
	})
}

func (w *world) usage(key session.Key) session.Usage {
	w.t.Helper()
	all, err := w.d.Usage([]session.Key{key})
	require.NoError(w.t, err)
	return all[0]
}

// live sends one frame through the program in a softirq, as a NIC would.
func (w *world) live(port string, frame []byte) error {
	const liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18)
	w.enter()
	_, err := w.d.objects.Pgwu.Run(&ebpf.RunOptions{
		Data: frame, Repeat: 1, Flags: liveFrames,
		Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(w.ifindex[port])},
	})
	return err
}

// TestSettleWithoutVisits has it wait for the kernel where a CPU cannot be visited: one that does not exist, and one that a
// task with a higher real-time priority does not leave.
func TestSettleWithoutVisits(t *testing.T) {
	barriers := 0
	newDatapath := func() *Datapath {
		barriers = 0
		v := newVisitor()
		v.kernel = func() error { barriers++; return nil }
		return &Datapath{visits: v, grace: newGrace(v.wait, func(place) {})}
	}
	t.Run("a CPU that does not exist", func(t *testing.T) {
		d := newDatapath()
		d.visits.online = filepath.Join(t.TempDir(), "online")
		require.NoError(t, os.WriteFile(d.visits.online, []byte("0,1020-1021\n"), 0o600))
		visiting(t, d.visits)
		for range maxFailedVisits + 2 {
			require.NoError(t, d.Settle())
		}
		require.Equal(t, maxFailedVisits+2, barriers)
		require.EqualValues(t, maxFailedVisits, d.visits.failed.Load(), "after so many, no more")
	})
	t.Run("a CPU that a real-time task does not leave", func(t *testing.T) {
		require.Greater(t, runtime.NumCPU(), 1)
		d := newDatapath()
		visiting(t, d.visits)
		require.NoError(t, d.Settle())
		require.Zero(t, barriers)
		hog := exec.Command("sh", "-c", "echo; while :; do :; done")
		began, err := hog.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, hog.Start())
		end := func() {
			_ = hog.Process.Kill()
			_ = hog.Wait() // killed
		}
		defer end()
		_, err = began.Read(make([]byte, 1))
		require.NoError(t, err)
		var last unix.CPUSet
		last.Set(runtime.NumCPU() - 1)
		require.NoError(t, unix.SchedSetaffinity(hog.Process.Pid, &last))
		require.NoError(t, unix.SchedSetAttr(hog.Process.Pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 9}, 0))
		require.NoError(t, d.Settle())
		end()
		require.Equal(t, 1, barriers)
		require.NoError(t, d.Settle())
		require.Equal(t, 1, barriers, "it is visited again")
		require.Zero(t, d.visits.failed.Load())
	})
}

func TestListsOfCPUs(t *testing.T) {
	for list, want := range map[string][]int{"0\n": {0}, "0-3": {0, 1, 2, 3}, "0-1,7,9-10\n": {0, 1, 7, 9, 10}} {
		got, err := parseCPUs(list)
		require.NoError(t, err)
		require.Equal(t, want, got, list)
	}
	for _, list := range []string{"", "\n", "a", "1-", "1,,2"} {
		_, err := parseCPUs(list)
		require.Error(t, err, list)
	}
}

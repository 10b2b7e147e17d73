package datapath

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// visitPatience is how long anybody waits for a round of visits; maxFailedVisits is how many rounds in a row may fail
// before there are no more.
const (
	visitPatience   = 50 * time.Millisecond
	maxFailedVisits = 3
)

// Settle returns when every program is done that ran when it was called: Usage and Volumes have all then that was charged
// by what the tables said before. While Run runs it takes some tens of microseconds a CPU; else, or where CPUs cannot be
// visited, a grace period of the kernel's, some 10 ms.
func (d *Datapath) Settle() error { return d.grace.barrier() }

// visitor is a thread that goes to every CPU. A program runs in a softirq, which no task interrupts: where a task runs, no
// program is in the middle of a packet. So what ran before the round is done after it. Not so with PREEMPT_RT.
type visitor struct {
	online   string        // file that lists the CPUs that are online
	kernel   func() error  // waits, too, and for longer
	patience time.Duration // with a round

	asked  chan chan<- error
	open   atomic.Bool  // there is a thread
	thread atomic.Int32 // its id
	at     atomic.Int32 // the CPU that it goes to
	failed atomic.Int32 // rounds in a row

	listed []byte // what online said last
	cpus   []int  // the same
}

func newVisitor() *visitor {
	return &visitor{online: "/sys/devices/system/cpu/online", asked: make(chan chan<- error), kernel: membarrier, patience: visitPatience}
}

// wait returns when every program is done that ran when it was called.
func (v *visitor) wait() error {
	if v.ask() {
		return nil
	}
	return v.kernel()
}

var errNotThere = errors.New("the thread does not get to the CPU")

// run visits whenever it is asked to, until ctx is done.
func (v *visitor) run(ctx context.Context) error {
	if preemptsSoftirqs() {
		return nil
	}
	list, err := os.Open(v.online)
	if err != nil {
		return nil //nolint:nilerr // wait has the kernel do it
	}
	defer func() { _ = list.Close() }()
	runtime.LockOSThread() // and never unlocked: the thread, which has lost its affinity, goes with the goroutine
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	_ = unix.SchedSetAttr(0, &attr, 0) // else visits wait for their turn
	v.thread.Store(int32(unix.Gettid()))
	v.open.Store(true)
	defer v.open.Store(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-v.asked:
			done <- v.round(list)
		}
	}
}

// ask has a round made, and says whether it was.
func (v *visitor) ask() bool {
	if !v.open.Load() || v.failed.Load() >= maxFailedVisits {
		return false
	}
	late := time.NewTimer(v.patience)
	defer late.Stop()
	done := make(chan error, 1)
	select {
	case v.asked <- done:
	case <-late.C:
		return false
	}
	select {
	case err := <-done:
		if err == nil {
			v.failed.Store(0)
			return true
		}
	case <-late.C:
		v.recall()
	}
	v.failed.Add(1)
	return false
}

// recall takes the thread away from a CPU that it does not get to run on.
func (v *visitor) recall() {
	var others unix.CPUSet
	for cpu := range len(others) * strconv.IntSize {
		if cpu != int(v.at.Load()) {
			others.Set(cpu)
		}
	}
	_ = unix.SchedSetaffinity(int(v.thread.Load()), &others)
}

// round goes to every CPU that is online.
func (v *visitor) round(list *os.File) error {
	var buffer [1024]byte
	n, err := list.ReadAt(buffer[:], 0)
	if n == 0 {
		return fmt.Errorf("CPUs that are online: %w", err)
	}
	if !bytes.Equal(buffer[:n], v.listed) {
		if v.cpus, err = parseCPUs(string(buffer[:n])); err != nil {
			return err
		}
		v.listed = bytes.Clone(buffer[:n])
	}
	for _, cpu := range v.cpus {
		if err := v.visit(cpu); err != nil {
			return fmt.Errorf("CPU %d: %w", cpu, err)
		}
	}
	return nil
}

func (v *visitor) visit(cpu int) error {
	var only unix.CPUSet
	only.Set(cpu)
	v.at.Store(int32(cpu))
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	var at uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&at)), 0, 0); errno != 0 {
		return errno
	}
	if int(at) != cpu { // it was recalled
		return errNotThere
	}
	return nil
}

// parseCPUs reads a list of the kernel's, as "0-3,8".
func parseCPUs(list string) (cpus []int, err error) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil {
			return nil, fmt.Errorf("list of CPUs %q: %w", list, err)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// preemptsSoftirqs says whether the kernel is one with PREEMPT_RT.
func preemptsSoftirqs() bool {
	b, err := os.ReadFile("/sys/kernel/realtime")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

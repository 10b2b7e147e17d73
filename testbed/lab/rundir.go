package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/visited/ue"
)

// DefaultPrefix begins the names of a lab's namespaces.
const DefaultPrefix = "xepc-"

// runDirs holds a folder for each lab: configurations, logs, sockets, state, and the BPF file system. Its name is
// short because the path of a unix socket is (at most 107 octets).
const runDirs = "/run/xepc-testbed"

// prefixes are what may begin a namespace's name; the dash at the end keeps "a" from being the beginning of "a1".
var prefixes = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}-$`)

// RunDir is the folder of the lab with that prefix.
func RunDir(prefix string) string { return filepath.Join(runDirs, strings.TrimSuffix(prefix, "-")) }

func lockPath(prefix string) string { return RunDir(prefix) + ".lock" }
func bpfDir(runDir string) string   { return filepath.Join(runDir, "bpf") }

// LogDir is the folder of its logs.
func LogDir(prefix string) string { return filepath.Join(RunDir(prefix), "log") }

// RunningError says that another testbed has the prefix.
type RunningError struct {
	Prefix string
	PID    int // of the testbed that runs
}

// Error says who has it and what to do.
func (e *RunningError) Error() string {
	return fmt.Sprintf("a testbed with the prefix %q runs as process %d: end it with `testbed clean`, or take another --prefix", e.Prefix, e.PID)
}

// claim takes the prefix for this process, until release. The kernel lets go of it when the process ends.
func claim(prefix string) (release func() error, err error) {
	if !prefixes.MatchString(prefix) {
		return nil, fmt.Errorf("prefix %q: want lower-case letters, digits and dashes, with a letter first and a dash last", prefix)
	}
	if err := os.MkdirAll(runDirs, 0o755); err != nil {
		return nil, fmt.Errorf("claim prefix %q: %w", prefix, err)
	}
	file, err := os.OpenFile(lockPath(prefix), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("claim prefix %q: %w", prefix, err)
	}
	// A POSIX lock, because the kernel tells who holds it.
	if err := lock(file, unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		holder := unix.Flock_t{Type: unix.F_WRLCK}
		err2 := lock(file, unix.F_GETLK, &holder)
		err3 := file.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, &RunningError{Prefix: prefix, PID: int(holder.Pid)}
		}
		return nil, fmt.Errorf("claim prefix %q: %w", prefix, errors.Join(err, err2, err3))
	}
	// Whoever had it before removed the file after we had opened it: then the lock is on nothing.
	if opened, err := file.Stat(); err == nil {
		if named, err := os.Stat(lockPath(prefix)); err != nil || !os.SameFile(opened, named) {
			_ = file.Close()
			return claim(prefix)
		}
	}
	return func() error { return errors.Join(os.Remove(lockPath(prefix)), file.Close()) }, nil
}

func lock(file *os.File, command int, l *unix.Flock_t) error {
	l.Whence = io.SeekStart
	return unix.FcntlFlock(file.Fd(), command, l)
}

// sweep removes what a lab with that prefix has left: processes, mounts, namespaces, resolvers, and the run
// directory. It says how much there was. The caller has claimed the prefix.
func sweep(ctx context.Context, prefix string) (found []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	runDir := RunDir(prefix)
	pids, err := leftProcesses(runDir)
	if err != nil {
		return nil, err
	}
	if len(pids) > 0 {
		found = append(found, fmt.Sprintf("%d processes", len(pids)))
	}
	if err := killLeft(ctx, runDir); err != nil {
		return found, err
	}
	names, err := topology.Leftovers(prefix)
	if err != nil {
		return found, err
	}
	if len(names) > 0 {
		found = append(found, fmt.Sprintf("%d namespaces", len(names)))
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, topology.Remove(name), ue.RemoveResolvers(name))
	}
	errs = append(errs, unmountBPF(runDir))
	if _, err := os.Stat(runDir); err == nil {
		found = append(found, runDir)
	}
	return found, errors.Join(append(errs, os.RemoveAll(runDir))...)
}

// mountBPF mounts a BPF file system of the lab's own: the maps and links that the PGW-Us pin go with it.
func mountBPF(runDir string) error {
	path := bpfDir(runDir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("mount BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", path, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount BPF file system at %s: %w", path, err)
	}
	return nil
}

// unmountBPF unmounts it. None there is no error.
func unmountBPF(runDir string) error {
	err := unix.Unmount(bpfDir(runDir), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount BPF file system at %s: %w", bpfDir(runDir), err)
	}
	return nil
}

// Clean removes what a lab with that prefix has left. One that runs is asked to end first, and ended when it does
// not. The text says what was found.
func Clean(ctx context.Context, prefix string) (found []string, err error) {
	release, err := claim(prefix)
	var running *RunningError
	for signal := unix.SIGTERM; errors.As(err, &running); signal = unix.SIGKILL {
		found = append(found, fmt.Sprintf("testbed %d", running.PID))
		if err := unix.Kill(running.PID, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, fmt.Errorf("end testbed %d: %w", running.PID, err)
		}
		release, err = claimWithin(ctx, prefix, 3*stopTimeout)
		if signal == unix.SIGKILL && err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	left, err := sweep(ctx, prefix)
	return append(found, left...), errors.Join(err, release())
}

// claimWithin tries to claim the prefix for a while.
func claimWithin(ctx context.Context, prefix string, d time.Duration) (release func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		if release, err = claim(prefix); err == nil {
			return release, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

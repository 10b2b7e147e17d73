package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/testbed/topology"
)

// marker is the environment variable that every process of a lab carries: its run directory. It survives a crash of
// the testbed without anybody having to write down process ids, which are used again.
const marker = "XEPC_TESTBED_RUN"

const stopTimeout = 8 * time.Second // then a process is killed

// process is a program that runs in a namespace.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
}

// start runs a program inside a namespace, with its output appended to a file.
func start(ns *topology.Namespace, runDir, logPath, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), marker+"="+runDir)
	// A Ctrl-C at the terminal goes to the testbed alone: it ends its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := ns.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", filepath.Base(path), ns.Name(), err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ended says whether the process has ended, and how.
func (p *process) ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// kill ends the process as a crash would, and waits until it is gone.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.cmd.Process.Pid, err)
	}
	<-p.done
	return nil
}

// stop asks the process to end, and kills it when it does not.
func (p *process) stop() error {
	if over, _ := p.ended(); over {
		return nil
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", p.cmd.Process.Pid, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return errors.Join(fmt.Errorf("process %d did not stop within %s, killed", p.cmd.Process.Pid, stopTimeout), p.kill())
	}
}

// leftProcesses finds the processes of an earlier run, by the marker in their environment.
func leftProcesses(runDir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue // it has ended, or is not ours to read
		}
		for variable := range strings.SplitSeq(string(environment), "\x00") {
			if variable == marker+"="+runDir {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// killLeft ends the processes of an earlier run and waits until they are gone.
func killLeft(ctx context.Context, runDir string) error {
	pids, err := leftProcesses(runDir)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d of an earlier run: %w", pid, err)
		}
	}
	for len(pids) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v of an earlier run do not end: %w", pids, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
		if pids, err = leftProcesses(runDir); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a redis-server with an append-only file, written every second, that is asked over a unix socket.
type server struct {
	socket string
	dir    string
	cmd    *exec.Cmd
}

func startRedis() (*server, error) {
	dir, err := os.MkdirTemp("", "hssbench")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	s := &server{dir: dir, socket: filepath.Join(dir, "redis.sock")}
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--logfile", "log")
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting redis-server (package redis-server): %w", err)
	}
	for range 1000 {
		if c, err := net.Dial("unix", s.socket); err == nil {
			return s, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("redis-server does not answer on %s", s.socket)
}

// cpu is how much processor time redis-server has taken so far, in all its threads.
func (s *server) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading what redis-server has taken: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // proc(5): utime and stime are fields 14 and 15, what follows the name begins with 3
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/…/stat: %q", b)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / ticksPerSecond), errors.Join(err, err2)
}

const ticksPerSecond = 100 // USER_HZ, the same on every architecture that Go runs on

// ownCPU is how much processor time this process has taken so far.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("reading what this process has taken: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

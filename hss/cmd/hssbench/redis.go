package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a redis-server with an append-only file, written every second.
type server struct {
	address string
	dir     string
	cmd     *exec.Cmd
}

func startRedis() (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	s := &server{address: l.Addr().String()}
	_ = l.Close()
	if s.dir, err = os.MkdirTemp("", "hssbench"); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	host, port, _ := net.SplitHostPort(s.address)
	s.cmd = exec.Command("redis-server", "--bind", host, "--port", port, "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--logfile", "log")
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting redis-server (package redis-server): %w", err)
	}
	for range 1000 {
		if c, err := net.Dial("tcp", s.address); err == nil {
			return s, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("redis-server does not answer on %s", s.address)
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

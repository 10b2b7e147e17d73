package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
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

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
)

// The run is in a network namespace of its own: what it measures is the HSS, not how the host has set up its connections. BBR
// for one, where it is the host's default, paces by timers what goes over loopback, too.
const (
	apartFlag         = "apart-from"
	ownNamespace      = "/proc/self/ns/net"
	congestionControl = "reno" // which every kernel has
	congestionSetting = "/proc/sys/net/ipv4/tcp_congestion_control"
)

// apart runs this program again, with the same flags, in a network namespace; who is not root gets a user namespace as well.
func apart() error {
	host, err := os.Readlink(ownNamespace)
	if err != nil {
		return fmt.Errorf("looking for the network namespace: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"-" + apartFlag, host}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	runtime.LockOSThread() // Pdeathsig is of the thread that starts it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("making a network namespace (as root it works always): %w", err)
	}
	return cmd.Wait()
}

// prepare sets the namespace up, which must not be that of the host.
func prepare(host string) error {
	if own, err := os.Readlink(ownNamespace); err != nil || own == host {
		return fmt.Errorf("this is the network namespace of the host, or an unknown one: %q", own)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("looking for lo: %w", err)
	}
	return errors.Join(netlink.LinkSetUp(lo), os.WriteFile(congestionSetting, []byte(congestionControl), 0))
}

package diameter

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Socket options of Linux's SCTP (linux/sctp.h).
const (
	sctpNoDelay          = 3
	sctpDefaultSendParam = 10

	sctpBacklog  = 128
	diameterPPID = 46 // SCTP payload protocol id of Diameter in clear text, RFC 6733 11.4
)

// listenSCTP listens on a one-to-one style SCTP socket (RFC 6458 4). Such a socket is used like a TCP one: each write
// is one message on stream 0, and reads deliver the messages one after another whatever stream they came on; so the
// same reader serves both, and Go's poller gives deadlines. The error is EPROTONOSUPPORT when the kernel has no SCTP.
func listenSCTP(address string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	family, sa := sockaddr(ap)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return nil, fmt.Errorf("opening an SCTP socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sctp "+address)
	defer func() { _ = f.Close() }() // FileListener has a copy
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_SCTP, sctpNoDelay, 1); err != nil {
		return nil, fmt.Errorf("setting SCTP_NODELAY: %w", err)
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_SCTP, sctpDefaultSendParam, sendParam()); err != nil {
		return nil, fmt.Errorf("setting the payload protocol: %w", err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		return nil, fmt.Errorf("binding: %w", err)
	}
	if err := unix.Listen(fd, sctpBacklog); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("handing the socket to the poller: %w", err)
	}
	return l, nil
}

// sendParam is a struct sctp_sndrcvinfo with the payload protocol id, which is in network order; accepted sockets
// inherit it.
func sendParam() string {
	b := make([]byte, 32)
	binary.BigEndian.PutUint32(b[8:], diameterPPID)
	return string(b)
}

func sockaddr(ap netip.AddrPort) (family int, sa unix.Sockaddr) {
	if ap.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

package traffic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Lost is how many frames an interface of the calling thread's network namespace, an end of a veth pair, could not hand
// over: because the ring at the other end was full, or because its own program's redirect failed. Frames that the program
// drops are not lost.
func Lost(name string) (frames uint64, err error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	defer func() { _ = unix.Close(socket) }()
	const stringSet, nameOctets = 1, 32 // ETH_SS_STATS, ETH_GSTRING_LEN
	sizes := struct {
		command, _ uint32
		mask       uint64
		count      uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << stringSet}
	if err := ethtool(socket, name, unsafe.Pointer(&sizes)); err != nil {
		return 0, err
	}
	names := make([]byte, 12+nameOctets*int(sizes.count))
	binary.NativeEndian.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(names[4:], stringSet)
	binary.NativeEndian.PutUint32(names[8:], sizes.count)
	if err := ethtool(socket, name, unsafe.Pointer(&names[0])); err != nil {
		return 0, err
	}
	values := make([]byte, 8+8*int(sizes.count))
	binary.NativeEndian.PutUint32(values, unix.ETHTOOL_GSTATS)
	binary.NativeEndian.PutUint32(values[4:], sizes.count)
	if err := ethtool(socket, name, unsafe.Pointer(&values[0])); err != nil {
		return 0, err
	}
	for i := range int(sizes.count) {
		at := names[12+nameOctets*i:][:nameOctets]
		stat := string(bytes.TrimRight(at, "\x00"))
		if strings.HasSuffix(stat, "_xdp_xmit_errors") || strings.HasSuffix(stat, "_xdp_tx_errors") ||
			strings.HasSuffix(stat, "_drops") && !strings.HasSuffix(stat, "_xdp_drops") {
			frames += binary.NativeEndian.Uint64(values[8+8*i:])
		}
	}
	return frames, nil
}

// ethtool does one ioctl. The argument holds no pointers.
func ethtool(socket int, name string, argument unsafe.Pointer) error {
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is a union of up to 24 octets
	}{data: argument}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&request)
	if errno != 0 {
		return fmt.Errorf("ethtool %s: %w", name, errno)
	}
	return nil
}

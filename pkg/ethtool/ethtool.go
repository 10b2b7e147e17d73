// Package ethtool asks the kernel about network interfaces, and tells it, as linux/ethtool.h says.
package ethtool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is an interface of the calling thread's network namespace, by its name.
type Device string

// StringSet names what an interface has several of: enum ethtool_stringset.
type StringSet uint32

// The sets that are asked for.
const (
	Stats    StringSet = 1
	Features StringSet = 4
)

const stringOctets = 32 // ETH_GSTRING_LEN

// Strings are the names of a set, in the order of what they name.
func (d Device) Strings(set StringSet) ([]string, error) {
	sizes := struct {
		command, _ uint32
		mask       uint64
		count      uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << set}
	if err := d.Do(unsafe.Pointer(&sizes)); err != nil {
		return nil, err
	}
	const header = 12 // struct ethtool_gstrings
	b := make([]byte, header+stringOctets*int(sizes.count))
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(b[4:], uint32(set))
	binary.NativeEndian.PutUint32(b[8:], sizes.count)
	if err := d.Do(unsafe.Pointer(&b[0])); err != nil {
		return nil, err
	}
	names := make([]string, sizes.count)
	for i := range names {
		name, _, _ := bytes.Cut(b[header+stringOctets*i:][:stringOctets], []byte{0})
		names[i] = string(name)
	}
	return names, nil
}

// value is struct ethtool_value.
type value struct{ command, data uint32 }

// Get asks for a single value: ETHTOOL_GFLAGS and such.
func (d Device) Get(command uint32) (uint32, error) {
	v := value{command: command}
	err := d.Do(unsafe.Pointer(&v))
	return v.data, err
}

// Set tells a single value: ETHTOOL_SGRO and such.
func (d Device) Set(command, data uint32) error {
	return d.Do(unsafe.Pointer(&value{command, data}))
}

// Do does one ioctl, SIOCETHTOOL. The argument begins with the command, and holds no pointers.
func (d Device) Do(argument unsafe.Pointer) error {
	if len(d) >= unix.IFNAMSIZ {
		return fmt.Errorf("ethtool %s: the name is too long", string(d))
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("ethtool %s: open a socket: %w", string(d), err)
	}
	defer func() { _ = unix.Close(socket) }()
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is a union of up to 24 octets
	}{data: argument}
	copy(request.name[:], d)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&request)
	if errno != 0 {
		return fmt.Errorf("ethtool %s, command %#x: %w", string(d), *(*uint32)(argument), errno)
	}
	return nil
}

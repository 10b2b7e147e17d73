package topology

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of ETHTOOL_SFLAGS, linux/ethtool.h: VLAN tags taken out and put in by the device.
const (
	flagTXVLAN = 1 << 7
	flagRXVLAN = 1 << 8
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ifreqPointer is struct ifreq of linux/if.h with the pointer member of its union.
type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// switchOffloads switches off what a veth leaves to hardware that is not there. A sender over veth leaves checksums
// and segmentation for later, and a PGW-U that encapsulates such a packet as it is sends it out broken; a VLAN tag
// that is carried beside the packet is not seen by XDP. gro stays on where native XDP needs it: see End.FacesXDP.
func switchOffloads(port string, gro bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	groData := uint32(0)
	if gro {
		groData = 1
	}
	for _, v := range []ethtoolValue{
		{unix.ETHTOOL_STXCSUM, 0},
		{unix.ETHTOOL_STSO, 0},
		{unix.ETHTOOL_SGSO, 0},
		{unix.ETHTOOL_SGRO, groData},
	} {
		if err := ethtool(fd, port, &v); err != nil {
			return errors.Join(fmt.Errorf("ethtool command %#x: %w", v.cmd, err), unix.Close(fd))
		}
	}
	flags := ethtoolValue{cmd: unix.ETHTOOL_GFLAGS}
	err = ethtool(fd, port, &flags)
	if err == nil {
		flags = ethtoolValue{cmd: unix.ETHTOOL_SFLAGS, data: flags.data &^ (flagTXVLAN | flagRXVLAN)}
		err = ethtool(fd, port, &flags)
	}
	if err != nil {
		err = fmt.Errorf("switch VLAN offload: %w", err)
	}
	return errors.Join(err, unix.Close(fd))
}

func ethtool(fd int, port string, value *ethtoolValue) error {
	request := ifreqPointer{data: unsafe.Pointer(value)}
	if copy(request.name[:unix.IFNAMSIZ-1], port) < len(port) {
		return fmt.Errorf("port name %q is too long", port)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

package topology

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/ethtool"
)

// Flags of ETHTOOL_SFLAGS, linux/ethtool.h: VLAN tags taken out and put in by the device.
const (
	flagTXVLAN = 1 << 7
	flagRXVLAN = 1 << 8
)

// switchOffloads switches off what a veth leaves to hardware that is not there. A sender over veth leaves checksums
// and segmentation for later, and a PGW-U that encapsulates such a packet as it is sends it out broken; a VLAN tag
// that is carried beside the packet is not seen by XDP. gro stays on where native XDP needs it: see End.FacesXDP.
func switchOffloads(port string, gro bool) error {
	device, groData := ethtool.Device(port), uint32(0)
	if gro {
		groData = 1
	}
	err := errors.Join(
		device.Set(unix.ETHTOOL_STXCSUM, 0),
		device.Set(unix.ETHTOOL_STSO, 0),
		device.Set(unix.ETHTOOL_SGSO, 0),
		device.Set(unix.ETHTOOL_SGRO, groData),
	)
	if err != nil {
		return err
	}
	flags, err := device.Get(unix.ETHTOOL_GFLAGS)
	if err != nil {
		return err
	}
	return device.Set(unix.ETHTOOL_SFLAGS, flags&^(flagTXVLAN|flagRXVLAN))
}

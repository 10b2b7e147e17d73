package datapath

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Features by which an interface puts VLAN tags beside the frame, where the program does not see them: on the way in,
// 802.1Q and 802.1ad.
var hidingTags = []string{"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"}

// The same on the way out. Frames of the program have their tags inside in any case; but where the other end of a veth is a
// port, too, it would not see those of the kernel.
var offeringTags = []string{"tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"}

// features are those of an interface, by ethtool's names.
type features interface {
	active() (map[string]bool, error)
	turnOff(names []string) error // as far as the driver can
}

// showTags turns off what would hide VLAN tags from the program, and verifies it: else the packets of one network
// would be taken for those of another.
func showTags(f features) error {
	active, err := f.active()
	if err != nil {
		return fmt.Errorf("read the offloads: %w", err)
	}
	var off []string
	for _, names := range [][]string{hidingTags, offeringTags} {
		for _, name := range names {
			if active[name] {
				off = append(off, name)
			}
		}
	}
	if len(off) == 0 {
		return nil
	}
	refused := f.turnOff(off)
	if active, err = f.active(); err != nil {
		return fmt.Errorf("read the offloads: %w", err)
	}
	for _, name := range hidingTags {
		if active[name] {
			return fmt.Errorf("the offload %s cannot be turned off: VLAN tags would be invisible to XDP: %w", name, cmp.Or(refused, error(unix.EOPNOTSUPP)))
		}
	}
	return nil
}

// nic is an interface of the calling thread's network namespace, by its name.
type nic string

// As in linux/ethtool.h.
const (
	featureStrings = 4  // ETH_SS_FEATURES
	stringOctets   = 32 // ETH_GSTRING_LEN
	featureWord    = 32 // features of a block
)

// names are those of the kernel's features, in the order of their bits.
func (n nic) names() ([]string, error) {
	sizes := struct {
		command, _ uint32
		mask       uint64
		count      uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << featureStrings}
	if err := n.ethtool(unsafe.Pointer(&sizes)); err != nil {
		return nil, err
	}
	const header = 12 // struct ethtool_gstrings
	b := make([]byte, header+stringOctets*int(sizes.count))
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(b[4:], featureStrings)
	binary.NativeEndian.PutUint32(b[8:], sizes.count)
	if err := n.ethtool(unsafe.Pointer(&b[0])); err != nil {
		return nil, err
	}
	names := make([]string, sizes.count)
	for i := range names {
		name, _, _ := bytes.Cut(b[header+stringOctets*i:][:stringOctets], []byte{0})
		names[i] = string(name)
	}
	return names, nil
}

// featureBlocks is a message about so many features: command, number of blocks of 32 features, and the blocks.
func featureBlocks(command uint32, features, words int) []uint32 {
	count := (features + featureWord - 1) / featureWord
	message := make([]uint32, 2+count*words)
	message[0], message[1] = command, uint32(count)
	return message
}

func (n nic) active() (map[string]bool, error) {
	names, err := n.names()
	if err != nil {
		return nil, err
	}
	const words, at = 4, 2 // struct ethtool_get_features_block: available, requested, active, never changed
	message := featureBlocks(unix.ETHTOOL_GFEATURES, len(names), words)
	if err := n.ethtool(unsafe.Pointer(&message[0])); err != nil {
		return nil, err
	}
	active := map[string]bool{}
	for i, name := range names {
		active[name] = message[2+i/featureWord*words+at]>>(i%featureWord)&1 != 0
	}
	return active, nil
}

func (n nic) turnOff(off []string) error {
	names, err := n.names()
	if err != nil {
		return err
	}
	const words = 2 // struct ethtool_set_features_block: valid, requested
	message := featureBlocks(unix.ETHTOOL_SFEATURES, len(names), words)
	for i, name := range names {
		for _, o := range off {
			if name == o {
				message[2+i/featureWord*words] |= 1 << (i % featureWord)
			}
		}
	}
	return n.ethtool(unsafe.Pointer(&message[0]))
}

// ethtool does one ioctl. The argument holds no pointers.
func (n nic) ethtool(argument unsafe.Pointer) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is a union of up to 24 octets
	}{data: argument}
	copy(request.name[:unix.IFNAMSIZ-1], n)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&request)
	if errno != 0 {
		return errno
	}
	return nil
}

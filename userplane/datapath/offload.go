package datapath

import (
	"cmp"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/ethtool"
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

// nic is an interface, by its name.
type nic string

const featureWord = 32 // features of a block, as in linux/ethtool.h

// featureBlocks is a message about so many features: command, number of blocks of 32 features, and the blocks.
func featureBlocks(command uint32, features, words int) []uint32 {
	count := (features + featureWord - 1) / featureWord
	message := make([]uint32, 2+count*words)
	message[0], message[1] = command, uint32(count)
	return message
}

func (n nic) active() (map[string]bool, error) {
	names, err := ethtool.Device(n).Strings(ethtool.Features)
	if err != nil {
		return nil, err
	}
	const words, at = 4, 2 // struct ethtool_get_features_block: available, requested, active, never changed
	message := featureBlocks(unix.ETHTOOL_GFEATURES, len(names), words)
	if err := ethtool.Device(n).Do(unsafe.Pointer(&message[0])); err != nil {
		return nil, err
	}
	active := map[string]bool{}
	for i, name := range names {
		active[name] = message[2+i/featureWord*words+at]>>(i%featureWord)&1 != 0
	}
	return active, nil
}

func (n nic) turnOff(off []string) error {
	names, err := ethtool.Device(n).Strings(ethtool.Features)
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
	return ethtool.Device(n).Do(unsafe.Pointer(&message[0]))
}

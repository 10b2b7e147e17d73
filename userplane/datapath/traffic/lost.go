package traffic

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/ethtool"
)

// Lost is how many frames an interface of the calling thread's network namespace, an end of a veth pair, could not hand
// over: because the ring at the other end was full, or because its own program's redirect failed. Frames that the program
// drops are not lost.
func Lost(name string) (frames uint64, err error) {
	device := ethtool.Device(name)
	names, err := device.Strings(ethtool.Stats)
	if err != nil {
		return 0, err
	}
	values := make([]byte, 8+8*len(names)) // struct ethtool_stats
	binary.NativeEndian.PutUint32(values, unix.ETHTOOL_GSTATS)
	binary.NativeEndian.PutUint32(values[4:], uint32(len(names)))
	if err := device.Do(unsafe.Pointer(&values[0])); err != nil {
		return 0, err
	}
	for i, stat := range names {
		if strings.HasSuffix(stat, "_xdp_xmit_errors") || strings.HasSuffix(stat, "_xdp_tx_errors") ||
			strings.HasSuffix(stat, "_drops") && !strings.HasSuffix(stat, "_xdp_drops") {
			frames += binary.NativeEndian.Uint64(values[8+8*i:])
		}
	}
	return frames, nil
}

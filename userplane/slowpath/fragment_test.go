package slowpath

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/inet"
)

// packet4 is an IPv4 packet with those flags and offset, options and so many octets of data.
func packet4(flags uint16, options []byte, data int) []byte {
	b := make([]byte, ipv4Header+len(options), ipv4Header+len(options)+data)
	b[0], b[1], b[8], b[9] = 4<<4|byte(len(b)/4), 0xb8, 63, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+data))
	binary.BigEndian.PutUint16(b[4:], 0x1234)
	binary.BigEndian.PutUint16(b[6:], flags)
	copy(b[12:], []byte{172, 16, 1, 5, 10, 60, 0, 10})
	copy(b[ipv4Header:], options)
	binary.BigEndian.PutUint16(b[10:], inet.Checksum(b))
	for i := range data {
		b = append(b, byte(i*7+i>>8))
	}
	return b
}

// together puts fragments of a packet together as a receiver does (RFC 791 3.2), and checks each: it is the slow way to know
// that nothing is lost.
func together(t *testing.T, packet []byte, fragments [][]byte, mtu int) []byte {
	t.Helper()
	flags := binary.BigEndian.Uint16(packet[6:])
	first, size := int(flags&offsetMask), int(packet[0]&0xf)*4
	var data []byte
	for i, f := range fragments {
		require.LessOrEqual(t, len(f), mtu)
		header := int(f[0]&0xf) * 4
		require.EqualValues(t, len(f), binary.BigEndian.Uint16(f[2:]))
		require.Zero(t, inet.Checksum(f[:header]), "the checksum of a header with its checksum")
		require.Equal(t, append([]byte{packet[1]}, packet[4:6]...), append([]byte{f[1]}, f[4:6]...), "ToS and identification")
		require.Equal(t, packet[8:10], f[8:10], "TTL and protocol")
		require.Equal(t, packet[12:20], f[12:20], "addresses")
		more := binary.BigEndian.Uint16(f[6:])
		require.Equal(t, i < len(fragments)-1 || flags&moreFragments != 0, more&moreFragments != 0, "more fragments")
		require.Equal(t, first+len(data)/8, int(more&offsetMask))
		require.True(t, i == len(fragments)-1 || (len(f)-header)%8 == 0)
		if i == 0 {
			require.Equal(t, packet[ipv4Header:size], f[ipv4Header:header], "all options")
		}
		data = append(data, f[header:]...)
	}
	return append(slices.Clone(packet[:size]), data...)
}

func TestFragment(t *testing.T) {
	route := []byte{0x83, 7, 4, 10, 0, 0, 1}        // loose source route: copied
	record := []byte{7, 7, 4, 0, 0, 0, 0}           // record route: not copied
	both := slices.Concat(record, route, []byte{1}) // and a no-operation, 15 octets
	for name, row := range map[string]struct {
		packet  []byte
		mtu     int
		lengths []int
	}{
		"it fits":                          {packet4(0, nil, 80), 100, []int{100}},
		"one octet too many":               {packet4(0, nil, 81), 100, []int{100, 21}},
		"data in units of 8 octets":        {packet4(0, nil, 1464), 1399, []int{1396, 108}},
		"many":                             {packet4(0, nil, 2028), 576, []int{572, 572, 572, 392}},
		"the smallest MTU of IPv4":         {packet4(0, nil, 100), 68, []int{68, 68, 24}},
		"a fragment in the middle":         {packet4(moreFragments|100, nil, 160), 100, []int{100, 100}},
		"the last fragment":                {packet4(100, nil, 161), 100, []int{100, 100, 21}},
		"options that are copied, and not": {packet4(0, append(both, 0), 160), 100, []int{100, 100, 52}},
	} {
		fragments, err := fragment(row.packet, row.mtu)
		require.NoError(t, err, name)
		var lengths []int
		for _, f := range fragments {
			lengths = append(lengths, len(f))
		}
		require.Equal(t, row.lengths, lengths, name)
		require.Equal(t, row.packet, together(t, row.packet, fragments, row.mtu), name)
	}
	fragments, err := fragment(packet4(0, append(both, 0), 160), 100)
	require.NoError(t, err)
	require.Equal(t, append(slices.Clone(route), 0), fragments[1][ipv4Header:28])

	for name, row := range map[string]struct {
		packet []byte
		mtu    int
	}{
		"DF":                        {packet4(dontFragment, nil, 100), 68},
		"no room":                   {packet4(0, nil, 100), 27},
		"an MTU of nothing":         {packet4(0, nil, 100), 0},
		"beyond the last offset":    {packet4(offsetMask, nil, 100), 68},
		"IPv6":                      {append([]byte{0x60}, make([]byte, 60)...), 68},
		"nothing":                   {nil, 68},
		"longer than it says":       {append(packet4(0, nil, 100), 0), 68},
		"shorter than it says":      {packet4(0, nil, 100)[:119], 68},
		"a header that is too long": {append([]byte{0x4f}, packet4(0, nil, 10)[1:]...), 68},
	} {
		_, err := fragment(row.packet, row.mtu)
		require.Error(t, err, name)
	}
}

func FuzzFragment(f *testing.F) {
	f.Add(packet4(0, nil, 1464), 1400)
	f.Add(packet4(moreFragments|7, []byte{0x83, 3, 4, 0}, 100), 68)
	f.Add(packet4(0, []byte{7, 200, 0, 0}, 100), 68)
	f.Fuzz(func(t *testing.T, packet []byte, mtu int) {
		before := bytes.Clone(packet)
		fragments, err := fragment(packet, mtu)
		require.Equal(t, before, packet)
		if err != nil || len(fragments) == 0 {
			return
		}
		require.Equal(t, packet, together(t, packet, fragments, mtu))
	})
}

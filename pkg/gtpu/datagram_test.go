package gtpu

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// The witness of a datagram is gopacket.
func TestDatagram(t *testing.T) {
	message := []byte{0x30, 0xff, 0, 4, 0, 0, 0x12, 0x34, 1, 2, 3, 4}
	for _, row := range []struct {
		name, from, to string
		first          gopacket.LayerType
	}{
		{"over IPv4", "10.10.0.2:3333", "10.30.1.1:2152", layers.LayerTypeIPv4},
		{"over IPv6", "[2001:db8::2]:3333", "[2001:db8:1::1]:2152", layers.LayerTypeIPv6},
	} {
		t.Run(row.name, func(t *testing.T) {
			from, to := netip.MustParseAddrPort(row.from), netip.MustParseAddrPort(row.to)
			b, err := Datagram(from, to, message)
			require.NoError(t, err)
			p := gopacket.NewPacket(b, row.first, gopacket.Default)
			flow := p.NetworkLayer().NetworkFlow()
			require.Equal(t, from.Addr().String(), flow.Src().String())
			require.Equal(t, to.Addr().String(), flow.Dst().String())
			udp := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
			require.EqualValues(t, from.Port(), udp.SrcPort)
			require.EqualValues(t, to.Port(), udp.DstPort)
			require.Equal(t, message, udp.Payload)
			require.Zero(t, udp.Checksum)
			if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
				sum := ip.Checksum
				again := gopacket.NewSerializeBuffer()
				require.NoError(t, ip.SerializeTo(again, gopacket.SerializeOptions{ComputeChecksums: true}))
				require.Equal(t, ip.Checksum, sum)
			}
		})
	}
	a4, a6 := netip.MustParseAddrPort("10.10.0.2:1"), netip.MustParseAddrPort("[2001:db8::2]:1")
	for _, ends := range [][2]netip.AddrPort{{a4, a6}, {a6, a4}, {{}, a4}, {a6, {}}, {}} {
		_, err := Datagram(ends[0], ends[1], message)
		require.ErrorIs(t, err, errFamilies)
	}
	for _, row := range []struct {
		at   netip.AddrPort
		most int
	}{{a4, 0xffff - 28}, {a6, 0xffff - 8}} {
		_, err := Datagram(row.at, row.at, make([]byte, row.most))
		require.NoError(t, err)
		_, err = Datagram(row.at, row.at, make([]byte, row.most+1))
		require.ErrorIs(t, err, errTooLong)
	}
}

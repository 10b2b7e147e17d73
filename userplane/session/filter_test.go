package session

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func protocol(n uint8) pfcp.Opt[uint8] { return pfcp.Some(n) }

var flowDescriptions = []struct {
	text string
	want Filter
}{
	{"permit out ip from any to assigned", Filter{}},
	{"Permit Out IP From Any To Any", Filter{}},
	{"permit out ip from 0.0.0.0/0 to assigned", Filter{Remote: netip.MustParsePrefix("0.0.0.0/0")}},
	{"permit out ip from ::/0 to assigned", Filter{Remote: netip.MustParsePrefix("::/0")}},
	{"permit out 17 from any to assigned", Filter{Protocol: protocol(17)}},                                       // numeric: others refused it
	{"permit out udp from any to assigned 81-81", Filter{Protocol: protocol(17), LocalPorts: []Ports{{81, 81}}}}, // pfcpsim
	{"permit out 6 from 192.0.2.1 80,443,8000-8080 to assigned", Filter{
		Protocol: protocol(6), Remote: prefix("192.0.2.1/32"), RemotePorts: []Ports{{80, 80}, {443, 443}, {8000, 8080}},
	}},
	{"permit out 58 from ff02::2/128 to assigned", Filter{Protocol: protocol(58), Remote: prefix("ff02::2/128")}}, // Open5GS
	{"permit out 58 from ff00::/8 to assigned", Filter{Protocol: protocol(58), Remote: prefix("ff00::/8")}},       // erGW
	{"permit out ip from 198.51.100.77/24 to 172.16.1.7", Filter{Remote: prefix("198.51.100.0/24"), Local: prefix("172.16.1.7/32")}},
	{"permit in 6 from assigned 1000-2000 to 192.0.2.1 80", Filter{
		Protocol: protocol(6), Remote: prefix("192.0.2.1/32"), RemotePorts: []Ports{{80, 80}}, LocalPorts: []Ports{{1000, 2000}},
	}},
	{"permit out ip from assigned to 192.0.2.1", Filter{Remote: prefix("192.0.2.1/32")}},
	{"permit out 6 from any 0-65535 to assigned", Filter{Protocol: protocol(6)}},
}

func TestFlowDescriptions(t *testing.T) {
	for _, row := range flowDescriptions {
		got, err := ParseFlowDescription(row.text)
		require.NoError(t, err, row.text)
		require.Equal(t, row.want, got, row.text)
	}
}

func TestFlowDescriptionsThatAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "permit", "permit out ip from any to", "permit out ip from any", "deny out ip from any to assigned",
		"permit both ip from any to assigned", "permit out 256 from any to assigned", "permit out -1 from any to assigned",
		"permit out ip from !192.0.2.1 to assigned", "permit out ip from 192.0.2.1/33 to assigned",
		"permit out ip from 192.0.2.1 to 2001:db8::1", "permit out ip from fe80::1%eth0 to assigned",
		"permit out 6 from any 80-79 to assigned", "permit out 6 from any 65536 to assigned", "permit out 6 from any 80, to assigned",
		"permit out 6 from any to assigned established", "permit out 6 from any " + strings.Repeat("1,", 16) + "1 to assigned",
		"permit out ip from any to any " + strings.Repeat(" ", maxDescription),
	} {
		_, err := ParseFlowDescription(text)
		require.Error(t, err, text)
	}
}

func FuzzFlowDescription(f *testing.F) {
	for _, row := range flowDescriptions {
		f.Add(row.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFlowDescription(text)
		if err != nil {
			require.Equal(t, Filter{}, got)
			return
		}
		require.LessOrEqual(t, len(got.RemotePorts)+len(got.LocalPorts), 2*maxPorts)
		require.True(t, !got.Remote.IsValid() || got.Remote == got.Remote.Masked())
	})
}

func TestSDFFilters(t *testing.T) {
	got, err := makeSDF(&pfcp.SDFFilter{
		FlowDescription: "permit out 50 from any to assigned", ToSTrafficClass: pfcp.Some(uint16(0xb8fc)),
		SPI: pfcp.Some(uint32(7)), FlowLabel: pfcp.Some(uint32(9)), FilterID: pfcp.Some(uint32(3)),
	})
	require.NoError(t, err)
	require.Equal(t, SDF{ID: pfcp.Some(uint32(3)), Filter: Filter{
		Protocol: protocol(50), ToS: 0xb8, ToSMask: 0xfc, SPI: pfcp.Some(uint32(7)), FlowLabel: pfcp.Some(uint32(9)),
	}}, got)
	got, err = makeSDF(&pfcp.SDFFilter{FilterID: pfcp.Some(uint32(3))})
	require.NoError(t, err)
	require.True(t, got.Refers)
}

// Any address of a family is a filter only for who has both; else the common rule stays the one without filters.
func TestFiltersOfAFamily(t *testing.T) {
	of := func(ue pfcp.UEIPAddress, texts ...string) []Filter {
		s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
			for i := range r.CreatePDRs {
				r.CreatePDRs[i].PDI.UEIPAddress = pfcp.Some(ue)
				for _, text := range texts {
					r.CreatePDRs[i].PDI.SDFFilters = append(r.CreatePDRs[i].PDI.SDFFilters, pfcp.SDFFilter{FlowDescription: text})
				}
			}
		}))
		table := compile(t, s)
		for i := range table {
			require.Equal(t, table[0].Filters, table[i].Filters)
		}
		return table[0].Filters
	}
	four := pfcp.UEIPAddress{IPv4: ue}
	six := pfcp.UEIPAddress{IPv6: netip.MustParseAddr("2001:db8:9::"), IPv6PrefixLength: 64}
	both := pfcp.UEIPAddress{IPv4: ue, IPv6: six.IPv6, IPv6PrefixLength: 64}
	const any4, any6 = "permit out ip from 0.0.0.0/0 to assigned", "permit out ip from ::/0 to assigned"
	require.Empty(t, of(four, any4))
	require.Empty(t, of(six, any6))
	require.Equal(t, []Filter{{Remote: prefix("::/0")}}, of(both, any6), "IPv4 goes elsewhere")
	require.Equal(t, []Filter{{Remote: prefix("::/0")}}, of(four, any6), "nothing of it")
	require.Equal(t, []Filter{{Remote: prefix("0.0.0.0/0")}, {Remote: prefix("::/0")}}, of(both, any4, any6))
}

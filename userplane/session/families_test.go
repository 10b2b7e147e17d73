package session

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

var remote6 = netip.MustParseAddr("2001:db8:10::2")

// TestFamiliesOutside: what F-TEID is told, and by which addresses packets go, for every slice and every wish. TS 29.244
// 8.2.3, 8.2.56.
func TestFamiliesOutside(t *testing.T) {
	v4, v6, both := pfcp.FTEID{Choose: true, ChooseIPv4: true}, pfcp.FTEID{Choose: true, ChooseIPv6: true},
		pfcp.FTEID{Choose: true, ChooseIPv4: true, ChooseIPv6: true}
	to4 := pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: 0xaa, IPv4: remote}
	to6 := pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv6, TEID: 0xaa, IPv6: remote6}
	toBoth := pfcp.OuterHeaderCreation{
		Description: pfcp.CreateGTPUUDPIPv4 | pfcp.CreateGTPUUDPIPv6, TEID: 0xaa, IPv4: remote, IPv6: remote6,
	}
	for name, row := range map[string]struct {
		slice  netip.Addr
		choose pfcp.FTEID
		to     pfcp.OuterHeaderCreation
		needs  Families
		cause  pfcp.Cause // 0: accepted, with the rest
		told   pfcp.FTEID
		tunnel Tunnel
	}{
		"IPv4 of a slice that has both": {
			slice, v4, to4, Families{IPv4: true}, 0, pfcp.FTEID{IPv4: slice}, Tunnel{slice, remote, 0xaa},
		},
		"IPv6 of it": {
			slice, v6, to6, Families{IPv6: true}, 0, pfcp.FTEID{IPv6: slice6}, Tunnel{slice6, remote6, 0xaa},
		},
		"both of it: the tunnel has the smaller header": {
			slice, both, toBoth, Families{}, 0, pfcp.FTEID{IPv4: slice, IPv6: slice6}, Tunnel{slice, remote, 0xaa},
		},
		"no wish: IPv4": {
			slice, pfcp.FTEID{Choose: true}, to6, Families{IPv6: true}, 0, pfcp.FTEID{IPv4: slice}, Tunnel{slice6, remote6, 0xaa},
		},
		"no wish, and only IPv6 there": {
			only6, pfcp.FTEID{Choose: true}, toBoth, Families{}, 0, pfcp.FTEID{IPv6: only6}, Tunnel{only6, remote6, 0xaa},
		},
		"both, and only IPv6 there": {
			only6, both, to6, Families{IPv6: true}, 0, pfcp.FTEID{IPv6: only6}, Tunnel{only6, remote6, 0xaa},
		},
		"both, and only IPv4 there": {
			only4, both, toBoth, Families{}, 0, pfcp.FTEID{IPv4: only4}, Tunnel{only4, remote, 0xaa},
		},
		"IPv6, and only IPv4 there": {
			slice: only4, choose: v6, to: to4, needs: Families{IPv4: true, IPv6: true}, cause: pfcp.CauseInvalidFTEIDAllocation,
		},
		"IPv4, and only IPv6 there": {
			slice: only6, choose: v4, to: to6, needs: Families{IPv4: true, IPv6: true}, cause: pfcp.CauseInvalidFTEIDAllocation,
		},
		"a tunnel over IPv6 from a slice without": {
			slice: only4, choose: v4, to: to6, needs: Families{IPv4: true, IPv6: true}, cause: pfcp.CauseRuleCreationFailure,
		},
		"a tunnel over IPv4 from a slice without": {
			slice: only6, choose: v6, to: to4, needs: Families{IPv4: true, IPv6: true}, cause: pfcp.CauseRuleCreationFailure,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := bearer(func(r *pfcp.SessionEstablishmentRequest) {
				r.CreatePDRs[0].PDI.FTEID.Value = row.choose
				r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value = row.to
			})
			require.Equal(t, row.needs, FamiliesOf(req))
			s, created, err := Establish(req, 9, row.slice, DefaultLimits(), &counter{of: row.slice}, morning)
			var table Table
			if err == nil {
				table, err = s.Compile(internet)
			}
			if row.cause != 0 {
				var refused *pfcp.Error
				require.ErrorAs(t, err, &refused)
				require.Equal(t, row.cause, refused.Cause)
				return
			}
			require.NoError(t, err)
			row.told.TEID = 0x1001
			require.Equal(t, []pfcp.CreatedPDR{{ID: 1, FTEID: pfcp.Some(row.told)}}, created.PDRs)
			require.NotNil(t, table.Find(Key{Direction: Uplink, Local: row.slice, TEID: 0x1001}), "by the slice's name")
			down := table.Find(Key{Direction: Downlink, Instance: "internet", UE: UE(ue)})
			require.Equal(t, row.tunnel, Tunnel{down.Local, down.Remote, down.RemoteTEID})

			b, err := s.AppendBinary(nil)
			require.NoError(t, err)
			var again Session
			require.NoError(t, again.UnmarshalBinary(b))
			require.Equal(t, s, again)
		})
	}
}

// A control plane that restores names a slice by any of its addresses.
func TestFTEIDsOfTheControlPlaneOverIPv6(t *testing.T) {
	for _, f := range []pfcp.FTEID{{TEID: 7, IPv4: slice}, {TEID: 7, IPv6: slice6}, {TEID: 7, IPv4: slice, IPv6: slice6}} {
		teids := &counter{}
		s, _, err := Establish(bearer(func(r *pfcp.SessionEstablishmentRequest) {
			r.CreatePDRs[0].PDI.FTEID.Value = f
		}), 9, slice, DefaultLimits(), teids, morning)
		require.NoError(t, err)
		require.Equal(t, []FTEID{{slice, 7}}, teids.claimed)
		require.Equal(t, []FTEID{{slice, 7}}, s.FTEIDs())
	}
}

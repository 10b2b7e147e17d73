package session

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

// choosing makes every UE address of a bearer one that the UP function is to choose.
func choosing(v4, v6 bool) func(*pfcp.SessionEstablishmentRequest) {
	return func(r *pfcp.SessionEstablishmentRequest) {
		for i := range r.CreatePDRs {
			r.CreatePDRs[i].PDI.UEIPAddress = pfcp.Some(pfcp.UEIPAddress{ChooseIPv4: v4, ChooseIPv6: v6, Destination: i == 1})
		}
	}
}

func TestRulesThatAskForAUEAddressGetTheSame(t *testing.T) {
	s, created, err := Establish(bearer(choosing(true, true)), 9, slice, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	ue, ue6 := netip.MustParseAddr("172.16.9.1"), netip.MustParsePrefix("2001:db8:9:2::/64")
	require.Equal(t, []Address{{"internet", UE(ue)}, {"internet", ue6}}, s.Addresses)
	told := pfcp.Some(pfcp.UEIPAddress{IPv4: ue, IPv6: ue6.Addr(), IPv6PrefixLength: 64})
	require.Equal(t, []pfcp.CreatedPDR{
		{ID: 1, FTEID: pfcp.Some(pfcp.FTEID{TEID: 0x1001, IPv4: slice}), UEIPAddress: told}, {ID: 2, UEIPAddress: told},
	}, created.PDRs)
	table := compile(t, s)
	require.NotNil(t, table.Find(Key{Direction: Downlink, Instance: "internet", UE: UE(ue)}))
	require.NotNil(t, table.Find(Key{Direction: Downlink, Instance: "internet", UE: ue6}))
	require.Equal(t, s, reread(t, s))
}

func TestAddressesComeFromThePoolThatIsNamed(t *testing.T) {
	named := func(pools ...string) (Session, error) {
		s, _, err := Establish(bearer(choosing(false, true), func(r *pfcp.SessionEstablishmentRequest) {
			r.CreatePDRs[1].AddressPools = pools
			r.CreatePDRs = r.CreatePDRs[1:]
		}), 9, slice, DefaultLimits(), &counter{}, morning)
		return s, err
	}
	s, err := named("six")
	require.NoError(t, err)
	require.Equal(t, "six", s.Addresses[0].Pool)
	s, err = named("other", "six")
	require.NoError(t, err)
	require.Equal(t, "six", s.Addresses[0].Pool)
	_, err = named("other")
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
}

func TestAnAddressGoesWithTheLastRuleThatNamesIt(t *testing.T) {
	s := establish(t, bearer(choosing(true, false)))
	require.Len(t, s.Addresses, 1)
	grants := &counter{next: 100, hosts: 100}
	next, created, err := s.Modify(&pfcp.SessionModificationRequest{
		RemovePDRs: []pfcp.PDRID{2},
		CreatePDRs: []pfcp.CreatePDR{{
			ID: 3, Precedence: 1, FARID: pfcp.Some(pfcp.FARID(2)),
			PDI: pfcp.PDI{SourceInterface: pfcp.InterfaceCore, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{ChooseIPv4: true})},
		}},
	}, DefaultLimits(), grants, morning)
	require.NoError(t, err)
	require.Equal(t, s.Addresses, next.Addresses, "a new rule of the session gets the session's")
	require.Equal(t, s.Addresses[0].UE.Addr(), created.PDRs[0].UEIPAddress.Value.IPv4)

	next, _, err = next.Modify(&pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{3}}, DefaultLimits(), grants, morning)
	require.NoError(t, err)
	require.Len(t, next.Addresses, 1, "the uplink rule has it")
	next, _, err = next.Modify(&pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{1}}, DefaultLimits(), grants, morning)
	require.NoError(t, err)
	require.Empty(t, next.Addresses)
}

func TestAnAddressOfAPoolThatTheControlPlaneBringsIsHeld(t *testing.T) {
	brought := netip.MustParseAddr("172.16.9.200")
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		for i := range r.CreatePDRs {
			r.CreatePDRs[i].PDI.UEIPAddress = pfcp.Some(pfcp.UEIPAddress{IPv4: brought})
		}
	}))
	require.Equal(t, []Address{{"internet", UE(brought)}}, s.Addresses)
}

func TestTrafficEndpointsGetAddressesToo(t *testing.T) {
	req := bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreateTrafficEndpoints = []pfcp.TrafficEndpoint{{ID: 1, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{ChooseIPv4: true})}}
		r.CreatePDRs[1].PDI = pfcp.PDI{SourceInterface: pfcp.InterfaceCore, TrafficEndpointIDs: []pfcp.TrafficEndpointID{1}}
		r.CreatePDRs[0].PDI.UEIPAddress = pfcp.Opt[pfcp.UEIPAddress]{}
	})
	s, created, err := Establish(req, 9, slice, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	require.Len(t, s.Addresses, 1)
	require.Equal(t, s.Addresses[0].UE.Addr(), created.Endpoints[0].UEIPAddress.Value.IPv4)
	next, _, err := s.Modify(&pfcp.SessionModificationRequest{
		UpdateTrafficEndpoints: []pfcp.TrafficEndpoint{{ID: 1, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{IPv4: ue})}},
	}, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	require.Empty(t, next.Addresses)
	_, _, err = s.Modify(&pfcp.SessionModificationRequest{
		UpdateTrafficEndpoints: []pfcp.TrafficEndpoint{{ID: 1, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{ChooseIPv4: true})}},
	}, DefaultLimits(), &counter{}, morning)
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
}

// A UE that may delegate prefixes has all of them; one that would have every address has none.
func TestPrefixDelegation(t *testing.T) {
	with := func(v pfcp.UEIPAddress) (Session, error) {
		s, _, err := Establish(bearer(func(r *pfcp.SessionEstablishmentRequest) {
			r.CreatePDRs[1].PDI.UEIPAddress = pfcp.Some(v)
		}), 9, slice, DefaultLimits(), &counter{}, morning)
		return s, err
	}
	s, err := with(pfcp.UEIPAddress{IPv6: netip.MustParseAddr("2001:db8:7::"), IPv6PrefixLength: 64, IPv6DelegationBits: 4})
	require.NoError(t, err)
	require.Equal(t, netip.MustParsePrefix("2001:db8:7::/60"), s.UE6())
	s, err = with(pfcp.UEIPAddress{IPv6: netip.MustParseAddr("2001:db8:7::1"), IPv6PrefixLength: 128})
	require.NoError(t, err)
	require.NotNil(t, compile(t, s).Find(Key{Direction: Downlink, Instance: "internet", UE: netip.MustParsePrefix("2001:db8:7::1/128")}))
	_, err = with(pfcp.UEIPAddress{IPv6: netip.MustParseAddr("2001:db8:7::"), IPv6PrefixLength: 64, IPv6DelegationBits: 64})
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
	_, err = with(pfcp.UEIPAddress{ChooseIPv6: true, IPv6PrefixLength: 56})
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
}

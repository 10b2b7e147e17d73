package session

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

type request = *pfcp.SessionEstablishmentRequest

func toCP(r request, far pfcp.FARID) {
	r.CreateFARs = append(r.CreateFARs, pfcp.CreateFAR{
		ID: far, ApplyAction: pfcp.ActionForward,
		ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
			DestinationInterface: pfcp.Some(pfcp.InterfaceCPFunction),
			OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{
				Description: pfcp.CreateGTPUUDPIPv4, TEID: 0xcc, IPv4: cp.IPv4,
			}),
		}),
	})
}

var (
	ue6     = netip.MustParsePrefix("2001:db8:1:7::/64")
	pdu6    = pfcp.UEIPAddress{IPv6: netip.MustParseAddr("2001:db8:1:7::5"), IPv6PrefixLength: 64}
	key6    = Key{Direction: Downlink, Instance: "internet", UE: ue6}
	dual    = pfcp.UEIPAddress{IPv4: ue, IPv6: pdu6.IPv6}
	someSDF = pfcp.SDFFilter{FlowDescription: "permit out 17 from 192.0.2.1 53 to assigned"}
	dns     = Filter{Protocol: protocol(17), Remote: prefix("192.0.2.1/32"), RemotePorts: []Ports{{53, 53}}}
)

// What rules compile to, each in what it changes of a bearer's table.
func TestWhatRulesCompileTo(t *testing.T) {
	for name, row := range map[string]struct {
		change func(request)
		want   func(up, down *Entry, t *Table)
	}{
		"an SDF filter": {
			func(r request) { r.CreatePDRs[1].PDI.SDFFilters = []pfcp.SDFFilter{someSDF} },
			func(_, down *Entry, _ *Table) { down.Filters = []Filter{dns} },
		},
		"several filters, of which one matches everything": {
			func(r request) { r.CreatePDRs[1].PDI.SDFFilters = []pfcp.SDFFilter{someSDF, {}} },
			func(_, _ *Entry, _ *Table) {},
		},
		"PDRs of one key in the order of their precedence, until one matches everything": {
			func(r request) {
				special, behind := r.CreatePDRs[1], r.CreatePDRs[1]
				special.ID, special.Precedence, special.PDI.SDFFilters = 9, 10, []pfcp.SDFFilter{someSDF}
				behind.ID, behind.Precedence = 3, 101
				r.CreatePDRs = append(r.CreatePDRs, behind, special)
				r.CreateQERs[0].MBR = pfcp.Opt[pfcp.BitRate]{}
			},
			func(up, down *Entry, _ *Table) {
				up.MBR, down.MBR = 0, 0
				all := down.Rule
				down.Filters, down.Origin.PDRID, down.Origin.Precedence = []Filter{dns}, 9, 10
				down.More = []Rule{all}
			},
		},
		"a filter that refers to another PDR's by its id": {
			func(r request) {
				f := someSDF
				f.FilterID = pfcp.Some(uint32(7))
				r.CreatePDRs[1].PDI.SDFFilters = []pfcp.SDFFilter{f}
				r.CreatePDRs[0].PDI.SDFFilters = []pfcp.SDFFilter{{FilterID: pfcp.Some(uint32(7))}}
			},
			func(up, down *Entry, _ *Table) { up.Filters, down.Filters = []Filter{dns}, []Filter{dns} },
		},
		"an IPv6 UE": {
			func(r request) {
				r.CreatePDRs[0].PDI.UEIPAddress, r.CreatePDRs[1].PDI.UEIPAddress = pfcp.Some(pdu6), pfcp.Some(pdu6)
			},
			func(up, down *Entry, t *Table) {
				up.Sources = []netip.Prefix{ue6}
				down.Key = key6
			},
		},
		"a dual-stack UE keeps both, and one limit": {
			func(r request) {
				r.CreatePDRs[0].PDI.UEIPAddress, r.CreatePDRs[1].PDI.UEIPAddress = pfcp.Some(dual), pfcp.Some(dual)
			},
			func(up, down *Entry, t *Table) {
				up.Sources = []netip.Prefix{UE(ue), ue6}
				down.MBR = 0
				down.Meters = []Meter{{MeterID{SEID: 9, QERID: 1, Direction: Downlink}, 10_000}}
				other := *down
				other.Key = key6
				*t = append(*t, other)
			},
		},
		"framed routes, the longest first": {
			func(r request) {
				r.CreatePDRs[1].PDI.FramedRoutes.IPv4 = []string{"198.51.100.0/24 0.0.0.0 1", "198.51.100.128/25", "10.0.0.0"}
			},
			func(_, down *Entry, _ *Table) {
				down.Routes = []netip.Prefix{prefix("198.51.100.128/25"), prefix("198.51.100.0/24"), prefix("10.0.0.0/8")}
			},
		},
		"QFIs to match, and one to mark with": {
			func(r request) {
				r.CreatePDRs[0].PDI.QFI = []uint8{9}
				r.CreateQERs[0].QFI = pfcp.Some(uint8(9))
			},
			func(up, down *Entry, _ *Table) { up.QFIs, down.QFI = []uint8{9}, pfcp.Some(uint8(9)) },
		},
		"transport level marking": {
			func(r request) {
				r.CreateFARs[1].ForwardingParameters.Value.TransportLevelMarking = pfcp.Some(uint16(0xb8fc))
			},
			func(_, down *Entry, _ *Table) { down.Marking = pfcp.Some(uint16(0xb8fc)) },
		},
		"a second QER with an MBR": {
			func(r request) {
				r.CreateQERs = append(r.CreateQERs, pfcp.CreateQER{ID: 2, MBR: pfcp.Some(pfcp.BitRate{Uplink: 7, Downlink: 8})})
				r.CreatePDRs[0].QERIDs = []pfcp.QERID{1, 2}
			},
			func(up, _ *Entry, _ *Table) {
				up.Meters = []Meter{{MeterID{SEID: 9, QERID: 2, Direction: Uplink}, 7}}
			},
		},
		"a limit across sessions": {
			func(r request) { r.CreateQERs[0].CorrelationID = pfcp.Some(uint32(5)) },
			func(up, down *Entry, _ *Table) {
				up.MBR, down.MBR = 0, 0
				up.Meters = []Meter{{MeterID{Correlation: 5, Direction: Uplink}, 5_000}}
				down.Meters = []Meter{{MeterID{Correlation: 5, Direction: Downlink}, 10_000}}
			},
		},
		"a redirection to an address": {
			func(r request) {
				r.CreateFARs[0].ForwardingParameters.Value.Redirect = pfcp.Some(pfcp.RedirectInformation{Server: "192.0.2.80"})
			},
			func(up, _ *Entry, _ *Table) { up.Redirect.IPv4 = netip.MustParseAddr("192.0.2.80") },
		},
		"a redirection to a URL": {
			func(r request) {
				sendTo(r, 0, pfcp.RedirectInformation{Type: pfcp.RedirectURL, Server: "http://portal.example/topup"})
			},
			func(up, _ *Entry, _ *Table) { up.Action = ActionAnswer },
		},
		"a redirection to addresses of both families": {
			func(r request) {
				r.CreateFARs[0].ForwardingParameters.Value.Redirect = pfcp.Some(pfcp.RedirectInformation{
					Type: pfcp.RedirectIPv4v6, Server: "192.0.2.80", Other: "2001:db8::80",
				})
			},
			func(up, _ *Entry, _ *Table) {
				up.Redirect = Redirect{netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8::80")}
			},
		},
		"a FAR that drops, and duplicates with a mark": {
			func(r request) {
				r.CreateFARs[0].ApplyAction = pfcp.ActionDrop | pfcp.ActionDuplicate
				r.CreateFARs[0].Duplicating = []pfcp.DuplicatingParameters{{
					OuterHeaderCreation:   pfcp.Some(pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: 3, IPv4: remote}),
					TransportLevelMarking: pfcp.Some(uint16(0xbbfc)),
				}}
			},
			func(up, _ *Entry, _ *Table) {
				up.Action, up.Instance = ActionDrop, ""
				up.Copies = []Copy{{Tunnel: Tunnel{slice, remote, 3}, ToS: 0xb8}}
			},
		},
		"a duplicate": {
			func(r request) {
				r.CreateFARs[0].ApplyAction |= pfcp.ActionDuplicate
				r.CreateFARs[0].Duplicating = []pfcp.DuplicatingParameters{{
					OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: 3, IPv4: remote}),
				}}
			},
			func(up, _ *Entry, _ *Table) { up.Copies = []Copy{{Tunnel: Tunnel{slice, remote, 3}}} },
		},
		"Open5GS's tunnels from and to the control plane": {
			func(r request) {
				toCP(r, 3)
				up := r.CreatePDRs[0]
				up.ID, up.Precedence, up.FARID, up.QERIDs, up.URRIDs = 4, 255, pfcp.Some(pfcp.FARID(3)), nil, nil
				up.PDI.SDFFilters = []pfcp.SDFFilter{{FlowDescription: "permit out 58 from ff02::2/128 to assigned"}}
				up.PDI.UEIPAddress = pfcp.Opt[pfcp.UEIPAddress]{}
				r.CreatePDRs[0].Precedence = 65535
				r.CreatePDRs[0].PDI.FTEID.Value.ChooseID, up.PDI.FTEID.Value.ChooseID = pfcp.Some(uint8(5)), pfcp.Some(uint8(5))
				r.CreatePDRs = append(r.CreatePDRs, up, pfcp.CreatePDR{
					ID: 3, Precedence: 65535, OuterHeaderRemoval: pfcp.Some(pfcp.RemoveGTPUUDPIP), FARID: pfcp.Some(pfcp.FARID(2)),
					PDI: pfcp.PDI{
						SourceInterface: pfcp.InterfaceCPFunction, FTEID: pfcp.Some(pfcp.FTEID{Choose: true, ChooseIPv4: true}),
					},
				})
			},
			func(up, _ *Entry, t *Table) {
				more := up.Rule
				more.Origin.Precedence = 65535
				up.Rule = Rule{
					Filters: []Filter{{Protocol: protocol(58), Remote: prefix("ff02::2/128")}},
					Remote:  cp.IPv4, RemoteTEID: 0xcc, Local: slice, Origin: Origin{SEID: 9, PDRID: 4, FARID: 3, Precedence: 255},
				}
				up.More = []Rule{more}
				up.Celled, up.Cells, up.More[0].Cells = true, []CellID{{SEID: 9, URRID: rest}}, []CellID{{SEID: 9, URRID: 1}}
				key := Key{Direction: Downlink, Local: slice, TEID: 0x1002}
				*t = append(*t, Entry{Key: key, Rule: Rule{
					Remote: remote, RemoteTEID: 0xaa, Local: slice,
					Origin: Origin{SEID: 9, PDRID: 3, FARID: 2, Precedence: 65535},
				}})
			},
		},
		"erGW's router solicitation goes to the control plane with its header": {
			func(r request) {
				toCP(r, 3)
				r.CreatePDRs[0].FARID, r.CreatePDRs[0].OuterHeaderRemoval = pfcp.Some(pfcp.FARID(3)), pfcp.Opt[pfcp.OuterHeaderRemoval]{}
			},
			func(up, _ *Entry, _ *Table) {
				up.Sources, up.Instance, up.Origin.FARID = nil, "", 3
				up.Remote, up.RemoteTEID, up.Local, up.KeepHeader = cp.IPv4, 0xcc, slice, true
			},
		},
		"traffic endpoints": {
			func(r request) {
				r.CreateTrafficEndpoints = []pfcp.TrafficEndpoint{
					{ID: 1, FTEID: r.CreatePDRs[0].PDI.FTEID, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{IPv4: ue})},
					{ID: 2, NetworkInstance: r.CreatePDRs[1].PDI.NetworkInstance, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{IPv4: ue})},
				}
				for i := range r.CreatePDRs {
					pdi := &r.CreatePDRs[i].PDI
					*pdi = pfcp.PDI{SourceInterface: pdi.SourceInterface, TrafficEndpointIDs: []pfcp.TrafficEndpointID{pfcp.TrafficEndpointID(i + 1)}}
				}
			},
			func(_, _ *Entry, _ *Table) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := bearerTable()
			row.want(&want[0], &want[1], &want)
			want = TableOf(want...)
			s := establish(t, bearer(row.change))
			got := compile(t, s)
			require.Equal(t, want, got)
			require.True(t, Diff(got, compile(t, reread(t, s))).Empty(), "and after a restart")
		})
	}
}

// reread is the session as the next process has it.
func reread(t *testing.T, s Session) (again Session) {
	t.Helper()
	b, err := s.AppendBinary(nil)
	require.NoError(t, err)
	require.NoError(t, again.UnmarshalBinary(b))
	return again
}

func TestTrafficEndpointsChange(t *testing.T) {
	s, created, err := Establish(bearer(func(r request) {
		r.CreateTrafficEndpoints = []pfcp.TrafficEndpoint{{ID: 7, FTEID: r.CreatePDRs[0].PDI.FTEID}}
		r.CreatePDRs[0].PDI.FTEID = pfcp.Opt[pfcp.FTEID]{}
		r.CreatePDRs[0].PDI.TrafficEndpointIDs = []pfcp.TrafficEndpointID{7}
	}), 9, slice, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	require.Empty(t, created.PDRs)
	require.Equal(t, []pfcp.CreatedTrafficEndpoint{{ID: 7, FTEID: pfcp.Some(pfcp.FTEID{TEID: 0x1001, IPv4: slice})}}, created.Endpoints)
	require.Equal(t, []FTEID{{slice, 0x1001}}, s.FTEIDs())
	other := netip.MustParseAddr("172.16.1.8")
	s = modify(t, s, &pfcp.SessionModificationRequest{
		UpdateTrafficEndpoints: []pfcp.TrafficEndpoint{{ID: 7, UEIPAddress: pfcp.Some(pfcp.UEIPAddress{IPv4: other})}},
	})
	require.Equal(t, []netip.Prefix{UE(other)}, compile(t, s).Find(uplinkKey).Sources)
	_, _, err = s.Modify(&pfcp.SessionModificationRequest{RemoveTrafficEndpoints: []pfcp.TrafficEndpointID{8}}, DefaultLimits(), &counter{}, morning)
	require.Error(t, err)
	without := modify(t, s, &pfcp.SessionModificationRequest{RemoveTrafficEndpoints: []pfcp.TrafficEndpointID{7}})
	require.Nil(t, compile(t, without).Find(uplinkKey), "the PDR goes with it")
	require.NotNil(t, compile(t, without).Find(downlinkKey))
	require.Empty(t, without.FTEIDs())
	again := modify(t, s, &pfcp.SessionModificationRequest{
		RemoveTrafficEndpoints: []pfcp.TrafficEndpointID{7},
		CreateTrafficEndpoints: []pfcp.TrafficEndpoint{{ID: 7, FTEID: pfcp.Some(pfcp.FTEID{TEID: 0x1001, IPv4: slice})}},
	})
	require.NotNil(t, compile(t, again).Find(uplinkKey), "it names the new one")
}

// TestForwardingParametersChange follows what updates make of a redirection and of duplicates.
func TestForwardingParametersChange(t *testing.T) {
	s := establish(t, bearer(func(r request) {
		sendTo(r, 0, pfcp.RedirectInformation{Server: "192.0.2.80"})
		duplicate(r, 1)
	}))
	update := func(change func(*pfcp.UpdateFAR)) Entry {
		u := pfcp.UpdateFAR{ID: 1}
		change(&u)
		s = modify(t, s, &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{u}})
		return *compile(t, s).Find(uplinkKey)
	}
	e := update(func(u *pfcp.UpdateFAR) {
		u.Duplicating = []pfcp.DuplicatingParameters{{TransportLevelMarking: pfcp.Some(uint16(0xb8ff))}}
	})
	require.Equal(t, []Copy{{Tunnel: Tunnel{slice, remote, 3}, ToS: 0xb8}}, e.Copies, "what is not said stays")
	require.Equal(t, Redirect{IPv4: netip.MustParseAddr("192.0.2.80")}, e.Redirect)
	e = update(func(u *pfcp.UpdateFAR) {
		u.ForwardingParameters = pfcp.Some(pfcp.ForwardingParameters{
			Redirect: pfcp.Some(pfcp.RedirectInformation{Type: pfcp.RedirectIPv6, Server: "2001:db8::80"}),
		})
	})
	require.Equal(t, Redirect{IPv6: netip.MustParseAddr("2001:db8::80")}, e.Redirect, "a redirection replaces the one before")
	e = update(func(u *pfcp.UpdateFAR) {
		u.ForwardingParameters = pfcp.Some(pfcp.ForwardingParameters{
			Redirect: pfcp.Some(pfcp.RedirectInformation{Type: pfcp.RedirectURL, Server: "https://portal.example"}),
		})
	})
	require.Equal(t, ActionAnswer, e.Action)
	require.Zero(t, e.Redirect)
	require.Equal(t, "https://portal.example", s.URL(&e.Rule))
	for range 2 { // there, and with nothing there any more
		e = update(func(u *pfcp.UpdateFAR) {
			var gone pfcp.IETypes
			gone.Add(pfcp.IERedirectInformation)
			u.ForwardingParameters = pfcp.Some(pfcp.ForwardingParameters{Removed: gone})
		})
		require.Equal(t, ActionForward, e.Action)
		require.Empty(t, s.URL(&e.Rule))
	}
	e = update(func(u *pfcp.UpdateFAR) {
		var gone pfcp.IETypes
		gone.Add(pfcp.IERedirectInformation)
		u.ForwardingParameters = pfcp.Some(pfcp.ForwardingParameters{Removed: gone})
		u.ApplyAction = pfcp.Some(pfcp.ActionForward)
	})
	require.Zero(t, e.Redirect)
	require.Empty(t, e.Copies, "without DUPL there are none")
	e = update(func(u *pfcp.UpdateFAR) { u.ApplyAction = pfcp.Some(pfcp.ActionForward | pfcp.ActionDuplicate) })
	require.Len(t, e.Copies, 1, "they were not forgotten")
}

// TestMatches multiplies filters out.
func TestMatches(t *testing.T) {
	r := Rule{
		Filters: []Filter{
			{RemotePorts: []Ports{{1, 2}, {5, 5}}, LocalPorts: []Ports{{7, 9}}},
			{Remote: prefix("192.0.2.0/24")},
			{Local: prefix("172.16.0.0/16")},
			{FlowLabel: pfcp.Some(uint32(1)), Remote: prefix("192.0.2.0/24")}, // no packet is of both families
		},
		Sources: []netip.Prefix{UE(ue), ue6}, QFIs: []uint8{5, 6},
	}
	all := Ports{0, 65535}
	var want []Match
	for _, m := range []Match{
		{Filter: Filter{Local: UE(ue)}, Remotes: Ports{1, 2}, Locals: Ports{7, 9}, HasPorts: true},
		{Filter: Filter{Local: UE(ue)}, Remotes: Ports{5, 5}, Locals: Ports{7, 9}, HasPorts: true},
		{Filter: Filter{Local: ue6}, Remotes: Ports{1, 2}, Locals: Ports{7, 9}, HasPorts: true},
		{Filter: Filter{Local: ue6}, Remotes: Ports{5, 5}, Locals: Ports{7, 9}, HasPorts: true},
		{Filter: Filter{Remote: prefix("192.0.2.0/24"), Local: UE(ue)}, Remotes: all, Locals: all},
		{Filter: Filter{Local: UE(ue)}, Remotes: all, Locals: all},
	} {
		for _, m.QFI.Value = range []uint8{5, 6} {
			m.QFI.Present = true
			want = append(want, m)
		}
	}
	require.Equal(t, want, r.Matches(Uplink))
	r.Filters, r.QFIs = nil, nil
	require.Equal(t, []Match{{Filter: Filter{Local: UE(ue)}, Remotes: all, Locals: all}, {Filter: Filter{Local: ue6}, Remotes: all, Locals: all}}, r.Matches(Uplink))
	require.Equal(t, []Match{{Remotes: all, Locals: all}}, r.Matches(Downlink))
}

func TestWhatAnIEOfNoLengthTakesAway(t *testing.T) {
	s := establish(t, bearer(func(r request) {
		r.CreateFARs[1].ForwardingParameters.Value.TransportLevelMarking = pfcp.Some(uint16(0xb8fc))
	}))
	var far, qer, pdr pfcp.IETypes
	far.Add(pfcp.IETransportLevelMarking)
	qer.Add(pfcp.IEMBR)
	pdr.Add(pfcp.IEQERID)
	s = modify(t, s, &pfcp.SessionModificationRequest{
		UpdateFARs: []pfcp.UpdateFAR{{ID: 2, ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{Removed: far})}},
		UpdateQERs: []pfcp.UpdateQER{{ID: 1, Removed: qer}},
		UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, Removed: pdr}},
	})
	table := compile(t, s)
	require.False(t, table.Find(downlinkKey).Marking.Present)
	require.Zero(t, table.Find(downlinkKey).MBR)
	require.False(t, table.Find(uplinkKey).Origin.QERID.Present)
}

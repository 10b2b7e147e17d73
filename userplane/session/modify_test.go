package session

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xepc/xepc/pkg/pfcp"
)

func modify(t testing.TB, s Session, req *pfcp.SessionModificationRequest) Session {
	t.Helper()
	next, _, err := s.Modify(req, DefaultLimits(), &counter{next: 0x100}, morning)
	require.NoError(t, err)
	return next
}

func TestAHandoverChangesOneEntry(t *testing.T) {
	s := establish(t, bearer())
	old := compile(t, s)
	sgw := netip.MustParseAddr("10.10.0.3")
	next := modify(t, s, &pfcp.SessionModificationRequest{
		UpdateFARs: []pfcp.UpdateFAR{{
			ID: 2,
			ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
				OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: 0xbb, IPv4: sgw}),
				SendEndMarker:       true,
			}),
		}},
	})
	e := *old.Find(downlinkKey)
	e.Remote, e.RemoteTEID = sgw, 0xbb
	require.Equal(t, Changes{Puts: []Entry{e}}, Diff(old, compile(t, next)))
	require.Equal(t, old, compile(t, s), "the old session is as it was")
}

func TestAModifiedPDIReplacesTheOldOneButKeepsTheKeyWithoutWhichItMatchesNothing(t *testing.T) {
	s := establish(t, bearer())
	next := modify(t, s, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{
		{ID: 1, PDI: pfcp.Some(pfcp.PDI{SourceInterface: pfcp.InterfaceAccess})},
		{ID: 2, PDI: pfcp.Some(pfcp.PDI{
			SourceInterface: pfcp.InterfaceCore, NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
		})},
	}})
	require.Equal(t, bearerTable(), compile(t, next))

	// A UE of another network stays there, with its routes; what a PDI says is taken.
	meter := bearer()
	meter.CreatePDRs[1].PDI.NetworkInstance = pfcp.Some(pfcp.NetworkInstance("meters"))
	for i := range meter.CreatePDRs {
		meter.CreatePDRs[i].PDI.FramedRoutes.IPv4 = []string{"192.168.7.0/24"}
	}
	of := establish(t, meter)
	before := compile(t, of)
	only := pfcp.PDI{SourceInterface: pfcp.InterfaceAccess}
	core := pfcp.PDI{SourceInterface: pfcp.InterfaceCore}
	after := compile(t, modify(t, of, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{
		{ID: 1, PDI: pfcp.Some(only)}, {ID: 2, PDI: pfcp.Some(core)},
	}}))
	require.Equal(t, before, after)
	core.NetworkInstance = pfcp.Some(pfcp.NetworkInstance("internet"))
	after = compile(t, modify(t, of, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 2, PDI: pfcp.Some(core)}}}))
	require.NotNil(t, after.Find(downlinkKey))

	// So do those that traffic endpoints are for.
	ended := bearer()
	ended.CreateTrafficEndpoints = []pfcp.TrafficEndpoint{{ID: 5, NetworkInstance: pfcp.Some(pfcp.NetworkInstance("meters")), UEIPAddress: pfcp.Some(pfcp.UEIPAddress{IPv4: ue})}}
	ended.CreatePDRs[1].PDI = pfcp.PDI{SourceInterface: pfcp.InterfaceCore, TrafficEndpointIDs: []pfcp.TrafficEndpointID{5}}
	of = establish(t, ended)
	require.Equal(t, compile(t, of), compile(t, modify(t, of, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{
		{ID: 2, PDI: pfcp.Some(pfcp.PDI{SourceInterface: pfcp.InterfaceCore})},
	}})))

	other := netip.MustParseAddr("172.16.1.8")
	next = modify(t, s, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{
		ID: 2, PDI: pfcp.Some(pfcp.PDI{
			SourceInterface: pfcp.InterfaceCore, NetworkInstance: pfcp.Some(pfcp.NetworkInstance("meters")),
			UEIPAddress: pfcp.Some(pfcp.UEIPAddress{IPv4: other}),
		}),
	}}})
	changes := Diff(compile(t, s), compile(t, next))
	require.Equal(t, Key{Direction: Downlink, Instance: "meters", UE: UE(other)}, changes.Puts[0].Key)
	require.Equal(t, []Key{downlinkKey}, changes.Deletes)
}

func TestModificationsThatAreRefusedChangeNothing(t *testing.T) {
	rule := func(kind pfcp.RuleKind, id uint32) pfcp.Opt[pfcp.FailedRuleID] {
		return pfcp.Some(pfcp.FailedRuleID{Kind: kind, ID: id})
	}
	for name, row := range map[string]struct {
		req    pfcp.SessionModificationRequest
		cause  pfcp.Cause
		failed pfcp.Opt[pfcp.FailedRuleID]
	}{
		"Remove PDR of one that is not there": {
			pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{9}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RulePDR, 9),
		},
		"Remove FAR of one that is not there": { // eUPF#635
			pfcp.SessionModificationRequest{RemoveFARs: []pfcp.FARID{9}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleFAR, 9),
		},
		"Remove QER of one that is not there": {
			pfcp.SessionModificationRequest{RemoveQERs: []pfcp.QERID{9}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleQER, 9),
		},
		"Remove URR of one that is not there": {
			pfcp.SessionModificationRequest{RemoveURRs: []pfcp.URRID{9}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleURR, 9),
		},
		"Update PDR of one that is not there": {
			pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 9}}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RulePDR, 9),
		},
		"Update FAR of one that is not there": {
			pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 9}}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleFAR, 9),
		},
		"Update QER of one that is not there": {
			pfcp.SessionModificationRequest{UpdateQERs: []pfcp.UpdateQER{{ID: 9}}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleQER, 9),
		},
		"Update URR of one that is not there": {
			pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{ID: 9}}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleURR, 9),
		},
		"Update URR to report a threshold": {
			pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{ID: 1, ReportingTriggers: pfcp.Some(pfcp.ReportVolumeThreshold)}}},
			pfcp.CauseConditionalIEMissing, rule(pfcp.RuleURR, 1),
		},
		"a predefined rule for a PDR": {
			pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, ActivatePredefinedRules: []string{"gold"}}}},
			pfcp.CauseRuleCreationFailure, rule(pfcp.RulePDR, 1),
		},
		"Query URR of one that is not there": {
			pfcp.SessionModificationRequest{QueryURRs: []pfcp.URRID{9}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleURR, 9),
		},
		"Create FAR of one that is there": {
			pfcp.SessionModificationRequest{CreateFARs: []pfcp.CreateFAR{{ID: 1}}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RuleFAR, 1),
		},
		"Remove FAR of one that a PDR names": {
			pfcp.SessionModificationRequest{RemoveFARs: []pfcp.FARID{2}}, pfcp.CauseRuleCreationFailure, rule(pfcp.RulePDR, 2),
		},
		"to buffer what comes from the UE": {
			pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 1, ApplyAction: pfcp.Some(pfcp.ActionBuffer)}}},
			pfcp.CauseRuleCreationFailure, rule(pfcp.RuleFAR, 1),
		},
		"CHOOSE in an Update PDR": {
			pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{
				ID: 1, PDI: pfcp.Some(pfcp.PDI{FTEID: pfcp.Some(pfcp.FTEID{Choose: true})}),
			}}},
			pfcp.CauseInvalidFTEIDAllocation, rule(pfcp.RulePDR, 1),
		},
		"too many FARs": {
			pfcp.SessionModificationRequest{CreateFARs: make([]pfcp.CreateFAR, 33)},
			pfcp.CauseNoResourcesAvailable,
			pfcp.Opt[pfcp.FailedRuleID]{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := establish(t, bearer())
			next, _, err := s.Modify(&row.req, DefaultLimits(), &counter{}, morning)
			if err == nil {
				_, err = next.Compile(internet)
			}
			requireCause(t, row.cause, err)
			var e *pfcp.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, row.failed, e.FailedRule)
			require.Equal(t, establish(t, bearer()), s)
		})
	}
}

func TestRemoveAndCreateOfOneIDInOneRequest(t *testing.T) {
	s := establish(t, bearer())
	next := modify(t, s, &pfcp.SessionModificationRequest{
		RemoveFARs: []pfcp.FARID{2}, CreateFARs: []pfcp.CreateFAR{{ID: 2, ApplyAction: pfcp.ActionDrop}},
		FSEID: pfcp.Some(pfcp.FSEID{SEID: 78, IPv4: cp.IPv4}),
	})
	require.Equal(t, ActionDrop, compile(t, next).Find(downlinkKey).Action)
	require.EqualValues(t, 78, next.CP.SEID)
	require.EqualValues(t, 77, s.CP.SEID)
}

// PDRs lose what is removed by themselves, TS 29.244 6.3.3.3; but none may ask for it in the same request.
func TestRemovedRulesAreNamedByNobody(t *testing.T) {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreateQERs[0].MBR = pfcp.Some(pfcp.BitRate{Uplink: 1000, Downlink: 1000})
	}))
	req := pfcp.SessionModificationRequest{RemoveURRs: []pfcp.URRID{1}, RemoveQERs: []pfcp.QERID{1}}
	require.True(t, s.Touches(&req))
	next := modify(t, s, &req)
	for _, e := range compile(t, next) {
		require.Zero(t, e.MBR)
		require.False(t, e.Origin.QERID.Present || e.Origin.URRID.Present)
	}
	require.Equal(t, []pfcp.URRID{1}, s.PDRs[0].URRIDs, "the one before is as it was")

	req.UpdatePDRs = []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{1})}}
	next, _, err := s.Modify(&req, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	_, err = next.Compile(internet)
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
}

func TestANewPDRMayNameTheSessionsFTEID(t *testing.T) {
	s := establish(t, bearer())
	second := bearer().CreatePDRs[0]
	second.ID, second.Precedence, second.PDI.FTEID.Value = 3, 50, pfcp.FTEID{TEID: 0x1001, IPv4: slice}
	teids := &counter{}
	next, created, err := s.Modify(&pfcp.SessionModificationRequest{CreatePDRs: []pfcp.CreatePDR{second}}, DefaultLimits(), teids, morning)
	require.NoError(t, err)
	require.Empty(t, created)
	require.Empty(t, teids.claimed, "it holds it already")
	require.EqualValues(t, 3, compile(t, next).Find(uplinkKey).Origin.PDRID)
}

// After any sequence of modifications, Diff applied to the old table gives what the new session compiles to.
func TestDiffLeadsFromEachTableToTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		teids := &counter{}
		s, _, err := Establish(bearer(), 9, slice, DefaultLimits(), teids, morning)
		require.NoError(t, err)
		have, err := s.Compile(internet)
		require.NoError(t, err)
		accepted := 0
		for range rapid.IntRange(1, 12).Draw(t, "modifications") {
			before := s
			next, _, err := s.Modify(drawModification(t), DefaultLimits(), teids, morning)
			var table Table
			if err == nil {
				table, err = next.Compile(internet)
			}
			if err != nil {
				var e *pfcp.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, before, s)
				continue
			}
			accepted++
			applied := apply(t, have, Diff(have, table))
			require.Equal(t, table, applied)
			require.True(t, Diff(applied, table).Empty())
			s, have = next, table

			record, err := s.AppendBinary(nil)
			require.NoError(t, err)
			var read Session
			require.NoError(t, read.UnmarshalBinary(record))
			again, err := read.Compile(internet)
			require.NoError(t, err)
			require.Equal(t, table, again)
		}
		require.EqualValues(t, accepted, s.Modified)
	})
}

// apply does what the data path does with changes.
func apply(t *rapid.T, have Table, c Changes) Table {
	next := map[Key]Entry{}
	for _, e := range have {
		next[e.Key] = e
	}
	for _, e := range c.Puts {
		next[e.Key] = e
	}
	for _, k := range c.Deletes {
		require.Contains(t, next, k)
		delete(next, k)
	}
	return append(Table{}, TableOf(slices.Collect(maps.Values(next))...)...)
}

// drawModification draws one that is sometimes wrong.
func drawModification(t *rapid.T) *pfcp.SessionModificationRequest {
	req := &pfcp.SessionModificationRequest{}
	pdrID := func() pfcp.PDRID { return pfcp.PDRID(rapid.IntRange(1, 5).Draw(t, "pdr")) }
	farID := func() pfcp.FARID { return pfcp.FARID(rapid.IntRange(1, 3).Draw(t, "far")) }
	pdi := func() pfcp.PDI {
		p := bearer().CreatePDRs[rapid.IntRange(0, 1).Draw(t, "side")].PDI
		if rapid.Bool().Draw(t, "meters") {
			p.NetworkInstance = pfcp.Some(pfcp.NetworkInstance("meters"))
		}
		if rapid.Bool().Draw(t, "no key") {
			p.FTEID, p.UEIPAddress = pfcp.Opt[pfcp.FTEID]{}, pfcp.Opt[pfcp.UEIPAddress]{}
		}
		return p
	}
	for range rapid.IntRange(0, 3).Draw(t, "operations") {
		switch rapid.IntRange(0, 6).Draw(t, "operation") {
		case 0:
			req.RemovePDRs = append(req.RemovePDRs, pdrID())
		case 1:
			req.RemoveFARs = append(req.RemoveFARs, farID())
		case 2:
			i := pdi()
			req.CreatePDRs = append(req.CreatePDRs, pfcp.CreatePDR{
				ID: pdrID(), Precedence: pfcp.Precedence(rapid.IntRange(1, 3).Draw(t, "precedence")), PDI: i,
				OuterHeaderRemoval: pfcp.Some(pfcp.RemoveGTPUUDPIPv4),
				FARID:              pfcp.Some(pfcp.FARID(1 + i.SourceInterface)),
			})
		case 3:
			req.CreateFARs = append(req.CreateFARs, pfcp.CreateFAR{ID: farID(), ApplyAction: pfcp.ActionDrop})
		case 4:
			req.UpdateFARs = append(req.UpdateFARs, pfcp.UpdateFAR{
				ID: farID(), ApplyAction: pfcp.Some(pfcp.ApplyAction(rapid.IntRange(1, 2).Draw(t, "action"))),
			})
		case 5:
			req.UpdateQERs = append(req.UpdateQERs, pfcp.UpdateQER{
				ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: rapid.Uint64Range(0, 3).Draw(t, "mbr")}),
			})
		case 6:
			req.UpdatePDRs = append(req.UpdatePDRs, pfcp.UpdatePDR{ID: pdrID(), FARID: pfcp.Some(farID())})
			if rapid.Bool().Draw(t, "with PDI") {
				i := pdi()
				i.FTEID = pfcp.Opt[pfcp.FTEID]{}
				req.UpdatePDRs[len(req.UpdatePDRs)-1].PDI = pfcp.Some(i)
			}
		}
	}
	return req
}

func TestAHandoverSendsAnEndMarker(t *testing.T) {
	s := establish(t, bearer())
	to := func(teid pfcp.TEID, marker bool) *pfcp.SessionModificationRequest {
		return &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 2, ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
			OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: teid, IPv4: remote}),
			SendEndMarker:       marker,
		})}}}
	}
	require.Equal(t, []Tunnel{{slice, remote, 0xaa}}, s.EndMarkers(to(0xbb, true)))
	require.Empty(t, s.EndMarkers(to(0xbb, false)))
	require.Empty(t, s.EndMarkers(to(0xaa, true)), "it stays where it is")
	marked := to(0, true)
	marked.UpdateFARs[0].ForwardingParameters.Value.OuterHeaderCreation = pfcp.Opt[pfcp.OuterHeaderCreation]{}
	require.Empty(t, s.EndMarkers(marked), "nothing is said of where it goes")
	marked.UpdateFARs[0].ForwardingParameters.Value.Removed.Add(pfcp.IEOuterHeaderCreation)
	require.Equal(t, []Tunnel{{slice, remote, 0xaa}}, s.EndMarkers(marked), "it goes nowhere any more")
}

// What an update names without saying anything goes, TS 29.244 5.6.3.
func TestParametersThatAreTakenAway(t *testing.T) {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreateFARs[1].ApplyAction |= pfcp.ActionDuplicate
		r.CreateFARs[1].Duplicating = []pfcp.DuplicatingParameters{{
			OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: 0xdd, IPv4: remote}),
		}}
	}))
	require.Len(t, compile(t, s).Find(downlinkKey).Copies, 1)
	var types pfcp.IETypes
	types.Add(pfcp.IEUpdateDuplicatingParameters)
	next := modify(t, s, &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{
		ID: 2, ApplyAction: pfcp.Some(pfcp.ActionForward), Removed: types,
	}}})
	require.Equal(t, bearerTable(), compile(t, next))
	again := modify(t, next, &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{
		ID: 2, ApplyAction: pfcp.Some(pfcp.ActionForward | pfcp.ActionDuplicate),
	}}})
	_, err := again.Compile(internet)
	require.Error(t, err, "there is nobody left to send copies to")
	types.Add(pfcp.IEUpdateForwardingParameters)
	next = modify(t, s, &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 2, ApplyAction: pfcp.Some(pfcp.ActionDrop), Removed: types}}})
	require.Equal(t, FAR{ID: 2, Action: pfcp.ActionDrop}, next.FARs[1])
}

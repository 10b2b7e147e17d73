package session

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

var (
	resolver = Filter{Protocol: protocol(17), RemotePorts: []Ports{{53, 53}}}
	web      = Filter{Protocol: protocol(6), RemotePorts: []Ports{{80, 80}, {443, 443}}}
)

// naming gives out names.
func naming() *counter {
	return &counter{
		applications: map[string][]Filter{"video": {web, resolver}, "none": nil},
		predefined: map[string]Predefined{
			"dns":   {Name: "dns", Filters: []Filter{resolver}, URRIDs: []pfcp.URRID{1}},
			"web":   {Name: "web", Filters: []Filter{web}, Action: pfcp.Some(ActionDrop)},
			"slow":  {Name: "slow", MBR: pfcp.BitRate{Uplink: 64, Downlink: 128}, Action: pfcp.Some(ActionForward), Instance: "internet"},
			"empty": {Name: "empty"},
		},
	}
}

// extra is a bearer with one more PDR in each direction, before its own.
func extra(change func(up, down *pfcp.CreatePDR)) *pfcp.SessionEstablishmentRequest {
	return bearer(func(r *pfcp.SessionEstablishmentRequest) {
		up, down := r.CreatePDRs[0], r.CreatePDRs[1]
		up.ID, down.ID, up.Precedence, down.Precedence = 3, 4, 1, 1
		choose := pfcp.Some(uint8(1))
		r.CreatePDRs[0].PDI.FTEID.Value.ChooseID, up.PDI.FTEID.Value.ChooseID = choose, choose
		change(&up, &down)
		r.CreatePDRs = append(r.CreatePDRs, up, down)
	})
}

func establishWith(t *testing.T, grants *counter, req *pfcp.SessionEstablishmentRequest) (Session, error) {
	t.Helper()
	s, _, err := Establish(req, 9, slice, DefaultLimits(), grants, morning)
	return s, err
}

func TestApplicationsAreDetectedByTheirPFDs(t *testing.T) {
	grants := naming()
	s, err := establishWith(t, grants, extra(func(up, down *pfcp.CreatePDR) {
		up.PDI.ApplicationID, down.PDI.ApplicationID = pfcp.Some("video"), pfcp.Some("video")
	}))
	require.NoError(t, err)
	down := Key{Direction: Downlink, Instance: "internet", UE: UE(ue)}
	first := compile(t, s).Find(down)
	require.EqualValues(t, 4, first.Origin.PDRID)
	require.Equal(t, []Filter{web, resolver}, first.Filters)
	require.Len(t, first.More, 1)

	// Other PFDs, the same, and none: an application that has none has no packet.
	next, changed := s.Rename(func(string) ([]Filter, bool) { return []Filter{resolver}, true })
	require.True(t, changed)
	require.Equal(t, []Filter{resolver}, compile(t, next).Find(down).Filters)
	require.Equal(t, []Filter{web, resolver}, compile(t, s).Find(down).Filters, "the session of before is as it was")
	_, changed = next.Rename(func(string) ([]Filter, bool) { return []Filter{resolver}, true })
	require.False(t, changed)
	next, changed = next.Rename(func(string) ([]Filter, bool) { return nil, false })
	require.True(t, changed)
	require.EqualValues(t, 2, compile(t, next).Find(down).Origin.PDRID)
	require.Empty(t, compile(t, next).Find(down).More)

	// A PDI without application detects by what else it says.
	next, _, err = next.Modify(&pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{
		ID: 4, PDI: pfcp.Some(pfcp.PDI{SourceInterface: pfcp.InterfaceCore, SDFFilters: []pfcp.SDFFilter{{FlowDescription: "permit out 1 from any to assigned"}}}),
	}}}, DefaultLimits(), grants, morning)
	require.NoError(t, err)
	require.Equal(t, []Filter{{Protocol: protocol(1)}}, compile(t, next).Find(down).Filters)
	require.Equal(t, s, reread(t, s))
}

func TestApplicationsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*pfcp.PDI){
		"one that nobody provisioned": func(i *pfcp.PDI) { i.ApplicationID = pfcp.Some("other") },
		"one beside SDF filters": func(i *pfcp.PDI) {
			i.ApplicationID, i.SDFFilters = pfcp.Some("video"), []pfcp.SDFFilter{{FlowDescription: "permit out ip from any to any"}}
		},
	} {
		_, err := establishWith(t, naming(), bearer(func(r *pfcp.SessionEstablishmentRequest) { change(&r.CreatePDRs[1].PDI) }))
		requireCause(t, pfcp.CauseRuleCreationFailure, err)
		var fault *pfcp.Error
		require.ErrorAs(t, err, &fault)
		require.Equal(t, pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: 2}), fault.FailedRule, name)
		require.Equal(t, pfcp.IEApplicationID, fault.Offending, name)
	}
}

func TestPFDs(t *testing.T) {
	filters, err := ParsePFD(&pfcp.PFDContents{
		FlowDescription: "permit out 17 from any 53 to assigned", AdditionalFlowDescriptions: []string{"permit out 6 from any 80,443 to assigned"},
	})
	require.NoError(t, err)
	require.Equal(t, []Filter{resolver, web}, filters)
	for _, refused := range []pfcp.PFDContents{
		{},
		{URL: "^http://a"},
		{DomainName: "a.example"},
		{Custom: "x"},
		{FlowDescription: "permit out 17 from any 53 to assigned", DomainName: "a.example"},
		{FlowDescription: "permit out 17 from any 53 to assigned", AdditionalURLs: []string{"x"}},
		{FlowDescription: "permit out ip from any to assigned"},
		{FlowDescription: "deny out 17 from any 53 to assigned"},
	} {
		_, err := ParsePFD(&refused)
		require.Error(t, err, refused)
	}
}

func TestPredefinedRulesAreActivatedByTheirNames(t *testing.T) {
	grants := naming()
	s, err := establishWith(t, grants, extra(func(up, down *pfcp.CreatePDR) {
		down.ActivatePredefinedRules = []string{"dns", "web"}
		down.URRIDs = nil
		up.ActivatePredefinedRules, up.FARID, up.QERIDs = []string{"slow"}, pfcp.Opt[pfcp.FARID]{}, nil
	}))
	require.NoError(t, err)
	down := Key{Direction: Downlink, Instance: "internet", UE: UE(ue)}
	table := compile(t, s)
	require.Equal(t, []Filter{resolver, web}, table.Find(down).Filters)
	require.Equal(t, pfcp.Some(pfcp.URRID(1)), table.Find(down).Origin.URRID, "it counts in the URR that the rule names")
	require.Equal(t, ActionForward, table.Find(down).Action, "the PDR has a FAR of its own")
	up := table.Find(Key{Direction: Uplink, Local: slice, TEID: s.PDRs[0].TEID})
	require.EqualValues(t, 3, up.Origin.PDRID)
	require.EqualValues(t, 64, up.MBR)
	require.Equal(t, ActionForward, up.Action)
	require.EqualValues(t, "internet", up.Instance)
	require.NotZero(t, up.Origin.FARID&predefinedID, "the id says that the FAR is predefined")
	require.Equal(t, s, reread(t, s))

	// Deactivated, and another one activated, which drops because the PDR has no FAR of its own.
	next, _, err := s.Modify(&pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{
		{ID: 4, DeactivatePredefinedRules: []string{"web"}},
		{ID: 3, DeactivatePredefinedRules: []string{"slow"}, ActivatePredefinedRules: []string{"web"}},
	}}, DefaultLimits(), grants, morning)
	require.NoError(t, err)
	table = compile(t, next)
	require.Equal(t, []Filter{resolver}, table.Find(down).Filters)
	up = table.Find(Key{Direction: Uplink, Local: slice, TEID: s.PDRs[0].TEID})
	require.Equal(t, []Filter{web}, up.Filters)
	require.Equal(t, ActionDrop, up.Action)
}

func TestPredefinedRulesThatAreRefused(t *testing.T) {
	refused := func(ie uint16, change func(up, down *pfcp.CreatePDR)) {
		t.Helper()
		s, err := establishWith(t, naming(), extra(change))
		if err == nil {
			_, err = s.Compile(Instances{Known: []pfcp.NetworkInstance{"internet"}, Default: "internet"})
		}
		var fault *pfcp.Error
		require.ErrorAs(t, err, &fault)
		require.Equal(t, ie, fault.Offending)
		require.True(t, fault.FailedRule.Present)
	}
	refused(pfcp.IEActivatePredefinedRules, func(up, _ *pfcp.CreatePDR) { up.ActivatePredefinedRules = []string{"gold"} })
	refused(pfcp.IEFARID, func(up, _ *pfcp.CreatePDR) {
		up.ActivatePredefinedRules, up.FARID = []string{"empty"}, pfcp.Opt[pfcp.FARID]{}
	})
	refused(pfcp.IEDestinationInterface, func(_, down *pfcp.CreatePDR) { // nobody knows the tunnel
		down.ActivatePredefinedRules, down.FARID = []string{"slow"}, pfcp.Opt[pfcp.FARID]{}
	})
	s, err := establishWith(t, naming(), bearer())
	require.NoError(t, err)
	_, _, err = s.Modify(&pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{
		{ID: 1, DeactivatePredefinedRules: []string{"dns"}},
	}}, DefaultLimits(), naming(), morning)
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
}

// A filter that others refer to by its id goes on saying what it said, also when its own PDR goes, or is updated with
// a mere reference to it.
func TestReferencesOutliveTheFilterThatTheyNamed(t *testing.T) {
	grants := naming()
	s, err := establishWith(t, grants, extra(func(up, down *pfcp.CreatePDR) {
		up.PDI.SDFFilters = []pfcp.SDFFilter{{FlowDescription: "permit out 17 from any 53 to assigned", FilterID: pfcp.Some(uint32(7))}}
		down.PDI.SDFFilters = []pfcp.SDFFilter{{FilterID: pfcp.Some(uint32(7))}}
	}))
	require.NoError(t, err)
	down := Key{Direction: Downlink, Instance: "internet", UE: UE(ue)}
	require.Equal(t, []Filter{resolver}, compile(t, s).Find(down).Filters)
	for name, req := range map[string]*pfcp.SessionModificationRequest{
		"its PDR goes": {RemovePDRs: []pfcp.PDRID{3}},
		"its PDR refers to it": {UpdatePDRs: []pfcp.UpdatePDR{{ID: 3, PDI: pfcp.Some(pfcp.PDI{
			SourceInterface: pfcp.InterfaceAccess, SDFFilters: []pfcp.SDFFilter{{FilterID: pfcp.Some(uint32(7))}},
		})}}},
	} {
		next, _, err := s.Modify(req, DefaultLimits(), grants, morning)
		require.NoError(t, err, name)
		require.Equal(t, []Filter{resolver}, compile(t, next).Find(down).Filters, name)
		require.True(t, s.PDRs[3].Filters[0].Refers, "the session of before is as it was")
	}
	next, _, err := s.Modify(&pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 3, PDI: pfcp.Some(pfcp.PDI{
		SourceInterface: pfcp.InterfaceAccess,
		SDFFilters:      []pfcp.SDFFilter{{FlowDescription: "permit out 6 from any 80,443 to assigned", FilterID: pfcp.Some(uint32(7))}},
	})}}}, DefaultLimits(), grants, morning)
	require.NoError(t, err)
	require.Equal(t, []Filter{web}, compile(t, next).Find(down).Filters, "what is said anew under the id holds for all that refer to it")
}

func TestStartAndStopOfAnApplicationNameIt(t *testing.T) {
	grants := naming()
	req := extra(func(_, down *pfcp.CreatePDR) {
		down.PDI.ApplicationID, down.URRIDs = pfcp.Some("video"), []pfcp.URRID{2}
	})
	req.CreateURRs = append(req.CreateURRs, pfcp.CreateURR{
		ID: 2, MeasurementMethod: pfcp.MeasureEvent, ReportingTriggers: pfcp.ReportStartOfTraffic | pfcp.ReportStopOfTraffic,
		URRParameters: pfcp.URRParameters{InactivityDetectionTime: pfcp.Some(uint32(10))},
	})
	s, err := establishWith(t, grants, req)
	require.NoError(t, err)
	at, _ := find(s.URRs, pfcp.URRID(2), idOfURR)
	s.URRs[at].advance(Volume{DownlinkPackets: 1, DownlinkOctets: 100}, false, morning.add(1))
	s, _ = s.Tick(morning.add(1))
	require.Len(t, s.Unconfirmed, 1)
	require.Equal(t, pfcp.TriggerStartOfTraffic, s.Unconfirmed[0].Trigger)
	require.Equal(t, "video", s.Unconfirmed[0].Application)
	s = s.Confirm(s.Unconfirmed)
	s, _ = s.Tick(morning.add(20))
	require.Equal(t, pfcp.TriggerStopOfTraffic, s.Unconfirmed[0].Trigger)
	require.Equal(t, "video", s.Unconfirmed[0].Application)
	require.Equal(t, s, reread(t, s))
}

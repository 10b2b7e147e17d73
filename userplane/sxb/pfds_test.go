package sxb

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

const (
	flowDNS = "permit out 17 from any 53 to assigned"
	flowWeb = "permit out 6 from any 443 to assigned"
)

// application is an Application ID's PFDs IE with flow descriptions; none: the application's PFDs go.
func application(id string, flows ...string) *ie.IE {
	all := []*ie.IE{ie.NewApplicationID(id)}
	for _, flow := range flows {
		all = append(all, ie.NewPFDContext(ie.NewPFDContents(flow, "", "", "", "", nil, nil, nil)))
	}
	return ie.NewApplicationIDsPFDs(all...)
}

func (c *controlPlane) provision(applications ...*ie.IE) *message.PFDManagementResponse {
	c.t.Helper()
	_, m := c.ask(message.NewPFDManagementRequest(c.next(), applications...))
	return m.(*message.PFDManagementResponse)
}

// detecting are the rules of a bearer and a downlink PDR of an application, which is dropped.
func detecting(ue, app string) []*ie.IE {
	return append(bearer(ue),
		ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(1), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"), ie.NewUEIPAddress(0x06, ue, "", 0, 0),
			ie.NewApplicationID(app)), ie.NewFARID(3)),
		ie.NewCreateFAR(ie.NewFARID(3), ie.NewApplyAction(0x01)))
}

func filterOf(t *testing.T, flows ...string) (all []session.Filter) {
	for _, flow := range flows {
		f, err := session.ParseFlowDescription(flow)
		require.NoError(t, err)
		all = append(all, f)
	}
	return all
}

func TestPFDsChangeTheSessionsThatUseThem(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.84.1", "smf.example")
	other := newControlPlane(t, w, "127.77.84.2", "other.example")
	require.Equal(t, pfcp.CauseNoEstablishedAssociation, cause(t, cp.provision(application("video", flowDNS)).Cause))
	cp.setup()
	other.setup()
	cp.refused(pfcp.CauseRuleCreationFailure, 1, detecting("172.16.1.1", "video")...)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.provision(application("video", flowDNS), application("chat", flowWeb)).Cause))
	require.Equal(t, 2, w.edge.Peers()[0].Applications)
	other.refused(pfcp.CauseRuleCreationFailure, 1, detecting("172.16.1.9", "video")...) // another's PFDs are not its own

	seid, _ := cp.establish(1, detecting("172.16.1.1", "video")...)
	cp.establish(2, detecting("172.16.1.2", "chat")...)
	filters := func(ue string) []session.Filter { return w.dp.snapshot()[downlinkKey(ue)].Filters }
	require.Equal(t, filterOf(t, flowDNS), filters("172.16.1.1"))
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.provision(application("video", flowDNS, flowWeb)).Cause))
	require.Equal(t, filterOf(t, flowDNS, flowWeb), filters("172.16.1.1"))
	require.Equal(t, filterOf(t, flowWeb), filters("172.16.1.2"))
	w.consistent()

	w.kill()
	w.start()
	require.Equal(t, 2, w.edge.Peers()[0].Applications)
	require.Equal(t, filterOf(t, flowDNS, flowWeb), filters("172.16.1.1"))
	w.consistent()

	// An application without PFDs has no packet: the bearer's own rule is the first then.
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.provision(application("video")).Cause))
	require.Empty(t, filters("172.16.1.1"))
	require.EqualValues(t, 2, w.dp.snapshot()[downlinkKey("172.16.1.1")].Origin.PDRID)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.provision().Cause), "without any application all go")
	require.Empty(t, filters("172.16.1.2"))
	require.Zero(t, w.edge.Peers()[0].Applications)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(seid).Cause))
	w.consistent()

	// They go with the association.
	cp.provision(application("video", flowDNS))
	_, _ = cp.ask(message.NewAssociationReleaseRequest(cp.next(), cp.nodeID()))
	cp.setup()
	cp.refused(pfcp.CauseRuleCreationFailure, 1, detecting("172.16.1.1", "video")...)
	for _, key := range w.journal.Keys() {
		require.NotEqual(t, kindPFDs, key.Kind)
	}
}

func TestPFDsThatAreRefusedChangeNothing(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.85.1", "smf.example")
	cp.setup()
	cp.provision(application("video", flowDNS))
	cp.establish(1, detecting("172.16.1.1", "video")...)
	before := w.dp.snapshot()
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf("permit out 17 from any %d to assigned", i+1))
	}
	domain := ie.NewApplicationIDsPFDs(ie.NewApplicationID("chat"), ie.NewPFDContext(
		ie.NewPFDContents("", "", "chat.example", "", "", nil, nil, nil)))
	for name, row := range map[string]struct {
		want pfcp.Cause
		with *ie.IE
	}{
		"a domain name":           {pfcp.CauseRejected, domain},
		"a flow that is no flow":  {pfcp.CauseRejected, application("chat", "permit everything")},
		"more flows than fit":     {pfcp.CauseNoResourcesAvailable, application("chat", many...)},
		"a name that is too long": {pfcp.CauseMandatoryIEIncorrect, application(string(make([]byte, 300)), flowDNS)},
	} {
		t.Run(name, func(t *testing.T) {
			r := cp.provision(application("video", flowWeb), row.with)
			require.Equal(t, row.want, cause(t, r.Cause))
			require.NotNil(t, r.OffendingIE)
			require.Equal(t, before, w.dp.snapshot())
			require.Equal(t, 1, w.edge.Peers()[0].Applications)
			w.consistent()
		})
	}
	var all []*ie.IE
	for i := range 256 {
		all = append(all, application(fmt.Sprint("app", i), flowDNS))
	}
	for range 4 {
		cp.provision(all...)
		all = all[:0]
		for i := range 256 {
			all = append(all, application(fmt.Sprint("app", 256+i+w.edge.Peers()[0].Applications), flowDNS))
		}
	}
	require.Equal(t, pfcp.CauseNoResourcesAvailable, cause(t, cp.provision(all...).Cause))
	require.LessOrEqual(t, w.edge.Peers()[0].Applications, maxApplications)
}

// A session that there is no room for keeps what it detects; the others change.
func TestASessionThatThereIsNoRoomForKeepsItsPFDs(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.86.1", "smf.example")
	cp.setup()
	cp.provision(application("video", flowDNS))
	full, _ := cp.establish(1, detecting("172.16.1.1", "video")...)
	cp.establish(2, detecting("172.16.1.2", "video")...)
	w.dp.hook(func(c session.Changes) error {
		for _, e := range c.Puts {
			if e.Origin.SEID == pfcp.SEID(full) {
				return errors.New("table full")
			}
		}
		return nil
	})
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.provision(application("video", flowWeb)).Cause))
	w.dp.hook(nil)
	require.Equal(t, filterOf(t, flowDNS), w.dp.snapshot()[downlinkKey("172.16.1.1")].Filters)
	require.Equal(t, filterOf(t, flowWeb), w.dp.snapshot()[downlinkKey("172.16.1.2")].Filters)
	require.EqualValues(t, 1, w.edge.Stats().Unrenamed)
	w.consistent()
	w.kill()
	w.start()
	w.consistent()
	require.Equal(t, filterOf(t, flowWeb), w.dp.snapshot()[downlinkKey("172.16.1.1")].Filters, "a restart makes up for it")
}

func TestPredefinedRulesOverTheWire(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Predefined = []PredefinedRule{
			{Predefined: session.Predefined{Name: "dns free", Filters: filterOf(t, flowDNS), Action: pfcp.Some(session.ActionDrop)}},
			{Predefined: session.Predefined{Name: "mine"}, ControlPlanes: []netip.Addr{mustAddr("127.77.87.1")}},
		}
	})
	cp := newControlPlane(t, w, "127.77.87.1", "smf.example")
	other := newControlPlane(t, w, "127.77.87.2", "other.example")
	features, err := cp.setup().UPFunctionFeatures.UPFunctionFeatures()
	require.NoError(t, err)
	require.EqualValues(t, 0x02, features[2]&0x02, "ADPDP")
	other.setup()
	with := func(ue string, names ...string) []*ie.IE {
		pdr := []*ie.IE{
			ie.NewPDRID(3), ie.NewPrecedence(1), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(0x06, ue, "", 0, 0)),
		}
		for _, name := range names {
			pdr = append(pdr, ie.NewActivatePredefinedRules(name))
		}
		return append(bearer(ue), ie.NewCreatePDR(pdr...))
	}
	seid, _ := cp.establish(1, with("172.16.1.1", "dns free", "mine")...)
	r := other.refused(pfcp.CauseRuleCreationFailure, 1, with("172.16.1.2", "dns free", "mine")...)
	require.NotNil(t, r.FailedRuleID)
	other.establish(1, with("172.16.1.2", "dns free")...)
	cp.refused(pfcp.CauseRuleCreationFailure, 2, with("172.16.1.3", "gold")...)
	w.consistent()
	require.Equal(t, filterOf(t, flowDNS), w.dp.snapshot()[downlinkKey("172.16.1.2")].Filters)

	w.kill()
	w.start()
	w.consistent()
	m := cp.modify(seid, ie.NewUpdatePDR(ie.NewPDRID(3), ie.NewDeactivatePredefinedRules("mine")))
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.Cause))
	require.Equal(t, filterOf(t, flowDNS), w.dp.snapshot()[downlinkKey("172.16.1.1")].Filters)
	m = cp.modify(seid, ie.NewUpdatePDR(ie.NewPDRID(3), ie.NewDeactivatePredefinedRules("dns free")))
	require.Equal(t, pfcp.CauseRuleCreationFailure, cause(t, m.Cause), "it would have no FAR")
	w.consistent()
}

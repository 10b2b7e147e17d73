package main

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
)

// tenant is a further control plane, at an address of its own behind access0, and a UE of its.
type tenant struct {
	*site
	addr       netip.Addr
	node       string
	instance   string
	remoteTEID uint32
	seid       uint64
	teid       uint32
}

func (s *site) tenant(addr, node, instance string, remoteTEID uint32) *tenant {
	s.t.Helper()
	s.in(s.sgw, func() { address(s.t, "access0p", addr+"/24") })
	own := *s
	own.cp = s.listen(s.sgw, netip.AddrPortFrom(netip.MustParseAddr(addr), 8805))
	return &tenant{site: &own, addr: netip.MustParseAddr(addr), node: node, instance: instance, remoteTEID: remoteTEID}
}

func causeOf(t *testing.T, i *ie.IE) pfcp.Cause {
	t.Helper()
	v, err := i.Cause()
	require.NoError(t, err)
	return pfcp.Cause(v)
}

func (c *tenant) setUp(stamp time.Time) {
	c.t.Helper()
	r := c.ask(message.NewAssociationSetupRequest(c.next(), ie.NewNodeID("", "", c.node), ie.NewRecoveryTimeStamp(stamp)))
	c.accepted(r.(*message.AssociationSetupResponse).Cause)
}

// establish makes a session under CP SEID 77, in set 1, of the UE that everybody has, with a QER of correlation 7 and an
// application whose packets are dropped.
func (c *tenant) establish(uplink, downlink uint64) {
	c.t.Helper()
	network := ie.NewNetworkInstance(c.instance)
	access := func(more ...*ie.IE) *ie.IE {
		return ie.NewPDI(append([]*ie.IE{
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x0d, 0, nil, nil, 5), ie.NewUEIPAddress(2, ueAddr.String(), "", 0, 0),
		}, more...)...)
	}
	r := c.ask(message.NewSessionEstablishmentRequest(0, 0, 0, c.next(), 0,
		ie.NewNodeID("", "", c.node), ie.NewFSEID(77, c.addr.AsSlice(), nil), ie.NewFQCSID(sgwAddr.String(), 1),
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), access(), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewQERID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), network, ie.NewUEIPAddress(6, ueAddr.String(), "", 0, 0)), ie.NewFARID(2), ie.NewQERID(1)),
		ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(10), access(ie.NewApplicationID("video")), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(3)),
		ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), network)),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
			ie.NewOuterHeaderCreation(0x0100, c.remoteTEID, sgwAddr.String(), "", 0, 0, 0))),
		ie.NewCreateFAR(ie.NewFARID(3), ie.NewApplyAction(1)),
		ie.NewCreateQER(ie.NewQERID(1), ie.NewQERCorrelationID(7), ie.NewGateStatus(0, 0), ie.NewMBR(uplink, downlink)),
	)).(*message.SessionEstablishmentResponse)
	c.accepted(r.Cause)
	fseid, err := r.UPFSEID.FSEID()
	require.NoError(c.t, err)
	fteid, err := r.CreatedPDR[0].FTEID()
	require.NoError(c.t, err)
	c.seid, c.teid = fseid.SEID, fteid.TEID
}

// provision replaces the control plane's applications: video is what goes to these ports.
func (c *tenant) provision(flows ...string) {
	c.t.Helper()
	var all []*ie.IE
	for _, flow := range flows {
		all = append(all, ie.NewApplicationIDsPFDs(ie.NewApplicationID("video"), ie.NewPFDContext(ie.NewPFDContents(flow, "", "", "", "", nil, nil, nil))))
	}
	c.accepted(c.ask(message.NewPFDManagementRequest(c.next(), all...)).(*message.PFDManagementResponse).Cause)
}

// up sends a packet of the UE to a port of the server, in the tenant's tunnel.
func (c *tenant) up(port uint16) {
	c.t.Helper()
	payload := binary.BigEndian.AppendUint32(nil, uint32(port))
	_, err := c.gtpu.WriteToUDPAddrPort(gpdu(c.teid, innerUDP(c.t, netip.AddrPortFrom(ueAddr, 5000), netip.AddrPortFrom(serverAddr.Addr(), port), payload)),
		netip.AddrPortFrom(sliceAddr, 2152))
	require.NoError(c.t, err)
}

// echoed says whether the server's answer comes back, in the tenant's tunnel and in no other.
func (c *tenant) echoed(wait time.Duration) bool {
	c.t.Helper()
	b := make([]byte, 2048)
	require.NoError(c.t, c.gtpu.SetReadDeadline(time.Now().Add(wait)))
	for {
		if _, err := c.gtpu.Read(b); err != nil {
			return false
		}
		if b[1] == 0xff {
			require.Equal(c.t, c.remoteTEID, binary.BigEndian.Uint32(b[4:]))
			return true
		}
	}
}

// quiet waits until nothing comes down any more.
func (s *site) quiet() {
	s.t.Helper()
	b := make([]byte, 2048)
	for {
		require.NoError(s.t, s.gtpu.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		if _, err := s.gtpu.Read(b); err != nil {
			return
		}
	}
}

// counts waits until something was counted that often by its reason, and checks that nothing else was.
func (s *site) counts(before, want map[string]float64) {
	s.t.Helper()
	sum := func(counts map[string]float64) (n float64) {
		for _, packets := range counts {
			n += packets
		}
		return n
	}
	require.Eventually(s.t, func() bool { return sum(s.since(before)) >= sum(want) }, patience, time.Millisecond, "%v", want)
	require.Equal(s.t, want, s.since(before))
}

// TestControlPlanesAreApart has two control planes that agree in everything that they choose: CP SEID, UE address, set of
// sessions, names of applications and correlation of QERs. What one of them asks for changes nothing for the UE of the other.
func TestControlPlanesAreApart(t *testing.T) {
	s := newSite(t)
	corp := newNamespace(t)
	s.link("core1", "10.50.2.2/24", corp, "10.50.2.1/24")
	s.in(corp, func() {
		address(t, "lo", serverAddr.Addr().String()+"/32")
		route(t, "172.16.1.0/24", "10.50.2.2")
	})
	s.echo(corp)
	s.configure("{name: core0, network_instance: internet}", "{name: core0, network_instance: internet}, {name: core1, network_instance: corp}")
	s.configure("{name: internet, gateway: 10.50.1.1}", "{name: internet, gateway: 10.50.1.1}, {name: corp, gateway: 10.50.2.1}")
	s.start()
	one := s.tenant("10.20.11.21", "one.example", "internet", 0x1001)
	two := s.tenant("10.20.11.22", "two.example", "corp", 0x1002)
	stamp := time.Unix(1_700_000_000, 0)
	const fast = 1_000_000 // kbit/s
	for _, c := range []*tenant{one, two} {
		c.setUp(stamp)
		c.provision("permit out 17 from any 7778 to assigned")
		c.establish(fast, fast)
		for deadline := time.Now().Add(patience); ; {
			require.True(t, time.Now().Before(deadline))
			if c.up(serverAddr.Port()); c.echoed(50 * time.Millisecond) {
				break
			}
		}
		s.quiet()
	}
	serves := func(c *tenant, others string) {
		t.Helper()
		before := s.reasonCounts()
		c.up(serverAddr.Port())
		require.True(t, c.echoed(patience), others)
		s.counts(before, map[string]float64{"uplink_forwarded": 1, "downlink_forwarded": 1})
		c.up(7778)
		s.counts(before, map[string]float64{"uplink_forwarded": 1, "downlink_forwarded": 1, "far_drop": 1})
	}
	serves(one, "at first")
	serves(two, "at first")

	drop := ie.NewUpdateFAR(ie.NewFARID(1), ie.NewApplyAction(1))
	require.Equal(t, pfcp.CauseSessionContextNotFound, causeOf(t, two.ask(
		message.NewSessionModificationRequest(0, 0, one.seid, two.next(), 0, drop)).(*message.SessionModificationResponse).Cause))
	require.Equal(t, pfcp.CauseSessionContextNotFound, causeOf(t, two.ask(
		message.NewSessionDeletionRequest(0, 0, one.seid, two.next(), 0)).(*message.SessionDeletionResponse).Cause))
	serves(one, "the other's modification and deletion by its SEID")

	// One bucket for both would let the first one's 50 packets pass, or hold back the second one's.
	for c, rate := range map[*tenant]uint64{one: 1, two: fast} {
		c.accepted(c.ask(message.NewSessionModificationRequest(0, 0, c.seid, c.next(), 0,
			ie.NewUpdateQER(ie.NewQERID(1), ie.NewMBR(rate, fast)))).(*message.SessionModificationResponse).Cause)
	}
	before := s.reasonCounts()
	for range 50 {
		one.up(7779)
	}
	require.Eventually(t, func() bool {
		n := s.since(before)
		return n["mbr_exceeded"]+n["uplink_forwarded"] == 50
	}, patience, time.Millisecond)
	require.Positive(t, s.since(before)["mbr_exceeded"])
	before = s.reasonCounts()
	for range 50 {
		two.up(7779)
	}
	require.Eventually(t, func() bool { return s.since(before)["uplink_forwarded"] == 50 }, patience, time.Millisecond)
	require.Zero(t, s.since(before)["mbr_exceeded"])
	one.accepted(one.ask(message.NewSessionModificationRequest(0, 0, one.seid, one.next(), 0,
		ie.NewUpdateQER(ie.NewQERID(1), ie.NewMBR(fast, fast)))).(*message.SessionModificationResponse).Cause)
	s.quiet() // after the server's ICMP

	two.provision() // its applications go
	before = s.reasonCounts()
	two.up(7778)
	require.Eventually(t, func() bool { return s.since(before)["uplink_forwarded"] == 1 }, patience, time.Millisecond)
	s.quiet() // after the server's ICMP
	serves(one, "the other's applications go")

	r := two.ask(message.NewSessionSetDeletionRequest(two.next(), ie.NewNodeID("", "", one.node), nil, ie.NewFQCSID(sgwAddr.String(), 1)))
	require.Equal(t, pfcp.CauseAccepted, causeOf(t, r.(*message.SessionSetDeletionResponse).Cause))
	serves(one, "the other deletes its set, under the first one's node id")
	rows, _ := s.rows("session", "list")
	require.Len(t, rows, 1)

	two.provision("permit out 17 from any 7778 to assigned")
	two.establish(fast, fast)
	two.setUp(stamp.Add(time.Hour))
	serves(one, "the other restarts")
	rows, _ = s.rows("session", "list")
	require.Len(t, rows, 1)
}

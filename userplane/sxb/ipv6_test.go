package sxb

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

var (
	slice6  = netip.MustParseAddr("2001:db8:30::1") // of the slice that has both
	only6   = netip.MustParseAddr("2001:db8:30::6")
	remote6 = netip.MustParseAddr("2001:db8:10::2")
)

// F-TEID flags, TS 29.244 8.2.3.
const fteidV4, fteidV6, fteidCH = 0x01, 0x02, 0x04

// bearer6 is a bearer whose F-TEID is chosen by these flags, with the GTP-U header to remove and the one to create.
func bearer6(ue string, choose uint8, removal uint8, outer *ie.IE) []*ie.IE {
	rules := bearer(ue)
	rules[0] = ie.NewCreatePDR(
		ie.NewPDRID(1), ie.NewPrecedence(100),
		ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(choose|fteidCH, 0, nil, nil, 0), ie.NewUEIPAddress(0x02, ue, "", 0, 0),
		),
		ie.NewOuterHeaderRemoval(removal, 0), ie.NewFARID(1), ie.NewURRID(1), ie.NewQERID(1),
	)
	rules[3] = ie.NewCreateFAR(
		ie.NewFARID(2), ie.NewApplyAction(0x02),
		ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess), outer),
	)
	return rules
}

func over4(teid uint32) *ie.IE {
	return ie.NewOuterHeaderCreation(0x0100, teid, remote.String(), "", 0, 0, 0)
}

func over6(teid uint32) *ie.IE {
	return ie.NewOuterHeaderCreation(0x0200, teid, "", remote6.String(), 0, 0, 0)
}

func over46(teid uint32) *ie.IE {
	return ie.NewOuterHeaderCreation(0x0300, teid, remote.String(), remote6.String(), 0, 0, 0)
}

// bothFamilies are three slices: IPv4, IPv6, and both.
func bothFamilies(c *Config) {
	c.Slices = []Slice{
		{Address: mustAddr("10.30.1.4"), Slots: 1024}, {Address6: only6, Slots: 512}, {Address: slice, Address6: slice6, Slots: 256},
	}
}

// Each session gets a slice that has the families which its rules need, the emptiest of those.
func TestSessionsGetASliceOfTheirFamilies(t *testing.T) {
	w := newWorld(t, bothFamilies)
	cp := newControlPlane(t, w, "127.77.71.1", "pgwc.example")
	cp.setup()
	for i, row := range []struct {
		choose, removal uint8
		outer           *ie.IE
		v4, v6          netip.Addr // F-TEID
		tunnel          session.Tunnel
	}{
		{fteidV4, 0, over4(0xaa), mustAddr("10.30.1.4"), netip.Addr{}, session.Tunnel{Local: mustAddr("10.30.1.4"), Remote: remote, TEID: 0xaa}},
		{fteidV6, 1, over6(0xab), netip.Addr{}, only6, session.Tunnel{Local: only6, Remote: remote6, TEID: 0xab}},
		{fteidV6, 6, over4(0xac), netip.Addr{}, slice6, session.Tunnel{Local: slice, Remote: remote, TEID: 0xac}},
		{fteidV4, 6, over6(0xad), slice, netip.Addr{}, session.Tunnel{Local: slice6, Remote: remote6, TEID: 0xad}},
		{fteidV4 | fteidV6, 6, over46(0xae), mustAddr("10.30.1.4"), netip.Addr{}, session.Tunnel{Local: mustAddr("10.30.1.4"), Remote: remote, TEID: 0xae}},
	} {
		ue := netip.AddrFrom4([4]byte{172, 16, 1, byte(i + 1)})
		_, m := cp.ask(cp.establishment(cp.next(), uint64(i+1), bearer6(ue.String(), row.choose, row.removal, row.outer)...))
		r := m.(*message.SessionEstablishmentResponse)
		require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause), "%d", i)
		fteid, err := r.CreatedPDR[0].FTEID()
		require.NoError(t, err)
		require.Equal(t, row.v4.IsValid(), fteid.IPv4Address != nil)
		require.Equal(t, row.v6.IsValid(), fteid.IPv6Address != nil)
		if row.v4.IsValid() {
			require.Equal(t, row.v4.String(), fteid.IPv4Address.String())
		}
		if row.v6.IsValid() {
			require.Equal(t, row.v6.String(), fteid.IPv6Address.String())
		}
		down := w.dp.snapshot()[session.Key{Direction: session.Downlink, Instance: "internet", UE: session.UE(ue)}]
		require.Equal(t, row.tunnel, session.Tunnel{Local: down.Local, Remote: down.Remote, TEID: down.RemoteTEID})
	}
	w.consistent()

	before := w.sessions()
	w.kill()
	w.start()
	require.Equal(t, before, w.sessions())
	w.consistent()
}

// A handover from an SGW with IPv4 to one with IPv6, an Error Indication from there, a path that fails, and the end.
func TestAHandoverToIPv6(t *testing.T) {
	second := slice6
	w := newWorld(t, func(c *Config) { c.Slices = []Slice{{Address: slice, Address6: second, Slots: 256}} })
	cp := newControlPlane(t, w, "127.77.72.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, bearer("172.16.1.1")...)
	cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(over6(0xbb), ie.NewPFCPSMReqFlags(0x02)))) // SNDEM
	require.Equal(t, []session.Tunnel{{Local: slice, Remote: remote, TEID: 0xaa}}, w.dp.marked())
	path := Path{Local: slice6, Remote: remote6}
	require.Equal(t, []Path{path}, w.edge.Paths(context.Background()))

	w.edge.ErrorIndication(remote6, 0xbb)
	fteid, err := cp.reported().ErrorIndicationReport.FTEID()
	require.NoError(t, err)
	require.EqualValues(t, 0xbb, fteid.TEID)
	require.Equal(t, remote6.String(), fteid.IPv6Address.String())
	require.Nil(t, fteid.IPv4Address)

	w.edge.PathChanged(context.Background(), path, true)
	_, m := cp.receive(message.MsgTypeNodeReportRequest)
	failed, err := m.(*message.NodeReportRequest).UserPlanePathFailureReport.RemoteGTPUPeer()
	require.NoError(t, err)
	require.Equal(t, remote6.String(), failed.IPv6Address.String())
	cp.confirm(m)

	// The slice's IPv6 address becomes another, and the session's tunnel leaves by it.
	w.kill()
	second = only6
	w.start()
	w.consistent()
	require.Equal(t, []Path{{Local: only6, Remote: remote6}}, w.edge.Paths(context.Background()))
	cp.delete(seid)
	require.Empty(t, w.edge.Paths(context.Background()))
}

// What no slice can serve is refused, with the standard's cause.
func TestFamiliesThatNoSliceHas(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.73.1", "pgwc.example")
	cp.setup()
	for name, row := range map[string]struct {
		rules []*ie.IE
		cause pfcp.Cause
	}{
		"an F-TEID over IPv6":  {bearer6("172.16.1.1", fteidV6, 1, over4(1)), pfcp.CauseInvalidFTEIDAllocation},
		"a tunnel over IPv6":   {bearer6("172.16.1.1", fteidV4, 0, over6(1)), pfcp.CauseRuleCreationFailure},
		"an F-TEID over both":  {bearer6("172.16.1.1", fteidV4|fteidV6, 6, over46(1)), pfcp.CauseAccepted},
		"an F-TEID of no wish": {bearer6("172.16.1.2", 0, 6, over46(1)), pfcp.CauseAccepted},
	} {
		_, m := cp.ask(cp.establishment(cp.next(), uint64(len(name)), row.rules...))
		require.Equal(t, row.cause, cause(t, m.(*message.SessionEstablishmentResponse).Cause), name)
	}
	require.Len(t, w.sessions(), 2)
}

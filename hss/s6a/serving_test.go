package s6a

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// AVPs as TS 29.272 and Wireshark have them.
const (
	avpHPLMNODB, avpAllocationType, avpRFSP, avpZoneCode, avpRoamingRestricted, avpTraceData = 1418, 1438, 1440, 1446, 1457, 1458
	avpTraceReference, avpResetID, avpAdjacentPLMNs, avpAdjacentRestriction                  = 1459, 1670, 1672, 1673
	avpAIRFlags, avpUsageType, avpServiceGap, avpCoreRestrictions, avpVisitedNetwork         = 1679, 1680, 1698, 1704, 600
)

// top are the values of the AVPs of that code that stand in a message itself.
func top(m *diam.Message, code uint32) (values []datatype.Type) {
	for _, a := range m.AVP {
		if a.Code == code {
			values = append(values, a.Data)
		}
	}
	return values
}

// able makes a ULR of a node that supports all features.
func (m *mme) able() *diam.Message {
	req := m.ulrWith(0xffffffff)
	m.addFeatures(req, 2, 0xffffffff)
	return req
}

func collector() *subscriber.Trace {
	return &subscriber.Trace{
		PLMN: "999-70", ID: "0a0b0c", Depth: 2, Nodes: "0203", Interfaces: "04", Events: "0506", OMC: "07", Collector: netip.MustParseAddr("192.0.2.9"),
	}
}

func TestWhatServingNodesAreTold(t *testing.T) {
	h := startHSS(t)
	p := internet()
	p.RATs, p.PLMNs = []subscriber.RAT{subscriber.EUTRAN, subscriber.LTEM, subscriber.EUTRANNBIoT, subscriber.UTRAN, subscriber.HSPAEvolution}, []string{"001-01", "262-02"}
	p.Barring = []subscriber.Barring{subscriber.BarHPLMN1, subscriber.BarHPLMN4}
	p.IoT.ServiceGap = 60
	p.Serving = subscriber.Serving{
		UsageType: new(uint32(130)), RFSP: 7, ResetIDs: []string{"site-1", "site-2"}, Trace: collector(),
		Restrictions: []subscriber.Restriction{subscriber.NoSecondaryNR, subscriber.NoNR, subscriber.No5GC},
		Zones:        []subscriber.Zones{{PLMN: "262-02", Codes: []string{"0009"}}, {PLMN: "001-01", Codes: []string{"0001", "a0b1"}}},
	}
	h.add(p)
	m := dialMME(t, h.address, mme1)
	ulr := m.able()
	m.add(ulr, avpAdjacentPLMNs, avp.Vbit, diameter.Vendor3GPP, group(
		tgpp(avp.VisitedPLMNID, datatype.OctetString("\x62\xf2\x20")), tgpp(avp.VisitedPLMNID, datatype.OctetString("\x62\xf2\x10"))))
	ans := m.exchange(ulr)
	m.requireResult(ans, 2001)
	data := find(t, ans, avp.SubscriptionData)
	value := func(code uint32) []byte {
		t.Helper()
		v := in(data, code)
		require.NotNil(t, v, "AVP %d", code)
		return v.Serialize()
	}
	number := func(code uint32) uint32 { return binary.BigEndian.Uint32(value(code)) }
	require.Equal(t, []byte{0, 0, 0, 1}, value(avp.SubscriberStatus))
	require.Nil(t, in(data, avpBarring), "packet services are not barred")
	require.Equal(t, uint32(1|8), number(avpHPLMNODB))
	require.Equal(t, uint32(1<<1|1<<8|1<<10), number(avp.AccessRestrictionData), "GERAN, NR beside E-UTRAN, NR")
	require.Equal(t, []byte{0, 0, 0, 2}, value(avpCoreRestrictions), "5GC")
	require.Equal(t, []byte{0, 0, 0, 130}, value(avpUsageType))
	require.Equal(t, []byte{0, 0, 0, 7}, value(avpRFSP))
	require.Equal(t, []byte{0, 0, 0, 60}, value(avpServiceGap))
	require.Nil(t, in(data, avpRoamingRestricted))
	var zones []string
	for _, z := range all(data, avpZoneCode) {
		zones = append(zones, string(z.Serialize()))
	}
	require.Equal(t, []string{"\x00\x01", "\xa0\xb1"}, zones, "of the network that the node is in")
	trace := in(data, avpTraceData)
	require.Equal(t, "\x99\xf9\x07\x0a\x0b\x0c", string(in(trace, avpTraceReference).Serialize()))
	require.Equal(t, []uint32{1459, 1462, 1463, 1465, 1452, 1464, 1466}, codes(trace))
	adjacent := all(data, avpAdjacentRestriction)
	require.Len(t, adjacent, 2)
	require.Equal(t, "00 00 05 7f c0 00 00 0f 00 00 28 af 62 f2 20 00 00 00 05 92 c0 00 00 10 00 00 28 af 00 00 05 02",
		fmt.Sprintf("% x", adjacent[0].Serialize()), "where the SIM may be: as here")
	require.Equal(t, "00 00 05 7f c0 00 00 0f 00 00 28 af 62 f2 10 00 00 00 05 92 c0 00 00 10 00 00 28 af 00 00 04 5f",
		fmt.Sprintf("% x", adjacent[1].Serialize()), "where it may not be: nothing")
	var ids []string
	for _, id := range top(ans, avpResetID) {
		ids = append(ids, string(id.Serialize()))
	}
	require.Equal(t, []string{"site-1", "site-2"}, ids)

	ans = m.exchange(m.ulr(2)) // the node supports none of it
	m.requireResult(ans, 2001)
	data = find(t, ans, avp.SubscriptionData)
	for _, code := range []uint32{avpUsageType, avpZoneCode, avpTraceData} {
		require.Nil(t, in(data, code), "AVP %d", code)
	}
	require.Equal(t, []byte{0, 0, 0, 0}, value(avpRoamingRestricted), "it could not keep the SIM within its zones")
	require.Empty(t, top(ans, avpResetID))
}

// Each part that changes is told alone, and taken away by its bit of DSR-Flags.
func TestServingChangesAreToldWithTheSmallestMessage(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.able()), 2001)
	idrs, dsrs := 0.0, 0.0
	for _, row := range []struct {
		name   string
		change func(*subscriber.Profile)
		data   []uint32 // in Subscription-Data of an IDR; nil: a DSR
		flags  uint32
	}{
		{"usage type", func(p *subscriber.Profile) { p.Serving.UsageType = new(uint32(0)) }, []uint32{avpUsageType}, 0},
		{"no usage type", func(p *subscriber.Profile) { p.Serving.UsageType = nil }, nil, 1 << 24},
		{"RFSP", func(p *subscriber.Profile) { p.Serving.RFSP = 3 }, []uint32{avpRFSP}, 0},
		{"restrictions", func(p *subscriber.Profile) {
			p.Serving.Restrictions = []subscriber.Restriction{subscriber.NoNR, subscriber.No5GC}
		}, []uint32{avp.AccessRestrictionData, avpCoreRestrictions}, 0},
		{"one less", func(p *subscriber.Profile) { p.Serving.Restrictions = p.Serving.Restrictions[:1] }, []uint32{avpCoreRestrictions}, 0},
		{"none", func(p *subscriber.Profile) { p.Serving.Restrictions = nil }, []uint32{avp.AccessRestrictionData}, 0},
		{"zones of here", func(p *subscriber.Profile) {
			p.Serving.Zones = []subscriber.Zones{{PLMN: "001-01", Codes: []string{"0001"}}}
		}, []uint32{avpZoneCode}, 0},
		{"zones of elsewhere", func(p *subscriber.Profile) {
			p.Serving.Zones = []subscriber.Zones{{PLMN: "262-02", Codes: []string{"0001"}}}
		}, nil, 1 << 0},
		{"trace", func(p *subscriber.Profile) { p.Serving.Trace = collector() }, []uint32{avpTraceData}, 0},
		{"no trace", func(p *subscriber.Profile) { p.Serving.Trace = nil }, nil, 1 << 8},
		{"resources", func(p *subscriber.Profile) { p.Serving.ResetIDs = []string{"a"} }, []uint32{}, 0},
		{"no resources", func(p *subscriber.Profile) { p.Serving.ResetIDs = nil }, nil, 1 << 18},
		{"service gap", func(p *subscriber.Profile) { p.IoT.ServiceGap = 1 }, []uint32{avpServiceGap}, 0},
		{"no service gap", func(p *subscriber.Profile) { p.IoT.ServiceGap = 0 }, nil, 1 << 31},
		{"barring specific to the home network", func(p *subscriber.Profile) { p.Barring = []subscriber.Barring{subscriber.BarHPLMN2} }, []uint32{avp.SubscriberStatus, avpHPLMNODB}, 0},
		{"a PDN-GW", func(p *subscriber.Profile) {
			p.APNs = []subscriber.APN{p.APNs[0]}
			p.APNs[0].Gateway.IPv4 = netip.MustParseAddr("192.0.2.1")
		}, []uint32{avp.APNConfigurationProfile}, 0},
	} {
		h.change(row.change)
		if row.data == nil {
			dsr := m.expect(320)
			require.Equal(t, datatype.Unsigned32(row.flags), find(t, dsr, avp.DSRFlags), row.name)
			if references := top(dsr, avpTraceReference); row.flags == 1<<8 {
				require.Equal(t, "\x99\xf9\x07\x0a\x0b\x0c", string(references[0].Serialize()))
			} else {
				require.Empty(t, references)
			}
			m.send(dsr.Answer(2001))
			dsrs++
			h.requireTold("DSR", "done", dsrs)
			continue
		}
		idr := m.expect(319)
		require.Equal(t, append([]uint32{}, row.data...), append([]uint32{}, codes(find(t, idr, avp.SubscriptionData))...), row.name)
		require.Equal(t, row.name == "resources", len(top(idr, avpResetID)) == 1)
		m.send(idr.Answer(2001))
		idrs++
		h.requireTold("IDR", "done", idrs)
	}
	m.requireResult(m.exchange(m.air(1, 0, nil)), 2001) // nothing else comes
}

// What a node could not use is not told to it when it changes, either.
func TestChangesThatANodeCouldNotUseAreNotTold(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.ulr(2)), 2001)
	h.change(func(p *subscriber.Profile) {
		p.Serving.UsageType, p.Serving.Trace, p.Serving.ResetIDs = new(uint32(1)), collector(), []string{"a"}
	})
	h.change(func(p *subscriber.Profile) { p.Serving = subscriber.Serving{} })
	m.requireResult(m.exchange(m.air(1, 0, nil)), 2001) // nothing comes before the answer
	h.change(func(p *subscriber.Profile) {
		p.Serving.Zones = []subscriber.Zones{{PLMN: "001-01", Codes: []string{"0001"}}}
	})
	idr := m.expect(319)
	require.Equal(t, []uint32{avpRoamingRestricted}, codes(find(t, idr, avp.SubscriptionData)))
	m.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 1)
	h.change(func(p *subscriber.Profile) { p.Serving.Zones = nil })
	dsr := m.expect(320)
	require.Equal(t, datatype.Unsigned32(1<<7), find(t, dsr, avp.DSRFlags))
	m.send(dsr.Answer(2001))
}

func TestUsageTypeInAIA(t *testing.T) {
	h := startHSS(t)
	p := internet()
	p.Serving.UsageType = new(uint32(200))
	h.add(p)
	m := dialMME(t, h.address, mme1)
	ask := func(vectors int, flags uint32) *diam.Message {
		req := m.air(vectors, 0, nil)
		m.add(req, avpAIRFlags, avp.Vbit, diameter.Vendor3GPP, datatype.Unsigned32(flags))
		ans := m.exchange(req)
		if flags&1 != 0 || vectors > 0 {
			m.requireResult(ans, 2001)
		}
		return ans
	}
	ans := ask(2, 1)
	require.Len(t, vectorsOf(t, ans, avp.EUTRANVector), 2)
	require.Equal(t, []byte{0, 0, 0, 200}, top(ans, avpUsageType)[0].Serialize())
	ans = ask(1, 2)
	require.Empty(t, top(ans, avpUsageType), "it was not asked for")
	ans = ask(0, 1)
	require.Equal(t, []byte{0, 0, 0, 200}, top(ans, avpUsageType)[0].Serialize())
	require.Empty(t, top(ans, avp.AuthenticationInfo), "no vectors were asked for")
	m.requireResult(ask(0, 0), diameter.MissingAVP)
	h.change(func(p *subscriber.Profile) { p.Status = subscriber.Suspended })
	req := m.air(0, 0, nil)
	m.add(req, avpAIRFlags, avp.Vbit, diameter.Vendor3GPP, datatype.Unsigned32(1))
	m.requireExperimental(m.exchange(req), 5004)
}

// gatewayAVPs are MIP6-Agent-Info and Visited-Network-Identifier of a PDN-GW; host "": of none.
func gatewayAVPs(host string) []*diam.AVP {
	if host == "" {
		return []*diam.AVP{diam.NewAVP(avp.MIP6AgentInfo, avp.Mbit, 0, group())}
	}
	return []*diam.AVP{
		diam.NewAVP(avp.MIP6AgentInfo, avp.Mbit, 0, group(
			diam.NewAVP(avp.MIPHomeAgentAddress, avp.Mbit, 0, datatype.Address(net.IPv4(10, 20, 2, 2))),
			diam.NewAVP(avp.MIPHomeAgentHost, avp.Mbit, 0, group(
				diam.NewAVP(avp.DestinationRealm, avp.Mbit, 0, datatype.DiameterIdentity(ourRealm)),
				diam.NewAVP(avp.DestinationHost, avp.Mbit, 0, datatype.DiameterIdentity(host)))))),
		tgpp(avpVisitedNetwork, datatype.OctetString("mnc070.mcc999.3gppnetwork.org")),
	}
}

func (m *mme) norOf(apn, host string) *diam.Message {
	req := m.nor(nil)
	for _, a := range append(gatewayAVPs(host), diam.NewAVP(avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String(apn))) {
		req.AddAVP(a)
	}
	return req
}

func TestPDNGateways(t *testing.T) {
	h := startHSS(t)
	p := internet()
	p.APNs = append(p.APNs, subscriber.APN{Name: "meters", Gateway: subscriber.Gateway{
		Host: "fixed." + ourRealm, Realm: ourRealm, IPv4: netip.MustParseAddr("192.0.2.1"), IPv6: netip.MustParseAddr("2001:db8::1"),
	}})
	h.add(p)
	m := dialMME(t, h.address, mme1)
	configurations := func(req *diam.Message) []datatype.Type {
		t.Helper()
		ans := m.exchange(req)
		m.requireResult(ans, 2001)
		return all(in(find(t, ans, avp.SubscriptionData), avp.APNConfigurationProfile), avp.APNConfiguration)
	}
	host := func(configuration datatype.Type) string {
		agent := in(configuration, avp.MIP6AgentInfo)
		if agent == nil {
			return ""
		}
		return string(in(in(agent, avp.MIPHomeAgentHost), avp.DestinationHost).Serialize())
	}
	first := configurations(m.ulr(2))
	require.Equal(t, "", host(first[0]))
	require.Nil(t, in(first[0], avpAllocationType))
	require.Equal(t, "fixed."+ourRealm, host(first[1]))
	require.Len(t, all(in(first[1], avp.MIP6AgentInfo), avp.MIPHomeAgentAddress), 2)
	require.Equal(t, datatype.Enumerated(0), in(first[1], avpAllocationType), "static")

	m.requireResult(m.exchange(m.norOf("internet", "pgw1."+ourRealm)), 2001)
	m.requireResult(m.exchange(m.norOf("meters", "pgw1."+ourRealm)), 2001)
	second := configurations(m.ulr(2))
	require.Equal(t, "pgw1."+ourRealm, host(second[0]))
	require.Equal(t, datatype.Enumerated(1), in(second[0], avpAllocationType), "dynamic")
	require.Equal(t, "mnc070.mcc999.3gppnetwork.org", string(in(second[0], avpVisitedNetwork).Serialize()))
	require.Equal(t, "fixed."+ourRealm, host(second[1]), "what is fixed stands above what was notified")

	m.requireResult(m.exchange(m.norOf("internet", "")), 2001)
	require.Equal(t, "", host(configurations(m.ulr(2))[0]), "it has none any more")
	m.requireResult(m.exchange(m.norOf("internet", "no domain name")), 5004)

	restored := m.ulr(2) // the node says what it has, as after a reset
	restored.AddAVP(tgpp(avp.ActiveAPN, group(append(gatewayAVPs("pgw2."+ourRealm),
		tgpp(avp.ContextIdentifier, datatype.Unsigned32(1)), diam.NewAVP(avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String("Internet")))...)))
	restored.AddAVP(tgpp(avp.ActiveAPN, group(append(gatewayAVPs("pgw2."+ourRealm),
		tgpp(avp.ContextIdentifier, datatype.Unsigned32(9)), diam.NewAVP(avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String("another")))...)))
	require.Equal(t, "pgw2."+ourRealm, host(configurations(restored)[0]))
	stored, err := h.store.Gateways(context.Background(), imsi)
	require.NoError(t, err)
	require.Len(t, stored, 1, "neither an APN that the SIM has not, nor what was there before")

	m.requireResult(m.exchange(m.pur()), 2001)
	stored, err = h.store.Gateways(context.Background(), imsi)
	require.NoError(t, err)
	require.Empty(t, stored, "they go with the last registration")

	m.requireResult(m.exchange(m.ulr(2)), 2001)
	m.requireResult(m.exchange(m.norOf("internet", "pgw1."+ourRealm)), 2001)
	h.change(func(p *subscriber.Profile) { p.Status = subscriber.Suspended })
	m.expectCLR(2)
	stored, err = h.store.Gateways(context.Background(), imsi)
	require.NoError(t, err)
	require.Empty(t, stored)
}

func TestResetOfSomeSIMs(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.ulr(2)), 2001)
	n, err := h.server.Reset(context.Background(), subscriber.Scope{IMSIs: []string{"99970", "9997100"}, ResetIDs: []string{"site-1"}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	rsr := m.expect(322)
	var named []string
	for _, v := range append(top(rsr, avp.UserID), top(rsr, avpResetID)...) {
		named = append(named, string(v.Serialize()))
	}
	require.Equal(t, []string{"99970", "9997100", "site-1"}, named)
	m.send(rsr.Answer(2001))
	h.requireTold("RSR", "done", 1)
	for _, bad := range []subscriber.Scope{{IMSIs: []string{"9997"}}, {IMSIs: []string{"9997x"}}, {ResetIDs: []string{""}}} {
		require.Error(t, bad.Validate())
	}
}

// However many networks a node names as adjacent, an answer has so many at most.
func TestAdjacentNetworksAreBounded(t *testing.T) {
	h := startHSS(t)
	p := internet()
	p.PLMNs = []string{"001-01"}
	h.add(p)
	m := dialMME(t, h.address, mme1)
	ulr := m.ulr(2)
	list := group()
	for i := range 60 {
		list.AddAVP(tgpp(avp.VisitedPLMNID, datatype.OctetString([]byte{0x62, 0xf2, byte(i%10)<<4 | byte(i/10)})))
	}
	m.add(ulr, avpAdjacentPLMNs, avp.Vbit, diameter.Vendor3GPP, list)
	ans := m.exchange(ulr)
	m.requireResult(ans, 2001)
	require.Len(t, all(find(t, ans, avp.SubscriptionData), avpAdjacentRestriction), 50)
}

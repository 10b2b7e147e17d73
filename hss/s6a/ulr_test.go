package s6a

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

func find(t *testing.T, ans *diam.Message, code uint32) datatype.Type {
	t.Helper()
	a, err := ans.FindAVP(code, diameter.Vendor3GPP)
	require.NoError(t, err, "AVP %d in\n%v", code, ans)
	return a.Data
}

// in returns the value of the first AVP of that code in a group; nil without one.
func in(g datatype.Type, code uint32) datatype.Type {
	for _, a := range g.(*diam.GroupedAVP).AVP {
		if a.Code == code {
			return a.Data
		}
	}
	return nil
}

func TestSubscriptionData(t *testing.T) {
	h := startHSS(t)
	h.add(subscriber.Profile{
		MSISDN: "882120000001",
		AMBR:   subscriber.Bitrates{Uplink: 50_000_000, Downlink: 5_000_000_000},
		APNs: []subscriber.APN{
			{
				Name: "internet", PDNType: subscriber.IPv4v6, QCI: 7, ARP: subscriber.ARP{Priority: 3, Capability: true},
				AMBR:       subscriber.Bitrates{Uplink: 1_000_000, Downlink: 2_000_000},
				StaticIPv4: netip.MustParseAddr("10.1.2.3"), StaticIPv6: netip.MustParseAddr("2001:db8:1:2::"), Charging: "0800",
			},
			{Name: "meters.example", AMBR: subscriber.Bitrates{Uplink: 6_000_000_000, Downlink: 1000}},
		},
	})
	m := dialMME(t, h.address, mme1)
	ans := m.exchange(m.ulr(34))
	m.requireResult(ans, 2001)
	require.Equal(t, datatype.Unsigned32(1), find(t, ans, avp.ULAFlags))

	data := find(t, ans, avp.SubscriptionData)
	require.Equal(t, datatype.Enumerated(0), in(data, avp.SubscriberStatus))
	require.Equal(t, datatype.OctetString("\x88\x12\x02\x00\x00\x10"), in(data, avp.MSISDN))
	require.Equal(t, datatype.Enumerated(2), in(data, avp.NetworkAccessMode))
	rates := in(data, avp.AMBR)
	require.Equal(t, datatype.Unsigned32(50_000_000), in(rates, avp.MaxRequestedBandwidthUL))
	require.Equal(t, datatype.Unsigned32(4_294_967_295), in(rates, avp.MaxRequestedBandwidthDL))
	require.Nil(t, in(rates, 555))
	require.Equal(t, []byte{0, 0x4c, 0x4b, 0x40}, in(rates, 554).Serialize(), "5,000,000 kbit/s in Extended-Max-Requested-BW-DL")

	profile := in(data, avp.APNConfigurationProfile)
	require.Equal(t, datatype.Unsigned32(1), in(profile, avp.ContextIdentifier))
	second := in(all(profile, avp.APNConfiguration)[1], avp.AMBR)
	require.Equal(t, datatype.Unsigned32(4_294_967_295), in(second, avp.MaxRequestedBandwidthUL))
	require.Equal(t, []byte{0, 0x5b, 0x8d, 0x80}, in(second, 555).Serialize(), "6,000,000 kbit/s in Extended-Max-Requested-BW-UL")
	require.Nil(t, in(second, 554))
	require.Equal(t, datatype.Enumerated(0), in(profile, avp.AllAPNConfigurationsIncludedIndicator))
	var apns []datatype.Type
	for _, a := range profile.(*diam.GroupedAVP).AVP {
		if a.Code == avp.APNConfiguration {
			apns = append(apns, a.Data)
		}
	}
	require.Len(t, apns, 2)
	one := apns[0]
	require.Equal(t, datatype.Unsigned32(1), in(one, avp.ContextIdentifier))
	require.Equal(t, datatype.UTF8String("internet"), in(one, avp.ServiceSelection))
	require.Equal(t, datatype.Enumerated(2), in(one, avp.PDNType))
	require.Equal(t, datatype.Enumerated(0), in(one, avp.VPLMNDynamicAddressAllowed))
	require.Equal(t, "0800", string(in(one, 13).Serialize()))
	qos := in(one, avp.EPSSubscribedQoSProfile)
	require.Equal(t, datatype.Enumerated(7), in(qos, avp.QoSClassIdentifier))
	arp := in(qos, avp.AllocationRetentionPriority)
	require.Equal(t, datatype.Unsigned32(3), in(arp, avp.PriorityLevel))
	require.Equal(t, datatype.Enumerated(0), in(arp, avp.PreemptionCapability))
	require.Equal(t, datatype.Enumerated(1), in(arp, avp.PreemptionVulnerability))
	require.Equal(t, datatype.Unsigned32(2_000_000), in(in(one, avp.AMBR), avp.MaxRequestedBandwidthDL))
	var served []string
	for _, a := range one.(*diam.GroupedAVP).AVP {
		if a.Code == avp.ServedPartyIPAddress {
			ip, ok := netip.AddrFromSlice(a.Data.(datatype.Address))
			require.True(t, ok)
			served = append(served, ip.String())
		}
	}
	require.Equal(t, []string{"10.1.2.3", "2001:db8:1:2::"}, served)
	require.Equal(t, datatype.Unsigned32(2), in(apns[1], avp.ContextIdentifier))
	require.Nil(t, in(apns[1], avp.ServedPartyIPAddress))

	got := h.subscriber().MME
	require.Equal(t, []string{mme1, mmeRealm, "001-01", "35609204079300"}, []string{got.Host, got.Realm, got.PLMN, got.IMEI})
	require.Equal(t, subscriber.EUTRAN, got.RAT)

	ans = m.exchange(m.ulr(34 | 4))
	m.requireResult(ans, 2001)
	_, err := ans.FindAVP(avp.SubscriptionData, diameter.Vendor3GPP)
	require.Error(t, err, "Skip-Subscriber-Data")
}

func TestSupportedFeaturesAreTheIntersection(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	req := m.ulr(34)
	for _, list := range []uint32{1, 2, 9} {
		m.add(req, avp.SupportedFeatures, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, group(
			diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(diameter.Vendor3GPP)),
			tgpp(avp.FeatureListID, datatype.Unsigned32(list)), tgpp(avp.FeatureList, datatype.Unsigned32(0xffffffff))))
	}
	ans := m.exchange(req)
	m.requireResult(ans, 2001)
	all, err := ans.FindAVPs(avp.SupportedFeatures, diameter.Vendor3GPP)
	require.NoError(t, err)
	require.Len(t, all, 3)
	for i, list := range []uint32{1, 2, 9} {
		require.Equal(t, datatype.Unsigned32(list), in(all[i].Data, avp.FeatureListID))
		require.Equal(t, datatype.Unsigned32(features(list)), in(all[i].Data, avp.FeatureList))
	}
}

func TestDisplacedNodeIsCancelledOnce(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	requireCLR := func(m *mme, kind int) {
		t.Helper()
		clr := m.receive()
		require.EqualValues(t, 317, clr.Header.CommandCode)
		require.NotZero(t, clr.Header.CommandFlags&diam.RequestFlag)
		require.Equal(t, datatype.Enumerated(kind), find(t, clr, avp.CancellationType))
		user, err := clr.FindAVP(avp.UserName, 0)
		require.NoError(t, err)
		require.Equal(t, datatype.UTF8String(imsi), user.Data)
		m.send(clr.Answer(2001))
	}
	a.requireResult(a.exchange(a.ulr(34)), 2001)
	a.requireResult(a.exchange(a.ulr(34)), 2001) // the same node again: no CLR
	b.requireResult(b.exchange(b.ulr(34)), 2001)
	requireCLR(a, 0)
	h.requireTold("CLR", "done", 1)
	a.requireResult(a.exchange(a.air(1, 0, nil)), 2001) // the next that comes is an answer, not another CLR
	b.requireResult(b.exchange(b.air(1, 0, nil)), 2001)
	require.Equal(t, mme2, h.subscriber().MME.Host)

	// The SGSN's registration stands beside it.
	a.requireResult(a.exchange(a.ulr(0)), 2001)
	require.Equal(t, mme1, h.subscriber().SGSN.Host)
	require.Equal(t, mme2, h.subscriber().MME.Host)
	b.requireResult(b.exchange(b.ulr(0)), 2001)
	requireCLR(a, 1)

	removed := subscriber.Change{IMSI: imsi, At: time.Now(), Before: subscriber.Subscriber{IMSI: imsi, MME: h.subscriber().MME}}
	require.NoError(t, h.server.Tell(t.Context(), removed))
	requireCLR(b, 2)
}

func TestOnlyTheRegisteredNodePurges(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	a.requireResult(a.exchange(a.ulr(34)), 2001)

	ans := b.exchange(b.pur())
	b.requireResult(ans, 2001)
	require.Equal(t, datatype.Unsigned32(0), find(t, ans, avp.PUAFlags))
	require.False(t, h.subscriber().MME.Purged)

	ans = a.exchange(a.pur())
	a.requireResult(ans, 2001)
	require.Equal(t, datatype.Unsigned32(1), find(t, ans, avp.PUAFlags), "freeze M-TMSI")
	require.True(t, h.subscriber().MME.Purged)

	b.requireResult(b.exchange(b.ulr(34)), 2001) // no CLR to a node that has purged
	a.requireResult(a.exchange(a.air(1, 0, nil)), 2001)
	require.False(t, h.subscriber().MME.Purged)
	ans = a.exchange(a.pur())
	a.requireResult(ans, 2001)
	require.Equal(t, datatype.Unsigned32(0), find(t, ans, avp.PUAFlags), "no longer its own")

	a.requireExperimental(a.exchange(a.request(321, "999700000000099", nil)), 5001)
}

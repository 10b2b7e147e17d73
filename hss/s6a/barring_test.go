package s6a

import (
	"fmt"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// AVPs and bits as TS 29.272 and Wireshark have them.
const (
	avpBarring = 1425
	avpOI      = 1427

	odbAllAPN, odbHPLMNAPN, odbVPLMNAPN = 1, 2, 4
	locationRetrieval, partialPurge     = 0x10000000, 0x20000000
	regSub, traceFeature                = 1 << 9, 1 << 10

	resetIDFeature, dedicatedCores, removalOfMSISDN, secondaryNR, unlicensedRAT = 1 << 17, 1 << 20, 1 << 23, 1 << 27, 1 << 28 // of list 2
)

// ulrWith makes a ULR of a node that supports those features of list 1; 0: it says nothing.
func (m *mme) ulrWith(supported uint32) *diam.Message {
	req := m.ulr(2)
	if supported != 0 {
		m.addFeatures(req, 1, supported)
	}
	return req
}

func (m *mme) addFeatures(req *diam.Message, list, supported uint32) {
	m.add(req, avp.SupportedFeatures, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, group(
		diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(diameter.Vendor3GPP)),
		tgpp(avp.FeatureListID, datatype.Unsigned32(list)), tgpp(avp.FeatureList, datatype.Unsigned32(supported))))
}

// A node that supports a category of barring is told of it; at another the SIM may not register.
func TestBarring(t *testing.T) {
	for _, row := range []struct {
		barring    []subscriber.Barring
		supported  uint32
		status     int
		bits       uint32
		diagnostic int // of a refusal
	}{
		{nil, 0, 0, 0, 0},
		{[]subscriber.Barring{subscriber.BarAll}, odbAllAPN, 1, 1, 0},
		{[]subscriber.Barring{subscriber.BarAll}, 0, 0, 0, 2},
		{[]subscriber.Barring{subscriber.BarAll}, odbHPLMNAPN | odbVPLMNAPN, 0, 0, 2},
		{[]subscriber.Barring{subscriber.BarVPLMNAPN, subscriber.BarHPLMNAPN}, odbHPLMNAPN | odbVPLMNAPN | locationRetrieval, 1, 6, 0},
		{[]subscriber.Barring{subscriber.BarHPLMNAPN}, odbAllAPN, 0, 0, 3},
		{[]subscriber.Barring{subscriber.BarVPLMNAPN}, odbAllAPN | odbHPLMNAPN, 0, 0, 4},
	} {
		t.Run(fmt.Sprintf("%v at a node that supports %d", row.barring, row.supported), func(t *testing.T) {
			h := startHSS(t)
			p := internet()
			p.Barring, p.OIReplacement = row.barring, "mvno.mnc001.mcc001.gprs"
			p.APNs[0].OIReplacement = "meters.mnc001.mcc001.gprs"
			h.add(p)
			m := dialMME(t, h.address, mme1)
			ans := m.exchange(m.ulrWith(row.supported))
			if row.diagnostic != 0 {
				m.requireExperimental(ans, 5004)
				require.Equal(t, datatype.Enumerated(row.diagnostic), find(t, ans, avp.ErrorDiagnostic))
				return
			}
			m.requireResult(ans, 2001)
			data := find(t, ans, avp.SubscriptionData)
			require.Equal(t, datatype.Enumerated(row.status), in(data, avp.SubscriberStatus))
			if row.bits == 0 {
				require.Nil(t, in(data, avpBarring), "not with service granted")
			} else {
				require.Equal(t, datatype.Unsigned32(row.bits), in(data, avpBarring))
			}
			require.Equal(t, "mvno.mnc001.mcc001.gprs", string(in(data, avpOI).Serialize()))
			require.Equal(t, "meters.mnc001.mcc001.gprs", string(in(in(in(data, avp.APNConfigurationProfile), avp.APNConfiguration), avpOI).Serialize()))
		})
	}
}

// The features that we announce have their bits of TS 29.272 table 7.3.10/1.
func TestFeaturesThatWeSupport(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	answer := find(t, m.exchange(m.ulrWith(0xffffffff)), avp.SupportedFeatures)
	require.Equal(t, datatype.Unsigned32(odbAllAPN|odbHPLMNAPN|odbVPLMNAPN|regSub|traceFeature|locationRetrieval|partialPurge), in(answer, avp.FeatureList))
	ulr := m.ulr(2)
	m.addFeatures(ulr, 2, 0xffffffff)
	answer = find(t, m.exchange(ulr), avp.SupportedFeatures)
	require.Equal(t, datatype.Unsigned32(resetIDFeature|dedicatedCores|removalOfMSISDN|secondaryNR|unlicensedRAT), in(answer, avp.FeatureList))
}

func TestBarringReachesTheNode(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.ulrWith(odbAllAPN)), 2001)
	bar := func(all ...subscriber.Barring) func(*subscriber.Profile) {
		return func(p *subscriber.Profile) { p.Barring = all }
	}
	h.change(bar(subscriber.BarAll))
	idr := m.expect(319)
	data := find(t, idr, avp.SubscriptionData)
	require.Equal(t, []uint32{avp.SubscriberStatus, avpBarring}, codes(data))
	require.Equal(t, datatype.Unsigned32(1), in(data, avpBarring))
	m.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 1)

	h.change(bar())
	idr = m.expect(319)
	data = find(t, idr, avp.SubscriptionData)
	require.Equal(t, []uint32{avp.SubscriberStatus}, codes(data))
	require.Equal(t, datatype.Enumerated(0), in(data, avp.SubscriberStatus))
	m.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 2)

	h.change(bar(subscriber.BarHPLMNAPN)) // which the node does not support
	m.expectCLR(2)
	h.requireTold("CLR", "done", 1)
}

// What a SIM no longer has is withdrawn by DSR-Flags; what it still has and has changed comes by IDR.
func TestWithdrawalIsToldWithADSR(t *testing.T) {
	h := startHSS(t)
	active, packets := uint32(20), int32(5)
	p := internet()
	p.Charging, p.OIReplacement = "0800", "mvno.mnc001.mcc001.gprs"
	p.IoT = subscriber.IoT{PeriodicTAU: 3600, ActiveTime: &active, DLBuffering: &packets, EDRX: []subscriber.EDRX{{RAT: subscriber.EUTRAN, Cycle: 9}}}
	h.add(p)
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.ulr(2)), 2001)
	for i, row := range []struct {
		change func(*subscriber.Profile)
		flags  uint32
	}{
		{func(p *subscriber.Profile) { p.Charging = "" }, 1 << 2},
		{func(p *subscriber.Profile) { p.OIReplacement = "" }, 1 << 10},
		{func(p *subscriber.Profile) { p.IoT.PeriodicTAU, p.IoT.DLBuffering = 0, nil }, 1<<14 | 1<<19},
		{func(p *subscriber.Profile) { p.MSISDN = "" }, 1 << 23},
		{func(p *subscriber.Profile) { p.IoT.ActiveTime, p.IoT.EDRX = nil, nil }, 1<<29 | 1<<30},
	} {
		h.change(row.change)
		dsr := m.expect(320)
		require.Equal(t, datatype.Unsigned32(row.flags), find(t, dsr, avp.DSRFlags))
		_, err := dsr.FindAVP(avp.ContextIdentifier, diameter.Vendor3GPP)
		require.Error(t, err)
		m.send(dsr.Answer(2001))
		h.requireTold("DSR", "done", float64(i+1))
	}
	h.change(func(p *subscriber.Profile) {
		p.Charging, p.OIReplacement = "0400", "b.mnc001.mcc001.gprs"
		p.IoT.EDRX = []subscriber.EDRX{{RAT: subscriber.LTEM, Cycle: 2}}
	})
	idr := m.expect(319)
	require.Equal(t, []uint32{avpOI, 13, 1691}, codes(find(t, idr, avp.SubscriptionData)))
	m.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 1)
	h.change(func(p *subscriber.Profile) {
		p.IoT.EDRX = []subscriber.EDRX{{RAT: subscriber.LTEM, Cycle: 2, Window: new(uint8(1))}}
	})
	idr = m.expect(319)
	require.Equal(t, []uint32{1701}, codes(find(t, idr, avp.SubscriptionData)))
	m.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 2)
	h.change(func(p *subscriber.Profile) { p.IoT.EDRX = []subscriber.EDRX{{RAT: subscriber.LTEM, Cycle: 2}} })
	dsr := m.expect(320)
	require.Equal(t, datatype.Unsigned32(1<<28), find(t, dsr, avp.DSRFlags), "paging time window")
	m.send(dsr.Answer(2001))
	h.requireTold("DSR", "done", 6)
	m.requireResult(m.exchange(m.air(1, 0, nil)), 2001) // nothing else comes
}

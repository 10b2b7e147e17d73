package s6a

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/diameter"
)

// all returns the values of the AVPs of that code in a group.
func all(g datatype.Type, code uint32) (found []datatype.Type) {
	for _, a := range g.(*diam.GroupedAVP).AVP {
		if a.Code == code {
			found = append(found, a.Data)
		}
	}
	return found
}

func TestGPRSSubscriptionDataForAnSGSN(t *testing.T) {
	h := startHSS(t)
	h.add(subscriber.Profile{MSISDN: "882120000001", APNs: []subscriber.APN{
		{Name: "internet", PDNType: subscriber.IPv4v6, StaticIPv4: netip.MustParseAddr("10.1.2.3"), StaticIPv6: netip.MustParseAddr("2001:db8::")},
		{Name: "meters", PDNType: subscriber.IPv6, Charging: "0800"},
	}})
	m := dialMME(t, h.address, mme1)
	for flags, want := range map[uint32]bool{8: true, 0: false, 2 | 8: false} { // an MME has no use for it
		ans := m.exchange(m.ulr(flags))
		m.requireResult(ans, 2001)
		data := find(t, ans, avp.SubscriptionData)
		require.NotNil(t, in(data, avp.APNConfigurationProfile))
		gprs := in(data, avp.GPRSSubscriptionData)
		require.Equal(t, want, gprs != nil, "ULR-Flags %d", flags)
		if !want {
			continue
		}
		require.Equal(t, datatype.Enumerated(0), in(gprs, avp.CompleteDataListIncludedIndicator))
		contexts := all(gprs, avp.PDPContext)
		require.Len(t, contexts, 2)
		dual := contexts[0]
		require.Equal(t, datatype.Unsigned32(1), in(dual, avp.ContextIdentifier))
		require.Equal(t, datatype.OctetString("\xf1\x21"), in(dual, avp.PDPType))
		require.Equal(t, "f18d", hex.EncodeToString(in(dual, avp.ExtPDPType).Serialize()))
		require.Equal(t, datatype.OctetString("\x23\x92\x1f"), in(dual, avp.QoSSubscribed))
		require.Equal(t, datatype.UTF8String("internet"), in(dual, avp.ServiceSelection))
		require.NotNil(t, in(dual, avp.PDPAddress))
		require.NotNil(t, in(dual, avp.AMBR))
		require.Equal(t, datatype.OctetString("\xf1\x57"), in(contexts[1], avp.PDPType))
		require.Equal(t, "0800", string(in(contexts[1], 13).Serialize()))
	}
}

func TestTimersAndRestrictionsOfIoT(t *testing.T) {
	h := startHSS(t)
	active, buffer := uint32(0), int32(-1)
	p := internet()
	p.Charging = "0400"
	p.RATs = []subscriber.RAT{subscriber.EUTRANNBIoT, subscriber.LTEM}
	p.IoT = subscriber.IoT{
		PeriodicTAU: 86_400, ActiveTime: &active, DLBuffering: &buffer,
		EDRX: []subscriber.EDRX{
			{RAT: subscriber.EUTRANNBIoT, Cycle: 9, Window: new(uint8(3))},
			{RAT: subscriber.LTEM, Cycle: 2, Window: new(uint8(15))},
			{RAT: subscriber.EUTRAN, Cycle: 5, Window: new(uint8(15))},
			{RAT: subscriber.UTRAN, Cycle: 1},
		},
	}
	h.add(p)
	m := dialMME(t, h.address, mme1)
	ulr := m.request(316, string(imsi), map[uint32]datatype.Type{
		avp.RATType: datatype.Enumerated(1007), avp.ULRFlags: datatype.Unsigned32(2), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
	})
	ans := m.exchange(ulr)
	m.requireResult(ans, 2001)
	data := find(t, ans, avp.SubscriptionData)
	value := func(code uint32) []byte {
		t.Helper()
		v := in(data, code)
		require.NotNil(t, v, "AVP %d", code)
		return v.Serialize()
	}
	require.Equal(t, []byte{0, 0x01, 0x51, 0x80}, value(1619), "Subscribed-Periodic-RAU-TAU-Timer")
	require.Equal(t, []byte{0, 0, 0, 0}, value(4324), "Active-Time 0 is a time")
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, value(1674), "DL-Buffering-Suggested-Packet-Count -1")
	require.Len(t, all(data, 1691), 4, "eDRX-Cycle-Length")
	var told []string
	for _, w := range all(data, 1701) {
		told = append(told, fmt.Sprintf("% x", w.Serialize()))
	}
	require.Equal(t, []string{ // Operation-Mode NB-S1 and WB-S1, Paging-Time-Window-Length in the upper bits
		"00 00 06 a6 80 00 00 10 00 00 28 af 00 00 00 03 00 00 06 a7 80 00 00 0d 00 00 28 af 30 00 00 00",
		"00 00 06 a6 80 00 00 10 00 00 28 af 00 00 00 02 00 00 06 a7 80 00 00 0d 00 00 28 af f0 00 00 00",
	}, told, "Paging-Time-Window")
	require.Equal(t, "0400", string(value(13)))
	require.Equal(t, []byte{0, 0, 0x10, 0x0b}, value(avp.AccessRestrictionData), "no UTRAN, GERAN, HSPA, and no wide E-UTRAN but LTE-M")
	m.requireExperimental(m.exchange(m.ulr(2)), 5421)
}

func TestAccessRestrictionData(t *testing.T) {
	for _, row := range []struct {
		rats []subscriber.RAT
		bits uint32
	}{
		{nil, 0},
		{[]subscriber.RAT{subscriber.EUTRAN, subscriber.LTEM, subscriber.EUTRANNBIoT, subscriber.UTRAN, subscriber.GERAN, subscriber.HSPAEvolution}, 0},
		{[]subscriber.RAT{subscriber.EUTRAN}, noUTRAN | noGERAN | noHSPA | noNBIoT | noLTEM},
		{[]subscriber.RAT{subscriber.UTRAN}, noGERAN | noHSPA | noNBIoT | noWBEUTRAN},
	} {
		require.Equal(t, row.bits, restrictions(subscriber.Profile{RATs: row.rats}), "%v", row.rats)
	}
}

func TestTripletsForA2GSIM(t *testing.T) {
	h := startHSS(t)
	keys, sim := testKeys(t)
	keys.Algorithm = aka.GSMMilenage
	require.NoError(t, h.store.Add(context.Background(), imsi, internet().WithDefaults(), keys, 0, time.Now()))
	m := dialMME(t, h.address, mme1)
	m.requireExperimental(m.exchange(m.air(1, 0, nil)), 5420)
	ans := m.exchange(m.air(0, 3, nil))
	m.requireResult(ans, 2001)
	info := find(t, ans, avp.AuthenticationInfo)
	require.Empty(t, all(info, avp.UTRANVector))
	vectors := all(info, avp.GERANVector)
	require.Len(t, vectors, 3)
	for i, v := range vectors {
		require.Equal(t, datatype.Unsigned32(i+1), in(v, avp.ItemNumber))
		rand := [16]byte(in(v, avp.RAND).Serialize())
		// TS 33.102 6.8.1.2 by the card's own f2 to f4.
		res, ck, ik := sim.out(2, rand, [6]byte{}, [2]byte{}), sim.out(3, rand, [6]byte{}, [2]byte{}), sim.out(4, rand, [6]byte{}, [2]byte{})
		var sres [4]byte
		var kc [8]byte
		for j := range 4 {
			sres[j] = res[8+j] ^ res[12+j]
		}
		for j := range 8 {
			kc[j] = ck[j] ^ ck[8+j] ^ ik[j] ^ ik[8+j]
		}
		require.Equal(t, sres[:], in(v, 1454).Serialize())
		require.Equal(t, kc[:], in(v, 1453).Serialize())
	}
}

func TestOtherAlgorithms(t *testing.T) {
	h := startHSS(t)
	m := dialMME(t, h.address, mme1)
	long := aka.KeyOf(make([]byte, 32))
	for _, c := range []aka.Credentials{
		{Algorithm: aka.TUAK, K: long, OPc: long, RESOctets: 16, Iterations: 2},
		{Algorithm: aka.TUAK, K: aka.KeyOf(make([]byte, 16)), OPc: long},
		{Algorithm: aka.XOR, K: aka.KeyOf(make([]byte, 16))},
	} {
		_, _, _ = h.store.Remove(context.Background(), imsi)
		require.NoError(t, h.store.Add(context.Background(), imsi, internet().WithDefaults(), c, 0, time.Now()))
		got, err := h.store.Credentials(context.Background(), imsi)
		require.NoError(t, err)
		require.True(t, got == c)
		v := vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)[0]
		require.Len(t, v.xres, int(max(8, c.RESOctets)))
		require.Equal(t, byte(0x80), v.autn[6], "separation bit")
	}
}

func TestPartialPurgeOfACombinedNode(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.ulr(2)), 2001)
	m.requireResult(m.exchange(m.ulr(0)), 2001)
	pur := m.pur()
	m.add(pur, 1635, avp.Vbit, diameter.Vendor3GPP, datatype.Unsigned32(2)) // UE purged in SGSN
	ans := m.exchange(pur)
	require.Equal(t, datatype.Unsigned32(2), find(t, ans, avp.PUAFlags), "freeze P-TMSI")
	require.True(t, h.subscriber().SGSN.Purged)
	require.False(t, h.subscriber().MME.Purged)
}

// An SGSN that was given PDP contexts is told that those of an APN go, with the APN.
func TestWithdrawnAPNAtAnSGSN(t *testing.T) {
	h := startHSS(t)
	p := internet()
	p.APNs = append(p.APNs, subscriber.APN{Name: "meters"})
	h.add(p)
	m := dialMME(t, h.address, mme1)
	m.requireResult(m.exchange(m.ulr(8)), 2001)
	h.change(func(p *subscriber.Profile) { p.APNs = p.APNs[:1] })
	dsr := m.expect(320)
	require.Equal(t, datatype.Unsigned32(1<<3|1<<6), find(t, dsr, avp.DSRFlags), "PDN subscription contexts, PDP contexts")
	require.Equal(t, datatype.Unsigned32(2), find(t, dsr, avp.ContextIdentifier))
	m.send(dsr.Answer(2001))
	h.requireTold("DSR", "done", 1)
}

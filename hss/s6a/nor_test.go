package s6a

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

func terminal(imei string) *diam.GroupedAVP { return group(tgpp(avp.IMEI, datatype.UTF8String(imei))) }

func (m *mme) nor(avps map[uint32]datatype.Type) *diam.Message {
	return m.request(323, string(imsi), avps)
}

func TestNotificationsAreStored(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	ulr := a.ulr(2)
	a.add(ulr, 1645, avp.Vbit, diameter.Vendor3GPP, datatype.OctetString("\x88\x12\x02\x00\x00\xf9")) // MME-Number-for-MT-SMS
	ans := a.exchange(ulr)
	a.requireResult(ans, 2001)
	require.Equal(t, datatype.Unsigned32(3), find(t, ans, avp.ULAFlags), "separation, MME registered for SMS")
	require.Equal(t, "88212000009", h.subscriber().MME.SMS)

	gateway := func(m *mme, apn, host string) *diam.Message {
		req := m.nor(nil)
		m.add(req, avp.MIP6AgentInfo, avp.Mbit, 0, group(
			diam.NewAVP(avp.MIPHomeAgentAddress, avp.Mbit, 0, datatype.Address(net.IPv4(10, 20, 2, 2))),
			diam.NewAVP(avp.MIPHomeAgentHost, avp.Mbit, 0, group(
				diam.NewAVP(avp.DestinationRealm, avp.Mbit, 0, datatype.DiameterIdentity(ourRealm)),
				diam.NewAVP(avp.DestinationHost, avp.Mbit, 0, datatype.DiameterIdentity(host))))))
		if apn != "" {
			m.add(req, avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String(apn))
		}
		return req
	}
	b.requireExperimental(b.exchange(gateway(b, "internet", "pgw9."+ourRealm)), 5423) // not the node that serves
	a.requireResult(a.exchange(gateway(a, "", "pgw1."+ourRealm)), diameter.MissingAVP)
	a.requireExperimental(a.exchange(gateway(a, "another", "pgw1."+ourRealm)), 5420)
	none := a.nor(nil) // of an APN that was taken away, as MIP6-Agent-Info without members says
	a.add(none, avp.MIP6AgentInfo, avp.Mbit, 0, group())
	a.add(none, avp.ServiceSelection, avp.Mbit, 0, datatype.UTF8String("another"))
	a.requireResult(a.exchange(none), 2001)
	a.requireResult(a.exchange(gateway(a, "Internet", "pgw1."+ourRealm)), 2001)
	all, err := h.store.Gateways(context.Background(), imsi)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "pgw1."+ourRealm, all["internet"].Host)
	require.Equal(t, "10.20.2.2", all["internet"].IPv4.String())

	for bit, says := range map[int]bool{
		2: true, 3: true, 5: true, 6: true, // ready for SM at the SGSN, reachable from the MME, from the SGSN, ready for SM at the MME
		0: false, 1: false, 7: false, 8: false,
	} {
		require.NoError(t, h.store.EditRegistration(t.Context(), imsi, subscriber.MME, mme1, func(r subscriber.Registration) subscriber.Registration {
			r.Reachable = time.Time{}
			return r
		}))
		a.requireResult(a.exchange(a.nor(map[uint32]datatype.Type{avp.NORFlags: datatype.Unsigned32(1 << bit)})), 2001)
		require.Equal(t, says, !h.subscriber().MME.Reachable.IsZero(), "bit %d", bit)
	}

	a.requireResult(a.exchange(a.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal("35609204079301")})), 2001)
	require.Equal(t, "35609204079301", h.subscriber().MME.IMEI)

	a.requireResult(a.exchange(a.nor(map[uint32]datatype.Type{avp.NORFlags: datatype.Unsigned32(1<<9 | 1<<4)})), 2001)
	require.Empty(t, h.subscriber().MME.SMS)
	all, err = h.store.Gateways(context.Background(), imsi)
	require.NoError(t, err)
	require.Empty(t, all)

	a.requireExperimental(a.exchange(a.request(323, "999700000000099", nil)), 5001)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	a.expectCLR(0)
	a.requireExperimental(a.exchange(a.nor(nil)), 5423) // it serves no longer
}

// An MME may say that it is the only node some time after it has registered.
func TestSingleRegistrationInANotification(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	single := map[uint32]datatype.Type{avp.NORFlags: datatype.Unsigned32(1)}
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	a.requireResult(a.exchange(a.nor(single)), 2001) // there is no other
	a.requireResult(a.exchange(a.ulr(0)), 2001)
	a.requireResult(a.exchange(a.nor(single)), 2001) // a combined node
	require.Equal(t, mme1, h.subscriber().SGSN.Host)
	b.requireResult(b.exchange(b.ulr(0)), 2001)
	a.expectCLR(1)
	require.Equal(t, []string{mme1, mme2}, []string{h.subscriber().MME.Host, h.subscriber().SGSN.Host})

	b.requireResult(b.exchange(b.nor(single)), 2001) // an SGSN does not set it
	require.Equal(t, mme1, h.subscriber().MME.Host)
	a.requireResult(a.exchange(a.nor(single)), 2001)
	clr := b.expect(317)
	require.Equal(t, datatype.Enumerated(1), find(t, clr, avp.CancellationType))
	_, err := clr.FindAVP(1638, diameter.Vendor3GPP)
	require.Error(t, err, "CLR-Flags: the registration over S6d")
	b.send(clr.Answer(2001))
	require.True(t, h.subscriber().SGSN.IsZero())
	require.Equal(t, mme1, h.subscriber().MME.Host)
	h.requireTold("CLR", "done", 2)
}

func TestDeviceThatTheSIMIsLockedOutOfIsCancelledAtNOR(t *testing.T) {
	h := startHSS(t)
	p := internet()
	p.IMEILock = subscriber.IMEILock{Learn: true}
	h.add(p)
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	require.Equal(t, []string{"35609204079300"}, h.subscriber().Profile.IMEILock.IMEIs, "learned at the first ULR")
	audits, err := h.store.Audits(t.Context(), store.AuditMatch{Object: string(imsi)}, 10)
	require.NoError(t, err)
	require.Len(t, audits, 1)
	require.Equal(t, []string{"network", mme1, "imei.learn", "imei_lock.imeis: 35609204079300"}, []string{audits[0].Who, audits[0].From, audits[0].Verb, audits[0].Detail})
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	a.requireResult(a.exchange(a.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal("356092040793009")})), 2001) // with a check digit
	a.send(a.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal("99000085000000")}))
	seen := map[uint32]bool{}
	for range 2 { // the answer and the CLR, in whichever order
		m := a.receive()
		seen[m.Header.CommandCode] = true
		if m.Header.CommandCode == 317 {
			require.Equal(t, datatype.Enumerated(2), find(t, m, avp.CancellationType))
			a.send(m.Answer(2001))
		}
	}
	require.Equal(t, map[uint32]bool{317: true, 323: true}, seen)
	h.requireTold("CLR", "done", 1)
	require.True(t, h.subscriber().MME.IsZero())
}

func TestStateAndLocationOnDemand(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	got := make(chan []subscriber.NodeLocation, 1)
	go func() {
		all, err := h.server.Locate(context.Background(), h.node, imsi, true)
		require.NoError(t, err)
		got <- all
	}()
	idr := a.expect(319)
	require.Equal(t, datatype.Unsigned32(1<<2|1<<3|1<<4), find(t, idr, avp.IDRFlags))
	ida := idr.Answer(2001)
	v := func(code uint32, d datatype.Type) *diam.AVP {
		return diam.NewAVP(code, avp.Vbit, diameter.Vendor3GPP, d)
	}
	ida.AddAVP(v(1495, group(v(1497, group(v(1499, datatype.Enumerated(2)))))))
	ida.AddAVP(v(1496, group(v(1600, group(
		v(1602, datatype.OctetString("\x00\xf1\x10\x01\x02\x03\x04")), v(1603, datatype.OctetString("\x00\xf1\x10\x00\x01")), v(1611, datatype.Unsigned32(3)))))))
	a.send(ida)
	all := <-got
	require.Len(t, all, 1)
	require.Equal(t, "attached, reachable for paging", all[0].State)
	require.Equal(t, []string{"00f11001020304", "00f1100001", "3m0s"}, []string{all[0].Cell, all[0].Area, all[0].Age.String()})
}

func (m *mme) ecr(imei, user string) *diam.Message {
	m.last++
	msg := diam.NewMessage(324, diam.RequestFlag|diam.ProxiableFlag, S13ID, m.last, m.last, dict.Default)
	m.add(msg, avp.SessionID, avp.Mbit, 0, datatype.UTF8String(m.host+";1;3"))
	m.add(msg, avp.AuthSessionState, avp.Mbit, 0, datatype.Enumerated(1))
	m.add(msg, avp.OriginHost, avp.Mbit, 0, datatype.DiameterIdentity(m.host))
	m.add(msg, avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity(mmeRealm))
	m.add(msg, avp.DestinationRealm, avp.Mbit, 0, datatype.DiameterIdentity(ourRealm))
	if user != "" {
		m.add(msg, avp.UserName, avp.Mbit, 0, datatype.UTF8String(user))
	}
	m.add(msg, avp.TerminalInformation, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, terminal(imei))
	return msg
}

func TestEquipmentStatus(t *testing.T) {
	r := startRedis(t)
	h := startHSSOn(t, r, func(s *settings) {
		s.s6a.Equipment = EquipmentConfig{White: []string{"35"}, Grey: []string{"35609204"}, Black: []string{"35609204079300", "990"}, Unknown: "refuse"}
	})
	p := internet()
	p.IMEILock = subscriber.IMEILock{TACs: []string{"35000000-35000009"}}
	h.add(p)
	m := dialMME(t, h.address, mme1)
	for _, row := range []struct {
		name, imei, user string
		status           int
	}{
		{"white by two digits", "35000001000000", "", 0},
		{"grey by its TAC", "35609204000000", "", 2},
		{"black by its IMEI, with a software version", "3560920407930012", "", 1},
		{"black by its maker", "99000085000000", "", 1},
		{"white, and the SIM may be in it", "35000001000000", string(imsi), 0},
		{"white, but the SIM may not be in it", "35777777000000", string(imsi), 1},
		{"white, and the SIM is not ours", "35777777000000", "262019999999999", 0},
	} {
		ans := m.exchange(m.ecr(row.imei, row.user))
		m.requireResult(ans, 2001)
		require.Equal(t, datatype.Enumerated(row.status), find(t, ans, avp.EquipmentStatus), row.name)
	}
	m.requireExperimental(m.exchange(m.ecr("01234567890123", "")), 5422)

	// What is put in by command stands beside the configuration: the narrower decides, of two as narrow the command.
	require.NoError(t, h.store.PutEquipment(context.Background(), []subscriber.Equipment{
		{Range: "012", List: subscriber.Grey},
		{Range: "35609204", List: subscriber.White},
		{Range: "99000085-99000086", List: subscriber.White},
		{Range: "35609204079300-35609204079309", List: subscriber.White},
		{Range: "3500000", List: subscriber.Black},
	}))
	for imei, status := range map[string]int{
		"01234567890123": 2, "35609204000000": 0, "99000085000000": 0, "99000087000000": 1, "35609204079300": 1, "35609204079301": 0, "35000001000000": 1,
	} {
		ans := m.exchange(m.ecr(imei, ""))
		m.requireResult(ans, 2001)
		require.Equal(t, datatype.Enumerated(status), find(t, ans, avp.EquipmentStatus), imei)
	}
	r.Kill()
	m.requireResult(m.exchange(m.ecr("01234567890123", "")), diameter.TooBusy)
	r.Resume(t)
	require.Eventually(t, func() bool {
		_, err := m.exchange(m.ecr("01234567890123", "")).FindAVP(avp.EquipmentStatus, diameter.Vendor3GPP)
		return err == nil
	}, patience, patienceStep)
	m.requireResult(m.exchange(m.ecr("1234", "")), diameter.InvalidAVPValue)
}

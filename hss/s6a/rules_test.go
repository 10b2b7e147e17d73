package s6a

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

func startRedis(t testing.TB) *redistest.Server { return redistest.Start(t) }

// told is what a refusal looks like: Experimental-Result-Code, and Error-Diagnostic ODB_ALL_APN or none.
type told struct {
	code uint32
	odb  bool
}

var accepted = told{}

func (m *mme) requireTold(t *testing.T, ans *diam.Message, want told, name string) {
	t.Helper()
	m.t = t
	if want == accepted {
		m.requireResult(ans, 2001)
		return
	}
	m.requireExperimental(ans, want.code)
	_, err := ans.FindAVP(avp.ErrorDiagnostic, diameter.Vendor3GPP)
	require.Equal(t, want.odb, err == nil, name)
}

// Every combination of state, carrier list and IMEI lock, at AIR and ULR, for a host without settings of its own and for
// one with; and at NOR, where a SIM that may not be there, or not in its device, is cancelled.
func TestStateCarrierAndLockRules(t *testing.T) {
	const special = "epc.mnc002.mcc001.3gppnetwork.org"
	h := startHSSOn(t, startRedis(t), func(s *settings) {
		s.peers.Peers = append(s.peers.Peers, diameter.PeerConfig{Host: "*." + special})
		s.s6a.Causes = Causes{subscriber.ReasonTerminated: "roaming_not_allowed"}
		s.s6a.Partners = []PartnerConfig{{Name: "special", Realms: []string{special}, Causes: Causes{
			subscriber.ReasonSuspended: "rat_not_allowed", subscriber.ReasonCarrier: "odb_all_apn", subscriber.ReasonIMEI: "user_unknown",
		}}}
	})
	usual, own := dialMME(t, h.address, mme1), dialMME(t, h.address, "mme1."+special)
	states := map[subscriber.Status][2]told{ // at the usual host, and at the one with settings
		subscriber.Active:      {},
		subscriber.Provisioned: {{5004, true}, {5004, true}},
		subscriber.Suspended:   {{5004, true}, {5421, false}},
		subscriber.Terminated:  {{5004, false}, {5004, false}},
	}
	carriers := map[string]struct {
		plmns []string
		told  [2]told
	}{
		"everywhere":            {nil, [2]told{}},
		"the visited network":   {[]string{"262-01", "001-01"}, [2]told{}},
		"another of its digits": {[]string{"001-010"}, [2]told{{5004, false}, {5004, true}}},
		"another":               {[]string{"262-01"}, [2]told{{5004, false}, {5004, true}}},
	}
	locks := map[string]struct {
		lock subscriber.IMEILock
		imei string
		told [2]told // at ULR
	}{
		"no lock":                          {subscriber.IMEILock{}, "35609204079300", [2]told{}},
		"this device":                      {subscriber.IMEILock{IMEIs: []string{"35609204079300"}}, "3560920407930099", [2]told{}},
		"another device":                   {subscriber.IMEILock{IMEIs: []string{"35609204079301"}}, "35609204079300", [2]told{{5004, true}, {5001, false}}},
		"a range of models":                {subscriber.IMEILock{TACs: []string{"35609200-35609209"}}, "35609204079300", [2]told{}},
		"the first device":                 {subscriber.IMEILock{Learn: true}, "35609204079300", [2]told{}},
		"another range":                    {subscriber.IMEILock{TACs: []string{"35609300-35609309"}}, "35609204079300", [2]told{{5004, true}, {5001, false}}},
		"a device, the network names none": {subscriber.IMEILock{IMEIs: []string{"35609204079301"}}, "", [2]told{}},
		"a device, and it must be named": {
			subscriber.IMEILock{IMEIs: []string{"35609204079301"}, Absent: subscriber.RefuseAbsent}, "", [2]told{{5004, true}, {5001, false}},
		},
	}
	keys, _ := testKeys(t)
	atNOR := 0
	for status, byState := range states {
		for carrier, byCarrier := range carriers {
			for lock, byLock := range locks {
				name := fmt.Sprintf("%s, allowed: %s, %s", status, carrier, lock)
				_, _, _ = h.store.Remove(context.Background(), imsi)
				p := internet()
				p.Status, p.PLMNs, p.IMEILock = status, byCarrier.plmns, byLock.lock
				require.NoError(t, h.store.Add(context.Background(), imsi, p.WithDefaults(), keys, 0, time.Now()))
				for i, m := range []*mme{usual, own} {
					atAIR, atULR := byState[i], byState[i] // the first rule that refuses decides
					if atAIR == accepted {
						atAIR, atULR = byCarrier.told[i], byCarrier.told[i]
					}
					if atULR == accepted {
						atULR = byLock.told[i]
					}
					air, ulr := m.air(1, 0, nil), m.request(316, string(imsi), map[uint32]datatype.Type{
						avp.RATType: datatype.Enumerated(1004), avp.ULRFlags: datatype.Unsigned32(2), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
					})
					if byLock.imei != "" {
						m.add(ulr, avp.TerminalInformation, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, terminal(byLock.imei))
					}
					if i == 1 {
						setRealm(air, special)
						setRealm(ulr, special)
					}
					m.requireTold(t, m.exchange(air), atAIR, name)
					m.requireTold(t, m.exchange(ulr), atULR, name)
					if atULR == accepted { // leave nothing behind that the next host would displace
						pur := m.pur()
						if i == 1 {
							setRealm(pur, special)
						}
						m.requireResult(m.exchange(pur), 2001)
					}
				}
				goes := byState[0] != accepted || byCarrier.told[0] != accepted || byLock.told[0] != accepted
				h.requireAtNOR(t, usual, p, byLock.imei, goes, name)
				atNOR++
			}
		}
	}
	require.Equal(t, len(states)*len(carriers)*len(locks), atNOR)
}

// requireAtNOR has a SIM registered that may be anywhere, gives it a profile behind the back of the node, and has that say
// in which device the SIM is: it stays or goes.
func (h *hss) requireAtNOR(t *testing.T, m *mme, p subscriber.Profile, imei string, goes bool, name string) {
	t.Helper()
	ctx := context.Background()
	_, _, _ = h.store.Remove(ctx, imsi)
	h.add(internet())
	m.requireResult(m.exchange(m.request(316, string(imsi), map[uint32]datatype.Type{
		avp.RATType: datatype.Enumerated(1004), avp.ULRFlags: datatype.Unsigned32(2), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
	})), 2001)
	r, err := h.store.Load(ctx, imsi)
	require.NoError(t, err)
	_, _, err = h.store.Change(ctx, imsi, r.Revision, r.Stored, p.WithDefaults())
	require.NoError(t, err)
	nor := m.nor(nil)
	if imei != "" {
		nor = m.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal(imei)})
	}
	m.send(nor)
	answered, cancelled := false, false
	for !answered || goes && !cancelled {
		msg := m.receive()
		switch msg.Header.CommandCode {
		case 323:
			m.requireResult(msg, 2001)
			answered = true
		case 317:
			require.Equal(t, datatype.Enumerated(2), find(t, msg, avp.CancellationType), name)
			m.send(msg.Answer(2001))
			cancelled = true
		}
	}
	require.Equal(t, goes, cancelled, name)
	require.Equal(t, goes, h.subscriber().MME.IsZero(), name)
}

func setRealm(m *diam.Message, realm string) {
	for _, a := range m.AVP {
		if a.Code == avp.OriginRealm {
			m.Header.MessageLength -= uint32(a.Len())
			*a = *diam.NewAVP(avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity(realm))
			m.Header.MessageLength += uint32(a.Len())
		}
	}
}

func TestRealmThatNamesANetworkOfAnotherPartner(t *testing.T) {
	for mismatch, code := range map[string]uint32{"count": 0, "refuse": 5004} {
		h := startHSSOn(t, startRedis(t), func(s *settings) {
			s.s6a.Mismatch = mismatch
			s.s6a.Partners = []PartnerConfig{{Realms: []string{mmeRealm}, PLMNs: []string{"262-01"}}}
		})
		h.add(internet())
		m := dialMME(t, h.address, mme1)
		for _, req := range []*diam.Message{m.air(1, 0, nil), m.ulr(2)} {
			ans := m.exchange(req)
			if code == 0 {
				m.requireResult(ans, 2001)
			} else {
				m.requireExperimental(ans, code)
			}
		}
	}
}

func TestConfigOfCauses(t *testing.T) {
	c := DefaultConfig()
	require.NoError(t, c.Validate())
	c.Causes = Causes{"weather": "user_unknown", subscriber.ReasonSuspended: "5001"}
	c.Partners = []PartnerConfig{{PLMNs: []string{"1-1"}}}
	c.Mismatch, c.GiveUpAfter = "ask", 0
	c.Equipment = EquipmentConfig{White: []string{"x"}}
	err := c.Validate()
	for _, key := range []string{"causes: reason", "causes.suspended:", "partners[0].realms:", "partners[0].plmns:", "mismatch:", "give_up_after:", "equipment.white[0]:"} {
		require.ErrorContains(t, err, key)
	}
}

// What may go well the next time is no permanent failure.
func TestPassingFailuresOfTheStore(t *testing.T) {
	s := &Server{cfg: DefaultConfig()}
	for err, want := range map[error]uint32{
		fmt.Errorf("64 tries: %w", store.ErrChanged): diameter.TooBusy,
		fmt.Errorf("away: %w", store.ErrUnavailable): diameter.TooBusy,
		store.ErrUnknown: uint32(subscriber.UserUnknown),
	} {
		var told *diameter.Error
		require.ErrorAs(t, s.asAnswer(err, "visited", tryElsewhere()), &told)
		require.Equal(t, want, told.Code, err)
	}
}

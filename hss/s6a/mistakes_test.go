package s6a

import (
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// What others got wrong, a row each; those that need more than one exchange have a test of their own, which is named.
func TestMistakesOfOthers(t *testing.T) {
	rows := []struct {
		name string
		is   func(t *testing.T, h *hss, m *mme)
	}{
		{"AUTS is accepted without comparing MAC-S", func(t *testing.T, h *hss, m *mme) { // TestResynchronisation
			before := vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)[0]
			m.requireExperimental(m.exchange(m.air(1, 0, make([]byte, 30))), 4181)
			_, sim := testKeys(t)
			sim.accept(t, before)
			sim.accept(t, vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)[0])
		}},
		{"the same vector is given twice", func(t *testing.T, h *hss, m *mme) { // TestManyNodesAskAtOnce
			one := vectorsOf(t, m.exchange(m.air(5, 0, nil)), avp.EUTRANVector)
			two := vectorsOf(t, m.exchange(m.air(5, 0, nil)), avp.EUTRANVector)
			seen := map[[16]byte]bool{}
			_, sim := testKeys(t)
			for _, v := range append(one, two...) {
				require.False(t, seen[v.rand])
				seen[v.rand] = true
				sim.accept(t, v) // no SQN twice: an AUTN alone would not show it, since its AK comes from RAND
			}
		}},
		{"a refused ULR is answered under another command code", func(t *testing.T, h *hss, m *mme) {
			ans := m.exchange(m.request(316, "999700000000099", map[uint32]datatype.Type{
				avp.RATType: datatype.Enumerated(1004), avp.ULRFlags: datatype.Unsigned32(2), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
			}))
			m.requireExperimental(ans, 5001)
			require.EqualValues(t, 316, ans.Header.CommandCode)
			require.EqualValues(t, ApplicationID, ans.Header.ApplicationID)
		}},
		{"a CLR has the wrong Cancellation-Type, or none", func(t *testing.T, h *hss, m *mme) { // TestInitialAttachAtAnMMEEndsTheSGSNsRegistration
			m.requireResult(m.exchange(m.ulr(0)), 2001)
			other := dialMME(t, h.address, mme2)
			other.requireResult(other.exchange(other.ulr(0)), 2001)
			m.expectCLR(1)
		}},
		{"any peer's PUR is accepted", func(t *testing.T, h *hss, m *mme) {
			m.requireResult(m.exchange(m.ulr(2)), 2001)
			other := dialMME(t, h.address, mme2)
			require.Equal(t, datatype.Unsigned32(0), find(t, other.exchange(other.pur()), avp.PUAFlags))
			require.False(t, h.subscriber().MME.Purged)
		}},
		{"the home network is recognised only by MCC and MNC both", func(t *testing.T, h *hss, m *mme) {
			// A host in the home country, and the home network itself, are checked like any other.
			for plmn, want := range map[string]uint32{"\x99\xf9\x07": 2001, "\x99\xf9\x10": 5004} { // 999-70, 999-01
				ans := m.exchange(m.request(318, string(imsi), map[uint32]datatype.Type{
					avp.VisitedPLMNID: datatype.OctetString(plmn), avp.RequestedEUTRANAuthenticationInfo: group(),
				}))
				if want == 2001 {
					m.requireResult(ans, want)
				} else {
					m.requireExperimental(ans, want)
				}
			}
		}},
		{"an AMBR is cut to 32 bits", func(t *testing.T, h *hss, m *mme) {
			rates := in(find(t, m.exchange(m.ulr(2)), avp.SubscriptionData), avp.AMBR)
			require.Equal(t, datatype.Unsigned32(1<<32-1), in(rates, avp.MaxRequestedBandwidthDL))
			require.Equal(t, []byte{0, 0x98, 0x96, 0x80}, in(rates, 554).Serialize(), "10,000,000 kbit/s")
		}},
		{"Supported-Features are a constant", func(t *testing.T, h *hss, m *mme) {
			for _, theirs := range []uint32{0, featureLocation, 0xffffffff} {
				req := m.ulr(2)
				m.add(req, avp.SupportedFeatures, avp.Mbit|avp.Vbit, diameter.Vendor3GPP, group(
					diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(diameter.Vendor3GPP)),
					tgpp(avp.FeatureListID, datatype.Unsigned32(1)), tgpp(avp.FeatureList, datatype.Unsigned32(theirs))))
				ours := in(find(t, m.exchange(req), avp.SupportedFeatures), avp.FeatureList)
				require.Equal(t, datatype.Unsigned32(theirs&features(1)), ours)
			}
		}},
		{"a request with a missing AVP is not answered", func(t *testing.T, h *hss, m *mme) {
			for _, command := range []uint32{316, 318} {
				ans := m.exchange(m.request(command, string(imsi), nil))
				m.requireResult(ans, diameter.MissingAVP)
				_, err := ans.FindAVP(avp.FailedAVP, 0)
				require.NoError(t, err)
			}
		}},
		{"a NOR is answered success and stores nothing", func(t *testing.T, h *hss, m *mme) { // TestNotificationsAreStored
			m.requireResult(m.exchange(m.ulr(2)), 2001)
			m.requireResult(m.exchange(m.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal("35609204079399")})), 2001)
			require.Equal(t, "35609204079399", h.subscriber().MME.IMEI)
		}},
		{"there is always one vector", func(t *testing.T, h *hss, m *mme) {
			require.Len(t, vectorsOf(t, m.exchange(m.air(4, 0, nil)), avp.EUTRANVector), 4)
		}},
		{"more than six vectors are refused", func(t *testing.T, h *hss, m *mme) {
			require.Len(t, vectorsOf(t, m.exchange(m.air(7, 0, nil)), avp.EUTRANVector), 5)
		}},
		{"a link dies when it is idle", func(t *testing.T, h *hss, m *mme) {
			dwr := m.receiveAny() // ours, after the watchdog's interval
			require.EqualValues(t, 280, dwr.Header.CommandCode)
			m.send(dwr.Answer(2001))
			m.requireResult(m.exchange(m.air(1, 0, nil)), 2001)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := startHSSOn(t, startRedis(t), func(s *settings) {
				if row.name == "a link dies when it is idle" {
					s.peers.Watchdog = 100 * time.Millisecond
				}
			})
			p := internet()
			p.AMBR = subscriber.Bitrates{Uplink: 1_000_000, Downlink: 10_000_000_000}
			p.PLMNs = []string{"001-01", "999-70"}
			h.add(p)
			row.is(t, h, dialMME(t, h.address, mme1))
		})
	}
}

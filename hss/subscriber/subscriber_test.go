package subscriber

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

func plmn(t *testing.T, s string) identity.PLMN {
	t.Helper()
	p, err := identity.ParsePLMN(s)
	require.NoError(t, err)
	return p
}

func TestWhoMayAttachWhere(t *testing.T) {
	open := Profile{APNs: []APN{{Name: "internet"}}}.WithDefaults()
	with := func(f func(*Profile)) Profile { p := open.WithDefaults(); f(&p); return p }
	rows := []struct {
		name       string
		p          Profile
		plmn       string
		rat        RAT
		cause      Cause
		diagnostic Diagnostic
	}{
		{"no rules", open, "001-01", EUTRAN, 0, 0},
		{"an allowed network", with(func(p *Profile) { p.PLMNs = []string{"001-01", "262-02"} }), "262-02", EUTRAN, 0, 0},
		{"another network", with(func(p *Profile) { p.PLMNs = []string{"001-01"} }), "262-02", EUTRAN, RoamingNotAllowed, 0},
		{"MNC 01 is not MNC 010", with(func(p *Profile) { p.PLMNs = []string{"001-01"} }), "001-010", EUTRAN, RoamingNotAllowed, 0},
		{"suspended: not the network's fault", with(func(p *Profile) { p.Status = Suspended }), "001-01", EUTRAN, RoamingNotAllowed, ODBAllAPN},
		{"no APN", with(func(p *Profile) { p.APNs = nil }), "001-01", EUTRAN, UnknownEPSSubscription, 0},
		{"an allowed RAT", with(func(p *Profile) { p.RATs = []RAT{LTEM, EUTRAN} }), "001-01", EUTRAN, 0, 0},
		{"another RAT", with(func(p *Profile) { p.RATs = []RAT{LTEM} }), "001-01", EUTRAN, RATNotAllowed, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.p.MayRegister(plmn(t, row.plmn), Registration{RAT: row.rat})
			if row.cause == 0 {
				require.NoError(t, err)
				return
			}
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, row.cause, refusal.Cause)
			require.Equal(t, row.diagnostic, refusal.Diagnostic)
		})
	}
	require.NoError(t, Profile{Status: Active}.Admission().MayAuthenticate(plmn(t, "001-01"), false), "UTRAN vectors need no APN")
}

func TestProfileValidate(t *testing.T) {
	good := Profile{
		MSISDN: "882120000001",
		APNs: []APN{
			{Name: "internet", StaticIPv4: netip.MustParseAddr("10.0.0.1")},
			{Name: "meters.example", PDNType: IPv4v6, StaticIPv6: netip.MustParseAddr("2001:db8::1"), Charging: "0800"},
		},
		PLMNs: []string{"001-01"}, RATs: []RAT{EUTRAN},
	}.WithDefaults()
	require.NoError(t, good.Validate())
	j, err := json.Marshal(good)
	require.NoError(t, err)
	var again Profile
	require.NoError(t, json.Unmarshal(j, &again))
	require.Equal(t, good, again)

	bad := Profile{
		MSISDN: "12a", Status: "dead", PLMNs: []string{"1-2"}, RATs: []RAT{"6g"},
		APNs: []APN{
			{Name: "internet"},
			{Name: "internet", QCI: 10},
			{Name: "UP"},
			{Name: "a", ARP: ARP{Priority: 16}},
			{Name: "b", PDNType: "x25"},
			{Name: "c", PDNType: IPv4, StaticIPv6: netip.MustParseAddr("2001:db8::1")},
			{Name: "d", Charging: "80"},
			{Name: "e", PDNType: IPv6, StaticIPv4: netip.MustParseAddr("10.0.0.1")},
			{Name: "f", StaticIPv4: netip.MustParseAddr("2001:db8::1")},
			{Name: "g", OIReplacement: "mnc01.mcc001.gprs"},
			{Name: "h", Gateway: Gateway{Host: "pgw1.example"}},
			{Name: "i", Gateway: Gateway{Host: "pgw 1", Realm: "example"}},
			{Name: "j", Gateway: Gateway{IPv4: netip.MustParseAddr("2001:db8::1")}},
			{Name: "k", Gateway: Gateway{Network: "mnc001.mcc001.3gppnetwork.org"}},
		},
		Barring: []Barring{"calls", BarAll, BarAll}, OIReplacement: "MNC001.mcc001.gprs",
		Serving: Serving{
			UsageType: new(uint32(256)), RFSP: 257, Restrictions: []Restriction{NoNR, "6g"},
			Zones: []Zones{
				{PLMN: "001-1", Codes: []string{"0001"}}, {PLMN: "001-01"}, {PLMN: "001-01", Codes: []string{"1"}},
			},
			Trace:    &Trace{PLMN: "999-70", ID: "0001", Depth: 9, Nodes: "", Interfaces: "0", Events: "zz"},
			ResetIDs: []string{"a", "a", ""},
		},
	}.WithDefaults().Validate()
	for _, key := range []string{
		"msisdn", "status", "plmns[0]", "rats[0]", "apns[1].qci", "apns[1].name", "apns[2].name", "apns[3].arp.priority",
		"apns[4].pdn_type", "apns[5].static_ipv6", "apns[6].charging", "apns[7].static_ipv4", "apns[8].static_ipv4",
		"apns[9].oi_replacement", "barring[0]", "barring[2]", "oi_replacement",
		"apns[10].pgw.realm", "apns[11].pgw.host", "apns[12].pgw.ipv4", "apns[13].pgw.network",
		"serving.usage_type", "serving.rfsp", "serving.restrictions[1]", "serving.zones[0].plmn", "serving.zones[1].codes", "serving.zones[2].codes",
		"serving.zones[2].plmn", "serving.trace.id", "serving.trace.depth", "serving.trace.nodes", "serving.trace.interfaces", "serving.trace.events",
		"serving.trace.collector", "serving.reset_ids[1]", "serving.reset_ids[2]",
	} {
		require.True(t, strings.Contains("\n"+bad.Error(), "\n"+key+":"), "%s in\n%v", key, bad)
	}
}

func TestDisplaced(t *testing.T) {
	old, next := Registration{Host: "mme1"}, Registration{Host: "mme2"}
	require.True(t, old.Displaced(next))
	require.False(t, old.Displaced(Registration{Host: "MME1"}), "the same node")
	require.False(t, Registration{}.Displaced(next), "no registration")
	require.False(t, Registration{Host: "mme1", Purged: true}.Displaced(next), "it has dropped the SIM itself")
}

func TestVectorsUseTheRunInOrder(t *testing.T) {
	n := byte(0)
	challenge := func() [16]byte { n++; return [16]byte{n} }
	keys := aka.Credentials{K: aka.KeyOf(make([]byte, 16)), OPc: aka.KeyOf(make([]byte, 16))}
	first, rest := Counter{SEQ: 10, IND: 3, Count: 5}.Split(3)
	all, err := first.Vectors(keys, aka.SeparationBit, challenge)
	require.NoError(t, err)
	more, err := rest.Vectors(keys, 0, challenge)
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Len(t, more, 2)
	for i, v := range append(all, more...) {
		amf := aka.SeparationBit
		if i >= 3 {
			amf = 0
		}
		want, err := keys.Vector([16]byte{byte(i + 1)}, aka.NewSQN(uint64(10+i), 3), amf)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(want, v), "vector %d", i)
	}
	_, err = Counter{SEQ: aka.MaxSEQ, Count: 2}.Vectors(keys, 0, challenge)
	require.Error(t, err)
}

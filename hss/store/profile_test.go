package store

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
)

func full() subscriber.Profile {
	active, packets := uint32(0), int32(-1)
	return subscriber.Profile{
		Card: subscriber.Card{
			ICCID: "8988211000000000001", EID: "89049032000000000000000000000001", Batch: "lot 7", Added: epoch, StatusAt: epoch.AddDate(0, 1, 0), Activated: epoch.AddDate(0, 0, 1),
		},
		Template: "meter", MSISDN: "882120000001", Status: subscriber.Suspended, AMBR: subscriber.Bitrates{Uplink: 5_000_000_000},
		APNs: []subscriber.APN{
			{
				Name: "internet", PDNType: subscriber.IPv4v6, QCI: 7, ARP: subscriber.ARP{Priority: 15, Capability: true}, AMBR: subscriber.Bitrates{Downlink: 1},
				StaticIPv4: netip.MustParseAddr("10.0.0.1"), StaticIPv6: netip.MustParseAddr("2001:db8::"), Charging: "0800", OIReplacement: "a.mnc001.mcc001.gprs",
				Gateway: subscriber.Gateway{Host: "pgw1.example", Realm: "example", IPv4: netip.MustParseAddr("192.0.2.2"), IPv6: netip.MustParseAddr("2001:db8::2")},
			},
			{Name: "meters", ARP: subscriber.ARP{Priority: 1, Vulnerable: true}},
		},
		PLMNs: []string{"001-01", "262-002"}, RATs: subscriber.RATs(), Charging: "0400", AMF: "b9b9", Barring: subscriber.Barrings(), OIReplacement: "mnc001.mcc001.gprs",
		IMEILock: subscriber.IMEILock{IMEIs: []string{"35609204079300", "35609204079301"}, TACs: []string{"35609204", "35609204-35609209"}, Learn: true, Absent: subscriber.RefuseAbsent},
		IoT:      subscriber.IoT{PeriodicTAU: 86400, ActiveTime: &active, EDRX: []subscriber.EDRX{{RAT: subscriber.LTEM, Cycle: 9, Window: new(uint8(3))}}, DLBuffering: &packets, ServiceGap: 60},
		Serving: subscriber.Serving{
			UsageType: &active, RFSP: 256, Restrictions: subscriber.Restrictions(), Zones: []subscriber.Zones{{PLMN: "001-01", Codes: []string{"0001", "ffff"}}},
			Trace: &subscriber.Trace{PLMN: "999-70", ID: "000001", Nodes: "01", Events: "02", Collector: netip.MustParseAddr("192.0.2.1")}, ResetIDs: []string{"site 1"},
		},
	}
}

func TestProfileComesBackAsItWasStored(t *testing.T) {
	bare := full()
	bare.IMEILock = subscriber.IMEILock{Absent: subscriber.AllowAbsent}
	bare.Card.Activated = subscriber.Card{}.Activated
	for _, p := range []subscriber.Profile{{}, full(), bare, profile, {Status: subscriber.Provisioned}, {Status: subscriber.Terminated}, {Status: subscriber.Active}} {
		b, err := encodeProfile(p)
		require.NoError(t, err)
		got, err := decodeProfile(string(b))
		require.NoError(t, err)
		require.Equal(t, p, got, "%s", b)
	}
	for _, bad := range []string{`{"s":"q"}`, `{"a":1}`, `{`} {
		_, err := decodeProfile(bad)
		require.Error(t, err)
	}
}

func FuzzDecodeProfile(f *testing.F) {
	b, err := encodeProfile(full())
	require.NoError(f, err)
	f.Add(string(b))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := decodeProfile(text)
		if err != nil {
			return
		}
		b, err := encodeProfile(p)
		require.NoError(t, err)
		again, err := decodeProfile(string(b))
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

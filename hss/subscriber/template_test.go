package subscriber

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/identity"
)

func TestTemplatesFillWhatAProfileLeavesOut(t *testing.T) {
	sleep, packets := uint32(0), int32(5)
	all := Templates{
		Profiles: map[string]Profile{"meter": {
			AMBR: Bitrates{Uplink: 1000, Downlink: 2000}, APNs: []APN{{Name: "meters", QCI: 7}, {Name: "internet"}},
			PLMNs: []string{"001-01"}, RATs: []RAT{EUTRANNBIoT}, Charging: "0400",
			IMEILock: IMEILock{Learn: true, Absent: RefuseAbsent, TACs: []string{"35609204"}},
			IoT:      IoT{PeriodicTAU: 86400, ActiveTime: &sleep, EDRX: []EDRX{{RAT: EUTRANNBIoT, Cycle: 9}}, DLBuffering: &packets},
		}},
		APNs: map[identity.APN]APN{"meters": {Name: "meters", QCI: 8, PDNType: IPv6, ARP: ARP{Priority: 3}, AMBR: Bitrates{Uplink: 10}, Charging: "0800"}},
	}
	got, err := all.Resolve(Profile{Template: "meter", MSISDN: "88212", AMBR: Bitrates{Uplink: 500}})
	require.NoError(t, err)
	require.NoError(t, got.Validate())
	want := all.Profiles["meter"]
	want.Template, want.MSISDN, want.Status, want.AMBR = "meter", "88212", Active, Bitrates{Uplink: 500, Downlink: 2000}
	want.APNs = []APN{
		{Name: "meters", PDNType: IPv6, QCI: 7, ARP: ARP{Priority: 3}, AMBR: Bitrates{Uplink: 10, Downlink: defaultAMBR}, Charging: "0800"},
		{Name: "internet", PDNType: IPv4, QCI: 9, ARP: ARP{Priority: 8}, AMBR: Bitrates{Uplink: defaultAMBR, Downlink: defaultAMBR}},
	}
	require.Equal(t, want, got)
	require.Zero(t, all.Profiles["meter"].APNs[0].PDNType, "the template is as it was")

	got, err = all.Resolve(Profile{
		Template: "meter", Status: Suspended, PLMNs: []string{"262-02"}, APNs: []APN{{Name: "internet", StaticIPv6: netip.MustParseAddr("2001:db8::")}},
		IMEILock: IMEILock{IMEIs: []string{"35609204079300"}},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"262-02"}, got.PLMNs)
	require.Equal(t, Suspended, got.Status)
	require.Len(t, got.APNs, 1)
	require.Equal(t, IPv4v6, got.APNs[0].PDNType)
	require.Equal(t, IMEILock{IMEIs: []string{"35609204079300"}, Learn: true, Absent: RefuseAbsent, TACs: []string{"35609204"}}, got.IMEILock)

	_, err = all.Resolve(Profile{Template: "gone"})
	require.ErrorContains(t, err, "template", "a SIM that lost its template gets nothing rather than everything")
}

func TestAMF(t *testing.T) {
	for _, row := range []struct {
		amf       string
		eps, umts uint16
	}{{"", 0x8000, 0}, {"8000", 0x8000, 0}, {"b9b9", 0xb9b9, 0x39b9}, {"1234", 0x9234, 0x1234}} {
		p := Profile{AMF: row.amf}
		require.Equal(t, row.eps, p.Admission().AMFOf(true))
		require.Equal(t, row.umts, p.Admission().AMFOf(false))
	}
	require.ErrorContains(t, Profile{AMF: "80"}.WithDefaults().Validate(), "amf")
}

func TestTemplateFaults(t *testing.T) {
	require.NoError(t, Templates{}.ValidateTemplate("meter-1", Profile{APNs: []APN{{Name: "internet"}}}))
	err := Templates{}.ValidateTemplate("Meter", Profile{
		MSISDN: "1", Template: "x", APNs: []APN{{Name: "internet", StaticIPv4: netip.MustParseAddr("10.0.0.1")}},
		IMEILock: IMEILock{IMEIs: []string{"35609204079300"}},
	})
	for _, says := range []string{"name:", "msisdn, card", "template: a template", "apns[0]", "imei_lock.imeis"} {
		require.ErrorContains(t, err, says)
	}
	require.Error(t, ValidateAPNTemplate(APN{Name: "internet", StaticIPv4: netip.MustParseAddr("10.0.0.1")}))
	require.Error(t, ValidateAPNTemplate(APN{Name: "internet", QCI: 10}))
	require.NoError(t, ValidateAPNTemplate(APN{Name: "internet"}))
}

func TestLifeOfASIM(t *testing.T) {
	leads := map[Status]string{
		Provisioned: "active terminated", Active: "suspended terminated", Suspended: "active terminated", Terminated: "",
	}
	for _, from := range Statuses() {
		var to []string
		for _, next := range Statuses() {
			if from.May(next) {
				to = append(to, string(next))
			}
		}
		require.Equal(t, leads[from], strings.Join(to, " "), "from %s", from)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC)
	p := Profile{Status: Provisioned}.WithStatus(Active, now)
	require.Equal(t, now.Truncate(time.Second), p.Card.Activated)
	p = p.WithStatus(Suspended, now.Add(time.Hour)).WithStatus(Active, now.Add(2*time.Hour))
	require.Equal(t, now.Truncate(time.Second), p.Card.Activated, "the first time")
	require.Equal(t, now.Add(2*time.Hour).Truncate(time.Second), p.Card.StatusAt)
}

func TestCardAndTimersValidate(t *testing.T) {
	long, minus := uint32(maxActiveTime+1), int32(-2)
	err := Profile{
		Card: Card{ICCID: "89", EID: "1", Batch: strings.Repeat("x", 41)}, Charging: "8",
		IMEILock: IMEILock{IMEIs: []string{"1"}},
		IoT: IoT{PeriodicTAU: maxPeriodicTAU + 1, ActiveTime: &long, DLBuffering: &minus, EDRX: []EDRX{
			{RAT: "6g", Cycle: 16},
			{RAT: EUTRAN, Window: new(uint8(2))},
			{RAT: EUTRAN},
			{RAT: LTEM, Window: new(uint8(3))},
			{RAT: EUTRANNBIoT, Window: new(uint8(16))},
			{RAT: GERAN, Window: new(uint8(1))},
			{RAT: UTRAN, Window: new(uint8(15))},
		}},
	}.WithDefaults().Validate()
	for _, key := range []string{
		"card.iccid", "card.eid", "card.batch", "charging", "imei_lock.imeis[0]", "iot.periodic_tau", "iot.active_time",
		"iot.dl_buffering", "iot.edrx[0].rat", "iot.edrx[0].cycle", "iot.edrx[2].rat",
		"iot.edrx[3].window", "iot.edrx[4].window", "iot.edrx[5].window",
	} {
		require.Contains(t, "\n"+err.Error(), "\n"+key+":")
	}
	require.NotContains(t, err.Error(), "edrx[6]")
}

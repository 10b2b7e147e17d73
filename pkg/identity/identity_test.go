package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPLMNOctets(t *testing.T) {
	for text, octets := range map[string][3]byte{
		"001-01":  {0x00, 0xf1, 0x10}, // the test network as an MME sends it, TS 24.008 10.5.1.13
		"310-410": {0x13, 0x00, 0x14},
		"999-70":  {0x99, 0xf9, 0x07},
		"001-001": {0x00, 0x11, 0x00},
	} {
		p, err := ParsePLMN(text)
		require.NoError(t, err)
		require.Equal(t, octets, p.Octets(), text)
		back, err := PLMNFromOctets(octets)
		require.NoError(t, err)
		require.Equal(t, p, back)
		require.Equal(t, text, back.String())
	}
	for _, bad := range []string{"", "1-01", "001-1", "001-0101", "00a-01", "0010"} {
		_, err := ParsePLMN(bad)
		require.Error(t, err, bad)
	}
	_, err := PLMNFromOctets([3]byte{0x00, 0xf1, 0x1a})
	require.Error(t, err)
}

func TestTBCD(t *testing.T) {
	for digits, octets := range map[string][]byte{
		"":                {},
		"1":               {0xf1},
		"001010000000001": {0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0xf1},
		"4911":            {0x94, 0x11},
	} {
		require.Equal(t, octets, EncodeTBCD(digits))
		back, err := DecodeTBCD(octets)
		require.NoError(t, err)
		require.Equal(t, digits, back)
	}
	for _, bad := range [][]byte{{0xf1, 0x22}, {0x1f}, {0xa1}, {0xff}} {
		_, err := DecodeTBCD(bad)
		require.Error(t, err, "% x", bad)
	}
}

func TestIMSIAndMSISDN(t *testing.T) {
	imsi, err := ParseIMSI("001010000000001")
	require.NoError(t, err)
	require.Equal(t, IMSI("001010000000001"), imsi)
	for _, bad := range []string{"", "00101", "0010100000000012", "00101000000000x"} {
		_, err := ParseIMSI(bad)
		require.Error(t, err, bad)
	}
	msisdn, err := ParseMSISDN("+491701234567")
	require.NoError(t, err)
	require.Equal(t, MSISDN("491701234567"), msisdn)
}

func TestAPN(t *testing.T) {
	for text, want := range map[string]APN{
		"internet":                          "internet",
		"InterNet":                          "internet",
		"internet.mnc070.mcc999.gprs":       "internet",
		"Fleet.Example.MNC001.MCC001.GPRS":  "fleet.example",
		"mnc070.mcc999.gprs":                "mnc070.mcc999.gprs", // no network identifier would be left
		"a-b.c3":                            "a-b.c3",
		"internet.mnc070.mcc999.gprs.other": "internet.mnc070.mcc999.gprs.other",
	} {
		got, err := ParseAPN(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
		back, err := APNFromOctets(got.Octets())
		require.NoError(t, err)
		require.Equal(t, got, back)
	}
	for _, bad := range []string{"", ".", "a..b", "-a", "a-", "a_b", "a b", strings.Repeat("a", 64), strings.Repeat("a.", 50)} {
		_, err := ParseAPN(bad)
		require.Error(t, err, bad)
	}
	octets := []byte("\x08internet\x06mnc070\x06mcc999\x04gprs")
	got, err := APNFromOctets(octets)
	require.NoError(t, err)
	require.Equal(t, APN("internet"), got)
	for n := range octets {
		if n == 9 || n == 16 || n == 23 { // whole labels remain
			continue
		}
		_, err := APNFromOctets(octets[:n])
		require.Error(t, err, "the first %d octets", n)
	}
}

func FuzzAPNFromOctets(f *testing.F) {
	f.Add([]byte("\x08internet\x06mnc070\x06mcc999\x04gprs"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := APNFromOctets(b); err == nil {
			back, err := APNFromOctets(a.Octets())
			require.NoError(t, err)
			require.Equal(t, a, back)
		}
	})
}

func TestPLMNIs(t *testing.T) {
	texts := []string{"", "0", "001", "00101", "001-01", "001-001", "001001", "001-1", "001--01", "01-001", "262-01", "001-01 ", "-001-01"}
	for _, p := range []PLMN{{MCC: "001", MNC: "01"}, {MCC: "001", MNC: "001"}, {MCC: "262", MNC: "01"}} {
		for _, text := range texts {
			parsed, err := ParsePLMN(text)
			require.Equal(t, err == nil && parsed == p, p.Is(text), "%v is %q", p, text)
		}
	}
}

package gtpc

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/identity"
)

var cmpAddr = cmpopts.EquateComparable(netip.Addr{})

// parseDatagram is the whole way of a datagram: header, then IEs.
func parseDatagram(b []byte) (Header, incoming, error) {
	h, ies, _, err := parseHeader(b)
	if err != nil {
		return h, incoming{}, err
	}
	in, _, err := parse(h.Type, ies)
	return h, in, err
}

func octets(tb testing.TB, spaced string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(spaced), ""))
	require.NoError(tb, err)
	return b
}

// messages are good messages; the octets are other implementations' where the comment says so.
var messages = []struct {
	name   string
	hex    string
	header Header
	want   Message
}{
	{
		// from the project gtpv2-c_csreq on GitHub, which makes them without this code
		name: "a Create Session Request of an SGW on S5/S8",
		hex: `48 20 00 ca 00 00 00 00 00 00 02 00
			01 00 08 00 22 02 01 12 14 64 14 f8   4c 00 08 00 79 52 95 00 00 00 00 f0
			4b 00 08 00 21 43 05 01 00 00 00 f0
			56 00 0d 00 0c 13 01 84 ff fe 00 ff 13 01 84 d8 0b   53 00 03 00 22 f2 10   52 00 01 00 06
			57 00 09 00 86 00 ff 00 01 c0 a8 60 ef
			47 00 1c 00 08 69 6e 74 65 72 6e 65 74 06 6d 6e 63 30 30 31 06 6d 63 63 32 32 32 04 67 70 72 73
			80 00 01 00 00   63 00 01 00 01   4f 00 05 00 01 00 00 00 00   7f 00 01 00 00
			48 00 08 00 11 11 11 11 22 22 22 22
			5d 00 2c 00  49 00 01 00 05   57 00 09 02 84 00 af ff 01 c0 a8 30 3b
			50 00 16 00 49 ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`,
		header: Header{Type: TypeCreateSessionRequest, Sequence: 2},
		want: &CreateSessionRequest{
			IMSI: "222010214146418", MSISDN: Opt[identity.MSISDN]{Value: "972559000000000", Present: true},
			MEI:            "123450100000000",
			UserLocation:   []byte{0x0c, 0x13, 0x01, 0x84, 0xff, 0xfe, 0x00, 0xff, 0x13, 0x01, 0x84, 0xd8, 0x0b},
			ServingNetwork: Some(identity.PLMN{MCC: "222", MNC: "01"}), RAT: RATEUTRAN,
			Sender: FTEID{Interface: InterfaceS5S8SGWGTPC, TEID: 0x00ff0001, IPv4: netip.MustParseAddr("192.168.96.239")},
			APN:    "internet", SelectionMode: Some(SelectionVerified), PDNType: PDNTypeIPv4,
			PAA:  PAA{Type: PDNTypeIPv4, IPv4: netip.IPv4Unspecified()},
			AMBR: AMBR{Uplink: 0x11111111, Downlink: 0x22222222},
			Bearer: BearerToCreate{
				EBI:    5,
				Remote: FTEID{Interface: InterfaceS5S8SGWGTPU, TEID: 0x00afff01, IPv4: netip.MustParseAddr("192.168.48.59")},
				QoS:    BearerQoS{QCI: 255, PriorityLevel: 2, PreemptionCapabilityOff: true, PreemptionVulnerabilityOff: true},
			},
		},
	},
	{
		// from Scapy's unit tests (a capture): S11, so the F-TEID is the eNodeB's and not for a PGW
		name: "a Modify Bearer Request whose F-TEID is of another interface",
		hex: `48 22 00 23 92 e9 e1 14 36 52 54 00   52 00 01 00 06
			5d 00 12 00 49 00 01 00 05 57 00 09 00 80 00 00 10 92 7f 00 00 02`,
		header: Header{Type: TypeModifyBearerRequest, TEID: 0x92e9e114, Sequence: 0x365254},
		want:   &ModifyBearerRequest{RAT: Some(RATEUTRAN), Bearers: []BearerToModify{{EBI: 5}}},
	},
	{
		name: "a Modify Bearer Request of a new SGW",
		hex: `48 22 00 3c 00 00 00 07 00 00 2a 00   53 00 03 00 00 f1 10   52 00 01 00 06
			57 00 09 00 86 00 00 00 09 0a 0a 00 03   5d 00 12 00 49 00 01 00 05 57 00 09 01 84 00 00 00 0b 0a 0a 00 03
			03 00 01 00 04`,
		header: Header{Type: TypeModifyBearerRequest, TEID: 7, Sequence: 0x2a},
		want: &ModifyBearerRequest{
			ServingNetwork: Some(identity.PLMN{MCC: "001", MNC: "01"}), RAT: Some(RATEUTRAN),
			Sender: Some(FTEID{Interface: InterfaceS5S8SGWGTPC, TEID: 9, IPv4: netip.MustParseAddr("10.10.0.3")}),
			Bearers: []BearerToModify{{EBI: 5, Remote: Some(FTEID{
				Interface: InterfaceS5S8SGWGTPU, TEID: 11, IPv4: netip.MustParseAddr("10.10.0.3"),
			})}},
			Recovery: Some[uint8](4),
		},
	},
	{
		name:   "a Delete Session Request",
		hex:    `48 24 00 0d 00 00 00 07 00 00 2b 00   49 00 01 00 05`,
		header: Header{Type: TypeDeleteSessionRequest, TEID: 7, Sequence: 0x2b},
		want:   &DeleteSessionRequest{LinkedEBI: Some[EBI](5)},
	},
	{
		name:   "a Delete Bearer Response",
		hex:    `48 64 00 0e 00 00 00 07 00 00 01 00   02 00 02 00 10 00`,
		header: Header{Type: TypeDeleteBearerResponse, TEID: 7, Sequence: 1},
		want:   &DeleteBearerResponse{Cause: CauseRequestAccepted},
	},
	{
		// from Scapy's unit tests (a capture); the IE after Recovery, Node Features, is not read
		name:   "an Echo Request",
		hex:    `40 01 00 09 00 00 01 00   03 00 01 00 0d`,
		header: Header{Type: TypeEchoRequest, Sequence: 1},
		want:   &EchoRequest{Recovery: Some[uint8](13)},
	},
	{
		name:   "an Echo Response",
		hex:    `40 02 00 0e 00 00 01 00   03 00 01 00 01   98 00 01 00 00`,
		header: Header{Type: TypeEchoResponse, Sequence: 1},
		want:   &EchoResponse{Recovery: Some[uint8](1)},
	},
}

func TestParse(t *testing.T) {
	for _, row := range messages {
		t.Run(row.name, func(t *testing.T) {
			b := octets(t, row.hex)
			h, in, err := parseDatagram(b)
			require.NoError(t, err)
			require.Equal(t, row.header, h)
			require.Empty(t, cmp.Diff(row.want, in.message, cmpAddr))
		})
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	for _, row := range messages {
		t.Run(row.name, func(t *testing.T) {
			b := octets(t, row.hex)
			for n := range b {
				_, _, err := parseDatagram(b[:n])
				require.Error(t, err, "%d of %d octets", n, len(b))
			}
			// Cut with a length that fits: an error, or fewer IEs; never the same message.
			_, ies, _, err := parseHeader(b)
			require.NoError(t, err)
			for n := range ies {
				in, _, err := parse(row.header.Type, ies[:n])
				if err == nil && row.name != "an Echo Response" {
					require.NotEmpty(t, cmp.Diff(row.want, in.message, cmpAddr), "%d of %d octets of IEs", n, len(ies))
				}
			}
		})
	}
}

func TestParsedMessagesDoNotAliasTheBuffer(t *testing.T) {
	for _, row := range messages {
		b := octets(t, row.hex)
		_, in, err := parseDatagram(b)
		require.NoError(t, err)
		clear(b)
		require.Empty(t, cmp.Diff(row.want, in.message, cmpAddr), row.name)
	}
}

// split cuts the IEs of a message or of a grouped IE apart.
func split(tb testing.TB, ies []byte) (parts [][]byte) {
	tb.Helper()
	for len(ies) > 0 {
		n := 4 + int(ies[1])<<8 + int(ies[2])
		parts = append(parts, ies[:n])
		ies = ies[n:]
	}
	return parts
}

func TestCreateSessionRequestWithoutAnIE(t *testing.T) {
	_, ies, _, err := parseHeader(octets(t, messages[0].hex))
	require.NoError(t, err)
	want := map[IEKey]Cause{
		{Type: ieRATType}:       CauseMandatoryIEMissing,
		{Type: ieFTEID}:         CauseMandatoryIEMissing,
		{Type: ieAPN}:           CauseMandatoryIEMissing,
		{Type: ieBearerContext}: CauseMandatoryIEMissing,
		{Type: ieIMSI}:          CauseConditionalIEMissing,
		{Type: iePAA}:           CauseConditionalIEMissing,
		{Type: ieAMBR}:          CauseConditionalIEMissing,
	}
	without := func(parts [][]byte, leave int) (out []byte) {
		for i, p := range parts {
			if i != leave {
				out = append(out, p...)
			}
		}
		return out
	}
	check := func(t *testing.T, ies []byte, k IEKey, cause Cause, blamed bool) {
		t.Helper()
		_, err := parseCreateSessionRequest(ies)
		if !blamed {
			require.NoError(t, err, "%v", k)
			return
		}
		var fault *Error
		require.ErrorAs(t, err, &fault, "%v", k)
		require.Equal(t, cause, fault.Cause, "%v", k)
		require.Equal(t, k, fault.Offending)
	}
	parts := split(t, ies)
	for i, p := range parts {
		k := IEKey{Type: IEType(p[0]), Instance: p[3]}
		cause, blamed := want[k]
		check(t, without(parts, i), k, cause, blamed)
	}

	bearer := parts[len(parts)-1]
	inner := split(t, bearer[4:])
	innerWant := []Cause{CauseMandatoryIEMissing, CauseConditionalIEMissing, CauseMandatoryIEMissing}
	for i, p := range inner {
		ies := appendIE(without(parts, len(parts)-1), IEKey{Type: ieBearerContext}, without(inner, i))
		check(t, ies, IEKey{Type: IEType(p[0]), Instance: p[3]}, innerWant[i], true)
	}
}

func TestParseFaults(t *testing.T) {
	create := messages[0].hex
	replaced := func(old, new string) string {
		require.Contains(t, create, old)
		return strings.Replace(create, old, new, 1)
	}
	rows := []struct {
		name  string
		hex   string
		cause Cause
		blame IEKey
	}{
		{"an IE longer than the message", replaced("48 00 08 00 11", "48 0f 08 00 11"), CauseInvalidLength, IEKey{Type: ieAMBR}},
		{"an F-TEID whose flags promise an address that is not there", replaced("57 00 09 00 86", "57 00 09 00 46"), CauseInvalidLength, IEKey{Type: ieFTEID}},
		{"an F-TEID without an address", replaced("57 00 09 00 86", "57 00 09 00 06"), CauseMandatoryIEIncorrect, IEKey{Type: ieFTEID}},
		{"an F-TEID with TEID 0", replaced("86 00 ff 00 01", "86 00 00 00 00"), CauseMandatoryIEIncorrect, IEKey{Type: ieFTEID}},
		{"a bearer's IE longer than its bearer context", replaced("50 00 16 00 49", "50 00 17 00 49"), CauseInvalidLength, IEKey{Type: ieBearerQoS}},
		{"an APN label longer than the APN", replaced("08 69 6e", "28 69 6e"), CauseMandatoryIEIncorrect, IEKey{Type: ieAPN}},
		{"an IMSI with a letter", replaced("22 02 01 12", "2c 02 01 12"), CauseMandatoryIEIncorrect, IEKey{Type: ieIMSI}},
		{"a reserved bearer id", replaced("49 00 01 00 05", "49 00 01 00 04"), CauseMandatoryIEIncorrect, IEKey{Type: ieEBI}},
		{"a PDN type of 0", replaced("63 00 01 00 01", "63 00 01 00 00"), CauseMandatoryIEIncorrect, IEKey{Type: iePDNType}},
		{"a PAA that promises IPv6", replaced("4f 00 05 00 01", "4f 00 05 00 03"), CauseInvalidLength, IEKey{Type: iePAA}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, in, err := parseDatagram(octets(t, row.hex))
			var fault *Error
			require.ErrorAs(t, err, &fault)
			require.Equal(t, row.cause, fault.Cause, "%v", err)
			require.Equal(t, row.blame, fault.Offending)
			require.NotNil(t, in.message)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, row := range messages {
		f.Add(octets(f, row.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, in, err := parseDatagram(b)
		if err != nil {
			return
		}
		if m, ok := in.message.(*CreateSessionRequest); ok {
			require.NotEmpty(t, m.IMSI)
			require.NotEmpty(t, m.APN)
			require.GreaterOrEqual(t, m.Bearer.EBI, EBI(5))
			require.True(t, m.Sender.Addr().IsValid() && m.Bearer.Remote.Addr().IsValid())
		}
		if m, ok := in.message.(Outgoing); ok { // Echo: what is read can be written and read again
			again, err := appendMessage(nil, h, m)
			require.NoError(t, err)
			_, back, err := parseDatagram(again)
			require.NoError(t, err)
			require.Equal(t, in.message, back.message)
		}
	})
}

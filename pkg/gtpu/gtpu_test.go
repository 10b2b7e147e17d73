package gtpu

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-gtp/gtpv1/message"
)

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

// The octets of rows marked go-gtp are from that project's own tests (v0.8.12); the others follow the figures of
// TS 29.281 5.1 and 5.2 by hand.
var messages = []struct {
	name    string
	octets  string
	header  Header
	payload string
}{
	{
		name:    "a plain G-PDU (go-gtp)",
		octets:  "30 ff 00 04 de ad be ef  de ad be ef",
		header:  Header{Type: TypeGPDU, TEID: 0xdeadbeef},
		payload: "de ad be ef",
	},
	{
		name:    "a G-PDU with a sequence number (go-gtp)",
		octets:  "32 ff 00 08 de ad be ef  00 01 00 00  de ad be ef",
		header:  Header{Type: TypeGPDU, TEID: 0xdeadbeef, HasSequence: true, Sequence: 1},
		payload: "de ad be ef",
	},
	{
		name:   "a G-PDU with a PDU Session Container (go-gtp)",
		octets: "34 ff 00 0c de ad be ef  00 00 00 85  01 00 05 00  de ad be ef",
		header: Header{
			Type: TypeGPDU, TEID: 0xdeadbeef,
			Extensions: []Extension{{Type: ExtensionPDUSessionContainer, Content: []byte{0, 5}}},
		},
		payload: "de ad be ef",
	},
	{
		name:   "two chained extension headers, the first of eight octets, and an N-PDU number",
		octets: "37 ff 00 12 00 00 00 01  12 34 56 20  02 a1 a2 a3 a4 a5 a6 40  01 08 68 00  45 00",
		header: Header{
			Type: TypeGPDU, TEID: 1, HasSequence: true, Sequence: 0x1234, HasNPDU: true, NPDU: 0x56,
			Extensions: []Extension{
				{Type: 0x20, Content: []byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6}},
				{Type: ExtensionUDPPort, Content: []byte{0x08, 0x68}},
			},
		},
		payload: "45 00",
	},
	{
		name:    "an Error Indication (go-gtp)",
		octets:  "32 1a 00 10 11 22 33 44  00 01 00 00  10 de ad be ef  85 00 04 01 01 01 01",
		header:  Header{Type: TypeErrorIndication, TEID: 0x11223344, HasSequence: true, Sequence: 1},
		payload: "10 de ad be ef  85 00 04 01 01 01 01",
	},
	{
		name:    "an End Marker (go-gtp)",
		octets:  "30 fe 00 00 00 00 00 00",
		header:  Header{Type: TypeEndMarker},
		payload: "",
	},
}

func TestMessages(t *testing.T) {
	for _, row := range messages {
		t.Run(row.name, func(t *testing.T) {
			b := octets(t, row.octets)
			h, payload, err := Parse(b)
			require.NoError(t, err)
			require.Equal(t, row.header, h)
			require.Equal(t, octets(t, row.payload), append([]byte{}, payload...))

			encoded, err := Append(nil, h, payload)
			require.NoError(t, err)
			require.Equal(t, b, encoded)

			for n := range b {
				_, _, err := Parse(b[:n])
				require.Error(t, err, "cut to %d octets", n)
			}
			_, longer, err := Parse(append(b, 0xff, 0xff))
			require.NoError(t, err)
			require.Equal(t, payload, longer, "octets beyond the length are not the message's")
		})
	}
}

func TestWhatIsNotAMessageIsAnError(t *testing.T) {
	for name, row := range map[string]struct {
		octets string
		err    error
	}{
		"nothing":                               {"", ErrShort},
		"GTPv2":                                 {"48 01 00 04 00 00 00 00", ErrVersion},
		"GTP prime":                             {"20 01 00 00 00 00 00 00", ErrPrime},
		"an E flag without the optional octets": {"34 ff 00 02 00 00 00 01 00 00", ErrShort},
		"an extension header of length 0":       {"34 ff 00 08 00 00 00 01 00 00 00 85 00 00 00 00", ErrExtension},
		"an extension header beyond the end":    {"34 ff 00 08 00 00 00 01 00 00 00 85 02 00 00 00", ErrShort},
		"a chain that the end cuts":             {"34 ff 00 08 00 00 00 01 00 00 00 85 01 00 00 85", ErrShort},
		"a chain without end": {
			"34 ff 00 48 00 00 00 01 00 00 00 20" + strings.Repeat(" 01 00 00 20", 17), ErrExtension,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse(octets(t, row.octets))
			require.ErrorIs(t, err, row.err)
		})
	}
}

func TestTheEchoResponseRepeatsTheSequenceNumberAndCarriesRecoveryZero(t *testing.T) {
	h, _, err := Parse(EchoRequest(0xbeef))
	require.NoError(t, err)
	require.Equal(t, octets(t, "32 02 00 06 00 00 00 00  be ef 00 00  0e 00"), EchoResponse(h))

	witness, err := message.Parse(EchoResponse(h))
	require.NoError(t, err)
	require.EqualValues(t, 0xbeef, witness.Sequence())
	recovery, err := witness.(*message.EchoResponse).Recovery.Recovery()
	require.NoError(t, err)
	require.Zero(t, recovery)
}

func TestErrorIndication(t *testing.T) {
	for name, row := range map[string]struct {
		e       ErrorIndication
		payload string
	}{
		"IPv4": {
			ErrorIndication{TEID: 0xdeadbeef, Peer: netip.MustParseAddr("10.30.1.1")},
			"10 de ad be ef  85 00 04 0a 1e 01 01",
		},
		"IPv6": {
			ErrorIndication{TEID: 1, Peer: netip.MustParseAddr("2001:db8::1")},
			"10 00 00 00 01  85 00 10 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := row.e.Encode()
			require.NoError(t, err)
			h, payload, err := Parse(b)
			require.NoError(t, err)
			require.Equal(t, Header{Type: TypeErrorIndication, HasSequence: true}, h)
			require.Equal(t, octets(t, row.payload), payload)
			got, err := ParseErrorIndication(payload)
			require.NoError(t, err)
			require.Equal(t, row.e, got)
			for n := range payload {
				_, err := ParseErrorIndication(payload[:n])
				require.Error(t, err, "cut to %d octets", n)
			}
		})
	}
	got, err := ParseErrorIndication(octets(t, "10 de ad be ef  85 00 04 01 01 01 01  ff 00 02 aa bb"))
	require.NoError(t, err, "other IEs are ignored")
	require.EqualValues(t, 0xdeadbeef, got.TEID)
	_, err = ParseErrorIndication(octets(t, "10 de ad be ef  85 00 05 01 01 01 01 01"))
	require.Error(t, err, "an address of five octets")
	_, err = ErrorIndication{TEID: 1}.Encode()
	require.Error(t, err)
}

func TestSupportedExtensionHeadersNotification(t *testing.T) {
	b, err := SupportedExtensionHeadersNotification([]ExtensionType{ExtensionPDUSessionContainer, ExtensionUDPPort})
	require.NoError(t, err)
	require.Equal(t, octets(t, "32 1f 00 08 00 00 00 00  00 00 00 00  8d 02 85 40"), b)
	_, err = message.ParseSupportedExtensionHeaderNotification(b)
	require.NoError(t, err)
	b, err = SupportedExtensionHeadersNotification(nil)
	require.NoError(t, err)
	require.Equal(t, octets(t, "32 1f 00 06 00 00 00 00  00 00 00 00  8d 00"), b)
	_, err = SupportedExtensionHeadersNotification(make([]ExtensionType, 256))
	require.Error(t, err)
}

func TestEndMarkerIsOnlyAHeader(t *testing.T) {
	require.Equal(t, octets(t, "30 fe 00 00 12 34 56 78"), EndMarker(0x12345678))
}

func TestWhoMustComprehendAnExtensionHeader(t *testing.T) {
	require.True(t, ExtensionPDUSessionContainer.RequiredByEndpoint())
	require.True(t, ExtensionPDCPPDUNumber.RequiredByEndpoint())
	require.False(t, ExtensionUDPPort.RequiredByEndpoint())
	require.False(t, ExtensionType(0x20).RequiredByEndpoint())
}

func FuzzParse(f *testing.F) {
	for _, row := range messages {
		f.Add(octets(f, row.octets))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := Parse(b)
		if err != nil {
			return
		}
		if h.Type == TypeErrorIndication {
			if e, err := ParseErrorIndication(payload); err == nil {
				_, err := e.Encode()
				require.NoError(t, err)
			}
		}
		encoded, err := Append(nil, h, payload)
		require.NoError(t, err)
		again, payload2, err := Parse(encoded)
		require.NoError(t, err)
		require.Equal(t, h, again)
		require.Equal(t, append([]byte{}, payload...), append([]byte{}, payload2...))
	})
}

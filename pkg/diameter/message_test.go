package diameter

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/stretchr/testify/require"
)

const s6a = 16777251

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

// golden are whole messages as other implementations wrote them.
var golden = []struct {
	name, hex string
	check     func(*testing.T, Message)
}{
	{
		"a CER of freeDiameter 1.2.1", cerFreeDiameter,
		func(t *testing.T, m Message) {
			require.Equal(t, Header{Request: true, Command: 257, HopByHop: m.HopByHop, EndToEnd: m.EndToEnd}, m.Header)
			require.Equal(t, "mme1.epc.mnc001.mcc001.3gppnetwork.org", m.Text(OriginHost))
			a, _ := m.First(HostIPAddress)
			require.Equal(t, "192.0.2.2", a.Address().String())
			require.True(t, acceptsClear(m))
			require.NoError(t, Standard.Command(0, 257).checkRequest(m))
		},
	},
	{
		"an AIR of freeDiameter 1.2.1", airFreeDiameter,
		func(t *testing.T, m Message) {
			require.Equal(t, "001010000000001", m.Text(UserName))
			require.EqualValues(t, s6a, m.Application)
			require.Equal(t, "AIR", CommandName(m.Header))
			want, _ := m.First(Standard.AVP("Requested-EUTRAN-Authentication-Info"))
			n, _ := First(want.Members, Standard.AVP("Number-Of-Requested-Vectors"))
			require.EqualValues(t, 2, n.Unsigned())
			plmn, _ := m.First(Standard.AVP("Visited-PLMN-Id"))
			require.Equal(t, []byte{0x00, 0xf1, 0x10}, plmn.Data)
			require.NoError(t, Standard.Command(s6a, 318).checkRequest(m))
		},
	},
}

func TestMessagesOfOthersAreReadAndWrittenBack(t *testing.T) {
	for _, row := range golden {
		t.Run(row.name, func(t *testing.T) {
			b := octets(t, row.hex)
			m, err := Standard.Parse(b)
			require.NoError(t, err)
			row.check(t, m)
			require.Equal(t, b, m.Append(nil))
			for n := range b {
				_, err := Standard.Parse(b[:n])
				require.Error(t, err, "cut to %d octets", n)
			}
		})
	}
}

// What we encode, go-diameter's decoder must read alike.
func TestOurMessagesAreReadByGoDiameter(t *testing.T) {
	parser := goDiameterDictionary(t)
	profile := Standard.AVP("APN-Configuration-Profile").Group(
		Standard.AVP("Context-Identifier").Unsigned(1),
		Standard.AVP("APN-Configuration").Group(Standard.AVP("Service-Selection").Text("internet"), Standard.AVP("PDN-Type").Unsigned(2)),
	)
	m := Message{
		Header: Header{Command: 316, Application: s6a, HopByHop: 0xfedcba98, EndToEnd: 0x01234567, Proxiable: true},
		AVPs: []AVP{
			SessionID.Text("mme;1;2"), ResultCode.Unsigned(2001), OriginHost.Text("hss"), OriginRealm.Text("realm"),
			Standard.AVP("Subscription-Data").Group(Standard.AVP("MSISDN").Octets([]byte{0x94, 0x71}), profile),
		},
	}
	got, err := diam.ReadMessage(bytes.NewReader(m.Append(nil)), parser)
	require.NoError(t, err)
	require.EqualValues(t, 0xfedcba98, got.Header.HopByHopID)
	require.EqualValues(t, diam.ProxiableFlag, got.Header.CommandFlags)
	require.Len(t, got.AVP, 5)
	require.Equal(t, datatype.UTF8String("mme;1;2"), got.AVP[0].Data)
	apn, err := got.FindAVP("Service-Selection", 0)
	require.NoError(t, err)
	require.Equal(t, datatype.UTF8String("internet"), apn.Data)
	written, err := got.Serialize()
	require.NoError(t, err)
	require.Equal(t, m.Append(nil), written)
}

func goDiameterDictionary(t testing.TB) *dict.Parser {
	p, err := dict.NewParser()
	require.NoError(t, err)
	require.NoError(t, p.Load(bytes.NewReader(dictionaryXML)))
	return p
}

func TestBadMessages(t *testing.T) {
	const header = "01 %s 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02"
	rows := []struct {
		name, hex string
		code      uint32 // 0: not answerable
		failed    string // code of the AVP in Failed-AVP, in hex
	}{
		{"a length of 0", "01 00 00 00 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02", 0, ""},
		{"a length of 16 MiB", "01 ff ff ff 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02", 0, ""},
		{"a length that is no multiple of 4", "01 00 00 15 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02 00", 0, ""},
		{"version 2", "02 00 00 14 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02", 0, ""},
		{"half an AVP header", "01 00 00 18 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02  00 00 00 01", InvalidAVPLength, ""},
		{"an AVP longer than the message", "01 00 00 1c 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02  00 00 00 01 40 00 00 0d", InvalidAVPLength, "00000001"},
		{"an AVP shorter than its header", "01 00 00 1c 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02  00 00 00 01 40 00 00 07", InvalidAVPLength, "00000001"},
		{"a vendor bit without room for the vendor", "01 00 00 1c 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02  00 00 05 7f c0 00 00 08", InvalidAVPLength, "0000057f"},
		{"an Unsigned32 of three octets", "01 00 00 24 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02  00 00 05 7d c0 00 00 0f 00 00 28 af 00 00 22 00", InvalidAVPLength, "0000057d"},
		{"a group whose member is longer than it", "01 00 00 2c 80 00 01 3e 01 00 00 23 00 00 00 01 00 00 00 02  00 00 01 29 40 00 00 18 00 00 01 0a 40 00 00 14 00 00 28 af 00 00 00 00", InvalidAVPLength, "0000010a"},
		{"an IPv4 address of 5 octets", "01 00 00 24 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02  00 00 01 01 40 00 00 0f 00 01 0a 00 00 00 01 00", InvalidAVPLength, "00000101"},
		{"an empty Origin-Host", "01 00 00 1c 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02  00 00 01 08 40 00 00 08", InvalidAVPLength, "00000108"},
	}
	_ = header
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := Standard.Parse(octets(t, row.hex))
			require.Error(t, err)
			var e *Error
			if row.code == 0 {
				require.ErrorIs(t, err, errFraming)
				require.NotErrorAs(t, err, &e)
				return
			}
			require.ErrorAs(t, err, &e)
			require.Equal(t, row.code, e.Code)
			if row.failed != "" {
				require.Len(t, e.Failed, 1)
				require.Equal(t, octets(t, row.failed), e.Failed[0].Append(nil)[:4])
			}
		})
	}
}

// go-diameter would decode this as ULR-Flags by its number alone, and panic since it is three octets long.
func TestAVPOfAnotherVendorIsNotMistaken(t *testing.T) {
	foreign := AVP{Code: 1405, Vendor: 9, Data: []byte{1, 2, 3}}
	m := Message{Header: Header{Request: true, Command: 316, Application: s6a}, AVPs: []AVP{foreign}}
	got, err := Standard.Parse(m.Append(nil))
	require.NoError(t, err)
	require.Nil(t, got.AVPs[0].Def)
	_, found := got.First(Standard.AVP("ULR-Flags"))
	require.False(t, found)
	require.Nil(t, unknownMandatory(got.AVPs))
}

func TestCheckRequest(t *testing.T) {
	air := func() []AVP {
		return []AVP{
			SessionID.Text("s"), AuthSessionState.Unsigned(1), OriginHost.Text("m"), OriginRealm.Text("r"),
			DestinationRealm.Text("r"), UserName.Text("1"), Standard.AVP("Visited-PLMN-Id").Octets([]byte{0, 0xf1, 0x10}),
		}
	}
	unknown := AVP{Code: 60000, Vendor: 9, Mandatory: true, Data: []byte{0, 0, 0, 1}}
	optional := unknown
	optional.Mandatory = false
	inGroup := Standard.AVP("Requested-EUTRAN-Authentication-Info").Group(Standard.AVP("Number-Of-Requested-Vectors").Unsigned(1), unknown)
	rows := []struct {
		name   string
		avps   []AVP
		code   uint32
		failed []AVP
	}{
		{"all that is required", air(), 0, nil},
		{"an unknown AVP without the M bit", append(air(), optional), 0, nil},
		{"an unknown AVP with the M bit", append(air(), unknown), AVPUnsupported, []AVP{unknown}},
		{"the same in a group: the group stands around it", append(air(), inGroup), AVPUnsupported, []AVP{{Code: inGroup.Code, Vendor: inGroup.Vendor, Mandatory: true, Def: inGroup.Def, Members: []AVP{unknown}}}},
		{"no User-Name", append(air()[:5:5], air()[6]), MissingAVP, []AVP{{Code: 1, Mandatory: true, Def: UserName, Data: []byte{}}}},
		{"User-Name twice", append(air(), UserName.Text("2")), AVPOccursTooManyTimes, []AVP{UserName.Text("2")}},
		{"Proxy-Info without Proxy-State", append(air(), ProxyInfo.Group(Standard.AVP("Proxy-Host").Text("p"))), MissingAVP, []AVP{ProxyInfo.Group(AVP{Code: 33, Mandatory: true, Def: Standard.AVP("Proxy-State"), Data: []byte{}})}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			err := Standard.Command(s6a, 318).checkRequest(Message{AVPs: row.avps})
			if row.code == 0 {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, row.code, e.Code)
			require.Equal(t, row.failed, e.Failed)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, row := range golden {
		f.Add(octets(f, row.hex))
	}
	f.Add(octets(f, "01 00 00 14 80 00 01 01 00 00 00 00 00 00 00 01 00 00 00 02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		framed, err := readFrame(bytes.NewReader(b), maxMessage)
		if err != nil {
			return
		}
		m, err := Standard.Parse(framed)
		if def := Standard.Command(m.Application, m.Command); def != nil {
			_ = def.checkRequest(m)
		}
		if err != nil {
			return
		}
		again, err := Standard.Parse(m.Append(nil)) // padding and reserved bits are not kept, all else is
		require.NoError(t, err)
		require.Equal(t, m.Append(nil), again.Append(nil))
	})
}

func TestNumberOfAVPsIsBounded(t *testing.T) {
	empty := Standard.AVP("User-Name").Text("")
	m := Message{Header: Header{Request: true, Command: 318, Application: s6a}}
	for range maxAVPs {
		m.AVPs = append(m.AVPs, empty)
	}
	_, err := Standard.Parse(m.Append(nil))
	require.NoError(t, err)
	m.AVPs[0] = Standard.AVP("Subscription-Data").Group(empty, empty)
	_, err = Standard.Parse(m.Append(nil))
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, AVPOccursTooManyTimes, e.Code)
}

package session

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/gtpc"
)

var (
	twoServers = Profile{DNS: []netip.Addr{netip.MustParseAddr("10.60.0.53"), netip.MustParseAddr("10.60.0.54")}, MTU: 1400}
	oneServer  = Profile{DNS: twoServers.DNS[:1]}
	askBoth    = ipcpContainer(1, 7, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0)
)

func dnsContainer(last byte) gtpc.PCOContainer {
	return gtpc.PCOContainer{ID: 0x000d, Data: []byte{10, 60, 0, last}}
}

func ipcpContainer(b ...byte) gtpc.PCOContainer { return gtpc.PCOContainer{ID: 0x8021, Data: b} }

var pcos = []struct {
	name    string
	profile Profile
	ask     gtpc.PCO
	want    gtpc.PCO
}{
	{"nothing asked, nothing told", twoServers, nil, nil},
	{"what is not known is not answered", twoServers, gtpc.PCO{{ID: 0x0001}, {ID: 0xc023, Data: []byte{1, 1, 0, 4}}}, nil},
	{
		"DNS servers and MTU", twoServers,
		gtpc.PCO{{ID: 0x000d}, {ID: 0x0010}},
		gtpc.PCO{dnsContainer(53), dnsContainer(54), {ID: 0x0010, Data: []byte{0x05, 0x78}}},
	},
	{"asked twice, told once", oneServer, gtpc.PCO{{ID: 0x000d}, {ID: 0x000d}}, gtpc.PCO{dnsContainer(53)}},
	{"no MTU configured", oneServer, gtpc.PCO{{ID: 0x0010}}, nil},
	{
		"IPCP asks for both servers", twoServers,
		gtpc.PCO{askBoth},
		gtpc.PCO{ipcpContainer(3, 7, 0, 16, 129, 6, 10, 60, 0, 53, 131, 6, 10, 60, 0, 54)},
	},
	{"IPCP asks for two, there is one", oneServer, gtpc.PCO{askBoth}, gtpc.PCO{ipcpContainer(3, 7, 0, 10, 129, 6, 10, 60, 0, 53)}},
	{
		"IPCP agrees", oneServer,
		gtpc.PCO{ipcpContainer(1, 7, 0, 10, 129, 6, 10, 60, 0, 53)},
		gtpc.PCO{ipcpContainer(2, 7, 0, 10, 129, 6, 10, 60, 0, 53)},
	},
	{
		"IPCP asks for compression", twoServers,
		gtpc.PCO{ipcpContainer(1, 7, 0, 10, 2, 6, 0, 0x2d, 0x0f, 1)},
		gtpc.PCO{ipcpContainer(4, 7, 0, 10, 2, 6, 0, 0x2d, 0x0f, 1)},
	},
	{"IPCP with an option longer than itself", twoServers, gtpc.PCO{ipcpContainer(1, 7, 0, 10, 129, 9, 0, 0, 0, 0)}, nil},
	{"IPCP longer than its container", twoServers, gtpc.PCO{ipcpContainer(1, 7, 0, 99, 129, 6, 0, 0, 0, 0)}, nil},
	{"IPCP that is no request", twoServers, gtpc.PCO{ipcpContainer(9, 7, 0, 4)}, nil},
}

func TestPCO(t *testing.T) {
	for _, row := range pcos {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, row.profile.answerPCO(row.ask)) })
	}
}

// FuzzIPCP: whatever the UE sends, the answer is none or one of IPCP, whole and with the request's identifier.
func FuzzIPCP(f *testing.F) {
	for _, row := range pcos {
		for _, c := range row.ask {
			if c.ID == pcoIPCP {
				f.Add(c.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		answer := twoServers.answerIPCP(b)
		if answer == nil {
			return
		}
		require.Contains(t, []byte{ipcpAck, ipcpNak, ipcpReject}, answer[0])
		require.Equal(t, b[1], answer[1])
		require.Equal(t, len(answer), int(binary.BigEndian.Uint16(answer[2:])))
	})
}

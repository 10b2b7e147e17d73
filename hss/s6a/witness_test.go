package s6a

import (
	"context"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

const patienceStep = 5 * time.Millisecond

// recorder writes what passes over a connection into a capture, as TCP between port 50000 and Diameter's.
type recorder struct {
	net.Conn
	mu   *sync.Mutex
	w    *pcapgo.Writer
	next [2]uint32 // sequence numbers of both directions
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.record(1, b[:n])
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) {
	r.record(0, b)
	return r.Conn.Write(b)
}

func (r *recorder) record(direction int, b []byte) {
	if len(b) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := []net.IP{{10, 0, 0, 1}, {10, 0, 0, 2}}
	ports := []layers.TCPPort{50000, 3868}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ends[direction], DstIP: ends[1-direction]}
	tcp := &layers.TCP{
		SrcPort: ports[direction], DstPort: ports[1-direction], Seq: r.next[direction], Ack: r.next[1-direction],
		PSH: true, ACK: true, Window: 65535,
	}
	r.next[direction] += uint32(len(b))
	buf := gopacket.NewSerializeBuffer()
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ip, tcp, gopacket.Payload(b)); err != nil {
		panic(err)
	}
	info := gopacket.CaptureInfo{Timestamp: time.Unix(1, int64(r.next[0]+r.next[1])*1000), CaptureLength: len(buf.Bytes()), Length: len(buf.Bytes())}
	if err := r.w.WritePacket(info, buf.Bytes()); err != nil {
		panic(err)
	}
}

// tshark must find every message of ours, answer or request, well-formed, and know what it is.
func TestTsharkFindsNothingMalformed(t *testing.T) {
	h := startHSSOn(t, startRedis(t), func(s *settings) {
		s.peers.Watchdog = 2 * time.Second // Validate would refuse it
		s.s6a.Equipment.Black = []string{"990"}
	})
	active, packets := uint32(20), int32(5)
	p := internet()
	p.APNs = []subscriber.APN{
		{Name: "internet", PDNType: subscriber.IPv4v6, StaticIPv4: netip.MustParseAddr("10.1.2.3"), StaticIPv6: netip.MustParseAddr("2001:db8::"), Charging: "0800"},
		{Name: "meters.example", OIReplacement: "a.mnc001.mcc001.gprs", AMBR: subscriber.Bitrates{Uplink: 5_000_000_000, Downlink: 1000}},
	}
	p.Charging, p.OIReplacement, p.RATs = "0400", "mnc001.mcc001.gprs", []subscriber.RAT{subscriber.EUTRAN, subscriber.UTRAN}
	p.IoT = subscriber.IoT{PeriodicTAU: 3600, ActiveTime: &active, DLBuffering: &packets, EDRX: []subscriber.EDRX{{RAT: subscriber.EUTRAN, Cycle: 9, Window: new(uint8(15))}}}
	p.Serving = subscriber.Serving{
		UsageType: new(uint32(130)), RFSP: 7, ResetIDs: []string{"site-1"}, Trace: collector(), Restrictions: subscriber.Restrictions(),
		Zones: []subscriber.Zones{{PLMN: "001-01", Codes: []string{"a0b1"}}},
	}
	p.APNs[1].Gateway = subscriber.Gateway{Host: "pgw1.example", Realm: "example", IPv4: netip.MustParseAddr("192.0.2.1"), IPv6: netip.MustParseAddr("2001:db8::1")}
	h.add(p)
	file := filepath.Join(t.TempDir(), "s6a.pcap")
	f, err := os.Create(file)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeRaw))
	nc, err := net.Dial("tcp", h.address)
	require.NoError(t, err)
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	m := newMME(t, &recorder{Conn: nc, mu: new(sync.Mutex), w: w, next: [2]uint32{1, 1}}, mme1)
	m.requireResult(m.exchange(m.air(5, 2, nil)), 2001)
	m.requireResult(m.exchange(m.ulr(34)), 2001)
	m.requireResult(m.exchange(m.pur()), 2001)
	m.requireExperimental(m.exchange(m.request(321, "999700000000099", nil)), 5001)
	m.requireExperimental(m.exchange(m.request(323, string(imsi), nil)), 5423)
	m.requireResult(m.exchange(m.request(322, string(imsi), nil)), diameter.CommandUnsupported)
	m.requireResult(m.exchange(m.request(318, string(imsi), nil)), diameter.MissingAVP)
	m.requireResult(m.exchange(m.ecr("99000085000000", "")), 2001)
	m.requireExperimental(m.exchange(m.nor(map[uint32]datatype.Type{avp.TerminalInformation: terminal("35609204079301")})), 5423)
	sgsn := m.request(316, string(imsi), map[uint32]datatype.Type{
		avp.RATType: datatype.Enumerated(1000), avp.ULRFlags: datatype.Unsigned32(8), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
	})
	m.requireResult(m.exchange(sgsn), 2001)
	m.requireResult(m.exchange(m.able()), 2001)
	m.requireResult(m.exchange(m.norOf("internet", "pgw2."+ourRealm)), 2001)
	m.requireResult(m.exchange(m.able()), 2001)

	told := func(command uint32, n int) { // answers requests of ours until so many of that kind have come
		t.Helper()
		for n > 0 {
			req := m.receive()
			m.send(req.Answer(2001))
			if req.Header.CommandCode == command {
				n--
			}
		}
	}
	h.change(func(p *subscriber.Profile) {
		p.Barring, p.APNs[0].QCI, p.AMBR.Uplink = []subscriber.Barring{subscriber.BarAll, subscriber.BarHPLMN2}, 8, 1
	})
	told(319, 1) // the SGSN, which supports no barring, is cancelled
	h.change(func(p *subscriber.Profile) {
		p.Charging, p.MSISDN, p.IoT, p.APNs, p.Serving = "", "", subscriber.IoT{}, p.APNs[:1], subscriber.Serving{}
	})
	told(320, 1)
	_, err = h.server.Reset(t.Context(), subscriber.Scope{IMSIs: []string{"99970"}, ResetIDs: []string{"site-1"}})
	require.NoError(t, err)
	told(322, 1)
	located := make(chan error, 1)
	go func() {
		_, err := h.server.Locate(context.Background(), h.node, imsi, true)
		located <- err
	}()
	told(319, 1)
	require.NoError(t, <-located)
	h.change(func(p *subscriber.Profile) { p.Status = subscriber.Suspended })
	told(317, 1)
	m.requireExperimental(m.exchange(m.ulr(2)), 5004)
	dwr := m.receiveAny() // the watchdog's, after a while
	require.EqualValues(t, diam.DeviceWatchdog, dwr.Header.CommandCode)
	m.send(dwr.Answer(2001))
	stopped := make(chan struct{})
	go func() { h.stop(); close(stopped) }()
	for dpr := m.receiveAny(); ; dpr = m.receiveAny() {
		m.send(dpr.Answer(2001))
		if dpr.Header.CommandCode == diam.DisconnectPeer {
			break
		}
	}
	<-stopped
	require.NoError(t, f.Close())

	tshark := func(args ...string) string {
		cmd := exec.Command("tshark", append([]string{"-r", file}, args...)...)
		cmd.Stderr = io.Discard // it says that it runs as root
		out, err := cmd.Output()
		require.NoError(t, err, "tshark must be installed: make test does it")
		return string(out)
	}
	ours := "(tcp.srcport == 3868 && diameter)"
	require.Empty(t, tshark("-Y", "_ws.malformed || _ws.expert.severity == error"))
	for line := range strings.Lines(tshark("-Y", ours+" && _ws.expert.severity == \"Warning\"", "-T", "fields", "-e", "_ws.expert.message")) {
		// The AVP that is missing, in Failed-AVP with the least octets of its type, and Subscription-Data of an IDR that only asks.
		require.Equal(t, "Data is empty", strings.TrimSpace(line))
	}
	kinds := func(request string) []string {
		found := map[string]bool{}
		for _, line := range strings.Fields(tshark("-Y", ours+" && diameter.flags.request == "+request, "-T", "fields", "-e", "diameter.cmd.code")) {
			for code := range strings.SplitSeq(line, ",") {
				found[code] = true
			}
		}
		return slices.Sorted(maps.Keys(found))
	}
	require.Equal(t, []string{"257", "316", "318", "321", "322", "323", "324"}, kinds("0"), "answers")
	require.Equal(t, []string{"280", "282", "317", "319", "320", "322"}, kinds("1"), "requests of ours")
	require.Contains(t, tshark("-Y", ours+" && diameter.Operator-Determined-Barring == 1", "-T", "fields", "-e", "diameter.cmd.code"), "319")
	require.Contains(t, tshark("-Y", ours+" && diameter.3gpp.dsr_flags_bit14 == 1", "-T", "fields", "-e", "diameter.cmd.code"), "320", "RAU-TAU timer")
	require.Contains(t, tshark("-Y", ours+" && diameter.Operation-Mode == 2 && diameter.Paging-Time-Window-Length == f0", "-T", "fields", "-e", "diameter.cmd.code"), "316")
	for filter, command := range map[string]string{
		"diameter.UE-Usage-Type == 130 && diameter.RAT-Frequency-Selection-Priority-ID == 7 && diameter.Core-Network-Restrictions == 2":                                                            "316",
		"diameter.Regional-Subscription-Zone-Code == a0:b1 && diameter.Trace-Reference == 99:f9:07:0a:0b:0c":                                                                                       "316",
		"diameter.PDN-GW-Allocation-Type == 0 && diameter.PDN-GW-Allocation-Type == 1 && diameter.Visited-Network-Identifier":                                                                      "316",
		"diameter.3gpp.dsr_flags_bit0 == 1 && diameter.3gpp.dsr_flags_bit8 == 1 && diameter.3gpp.dsr_flags_bit18 == 1 && diameter.3gpp.dsr_flags_bit24 == 1 && diameter.3gpp.dsr_flags_bit28 == 1": "320",
		"diameter.HPLMN-ODB == 2": "319",
		"diameter.User-Id == \"99970\" && diameter.Reset-ID == 73:69:74:65:2d:31": "322",
	} {
		require.Contains(t, tshark("-Y", ours+" && "+filter, "-T", "fields", "-e", "diameter.cmd.code"), command, filter)
	}
	require.Contains(t, tshark("-Y", "diameter.Service-Selection == \"internet\"", "-T", "fields", "-e", "diameter.cmd.code"), "316")
}

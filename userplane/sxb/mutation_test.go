package sxb

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// mutator sends what an associated control plane might, changed by chance: octets, lengths, sessions, order.
type mutator struct {
	*controlPlane
	r     *rand.Rand
	seeds [][]byte
	first uint64 // SEID of the UP function: those that follow belong to somebody
}

func (m *mutator) seed(all ...message.Message) {
	for _, one := range all {
		m.seeds = append(m.seeds, m.encode(one))
	}
}

func newMutator(t *testing.T, w *world, addr string, seed uint64) *mutator {
	m := &mutator{controlPlane: newControlPlane(t, w, addr, "hostile.example"), r: rand.New(rand.NewPCG(seed, 7))}
	for _, rules := range [][]*ie.IE{
		bearer("172.16.2.1"), bearer("172.16.2.2"), open5gs("172.16.2.3"), measured("172.16.2.4", threshold(1)...),
		append(bearer("172.16.2.5"), ie.NewFQCSID("10.10.0.9", 1)),
	} {
		m.seed(m.establishment(0, 5, rules...))
	}
	change := func(rules ...*ie.IE) message.Message {
		return message.NewSessionModificationRequest(0, 0, 1, 0, 0, rules...)
	}
	m.seed(
		change(ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(0x0c, 0))),
		change(ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2), ie.NewUpdateForwardingParameters(outer(9, "10.10.0.3"), ie.NewPFCPSMReqFlags(2)))),
		change(ie.NewUpdateFAR(ie.NewFARID(1), ie.NewUpdateForwardingParameters(ie.NewRedirectInformation(ie.RedirectAddrURL, "http://portal.example/")))),
		change(ie.NewUpdateFAR(ie.NewFARID(1), ie.NewUpdateForwardingParameters(ie.NewRedirectInformation(ie.RedirectAddrIPv4, "192.0.2.80")))),
		change(ie.NewRemovePDR(ie.NewPDRID(1)), bearer("172.16.2.6")[0]),
		change(ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
			ie.NewSDFFilter("permit out 17 from 192.0.2.1 53 to assigned", "", "", "", 3)))),
		change(ie.NewRemoveURR(ie.NewURRID(1)), ie.NewCreateURR(ie.NewURRID(2), ie.NewMeasurementMethod(1, 1, 1), ie.NewReportingTriggers(1, 0), ie.NewMeasurementPeriod(1))),
		change(ie.NewQueryURR(ie.NewURRID(1)), ie.NewUpdateQER(ie.NewQERID(1), ie.NewMBR(1, 2))),
		message.NewSessionDeletionRequest(0, 0, 1, 0, 0), message.NewSessionDeletionRequest(0, 0, 1, 0, 0),
		message.NewAssociationUpdateRequest(0, m.nodeID(), ie.NewCPFunctionFeatures(1)),
		message.NewSessionSetDeletionRequest(0, m.nodeID(), nil, ie.NewFQCSID("10.10.0.9", 1)),
		message.NewHeartbeatRequest(0, ie.NewRecoveryTimeStamp(m.rts), nil),
		message.NewPFDManagementRequest(0), message.NewPFDManagementRequest(0, application("video", flowDNS), application("chat", flowWeb)),
		m.establishment(0, 6, detecting("172.16.2.7", "video")...), m.establishment(0, 7, addressless(chooseIPv4|chooseIPv6)...),
		message.NewNodeReportRequest(0, m.nodeID()),
		message.NewSessionReportResponse(0, 0, 1, 0, 0, ie.NewCause(1)),
		m.establishment(0, 8, append(bearer("172.16.2.8"), ie.NewCreateBAR(ie.NewBARID(1), ie.NewDownlinkDataNotificationDelay(50*time.Millisecond)),
			ie.NewCreatePDR(ie.NewPDRID(5), ie.NewPrecedence(1), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
				ie.NewUEIPAddress(6, "172.16.2.8", "", 0, 0)), ie.NewActivatePredefinedRules("dns")))...),
		change(ie.NewUpdatePDR(ie.NewPDRID(5), ie.NewDeactivatePredefinedRules("dns"), ie.NewActivatePredefinedRules("web"))),
		change(ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(0x0c, 0), ie.NewBARID(1)),
			ie.NewUpdateBARWithinSessionModificationRequest(ie.NewBARID(1), ie.NewSuggestedBufferingPacketsCount(3))),
		message.NewSessionReportResponse(0, 0, 1, 0, 0, ie.NewCause(1), ie.NewPFCPSRRspFlags(1), ie.NewUpdateBARWithinSessionReportResponse(
			ie.NewBARID(1), ie.NewDLBufferingDuration(time.Minute), ie.NewDLBufferingSuggestedPacketCount(9))),
	)
	return m
}

// next is one message.
func (m *mutator) next() []byte {
	b := append([]byte(nil), m.seeds[m.r.IntN(len(m.seeds))]...)
	for range m.r.IntN(4) {
		switch at := 4 + m.r.IntN(len(b)-4); m.r.IntN(3) {
		case 0:
			b[at] = byte(m.r.Uint32())
		case 1:
			b[at] ^= 1 << m.r.IntN(8)
		case 2:
			if m.r.IntN(8) == 0 {
				b = b[:min(max(at, 16), len(b))]
				binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
			}
		}
	}
	at := 4
	if b[0]&1 != 0 {
		if b[1] != message.MsgTypeSessionEstablishmentRequest {
			binary.BigEndian.PutUint64(b[4:], m.first+m.r.Uint64N(400))
		}
		at = 12
	}
	if len(b) >= at+4 && m.r.IntN(50) > 0 { // now and then a duplicate, or another's number
		m.seq++
		binary.BigEndian.PutUint32(b[at:], m.seq<<8)
	}
	return b
}

// associate sets the association up again, whatever became of it, and drains what came meanwhile. The number of one of
// the mutated messages may be that of a setup, which is then taken for a duplicate: another follows.
func (m *mutator) associate() {
	m.t.Helper()
	b := make([]byte, 1<<16)
	for range 5 {
		m.seq++
		m.send(m.encode(message.NewAssociationSetupRequest(m.seq, m.nodeID(), ie.NewRecoveryTimeStamp(m.rts))))
		require.NoError(m.t, m.conn.SetReadDeadline(time.Now().Add(patience/5)))
		for {
			n, _, err := m.conn.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			if n >= 8 && b[1] == message.MsgTypeAssociationSetupResponse && binary.BigEndian.Uint32(b[4:])>>8 == m.seq {
				return
			}
		}
	}
	require.Fail(m.t, "no answer to an Association Setup Request")
}

// Whatever an associated control plane sends: no crash, no hang, no growth; after every round the data path holds
// exactly what the sessions compile to, and the session of another one is as it was. XEPC_FUZZ_MESSAGES says how many
// messages (make fuzz-long).
func TestMutatedMessages(t *testing.T) {
	total := 30_000
	if n, err := strconv.Atoi(os.Getenv("XEPC_FUZZ_MESSAGES")); err == nil {
		total = n
	}
	w := newWorld(t, func(c *Config) {
		c.Slices[0].Slots, c.Rest, c.MaxSessionsPerPeer, c.MaxPeers = 4096, time.Millisecond, 300, 16
		c.Endpoint.MaxCached, c.Endpoint.T1, c.Endpoint.N1 = 4096, 20*time.Millisecond, 0
		c.ReportRetry = 50 * time.Millisecond
		c.AddressRest = time.Millisecond
	}, pooled("172.16.9.0/25", "2001:db8:9::/57"), func(c *Config) {
		c.Predefined = []PredefinedRule{
			{Predefined: session.Predefined{Name: "dns", Filters: filterOf(t, flowDNS), Action: pfcp.Some(session.ActionDrop)}},
			{Predefined: session.Predefined{Name: "web", Filters: filterOf(t, flowWeb), MBR: pfcp.BitRate{Downlink: 9}}},
		}
	})
	innocent := newControlPlane(t, w, "127.77.90.1", "innocent.example")
	innocent.setup()
	seid, teid := innocent.establish(1, bearer("172.16.1.1")...)
	keys := []any{uplinkKey(teid), downlinkKey("172.16.1.1")}
	before := w.dp.snapshot()
	m := newMutator(t, w, "127.77.90.2", uint64(total))
	m.first = seid
	var heap, first uint64
	began := time.Now()
	const round = 5000
	for sent := 0; sent < total; sent++ {
		if sent%16 == 0 { // it drains what came, too
			m.associate()
		}
		m.send(m.next())
		if sent%round == round-1 {
			innocent.heartbeat()
			w.consistent()
			for _, key := range keys {
				require.Contains(t, w.dp.snapshot(), key)
			}
			require.Equal(t, before[uplinkKey(teid)], w.dp.snapshot()[uplinkKey(teid)])
			require.Equal(t, before[downlinkKey("172.16.1.1")], w.dp.snapshot()[downlinkKey("172.16.1.1")])
			runtime.GC()
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			if heap == 0 {
				heap, first = now.HeapAlloc, resident(t)
			}
			require.Less(t, now.HeapAlloc, heap+64<<20, "after %d messages", sent)
		}
	}
	s := w.edge.Stats()
	t.Logf("%d messages in %v; process memory %d KiB after the first %d, %d KiB after all", total, time.Since(began).Round(time.Second), first, round, resident(t))
	require.Zero(t, s.Endpoint.Panics+s.Panics)
	accepted := uint64(0)
	for _, c := range s.Causes {
		if c.Cause == 1 {
			accepted += c.Count
		}
	}
	require.Greater(t, accepted, uint64(total/20), "they are not all refused at the door")
	w.dp.count(uplinkKey(teid), 1, 77)
	requireUsage(t, innocent.delete(seid).UsageReport, 77, 0)
}

// resident is the memory of the process that is its alone, RssAnon of proc(5), in KiB.
func resident(t *testing.T) (kib uint64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib
		}
	}
	require.Fail(t, "no RssAnon in /proc/self/status")
	return 0
}

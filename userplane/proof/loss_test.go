package proof

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath/traffic"
)

const (
	ues      = 50
	interval = 2 * time.Microsecond // between packets of a direction
)

// octetsOf is the size of UE n's packets: each has its own, so that sums tell.
func octetsOf(n int) int { return 64 + 20*n }

// both are generators of uplink and downlink packets of the UEs.
type both [2]*traffic.Generator

// start sends from both sides, each from a CPU of its own, until so many packets are sent or stop is called.
func (g both) start(b *bed, packets uint64) (wait func() [2]uint64) {
	done := [2]<-chan error{}
	for i, from := range []*end{&b.access, &b.core} {
		done[i] = traffic.OnCPU(b.ns, i%cpus(), func() error {
			return g[i].Send(from.far, traffic.Load{Packets: packets, Interval: interval})
		})
	}
	return func() (sent [2]uint64) {
		b.t.Helper()
		for i := range g {
			require.NoError(b.t, <-done[i])
			all, _, err := g[i].Sent()
			require.NoError(b.t, err)
			sent[i] = all.Packets
		}
		return sent
	}
}

func (g both) stop(t testing.TB) {
	for i := range g {
		require.NoError(t, g[i].Stop())
	}
}

// control is what the veths lose beside a plain redirect, of so many packets in each direction.
func control(t *testing.T, packets uint64, flows [2][]traffic.Flow) (lost uint64) {
	b := newLinks(t)
	for from, to := range map[int]int{b.access.port: b.core.port, b.core.port: b.access.port} {
		c, err := traffic.NewControl(from, to)
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
	}
	l := open(t, &b.access, &b.core, nil) // both directions use all veths
	both{newGenerator(t, flows[0]...), newGenerator(t, flows[1]...)}.start(b, packets)()
	a := l.account(nil)
	return a.lost[0] + a.lost[1]
}

// TestEveryPacketIsAccountedFor sends in both directions while sessions are modified and the program is killed, restarted and
// upgraded: whatever was sent was received or is counted by reason, no reason blames us, veths lose no more than with a plain
// redirect, and every URR reports what its UE got, to the octet.
func TestEveryPacketIsAccountedFor(t *testing.T) {
	packets, modifications := sized[uint64](300_000, 5_000_000), sized(500, 10_000)
	n := newNode(t)
	sessions := make([]live, ues)
	flows := [2][]traffic.Flow{}
	for i := range sessions {
		r := &pfcp.SessionEstablishmentRequest{
			CreateQERs: []pfcp.CreateQER{{ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: 90_000_000, Downlink: 90_000_000})}},
			CreateURRs: []pfcp.CreateURR{{ID: 1, MeasurementMethod: pfcp.MeasureVolume}},
		}
		r.CreatePDRs, r.CreateFARs = bearer(overOf(i), i, 0, []pfcp.QERID{1}, 1)
		sessions[i] = n.cp.establish(pfcp.SEID(i+1), r)
		flows[0] = append(flows[0], uplinkFlow(t, overOf(i), sessions[i].teids[0], i, octetsOf(i)))
		flows[1] = append(flows[1], downlinkFlow(t, i, 0, octetsOf(i)))
	}
	g := both{newGenerator(t, flows[0]...), newGenerator(t, flows[1]...)}
	up, down := open(t, &n.access, &n.core, nil), open(t, &n.core, &n.access, nil)
	before := n.reasons()
	wait := g.start(n.bed, 0)

	modified := make(chan int, 1)
	go func() {
		i := 0
		defer func() { modified <- i }()
		for ; i < modifications; i++ {
			sessions[i%ues].modify(modification(i))
		}
	}()
	sent := func() (least uint64) {
		a, _, err := g[0].Sent()
		require.NoError(t, err)
		b, _, err := g[1].Sent()
		require.NoError(t, err)
		return min(a.Packets, b.Packets)
	}
	past := func(packets uint64) {
		require.Eventually(t, func() bool { return sent() >= packets }, 10*patience, time.Millisecond)
	}
	programs := []uint32{n.program()}
	for i, change := range []string{"", "burst: 300ms,"} { // the second is another program
		past(packets * uint64(i+1) / 4)
		n.kill()
		past(sent() + packets/20) // nobody is there
		n.configure(change)
		n.start()
		programs = append(programs, n.program())
	}
	past(packets)
	require.Equal(t, modifications, <-modified)
	g.stop(t)
	all := wait()
	require.Len(t, slices.Compact(slices.Clone(programs)), 3, "each was put in place of the one before")

	// Sent is received, counted, or lost by veths.
	var account [2]balance
	settled := func() bool {
		counted := difference(before, n.reasons())
		for i, l := range []*ledger{up, down} {
			account[i] = l.account(counted)
		}
		return all[0] == account[0].received.Packets+account[0].lost[0]+account[0].lost[1] &&
			all[1] == account[1].received.Packets+account[1].lost[0]+account[1].lost[1] &&
			counted["uplink_forwarded"] == all[0]-account[0].lost[0] && counted["downlink_forwarded"] == all[1]-account[1].lost[0]
	}
	for deadline := time.Now().Add(patience); !settled(); time.Sleep(10 * time.Millisecond) { // on this thread, which is in the namespace
		require.True(t, time.Now().Before(deadline), "sent %v, %v\n%+v\n%+v", all, difference(before, n.reasons()), account[0], account[1])
	}
	counted := difference(before, n.reasons())
	require.ElementsMatch(t, []string{"uplink_forwarded", "downlink_forwarded"}, slices.Collect(maps.Keys(counted)), "%v", counted)
	lost := account[0].lost[0] + account[0].lost[1] + account[1].lost[0] + account[1].lost[1]

	// Usage, session by session, and nothing of it twice.
	got := make([]pfcp.VolumeMeasurement, ues)
	for s, c := range account[0].seen {
		got[ueOf(s.Source)].UplinkOctets += c.Octets
	}
	for s, c := range account[1].seen {
		got[ueOf(s.Destination)].DownlinkOctets += c.Octets
		require.Contains(t, []uint32{0x1111, 0x2222}, uint32(s.TEID[0])<<8|uint32(s.TEID[1]), "a tunnel of neither rule")
	}
	n.restart()
	require.Contains(t, n.lastRun(), "added=0 changed=0 removed=0", "the maps are what the sessions compile to")
	reports := 0
	for i, s := range sessions {
		s.delete()
		v, count := n.cp.reported(s.own, 1)
		reports += count
		if account[0].lost[1]+account[1].lost[1] == 0 { // what was lost behind the node was counted, and whose it was nobody knows
			require.Equal(t, got[i].UplinkOctets, v.UplinkOctets, "UE %d", i)
			require.Equal(t, got[i].DownlinkOctets, v.DownlinkOctets, "UE %d", i)
		}
	}
	beside := control(t, packets, flows)
	t.Logf("%d packets up, %d down, %d modifications, %d usage reports, 3 programs in turn: lost by veths %d, beside a plain redirect %d",
		all[0], all[1], modifications, reports, lost, beside)
	require.LessOrEqual(t, lost, beside+(all[0]+all[1])/1_000_000, "one in a million is the machine's")
}

// modification is the i-th: a handover, another rate, a query, a dedicated bearer that comes and goes.
func modification(i int) *pfcp.SessionModificationRequest {
	ue, turn := i%ues, i/ues
	switch turn % 5 {
	case 0, 2:
		over := overOf(ue + turn) // now over IPv4, now over IPv6
		remote, id := over.sgw, remoteTEID(ue)
		if turn%5 == 0 {
			remote, id = over.sgw2, 0x22220000|id&0xffff
		}
		return &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 2, ForwardingParameters: pfcp.Some(toTunnel(remote, id))}}}
	case 1:
		rate := uint64(80_000_000 + turn)
		return &pfcp.SessionModificationRequest{
			UpdateQERs: []pfcp.UpdateQER{{ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: rate, Downlink: rate})}}, QueryURRs: []pfcp.URRID{1},
		}
	case 3:
		pdrs, fars := bearer(overOf(ue), ue, 1, []pfcp.QERID{1}, 1)
		return &pfcp.SessionModificationRequest{CreatePDRs: pdrs[1:], CreateFARs: fars[1:]}
	default:
		return &pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{4}, RemoveFARs: []pfcp.FARID{4}}
	}
}

// ueOf is the inverse of ue.
func ueOf(a [4]byte) int { return int(a[2]-1)*250 + int(a[3]) - 1 }

// restart ends the program as an operator does, and starts it again.
func (n *node) restart() {
	n.t.Helper()
	require.NoError(n.t, n.process.Process.Signal(os.Interrupt))
	require.NoError(n.t, n.process.Wait())
	n.start()
}

// lastRun is what the program has logged since it was last started.
func (n *node) lastRun() string {
	all := n.log.String()
	return all[strings.LastIndex(all, "msg=starting"):]
}

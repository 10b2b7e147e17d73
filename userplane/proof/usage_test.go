package proof

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath/traffic"
)

// counting is a session with URRs, and what each must report in the end.
type counting struct {
	name string
	urrs []pfcp.CreateURR
	// up and down are the URRs of the first bearer's PDRs; dedicated those of a second bearer's downlink PDR.
	up, down, dedicated []pfcp.URRID
	mbr                 uint64 // kbit/s, in both directions; 0: none
	renewed             bool   // the session is deleted and established again over and over; it has downlink packets only
	// modify is done over and over, to the session of UE i, while packets are counted.
	modify func(i, turn int) *pfcp.SessionModificationRequest
	// want is what a URR has counted, of what went up, down by the first bearer, and down by the second.
	want map[pfcp.URRID]func(up, down, dedicated uint64) pfcp.VolumeMeasurement
}

func upOnly(up, _, _ uint64) pfcp.VolumeMeasurement {
	return pfcp.VolumeMeasurement{TotalOctets: up, UplinkOctets: up}
}

func downOnly(_, down, _ uint64) pfcp.VolumeMeasurement {
	return pfcp.VolumeMeasurement{TotalOctets: down, DownlinkOctets: down}
}

func upAndDown(up, down, _ uint64) pfcp.VolumeMeasurement {
	return pfcp.VolumeMeasurement{TotalOctets: up + down, UplinkOctets: up, DownlinkOctets: down}
}

func everything(up, down, dedicated uint64) pfcp.VolumeMeasurement {
	return upAndDown(up, down+dedicated, 0)
}

func dedicatedOnly(_, _, dedicated uint64) pfcp.VolumeMeasurement { return downOnly(0, dedicated, 0) }

func countings() []counting {
	type wants = map[pfcp.URRID]func(up, down, dedicated uint64) pfcp.VolumeMeasurement
	volume := func(id pfcp.URRID) pfcp.CreateURR {
		return pfcp.CreateURR{ID: id, MeasurementMethod: pfcp.MeasureVolume}
	}
	threshold := func(id pfcp.URRID, octets uint64) pfcp.CreateURR {
		c := volume(id)
		c.ReportingTriggers = pfcp.ReportVolumeThreshold
		c.VolumeThreshold = pfcp.Volume{Total: pfcp.Some(octets)}
		return c
	}
	linked := volume(2)
	linked.ReportingTriggers, linked.LinkedURRIDs = pfcp.ReportLinkedUsage, []pfcp.URRID{1}
	periodic := volume(1)
	periodic.ReportingTriggers, periodic.MeasurementPeriod = pfcp.ReportPeriodic, pfcp.Some(uint32(1))
	handover := func(_, turn int) *pfcp.SessionModificationRequest {
		return &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{
			ID: 2, ForwardingParameters: pfcp.Some(toTunnel(overOf(turn).sgw, 0x55550000+pfcp.TEID(turn&0xff))),
		}}}
	}
	return []counting{
		{
			name: "one URR for each direction", urrs: []pfcp.CreateURR{volume(1), volume(2)},
			up: []pfcp.URRID{1}, down: []pfcp.URRID{2}, modify: handover, want: wants{1: upOnly, 2: downOnly},
		},
		{
			name: "one for both, queried all the time", urrs: []pfcp.CreateURR{volume(1)}, up: []pfcp.URRID{1}, down: []pfcp.URRID{1},
			modify: func(int, int) *pfcp.SessionModificationRequest {
				return &pfcp.SessionModificationRequest{QueryURRs: []pfcp.URRID{1}}
			},
			want: wants{1: upAndDown},
		},
		{
			name: "thresholds, with a linked URR", urrs: []pfcp.CreateURR{threshold(1, 300_000), linked},
			up: []pfcp.URRID{1}, down: []pfcp.URRID{1, 2}, modify: handover, want: wants{1: upAndDown, 2: downOnly},
		},
		{
			name: "several URRs on a rule, one of them periodic", urrs: []pfcp.CreateURR{periodic, volume(2), threshold(3, 1_000_000)},
			up: []pfcp.URRID{1, 2, 3}, down: []pfcp.URRID{1, 3}, want: wants{1: upAndDown, 2: upOnly, 3: upAndDown},
		},
		{
			name: "of two bearers and of the session", urrs: []pfcp.CreateURR{volume(1), volume(2), threshold(3, 2_000_000)},
			up: []pfcp.URRID{1, 3}, down: []pfcp.URRID{1, 3}, dedicated: []pfcp.URRID{2, 3},
			want: wants{1: upAndDown, 2: dedicatedOnly, 3: everything},
		},
		{
			name: "what a policer drops is not counted", urrs: []pfcp.CreateURR{volume(1), threshold(2, 500_000)}, mbr: 20_000,
			up: []pfcp.URRID{1, 2}, down: []pfcp.URRID{1}, want: wants{1: upAndDown, 2: upOnly},
		},
		{
			name: "what a gate drops is not counted", urrs: []pfcp.CreateURR{volume(1)}, mbr: 900_000, up: []pfcp.URRID{1}, down: []pfcp.URRID{1},
			modify: func(_, turn int) *pfcp.SessionModificationRequest {
				closed := turn%2 == 0
				return &pfcp.SessionModificationRequest{UpdateQERs: []pfcp.UpdateQER{{
					ID: 1, GateStatus: pfcp.Some(pfcp.GateStatus{UplinkClosed: closed, DownlinkClosed: closed}),
				}}}
			},
			want: wants{1: upAndDown},
		},
		{
			name: "a URR that comes and goes on a rule", urrs: []pfcp.CreateURR{volume(1), volume(2)},
			up: []pfcp.URRID{1}, down: []pfcp.URRID{1}, want: wants{1: upAndDown},
			modify: func(_, turn int) *pfcp.SessionModificationRequest {
				ids := []pfcp.URRID{1, 2}[:1+turn%2]
				return &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some(ids)}, {ID: 2, URRIDs: pfcp.Some(ids)}}}
			},
		},
		{
			name: "a dedicated bearer that comes and goes", urrs: []pfcp.CreateURR{volume(1)}, mbr: 90_000_000,
			up: []pfcp.URRID{1}, down: []pfcp.URRID{1}, want: wants{1: upAndDown},
			modify: func(i, turn int) *pfcp.SessionModificationRequest { return modification(i + (3+turn%2)*ues) },
		},
		{
			name: "a session that is deleted and established again", urrs: []pfcp.CreateURR{volume(1), threshold(2, 200_000)},
			up: []pfcp.URRID{1}, down: []pfcp.URRID{1, 2}, renewed: true, want: wants{1: upAndDown, 2: downOnly},
		},
		{
			name: "one that counts in cells", urrs: []pfcp.CreateURR{func() pfcp.CreateURR {
				c := volume(1)
				c.ReportingTriggers, c.VolumeQuota = pfcp.ReportVolumeQuota, pfcp.Volume{Total: pfcp.Some(uint64(1 << 40))}
				return c
			}(), volume(2)}, up: []pfcp.URRID{1}, down: []pfcp.URRID{1, 2}, renewed: true, want: wants{1: upAndDown, 2: downOnly},
		},
		{
			name: "a volume quota that is used up, and granted again", urrs: []pfcp.CreateURR{func() pfcp.CreateURR {
				c := volume(1)
				c.ReportingTriggers, c.VolumeQuota = pfcp.ReportVolumeQuota, pfcp.Volume{Total: pfcp.Some(uint64(400_000))}
				return c
			}()}, up: []pfcp.URRID{1}, down: []pfcp.URRID{1}, want: wants{1: upAndDown},
			modify: func(int, int) *pfcp.SessionModificationRequest {
				return &pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{
					ID: 1, URRParameters: pfcp.URRParameters{VolumeQuota: pfcp.Volume{Total: pfcp.Some(uint64(400_000))}},
				}}}
			},
		},
	}
}

// TestUsageIsExact counts what UEs send and get while their sessions are modified and reported on, or deleted and established
// again, while a policer, a gate and a quota drop, and while the program is killed and started again: the reports of every URR add up to what was forwarded,
// to the octet.
func TestUsageIsExact(t *testing.T) {
	n := newNode(t)
	all := countings()
	sessions, turns := make([]live, len(all)), 0
	requests, lives := make([]*pfcp.SessionEstablishmentRequest, len(all)), make([][]live, len(all))
	last := pfcp.SEID(0)
	establish := func(i int) {
		last++
		sessions[i] = n.cp.establish(last, requests[i])
		lives[i] = append(lives[i], sessions[i])
	}
	flows := [2][]traffic.Flow{}
	for i, c := range all {
		r := &pfcp.SessionEstablishmentRequest{CreateURRs: c.urrs}
		var qers []pfcp.QERID
		if c.mbr > 0 {
			qers = []pfcp.QERID{1}
			r.CreateQERs = []pfcp.CreateQER{{ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: c.mbr, Downlink: c.mbr})}}
		}
		r.CreatePDRs, r.CreateFARs = bearer(overOf(i), i, 0, qers)
		r.CreatePDRs[0].URRIDs, r.CreatePDRs[1].URRIDs = c.up, c.down
		if c.dedicated != nil {
			pdrs, fars := bearer(overOf(i), i, 1, qers, c.dedicated...)
			r.CreatePDRs, r.CreateFARs = append(r.CreatePDRs, pdrs[1]), append(r.CreateFARs, fars[1])
		}
		requests[i] = r
		establish(i)
		for _, octets := range []int{40 + i, 1400 - i} {
			if !c.renewed { // its TEIDs change, and Error Indications would be in the way
				flows[0] = append(flows[0], uplinkFlow(t, overOf(i), sessions[i].teids[0], i, octets))
			}
			flows[1] = append(flows[1], downlinkFlow(t, i, 0, octets))
			if c.dedicated != nil {
				flows[1] = append(flows[1], downlinkFlow(t, i, 1, octets))
			}
		}
	}
	g := both{newGenerator(t, flows[0]...), newGenerator(t, flows[1]...)}
	up, down := open(t, &n.access, &n.core, nil), open(t, &n.core, &n.access, nil)
	before := n.reasons()
	wait := g.start(n.bed, 0)
	require.Eventually(t, func() bool { // everybody has had some of each before the gate closes
		counted := difference(before, n.reasons())
		return min(counted["uplink_forwarded"], counted["downlink_forwarded"]) > uint64(20*len(flows[1]))
	}, patience, time.Millisecond)
	for end := time.Now().Add(sized(2*time.Second, 30*time.Second)); time.Now().Before(end); turns++ {
		for i, c := range all {
			if c.modify != nil {
				sessions[i].modify(c.modify(i, turns))
			}
			if c.renewed {
				sessions[i].delete()
				establish(i)
			}
		}
		if turns%sized(40, 1000) == 20 {
			n.kill()
			n.start()
		}
	}
	g.stop(t)
	sent := wait()
	var counted map[string]uint64
	settled := func() bool {
		counted = difference(before, n.reasons())
		sum := uint64(0)
		for _, packets := range counted {
			sum += packets
		}
		a, b := up.account(counted), down.account(counted)
		return sum == sent[0]+sent[1]-a.lost[0]-b.lost[0] &&
			counted["uplink_forwarded"] == a.received.Packets+a.lost[1] && counted["downlink_forwarded"] == b.received.Packets+b.lost[1]
	}
	for deadline := time.Now().Add(patience); !settled(); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "sent %v, %v", sent, counted)
	}
	a, b := up.account(counted), down.account(counted)
	require.Zero(t, a.lost[1]+b.lost[1], "what veths lose behind the node was counted, and whose it was nobody knows")

	octets := make([][3]uint64, len(all)) // by session: up, down, down by the dedicated bearer
	for s, c := range a.seen {
		octets[ueOf(s.Source)][0] += c.Octets
	}
	for s, c := range b.seen {
		way := 1
		if i := ueOf(s.Destination); all[i].dedicated != nil && byDedicated(i, s) {
			way = 2
		}
		octets[ueOf(s.Destination)][way] += c.Octets
	}
	for i, c := range all {
		sessions[i].delete()
		got := octets[i]
		require.NotZero(t, got[0]+got[1], c.name) // a quota may be gone before both directions had some
		for id, want := range c.want {
			var v pfcp.VolumeMeasurement
			reports := 0
			for _, l := range lives[i] {
				one, count := n.cp.reported(l.own, id)
				v.TotalOctets, v.UplinkOctets, v.DownlinkOctets = v.TotalOctets+one.TotalOctets, v.UplinkOctets+one.UplinkOctets, v.DownlinkOctets+one.DownlinkOctets
				reports += count
			}
			w := want(got[0], got[1], got[2])
			require.Equal(t, [3]uint64{w.TotalOctets, w.UplinkOctets, w.DownlinkOctets}, [3]uint64{v.TotalOctets, v.UplinkOctets, v.DownlinkOctets},
				"%s: URR %d", c.name, id)
			t.Logf("%-45s URR %d: %12d octets in %4d reports of %d sessions, exact", c.name, id, v.TotalOctets, reports, len(lives[i]))
		}
	}
	t.Logf("%d packets up, %d down, %d turns of modifications: %v", sent[0], sent[1], turns, counted)
}

// byDedicated says whether a packet left by the tunnel of UE i's second bearer.
func byDedicated(i int, s traffic.Sight) bool {
	id := remoteTEID(i) + 1<<12
	return s.TEID == [4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
}

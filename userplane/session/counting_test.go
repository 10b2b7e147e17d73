package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

func TestTheCommonSessionNeedsNoCell(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(1000)
	})
	require.Empty(t, l.s.Cells())
	table := compile(t, l.s)
	require.EqualValues(t, 500, table.Find(uplinkKey).Watch)
	require.EqualValues(t, 500, table.Find(downlinkKey).Watch)
	require.True(t, Diff(table, compile(t, reread(t, l.s))).Empty(), "and after a restart")
	require.NotEmpty(t, l.s.URRs[0].Triggers)

	both := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeThreshold
		u.VolumeThreshold = pfcp.Volume{Total: pfcp.Some(uint64(1000)), Downlink: pfcp.Some(uint64(300))}
	})
	require.EqualValues(t, 500, compile(t, both.s).Find(uplinkKey).Watch)
	require.EqualValues(t, 300, compile(t, both.s).Find(downlinkKey).Watch)
}

// However the packets fall, a threshold is told of at the packet that reaches it, and seldom before.
func TestAThresholdIsToldOfAtItsPacket(t *testing.T) {
	const threshold = 1_000_000_000
	for name, uplinkPackets := range map[string]int{"only down": 0, "a tenth up": 10, "half up": 50, "only up": 100} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(uplinkPackets)))
			l := newLife(t, func(u *pfcp.CreateURR) {
				u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(threshold)
			})
			looks, reports, sent := 0, 0, uint64(0)
			for reports < 3 {
				key, octets := downlinkKey, uint64(random.IntN(60_000)+20)
				if random.IntN(100) < uplinkPackets {
					key = uplinkKey
				}
				e := compile(t, l.s).Find(key)
				l.send(e, 0, octets)
				sent += octets
				told := e.Watch != 0 && l.usage[key].Octets >= e.Watch
				require.False(t, sent >= threshold && !told, "%d octets and nobody was told", sent)
				if !told {
					continue
				}
				looks++
				before, table := l.s, compile(t, l.s)
				counts := l.settle()
				l.s, _ = l.s.Tick(l.now)
				if len(l.s.Unconfirmed) > 0 {
					require.GreaterOrEqual(t, sent, uint64(threshold))
					l.s, reports, sent = l.s.Confirm(l.s.Unconfirmed), reports+1, 0
				} else {
					require.Less(t, sent, uint64(threshold))
				}
				l.s = l.s.Rewatch(before, table, counts)
			}
			require.Less(t, looks, 3*15)
		})
	}
}

// A dedicated bearer comes and goes: the entry of the UE's address has two rules for a while.
func TestAURRMovesIntoACellAndOutOfIt(t *testing.T) {
	l := newLife(t)
	bearer := func() *pfcp.SessionModificationRequest {
		special := bearer().CreatePDRs[1]
		special.ID, special.Precedence, special.URRIDs = 9, 10, []pfcp.URRID{2}
		special.PDI.SDFFilters = []pfcp.SDFFilter{someSDF}
		return &pfcp.SessionModificationRequest{
			CreateURRs: []pfcp.CreateURR{{ID: 2, MeasurementMethod: pfcp.MeasureVolume}},
			CreatePDRs: []pfcp.CreatePDR{special},
		}
	}
	send := func(rule int, octets uint64) {
		e := compile(t, l.s).Find(downlinkKey)
		l.send(e, rule, octets)
	}
	send(0, 1000)
	old := compile(t, l.s).Find(downlinkKey)
	l.modify(bearer(), func() { l.send(old, 0, 300) }) // by the rules of before
	require.Equal(t, []CellID{{SEID: 9, URRID: 1}, {SEID: 9, URRID: 2}}, l.s.CellIDs())
	require.True(t, compile(t, l.s).Find(downlinkKey).Celled)
	require.False(t, compile(t, l.s).Find(uplinkKey).Celled)
	require.Equal(t, l.s, reread(t, l.s))
	l.send(old, 0, 11) // a program that began before the change
	send(0, 70)        // the dedicated bearer
	send(1, 5)
	two := compile(t, l.s).Find(downlinkKey)
	final := l.modify(&pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{9}, RemoveURRs: []pfcp.URRID{2}},
		func() { l.send(two, 1, 40) })
	require.Equal(t, volume(0, 70), final[0].Volume)
	require.False(t, compile(t, l.s).Find(downlinkKey).Celled)
	send(0, 6000)
	l.settle()
	_, reports := l.s.Report([]pfcp.URRID{1}, TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Equal(t, volume(0, 1000+300+11+5+40+6000), reports[0].Volume)
}

func TestWhatAnEntryCountsBeforeItGoesIsNotLost(t *testing.T) {
	l := newLife(t)
	l.packets(100, 1000)
	old := compile(t, l.s)
	last := func() {
		l.send(old.Find(uplinkKey), 0, 7)
		l.send(old.Find(downlinkKey), 0, 30)
	}
	final := l.modify(&pfcp.SessionModificationRequest{
		RemovePDRs: []pfcp.PDRID{2}, RemoveURRs: []pfcp.URRID{1},
		CreateURRs: []pfcp.CreateURR{{ID: 3, MeasurementMethod: pfcp.MeasureVolume}},
		UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{3})}},
	}, last)
	require.Equal(t, volume(100, 1030), final[0].Volume)
	l.settle()
	_, reports := l.s.Report(l.s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Equal(t, volume(7, 0), reports[0].Volume, "of the entry that stays, it is the next URR's")
}

// Rules come and go while packets pass: a URR that all of them have counts every octet once.
func TestCountsUnderRandomModifications(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { countsUnderModifications(t, rand.New(rand.NewPCG(7, seed))) })
	}
}

func countsUnderModifications(t *testing.T, random *rand.Rand) {
	l := newLife(t)
	want, some := Volume{}, Volume{} // of URR 1, and of URR 2 while it lives
	add := func(v *Volume, d Direction, octets uint64) { v.count(d, 1, octets) }
	send := func(table Table, n int) {
		var counted []*Entry
		for i := range table {
			if e := &table[i]; e.Celled || l.s.counting(e) {
				counted = append(counted, e)
			}
		}
		for range n {
			e := counted[random.IntN(len(counted))]
			rule, octets := random.IntN(1+len(e.More)), uint64(random.IntN(1500)+20)
			l.send(e, rule, octets)
			add(&want, e.Key.Direction, octets)
			pdr := e.Origin.PDRID
			if rule > 0 {
				pdr = e.More[rule-1].Origin.PDRID
			}
			if at, ok := find(l.s.PDRs, pdr, idOfPDR); ok && len(l.s.PDRs[at].URRIDs) > 1 {
				add(&some, e.Key.Direction, octets)
			}
		}
	}
	reported := map[pfcp.URRID]Volume{}
	take := func(reports []pfcp.UsageReport) {
		for _, r := range reports {
			v := r.Volume.Value
			reported[r.URRID] = reported[r.URRID].plus(Volume{UplinkOctets: v.UplinkOctets, DownlinkOctets: v.DownlinkOctets})
		}
	}
	var extra []pfcp.PDRID
	two, quota := false, false
	for step := range 12 {
		send(compile(t, l.s), 20)
		req := &pfcp.SessionModificationRequest{}
		switch choice := random.IntN(6); {
		case choice == 0 && len(extra) > 0:
			req.RemovePDRs, extra = extra[:1], extra[1:]
		case choice <= 1:
			p := bearer().CreatePDRs[random.IntN(2)]
			p.ID, p.Precedence, p.URRIDs = pfcp.PDRID(20+step), pfcp.Precedence(10+step), []pfcp.URRID{1}
			if two && random.IntN(2) == 0 {
				p.URRIDs = []pfcp.URRID{1, 2}
			}
			if p.PDI.SourceInterface == pfcp.InterfaceCore {
				p.PDI.SDFFilters = []pfcp.SDFFilter{someSDF}
			}
			req.CreatePDRs, extra = []pfcp.CreatePDR{p}, append(extra, p.ID)
		case choice == 2 && !two:
			two, some = true, Volume{}
			req.CreateURRs = []pfcp.CreateURR{{ID: 2, MeasurementMethod: pfcp.MeasureVolume}}
			req.UpdatePDRs = []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{1, 2})}}
		case choice == 3 && !quota:
			quota = true
			req.UpdateURRs = []pfcp.UpdateURR{{ID: 1, URRParameters: pfcp.URRParameters{VolumeQuota: total(1 << 40)}}}
		case choice == 4:
			req.UpdateURRs = []pfcp.UpdateURR{{ID: 1, URRParameters: pfcp.URRParameters{VolumeThreshold: total(1 << 30)}, ReportingTriggers: pfcp.Some(pfcp.ReportVolumeThreshold)}}
		default:
			req.UpdateFARs = []pfcp.UpdateFAR{{ID: 1}}
		}
		old := compile(t, l.s)
		take(l.modify(req, func() {
			if len(req.CreateURRs) == 0 {
				send(old, 5)
			}
		}))
		if random.IntN(3) == 0 {
			l.s = reread(t, l.s)
		}
	}
	send(compile(t, l.s), 20)
	l.settle()
	_, reports := l.s.Report(l.s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	take(reports)
	octets := func(v Volume) Volume {
		return Volume{UplinkOctets: v.UplinkOctets, DownlinkOctets: v.DownlinkOctets}
	}
	require.Equal(t, octets(want), reported[1])
	if two {
		require.Equal(t, octets(some), reported[2])
	}
}

// What a FAR drops starts and stops traffic, and is no usage.
func TestDroppedPacketsStartAndStopTraffic(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.MeasurementMethod |= pfcp.MeasureEvent
		u.ReportingTriggers = pfcp.ReportStartOfTraffic | pfcp.ReportStopOfTraffic
		u.InactivityDetectionTime = pfcp.Some(uint32(5))
	})
	require.Empty(t, l.s.Cells(), "none as long as nothing is dropped")
	action := func(id pfcp.FARID, a pfcp.ApplyAction) {
		l.modify(&pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: id, ApplyAction: pfcp.Some(a)}}})
	}
	action(2, pfcp.ActionDrop)
	dropped := CellID{SEID: 9, URRID: 1, Dropped: true}
	require.Equal(t, []Cell{{ID: dropped}}, l.s.Cells())
	down := compile(t, l.s).Find(downlinkKey)
	require.Equal(t, []CellID{dropped}, down.Cells)
	require.Empty(t, compile(t, l.s).Find(uplinkKey).Cells)
	require.False(t, down.Celled, "what it counts as forwarded stands still where it is")

	l.cells[dropped] = Volume{DownlinkOctets: 100, DownlinkPackets: 1}
	r := l.one(time.Second)
	require.Equal(t, pfcp.TriggerStartOfTraffic, r.Trigger)
	require.Equal(t, volume(0, 0), r.Volume)
	require.Equal(t, l.s, reread(t, l.s))
	l.cells[dropped] = Volume{DownlinkOctets: 200, DownlinkPackets: 2}
	require.Empty(t, l.after(4*time.Second))
	require.Empty(t, l.after(4*time.Second))
	require.Equal(t, l.now+Time(time.Second), l.s.Next(l.now, time.Minute))
	require.Equal(t, pfcp.TriggerStopOfTraffic, l.one(time.Second).Trigger)

	action(2, pfcp.ActionForward)
	require.Empty(t, compile(t, l.s).Find(downlinkKey).Cells)
	l.packets(10, 20)
	r = l.one(time.Second)
	require.Equal(t, pfcp.TriggerStartOfTraffic, r.Trigger)
	require.Equal(t, volume(10, 20), r.Volume)
	l.after(time.Hour)
	action(2, pfcp.ActionDrop) // what the cell has counted before does not count again
	require.Empty(t, l.after(time.Second))
	l.cells[dropped] = Volume{DownlinkOctets: 300, DownlinkPackets: 3}
	require.Len(t, l.after(time.Second), 1)
}

// The cell counts on: what it had counted for the URR before is no start of traffic of the next.
func TestAURRInThePlaceOfAnotherThatDetects(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportStartOfTraffic
	})
	l.modify(&pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 2, ApplyAction: pfcp.Some(pfcp.ActionDrop)}}})
	dropped := CellID{SEID: 9, URRID: 1, Dropped: true}
	l.cells[dropped] = Volume{DownlinkOctets: 100, DownlinkPackets: 1}
	require.Equal(t, pfcp.TriggerStartOfTraffic, l.one(time.Second).Trigger)
	l.modify(&pfcp.SessionModificationRequest{RemoveURRs: []pfcp.URRID{1}, CreateURRs: []pfcp.CreateURR{{ID: 1, MeasurementMethod: pfcp.MeasureVolume, ReportingTriggers: pfcp.ReportStartOfTraffic}}})
	require.Empty(t, l.after(time.Second))
}

// A spent quota drops, too, but that starts no traffic.
func TestWhatASpentQuotaDropsStartsNoTraffic(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeQuota = pfcp.ReportStartOfTraffic|pfcp.ReportVolumeQuota, total(10)
	})
	l.packets(10, 0)
	l.after(time.Second)
	require.False(t, l.forwards())
	for _, e := range compile(t, l.s) {
		require.Equal(t, []CellID{{SEID: 9, URRID: 1}}, e.Cells)
	}
}

func TestAMeasurementBeforeQoSIsInCellsThatCountWhatLimitsDrop(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.MeasurementInformation = pfcp.Some(pfcp.MeasureBeforeQoS)
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(1000)
	})
	id := CellID{SEID: 9, URRID: 1}
	require.Equal(t, []Cell{{ID: id, Limits: VolumeLimits{TotalThreshold: 1000}, BeforeQoS: true}}, l.s.Cells())
	for _, e := range compile(t, l.s) {
		require.True(t, e.Celled)
		require.Equal(t, []CellID{id}, e.Cells)
	}
	l.packets(100, 200)
	require.Empty(t, l.after(time.Second))
	l.cells[id] = Volume{UplinkOctets: 100, UplinkPackets: 1, DownlinkOctets: 900, DownlinkPackets: 7}
	require.Equal(t, volume(100, 900), l.one(time.Second).Volume)

	l.update(pfcp.URRParameters{MeasurementInformation: pfcp.Some(pfcp.MeasurementInformation(0))})
	require.False(t, compile(t, l.s).Find(uplinkKey).Celled)
	require.False(t, l.s.Cells()[0].BeforeQoS)
	l.packets(1, 2)
	require.Empty(t, l.after(time.Second))
	_, reports := l.s.Report([]pfcp.URRID{1}, TriggerImmediate, pfcp.Opt[uint32]{}, l.now)
	require.Equal(t, volume(1, 2), reports[0].Volume)
}

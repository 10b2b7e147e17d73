package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

// morning is when sessions of tests begin.
var morning = At(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))

func volume(up, down uint64) pfcp.Opt[pfcp.VolumeMeasurement] {
	return pfcp.Some(pfcp.VolumeMeasurement{TotalOctets: up + down, UplinkOctets: up, DownlinkOctets: down, OctetsOnly: true})
}

// life is a session whose packets and clock a test makes.
type life struct {
	t     *testing.T
	s     Session
	now   Time
	cells map[CellID]Volume
	usage map[Key]Usage
	teids *counter
}

func newLife(t *testing.T, change ...func(*pfcp.CreateURR)) *life {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		for _, f := range change {
			f(&r.CreateURRs[0])
		}
	}))
	l := &life{t: t, s: s, now: morning, cells: map[CellID]Volume{}, usage: map[Key]Usage{}, teids: &counter{next: 0x100}}
	l.s = l.s.Recount(Session{}, compile(t, l.s), Counts{})
	return l
}

// packets are one of so many octets in each direction, for every entry of it.
func (l *life) packets(up, down uint64) {
	table := compile(l.t, l.s)
	for i := range table {
		octets := up
		if table[i].Key.Direction == Downlink {
			octets = down
		}
		if octets != 0 {
			l.send(&table[i], 0, octets)
		}
	}
}

// send is a packet that a rule of an entry takes.
func (l *life) send(e *Entry, rule int, octets uint64) {
	if !e.Celled {
		u := l.usage[e.Key]
		l.usage[e.Key] = Usage{u.Packets + 1, u.Octets + octets}
		return
	}
	for n, r := range e.Rules {
		if n != rule {
			continue
		}
		for _, id := range r.Cells {
			v := l.cells[id]
			v.count(e.Key.Direction, 1, octets)
			l.cells[id] = v
		}
	}
}

// counts are what the data path would read.
func (l *life) counts() (c Counts) {
	c = l.read(compile(l.t, l.s))
	for _, id := range l.s.CellIDs() {
		c.Cells = append(c.Cells, l.cells[id])
	}
	return c
}

// read is what entries have counted.
func (l *life) read(table Table) Counts {
	c := Counts{Of: table}
	for i := range table {
		c.Entries = append(c.Entries, l.usage[table[i].Key])
	}
	return c
}

func (l *life) settle() Counts {
	c := l.counts()
	l.s = l.s.Settle(c, l.now)
	return c
}

// modify is a modification as the edge makes it. between are packets that come before its rules are in force.
func (l *life) modify(req *pfcp.SessionModificationRequest, between ...func()) []pfcp.UsageReport {
	l.t.Helper()
	counts := l.settle()
	settled, final := l.s.Report(req.RemoveURRs, TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	for _, f := range between {
		f()
	}
	next, _, err := settled.Modify(req, DefaultLimits(), l.teids, l.now)
	require.NoError(l.t, err)
	after := compile(l.t, next)
	if gone := settled.Gone(counts.Of, after); len(gone) > 0 {
		next = next.Late(settled, counts, l.read(gone), final)
		for i := range gone {
			delete(l.usage, gone[i].Key)
		}
	}
	l.s = next.Recount(settled, after, counts)
	require.Equal(l.t, compile(l.t, l.s), after, "with the watches set")
	return final
}

// after lets time pass, and returns the reports that are due then; they are confirmed.
func (l *life) after(d time.Duration) []pfcp.UsageReport {
	l.now += Time(d)
	l.settle()
	l.s, _ = l.s.Tick(l.now)
	reports := l.s.Unconfirmed
	l.s = l.s.Confirm(reports)
	require.Empty(l.t, l.s.Unconfirmed)
	return reports
}

// one is the only report due, without its times.
func (l *life) one(d time.Duration) pfcp.UsageReport {
	l.t.Helper()
	all := l.after(d)
	require.Len(l.t, all, 1)
	r := all[0]
	for _, t := range stamps(&r) {
		*t = pfcp.Opt[pfcp.TimeStamp]{}
	}
	return r
}

func (l *life) update(p pfcp.URRParameters) {
	l.modify(&pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{ID: 1, URRParameters: p}}})
}

func (l *life) forwards() bool {
	table := compile(l.t, l.s)
	return table.Find(uplinkKey).Action == ActionForward && table.Find(downlinkKey).Action == ActionForward
}

func total(n uint64) pfcp.Volume { return pfcp.Volume{Total: pfcp.Some(n)} }

func TestAReportCarriesWhatWasCountedSinceTheLast(t *testing.T) {
	l := newLife(t)
	l.packets(300, 2000)
	l.now += Time(time.Minute)
	l.settle()
	s, reports := l.s.Report([]pfcp.URRID{1}, TriggerImmediate, pfcp.Some(uint32(7)), l.now)
	require.Equal(t, []pfcp.UsageReport{{
		URRID: 1, Sequence: 0, Trigger: TriggerImmediate, Volume: volume(300, 2000), QueryReference: pfcp.Some(uint32(7)),
		StartTime: pfcp.Some(morning.stamp()), EndTime: pfcp.Some(l.now.stamp()),
		TimeOfFirstPacket: pfcp.Some(l.now.stamp()), TimeOfLastPacket: pfcp.Some(l.now.stamp()),
	}}, reports)

	l.s = s
	l.packets(50, 0)
	l.settle()
	_, reports = l.s.Report(l.s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Len(t, reports, 1)
	require.Equal(t, volume(50, 0), reports[0].Volume)
	require.EqualValues(t, 1, reports[0].Sequence)
	require.Equal(t, reports[0].StartTime, reports[0].EndTime)
	_, reports = l.s.Report([]pfcp.URRID{9}, TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Empty(t, reports)
}

func TestPacketsStandInAReportOnlyWhenAskedFor(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(1)
		u.MeasurementInformation = pfcp.Some(pfcp.MeasurePackets)
	})
	l.packets(300, 2000)
	l.packets(300, 0)
	require.Equal(t, pfcp.Some(pfcp.VolumeMeasurement{
		TotalOctets: 2600, UplinkOctets: 600, DownlinkOctets: 2000, TotalPackets: 3, UplinkPackets: 2, DownlinkPackets: 1,
	}), l.one(0).Volume)
}

func TestNothingIsCountedTwiceOrLostWhenRulesChange(t *testing.T) {
	l := newLife(t)
	// URR 2 joins URR 1 on the uplink.
	l.packets(1000, 100)
	l.modify(&pfcp.SessionModificationRequest{
		CreateURRs: []pfcp.CreateURR{{ID: 2, MeasurementMethod: pfcp.MeasureVolume}},
		UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{1, 2})}},
	})
	l.packets(200, 500)

	// URR 1 goes and comes back in one request.
	final := l.modify(&pfcp.SessionModificationRequest{
		RemoveURRs: []pfcp.URRID{1}, CreateURRs: []pfcp.CreateURR{{ID: 1, MeasurementMethod: pfcp.MeasureVolume}},
	})
	l.packets(30, 4)
	l.settle()
	_, reports := l.s.Report(l.s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Equal(t, volume(1200, 600), final[0].Volume)
	require.Equal(t, volume(30, 4), reports[0].Volume)
	require.Equal(t, volume(230, 0), reports[1].Volume)
}

func TestAnEntryThatWasMadeAnewCountsFromZero(t *testing.T) {
	l := newLife(t)
	l.packets(1000, 0)
	l.settle()
	l.usage[uplinkKey] = Usage{1, 40}
	l.settle()
	_, reports := l.s.Report(l.s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Equal(t, volume(1040, 0), reports[0].Volume)
}

// The data path is to act at counts of its own, which do not change with what is counted.
func TestTheLimitsOfACell(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeThreshold
		u.VolumeThreshold, u.VolumeQuota = total(800), pfcp.Volume{Downlink: pfcp.Some(uint64(1000))}
	})
	limits := func() VolumeLimits { return l.s.Cells()[0].Limits }
	want := VolumeLimits{TotalThreshold: 800, DownlinkThreshold: 1000, DownlinkQuota: 1000}
	require.Equal(t, want, limits())
	l.packets(100, 200)
	l.settle()
	require.Equal(t, want, limits())
	l.packets(0, 500)
	l.one(0)
	require.Equal(t, VolumeLimits{TotalThreshold: 1600, DownlinkThreshold: 1000, DownlinkQuota: 1000}, limits())
	l.packets(0, 300)
	l.after(0)
	require.False(t, l.forwards())
	require.Equal(t, VolumeLimits{TotalThreshold: 1600}, limits(), "spent")
	l.update(pfcp.URRParameters{VolumeQuota: pfcp.Volume{Downlink: pfcp.Some(uint64(50))}})
	require.False(t, l.forwards(), "for what was not reported: 300 of it is gone already")
	l.update(pfcp.URRParameters{VolumeQuota: pfcp.Volume{Downlink: pfcp.Some(uint64(450))}})
	require.True(t, l.forwards())
	require.EqualValues(t, 700+450, limits().DownlinkQuota)

	var c Changes
	c.DiffCells(nil, l.s.Cells())
	require.Len(t, c.Cells, 1)
	c = Changes{}
	c.DiffCells(l.s.Cells(), l.s.Cells())
	require.True(t, c.Empty())
	c.DiffCells(l.s.Cells(), nil)
	require.Equal(t, []CellID{{SEID: 9, URRID: 1}}, c.Removes)
}

func TestWhichModificationsTouchTheCounts(t *testing.T) {
	s := newLife(t).s
	wakes := &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 1, ApplyAction: pfcp.Some(pfcp.ActionForward)}}}
	require.False(t, s.Touches(&pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 1}}}), "a handover does not")
	require.False(t, s.Touches(wakes))
	require.True(t, s.Touches(&pfcp.SessionModificationRequest{QueryAll: true}))
	require.True(t, s.Touches(&pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{1}}))
	s = newLife(t, func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportStartOfTraffic }).s
	require.True(t, s.Touches(wakes), "what is dropped may be a start of traffic")
}

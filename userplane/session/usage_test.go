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
	usage map[Key]Usage
}

func newLife(t *testing.T, change ...func(*pfcp.CreateURR)) *life {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		for _, f := range change {
			f(&r.CreateURRs[0])
		}
	}))
	return &life{t: t, s: s, now: morning, usage: map[Key]Usage{}}
}

func (l *life) packets(up, down uint64) {
	for key, octets := range map[Key]uint64{uplinkKey: up, downlinkKey: down} {
		if octets > 0 {
			u := l.usage[key]
			l.usage[key] = Usage{u.Packets + 1, u.Octets + octets}
		}
	}
}

func (l *life) settle() { l.s = l.s.Settle(compile(l.t, l.s), l.usage, l.now) }

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
	l.settle()
	l.s = modify(l.t, l.s, &pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{ID: 1, URRParameters: p}}})
}

func (l *life) forwards() bool {
	table := compile(l.t, l.s)
	return table[uplinkKey].Action == ActionForward && table[downlinkKey].Action == ActionForward
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
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreateURRs = append(r.CreateURRs, pfcp.CreateURR{ID: 2, MeasurementMethod: pfcp.MeasureVolume})
	}))
	table := compile(t, s)

	// URR 2 joins URR 1 on the uplink after 10 packets.
	s = s.Settle(table, map[Key]Usage{uplinkKey: {10, 1000}, downlinkKey: {1, 100}}, morning)
	s = modify(t, s, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{1, 2})}}})
	table = compile(t, s)

	// The downlink rule goes after 5 more, and comes back: a new entry, which counts from 0.
	s = s.Settle(table, map[Key]Usage{uplinkKey: {12, 1200}, downlinkKey: {6, 600}}, morning)
	without := modify(t, s, &pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{2}})
	changes := Diff(table, compile(t, without))
	require.Equal(t, []Key{downlinkKey}, changes.Deletes)
	without = without.Forget(changes.Deletes)
	again := bearer().CreatePDRs[1]
	s = modify(t, without, &pfcp.SessionModificationRequest{CreatePDRs: []pfcp.CreatePDR{again}})

	s = s.Settle(compile(t, s), map[Key]Usage{uplinkKey: {12, 1200}, downlinkKey: {2, 20}}, morning)
	_, reports := s.Report(s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, morning)
	require.Equal(t, volume(1200, 620), reports[0].Volume)
	require.Equal(t, volume(200, 0), reports[1].Volume)
}

func TestAnEntryThatWasMadeAnewCountsFromZero(t *testing.T) {
	s := establish(t, bearer())
	table := compile(t, s)
	s = s.Settle(table, map[Key]Usage{uplinkKey: {10, 1000}}, morning)
	s = s.Settle(table, map[Key]Usage{uplinkKey: {1, 40}}, morning)
	_, reports := s.Report(s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, morning)
	require.Equal(t, volume(1040, 0), reports[0].Volume)
}

func TestWhichModificationsTouchTheCounts(t *testing.T) {
	require.False(t, Touches(&pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 1}}}), "a handover does not")
	require.True(t, Touches(&pfcp.SessionModificationRequest{QueryAll: true}))
	require.True(t, Touches(&pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{1}}))
}

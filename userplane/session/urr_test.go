package session

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

func TestAVolumeThresholdStartsAgainWithEveryReport(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(1000)
	})
	l.packets(400, 599)
	require.Empty(t, l.after(time.Second))
	l.packets(1, 0)
	require.Equal(t, pfcp.UsageReport{Trigger: pfcp.TriggerVolumeThreshold, URRID: 1, Volume: volume(401, 599)}, l.one(time.Second))
	l.packets(0, 999)
	require.Empty(t, l.after(time.Second))
	l.packets(0, 1500)
	require.Equal(t, pfcp.UsageReport{
		Trigger: pfcp.TriggerVolumeThreshold, URRID: 1, Sequence: 1, Volume: volume(0, 2499),
	}, l.one(time.Second))
	require.True(t, l.forwards())
}

func TestThresholdsOfOneDirection(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, pfcp.Volume{Downlink: pfcp.Some(uint64(100))}
	})
	l.packets(5000, 99)
	require.Empty(t, l.after(time.Second))
	l.packets(0, 1)
	require.Equal(t, volume(5000, 100), l.one(0).Volume)
}

func TestASpentQuotaStopsTheTrafficUntilAnother(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeThreshold | pfcp.ReportVolumeQuota
		u.VolumeThreshold, u.VolumeQuota = total(800), total(1000)
	})
	l.packets(900, 0)
	require.Equal(t, pfcp.TriggerVolumeThreshold, l.one(time.Second).Trigger)
	require.True(t, l.forwards())
	l.packets(0, 100) // with what was reported, the quota
	r := l.one(time.Second)
	require.Equal(t, pfcp.TriggerVolumeQuota, r.Trigger)
	require.Equal(t, volume(0, 100), r.Volume)
	require.False(t, l.forwards())
	require.Empty(t, l.after(time.Hour), "once")

	l.update(pfcp.URRParameters{VolumeQuota: total(500)})
	require.True(t, l.forwards())
	l.packets(499, 0)
	require.Empty(t, l.after(time.Second))
	l.packets(1, 0)
	require.Equal(t, pfcp.TriggerVolumeQuota, l.one(time.Second).Trigger)
}

func TestANewQuotaIsForWhatWasNotReported(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeQuota = pfcp.ReportVolumeQuota, total(1000)
	})
	l.packets(600, 0)
	require.Empty(t, l.after(time.Second))
	l.update(pfcp.URRParameters{VolumeQuota: total(700)})
	l.packets(100, 0)
	require.Equal(t, volume(700, 0), l.one(time.Second).Volume)
}

// What a limit was reached by before it came is not waited for any more: no packet may come.
func TestALimitThatWasReachedBeforeItCame(t *testing.T) {
	l := newLife(t)
	l.packets(600, 0)
	l.settle()
	require.Zero(t, l.s.Next(l.now, time.Second))
	l.modify(&pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{
		ID: 1, ReportingTriggers: pfcp.Some(pfcp.ReportVolumeThreshold), URRParameters: pfcp.URRParameters{VolumeThreshold: total(500)},
	}}})
	require.Equal(t, l.now, l.s.Next(l.now, time.Second))
	r := l.one(0)
	require.Equal(t, pfcp.TriggerVolumeThreshold, r.Trigger)
	require.Equal(t, volume(600, 0), r.Volume)
	require.Zero(t, l.s.Next(l.now, time.Second))

	l.packets(700, 0)
	l.modify(&pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{
		ID: 1, ReportingTriggers: pfcp.Some(pfcp.ReportVolumeQuota), URRParameters: pfcp.URRParameters{VolumeQuota: total(700)},
	}}})
	require.False(t, l.forwards(), "at once")
	require.Equal(t, l.now, l.s.Next(l.now, time.Second))
	r = l.one(0)
	require.Equal(t, pfcp.TriggerVolumeQuota, r.Trigger)
	require.Equal(t, volume(700, 0), r.Volume)
}

func TestAQuotaOfNothing(t *testing.T) {
	of := func(triggers pfcp.ReportingTriggers) *life {
		return newLife(t, func(u *pfcp.CreateURR) { u.ReportingTriggers, u.VolumeQuota = triggers, total(0) })
	}
	l := of(pfcp.ReportVolumeQuota)
	require.False(t, l.forwards(), "from the first packet on")
	require.Equal(t, l.now, l.s.Next(l.now, time.Second))
	require.Equal(t, pfcp.TriggerVolumeQuota, l.one(0).Trigger)
	require.Zero(t, l.s.Next(l.now, time.Second), "once")
	l.update(pfcp.URRParameters{VolumeQuota: total(10)})
	require.True(t, l.forwards())

	// The packet that is the start of traffic is let pass, and no other.
	l = of(pfcp.ReportVolumeQuota | pfcp.ReportStartOfTraffic)
	require.True(t, l.forwards())
	require.EqualValues(t, 1, l.s.Cells()[0].Limits.TotalQuota)
	require.Empty(t, l.after(time.Second))
	l.packets(100, 0)
	require.Equal(t, pfcp.TriggerVolumeQuota|pfcp.TriggerStartOfTraffic, l.one(0).Trigger)
	require.False(t, l.forwards())
	l.update(pfcp.URRParameters{VolumeQuota: total(0)})
	require.False(t, l.forwards(), "the control plane wants nothing of it")
	l.update(pfcp.URRParameters{VolumeQuota: total(10)})
	require.True(t, l.forwards())
}

// IEs of no length take away what they say, TS 29.244 5.6.3.
func TestLimitsThatAreTakenAway(t *testing.T) {
	var types pfcp.IETypes
	without := func(all ...uint16) *pfcp.SessionModificationRequest {
		types = pfcp.IETypes{}
		for _, typ := range all {
			types.Add(typ)
		}
		return &pfcp.SessionModificationRequest{UpdateURRs: []pfcp.UpdateURR{{ID: 1, Removed: types}}}
	}
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeQuota | pfcp.ReportPeriodic
		u.VolumeQuota, u.TimeQuota = total(100), pfcp.Some(uint32(3600))
		u.QuotaValidityTime, u.MeasurementPeriod, u.NumberOfReports = pfcp.Some(uint32(7200)), pfcp.Some(uint32(600)), pfcp.Some(uint16(1))
		u.MonitoringTime, u.SubsequentVolumeQuota = pfcp.Some(pfcp.TimeStampOf(time.Unix(0, int64(morning.add(9000))))), total(1)
	})
	l.packets(100, 0)
	require.Equal(t, pfcp.TriggerVolumeQuota, l.one(time.Second).Trigger)
	require.False(t, l.forwards())
	l.modify(without(pfcp.IEVolumeQuota, pfcp.IENumberOfReports))
	require.True(t, l.forwards(), "by volume there is no end any more")
	l.packets(1<<30, 0)
	require.Empty(t, l.after(time.Second))
	l.modify(without(pfcp.IETimeQuota, pfcp.IEQuotaValidityTime, pfcp.IEMeasurementPeriod, pfcp.IEReportingTriggers))
	require.Equal(t, morning.add(9000), l.s.Next(l.now, time.Second), "nothing else is left")
	l.modify(without(pfcp.IEMonitoringTime, pfcp.IESubsequentVolumeQuota))
	require.Equal(t, pfcp.URRParameters{}, l.s.URRs[0].Parameters)
	require.Zero(t, l.s.Next(l.now, time.Second))
	require.True(t, l.forwards())

	// A threshold that is reported on must be there.
	l = newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(100)
	})
	next, _, err := l.s.Modify(without(pfcp.IEVolumeThreshold), DefaultLimits(), l.teids, l.now)
	require.NoError(t, err)
	_, err = next.Compile(internet)
	require.Error(t, err)
}

func TestAThresholdOfNothingIsNone(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, pfcp.Volume{Total: pfcp.Some(uint64(100)), Uplink: pfcp.Some(uint64(0))}
	})
	l.packets(99, 0)
	require.Empty(t, l.after(time.Second))
	l.packets(0, 1)
	require.Equal(t, volume(99, 1), l.one(0).Volume)
}

func TestTheFARForQuotaActionReplacesTheDrop(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.VolumeQuota, u.QuotaAction = total(10), pfcp.Some(pfcp.FARID(3))
	})
	l.s = modify(t, l.s, &pfcp.SessionModificationRequest{CreateFARs: []pfcp.CreateFAR{{ID: 3, ApplyAction: pfcp.ActionDrop}}})
	l.packets(10, 0)
	l.after(0)
	require.Equal(t, ActionDrop, compile(t, l.s).Find(uplinkKey).Action)
	require.EqualValues(t, 3, compile(t, l.s).Find(uplinkKey).Origin.FARID)
}

// A FAR that sends to a portal is for packets from the UE; those to it are dropped, and the report is made.
func TestAFARForQuotaActionOfOneDirection(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeQuota
		u.VolumeQuota, u.QuotaAction = total(10), pfcp.Some(pfcp.FARID(3))
	})
	portal := pfcp.ForwardingParameters{
		DestinationInterface: pfcp.Some(pfcp.InterfaceCore), NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
		Redirect: pfcp.Some(pfcp.RedirectInformation{Type: pfcp.RedirectURL, Server: "http://top.up/"}),
	}
	l.s = modify(t, l.s, &pfcp.SessionModificationRequest{CreateFARs: []pfcp.CreateFAR{
		{ID: 3, ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(portal)},
	}})
	l.packets(10, 0)
	require.Len(t, l.after(0), 1)
	require.Equal(t, ActionAnswer, compile(t, l.s).Find(uplinkKey).Action)
	require.Equal(t, ActionDrop, compile(t, l.s).Find(downlinkKey).Action)
}

func TestAQuotaThatIsNotGivenAnewGoesOn(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.MeasurementMethod |= pfcp.MeasureDuration
		u.ReportingTriggers = pfcp.ReportVolumeQuota | pfcp.ReportTimeQuota
		u.VolumeQuota, u.TimeQuota = total(1000), pfcp.Some(uint32(60))
	})
	l.packets(900, 0)
	l.after(0)
	require.Equal(t, pfcp.TriggerTimeQuota, l.one(time.Minute).Trigger)
	l.update(pfcp.URRParameters{TimeQuota: pfcp.Some(uint32(60))})
	require.True(t, l.forwards())
	l.packets(100, 0)
	require.Equal(t, pfcp.TriggerVolumeQuota, l.one(time.Second).Trigger)
	require.False(t, l.forwards())
}

// Some control planes say so that there is no limit: the count at which it is reached must not wrap.
func TestTheHighestLimitsAreNeverReached(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeQuota | pfcp.ReportVolumeThreshold
		u.VolumeQuota = total(1000)
		u.VolumeThreshold = total(500)
	})
	l.packets(1000, 0)
	l.one(0)
	l.update(pfcp.URRParameters{VolumeQuota: total(math.MaxUint64), VolumeThreshold: total(math.MaxUint64)})
	require.True(t, l.forwards())
	require.Equal(t, VolumeLimits{TotalQuota: math.MaxUint64, TotalThreshold: math.MaxUint64}, l.s.Cells()[0].Limits)
}

func TestPeriodicReportsComeAlsoWithoutTraffic(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.MeasurementPeriod = pfcp.ReportPeriodic, pfcp.Some(uint32(10)) // OAI
	})
	require.Equal(t, morning.add(10), l.s.Next(l.now, time.Second))
	require.Empty(t, l.after(9*time.Second))
	l.packets(100, 0)
	require.Equal(t, volume(100, 0), l.one(time.Second).Volume)
	r := l.one(10 * time.Second)
	require.Equal(t, pfcp.UsageReport{URRID: 1, Sequence: 1, Trigger: pfcp.TriggerPeriodic, Volume: volume(0, 0)}, r)
	l.one(35 * time.Second) // asleep for three of them: one report
	require.Equal(t, morning.add(60), l.s.Next(l.now, time.Second))
}

func duration(u *pfcp.CreateURR) { u.MeasurementMethod = pfcp.MeasureDuration }

func TestTimeIsMeasuredFromTheFirstPacket(t *testing.T) {
	l := newLife(t, duration, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.TimeThreshold = pfcp.ReportTimeThreshold, pfcp.Some(uint32(60))
	})
	require.Empty(t, l.after(time.Hour))
	l.packets(1, 0)
	require.Empty(t, l.after(0))
	require.Equal(t, l.now.add(60), l.s.Next(l.now, time.Second))
	require.Empty(t, l.after(59*time.Second))
	require.Equal(t, pfcp.UsageReport{
		URRID: 1, Trigger: pfcp.TriggerTimeThreshold, Duration: pfcp.Some(uint32(60)),
	}, l.one(time.Second))
}

func TestTimeIsMeasuredAtOnceWhereToldTo(t *testing.T) {
	l := newLife(t, duration, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.TimeQuota = pfcp.ReportTimeQuota, pfcp.Some(uint32(30))
		u.MeasurementInformation = pfcp.Some(pfcp.StartTimeImmediately)
	})
	require.True(t, l.forwards())
	require.Equal(t, pfcp.Some(uint32(31)), l.one(31*time.Second).Duration)
	require.False(t, l.forwards())
}

func TestTimeWithoutPacketsDoesNotCountAfterTheInactivityDetectionTime(t *testing.T) {
	l := newLife(t, duration, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.InactivityDetectionTime = pfcp.ReportStopOfTraffic|pfcp.ReportStartOfTraffic, pfcp.Some(uint32(20))
	})
	l.packets(1, 0)
	r := l.one(time.Second)
	require.Equal(t, pfcp.TriggerStartOfTraffic, r.Trigger)
	r = l.one(50 * time.Second)
	require.Equal(t, pfcp.TriggerStopOfTraffic, r.Trigger)
	require.Equal(t, pfcp.Some(uint32(20)), r.Duration)
	require.Empty(t, l.after(time.Hour))
	l.packets(0, 1)
	require.Equal(t, pfcp.TriggerStartOfTraffic, l.one(time.Second).Trigger)
}

func TestEventsAreStartsOfTraffic(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.MeasurementMethod, u.InactivityDetectionTime = pfcp.MeasureEvent, pfcp.Some(uint32(5))
		u.ReportingTriggers, u.EventThreshold = pfcp.ReportEventThreshold, pfcp.Some(uint32(2))
	})
	l.packets(1, 0)
	require.Empty(t, l.after(time.Second))
	require.Empty(t, l.after(6*time.Second))
	l.packets(1, 0)
	r := l.one(time.Second)
	require.Equal(t, pfcp.TriggerEventThreshold, r.Trigger)
	require.Equal(t, []pfcp.TimeStamp{morning.add(1).stamp(), morning.add(8).stamp()}, r.EventTimeStamps)
}

func TestAQuotaIsHeldOnlySoLongWithoutPackets(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.QuotaHoldingTime = pfcp.ReportQuotaHoldingTime, pfcp.Some(uint32(30))
		u.VolumeQuota = total(1 << 30)
	})
	require.Empty(t, l.after(29*time.Second))
	l.packets(1, 0)
	require.Empty(t, l.after(time.Second))
	require.Empty(t, l.after(29*time.Second))
	require.Equal(t, pfcp.TriggerQuotaHoldingTime, l.one(time.Second).Trigger)
	require.False(t, l.forwards())
}

func TestAQuotaEndsWithItsValidity(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.QuotaValidityTime = pfcp.ReportQuotaValidity, pfcp.Some(uint32(30))
		u.VolumeQuota = total(1 << 30)
	})
	require.Empty(t, l.after(29*time.Second))
	require.Equal(t, pfcp.TriggerQuotaValidity, l.one(time.Second).Trigger)
	require.False(t, l.forwards())
	l.update(pfcp.URRParameters{VolumeQuota: total(1 << 30), QuotaValidityTime: pfcp.Some(uint32(0))})
	require.True(t, l.forwards(), "0 seconds are no end")
}

func TestTheMonitoringTimeSplitsTheCount(t *testing.T) {
	at := time.Unix(0, int64(morning.add(60)))
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(1000)
		u.MonitoringTime, u.SubsequentVolumeThreshold = pfcp.Some(pfcp.TimeStampOf(at)), total(300)
	})
	l.packets(900, 0)
	require.Equal(t, morning.add(60), l.s.Next(l.now, time.Minute))
	require.Empty(t, l.after(60*time.Second), "it is no report by itself, and nobody has looked at the counts until it came")
	l.packets(0, 299)
	require.Empty(t, l.after(time.Second))
	l.packets(0, 1)
	all := l.after(time.Second)
	require.Len(t, all, 2)
	require.Equal(t, volume(900, 0), all[0].Volume)
	require.Equal(t, pfcp.Some(pfcp.UsageBeforeMonitoringTime), all[0].UsageInformation)
	require.Equal(t, pfcp.Some(pfcp.TimeStampOf(at)), all[0].EndTime)
	require.Equal(t, volume(0, 300), all[1].Volume)
	require.Equal(t, pfcp.Some(pfcp.UsageAfterMonitoringTime), all[1].UsageInformation)
	require.Equal(t, []uint32{0, 1}, []uint32{all[0].Sequence, all[1].Sequence})
	l.packets(300, 0)
	require.Equal(t, pfcp.Opt[pfcp.UsageInformation]{}, l.one(time.Second).UsageInformation)
}

func TestSubsequentQuotasAreForWhatComesAfterTheMonitoringTime(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.MeasurementMethod |= pfcp.MeasureDuration
		u.ReportingTriggers = pfcp.ReportVolumeQuota | pfcp.ReportTimeQuota
		u.VolumeQuota, u.TimeQuota = total(1000), pfcp.Some(uint32(60))
		u.SubsequentVolumeQuota = total(500)
		u.MonitoringTime = pfcp.Some((morning + Time(30*time.Second)).stamp())
	})
	l.packets(800, 0)
	require.Empty(t, l.after(10*time.Second))
	l.packets(100, 0)
	require.Empty(t, l.after(20*time.Second), "the last packets before the monitoring time")
	require.Equal(t, l.s, reread(t, l.s))
	require.EqualValues(t, 900+500, l.s.Cells()[0].Limits.TotalQuota)
	l.packets(499, 0)
	require.Empty(t, l.after(time.Second))
	l.packets(1, 0)
	all := l.after(time.Second)
	require.Len(t, all, 2)
	require.Equal(t, pfcp.TriggerVolumeQuota|pfcp.TriggerMonitoringTime, all[0].Trigger)
	require.Equal(t, []pfcp.Opt[pfcp.VolumeMeasurement]{volume(900, 0), volume(500, 0)}, []pfcp.Opt[pfcp.VolumeMeasurement]{all[0].Volume, all[1].Volume})

	l.update(pfcp.URRParameters{VolumeQuota: total(100)})
	l.packets(10, 0)
	require.Empty(t, l.after(time.Second))
	require.Equal(t, pfcp.TriggerTimeQuota, l.one(time.Minute).Trigger, "it has no subsequent one, and is as it was")
}

func TestTheClockIsSetBack(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.MeasurementMethod |= pfcp.MeasureDuration
		u.ReportingTriggers = pfcp.ReportPeriodic | pfcp.ReportQuotaValidity | pfcp.ReportQuotaHoldingTime
		u.MeasurementPeriod, u.VolumeQuota = pfcp.Some(uint32(60)), total(1000)
		u.QuotaValidityTime, u.QuotaHoldingTime = pfcp.Some(uint32(300)), pfcp.Some(uint32(90))
	})
	l.s.InactivityTimer = 600
	l.packets(1, 1)
	require.Empty(t, l.after(10*time.Second))
	l.now -= Time(24 * time.Hour)
	require.Empty(t, l.after(0))
	require.LessOrEqual(t, l.s.Next(l.now, time.Hour), l.now+Time(time.Minute))
	l.packets(1, 1)
	r := l.after(time.Minute)
	require.Len(t, r, 1)
	require.Equal(t, pfcp.TriggerPeriodic, r[0].Trigger)
	require.Less(t, r[0].StartTime.Value, r[0].EndTime.Value)
	require.EqualValues(t, 60, r[0].Duration.Value)
	require.Equal(t, pfcp.TriggerPeriodic|pfcp.TriggerQuotaHoldingTime, l.after(90 * time.Second)[0].Trigger)
	require.False(t, l.forwards())
	_, inactive := l.s.Tick(l.now + Time(509*time.Second))
	require.False(t, inactive)
	_, inactive = l.s.Tick(l.now + Time(510*time.Second))
	require.True(t, inactive)
}

func TestALinkedURRIsReportedWithTheOther(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(100)
	})
	l.s = modify(t, l.s, &pfcp.SessionModificationRequest{
		CreateURRs: []pfcp.CreateURR{{
			ID: 2, MeasurementMethod: pfcp.MeasureVolume, ReportingTriggers: pfcp.ReportLinkedUsage,
			URRParameters: pfcp.URRParameters{LinkedURRIDs: []pfcp.URRID{1}},
		}},
		UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{1, 2})}},
	})
	l.packets(60, 40)
	all := l.after(time.Second)
	require.Len(t, all, 2)
	require.Equal(t, pfcp.TriggerVolumeThreshold, all[0].Trigger)
	require.Equal(t, pfcp.TriggerLinkedUsage, all[1].Trigger)
	require.Equal(t, volume(60, 0), all[1].Volume)
}

func TestAfterSoManyReportsAURRIsDone(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers, u.MeasurementPeriod = pfcp.ReportPeriodic, pfcp.Some(uint32(10))
		u.NumberOfReports = pfcp.Some(uint16(1))
	})
	l.one(10 * time.Second)
	require.Empty(t, l.after(time.Hour))
	require.Zero(t, l.s.Next(l.now, time.Second))
}

func TestAPausedMeasurementCountsNothing(t *testing.T) {
	l := newLife(t)
	l.packets(10, 0)
	l.update(pfcp.URRParameters{MeasurementInformation: pfcp.Some(pfcp.MeasurementInactive)})
	l.packets(100, 0)
	l.update(pfcp.URRParameters{MeasurementInformation: pfcp.Some(pfcp.MeasurementInformation(0))})
	l.packets(1000, 0)
	l.settle()
	_, reports := l.s.Report(l.s.URRIDs(), TriggerTermination, pfcp.Opt[uint32]{}, l.now)
	require.Equal(t, volume(1010, 0), reports[0].Volume)
}

func TestReportsThatWaitForTheirConfirmationHoldTheNextOnesBack(t *testing.T) {
	l := newLife(t, func(u *pfcp.CreateURR) {
		u.ReportingTriggers = pfcp.ReportVolumeThreshold | pfcp.ReportVolumeQuota
		u.VolumeThreshold, u.VolumeQuota = total(100), total(250)
	})
	step := func(octets uint64) {
		l.packets(octets, 0)
		l.settle()
		l.s, _ = l.s.Tick(l.now)
	}
	step(100)
	first := l.s.Unconfirmed
	require.Len(t, first, 1)
	step(150)
	require.Equal(t, first, l.s.Unconfirmed)
	require.False(t, l.forwards(), "a spent quota stops the traffic at once")
	l.s = l.s.Confirm(first)
	r := l.one(0)
	require.Equal(t, pfcp.TriggerVolumeQuota|pfcp.TriggerVolumeThreshold, r.Trigger)
	require.Equal(t, volume(150, 0), r.Volume)
}

func TestInactivityIsToldOnce(t *testing.T) {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) { r.InactivityTimer = pfcp.Some(uint32(30)) }))
	require.True(t, s.Observes())
	at := func(seconds uint32, packets uint64) (inactive bool) {
		now := morning.add(seconds)
		s = s.Settle(Counts{Of: TableOf(*compile(t, s).Find(uplinkKey)), Entries: []Usage{{Packets: packets}}}, now)
		s, inactive = s.Tick(now)
		return inactive
	}
	require.False(t, at(29, 0))
	require.False(t, at(30, 1))
	require.False(t, at(59, 1))
	require.True(t, at(60, 1))
	require.False(t, at(61, 1))
	require.False(t, at(62, 2))
	require.True(t, at(92, 2), "after packets it may be inactive again")
}

func TestURRsThatCannotBeServed(t *testing.T) {
	for name, change := range map[string]func(*pfcp.CreateURR){
		"dropped downlink traffic":    func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportDroppedDownlink },
		"MAC addresses":               func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportMACAddresses },
		"an unknown method":           func(u *pfcp.CreateURR) { u.MeasurementMethod = 8 },
		"a period without its length": func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportPeriodic },
		"a volume threshold of 0 octets": func(u *pfcp.CreateURR) {
			u.ReportingTriggers, u.VolumeThreshold = pfcp.ReportVolumeThreshold, total(0)
		},
		"a volume threshold without volume": func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportVolumeThreshold },
		"a time threshold without time":     func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportTimeThreshold },
		"a stop of traffic without a time":  func(u *pfcp.CreateURR) { u.ReportingTriggers = pfcp.ReportStopOfTraffic },
	} {
		s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) { change(&r.CreateURRs[0]) }))
		_, err := s.Compile(internet)
		require.Error(t, err, name)
	}
}

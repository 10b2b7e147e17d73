package sxb

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// impatient is a configuration in which what a test waits for comes soon.
func impatient(c *Config) {
	c.Poll, c.ReportRetry = 5*time.Millisecond, 10*time.Millisecond
	c.Endpoint.T1, c.Endpoint.N1 = 20*time.Millisecond, 1
}

// measured are the rules of a bearer with another URR.
func measured(ue string, urr ...*ie.IE) []*ie.IE {
	rules := bearer(ue)
	rules[len(rules)-1] = ie.NewCreateURR(append([]*ie.IE{ie.NewURRID(1)}, urr...)...)
	return rules
}

func threshold(octets uint64) []*ie.IE {
	return []*ie.IE{
		ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x02, 0), ie.NewVolumeThreshold(0x01, octets, 0, 0),
	}
}

// requireReport checks a usage report and returns its UR-SEQN.
func requireReport(t *testing.T, i *ie.IE, trigger uint32, octets uint64) uint32 {
	t.Helper()
	flags, err := i.UsageReportTrigger()
	require.NoError(t, err)
	got := uint32(0)
	for at, octet := range flags {
		got |= uint32(octet) << (8 * at)
	}
	require.Equal(t, trigger, got)
	volume, err := i.VolumeMeasurement()
	require.NoError(t, err)
	require.Equal(t, octets, volume.TotalVolume)
	sequence, err := i.URSEQN()
	require.NoError(t, err)
	return sequence
}

func TestAThresholdIsReported(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.58.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, measured("172.16.1.1", threshold(1000)...)...)
	w.dp.count(uplinkKey(teid), 1, 600)
	w.dp.count(downlinkKey("172.16.1.1"), 1, 900)
	r := cp.reported()
	require.True(t, r.ReportType.HasUSAR())
	require.EqualValues(t, 77, r.SEID())
	require.Len(t, r.UsageReport, 1)
	require.Zero(t, requireReport(t, r.UsageReport[0], pfcp.TriggerVolumeThreshold, 1500))

	w.dp.count(uplinkKey(teid), 1, 10)
	w.dp.count(uplinkKey(teid), 1, 1000)
	require.EqualValues(t, 1, requireReport(t, cp.reported().UsageReport[0], pfcp.TriggerVolumeThreshold, 1010))
	w.dp.count(uplinkKey(teid), 1, 5)
	d := cp.delete(seid)
	require.EqualValues(t, 2, requireReport(t, d.UsageReport[0], pfcp.TriggerTermination, 5))
	w.consistent()
}

// A report that nobody confirms is sent again, under the same UR-SEQN, over restarts of ours too; and what is
// counted meanwhile is in the next one.
func TestAReportIsRepeatedUntilItIsConfirmed(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.59.1", "pgwc.example")
	cp.setup()
	_, teid := cp.establish(77, measured("172.16.1.1", threshold(1000)...)...)
	w.dp.count(uplinkKey(teid), 1, 1000)
	sequences := map[uint32]bool{}
	for len(sequences) < 4 { // PFCP's own retransmissions repeat theirs
		_, m := cp.receive(message.MsgTypeSessionReportRequest)
		sequences[m.Sequence()] = true
		require.Zero(t, requireReport(t, m.(*message.SessionReportRequest).UsageReport[0], pfcp.TriggerVolumeThreshold, 1000))
		w.dp.count(uplinkKey(teid), 1, 1000)
	}
	w.kill()
	cp.drain()
	w.start()
	_, m := cp.receive(message.MsgTypeSessionReportRequest)
	require.Zero(t, requireReport(t, m.(*message.SessionReportRequest).UsageReport[0], pfcp.TriggerVolumeThreshold, 1000))
	counted := w.dp.octets(uplinkKey(teid))
	cp.confirm(m)
	for {
		_, m = cp.receive(message.MsgTypeSessionReportRequest)
		cp.confirm(m)
		volume, err := m.(*message.SessionReportRequest).UsageReport[0].VolumeMeasurement()
		require.NoError(t, err)
		if volume.TotalVolume != 1000 { // not the first one again
			require.Equal(t, counted-1000, volume.TotalVolume)
			return
		}
	}
}

// A control plane that is too busy has not charged anybody; one that refuses has.
func TestAReportThatCouldNotBeTakenIsRepeated(t *testing.T) {
	w := newWorld(t, impatient, func(c *Config) { c.Endpoint.T1 = time.Hour })
	cp := newControlPlane(t, w, "127.77.63.1", "pgwc.example")
	cp.setup()
	_, teid := cp.establish(77, measured("172.16.1.1", threshold(1000)...)...)
	w.dp.count(uplinkKey(teid), 1, 1000)
	for _, cause := range []uint8{
		ie.CausePFCPEntityInCongestion, ie.CauseNoResourcesAvailable, ie.CauseSystemFailure, ie.CauseRequestRejected,
	} {
		_, m := cp.receive(message.MsgTypeSessionReportRequest)
		require.Zero(t, requireReport(t, m.(*message.SessionReportRequest).UsageReport[0], pfcp.TriggerVolumeThreshold, 1000))
		cp.send(cp.encode(message.NewSessionReportResponse(0, 0, 0, m.Sequence(), 0, ie.NewCause(cause))))
	}
	require.Eventually(t, func() bool { return len(w.sessions()[0].Unconfirmed) == 0 }, patience, time.Millisecond)
}

func TestWhatNobodyConfirmedGoesWithTheLastReports(t *testing.T) {
	w := newWorld(t, impatient, func(c *Config) { c.ReportRetry = time.Hour })
	cp := newControlPlane(t, w, "127.77.61.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, measured("172.16.1.1", threshold(1000)...)...)
	w.dp.count(uplinkKey(teid), 1, 1000)
	cp.receive(message.MsgTypeSessionReportRequest)
	require.Eventually(t, func() bool { return w.edge.Stats().Unanswered == 1 }, patience, time.Millisecond)
	w.dp.count(uplinkKey(teid), 1, 1)
	reports := cp.delete(seid).UsageReport
	require.Len(t, reports, 2)
	require.Zero(t, requireReport(t, reports[0], pfcp.TriggerVolumeThreshold, 1000))
	require.EqualValues(t, 1, requireReport(t, reports[1], pfcp.TriggerTermination, 1))
}

// No packet has to come for a limit to be told that was reached before it came.
func TestALimitThatWasReachedBeforeItCameIsReported(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.63.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, measured("172.16.1.1", ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0))...)
	w.dp.count(uplinkKey(teid), 1, 600)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid,
		ie.NewUpdateURR(ie.NewURRID(1), ie.NewReportingTriggers(0x02, 0), ie.NewVolumeThreshold(0x01, 500, 0, 0))).Cause))
	requireReport(t, cp.reported().UsageReport[0], pfcp.TriggerVolumeThreshold, 600)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid,
		ie.NewUpdateURR(ie.NewURRID(1), ie.NewReportingTriggers(0, 0x01), ie.NewVolumeQuota(0x01, 0, 0, 0))).Cause))
	require.Equal(t, session.ActionDrop, w.dp.snapshot()[uplinkKey(teid)].Action)
	requireReport(t, cp.reported().UsageReport[0], pfcp.TriggerVolumeQuota, 0)
	w.consistent()
}

func TestASpentQuotaStopsTheDataPathUntilAnother(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.62.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, measured("172.16.1.1", ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0x01),
		ie.NewVolumeQuota(0x01, 5000, 0, 0))...)
	action := func() session.Action { return w.dp.snapshot()[uplinkKey(teid)].Action }
	require.Equal(t, session.ActionForward, action())
	w.dp.count(uplinkKey(teid), 5, 5000)
	requireReport(t, cp.reported().UsageReport[0], pfcp.TriggerVolumeQuota, 5000)
	require.Equal(t, session.ActionDrop, action())
	w.consistent()
	w.kill()
	w.start()
	require.Equal(t, session.ActionDrop, action(), "it stays spent")
	r := cp.modify(seid, ie.NewUpdateURR(ie.NewURRID(1), ie.NewVolumeQuota(0x01, 5000, 0, 0)))
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.Equal(t, session.ActionForward, action())
	w.consistent()
}

func TestPeriodsGoOnOverARestart(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.63.1", "smf.example")
	cp.setup()
	_, teid := cp.establish(77, measured("172.16.1.1", ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x01, 0),
		ie.NewMeasurementPeriod(time.Second))...)
	w.dp.count(uplinkKey(teid), 1, 10)
	w.kill()
	w.start()
	require.Zero(t, requireReport(t, cp.reported().UsageReport[0], pfcp.TriggerPeriodic, 10))
	require.EqualValues(t, 1, requireReport(t, cp.reported().UsageReport[0], pfcp.TriggerPeriodic, 0))
}

func TestPeriodsGoOnWhenTheClockIsSetBack(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.64.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, measured("172.16.1.1", ie.NewMeasurementMethod(0, 1, 0),
		ie.NewReportingTriggers(0x01, 0), ie.NewMeasurementPeriod(time.Second))...)
	sh, set := w.edge.shard(pfcp.SEID(seid)), make(chan struct{})
	sh.commands <- func() { // an hour ago it was an hour later
		defer close(set)
		s, _ := sh.sessions.get(pfcp.SEID(seid))
		next := s
		next.URRs = slices.Clone(s.URRs)
		next.URRs[0].Period += session.Time(time.Hour)
		require.NoError(t, sh.keep(&s, &next, nil, time.Now()))
		sh.wall += session.Time(time.Hour)
	}
	<-set
	_, m := cp.receive(message.MsgTypeSessionReportRequest)
	requireReport(t, m.(*message.SessionReportRequest).UsageReport[0], pfcp.TriggerPeriodic, 0)
	cp.confirm(m)
}

func TestInactivityIsReportedOnce(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.64.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, append(bearer("172.16.1.1"), ie.NewUserPlaneInactivityTimer(time.Second))...)
	r := cp.reported()
	require.True(t, r.ReportType.HasUPIR())
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, ie.NewUserPlaneInactivityTimer(0)).Cause))
	require.EqualValues(t, 1, w.edge.Stats().Reports)
}

func TestTheSEIDInAReportsAnswerCounts(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.65.1", "pgwc.example")
	cp.setup()
	_, teid := cp.establish(77, measured("172.16.1.1", threshold(1)...)...)
	w.dp.count(uplinkKey(teid), 1, 1)
	_, m := cp.receive(message.MsgTypeSessionReportRequest)
	cp.confirm(m, ie.NewFSEID(99, cp.addr.AsSlice(), nil))
	require.Eventually(t, func() bool { return w.sessions()[0].CP.SEID == 99 }, patience, time.Millisecond)
	require.Empty(t, w.sessions()[0].Unconfirmed)
}

// A session that its control plane has forgotten would stay for ever: the answer to a report says so.
func TestASessionThatItsControlPlaneDoesNotKnowIsRemoved(t *testing.T) {
	w := newWorld(t, impatient)
	cp := newControlPlane(t, w, "127.77.96.1", "pgwc.example")
	cp.setup()
	_, teid := cp.establish(1, measured("172.16.1.1", threshold(1000)...)...)
	cp.establish(2, measured("172.16.1.2", threshold(1000)...)...)
	w.dp.count(uplinkKey(teid), 1, 2000)
	_, m := cp.receive(message.MsgTypeSessionReportRequest)
	require.EqualValues(t, 1, m.(*message.SessionReportRequest).SEID())
	cp.send(cp.encode(message.NewSessionReportResponse(0, 0, 0, m.Sequence(), 0, ie.NewCause(ie.CauseSessionContextNotFound))))
	require.Eventually(t, func() bool { return len(w.sessions()) == 1 }, patience, time.Millisecond)
	require.EqualValues(t, 1, w.edge.Peers()[0].Sessions)
	w.consistent()
	cp.establish(3, bearer("172.16.1.1")...)
	w.consistent()
}

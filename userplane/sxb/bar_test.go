package sxb

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// idler is a session whose UE is idle.
type idler struct {
	*controlPlane
	seid uint64
}

func newIdler(t *testing.T, addr string, bar ...*ie.IE) *idler {
	w := newWorld(t)
	i := &idler{controlPlane: newControlPlane(t, w, addr, "smf.example")}
	i.setup()
	i.seid, _ = i.establish(77, append(bearer("172.16.1.1"), ie.NewCreateBAR(append([]*ie.IE{ie.NewBARID(1)}, bar...)...))...)
	i.apply(0x0c)
	return i
}

// apply sets the Apply Action of the downlink FAR.
func (i *idler) apply(action uint8, with ...*ie.IE) {
	i.t.Helper()
	r := i.modify(i.seid, append(with, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(action), ie.NewBARID(1)))...)
	require.Equal(i.t, pfcp.CauseAccepted, cause(i.t, r.Cause))
}

// packet buffers one.
func (i *idler) packet() {
	b := make([]byte, 24)
	b[0] = 0x45
	copy(b[16:], mustAddr("172.16.1.1").AsSlice())
	i.w.edge.Buffered(pfcp.SEID(i.seid), session.Parked{Origin: session.Origin{PDRID: 2, FARID: 2}, Packet: b})
	taken := func() bool { return len(i.w.edge.shard(pfcp.SEID(i.seid)).parked) == 0 }
	require.Eventually(i.t, taken, patience, 10*time.Microsecond)
	i.w.sessions() // the shard has it
}

// later has the shard see what is due after a time.
func (i *idler) later(after time.Duration) {
	sh := i.w.edge.shard(pfcp.SEID(i.seid))
	done := make(chan struct{})
	sh.commands <- func() {
		sh.expireWaits(time.Now().Add(after))
		close(done)
	}
	<-done
}

// told waits for a Downlink Data Report, and answers it with more.
func (i *idler) told(with ...*ie.IE) {
	i.t.Helper()
	_, m := i.receive(message.MsgTypeSessionReportRequest)
	require.True(i.t, m.(*message.SessionReportRequest).ReportType.HasDLDR())
	i.confirm(m, with...)
}

func (i *idler) reports() uint64 { return i.w.edge.Stats().Reports }

func (i *idler) kept() (n int) {
	sh := i.w.edge.shard(pfcp.SEID(i.seid))
	done := make(chan struct{})
	sh.commands <- func() { n = sh.held; close(done) }
	<-done
	return n
}

func TestTheNotificationWaitsForItsDelay(t *testing.T) {
	i := newIdler(t, "127.77.94.1", ie.NewDownlinkDataNotificationDelay(12*time.Second))
	i.packet()
	i.packet()
	i.later(11 * time.Second)
	require.Zero(t, i.reports())
	i.later(13 * time.Second)
	i.told()
	require.EqualValues(t, 1, i.reports())

	// Active before the delay is over, the UE needs no paging.
	i.apply(0x02)
	i.apply(0x0c)
	i.packet()
	i.apply(0x02)
	i.later(time.Hour)
	require.EqualValues(t, 1, i.reports())

	// A delay of zero clears one that was set.
	i.apply(0x0c, ie.NewUpdateBARWithinSessionModificationRequest(ie.NewBARID(1), ie.NewDownlinkDataNotificationDelay(0)))
	i.packet()
	i.told()
}

func TestTheControlPlaneAsksForExtendedBuffering(t *testing.T) {
	i := newIdler(t, "127.77.95.1")
	i.packet()
	i.told(ie.NewUpdateBARWithinSessionReportResponse(
		ie.NewBARID(1), ie.NewDLBufferingDuration(time.Hour), ie.NewDLBufferingSuggestedPacketCount(300)))
	require.Eventually(t, func() bool { i.packet(); return i.kept() > DefaultConfig().BufferedPerFAR }, patience, time.Microsecond, "more than otherwise")
	for i.kept() < 300 {
		i.packet()
	}
	i.packet()
	require.Equal(t, 300, i.kept())
	i.apply(0x0c, ie.NewQueryURR(ie.NewURRID(1))) // it says anew that it wants to be told
	i.packet()
	i.told(ie.NewUpdateBARWithinSessionReportResponse(ie.NewBARID(1), ie.NewDLBufferingDuration(time.Hour)))
	require.EqualValues(t, 2, i.reports())
	require.Eventually(t, func() bool { return i.extended() }, patience, time.Millisecond)

	// When the time is over the packets go, and the next one is told as any.
	i.later(2 * time.Hour)
	require.Zero(t, i.kept())
	require.NotZero(t, i.w.edge.Stats().BufferExpired)
	i.packet()
	i.told()
	require.EqualValues(t, 3, i.reports())
	i.w.consistent()
}

func (i *idler) extended() (yes bool) {
	sh := i.w.edge.shard(pfcp.SEID(i.seid))
	done := make(chan struct{})
	sh.commands <- func() {
		n := sh.notices[pfcp.SEID(i.seid)]
		yes = n != nil && n.extended()
		close(done)
	}
	<-done
	return yes
}

func TestTheAnswerToAReportChangesTheBARAndDropsWhatIsBuffered(t *testing.T) {
	i := newIdler(t, "127.77.96.1")
	i.packet()
	i.told(ie.NewPFCPSRRspFlags(0x01), ie.NewUpdateBARWithinSessionReportResponse(
		ie.NewBARID(1), ie.NewDownlinkDataNotificationDelay(10*time.Second), ie.NewSuggestedBufferingPacketsCount(2)))
	require.Eventually(t, func() bool { return i.kept() == 0 }, patience, time.Millisecond, "DROBU")
	require.Equal(t, 10*time.Second, i.delay())
	for range 3 {
		i.packet()
	}
	require.Equal(t, 2, i.kept())
	require.EqualValues(t, 1, i.reports(), "the delay is on")
	i.w.kill()
	i.w.start()
	require.Equal(t, 10*time.Second, i.delay(), "it is durable")
	i.w.consistent()
}

func (i *idler) delay() time.Duration {
	s := i.w.sessionAt(i.seid)
	return s.NotificationDelay(2)
}

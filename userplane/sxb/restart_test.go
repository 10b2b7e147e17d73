package sxb

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

func TestAKilledProcessLosesNothing(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.40.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, bearer("172.16.1.7")...)
	gone, _ := cp.establish(78, bearer("172.16.1.8")...)
	cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(
		ie.NewOuterHeaderCreation(0x0100, 0xbb, "10.10.0.3", "", 0, 0, 0))))
	w.dp.count(uplinkKey(teid), 5, 500)
	cp.delete(gone)
	before, table, stamp := w.sessions(), w.dp.snapshot(), w.edge.RecoveryTimeStamp()

	w.kill()
	require.Equal(t, table, w.dp.snapshot(), "packets are forwarded meanwhile")
	w.start()
	require.Equal(t, Restored{Sessions: 1, Entries: 2}, w.restored)
	require.Equal(t, stamp, w.edge.RecoveryTimeStamp())
	require.Equal(t, before, w.sessions())
	require.Equal(t, table, w.dp.snapshot())
	w.consistent()

	third, _ := cp.establish(79, bearer("172.16.1.9")...) // the association has survived
	require.NotContains(t, []uint64{seid, gone}, third, "SEIDs are not used again")
	require.Greater(t, third>>32, seid>>32)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(1))).Cause))
	d := cp.delete(seid)
	require.Equal(t, pfcp.CauseAccepted, cause(t, d.Cause))
	requireUsage(t, d.UsageReport, 500, 0)
	w.consistent()
}

func TestARebootBeginsAnew(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.41.1", "pgwc.example")
	cp.setup()
	cp.establish(77, bearer("172.16.1.7")...)
	stamp := w.edge.RecoveryTimeStamp()
	w.kill()
	w.later = 2 * time.Second // no machine boots within one
	w.boot = "9d5a1f3e-0000-4000-8000-000000000002"
	w.start()
	require.Equal(t, "another boot", w.restored.Fresh)
	require.NotEqual(t, stamp, w.edge.RecoveryTimeStamp(), "the control planes must hear that sessions were lost")
	require.Empty(t, w.sessions())
	require.Empty(t, w.dp.snapshot(), "entries of a former life are removed")
	cp.refused(pfcp.CauseNoEstablishedAssociation, 78, bearer("172.16.1.7")...)
}

func TestADuplicateAfterARestartDoesNotActAgain(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.42.1", "pgwc.example")
	other := newControlPlane(t, w, "127.77.42.2", "other.example")
	cp.setup()
	other.setup()
	establishment := cp.establishment(cp.next(), 77, bearer("172.16.1.7")...)
	first, m := cp.ask(establishment)
	first = bytes.Clone(first)
	fseid, err := m.(*message.SessionEstablishmentResponse).UPFSEID.FSEID()
	require.NoError(t, err)

	w.kill()
	w.start()
	again, _ := cp.ask(establishment)
	require.Equal(t, first, again)
	require.Len(t, w.sessions(), 1)
	require.EqualValues(t, 1, w.edge.Stats().Replayed)
	deletion := message.NewSessionDeletionRequest(0, 0, fseid.SEID, cp.next(), 0)
	first, _ = cp.ask(deletion)
	first = bytes.Clone(first)

	w.kill()
	w.start()
	again, m = cp.ask(deletion)
	require.Equal(t, first, again)
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionDeletionResponse).Cause))

	// The same sequence number for another session is another request.
	sequence := deletion.Sequence()
	_, m = cp.ask(message.NewSessionDeletionRequest(0, 0, fseid.SEID+1, sequence, 0))
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, m.(*message.SessionDeletionResponse).Cause))
	_, m = other.ask(message.NewSessionDeletionRequest(0, 0, fseid.SEID, sequence, 0))
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, m.(*message.SessionDeletionResponse).Cause))
	w.consistent()
}

// stuck makes the data path stop in its next change, as if the process were killed there.
func stuck(w *world) (reached, end chan struct{}) {
	reached, end = make(chan struct{}), make(chan struct{})
	w.dp.hook(func(session.Changes) error {
		close(reached)
		<-end
		return errKilled
	})
	return reached, end
}

// killStuck ends the process that is stuck: what its last change would do to journal and data path does not happen.
func killStuck(w *world, end chan struct{}) {
	_ = w.journal.Close() // a killed process writes no more,
	w.cancel()
	require.Eventually(w.t, func() bool { // and says no more
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(w.up))
		return err == nil && conn.Close() == nil
	}, patience, time.Millisecond)
	close(end)
	<-w.ended
	w.cancel = nil
	w.dp.hook(nil)
}

func TestKilledBetweenTheRecordAndTheDataPath(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards = 1 })
	cp := newControlPlane(t, w, "127.77.43.1", "pgwc.example")
	cp.setup()

	// An establishment: the entries are missing. Reconciling puts them in, and the duplicate gets the answer.
	reached, end := stuck(w)
	establishment := cp.establishment(cp.next(), 77, bearer("172.16.1.7")...)
	cp.send(cp.encode(establishment))
	<-reached
	killStuck(w, end)
	require.Empty(t, w.dp.snapshot())
	w.start()
	w.consistent()
	require.Len(t, w.dp.snapshot(), 2)
	_, m := cp.ask(establishment)
	r := m.(*message.SessionEstablishmentResponse)
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.Len(t, w.sessions(), 1)
	fseid, err := r.UPFSEID.FSEID()
	require.NoError(t, err)

	// A modification.
	reached, end = stuck(w)
	modification := message.NewSessionModificationRequest(0, 0, fseid.SEID, cp.next(), 0,
		ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(1)))
	cp.send(cp.encode(modification))
	<-reached
	killStuck(w, end)
	require.Equal(t, session.ActionForward, w.dp.snapshot()[downlinkKey("172.16.1.7")].Action)
	w.start()
	require.Equal(t, session.ActionDrop, w.dp.snapshot()[downlinkKey("172.16.1.7")].Action)
	_, m = cp.ask(modification)
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionModificationResponse).Cause))
	require.EqualValues(t, 1, w.sessions()[0].Modified, "once")

	// A deletion, killed before its record: the packets go on, and the duplicate ends the session.
	reached, end = stuck(w)
	deletion := message.NewSessionDeletionRequest(0, 0, fseid.SEID, cp.next(), 0)
	cp.send(cp.encode(deletion))
	<-reached
	killStuck(w, end)
	w.start()
	require.Len(t, w.sessions(), 1)
	_, m = cp.ask(deletion)
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionDeletionResponse).Cause))
	require.Empty(t, w.dp.snapshot())
	w.consistent()
}

// Killed between the record and the refusal: the UE address is the older session's.
func TestKilledBeforeAUEAddressIsRefused(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.49.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, bearer("172.16.1.7")...)
	reached, end := stuck(w)
	cp.send(cp.encode(cp.establishment(cp.next(), 78, bearer("172.16.1.7")...)))
	<-reached
	killStuck(w, end)
	w.start()
	require.Equal(t, Restored{Sessions: 1, Dropped: 1, Entries: 2}, w.restored)
	require.EqualValues(t, seid, w.sessions()[0].SEID)
	w.consistent()
}

func TestSessionsThatTheConfigurationCannotServeAnyMoreAreDropped(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.44.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(77, bearer("172.16.1.7")...)
	w.kill()
	w.change = append(w.change, func(c *Config) { c.Instances = session.Instances{Known: []pfcp.NetworkInstance{"other"}} })
	w.start()
	require.Equal(t, Restored{Dropped: 1}, w.restored)
	require.Empty(t, w.dp.snapshot())
	w.consistent()
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, cp.delete(seid).Cause))
}

func TestAJournalThatCannotBeReadIsLostState(t *testing.T) {
	state := NewState()
	require.NoError(t, state.Load(journalKey(kindSession, 1), []byte{0xff}))
	require.Error(t, state.unreadable)
	for _, kind := range []uint8{kindNode, kindAssociation, kindSession, kindResponse, 9} {
		require.NoError(t, NewState().Load(journalKey(kind, 1), nil))
		require.NoError(t, NewState().Load(journalKey(kind, 1), []byte{1, 2, 3}))
	}
}

func TestARestartOfTheControlPlaneSurvivesARestartOfOurs(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.45.1", "pgwc.example")
	cp.setup()
	cp.establish(77, bearer("172.16.1.7")...)
	w.kill()
	w.start()
	cp.rts = cp.rts.Add(1e9)
	cp.setup()
	require.Empty(t, w.sessions(), "the stamp of before was kept")
	w.consistent()
	w.kill()
	w.start()
	require.Empty(t, w.sessions())
	require.Len(t, w.edge.Peers(), 1)

	// Both restart at once: the control plane's numbers begin again, and its request is not the one of before.
	request := cp.establishment(900, 77, bearer("172.16.1.7")...)
	cp.ask(request)
	w.kill()
	w.start()
	cp.rts = cp.rts.Add(1e9)
	cp.setup()
	cp.ask(request)
	require.Zero(t, w.edge.Stats().Replayed)
	require.Len(t, w.sessions(), 1)
	w.consistent()
}

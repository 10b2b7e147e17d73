package sxb

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// slowPrograms has programs keep packets in hand: Settle tells that it waits, and goes on when it is let.
func slowPrograms(w *world) (waits chan struct{}, let chan struct{}) {
	waits, let = make(chan struct{}), make(chan struct{})
	w.dp.mu.Lock()
	defer w.dp.mu.Unlock()
	w.dp.settling = func() {
		waits <- struct{}{}
		<-let
	}
	return waits, let
}

func quickPrograms(w *world) {
	w.dp.mu.Lock()
	defer w.dp.mu.Unlock()
	w.dp.settling = nil
}

// oneShard has all sessions wait for each other, if any does.
func oneShard(c *Config) { c.Shards = 1 }

// A packet that a program took before the entry was stopped, and that it counts afterwards, is in the last report. Others
// are served meanwhile, and a duplicate of the deletion does nothing.
func TestADeletionWaitsForPacketsInHand(t *testing.T) {
	w := newWorld(t, oneShard)
	cp, other := newControlPlane(t, w, "127.77.92.1", "pgwc.example"), newControlPlane(t, w, "127.77.92.2", "other.example")
	cp.setup()
	other.setup()
	seid, teid := cp.establish(1, bearer("172.16.1.1")...)
	w.dp.count(uplinkKey(teid), 1, 100)
	waits, let := slowPrograms(w)
	deletion := cp.encode(message.NewSessionDeletionRequest(0, 0, seid, cp.next(), 0))
	cp.send(deletion)
	<-waits
	w.dp.count(uplinkKey(teid), 1, 11) // the entry is stopped: this one was in hand
	cp.send(deletion)
	cp.send(cp.encode(message.NewSessionModificationRequest(0, 0, seid, cp.next(), 0, ie.NewQueryURR(ie.NewURRID(1)))))
	theirs, _ := other.establish(1, bearer("172.16.1.2")...)
	require.Equal(t, pfcp.CauseAccepted, cause(t, other.modify(theirs, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(1))).Cause))
	w.dp.count(uplinkKey(teid), 1, 7)
	quickPrograms(w)
	let <- struct{}{}
	_, m := cp.receive(message.MsgTypeSessionDeletionResponse)
	requireUsage(t, m.(*message.SessionDeletionResponse).UsageReport, 118, 0)
	_, m = cp.receive(message.MsgTypeSessionModificationResponse)
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, m.(*message.SessionModificationResponse).Cause), "it came after the deletion")
	require.EqualValues(t, 1, w.edge.Stats().Endpoint.Duplicates)
	w.consistent()
	other.delete(theirs)
}

// What waits for programs is waited for once, for all who asked before it began.
func TestDeletionsWaitTogether(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.93.1", "pgwc.example")
	cp.setup()
	const sessions = 50
	var deletions [][]byte
	for n := range uint64(sessions) {
		seid, teid := cp.establish(n+1, bearer(fmt.Sprintf("172.16.1.%d", n+1))...)
		w.dp.count(uplinkKey(teid), 1, 10+n)
		deletions = append(deletions, cp.encode(message.NewSessionDeletionRequest(0, 0, seid, cp.next(), 0)))
	}
	waits, let := slowPrograms(w)
	cp.send(deletions[0])
	<-waits
	for _, d := range deletions[1:] {
		cp.send(d)
	}
	require.Eventually(t, func() bool { return pausing(w) == sessions }, patience, time.Millisecond)
	let <- struct{}{}
	<-waits // the second time is for all others
	quickPrograms(w)
	let <- struct{}{}
	sum := uint64(0)
	for range sessions {
		_, m := cp.receive(message.MsgTypeSessionDeletionResponse)
		r := m.(*message.SessionDeletionResponse)
		require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
		v, err := r.UsageReport[0].VolumeMeasurement()
		require.NoError(t, err)
		sum += v.TotalVolume
	}
	require.EqualValues(t, sessions*10+sessions*(sessions-1)/2, sum)
	require.EqualValues(t, 2, w.edge.fence.over.Load())
	w.consistent()
}

// pausing is how many sessions wait for packets in hand.
func pausing(w *world) (n int) {
	for _, sh := range w.edge.shards {
		counted := make(chan int)
		sh.commands <- func() { counted <- len(sh.paused) }
		n += <-counted
	}
	return n
}

// So does every other end of a count: of an entry that a modification removes, of a usage cell, of a session that another
// takes the place of.
func TestEveryEndOfACountWaitsForPacketsInHand(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.94.1", "pgwc.example")
	cp.setup()
	wait := func(request []byte, response uint8, inHand ...func()) message.Message {
		t.Helper()
		waits, let := slowPrograms(w)
		cp.send(request)
		for i, count := range inHand {
			<-waits
			count()
			if i == len(inHand)-1 {
				quickPrograms(w)
			}
			let <- struct{}{}
		}
		_, m := cp.receive(response)
		return m
	}
	modify := func(seid uint64, rules ...*ie.IE) []byte {
		return cp.encode(message.NewSessionModificationRequest(0, 0, seid, cp.next(), 0, rules...))
	}
	t.Run("an entry", func(t *testing.T) {
		seid, teid := cp.establish(1, bearer("172.16.1.1")...)
		w.dp.count(downlinkKey("172.16.1.1"), 1, 100)
		m := wait(modify(seid, ie.NewRemovePDR(ie.NewPDRID(2))), message.MsgTypeSessionModificationResponse,
			func() { w.dp.count(downlinkKey("172.16.1.1"), 1, 11) })
		require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionModificationResponse).Cause))
		w.consistent()
		w.dp.count(uplinkKey(teid), 1, 5)
		requireUsage(t, cp.delete(seid).UsageReport, 5, 111)
	})
	t.Run("a usage cell, and the session is modified again meanwhile", func(t *testing.T) {
		seid, teid := cp.establish(2, measured("172.16.1.2", ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 1), ie.NewVolumeQuota(1, 1<<40, 0, 0))...)
		w.dp.count(uplinkKey(teid), 1, 100)
		entry := w.dp.snapshot()[uplinkKey(teid)]
		require.True(t, entry.Celled)
		m := wait(modify(seid, ie.NewRemoveURR(ie.NewURRID(1)), ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewURRID(0)), ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewURRID(0)),
			ie.NewCreateURR(ie.NewURRID(0), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0))),
			message.MsgTypeSessionModificationResponse, func() {
				w.dp.mu.Lock()
				defer w.dp.mu.Unlock()
				w.dp.countBy(entry, entry.Key, 1, 11) // as the rules of before say
				cp.send(modify(seid, ie.NewUpdateFAR(ie.NewFARID(1), ie.NewApplyAction(1))))
			})
		require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionModificationResponse).Cause))
		requireUsage(t, m.(*message.SessionModificationResponse).UsageReport, 111, 0)
		_, m = cp.receive(message.MsgTypeSessionModificationResponse)
		require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionModificationResponse).Cause))
		w.consistent()
		require.EqualValues(t, 1, w.dp.snapshot()[uplinkKey(teid)].Action, "modified after all")
		requireUsage(t, cp.delete(seid).UsageReport, 0, 0)
	})
	t.Run("a session that another takes the place of", func(t *testing.T) {
		seid, teid := cp.establish(3, bearer("172.16.1.3")...)
		w.dp.count(uplinkKey(teid), 1, 100)
		m := wait(cp.encode(cp.establishment(cp.next(), 3, bearer("172.16.1.3")...)), message.MsgTypeSessionEstablishmentResponse,
			func() { w.dp.count(uplinkKey(teid), 1, 11) })
		require.Equal(t, seid, made(t, m))
		w.consistent()
		requireUsage(t, cp.reported().UsageReport, 111, 0)
	})
}

// An association that goes takes the sessions with it that wait, and what waits for them is refused.
func TestAnAssociationGoesWhileADeletionWaits(t *testing.T) {
	w := newWorld(t, oneShard)
	cp := newControlPlane(t, w, "127.77.95.1", "pgwc.example")
	cp.setup()
	seid, _ := cp.establish(1, bearer("172.16.1.1")...)
	kept, _ := cp.establish(2, bearer("172.16.1.2")...)
	replaced, _ := cp.establish(3, bearer("172.16.1.3")...)
	waits, let := slowPrograms(w)
	cp.send(cp.encode(message.NewSessionDeletionRequest(0, 0, seid, cp.next(), 0)))
	<-waits
	cp.send(cp.encode(message.NewSessionModificationRequest(0, 0, kept, cp.next(), 0, ie.NewRemovePDR(ie.NewPDRID(2)))))
	cp.send(cp.encode(cp.establishment(cp.next(), 3, bearer("172.16.1.4")...)))
	require.Eventually(t, func() bool { return pausing(w) == 3 }, patience, time.Millisecond)
	_, m := cp.ask(message.NewAssociationReleaseRequest(cp.next(), cp.nodeID()))
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.AssociationReleaseResponse).Cause))
	quickPrograms(w)
	let <- struct{}{}
	_, m = cp.receive(message.MsgTypeSessionDeletionResponse)
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, m.(*message.SessionDeletionResponse).Cause))
	_, m = cp.receive(message.MsgTypeSessionModificationResponse)
	require.Equal(t, pfcp.CauseSessionContextNotFound, cause(t, m.(*message.SessionModificationResponse).Cause))
	_, m = cp.receive(message.MsgTypeSessionEstablishmentResponse)
	require.Equal(t, pfcp.CauseNoEstablishedAssociation, cause(t, m.(*message.SessionEstablishmentResponse).Cause))
	require.NotZero(t, replaced)
	require.Empty(t, w.sessions())
	w.consistent()
}

// heldDeletion asks for the deletion of a session that has counted 100 octets, and returns when it waits for the programs.
func heldDeletion(w *world, cp *controlPlane) (teid uint32, deletion []byte, let chan struct{}) {
	seid, teid := cp.establish(1, bearer("172.16.1.1")...)
	w.dp.count(uplinkKey(teid), 1, 100)
	waits, let := slowPrograms(w)
	deletion = cp.encode(message.NewSessionDeletionRequest(0, 0, seid, cp.next(), 0))
	cp.send(deletion)
	<-waits
	return teid, deletion, let
}

// Killed while it waits: the next process forwards again, and the duplicate of the deletion reports everything once.
func TestKilledWhileADeletionWaits(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.96.1", "pgwc.example")
	cp.setup()
	teid, deletion, let := heldDeletion(w, cp)
	w.dp.count(uplinkKey(teid), 1, 11)
	quickPrograms(w)
	killStuck(w, let)
	w.start()
	require.EqualValues(t, 0, w.dp.snapshot()[uplinkKey(teid)].Action)
	w.dp.count(uplinkKey(teid), 1, 7)
	cp.drain()
	cp.send(deletion)
	_, m := cp.receive(message.MsgTypeSessionDeletionResponse)
	requireUsage(t, m.(*message.SessionDeletionResponse).UsageReport, 118, 0)
	w.consistent()
}

// A process that is stopped ends what waits first: the deletion is made, and its duplicate gets the answer.
func TestStoppedWhileADeletionWaits(t *testing.T) {
	w := newWorld(t, oneShard)
	cp := newControlPlane(t, w, "127.77.97.1", "pgwc.example")
	cp.setup()
	_, deletion, let := heldDeletion(w, cp)
	quickPrograms(w)
	go func() { let <- struct{}{} }()
	w.kill()
	w.start()
	cp.drain()
	cp.send(deletion)
	_, m := cp.receive(message.MsgTypeSessionDeletionResponse)
	requireUsage(t, m.(*message.SessionDeletionResponse).UsageReport, 100, 0)
	require.Empty(t, w.sessions())
	w.consistent()
}

// Killed while the cell of a URR that was removed waits for its last packets, before the rules were changed, or before the cell
// was taken away: the duplicate of the modification gets all that was counted, once.
func TestKilledWhileACellLeaves(t *testing.T) {
	for name, at := range map[string]func(session.Changes) bool{
		"before the change of the rules": func(c session.Changes) bool { return len(c.Puts) > 0 },
		"before the last look":           nil,
		"before the cell is taken away":  func(c session.Changes) bool { return len(c.Removes) > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, oneShard)
			cp := newControlPlane(t, w, "127.77.98.1", "pgwc.example")
			cp.setup()
			seid, teid := cp.establish(2, measured("172.16.1.2", ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 1), ie.NewVolumeQuota(1, 1<<40, 0, 0))...)
			w.dp.count(uplinkKey(teid), 1, 100)
			entry := w.dp.snapshot()[uplinkKey(teid)]
			require.True(t, entry.Celled)
			inHand := func(octets uint64) {
				w.dp.mu.Lock()
				defer w.dp.mu.Unlock()
				w.dp.countBy(entry, entry.Key, 1, octets)
			}
			waits, let := slowPrograms(w)
			reached, end := make(chan struct{}), make(chan struct{})
			if at != nil {
				w.dp.hook(func(c session.Changes) error {
					if !at(c) {
						return nil
					}
					close(reached)
					<-end
					return errKilled
				})
			}
			modification := cp.encode(message.NewSessionModificationRequest(0, 0, seid, cp.next(), 0,
				ie.NewRemoveURR(ie.NewURRID(1)), ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewURRID(0)), ie.NewUpdatePDR(ie.NewPDRID(2), ie.NewURRID(0)),
				ie.NewCreateURR(ie.NewURRID(0), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0))))
			cp.send(modification)
			switch name {
			case "before the change of the rules":
				<-reached
				quickPrograms(w)
				inHand(11)
				killStuck(w, end)
			case "before the last look":
				<-waits
				quickPrograms(w)
				inHand(11)
				w.dp.hook(func(session.Changes) error { return errKilled })
				killStuck(w, let)
			default:
				<-waits
				quickPrograms(w)
				inHand(11)
				let <- struct{}{}
				<-reached
				killStuck(w, end)
			}
			for range 2 { // and killed again
				w.start()
				w.consistent()
				require.NotContains(t, w.dp.cellsPut(), session.CellID{SEID: pfcp.SEID(seid), URRID: 1})
				cp.drain()
				cp.send(modification)
				_, m := cp.receive(message.MsgTypeSessionModificationResponse)
				require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.SessionModificationResponse).Cause))
				requireUsage(t, m.(*message.SessionModificationResponse).UsageReport, 111, 0)
				w.kill()
			}
		})
	}
}

package sxb

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// together sends requests that the only shard finds waiting all at once, and returns what lets it go on.
func (c *controlPlane) together(requests ...message.Message) (resume func()) {
	c.t.Helper()
	resume = c.w.pause()
	for _, m := range requests {
		c.send(c.encode(m))
	}
	inbox := c.w.edge.shards[0].inbox
	require.Eventually(c.t, func() bool { return len(inbox) == len(requests) }, patience, time.Millisecond)
	return resume
}

// answers are those of requests, in their order.
func (c *controlPlane) answers(requests ...message.Message) []message.Message {
	c.t.Helper()
	all := make([]message.Message, len(requests))
	for left := len(requests); left > 0; {
		_, m := c.receiveAny()
		for i, r := range requests {
			if m.Sequence() == r.Sequence() && m.MessageType() == r.MessageType()+1 && all[i] == nil {
				all[i] = m
				left--
			}
		}
	}
	return all
}

func causesOf(t *testing.T, answers []message.Message) (all []pfcp.Cause) {
	t.Helper()
	for _, m := range answers {
		switch r := m.(type) {
		case *message.SessionEstablishmentResponse:
			all = append(all, cause(t, r.Cause))
		case *message.SessionModificationResponse:
			all = append(all, cause(t, r.Cause))
		case *message.SessionDeletionResponse:
			all = append(all, cause(t, r.Cause))
		}
	}
	return all
}

func (c *controlPlane) modification(seid uint64, rules ...*ie.IE) message.Message {
	return message.NewSessionModificationRequest(0, 0, seid, c.next(), 0, rules...)
}

func apply(action uint8) *ie.IE { return ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(action)) }

// Requests of one group, some of them for one session, and some refused on the way, end as if they had come one after the
// other. When the first of them reaches the data path, all those of other sessions are in the journal.
func TestAGroupOfRequests(t *testing.T) {
	w := newWorld(t, oneShard)
	cp := newControlPlane(t, w, "127.77.96.1", "pgwc.example")
	cp.setup()
	first, _ := cp.establish(1, bearer("172.16.1.1")...)
	second, _ := cp.establish(2, bearer("172.16.1.2")...)
	requests := []message.Message{
		cp.modification(first, apply(1)),
		cp.modification(second, apply(1)),
		cp.establishment(cp.next(), 3, bearer("172.16.1.3")...),
		cp.establishment(cp.next(), 4, bearer("172.16.1.1")...), // another's UE address: the data path refuses it
		cp.modification(first, ie.NewRemoveFAR(ie.NewFARID(9))),
		cp.modification(first, apply(2)),
		cp.modification(99, apply(2)),
		cp.establishment(cp.next(), 3, bearer("172.16.1.33")...), // in the place of the one before
		message.NewSessionDeletionRequest(0, 0, second, cp.next(), 0),
		cp.modification(second, apply(2)), // waits with it
		cp.establishment(cp.next(), 5, bearer("172.16.1.5")...),
	}
	resume := cp.together(requests...)
	var once sync.Once
	var recorded int
	w.dp.hook(func(session.Changes) error {
		once.Do(func() { recorded = w.journal.Size().Keys })
		return nil
	})
	keys := w.journal.Size().Keys
	resume()
	accepted := pfcp.CauseAccepted
	require.Equal(t, []pfcp.Cause{
		accepted, accepted, accepted, pfcp.CauseSystemFailure, pfcp.CauseRuleCreationFailure, accepted,
		pfcp.CauseSessionContextNotFound, accepted, accepted, pfcp.CauseSessionContextNotFound, accepted,
	}, causesOf(t, cp.answers(requests...)))
	require.Equal(t, keys+4, recorded, "two sessions that were new, and their answers")
	w.consistent()
	table := w.dp.snapshot()
	require.Equal(t, session.ActionForward, table[downlinkKey("172.16.1.1")].Action)
	require.NotContains(t, table, downlinkKey("172.16.1.2"))
	require.NotContains(t, table, downlinkKey("172.16.1.3"))
	require.Contains(t, table, downlinkKey("172.16.1.33"))
	require.Len(t, table, 6)
	require.EqualValues(t, 2, w.sessionAt(first).Modified)
	w.kill()
	w.start()
	require.Equal(t, table, w.dp.snapshot())
	w.consistent()
}

// Killed when a group is recorded and only some of it is in the data path: the next process does the rest, and gives the
// duplicates their answers.
func TestKilledInTheMidstOfAGroup(t *testing.T) {
	for _, applied := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("%d in the data path", applied), func(t *testing.T) {
			w := newWorld(t, oneShard)
			cp := newControlPlane(t, w, "127.77.97.1", "pgwc.example")
			cp.setup()
			old, _ := cp.establish(1, bearer("172.16.1.1")...)
			requests := []message.Message{
				cp.establishment(cp.next(), 2, bearer("172.16.1.2")...),
				cp.modification(old, apply(1)),
				cp.establishment(cp.next(), 3, bearer("172.16.1.3")...),
			}
			resume := cp.together(requests...)
			reached, end := make(chan struct{}), make(chan struct{})
			n, dead := 0, false
			w.dp.hook(func(session.Changes) error { // only the shard calls it
				if n++; n == applied+1 {
					close(reached)
					<-end
					dead = true
				}
				if dead {
					return errKilled
				}
				return nil
			})
			resume()
			<-reached
			killStuck(w, end)
			cp.drain()
			w.start()
			w.consistent()
			require.Len(t, w.dp.snapshot(), 6)
			require.Equal(t, session.ActionDrop, w.dp.snapshot()[downlinkKey("172.16.1.1")].Action)
			for _, m := range requests {
				cp.send(cp.encode(m))
			}
			require.Equal(t, []pfcp.Cause{pfcp.CauseAccepted, pfcp.CauseAccepted, pfcp.CauseAccepted}, causesOf(t, cp.answers(requests...)))
			require.EqualValues(t, 3, w.edge.Stats().Replayed)
			require.Len(t, w.sessions(), 3)
			require.EqualValues(t, 1, w.sessionAt(old).Modified, "once")
			w.consistent()
		})
	}
}

// More than a group's bounds come in several.
func TestMoreRequestsThanAGroupHolds(t *testing.T) {
	w := newWorld(t, oneShard)
	cp := newControlPlane(t, w, "127.77.98.1", "pgwc.example")
	cp.setup()
	var requests []message.Message
	for n := range uint64(maxGroup + 9) {
		requests = append(requests, cp.establishment(cp.next(), n+1, bearer(fmt.Sprintf("172.16.1.%d", n+1))...))
	}
	cp.together(requests...)()
	seids := map[uint64]bool{}
	for _, m := range cp.answers(requests...) {
		seids[made(t, m)] = true
	}
	require.Len(t, seids, len(requests))
	require.NotContains(t, seids, uint64(0))
	w.consistent()
	var deletions []message.Message
	for seid := range seids {
		deletions = append(deletions, message.NewSessionDeletionRequest(0, 0, seid, cp.next(), 0))
	}
	cp.together(deletions...)()
	cp.answers(deletions...)
	require.Empty(t, w.dp.snapshot())
	w.consistent()
}

package sxb

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

// lifetime is a node under a clock that the test turns.
type lifetime struct {
	*node
	t   *testing.T
	now time.Time
}

func newLifetime(t *testing.T) *lifetime {
	timing := DefaultConfig()
	timing.HeartbeatInterval, timing.RetryMin, timing.RetryMax = 10*time.Second, time.Second, 4*time.Second
	return &lifetime{
		node: &node{cfg: NodeConfig{Name: "u1"}, timing: timing}, t: t, now: time.Unix(1000, 0),
	}
}

// asks turns the clock by d and checks what is sent then.
func (l *lifetime) asks(d time.Duration, want ask) {
	l.t.Helper()
	if d > 0 {
		l.now = l.now.Add(d - 1)
		require.Equal(l.t, askNothing, l.tick(l.now), "sent early")
		l.now = l.now.Add(1)
	}
	require.Equal(l.t, want, l.tick(l.now))
}

func accepted(recovery pfcp.RecoveryTimeStamp) *pfcp.AssociationSetupResponse {
	return &pfcp.AssociationSetupResponse{Cause: pfcp.CauseAccepted, RecoveryTimeStamp: recovery}
}

func stamp(recovery pfcp.RecoveryTimeStamp) pfcp.Opt[pfcp.RecoveryTimeStamp] {
	return pfcp.Some(recovery)
}

// associated is a node after its first association.
func associatedLifetime(t *testing.T) *lifetime {
	l := newLifetime(t)
	l.asks(0, askSetup)
	require.Equal(t, []Event{NodeUp{"u1"}}, l.setupAnswered(l.now, accepted(5), nil))
	return l
}

func TestSetupIsTriedAgainLessAndLessOften(t *testing.T) {
	l := newLifetime(t)
	l.asks(0, askSetup)
	l.asks(0, askNothing) // one at a time
	for _, pause := range []time.Duration{1, 2, 4, 4} {
		require.Empty(t, l.setupAnswered(l.now, nil, pfcp.ErrTimeout))
		require.Equal(t, StateDown, l.state)
		require.Equal(t, "association setup: no answer", l.reason)
		l.asks(pause*time.Second, askSetup)
	}
	require.Equal(t, []Event{NodeUp{"u1"}}, l.setupAnswered(l.now, accepted(5), nil))
	require.Equal(t, StateAssociated, l.state)
	require.Zero(t, l.backoff)
}

func TestHeartbeatsGoOutOnlyWhileThePeersDoNotArrive(t *testing.T) {
	l := associatedLifetime(t)
	for range 5 {
		l.now = l.now.Add(9 * time.Second)
		require.Equal(t, askNothing, l.tick(l.now))
		require.Empty(t, l.heartbeatRequested(l.now, &pfcp.HeartbeatRequest{RecoveryTimeStamp: stamp(5)}))
	}
	l.asks(10*time.Second, askHeartbeat)
	require.Empty(t, l.heartbeatAnswered(l.now, &pfcp.HeartbeatResponse{RecoveryTimeStamp: stamp(5)}, nil))
	l.asks(10*time.Second, askHeartbeat)
	require.Empty(t, l.heartbeatAnswered(l.now, &pfcp.HeartbeatResponse{}, nil), "without a time stamp")
	require.Equal(t, l.now, l.heard)
}

func TestANodeThatAnswersAgainHasKeptItsSessions(t *testing.T) {
	l := associatedLifetime(t)
	l.asks(10*time.Second, askHeartbeat)
	l.now = l.now.Add(12 * time.Second)
	require.Equal(t, []Event{NodeDown{"u1", "heartbeat: no answer"}}, l.heartbeatAnswered(l.now, nil, pfcp.ErrTimeout))
	require.Equal(t, StateDown, l.state)

	l.asks(time.Second, askHeartbeat) // not a setup
	require.Empty(t, l.heartbeatAnswered(l.now, nil, pfcp.ErrTimeout), "down is told once")
	l.asks(time.Second, askHeartbeat)
	require.Equal(t, []Event{NodeUp{"u1"}}, l.heartbeatAnswered(l.now, &pfcp.HeartbeatResponse{RecoveryTimeStamp: stamp(5)}, nil))
	require.Equal(t, StateAssociated, l.state)
	require.Empty(t, l.reason)
}

func TestANodeThatHeartbeatsOnlyWithWhomItKnowsIsAssociatedAnewAtLast(t *testing.T) {
	l := associatedLifetime(t)
	l.asks(10*time.Second, askHeartbeat)
	for range patience {
		l.now = l.now.Add(12 * time.Second)
		l.heartbeatAnswered(l.now, nil, pfcp.ErrTimeout)
		if l.vain < patience {
			l.asks(time.Second, askHeartbeat)
		}
	}
	l.asks(time.Second, askSetup)
	require.Empty(t, l.setupAnswered(l.now, nil, pfcp.ErrTimeout))
	l.asks(time.Second, askHeartbeat)
	l.heartbeatAnswered(l.now, nil, pfcp.ErrTimeout)
	l.asks(time.Second, askSetup)
	require.Equal(t, []Event{NodeRestarted{"u1"}, NodeUp{"u1"}}, l.setupAnswered(l.now, accepted(6), nil))
	l.asks(10*time.Second, askHeartbeat)
}

func TestANodeThatHeartbeatsButDoesNotAnswerOursIsUp(t *testing.T) {
	l := associatedLifetime(t)
	l.asks(10*time.Second, askHeartbeat)
	l.now = l.now.Add(11 * time.Second)
	require.Empty(t, l.heartbeatRequested(l.now, &pfcp.HeartbeatRequest{RecoveryTimeStamp: stamp(5)}))
	l.now = l.now.Add(time.Second)
	require.Empty(t, l.heartbeatAnswered(l.now, nil, pfcp.ErrTimeout))
	require.Equal(t, StateAssociated, l.state)
}

func TestAChangedRecoveryTimeStampIsARestart(t *testing.T) {
	restarted := []Event{NodeDown{"u1", "restarted"}, NodeRestarted{"u1"}}
	t.Run("in its heartbeat", func(t *testing.T) {
		l := associatedLifetime(t)
		require.Equal(t, restarted, l.heartbeatRequested(l.now, &pfcp.HeartbeatRequest{RecoveryTimeStamp: stamp(4)}))
		l.asks(0, askSetup)
		require.Equal(t, []Event{NodeUp{"u1"}}, l.setupAnswered(l.now, accepted(4), nil), "the restart is told once")
	})
	t.Run("in its answer to ours", func(t *testing.T) {
		l := associatedLifetime(t)
		l.asks(10*time.Second, askHeartbeat)
		require.Equal(t, restarted, l.heartbeatAnswered(l.now, &pfcp.HeartbeatResponse{RecoveryTimeStamp: stamp(6)}, nil))
		l.asks(0, askSetup)
	})
	t.Run("in its answer after the path was down", func(t *testing.T) {
		l := associatedLifetime(t)
		l.asks(10*time.Second, askHeartbeat)
		l.now = l.now.Add(12 * time.Second)
		l.heartbeatAnswered(l.now, nil, pfcp.ErrTimeout)
		require.Equal(t, []Event{NodeRestarted{"u1"}},
			l.heartbeatRequested(l.now, &pfcp.HeartbeatRequest{RecoveryTimeStamp: stamp(6)}))
		l.asks(0, askSetup)
	})
	t.Run("in its association setup", func(t *testing.T) {
		l := associatedLifetime(t)
		require.Equal(t, []Event{NodeRestarted{"u1"}},
			l.setupRequested(l.now, &pfcp.AssociationSetupRequest{RecoveryTimeStamp: 6}))
		require.Equal(t, StateAssociated, l.state)
	})
}

func TestAnAssociationSetupOfTheNodeWithTheSameTimeStampKeepsTheSessions(t *testing.T) {
	l := associatedLifetime(t)
	require.Empty(t, l.setupRequested(l.now, &pfcp.AssociationSetupRequest{RecoveryTimeStamp: 5}))
}

func TestANodeMayAssociateWhileOurSetupFails(t *testing.T) {
	l := newLifetime(t)
	l.asks(0, askSetup)
	require.Equal(t, []Event{NodeUp{"u1"}}, l.setupRequested(l.now, &pfcp.AssociationSetupRequest{
		NodeID: pfcp.NodeID{FQDN: "u1.example"}, UPFunctionFeatures: pfcp.Some(pfcp.FeatureFTUP), RecoveryTimeStamp: 5,
	}))
	require.Empty(t, l.setupAnswered(l.now, nil, pfcp.ErrTimeout))
	require.Equal(t, StateAssociated, l.state)
	require.Equal(t, "u1.example", l.nodeID.String())
	require.Equal(t, pfcp.FeatureFTUP, l.features)
	l.asks(10*time.Second, askHeartbeat)
}

func TestAReleasedAssociationIsSetUpAgain(t *testing.T) {
	l := associatedLifetime(t)
	events, ok := l.released(l.now)
	require.True(t, ok)
	require.Equal(t, []Event{NodeDown{"u1", "released by the node"}, NodeRestarted{"u1"}}, events)
	_, ok = l.released(l.now)
	require.False(t, ok)
	require.Empty(t, l.heartbeatRequested(l.now, &pfcp.HeartbeatRequest{RecoveryTimeStamp: stamp(9)}))
	l.asks(time.Second, askSetup)
}

func TestANodeThatForgotTheAssociationIsAssociatedAnew(t *testing.T) {
	l := associatedLifetime(t)
	l.asks(10*time.Second, askHeartbeat)
	require.Equal(t, []Event{NodeDown{"u1", "the node does not know the association"}, NodeRestarted{"u1"}}, l.unknown(l.now))
	require.Empty(t, l.unknown(l.now))
	require.Empty(t, l.heartbeatAnswered(l.now, nil, errors.New("late")))
	l.asks(0, askSetup)
	require.Equal(t, []Event{NodeUp{"u1"}}, l.setupAnswered(l.now, accepted(5), nil))
}

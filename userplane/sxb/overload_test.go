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

func TestTheOverloadMetricRisesAtOnceAndFallsLater(t *testing.T) {
	var o overload
	now := time.Unix(1_800_000_000, 0)
	at := func(fill int, after time.Duration) (uint8, uint32) { return o.measure(fill, now.Add(after)) }
	metric, none := at(50, 0)
	require.Zero(t, metric)
	metric, first := at(75, 0)
	require.EqualValues(t, 50, metric)
	require.Greater(t, first, none)
	metric, second := at(100, time.Millisecond)
	require.EqualValues(t, 100, metric)
	require.Greater(t, second, first)
	metric, again := at(0, 2*time.Millisecond)
	require.EqualValues(t, 100, metric)
	require.Equal(t, second, again)
	metric, third := at(0, 2*time.Second)
	require.Zero(t, metric)
	require.Greater(t, third, second)
}

// overloadIn is the Overload Control Information of an answer: sequence and metric.
func overloadIn(t *testing.T, i *ie.IE) (sequence uint32, metric uint8) {
	t.Helper()
	all, err := i.OverloadControlInformation()
	require.NoError(t, err)
	for _, one := range all {
		switch one.Type {
		case ie.SequenceNumber:
			sequence, err = one.SequenceNumber()
		case ie.Metric:
			metric, err = one.Metric()
		}
		require.NoError(t, err)
	}
	return sequence, metric
}

// Whoever takes overload control information hears of it in the refusal of what does not fit the queue any more, and
// that it is over in a later answer; whoever does not, does not.
func TestOverloadIsToldToThoseThatTakeIt(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards, c.Queue = 1, 10 })
	cp := newControlPlane(t, w, "127.77.88.1", "smf.example")
	plain := newControlPlane(t, w, "127.77.88.2", "plain.example")
	plain.setup()
	_, m := cp.ask(message.NewAssociationSetupRequest(cp.next(), cp.nodeID(), ie.NewRecoveryTimeStamp(cp.rts),
		ie.NewCPFunctionFeatures(pfcp.CPFeatureOVRL)))
	require.Equal(t, pfcp.CauseAccepted, cause(t, m.(*message.AssociationSetupResponse).Cause))
	busy, end := make(chan struct{}), make(chan struct{})
	w.dp.hook(func(session.Changes) error {
		select {
		case <-busy:
		default:
			close(busy)
		}
		<-end
		return nil
	})
	cp.send(cp.encode(cp.establishment(cp.next(), 1, bearer("172.16.1.1")...)))
	<-busy
	for i := range 10 {
		cp.send(cp.encode(message.NewSessionDeletionRequest(0, 0, uint64(i), cp.next(), 0)))
	}
	require.Eventually(t, func() bool { return len(w.edge.shards[0].inbox) == 10 }, patience, time.Millisecond)
	for _, one := range []*controlPlane{cp, plain} {
		_, m := one.ask(message.NewSessionDeletionRequest(0, 0, 9, one.next(), 0))
		r := m.(*message.SessionDeletionResponse)
		require.Equal(t, pfcp.CausePFCPEntityInCongestion, cause(t, r.Cause))
		if one == plain {
			require.Nil(t, r.OverloadControlInformation)
			continue
		}
		sequence, metric := overloadIn(t, r.OverloadControlInformation)
		require.EqualValues(t, 100, metric)
		require.NotZero(t, sequence)
	}
	close(end)
	w.dp.hook(nil)
	require.Eventually(t, func() bool { return len(w.edge.shards[0].inbox) == 0 }, patience, time.Millisecond)
	cp.drain()
	seid := uint64(w.sessions()[0].SEID)
	require.Eventually(t, func() bool {
		r := cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2)))
		require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
		if r.OverloadControlInformation == nil {
			return false
		}
		_, metric := overloadIn(t, r.OverloadControlInformation)
		return metric == 0
	}, patience, tick/10)
	require.Nil(t, cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(2))).OverloadControlInformation)
}

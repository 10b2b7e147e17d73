package sxb

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Packets pass between the look at the counters and the change of the rules. Each is counted once, also when the change
// is refused in the end.
func TestPacketsThatPassWhileRulesChangeAreCountedOnce(t *testing.T) {
	w := newWorld(t)
	cp := newControlPlane(t, w, "127.77.66.1", "pgwc.example")
	cp.setup()
	seid, teid := cp.establish(77, bearer("172.16.1.7")...)
	keys := [2]session.Key{uplinkKey(teid), downlinkKey("172.16.1.7")}
	var mu sync.Mutex // of sent
	var sent, counted [2]uint64
	send := func() {
		mu.Lock()
		defer mu.Unlock()
		table := w.dp.snapshot()
		for i, key := range keys {
			if e, ok := table[key]; ok && e.Action == session.ActionForward {
				w.dp.count(key, 1, uint64(10+i))
				sent[i] += uint64(10 + i)
			}
		}
	}
	hook := func(err error) {
		w.dp.mu.Lock()
		defer w.dp.mu.Unlock()
		w.dp.before = func(session.Changes) error {
			send()
			return err
		}
	}
	take := func(reports []*ie.IE) {
		for _, r := range reports {
			v, err := r.VolumeMeasurement()
			require.NoError(t, err)
			counted[0], counted[1] = counted[0]+v.UplinkVolume, counted[1]+v.DownlinkVolume
		}
	}
	modify := func(want pfcp.Cause, rules ...*ie.IE) {
		t.Helper()
		r := cp.modify(seid, rules...)
		require.Equal(t, want, cause(t, r.Cause))
		take(r.UsageReport)
		w.consistent()
		send()
	}
	dedicated := []*ie.IE{
		ie.NewCreateURR(ie.NewURRID(2), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0)),
		ie.NewCreatePDR(
			ie.NewPDRID(9), ie.NewPrecedence(10), ie.NewFARID(2), ie.NewURRID(2),
			ie.NewPDI(
				ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"),
				ie.NewUEIPAddress(0x06, "172.16.1.7", "", 0, 0), ie.NewSDFFilter("permit out 17 from any 53 to assigned", "", "", "", 0),
			)),
	}
	send()
	hook(errors.New("full"))
	modify(pfcp.CauseSystemFailure, dedicated...)
	hook(nil)
	modify(pfcp.CauseAccepted, dedicated...)
	require.True(t, w.dp.snapshot()[keys[1]].Celled)
	require.False(t, w.dp.snapshot()[keys[0]].Celled)
	w.kill()
	w.start()
	send()
	modify(pfcp.CauseAccepted, ie.NewRemovePDR(ie.NewPDRID(9)), ie.NewRemoveURR(ie.NewURRID(2)))
	require.False(t, w.dp.snapshot()[keys[1]].Celled)

	// The downlink goes: refused at first, so that it goes on.
	calls := 0
	w.dp.mu.Lock()
	w.dp.before = func(session.Changes) error {
		send()
		if calls++; calls == 2 { // the first one stops the entry
			return errors.New("full")
		}
		return nil
	}
	w.dp.mu.Unlock()
	modify(pfcp.CauseSystemFailure, ie.NewRemovePDR(ie.NewPDRID(2)))
	require.Equal(t, session.ActionForward, w.dp.snapshot()[keys[1]].Action)
	hook(nil)
	modify(pfcp.CauseAccepted, ie.NewRemovePDR(ie.NewPDRID(2)))
	end := cp.delete(seid)
	require.Equal(t, pfcp.CauseAccepted, cause(t, end.Cause))
	take(end.UsageReport)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, sent, counted)
}

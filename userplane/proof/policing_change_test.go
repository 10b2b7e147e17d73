package proof

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/datapath/traffic"
)

// TestLimitHoldsWhileRulesChange modifies a session all the time, so that its limit is now one bearer's, now shared by two, now
// another's: what passes is never more than MBR × time and the burst. A policer that was made anew would be full each time.
func TestLimitHoldsWhileRulesChange(t *testing.T) {
	n := newNode(t)
	const mbr, octets = 20_000, 200
	burst := time.Duration(datapath.Default().Burst) * time.Millisecond
	for first, c := range []struct {
		name   string
		modify func(i, turn int) *pfcp.SessionModificationRequest
	}{
		{"a dedicated bearer that shares the limit comes and goes", func(i, turn int) *pfcp.SessionModificationRequest {
			return modification(i + (3+turn%2)*ues)
		}},
		{"a filter that comes and goes", func(i, turn int) *pfcp.SessionModificationRequest {
			pdrs, _ := bearer(over4, i, 0, nil)
			pdi := pdrs[1].PDI
			if turn%2 == 0 {
				pdi.SDFFilters = []pfcp.SDFFilter{
					{FlowDescription: "permit out ip from any to assigned", FilterID: pfcp.Some(uint32(1))},
					{FlowDescription: "permit out 17 from any 5000-6000 to assigned"},
				}[1:]
			}
			return &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 2, PDI: pfcp.Some(pdi)}}}
		}},
		{"another QER of the same rate, and back", func(_, turn int) *pfcp.SessionModificationRequest {
			ids := [][]pfcp.QERID{{1}, {1, 2}}[turn%2]
			return &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 2, QERIDs: pfcp.Some(ids)}}}
		}},
	} {
		rate := pfcp.Some(pfcp.BitRate{Uplink: mbr, Downlink: mbr})
		r := &pfcp.SessionEstablishmentRequest{
			CreateQERs: []pfcp.CreateQER{{ID: 1, MBR: rate}, {ID: 2, MBR: rate}},
			CreateURRs: []pfcp.CreateURR{{ID: 1, MeasurementMethod: pfcp.MeasureVolume}},
		}
		r.CreatePDRs, r.CreateFARs = bearer(over4, first, 0, []pfcp.QERID{1})
		s := n.cp.establish(pfcp.SEID(first+1), r)
		l, g := open(t, &n.core, &n.access, n.reasons), newGenerator(t, downlinkFlow(t, first, 0, octets))
		done := traffic.OnCPU(n.ns, 0, func() error { return g.Send(n.core.far, traffic.Load{Interval: time.Microsecond}) })
		start, turns := time.Now(), 0
		for ; time.Since(start) < sized(time.Second, 10*time.Second); turns++ {
			s.modify(c.modify(first, turns))
		}
		require.NoError(t, g.Stop())
		require.NoError(t, <-done)
		begin, end, _, err := g.Span()
		require.NoError(t, err)
		sent, _, err := g.Sent()
		require.NoError(t, err)
		account := l.close(sent.Packets)
		allowed := mbr * 125 * (end - begin + burst).Seconds()
		t.Logf("%s: %d modifications in %v, %.4f of MBR×T", c.name, turns, end-begin,
			float64(account.received.Octets)/(mbr*125*(end-begin).Seconds()))
		require.LessOrEqual(t, float64(account.received.Octets+account.lost[1]*octets), allowed, c.name)
		s.delete()
	}
}

package s8

import (
	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// reported answers a PGW-U's report of a session, TS 29.244 6.3.5, and lets the connection react. Usage is not accounted
// yet: it is confirmed and counted.
func (sh *shard) reported(e sxb.SessionReport) {
	known, ok := sh.records[gtpc.TEID(uint32(e.SEID))]
	c := sh.states[known.key].Connection
	if !ok || c.CPSEID != e.SEID || c.Node != e.Node {
		sh.server.stats.report("unknown_session")
		e.Answer(pfcp.CauseSessionContextNotFound, 0)
		return
	}
	e.Answer(pfcp.CauseAccepted, c.UPSEID)
	if len(e.Report.UsageReports) > 0 {
		sh.server.stats.report("usage")
	}
	if e.Report.DownlinkData.Present {
		sh.server.stats.report("downlink_data") // none is asked for on Sxb
	}
	for _, remote := range e.Report.ErrorIndications {
		sh.server.stats.report("error_indication")
		sh.step(known.key, session.ErrorIndicated{Node: e.Node, Remote: remote})
	}
}

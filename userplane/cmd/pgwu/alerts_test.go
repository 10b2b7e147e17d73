package main

import (
	"testing"

	"github.com/xepc/xepc/pkg/testkit"
)

// Every alert fires when what it is for happens, and none when all is well: promtool says so.
func TestAlertsFire(t *testing.T) {
	const responses, events, packets = "xepc_pgwu_pfcp_responses_total", "xepc_pgwu_pfcp_events_total", "xepc_pgwu_packets_total"
	well := map[string]string{
		`up{job="pgwu"}`:                                                                 "1x60",
		"xepc_pgwu_recovery_time_stamp":                                                  "4004467227x60",
		`xepc_pgwu_pfcp_peer_up{peer="pgwc"}`:                                            "1x60",
		packets + `{reason="uplink_forwarded"}`:                                          "0+60000x60",
		packets + `{reason="next_hop_unresolved"}`:                                       "0x60",
		packets + `{reason="no_resources"}`:                                              "0x60",
		packets + `{reason="unknown_teid"}`:                                              "0+60x60",
		packets + `{reason="unexpected_vlan"}`:                                           "0x60",
		events + `{event="panic"}`:                                                       "0x60",
		events + `{event="report_unanswered"}`:                                           "0x60",
		`xepc_pgwu_slowpath_total{outcome="panicked"}`:                                   "0x60",
		responses + `{procedure="session_establishment",cause="request_accepted"}`:       "0+600x60",
		responses + `{procedure="session_establishment",cause="no_resources_available"}`: "0+6x60",
		responses + `{procedure="session_modification",cause="system_failure"}`:          "0x60",
		`xepc_pgwu_teid_slots{slice="10.30.1.1",state="free"}`:                           "500x60",
		`xepc_pgwu_teid_slots{slice="10.30.1.1",state="live"}`:                           "500x60",
		`xepc_pgwu_teid_slots{slice="10.30.1.1",state="resting"}`:                        "24x60",
		`xepc_pgwu_table_used{table="rules"}`:                                            "10x60",
		`xepc_pgwu_table_size{table="rules"}`:                                            "255x60",
		`xepc_pgwu_ue_addresses{pool="a",family="ipv4",state="free"}`:                    "100x60",
		`xepc_pgwu_ue_addresses{pool="a",family="ipv4",state="live"}`:                    "154x60",
		"xepc_pgwu_shard_wait_max_seconds":                                               "0.001x60",
	}
	rows := map[string]map[string]string{ // what is different, and what fires with it
		"PGWUDown":             {`up{job="pgwu"}`: "1x30 0x30"},
		"PGWUSessionsLost":     {"xepc_pgwu_recovery_time_stamp": "4004467227x55 4004470527x5"},
		"PGWUControlPlaneLost": {`xepc_pgwu_pfcp_peer_up{peer="pgwc"}`: "1x50 0x10"},
		"PGWUNoNextHop":        {packets + `{reason="next_hop_unresolved"}`: "0+600x60"},
		"PGWUFaultOfOurs":      {responses + `{procedure="session_modification",cause="system_failure"}`: "0x55 1x5"},
		"PGWURefusesSessions":  {responses + `{procedure="session_establishment",cause="no_resources_available"}`: "0+300x60"},
		"PGWUTEIDsRunOut":      {`xepc_pgwu_teid_slots{slice="10.30.1.1",state="free"}`: "50x60"},
		"PGWUTableRunsFull":    {`xepc_pgwu_table_used{table="rules"}`: "250x60"},
		"PGWUAddressesRunOut":  {`xepc_pgwu_ue_addresses{pool="a",family="ipv4",state="free"}`: "3x60"},
		"PGWUSaturated":        {"xepc_pgwu_shard_wait_max_seconds": "0.001x40 1x20"},
		"PGWUReportsNotTaken":  {events + `{event="report_unanswered"}`: "0+10x60"},
		"PGWUUnknownTEIDs":     {packets + `{reason="unknown_teid"}`: "0+12000x60"},
		"PGWUForeignPackets":   {packets + `{reason="unexpected_vlan"}`: "0+12000x60"},
	}
	testkit.Alerts(t, "../../../docs/alerts/pgwu.yaml", "../../../docs/pgwu.md", well, rows)
}

package main

import (
	"testing"

	"github.com/xepc/xepc/pkg/testkit"
)

// Every alert fires when what it is for happens, and none when all is well: promtool says so.
func TestAlertsFire(t *testing.T) {
	well := map[string]string{
		`up{job="hss"}`:                          "1x60",
		"xepc_hss_redis_up":                      "1x60",
		`xepc_hss_diameter_peer_up{peer="mme1"}`: "1x60",
		`xepc_hss_diameter_handler_panics_total`: "0x60",
		`xepc_hss_diameter_requests_total{direction="received",command="AIR",peer="mme1",result="2001"}`:       "0+600x60",
		`xepc_hss_diameter_requests_total{direction="received",command="ULR",peer="mme1",result="2001"}`:       "0+600x60",
		`xepc_hss_diameter_request_duration_seconds_bucket{command="AIR",peer="mme1",result="2001",le="0.02"}`: "0+600x60",
		`xepc_hss_diameter_request_duration_seconds_bucket{command="AIR",peer="mme1",result="2001",le="1"}`:    "0+600x60",
		`xepc_hss_diameter_request_duration_seconds_bucket{command="AIR",peer="mme1",result="2001",le="+Inf"}`: "0+600x60",
		`xepc_hss_resynchronisations_total{result="accepted"}`:                                                 "0+1x60",
		`xepc_hss_resynchronisations_total{result="bad_mac_s"}`:                                                "0x60",
		`xepc_hss_own_requests_total{command="CLR",result="done"}`:                                             "0+5x60",
		`xepc_hss_own_requests_total{command="CLR",result="given_up"}`:                                         "0x60",
		`xepc_hss_own_requests_unsent`:                              "3x20 0x40",
		`xepc_hss_provision_changes_told_total{result="done"}`:      "0+1x60",
		`xepc_hss_provision_changes_told_total{result="later"}`:     "0x60",
		`xepc_hss_partner_mismatches_total{realm="other"}`:          "0x60",
		`xepc_hss_diameter_connections_refused_total{reason="CER"}`: "0+1x60",
		`xepc_hss_session_log_lost_total`:                           "0x60",
	}
	rows := map[string]map[string]string{ // what is different, and what fires with it
		"HSSDown":                    {`up{job="hss"}`: "1x30 0x30"},
		"HSSRedisAway":               {"xepc_hss_redis_up": "1x30 0x30"},
		"HSSNoPeer":                  {`xepc_hss_diameter_peer_up{peer="mme1"}`: "1x55 0x5"},
		"HSSPeerSilent":              {`xepc_hss_diameter_peer_up{peer="mme2"}`: "0x60"},
		"HSSFaultOfOurs":             {`xepc_hss_diameter_handler_panics_total`: "0x55 1x5"},
		"HSSRefusesMost":             {`xepc_hss_diameter_requests_total{direction="received",command="ULR",peer="mme1",result="10415:5004"}`: "0+700x60"},
		"HSSSlow":                    {`xepc_hss_diameter_request_duration_seconds_bucket{command="AIR",peer="mme1",result="2001",le="0.02"}`: "0+100x60"},
		"HSSResynchronisationStorm":  {`xepc_hss_resynchronisations_total{result="accepted"}`: "0+60x60"},
		"HSSForgedResynchronisation": {`xepc_hss_resynchronisations_total{result="bad_mac_s"}`: "0+1x60"},
		"HSSNodesNotTold":            {`xepc_hss_own_requests_total{command="CLR",result="given_up"}`: "0x50 1x10"},
		"HSSNodesNotReached":         {`xepc_hss_own_requests_unsent`: "0x20 1x40"},
		"HSSChangesWait": {
			`xepc_hss_provision_changes_told_total{result="later"}`: "0+12x60", `xepc_hss_provision_changes_told_total{result="done"}`: "5x60",
		},
		"HSSPartnerMismatch": {`xepc_hss_partner_mismatches_total{realm="other"}`: "0x50 1x10"},
		"HSSStrangers":       {`xepc_hss_diameter_connections_refused_total{reason="CER"}`: "0+20x60"},
		"HSSSessionLogLost":  {`xepc_hss_session_log_lost_total`: "0x50 3x10"},
	}
	testkit.Alerts(t, "../../../docs/alerts/hss.yaml", "../../../docs/hss.md", well, rows)
}

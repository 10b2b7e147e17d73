package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

const alertFile = "../../../docs/alerts/hss.yaml"

// alertRules are the rules of docs/alerts.
func alertRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	text, err := os.ReadFile(alertFile)
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []alertRule
		}
	}
	require.NoError(t, yaml.UnmarshalWithOptions(text, &file, yaml.Strict()))
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func TestAlertsAreOverMetricsThatExist(t *testing.T) {
	page, err := os.ReadFile("../../../docs/hss.md")
	require.NoError(t, err)
	metric := regexp.MustCompile(`xepc_[a-z0-9_]+`)
	rules := alertRules(t)
	require.Greater(t, len(rules), 10)
	for _, r := range rules {
		require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["reason"], r.Alert)
		require.NotEmpty(t, r.Annotations["do"], r.Alert)
		for _, name := range metric.FindAllString(r.Expr, -1) {
			require.True(t, strings.Contains(string(page), "`"+strings.TrimSuffix(name, "_bucket")+"`"), "%s in %s", name, r.Alert)
		}
	}
}

// series are values of metrics, a minute apart, as promtool writes them. This is an HSS that is well.
func well() map[string]string {
	return map[string]string{
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
		`xepc_hss_provision_changes_told_total{result="done"}`:                                                 "0+1x60",
		`xepc_hss_provision_changes_told_total{result="later"}`:                                                "0x60",
		`xepc_hss_partner_mismatches_total{realm="other"}`:                                                     "0x60",
		`xepc_hss_diameter_connections_refused_total{reason="CER"}`:                                            "0+1x60",
		`xepc_hss_session_log_lost_total`:                                                                      "0x60",
	}
}

// Every alert fires when what it is for happens, and none when all is well: promtool says so.
func TestAlertsFire(t *testing.T) {
	rows := map[string]map[string]string{ // what is different, and what fires with it
		"":                           {},
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
		"HSSChangesWait": {
			`xepc_hss_provision_changes_told_total{result="later"}`: "0+12x60", `xepc_hss_provision_changes_told_total{result="done"}`: "5x60",
		},
		"HSSPartnerMismatch": {`xepc_hss_partner_mismatches_total{realm="other"}`: "0x50 1x10"},
		"HSSStrangers":       {`xepc_hss_diameter_connections_refused_total{reason="CER"}`: "0+20x60"},
		"HSSSessionLogLost":  {`xepc_hss_session_log_lost_total`: "0x50 3x10"},
	}
	for _, r := range alertRules(t) {
		require.Contains(t, rows, r.Alert, "no row has this alert fire")
	}
	rules, err := filepath.Abs(alertFile)
	require.NoError(t, err)
	file := map[string]any{"rule_files": []string{rules}, "evaluation_interval": "1m"}
	var tests []any
	for alert, different := range rows {
		all := well()
		for name, values := range different {
			all[name] = values
		}
		var input []any
		for name, values := range all {
			input = append(input, map[string]any{"series": name, "values": values})
		}
		samples := []any{}
		if alert != "" {
			samples = append(samples, map[string]any{"labels": fmt.Sprintf(`{alertname="%s"}`, alert), "value": 1})
		}
		tests = append(tests, map[string]any{
			"name": "fires: " + alert, "interval": "1m", "input_series": input,
			"promql_expr_test": []any{map[string]any{
				"expr": `count by (alertname) (ALERTS{alertstate="firing"})`, "eval_time": "60m", "exp_samples": samples,
			}},
		})
	}
	file["tests"] = tests
	text, err := yaml.Marshal(file)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "alerts_test.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", path}} {
		out, err := exec.Command("promtool", args...).CombinedOutput()
		require.NoError(t, err, "%s\npromtool must be installed: make test does it", out)
	}
}

package testkit

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// Alerts checks the Prometheus rules in a file: each says how bad it is, why and what to do, over metrics that a page of docs/
// names; promtool takes them; and each of them, alone, fires when what it is for happens, and none when all is well. Series
// are values of metrics, a minute apart, as promtool writes them: well has those of a node that is well, and rows by
// alert what is different when it fires.
func Alerts(t *testing.T, file, page string, well map[string]string, rows map[string]map[string]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.UnmarshalWithOptions(text, &rules, yaml.Strict()))
	documented, err := os.ReadFile(page)
	require.NoError(t, err)
	metric := regexp.MustCompile(`xepc_[a-z0-9_]+`)
	checked := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["reason"], r.Alert)
			require.NotEmpty(t, r.Annotations["do"], r.Alert)
			for _, name := range metric.FindAllString(r.Expr, -1) {
				require.Contains(t, string(documented), "`"+strings.TrimSuffix(name, "_bucket")+"`", r.Alert)
			}
			require.Contains(t, rows, r.Alert, "no row has this alert fire")
			checked++
		}
	}
	require.Equal(t, len(rows), checked, "a row of an alert that is not there")
	fires(t, file, well, rows)
}

// fires has promtool check and test the rules.
func fires(t *testing.T, file string, well map[string]string, rows map[string]map[string]string) {
	t.Helper()
	rules, err := filepath.Abs(file)
	require.NoError(t, err)
	rows = maps.Clone(rows)
	rows[""] = nil // all is well
	var tests []any
	for alert, different := range rows {
		all := maps.Clone(well)
		maps.Copy(all, different)
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
	text, err := yaml.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "1m", "tests": tests})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "alerts_test.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", path}} {
		out, err := exec.Command("promtool", args...).CombinedOutput()
		require.NoError(t, err, "%s\npromtool must be installed: make test does it", out)
	}
}

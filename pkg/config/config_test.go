package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

type testConfig struct {
	NodeID string        `yaml:"node_id"`
	T1     time.Duration `yaml:"t1"`
	PFCP   struct {
		Address string `yaml:"address"`
	} `yaml:"pfcp"`
	Ports []struct {
		Name string `yaml:"name"`
	} `yaml:"ports"`
	Password Secret `yaml:"password"`
}

func (c *testConfig) Validate() error {
	var faults []error
	if c.NodeID == "" {
		faults = append(faults, errors.New("node_id: missing"))
	}
	if c.T1 <= 0 {
		faults = append(faults, errors.New("t1: not positive"))
	}
	return errors.Join(faults...)
}

func defaults() Config { return &testConfig{T1: 3 * time.Second} }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoad(t *testing.T) {
	cfg := defaults().(*testConfig)
	require.NoError(t, Load(write(t, "node_id: n1\npfcp: {address: 127.0.0.1}\nports: [{name: a}, {name: b}]\n"), cfg))
	require.Equal(t, "n1", cfg.NodeID)
	require.Equal(t, 3*time.Second, cfg.T1, "a key left out keeps its default")
	require.Len(t, cfg.Ports, 2)

	for name, text := range map[string]string{
		"an unknown key is an error":        "node_id: n1\nnode_ip: x\n",
		"an unknown key deep down is too":   "node_id: n1\npfcp: {adress: x}\n",
		"a repeated key is an error":        "node_id: n1\nnode_id: n2\n",
		"a value of another type is one":    "node_id: n1\nt1: soon\n",
		"a second document is one":          "node_id: n1\n---\nt1: 5s\n",
		"what is not YAML at all is one":    "node_id: [\n",
		"what Validate refuses is an error": "t1: 0s\n",
	} {
		t.Run(name, func(t *testing.T) { require.Error(t, Load(write(t, text), defaults())) })
	}
	for _, text := range []string{"", "# to be written\n", "---\n", "{}\n"} {
		empty := defaults().(*testConfig)
		err := Load(write(t, text), empty)
		require.ErrorContains(t, err, "node_id: missing", "%q", text)
		require.NotContains(t, err.Error(), "t1", "%q", text)
		require.Equal(t, 3*time.Second, empty.T1, "%q", text)
	}
	err := Load(write(t, "t1: 0s\n"), defaults())
	require.ErrorContains(t, err, "node_id: missing")
	require.ErrorContains(t, err, "t1: not positive", "all faults are listed")
	require.Error(t, Load(filepath.Join(t.TempDir(), "none"), defaults()))
}

func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	app := &cli.App{
		Name: "node", Writer: &out, Commands: []*cli.Command{Command("", defaults)},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.Run(append([]string{"node", "config"}, args...))
	return out.String(), err
}

func TestShowSaysWhereEachValueCameFrom(t *testing.T) {
	path := write(t, "node_id: n1\nports:\n  - name: a # the first\npassword: hunter2\n")
	got, err := command(t, "show", "-c", path)
	require.NoError(t, err)
	require.Equal(t, `node_id: n1  # `+path+`:1
t1: 3s  # default
pfcp.address: ""  # default
ports[0].name: a  # `+path+`:3
password: (set)  # `+path+`:4
`, got)
}

func TestCheck(t *testing.T) {
	got, err := command(t, "check", "-c", write(t, "node_id: n1\n"))
	require.NoError(t, err)
	require.Contains(t, got, "no fault found")
	_, err = command(t, "check", "-c", write(t, "t1: 0s\n"))
	var exit cli.ExitCoder
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 2, exit.ExitCode())
}

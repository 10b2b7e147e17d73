package output

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

type row struct {
	SEID uint64 `json:"seid"`
	APN  string `json:"apn"`
}

var columns = []Column[row]{
	{"seid", func(r row) any { return r.SEID }},
	{"apn", func(r row) any { return r.APN }},
}

func run(t *testing.T, action cli.ActionFunc, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	app := &cli.App{
		Name: "test", Writer: &out, Flags: []cli.Flag{Flag()}, Action: action,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.Run(append([]string{"test"}, args...))
	return out.String(), err
}

func TestList(t *testing.T) {
	rows := []row{{1, "internet"}, {22, "fleet"}}
	list := func(c *cli.Context) error { return List(c, rows, columns) }
	none := func(c *cli.Context) error { return List[row](c, nil, columns) }
	for _, tt := range []struct {
		name, format, want string
		action             cli.ActionFunc
	}{
		{"a table has a line a row", "table", "SEID  APN\n   1  internet\n  22  fleet\n", list},
		{"JSON is an array", "json", "[\n  {\n    \"seid\": 1,\n    \"apn\": \"internet\"\n  },\n  {\n    \"seid\": 22,\n    \"apn\": \"fleet\"\n  }\n]\n", list},
		{"YAML has the names of JSON", "yaml", "- seid: 1\n  apn: internet\n- seid: 22\n  apn: fleet\n", list},
		{"an empty table says so", "table", "none\n", none},
		{"an empty array is one", "json", "[]\n", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := run(t, tt.action, "-o", tt.format)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestShow(t *testing.T) {
	show := func(c *cli.Context) error { return Show(c, row{7, "internet"}, columns) }
	got, err := run(t, show)
	require.NoError(t, err)
	require.Equal(t, "SEID  7\nAPN   internet\n", got)
}

func TestAnUnknownFormatIsWrongUsage(t *testing.T) {
	_, err := run(t, func(*cli.Context) error { return nil }, "-o", "xml")
	var exit cli.ExitCoder
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 2, exit.ExitCode())
}

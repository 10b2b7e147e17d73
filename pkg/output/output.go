// Package output owns how the command lines print: one value as a table, as JSON or as YAML. It knows no node.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

// Column is one column of the table form of rows of type T.
type Column[T any] struct {
	Name  string // as in the glossary, upper case in the table
	Value func(T) any
}

var formats = []string{"table", "json", "yaml"}

// Flag returns the flag that every noun has: -o table|json|yaml.
func Flag() cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: formats[0],
		Usage: "print as " + strings.Join(formats, ", "),
		Action: func(_ *cli.Context, s string) error {
			if !slices.Contains(formats, s) {
				return cli.Exit(fmt.Sprintf("-o %s: want one of %s", s, strings.Join(formats, ", ")), 2)
			}
			return nil
		},
	}
}

// List prints rows in the format that the command's Flag asks for. JSON and YAML are an array of the rows, by
// their json tags, and [] when there are none; a table has a line a row, and says so when there are none.
func List[T any](c *cli.Context, rows []T, columns []Column[T]) error {
	w := c.App.Writer
	if c.String("output") != "table" {
		if rows == nil {
			rows = []T{}
		}
		return encode(w, c.String("output"), rows)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "none")
		return err
	}
	t := newTable()
	head := make(table.Row, len(columns))
	for i, col := range columns {
		head[i] = strings.ToUpper(col.Name)
	}
	t.AppendHeader(head)
	for _, r := range rows {
		cells := make(table.Row, len(columns))
		for i, col := range columns {
			cells[i] = col.Value(r)
		}
		t.AppendRow(cells)
	}
	return render(w, t)
}

// Show prints one value: in table form a line for each column, name first.
func Show[T any](c *cli.Context, value T, columns []Column[T]) error {
	w := c.App.Writer
	if c.String("output") != "table" {
		return encode(w, c.String("output"), value)
	}
	t := newTable()
	for _, col := range columns {
		t.AppendRow(table.Row{strings.ToUpper(col.Name), col.Value(value)})
	}
	return render(w, t)
}

func newTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	return t
}

func render(w io.Writer, t table.Writer) error {
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

func encode(w io.Writer, format string, value any) error {
	j, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	if format == "yaml" { // by way of JSON, so that the json tags name the keys once
		if j, err = yaml.JSONToYAML(j); err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		_, err = w.Write(j)
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", j)
	return err
}

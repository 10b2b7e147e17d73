package upselect

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

func TestChoose(t *testing.T) {
	node := func(name string, sessions int, change ...func(*Candidate)) Candidate {
		c := Candidate{
			Name: name, Associated: true, FreeChunk: true, Sessions: sessions,
			Instances: []pfcp.NetworkInstance{"internet", "iot"},
		}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	down := func(c *Candidate) { c.Associated = false }
	full := func(c *Candidate) { c.FreeChunk = false }
	elsewhere := func(c *Candidate) { c.Instances = []pfcp.NetworkInstance{"private"} }
	for _, row := range []struct {
		name       string
		candidates []Candidate
		want       string // "" for none
	}{
		{"no candidates", nil, ""},
		{"the fewest sessions win", []Candidate{node("a", 3), node("b", 1), node("c", 2)}, "b"},
		{"of equals the first", []Candidate{node("a", 1), node("b", 1)}, "a"},
		{"a node that is not associated is passed over", []Candidate{node("a", 0, down), node("b", 9)}, "b"},
		{"a node without a free address is passed over", []Candidate{node("a", 0, full), node("b", 9)}, "b"},
		{"a node that does not serve the network instance is passed over", []Candidate{node("a", 0, elsewhere), node("b", 9)}, "b"},
		{"nobody can", []Candidate{node("a", 0, elsewhere), node("b", 9, down), node("c", 1, full)}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, ok := Choose(row.candidates, "internet")
			require.Equal(t, row.want, got)
			require.Equal(t, row.want != "", ok)
		})
	}
}

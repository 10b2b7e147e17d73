// Package upselect owns the choice of the PGW-U for a new PDN connection. It is pure, and never talks to a node.
package upselect

import (
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Candidate is a PGW-U as the choice sees it.
type Candidate struct {
	Name       string
	Associated bool                   // takes sessions now
	Instances  []pfcp.NetworkInstance // that it serves
	FreeChunk  bool                   // has an address to give in the network instance asked for
	Sessions   int
}

// Choose returns the candidate that can serve a session in the network instance and has fewest sessions; the first
// of several. False: none can.
func Choose(candidates []Candidate, instance pfcp.NetworkInstance) (string, bool) {
	var chosen *Candidate
	for i := range candidates {
		c := &candidates[i]
		if c.Associated && c.FreeChunk && slices.Contains(c.Instances, instance) && (chosen == nil || c.Sessions < chosen.Sessions) {
			chosen = c
		}
	}
	if chosen == nil {
		return "", false
	}
	return chosen.Name, true
}

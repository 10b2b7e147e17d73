package session

import (
	"cmp"
	"slices"
)

// Diff returns what turns old into next: the entries that are new or differ, and the keys that are gone. The order
// within each list is that of the keys, so that the same tables give the same changes.
func Diff(old, next Table) Changes {
	var c Changes
	for key, e := range next {
		if was, ok := old[key]; !ok || !was.Equal(e) {
			c.Puts = append(c.Puts, e)
		}
	}
	for key := range old {
		if _, ok := next[key]; !ok {
			c.Deletes = append(c.Deletes, key)
		}
	}
	sortEntries(c.Puts)
	sortKeys(c.Deletes)
	return c
}

// DiffCells adds what turns the usage cells of one state of a session into those of the next.
func (c *Changes) DiffCells(old, next []Cell) {
	for _, cell := range next {
		if !slices.Contains(old, cell) {
			c.Cells = append(c.Cells, cell)
		}
	}
	for _, cell := range old {
		if !slices.ContainsFunc(next, func(n Cell) bool { return n.ID == cell.ID }) {
			c.Removes = append(c.Removes, cell.ID)
		}
	}
}

// Empty says that there is nothing to do.
func (c Changes) Empty() bool {
	return len(c.Cells)+len(c.Puts)+len(c.Deletes)+len(c.Removes)+len(c.EndMarkers) == 0
}

func (k Key) compare(other Key) int {
	return cmp.Or(
		cmp.Compare(k.Direction, other.Direction),
		k.Local.Compare(other.Local),
		cmp.Compare(k.TEID, other.TEID),
		cmp.Compare(k.Instance, other.Instance),
		k.UE.Compare(other.UE),
	)
}

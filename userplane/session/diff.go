package session

import (
	"cmp"
	"slices"
)

// Diff returns what turns old into next: the entries that are new or differ, and the keys that are gone. The order
// within each list is that of the keys, so that the same tables give the same changes.
func Diff(old, next Table) Changes {
	var c Changes
	for len(old) > 0 || len(next) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(next) == 0:
			order = -1
		default:
			order = old[0].Key.compare(&next[0].Key)
		}
		if order < 0 {
			c.Deletes = append(slices.Grow(c.Deletes, len(old)), old[0].Key)
		} else if order > 0 || !old[0].Equal(&next[0]) {
			c.Puts = append(slices.Grow(c.Puts, len(next)), next[0])
		}
		if order <= 0 {
			old = old[1:]
		}
		if order >= 0 {
			next = next[1:]
		}
	}
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

func (k *Key) compare(other *Key) int {
	switch {
	case k.Direction != other.Direction:
		return cmp.Compare(k.Direction, other.Direction)
	case k.Local != other.Local:
		return k.Local.Compare(other.Local)
	case k.TEID != other.TEID:
		return cmp.Compare(k.TEID, other.TEID)
	case k.Instance != other.Instance:
		return cmp.Compare(k.Instance, other.Instance)
	}
	return k.UE.Compare(other.UE)
}

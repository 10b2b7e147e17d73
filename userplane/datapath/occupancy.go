package datapath

// TableUse is how full a table is whose size the configuration gives.
type TableUse struct {
	Table      string // key of data_path, or what is made as large as rules
	Used, Size int
}

// TableUses tells how full the tables are that requests may find full.
func (d *Datapath) TableUses() []TableUse {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []TableUse{
		{"address_blocks", d.blockPool.held, len(d.blockPool.refs)},
		{"peers", d.peerPool.held, len(d.peerPool.refs)},
		{"routes", len(d.routes), d.cfg.Routes},
	}
	for _, s := range []struct {
		table string
		*slab
	}{
		{"rules", d.rules},
		{"rule_sets_2", d.sets[0]},
		{"rule_sets_8", d.sets[1]},
		{"rule_sets_32", d.sets[2]},
		{"rule_counts", d.accounts},
		{"special_rules", d.specials},
		{"meters", d.meters},
		{"cells", d.cells},
		{"limits", d.limits},
	} {
		all = append(all, TableUse{s.table, s.taken, int(s.size) - 1})
	}
	return all
}

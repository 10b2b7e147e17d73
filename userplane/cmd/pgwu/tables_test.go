package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/session"
)

// TestRulesOfAKeyHaveTheirOwnCounts has two PDRs, of which a FAR is the same, behind one F-TEID.
func TestRulesOfAKeyHaveTheirOwnCounts(t *testing.T) {
	rule := func(pdr pfcp.PDRID) session.Rule {
		return session.Rule{Origin: session.Origin{SEID: 7, PDRID: pdr, FARID: 2}}
	}
	entries := []datapath.EntryState{{
		Entry: session.Entry{Key: session.Key{TEID: 9}, Rule: rule(1), More: []session.Rule{rule(3)}},
		Usage: session.Usage{Packets: 50, Octets: 5000}, // of rules that are gone, too
		RuleUsages: []session.Usage{
			{Packets: 10, Octets: 1000}, {Packets: 20, Octets: 2000},
		},
	}}
	s := session.Session{SEID: 7, PDRs: []session.PDR{{ID: 1}, {ID: 2}, {ID: 3}}, FARs: []session.FAR{{ID: 2}}}
	check := func(name string, tables tables, pdrs map[pfcp.PDRID]uint64) {
		got := map[pfcp.PDRID]uint64{}
		for _, row := range tables.pdrRows() {
			require.Equal(t, row.Packets*100, row.Octets, name)
			if row.InDataPath {
				got[row.PDR] = row.Packets
			}
		}
		require.Equal(t, pdrs, got, name)
		require.EqualValues(t, 30, tables.farRows()[0].Packets, name)
		require.EqualValues(t, 50, tables.sessionRows()[0].UplinkPackets, name)
	}
	want := map[pfcp.PDRID]uint64{1: 10, 3: 20}
	check("with the session", newTables([]session.Session{s}, slices.Values(entries), nil, false), want)
	check("from the entries alone", newTables(nil, slices.Values(entries), nil, true), want)
}

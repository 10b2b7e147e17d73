package main

import (
	"net/netip"
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

// TestTunnelsOverIPv6 shows them, with the session known and from the entries alone.
func TestTunnelsOverIPv6(t *testing.T) {
	local, remote := netip.MustParseAddr("2001:db8:30::1"), netip.MustParseAddr("2001:db8:10::2")
	ue := session.UE(netip.MustParseAddr("172.16.1.1"))
	entries := []datapath.EntryState{
		{Entry: session.Entry{
			Key:  session.Key{Local: local, TEID: 0x1000},
			Rule: session.Rule{Sources: []netip.Prefix{ue}, Origin: session.Origin{SEID: 7, PDRID: 1, FARID: 1}},
		}},
		{Entry: session.Entry{
			Key:  session.Key{Direction: session.Downlink, UE: ue},
			Rule: session.Rule{Local: local, Remote: remote, RemoteTEID: 0xaa, Origin: session.Origin{SEID: 7, PDRID: 2, FARID: 2}},
		}},
	}
	s := session.Session{
		SEID: 7, Slice: local, Slice6: local, PDRs: []session.PDR{{ID: 1, Local: local, TEID: 0x1000, UE: ue.Addr()}, {ID: 2}},
		FARs: []session.FAR{{ID: 1}, {ID: 2, Outer: pfcp.Some(outerTo(remote, 0xaa))}},
	}
	for name, tables := range map[string]tables{
		"with the session":       newTables([]session.Session{s}, slices.Values(entries), nil, false),
		"from the entries alone": newTables(nil, slices.Values(entries), nil, true),
	} {
		require.Equal(t, local.String(), tables.sessionRows()[0].Slice, name)
		far := tables.farRows()[1]
		require.Equal(t, remote.String(), far.Remote, name)
		require.Equal(t, hexTEID(0xaa), far.RemoteTEID, name)
	}
}

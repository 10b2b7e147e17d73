package main

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"

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

// TestSessionsAreFoundByTheirUEs has a UE of both families with a framed route, in PDRs or in a traffic endpoint.
func TestSessionsAreFoundByTheirUEs(t *testing.T) {
	ue, ue6, route := netip.MustParseAddr("172.16.1.7"), netip.MustParsePrefix("2001:db8:1:2::/64"), netip.MustParsePrefix("192.0.2.0/24")
	local := netip.MustParseAddr("10.30.1.1")
	for name, s := range map[string]session.Session{
		"in PDRs": {PDRs: []session.PDR{
			{ID: 1, Local: local, TEID: 0x1000, UE: ue, UE6: ue6}, {ID: 2, UE: ue, UE6: ue6, Routes: []netip.Prefix{route}},
		}},
		"in an endpoint": {
			PDRs:      []session.PDR{{ID: 1, Endpoints: []pfcp.TrafficEndpointID{1}}},
			Endpoints: []session.Endpoint{{ID: 1, Local: local, TEID: 0x1000, UE: ue, UE6: ue6, Routes: []netip.Prefix{route}}},
		},
	} {
		require.Equal(t, "172.16.1.7,2001:db8:1:2::/64", tables{}.sessionRow(&s).UE, name)
		for word, found := range map[string]bool{
			"ue=172.16.1.7": true, "ue=172.16.1.8": false, "ue=2001:db8:1:2::9": true, "ue=2001:db8:1:3::9": false,
			"ue=192.0.2.200": true, "teid=0x1000": true, "teid=0x1001": false,
		} {
			f, err := parseFilter(func(key string) string {
				if value, ok := strings.CutPrefix(word, key+"="); ok {
					return value
				}
				return ""
			})
			require.NoError(t, err)
			require.Equal(t, found, f.match(&s), "%s: %s", name, word)
		}
	}
	key := session.Key{Direction: session.Downlink, UE: ue6}
	rule := session.Rule{Origin: session.Origin{SEID: 7, PDRID: 2, FARID: 2}}
	entries := []datapath.EntryState{{Entry: session.Entry{Key: key, Rule: rule}}}
	orphan := newTables(nil, slices.Values(entries), nil, true)
	require.Equal(t, "2001:db8:1:2::/64", orphan.sessionRows()[0].UE)
	require.Equal(t, "2001:db8:1:2::/64", orphan.pdrRows()[0].UE)
}

// TestASessionWithAQuotaIsShown: its entries count in a cell, and people see it all the same.
func TestASessionWithAQuotaIsShown(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	shown := func() (packets float64) {
		rows, _ := s.rows("session", "list")
		require.Len(t, rows, 1)
		return rows[0]["uplink_packets"].(float64)
	}
	before := shown()
	quota := uint64(before+3) * packetOctets // it is for what was not reported, too
	s.accepted(s.change(seid, ie.NewUpdateURR(ie.NewURRID(1), ie.NewReportingTriggers(0, 1), ie.NewVolumeQuota(2, 0, quota, 0))).Cause)
	for n := range uint32(3) {
		require.Equal(t, before+float64(n), shown())
		s.send(teid, n) // the answer to the last one may find the quota spent
		if n < 2 {
			_, back := s.receive(patience)
			require.True(t, back)
		}
	}
	s.report(true)
	require.Equal(t, before+3, shown())
	out, stderr, err := run("session", "show", "--socket", s.dir+"/pgwu.sock", "-o", "json", strconv.FormatUint(seid, 10))
	require.NoError(t, err, stderr)
	var detail SessionDetail
	require.NoError(t, json.Unmarshal([]byte(out), &detail))
	require.Equal(t, []URRRow{{URR: 1, Method: "volume", Reports: 1, QuotaSpent: true}}, detail.Rules.URRs)
}

package session

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

func volume(upPackets, upOctets, downPackets, downOctets uint64) pfcp.Opt[pfcp.VolumeMeasurement] {
	return pfcp.Some(pfcp.VolumeMeasurement{
		TotalOctets: upOctets + downOctets, UplinkOctets: upOctets, DownlinkOctets: downOctets,
		TotalPackets: upPackets + downPackets, UplinkPackets: upPackets, DownlinkPackets: downPackets,
	})
}

func TestAReportCarriesWhatWasCountedSinceTheLast(t *testing.T) {
	s := establish(t, bearer())
	table := compile(t, s)
	s = s.Settle(table, map[Key]Usage{uplinkKey: {3, 300}, downlinkKey: {2, 2000}})
	s, reports := s.Report([]pfcp.URRID{1}, TriggerImmediate)
	require.Equal(t, []pfcp.UsageReport{{URRID: 1, Sequence: 0, Trigger: TriggerImmediate, Volume: volume(3, 300, 2, 2000)}}, reports)

	s = s.Settle(table, map[Key]Usage{uplinkKey: {4, 350}, downlinkKey: {2, 2000}})
	s, reports = s.Report(s.URRIDs(), TriggerTermination)
	require.Equal(t, []pfcp.UsageReport{{URRID: 1, Sequence: 1, Trigger: TriggerTermination, Volume: volume(1, 50, 0, 0)}}, reports)

	_, reports = s.Report([]pfcp.URRID{9}, TriggerTermination)
	require.Empty(t, reports)
}

func TestNothingIsCountedTwiceOrLostWhenRulesChange(t *testing.T) {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreateURRs = append(r.CreateURRs, pfcp.CreateURR{ID: 2, MeasurementMethod: pfcp.MeasureVolume})
	}))
	table := compile(t, s)

	// URR 2 joins URR 1 on the uplink after 10 packets.
	s = s.Settle(table, map[Key]Usage{uplinkKey: {10, 1000}, downlinkKey: {1, 100}})
	s = modify(t, s, &pfcp.SessionModificationRequest{UpdatePDRs: []pfcp.UpdatePDR{{ID: 1, URRIDs: pfcp.Some([]pfcp.URRID{1, 2})}}})
	table = compile(t, s)

	// The downlink rule goes after 5 more, and comes back: a new entry, which counts from 0.
	s = s.Settle(table, map[Key]Usage{uplinkKey: {12, 1200}, downlinkKey: {6, 600}})
	without := modify(t, s, &pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{2}})
	changes := Diff(table, compile(t, without))
	require.Equal(t, []Key{downlinkKey}, changes.Deletes)
	without = without.Forget(changes.Deletes)
	again := bearer().CreatePDRs[1]
	s = modify(t, without, &pfcp.SessionModificationRequest{CreatePDRs: []pfcp.CreatePDR{again}})

	s = s.Settle(compile(t, s), map[Key]Usage{uplinkKey: {12, 1200}, downlinkKey: {2, 20}})
	_, reports := s.Report(s.URRIDs(), TriggerTermination)
	require.Equal(t, volume(12, 1200, 8, 620), reports[0].Volume)
	require.Equal(t, volume(2, 200, 0, 0), reports[1].Volume)
}

func TestAnEntryThatWasMadeAnewCountsFromZero(t *testing.T) {
	s := establish(t, bearer())
	table := compile(t, s)
	s = s.Settle(table, map[Key]Usage{uplinkKey: {10, 1000}})
	s = s.Settle(table, map[Key]Usage{uplinkKey: {1, 40}})
	_, reports := s.Report(s.URRIDs(), TriggerTermination)
	require.Equal(t, volume(11, 1040, 0, 0), reports[0].Volume)
}

func TestWhichModificationsTouchTheCounts(t *testing.T) {
	require.False(t, Touches(&pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{ID: 1}}}), "a handover does not")
	require.True(t, Touches(&pfcp.SessionModificationRequest{QueryAll: true}))
	require.True(t, Touches(&pfcp.SessionModificationRequest{RemovePDRs: []pfcp.PDRID{1}}))
}

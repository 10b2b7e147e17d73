package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

// idle is a bearer whose downlink FAR buffers under a BAR.
func idle(r *pfcp.SessionEstablishmentRequest) {
	r.CreateFARs[1].ApplyAction, r.CreateFARs[1].BARID = pfcp.ActionBuffer|pfcp.ActionNotifyCP, pfcp.Some(pfcp.BARID(3))
	r.CreateBARs = []pfcp.BAR{{ID: 3, NotificationDelay: pfcp.Some(uint8(4)), SuggestedPacketsCount: pfcp.Some(uint8(10))}}
}

func TestWhatABARSays(t *testing.T) {
	s := establish(t, bearer(idle))
	require.Equal(t, 200*time.Millisecond, s.NotificationDelay(2))
	require.Zero(t, s.NotificationDelay(1), "it has no BAR")
	n, ok := s.SuggestedPackets(2)
	require.True(t, ok)
	require.Equal(t, 10, n)

	next := modify(t, s, &pfcp.SessionModificationRequest{UpdateBARs: []pfcp.BAR{{ID: 3, NotificationDelay: pfcp.Some(uint8(1))}}})
	require.Equal(t, 50*time.Millisecond, next.NotificationDelay(2))
	_, ok = next.SuggestedPackets(2)
	require.True(t, ok, "absent is unchanged")
	gone := pfcp.BAR{ID: 3}
	gone.Removed.Add(pfcp.IESuggestedBufferingPacketsCount)
	gone.Removed.Add(pfcp.IEDownlinkDataNotificationDelay)
	next = modify(t, next, &pfcp.SessionModificationRequest{UpdateBARs: []pfcp.BAR{gone}})
	require.Zero(t, next.NotificationDelay(2))
	_, ok = next.SuggestedPackets(2)
	require.False(t, ok)
}

func TestAReportsAnswerUpdatesBARs(t *testing.T) {
	s := establish(t, bearer(idle))
	next, extended := s.UpdateBARs([]pfcp.ReportBAR{
		{ID: 9, BufferingDuration: pfcp.Some(pfcp.TimerInfinite)}, // there is none
		{ID: 3, NotificationDelay: pfcp.Some(uint8(2)), SuggestedPacketsCount: pfcp.Some(uint8(5))},
	})
	require.False(t, extended.Present)
	require.Equal(t, 100*time.Millisecond, next.NotificationDelay(2))
	n, _ := next.SuggestedPackets(2)
	require.Equal(t, 5, n)
	require.Equal(t, 200*time.Millisecond, s.NotificationDelay(2), "the session of before is as it was")
	_, extended = s.UpdateBARs([]pfcp.ReportBAR{{
		ID: 3, BufferingDuration: pfcp.Some(pfcp.TimerOf(time.Minute)), BufferingPacketCount: pfcp.Some(uint16(300)),
	}})
	require.Equal(t, pfcp.Some(Extended{Duration: time.Minute, Packets: pfcp.Some(uint16(300))}), extended)
	_, extended = s.UpdateBARs([]pfcp.ReportBAR{{ID: 3, BufferingDuration: pfcp.Some(pfcp.TimerInfinite)}})
	require.True(t, extended.Value.Forever)
}

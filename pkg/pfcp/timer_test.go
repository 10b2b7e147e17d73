package pfcp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimerIsTheShortestThatIsNotBelow(t *testing.T) {
	for d, want := range map[time.Duration]Timer{
		-time.Second:              TimerStopped,
		0:                         TimerStopped,
		time.Nanosecond:           0x01,
		62 * time.Second:          0x1f,
		63 * time.Second:          0x22,
		31 * time.Minute:          0x3f,
		31*time.Minute + 1:        0x44,
		310 * time.Minute:         0x5f,
		6 * time.Hour:             0x66,
		310 * time.Hour:           0x9f,
		311 * time.Hour:           TimerInfinite,
		time.Duration(1<<63 - 1):  TimerInfinite,
		-time.Duration(1<<63 - 1): TimerStopped,
	} {
		require.Equal(t, want, TimerOf(d), d)
	}
	d, ok := Timer(0x9f).Duration()
	require.True(t, ok)
	require.Equal(t, 310*time.Hour, d)
	d, ok = Timer(0xa5).Duration() // a unit that is not assigned
	require.True(t, ok)
	require.Equal(t, 5*time.Minute, d)
	_, ok = Timer(0xe5).Duration()
	require.False(t, ok)
}

func TestTimeStampsGoOnIn2036(t *testing.T) {
	for _, at := range []string{"1970-01-01T00:00:00Z", "2026-11-23T08:00:00Z", "2036-02-07T06:28:15Z", "2036-02-07T06:28:16Z", "2100-01-01T00:00:00Z"} {
		want, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		require.Equal(t, want, TimeStampOf(want.Add(time.Second-1)).Time())
	}
	require.Equal(t, TimeStamp(testStamp), TimeStampOf(testTime))
}

func TestIETypes(t *testing.T) {
	s := typesOf(0, 63, 64, 319, 320, 40000)
	require.Equal(t, "0,63,64,319", s.String())
	require.True(t, s.Has(64))
	require.False(t, s.Has(65))
	require.False(t, s.Has(40000))
	require.False(t, s.Empty())
	require.True(t, (&IETypes{}).Empty())
	for typ := range s.All() {
		require.Zero(t, typ)
		break
	}
}
